//! Where ports come from: made ahead of use, or by one call to the cloud when none is there.
//!
//! A port made ahead (`pooled` in its record) is bound to this host, its link is plugged, and Neutron has reported it ACTIVE (`ready`) before it
//! is handed out, which then costs no call to the cloud and makes no link. It has the plain MAC and the groups of its network. An engine tells
//! that it wants others only when it has the address, so that the port is that endpoint's all the same: its link goes, the port is changed, and
//! its link is made and waited for as that of a port that was not made ahead.
//!
//! A network is worth as many ports ahead as containers were started on it within `idle_time`: none before the first start, more while
//! starts are frequent, none again when it is idle.

mod limits;
mod make;
mod take;
mod tend;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use uuid::Uuid;

pub use self::limits::PoolSettings;
pub(super) use self::{
    limits::{POOL_OPTIONS, PoolLimits},
    make::Wanted,
};
use super::{Core, now, record::Network, request::DockerId, state::State};

/// After a failure the cloud is left alone this long, twice as long after the next.
const FIRST_REST: Duration = Duration::from_secs(1);
const LAST_REST: Duration = Duration::from_secs(120);
/// How long after a start nothing is made in place of its port: what the cloud and its agent do for that takes time from the host whose engine is
/// at work on the container, and the next start may follow at once.
pub(super) const LULL: Duration = Duration::from_millis(500);

/// What is known of the starts on each network, and of what the cloud grants it.
#[derive(Debug, Default)]
pub(super) struct PortPool {
    lines: Mutex<HashMap<DockerId, Line>>,
    /// Ports being made ahead, and starts that were refused and wait for what those come to.
    making: AtomicUsize,
    refused: AtomicUsize,
    /// Told when a port was handed out, and when somebody has done with one that another may want.
    changed: Notify,
    /// Told when a network may be short of ports. Looking after them must not tell it: each look asks Neutron, and would bring on the next.
    wanted: Notify,
}

/// One network's share of a [`PortPool`].
#[derive(Debug, Default)]
struct Line {
    /// Starts within `idle_time`, the newest last and no more of them than ports may be held.
    starts: VecDeque<Instant>,
    /// The cloud refused more than this many, which counts until then.
    most: Option<(usize, Instant)>,
    /// Failures in a row, and when to try again.
    rest: Option<(u32, Instant)>,
    /// How many ports may be held without taking too much of the subnet, as it was seen then.
    room: Option<(usize, Instant)>,
    /// When a port was last seen to have become ACTIVE, in seconds since the epoch.
    progress: i64,
    /// Whether the log has been told that none does.
    late: bool,
    /// Whether somebody looks after it right now.
    tended: bool,
}

