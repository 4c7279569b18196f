//! IP protocols as security group rules name them.

use std::fmt;

use serde_json::Value;

use super::rule::{RuleError, shown};

/// Neutron's `IP_PROTOCOL_MAP`: the names it takes and their IANA numbers.
const NAMES: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];

/// One protocol: its number, and the name the user gave it, because Neutron shows a rule in the words it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol {
    number: u8,
    name: Option<&'static str>,
}

impl Protocol {
    /// Reads a name in any case, or a number as such or as text. `any` and 0 are no restriction.
    ///
    /// # Errors
    /// [`RuleError::Protocol`] for everything else.
    pub fn parse(value: &Value) -> Result<Option<Self>, RuleError> {
        let refused = || RuleError::Protocol(shown(value));
        let text = match value {
            Value::String(text) => text.to_ascii_lowercase(),
            Value::Number(number) => number.to_string(),
            _ => return Err(refused()),
        };
        if text == "any" {
            return Ok(None);
        }
        if let Some(&(name, number)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Some(Self { number, name: Some(name) }));
        }
        let number: u8 = text.parse().map_err(|_| refused())?;
        Ok((number != 0).then_some(Self { number, name: None }))
    }

    /// The IANA number.
    pub fn number(self) -> u8 {
        self.number
    }

    /// Whether `port_range_min` and `port_range_max` are ports.
    pub fn has_ports(self) -> bool {
        matches!(self.number, 6 | 17 | 33 | 132 | 136)
    }

    /// Whether they are type and code instead.
    pub fn is_icmp(self) -> bool {
        matches!(self.number, 1 | 58)
    }

    /// Whether it means nothing in IPv4. Neutron goes by name here: number 58 in an IPv4 rule is let through, and matches nothing.
    pub fn only_v6(self) -> bool {
        self.name.is_some_and(|name| name == "icmpv6" || name.starts_with("ipv6-") && name != "ipv6-encap")
    }

    /// The protocol by number alone; `icmp` in an IPv6 rule means ICMPv6 to Neutron's firewalls.
    pub fn on(self, v6: bool) -> Self {
        Self { number: if v6 && self.number == 1 { 58 } else { self.number }, name: None }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.number),
        }
    }
}

/// The names as an error lists them.
pub(super) fn names() -> String {
    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    format!("[any, {}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Protocol;

    #[test]
    fn names_and_numbers_are_read_and_shown_as_given() {
        for (value, shown, number) in [
            (json!("tcp"), "tcp", 6),
            (json!("TCP"), "tcp", 6),
            (json!(6), "6", 6),
            (json!("6"), "6", 6),
            (json!("ipv6-icmp"), "ipv6-icmp", 58),
            (json!("icmpv6"), "icmpv6", 58),
            (json!(255), "255", 255),
        ] {
            let protocol = Protocol::parse(&value).unwrap().unwrap();
            assert_eq!((protocol.to_string().as_str(), protocol.number()), (shown, number), "{value}");
        }
        for value in [json!("any"), json!("ANY"), json!(0), json!("0")] {
            assert_eq!(Protocol::parse(&value).unwrap(), None, "{value}");
        }
        for value in [json!("tcpp"), json!(256), json!(-1), json!("-1"), json!(6.5), json!(""), json!(true), json!([])] {
            assert!(Protocol::parse(&value).is_err(), "{value}");
        }
    }
}
