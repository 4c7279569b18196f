//! What the datapath has to bring about: plain data, read from the store in one go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use uuid::Uuid;

use super::names;
use crate::mac::MacAddr;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Networks by id.
    pub networks: BTreeMap<Uuid, Network>,
    /// Ports by id, those of routers among them.
    pub ports: BTreeMap<Uuid, Port>,
    /// Security groups by id.
    pub groups: BTreeMap<Uuid, Group>,
    /// Routers by id; one that is administratively down is none.
    pub routers: BTreeMap<Uuid, Router>,
    /// Objects that are there but cannot be read, with why: what stands on the host for them stays, without traffic.
    pub unreadable: BTreeMap<Uuid, String>,
}

/// A network: one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// MTU in bytes.
    pub mtu: u32,
    /// The host itself has the gateway addresses of an external network and carries its traffic outside.
    pub external: bool,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its addresses.
    pub cidr: IpNet,
    /// The gateway, unless the subnet has none.
    pub gateway: Option<IpAddr>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its network.
    pub network: Uuid,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses, with the prefix length of their subnets.
    pub addresses: Vec<IpNet>,
    /// `allowed_address_pairs`; the MAC is the port's own where the user gave none.
    pub pairs: Vec<(MacAddr, IpNet)>,
    /// `port_security_enabled`. The ports of routers have their exemption by another way: see [`Snapshot::router_ports`].
    pub security: bool,
    /// `admin_state_up` of port and network: without it there is no traffic.
    pub up: bool,
    /// Security groups.
    pub groups: Vec<Uuid>,
    /// Whether the store says ACTIVE.
    pub active: bool,
}

/// A router: one network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Router {
    /// Ports on the networks it joins.
    pub interfaces: Vec<Uuid>,
    /// Port on the external network.
    pub gateway: Option<Uuid>,
    /// Whether what leaves by the gateway takes its address.
    pub snat: bool,
    /// Extra routes: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// Floating addresses with the fixed addresses behind them.
    pub floating: Vec<(IpAddr, IpAddr)>,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Answers to what a rule allows are allowed.
    pub stateful: bool,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Which way a rule looks, seen from the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Towards the port.
    Ingress,
    /// From the port.
    Egress,
}

/// A security group rule: it allows what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which way.
    pub direction: Direction,
    /// Whether it is for IPv6.
    pub v6: bool,
    /// IP protocol number; none is any.
    pub protocol: Option<u8>,
    /// Lowest and highest destination port, or ICMP type and code.
    pub range: (Option<u16>, Option<u16>),
    /// The other side.
    pub remote: Remote,
}

/// The other side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// Anyone.
    Any,
    /// Addresses.
    Prefix(IpNet),
    /// Ports of a security group.
    Group(Uuid),
}

impl Port {
    /// Everything the port may send from: MAC and addresses.
    pub fn sources(&self) -> impl Iterator<Item = (MacAddr, IpNet)> {
        self.addresses.iter().map(|net| (self.mac, IpNet::from(net.addr()))).chain(self.pairs.iter().copied())
    }
}

impl Snapshot {
    /// The ports that belong to a router.
    pub fn router_ports(&self) -> BTreeSet<Uuid> {
        self.routers.values().flat_map(|router| router.interfaces.iter().chain(&router.gateway)).copied().collect()
    }

    /// Takes out the networks and ports whose interface would have the name of another one's, and gives back which, with that other.
    /// An active port keeps its name, and else the one with the lower id.
    pub fn settle_names(&mut self) -> Vec<(Uuid, Uuid)> {
        let mut clashes = Vec::new();
        let mut bridges = BTreeMap::new();
        for id in self.networks.keys() {
            if let Some(other) = bridges.insert(names::bridge(*id), *id) {
                bridges.insert(names::bridge(*id), other);
                clashes.push((*id, other));
            }
        }
        let lost: BTreeSet<Uuid> = clashes.iter().map(|(id, _)| *id).collect();
        self.networks.retain(|id, _| !lost.contains(id));
        let mut taps: BTreeMap<String, Uuid> = BTreeMap::new();
        for active in [true, false] {
            for (id, _) in self.ports.iter().filter(|(_, port)| port.active == active && !lost.contains(&port.network)) {
                match taps.get(&names::tap(*id)) {
                    Some(other) => clashes.push((*id, *other)),
                    None => drop(taps.insert(names::tap(*id), *id)),
                }
            }
        }
        if !clashes.is_empty() {
            let kept: BTreeSet<Uuid> = taps.into_values().collect();
            self.ports.retain(|id, _| kept.contains(id));
        }
        clashes
    }

    /// Networks that share a router with this one, itself included: where members of a remote group can be met.
    pub fn reachable(&self, network: Uuid) -> Vec<Uuid> {
        let mut found = vec![network];
        for router in self.routers.values() {
            let joined: Vec<Uuid> = router.interfaces.iter().filter_map(|port| self.ports.get(port)).map(|port| port.network).collect();
            if joined.contains(&network) {
                found.extend(joined);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
