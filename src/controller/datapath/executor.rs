//! Brings a snapshot about on this host: links, namespaces, tables, in an order that leaves no port unguarded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    filter, forward, names,
    router::{self, Interface, Plan},
    snapshot::Snapshot,
};
use crate::{
    netlink::{self, Link, NetnsFd, Route, Socket, Veth, netns},
    nft,
};

/// The datapath could not be brought about; the next sync tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a link, an address, a route or a namespace.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The firewall refused.
    #[error(transparent)]
    Firewall(#[from] nft::Error),
    /// A kernel setting could not be written.
    #[error("cannot set {path} to {value}: {source}; if the file is missing, load the module br_netfilter ('modprobe br_netfilter')")]
    Setting {
        /// The file.
        path: String,
        /// What was to be written.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The store could not be read.
    #[error("cannot read the store for the datapath: {0}")]
    Store(String),
}

/// What was applied last, so that an unchanged ruleset is not loaded again.
#[derive(Debug, Default)]
pub struct Executor {
    applied: BTreeMap<String, String>,
}

/// The links of this host; to be taken BEFORE the snapshot is read, so that no port made in between looks stale.
pub fn links() -> Result<Vec<Link>, Error> {
    Ok(Socket::open()?.links()?)
}

impl Executor {
    /// Brings `snapshot` about. With `force` every table is loaded again, because another may have flushed it.
    /// Returns the ports whose status in the store is wrong, with whether they are active.
    pub fn sync(&mut self, before: &[Link], snapshot: &Snapshot, force: bool) -> Result<Vec<(Uuid, bool)>, Error> {
        if force {
            self.applied.clear();
        }
        for family in ["iptables", "ip6tables"] {
            set(&format!("net/bridge/bridge-nf-call-{family}"), "1")?;
        }
        let mut socket = Socket::open()?;
        self.filter(before, snapshot)?;
        bridges(&mut socket, snapshot)?;
        remove_stale(&mut socket, before, snapshot)?;
        for (id, router) in &snapshot.routers {
            self.router(&mut socket, &router::plan(snapshot, *id, router))?;
        }
        statuses(&mut socket, snapshot)
    }

    fn filter(&mut self, links: &[Link], snapshot: &Snapshot) -> Result<(), Error> {
        let foreign = foreign_taps(links, snapshot);
        let text = filter::render(snapshot, &foreign);
        if self.applied.get("host") != Some(&text) {
            nft::apply(&text)?;
            self.applied.insert("host".into(), text);
        }
        let external = external(snapshot);
        let rules = forward::render(&external);
        if self.applied.get("forward") != Some(&rules) {
            forward::apply(&rules)?;
            self.applied.insert("forward".into(), rules);
        }
        if !external.is_empty() {
            set("net/ipv4/ip_forward", "1")?;
        }
        let v6 = |subnet: &super::snapshot::Subnet| subnet.cidr.addr().is_ipv6();
        if snapshot.networks.values().any(|network| network.external && network.subnets.iter().any(v6)) {
            set("net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    fn router(&mut self, socket: &mut Socket, plan: &Plan) -> Result<(), Error> {
        let there = netns::list()?.contains(&plan.namespace);
        let namespace = if there { netns::open(netns::path(&plan.namespace))? } else { netns::create(&plan.namespace)? };
        let inside = netns::run_in(&namespace, || Socket::open()?.links())??;
        for interface in &plan.interfaces {
            plug(socket, &namespace, interface, inside.iter().any(|link| link.name == interface.name))?;
        }
        let load = self.applied.get(&plan.namespace) != Some(&plan.ruleset);
        netns::run_in(&namespace, || inside_router(plan, load))??;
        self.applied.insert(plan.namespace.clone(), plan.ruleset.clone());
        Ok(())
    }
}

/// Takes down everything the datapath ever made on this host.
pub fn remove_everything() -> Result<(), Error> {
    let before = links()?;
    let nothing = Snapshot::default();
    let mut socket = Socket::open()?;
    for link in before.iter().filter(|link| names::is_tap(&link.name) && plugged(&before, link)) {
        socket.delete_link(&link.name)?;
    }
    remove_stale(&mut socket, &links()?, &nothing)?;
    nft::apply("add table bridge kuryr\ndelete table bridge kuryr\nadd table inet kuryr\ndelete table inet kuryr\n")?;
    forward::remove()?;
    Ok(())
}

fn external(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.networks.iter().filter(|(_, network)| network.external).map(|(id, _)| names::bridge(*id)).collect()
}

/// Whether a link is a port of a bridge with one of our names.
fn plugged(links: &[Link], link: &Link) -> bool {
    link.master.is_some_and(|master| links.iter().any(|bridge| bridge.index == master && names::is_bridge(&bridge.name)))
}

/// Taps of others (of a virtual machine, say): the bridge table must let them alone.
fn foreign_taps(links: &[Link], snapshot: &Snapshot) -> BTreeSet<String> {
    let ours: BTreeSet<String> = snapshot.ports.keys().map(|id| names::tap(*id)).collect();
    links
        .iter()
        .filter(|link| link.name.starts_with("tap") && link.master.is_some() && !plugged(links, link) && !ours.contains(&link.name))
        // The name goes into the ruleset's text, and the kernel allows nearly any byte in it.
        .filter(|link| link.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        .map(|link| link.name.clone())
        .collect()
}

fn bridges(socket: &mut Socket, snapshot: &Snapshot) -> Result<(), Error> {
    for (id, network) in &snapshot.networks {
        let name = names::bridge(*id);
        if socket.link(&name)?.is_none() {
            match socket.add_bridge(&name) {
                // The binding makes the bridge too, whoever comes first.
                Err(error) if error.is_exists() => {}
                other => other?,
            }
        }
        let Some(bridge) = socket.link(&name)? else { continue };
        if bridge.mtu != network.mtu {
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
            socket.set_up(bridge.index)?;
        }
    }
    Ok(())
}

/// Removes what has our names and belongs to nothing known: taps on our bridges, namespaces of routers, bridges without ports.
fn remove_stale(socket: &mut Socket, before: &[Link], snapshot: &Snapshot) -> Result<(), Error> {
    let taps: BTreeSet<String> = snapshot.ports.keys().map(|id| names::tap(*id)).collect();
    for link in before.iter().filter(|link| names::is_tap(&link.name) && !taps.contains(&link.name) && plugged(before, link)) {
        socket.delete_link(&link.name)?;
    }
    for name in netns::list()? {
        let router = name.strip_prefix("qrouter-").and_then(|id| id.parse::<Uuid>().ok());
        if router.is_some_and(|id| !snapshot.routers.contains_key(&id)) {
            netns::delete(&name)?;
        }
    }
    let bridges: BTreeSet<String> = snapshot.networks.keys().map(|id| names::bridge(*id)).collect();
    let now = socket.links()?;
    for link in before.iter().filter(|link| link.kind == "bridge" && names::is_bridge(&link.name) && !bridges.contains(&link.name)) {
        // One with ports is not ours alone: Neutron's own agent uses the same names.
        if !now.iter().any(|port| port.master == Some(link.index)) {
            socket.delete_link(&link.name)?;
        }
    }
    Ok(())
}

fn plug(socket: &mut Socket, namespace: &NetnsFd, interface: &Interface, inside: bool) -> Result<(), Error> {
    let Some(bridge) = socket.link(&interface.bridge)? else { return Ok(()) };
    if !inside {
        // Half a pair is left where a namespace was taken away.
        socket.delete_link(&interface.tap)?;
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
    if let Some(tap) = socket.link(&interface.tap)? {
        if tap.mtu != interface.mtu {
            socket.set_mtu(tap.index, interface.mtu)?;
        }
        if tap.master != Some(bridge.index) {
            socket.set_master(tap.index, bridge.index)?;
        }
        if !tap.up {
            socket.set_up(tap.index)?;
        }
    }
    Ok(())
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

/// A port is active when its tap is up on the right bridge; the rules for it were applied before.
fn statuses(socket: &mut Socket, snapshot: &Snapshot) -> Result<Vec<(Uuid, bool)>, Error> {
    let links = socket.links()?;
    let by_name: BTreeMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
    let mut changed = Vec::new();
    for (id, port) in &snapshot.ports {
        let bridge = by_name.get(names::bridge(port.network).as_str()).map(|link| link.index);
        let active = by_name.get(names::tap(*id).as_str()).is_some_and(|tap| tap.up && tap.master.is_some() && tap.master == bridge);
        if active != port.active {
            changed.push((*id, active));
        }
    }
    Ok(changed)
}

/// Writes a setting of the calling thread's network namespace.
fn set(name: &str, value: &'static str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::Setting { path, value, source })
}
