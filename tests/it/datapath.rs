//! The embedded datapath, judged by packets that must and must not arrive, beside an iptables FORWARD policy of DROP.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use kuryr::{
    controller::datapath::{
        self, Executor, names,
        snapshot::{Direction, Network, Port, Remote, Router, Rule, Snapshot, Subnet},
    },
    netlink::{NetnsFd, Route, Socket, Veth, netns},
    nft,
};
use uuid::Uuid;

/// Longer than any answer takes on one machine; only packets that must not arrive wait for it.
const LOST: Duration = Duration::from_millis(700);
const OPEN: Uuid = Uuid::from_u128(1);
const SHUT: Uuid = Uuid::from_u128(2);

fn id(network: u8, port: u8) -> Uuid {
    Uuid::from_u128(u128::from(network) << 120 | u128::from(port) << 96 | 7)
}

fn network(cidr: &str, gateway: &str, external: bool) -> Network {
    let subnets = vec![Subnet { cidr: cidr.parse().unwrap(), gateway: Some(gateway.parse().unwrap()) }];
    Network { mtu: 1450, external, subnets }
}

fn rule(direction: Direction, protocol: Option<u8>, port: Option<u16>, remote: Remote) -> Rule {
    Rule { direction, v6: false, protocol, range: (port, port), remote }
}

fn port(network: u8, number: u8, address: &str, group: Option<Uuid>) -> (Uuid, Port) {
    let mac = format!("fa:16:3e:00:{network:02x}:{number:02x}").parse().unwrap();
    let port = Port {
        network: id(network, 0),
        mac,
        addresses: vec![address.parse().unwrap()],
        pairs: vec![],
        security: group.is_some(),
        groups: group.into_iter().collect(),
        active: false,
    };
    (id(network, number), port)
}

