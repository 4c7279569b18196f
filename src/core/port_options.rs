//! The `neutron.port.*` options: of an endpoint (`--driver-opt`), and of a network (`-o`) for all endpoints that say nothing else. They are looked
//! up in Neutron before anything is made or changed.

use std::{collections::BTreeSet, sync::PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Core, Error, naming,
    options::{Reference, given},
    request::{DockerId, DriverOptions},
};
use crate::openstack::{QosPolicy, SecurityGroup};

const PORT: &str = "neutron.port.uuid";
const SECURITY_GROUPS: &str = "neutron.port.security_groups";
const QOS_POLICY: &str = "neutron.port.qos_policy";
const DNS_NAME: &str = "neutron.port.dns_name";
/// All of them.
pub(super) const PORT_OPTIONS: [&str; 4] = [PORT, SECURITY_GROUPS, QOS_POLICY, DNS_NAME];

/// What Neutron takes for a name: labels of at most 63 characters, 255 in all.
const LABEL: usize = 63;
const NAME: usize = 255;

/// What the options say, before Neutron was asked.
#[derive(Debug, Default)]
pub(super) struct PortOptions {
    port: Option<Uuid>,
    security_groups: Vec<Reference>,
    qos_policy: Option<Reference>,
    dns_name: Option<String>,
}

/// What the options come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortChoice {
    /// The port to be used.
    #[serde(default)]
    pub port: Option<Uuid>,
    /// Fields of a port, by Neutron's names.
    #[serde(default)]
    pub fields: Map<String, Value>,
}

/// Short names of the options in tags.
const GROUP_TAG: &str = "sg";
const QOS_TAG: &str = "qos";
const DNS_TAG: &str = "dns";
const PORT_TAG: &str = "id";
/// Characters that every Neutron takes for a tag.
const TAG: usize = 60;

impl PortChoice {
    /// Writes the fields into the body of a port that is to be made.
    pub(super) fn write_into(&self, body: &mut Value) {
        for (field, value) in &self.fields {
            body[field] = value.clone();
        }
    }

    /// The tags that tell a network's choice to a host that has lost its journal. Of a name that is too long for a tag there is none.
    pub(super) fn tags(&self, network: &DockerId) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let groups = self.fields.get("security_groups").and_then(Value::as_array).into_iter().flatten().filter_map(text);
        let field = |name: &str| self.fields.get(name).and_then(text);
        let kept = groups
            .map(|group| (GROUP_TAG, group))
            .chain(field("qos_policy_id").map(|policy| (QOS_TAG, policy)))
            .chain(field("dns_name").map(|name| (DNS_TAG, name)))
            .chain(self.port.map(|port| (PORT_TAG, port.to_string())));
        kept.map(|(option, value)| naming::port_option_tag(option, network) + &value).filter(|tag| tag.len() <= TAG).collect()
    }

    /// Reads [`Self::tags`].
    pub(super) fn of_tags(tags: &[String], network: &DockerId) -> Self {
        let values = |option: &str| {
            let start = naming::port_option_tag(option, network);
            tags.iter().filter_map(|tag| tag.strip_prefix(&start)).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut fields = Map::new();
        let groups: BTreeSet<String> = values(GROUP_TAG).into_iter().collect();
        if !groups.is_empty() {
            fields.insert("security_groups".into(), json!(groups));
        }
        fields.extend(values(QOS_TAG).pop().map(|policy| ("qos_policy_id".to_owned(), json!(policy))));
        fields.extend(values(DNS_TAG).pop().map(|name| ("dns_name".to_owned(), json!(name))));
        Self { port: values(PORT_TAG).pop().and_then(|port| Uuid::parse_str(&port).ok()), fields }
    }
}

impl PortOptions {
    /// Reads the options; one without a value is an absent one.
    pub fn read(options: &DriverOptions) -> Result<Self, Error> {
        let given = |key: &str| given(options, key);
        let port = given(PORT).map(|text| {
            Uuid::parse_str(text)
                .map_err(|_| Error::Invalid(format!("{PORT} is '{text}', which is no UUID; write the id that 'openstack port list' shows")))
        });
        let groups = given(SECURITY_GROUPS).into_iter().flat_map(|text| text.split(','));
        let groups = groups.map(str::trim).filter(|text| !text.is_empty()).map(|text| either(SECURITY_GROUPS, text));
        let dns_name = given(DNS_NAME).map(|text| match is_dns_name(text) {
            true => Ok(text.to_lowercase()),
            false => Err(Error::Invalid(format!("{DNS_NAME} is '{text}'; write a name of letters, digits and '-' such as web-1"))),
        });
        Ok(Self {
            port: port.transpose()?,
            security_groups: groups.collect(),
            qos_policy: given(QOS_POLICY).map(|text| either(QOS_POLICY, text)),
            dns_name: dns_name.transpose()?,
        })
    }
}

