//! NetworkDriver.CreateNetwork and DeleteNetwork.

use std::{collections::BTreeSet, net::IpAddr, sync::PoisonError};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Core, Error,
    allocation::{allocation_pools, reserved},
    claim::{Claim, Range, check_repeated},
    existing::{is_about_subnetpool, kuryr_made_network, kuryr_made_subnet},
    naming, now,
    options::{Chosen, Reference, given},
    port_options::{PORT_OPTIONS, PortOptions},
    port_pool::{POOL_OPTIONS, PoolLimits},
    record::{Entry, Made, Network, Pool, Subnet, Work},
    request::{DockerId, MTU_OPTION, NetworkRequest},
};
use crate::openstack::{self, Router};

/// Bytes a frame may carry where Neutron does not say (no `net-mtu` extension).
const DEFAULT_MTU: u32 = 1500;
/// What IPv4 needs, and the most that a link of Linux has.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

impl Core {
    /// NetworkDriver.CreateNetwork. A network that is there already is the answer to a call that the engine repeats. The options may put
    /// the Docker network upon a network and subnets that Neutron has.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<(), Error> {
        let _turn = self.turns.take(format!("network {}", request.network)).await;
        if let Some(network) = self.state().networks.get(&request.network) {
            return check_repeated(network, &request);
        }
        let mut chosen = Chosen::read(&request.options, &[&PORT_OPTIONS[..], &POOL_OPTIONS].concat())?;
        let mtu = mtu_option(&request)?;
        let pool = PoolLimits::read(&request.options)?;
        let ports = self.port_choice(PortOptions::read(&request.options)?).await?;
        if chosen.network.is_none() {
            let default = self.default_network().await?;
            chosen.network = default.map(|id| Reference { option: "[binding] link_iface", id: Some(id), name: None });
        }
        let (mut ranges, mut claim) = self.ranges_of(&request, &chosen)?;
        let existing = self.existing_network(&chosen, &mut ranges).await?;
        self.take_named_pools(&chosen, &mut ranges).await?;
        if let Some(port) = ports.port {
            self.check_port(port, existing.as_ref()).await?;
        }
        let joined = existing.is_some();
        if !joined {
            settle_sources(&mut ranges);
        }
        let found = match existing {
            Some(found) => found,
            None => {
                let name = self.network_name(&request.network).await?;
                let body = network_body(&name, &chosen, mtu);
                self.make_network(name, &body, &mut claim).await?
            }
        };
        let mut network = Network {
            id: request.network.clone(),
            neutron: found.id,
            owned: !joined || kuryr_made_network(&found),
            joined,
            // On a network that is there an MTU of one's own can only be a smaller one.
            mtu: found.mtu.into_iter().chain(mtu).min().unwrap_or(DEFAULT_MTU),
            internal: request.internal,
            router: None,
            subnets: Vec::new(),
            ports,
            pool,
        };
        if joined {
            let subnets = ranges.iter().filter(|range| range.subnet.is_none());
            let subnets = subnets.map(|range| Made::Subnet { network: network.neutron, name: subnet_name(range) });
            let sought = [Made::Use(Box::new(network.clone()))].into_iter().chain(subnets).collect();
            self.promise_to_seek(sought, &mut claim).await?;
        }
        let mut made = Vec::new();
        let outcome = self.furnish(&mut network, ranges, &mut made, &claim.seeks).await;
        if outcome.is_err() {
            self.abandon(network, &made, &claim.seeks).await;
        }
        outcome
    }

    async fn network_name(&self, network: &DockerId) -> Result<String, Error> {
        let tagged = self.tagging().await?.networks;
        Ok(if tagged { naming::network_name(network) } else { naming::untagged_network_name(network) })
    }

    /// Puts into the journal that these have to be looked for. It is taken back when the network stands there itself, so that no crash in between
    /// leaves them behind for ever.
    async fn promise_to_seek(&self, sought: Vec<Made>, claim: &mut Claim<'_>) -> Result<(), Error> {
        let tasks: Vec<_> = sought.into_iter().map(|made| self.task(Work::Seek { made, since: now() })).collect();
        claim.seeks.extend(tasks.iter().map(|task| task.id));
        self.state().under_way.extend(&claim.seeks);
        Ok(self.commit(tasks.into_iter().map(Entry::Task).collect()).await?)
    }

    async fn make_network(&self, name: String, body: &Value, claim: &mut Claim<'_>) -> Result<openstack::Network, Error> {
        self.promise_to_seek(vec![Made::Network(name)], claim).await?;
        let outcome = self.neutron.create(body).await;
        if outcome.as_ref().is_err_and(|error| !error.leaves_open()) {
            self.commit_at_any_rate(claim.seeks.iter().copied().map(Entry::NoTask).collect()).await;
            // Removals of subnet pools wait for it.
            self.backlog.notify_waiters();
        }
        Ok(outcome?)
    }

    /// Takes back a network that could not be completed, since the engine does not delete it.
    async fn abandon(&self, network: Network, made: &[Uuid], seeks: &[u64]) {
        let mut undo: Vec<Entry> = seeks.iter().copied().map(Entry::NoTask).collect();
        if network.joined {
            undo.extend(made.iter().map(|subnet| self.promise(Work::RetireSubnet(*subnet))));
        }
        undo.push(self.promise(Work::RetireNetwork { network: Box::new(network), pools: Vec::new() }));
        self.commit_at_any_rate(undo).await;
    }

    /// NetworkDriver.DeleteNetwork; an unknown network is deleted already, or by now if Neutron still has it. Ports that the engine never gave
    /// back go with it.
    pub async fn delete_network(&self, network: &DockerId) -> Result<(), Error> {
        if !self.delete_known_network(network).await {
            self.commit_at_any_rate(vec![self.promise(Work::LateNetwork(network.clone()))]).await;
        }
        Ok(())
    }

    /// Deletes a network if this host knows it.
    pub(super) async fn delete_known_network(&self, network: &DockerId) -> bool {
        let _turn = self.turns.take(format!("network {network}")).await;
        // Each of its pools is either released by now, or its release sees that the network is gone.
        let pools: BTreeSet<Uuid> = {
            let state = self.state();
            state.pools.values().filter(|pool| pool.network.as_ref() == Some(network)).map(|pool| pool.id).collect()
        };
        let _releases = self.turns.take_all("pool", pools).await;
        // Whatever else writes a port down comes before, or finds none.
        let ports = self.state().every_port().filter(|port| port.network == *network).map(|port| port.id).collect();
        let _ports = self.turns.take_all("port", ports).await;
        let entries = {
            let mut state = self.state();
            let Some(network) = state.networks.get(network).cloned() else { return false };
            state.tagged.remove(&network.neutron);
            self.port_pool.forget(&network.id);
            let left = state.every_port().filter(|port| port.network == network.id).cloned();
            let mut entries: Vec<Entry> = left.flat_map(|port| self.retire(&state, port)).collect();
            let mut pools = Vec::new();
            for pool in state.pools.values().filter(|pool| pool.network.as_ref() == Some(&network.id)) {
                if state.is_given_back(pool) {
                    entries.push(Entry::NoPool(pool.id));
                    pools.extend(pool.owned.then_some(pool.subnetpool));
                    pools.extend(pool.namesake);
                } else {
                    entries.push(Entry::Pool(Pool { network: None, ..pool.clone() }));
                }
            }
            entries.extend(state.call_off_tags(&network));
            entries.push(Entry::NoNetwork(network.id.clone()));
            entries.push(self.promise(Work::RetireNetwork { network: Box::new(network), pools }));
            entries
        };
        self.commit_at_any_rate(entries).await;
        true
    }

    /// The network of Neutron that the options name, themselves or by a subnet, and in `ranges` those of its subnets that are meant.
    async fn existing_network(&self, chosen: &Chosen, ranges: &mut [Range]) -> Result<Option<openstack::Network>, Error> {
        let mut found = match &chosen.network {
            Some(named) => Some(self.find_network(named).await?),
            None => None,
        };
        for v6 in [false, true] {
            let named = match chosen.subnet(v6) {
                Some(named) => self.find_subnet(named, found.as_ref().map(|network| network.id), v6).await?,
                None => {
                    let granted = ranges.iter().find(|range| range.pool.cidr.addr().is_ipv6() == v6).and_then(|range| range.pool.subnet);
                    match granted {
                        Some(id) => self.neutron.show(id).await?,
                        None => continue,
                    }
                }
            };
            let network = match found.take() {
                Some(network) => network,
                None => self.neutron.show(named.network_id).await?,
            };
            let (id, cidr) = (named.id, named.cidr);
            if network.id != named.network_id {
                return Err(Error::Invalid(format!("subnet {id} is not on network {}, which the options name as well", network.id)));
            }
            found = Some(network);
            let range = ranges.iter_mut().find(|range| range.pool.cidr == cidr).ok_or_else(|| {
                Error::Invalid(format!("subnet {id} is {cidr}, which is not among the network's ranges; create it with --subnet {cidr}"))
            })?;
            range.subnet = Some(named);
        }
        let Some(network) = found else { return Ok(None) };
        if let Some(shared) = chosen.shared.filter(|shared| *shared != network.shared) {
            return Err(Error::Invalid(format!(
                "network {} has shared = {}, but neutron.net.shared says {shared}; let them agree or leave the option out",
                network.id, network.shared
            )));
        }
        if ranges.iter().any(|range| range.subnet.is_none()) {
            let subnets = self.neutron.list::<openstack::Subnet>(&[("network_id", &network.id.to_string())]).await?;
            for range in ranges.iter_mut().filter(|range| range.subnet.is_none()) {
                range.subnet = subnets.iter().find(|subnet| subnet.cidr == range.pool.cidr).cloned();
                let v6 = range.pool.cidr.addr().is_ipv6();
                if let Some(other) = subnets.iter().find(|subnet| subnet.cidr.addr().is_ipv6() == v6) {
                    range.source = other.subnetpool_id;
                }
            }
        }
        ranges.iter().try_for_each(|range| range.check_granted().and_then(|()| check_gateway(range)))?;
        Ok(Some(network))
    }

    /// Subnets still to be made come out of the pool that the options name.
    async fn take_named_pools(&self, chosen: &Chosen, ranges: &mut [Range]) -> Result<(), Error> {
        for range in ranges.iter_mut().filter(|range| range.subnet.is_none()) {
            let Some(named) = chosen.pool(range.pool.cidr.addr().is_ipv6()) else { continue };
            let found = self.find_subnetpool(named).await?;
            if found.id != range.pool.subnetpool {
                self.exchange_subnetpool(&mut range.pool, found.id, false).await?;
                range.source = Some(found.id);
            }
        }
        Ok(())
    }

    /// Makes the missing subnets and the router of a network and writes it all down. What was made before a failure stands in `network` and
    /// `made`; `seeks` are the tasks to look for it, which end with success.
    async fn furnish(&self, network: &mut Network, mut ranges: Vec<Range>, made: &mut Vec<Uuid>, seeks: &[u64]) -> Result<(), Error> {
        if network.joined {
            // Before the reply: from then on other hosts must see that somebody uses it.
            self.tag_joined(network).await?;
        }
        let (subnets, router) = tokio::join!(self.make_subnets(network, &mut ranges, made), self.make_router(network));
        // Whatever was made has to be known when the rest of it failed.
        network.router = router.as_ref().ok().copied().flatten();
        subnets?;
        router?;
        for range in &ranges {
            let Some(subnet) = &range.subnet else { continue };
            network.subnets.push(Subnet {
                id: subnet.id,
                owned: made.contains(&subnet.id) || kuryr_made_subnet(subnet),
                subnetpool: range.pool.subnetpool,
                pool: range.pool.id,
                cidr: subnet.cidr,
                gateway: subnet.gateway_ip,
                guessed: range.data.gateway.filter(|_| range.pool.guessed),
                routes: subnet.host_routes.iter().map(|route| (route.destination, route.nexthop)).collect(),
                reserved: reserved(range),
            });
        }
        if let Some(router) = network.router {
            for subnet in network.subnets.iter().filter(|subnet| subnet.gateway.is_some()) {
                self.neutron.add_router_interface(router, subnet.id).await?;
            }
        }
        let turns = self.turns.take_all("pool", ranges.iter().map(|range| range.pool.id).collect()).await;
        let mut entries = vec![Entry::Network(network.clone()), self.promise(Work::TagNetwork(Box::new(network.clone())))];
        entries.extend(seeks.iter().copied().map(Entry::NoTask));
        for Range { pool, .. } in ranges {
            let known = self.state().pools.get(&pool.id).cloned();
            if let Some(other) = known.as_ref().and_then(|pool| pool.network.as_ref()).filter(|other| **other != network.id) {
                return Err(Error::Taken(format!("network {other} took {} first; run the command again", pool.cidr)));
            }
            // The engine gives the pools back when it has waited for us too long; they go with the network then.
            let released = known.as_ref().is_none_or(|pool| pool.released);
            let repeated = known.map_or(0, |pool| pool.repeated);
            entries.push(Entry::Pool(Pool { network: Some(network.id.clone()), released, repeated, ..pool }));
        }
        // The backlog has the promise from here on, and leaves a new network's tags to us for the moment.
        let busy = if network.joined { None } else { self.keep_busy(network.neutron) };
        self.commit(entries).await?;
        drop(turns);
        self.port_pool.look();
        self.tag_made(network).await;
        drop(busy);
        self.backlog.notify_waiters();
        Ok(())
    }

    /// Makes the subnets that are not there: several with one request, unless one of them needs a subnet pool of its own.
    async fn make_subnets(&self, network: &Network, ranges: &mut [Range], made: &mut Vec<Uuid>) -> Result<(), Error> {
        let mut missing: Vec<&mut Range> = ranges.iter_mut().filter(|range| range.subnet.is_none()).collect();
        if missing.len() > 1 {
            let bodies: Vec<Value> = missing.iter().map(|range| self.subnet_body(network, range)).collect();
            match self.neutron.create_all::<openstack::Subnet>(&bodies).await {
                Ok(subnets) => {
                    made.extend(subnets.iter().map(|subnet| subnet.id));
                    for range in &mut missing {
                        range.subnet = subnets.iter().find(|subnet| subnet.cidr == range.pool.cidr).cloned();
                    }
                }
                Err(error) if is_about_subnetpool(&error) => {}
                Err(error) => {
                    self.seek_subnets(network, &missing, &error).await;
                    return Err(error.into());
                }
            }
        }
        for range in missing.into_iter().filter(|range| range.subnet.is_none()) {
            made.push(self.make_subnet(network, range).await?);
        }
        Ok(())
    }

    /// Where the answer to a request for subnets was lost they may be there all the same. On a network that kuryr made they go with it.
    async fn seek_subnets(&self, network: &Network, ranges: &[&mut Range], error: &openstack::Error) {
        if network.joined && error.leaves_open() {
            let made = ranges.iter().map(|range| Made::Subnet { network: network.neutron, name: subnet_name(range) });
            self.commit_at_any_rate(made.map(|made| self.promise(Work::Seek { made, since: now() })).collect()).await;
        }
    }

    /// Makes one subnet and returns its id. Where another network of the same range has taken the place in kuryr's subnet pool, or its last
    /// user has just removed the pool, the subnet gets a pool of its own.
    async fn make_subnet(&self, network: &Network, range: &mut Range) -> Result<Uuid, Error> {
        let subnet: openstack::Subnet = match self.create_subnet(network, range).await {
            Err(error) if range.pool.owned && range.source == Some(range.pool.subnetpool) && is_about_subnetpool(&error) => {
                self.renew_subnetpool(&mut range.pool).await?;
                range.source = Some(range.pool.subnetpool);
                self.create_subnet(network, range).await?
            }
            other => other?,
        };
        let id = subnet.id;
        range.subnet = Some(subnet);
        Ok(id)
    }

    async fn create_subnet(&self, network: &Network, range: &mut Range) -> Result<openstack::Subnet, openstack::Error> {
        let outcome = self.neutron.create(&self.subnet_body(network, range)).await;
        if let Err(error) = &outcome {
            self.seek_subnets(network, &[range], error).await;
        }
        outcome
    }

    async fn renew_subnetpool(&self, pool: &mut Pool) -> Result<(), Error> {
        let (subnetpool, sought) = self.make_subnetpool(pool.cidr, false, None).await?;
        self.exchange_subnetpool(pool, subnetpool, true).await?;
        self.commit_at_any_rate(vec![sought]).await;
        Ok(())
    }

    /// Puts a pool that no network draws on upon another subnet pool; the engine goes on naming it as before.
    async fn exchange_subnetpool(&self, pool: &mut Pool, subnetpool: Uuid, owned: bool) -> Result<(), Error> {
        let _turn = self.turns.take(format!("pool {}", pool.id)).await;
        let mut entries = Vec::new();
        if pool.owned && !pool.found {
            entries.push(self.promise(Work::RetirePool(pool.subnetpool)));
        }
        let namesake = (pool.owned && pool.found && pool.subnetpool == pool.id).then_some(pool.id);
        let known = self.state().pools.get(&pool.id).cloned();
        let repeated = known.as_ref().map_or(0, |pool| pool.repeated);
        *pool = Pool { subnetpool, owned, found: !owned, namesake, repeated, ..pool.clone() };
        if known.is_some() {
            entries.push(Entry::Pool(pool.clone()));
        } else if owned {
            // Given back in the meantime, so that nobody else will remove the new one.
            entries.push(self.promise(Work::RetirePool(subnetpool)));
        }
        Ok(self.commit(entries).await?)
    }

    fn subnet_body(&self, network: &Network, range: &Range) -> Value {
        let Range { pool, data, source, .. } = range;
        let cidr = pool.cidr;
        let mut body = json!({
            "name": subnet_name(range),
            "network_id": network.neutron,
            "ip_version": if cidr.addr().is_ipv4() { 4 } else { 6 },
            "cidr": cidr,
            "enable_dhcp": self.settings.enable_dhcp,
        });
        if let Some(source) = source {
            body["subnetpool_id"] = json!(source);
        }
        if let Some(gateway) = data.gateway.or(pool.gateway) {
            body["gateway_ip"] = json!(gateway);
        }
        let reserved = reserved(range);
        if !reserved.is_empty() {
            let taken: BTreeSet<_> = reserved.into_iter().chain(data.gateway.or(pool.gateway)).collect();
            body["allocation_pools"] = allocation_pools(cidr, &taken);
        }
        body
    }

    /// A router of the network's own, so that it reaches the outside and no other network reaches it; none where that is not wanted.
    async fn make_router(&self, network: &Network) -> Result<Option<Uuid>, Error> {
        let Some(wanted) = self.settings.external_network.as_ref().filter(|_| !network.internal && !network.joined) else {
            return Ok(None);
        };
        let known = *self.external_network.lock().unwrap_or_else(PoisonError::into_inner);
        let external = match known {
            Some(id) => id,
            None => self.find_external_network(wanted).await?,
        };
        match self.make_router_to(external, network).await {
            // It was there when it was looked up; another may have its name by now.
            Err(error) if known.is_some() && error.is_not_found() => {
                let external = self.find_external_network(wanted).await?;
                Ok(Some(self.make_router_to(external, network).await?))
            }
            outcome => Ok(Some(outcome?)),
        }
    }

    async fn make_router_to(&self, external: Uuid, network: &Network) -> Result<Uuid, openstack::Error> {
        let name = naming::router_name(naming::name_start(&network.id));
        let body = json!({
            "name": name,
            "admin_state_up": true,
            "external_gateway_info": {"network_id": external},
        });
        let router = self.create_or_seek::<Router>(&body, || Made::Router(name.clone())).await?;
        Ok(router.id)
    }

    /// The external network of this id or name, which is kept for the networks to come.
    async fn find_external_network(&self, wanted: &str) -> Result<Uuid, Error> {
        let key = if Uuid::parse_str(wanted).is_ok() { "id" } else { "name" };
        let networks = self.neutron.list::<openstack::Network>(&[(key, wanted), ("router:external", "True")]).await?;
        let [network] = networks.as_slice() else {
            return Err(Error::Invalid(format!(
                "[kuryr] external_network is '{wanted}', and Neutron has {} external networks of that {key}; name one by its id",
                networks.len()
            )));
        };
        *self.external_network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network.id);
        Ok(network.id)
    }
}

