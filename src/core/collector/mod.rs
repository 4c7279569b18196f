//! Gives back what an engine was promised and never used: it forgets silently, when it dies between two calls or refuses the second
//! address of an endpoint. And what crashes and lost answers leave behind.
//!
//! A round looks around first and makes a list of findings; then it removes those whose time is over. An operator is shown the same list.

mod finding;
mod look;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use uuid::Uuid;

pub use self::finding::{Finding, Kind, Round};
pub(super) use self::look::FirstSeen;
use self::look::{Look, is_unclaimed, is_unused};
use super::{
    Core, Error,
    endpoint::on_blocking_thread,
    now,
    record::{Entry, Work},
    request::DockerId,
    state::State,
    work::kept_while_used,
};
use crate::{binding, openstack};

/// How long the engine may take from the first call of a container or network to the last.
pub(super) const GRACE: i64 = 600;
const INTERVAL: Duration = Duration::from_secs(60);

/// A finding, and what is to be done about it.
struct Found {
    finding: Finding,
    deed: Deed,
}

/// How a finding is removed.
enum Deed {
    /// Retire a port of the journal.
    Port(Uuid),
    /// Retire the port of an endpoint.
    Endpoint { port: Uuid, endpoint: DockerId },
    /// End a pool of the journal.
    Pool(Uuid),
    /// Delete a Docker network.
    Network(DockerId),
    /// Leave it to the backlog.
    Promise(Work),
    /// Delete a router, which this task looked for.
    Router { id: Uuid, task: u64 },
    /// Take a port out of the switch.
    SwitchPort(binding::DeadPort),
    /// Remove a pair, by the name of its host end.
    Link(String),
}

impl Deed {
    /// Whether somebody has come for what this host did not know.
    fn is_about_somebodys(&self, state: &State) -> bool {
        let mut networks = state.networks.values();
        match self {
            Self::Promise(Work::RetirePort(port)) => state.ports.contains_key(&port.id),
            // Others may be on the network that a Docker network was put upon.
            Self::Promise(Work::RetireNetwork { network, .. }) if network.joined => state.networks.contains_key(&network.id),
            Self::Promise(Work::RetireNetwork { network, .. }) => networks.any(|held| held.neutron == network.neutron),
            Self::Promise(Work::RetireSubnet(id)) => networks.flat_map(|network| &network.subnets).any(|subnet| subnet.id == *id),
            Self::Promise(Work::RetirePool(id)) => state.pools.values().any(|pool| pool.subnetpool == *id || pool.namesake == Some(*id)),
            Self::Router { id, .. } => networks.any(|network| network.router == Some(*id)),
            Self::SwitchPort(dead) => state.ports.contains_key(&dead.port),
            Self::Link(name) => state.ports.keys().any(|port| binding::tap_name(*port) == *name),
            // These are looked at again as they are removed.
            Self::Promise(_) | Self::Port(_) | Self::Endpoint { .. } | Self::Pool(_) | Self::Network(_) => false,
        }
    }
}

