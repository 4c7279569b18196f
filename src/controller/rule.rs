//! What a security group rule may say, free of the store: Neutron's checks in Neutron's order, and the form a rule is kept in.
//!
//! Names and texts of the refusals are those of Neutron's `neutron_lib.exceptions` and `extensions/securitygroup.py`, which clients match on.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::protocol::{self, Protocol};

/// Which way the packets go, as seen from the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the port.
    Ingress,
    /// From the port.
    Egress,
}

/// The family of a rule: `ethertype` in Neutron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ethertype {
    /// `IPv4`
    V4,
    /// `IPv6`
    V6,
}

impl Direction {
    /// The word in Neutron's bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl Ethertype {
    /// The word in Neutron's bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of a prefix.
    fn of(prefix: &IpNet) -> Self {
        if prefix.addr().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Ethertype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the other end of the traffic must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remote {
    /// Anywhere.
    Any,
    /// In this network; host bits are cleared.
    Prefix(IpNet),
    /// An address of a port in this group.
    Group(Uuid),
}

/// The part of a rule that decides about packets. Two rules of one group with equal `Match` are the same rule to Neutron, whatever their
/// descriptions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Match {
    /// Which way.
    pub direction: Direction,
    /// Which family.
    pub ethertype: Ethertype,
    /// None allows every protocol.
    pub protocol: Option<Protocol>,
    /// Lowest port; the type for ICMP.
    pub port_range_min: Option<u16>,
    /// Highest port; the code for ICMP.
    pub port_range_max: Option<u16>,
    /// The other end.
    pub remote: Remote,
}

/// Why a rule is refused; every one is a 400.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// A field holds something that is not of its type.
    #[error("Invalid input for {field}. Reason: {reason}.")]
    Input {
        /// The field.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// Neither a known name nor a number from 0 to 255.
    #[error("Security group rule protocol {0} not supported. Only protocol values {names} and integer representations [0 to 255] are supported.", names = protocol::names())]
    Protocol(String),
    /// Not IPv4 or IPv6.
    #[error("Security group rule for ethertype '{0}' not supported. Allowed values are ['IPv4', 'IPv6'].")]
    Ethertype(String),
    /// An IPv6-only protocol in an IPv4 rule.
    #[error("Invalid ethertype {ethertype} for protocol {protocol}.")]
    EthertypeProtocol {
        /// The family asked for.
        ethertype: Ethertype,
        /// The protocol as Neutron would show it.
        protocol: String,
    },
    /// Ports without a protocol.
    #[error("Must also specify protocol if port range is given.")]
    ProtocolRequired,
    /// The protocol has no ports.
    #[error("Invalid protocol {0} for port range, only supported for [dccp, sctp, tcp, udp, udplite].")]
    ProtocolWithoutPorts(String),
    /// Port 0.
    #[error("Invalid value for port 0")]
    PortZero,
    /// One bound is missing, or they are the wrong way round.
    #[error("For TCP/UDP protocols, port_range_min must be <= port_range_max")]
    PortRange,
    /// ICMP type or code above 255.
    #[error("Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255.")]
    Icmp {
        /// `type` or `code`.
        field: &'static str,
        /// The field of the body.
        attribute: &'static str,
        /// What it holds.
        value: u16,
    },
    /// A code without a type.
    #[error("ICMP code (port-range-max) {0} is provided but ICMP type (port-range-min) is missing.")]
    IcmpTypeMissing(u16),
    /// Both kinds of remote.
    #[error("Only remote_ip_prefix or remote_group_id may be provided.")]
    TwoRemotes,
    /// Not a network or an address.
    #[error("Invalid CIDR {0} given as IP prefix.")]
    Cidr(String),
    /// The prefix is of the other family.
    #[error("Conflicting value ethertype {ethertype} for CIDR {cidr}")]
    Family {
        /// The family asked for.
        ethertype: Ethertype,
        /// The prefix asked for.
        cidr: IpNet,
    },
}

impl RuleError {
    /// The `type` in Neutron's error body.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input { .. } => "HTTPBadRequest",
            Self::Protocol(_) => "SecurityGroupRuleInvalidProtocol",
            Self::Ethertype(_) => "SecurityGroupRuleInvalidEtherType",
            Self::EthertypeProtocol { .. } => "SecurityGroupEthertypeConflictWithProtocol",
            Self::ProtocolRequired => "SecurityGroupProtocolRequiredWithPorts",
            Self::ProtocolWithoutPorts(_) => "SecurityGroupInvalidProtocolForPort",
            Self::PortZero => "SecurityGroupInvalidPortValue",
            Self::PortRange => "SecurityGroupInvalidPortRange",
            Self::Icmp { .. } => "SecurityGroupInvalidIcmpValue",
            Self::IcmpTypeMissing(_) => "SecurityGroupMissingIcmpType",
            Self::TwoRemotes => "SecurityGroupRemoteGroupAndRemoteIpPrefix",
            Self::Cidr(_) => "InvalidCIDR",
            Self::Family { .. } => "SecurityGroupRuleParameterConflict",
        }
    }
}

