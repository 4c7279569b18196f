//! Finishes what was promised: takes tasks in the order of the promises, one at a time for each Neutron object, a few calls at once in all,
//! and again with growing distance as long as the cloud refuses.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    Core,
    record::{Entry, Made, Task, Work},
    state::{Retry, State},
};
use crate::openstack::{Urgency, as_urgent};

/// More requests at once make a busy Neutron slower, not faster.
pub(super) const CALLS_AT_ONCE: usize = 4;
/// Tasks under way; most of them wait for their turn with the cloud, after their links have gone together.
const TASKS_AT_ONCE: usize = 64;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// Keeps other tasks away from an object, and frees it whatever becomes of the work.
struct Busy<'a> {
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
        let slots = Arc::new(Semaphore::new(TASKS_AT_ONCE));
        let mut running = JoinSet::new();
        let mut gave_up = false;
        loop {
            let ending = *stop.borrow();
            let woken = self.backlog.notified();
            tokio::pin!(woken);
            // From here on a promise wakes us even if it comes before we wait.
            woken.as_mut().enable();
            while !(ending && gave_up)
                && let Ok(slot) = slots.clone().try_acquire_owned()
            {
                let Some(task) = self.claim() else { break };
                let core = self.clone();
                running.spawn(async move {
                    let done = as_urgent(Urgency::Promise, core.finish(task)).await;
                    drop(slot);
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

    /// Waits until no task is left that could run now; what failed and waits for its next try is not waited for.
    pub async fn backlog_settled(&self) {
        loop {
            let changed = self.backlog.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if state.busy.is_empty() && !state.tasks.values().any(|task| ready(&state, task)) {
                    return;
                }
            }
            changed.await;
        }
    }

    fn claim(&self) -> Option<Task> {
        let mut state = self.state();
        let task = state.tasks.values().find(|task| ready(&state, task))?.clone();
        state.busy.insert(task.work.key());
        Some(task)
    }

    /// False when the task has to be done again.
    async fn finish(&self, task: Task) -> bool {
        let _busy = Busy { core: self, key: task.work.key() };
        let first_try = task.id >= self.first_task && !self.state().retries.contains_key(&task.id);
        let outcome = self.work(&task.work, first_try).await;
        match outcome {
            Ok(()) => {
                self.commit_at_any_rate(vec![Entry::NoTask(task.id)]).await;
                true
            }
            Err(error) => {
                let mut state = self.state();
                let attempts = state.retries.get(&task.id).map_or(1, |retry| retry.attempts + 1);
                let pause = (FIRST_RETRY * 2u32.saturating_pow(attempts - 1)).min(LAST_RETRY);
                state.retries.insert(task.id, Retry { attempts, due: Instant::now() + pause });
                tracing::warn!(attempts, again_in = ?pause, "could not {}: {error}", task.work.describe());
                false
            }
        }
    }

    fn next_due(&self) -> Duration {
        let state = self.state();
        let due = state.retries.iter().filter(|(task, _)| state.tasks.contains_key(task)).map(|(_, retry)| retry.due).min();
        due.map_or(LAST_RETRY, |due| due.saturating_duration_since(Instant::now()).max(Duration::from_millis(10)))
    }
}

fn ready(state: &State, task: &Task) -> bool {
    if matches!(task.work, Work::Seek { .. }) {
        // The collector's.
        return false;
    }
    let key = task.work.key();
    let due = state.retries.get(&task.id).is_none_or(|retry| retry.due <= Instant::now());
    let first = state.tasks.values().find(|other| other.work.key() == key).is_none_or(|other| other.id == task.id);
    due && first && !state.busy.contains(&key) && !waits_for_others(state, &task.work)
}

/// Neutron refuses to remove a network that has ports, and a subnet pool that has subnets, so theirs come first.
fn waits_for_others(state: &State, work: &Work) -> bool {
    let mut others = state.tasks.values().map(|task| &task.work);
    match work {
        Work::RetireNetwork { network, .. } => others.any(|other| matches!(other, Work::RetirePort(port) if port.network == network.id)),
        // A subnet may be of a network that was never completed, and so stand in no record that tells its pool.
        Work::RetirePool(_) => others.any(|other| {
            let sought = |made: &Made| matches!(made, Made::Subnet { .. } | Made::Network(_));
            matches!(other, Work::RetireNetwork { .. } | Work::RetireSubnet(_)) || matches!(other, Work::Seek { made, .. } if sought(made))
        }),
        _ => false,
    }
}