impl PortPool {
    /// Ports that an earlier life of the daemon left are worth as much as the starts that they were made for.
    pub fn of(state: &State) -> Self {
        let now = Instant::now();
        let line = |network: &DockerId| {
            let starts = state.pooled_on(network).map(|_| now).collect();
            (network.clone(), Line { starts, ..Line::default() })
        };
        Self { lines: Mutex::new(state.networks_with_pooled().map(line).collect()), ..Self::default() }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<DockerId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a start that a plain port serves.
    pub fn started(&self, network: &Network, settings: &PoolSettings) {
        let most = settings.of(network).max;
        if most > 0 {
            let mut lines = self.lines();
            let starts = &mut lines.entry(network.id.clone()).or_default().starts;
            starts.push_back(Instant::now());
            if starts.len() > most {
                starts.pop_front();
            }
        }
        self.look();
    }

    /// How many ports the network is worth.
    fn target(&self, network: &Network, settings: &PoolSettings) -> usize {
        let limits = settings.of(network);
        let now = Instant::now();
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(&network.id) else { return limits.min };
        line.starts.retain(|start| now.duration_since(*start) < limits.idle_time);
        line.most = line.most.filter(|(_, until)| now < *until);
        let granted = line.most.map_or(usize::MAX, |(most, _)| most);
        line.starts.len().clamp(limits.min, limits.max).min(granted)
    }

    /// Whether new ports can wait until a start is over: one has only just begun, and enough of them are `held` for those that follow.
    fn can_wait(&self, network: &DockerId, held: usize, target: usize) -> bool {
        let lines = self.lines();
        let last = lines.get(network).and_then(|line| line.starts.back());
        held * 4 >= target && last.is_some_and(|start| start.elapsed() < LULL)
    }

    /// Notes that the cloud grants no more than this.
    fn refuse(&self, network: &Network, most: usize, settings: &PoolSettings) {
        let until = Instant::now() + settings.of(network).idle_time;
        self.lines().entry(network.id.clone()).or_default().most = Some((most, until));
    }

    /// Notes that the agent of this host has just brought a port to ACTIVE.
    fn progressed(&self, network: &DockerId) {
        let mut lines = self.lines();
        let line = lines.entry(network.clone()).or_default();
        (line.progress, line.late) = (now(), false);
    }

    /// Notes that the agent brings no port to ACTIVE; false when that was known.
    fn is_news_that_late(&self, network: &DockerId) -> bool {
        !std::mem::replace(&mut self.lines().entry(network.clone()).or_default().late, true)
    }

    /// Since when, in seconds since the epoch, a port that was made at `created` waits with nothing to be seen of the agent's work. Many made at
    /// once take their turns.
    fn waits_since(&self, network: &DockerId, created: i64) -> i64 {
        self.lines().get(network).map_or(created, |line| line.progress.max(created))
    }

    /// Leaves the cloud alone for a while; returns how long.
    fn rest(&self, network: &DockerId) -> Duration {
        let mut lines = self.lines();
        let line = lines.entry(network.clone()).or_default();
        let failures = line.rest.map_or(0, |(failures, _)| failures);
        let pause = (FIRST_REST * 2u32.saturating_pow(failures)).min(LAST_REST);
        line.rest = Some((failures + 1, Instant::now() + pause));
        pause
    }

    /// When the first of the networks may be looked after again for which the cloud is left alone.
    fn next_look(&self) -> Option<Duration> {
        let now = Instant::now();
        let lines = self.lines();
        let rests = lines.values().filter_map(|line| line.rest).map(|(_, until)| until);
        rests.filter(|until| *until > now).min().map(|until| until - now)
    }

    /// Counts a port that is being made ahead, plugged and all.
    fn making(&self) -> Counted<'_> {
        Counted::new(self, &self.making)
    }

    /// Counts a start that the cloud has refused: nothing more is made ahead until it has its port.
    fn refused(&self) -> Counted<'_> {
        Counted::new(self, &self.refused)
    }

    fn is_short(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > 0
    }

    /// Waits until nothing is being made ahead.
    async fn made(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.making.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Has the networks looked at now.
    pub fn look(&self) {
        self.changed.notify_waiters();
        self.wanted.notify_waiters();
    }

    fn worked(&self, network: &DockerId) {
        if let Some(line) = self.lines().get_mut(network) {
            line.rest = None;
        }
    }

    /// Forgets a network that is gone.
    pub fn forget(&self, network: &DockerId) {
        self.lines().remove(network);
    }
}

/// One of what is counted, for as long as this lives.
struct Counted<'a> {
    pool: &'a PortPool,
    count: &'a AtomicUsize,
}

impl<'a> Counted<'a> {
    fn new(pool: &'a PortPool, count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self { pool, count }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.pool.changed.notify_waiters();
    }
}

/// A pooled port that one request or task works on; others leave it alone until this is dropped.
struct Hold<'a> {
    core: &'a Core,
    port: Uuid,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.core.state().held.remove(&self.port);
        self.core.port_pool.changed.notify_waiters();
    }
}

