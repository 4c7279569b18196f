//! Looking for what belongs to nobody: in the journal, in Neutron, among the links and in Open vSwitch. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use super::{
    super::{
        Core, Error,
        endpoint::on_blocking_thread,
        naming,
        record::{Made, Network, Pool, Port, Task, Work},
        request::DockerId,
        state::State,
        work::network_tags,
    },
    Deed, Found, GRACE,
    finding::{Finding, Kind},
};
use crate::{
    binding::{self, HostEnd, Vif},
    openstack,
};

/// When what tells nothing of its age was first found, by name.
pub(in super::super) type FirstSeen = HashMap<Kind, BTreeMap<String, i64>>;

/// What one look has seen.
#[derive(Default)]
pub(super) struct Look {
    pub found: Vec<Found>,
    /// Tasks to look for something that have done so after its time, whatever came of it.
    pub answered: BTreeSet<u64>,
    /// What could not be looked at.
    pub troubles: Vec<Error>,
}

impl Look {
    fn note(&mut self, outcome: Result<Vec<Found>, Error>) {
        match outcome {
            Ok(found) => self.found.extend(found),
            Err(error) => self.troubles.push(error),
        }
    }
}

impl Core {
    /// All of it, as of `now`; where one place cannot be looked at, the others are.
    pub(super) async fn look_around(&self, now: i64) -> Look {
        let mut look = Look::default();
        let ends = on_blocking_thread("listing links", binding::host_ends).await;
        match ends.and_then(|ends| ends.map_err(|error| Error::Unknown(error.to_string()))) {
            Ok(ends) => {
                look.found.extend(self.unused(&ends));
                look.note(self.lost_ports(&ends).await);
                look.note(self.stray_links(&ends, now).await);
            }
            Err(error) => look.troubles.push(error),
        }
        look.note(self.unjoined(now).await);
        let sought = self.sought(now, &mut look.answered).await;
        look.note(sought);
        look.note(self.in_switch(now).await);
        look
    }

    /// What the engine was promised and has not come for.
    fn unused(&self, ends: &[HostEnd]) -> Vec<Found> {
        let state = self.state();
        // The link of a port made ahead was there before anybody came for it.
        let linked = |port: &Port| ends.iter().any(|end| end.name == binding::tap_name(port.id)) && !port.ready && !port.pooled;
        let idle = state.every_port().filter(|port| is_unclaimed(&state, port) && !linked(port));
        let ports = idle.map(|port| Found::new(Kind::Port, port.id, port.created, Deed::Port(port.id)));
        let unused = state.pools.values().filter(|pool| is_unused(&state, pool));
        let pools = unused.map(|pool| Found::new(Kind::Pool, pool.id, pool.granted, Deed::Pool(pool.id)));
        let given_up = state.networks.values().filter_map(|network| Some((network, given_up(&state, network)?)));
        let networks = given_up.map(|(network, since)| Found::new(Kind::Network, &network.id, since, Deed::Network(network.id.clone())));
        ports.chain(pools).chain(networks).collect()
    }

    /// Endpoints that an engine made and died before it had stored them, so that it never names them again: the journal says that no Join came for
    /// them, and their interfaces lie on this host, from one look to another after the engine's time.
    async fn unjoined(&self, now: i64) -> Result<Vec<Found>, Error> {
        let unjoined: Vec<(DockerId, Vif)> = {
            let state = self.state();
            let unjoined = state.every_port().filter(|port| !port.joined);
            unjoined.filter_map(|port| Some((port.endpoint.clone()?, port.vif(&self.settings.host)))).collect()
        };
        let idle = on_blocking_thread("looking up links", move || -> Result<Vec<_>, binding::Error> {
            let mut idle = Vec::new();
            for (endpoint, vif) in unjoined {
                if binding::is_idle(&vif)? {
                    idle.push((endpoint.to_string(), Deed::Endpoint { port: vif.port, endpoint }));
                }
            }
            Ok(idle)
        });
        Ok(self.seen_again(Kind::Endpoint, idle.await??.into_iter(), now))
    }

