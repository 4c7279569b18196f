//! One request at a time for one object.
//!
//! An engine that lost our reply sends the request again while the first copy still runs. The second one takes its turn, finds the
//! object made and gives the same answer. Requests for different objects never wait for each other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use uuid::Uuid;

/// Hands out turns by the object's name.
#[derive(Debug, Default)]
pub(super) struct Turns {
    objects: Mutex<HashMap<String, Arc<Turn<()>>>>,
}

impl Turns {
    /// Waits until no other request works on `object`; the turn ends when the guard is dropped.
    pub async fn take(&self, object: String) -> OwnedMutexGuard<()> {
        let turn = {
            let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever holds or awaits a turn holds a second reference.
            objects.retain(|_, turn| Arc::strong_count(turn) > 1);
            objects.entry(object).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// The turns of several objects of a kind, in an order that is the same for all who take them.
    pub async fn take_all(&self, kind: &str, ids: BTreeSet<Uuid>) -> Vec<OwnedMutexGuard<()>> {
        let mut turns = Vec::new();
        for id in ids {
            turns.push(self.take(format!("{kind} {id}")).await);
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use futures_poll_once::poll_once;

    use super::*;

    /// Polls a future a single time.
    mod futures_poll_once {
        use std::{future::Future, pin::pin, task::Context};

        pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
            let mut context = Context::from_waker(std::task::Waker::noop());
            match pin!(future).poll(&mut context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            }
        }
    }

    #[tokio::test]
    async fn the_same_object_waits_and_another_does_not() {
        let turns = Turns::default();
        let first = turns.take("endpoint a".into()).await;
        assert!(poll_once(turns.take("endpoint a".into())).is_none());
        assert!(poll_once(turns.take("endpoint b".into())).is_some());
        drop(first);
        assert!(poll_once(turns.take("endpoint a".into())).is_some());
    }

    #[tokio::test]
    async fn objects_that_nobody_works_on_are_forgotten() {
        let turns = Turns::default();
        for n in 0..100 {
            drop(turns.take(n.to_string()).await);
        }
        assert!(turns.objects.lock().unwrap().len() <= 1);
    }
}
