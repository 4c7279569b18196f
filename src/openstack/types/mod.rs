//! Neutron's resources as kuryr reads them.
//!
//! A field that Neutron leaves out or sends as null takes its empty value; only what identifies an object (`id`, `cidr`, `mac_address`,
//! an address) must be there. What we do not name stays in `extra`. Source of the contract: the Networking API v2.0 reference.

mod deployment;
mod network;
mod port;
mod router;
mod security_group;
mod subnet;
mod trunk;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use self::{
    deployment::{Agent, Extension, QosPolicy},
    network::Network,
    port::{FixedIp, Port},
    router::{FloatingIp, Router},
    security_group::{SecurityGroup, SecurityGroupRule},
    subnet::{AllocationPool, HostRoute, Subnet, SubnetPool},
    trunk::{SubPort, Trunk},
};

/// Fields of an answer that kuryr does not name.
pub type Extra = BTreeMap<String, Value>;

/// A kind of object in Neutron.
pub trait Resource: for<'de> Deserialize<'de> + Send {
    /// The key around one object.
    const SINGULAR: &'static str;
    /// The key around a list.
    const COLLECTION: &'static str;
    /// The segment in the URL; differs from [`Resource::COLLECTION`] by dashes.
    const PATH: &'static str = Self::COLLECTION;
    /// What a person calls it.
    const NOUN: &'static str = Self::SINGULAR;
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
