//! Brings a snapshot about on this host: links, namespaces, tables, in an order that leaves no port unguarded. What fails for one object
//! is told with its id and leaves the others alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
};

use uuid::Uuid;

use super::{
    bridges,
    filter::{self, Sight},
    forward, names,
    router::{self, Plan},
    rules,
    snapshot::{Port, Snapshot},
    wires,
};
use crate::{
    netlink::{self, Link, Socket, netns},
    nft::{self, Table},
};

/// How many rules that nft refuses are left out in one sync before it is given up.
const MOST_REFUSED: usize = 64;

/// The datapath could not be brought about; the next sync tries again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a link, an address, a route or a namespace.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The firewall refused.
    #[error(transparent)]
    Firewall(#[from] nft::Error),
    /// A kernel setting could not be written.
    #[error("cannot set {path} to {value}: {source}; if the file is missing, load the module br_netfilter ('modprobe br_netfilter')")]
    Setting {
        /// The file.
        path: String,
        /// What was to be written.
        value: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The store could not be read.
    #[error("cannot read the store for the datapath: {0}")]
    Store(String),
}

/// What went wrong with single objects in one sync, each text with the object's id.
#[derive(Debug, Default)]
pub(super) struct Problems(BTreeSet<String>);

impl Problems {
    /// Notes a failure that is `what`'s alone.
    pub(super) fn note(&mut self, what: impl Fn() -> String, result: Result<(), impl Into<Error>>) {
        if let Err(error) = result {
            self.0.insert(format!("{}: {}", what(), error.into()));
        }
    }
}

/// How much one sync does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// As [`Whole`](Self::Whole), but iptables' FORWARD and the kernel's forwarding, which the next sync of any extent looks after: it takes
    /// iptables some 30 ms to exchange a rule, and until then less passes, never more.
    Guard,
    /// What differs from the last sync.
    Changed,
    /// Everything is looked at and every table loaded again, because another may have changed it.
    Whole,
}

/// What was applied last, so that what is unchanged is not done again.
#[derive(Debug, Default)]
pub struct Executor {
    tables: Option<[Table; 2]>,
    /// What they were made of.
    seen: Option<(Snapshot, Sight)>,
    forward: Option<String>,
    routers: BTreeMap<Uuid, wires::Standing>,
    refused: BTreeSet<String>,
    problems: Problems,
}

/// The links of this host; to be taken BEFORE the snapshot is read, so that no port made in between looks stale.
pub fn links() -> Result<Vec<Link>, Error> {
    Ok(Socket::open()?.links()?)
}