fn world() -> Snapshot {
    let mut world = Snapshot::default();
    world.networks.insert(id(0xa, 0), network("10.0.0.0/24", "10.0.0.254", false));
    world.networks.insert(id(0xb, 0), network("10.0.0.0/24", "10.0.0.254", false));
    world.networks.insert(id(0xc, 0), network("10.0.1.0/24", "10.0.1.254", false));
    world.networks.insert(id(0xe, 0), network("172.24.4.0/24", "172.24.4.1", true));
    let egress = rule(Direction::Egress, None, None, Remote::Any);
    world.groups.insert(
        OPEN,
        vec![
            egress.clone(),
            rule(Direction::Ingress, None, None, Remote::Group(OPEN)),
            rule(Direction::Ingress, Some(6), Some(80), Remote::Any),
        ],
    );
    world.groups.insert(SHUT, vec![egress]);
    for (network, number, address, group) in [
        (0xa, 1, "10.0.0.1/24", Some(OPEN)),
        (0xa, 2, "10.0.0.2/24", Some(OPEN)),
        (0xa, 3, "10.0.0.3/24", Some(SHUT)),
        (0xb, 1, "10.0.0.1/24", Some(OPEN)),
        (0xb, 2, "10.0.0.2/24", Some(OPEN)),
        (0xc, 1, "10.0.1.1/24", Some(OPEN)),
        (0xa, 254, "10.0.0.254/24", None),
        (0xc, 254, "10.0.1.254/24", None),
        (0xe, 9, "172.24.4.9/24", None),
    ] {
        world.ports.extend([port(network, number, address, group)]);
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

/// Makes a container for a port, as the binding and the engine do together.
fn container(world: &Snapshot, network: u8, number: u8) -> NetnsFd {
    let port = &world.ports[&id(network, number)];
    let inside = netns::create(&format!("c{network:x}{number}")).unwrap();
    let mut socket = Socket::open().unwrap();
    let (tap, bridge) = (names::tap(id(network, number)), socket.link(&names::bridge(port.network)).unwrap().unwrap());
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
    let gateway = world.networks[&port.network].subnets[0].gateway;
    netns::run_in(&inside, || {
        let mut socket = Socket::open().unwrap();
        let link = socket.link("eth0").unwrap().unwrap();
        socket.add_address(link.index, port.addresses[0]).unwrap();
        socket.set_up(link.index).unwrap();
        socket.add_route(&Route { destination: "0.0.0.0/0".parse().unwrap(), gateway, index: None, source: None }).unwrap();
    })
    .unwrap();
    inside
}

/// Serves `word` on a TCP port of the namespace for as long as the test lives, to any number of callers.
fn serve(inside: &NetnsFd, port: u16, word: &'static str) {
    let listener = netns::run_in(inside, || TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
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

fn ask(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(LOST)).unwrap();
    let mut word = [0; 16];
    stream.write_all(b"?").unwrap();
    let read = stream.read(&mut word).ok()?;
    Some(String::from_utf8(word[..read].to_vec()).unwrap())
}

fn connect(inside: &NetnsFd, to: &str, port: u16) -> Option<TcpStream> {
    let address = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
    netns::run_in(inside, || match TcpStream::connect_timeout(&address, LOST) {
        Ok(stream) => Some(stream),
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => None,
        Err(error) => panic!("connect to {address}: {error}"),
    })
    .unwrap()
}

fn call(inside: &NetnsFd, to: &str, port: u16) -> Option<String> {
    ask(&mut connect(inside, to, port)?)
}

#[test]
fn packets_arrive_where_they_may_and_nowhere_else() {
    assert!(nft::iptables("iptables", &["-P", "FORWARD", "DROP"]).unwrap().success);
    let (mut world, mut executor) = (world(), Executor::default());
    let mut sync = |world: &Snapshot, force| executor.sync(&datapath::links().unwrap(), world, force).unwrap();
    sync(&world, true);
    let [a1, a2, a3, b1, b2, c1] = [(0xa, 1), (0xa, 2), (0xa, 3), (0xb, 1), (0xb, 2), (0xc, 1)].map(|(n, p)| container(&world, n, p));
    let changed = sync(&world, false);
    assert!([1, 2, 3].iter().all(|p| changed.contains(&(id(0xa, *p), true))), "{changed:?}");
    for (inside, word) in [(&a1, "a1"), (&a2, "a2"), (&a3, "a3"), (&b2, "b2"), (&c1, "c1")] {
        serve(inside, 80, word);
        serve(inside, 99, word);
    }
    let host = netns::current().unwrap();
    serve(&host, 7000, "host");
    let got = |word: &str| Some(word.to_owned());

    assert_eq!(call(&a1, "10.0.0.2", 99), got("a2"), "the same group");
    assert_eq!(call(&b1, "10.0.0.2", 99), got("b2"), "equal addresses on another network");
    assert_eq!(call(&a1, "10.0.0.3", 99), None, "a group without ingress");
    assert_eq!(call(&a3, "10.0.0.2", 99), None, "a sender that is not of the group");
    assert_eq!(call(&a3, "10.0.0.2", 80), got("a2"), "a rule for one port, and the answers to it");
    assert_eq!(call(&a1, "10.0.1.1", 99), got("c1"), "the router joins two networks");
    assert_eq!(call(&b1, "10.0.1.1", 80), None, "no router, no way");
    assert_eq!(call(&b1, "172.24.4.1", 7000), None, "no router, no way out");
    assert_eq!(call(&a2, "172.24.4.1", 7000), got("host"), "out by the router's address");
    assert_eq!(call(&host, "172.24.4.20", 80), got("a1"), "in by the floating address");
    assert_eq!(call(&host, "172.24.4.20", 99), None, "where no rule allows it");

    // A sync, a flush and a restart leave an established connection alone.
    let mut long = connect(&a1, "10.0.0.2", 99).unwrap();
    assert_eq!(ask(&mut long), got("a2"));
    nft::apply("flush ruleset").unwrap();
    sync(&world, true);
    assert_eq!(ask(&mut long), got("a2"));
    assert_eq!(call(&a1, "10.0.0.3", 99), None, "the flush is healed");
    Executor::default().sync(&datapath::links().unwrap(), &world, true).unwrap();
    assert_eq!(ask(&mut long), got("a2"));

    // A stolen address is of no use, an unknown tap of none at all.
    netns::run_in(&a2, || {
        let mut socket = Socket::open().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        socket.remove_address(index, "10.0.0.2/24".parse().unwrap()).unwrap();
        socket.add_address(index, "10.0.0.77/24".parse().unwrap()).unwrap();
    })
    .unwrap();
    assert_eq!(call(&a2, "10.0.0.1", 80), None, "a stolen address");
    let guest = port(0xa, 8, "10.0.0.8/24", Some(OPEN));
    let mut later = world.clone();
    later.ports.extend([guest]);
    let a8 = container(&later, 0xa, 8);
    assert_eq!(call(&a8, "10.0.0.1", 80), None, "before the rules know the port");
    world = later;
    sync(&world, false);
    assert_eq!(call(&a8, "10.0.0.1", 80), got("a1"), "when they do");

    datapath::remove_everything().unwrap();
    let left: Vec<String> = datapath::links().unwrap().into_iter().map(|link| link.name).filter(|name| name != "lo").collect();
    assert!(left.is_empty(), "{left:?}");
}
