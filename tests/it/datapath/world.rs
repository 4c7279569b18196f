//! Networks, ports and routers for the tests, and the containers on them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use kuryr::{
    controller::datapath::{
        self, Executor, Extent, names,
        snapshot::{Direction, Group, Network, Port, Remote, Router, Rule, Snapshot, Subnet},
    },
    netlink::{NetnsFd, Route, Socket, Veth, netns},
};
use uuid::Uuid;

/// Longer than any answer takes on one machine; only connections that must not come about wait for it.
const LOST: Duration = Duration::from_millis(700);
/// The end of a broken test, for what has to come.
const LIMIT: Duration = Duration::from_secs(30);
pub const OPEN: Uuid = Uuid::from_u128(1);
pub const SHUT: Uuid = Uuid::from_u128(2);

/// The id of a port, or of the network itself (0) or a router (network 0xf).
pub fn id(network: u8, port: u8) -> Uuid {
    Uuid::from_u128(u128::from(network) << 120 | u128::from(port) << 96 | 7)
}

fn network(number: u8, v4: &str, external: bool) -> Network {
    let subnet = |cidr: &str, gateway: &str| Subnet { cidr: cidr.parse().unwrap(), gateway: Some(gateway.parse().unwrap()) };
    let v6 = subnet(&format!("fd00:{number:x}::/64"), &format!("fd00:{number:x}::fe"));
    let gateway = format!("{v4}.{}", if external { 1 } else { 254 });
    let mut subnets = vec![subnet(&format!("{v4}.0/24"), &gateway)];
    subnets.extend((!external).then_some(v6));
    Network { mtu: 1450, external, subnets }
}

/// A rule for IPv4; see [`v6`].
pub fn rule(direction: Direction, protocol: Option<u8>, ports: Option<(u16, u16)>, remote: Remote) -> Rule {
    Rule { direction, v6: false, protocol, range: (ports.map(|ports| ports.0), ports.map(|ports| ports.1)), remote }
}

/// The same rule for IPv6.
pub fn v6(rule: &Rule) -> Rule {
    Rule { v6: true, ..rule.clone() }
}

pub fn group(stateful: bool, rules: Vec<Rule>) -> Group {
    Group { stateful, rules }
}

