//! Finishes what was promised: takes tasks in the order of the promises, one at a time for each Neutron object, a few calls at once in all,
//! and again with growing distance as long as the cloud refuses.

use std::{
    cell::OnceCell,
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use super::{
    Core, Error, now,
    port_pool::LULL,
    record::{Entry, Made, Task, Work},
    request::DockerId,
    state::{Retry, State},
};
use crate::openstack::{Urgency, as_urgent};

/// More requests at once make a busy Neutron slower, not faster.
pub(super) const CALLS_AT_ONCE: usize = 4;
/// Tasks under way; most of them wait for their turn with the cloud, after their links have gone together.
const TASKS_AT_ONCE: usize = 64;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// … and while the cloud is away: what was put off then is done soon after it is back, however long it took.
const LAST_RETRY_OF_OUTAGE: Duration = Duration::from_secs(30);
/// How long, in seconds, the writing of a port's endpoint waits at the most for a pause in the starts. It is for readers of Neutron alone, while
/// the host's own agent has work from each change of a port, just when the engine needs the host for its containers.
const LONGEST_WAIT: i64 = 10;

/// Keeps other tasks away from an object, and frees it whatever becomes of the work.
pub(super) struct Busy<'a> {
    core: &'a Core,
    key: Uuid,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.core.state().busy.remove(&self.key);
    }
}

impl Core {
    /// Works until `stop` turns true, and then on for as long as there is what can be done at once: the next to serve this host may be a
    /// kuryr-libnetwork, which reads Neutron and not this journal. Once something has failed by then nothing more is begun; what is left over
    /// is the next start's.
    pub async fn run_backlog(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        let mut gave_up = false;
        loop {
            let ending = *stop.borrow();
            let woken = self.backlog.notified();
            tokio::pin!(woken);
            // From here on a promise wakes us even if it comes before we wait.
            woken.as_mut().enable();
            let room = if ending && gave_up { 0 } else { TASKS_AT_ONCE - running.len() };
            for task in self.claim(room, ending) {
                let core = self.clone();
                running.spawn(async move {
                    let done = as_urgent(Urgency::Promise, core.finish(task)).await;
                    core.backlog.notify_waiters();
                    done
                });
            }
            if ending && running.is_empty() {
                break;
            }
            let pause = self.next_due();
            tokio::select! {
                () = &mut woken => {}
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed(), if !ending => {}
                Some(done) = running.join_next() => gave_up |= ending && !done.unwrap_or(false),
            }
        }
        self.write_what_is_owed().await;
    }

    /// A last try for what the journal could not take before.
    pub(super) async fn write_what_is_owed(&self) {
        if !self.unwritten().is_empty()
            && let Err(error) = self.commit(Vec::new()).await
        {
            tracing::error!("{error}; releases of late are in memory alone");
        }
    }

    /// Waits until no task is left that could run now or after a pause in the starts; what failed and waits for its next try is not waited for.
    pub async fn backlog_settled(&self) {
        loop {
            let changed = self.backlog.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if state.busy.is_empty() && ready(&state, true).next().is_none() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn claim(&self, most: usize, at_once: bool) -> Vec<Task> {
        let mut state = self.state();
        let tasks: Vec<Task> = ready(&state, at_once).take(most).cloned().collect();
        state.busy.extend(tasks.iter().map(|task| task.work.key()));
        tasks
    }

    /// Keeps the tasks of the backlog away from an object of Neutron, unless one is at it.
    pub(super) fn keep_busy(&self, key: Uuid) -> Option<Busy<'_>> {
        self.state().busy.insert(key).then(|| Busy { core: self, key })
    }

    /// False when the task has to be done again.
    async fn finish(&self, task: Task) -> bool {
        let _busy = Busy { core: self, key: task.work.key() };
        let outcome = self.work(&task.work).await;
        match outcome {
            Ok(()) => {
                if let Work::RetirePort(port) = &task.work {
                    clear_way(&mut self.state(), port.neutron_network);
                }
                self.commit_at_any_rate(vec![Entry::NoTask(task.id)]).await;
                true
            }
            Err(error) => {
                let mut state = self.state();
                let attempts = state.retries.get(&task.id).map_or(1, |retry| retry.attempts + 1);
                let pause = pause_after(attempts, matches!(&error, Error::Cloud(error) if error.is_outage()));
                state.retries.insert(task.id, Retry { attempts, due: Instant::now() + pause });
                tracing::warn!(attempts, again_in = ?pause, "could not {}: {error}", task.work.describe());
                false
            }
        }
    }

    fn next_due(&self) -> Duration {
        let state = self.state();
        let retries = state.retries.iter().filter(|(task, _)| state.tasks.contains_key(task)).map(|(_, retry)| retry.due);
        let due = retries.chain(state.tasks.values().filter_map(|task| put_off(&state, task))).min();
        due.map_or(LAST_RETRY, |due| due.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))
    }
}

