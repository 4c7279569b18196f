//! Who a port may claim to be.

use std::net::IpAddr;

use kuryr::{controller::datapath::Executor, mac::MacAddr};

use super::{
    frames::{
        self, EVERYONE, NOBODY4, NOBODY6, all_nodes, arp, behind_options, echo, ethernet, fragments, icmp6, link_local, packet, tagged,
        tcp, udp,
    },
    probe::{Station, arrives, is_lost},
    world::{OPEN, id, port, sync, world},
};

const OTHER: MacAddr = MacAddr([0xfa, 0x16, 0x3e, 0, 0xa, 2]);
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_port_sends_from_its_own_addresses_only() {
    let mut world = world();
    world.ports.extend([port(&world, 0xa, 9, &[])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    // The second has no port security, so that it hears all that passes the sender's check.
    let (a, b) = (Station::of(&world, id(0xa, 1)), Station::of(&world, id(0xa, 9)));
    sync(&mut executor, &world, false);
    let (a, b) = (&a, &b);
    let lost = |what: &str, frame: &dyn Fn(&str) -> Vec<u8>| is_lost(a, b, what, frame);
    let comes = |what: &str, frame: &dyn Fn(&str) -> Vec<u8>| arrives(a, b, what, frame);
    let (everyone6, nodes) = all_nodes();
    let own_local = link_local(a.mac);

    for v6 in [false, true] {
        let (own, target, foreign) = if v6 { (a.v6, b.v6, ip("fd00:a::2")) } else { (a.v4, b.v4, ip("10.0.0.2")) };
        for (name, content) in [
            ("UDP", &(|mark: &str| udp(4000, 4000, mark)) as &dyn Fn(&str) -> frames::Content),
            ("TCP", &|mark| tcp(4001, 4000, mark)),
            ("ICMP", &|mark| echo(v6, mark)),
        ] {
            comes(&format!("{name} from its own addresses"), &|mark| packet(a.mac, b.mac, own, target, &content(mark)));
            lost(&format!("{name} from another MAC"), &|mark| packet(STRANGER, b.mac, own, target, &content(mark)));
            lost(&format!("{name} from another address"), &|mark| packet(a.mac, b.mac, foreign, target, &content(mark)));
            lost(&format!("{name} from another port's MAC and address"), &|mark| packet(OTHER, b.mac, foreign, target, &content(mark)));
            lost(&format!("{name} from nobody"), &|mark| packet(a.mac, b.mac, if v6 { NOBODY6 } else { NOBODY4 }, target, &content(mark)));
        }
        let (from, to) = if v6 { (547, 546) } else { (67, 68) };
        lost("an answer of a DHCP server", &|mark| packet(a.mac, b.mac, own, target, &udp(from, to, mark)));
        lost("one to everybody", &|mark| packet(a.mac, EVERYONE, own, target, &udp(from, to, mark)));
        comes("a question to a DHCP server", &|mark| packet(a.mac, EVERYONE, own, target, &udp(to, from, mark)));
    }
    comes("a host without an address asks for one", &|mark| packet(a.mac, EVERYONE, NOBODY4, ip("255.255.255.255"), &udp(68, 67, mark)));
    lost("the same from another MAC", &|mark| packet(STRANGER, EVERYONE, NOBODY4, ip("255.255.255.255"), &udp(68, 67, mark)));

    let request = |from: MacAddr, mac: MacAddr, sender: IpAddr| {
        move |mark: &str| ethernet(from, EVERYONE, 0x0806, &arp(mac, sender, ip("10.0.0.9"), mark))
    };
    comes("ARP", &request(a.mac, a.mac, a.v4));
    comes("an ARP probe", &request(a.mac, a.mac, NOBODY4));
    lost("ARP for another address", &request(a.mac, a.mac, ip("10.0.0.2")));
    lost("ARP for the gateway", &request(a.mac, a.mac, ip("10.0.0.254")));
    lost("ARP that names another MAC", &request(a.mac, OTHER, a.v4));
    lost("ARP from another MAC", &request(OTHER, a.mac, a.v4));
    lost("an ARP probe that names another MAC", &request(a.mac, OTHER, NOBODY4));

    let nd = |source: IpAddr, kind: u8, target: Option<IpAddr>| {
        move |mark: &str| packet(a.mac, everyone6, source, nodes, &icmp6(kind, target, mark))
    };
    comes("a neighbour solicitation", &nd(a.v6, 135, Some(b.v6)));
    comes("one from the link-local address", &nd(own_local, 135, Some(b.v6)));
    comes("detection of duplicates for its own address", &nd(NOBODY6, 135, Some(a.v6)));
    comes("and for the link-local one", &nd(NOBODY6, 135, Some(own_local)));
    comes("an advertisement of its own address", &nd(a.v6, 136, Some(a.v6)));
    comes("one of the link-local address", &nd(own_local, 136, Some(own_local)));
    comes("a router solicitation", &nd(own_local, 133, None));
    comes("a router solicitation from nobody", &nd(NOBODY6, 133, None));
    comes("a multicast listener report", &nd(own_local, 143, None));
    lost("detection of duplicates for another's address", &nd(NOBODY6, 135, Some(ip("fd00:a::2"))));
    lost("an advertisement of another's address", &nd(a.v6, 136, Some(ip("fd00:a::2"))));
    lost("an advertisement of the gateway", &nd(own_local, 136, Some(ip("fd00:a::fe"))));
    lost("a solicitation from another's address", &nd(ip("fd00:a::2"), 135, Some(b.v6)));
    lost("an advertisement from another's address", &nd(ip("fd00:a::2"), 136, Some(a.v6)));
    lost("an advertisement from nobody", &nd(NOBODY6, 136, Some(a.v6)));
    lost("a router advertisement", &nd(own_local, 134, None));
    lost("a redirect", &nd(own_local, 137, Some(b.v6)));
    lost("another MAC's link-local address", &nd(link_local(OTHER), 135, Some(b.v6)));
    let hidden = |kind, target| {
        move |mark: &str| packet(a.mac, everyone6, own_local, nodes, &behind_options(&icmp6(kind, target, mark), own_local, nodes))
    };
    lost("a router advertisement behind an extension header", &hidden(134, None));
    lost("an advertisement of another behind one", &hidden(136, Some(ip("fd00:a::2"))));
    comes("an advertisement of its own behind one", &hidden(136, Some(own_local)));
    let large = |source: IpAddr| {
        move |mark: &str| {
            let [first, second] =
                fragments(&echo(true, &format!("{mark:>64}")), 40, source, b.v6).map(|part| packet(a.mac, b.mac, source, b.v6, &part));
            a.send(&first);
            second
        }
    };
    comes("an echo request in fragments", &large(a.v6));
    lost("one from another's address", &large(ip("fd00:a::2")));

    for (name, kind) in [("LLDP", 0x88cc), ("PPPoE", 0x8863), ("Cisco's (802.3)", 40), ("MPLS", 0x8847)] {
        lost(name, &|mark| ethernet(a.mac, EVERYONE, kind, mark.as_bytes()));
    }
    for (kind, vlan) in [(0x8100, 0), (0x8100, 5), (0x88a8, 5)] {
        lost("a packet in a VLAN", &|mark| tagged(&a.udp(b, false, 4000, mark), kind, vlan));
    }
}

#[test]
fn allowed_address_pairs_widen_what_a_port_may_claim() {
    let mut world = world();
    world.ports.extend([port(&world, 0xa, 9, &[])]);
    let own = world.ports[&id(0xa, 1)].mac;
    let pairs = [(own, "10.0.0.64/26"), (STRANGER, "10.0.0.7/32"), (own, "fd00:a::100/120"), (STRANGER, "fd00:a::7/128")];
    let pairs = pairs.map(|(mac, net)| (mac, net.parse().unwrap()));
    world.ports.get_mut(&id(0xa, 1)).unwrap().pairs = pairs.to_vec();
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let (a, b) = (&Station::of(&world, id(0xa, 1)), &Station::of(&world, id(0xa, 9)));
    sync(&mut executor, &world, false);
    let plain = |mac: MacAddr, source: IpAddr| {
        let target = if source.is_ipv4() { b.v4 } else { b.v6 };
        move |mark: &str| packet(mac, b.mac, source, target, &udp(4000, 4000, mark))
    };
    for (mac, source) in [
        (a.mac, a.v4),
        (a.mac, a.v6),
        (a.mac, ip("10.0.0.64")),
        (a.mac, ip("10.0.0.127")),
        (STRANGER, ip("10.0.0.7")),
        (a.mac, ip("fd00:a::1ff")),
        (STRANGER, ip("fd00:a::7")),
        (STRANGER, link_local(STRANGER)),
    ] {
        arrives(a, b, &format!("{source} with {mac}"), plain(mac, source));
        if source.is_ipv4() {
            arrives(a, b, &format!("ARP for {source} with {mac}"), |mark| ethernet(mac, EVERYONE, 0x0806, &arp(mac, source, b.v4, mark)));
        } else {
            let (everyone, nodes) = all_nodes();
            for (kind, from) in [(136, source), (135, NOBODY6)] {
                let message = |mark: &str| packet(mac, everyone, from, nodes, &icmp6(kind, Some(source), mark));
                arrives(a, b, &format!("message {kind} about {source} with {mac}"), message);
            }
        }
    }
    for (mac, source) in [
        (STRANGER, a.v4),
        (STRANGER, a.v6),
        (STRANGER, ip("10.0.0.64")),
        (a.mac, ip("10.0.0.63")),
        (a.mac, ip("10.0.0.128")),
        (a.mac, ip("10.0.0.7")),
        (a.mac, ip("fd00:a::200")),
        (a.mac, ip("fd00:a::7")),
        (OTHER, ip("10.0.0.7")),
    ] {
        is_lost(a, b, &format!("{source} with {mac}"), plain(mac, source));
    }
    let (everyone, nodes) = all_nodes();
    is_lost(a, b, "an advertisement beside the prefix", |mark| {
        packet(a.mac, everyone, ip("fd00:a::100"), nodes, &icmp6(136, Some(ip("fd00:a::200")), mark))
    });
    is_lost(a, b, "a DHCP server on a pair's address", |mark| packet(a.mac, b.mac, ip("10.0.0.65"), b.v4, &udp(67, 68, mark)));
    // What a pair allows is taken away again with it.
    world.ports.get_mut(&id(0xa, 1)).unwrap().pairs.clear();
    sync(&mut executor, &world, false);
    is_lost(a, b, "an address that was allowed once", plain(a.mac, ip("10.0.0.64")));
    is_lost(a, b, "a MAC that was allowed once", plain(STRANGER, ip("10.0.0.7")));
    arrives(a, b, "its own address", plain(a.mac, a.v4));
}

#[test]
fn without_port_security_a_port_claims_what_it_likes() {
    let mut world = world();
    world.ports.extend([port(&world, 0xa, 8, &[]), port(&world, 0xa, 9, &[])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let (a, b) = (&Station::of(&world, id(0xa, 8)), &Station::of(&world, id(0xa, 9)));
    sync(&mut executor, &world, false);
    let (everyone, nodes) = all_nodes();
    let spoofed = |mark: &str| packet(STRANGER, b.mac, ip("10.0.0.2"), b.v4, &udp(67, 68, mark));
    arrives(a, b, "another's address", spoofed);
    arrives(a, b, "a router advertisement", |mark| packet(a.mac, everyone, link_local(OTHER), nodes, &icmp6(134, None, mark)));
    arrives(a, b, "another protocol", |mark| ethernet(STRANGER, EVERYONE, 0x88b5, mark.as_bytes()));
    // And only as long as it has none.
    let port = world.ports.get_mut(&id(0xa, 8)).unwrap();
    (port.security, port.groups) = (true, vec![OPEN]);
    sync(&mut executor, &world, false);
    is_lost(a, b, "another's address under port security", spoofed);
}