impl Core {
    /// None while another holds it.
    fn hold(&self, port: Uuid) -> Option<Hold<'_>> {
        // Not `then_some`: a hold that is made and dropped at once would wait for the state, which is locked here.
        let free = self.state().held.insert(port);
        free.then(|| Hold { core: self, port })
    }

    /// Waits for the others that hold it.
    async fn hold_next(&self, port: Uuid) -> Hold<'_> {
        loop {
            let changed = self.port_pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.hold(port) {
                Some(hold) => return hold,
                None => changed.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PoolSettings {
        PoolSettings { enabled: true, max: 4, idle_time: Duration::from_secs(3600), ..PoolSettings::default() }
    }

    #[test]
    fn a_network_is_worth_its_starts_within_bounds() {
        let (pool, network) = (PortPool::default(), Network::for_test('a'));
        assert_eq!(pool.target(&network, &settings()), 0);
        for started in 1..=6 {
            pool.started(&network, &settings());
            assert_eq!(pool.target(&network, &settings()), started.min(4));
        }
        assert_eq!(pool.target(&network, &PoolSettings { min: 9, max: 20, ..settings() }), 9);
        assert_eq!(pool.target(&network, &PoolSettings { idle_time: Duration::ZERO, ..settings() }), 0);
        assert_eq!(pool.target(&network, &PoolSettings { idle_time: Duration::ZERO, min: 2, ..settings() }), 2);
    }

    #[test]
    fn new_ports_wait_for_starts_as_long_as_enough_are_held() {
        let (pool, network) = (PortPool::default(), Network::for_test('a'));
        assert!(!pool.can_wait(&network.id, 4, 4), "no start");
        pool.started(&network, &settings());
        assert!(pool.can_wait(&network.id, 3, 4));
        assert!(pool.can_wait(&network.id, 1, 4));
        assert!(!pool.can_wait(&network.id, 0, 4), "hardly any is left");
        let long_ago = Instant::now().checked_sub(LULL).unwrap();
        pool.lines().get_mut(&network.id).unwrap().starts = [long_ago].into();
        assert!(!pool.can_wait(&network.id, 3, 4), "nobody starts any more");
    }

    #[test]
    fn what_the_cloud_refuses_is_not_asked_for_again_soon() {
        let (pool, network) = (PortPool::default(), Network::for_test('a'));
        for _ in 0..4 {
            pool.started(&network, &settings());
        }
        pool.refuse(&network, 1, &settings());
        assert_eq!(pool.target(&network, &settings()), 1);
        pool.refuse(&network, 1, &PoolSettings { idle_time: Duration::ZERO, ..settings() });
        assert_eq!(pool.target(&network, &settings()), 4);
    }

    #[test]
    fn failures_in_a_row_are_tried_again_at_growing_distance() {
        let (pool, network) = (PortPool::default(), Network::for_test('a'));
        let rests: Vec<_> = (0..10).map(|_| pool.rest(&network.id)).collect();
        assert!(rests.is_sorted() && rests[0] == FIRST_REST && rests[9] == LAST_REST, "{rests:?}");
        pool.worked(&network.id);
        assert_eq!(pool.rest(&network.id), FIRST_REST);
    }

    #[test]
    fn ports_that_take_their_turns_with_the_agent_are_not_late() {
        let network = Network::for_test('a');
        let pool = PortPool::of(&State::default());
        assert_eq!(pool.waits_since(&network.id, 100), 100);
        pool.progressed(&network.id);
        let seen = now();
        assert!((seen - 1..=seen).contains(&pool.waits_since(&network.id, 100)), "others came before it");
        assert_eq!(pool.waits_since(&network.id, seen + 5), seen + 5, "made after them");
    }

    /// Whoever looks after ports waits for this between two looks at Neutron.
    #[tokio::test]
    async fn looking_after_ports_brings_on_no_further_look() {
        let (pool, network) = (PortPool::default(), Network::for_test('a'));
        let wanted = pool.wanted.notified();
        tokio::pin!(wanted);
        wanted.as_mut().enable();
        drop(pool.making());
        pool.progressed(&network.id);
        pool.worked(&network.id);
        let told = |wanted: std::pin::Pin<&mut tokio::sync::futures::Notified<'_>>| wanted.enable();
        assert!(!told(wanted.as_mut()));
        pool.started(&network, &settings());
        assert!(told(wanted.as_mut()));
    }

    #[test]
    fn an_agent_that_is_late_is_news_once_until_it_is_seen_again() {
        let (network, pool) = (Network::for_test('a').id, PortPool::default());
        assert!(pool.is_news_that_late(&network));
        assert!(!pool.is_news_that_late(&network));
        pool.progressed(&network);
        assert!(pool.is_news_that_late(&network));
    }
}
