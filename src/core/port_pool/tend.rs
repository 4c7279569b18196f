//! Looking after the ports made ahead: making what is missing, giving back what is too much, and seeing that each is as it was made.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use super::super::{
    Core, Error,
    adopt::endpoint_in,
    naming, now,
    record::{AddressState, Entry, Network, Port, Work},
    request::DockerId,
    state::State,
};
use crate::openstack::{self, AllocationPool, Urgency, as_urgent};

/// How soon Neutron is asked whether new ports are ACTIVE, and how far apart at the most.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How often networks are looked at without a reason.
const INTERVAL: Duration = Duration::from_secs(10);
/// Subnets on which Neutron chooses from more addresses than this have room for any pool.
const LARGE: u128 = 4096;
/// How long the number of addresses that are in use on a subnet is believed.
const ROOM_AGE: Duration = Duration::from_secs(60);

/// What has become of ports that were to be made.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    /// The cloud has no room for all of them.
    Refused,
}

/// Takes the mark off a network that is looked after, whatever becomes of that.
struct Tended<'a>(&'a Core, DockerId);

impl Drop for Tended<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.0.port_pool.lines().get_mut(&self.1) {
            line.tended = false;
        }
    }
}

impl Core {
    /// Looks after the ports made ahead until `stop` turns true. Each network by itself, so that a slow one holds no other up.
    pub async fn run_port_pool(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tending = JoinSet::new();
        while !*stop.borrow() {
            let changed = self.port_pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            for network in self.untended() {
                let (core, stop) = (self.clone(), stop.clone());
                tending.spawn(as_urgent(Urgency::Ahead, async move {
                    let _tended = Tended(&core, network.clone());
                    core.tend(&network, stop).await;
                }));
            }
            tokio::select! {
                () = &mut changed => {}
                () = tokio::time::sleep(self.port_pool.next_look().unwrap_or(INTERVAL).min(INTERVAL)) => {}
                _ = stop.changed() => {}
            }
            while tending.try_join_next().is_some() {}
        }
        while tending.join_next().await.is_some() {}
    }

    /// Waits until this many ports can be handed out, and no others are made ahead.
    pub async fn pool_settled(&self, ready: usize) {
        loop {
            let changed = self.port_pool.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().pooled_and_ready() == (ready, ready) {
                return;
            }
            changed.await;
        }
    }

    /// Networks that need looking after and that nobody looks after; they are marked as if somebody did.
    fn untended(&self) -> Vec<DockerId> {
        let state = self.state();
        let mut lines = Vec::new();
        for network in state.networks.values() {
            let unready = state.pooled_on(&network.id).any(|port| !port.ready);
            if unready || state.pooled_on(&network.id).count() != self.port_pool.target(network, &self.settings.port_pool) {
                lines.push(network.id.clone());
            }
        }
        drop(state);
        let mut known = self.port_pool.lines();
        let now = std::time::Instant::now();
        lines.retain(|network| {
            let line = known.entry(network.clone()).or_default();
            let free = !line.tended && line.rest.is_none_or(|(_, until)| until <= now);
            line.tended |= free;
            free
        });
        lines
    }

