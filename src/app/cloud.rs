//! Which cloud the daemon works with: what the configuration says, else the environment and clouds.yaml.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use crate::{
    config::{self, Auth, Config},
    openstack::{CloudSettings, Error, Options},
};

/// The cloud of `[neutron]`. Where the configuration says nothing at all about logging in, `OS_CLOUD` or the other `OS_*` variables of
/// `environment` say it; what `[neutron]` says about region, interface, endpoint, TLS and timeout then still goes before them.
///
/// # Errors
/// [`Error::Settings`] naming what is missing or wrong.
pub fn cloud_settings<T: Into<OsString>>(config: &Config, environment: impl IntoIterator<Item = (T, T)>) -> Result<CloudSettings, Error> {
    if config.auth != Auth::default() {
        return CloudSettings::from_options(&options(config));
    }
    // A variable that is not UTF-8 is none of ours.
    let text = |text: T| text.into().into_string().ok();
    let environment: BTreeMap<String, String> =
        environment.into_iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect();
    if !["OS_CLOUD", "OS_AUTH_URL", "OS_AUTH_TYPE"].iter().any(|name| environment.contains_key(*name)) {
        let reason = "nothing says how to log in; set auth_url, username, password and project_name in [neutron] of kuryr.conf, or a cloud \
                      of clouds.yaml in OS_CLOUD, or the OS_* variables of an openrc; without a cloud, use kuryr serve --embedded";
        return Err(Error::Settings { reason: reason.to_owned() });
    }
    let found = CloudSettings::from_environment(environment)?;
    let neutron = config.neutron.clone();
    Ok(CloudSettings {
        region: neutron.region_name.or(found.region),
        // The configuration cannot say that `public` is meant and not just assumed.
        interface: if neutron.endpoint_type == "public" { found.interface } else { neutron.endpoint_type },
        endpoint_override: neutron.endpoint_override.or(found.endpoint_override),
        cafile: neutron.cafile.or(found.cafile),
        insecure: neutron.insecure || found.insecure,
        certfile: neutron.certfile.or(found.certfile),
        keyfile: neutron.keyfile.or(found.keyfile),
        timeout: neutron.timeout.unwrap_or(found.timeout),
        ..found
    })
}

