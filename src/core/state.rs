//! What the core knows in memory: the journal's records, indexed for the questions a request asks.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    time::Instant,
};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    record::{Entry, Network, Pool, Port, Task, Work},
    request::DockerId,
};

/// The records, and which tasks are being worked on. Held under a plain mutex, and never across an await.
#[derive(Debug, Default)]
pub(super) struct State {
    pub pools: HashMap<Uuid, Pool>,
    pub networks: HashMap<DockerId, Network>,
    pub ports: HashMap<Uuid, Port>,
    endpoints: HashMap<DockerId, Uuid>,
    addresses: HashMap<(Uuid, IpAddr), Uuid>,
    pub tasks: BTreeMap<u64, Task>,
    /// Neutron objects that a task, or a request that takes a port back, works on right now.
    pub busy: HashSet<Uuid>,
    /// Tasks that failed: how often, and when to try again.
    pub retries: HashMap<u64, Retry>,
}

/// When a failed task runs again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub attempts: u32,
    pub due: Instant,
}

impl State {
    /// Takes over what the journal has made durable.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Pool(pool) => {
                self.pools.insert(pool.id, pool);
            }
            Entry::NoPool(id) => {
                self.pools.remove(&id);
            }
            Entry::Network(network) => {
                self.networks.insert(network.id.clone(), network);
            }
            Entry::NoNetwork(id) => {
                self.networks.remove(&id);
            }
            Entry::Port(port) => {
                self.forget_port(port.id);
                if let Some(endpoint) = &port.endpoint {
                    self.endpoints.insert(endpoint.clone(), port.id);
                }
                for address in &port.addresses {
                    self.addresses.insert((address.pool, address.ip), port.id);
                }
                self.ports.insert(port.id, port);
            }
            Entry::NoPort(id) => self.forget_port(id),
            Entry::Task(task) => {
                self.tasks.insert(task.id, task);
            }
            Entry::NoTask(id) => {
                self.tasks.remove(&id);
                self.retries.remove(&id);
            }
        }
    }

    fn forget_port(&mut self, id: Uuid) {
        let Some(port) = self.ports.remove(&id) else { return };
        if let Some(endpoint) = &port.endpoint {
            self.endpoints.remove(endpoint);
        }
        for address in &port.addresses {
            self.addresses.remove(&(address.pool, address.ip));
        }
    }

    /// The port of an endpoint.
    pub fn port_of(&self, endpoint: &DockerId) -> Option<&Port> {
        self.ports.get(self.endpoints.get(endpoint)?)
    }

    /// The port that has an address out of a pool.
    pub fn port_with(&self, pool: Uuid, ip: IpAddr) -> Option<&Port> {
        self.ports.get(self.addresses.get(&(pool, ip))?)
    }

    /// The pool of exactly this range that no network draws on yet.
    pub fn unbound_pool(&self, cidr: IpNet) -> Option<&Pool> {
        self.pools.values().find(|pool| pool.cidr == cidr && pool.network.is_none() && !pool.released)
    }

    /// Whether this host uses the subnet pool, or is about to remove it.
    pub fn holds_subnetpool(&self, subnetpool: Uuid) -> bool {
        self.pools.values().any(|pool| pool.subnetpool == subnetpool)
            || self.tasks.values().any(|task| match &task.work {
                Work::RetirePool(id) => *id == subnetpool,
                Work::RetireNetwork { pools, .. } => pools.contains(&subnetpool),
                _ => false,
            })
    }

    /// The task that is to remove the port with this address.
    pub fn retiring(&self, pool: Uuid, ip: IpAddr) -> Option<(u64, &Port)> {
        self.tasks.values().find_map(|task| match &task.work {
            Work::RetirePort(port) if port.address(pool).is_some_and(|address| address.ip == ip) => Some((task.id, &**port)),
            _ => None,
        })
    }

    /// The endpoint from which the port is still to be unplugged.
    pub fn unplugging(&self, port: Uuid) -> Option<DockerId> {
        self.tasks.values().find_map(|task| match &task.work {
            Work::UnplugPort(old) if old.id == port => old.endpoint.clone(),
            _ => None,
        })
    }

    /// Entries that call off the tasks on an object which nobody has begun.
    pub fn call_off(&self, key: Uuid) -> Vec<Entry> {
        if self.busy.contains(&key) {
            return Vec::new();
        }
        self.tasks.values().filter(|task| task.work.key() == key).map(|task| Entry::NoTask(task.id)).collect()
    }
}
