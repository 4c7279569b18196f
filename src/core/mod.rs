//! What kuryr does: networks, endpoints, addresses, the port pool. Knows no HTTP server and no netlink.
//!
//! Every request follows the same line: look at the [`state::State`] in memory, call the cloud only when it must, make the promise
//! durable with [`Core::commit`], touch the kernel, answer. What the answer need not wait for becomes a task of the [`backlog`].

mod address;
mod backlog;
mod collector;
mod endpoint;
mod error;
mod naming;
mod network;
mod pool;
mod port_pool;
mod record;
pub mod request;
mod state;
mod turns;
mod work;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

pub use self::error::Error;
use self::{
    record::{Entry, Task, Work},
    state::State,
    turns::Turns,
};
use crate::{
    binding,
    journal::{self, Journal, Record},
    openstack::Neutron,
};

/// What the configuration says about the core's behaviour; each field names its option.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[DEFAULT] host`: `binding:host_id` of our ports, the name under which Neutron's agent of this machine is known.
    pub host: String,
    /// `[DEFAULT] subnetpool_name_prefix`.
    pub subnetpool_name_prefix: String,
    /// `[neutron] default_subnetpool_v4`.
    pub default_subnetpool_v4: String,
    /// `[neutron] default_subnetpool_v6`.
    pub default_subnetpool_v6: String,
    /// `[neutron] enable_dhcp`: whether Neutron serves the subnets with DHCP.
    pub enable_dhcp: bool,
    /// `[binding] veth_dst_prefix`.
    pub veth_dst_prefix: String,
    /// What plugging depends on besides the port.
    pub binding: binding::Settings,
    /// `[kuryr] external_network`: the network that a router of each Docker network leads to.
    pub external_network: Option<String>,
    /// `[neutron] vif_plugging_is_fatal`: whether a container waits until its port is ACTIVE.
    pub vif_plugging_is_fatal: bool,
    /// `[neutron] vif_plugging_timeout`; zero waits as long as the engine's call may take.
    pub vif_plugging_timeout: Duration,
}

/// The core of the daemon, shared by all edges.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    neutron: Neutron,
    journal: Journal,
    state: Mutex<State>,
    turns: Turns,
    next_task: AtomicU64,
    /// Told whenever a task was promised or has ended.
    backlog: Notify,
    external_network: OnceCell<Uuid>,
}

impl Core {
    /// Takes up the records of the journal; what they still promise is finished by [`Core::run_backlog`].
    pub fn new(settings: Settings, neutron: Neutron, journal: Journal, records: &[Record]) -> Result<Self, journal::Error> {
        let mut state = State::default();
        for record in records {
            state.apply(Entry::read(record).map_err(|reason| journal.damaged(reason))?);
        }
        let next_task = state.tasks.keys().next_back().map_or(1, |last| last + 1);
        Ok(Self {
            settings,
            neutron,
            journal,
            state: Mutex::new(state),
            turns: Turns::default(),
            next_task: AtomicU64::new(next_task),
            backlog: Notify::new(),
            external_network: OnceCell::new(),
        })
    }

    /// How many networks, ports and unfinished tasks this host has.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { pools: state.pools.len(), networks: state.networks.len(), ports: state.ports.len(), tasks: state.tasks.len() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is only changed by `apply`, which does not stop half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes entries durable, and only then lets other requests see them.
    async fn commit(&self, entries: Vec<Entry>) -> Result<(), journal::Error> {
        self.journal.commit(entries.iter().map(Entry::change).collect()).await?;
        let promised = entries.iter().any(|entry| matches!(entry, Entry::Task(_)));
        {
            let mut state = self.state();
            entries.into_iter().for_each(|entry| state.apply(entry));
        }
        if promised {
            self.backlog.notify_waiters();
        }
        Ok(())
    }

    /// A task to put into a commit.
    fn promise(&self, work: Work) -> Entry {
        Entry::Task(Task { id: self.next_task.fetch_add(1, Ordering::Relaxed), work })
    }
}

/// The sizes of the state, for operators and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Pools granted to the engine.
    pub pools: usize,
    /// Docker networks.
    pub networks: usize,
    /// Ports of endpoints.
    pub ports: usize,
    /// Tasks not finished yet.
    pub tasks: usize,
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