impl Match {
    /// Reads the matching fields out of a rule's body. Absent and null mean the same; `ethertype` is then IPv4, as in Neutron.
    ///
    /// # Errors
    /// [`RuleError`] with the first thing that Neutron would object to.
    pub fn parse(body: &Map<String, Value>) -> Result<Self, RuleError> {
        let direction = direction(body.get("direction"))?;
        let ethertype = ethertype(present(body, "ethertype"))?;
        let protocol = present(body, "protocol").map(Protocol::parse).transpose()?.flatten();
        let port_range_min = port(body, "port_range_min")?;
        let port_range_max = port(body, "port_range_max")?;
        let remote = remote(body)?;
        let rule = Self { direction, ethertype, protocol, port_range_min, port_range_max, remote };
        rule.check_ports()?;
        rule.check_families()?;
        Ok(rule)
    }

    fn check_ports(&self) -> Result<(), RuleError> {
        let (min, max) = (self.port_range_min, self.port_range_max);
        if min.is_none() && max.is_none() {
            return Ok(());
        }
        let protocol = self.protocol.ok_or(RuleError::ProtocolRequired)?;
        if protocol.has_ports() {
            if min == Some(0) || max == Some(0) {
                return Err(RuleError::PortZero);
            }
            return if min.is_some() && max.is_some() && min <= max { Ok(()) } else { Err(RuleError::PortRange) };
        }
        if !protocol.is_icmp() {
            return Err(RuleError::ProtocolWithoutPorts(protocol.to_string()));
        }
        for (attribute, field, value) in [("port_range_min", "type", min), ("port_range_max", "code", max)] {
            if let Some(value) = value.filter(|value| *value > 255) {
                return Err(RuleError::Icmp { field, attribute, value });
            }
        }
        match (min, max) {
            (None, Some(code)) => Err(RuleError::IcmpTypeMissing(code)),
            _ => Ok(()),
        }
    }

    fn check_families(&self) -> Result<(), RuleError> {
        if let Some(protocol) = self.protocol.filter(|protocol| self.ethertype == Ethertype::V4 && protocol.only_v6()) {
            return Err(RuleError::EthertypeProtocol { ethertype: self.ethertype, protocol: protocol.to_string() });
        }
        match self.remote {
            Remote::Prefix(cidr) if Ethertype::of(&cidr) != self.ethertype => Err(RuleError::Family { ethertype: self.ethertype, cidr }),
            _ => Ok(()),
        }
    }

    /// The key by which Neutron calls two rules of a group equal: it compares protocols by number and takes the whole of a family
    /// (`0.0.0.0/0`, `::/0`) for no prefix at all.
    pub fn identity(&self) -> Self {
        let remote = match self.remote {
            Remote::Prefix(prefix) if prefix.prefix_len() == 0 => Remote::Any,
            other => other,
        };
        Self { protocol: self.protocol.map(|protocol| protocol.on(self.ethertype == Ethertype::V6)), remote, ..*self }
    }