impl Core {
    /// Collects at start and then once a minute, until `stop` turns true.
    pub async fn run_collector(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        // So that no network waits for the list of extensions; if it cannot be had now, the first one asks for it.
        let _ = self.tagging().await;
        while !*stop.borrow() {
            let round = self.collect(now()).await;
            for trouble in &round.troubles {
                tracing::warn!("could not collect all that is left over: {trouble}");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// What belongs to nobody as of `now` in Unix seconds. Removes nothing.
    pub async fn look_for_leftovers(&self, now: i64) -> Round {
        let _turn = self.turns.take("collector".into()).await;
        let look = self.look_around(now).await;
        Round::new(look.found.into_iter().map(|found| found.finding).collect(), &look.troubles)
    }

    /// One round, as of `now` in Unix seconds: removes what has been nobody's for long enough, and looks what Neutron has changed of the rest.
    pub async fn collect(&self, now: i64) -> Round {
        let _turn = self.turns.take("collector".into()).await;
        self.write_what_is_owed().await;
        let Look { found, mut answered, mut troubles } = self.look_around(now).await;
        let (mut findings, mut promises) = (Vec::new(), Vec::new());
        for Found { mut finding, deed } in found {
            if finding.is_due(now) {
                let router_task = if let Deed::Router { task, .. } = deed { Some(task) } else { None };
                match self.remove_leftover(deed, now, &mut promises).await {
                    Ok(removed) => finding.removed = removed,
                    Err(error) => {
                        troubles.push(error);
                        // It is looked for again.
                        answered.retain(|task| Some(*task) != router_task);
                    }
                }
            }
            if finding.removed {
                tracing::info!(kind = finding.kind.name(), id = finding.id, "removing what belongs to nobody: {}", finding.why);
            }
            findings.push(finding);
        }
        promises.extend(answered.into_iter().map(Entry::NoTask));
        if let Err(error) = self.commit(promises).await {
            troubles.push(error.into());
        }
        if let Err(error) = self.refresh_networks().await {
            troubles.push(error);
        }
        for kind in Kind::ALL {
            let removed = findings.iter().filter(|finding| finding.kind == kind && finding.removed);
            self.findings.found(kind.name(), removed.count());
        }
        self.findings.round(troubles.is_empty());
        Round::new(findings, &troubles)
    }

    /// False when somebody has come for it since.
    async fn remove_leftover(&self, deed: Deed, now: i64, promises: &mut Vec<Entry>) -> Result<bool, Error> {
        if deed.is_about_somebodys(&self.state()) {
            return Ok(false);
        }
        match deed {
            Deed::Port(port) => {
                let mut removed = false;
                let retire = |state: &State, port: super::record::Port| {
                    // It may have been granted again.
                    removed = is_unclaimed(state, &port) && now - port.created > GRACE;
                    Ok(if removed { self.retire(state, port) } else { Vec::new() })
                };
                self.change_port(port, retire).await?;
                return Ok(removed);
            }
            Deed::Endpoint { port, endpoint } => return self.retire_unjoined(port, &endpoint).await,
            Deed::Pool(pool) => return Ok(self.drop_unused_pool(pool, now).await),
            Deed::Network(network) => self.delete_network(&network).await?,
            Deed::Promise(work) => promises.push(self.promise(work)),
            Deed::Router { id, .. } => kept_while_used(self.neutron.delete::<openstack::Router>(id).await)?,
            Deed::SwitchPort(dead) => {
                let settings = self.settings.binding.clone();
                on_blocking_thread("taking a port out of the switch", move || binding::take_out(&dead, &settings)).await??;
            }
            Deed::Link(name) => on_blocking_thread("removing a link", move || binding::remove_idle(&name)).await??,
        }
        Ok(true)
    }

    /// Ends an endpoint unless a container has come for it meanwhile. Join waits for the turn, so that it comes before or finds nothing.
    async fn retire_unjoined(&self, id: Uuid, endpoint: &DockerId) -> Result<bool, Error> {
        let _turn = self.turns.take(format!("port {id}")).await;
        let unjoined = self.state().port(&id).filter(|port| !port.joined && port.endpoint.as_ref() == Some(endpoint)).cloned();
        let Some(port) = unjoined else { return Ok(false) };
        let vif = port.vif(&self.settings.host);
        if !on_blocking_thread("looking up a link", move || binding::is_idle(&vif)).await?? {
            return Ok(false);
        }
        let entries = self.retire(&self.state(), port);
        self.commit(entries).await?;
        Ok(true)
    }

    /// Ends a pool unless a network has come for it meanwhile.
    async fn drop_unused_pool(&self, id: Uuid, now: i64) -> bool {
        let _turn = self.turns.take(format!("pool {id}")).await;
        let unused = {
            let state = self.state();
            // It may have been granted again.
            state.pools.get(&id).filter(|pool| is_unused(&state, pool) && now - pool.granted > GRACE).cloned()
        };
        let Some(pool) = unused else { return false };
        self.commit_at_any_rate(self.drop_pool(&pool)).await;
        true
    }
}
