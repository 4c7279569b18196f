//! Ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Extra, Resource, or_default};
use crate::mac::MacAddr;

/// An address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet.
    pub subnet_id: Uuid,
    /// The address.
    pub ip_address: IpAddr,
}

/// A port.
#[derive(Debug, Clone, Deserialize)]
pub struct Port {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The network it is on.
    #[serde(default, deserialize_with = "or_default")]
    pub network_id: Uuid,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Its hardware address.
    pub mac_address: MacAddr,
    /// Its addresses.
    #[serde(default, deserialize_with = "or_default")]
    pub fixed_ips: Vec<FixedIp>,
    /// What uses it: for kuryr the endpoint's id.
    #[serde(default, deserialize_with = "or_default")]
    pub device_id: String,
    /// Who uses it: `compute:kuryr` for kuryr.
    #[serde(default, deserialize_with = "or_default")]
    pub device_owner: String,
    /// `ACTIVE`, `DOWN`, `BUILD` or `ERROR`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// Whether it forwards packets.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// The host it is bound to; empty for an unbound port and for users who may not see it.
    #[serde(rename = "binding:host_id", default, deserialize_with = "or_default")]
    pub host_id: String,
    /// How it is plugged: `bridge`, `ovs`, `unbound`, `binding_failed`, …
    #[serde(rename = "binding:vif_type", default)]
    pub vif_type: Option<String>,
    /// What plugging needs to know; an object or null.
    #[serde(rename = "binding:vif_details", default)]
    pub vif_details: Value,
    /// `normal`, `direct`, …
    #[serde(rename = "binding:vnic_type", default, deserialize_with = "or_default")]
    pub vnic_type: String,
    /// What the host tells the mechanism driver; an object or null.
    #[serde(rename = "binding:profile", default)]
    pub profile: Value,
    /// Its security groups.
    #[serde(default, deserialize_with = "or_default")]
    pub security_groups: Vec<Uuid>,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// Counts the changes of the object.
    #[serde(default, deserialize_with = "or_default")]
    pub revision_number: i64,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Port {
    const SINGULAR: &'static str = "port";
    const COLLECTION: &'static str = "ports";
}