impl Executor {
    /// What the last sync left undone, one sentence for each object, with its id.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.0.iter().map(String::as_str)
    }

    /// Somebody has touched iptables' FORWARD: the next sync looks after it.
    pub fn forget_forward(&mut self) {
        self.forward = None;
    }

    /// Brings `wanted` about. Returns the ports whose status in the store is wrong, with whether they are active.
    ///
    /// # Errors
    /// What concerns all: no port is guarded then, or not as it should be. Failures of single objects are only logged.
    pub fn sync(&mut self, before: &[Link], wanted: &Snapshot, extent: Extent) -> Result<Vec<(Uuid, bool)>, Error> {
        if extent != Extent::Changed {
            (self.tables, self.forward) = (None, None);
            self.routers.clear();
            self.refused.clear();
        }
        for family in ["iptables", "ip6tables"] {
            set(&format!("net/bridge/bridge-nf-call-{family}"), "1")?;
        }
        let mut problems = Problems::default();
        problems.0.extend(wanted.unreadable.values().cloned());
        let mut snapshot = wanted.clone();
        for (id, other) in snapshot.settle_names() {
            problems.0.insert(format!(
                "{id} has no traffic: its interface would have the same name as that of {other}, because their ids begin alike; delete it and make it again"
            ));
        }
        // The tables depend on this no more, and a change of it must not make them anew.
        snapshot.ports.values_mut().for_each(|port| port.active = false);
        let mut socket = Socket::open()?;
        let plans: BTreeMap<Uuid, Plan> = snapshot.routers.iter().map(|(id, router)| (*id, router::plan(&snapshot, *id, router))).collect();
        self.routers.retain(|id, _| plans.contains_key(id));
        let mut sight = Sight { foreign: foreign_taps(before, &snapshot), ..Sight::default() };
        let mut standing = BTreeSet::new();
        for (id, plan) in &plans {
            if self.routers.get(id).is_some_and(|router| router.stands(plan, before)) {
                standing.insert(*id);
                sight.routers.extend(plan.interfaces.iter().map(|interface| interface.port));
            } else {
                problems.note(
                    || format!("router {id} cannot be looked at"),
                    wires::proven(plan, before).map(|ports| sight.routers.extend(ports)),
                );
            }
        }
        self.filter(&snapshot, &sight, &mut problems)?;
        if extent != Extent::Guard {
            self.forward(&snapshot, &mut problems);
        }

        let mut touched = bridges::bring_up(&mut socket, before, &snapshot, &mut problems);
        touched |= bridges::remove_stale(&mut socket, before, &snapshot, &mut problems);
        let proven = sight.routers.clone();
        for (id, plan) in plans.iter().filter(|(id, _)| !standing.contains(id)) {
            touched = true;
            let load = self.routers.get(id).is_none_or(|router| router.plan.ruleset != plan.ruleset);
            let raised = wires::raise(&mut socket, plan, load).map(|router| {
                sight.routers.extend(plan.interfaces.iter().map(|interface| interface.port));
                self.routers.insert(*id, router);
            });
            if raised.is_err() {
                self.routers.remove(id);
            }
            problems.note(|| format!("router {id} is not as it should be"), raised);
        }
        // A router's port may pass everything once its wire is seen to be the router's.
        if sight.routers != proven {
            self.filter(&snapshot, &sight, &mut problems)?;
        }
        touched |= bridges::plug_again(&mut socket, before, &snapshot, &mut problems);
        let changed = if touched { statuses(&socket.links()?, wanted, &snapshot) } else { statuses(before, wanted, &snapshot) };
        self.tell(problems);
        Ok(changed)
    }

    /// Loads what differs in the host's tables, or all of them where that cannot be told.
    fn filter(&mut self, snapshot: &Snapshot, sight: &Sight, problems: &mut Problems) -> Result<(), Error> {
        if self.tables.is_some() && self.seen.as_ref().is_some_and(|(old, then)| old == snapshot && then == sight) {
            self.name_refused(snapshot, problems);
            return Ok(());
        }
        self.seen = Some((snapshot.clone(), sight.clone()));
        loop {
            let tables = filter::tables(snapshot, &Sight { refused: self.refused.clone(), ..sight.clone() });
            let result = self.load(&tables);
            let Err(nft::Error::Refused { line: Some(line), complaint, .. }) = &result else {
                self.tables = result.is_ok().then_some(tables);
                self.name_refused(snapshot, problems);
                return Ok(result?);
            };
            // A rule that nft does not take must not keep those of other ports out. Without it less is allowed, never more.
            if self.refused.len() >= MOST_REFUSED || rules::owner(snapshot, line).is_none() || !self.refused.insert(line.clone()) {
                self.tables = None;
                return Ok(result?);
            }
            tracing::debug!(line, complaint, "nft refuses a rule; the others are loaded without it");
        }
    }

    fn load(&mut self, tables: &[Table; 2]) -> Result<(), nft::Error> {
        let since = self.tables.as_ref().and_then(|old| Some(tables[0].since(&old[0])? + &tables[1].since(&old[1])?));
        match since {
            Some(text) if text.is_empty() => return Ok(()),
            Some(text) => match nft::apply(&text) {
                Ok(()) => return Ok(()),
                // Somebody has changed the tables under our hands, or the difference holds a line that nft refuses.
                Err(error) => tracing::debug!(%error, "the difference was refused; the whole tables are loaded"),
            },
            None => {}
        }
        nft::apply(&(tables[0].whole() + &tables[1].whole()))
    }

    fn name_refused(&self, snapshot: &Snapshot, problems: &mut Problems) {
        for line in &self.refused {
            if let Some(group) = rules::owner(snapshot, line) {
                problems.0.insert(format!(
                    "security group {group} has a rule that nft refuses ('{line}'); it allows nothing until it is made again with other values"
                ));
            }
        }
    }

    fn forward(&mut self, snapshot: &Snapshot, problems: &mut Problems) {
        let external: BTreeSet<String> =
            snapshot.networks.iter().filter(|(_, network)| network.external).map(|(id, _)| names::bridge(*id)).collect();
        let text = forward::render(&external);
        if self.forward.as_ref() != Some(&text) {
            let result = forward::apply(&text);
            self.forward = result.is_ok().then_some(text);
            problems.note(|| "iptables' FORWARD may stop the networks' traffic".to_owned(), result);
        }
        if !external.is_empty() {
            problems.note(|| "external networks have no way out".to_owned(), set("net/ipv4/ip_forward", "1"));
        }
        let v6 = |subnet: &super::snapshot::Subnet| subnet.cidr.addr().is_ipv6();
        if snapshot.networks.values().any(|network| network.external && network.subnets.iter().any(v6)) {
            problems.note(|| "external networks have no way out for IPv6".to_owned(), set("net/ipv6/conf/all/forwarding", "1"));
        }
    }

    /// Logs what is new among the problems, and that the last one is gone.
    fn tell(&mut self, problems: Problems) {
        let old = mem::replace(&mut self.problems, problems);
        for problem in self.problems.0.difference(&old.0) {
            tracing::error!(problem, "a part of the datapath is not as it should be; it is tried again");
        }
        if self.problems.0.is_empty() && !old.0.is_empty() {
            tracing::info!("the datapath is whole again");
        }
    }
}

