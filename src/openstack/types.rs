//! Neutron's resources as kuryr reads them.
//!
//! A field that Neutron leaves out or sends as null takes its empty value; only what identifies an object (`id`, `cidr`, `mac_address`,
//! an address) must be there. What we do not name stays in `extra`. Source of the contract: the Networking API v2.0 reference.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use uuid::Uuid;

use crate::mac::MacAddr;

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

/// A range of addresses that Neutron gives out, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationPool {
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
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

/// A security group.
#[derive(Debug, Clone, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: Uuid,
    /// Its name; `default` in every project.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// What it is for.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// The project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub project_id: String,
    /// Its rules.
    #[serde(default, deserialize_with = "or_default")]
    pub security_group_rules: Vec<SecurityGroupRule>,
    /// Its tags.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for SecurityGroup {
    const SINGULAR: &'static str = "security_group";
    const COLLECTION: &'static str = "security_groups";
    const PATH: &'static str = "security-groups";
    const NOUN: &'static str = "security group";
}

/// A rule that lets traffic through.
#[derive(Debug, Clone, Deserialize)]
pub struct SecurityGroupRule {
    /// Its id.
    pub id: Uuid,
    /// The group it belongs to.
    #[serde(default, deserialize_with = "or_default")]
    pub security_group_id: Uuid,
    /// `ingress` or `egress`, seen from the port.
    #[serde(default, deserialize_with = "or_default")]
    pub direction: String,
    /// `IPv4` or `IPv6`.
    #[serde(default, deserialize_with = "or_default")]
    pub ethertype: String,
    /// A name or a number; none is any.
    #[serde(default)]
    pub protocol: Option<String>,
    /// The first port, or the ICMP type.
    #[serde(default)]
    pub port_range_min: Option<u16>,
    /// The last port, or the ICMP code.
    #[serde(default)]
    pub port_range_max: Option<u16>,
    /// The other side's addresses.
    #[serde(default)]
    pub remote_ip_prefix: Option<IpNet>,
    /// The other side's security group.
    #[serde(default)]
    pub remote_group_id: Option<Uuid>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Resource for SecurityGroupRule {
    const SINGULAR: &'static str = "security_group_rule";
    const COLLECTION: &'static str = "security_group_rules";
    const PATH: &'static str = "security-group-rules";
    const NOUN: &'static str = "security group rule";
}

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
