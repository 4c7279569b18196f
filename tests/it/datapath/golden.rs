//! What stands in the firewall for a typical set-up, for the reader: one network with two ports, a router to the outside, and a floating
//! address. `cargo insta review`, or INSTA_UPDATE=always, takes a new text over.

use std::fmt::Write as _;

use kuryr::controller::datapath::{filter, forward, names, router};

use super::world::{id, world};

#[test]
fn the_ruleset_of_a_typical_set_up() {
    let mut world = world();
    for network in [0xb, 0xc] {
        world.networks.remove(&id(network, 0));
    }
    let networks = world.networks.clone();
    world.ports.retain(|port, wanted| networks.contains_key(&wanted.network) && *port != id(0xa, 3));
    world.routers.get_mut(&id(0xf, 0)).unwrap().interfaces.retain(|port| *port == id(0xa, 254));
    let sight = filter::Sight { routers: world.router_ports(), ..filter::Sight::default() };
    let [bridge, inet] = filter::tables(&world, &sight);
    let plan = router::plan(&world, id(0xf, 0), &world.routers[&id(0xf, 0)]);
    let mut text = format!("# nft, on the host\n{}{}", bridge.whole(), inet.whole());
    let external = [names::bridge(id(0xe, 0))].into();
    let _ = write!(text, "# iptables and ip6tables, on the host\n{}", forward::render(&external));
    let _ = write!(text, "# nft, in the router's namespace {}\n{}", plan.namespace, plan.ruleset);
    insta::assert_snapshot!(text);
}
