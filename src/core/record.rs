//! What the core remembers and how it stands in the journal.

mod task;

use std::{collections::BTreeSet, net::IpAddr, ops::Deref, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::task::{Made, Task, Work};
use super::{
    now,
    port_driver::{Carrier, Vnic},
    port_options::PortChoice,
    port_pool::PoolLimits,
    request::DockerId,
};
use crate::{
    binding::Driver,
    journal::{Change, Record},
    mac::MacAddr,
    openstack,
};

/// A pool granted to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The engine's `PoolID`: the Neutron subnet pool's, or one of ours when the addresses come out of a pool that many networks share.
    pub id: Uuid,
    /// The Neutron subnet pool.
    pub subnetpool: Uuid,
    /// Whether a kuryr made the subnet pool, so that it goes with its last user.
    pub owned: bool,
    /// Whether it was there already when this host asked for it: then another host may be about to use it.
    #[serde(default)]
    pub found: bool,
    /// A subnet pool that another host made, whose id is this pool's and which this pool does not draw on.
    #[serde(default)]
    pub namesake: Option<Uuid>,
    /// The Neutron subnet that `--ipam-opt` names.
    #[serde(default)]
    pub subnet: Option<Uuid>,
    /// Whether a swarm's manager has it, for its nodes.
    #[serde(default)]
    pub manager: bool,
    /// What the engine may use.
    pub cidr: IpNet,
    /// The gateway that the engine was told before the network was made.
    pub gateway: Option<IpAddr>,
    /// Whether kuryr chose that, since the user named none.
    #[serde(default)]
    pub guessed: bool,
    /// Addresses asked for before the network was made: `--aux-address`.
    pub reserved: BTreeSet<IpAddr>,
    /// The network that draws on it; none until the network is made.
    pub network: Option<DockerId>,
    /// Whether the engine has given it back; it goes with its network then.
    pub released: bool,
    /// Unix time of the grant, in seconds; of the last one, if there were several.
    pub granted: i64,
    /// How often it was granted beyond the first time: the engine repeated the call, or makes two networks of one range at once.
    #[serde(default)]
    pub repeated: u32,
    /// Whether the engine has given back one of several grants while a network drew on it. It goes with its network then, since nobody comes
    /// for grants whose reply was lost.
    #[serde(default)]
    pub returned: bool,
}

/// A Docker network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The engine's id.
    pub id: DockerId,
    /// The Neutron network.
    pub neutron: Uuid,
    /// Whether a kuryr made the Neutron network, this one or another host's, so that it goes with its last user.
    pub owned: bool,
    /// Whether the Docker network was put upon a Neutron network that was there already.
    #[serde(default)]
    pub joined: bool,
    /// Bytes a frame may carry, from Neutron.
    pub mtu: u32,
    /// `--internal`.
    pub internal: bool,
    /// The router to the outside that kuryr made for it.
    pub router: Option<Uuid>,
    /// Its subnets, one per pool.
    pub subnets: Vec<Subnet>,
    /// What `-o` says of the ports of its endpoints.
    #[serde(default)]
    pub ports: PortChoice,
    /// What `-o` says of the ports made ahead on it.
    #[serde(default)]
    pub pool: PoolLimits,
}

impl Network {
    /// Whether a port has an address only because Neutron gives each port one in every subnet where hosts make theirs out of their MACs, those
    /// included that the Docker network has not.
    pub fn is_beside(&self, fixed: &openstack::FixedIp, mac: MacAddr) -> bool {
        mac.makes(fixed.ip_address) && self.subnets.iter().all(|subnet| subnet.id != fixed.subnet_id)
    }
}

/// A subnet of a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The Neutron subnet.
    pub id: Uuid,
    /// Whether a kuryr made it.
    pub owned: bool,
    /// The Neutron subnet pool whose id it is tagged with.
    pub subnetpool: Uuid,
    /// The [`Pool::id`] the engine names it by.
    pub pool: Uuid,
    /// Its range.
    pub cidr: IpNet,
    /// What Join answers as the gateway.
    pub gateway: Option<IpAddr>,
    /// The gateway by which the engine knows it, where that is another: kuryr's guess before it knew of the subnet, or Neutron's of before.
    #[serde(default)]
    pub guessed: Option<IpAddr>,
    /// `host_routes`: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// Addresses no endpoint may have.
    pub reserved: BTreeSet<IpAddr>,
}

