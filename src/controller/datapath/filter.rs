//! The host's two tables as text: `bridge kuryr` (who may a port claim to be) and `inet kuryr` (who may talk to whom, with state).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    names,
    rules::{self, GroupSet},
    snapshot::{Direction, Port, Snapshot},
};
use crate::mac::MacAddr;

/// Neighbour discovery and multicast listener messages, without which IPv6 does not work at all.
const ND: &str = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 143 }";

/// Both tables, each replaced as a whole within one transaction. `foreign` are taps on this host that are not ours.
pub fn render(snapshot: &Snapshot, foreign: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for table in ["bridge", "inet"] {
        // Added first, because deleting a missing table is an error and nft 1.0.6 has no `destroy`.
        let _ = writeln!(text, "add table {table} kuryr\ndelete table {table} kuryr");
    }
    text.push_str(&bridge_table(snapshot, foreign));
    text.push_str(&inet_table(snapshot));
    text
}

fn bridge_table(snapshot: &Snapshot, foreign: &BTreeSet<String>) -> String {
    let (mut chains, mut sets) = (String::new(), BTreeSet::new());
    let (mut sources, mut floods, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
    for (id, port) in &snapshot.ports {
        let (tap, key) = (names::tap(*id), id.simple());
        if snapshot.networks.get(&port.network).is_some_and(|network| network.external) {
            hosts.push(format!("\"{tap}\""));
        }
        if !port.security {
            sources.push(format!("\"{tap}\" : accept"));
            continue;
        }
        sources.push(format!("\"{tap}\" : goto s_{key}"));
        floods.push(format!("\"{tap}\" : goto m_{key}"));
        let _ = writeln!(chains, "  chain s_{key} {{\n{}  }}", source_chain(port));
        let allowed = rules::chain(snapshot, port, Direction::Ingress, &mut sets);
        let _ = writeln!(chains, "  chain m_{key} {{\n    meta protocol arp accept\n    {ND} accept\n{allowed}  }}");
    }
    for name in foreign {
        sources.push(format!("\"{name}\" : accept"));
        hosts.push(format!("\"{name}\""));
    }
    let mut text = format!("table bridge kuryr {{\n{}{chains}", rules::render_sets(snapshot, &sets));
    text.push_str("  chain prerouting {\n    type filter hook prerouting priority -310; policy accept;\n");
    line(&mut text, "iifname vmap", &sources, "");
    text.push_str("    iifname \"tap*\" drop\n  }\n");
    // Frames to many receivers pass here once per receiver; the inet table sees no receiver in them.
    text.push_str("  chain forward {\n    type filter hook forward priority -10; policy accept;\n");
    line(&mut text, "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 oifname vmap", &floods, "");
    // Without this the host would answer ARP for all of its addresses on every network.
    text.push_str("  }\n  chain input {\n    type filter hook input priority -10; policy accept;\n");
    line(&mut text, "iifname", &hosts, " accept");
    text.push_str("    iifname \"tap*\" drop\n  }\n}\n");
    text
}

fn line(text: &mut String, before: &str, elements: &[String], after: &str) {
    if !elements.is_empty() {
        let _ = writeln!(text, "    {before} {{ {} }}{after}", elements.join(", "));
    }
}

/// What a port may send: frames from its own addresses, no router advertisements, no answers of a DHCP server.
fn source_chain(port: &Port) -> String {
    let mut by_mac: BTreeMap<MacAddr, BTreeSet<IpNet>> = BTreeMap::from([(port.mac, BTreeSet::new())]);
    for (mac, net) in port.sources() {
        by_mac.entry(mac).or_default().insert(net.trunc());
    }
    let mut text = String::new();
    text.push_str("    udp sport 67 udp dport 68 drop\n    udp sport 547 udp dport 546 drop\n    icmpv6 type { 134, 137 } drop\n");
    for (mac, nets) in by_mac {
        let (mut v4, mut v6): (BTreeSet<IpNet>, BTreeSet<IpNet>) = nets.into_iter().partition(|net| net.addr().is_ipv4());
        v6.insert(IpNet::from(rules::link_local(mac)));
        let advertised = rules::list(&v6);
        let _ = writeln!(text, "    ether saddr {mac} ip6 saddr {{ {advertised} }} icmpv6 type != 136 accept");
        let _ = writeln!(text, "    ether saddr {mac} ip6 saddr {{ {advertised} }} meta l4proto != 58 accept");
        let _ =
            writeln!(text, "    ether saddr {mac} ip6 saddr {{ {advertised} }} icmpv6 type 136 @th,64,128 {{ {} }} accept", hex_list(&v6));
        let _ = writeln!(text, "    ether saddr {mac} ip6 saddr {} {ND} icmpv6 type != {{ 134, 136 }} accept", Ipv6Addr::UNSPECIFIED);
        v4.insert(IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)));
        let _ = writeln!(text, "    ether saddr {mac} arp saddr ether {mac} arp saddr ip {{ {} }} accept", rules::list(&v4));
        let _ = writeln!(text, "    ether saddr {mac} ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept");
        v4.remove(&IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)));
        if !v4.is_empty() {
            let _ = writeln!(text, "    ether saddr {mac} ip saddr {{ {} }} accept", rules::list(&v4));
        }
    }
    text.push_str("    drop\n");
    text
}