    /// What requests may have made whose answers were lost. It bears the name that we gave it, and nobody has tagged it as theirs since.
    async fn sought(&self, now: i64, answered: &mut BTreeSet<u64>) -> Result<Vec<Found>, Error> {
        let tasks: Vec<(u64, Made, i64)> = {
            let state = self.state();
            let sought = |task: &Task| match &task.work {
                Work::Seek { made, since } if !state.under_way.contains(&task.id) => Some((task.id, made.clone(), *since)),
                _ => None,
            };
            state.tasks.values().filter_map(sought).collect()
        };
        let mut found = Vec::new();
        for (task, made, since) in tasks {
            match made {
                Made::Network(name) => {
                    let networks = self.neutron.list::<openstack::Network>(&[("name", &name)]).await?;
                    for network in networks.iter().filter(|network| network.tags.is_empty()) {
                        // With its subnets and its router, if it came to those.
                        let work = Work::RetireNetwork { network: Box::new(lost(network)), pools: Vec::new() };
                        found.push(Found::new(Kind::LostNetwork, network.id, since, Deed::Promise(work)));
                    }
                }
                Made::Router(name) => {
                    let routers = self.neutron.list::<openstack::Router>(&[("name", &name)]).await?;
                    let deed = |id| Deed::Router { id, task };
                    found.extend(routers.iter().map(|router| Found::new(Kind::LostRouter, router.id, since, deed(router.id))));
                }
                Made::Subnet { network, name } => {
                    let query = [("network_id", network.to_string()), ("name", name)];
                    let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
                    let subnets = self.neutron.list::<openstack::Subnet>(&query).await?;
                    // Where there are no tags, Neutron keeps one that others use from being removed.
                    let untagged = subnets.iter().filter(|subnet| subnet.tags.is_empty()).map(|subnet| subnet.id);
                    found.extend(untagged.map(|id| Found::new(Kind::LostSubnet, id, since, Deed::Promise(Work::RetireSubnet(id)))));
                }
                Made::Use(network) => found.extend(self.left_by(network, since).await?),
                Made::SubnetPool(name) => {
                    let pools = self.neutron.list::<openstack::SubnetPool>(&[("name", &name)]).await?;
                    let untagged = pools.iter().filter(|pool| pool.tags.is_empty()).map(|pool| pool.id);
                    found.extend(untagged.map(|id| Found::new(Kind::LostSubnetpool, id, since, Deed::Promise(Work::RetirePool(id)))));
                }
            }
            if now - since > GRACE {
                answered.insert(task);
            }
        }
        let state = self.state();
        found.retain(|found| !found.deed.is_about_somebodys(&state));
        Ok(found)
    }

    /// A Docker network that is on a network of Neutron and not in the journal.
    async fn left_by(&self, network: Box<Network>, since: i64) -> Result<Option<Found>, Error> {
        let Some(there) = self.if_there(&network).await? else { return Ok(None) };
        let tagged = network_tags(&network).iter().any(|tag| there.tags.contains(tag));
        let left = tagged || self.has_user_port_of(&network).await?;
        let id = network.id.clone();
        Ok(left.then(|| Found::new(Kind::LostUse, id, since, Deed::Promise(Work::RetireNetwork { network, pools: Vec::new() }))))
    }

    /// Ports made just before a crash, which the journal never heard of. Owner, host, name and an empty device together say that they
    /// are this host's and that no endpoint has them; one whose link leads into a container is somebody's, whatever the journal and Neutron have lost.
    async fn lost_ports(&self, ends: &[HostEnd]) -> Result<Vec<Found>, Error> {
        let query = [
            ("device_owner", naming::DEVICE_OWNER),
            ("binding:host_id", &self.settings.host),
            ("name", naming::PORT_NAME),
            ("name", naming::POOLED_NAME),
        ];
        let mut ports = self.neutron.list::<openstack::Port>(&query).await?;
        let in_use = |tap: String| ends.iter().any(|end| end.name == tap && !end.idle);
        ports.retain(|port| {
            let named = [naming::PORT_NAME, naming::POOLED_NAME].contains(&port.name.as_str());
            self.is_of_this_host(port) && named && port.device_id.is_empty() && !in_use(binding::tap_name(port.id))
        });
        let known = self.known_ports();
        ports.retain(|port| !known.contains(&port.id));
        let found = |port: &openstack::Port| {
            let made = port.extra.get("created_at").and_then(Value::as_str).and_then(unix_time)?;
            let work = Work::RetirePort(Box::new(Port::new(DockerId::nowhere(), 0, port)));
            Some(Found::new(Kind::LostPort, port.id, made, Deed::Promise(work)))
        };
        Ok(ports.iter().filter_map(found).collect())
    }

