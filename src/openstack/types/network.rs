//! Networks.

use serde::Deserialize;
use uuid::Uuid;

use super::{Extra, Resource, or_default};

/// A network.
#[derive(Debug, Clone, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Bytes of the largest IP packet.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Whether every project may use it.
    #[serde(default, deserialize_with = "or_default")]
    pub shared: bool,
    /// Whether it forwards packets.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// Whether it leads outside.
    #[serde(rename = "router:external", default, deserialize_with = "or_default")]
    pub external: bool,
    /// `ACTIVE`, `DOWN`, `BUILD` or `ERROR`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Its subnets.
    #[serde(default, deserialize_with = "or_default")]
    pub subnets: Vec<Uuid>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Network {
    const SINGULAR: &'static str = "network";
    const COLLECTION: &'static str = "networks";
}