/// Targets of neighbour advertisements, as numbers: nft 1.0.6 has no name for the field.
fn hex_list(nets: &BTreeSet<IpNet>) -> String {
    let texts: Vec<String> = IpNet::aggregate(&nets.iter().copied().collect())
        .iter()
        .filter_map(|net| match (net.network(), net.broadcast()) {
            (IpAddr::V6(first), IpAddr::V6(last)) if first == last => Some(format!("{:#x}", first.to_bits())),
            (IpAddr::V6(first), IpAddr::V6(last)) => Some(format!("{:#x}-{:#x}", first.to_bits(), last.to_bits())),
            _ => None,
        })
        .collect();
    texts.join(", ")
}

/// A conntrack zone for each network, so that equal addresses on two networks do not meet in one connection. It is made from the id and
/// stays the same over restarts; only of two networks whose ids collide one may move when the other goes.
fn zones(snapshot: &Snapshot) -> BTreeMap<Uuid, u16> {
    let mut used = BTreeSet::new();
    snapshot
        .networks
        .keys()
        .map(|id| {
            let [a, b, ..] = *id.as_bytes();
            let wanted = u16::from_be_bytes([a, b]).max(1);
            let zone = (wanted..=u16::MAX).chain(1..wanted).find(|zone| !used.contains(zone)).unwrap_or(wanted);
            used.insert(zone);
            (*id, zone)
        })
        .collect()
}

fn inet_table(snapshot: &Snapshot) -> String {
    let (mut chains, mut sets): (String, BTreeSet<GroupSet>) = Default::default();
    // A MAC that two ports may use (a virtual router's) is judged by the rules of the first.
    let (mut senders, mut receivers) = (BTreeMap::new(), BTreeMap::new());
    // The ports' own MACs first: no pair of another port may take their place.
    for pairs in [false, true] {
        for (id, port) in snapshot.ports.iter().filter(|(_, port)| port.security) {
            let bridge = names::bridge(port.network);
            let macs: Vec<MacAddr> = if pairs { port.pairs.iter().map(|(mac, _)| *mac).collect() } else { vec![port.mac] };
            for mac in macs {
                let key = format!("\"{bridge}\" . {mac}");
                senders.entry(key.clone()).or_insert_with(|| format!("jump e_{}", id.simple()));
                receivers.entry(key).or_insert_with(|| format!("jump i_{}", id.simple()));
            }
        }
    }
    for (id, port) in snapshot.ports.iter().filter(|(_, port)| port.security) {
        for (letter, direction) in [('e', Direction::Egress), ('i', Direction::Ingress)] {
            let body = rules::chain(snapshot, port, direction, &mut sets);
            let _ = writeln!(chains, "  chain {letter}_{} {{\n{body}  }}", id.simple());
        }
    }
    let mut text = format!("table inet kuryr {{\n{}{chains}", rules::render_sets(snapshot, &sets));
    let (external, internal): (Vec<Uuid>, Vec<Uuid>) = snapshot.networks.keys().partition(|id| snapshot.networks[id].external);
    let quoted = |ids: &[Uuid]| -> Vec<String> { ids.iter().map(|id| format!("\"{}\"", names::bridge(*id))).collect() };
    let (external, internal) = (quoted(&external), quoted(&internal));

    text.push_str("  chain zones {\n    type filter hook prerouting priority -300; policy accept;\n");
    // Not the external networks: the host itself is a party there, and its own packets have no zone.
    let zones: Vec<String> = zones(snapshot)
        .iter()
        .filter(|(id, _)| !snapshot.networks[id].external)
        .map(|(id, zone)| format!("\"{}\" : {zone}", names::bridge(*id)))
        .collect();
    line(&mut text, "ct zone set iifname map", &zones, "");
    text.push_str("  }\n  chain bridged {\n    ct state established,related accept\n");
    let _ = writeln!(text, "    {ND} accept\n    ct state invalid drop\n    udp sport 68 udp dport 67 accept");
    let vmap = |map: &BTreeMap<String, String>| -> Vec<String> { map.iter().map(|(key, verdict)| format!("{key} : {verdict}")).collect() };
    line(&mut text, "iifname . ether saddr vmap", &vmap(&senders), "");
    line(&mut text, "oifname . ether daddr vmap", &vmap(&receivers), "");
    text.push_str("    accept\n  }\n  chain forward {\n    type filter hook forward priority -5; policy accept;\n");
    let pairs: Vec<String> = external.iter().chain(&internal).map(|bridge| format!("{bridge} . {bridge}")).collect();
    line(&mut text, "iifname . oifname", &pairs, " jump bridged");
    // The host routes for external networks only.
    line(&mut text, "iifname", &internal, " drop");
    line(&mut text, "oifname", &internal, " drop");
    text.push_str("  }\n  chain leaving {\n    type nat hook postrouting priority 100; policy accept;\n");
    for (id, network) in snapshot.networks.iter().filter(|(_, network)| network.external) {
        for subnet in network.subnets.iter().filter(|subnet| subnet.gateway.is_some()) {
            let family = if subnet.cidr.addr().is_ipv6() { "ip6" } else { "ip" };
            let net = subnet.cidr.trunc();
            let _ = writeln!(text, "    oifname != \"{}\" {family} saddr {net} {family} daddr != {net} masquerade", names::bridge(*id));
        }
    }
    text.push_str("  }\n}\n");
    text
}