/// Takes down everything on this host that the snapshot names, and what is proven to be a left-over: the daemon may have ended between the
/// removal of an object and that of its links. What else bears such a name may be another's.
pub fn remove_everything(snapshot: &Snapshot) -> Result<(), Error> {
    let mut socket = Socket::open()?;
    for port in snapshot.ports.keys() {
        socket.delete_link(&names::tap(*port))?;
    }
    for tap in bridges::strangers(&links()?, snapshot) {
        socket.delete_link(&tap.name)?;
    }
    for router in snapshot.routers.keys() {
        let name = names::namespace(*router);
        if netns::list()?.contains(&name) {
            bridges::remove_namespace(&name)?;
        }
    }
    for network in snapshot.networks.keys() {
        socket.delete_link(&names::bridge(*network))?;
    }
    let mut problems = Problems::default();
    bridges::remove_stale(&mut socket, &links()?, &Snapshot::default(), &mut problems);
    for problem in &problems.0 {
        tracing::error!(problem, "something of the datapath stays behind");
    }
    nft::apply("add table bridge kuryr\ndelete table bridge kuryr\nadd table inet kuryr\ndelete table inet kuryr\n")?;
    forward::remove()?;
    Ok(())
}

/// Taps of others (of a virtual machine, say): the bridge table must let them alone.
fn foreign_taps(links: &[Link], snapshot: &Snapshot) -> BTreeSet<String> {
    let ours: BTreeSet<String> = snapshot.ports.keys().chain(snapshot.unreadable.keys()).map(|id| names::tap(*id)).collect();
    links
        .iter()
        .filter(|link| {
            link.name.starts_with("tap") && link.master.is_some() && !ours.contains(&link.name) && !bridges::plugged(links, link)
        })
        // The name goes into the ruleset's text, and the kernel allows nearly any byte in it.
        .filter(|link| link.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        .map(|link| link.name.clone())
        .collect()
}

/// A port is active when its tap is up on the right bridge and it is let do something; the rules for it were applied before.
fn statuses(links: &[Link], wanted: &Snapshot, settled: &Snapshot) -> Vec<(Uuid, bool)> {
    let by_name: BTreeMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
    let active = |id: &Uuid, port: &Port| {
        let bridge = by_name.get(names::bridge(port.network).as_str()).map(|link| link.index);
        let wired = by_name.get(names::tap(*id).as_str()).is_some_and(|tap| tap.up && tap.master.is_some() && tap.master == bridge);
        port.up && wired && settled.ports.contains_key(id)
    };
    wanted
        .ports
        .iter()
        .map(|(id, port)| (*id, port, active(id, port)))
        .filter(|(_, port, now)| *now != port.active)
        .map(|(id, _, now)| (id, now))
        .collect()
}

/// Writes a setting of the calling thread's network namespace.
pub(super) fn set(name: &str, value: &'static str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| Error::Setting { path, value, source })
}
