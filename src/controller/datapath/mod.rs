//! Bridges, routers and packet filters of the embedded controller: what the store says is brought about on this host.
//!
//! [`snapshot`] says what is wanted, [`filter`], [`router`] and [`forward`] turn it into text, and nothing is ever read back from the
//! firewall. `docs/adr/0001-stateful-filtering.md` tells why the filter looks as it does.

mod executor;
pub mod filter;
pub mod forward;
pub mod names;
pub mod router;
mod rules;
pub mod snapshot;

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use executor::{Error, Executor, links, remove_everything};
use snapshot::Snapshot;
use uuid::Uuid;

use crate::netlink::Monitor;

/// How long the monitor of links waits before it looks whether it is to end.
const MONITOR_WAIT: Duration = Duration::from_millis(500);

/// The running datapath. It ends when this is dropped, and leaves everything standing, so that a restart cuts no traffic.
#[derive(Debug)]
pub struct Datapath {
    nudge: Nudge,
    threads: Vec<JoinHandle<()>>,
}

/// Asks the datapath for a sync.
#[derive(Debug, Clone)]
pub struct Nudge(Sender<Wake>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Changed,
    Everything,
    Stop,
}

impl Nudge {
    /// The store has changed.
    pub fn changed(&self) {
        let _ = self.0.send(Wake::Changed);
    }

    /// Somebody may have touched the firewall: load every table again.
    pub fn everything(&self) {
        let _ = self.0.send(Wake::Everything);
    }
}

impl Datapath {
    /// Starts it in the calling thread's network namespace: a full sync now and every `interval`, a sync after each nudge and each
    /// change of a link. `read` reads the store, `report` writes the ports whose status changed.
    pub fn start<R, W>(interval: Duration, mut read: R, mut report: W) -> Result<Self, Error>
    where
        R: FnMut() -> Result<Snapshot, String> + Send + 'static,
        W: FnMut(&[(Uuid, bool)]) + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let mut monitor = Monitor::open()?;
        let (events, (alive, watched)) = (Nudge(sender.clone()), mpsc::channel::<()>());
        let watcher = thread::spawn(move || {
            while watched.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                match monitor.next(MONITOR_WAIT) {
                    Ok(Some(_)) => events.changed(),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "link events are no longer heard; ports change their status at the next timer only");
                        return;
                    }
                }
            }
        });
        let worker = thread::spawn(move || {
            let _alive = alive;
            let mut executor = Executor::default();
            let (mut force, mut full) = (true, Instant::now() + interval);
            loop {
                let result = links().and_then(|links| {
                    let snapshot = read().map_err(Error::Store)?;
                    executor.sync(&links, &snapshot, force)
                });
                match result {
                    Ok(changed) if changed.is_empty() => {}
                    Ok(changed) => report(&changed),
                    Err(error) => tracing::error!(%error, "the datapath is not as it should be; the next sync tries again"),
                }
                match receiver.recv_timeout(full.saturating_duration_since(Instant::now())) {
                    Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Ok(wake) => force = wake == Wake::Everything,
                    Err(RecvTimeoutError::Timeout) => force = true,
                }
                // A burst of changes is one sync.
                while let Ok(wake) = receiver.try_recv() {
                    match wake {
                        Wake::Stop => return,
                        wake => force |= wake == Wake::Everything,
                    }
                }
                if force {
                    full = Instant::now() + interval;
                }
            }
        });
        Ok(Self { nudge: Nudge(sender), threads: vec![watcher, worker] })
    }

    /// A handle for those who change the store.
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        let _ = self.nudge.0.send(Wake::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
