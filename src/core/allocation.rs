//! Which addresses of a subnet containers may get.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::claim::Range;

/// Addresses of a range that no container may get.
pub(super) fn reserved(range: &Range) -> BTreeSet<IpAddr> {
    range.data.aux_addresses.iter().chain(&range.pool.reserved).copied().collect()
}

/// The ranges of a subnet that Neutron may choose addresses from: all hosts but `taken`.
pub(super) fn allocation_pools(cidr: IpNet, taken: &BTreeSet<IpAddr>) -> Value {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let address = |number: u128| match cidr {
        // Within an IPv4 range the number is below 2^32.
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    };
    let long = cidr.prefix_len() + 1 < cidr.max_prefix_len();
    let first = number(cidr.network()) + u128::from(long);
    let last = number(cidr.broadcast()) - u128::from(long && cidr.addr().is_ipv4());
    let mut pools = Vec::new();
    let mut start = first;
    for taken in taken.iter().map(|ip| number(*ip)).filter(|taken| (first..=last).contains(taken)) {
        if start < taken {
            pools.push(json!({"start": address(start), "end": address(taken - 1)}));
        }
        start = taken + 1;
    }
    if start <= last {
        pools.push(json!({"start": address(start), "end": address(last)}));
    }
    Value::Array(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_pools_leave_out_what_is_taken() {
        let pools = |cidr: &str, taken: &[&str]| {
            let taken = taken.iter().map(|ip| ip.parse().unwrap()).collect();
            allocation_pools(cidr.parse().unwrap(), &taken)
        };
        assert_eq!(
            pools("10.0.0.0/24", &["10.0.0.1", "10.0.0.5", "10.0.0.6"]),
            json!([{"start": "10.0.0.2", "end": "10.0.0.4"}, {"start": "10.0.0.7", "end": "10.0.0.254"}])
        );
        assert_eq!(pools("10.0.0.0/30", &["10.0.0.1", "10.0.0.2"]), json!([]));
        assert_eq!(pools("10.0.0.0/30", &["10.0.0.2", "10.9.9.9"]), json!([{"start": "10.0.0.1", "end": "10.0.0.1"}]));
        assert_eq!(
            pools("fd00::/126", &["fd00::2"]),
            json!([{"start": "fd00::1", "end": "fd00::1"}, {"start": "fd00::3", "end": "fd00::3"}])
        );
        assert_eq!(pools("255.255.255.0/24", &["255.255.255.254"]), json!([{"start": "255.255.255.1", "end": "255.255.255.253"}]));
    }
}
