//! The bridges of the networks, and what is plugged into them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    executor::{Error, Problems, set},
    names,
    snapshot::{Network, Snapshot},
};
use crate::{
    netlink::{Link, Socket, netns},
    nft,
};

/// Makes every network's bridge as it has to be. Whether anything was changed is given back, here and below.
pub(super) fn bring_up(socket: &mut Socket, now: &[Link], snapshot: &Snapshot, problems: &mut Problems) -> bool {
    let mut touched = false;
    for (id, network) in &snapshot.networks {
        let result = bridge(socket, now, *id, network).map(|changed| touched |= changed);
        problems.note(|| format!("network {id} has no proper bridge"), result);
    }
    touched
}

fn bridge(socket: &mut Socket, now: &[Link], id: Uuid, network: &Network) -> Result<bool, Error> {
    let name = names::bridge(id);
    let mut found = now.iter().find(|link| link.name == name).cloned();
    let mut touched = found.is_none();
    if found.is_none() {
        match socket.add_bridge(&name) {
            // The binding makes the bridge too, whoever comes first.
            Err(error) if error.is_exists() => {}
            other => other?,
        }
        found = socket.link(&name)?;
    }
    let Some(bridge) = found else { return Ok(touched) };
    if bridge.mtu != network.mtu {
        touched = true;
        socket.set_mtu(bridge.index, network.mtu)?;
    }
    if network.external {
        for subnet in &network.subnets {
            if let Some(address) = subnet.gateway.and_then(|gateway| IpNet::new(gateway, subnet.cidr.prefix_len()).ok()) {
                socket.add_address(bridge.index, address)?;
            }
        }
    } else {
        // The host is no party on the network; a link-local address of its own would make it one.
        let _ = set(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
    if !bridge.up {
        touched = true;
        socket.set_up(bridge.index)?;
    }
    Ok(touched)
}

/// Whether a link is a port of a bridge with one of our names.
pub(super) fn plugged(links: &[Link], link: &Link) -> bool {
    link.master.is_some_and(|master| links.iter().any(|bridge| bridge.index == master && names::is_bridge(&bridge.name)))
}

/// Taps of no port that is known, on the bridges of networks that are. A name alone proves nothing: Neutron's own agents use the same.
pub(super) fn strangers<'l>(links: &'l [Link], snapshot: &Snapshot) -> impl Iterator<Item = &'l Link> {
    let taps: BTreeSet<String> = snapshot.ports.keys().chain(snapshot.unreadable.keys()).map(|id| names::tap(*id)).collect();
    let names: BTreeSet<String> = snapshot.networks.keys().map(|id| names::bridge(*id)).collect();
    let bridges: BTreeSet<u32> = links.iter().filter(|link| names.contains(&link.name)).map(|link| link.index).collect();
    links.iter().filter(move |link| {
        names::is_tap(&link.name) && !taps.contains(&link.name) && link.master.is_some_and(|master| bridges.contains(&master))
    })
}

/// Removes what has our names and belongs to nothing known: taps on our networks' bridges, namespaces of routers that hold our table,
/// bridges without ports.
pub(super) fn remove_stale(socket: &mut Socket, before: &[Link], snapshot: &Snapshot, problems: &mut Problems) -> bool {
    let mut touched = false;
    for link in strangers(before, snapshot) {
        touched = true;
        problems.note(|| format!("the interface {} of a port that is gone stays behind", link.name), socket.delete_link(&link.name));
    }
    let namespaces = netns::list();
    for name in namespaces.as_ref().into_iter().flatten() {
        let router = name.strip_prefix("qrouter-").and_then(|id| id.parse::<Uuid>().ok());
        if router.is_some_and(|id| !snapshot.routers.contains_key(&id) && !snapshot.unreadable.contains_key(&id)) {
            let result = remove_namespace(name).map(|removed| touched |= removed);
            problems.note(|| format!("the namespace {name} of a router that is gone stays behind"), result);
        }
    }
    problems.note(|| "routers that are gone may stay behind".to_owned(), namespaces.map(drop));
    let bridges: BTreeSet<String> = snapshot.networks.keys().chain(snapshot.unreadable.keys()).map(|id| names::bridge(*id)).collect();
    let stale: Vec<&Link> =
        before.iter().filter(|link| link.kind == "bridge" && names::is_bridge(&link.name) && !bridges.contains(&link.name)).collect();
    if stale.is_empty() {
        return touched;
    }
    let result = socket.links().and_then(|now| {
        // One with ports is not ours alone: Neutron's own agent uses the same names.
        let empty = stale.iter().filter(|link| !now.iter().any(|port| port.master == Some(link.index)));
        empty.map(|link| &link.name).try_for_each(|name| socket.delete_link(name))
    });
    problems.note(|| "bridges of networks that are gone stay behind".to_owned(), result);
    true
}

/// Removes a router's namespace if it is one of ours, which our table in it shows: Neutron's L3 agent names its own alike.
pub(super) fn remove_namespace(name: &str) -> Result<bool, Error> {
    let ours = netns::run_in(&netns::open(netns::path(name))?, || nft::has_table("inet", "kuryr"))??;
    if ours {
        netns::delete(name)?;
    }
    Ok(ours)
}

/// Plugs taps in again whose bridge was taken away and made anew.
pub(super) fn plug_again(socket: &mut Socket, now: &[Link], snapshot: &Snapshot, problems: &mut Problems) -> bool {
    let loose: Vec<&Link> = now.iter().filter(|link| link.kind == "veth" && link.master.is_none() && names::is_tap(&link.name)).collect();
    if loose.is_empty() {
        return false;
    }
    let of_routers = snapshot.router_ports();
    let mut touched = false;
    for (id, port) in snapshot.ports.iter().filter(|(id, _)| !of_routers.contains(id)) {
        let Some(tap) = loose.iter().find(|link| link.name == names::tap(*id)) else { continue };
        touched = true;
        let plugged = socket.link(&names::bridge(port.network)).and_then(|bridge| match bridge {
            Some(bridge) => socket.set_master(tap.index, bridge.index),
            None => Ok(()),
        });
        problems.note(|| format!("port {id} is not plugged into its bridge"), plugged);
    }
    touched
}
