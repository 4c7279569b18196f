//! The kernel does what `netlink` asks of it. Each test has a network namespace of its own.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use kuryr::{
    mac::MacAddr,
    netlink::{Event, Monitor, NetnsFd, Route, Socket, Veth, netns},
};

fn socket_in(name: &str) -> (NetnsFd, Socket) {
    let fd = netns::create(name).unwrap();
    let socket = netns::run_in(&fd, Socket::open).unwrap().unwrap();
    (fd, socket)
}

#[test]
fn a_bridge_forwards_at_once_and_is_made_only_once() {
    let mut socket = Socket::open().unwrap();
    socket.add_bridge("br0").unwrap();
    assert!(socket.add_bridge("br0").unwrap_err().is_exists());
    let bridge = socket.link("br0").unwrap().unwrap();
    assert_eq!((bridge.kind.as_str(), bridge.up), ("bridge", false));
    for (file, value) in [("forward_delay", "0"), ("stp_state", "0"), ("multicast_snooping", "0")] {
        assert_eq!(std::fs::read_to_string(format!("/sys/class/net/br0/bridge/{file}")).unwrap().trim(), value, "{file}");
    }
    socket.delete_link("br0").unwrap();
    socket.delete_link("br0").unwrap();
    assert_eq!(socket.link("br0").unwrap(), None);
}

#[test]
fn an_error_names_the_object() {
    let mut socket = Socket::open().unwrap();
    let error = socket.set_master(4711, 1).unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("interface 4711"), "{error}");
    assert!(socket.add_bridge("a-name-of-sixteen").is_err());
    assert!(socket.link("../x").is_err());
}

#[test]
fn packets_cross_a_veth_whose_peer_was_made_in_another_namespace() {
    let (fd, mut inner) = socket_in("inner");
    let mut outer = Socket::open().unwrap();
    let mac = MacAddr([0xfa, 0x16, 0x3e, 0, 0, 9]);
    outer
        .add_veth(&Veth { name: "near", peer: "far", peer_mac: Some(mac), peer_netns: Some(&fd), mtu: Some(1400), ..Veth::default() })
        .unwrap();
    let near = outer.link("near").unwrap().unwrap();
    let far = inner.link("far").unwrap().unwrap();
    assert_eq!((near.mtu, far.mtu, far.mac, outer.link("far").unwrap()), (1400, 1400, Some(mac), None));
    outer.set_up(near.index).unwrap();
    inner.set_up(far.index).unwrap();

    for (ours, theirs, target) in [("10.9.0.1/24", "10.9.0.2/24", "10.9.0.2:7000"), ("fd00:9::1/64", "fd00:9::2/64", "[fd00:9::2]:7000")] {
        outer.add_address(near.index, ours.parse().unwrap()).unwrap();
        outer.add_address(near.index, ours.parse().unwrap()).unwrap();
        inner.add_address(far.index, theirs.parse().unwrap()).unwrap();
        assert!(inner.addresses().unwrap().iter().any(|a| a.index == far.index && a.address == theirs.parse().unwrap()));
        let target: SocketAddr = target.parse().unwrap();
        let receiver = netns::run_in(&fd, || UdpSocket::bind(target)).unwrap().unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let any: IpAddr = if target.is_ipv4() { "0.0.0.0".parse().unwrap() } else { "::".parse().unwrap() };
        UdpSocket::bind((any, 0)).unwrap().send_to(b"hello", target).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }

    for (destination, gateway) in [("0.0.0.0/0", "10.9.0.1"), ("192.0.2.0/24", "10.9.0.1"), ("::/0", "fd00:9::1")] {
        let route = Route { destination: destination.parse().unwrap(), gateway: Some(gateway.parse().unwrap()), index: None, source: None };
        inner.add_route(&route).unwrap();
        inner.add_route(&route).unwrap();
        let count = |socket: &mut Socket| socket.routes().unwrap().iter().filter(|r| r.destination == route.destination).count();
        assert_eq!(count(&mut inner), 1, "{route}");
        inner.remove_route(&route).unwrap();
        inner.remove_route(&route).unwrap();
        assert_eq!(count(&mut inner), 0, "{route}");
    }
    inner.remove_address(far.index, "10.9.0.2/24".parse().unwrap()).unwrap();
    inner.remove_address(far.index, "10.9.0.2/24".parse().unwrap()).unwrap();
    outer.delete_link("near").unwrap();
    assert_eq!(inner.link("far").unwrap(), None);
}