    /// Until the network has what it is worth and all of it is ready.
    async fn tend(self: &Arc<Self>, id: &DockerId, mut stop: watch::Receiver<bool>) {
        let mut pause = FIRST_LOOK;
        while !*stop.borrow() {
            let wanted = self.port_pool.wanted.notified();
            tokio::pin!(wanted);
            wanted.as_mut().enable();
            let Some(network) = self.state().networks.get(id).cloned() else { return self.port_pool.forget(id) };
            match self.tend_once(&network).await {
                Ok(settled) => {
                    self.port_pool.worked(id);
                    if settled {
                        return;
                    }
                }
                Err(error) => {
                    let again_in = self.port_pool.rest(id);
                    tracing::warn!(network = %id, ?again_in, "could not look after the ports made ahead: {error}");
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_LOOK),
                () = &mut wanted => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// False when there is more to do a little later.
    async fn tend_once(self: &Arc<Self>, network: &Network) -> Result<bool, Error> {
        let target = self.port_pool.target(network, &self.settings.port_pool);
        let mut held: Vec<Port> = self.state().pooled_on(&network.id).cloned().collect();
        let (mut waits, mut missing) = (false, 0);
        if held.len() > target {
            // What is of use now goes last.
            held.sort_by_key(|port| port.ready);
            let trusted = held.iter().filter(|port| self.is_trusted(port));
            let surplus: Vec<Uuid> = trusted.take(held.len() - target).map(|port| port.id).collect();
            self.give_back(&surplus).await?;
        } else if held.len() < target {
            waits = self.port_pool.can_wait(&network.id, held.len(), target);
            let room = if waits { 0 } else { self.room(network, held.len()).await? };
            // An agent that is late is tried with one port at a time.
            let late = held.iter().any(|port| self.is_late(port));
            let most = if late { usize::from(!held.iter().any(|port| self.is_awaited(port))) } else { usize::MAX };
            missing = target.min(room).saturating_sub(held.len()).min(most);
            if self.make_many(network, missing).await? == Outcome::Refused {
                // What is too much now goes at once.
                return Ok(false);
            }
        }
        self.check_in(network).await?;
        if missing == 0 && !waits {
            self.give_back_late(network).await?;
        }
        let state = self.state();
        // Late ones are looked at as networks are without a reason.
        Ok(!waits && state.pooled_on(&network.id).all(|port| port.ready || self.is_late(port)))
    }

    /// Whether a port may yet become ACTIVE soon.
    fn is_awaited(&self, port: &Port) -> bool {
        !port.ready && !self.is_late(port)
    }

    /// Whether a port waits longer for the agent of this host than any that is alive takes between two ports.
    fn is_late(&self, port: &Port) -> bool {
        let since = self.port_pool.waits_since(&port.network, port.created.max(self.started));
        !port.ready && seconds_since(since) > self.settings.port_pool.patience.as_secs()
    }

    /// Makes some ports, a few at once; fewer where a start is short of one.
    async fn make_many(self: &Arc<Self>, network: &Network, count: usize) -> Result<Outcome, Error> {
        let mut making = JoinSet::new();
        let (mut left, mut failure) = (count, None);
        while left > 0 || !making.is_empty() {
            while failure.is_none() && left > 0 && !self.port_pool.is_short() && making.len() < self.settings.port_pool.batch.max(1) {
                let (core, network) = (self.clone(), network.clone());
                making.spawn(as_urgent(Urgency::Ahead, async move { core.make_ahead(&network).await }));
                left -= 1;
            }
            match making.join_next().await {
                Some(Ok(Err(error))) => {
                    failure.get_or_insert(error);
                    left = 0;
                }
                Some(_) => {}
                None => break,
            }
        }
        match failure {
            Some(Error::Cloud(error)) if error.is_conflict() => {
                // What others ask for now must not fail for what nobody has asked for yet.
                let held = self.state().pooled_on(&network.id).count();
                tracing::warn!(network = %network.id, held, "makes no more ports ahead for now, and gives half of them back: {error}");
                self.port_pool.refuse(network, held.div_ceil(2), &self.settings.port_pool);
                Ok(Outcome::Refused)
            }
            Some(error) => Err(error),
            None => Ok(Outcome::Made),
        }
    }

    /// How many ports may be held ahead on the network, of which `held` are there: a share of what is free on the subnet that has the least.
    async fn room(&self, network: &Network, held: usize) -> Result<usize, Error> {
        let known = self.port_pool.lines().get(&network.id).and_then(|line| line.room);
        if let Some((room, seen)) = known
            && seen.elapsed() < ROOM_AGE
        {
            return Ok(room);
        }
        let mut room = usize::MAX;
        for subnet in network.pooled_families() {
            if let Some(free) = self.free_addresses(subnet.id).await? {
                room = room.min((free + held) * self.settings.port_pool.share / 100);
            }
        }
        if let Some(line) = self.port_pool.lines().get_mut(&network.id) {
            line.room = Some((room, std::time::Instant::now()));
        }
        Ok(room)
    }

    /// How many addresses Neutron still has to choose from on a subnet, if they are few enough to be counted. An operator may change which.
    async fn free_addresses(&self, subnet: Uuid) -> Result<Option<usize>, Error> {
        let pools = self.neutron.show::<openstack::Subnet>(subnet).await?.allocation_pools;
        let size = pools.iter().map(AllocationPool::size).fold(0, u128::saturating_add);
        let Some(size) = usize::try_from(size).ok().filter(|_| size <= LARGE) else { return Ok(None) };
        let id = format!("subnet_id={subnet}");
        let query = [("fixed_ips", id.as_str()), ("fields", "id"), ("fields", "mac_address"), ("fields", "fixed_ips")];
        let ports = self.neutron.list::<openstack::Port>(&query).await?;
        let on_it = ports.iter().flat_map(|port| &port.fixed_ips).filter(|fixed| fixed.subnet_id == subnet);
        let used = on_it.filter(|fixed| pools.iter().any(|pool| pool.contains(fixed.ip_address))).count();
        Ok(Some(size.saturating_sub(used)))
    }

    /// Whether nobody else can have come to a pooled port: it was made in this life of the daemon, or Neutron has told since that it is as it was.
    pub(super) fn is_trusted(&self, port: &Port) -> bool {
        port.ready || port.created > self.started
    }

    /// Removes pooled ports that nobody is being given.
    pub(in super::super) async fn give_back(&self, ports: &[Uuid]) -> Result<(), Error> {
        for id in ports {
            let Some(_hold) = self.hold(*id) else { continue };
            self.give_back_held(*id).await?;
        }
        Ok(())
    }

    /// Gives the oldest of those back that an agent is late with, so that another is tried: one that is alive has missed it. One that is only busy
    /// still finds the others, and while one is awaited none goes.
    async fn give_back_late(&self, network: &Network) -> Result<(), Error> {
        let late = {
            let state = self.state();
            let unready: Vec<&Port> = state.pooled_on(&network.id).filter(|port| !port.ready).collect();
            let awaited = unready.iter().any(|port| self.is_awaited(port));
            if awaited { None } else { unready.iter().min_by_key(|port| port.created).map(|port| port.id) }
        };
        match late.and_then(|id| self.hold(id)) {
            Some(hold) => self.give_back_held(hold.port).await,
            None => Ok(()),
        }
    }

    /// Gives back a port that the caller holds.
    async fn give_back_held(&self, id: Uuid) -> Result<(), Error> {
        self.change_port(id, |state, port| Ok(if port.pooled { self.retire(state, port) } else { Vec::new() })).await?;
        Ok(())
    }

    /// Looks in Neutron how the ports fare that are not ready: new ones, and those of an earlier life of the daemon. Neutron and the journal
    /// must say the same of a port, or it is none that may be handed out.
    async fn check_in(&self, network: &Network) -> Result<(), Error> {
        let unready: Vec<Uuid> = self.state().pooled_on(&network.id).filter(|port| !port.ready).map(|port| port.id).collect();
        if unready.is_empty() {
            return Ok(());
        }
        let id = network.neutron.to_string();
        let query = [
            ("network_id", id.as_str()),
            ("device_owner", naming::DEVICE_OWNER),
            ("binding:host_id", &self.settings.host),
            ("name", naming::POOLED_NAME),
        ];
        let found = self.neutron.list::<openstack::Port>(&query).await?;
        for id in unready {
            let Some(_hold) = self.hold(id) else { continue };
            let Some(port) = self.state().port(&id).filter(|port| port.pooled && !port.ready).cloned() else { continue };
            let now_there = match found.iter().find(|found| found.id == id) {
                Some(found) => Some(found.clone()),
                None => self.port_if_there(id).await?,
            };
            match now_there {
                Some(found) if is_as_made(network, &port, &found) => self.see_to(network, port, &found).await?,
                other => self.part_with(port, other).await?,
            }
        }
        Ok(())
    }

    /// Before an engine gets a port by its address that an earlier life of the daemon made ahead: ends the record of one that is not as it was
    /// made. The caller holds the port.
    pub(in super::super) async fn check_in_one(&self, network: &Network, id: Uuid) -> Result<(), Error> {
        let untrusted = self.state().port(&id).filter(|port| port.pooled && !self.is_trusted(port)).cloned();
        let Some(port) = untrusted else { return Ok(()) };
        match self.port_if_there(id).await? {
            Some(found) if is_as_made(network, &port, &found) => Ok(()),
            other => self.part_with(port, other).await,
        }
    }

    /// Of a port that is as it was made: plugs it if its link is gone, and has it handed out from when it is ACTIVE on.
    async fn see_to(&self, network: &Network, port: Port, found: &openstack::Port) -> Result<(), Error> {
        let id = port.id;
        if port.is_plugged_ahead() && !self.is_plugged(&port).await? {
            return self.plug_ahead(port).await;
        }
        if found.status == "ACTIVE" {
            self.port_pool.progressed(&network.id);
            self.change_port(id, |_, mut port| {
                port.ready = port.pooled;
                Ok(vec![Entry::Port(port)])
            })
            .await?;
        } else if self.is_late(&port) && self.port_pool.is_news_that_late(&network.id) {
            tracing::warn!(
                network = %network.id, port = %id, status = found.status, patience = ?self.settings.port_pool.patience,
                "a port made ahead is not ACTIVE, and none came to be for so long: it is made anew, and the others one after the other, but no more \
                 on this network until one is ACTIVE; see that the Neutron agent of this host is alive"
            );
        }
        Ok(())
    }

    /// Ends the record of a port that is not as it was made. What nobody uses goes; what has come to be an endpoint's, before a loss of power
    /// took the journal's word for that, is that endpoint's; what somebody else has taken is theirs.
    async fn part_with(&self, port: Port, found: Option<openstack::Port>) -> Result<(), Error> {
        let endpoint = found.as_ref().filter(|found| self.is_of_this_host(found)).and_then(endpoint_in);
        let unused =
            |found: &openstack::Port| self.is_of_this_host(found) && found.name == naming::POOLED_NAME && found.device_id.is_empty();
        let gone_or_unused = found.as_ref().is_none_or(unused);
        self.change_port(port.id, |state: &State, mut port| {
            if !port.pooled {
                return Ok(Vec::new());
            }
            if gone_or_unused {
                return Ok(self.retire(state, port));
            }
            if endpoint.is_some() {
                port.hand_out(Uuid::nil());
                port.addresses.iter_mut().for_each(|address| address.state = AddressState::Granted);
                return Ok(vec![Entry::Port(Port { endpoint, joined: true, exposing: true, ..port })]);
            }
            tracing::warn!(port = %port.id, "somebody has changed a port made ahead, so that it is theirs now");
            Ok(vec![Entry::NoPort(port.id), self.promise(Work::UnplugPort(Box::new(port)))])
        })
        .await?;
        Ok(())
    }
}

/// Since a time in Unix seconds; zero if that is to come.
fn seconds_since(then: i64) -> u64 {
    u64::try_from(now() - then).unwrap_or_default()
}

/// Whether Neutron has of a pooled port what it had when it was made.
fn is_as_made(network: &Network, port: &Port, found: &openstack::Port) -> bool {
    let addresses = port.addresses.len() == found.fixed_ips.iter().filter(|fixed| !network.is_beside(fixed, found.mac_address)).count()
        && port.addresses.iter().all(|own| found.fixed_ips.iter().any(|fixed| fixed.ip_address == own.ip && fixed.subnet_id == own.subnet));
    let groups = port.groups.len() == found.security_groups.len() && port.groups.iter().all(|group| found.security_groups.contains(group));
    let pairs = found.extra.get("allowed_address_pairs").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let unused = found.name == naming::POOLED_NAME && found.device_owner == naming::DEVICE_OWNER && found.device_id.is_empty();
    unused && addresses && groups && pairs && found.mac_address == port.mac && found.tags.is_empty()
}
