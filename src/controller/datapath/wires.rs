//! Routers: their namespaces and the wires that lead into them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    executor::{Error, set},
    router::{Interface, Plan},
};
use crate::{
    netlink::{Link, NetnsFd, Route, Socket, Veth, netns},
    nft,
};

/// A router as it was brought about.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) plan: Plan,
    /// Indices of its taps and of their bridges: another index is another interface.
    taps: BTreeMap<String, (u32, Option<u32>)>,
}

impl Standing {
    /// Whether it is what is planned and nothing on the host's side has changed.
    pub(super) fn stands(&self, plan: &Plan, now: &[Link]) -> bool {
        let up = |link: &&Link| self.taps.get(&link.name).is_some_and(|tap| link.up && *tap == (link.index, link.master));
        self.plan == *plan && self.taps.len() == now.iter().filter(up).count() && netns::path(&plan.namespace).exists()
    }
}

/// The ports whose tap leads into the router's namespace, to the interface made for it: index and peer's index agree on both sides.
pub(super) fn proven(plan: &Plan, now: &[Link]) -> Result<Vec<Uuid>, Error> {
    if !netns::list()?.contains(&plan.namespace) {
        return Ok(Vec::new());
    }
    let inside = netns::run_in(&netns::open(netns::path(&plan.namespace))?, || Socket::open()?.links())??;
    let leads = |interface: &&Interface| now.iter().any(|tap| tap.name == interface.tap && leads_to(tap, &inside, interface));
    Ok(plan.interfaces.iter().filter(leads).map(|interface| interface.port).collect())
}

fn leads_to(tap: &Link, inside: &[Link], interface: &Interface) -> bool {
    inside.iter().any(|link| link.name == interface.name && link.peer == Some(tap.index) && tap.peer == Some(link.index))
}

/// Brings a router about; with `load` its table is loaded too.
pub(super) fn raise(socket: &mut Socket, plan: &Plan, load: bool) -> Result<Standing, Error> {
    let there = netns::list()?.contains(&plan.namespace);
    let namespace = if there { netns::open(netns::path(&plan.namespace))? } else { netns::create(&plan.namespace)? };
    let inside = netns::run_in(&namespace, || Socket::open()?.links())??;
    let mut taps = BTreeMap::new();
    for interface in &plan.interfaces {
        if let Some((tap, bridge)) = plug(socket, &namespace, interface, &inside)? {
            taps.insert(interface.tap.clone(), (tap, Some(bridge)));
        }
    }
    netns::run_in(&namespace, || inside_router(plan, load || !there))??;
    Ok(Standing { plan: plan.clone(), taps })
}

/// Plugs an interface and gives back the indices of its tap and bridge; none where the network has no bridge.
fn plug(socket: &mut Socket, namespace: &NetnsFd, interface: &Interface, inside: &[Link]) -> Result<Option<(u32, u32)>, Error> {
    let Some(bridge) = socket.link(&interface.bridge)? else { return Ok(None) };
    let tap = socket.link(&interface.tap)?.filter(|tap| leads_to(tap, inside, interface));
    if tap.is_none() {
        // Half a pair is left where a namespace was taken away; any other interface of that name is not the router's.
        socket.delete_link(&interface.tap)?;
        netns::run_in(namespace, || Socket::open()?.delete_link(&interface.name))??;
        socket.add_veth(&Veth {
            name: &interface.tap,
            mac: None,
            master: Some(bridge.index),
            peer: &interface.name,
            peer_mac: Some(interface.mac),
            peer_netns: Some(namespace),
            mtu: Some(interface.mtu),
        })?;
    }
    let Some(tap) = socket.link(&interface.tap)? else { return Ok(None) };
    if tap.mtu != interface.mtu {
        socket.set_mtu(tap.index, interface.mtu)?;
    }
    if tap.master != Some(bridge.index) {
        socket.set_master(tap.index, bridge.index)?;
    }
    if !tap.up {
        socket.set_up(tap.index)?;
    }
    Ok(Some((tap.index, bridge.index)))
}

/// The part of a router that is done in its namespace.
fn inside_router(plan: &Plan, load: bool) -> Result<(), Error> {
    let mut socket = Socket::open()?;
    set("net/ipv4/ip_forward", "1")?;
    set("net/ipv6/conf/all/forwarding", "1")?;
    // The rules stand before the first interface is up.
    if load {
        nft::apply(&plan.ruleset)?;
    }
    let mut known = Vec::new();
    for link in socket.links()? {
        if link.name == "lo" {
            socket.set_up(link.index)?;
            continue;
        }
        let Some(interface) = plan.interfaces.iter().find(|interface| interface.name == link.name) else {
            socket.delete_link(&link.name)?;
            continue;
        };
        if link.mtu != interface.mtu {
            socket.set_mtu(link.index, interface.mtu)?;
        }
        socket.set_up(link.index)?;
        let have: Vec<IpNet> = socket.addresses()?.into_iter().filter(|a| a.index == link.index).map(|a| a.address).collect();
        for address in interface.addresses.iter().filter(|address| !have.contains(address)) {
            socket.add_address(link.index, *address)?;
        }
        let local = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        for address in have.iter().filter(|address| !interface.addresses.contains(address) && !local(address)) {
            socket.remove_address(link.index, *address)?;
        }
        known.push(link.index);
    }
    for route in socket.routes()? {
        let wanted = |hop| plan.routes.contains(&(route.destination, hop));
        if route.gateway.is_some_and(|hop| !wanted(hop)) && route.index.is_none_or(|index| known.contains(&index)) {
            socket.remove_route(&route)?;
        }
    }
    for (destination, hop) in &plan.routes {
        let route = Route { destination: *destination, gateway: Some(*hop), index: None, source: None };
        match socket.add_route(&route) {
            Ok(()) => {}
            // One unreachable next hop must not take the router's other routes away.
            Err(error) => tracing::warn!(namespace = plan.namespace, %error, "a route of the router cannot be set"),
        }
    }
    Ok(())
}
