//! What the deployment is made of: agents, API extensions, and the policies that an administrator offers.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Extra, Resource, or_default};

/// An agent, or with OVN a chassis.
#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    /// Its id; OVN's are not always UUIDs.
    pub id: String,
    /// `Open vSwitch agent`, …
    #[serde(default, deserialize_with = "or_default")]
    pub agent_type: String,
    /// Its program.
    #[serde(default, deserialize_with = "or_default")]
    pub binary: String,
    /// Its host.
    #[serde(default, deserialize_with = "or_default")]
    pub host: String,
    /// Whether it reported lately.
    #[serde(default, deserialize_with = "or_default")]
    pub alive: bool,
    /// Whether it gets work.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// What it told about itself; an object or null.
    #[serde(default)]
    pub configurations: Value,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Agent {
    const SINGULAR: &'static str = "agent";
    const COLLECTION: &'static str = "agents";
}

/// An API extension; has no id, is listed only.
#[derive(Debug, Clone, Deserialize)]
pub struct Extension {
    /// Its short name, such as `standard-attr-tag`.
    pub alias: String,
    /// Its long name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// What it does.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Extension {
    const SINGULAR: &'static str = "extension";
    const COLLECTION: &'static str = "extensions";
}

/// A policy for the quality of service of ports (extension `qos`).
#[derive(Debug, Clone, Deserialize)]
pub struct QosPolicy {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for QosPolicy {
    const SINGULAR: &'static str = "policy";
    const COLLECTION: &'static str = "policies";
    const PATH: &'static str = "qos/policies";
    const NOUN: &'static str = "QoS policy";
}