/// How long a task waits that has failed so often, the last time because the cloud was away or for another reason.
fn pause_after(attempts: u32, outage: bool) -> Duration {
    let longest = if outage { LAST_RETRY_OF_OUTAGE } else { LAST_RETRY };
    FIRST_RETRY.saturating_mul(2u32.saturating_pow(attempts - 1)).min(longest)
}

/// Has the removal of a network tried again at once: a port that may have been in its way, unknown to the journal until the collector found it,
/// has gone.
fn clear_way(state: &mut State, network: Uuid) {
    let State { tasks, retries, .. } = state;
    let removes = |task: &Task| matches!(&task.work, Work::RetireNetwork { network: leaving, .. } if leaving.neutron == network);
    for (_, retry) in retries.iter_mut().filter(|(id, _)| tasks.get(id).is_some_and(removes)) {
        retry.due = Instant::now();
    }
}

/// Until when a task waits for a pause in the starts, if it does.
fn put_off(state: &State, task: &Task) -> Option<Instant> {
    let Work::DressPort { port, .. } = &task.work else { return None };
    let pause = state.started? + LULL;
    let waits = state.port(port).is_some() && now() - task.promised < LONGEST_WAIT && pause > Instant::now();
    waits.then_some(pause)
}

/// The tasks that can run now, in the order of their promises: of those on one Neutron object none but the first. One pass over the tasks,
/// since after an outage there may be very many. A task that waits for a pause in the starts, unless they are to run `at_once`, holds no other up.
fn ready(state: &State, at_once: bool) -> impl Iterator<Item = &Task> {
    let now = Instant::now();
    let (mut seen, pending) = (HashSet::new(), OnceCell::new());
    state.tasks.values().filter(move |task| {
        if !at_once && put_off(state, task).is_some() {
            return false;
        }
        let key = task.work.key();
        let first = seen.insert(key);
        let due = || state.retries.get(&task.id).is_none_or(|retry| retry.due <= now);
        // What is sought is the collector's.
        let ours = !matches!(task.work, Work::Seek { .. });
        first && ours && !state.busy.contains(&key) && due() && !waits(&task.work, || pending.get_or_init(|| Pending::of(state)))
    })
}

/// What other tasks are still to remove.
#[derive(Default)]
struct Pending<'a> {
    /// Ports, by Docker network.
    ports: HashSet<&'a DockerId>,
    /// Whether there is any subnet among it.
    subnets: bool,
}

impl<'a> Pending<'a> {
    fn of(state: &'a State) -> Self {
        let mut pending = Self::default();
        for task in state.tasks.values() {
            match &task.work {
                Work::RetirePort(port) => {
                    pending.ports.insert(&port.network);
                }
                // A subnet may be of a network that was never completed, and so stand in no record that tells its pool.
                Work::RetireNetwork { .. } | Work::RetireSubnet(_) => pending.subnets = true,
                Work::Seek { made: Made::Subnet { .. } | Made::Network(_), .. } => pending.subnets = true,
                _ => {}
            }
        }
        pending
    }
}

