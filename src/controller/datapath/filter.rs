//! The host's two tables: `bridge kuryr` (who may a port claim to be, and what may be flooded to it) and `inet kuryr` (who may talk to
//! whom, with state).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    claims, names,
    rules::{self, Profile},
    snapshot::{Direction, Port, Snapshot},
};
use crate::{
    mac::MacAddr,
    nft::{Set, Table},
};

/// Name of the tables, in every namespace.
pub const TABLE: &str = "kuryr";

/// Neighbour discovery and multicast listener messages, without which IPv6 does not work at all.
pub(super) const ND: &str = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 143 }";

/// What stands on this host, as far as the tables depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// Taps that are not ours: the tables let them alone.
    pub foreign: BTreeSet<String>,
    /// Ports of routers whose tap was seen to lead into the router's own namespace. Only these may send from everybody's addresses:
    /// what the store says about a port's owner opens nothing.
    pub routers: BTreeSet<Uuid>,
    /// Rules, as nft text, that nft does not take.
    pub refused: BTreeSet<String>,
}

/// How a port's frames are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Nothing passes, as for a tap that is not known.
    Shut,
    /// What the port claims is checked, and its security groups count.
    Kept,
    /// Everything passes.
    Open,
}

/// Both tables: bridge and inet.
pub fn tables(snapshot: &Snapshot, sight: &Sight) -> [Table; 2] {
    let of_routers = snapshot.router_ports();
    let guard = |id: &Uuid, port: &Port| match () {
        () if !port.up || !snapshot.networks.contains_key(&port.network) => Guard::Shut,
        () if of_routers.contains(id) && sight.routers.contains(id) => Guard::Open,
        () if of_routers.contains(id) => Guard::Shut,
        () if port.security => Guard::Kept,
        () => Guard::Open,
    };
    let ports: Vec<(Uuid, &Port, Guard)> = snapshot.ports.iter().map(|(id, port)| (*id, port, guard(id, port))).collect();
    [bridge_table(snapshot, sight, &ports), inet_table(snapshot, sight, &ports)]
}

