//! Beside an engine, which sets the policy of FORWARD to DROP and sends bridged packets through iptables.

use std::{fs, net::IpAddr};

use kuryr::{
    controller::datapath::{self, Executor, Extent, filter, forward},
    netlink::{NetnsFd, Route, Socket, Veth, netns},
    nft,
};

use super::world::{call, container, id, is_cut, serve, sync, world};

/// A host outside, a neighbour of this one, which knows a way to the floating addresses and to nothing else.
fn outside() -> NetnsFd {
    let outside = netns::create("outside").unwrap();
    let mut socket = Socket::open().unwrap();
    let wire = Veth { name: "uplink", peer: "eth0", peer_netns: Some(&outside), ..Veth::default() };
    socket.add_veth(&wire).unwrap();
    let index = socket.link("uplink").unwrap().unwrap().index;
    socket.add_address(index, "198.51.100.1/24".parse().unwrap()).unwrap();
    socket.set_up(index).unwrap();
    netns::run_in(&outside, || {
        let mut socket = Socket::open().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        socket.add_address(index, "198.51.100.2/24".parse().unwrap()).unwrap();
        socket.set_up(index).unwrap();
        let gateway: Option<IpAddr> = Some("198.51.100.1".parse().unwrap());
        for destination in ["172.24.4.20/32", "10.0.0.0/24"] {
            socket.add_route(&Route { destination: destination.parse().unwrap(), gateway, index: None, source: None }).unwrap();
        }
    })
    .unwrap();
    outside
}

#[test]
fn a_policy_of_drop_and_bridged_packets_in_iptables_stop_nothing_of_ours() {
    for family in ["iptables", "ip6tables"] {
        // As dockerd 28 does, with its own bridge and a rule that drops whatever wants to get there.
        for arguments in [
            &["-P", "FORWARD", "DROP"][..],
            &["-N", "DOCKER-USER"],
            &["-A", "DOCKER-USER", "-j", "RETURN"],
            &["-I", "FORWARD", "-j", "DOCKER-USER"],
            &["-A", "FORWARD", "-o", "docker0", "-j", "DROP"],
            &["-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"],
        ] {
            assert!(nft::iptables(family, arguments).unwrap().success, "{family} {arguments:?}");
        }
    }
    let switches = ["iptables", "ip6tables"].map(|family| format!("/proc/sys/net/bridge/bridge-nf-call-{family}"));
    switches.iter().for_each(|path| fs::write(path, "1").unwrap());
    let (world, mut executor) = (world(), Executor::default());
    sync(&mut executor, &world, true);
    let [a1, a2, a3, c1] = [(0xa, 1), (0xa, 2), (0xa, 3), (0xc, 1)].map(|(network, number)| container(&world, id(network, number)));
    sync(&mut executor, &world, false);
    let outside = outside();
    for (inside, word) in [(&a1, "a1"), (&a2, "a2"), (&a3, "a3"), (&c1, "c1"), (&outside, "outside")] {
        serve(inside, 80, word);
    }
    let all_reach_all = || {
        for (two, three, other) in [("10.0.0.2", "10.0.0.3", "10.0.1.1"), ("fd00:a::2", "fd00:a::3", "fd00:c::1")] {
            assert_eq!(call(&a1, two, 80), "a2", "another port");
            assert!(is_cut(&a1, three, 80), "a port whose group allows nothing");
            assert_eq!(call(&a1, other, 80), "c1", "through the router");
        }
        assert_eq!(call(&a2, "198.51.100.2", 80), "outside", "out through router and host");
        assert_eq!(call(&outside, "172.24.4.20", 80), "a1", "in by the floating address");
        assert!(is_cut(&outside, "10.0.0.1", 80), "an inner address from outside");
    };
    all_reach_all();
    // A restart of the engine puts its own rules first again.
    for family in ["iptables", "ip6tables"] {
        for arguments in [["-D", "FORWARD", "-j", "DOCKER-USER"], ["-I", "FORWARD", "-j", "DOCKER-USER"]] {
            assert!(nft::iptables(family, &arguments).unwrap().success);
        }
    }
    all_reach_all();
    // Without bridged packets in iptables there would be no state and no security groups: the next sync puts the switch back.
    switches.iter().for_each(|path| fs::write(path, "0").unwrap());
    sync(&mut executor, &world, false);
    all_reach_all();
}

#[test]
fn a_guard_stands_before_iptables_lets_anything_pass() {
    let (world, mut executor) = (world(), Executor::default());
    let jumps = || ["iptables", "ip6tables"].map(|family| nft::iptables(family, &["-C", "FORWARD", "-j", forward::CHAIN]).unwrap().success);
    executor.sync(&datapath::links().unwrap(), &world, Extent::Guard).unwrap();
    assert!(["bridge", "inet"].iter().all(|family| nft::has_table(family, filter::TABLE).unwrap()));
    assert_eq!(jumps(), [false, false]);
    sync(&mut executor, &world, false);
    assert_eq!(jumps(), [true, true]);
}
