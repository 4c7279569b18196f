//! Subnets, and the pools that their prefixes come from.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use uuid::Uuid;

use super::{Extra, Resource, or_default};

/// A range of addresses that Neutron gives out, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationPool {
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
}

impl AllocationPool {
    /// How many addresses it has.
    pub fn size(&self) -> u128 {
        let between = match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => u128::from(end.to_bits()).checked_sub(start.to_bits().into()),
            (IpAddr::V6(start), IpAddr::V6(end)) => end.to_bits().checked_sub(start.to_bits()),
            _ => None,
        };
        between.map_or(0, |between| between.saturating_add(1))
    }

    /// Whether it has an address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        (self.start..=self.end).contains(&ip)
    }
}

/// A route that hosts on a subnet should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: IpNet,
    /// By way of.
    pub nexthop: IpAddr,
}

/// A subnet.
#[derive(Debug, Clone, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The network it lies on.
    #[serde(default, deserialize_with = "or_default")]
    pub network_id: Uuid,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// 4 or 6.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_version: u8,
    /// Its addresses.
    pub cidr: IpNet,
    /// The gateway; none for a subnet without one.
    #[serde(default)]
    pub gateway_ip: Option<IpAddr>,
    /// What Neutron gives out.
    #[serde(default, deserialize_with = "or_default")]
    pub allocation_pools: Vec<AllocationPool>,
    /// Routes for hosts.
    #[serde(default, deserialize_with = "or_default")]
    pub host_routes: Vec<HostRoute>,
    /// The pool its prefix comes from.
    #[serde(default)]
    pub subnetpool_id: Option<Uuid>,
    /// Whether a DHCP server answers on it.
    #[serde(default, deserialize_with = "or_default")]
    pub enable_dhcp: bool,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for Subnet {
    const SINGULAR: &'static str = "subnet";
    const COLLECTION: &'static str = "subnets";
}

/// A subnet pool.
#[derive(Debug, Clone, Deserialize)]
pub struct SubnetPool {
    /// Its id.
    pub id: Uuid,
    /// Its name; not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// What subnets are cut from; Neutron merges adjacent ones.
    #[serde(default, deserialize_with = "or_default")]
    pub prefixes: Vec<IpNet>,
    /// Prefix length of a subnet that asks for none.
    #[serde(default, deserialize_with = "prefixlen")]
    pub default_prefixlen: u8,
    /// The shortest prefix length a subnet may ask for.
    #[serde(default, deserialize_with = "prefixlen")]
    pub min_prefixlen: u8,
    /// The longest.
    #[serde(default, deserialize_with = "prefixlen")]
    pub max_prefixlen: u8,
    /// 4 or 6.
    #[serde(default, deserialize_with = "or_default")]
    pub ip_version: u8,
    /// Whether every project may use it.
    #[serde(default, deserialize_with = "or_default")]
    pub shared: bool,
    /// Whether it is the default pool of its family.
    #[serde(default, deserialize_with = "or_default")]
    pub is_default: bool,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for SubnetPool {
    const SINGULAR: &'static str = "subnetpool";
    const COLLECTION: &'static str = "subnetpools";
    const NOUN: &'static str = "subnet pool";
}

/// Neutron sends the prefix lengths of a subnet pool as text; newer releases and other implementations as a number.
fn prefixlen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u8),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(0),
        Some(Form::Number(number)) => Ok(number),
        Some(Form::Text(text)) => text.parse().map_err(|_| D::Error::custom(format!("'{text}' is no prefix length"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_pool_has_both_its_ends() {
        let pool = |start: &str, end: &str| AllocationPool { start: start.parse().unwrap(), end: end.parse().unwrap() };
        let few = pool("10.0.0.9", "10.0.0.10");
        let has = |ip: &str| few.contains(ip.parse().unwrap());
        assert_eq!([has("10.0.0.8"), has("10.0.0.9"), has("10.0.0.10"), has("10.0.0.11"), has("::9")], [false, true, true, false, false]);
        assert_eq!([few.size(), pool("10.0.0.9", "10.0.0.9").size(), pool("10.0.0.10", "10.0.0.9").size()], [2, 1, 0]);
        assert_eq!([pool("0.0.0.0", "255.255.255.255").size(), pool("fd00::", "fd00::ffff:ffff:ffff:ffff").size()], [1 << 32, 1 << 64]);
        assert_eq!(pool("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").size(), u128::MAX);
    }
}
