//! Routers and floating IPs.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Extra, Resource, or_default};

/// A router.
#[derive(Debug, Clone, Deserialize)]
pub struct Router {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Whether it forwards packets.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// `ACTIVE`, …
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// Its way outside; an object or null.
    #[serde(default)]
    pub external_gateway_info: Option<Value>,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Router {
    const SINGULAR: &'static str = "router";
    const COLLECTION: &'static str = "routers";
}

/// A floating IP.
#[derive(Debug, Clone, Deserialize)]
pub struct FloatingIp {
    /// Its id.
    pub id: Uuid,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// The address outside.
    #[serde(default)]
    pub floating_ip_address: Option<IpAddr>,
    /// The network outside.
    #[serde(default)]
    pub floating_network_id: Option<Uuid>,
    /// The port it leads to.
    #[serde(default)]
    pub port_id: Option<Uuid>,
    /// The port's address it leads to.
    #[serde(default)]
    pub fixed_ip_address: Option<IpAddr>,
    /// The router that translates.
    #[serde(default)]
    pub router_id: Option<Uuid>,
    /// `ACTIVE`, `DOWN` or `ERROR`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for FloatingIp {
    const SINGULAR: &'static str = "floatingip";
    const COLLECTION: &'static str = "floatingips";
    const NOUN: &'static str = "floating IP";
}
