//! What kuryr does: networks, endpoints, addresses, the port pool. Knows no HTTP server and no netlink.
//!
//! Every request follows the same line: look at the [`state::State`] in memory, call the cloud only when it must, make the promise
//! durable with [`Core::commit`], touch the kernel, answer. What the answer need not wait for becomes a task of the [`backlog`].
//!
//! A request may outlive the engine's patience, and the engine then gives back what the request still works with. So every change of a port or
//! a pool starts from the record as it stands at that moment, under the object's turn, which is never held over a call to the cloud.

mod address;
mod adopt;
mod allocation;
mod backlog;
mod claim;
mod collector;
mod endpoint;
mod error;
mod existing;
mod existing_port;
mod expose;
mod naming;
mod network;
mod options;
mod plugging;
mod pool;
mod port_driver;
mod port_options;
mod port_pool;
mod record;
mod refresh;
pub mod request;
mod state;
mod swarm;
mod tagging;
mod turns;
mod unplug;
mod user_port;
mod work;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::sync::{Notify, RwLock, Semaphore};
use uuid::Uuid;

use self::{
    collector::FirstSeen,
    port_driver::PairChanges,
    port_pool::PortPool,
    record::{Entry, Key, Made, Port, Task, Work},
    state::State,
    turns::Turns,
    unplug::Unplug,
};
pub use self::{
    collector::{Finding, Kind, Round},
    error::Error,
    port_pool::PoolSettings,
};
use crate::{
    binding,
    config::PortDriver,
    journal::{self, Journal, Lasting, Records},
    metrics::Findings,
    openstack::{self, Neutron, Resource},
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
    /// `[DEFAULT] default_port_driver` with `[binding] default_driver`.
    pub port_driver: PortDriver,
    /// Whether `[DEFAULT] enabled_port_drivers` has `sriov`.
    pub sriov: bool,
    /// `[binding] link_iface`: the machine's own interface, for nested containers.
    pub link_iface: String,
    /// `[DEFAULT] process_external_connectivity`: whether others may reach the ports that a container exposes.
    pub process_external_connectivity: bool,
    /// `[kuryr] external_network`: the network that a router of each Docker network leads to.
    pub external_network: Option<String>,
    /// `[neutron] vif_plugging_is_fatal`: whether a container waits until its port is ACTIVE.
    pub vif_plugging_is_fatal: bool,
    /// `[neutron] vif_plugging_timeout`: the most that it waits.
    pub vif_plugging_timeout: Duration,
    /// `[port_pool]`: ports made ahead of use.
    pub port_pool: PoolSettings,
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
    /// Unix time of this life's beginning, in seconds.
    started: i64,
    /// Told whenever a task was promised or has ended.
    backlog: Notify,
    /// Lets a few calls of the backlog to the cloud run at once.
    cloud: Semaphore,
    unplug: Unplug,
    port_pool: PortPool,
    pair_changes: PairChanges,
    /// Held alone by whoever writes what is owed, and shared by other commits: what is owed is written as it stands, so that nothing may
    /// change it meanwhile.
    writing: RwLock<()>,
    /// Records that the journal could not take and that memory alone has, by kind and id.
    unwritten: Mutex<BTreeSet<Key>>,
    /// The id of `[kuryr] external_network` as it was last found.
    external_network: Mutex<Option<Uuid>>,
    /// Aliases of the API extensions that Neutron was last seen to have; none as long as it has not told.
    extensions: Mutex<Option<BTreeSet<String>>>,
    /// What one round of the collector after the other has found on this host, with the time of the first.
    first_seen: Mutex<FirstSeen>,
    findings: Findings,
}

impl Core {
    /// Takes up the records of the journal; what they still promise is finished by [`Core::run_backlog`]. A record that cannot be read is
    /// left out: what it stood for is looked up in Neutron when the engine names it.
    pub fn new(mut settings: Settings, neutron: Neutron, journal: Journal, records: Records) -> Self {
        settings.port_pool.plugged = settings.port_driver == PortDriver::Veth;
        let mut state = State::default();
        for record in records.iter() {
            match Entry::read(&record) {
                Ok(entry) => state.apply(entry.taken_up()),
                Err(reason) => tracing::error!("left out of the journal: {reason}"),
            }
        }
        drop(records);
        // How far an earlier life of the daemon got is not written down.
        state.going = state.tasks.values().filter_map(|task| task.work.removed_port()).collect();
        let port_pool = PortPool::of(&state);
        let next_task = state.tasks.keys().next_back().map_or(1, |last| last + 1);
        Self {
            settings,
            neutron,
            journal,
            state: Mutex::new(state),
            turns: Turns::default(),
            next_task: AtomicU64::new(next_task),
            started: now(),
            backlog: Notify::new(),
            cloud: Semaphore::new(backlog::CALLS_AT_ONCE),
            unplug: Unplug::default(),
            port_pool,
            pair_changes: PairChanges::default(),
            writing: RwLock::default(),
            unwritten: Mutex::default(),
            external_network: Mutex::default(),
            extensions: Mutex::default(),
            first_seen: Mutex::default(),
            findings: Findings::default(),
        }
    }