/// Neutron refuses to remove a network that has ports, and a subnet pool that has subnets, so theirs come first.
fn waits<'a>(work: &Work, pending: impl FnOnce() -> &'a Pending<'a>) -> bool {
    match work {
        Work::RetireNetwork { network, .. } => pending().ports.contains(&network.id),
        Work::RetirePool(_) => pending().subnets,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{Network, Port},
        *,
    };
    use crate::openstack;

    fn port(network: &Network, number: u64) -> Port {
        let found = serde_json::json!({
            "id": Uuid::from_u64_pair(1, number), "network_id": network.neutron, "mac_address": "fa:16:3e:00:00:01",
        });
        Port::new(network.id.clone(), 1500, &serde_json::from_value::<openstack::Port>(found).unwrap())
    }

    #[test]
    fn an_outage_is_soon_over_for_those_who_wait_and_a_refusal_is_not_repeated_often() {
        assert_eq!([1, 2, 3].map(|attempts| pause_after(attempts, true).as_millis()), [500, 1000, 2000]);
        for (outage, longest) in [(true, 30), (false, 300)] {
            assert_eq!([20, 500, u32::MAX].map(|attempts| pause_after(attempts, outage).as_secs()), [longest; 3]);
        }
    }

    #[test]
    fn a_network_is_removed_as_soon_as_the_last_port_in_its_way_is_gone() {
        let networks = ['a', 'b'].map(Network::for_test).into_iter().zip(100..);
        let networks: Vec<Network> = networks.map(|(network, id)| Network { neutron: Uuid::from_u128(id), ..network }).collect();
        let mut state = State::default();
        let due = Instant::now() + LAST_RETRY;
        for (id, network) in (1..).zip(&networks) {
            let work = Work::RetireNetwork { network: Box::new(network.clone()), pools: Vec::new() };
            state.apply(Entry::Task(Task { id, promised: 0, work }));
            state.retries.insert(id, Retry { attempts: 9, due });
        }
        assert_eq!(ready(&state, false).count(), 0);
        clear_way(&mut state, networks[1].neutron);
        assert_eq!(ready(&state, false).map(|task| task.id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn writing_a_ports_endpoint_waits_for_a_pause_in_the_starts_but_not_for_long() {
        let network = Network::for_test('a');
        let (port, mut state) = (port(&network, 1), State::default());
        state.apply(Entry::Port(port.clone()));
        let dress =
            |id, promised| Entry::Task(Task { id, promised, work: Work::DressPort { port: port.id, endpoint: network.id.clone() } });
        state.apply(dress(1, now()));
        state.apply(Entry::Task(Task { id: 2, promised: now(), work: Work::Conceal(port.id) }));
        let runs = |state: &State, at_once| ready(state, at_once).map(|task| task.id).collect::<Vec<_>>();
        assert_eq!(runs(&state, false), [1], "nobody starts");
        state.started = Some(Instant::now());
        assert_eq!(runs(&state, false), [2], "and holds nothing else of its port up");
        assert_eq!(runs(&state, true), [1]);
        state.apply(dress(1, now() - LONGEST_WAIT));
        assert_eq!(runs(&state, false), [1], "starts never pause");
        state.apply(dress(1, now()));
        state.started = Instant::now().checked_sub(LULL);
        assert_eq!(runs(&state, false), [1], "a pause");
        state.started = Some(Instant::now());
        state.apply(Entry::NoPort(port.id));
        assert_eq!(runs(&state, false), [1], "nothing is left to be written");
    }

    /// Neither may a pass over the tasks cost more than its share of them, or this never ends.
    #[test]
    fn ten_thousand_tasks_run_in_the_order_of_their_promises() {
        let networks: Vec<Network> = ['a', 'b', 'c', 'd'].map(Network::for_test).into();
        let networks: Vec<Network> =
            networks.into_iter().zip(100..).map(|(network, id)| Network { neutron: Uuid::from_u128(id), ..network }).collect();
        // They wait for their next try.
        let failed: Vec<u64> = (1..=5_000).collect();
        let mut works: Vec<Work> = failed.iter().map(|number| Work::MarkPool(Uuid::from_u64_pair(2, *number))).collect();
        for number in 0..2_500u64 {
            let network = &networks[usize::try_from(number % 4).unwrap()];
            let port = port(network, number);
            works.push(Work::DressPort { port: port.id, endpoint: network.id.clone() });
            works.push(Work::Conceal(port.id));
            works.push(Work::UnplugPort(Box::new(port)));
        }
        // Before what it waits for.
        works.push(Work::RetirePool(Uuid::from_u128(7)));
        works.extend(networks.iter().map(|network| Work::RetireNetwork { network: Box::new(network.clone()), pools: Vec::new() }));
        works.extend((0..2_500).map(|number| Work::RetirePort(Box::new(port(&networks[usize::try_from(number % 4).unwrap()], number)))));
        works.push(Work::Seek { made: Made::SubnetPool("sought".into()), since: 0 });
        let all = works.len();
        let mut state = State::default();
        for (id, work) in (1..).zip(works) {
            state.apply(Entry::Task(Task { id, promised: 0, work }));
        }
        let due = Instant::now() + LAST_RETRY;
        state.retries.extend(failed.iter().map(|task| (*task, Retry { attempts: 1, due })));

        let (mut running, mut ended) = (Vec::<Task>::new(), Vec::<Task>::new());
        loop {
            let tasks: Vec<Task> = ready(&state, false).take(TASKS_AT_ONCE - running.len()).cloned().collect();
            state.busy.extend(tasks.iter().map(|task| task.work.key()));
            running.extend(tasks);
            // The half of them that began last ends first.
            let Some(half) = running.len().checked_sub(1).map(|last| last / 2) else { break };
            for task in running.drain(half..).rev() {
                state.busy.remove(&task.work.key());
                state.apply(Entry::NoTask(task.id));
                ended.push(task);
            }
        }
        assert_eq!(state.tasks.len(), failed.len() + 1, "all but what failed and what the collector seeks");
        assert_eq!(ended.len(), all - state.tasks.len());
        let mut last = std::collections::HashMap::new();
        for (at, task) in ended.iter().enumerate() {
            let before = last.insert(task.work.key(), task.id);
            assert!(before.is_none_or(|before| before < task.id), "{:?} ran after task {before:?}", task);
            let waited_for = |other: &Task| match (&task.work, &other.work) {
                (Work::RetireNetwork { network, .. }, Work::RetirePort(port)) => port.network == network.id,
                (Work::RetirePool(_), Work::RetireNetwork { .. }) => true,
                _ => false,
            };
            if matches!(task.work, Work::RetireNetwork { .. } | Work::RetirePool(_)) {
                assert!(!ended[at..].iter().any(waited_for), "{} came too early", task.work.describe());
            }
        }
    }
}