impl Core {
    /// Looks up what the options name.
    pub(super) async fn port_choice(&self, options: PortOptions) -> Result<PortChoice, Error> {
        let mut fields = Map::new();
        if let Some(named) = &options.qos_policy {
            self.need_extension("qos", QOS_POLICY, &named.shown(), "service plugin").await?;
        }
        if let Some(name) = options.dns_name {
            self.need_extension("dns-integration", DNS_NAME, &name, "ML2 extension driver").await?;
            fields.insert("dns_name".into(), json!(name));
        }
        let mut groups = BTreeSet::new();
        for named in &options.security_groups {
            groups.insert(self.find(named, &[], |group: &SecurityGroup| group.name.as_str()).await?.id);
        }
        if !groups.is_empty() {
            fields.insert("security_groups".into(), json!(groups));
        }
        if let Some(named) = options.qos_policy {
            let policy = self.find(&named, &[], |policy: &QosPolicy| policy.name.as_str()).await?;
            fields.insert("qos_policy_id".into(), json!(policy.id));
        }
        Ok(PortChoice { port: options.port, fields })
    }

    /// Neutron's own word for a field that it does not know names no extension.
    async fn need_extension(&self, alias: &str, option: &str, value: &str, kind: &str) -> Result<(), Error> {
        let known = self.extensions.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|known| known.contains(alias));
        if known || self.ask_for_extensions().await?.contains(alias) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{option} is '{value}', which needs Neutron's extension '{alias}', and this cloud does not have it; leave the option out, or enable \
             the {kind} for it in Neutron"
        )))
    }
}

fn either(option: &'static str, text: &str) -> Reference {
    match Uuid::parse_str(text) {
        Ok(id) => Reference { option, id: Some(id), name: None },
        Err(_) => Reference { option, id: None, name: Some(text.to_owned()) },
    }
}

fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && (1..=LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= NAME && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: &str, value: &str) -> DriverOptions {
        DriverOptions::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn groups_are_a_list_of_names_and_ids() {
        let id = Uuid::from_u128(7);
        let read = PortOptions::read(&options(SECURITY_GROUPS, &format!(" web, {id},,"))).unwrap();
        let groups: Vec<_> = read.security_groups.iter().map(|named| (named.id, named.name.as_deref())).collect();
        assert_eq!(groups, [(None, Some("web")), (Some(id), None)]);
        for key in PORT_OPTIONS {
            let read = PortOptions::read(&options(key, " ")).unwrap();
            assert!(read.port.is_none() && read.security_groups.is_empty() && read.qos_policy.is_none() && read.dns_name.is_none());
        }
    }

    #[test]
    fn a_networks_choice_comes_back_from_tags_that_every_neutron_takes() {
        let (id, other) = (DockerId::parse(&"a".repeat(64)).unwrap(), DockerId::parse(&"b".repeat(64)).unwrap());
        let groups = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let fields = json!({"security_groups": groups, "qos_policy_id": Uuid::from_u128(3), "dns_name": "web"});
        let choice = PortChoice { port: Some(Uuid::from_u128(4)), fields: fields.as_object().unwrap().clone() };
        let mut tags = choice.tags(&id);
        assert!(tags.len() == 5 && tags.iter().all(|tag| tag.len() <= TAG), "{tags:?}");
        tags.extend(naming::id_tags(&id));
        assert_eq!((PortChoice::of_tags(&tags, &id), PortChoice::of_tags(&tags, &other)), (choice, PortChoice::default()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (key, value) in [(PORT, "web"), (DNS_NAME, "a_b"), (DNS_NAME, "-a"), (DNS_NAME, "a..b"), (DNS_NAME, &"a".repeat(64))] {
            let error = PortOptions::read(&options(key, value)).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        for name in ["web", "web-1.kuryr.test."] {
            assert_eq!(PortOptions::read(&options(DNS_NAME, name)).unwrap().dns_name.as_deref(), Some(name));
        }
    }
}