#[test]
fn named_namespaces_come_and_go_as_ip_netns_knows_them() {
    let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let fd = netns::create("blue").unwrap();
    assert!(netns::create("blue").unwrap_err().is_exists());
    assert_eq!(netns::list().unwrap(), ["blue"]);
    let there = netns::run_in(&fd, || std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
    assert_ne!(here, there);
    assert_eq!(here, std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    let listed = run("ip", &["netns", "exec", "blue", "readlink", "/proc/self/ns/net"]);
    assert_eq!(listed.trim(), there.to_str().unwrap());
    netns::delete("blue").unwrap();
    netns::delete("blue").unwrap();
    assert!(netns::list().unwrap().is_empty());
    assert!(netns::create("../x").is_err());
    assert!(netns::open("/etc/passwd").is_err());
}

#[allow(clippy::disallowed_methods, reason = "iproute2 is the judge of what a named namespace is")]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_monitor_tells_of_births_and_deaths_but_not_of_a_port_leaving_its_bridge() {
    let mut monitor = Monitor::open().unwrap();
    let mut socket = Socket::open().unwrap();
    assert_eq!(monitor.next(Duration::from_millis(1)).unwrap(), None);
    socket.add_bridge("br0").unwrap();
    let bridge = socket.link("br0").unwrap().unwrap().index;
    socket.add_veth(&Veth { name: "v0", peer: "v1", master: Some(bridge), ..Veth::default() }).unwrap();
    let port = socket.link("v0").unwrap().unwrap();
    assert_eq!(port.master, Some(bridge));
    socket.set_up(port.index).unwrap();
    socket.clear_master(port.index).unwrap();
    assert_eq!(socket.link("v0").unwrap().unwrap().master, None);
    socket.delete_link("v0").unwrap();
    let mut seen_up = false;
    let mut deaths = Vec::new();
    while deaths.len() < 2 {
        match monitor.next(Duration::from_secs(10)).unwrap().expect("events for each change") {
            Event::Changed(link) => seen_up |= link.index == port.index && link.up,
            Event::Deleted(link) => deaths.push(link.name),
            Event::Overrun => panic!("so few events must fit the queue"),
        }
    }
    deaths.sort();
    assert!(seen_up);
    assert_eq!(deaths, ["v0", "v1"]);
}

#[test]
fn a_link_moves_and_is_renamed() {
    let (fd, mut inner) = socket_in("inner");
    let mut outer = Socket::open().unwrap();
    outer.add_veth(&Veth { name: "v0", peer: "v1", ..Veth::default() }).unwrap();
    let index = outer.link("v1").unwrap().unwrap().index;
    outer.set_mtu(index, 1300).unwrap();
    outer.set_mac(index, MacAddr([2, 0, 0, 0, 0, 7])).unwrap();
    outer.move_to_netns(index, &fd).unwrap();
    assert_eq!(outer.link("v1").unwrap(), None);
    let moved = inner.link("v1").unwrap().unwrap();
    inner.rename(moved.index, "eth0").unwrap();
    let eth0 = inner.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.mtu, eth0.mac), (1300, Some(MacAddr([2, 0, 0, 0, 0, 7]))));
}

#[test]
fn a_group_is_deleted_in_one_step_and_nothing_else() {
    let mut socket = Socket::open().unwrap();
    socket.add_veth(&Veth { name: "stays", peer: "stays-too", ..Veth::default() }).unwrap();
    let before = socket.links().unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    for name in &names {
        socket.add_veth(&Veth { name, peer: &format!("p{name}"), ..Veth::default() }).unwrap();
    }
    socket.delete_links(&[names.clone(), vec!["missing".into()]].concat()).unwrap();
    assert_eq!(socket.links().unwrap(), before);
    socket.delete_links(&names).unwrap();
    assert_eq!(socket.links().unwrap(), before);
}

#[test]
fn a_process_without_the_capability_is_told_so() {
    kuryr::netlink::check_capability(kuryr::netlink::Capability::NetAdmin).unwrap();
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(65534)).unwrap();
    assert!(kuryr::netlink::check_capability(kuryr::netlink::Capability::NetAdmin).unwrap_err().to_string().contains("CAP_NET_ADMIN"));
    let error = Socket::open().unwrap().add_bridge("br0").unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert!(error.to_string().starts_with("create bridge br0: ") && error.to_string().contains("CAP_NET_ADMIN"), "{error}");
}

#[test]
fn a_monitor_that_reads_too_slowly_is_told_what_it_missed() {
    let mut monitor = Monitor::open().unwrap();
    let mut socket = Socket::open().unwrap();
    socket.add_veth(&Veth { name: "v0", peer: "v1", ..Veth::default() }).unwrap();
    let index = socket.link("v0").unwrap().unwrap().index;
    for round in 0..10_000 {
        socket.set_mtu(index, 1400 + round % 2).unwrap();
    }
    assert_eq!(monitor.next(Duration::from_secs(10)).unwrap(), Some(Event::Overrun));
    // It goes on afterwards.
    socket.delete_link("v0").unwrap();
    while let Some(event) = monitor.next(Duration::from_millis(1)).unwrap() {
        assert_ne!(event, Event::Overrun);
    }
    socket.add_bridge("br0").unwrap();
    assert!(matches!(monitor.next(Duration::from_secs(10)).unwrap(), Some(Event::Changed(link)) if link.name == "br0"));
}