/// `[neutron]` by keystoneauth's names.
fn options(config: &Config) -> Options {
    let (auth, neutron) = (&config.auth, &config.neutron);
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let secret = |secret: &Option<config::Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let options = [
        ("auth_type", auth.auth_type.clone()),
        ("auth_url", auth.auth_url.clone()),
        ("username", auth.username.clone()),
        ("user_id", auth.user_id.clone()),
        ("password", secret(&auth.password)),
        ("project_name", auth.project_name.clone()),
        ("project_id", auth.project_id.clone()),
        ("user_domain_name", auth.user_domain_name.clone()),
        ("user_domain_id", auth.user_domain_id.clone()),
        ("project_domain_name", auth.project_domain_name.clone()),
        ("project_domain_id", auth.project_domain_id.clone()),
        ("default_domain_name", auth.default_domain_name.clone()),
        ("default_domain_id", auth.default_domain_id.clone()),
        ("domain_name", auth.domain_name.clone()),
        ("domain_id", auth.domain_id.clone()),
        ("system_scope", auth.system_scope.clone()),
        ("trust_id", auth.trust_id.clone()),
        ("token", secret(&auth.token)),
        ("application_credential_id", auth.application_credential_id.clone()),
        ("application_credential_name", auth.application_credential_name.clone()),
        ("application_credential_secret", secret(&auth.application_credential_secret)),
        ("endpoint_override", neutron.endpoint_override.clone().or_else(|| auth.endpoint.clone())),
        ("region_name", neutron.region_name.clone()),
        ("endpoint_type", Some(neutron.endpoint_type.clone())),
        ("cafile", path(&neutron.cafile)),
        ("certfile", path(&neutron.certfile)),
        ("keyfile", path(&neutron.keyfile)),
        ("insecure", Some(neutron.insecure.to_string())),
        ("timeout", neutron.timeout.map(|timeout| timeout.as_secs().to_string())),
    ];
    options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::{config::Sources, openstack::AuthMethod};

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kuryr.conf");
        fs::write(&file, text).unwrap();
        Config::load(&Sources::new(vec![file], vec![folder.path().to_owned()], [])).unwrap()
    }

    fn settings(text: &str, environment: &[(&str, &str)]) -> Result<CloudSettings, Error> {
        cloud_settings(&config(text), environment.iter().copied())
    }

    const OPENRC: [(&str, &str); 6] = [
        ("OS_AUTH_URL", "http://environment/v3"),
        ("OS_USERNAME", "e"),
        ("OS_PASSWORD", "s3cret"),
        ("OS_REGION_NAME", "two"),
        ("OS_INTERFACE", "internal"),
        ("OS_CACERT", "/e.pem"),
    ];

    #[test]
    fn the_configuration_goes_before_the_environment() {
        let text = "[neutron]\nauth_type = password\nauth_url = http://file/v3\nusername = f\npassword = p\n";
        let found = settings(text, &OPENRC).unwrap();
        assert_eq!((found.auth_url.as_str(), found.region, found.cafile), ("http://file/v3", None, None));
        let old = "[keystone_client]\nauth_uri = http://old/v2.0\nadmin_user = f\nadmin_password = p\n";
        let found = settings(old, &OPENRC).unwrap();
        assert_eq!((found.auth_url.as_str(), found.try_v2), ("http://old/v2.0", true));
        // Half a login in the file is not made whole by the environment.
        assert!(settings("[neutron]\nusername = f\n", &OPENRC).unwrap_err().to_string().contains("'password'"));
    }

    #[test]
    fn a_configuration_without_login_takes_the_environment() {
        let found = settings("[neutron]\nenable_dhcp = False\n", &OPENRC).unwrap();
        assert_eq!(
            (found.auth_url.as_str(), found.region.as_deref(), found.interface.as_str()),
            ("http://environment/v3", Some("two"), "internal")
        );
        assert_eq!(found.cafile, Some("/e.pem".into()));
        let found = settings("[neutron]\nregion_name = one\nendpoint_type = admin\ncafile = /f.pem\ntimeout = 7\n", &OPENRC).unwrap();
        assert_eq!((found.region.as_deref(), found.interface.as_str(), found.timeout), (Some("one"), "admin", Duration::from_secs(7)));
        assert_eq!(found.cafile, Some("/f.pem".into()));
        let error = settings("", &[("OS_USERNAME", "e")]).unwrap_err().to_string();
        assert!(error.contains("[neutron]") && error.contains("OS_CLOUD") && error.contains("--embedded"), "{error}");
    }

    #[test]
    fn os_cloud_names_a_cloud_of_clouds_yaml() {
        let folder = tempfile::tempdir().unwrap();
        let (clouds, secure) = (folder.path().join("clouds.yaml"), folder.path().join("secure.yaml"));
        fs::write(&clouds, "clouds: {lab: {auth: {auth_url: 'http://lab/v3', username: y}, region_name: one}}\n").unwrap();
        fs::write(&secure, "clouds: {lab: {auth: {password: y3s}}}\n").unwrap();
        let environment = [
            ("OS_CLOUD", "lab"),
            ("OS_CLIENT_CONFIG_FILE", clouds.to_str().unwrap()),
            ("OS_CLIENT_SECURE_FILE", secure.to_str().unwrap()),
            ("OS_PASSWORD", "not of this cloud"),
        ];
        let found = settings("", &environment).unwrap();
        assert_eq!((found.auth_url.as_str(), found.region.as_deref()), ("http://lab/v3", Some("one")));
        assert!(matches!(&found.auth, AuthMethod::Password { password, .. } if password.expose() == "y3s"));
        assert_eq!(settings("[neutron]\nregion_name = two\n", &environment).unwrap().region.as_deref(), Some("two"));
    }
}
