//! Gives back what an engine was promised and never used: it forgets silently, when it dies between two calls or refuses the second
//! address of an endpoint.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Core, Error,
    endpoint::on_blocking_thread,
    naming, now,
    record::{Entry, Made, Network, Pool, Port, Task, Work},
    request::DockerId,
    state::State,
    work::kept_while_used,
};
use crate::{binding, openstack};

/// How long the engine may take from the first call of a container or network to the last.
pub(super) const GRACE: i64 = 600;
const INTERVAL: Duration = Duration::from_secs(60);

impl Core {
    /// Collects at start and then once a minute, until `stop` turns true.
    pub async fn run_collector(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let outcome = self.collect(now()).await;
            self.findings.round(outcome.is_ok());
            if let Err(error) = outcome {
                tracing::warn!("could not look for left-over ports: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// One round, as of `now` in Unix seconds.
    pub async fn collect(&self, now: i64) -> Result<(), Error> {
        self.write_what_is_owed().await;
        // A port with a link belongs to somebody, whatever the journal and Neutron may have lost.
        let linked = on_blocking_thread("listing links", binding::existing).await?.map_err(|error| Error::Unknown(error.to_string()))?;
        let (ports, pools, networks) = {
            let state = self.state();
            // The link of a port made ahead was there before anybody came for it.
            let linked = |port: &Port| linked.contains(&binding::tap_name(port.id)) && !port.ready;
            let idle = |port: &&Port| port.endpoint.is_none() && !port.pooled && now - port.created > GRACE && !linked(port);
            let unused = |pool: &&Pool| is_unused(&state, pool, now);
            let ports: Vec<Uuid> = state.ports.values().filter(idle).map(|port| port.id).collect();
            let pools: Vec<Uuid> = state.pools.values().filter(unused).map(|pool| pool.id).collect();
            let networks: Vec<DockerId> = state.networks.keys().filter(|network| is_given_up(&state, network, now)).cloned().collect();
            (ports, pools, networks)
        };
        self.findings.found("port", ports.len());
        self.findings.found("pool", pools.len());
        self.findings.found("network", networks.len());
        for port in ports {
            // It may have got its endpoint while this round waited for its turn.
            self.change_port(port, |state, port| Ok(if port.endpoint.is_none() { self.retire(state, port) } else { Vec::new() })).await?;
        }
        for pool in pools {
            self.drop_unused_pool(pool, now).await;
        }
        for network in networks {
            tracing::info!(%network, "removing a network that the engine has given up");
            self.delete_network(&network).await?;
        }
        self.seek(now).await?;
        self.collect_orphans(now, &linked).await
    }

    /// Ends a pool unless a network has come for it meanwhile.
    async fn drop_unused_pool(&self, id: Uuid, now: i64) {
        let _turn = self.turns.take(format!("pool {id}")).await;
        let unused = {
            let state = self.state();
            state.pools.get(&id).filter(|pool| is_unused(&state, pool, now)).cloned()
        };
        if let Some(pool) = unused {
            self.commit_at_any_rate(self.drop_pool(&pool)).await;
        }
    }

    /// What requests may have made whose answers were lost. It bears the name that we gave it, and nobody has tagged it as theirs since.
    async fn seek(&self, now: i64) -> Result<(), Error> {
        let due: Vec<(u64, Made)> = {
            let state = self.state();
            let due = |task: &Task| match &task.work {
                Work::Seek { made, since } if now - since > GRACE && !state.under_way.contains(&task.id) => Some((task.id, made.clone())),
                _ => None,
            };
            state.tasks.values().filter_map(due).collect()
        };
        for (task, made) in due {
            let mut entries = vec![Entry::NoTask(task)];
            match made {
                Made::Network(name) => {
                    let found = self.neutron.list::<openstack::Network>(&[("name", &name)]).await?;
                    let held = |id: Uuid| self.state().networks.values().any(|network| network.neutron == id);
                    for network in found.iter().filter(|network| network.tags.is_empty() && !held(network.id)) {
                        tracing::info!(network = %network.id, name, "removing a network that was made when nobody waited for it any more");
                        // With its subnets and its router, if it came to those.
                        entries.push(self.promise(Work::RetireNetwork { network: Box::new(lost(network)), pools: Vec::new() }));
                    }
                }
                Made::Router(name) => {
                    let found = self.neutron.list::<openstack::Router>(&[("name", &name)]).await?;
                    let held = |id: Uuid| self.state().networks.values().any(|network| network.router == Some(id));
                    for router in found.iter().filter(|router| !held(router.id)) {
                        kept_while_used(self.neutron.delete::<openstack::Router>(router.id).await)?;
                    }
                }
                Made::Subnet { network, name } => {
                    let query = [("network_id", network.to_string()), ("name", name)];
                    let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
                    let found = self.neutron.list::<openstack::Subnet>(&query).await?;
                    // Where there are no tags, Neutron keeps one that others use from being removed.
                    let held = |id: Uuid| self.state().networks.values().flat_map(|network| &network.subnets).any(|subnet| subnet.id == id);
                    let unheld = found.iter().filter(|subnet| subnet.tags.is_empty() && !held(subnet.id));
                    entries.extend(unheld.map(|subnet| self.promise(Work::RetireSubnet(subnet.id))));
                }
                Made::SubnetPool(name) => {
                    let found = self.neutron.list::<openstack::SubnetPool>(&[("name", &name)]).await?;
                    let held = |id: Uuid| self.state().pools.values().any(|pool| pool.subnetpool == id || pool.namesake == Some(id));
                    let unheld = found.iter().filter(|pool| pool.tags.is_empty() && !held(pool.id));
                    entries.extend(unheld.map(|pool| self.promise(Work::RetirePool(pool.id))));
                }
            }
            self.commit(entries).await?;
        }
        Ok(())
    }

    /// Ports made just before a crash, which the journal never heard of. Owner, host, name and an empty device together say that they
    /// are this host's and that no endpoint has them.
    async fn collect_orphans(&self, now: i64, linked: &[String]) -> Result<(), Error> {
        let query = [
            ("device_owner", naming::DEVICE_OWNER),
            ("binding:host_id", &self.settings.host),
            ("name", naming::PORT_NAME),
            ("name", naming::POOLED_NAME),
        ];
        let found = self.neutron.list::<openstack::Port>(&query).await?;
        let known = |port: &openstack::Port| {
            let state = self.state();
            state.ports.contains_key(&port.id) || state.tasks.values().any(|task| task.work.key() == port.id)
        };
        for port in found {
            let old = port.extra.get("created_at").and_then(Value::as_str).and_then(age_at(now)).is_some_and(|age| age > GRACE);
            let named = [naming::PORT_NAME, naming::POOLED_NAME].contains(&port.name.as_str());
            let ours = self.is_of_this_host(&port) && named;
            let linked = linked.contains(&binding::tap_name(port.id));
            if ours && old && port.device_id.is_empty() && !linked && !known(&port) {
                tracing::info!(port = %port.id, "removing a port that a crash left behind");
                self.findings.found("lost_port", 1);
                self.commit(vec![self.promise(Work::RetirePort(Box::new(Port::new(DockerId::nowhere(), 0, &port))))]).await?;
            }
        }
        Ok(())
    }
}

/// Whether the engine has had its time to make a network on the pool.
fn is_unused(state: &State, pool: &Pool, now: i64) -> bool {
    pool.network.is_none() && now - pool.granted > GRACE && !state.claimed.contains(&pool.id)
}

/// Whether the engine has given back all pools of the network and then not deleted it: it gave up before we had made the network.
fn is_given_up(state: &State, network: &DockerId, now: i64) -> bool {
    // One taken up from Neutron says nothing of what the engine has given back before it names its pools.
    if state.networks.get(network).is_none_or(|network| network.subnets.iter().any(|subnet| subnet.pool == subnet.id)) {
        return false;
    }
    let mut pools = state.pools.values().filter(|pool| pool.network.as_ref() == Some(network)).peekable();
    pools.peek().is_some()
        && pools.all(|pool| pool.released && now - pool.granted > GRACE)
        && state.ports.values().all(|port| port.network != *network)
}

/// Seconds from a Neutron time stamp to `now`.
fn age_at(now: i64) -> impl Fn(&str) -> Option<i64> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    move |text| OffsetDateTime::parse(text, &Rfc3339).ok().map(|made| now - made.unix_timestamp())
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
