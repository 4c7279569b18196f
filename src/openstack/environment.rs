//! `OS_*` variables, as an openrc sets them.

use std::collections::BTreeMap;

use super::{
    clouds::Files,
    error::Error,
    settings::{CloudSettings, Options},
};

impl CloudSettings {
    /// Reads `OS_*` from the variables given: `OS_CLOUD` names a cloud of clouds.yaml, whose region, interface and timeout the other
    /// variables may override; without it they are keystoneauth's options in capitals.
    ///
    /// # Errors
    /// [`Error::Settings`] naming what is missing or wrong.
    pub fn from_environment(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let vars: BTreeMap<String, String> = vars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let options: Options =
            vars.iter().filter_map(|(name, value)| Some((name.strip_prefix("OS_")?.to_ascii_lowercase(), value.clone()))).collect();
        let Some(cloud) = options.get("cloud") else {
            return Self::from_options(&options).map_err(|error| match error {
                Error::Settings { reason } if !options.contains_key("auth_url") => Error::Settings {
                    reason: format!("{reason} (as OS_… in the environment: source an openrc, or name a cloud of clouds.yaml in OS_CLOUD)"),
                },
                other => other,
            });
        };
        let mut chosen = super::clouds::options(cloud, &Files::search(&vars))?;
        for name in ["region_name", "interface", "endpoint_type", "timeout"] {
            if let Some(value) = options.get(name) {
                if name == "endpoint_type" {
                    chosen.remove("interface");
                }
                chosen.insert(name.to_owned(), value.clone());
            }
        }
        Self::from_options(&chosen)
    }
}