/// A Neutron port for an address of this host: one that kuryr made, or one that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The Neutron port.
    pub id: Uuid,
    /// The engine's network.
    pub network: DockerId,
    /// The Neutron network.
    pub neutron_network: Uuid,
    /// Its MAC in Neutron.
    pub mac: MacAddr,
    /// Its addresses, at most one per pool.
    pub addresses: Vec<Address>,
    /// `binding:vif_type`.
    pub vif_type: String,
    /// `binding:vif_details`.
    pub vif_details: VifDetails,
    /// The project that owns it.
    pub project: String,
    /// Bytes a frame may carry.
    pub mtu: u32,
    /// The endpoint it is bound to.
    pub endpoint: Option<DockerId>,
    /// Whether the engine has come for that endpoint with Join. It has stored the endpoint by then, and so gives it back itself.
    #[serde(default)]
    pub joined: bool,
    /// What it asks for if it is not of the type `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnic: Option<Box<Vnic>>,
    /// What makes its interface.
    #[serde(default)]
    pub driver: Driver,
    /// What carries its traffic, where the host's switch does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Carrier>,
    /// Whether it may have a security group for exposed ports.
    #[serde(default)]
    pub exposing: bool,
    /// Whether an operator or Zun made it: it stays when its addresses are released.
    #[serde(default)]
    pub existing: bool,
    /// What kuryr changes of it while it is used, with the values from before, by Neutron's names of the fields.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub changed: Map<String, Value>,
    /// Whether it was made ahead of use and nobody has it yet: all its addresses wait.
    #[serde(default)]
    pub pooled: bool,
    /// Whether its link is in place and Neutron has reported it ACTIVE before an endpoint came for it.
    #[serde(default)]
    pub ready: bool,
    /// The security groups that it was made with, while it is [`Port::pooled`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Uuid>,
    /// Unix time it was made, taken or handed out, in seconds.
    pub created: i64,
}

/// `binding:vif_details`, which the ports of a network mostly have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub struct VifDetails(Arc<Value>);

impl VifDetails {
    /// Whether another has the same copy.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl From<Value> for VifDetails {
    fn from(details: Value) -> Self {
        Self(Arc::new(details))
    }
}

impl From<VifDetails> for Value {
    fn from(details: VifDetails) -> Self {
        Self::clone(&details)
    }
}

impl Deref for VifDetails {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

/// One fixed IP of a [`Port`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Its Neutron subnet.
    pub subnet: Uuid,
    /// The [`Pool::id`] it is asked for by.
    pub pool: Uuid,
    /// Whether the engine has it.
    pub state: AddressState,
}

/// Whether the engine has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressState {
    /// Made with the other family's, and not asked for yet.
    Waiting,
    /// Promised to the engine.
    Granted,
    /// Given back.
    Released,
}

#[cfg(test)]
impl Network {
    /// One of kuryr's own with an IPv4 subnet.
    pub fn for_test(digit: char) -> Self {
        let subnet = Subnet {
            id: Uuid::from_u128(1),
            owned: true,
            subnetpool: Uuid::from_u128(2),
            pool: Uuid::from_u128(2),
            cidr: IpNet::new([10, 0, 0, 0].into(), 24).unwrap(),
            gateway: None,
            guessed: Default::default(),
            routes: Vec::new(),
            reserved: BTreeSet::new(),
        };
        Self {
            id: DockerId::parse(&digit.to_string().repeat(64)).unwrap(),
            neutron: Uuid::from_u128(3),
            owned: true,
            joined: false,
            mtu: 1500,
            internal: false,
            router: None,
            subnets: vec![subnet],
            ports: PortChoice::default(),
            pool: PoolLimits::default(),
        }
    }
}

