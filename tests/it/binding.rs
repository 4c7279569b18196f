//! A Neutron port becomes an interface and is gone again.

use std::{net::UdpSocket, thread, time::Duration};

use kuryr::{
    binding::{self, Error, HostEnd, Settings, Vif},
    mac::MacAddr,
    netlink::{Socket, Veth, netns},
};
use uuid::Uuid;

const NETWORK: Uuid = Uuid::from_u128(0xb6ad_0000_1111_2222_3333_4444_5555_6666);

fn bind(vif: &Vif) -> Result<String, Error> {
    binding::bind(vif, &Settings { bindir: "/nowhere".into(), ..Settings::default() })
}

fn unbind(vif: &Vif) -> Result<(), Error> {
    binding::unbind(vif, &Settings::default())
}

fn vif(number: u8) -> Vif {
    Vif {
        driver: Default::default(),
        port: Uuid::from_u128(u128::from(number) << 96 | 0x77),
        network: NETWORK,
        project: "p".into(),
        endpoint: "e".into(),
        mac: MacAddr([0xfa, 0x16, 0x3e, 0, 0, number]),
        mtu: 1442,
        vif_type: "bridge".into(),
        vif_details: serde_json::json!({}),
        host: "node-1".into(),
    }
}

#[test]
fn a_port_is_plugged_with_mac_and_mtu_and_unplugged_twice() {
    let vif = vif(1);
    let mut socket = Socket::open().unwrap();
    assert_eq!(bind(&vif).unwrap(), "t_c00000001-00");
    let bridge = socket.link("brqb6ad0000-11").unwrap().unwrap();
    let tap = socket.link("tap00000001-00").unwrap().unwrap();
    let container = socket.link("t_c00000001-00").unwrap().unwrap();
    assert_eq!((tap.mtu, container.mtu, bridge.mtu), (1442, 1442, 1442));
    assert_eq!((container.mac, container.up), (Some(vif.mac), false));
    assert_ne!(tap.mac, container.mac);
    assert_eq!((tap.master, tap.up, bridge.up), (Some(bridge.index), true, true));
    assert_eq!(binding::host_ends().unwrap(), [HostEnd { name: "tap00000001-00".to_owned(), idle: true }]);
    assert!(socket.addresses().unwrap().iter().all(|a| ![tap.index, container.index, bridge.index].contains(&a.index)));
    unbind(&vif).unwrap();
    unbind(&vif).unwrap();
    assert_eq!(socket.link("t_c00000001-00").unwrap(), None);
    assert!(binding::host_ends().unwrap().is_empty());
    assert!(socket.link("brqb6ad0000-11").unwrap().is_some());
}

#[test]
fn a_pair_from_an_earlier_life_is_replaced() {
    let vif = vif(1);
    bind(&vif).unwrap();
    let mut socket = Socket::open().unwrap();
    let before = socket.link("tap00000001-00").unwrap().unwrap().index;
    bind(&vif).unwrap();
    assert_ne!(socket.link("tap00000001-00").unwrap().unwrap().index, before);
    // The container's end alone can be left under its name as well.
    unbind(&vif).unwrap();
    socket.add_veth(&Veth { name: "stray", peer: "t_c00000001-00", ..Veth::default() }).unwrap();
    bind(&vif).unwrap();
    assert_eq!(socket.link("stray").unwrap(), None);
}

#[test]
fn the_bridge_that_neutron_names_is_used() {
    let vif = Vif { vif_details: serde_json::json!({"bridge_name": "br-mine"}), ..vif(1) };
    bind(&vif).unwrap();
    let mut socket = Socket::open().unwrap();
    let bridge = socket.link("br-mine").unwrap().unwrap().index;
    assert_eq!(socket.link("tap00000001-00").unwrap().unwrap().master, Some(bridge));
    assert_eq!(socket.link("brqb6ad0000-11").unwrap(), None);
}

