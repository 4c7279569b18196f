//! Ethernet hardware addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An Ethernet hardware address; prints as lower-case, colon-separated hex, as Neutron stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// The text was not six colon-separated pairs of hex digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a MAC address; write six pairs of hex digits such as fa:16:3e:00:00:01")]
pub struct ParseMacError(String);

impl MacAddr {
    /// Whether the group bit is set: such an address cannot belong to a single port.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The last 64 bits of the IPv6 addresses that a host with this MAC makes itself (RFC 4291, appendix A).
    pub fn interface_id(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    /// Whether a host with this MAC makes the address itself, in whatever /64.
    pub fn makes(self, ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V6(ip) if ip.to_bits() & u128::from(u64::MAX) == u128::from(self.interface_id()))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseMacError(text.to_owned());
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or_else(refused)?;
            // from_str_radix alone would take a sign.
            if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *octet = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
        }
        if pairs.next().is_some() { Err(refused()) } else { Ok(Self(octets)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_neutron_stores_it() {
        let mac: MacAddr = "FA:16:3E:00:0a:01".parse().unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:00:0a:01");
        assert!(!mac.is_multicast());
    }

    #[test]
    fn refuses_anything_but_six_pairs() {
        for text in [
            "",
            "fa:16:3e:00:0a",
            "fa:16:3e:00:0a:01:02",
            "fa-16-3e-00-0a-01",
            "+a:16:3e:00:0a:01",
            "zz:16:3e:00:0a:01",
            "f:16:3e:00:0a:01",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }
}