fn bridge_table(snapshot: &Snapshot, sight: &Sight, ports: &[(Uuid, &Port, Guard)]) -> Table {
    let mut table = Table::new("bridge", TABLE);
    let (mut senders, mut receivers) = (Set::of_verdicts("type ifname"), Set::of_verdicts("type ifname"));
    let mut hosts = Set::of("type ifname");
    let (mut profiles, mut sets) = (BTreeSet::new(), BTreeMap::new());
    let mut own = claims::Sets::default();
    for (id, port, guard) in ports {
        let tap = format!("\"{}\"", names::tap(*id));
        if *guard != Guard::Shut && snapshot.networks.get(&port.network).is_some_and(|network| network.external) {
            hosts.insert(&*tap);
        }
        match guard {
            Guard::Shut => {}
            Guard::Open => {
                senders.map(&*tap, "accept");
                receivers.map(tap, "accept");
            }
            Guard::Kept => {
                let profile = Profile::of(port);
                receivers.map(&*tap, format!("goto m_{}", profile.name()));
                senders.map(&*tap, format!("goto {}", claims::add(&mut table, &mut own, &tap, *id, port)));
                profiles.insert(profile);
            }
        }
    }
    for name in &sight.foreign {
        let tap = format!("\"{name}\"");
        senders.map(&*tap, "accept");
        receivers.map(&*tap, "accept");
        hosts.insert(tap);
    }
    for profile in profiles {
        // Frames to many receivers have no receiver in the inet hooks, so the rules for them stand here, without state.
        let mut lines = vec![
            "ether type != { ip, ip6, arp } drop".to_owned(),
            "ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 goto addressed".to_owned(),
            "meta protocol arp return".to_owned(),
            format!("{ND} return"),
        ];
        lines.extend(profile.chain(snapshot, Direction::Ingress, &sight.refused, &mut sets));
        table.chain(format!("m_{}", profile.name()), lines);
    }
    // A bridge floods what it has not learned yet: a port gets only what is for its own MACs.
    table.chain("addressed", vec!["oifname . ether daddr @macs return".into(), "drop".into()]);
    claims::finish(&mut table, own);
    rules::add_sets(&mut table, sets);
    for (name, set) in [("senders", senders), ("receivers", receivers), ("hosts", hosts)] {
        table.set(name, set);
    }
    // A tap without an entry is one whose rules are still to come, or one that is shut.
    let to_taps = || vec!["oifname vmap @receivers".to_owned(), "oifname \"tap*\" drop".to_owned()];
    table.base_chain("prerouting", "filter", "prerouting", -310, vec!["iifname vmap @senders".into(), "iifname \"tap*\" drop".into()]);
    table.base_chain("forward", "filter", "forward", -10, to_taps());
    table.base_chain("output", "filter", "output", -10, to_taps());
    // Without this the host would answer ARP for all of its addresses on every network.
    table.base_chain("input", "filter", "input", -10, vec!["iifname @hosts accept".into(), "iifname \"tap*\" drop".into()]);
    table
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

/// The maps from a port's place to the chains of its groups.
struct Places {
    senders: Set,
    receivers: Set,
    /// Those of ports whose groups keep no state.
    stateless_senders: Set,
    stateless_receivers: Set,
    /// By address, for what the host routes to a port on an external network.
    routed4: Set,
    routed6: Set,
}

fn places(snapshot: &Snapshot, kept: &[(&Port, Profile)]) -> Places {
    let by_mac = || Set::of_verdicts("type ifname . ether_addr");
    let mut places = Places {
        senders: by_mac(),
        receivers: by_mac(),
        stateless_senders: by_mac(),
        stateless_receivers: by_mac(),
        routed4: Set::of_verdicts("type ifname . ipv4_addr"),
        routed6: Set::of_verdicts("type ifname . ipv6_addr"),
    };
    // A MAC that two ports may use (a virtual router's) is judged by the rules of the first; the ports' own MACs come first, so that no
    // pair of another port takes their place.
    let mut taken: BTreeSet<(Uuid, MacAddr)> = BTreeSet::new();
    for pairs in [false, true] {
        for (port, profile) in kept {
            let (bridge, name) = (names::bridge(port.network), profile.name());
            let stateless = profile.stateless(snapshot);
            let macs: Vec<MacAddr> = if pairs { port.pairs.iter().map(|(mac, _)| *mac).collect() } else { vec![port.mac] };
            for mac in macs {
                if !taken.insert((port.network, mac)) {
                    continue;
                }
                let key = format!("\"{bridge}\" . {mac}");
                let (senders, receivers) = if stateless {
                    (&mut places.stateless_senders, &mut places.stateless_receivers)
                } else {
                    (&mut places.senders, &mut places.receivers)
                };
                senders.map(&*key, format!("jump e_{name}"));
                receivers.map(key, format!("jump i_{name}"));
            }
            if snapshot.networks.get(&port.network).is_some_and(|network| network.external) {
                let hosts = port.sources().map(|(_, net)| net).filter(|net| net.prefix_len() == net.max_prefix_len());
                for address in hosts.map(|net| net.addr()) {
                    let map = if address.is_ipv4() { &mut places.routed4 } else { &mut places.routed6 };
                    map.map(format!("\"{bridge}\" . {address}"), format!("jump i_{name}"));
                }
            }
        }
    }
    places
}

fn inet_table(snapshot: &Snapshot, sight: &Sight, ports: &[(Uuid, &Port, Guard)]) -> Table {
    let mut table = Table::new("inet", TABLE);
    let kept: Vec<(&Port, Profile)> =
        ports.iter().filter(|(_, _, guard)| *guard == Guard::Kept).map(|(_, port, _)| (*port, Profile::of(port))).collect();
    let profiles: BTreeSet<&Profile> = kept.iter().map(|(_, profile)| profile).collect();
    let mut sets = BTreeMap::new();
    for profile in profiles {
        for (letter, direction) in [('e', Direction::Egress), ('i', Direction::Ingress)] {
            let invalid = (!profile.stateless(snapshot)).then(|| "ct state invalid drop".to_owned());
            let rules = profile.chain(snapshot, direction, &sight.refused, &mut sets);
            table.chain(format!("{letter}_{}", profile.name()), invalid.into_iter().chain(rules).collect());
        }
    }
    rules::add_sets(&mut table, sets);
    let places = places(snapshot, &kept);
    for (name, set) in [
        ("senders", places.senders),
        ("receivers", places.receivers),
        ("stateless_senders", places.stateless_senders),
        ("stateless_receivers", places.stateless_receivers),
        ("routed4", places.routed4),
        ("routed6", places.routed6),
    ] {
        table.set(name, set);
    }
    let (external, internal): (Vec<Uuid>, Vec<Uuid>) = snapshot.networks.keys().partition(|id| snapshot.networks[id].external);
    let quoted = |ids: &[Uuid]| -> Vec<String> { ids.iter().map(|id| format!("\"{}\"", names::bridge(*id))).collect() };
    let (outer, inner) = (quoted(&external), quoted(&internal));

    // Not the external networks: the host itself is a party there, and its own packets have no zone.
    let zones = zones(snapshot);
    let zones: Vec<String> = internal.iter().map(|id| format!("\"{}\" : {}", names::bridge(*id), zones[id])).collect();
    table.base_chain("zones", "filter", "prerouting", -300, among("ct zone set iifname map", &zones, ""));
    let always = [format!("{ND} return"), "udp sport 68 udp dport 67 return".to_owned()];
    let by_mac = |senders: &str, receivers: &str| {
        [format!("iifname . ether saddr vmap @{senders}"), format!("oifname . ether daddr vmap @{receivers}")]
    };
    let mut bridged = always.to_vec();
    // Without state the rules of both directions count for every packet.
    bridged.extend(by_mac("stateless_senders", "stateless_receivers"));
    bridged.push("ct state established,related return".into());
    bridged.extend(by_mac("senders", "receivers"));
    table.chain("bridged", bridged);

    let mut forward = Vec::new();
    let pairs: Vec<String> = outer.iter().chain(&inner).map(|bridge| format!("{bridge} . {bridge}")).collect();
    forward.extend(among("iifname . oifname", &pairs, " goto bridged"));
    // The host routes for external networks only.
    forward.extend(among("iifname", &inner, " drop"));
    forward.extend(among("oifname", &inner, " drop"));
    forward.extend(among("iifname", &outer, " jump from_outside_port"));
    forward.extend(among("oifname", &outer, " jump to_outside_port"));
    table.base_chain("forward", "filter", "forward", -5, forward);
    // A port on an external network itself talks to the host, and through it, by way of these.
    let mut from = always.to_vec();
    from.push("iifname . ether saddr vmap @stateless_senders".into());
    from.push("ct state established,related return".into());
    from.push("iifname . ether saddr vmap @senders".into());
    table.chain("from_outside_port", from);
    let to = vec![
        format!("{ND} return"),
        "ct state established,related return".into(),
        "oifname . ip daddr vmap @routed4".into(),
        "oifname . ip6 daddr vmap @routed6".into(),
    ];
    table.chain("to_outside_port", to);
    table.base_chain("input", "filter", "input", -5, among("iifname", &outer, " jump from_outside_port"));
    table.base_chain("output", "filter", "output", -5, among("oifname", &outer, " jump to_outside_port"));

    let mut leaving = Vec::new();
    for (id, network) in snapshot.networks.iter().filter(|(_, network)| network.external) {
        for subnet in network.subnets.iter().filter(|subnet| subnet.gateway.is_some()) {
            let family = if subnet.cidr.addr().is_ipv6() { "ip6" } else { "ip" };
            let net: IpNet = subnet.cidr.trunc();
            leaving.push(format!("oifname != \"{}\" {family} saddr {net} {family} daddr != {net} masquerade", names::bridge(*id)));
        }
    }
    table.base_chain("leaving", "nat", "postrouting", 100, leaving);
    table
}

/// A rule over a list of elements; none where the list is empty, which nft refuses.
fn among(before: &str, elements: &[String], after: &str) -> Vec<String> {
    if elements.is_empty() { Vec::new() } else { vec![format!("{before} {{ {} }}{after}", elements.join(", "))] }
}