#[test]
fn what_cannot_be_bound_is_named_and_leaves_nothing() {
    let mut socket = Socket::open().unwrap();
    let before = socket.links().unwrap();
    for (kind, words) in [
        ("binding_failed", "node-1"),
        ("unbound", "unbound"),
        ("", "not bound"),
        ("ovs", "/run/openvswitch/db.sock"),
        ("midonet", "script /nowhere/midonet"),
        ("../x", "'../x'"),
    ] {
        let text = bind(&Vif { vif_type: kind.into(), ..vif(1) }).unwrap_err().to_string();
        assert!(text.contains(words) && text.contains(&vif(1).port.to_string()), "{text}");
    }
    let named = |name: &str| Vif { vif_details: serde_json::json!({"bridge_name": name}), ..vif(1) };
    for name in ["../../etc/passwd", "all", "default", "a-name-of-sixteen"] {
        assert!(bind(&named(name)).unwrap_err().to_string().contains(name));
    }
    assert_eq!(socket.links().unwrap(), before);

    socket.add_veth(&Veth { name: "brqb6ad0000-11", peer: "other", ..Veth::default() }).unwrap();
    let before = socket.links().unwrap();
    let error = bind(&vif(1)).unwrap_err();
    assert!(matches!(error, Error::NotABridge { .. }) && error.to_string().contains("veth"), "{error}");
    assert_eq!(socket.links().unwrap(), before);
    socket.delete_link("other").unwrap();

    // An MTU below the kernel's least of 68 fails the pair itself.
    let error = bind(&Vif { mtu: 10, ..vif(1) }).unwrap_err().to_string();
    assert!(error.contains("create veth tap00000001-00"), "{error}");
    assert_eq!(socket.link("tap00000001-00").unwrap(), None);
    assert_eq!(socket.link("t_c00000001-00").unwrap(), None);
}

#[test]
fn two_ports_of_a_network_reach_each_other() {
    let mut host = Socket::open().unwrap();
    let mut sides = Vec::new();
    for number in [1, 2] {
        let container = bind(&vif(number)).unwrap();
        let fd = netns::create(&format!("c{number}")).unwrap();
        let index = host_index(&mut host, &container);
        host.move_to_netns(index, &fd).unwrap();
        let mut inside = netns::run_in(&fd, Socket::open).unwrap().unwrap();
        let link = inside.link(&container).unwrap().unwrap();
        inside.set_up(link.index).unwrap();
        inside.add_address(link.index, format!("10.1.0.{number}/24").parse().unwrap()).unwrap();
        let udp = netns::run_in(&fd, || UdpSocket::bind(("0.0.0.0", 7000))).unwrap().unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        sides.push(udp);
    }
    sides[0].send_to(b"ping", "10.1.0.2:7000").unwrap();
    let mut buffer = [0; 8];
    let (length, from) = sides[1].recv_from(&mut buffer).unwrap();
    assert_eq!((length, from.to_string().as_str()), (4, "10.1.0.1:7000"));
    sides[1].send_to(b"pong!", from).unwrap();
    assert_eq!(sides[0].recv(&mut buffer).unwrap(), 5);
    // Gone from the container with its host end.
    unbind(&vif(1)).unwrap();
    assert!(sides[0].send_to(b"ping", "10.1.0.2:7000").is_err());
}

fn host_index(socket: &mut Socket, name: &str) -> u32 {
    socket.link(name).unwrap().unwrap().index
}

#[test]
fn fifty_ports_at_once() {
    thread::scope(|scope| {
        for number in 1..=50 {
            scope.spawn(move || bind(&vif(number)).unwrap());
        }
    });
    assert_eq!(binding::host_ends().unwrap().len(), 50);
    let mut socket = Socket::open().unwrap();
    let bridge = host_index(&mut socket, "brqb6ad0000-11");
    assert_eq!(socket.links().unwrap().iter().filter(|link| link.master == Some(bridge) && link.up).count(), 50);
    thread::scope(|scope| {
        for number in 1..=25 {
            scope.spawn(move || unbind(&vif(number)).unwrap());
        }
    });
    assert_eq!(binding::host_ends().unwrap().len(), 25);
    let rest: Vec<Uuid> = (20..=50).map(|number| vif(number).port).collect();
    binding::unbind_many(&rest).unwrap();
    binding::unbind_many(&rest).unwrap();
    assert!(socket.links().unwrap().iter().all(|link| link.master.is_none()));
}
