//! What the core knows in memory: the journal's records, indexed for the questions a request asks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Instant,
};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    collector::GRACE,
    record::{Entry, Key, Network, Pool, Port, Task, VifDetails, Work},
    request::DockerId,
};

/// The records, and which tasks are being worked on. Held under a plain mutex, and never across an await.
#[derive(Debug, Default)]
pub(super) struct State {
    pub pools: HashMap<Uuid, Pool>,
    pub networks: HashMap<DockerId, Network>,
    /// Each by itself in memory: a table keeps up to twice as many places as it has entries.
    pub ports: HashMap<Uuid, Box<Port>>,
    /// One of each of the ports' details.
    details: HashSet<VifDetails>,
    endpoints: HashMap<DockerId, Uuid>,
    addresses: HashMap<(Uuid, IpAddr), Uuid>,
    /// Ports made ahead of use, by network.
    pooled: HashMap<DockerId, BTreeSet<Uuid>>,
    pub tasks: BTreeMap<u64, Task>,
    /// Neutron objects that a task, or a request that takes a port back or makes a network, works on right now.
    pub busy: HashSet<Uuid>,
    /// Pools that a CreateNetwork under way is about to draw on.
    pub claimed: HashSet<Uuid>,
    /// Ports made ahead that one request or task works on.
    pub held: HashSet<Uuid>,
    /// Networks of Neutron that were made and tagged in this life of the daemon, until their subnets are tagged as well.
    pub tagged: HashSet<Uuid>,
    /// Tasks of the collector about what a request under way makes.
    pub under_way: HashSet<u64>,
    /// Tasks that failed: how often, and when to try again.
    pub retries: HashMap<u64, Retry>,
    /// Ports whose removal Neutron may have carried out, whatever it answered.
    pub going: HashSet<Uuid>,
    /// When the last endpoint was made.
    pub started: Option<Instant>,
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
            Entry::Port(mut port) => {
                self.forget_port(port.id);
                port.vif_details = self.shared(port.vif_details);
                if let Some(network) = self.networks.get(&port.network) {
                    port.network = network.id.clone();
                }
                if let Some(endpoint) = &port.endpoint {
                    self.endpoints.insert(endpoint.clone(), port.id);
                }
                for address in &port.addresses {
                    self.addresses.insert((address.pool, address.ip), port.id);
                }
                if port.pooled {
                    self.pooled.entry(port.network.clone()).or_default().insert(port.id);
                }
                self.ports.insert(port.id, Box::new(port));
            }
            Entry::NoPort(id) => self.forget_port(id),
            Entry::Task(task) => {
                self.tasks.insert(task.id, task);
            }
            Entry::NoTask(id) => {
                self.retries.remove(&id);
                if let Some(port) = self.tasks.remove(&id).and_then(|task| task.work.removed_port()) {
                    self.going.remove(&port);
                }
            }
        }
    }

    /// The record of a key as it stands now.
    pub fn entry(&self, (kind, id): &Key) -> Entry {
        // A key is only ever made from an entry, so that its id reads back.
        let uuid = Uuid::parse_str(id).unwrap_or_default();
        match *kind {
            "pool" => self.pools.get(&uuid).cloned().map_or(Entry::NoPool(uuid), Entry::Pool),
            "port" => self.port(&uuid).cloned().map_or(Entry::NoPort(uuid), Entry::Port),
            "network" => {
                let network = DockerId::parse(id).unwrap_or_else(DockerId::nowhere);
                self.networks.get(&network).cloned().map_or(Entry::NoNetwork(network), Entry::Network)
            }
            _ => {
                let task = id.parse().unwrap_or_default();
                self.tasks.get(&task).cloned().map_or(Entry::NoTask(task), Entry::Task)
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
        if let Some(pooled) = self.pooled.get_mut(&port.network) {
            pooled.remove(&id);
            if pooled.is_empty() {
                self.pooled.remove(&port.network);
            }
        }
    }

    /// The same details as others have, so that all share one copy. Those that nobody has any more go when new ones come, which is seldom.
    fn shared(&mut self, details: VifDetails) -> VifDetails {
        if let Some(known) = self.details.get(&details) {
            return known.clone();
        }
        self.details.retain(VifDetails::is_shared);
        self.details.insert(details.clone());
        details
    }

    /// The port of this id.
    pub fn port(&self, id: &Uuid) -> Option<&Port> {
        self.ports.get(id).map(|port| &**port)
    }

    /// All ports, in no order.
    pub fn every_port(&self) -> impl Iterator<Item = &Port> {
        self.ports.values().map(|port| &**port)
    }

    /// Ports made ahead of use on a network.
    pub fn pooled_on(&self, network: &DockerId) -> impl Iterator<Item = &Port> {
        self.pooled.get(network).into_iter().flatten().filter_map(|id| self.port(id))
    }

    /// Networks that have such ports.
    pub fn networks_with_pooled(&self) -> impl Iterator<Item = &DockerId> {
        self.pooled.keys()
    }

    /// How many such ports there are, and how many of them can be handed out.
    pub fn pooled_and_ready(&self) -> (usize, usize) {
        let pooled = self.pooled.values().flatten().filter_map(|id| self.port(id));
        pooled.fold((0, 0), |(pooled, ready), port| (pooled + 1, ready + usize::from(port.ready)))
    }

    /// Holds a port made ahead that has an address out of `pool`, if `such` holds of it.
    pub fn claim_pooled(&mut self, network: &DockerId, pool: Uuid, such: impl Fn(&Port) -> bool) -> Option<Uuid> {
        let fits = |port: &&Port| such(port) && !self.held.contains(&port.id) && port.address(pool).is_some();
        let id = self.pooled_on(network).filter(fits).max_by_key(|port| port.ready).map(|port| port.id)?;
        self.held.insert(id);
        Some(id)
    }

    /// The port of an endpoint.
    pub fn port_of(&self, endpoint: &DockerId) -> Option<&Port> {
        self.port(self.endpoints.get(endpoint)?)
    }

    /// The port that has an address out of a pool.
    pub fn port_with(&self, pool: Uuid, ip: IpAddr) -> Option<&Port> {
        self.port(self.addresses.get(&(pool, ip))?)
    }

    /// The pools of exactly this range that no network draws on yet, or is about to.
    pub fn unbound_pools(&self, cidr: IpNet) -> impl Iterator<Item = &Pool> {
        self.pools.values().filter(move |pool| pool.cidr == cidr && self.is_free(pool))
    }

    /// Whether no network draws on the pool, or is about to.
    pub fn is_free(&self, pool: &Pool) -> bool {
        pool.network.is_none() && !pool.released && !self.claimed.contains(&pool.id)
    }

    /// Whether a pool of this range has gone to one network and was granted, not long before `now`, to somebody else as well: who asks for
    /// the range next may be either.
    pub fn is_contested(&self, cidr: IpNet, now: i64) -> bool {
        let of_two = |pool: &Pool| pool.cidr == cidr && pool.repeated > 0 && now - pool.granted <= GRACE;
        self.pools.values().any(|pool| of_two(pool) && !self.is_free(pool))
    }

    /// Whether the engine has given the pool back, by a word that is still to be understood if the journal did not know the pool then.
    pub fn is_given_back(&self, pool: &Pool) -> bool {
        pool.released || pool.returned || self.tasks.values().any(|task| matches!(task.work, Work::LatePool(id) if id == pool.id))
    }

    /// Whether this host is about to remove the subnet pool.
    pub fn retires_subnetpool(&self, subnetpool: Uuid) -> bool {
        self.tasks.values().any(|task| match &task.work {
            Work::RetirePool(id) => *id == subnetpool,
            Work::RetireNetwork { pools, .. } => pools.contains(&subnetpool),
            _ => false,
        })
    }

    /// Whether this host is about to remove such a network.
    pub fn retires_network(&self, such: impl Fn(&Network) -> bool) -> bool {
        self.tasks.values().any(|task| matches!(&task.work, Work::RetireNetwork { network, .. } if such(network)))
    }

    /// The task that is to remove the port with this address.
    pub fn retiring(&self, pool: Uuid, ip: IpAddr) -> Option<(u64, &Port)> {
        self.tasks.values().find_map(|task| match &task.work {
            Work::RetirePort(port) if port.address(pool).is_some_and(|address| address.ip == ip) => Some((task.id, &**port)),
            _ => None,
        })
    }

    /// The port as it was when its last endpoint left it, from which it is still to be unplugged.
    pub fn unplugging(&self, port: Uuid) -> Option<&Port> {
        self.tasks.values().find_map(|task| match &task.work {
            Work::UnplugPort(old) if old.id == port => Some(&**old),
            _ => None,
        })
    }

    /// Whether something is still to be done about the exposed ports of a port.
    pub fn exposes(&self, port: Uuid) -> bool {
        let its = |work: &Work| matches!(work, Work::Conceal(id) | Work::Expose { port: id, .. } if *id == port);
        self.tasks.values().any(|task| its(&task.work))
    }

    /// The task on an object that its others wait for, which they do also while it fails.
    pub fn first_task(&self, key: Uuid) -> Option<u64> {
        self.tasks.values().find(|task| task.work.key() == key).map(|task| task.id)
    }

    /// Objects with a task that has failed and waits for its next try, and its others with it.
    pub fn stuck(&self) -> HashSet<Uuid> {
        self.retries.keys().filter_map(|id| self.tasks.get(id)).map(|task| task.work.key()).collect()
    }

    /// Entries that call off the tasks on a port which nobody has begun.
    pub fn call_off_port(&self, port: Uuid) -> Vec<Entry> {
        if self.busy.contains(&port) {
            return Vec::new();
        }
        self.tasks.values().filter(|task| task.work.key() == port).map(|task| Entry::NoTask(task.id)).collect()
    }

    /// Entries that call off the writing of a Docker network's tags if nobody has begun. Other Docker networks may have tasks on the same
    /// Neutron network.
    pub fn call_off_tags(&self, network: &Network) -> Vec<Entry> {
        if self.busy.contains(&network.neutron) {
            return Vec::new();
        }
        let its = |work: &Work| matches!(work, Work::TagNetwork(tagged) if tagged.id == network.id);
        self.tasks.values().filter(|task| its(&task.work)).map(|task| Entry::NoTask(task.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openstack;

    #[test]
    fn ports_share_their_details_as_long_as_they_are_the_same() {
        let mut state = State::default();
        let mut put = |id: u128, bridge: &str| {
            let body =
                json!({"id": Uuid::from_u128(id), "mac_address": "fa:16:3e:00:00:01", "binding:vif_details": {"bridge_name": bridge}});
            let found: openstack::Port = serde_json::from_value(body).unwrap();
            state.apply(Entry::Port(Port::new(DockerId::nowhere(), 1500, &found)));
            state.details.len()
        };
        assert_eq!([put(1, "one"), put(2, "one"), put(3, "two")], [1, 1, 2]);
        assert_eq!([put(1, "two"), put(2, "two")], [2, 2]);
        assert_eq!(put(4, "three"), 2, "those that no port has any more are forgotten");
    }
}
