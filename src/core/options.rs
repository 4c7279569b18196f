//! The `neutron.*` options of `docker network create -o` and `--ipam-opt`, by which a Docker network takes up what Neutron has already. The
//! names and their meaning are kuryr-libnetwork's.

use uuid::Uuid;

use super::{Error, request::DriverOptions};
use crate::config::distance;

const NETWORK: [&str; 2] = ["neutron.net.uuid", "neutron.net.name"];
const SHARED: &str = "neutron.net.shared";
const SUBNET: [&str; 2] = ["neutron.subnet.uuid", "neutron.subnet.name"];
const SUBNET_V6: [&str; 2] = ["neutron.subnet.v6.uuid", "neutron.subnet.v6.name"];
const POOL: [&str; 2] = ["neutron.pool.uuid", "neutron.pool.name"];
const POOL_V6: [&str; 2] = ["neutron.pool.v6.uuid", "neutron.pool.v6.name"];

/// An object of Neutron as options name it: by its id, its name, or both, which then must belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The option, for error texts.
    pub option: &'static str,
    pub id: Option<Uuid>,
    pub name: Option<String>,
}

impl Reference {
    /// What the option says, for error texts.
    pub fn shown(&self) -> String {
        self.id.map(|id| id.to_string()).or_else(|| self.name.clone()).unwrap_or_default()
    }
}

/// What the options of one call name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    pub network: Option<Reference>,
    pub shared: Option<bool>,
    subnet: Option<Reference>,
    subnet_v6: Option<Reference>,
    pool: Option<Reference>,
    pool_v6: Option<Reference>,
}

impl Chosen {
    /// Reads the options of a network or a pool. Options of other drivers and of the engine pass; one that begins like ours and is neither read
    /// here nor in `others` is warned of.
    pub fn read(options: &DriverOptions, others: &[&'static str]) -> Result<Self, Error> {
        let known: Vec<_> = known().into_iter().chain(others.iter().copied()).collect();
        warn_of_unknown(options, &known);
        let shared = match given(options, SHARED) {
            None => None,
            Some(text) => match text.to_lowercase().as_str() {
                "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
                "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
                _ => return Err(Error::Invalid(format!("{SHARED} is '{text}'; write true or false"))),
            },
        };
        Ok(Self {
            network: reference(options, NETWORK)?,
            shared,
            subnet: reference(options, SUBNET)?,
            subnet_v6: reference(options, SUBNET_V6)?,
            pool: reference(options, POOL)?,
            pool_v6: reference(options, POOL_V6)?,
        })
    }

    /// The subnet named for a family.
    pub fn subnet(&self, v6: bool) -> Option<&Reference> {
        if v6 { self.subnet_v6.as_ref() } else { self.subnet.as_ref() }
    }

    /// The subnet pool named for a family.
    pub fn pool(&self, v6: bool) -> Option<&Reference> {
        if v6 { self.pool_v6.as_ref() } else { self.pool.as_ref() }
    }
}

fn known() -> Vec<&'static str> {
    [NETWORK, SUBNET, SUBNET_V6, POOL, POOL_V6].into_iter().flatten().chain([SHARED]).collect()
}

/// Warns of what begins with `neutron.` or `kuryr.` and is not in `known`, and passes it over as kuryr-libnetwork does.
pub(super) fn warn_of_unknown(options: &DriverOptions, known: &[&str]) {
    for warning in unknown(options, known) {
        tracing::warn!("{warning}");
    }
}

/// A line for each option that begins like ours and is not in `known`.
fn unknown(options: &DriverOptions, known: &[&str]) -> Vec<String> {
    let ours = |key: &&String| key.starts_with("neutron.") || key.starts_with("kuryr.");
    let strange = options.keys().filter(ours).filter(|key| !known.contains(&key.as_str()));
    let akin = |name: &&&str, key: &str| name.split('.').next() == key.split('.').next();
    let line = |key: &String| match known.iter().filter(|name| akin(name, key)).min_by_key(|name| distance(name, key)) {
        Some(nearest) => format!("kuryr has no option '{key}' here and goes on without it; did you mean {nearest}?"),
        None => format!("kuryr has no option '{key}' here and goes on without it"),
    };
    strange.map(line).collect()
}

/// The value of an option. One without a value counts as absent, as orchestrators write them.
pub(super) fn given<'a>(options: &'a DriverOptions, key: &str) -> Option<&'a str> {
    options.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn reference(options: &DriverOptions, [by_id, by_name]: [&'static str; 2]) -> Result<Option<Reference>, Error> {
    let id = given(options, by_id).map(|text| {
        Uuid::parse_str(text).map_err(|_| {
            Error::Invalid(format!("{by_id} is '{text}', which is no UUID; write the id that 'openstack' shows, or use {by_name}"))
        })
    });
    let id = id.transpose()?;
    let name = given(options, by_name).map(str::to_owned);
    let option = if id.is_some() { by_id } else { by_name };
    Ok((id.is_some() || name.is_some()).then_some(Reference { option, id, name }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> DriverOptions {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_option_of_kuryr_libnetwork_is_read() {
        let id = Uuid::from_u128(7);
        let text = id.to_string();
        let chosen = Chosen::read(
            &options(&[
                ("neutron.net.uuid", &text),
                ("neutron.net.shared", "True"),
                ("neutron.subnet.name", "four"),
                ("neutron.subnet.v6.uuid", &text),
                ("neutron.pool.uuid", &text),
                ("neutron.pool.v6.name", "six"),
                ("com.docker.network.driver.mtu", "1400"),
            ]),
            &[],
        )
        .unwrap();
        assert_eq!((chosen.network.as_ref().unwrap().id, chosen.shared), (Some(id), Some(true)));
        assert_eq!(chosen.subnet(false).unwrap().name.as_deref(), Some("four"));
        assert_eq!(chosen.subnet(true).unwrap().id, Some(id));
        assert_eq!(chosen.pool(false).unwrap().shown(), text);
        assert_eq!(chosen.pool(true).unwrap().shown(), "six");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (key, value, word) in
            [("neutron.net.uuid", "kuryr", "neutron.net.name"), ("neutron.net.shared", "Perhaps", "Perhaps'; write true or false")]
        {
            let error = Chosen::read(&options(&[(key, value)]), &[]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_unknown_option_is_warned_of_with_the_nearest() {
        for (key, nearest) in [("neutron.nets.uuid", "neutron.net.uuid"), ("neutron.net.shard", "neutron.net.shared")] {
            let given = options(&[(key, "x"), ("com.docker.network.driver.mtu", "1400")]);
            let warnings = unknown(&given, &known());
            assert!(matches!(warnings.as_slice(), [line] if line.contains(key) && line.contains(nearest)), "{warnings:?}");
            assert_eq!(Chosen::read(&given, &[]).unwrap(), Chosen::default());
        }
        // Those of a network are nothing to an address pool, and what has another first word is no help.
        let warnings = unknown(&options(&[("kuryr.pool.min", "1")]), &known());
        assert!(matches!(warnings.as_slice(), [line] if line.contains("kuryr.pool.min") && !line.contains("neutron")), "{warnings:?}");
        assert!(unknown(&options(&[("neutron.net.uuid", "")]), &known()).is_empty());
    }

    #[test]
    fn an_empty_option_is_an_absent_one() {
        let chosen = Chosen::read(&options(&[("neutron.subnet.v6.uuid", ""), ("neutron.net.name", " ")]), &[]).unwrap();
        assert_eq!(chosen, Chosen::default());
    }
}
