//! What is down, wrong or claimed in vain stays without traffic, and leaves the others alone.

use std::net::IpAddr;

use kuryr::{
    controller::datapath::{
        Executor, filter, names,
        snapshot::{Direction, Remote, Router},
    },
    netlink::{Socket, netns},
};
use uuid::Uuid;

use super::{
    frames::udp,
    probe::{Station, arrives, mark},
    world::{OPEN, call, container, id, port, rule, serve, sync, world},
};

#[test]
fn a_port_that_is_administratively_down_has_no_traffic_and_is_down() {
    let mut world = world();
    world.ports.extend([port(&world, 0xa, 21, &[OPEN]), port(&world, 0xa, 22, &[])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let (a, b, c) = (&Station::of(&world, id(0xa, 21)), &Station::of(&world, id(0xa, 22)), &Station::of(&world, id(0xa, 1)));
    assert!(sync(&mut executor, &world, false).contains(&(id(0xa, 21), true)));
    arrives(a, b, "a packet before", |mark| a.udp(b, false, 4000, mark));
    let kept = world.ports.get_mut(&id(0xa, 21)).unwrap();
    (kept.up, kept.active) = (false, true);
    assert!(sync(&mut executor, &world, false).contains(&(id(0xa, 21), false)));
    // What it sends, and what is sent to it: a packet of its own connections and ARP, which no rule stops.
    let lost = [mark(), mark()];
    a.send(&a.udp(b, false, 4000, &lost[0]));
    c.send(&c.udp(a, false, 4000, &lost[1]));
    let lost = [lost[0].clone(), lost[1].clone(), a.announce(), c.announce()];
    let kept = world.ports.get_mut(&id(0xa, 21)).unwrap();
    (kept.up, kept.active) = (true, false);
    assert!(sync(&mut executor, &world, false).contains(&(id(0xa, 21), true)));
    let last = [a.announce(), c.announce()];
    let (at_b, at_a) = (b.until(&last[0]), a.until(&last[1]));
    assert!(!at_b.contains(&lost[0]) && !at_b.contains(&lost[2]), "{at_b:?}");
    assert!(!at_a.contains(&lost[1]) && !at_a.contains(&lost[3]), "{at_a:?}");
}

#[test]
fn only_a_wire_that_leads_into_the_router_may_send_from_everywhere() {
    let mut world = world();
    let claimed = id(0xa, 21);
    world.ports.extend([port(&world, 0xa, 21, &[OPEN])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let inside = container(&world, claimed);
    sync(&mut executor, &world, false);
    // Now the store calls the port a router's, while a container has it.
    world.routers.get_mut(&id(0xf, 0)).unwrap().interfaces.push(claimed);
    let accepts = format!("\"{}\" : accept", names::tap(claimed));
    let text = |sight: &filter::Sight| filter::tables(&world, sight)[0].whole();
    assert!(!text(&filter::Sight::default()).contains(&accepts));
    assert!(text(&filter::Sight { routers: [claimed].into(), ..filter::Sight::default() }).contains(&accepts));
    sync(&mut executor, &world, false);
    // The router has its own wire, and the container none: nobody but the router is trusted.
    let has = |namespace: &_, name: &str| netns::run_in(namespace, || Socket::open().unwrap().link(name).unwrap()).unwrap();
    assert_eq!(has(&inside, "eth0"), None);
    let router = netns::open(netns::path(&names::namespace(id(0xf, 0)))).unwrap();
    let (end, tap) = (has(&router, &names::inner(claimed)).unwrap(), Socket::open().unwrap().link(&names::tap(claimed)).unwrap().unwrap());
    assert_eq!(end.peer, Some(tap.index));
}

#[test]
fn two_ports_whose_ids_begin_alike_do_not_stop_the_others() {
    let mut world = world();
    let (first, second) = (id(0xa, 21), Uuid::from_u128(id(0xa, 21).as_u128() + 1));
    assert_eq!(names::tap(first), names::tap(second));
    let twin = port(&world, 0xa, 22, &[OPEN]).1;
    world.ports.extend([port(&world, 0xa, 21, &[OPEN]), (second, twin)]);
    // And two networks.
    let third = Uuid::from_u128(id(0xa, 0).as_u128() + 1);
    world.networks.insert(third, world.networks[&id(0xb, 0)].clone());
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    for (lost, other) in [(second, first), (third, id(0xa, 0))] {
        let told = executor.problems().find(|problem| problem.starts_with(&lost.to_string())).unwrap();
        assert!(told.contains(&other.to_string()), "{told}");
    }
    let (a, b) = (&Station::of(&world, first), &Station::of(&world, id(0xa, 1)));
    let changed = sync(&mut executor, &world, false);
    assert!(changed.contains(&(first, true)) && !changed.contains(&(second, true)), "{changed:?}");
    arrives(a, b, "a packet of the first", |mark| a.udp(b, false, 4000, mark));
    // The one that is active keeps the name.
    world.ports.get_mut(&second).unwrap().active = true;
    let changed = sync(&mut executor, &world, false);
    assert!(!changed.contains(&(first, true)), "{changed:?}");
}

#[test]
fn a_rule_that_nft_refuses_is_left_out_and_named() {
    let mut world = world();
    let bad = Uuid::from_u128(21);
    // No such type of ICMP; the API would not take it.
    let refused = rule(Direction::Ingress, Some(1), Some((300, 0)), Remote::Any);
    let good = rule(Direction::Ingress, Some(17), Some((4000, 4000)), Remote::Any);
    world.groups.insert(bad, super::world::group(true, vec![refused, good]));
    world.ports.extend([port(&world, 0xa, 21, &[bad])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let (a, b, c) = (&Station::of(&world, id(0xa, 1)), &Station::of(&world, id(0xa, 2)), &Station::of(&world, id(0xa, 21)));
    sync(&mut executor, &world, false);
    let told: Vec<&str> = executor.problems().collect();
    assert!(told.len() == 1 && told[0].contains(&bad.to_string()) && told[0].contains("300"), "{told:?}");
    arrives(a, b, "a packet between others", |mark| a.udp(b, false, 4000, mark));
    arrives(a, c, "a packet by the group's good rule", |mark| a.udp(c, false, 4000, mark));
    super::probe::is_lost(a, c, "a packet that no rule allows", |mark| {
        super::frames::packet(a.mac, c.mac, a.v4, c.v4, &udp(4000, 4001, mark))
    });
    world.groups.get_mut(&bad).unwrap().rules.remove(0);
    sync(&mut executor, &world, true);
    assert_eq!(executor.problems().count(), 0);
}

#[test]
fn a_router_that_cannot_stand_leaves_the_others_alone() {
    let mut world = world();
    // It comes before the good one, and its floating address leads to one of another family.
    world.ports.extend([port(&world, 0xb, 254, &[]), port(&world, 0xe, 10, &[])]);
    let addresses: [IpAddr; 2] = ["172.24.4.30".parse().unwrap(), "fd00:b::1".parse().unwrap()];
    let bad = Router {
        interfaces: vec![id(0xb, 254)],
        gateway: Some(id(0xe, 10)),
        floating: vec![(addresses[0], addresses[1])],
        ..Router::default()
    };
    world.routers.insert(id(0xd, 0), bad);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let (a, c) = (container(&world, id(0xa, 1)), container(&world, id(0xc, 1)));
    sync(&mut executor, &world, false);
    serve(&c, 80, "c");
    assert_eq!(call(&a, "10.0.1.1", 80), "c");
    let told: Vec<&str> = executor.problems().collect();
    assert!(told.len() == 1 && told[0].contains(&id(0xd, 0).to_string()), "{told:?}");
    world.routers.get_mut(&id(0xd, 0)).unwrap().floating.clear();
    sync(&mut executor, &world, false);
    assert_eq!(executor.problems().count(), 0);
}