impl Port {
    /// One of Neutron's, of which nothing is known yet but what Neutron tells; it has no addresses for the engine.
    pub fn new(network: DockerId, mtu: u32, found: &openstack::Port) -> Self {
        Self {
            id: found.id,
            network,
            neutron_network: found.network_id,
            mac: found.mac_address,
            addresses: Vec::new(),
            vif_type: found.vif_type.clone().unwrap_or_default(),
            vif_details: found.vif_details.clone().into(),
            project: found.project_id.clone(),
            mtu,
            endpoint: None,
            joined: false,
            vnic: Vnic::of(found).map(Box::new),
            driver: Driver::Veth,
            carrier: None,
            exposing: false,
            existing: false,
            changed: Map::new(),
            pooled: false,
            ready: false,
            groups: Vec::new(),
            created: now(),
        }
    }

    /// Its address out of `pool`.
    pub fn address(&self, pool: Uuid) -> Option<&Address> {
        self.addresses.iter().find(|address| address.pool == pool)
    }

    /// Sets the state of its address out of `pool`.
    pub fn mark(&mut self, pool: Uuid, state: AddressState) {
        for address in self.addresses.iter_mut().filter(|address| address.pool == pool) {
            address.state = state;
        }
    }

    /// Whether the engine holds any of its addresses.
    pub fn is_held(&self) -> bool {
        self.addresses.iter().any(|address| address.state == AddressState::Granted)
    }
}

/// A record as it is now, or the word that it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A pool was granted or changed.
    Pool(Pool),
    /// A pool is no more.
    NoPool(Uuid),
    /// A network was made or changed.
    Network(Network),
    /// A network is no more.
    NoNetwork(DockerId),
    /// A port was made or changed.
    Port(Port),
    /// A port is no more.
    NoPort(Uuid),
    /// A task was promised.
    Task(Task),
    /// A task is done or needless.
    NoTask(u64),
}

/// What an [`Entry`] is about: its kind and id in the journal.
pub type Key = (&'static str, String);

impl Entry {
    /// The record that it is about.
    pub fn key(&self) -> Key {
        let Change { kind, id, .. } = self.change();
        (kind, id)
    }

    /// The record as it counts for a daemon that has just started: what was ready before may not be so any more.
    pub fn taken_up(self) -> Self {
        match self {
            Self::Port(port) if port.pooled => Self::Port(Port { ready: false, ..port }),
            other => other,
        }
    }

    /// What the journal has to write for it.
    pub fn change(&self) -> Change {
        match self {
            Self::Pool(pool) => put("pool", &pool.id, pool),
            Self::NoPool(id) => drop_record("pool", id),
            Self::Network(network) => put("network", &network.id, network),
            Self::NoNetwork(id) => drop_record("network", id),
            Self::Port(port) => put("port", &port.id, port),
            Self::NoPort(id) => drop_record("port", id),
            Self::Task(task) => put("task", &task.id, task),
            Self::NoTask(id) => drop_record("task", id),
        }
    }

    /// Reads a record back; the text is for the person who finds it damaged.
    pub fn read(record: &Record<'_>) -> Result<Self, String> {
        let entry = match record.kind {
            "pool" => serde_json::from_str(record.body).map(Self::Pool),
            "network" => serde_json::from_str(record.body).map(Self::Network),
            "port" => serde_json::from_str(record.body).map(Self::Port),
            "task" => serde_json::from_str(record.body).map(Self::Task),
            other => return Err(format!("record {} is of the unknown kind '{other}'", record.id)),
        };
        entry.map_err(|error| format!("{} {}: {error}", record.kind, record.id))
    }
}

fn put(kind: &'static str, id: &impl ToString, record: &impl Serialize) -> Change {
    // Serialising these types cannot fail: no map in them has a key that is not text.
    let body = serde_json::to_string(record).unwrap_or_default();
    Change { kind, id: id.to_string(), body: Some(body) }
}

fn drop_record(kind: &'static str, id: &impl ToString) -> Change {
    Change { kind, id: id.to_string(), body: None }
}
