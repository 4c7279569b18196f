//! What the datapath has to bring about: plain data, read from the store in one go.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use uuid::Uuid;

use crate::mac::MacAddr;

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Networks by id.
    pub networks: BTreeMap<Uuid, Network>,
    /// Ports by id, those of routers among them.
    pub ports: BTreeMap<Uuid, Port>,
    /// The rules of each security group.
    pub groups: BTreeMap<Uuid, Vec<Rule>>,
    /// Routers by id.
    pub routers: BTreeMap<Uuid, Router>,
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
    /// `port_security_enabled`; always false for the ports of routers.
    pub security: bool,
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
