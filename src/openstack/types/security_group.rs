//! Security groups and their rules.

use ipnet::IpNet;
use serde::Deserialize;
use uuid::Uuid;

use super::{Extra, Resource, or_default};

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
