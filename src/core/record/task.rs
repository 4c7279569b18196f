//! What is promised and still to be done, as it stands in the journal.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Network, Port};
use crate::core::request::{DockerId, ExposedPort};

/// Something promised to the engine that is still to be done in Neutron or on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Ascending in the order of the promises.
    pub id: u64,
    /// Unix time of the promise, in seconds; 0 from a journal that did not keep it.
    #[serde(default)]
    pub promised: i64,
    /// What.
    pub work: Work,
}

/// The kinds of [`Task`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Write the endpoint and the tags into the port.
    DressPort {
        /// The port.
        port: Uuid,
        /// Its endpoint.
        endpoint: DockerId,
    },
    /// Remove the port's interface from this host; the port itself stays.
    UnplugPort(Box<Port>),
    /// Remove the interface and the port.
    RetirePort(Box<Port>),
    /// See that the machine's own port still lets the containers' addresses through.
    WatchMachine(Uuid),
    /// Write the tags of a network and its subnets.
    TagNetwork(Box<Network>),
    /// Remove what a Docker network had in Neutron.
    RetireNetwork {
        /// The network.
        network: Box<Network>,
        /// Subnet pools to remove after it.
        pools: Vec<Uuid>,
    },
    /// Remove the port by which a swarm's manager held an address.
    EndReservation {
        /// Its subnet.
        subnet: Uuid,
        /// The address.
        address: IpAddr,
    },
    /// Remove a subnet that was made for a network that then could not be completed.
    RetireSubnet(Uuid),
    /// Remove a subnet pool that no network drew on.
    RetirePool(Uuid),
    /// Write on a subnet pool that an operator made it.
    MarkPool(Uuid),
    /// Let others reach a port where its container exposes it.
    Expose {
        /// The port.
        port: Uuid,
        /// Where.
        exposed: BTreeSet<ExposedPort>,
    },
    /// Take the security group for exposed ports off a port.
    Conceal(Uuid),
    /// Remove what a request to Neutron may have made whose answer did not come. The collector does it, when whatever it was has had its time.
    Seek {
        /// What.
        made: Made,
        /// Unix time of the request, in seconds.
        since: i64,
    },
    /// Look in Neutron for an endpoint that was deleted and that the journal did not know, and part its port from it.
    LateEndpoint {
        /// The network.
        network: DockerId,
        /// The endpoint.
        endpoint: DockerId,
    },
    /// The same for an address that was released.
    LateAddress {
        /// The pool.
        pool: Uuid,
        /// The address.
        address: IpAddr,
    },
    /// The same for a pool that was released.
    LatePool(Uuid),
    /// The same for a network that was deleted.
    LateNetwork(DockerId),
}

/// What a request may have made, by the name that it gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// A network.
    Network(String),
    /// A subnet.
    Subnet {
        /// Its network.
        network: Uuid,
        /// Its name.
        name: String,
    },
    /// A subnet pool.
    SubnetPool(String),
    /// A router.
    Router(String),
    /// What a Docker network leaves on a Neutron network that it was put upon: its tags, or the port in their place.
    Use(Box<Network>),
}

impl Work {
    /// The Neutron object that it works on: tasks with the same key run one after the other.
    pub fn key(&self) -> Uuid {
        match self {
            Self::DressPort { port, .. } => *port,
            Self::UnplugPort(port) | Self::RetirePort(port) => port.id,
            Self::TagNetwork(network) | Self::RetireNetwork { network, .. } => network.neutron,
            Self::WatchMachine(id)
            | Self::RetireSubnet(id)
            | Self::RetirePool(id)
            | Self::MarkPool(id)
            | Self::Conceal(id)
            | Self::Expose { port: id, .. } => *id,
            Self::Seek { .. } => Uuid::max(),
            // Of one address, so that those that are still used hold up no others.
            Self::EndReservation { subnet, address } => {
                let address = match address {
                    IpAddr::V4(ip) => u128::from(u32::from(*ip)),
                    IpAddr::V6(ip) => u128::from(*ip),
                };
                Uuid::from_u128(subnet.as_u128() ^ address)
            }
            // In the engine's order: an endpoint before its address, and both before their network.
            Self::LateEndpoint { .. } | Self::LateAddress { .. } | Self::LatePool(_) | Self::LateNetwork(_) => Uuid::nil(),
        }
    }

    /// The port that Neutron has no more when it is done.
    pub fn removed_port(&self) -> Option<Uuid> {
        match self {
            Self::RetirePort(port) if !port.existing => Some(port.id),
            _ => None,
        }
    }

    /// What it does, for a log line.
    pub fn describe(&self) -> String {
        match self {
            Self::DressPort { port, endpoint } => format!("write endpoint {endpoint} into port {port}"),
            Self::UnplugPort(port) => format!("unplug port {}", port.id),
            Self::RetirePort(port) => format!("remove port {}", port.id),
            Self::WatchMachine(machine) => format!("see what the machine's port {machine} lets through"),
            Self::TagNetwork(network) => format!("tag network {}", network.neutron),
            Self::RetireNetwork { network, .. } => format!("remove network {}", network.neutron),
            Self::EndReservation { subnet, address } => format!("remove the port that held {address} of subnet {subnet}"),
            Self::RetireSubnet(subnet) => format!("remove subnet {subnet}"),
            Self::RetirePool(pool) => format!("remove subnet pool {pool}"),
            Self::MarkPool(pool) => format!("tag subnet pool {pool}"),
            Self::Expose { port, .. } => format!("expose port {port}"),
            Self::Conceal(port) => format!("take exposed ports off port {port}"),
            Self::Seek { made: Made::Network(name), .. } => format!("look for network '{name}', which may have been made"),
            Self::Seek { made: Made::Subnet { name, .. }, .. } => format!("look for subnet '{name}', which may have been made"),
            Self::Seek { made: Made::SubnetPool(name), .. } => format!("look for subnet pool '{name}', which may have been made"),
            Self::Seek { made: Made::Router(name), .. } => format!("look for router '{name}', which may have been made"),
            Self::Seek { made: Made::Use(network), .. } => {
                format!("look for the tags of network {} on {}, which it may have been put upon", network.id, network.neutron)
            }
            Self::LateEndpoint { endpoint, .. } => format!("look for endpoint {endpoint}, which was deleted"),
            Self::LateAddress { pool, address } => format!("look for address {address} of pool {pool}, which was released"),
            Self::LatePool(pool) => format!("look for pool {pool}, which was released"),
            Self::LateNetwork(network) => format!("look for network {network}, which was deleted"),
        }
    }
}
