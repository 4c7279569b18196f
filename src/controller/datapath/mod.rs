//! Bridges, routers and packet filters of the embedded controller: what the store says is brought about on this host.
//!
//! [`snapshot`] says what is wanted, [`filter`], [`router`] and [`forward`] turn it into text, and nothing is ever read back from the
//! firewall. `docs/adr/0001-stateful-filtering.md` tells why the filter looks as it does.

mod bridges;
mod claims;
mod executor;
pub mod filter;
pub mod forward;
pub mod names;
pub mod router;
mod rules;
pub mod snapshot;
mod wires;

use std::{
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use executor::{Error, Executor, Extent, links, remove_everything};
use snapshot::Snapshot;
use uuid::Uuid;

use crate::{
    netlink::{Event, Monitor},
    nft::{News, Watch},
};

/// How long those who listen to the kernel wait before they look whether they are to end.
const LISTEN: Duration = Duration::from_millis(500);
/// One change of a firewall comes as many messages; after this time without one it is taken for complete.
const QUIET: Duration = Duration::from_millis(20);
/// The least time between two answers to changes of the firewall: a program that keeps changing it must not keep us busy.
const PAUSE: Duration = Duration::from_millis(500);
/// How soon what failed is tried again when nothing is heard; twice as long each time, up to the timer's interval.
const RETRY: Duration = Duration::from_secs(5);

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
    /// The store has changed.
    Store,
    /// A tap or a bridge has changed.
    Links,
    /// iptables' FORWARD has changed.
    Forward,
    /// Anything may have changed.
    Everything,
    Stop,
}

impl Nudge {
    /// The store has changed.
    pub fn changed(&self) {
        let _ = self.0.send(Wake::Store);
    }

    /// Somebody may have touched the firewall: load every table again.
    pub fn everything(&self) {
        let _ = self.0.send(Wake::Everything);
    }
}

/// Tells a listener that nobody listens to it any more.
struct Alive(Receiver<()>);

impl Alive {
    fn is_over(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }
}

impl Datapath {
    /// Starts it in the calling thread's network namespace: everything but iptables' FORWARD is in place when it returns, and that a moment
    /// later. A full sync comes every `interval` and when another has changed our tables, a sync of what differs after each nudge and each change
    /// of a tap or bridge. `read` reads the store, `report` writes the ports whose status changed. Blocks for the first sync.
    ///
    /// # Errors
    /// The first sync fails as a whole: containers would have no guard then, so that nobody may be let start any.
    pub fn start<R, W>(interval: Duration, mut read: R, mut report: W) -> Result<Self, Error>
    where
        R: FnMut() -> Result<Snapshot, String> + Send + 'static,
        W: FnMut(&[(Uuid, bool)]) + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        // Heard from before the first look on, so that no change falls in between.
        let monitor = Monitor::open()?;
        let mut pass = Pass::default();
        pass.run(Extent::Guard, &mut read, &mut report)?;
        let mut threads = Vec::new();
        let (alive, over) = mpsc::channel();
        let events = sender.clone();
        threads.push(thread::spawn(move || listen_to_links(monitor, &events, &Alive(over))));
        let mut held = vec![alive];
        match Watch::open(filter::TABLE, forward::CHAIN) {
            Ok(watch) => {
                let (alive, over) = mpsc::channel();
                held.push(alive);
                let events = sender.clone();
                threads.push(thread::spawn(move || listen_to_firewall(watch, &events, &Alive(over))));
            }
            Err(error) => deaf(&error),
        }
        threads.push(thread::spawn(move || {
            let _held = held;
            work(interval, &receiver, pass, read, report);
        }));
        Ok(Self { nudge: Nudge(sender), threads })
    }

    /// A handle for those who change the store.
    pub fn nudge(&self) -> Nudge {
        self.nudge.clone()
    }
}

fn deaf(error: &io::Error) {
    tracing::error!(%error, "changes of the firewall are not heard; what another takes away is put back at the next timer only");
}

fn listen_to_links(mut monitor: Monitor, events: &Sender<Wake>, alive: &Alive) {
    let ours = |name: &str| name.starts_with("tap") || names::is_bridge(name);
    while !alive.is_over() {
        match monitor.next(LISTEN) {
            Ok(Some(Event::Changed(link) | Event::Deleted(link))) if !ours(&link.name) => {}
            Ok(Some(_)) => drop(events.send(Wake::Links)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "link events are no longer heard; ports change their status at the next timer only");
                return;
            }
        }
    }
}

fn listen_to_firewall(mut watch: Watch, events: &Sender<Wake>, alive: &Alive) {
    while !alive.is_over() {
        match hear(&mut watch) {
            Ok(Some(News::Forward)) => drop(events.send(Wake::Forward)),
            Ok(Some(News::Tables | News::Overrun)) => drop(events.send(Wake::Everything)),
            Ok(None) => continue,
            Err(error) => return deaf(&error),
        }
        thread::sleep(PAUSE);
    }
}

/// The worst of the news that come close together.
fn hear(watch: &mut Watch) -> io::Result<Option<News>> {
    let mut worst = watch.next(LISTEN)?;
    let end = Instant::now() + PAUSE;
    while worst.is_some() && Instant::now() < end {
        match watch.next(QUIET)? {
            None => break,
            Some(News::Forward) => {}
            more => worst = more,
        }
    }
    Ok(worst)
}

/// One sync after another.
#[derive(Default)]
struct Pass {
    executor: Executor,
    /// What the store said; read again only when it has changed.
    known: Option<Snapshot>,
}

impl Pass {
    fn run(
        &mut self,
        extent: Extent,
        read: &mut impl FnMut() -> Result<Snapshot, String>,
        report: &mut impl FnMut(&[(Uuid, bool)]),
    ) -> Result<(), Error> {
        let links = links()?;
        // The word of a new tap may overtake that of its port: a stranger is looked up before it is taken for stale.
        let known = self.known.take().filter(|known| bridges::strangers(&links, known).next().is_none());
        let snapshot = known.map_or_else(|| read().map_err(Error::Store), Ok)?;
        let changed = self.executor.sync(&links, &snapshot, extent)?;
        if changed.is_empty() {
            self.known = Some(snapshot);
        } else {
            report(&changed);
        }
        Ok(())
    }
}

fn work(
    interval: Duration,
    receiver: &Receiver<Wake>,
    mut pass: Pass,
    mut read: impl FnMut() -> Result<Snapshot, String>,
    mut report: impl FnMut(&[(Uuid, bool)]),
) {
    let (mut extent, mut full, mut retry) = (Extent::Changed, Instant::now() + interval, RETRY);
    loop {
        let result = pass.run(extent, &mut read, &mut report);
        let failed = result.is_err() || pass.executor.problems().next().is_some();
        if let Err(error) = result {
            tracing::error!(%error, "the datapath is not as it should be; the next sync tries again");
        }
        extent = Extent::Changed;
        let due = if failed { full.min(Instant::now() + retry) } else { full };
        retry = if failed { (retry * 2).min(interval) } else { RETRY };
        let mut wake = match receiver.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(wake) => wake,
            Err(RecvTimeoutError::Timeout) => Wake::Everything,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // A burst of changes is one sync.
        loop {
            match wake {
                Wake::Stop => return,
                Wake::Store => pass.known = None,
                Wake::Links => {}
                Wake::Forward => pass.executor.forget_forward(),
                Wake::Everything => (extent, pass.known) = (Extent::Whole, None),
            }
            match receiver.try_recv() {
                Ok(next) => wake = next,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        if extent == Extent::Whole {
            full = Instant::now() + interval;
        }
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