    /// The fields as Neutron shows them; [`Match::parse`] reads them back.
    pub fn body(&self) -> Map<String, Value> {
        let (prefix, group) = match self.remote {
            Remote::Any => (None, None),
            Remote::Prefix(prefix) => (Some(prefix.to_string()), None),
            Remote::Group(group) => (None, Some(group.to_string())),
        };
        let fields = [
            ("direction", json!(self.direction.as_str())),
            ("ethertype", json!(self.ethertype.as_str())),
            ("protocol", json!(self.protocol.map(|protocol| protocol.to_string()))),
            ("port_range_min", json!(self.port_range_min)),
            ("port_range_max", json!(self.port_range_max)),
            ("remote_ip_prefix", json!(prefix)),
            ("normalized_cidr", json!(prefix)),
            ("remote_group_id", json!(group)),
            ("remote_address_group_id", Value::Null),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The four rules of a project's default group: everything out, and in from the group itself, for both families.
    pub fn of_default_group(group: Uuid) -> [Self; 4] {
        [
            Self::open(Direction::Egress, Ethertype::V4, Remote::Any),
            Self::open(Direction::Egress, Ethertype::V6, Remote::Any),
            Self::open(Direction::Ingress, Ethertype::V4, Remote::Group(group)),
            Self::open(Direction::Ingress, Ethertype::V6, Remote::Group(group)),
        ]
    }

    /// The two rules that every other new group starts with: everything out, for both families.
    pub fn of_new_group() -> [Self; 2] {
        [Self::open(Direction::Egress, Ethertype::V4, Remote::Any), Self::open(Direction::Egress, Ethertype::V6, Remote::Any)]
    }

    fn open(direction: Direction, ethertype: Ethertype, remote: Remote) -> Self {
        Self { direction, ethertype, protocol: None, port_range_min: None, port_range_max: None, remote }
    }
}

/// The value of `field`, unless it is absent or null.
fn present<'a>(body: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    body.get(field).filter(|value| !value.is_null())
}

fn direction(value: Option<&Value>) -> Result<Direction, RuleError> {
    match value.and_then(Value::as_str) {
        Some("ingress") => Ok(Direction::Ingress),
        Some("egress") => Ok(Direction::Egress),
        _ => {
            let shown = value.map_or_else(|| "None".to_owned(), shown);
            Err(RuleError::Input { field: "direction", reason: format!("'{shown}' is not in ['ingress', 'egress']") })
        }
    }
}

fn ethertype(value: Option<&Value>) -> Result<Ethertype, RuleError> {
    let Some(value) = value else { return Ok(Ethertype::V4) };
    match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("ipv4") => Ok(Ethertype::V4),
        Some(text) if text.eq_ignore_ascii_case("ipv6") => Ok(Ethertype::V6),
        _ => Err(RuleError::Ethertype(shown(value))),
    }
}

/// Ports come as numbers and, from some clients, as text.
fn port(body: &Map<String, Value>, field: &'static str) -> Result<Option<u16>, RuleError> {
    let Some(value) = present(body, field) else { return Ok(None) };
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let reason = || format!("'{}' is not a port number from 0 to 65535", shown(value));
    number.map(Some).ok_or_else(|| RuleError::Input { field, reason: reason() })
}

fn remote(body: &Map<String, Value>) -> Result<Remote, RuleError> {
    match (present(body, "remote_ip_prefix"), present(body, "remote_group_id")) {
        (Some(_), Some(_)) => Err(RuleError::TwoRemotes),
        (None, None) => Ok(Remote::Any),
        (Some(prefix), None) => {
            // A lone address means itself.
            let text = prefix.as_str().ok_or_else(|| RuleError::Cidr(shown(prefix)))?;
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            net.map(|net| Remote::Prefix(net.trunc())).map_err(|_| RuleError::Cidr(text.to_owned()))
        }
        (None, Some(group)) => {
            let id = group.as_str().and_then(|text| Uuid::try_parse(text).ok());
            let reason = || format!("'{}' is not a valid UUID", shown(group));
            id.map(Remote::Group).ok_or_else(|| RuleError::Input { field: "remote_group_id", reason: reason() })
        }
    }
}

/// A value as a person would write it: text without quotes.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