    /// How many networks, ports and unfinished tasks this host has.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        let (pooled, ready) = state.pooled_and_ready();
        let (pools, networks, ports) = (state.pools.len(), state.networks.len(), state.ports.len() - pooled);
        Counts { pools, networks, ports, pooled, ready, tasks: state.tasks.len() }
    }

    /// How long ago the oldest unfinished task was promised.
    pub fn oldest_task_age(&self) -> Duration {
        let oldest = self.state().tasks.values().map(|task| task.promised).filter(|promised| *promised > 0).min();
        oldest.and_then(|promised| u64::try_from(now() - promised).ok()).map_or(Duration::ZERO, Duration::from_secs)
    }

    /// What the collector found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is only changed by `apply`, which does not stop half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes entries durable, and only then lets other requests see them.
    async fn commit(&self, entries: Vec<Entry>) -> Result<(), journal::Error> {
        self.write(entries, Lasting::PowerLoss).await.map_err(|(error, _)| error)
    }

    /// [`Core::commit`] for what must not fail: a release, or the end of a task. What the journal does not take now goes into it with a later
    /// commit; until then a crash forgets it.
    async fn commit_at_any_rate(&self, entries: Vec<Entry>) {
        if let Err((error, entries)) = self.write(entries, Lasting::PowerLoss).await {
            tracing::error!("{error}; kuryr goes on from memory");
            let keys: Vec<Key> = entries.iter().map(Entry::key).collect();
            // First: whoever sees that they are owed must find them as they are now.
            self.take_over(entries);
            self.unwritten().extend(keys);
        }
    }

    /// Writes entries, and with them what an earlier commit could not write, and then takes them over; gives them back when it cannot.
    async fn write(&self, entries: Vec<Entry>, lasting: Lasting) -> Result<(), (journal::Error, Vec<Entry>)> {
        let shared = self.writing.read().await;
        if self.unwritten().is_empty() {
            return self.write_with(entries, &[], lasting).await;
        }
        drop(shared);
        let _alone = self.writing.write().await;
        let new: BTreeSet<Key> = entries.iter().map(Entry::key).collect();
        let owed: Vec<Key> = self.unwritten().iter().filter(|key| !new.contains(*key)).cloned().collect();
        self.write_with(entries, &owed, lasting).await?;
        self.unwritten().retain(|key| !new.contains(key) && !owed.contains(key));
        Ok(())
    }

    async fn write_with(&self, entries: Vec<Entry>, owed: &[Key], lasting: Lasting) -> Result<(), (journal::Error, Vec<Entry>)> {
        if entries.is_empty() && owed.is_empty() {
            return Ok(());
        }
        let changes = {
            let state = self.state();
            owed.iter().map(|key| state.entry(key).change()).chain(entries.iter().map(Entry::change)).collect()
        };
        match self.journal.commit(changes, lasting).await {
            Ok(()) => {
                self.take_over(entries);
                Ok(())
            }
            Err(error) => Err((error, entries)),
        }
    }

    fn take_over(&self, entries: Vec<Entry>) {
        let promised = entries.iter().any(|entry| matches!(entry, Entry::Task(_)));
        {
            let mut state = self.state();
            entries.into_iter().for_each(|entry| state.apply(entry));
        }
        if promised {
            self.backlog.notify_waiters();
        }
    }

    fn first_seen(&self) -> MutexGuard<'_, FirstSeen> {
        self.first_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a port as it stands now; none when it is no more. The entries take effect before anybody else changes it.
    async fn change_port(&self, id: Uuid, change: impl FnOnce(&State, Port) -> Result<Vec<Entry>, Error>) -> Result<Option<()>, Error> {
        self.change_port_for(Lasting::PowerLoss, id, change).await
    }

    /// [`Core::change_port`] with a say in what the change has to outlive.
    async fn change_port_for(
        &self,
        lasting: Lasting,
        id: Uuid,
        change: impl FnOnce(&State, Port) -> Result<Vec<Entry>, Error>,
    ) -> Result<Option<()>, Error> {
        let _turn = self.turns.take(format!("port {id}")).await;
        let entries = {
            let state = self.state();
            let Some(port) = state.port(&id).cloned() else { return Ok(None) };
            change(&state, port)?
        };
        self.write(entries, lasting).await.map_err(|(error, _)| error)?;
        Ok(Some(()))
    }

    /// Creates an object in Neutron. When the answer does not come, the object may be there all the same, and is looked for later.
    async fn create_or_seek<R: Resource>(&self, body: &Value, made: impl FnOnce() -> Made) -> Result<R, openstack::Error> {
        let outcome = self.neutron.create(body).await;
        if outcome.as_ref().is_err_and(openstack::Error::leaves_open) {
            self.commit_at_any_rate(vec![self.promise(Work::Seek { made: made(), since: now() })]).await;
        }
        outcome
    }

    /// A task to put into a commit.
    fn promise(&self, work: Work) -> Entry {
        Entry::Task(self.task(work))
    }

    fn task(&self, work: Work) -> Task {
        Task { id: self.next_task.fetch_add(1, Ordering::Relaxed), promised: now(), work }
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
    /// Ports made ahead of use.
    pub pooled: usize,
    /// Those of them that can be handed out.
    pub ready: usize,
    /// Tasks not finished yet.
    pub tasks: usize,
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