/// Several ranges of one family on a new network have no subnet pool in common.
fn settle_sources(ranges: &mut [Range]) {
    for v6 in [false, true] {
        let same = |range: &&mut Range| range.pool.cidr.addr().is_ipv6() == v6;
        let sources: BTreeSet<_> = ranges.iter().filter(|range| range.pool.cidr.addr().is_ipv6() == v6).map(|range| range.source).collect();
        if sources.len() > 1 {
            ranges.iter_mut().filter(same).for_each(|range| range.source = None);
        }
    }
}

fn subnet_name(range: &Range) -> String {
    format!("{}{}", naming::SUBNET_PREFIX, range.data.pool_text)
}

/// The gateway of a subnet that was there before is a fact. One that kuryr guessed gives way to it: containers learn of theirs from Join.
fn check_gateway(range: &Range) -> Result<(), Error> {
    let Some(subnet) = &range.subnet else { return Ok(()) };
    match range.data.gateway {
        Some(wanted) if Some(wanted) != subnet.gateway_ip && !range.pool.guessed => {
            let remedy = match subnet.gateway_ip {
                Some(gateway) => format!("pass --gateway {gateway}"),
                None => format!("name it with --ipam-opt neutron.subnet.uuid={} and pass no --gateway", subnet.id),
            };
            Err(Error::Invalid(format!("{}; {remedy}", gateway_mismatch(Some(wanted), subnet.gateway_ip))))
        }
        _ => Ok(()),
    }
}

/// kuryr-libnetwork's words.
pub(super) fn gateway_mismatch(wanted: Option<IpAddr>, gateway: Option<IpAddr>) -> String {
    let text = |ip: Option<IpAddr>| ip.map_or_else(|| "None".to_owned(), |ip| ip.to_string());
    format!("Requested gateway {} does not match with gateway {} in existed network", text(wanted), text(gateway))
}

fn mtu_option(request: &NetworkRequest) -> Result<Option<u32>, Error> {
    let Some(text) = given(&request.options, MTU_OPTION) else { return Ok(None) };
    let mtu = text.parse().ok().filter(|mtu| MTUS.contains(mtu));
    mtu.map(Some).ok_or_else(|| Error::Invalid(format!("{MTU_OPTION} is '{text}'; write a number of bytes from 68 to 65535, such as 1400")))
}

fn network_body(name: &str, chosen: &Chosen, mtu: Option<u32>) -> Value {
    let mut body = json!({"name": name, "admin_state_up": true});
    if let Some(mtu) = mtu {
        body["mtu"] = json!(mtu);
    }
    if let Some(shared) = chosen.shared {
        body["shared"] = json!(shared);
    }
    body
}