/// A port with the address of its number in each of its network's subnets; without a group it has no port security.
pub fn port(world: &Snapshot, network: u8, number: u8, groups: &[Uuid]) -> (Uuid, Port) {
    let nth = |subnet: &Subnet| match subnet.cidr.network() {
        IpAddr::V4(first) => IpAddr::from((first.to_bits() + u32::from(number)).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((first.to_bits() + u128::from(number)).to_be_bytes()),
    };
    let net = |subnet: &Subnet| ipnet::IpNet::new(nth(subnet), subnet.cidr.prefix_len()).unwrap();
    let port = Port {
        network: id(network, 0),
        mac: format!("fa:16:3e:00:{network:02x}:{number:02x}").parse().unwrap(),
        addresses: world.networks[&id(network, 0)].subnets.iter().map(net).collect(),
        pairs: vec![],
        security: !groups.is_empty(),
        up: true,
        groups: groups.to_vec(),
        active: false,
    };
    (id(network, number), port)
}

/// Two networks with equal addresses (a, b), one beside them (c) and an external one (e), which a router joins with a and c.
pub fn world() -> Snapshot {
    let mut world = Snapshot::default();
    for (number, v4, external) in [(0xa, "10.0.0", false), (0xb, "10.0.0", false), (0xc, "10.0.1", false), (0xe, "172.24.4", true)] {
        world.networks.insert(id(number, 0), network(number, v4, external));
    }
    // Equal on both, to the last bit.
    world.networks.insert(id(0xb, 0), world.networks[&id(0xa, 0)].clone());
    let egress = rule(Direction::Egress, None, None, Remote::Any);
    let own = rule(Direction::Ingress, None, None, Remote::Group(OPEN));
    let web = rule(Direction::Ingress, Some(6), Some((80, 80)), Remote::Any);
    world.groups.insert(OPEN, group(true, [&egress, &own, &web].into_iter().flat_map(|rule| [rule.clone(), v6(rule)]).collect()));
    world.groups.insert(SHUT, group(true, vec![egress.clone(), v6(&egress)]));
    for (network, number, groups) in [
        (0xa, 1, &[OPEN][..]),
        (0xa, 2, &[OPEN]),
        (0xa, 3, &[SHUT]),
        (0xb, 1, &[OPEN]),
        (0xb, 2, &[OPEN]),
        (0xc, 1, &[OPEN]),
        (0xa, 254, &[]),
        (0xc, 254, &[]),
        (0xe, 9, &[]),
    ] {
        let port = port(&world, network, number, groups);
        world.ports.extend([port]);
    }
    let router = Router {
        interfaces: vec![id(0xa, 254), id(0xc, 254)],
        gateway: Some(id(0xe, 9)),
        snat: true,
        routes: vec![],
        floating: vec![("172.24.4.20".parse().unwrap(), "10.0.0.1".parse().unwrap())],
    };
    world.routers.insert(id(0xf, 0), router);
    world
}

/// One sync, as the datapath does it. The reported status is not put into the world.
pub fn sync(executor: &mut Executor, world: &Snapshot, force: bool) -> Vec<(Uuid, bool)> {
    let extent = if force { Extent::Whole } else { Extent::Changed };
    executor.sync(&datapath::links().unwrap(), world, extent).unwrap()
}

/// Makes a container for a port, as the binding and the engine do together.
pub fn container(world: &Snapshot, id: Uuid) -> NetnsFd {
    let port = &world.ports[&id];
    let inside = netns::create(&format!("c-{id}")).unwrap();
    let mut socket = Socket::open().unwrap();
    let (tap, bridge) = (names::tap(id), socket.link(&names::bridge(port.network)).unwrap().unwrap());
    let veth = Veth {
        name: &tap,
        master: Some(bridge.index),
        peer: "eth0",
        peer_mac: Some(port.mac),
        peer_netns: Some(&inside),
        mtu: Some(1450),
        mac: None,
    };
    socket.add_veth(&veth).unwrap();
    let index = socket.link(&tap).unwrap().unwrap().index;
    socket.set_up(index).unwrap();
    netns::run_in(&inside, || {
        let mut socket = Socket::open().unwrap();
        let link = socket.link("eth0").unwrap().unwrap();
        for address in &port.addresses {
            socket.add_address(link.index, *address).unwrap();
        }
        socket.set_up(link.index).unwrap();
        for subnet in &world.networks[&port.network].subnets {
            let any = if subnet.cidr.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            socket.add_route(&Route { destination: any.parse().unwrap(), gateway: subnet.gateway, index: None, source: None }).unwrap();
        }
    })
    .unwrap();
    inside
}

/// Serves `word` on a TCP port of the namespace for as long as the test lives, to any number of callers.
pub fn serve(inside: &NetnsFd, port: u16, word: &'static str) {
    let listener = netns::run_in(inside, || TcpListener::bind(("::", port)).unwrap()).unwrap();
    thread::spawn(move || {
        for caller in listener.incoming() {
            thread::spawn(move || {
                let (mut caller, mut byte) = (caller.unwrap(), [0]);
                while caller.read(&mut byte).is_ok_and(|read| read == 1) {
                    caller.write_all(word.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// One question and its answer; an answer that does not come ends the test.
#[track_caller]
pub fn ask(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut word = [0; 16];
    stream.write_all(b"?").unwrap();
    let read = stream.read(&mut word).unwrap();
    String::from_utf8(word[..read].to_vec()).unwrap()
}

fn connection(inside: &NetnsFd, to: &str, port: u16, limit: Duration) -> Option<TcpStream> {
    let address = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
    netns::run_in(inside, || match TcpStream::connect_timeout(&address, limit) {
        Ok(stream) => Some(stream),
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => None,
        Err(error) => panic!("connect to {address}: {error}"),
    })
    .unwrap()
}

/// A connection that has to come about.
#[track_caller]
pub fn connect(inside: &NetnsFd, to: &str, port: u16) -> TcpStream {
    connection(inside, to, port, LIMIT).unwrap_or_else(|| panic!("no connection to {to} port {port}"))
}

/// Who answers there.
#[track_caller]
pub fn call(inside: &NetnsFd, to: &str, port: u16) -> String {
    ask(&mut connect(inside, to, port))
}

/// Whether nobody answers there.
pub fn is_cut(inside: &NetnsFd, to: &str, port: u16) -> bool {
    connection(inside, to, port, LOST).is_none()
}
