//! The embedded datapath, judged by packets that must and must not arrive.

mod beside_docker;
mod claims;
mod faults;
mod frames;
mod golden;
mod groups;
mod healing;
mod probe;
mod scale;
mod world;

use kuryr::{
    controller::datapath::{self, Executor},
    netlink::{Socket, Veth, netns},
    nft,
};

use self::world::{OPEN, ask, call, connect, container, id, is_cut, port, serve, sync, world};

#[test]
fn packets_arrive_where_they_may_and_nowhere_else() {
    for program in ["iptables", "ip6tables"] {
        assert!(nft::iptables(program, &["-P", "FORWARD", "DROP"]).unwrap().success);
    }
    let (mut world, mut executor) = (world(), Executor::default());
    sync(&mut executor, &world, true);
    let [a1, a2, a3, b1, b2, c1] =
        [(0xa, 1), (0xa, 2), (0xa, 3), (0xb, 1), (0xb, 2), (0xc, 1)].map(|(network, number)| container(&world, id(network, number)));
    let changed = sync(&mut executor, &world, false);
    assert!([1, 2, 3].iter().all(|number| changed.contains(&(id(0xa, *number), true))), "{changed:?}");
    for (inside, word) in [(&a1, "a1"), (&a2, "a2"), (&a3, "a3"), (&b2, "b2"), (&c1, "c1")] {
        serve(inside, 80, word);
        serve(inside, 99, word);
    }
    let host = netns::current().unwrap();
    serve(&host, 7000, "host");

    for (a1_address, a2_address, a3_address, c1_address) in
        [("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"), ("fd00:a::1", "fd00:a::2", "fd00:a::3", "fd00:c::1")]
    {
        assert_eq!(call(&a1, a2_address, 99), "a2", "the same group");
        assert_eq!(call(&b1, a2_address, 99), "b2", "equal addresses on another network");
        assert!(is_cut(&a1, a3_address, 99), "a group without ingress");
        assert!(is_cut(&a3, a2_address, 99), "a sender that is not of the group");
        assert_eq!(call(&a3, a2_address, 80), "a2", "a rule for one port, and the answers to it");
        assert_eq!(call(&a1, c1_address, 99), "c1", "the router joins two networks");
        assert!(is_cut(&b1, c1_address, 80), "no router, no way");
        assert_eq!(call(&c1, a1_address, 80), "a1", "and back");
    }
    assert!(is_cut(&b1, "172.24.4.1", 7000), "no router, no way out");
    assert_eq!(call(&a2, "172.24.4.1", 7000), "host", "out by the router's address");
    assert_eq!(call(&host, "172.24.4.20", 80), "a1", "in by the floating address");
    assert!(is_cut(&host, "172.24.4.20", 99), "where no rule allows it");

    // A sync, a flush and a restart leave an established connection alone.
    let mut long = connect(&a1, "10.0.0.2", 99);
    assert_eq!(ask(&mut long), "a2");
    nft::apply("flush ruleset").unwrap();
    sync(&mut executor, &world, true);
    assert_eq!(ask(&mut long), "a2");
    assert!(is_cut(&a1, "10.0.0.3", 99), "the flush is healed");
    sync(&mut Executor::default(), &world, true);
    assert_eq!(ask(&mut long), "a2");

    // A stolen address is of no use, an unknown tap of none at all.
    netns::run_in(&a2, || {
        let mut socket = Socket::open().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        socket.remove_address(index, "10.0.0.2/24".parse().unwrap()).unwrap();
        socket.add_address(index, "10.0.0.77/24".parse().unwrap()).unwrap();
    })
    .unwrap();
    assert!(is_cut(&a2, "10.0.0.1", 80), "a stolen address");
    let mut later = world.clone();
    later.ports.extend([port(&world, 0xa, 8, &[OPEN])]);
    let a8 = container(&later, id(0xa, 8));
    assert!(is_cut(&a8, "10.0.0.1", 80), "before the rules know the port");
    world = later;
    sync(&mut executor, &world, false);
    assert_eq!(call(&a8, "10.0.0.1", 80), "a1", "when they do");

    // Neutron's own agents give such names too: what the store does not know is another's.
    let theirs = format!("qrouter-{}", id(0xe, 99));
    netns::create(&theirs).unwrap();
    let mut socket = Socket::open().unwrap();
    socket.add_bridge("brqffffffff-ff").unwrap();
    let bridge = socket.link("brqffffffff-ff").unwrap().unwrap().index;
    let tap = Veth { name: "tapffffffff-ff", mac: None, master: Some(bridge), peer: "guest", peer_mac: None, peer_netns: None, mtu: None };
    socket.add_veth(&tap).unwrap();
    sync(&mut executor, &world, true);
    socket.add_bridge("brqeeeeeeee-ee").unwrap();
    datapath::remove_everything(&world).unwrap();
    assert!(netns::list().unwrap().contains(&theirs));
    let mut left: Vec<String> = datapath::links().unwrap().into_iter().map(|link| link.name).filter(|name| name != "lo").collect();
    left.sort_unstable();
    assert_eq!(left, ["brqffffffff-ff", "guest", "tapffffffff-ff"]);
}