    /// Ports in Open vSwitch that a reset of the machine left behind: owner, name and the missing link say that they are kuryr's and dead, and
    /// neither an endpoint nor a task of this host has them, from one look to another after the engine's time.
    async fn in_switch(&self, now: i64) -> Result<Vec<Found>, Error> {
        let settings = self.settings.binding.clone();
        let mut dead = on_blocking_thread("looking into the switch", move || binding::dead_ports(&settings)).await??;
        let known = self.known_ports();
        dead.retain(|dead| !known.contains(&dead.port));
        Ok(self.seen_again(Kind::SwitchPort, dead.into_iter().map(|dead| (dead.name.clone(), Deed::SwitchPort(dead))), now))
    }

    /// Pairs of which no container has an end, and no port of this host either, from one look to another after the engine's time: a kuryr-libnetwork
    /// leaves them, and so does a crash whose journal was lost.
    async fn stray_links(&self, ends: &[HostEnd], now: i64) -> Result<Vec<Found>, Error> {
        let known: HashSet<String> = self.known_ports().into_iter().map(binding::tap_name).collect();
        let mut stray: Vec<String> = ends.iter().filter(|end| end.idle && !known.contains(&end.name)).map(|end| end.name.clone()).collect();
        if !stray.is_empty() {
            // Whosever they are: Zun's come to be bound to a host before its kuryr hears of them.
            let query =
                [("binding:host_id", self.settings.host.as_str()), ("fields", "id"), ("fields", "mac_address"), ("fields", "network_id")];
            let ports = self.neutron.list::<openstack::Port>(&query).await?;
            stray.retain(|name| !ports.iter().any(|port| binding::tap_name(port.id) == *name));
        }
        Ok(self.seen_again(Kind::Link, stray.into_iter().map(|name| (name.clone(), Deed::Link(name))), now))
    }

    /// Findings of what tells nothing of its age, by name: each is as old as the first of the rounds that found it one after the other.
    fn seen_again(&self, kind: Kind, found: impl Iterator<Item = (String, Deed)>, now: i64) -> Vec<Found> {
        let mut seen = self.first_seen();
        let before = seen.remove(&kind).unwrap_or_default();
        let found = found.map(|(name, deed)| Found::new(kind, &name, before.get(&name).copied().unwrap_or(now), deed));
        let found: Vec<Found> = found.collect();
        seen.insert(kind, found.iter().map(|found| (found.finding.id.clone(), found.finding.since)).collect());
        found
    }

    /// Neutron ports that this host has, or is about to do something with.
    fn known_ports(&self) -> HashSet<Uuid> {
        let state = self.state();
        state.ports.keys().copied().chain(state.tasks.values().map(|task| task.work.key())).collect()
    }
}

/// Whether the port has no endpoint and does not wait for one: a port made ahead does so for as long as its network is there.
pub(super) fn is_unclaimed(state: &State, port: &Port) -> bool {
    port.endpoint.is_none() && !(port.pooled && state.networks.contains_key(&port.network))
}

/// Whether nobody draws on the pool, or is about to.
pub(super) fn is_unused(state: &State, pool: &Pool) -> bool {
    pool.network.is_none() && !state.claimed.contains(&pool.id)
}

/// Since when the engine has given back all pools of the network without deleting it: it gave up before we had made the network.
fn given_up(state: &State, network: &Network) -> Option<i64> {
    // One taken up from Neutron says nothing of what the engine has given back before it names its pools.
    if network.subnets.iter().any(|subnet| subnet.pool == subnet.id) || state.every_port().any(|port| port.network == network.id) {
        return None;
    }
    let pools: Vec<&Pool> = state.pools.values().filter(|pool| pool.network.as_ref() == Some(&network.id)).collect();
    if pools.iter().all(|pool| pool.released) { pools.iter().map(|pool| pool.granted).max() } else { None }
}

/// Unix time of a Neutron time stamp.
fn unix_time(text: &str) -> Option<i64> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

/// A network of ours of which nothing is known but that it is there.
fn lost(network: &openstack::Network) -> Network {
    Network {
        id: DockerId::nowhere(),
        neutron: network.id,
        owned: true,
        joined: false,
        mtu: 0,
        internal: false,
        router: None,
        subnets: Vec::new(),
        ports: Default::default(),
        pool: Default::default(),
    }
}

impl Found {
    fn new(kind: Kind, id: impl std::fmt::Display, since: i64, deed: Deed) -> Self {
        Self { finding: Finding::new(kind, id, since), deed }
    }
}
