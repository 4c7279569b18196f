//! Who a port may claim to be: the part of the bridge table that judges a frame by its sender alone.
//!
//! A frame must come from one of the port's MACs together with one of the addresses that go with it. The pairs stand in sets that all
//! ports share; only prefixes, which hash sets cannot hold, have chains of their port.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};
use uuid::Uuid;

use super::snapshot::Port;
use crate::{
    mac::MacAddr,
    nft::{Set, Table},
};

/// What the ports may claim, gathered over all of them: keys start with the tap and the MAC.
pub(super) struct Sets {
    macs: Set,
    v4: Set,
    v6: Set,
    /// The addresses of `v6` as numbers: nft 1.0.6 has no name for the target field of neighbour messages.
    targets: Set,
}

impl Default for Sets {
    fn default() -> Self {
        Self {
            macs: Set::of("type ifname . ether_addr"),
            v4: Set::of("type ifname . ether_addr . ipv4_addr"),
            v6: Set::of("type ifname . ether_addr . ipv6_addr"),
            targets: Set::of("typeof iifname . ether saddr . @th,64,128"),
        }
    }
}

/// A neighbour message about an address of somebody else.
const FOREIGN_TARGET: &str = "iifname . ether saddr . @th,64,128 != @targets";

/// Adds a port and gives back the name of the chain that judges it; `tap` is quoted.
pub(super) fn add(table: &mut Table, sets: &mut Sets, tap: &str, id: Uuid, port: &Port) -> String {
    let mut prefixes: BTreeMap<MacAddr, BTreeSet<IpNet>> = BTreeMap::new();
    for mac in std::iter::once(port.mac).chain(port.pairs.iter().map(|(mac, _)| *mac)) {
        sets.macs.insert(format!("{tap} . {mac}"));
        sets.host(tap, mac, link_local(mac));
    }
    for (mac, net) in port.sources() {
        if net.prefix_len() == net.max_prefix_len() {
            sets.host(tap, mac, net.addr());
        } else {
            prefixes.entry(mac).or_default().insert(net.trunc());
        }
    }
    if prefixes.is_empty() {
        return "claims".to_owned();
    }
    let key = id.simple();
    let (mut targets, mut sources) = (vec!["jump never".to_owned()], Vec::new());
    for (mac, nets) in prefixes {
        for net in nets {
            match net {
                IpNet::V4(net) => {
                    sources.push(format!("ether saddr {mac} ip saddr {net} accept"));
                    sources.push(format!("ether saddr {mac} {ARP} arp saddr ether {mac} arp saddr ip {net} accept"));
                }
                IpNet::V6(net) => {
                    targets.push(format!("ether saddr {mac} icmpv6 type 136 @th,64,128 {} goto o_{key}", numbers(net)));
                    sources.push(format!("ether saddr {mac} ip6 saddr {net} accept"));
                    sources.push(format!("ether saddr {mac} ip6 saddr :: icmpv6 type 135 @th,64,128 {} accept", numbers(net)));
                }
            }
        }
    }
    targets.push(format!("icmpv6 type 136 {FOREIGN_TARGET} drop"));
    targets.push(format!("goto o_{key}"));
    sources.push("goto sources".to_owned());
    table.chain(format!("s_{key}"), targets);
    table.chain(format!("o_{key}"), sources);
    format!("s_{key}")
}

/// An ARP packet between Ethernet and IPv4, whose fields are where nft looks for them.
const ARP: &str = "arp htype 1 arp ptype ip arp hlen 6 arp plen 4";

/// Puts the common chains and the sets into the table.
pub(super) fn finish(table: &mut Table, sets: Sets) {
    let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    // A VLAN tag is none of the three, and would lead a packet past the inet hooks; 134 and 137 are router advertisement and redirect.
    let never = lines(&[
        "ether type != { ip, ip6, arp } drop",
        "udp sport 67 udp dport 68 drop",
        "udp sport 547 udp dport 546 drop",
        "icmpv6 type { 134, 137 } drop",
    ]);
    table.chain("never", never);
    table.chain("claims", vec!["jump never".into(), format!("icmpv6 type 136 {FOREIGN_TARGET} drop"), "goto sources".into()]);
    let mut sources = lines(&[
        "iifname . ether saddr . ip saddr @own4 accept",
        "iifname . ether saddr . ip6 saddr @own6 accept",
        // Before it has an address a host asks whether it is free (DAD), for routers (133), and joins groups.
        "ip6 saddr :: icmpv6 type 135 iifname . ether saddr . @th,64,128 @targets accept",
        "ip6 saddr :: icmpv6 type { 131, 132, 133, 143 } iifname . ether saddr @macs accept",
    ]);
    sources.push(format!("{ARP} iifname . ether saddr . arp saddr ip @own4 iifname . arp saddr ether . arp saddr ip @own4 accept"));
    // An ARP probe (RFC 5227).
    sources.push(format!("{ARP} arp saddr ip 0.0.0.0 iifname . ether saddr @macs iifname . arp saddr ether @macs accept"));
    sources.extend(lines(&["ip saddr 0.0.0.0 udp sport 68 udp dport 67 iifname . ether saddr @macs accept", "drop"]));
    table.chain("sources", sources);
    for (name, set) in [("macs", sets.macs), ("own4", sets.v4), ("own6", sets.v6), ("targets", sets.targets)] {
        table.set(name, set);
    }
}

impl Sets {
    fn host(&mut self, tap: &str, mac: MacAddr, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.v4.insert(format!("{tap} . {mac} . {address}")),
            IpAddr::V6(address) => {
                self.v6.insert(format!("{tap} . {mac} . {address}"));
                self.targets.insert(format!("{tap} . {mac} . {:#x}", address.to_bits()));
            }
        }
    }
}

/// A prefix as a range of numbers.
fn numbers(net: Ipv6Net) -> String {
    format!("{:#x}-{:#x}", net.network().to_bits(), net.broadcast().to_bits())
}

/// The link-local address that the MAC leads to (RFC 4291, modified EUI-64).
fn link_local(mac: MacAddr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(mac.interface_id())))
}
