//! Security group rules as nft text. The text is the same in the inet and the bridge family, because both tables need it.

use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use uuid::Uuid;

use super::snapshot::{Direction, Port, Remote, Rule, Snapshot};

const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A named set: members of a group that can be met from a network.
pub(super) type GroupSet = (Uuid, Uuid, bool);

/// The name of a [`GroupSet`].
pub(super) fn set_name((group, network, v6): GroupSet) -> String {
    format!("g{}_{}_{}", if v6 { 6 } else { 4 }, group.simple(), network.simple())
}

/// The body of a chain: a packet that a rule allows returns, any other is dropped. Sets that the rules name are added to `sets`.
pub(super) fn chain(snapshot: &Snapshot, port: &Port, direction: Direction, sets: &mut BTreeSet<GroupSet>) -> String {
    let mut text = String::new();
    for rule in port.groups.iter().filter_map(|group| snapshot.groups.get(group)).flatten() {
        if rule.direction == direction {
            let _ = writeln!(text, "    {} return", matches(rule, port.network, sets));
        }
    }
    text.push_str("    drop\n");
    text
}

fn matches(rule: &Rule, network: Uuid, sets: &mut BTreeSet<GroupSet>) -> String {
    let family = if rule.v6 { "ip6" } else { "ip" };
    let mut text = format!("meta protocol {family}");
    let protocol = rule.protocol.map(|number| if rule.v6 && number == ICMP { ICMP6 } else { number });
    if let Some(number) = protocol {
        let _ = write!(text, " meta l4proto {number}");
        match (number, rule.range) {
            (ICMP | ICMP6, (kind, code)) => {
                let name = if number == ICMP { "icmp" } else { "icmpv6" };
                for (field, value) in [("type", kind), ("code", code)] {
                    if let Some(value) = value {
                        let _ = write!(text, " {name} {field} {value}");
                    }
                }
            }
            (_, (Some(low), Some(high))) => {
                let _ = write!(text, " th dport {low}-{high}");
            }
            (_, (Some(only), None) | (None, Some(only))) => {
                let _ = write!(text, " th dport {only}");
            }
            (_, (None, None)) => {}
        }
    }
    let side = if rule.direction == Direction::Ingress { "saddr" } else { "daddr" };
    match rule.remote {
        Remote::Any => {}
        Remote::Prefix(net) => {
            let _ = write!(text, " {family} {side} {}", net.trunc());
        }
        Remote::Group(group) => {
            let set = (group, network, rule.v6);
            sets.insert(set);
            let _ = write!(text, " {family} {side} @{}", set_name(set));
        }
    }
    text
}

/// The sets as text.
pub(super) fn render_sets(snapshot: &Snapshot, sets: &BTreeSet<GroupSet>) -> String {
    let mut text = String::new();
    for set in sets {
        let (group, network, v6) = *set;
        let reachable = snapshot.reachable(network);
        let members: BTreeSet<IpNet> = snapshot
            .ports
            .values()
            .filter(|port| port.groups.contains(&group) && reachable.contains(&port.network))
            .flat_map(Port::sources)
            .map(|(_, net)| net.trunc())
            .filter(|net| net.addr().is_ipv6() == v6)
            .collect();
        let kind = if v6 { "ipv6_addr" } else { "ipv4_addr" };
        let _ = writeln!(text, "  set {} {{\n    type {kind}\n    flags interval\n    auto-merge", set_name(*set));
        if !members.is_empty() {
            let _ = writeln!(text, "    elements = {{ {} }}", list(&members));
        }
        text.push_str("  }\n");
    }
    text
}

/// Addresses for an anonymous set: a host without its prefix length, overlaps removed because nft refuses them there.
pub(super) fn list(nets: &BTreeSet<IpNet>) -> String {
    let widest = IpNet::aggregate(&nets.iter().copied().collect());
    let texts: Vec<String> =
        widest.iter().map(|net| if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }).collect();
    texts.join(", ")
}

/// The link-local address that the MAC leads to (RFC 4291, modified EUI-64).
pub(super) fn link_local(mac: crate::mac::MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0.map(u16::from);
    IpAddr::from([0xfe80, 0, 0, 0, ((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f])
}
