//! How many requests may be under way at once, and whose turn it is.
//!
//! A Neutron that works on three or four requests at once answers no faster when it gets more, so all callers of this process share a few places.
//! Whoever an engine waits for goes first, and has places of its own: a cloud that hangs on other work must not hold a container up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Requests under way at once as long as nobody waits for an answer.
const SHARED: usize = 4;
/// … and the most of them when engines wait.
const MOST: usize = 12;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// An engine.
    Start,
    /// Nobody, but it was promised.
    Promise,
    /// Nobody yet: it is made ahead of use.
    Ahead,
}

tokio::task_local! {
    static URGENCY: Urgency;
}

/// Runs `work` with all its requests to the cloud, but for those of tasks that it spawns, as urgent as this. Otherwise they are a start's.
pub async fn as_urgent<T>(urgency: Urgency, work: impl Future<Output = T>) -> T {
    URGENCY.scope(urgency, work).await
}

/// The places, shared by all clones of a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    /// By urgency, the most urgent first.
    waiting: [VecDeque<oneshot::Sender<Place>>; 3],
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Budget>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(budget) = self.0.take() {
            budget.pass_on();
        }
    }
}

impl Budget {
    /// Waits for a place for a request of the present task.
    pub async fn place(&self) -> Place {
        let urgency = URGENCY.try_with(|urgency| *urgency).unwrap_or(Urgency::Start);
        let called = {
            let mut places = self.places();
            let queue = urgency as usize;
            if places.taken < limit(queue) && places.waiting[..=queue].iter().all(VecDeque::is_empty) {
                places.taken += 1;
                return Place(Some(self.clone()));
            }
            let (call, called) = oneshot::channel();
            places.waiting[queue].push_back(call);
            called
        };
        match called.await {
            Ok(place) => place,
            // Whoever waits stands in a queue until it is called.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives a place that is not needed any more to the most urgent who waits.
    fn pass_on(&self) {
        self.places().taken -= 1;
        loop {
            let call = {
                let mut places = self.places();
                let taken = places.taken;
                let next = (0..places.waiting.len()).find(|queue| taken < limit(*queue) && !places.waiting[*queue].is_empty());
                let Some(call) = next.and_then(|queue| places.waiting[queue].pop_front()) else { return };
                places.taken += 1;
                call
            };
            match call.send(Place(Some(self.clone()))) {
                Ok(()) => {}
                // Gone away meanwhile. Its place is not dropped, which would come back here.
                Err(mut place) => {
                    place.0 = None;
                    self.places().taken -= 1;
                }
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn limit(queue: usize) -> usize {
    if queue == Urgency::Start as usize { MOST } else { SHARED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_go_before_promises_and_those_before_what_is_made_ahead() {
        let budget = Budget::default();
        let mut held = Vec::new();
        for _ in 0..SHARED {
            held.push(as_urgent(Urgency::Promise, budget.place()).await);
        }
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for urgency in [Urgency::Ahead, Urgency::Promise] {
            let (order, places) = (order.clone(), budget.clone());
            waiting.push(tokio::spawn(as_urgent(urgency, async move {
                let place = places.place().await;
                order.lock().unwrap().push(urgency);
                drop(place);
            })));
            while budget.places().waiting[urgency as usize].is_empty() {
                tokio::task::yield_now().await;
            }
        }
        // An engine waits for nobody.
        drop(budget.place().await);
        assert!(order.lock().unwrap().is_empty());
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [Urgency::Promise, Urgency::Ahead]);
        assert_eq!(budget.places().taken, 0);
    }

    #[tokio::test]
    async fn whoever_goes_away_loses_no_place() {
        let budget = Budget::default();
        let mut held = Vec::new();
        for _ in 0..MOST {
            held.push(budget.place().await);
        }
        for _ in 0..3 {
            let places = budget.clone();
            let waiting = tokio::spawn(async move { places.place().await });
            while budget.places().waiting[0].iter().all(oneshot::Sender::is_closed) {
                tokio::task::yield_now().await;
            }
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
        }
        drop(held);
        assert_eq!(budget.places().taken, 0);
        assert!(budget.places().waiting.iter().all(VecDeque::is_empty));
    }
}
