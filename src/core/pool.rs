//! IpamDriver.RequestPool and ReleasePool.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde_json::json;
use uuid::Uuid;

use super::{
    Core, Error, naming, now,
    options::Chosen,
    record::{Entry, Made, Pool, Work},
    request::{PoolGrant, PoolRequest},
};
use crate::openstack::{Subnet, SubnetPool};

impl Core {
    /// IpamDriver.RequestPool. A range asked for again before a network uses it is the same pool, since the engine repeats a call whose
    /// reply it lost; that it was granted again is counted, since it may as well be meant for another network. Equal ranges of several networks share a subnet pool as long as their subnets do not meet in it.
    pub async fn request_pool(&self, request: PoolRequest) -> Result<PoolGrant, Error> {
        let chosen = Chosen::read(&request.options, &[])?;
        let (length, wanted) = match request.sub_pool.or(request.pool) {
            Some(size) if size.addr().is_unspecified() && size.prefix_len() > 0 => (Some(size.prefix_len()), None),
            wanted => (None, wanted),
        };
        if let Some(cidr) = wanted {
            check_range(cidr, &request)?;
        }
        let subnet = self.chosen_subnet(&chosen, &request, wanted).await?;
        let cidr = wanted.or(subnet.as_ref().map(|subnet| subnet.cidr));
        let pool = match (cidr, chosen.pool(request.v6)) {
            (Some(cidr), Some(_)) => self.operators_pool(cidr, &chosen, &request, subnet).await?,
            (Some(cidr), None) => self.kuryrs_pool(cidr, request.manager, chosen.shared, subnet).await?,
            (None, Some(named)) => {
                let pool = self.find_subnetpool(named).await?;
                self.free_pool(pool, &request, length).await?
            }
            (None, None) => {
                let pool = self.default_subnetpool(request.v6).await?;
                self.free_pool(pool, &request, length).await?
            }
        };
        Ok(PoolGrant { id: pool.id, cidr: pool.cidr })
    }

    /// IpamDriver.ReleasePool; an unknown pool is released already, or by now if Neutron still has it. The engine releases the pool before it
    /// deletes the network, so a pool in use goes with its network.
    pub async fn release_pool(&self, pool: &str) -> Result<(), Error> {
        let Ok(id) = Uuid::parse_str(pool) else { return Ok(()) };
        if !self.release_known_pool(id).await {
            self.commit_at_any_rate(vec![self.promise(Work::LatePool(id))]).await;
        }
        Ok(())
    }

    /// Releases a pool if this host knows it.
    pub(super) async fn release_known_pool(&self, id: Uuid) -> bool {
        let _turn = self.turns.take(format!("pool {id}")).await;
        let Some(mut pool) = self.state().pools.get(&id).cloned() else { return false };
        let entries = if pool.repeated > 0 {
            pool.repeated -= 1;
            pool.returned = pool.network.is_some();
            vec![Entry::Pool(pool)]
        } else if pool.network.is_some() {
            pool.released = true;
            vec![Entry::Pool(pool)]
        } else {
            self.drop_pool(&pool)
        };
        self.commit_at_any_rate(entries).await;
        true
    }

    /// Grants a pool once more that no network draws on; none when one has come for it just now.
    async fn share(&self, pool: Option<Uuid>) -> Result<Option<Pool>, Error> {
        let Some(id) = pool else { return Ok(None) };
        let _turn = self.turns.take(format!("pool {id}")).await;
        let mut pool = {
            let state = self.state();
            let Some(pool) = state.pools.get(&id).filter(|pool| state.is_free(pool)).cloned() else { return Ok(None) };
            pool
        };
        pool.repeated += 1;
        pool.granted = now();
        self.commit(vec![Entry::Pool(pool.clone())]).await?;
        Ok(Some(pool))
    }

    /// The entries by which a pool without a network ends. A subnet pool that was there before stays: another host may be about to use it.
    pub(super) fn drop_pool(&self, pool: &Pool) -> Vec<Entry> {
        let mut entries = vec![Entry::NoPool(pool.id)];
        if pool.owned && !pool.found {
            entries.push(self.promise(Work::RetirePool(pool.subnetpool)));
        }
        entries
    }

    /// The subnet of Neutron that the options name by themselves or by their network, and that the pool is to be.
    async fn chosen_subnet(&self, chosen: &Chosen, request: &PoolRequest, wanted: Option<IpNet>) -> Result<Option<Subnet>, Error> {
        let network = match &chosen.network {
            Some(named) => Some(self.find_network(named).await?.id),
            None => None,
        };
        let subnet = match (chosen.subnet(request.v6), network) {
            (Some(named), network) => self.find_subnet(named, network, request.v6).await?,
            (None, Some(network)) => match self.subnet_in(network, request.v6, wanted).await? {
                Some(subnet) => subnet,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let id = subnet.id;
        match wanted {
            Some(cidr) if cidr != subnet.cidr => Err(Error::Invalid(format!(
                "subnet {id} is {}, but {cidr} is asked for; pass --subnet {} and no --ip-range, or leave the subnet's option out",
                subnet.cidr, subnet.cidr
            ))),
            _ => Ok(Some(subnet)),
        }
    }

    /// The subnet of a network with the wanted range; without one, the only subnet of the family.
    async fn subnet_in(&self, network: Uuid, v6: bool, wanted: Option<IpNet>) -> Result<Option<Subnet>, Error> {
        let mut subnets = self.neutron.list::<Subnet>(&[("network_id", &network.to_string())]).await?;
        subnets.retain(|subnet| wanted.map_or(subnet.cidr.addr().is_ipv6() == v6, |cidr| subnet.cidr == cidr));
        match (subnets.pop(), subnets.len()) {
            (Some(only), 0) => Ok(Some(only)),
            (None, _) if wanted.is_some() => Ok(None),
            (_, others) => Err(Error::Invalid(format!(
                "network {network} has {} IPv{} subnets; pass --subnet with the range of one",
                if others == 0 { 0 } else { others + 1 },
                if v6 { 6 } else { 4 }
            ))),
        }
    }

    /// The subnet pool named after the range, found or made. kuryr-libnetwork keeps those for a named subnet apart by a tag.
    async fn kuryrs_pool(&self, cidr: IpNet, manager: bool, shared: Option<bool>, subnet: Option<Subnet>) -> Result<Pool, Error> {
        let subnet_id = subnet.as_ref().map(|subnet| subnet.id);
        let tagged = self.tagging().await?.others;
        let _turn = self.turns.take(format!("pool {cidr}")).await;
        let known = self
            .state()
            .unbound_pools(cidr)
            .find(|pool| pool.owned && pool.manager == manager && pool.subnet == subnet_id)
            .map(|pool| pool.id);
        if let Some(pool) = self.share(known).await? {
            return Ok(pool);
        }
        let name = naming::subnetpool_name(&self.settings.subnetpool_name_prefix, cidr);
        let tag = subnet_id.filter(|_| tagged).map(|id| id.to_string());
        let query: Vec<_> = [("name", name.as_str())].into_iter().chain(tag.iter().map(|tag| ("tags", tag.as_str()))).collect();
        let found = self.neutron.list::<SubnetPool>(&query).await?;
        let usable = |pool: &&SubnetPool| {
            pool.prefixes.contains(&cidr)
                && pool.tags.iter().all(|other| Some(other) == tag.as_ref())
                && !self.state().retires_subnetpool(pool.id)
        };
        if let Some(found) = found.iter().find(usable) {
            return self.grant(Pool { found: true, manager, ..new_pool(found.id, true, cidr) }, subnet).await;
        }
        let (subnetpool, sought) = self.make_subnetpool(cidr, shared.unwrap_or(false), tag.as_deref()).await?;
        let granted = self.grant(Pool { manager, ..new_pool(subnetpool, true, cidr) }, subnet).await;
        self.commit_at_any_rate(vec![sought]).await;
        granted
    }

    /// Makes a subnet pool of exactly this range. Before that goes the word, in the journal, that it has to be looked for, so that no crash
    /// leaves it behind for ever; the entry takes that back, once the journal has the subnet pool itself.
    pub(super) async fn make_subnetpool(&self, cidr: IpNet, shared: bool, tag: Option<&str>) -> Result<(Uuid, Entry), Error> {
        let name = naming::subnetpool_name(&self.settings.subnetpool_name_prefix, cidr);
        let body = json!({"name": name, "prefixes": [cidr], "default_prefixlen": cidr.prefix_len(), "shared": shared});
        let seek = self.task(Work::Seek { made: Made::SubnetPool(name), since: now() });
        let sought = Entry::NoTask(seek.id);
        self.commit(vec![Entry::Task(seek)]).await?;
        let id = match self.neutron.create::<SubnetPool>(&body).await {
            Ok(made) => made.id,
            Err(error) => {
                if !error.leaves_open() {
                    self.commit_at_any_rate(vec![sought]).await;
                }
                return Err(error.into());
            }
        };
        if let Some(tag) = tag
            && let Err(error) = self.neutron.add_tag::<SubnetPool>(id, tag).await
        {
            self.commit_at_any_rate(vec![self.promise(Work::RetirePool(id)), sought]).await;
            return Err(error.into());
        }
        Ok((id, sought))
    }

    /// A range of a subnet pool that the options name.
    async fn operators_pool(&self, cidr: IpNet, chosen: &Chosen, request: &PoolRequest, subnet: Option<Subnet>) -> Result<Pool, Error> {
        let Some(named) = chosen.pool(request.v6) else { return self.kuryrs_pool(cidr, request.manager, chosen.shared, subnet).await };
        let found = self.find_subnetpool(named).await?;
        let what = format!("subnet pool {} ({})", found.id, found.name);
        if !found.prefixes.iter().any(|prefix| prefix.contains(&cidr)) {
            let prefixes: Vec<String> = found.prefixes.iter().map(IpNet::to_string).collect();
            return Err(Error::Invalid(format!(
                "{cidr} is in no prefix of {what}, which has {}; choose a range within or another pool",
                prefixes.join(", ")
            )));
        }
        if let Some(shared) = chosen.shared.filter(|shared| *shared != found.shared) {
            return Err(Error::Invalid(format!(
                "{what} has shared = {}, but neutron.net.shared says {shared}; let them agree",
                found.shared
            )));
        }
        let subnet_id = subnet.as_ref().map(|subnet| subnet.id);
        let _turn = self.turns.take(format!("pool {cidr}")).await;
        let same = |pool: &&Pool| pool.subnetpool == found.id && pool.manager == request.manager && pool.subnet == subnet_id;
        let known = self.state().unbound_pools(cidr).find(same).map(|pool| pool.id);
        if let Some(pool) = self.share(known).await? {
            return Ok(pool);
        }
        self.grant(Pool { manager: request.manager, ..new_pool(found.id, false, cidr) }, subnet).await
    }

    async fn default_subnetpool(&self, v6: bool) -> Result<SubnetPool, Error> {
        let (name, option) = if v6 {
            (&self.settings.default_subnetpool_v6, "default_subnetpool_v6")
        } else {
            (&self.settings.default_subnetpool_v4, "default_subnetpool_v4")
        };
        let mut found = self.neutron.list::<SubnetPool>(&[("name", name)]).await?;
        match (found.pop(), found.len()) {
            (Some(pool), 0) => Ok(pool),
            (None, _) => Err(Error::Invalid(format!(
                "no subnet given, and Neutron has no subnet pool named '{name}' to take one from; pass --subnet, or make the pool or name \
                 another in [neutron] {option}"
            ))),
            (_, others) => Err(Error::Invalid(format!("Neutron has {} subnet pools named '{name}'; rename all but one", others + 1))),
        }
    }

    /// A free prefix of a subnet pool, as long as asked for or else as the pool has it. Neutron gives prefixes out only with a subnet, and that has to wait until the engine names the
    /// network; so kuryr chooses one, and Neutron refuses the subnet if another host was faster.
    async fn free_pool(&self, shared: SubnetPool, request: &PoolRequest, length: Option<u8>) -> Result<Pool, Error> {
        let length = length.unwrap_or(shared.default_prefixlen);
        let id = shared.id.to_string();
        let _turn = self.turns.take(format!("subnet pool {id}")).await;
        let subnets = self.neutron.list::<Subnet>(&[("subnetpool_id", &id)]).await?;
        let held: Vec<IpNet> = self.state().pools.values().map(|pool| pool.cidr).collect();
        let taken: Vec<IpNet> = subnets.iter().map(|subnet| subnet.cidr).chain(held).chain(request.exclude.iter().copied()).collect();
        let cidr = free_prefix(&shared.prefixes, length, &taken).ok_or_else(|| {
            Error::Taken(format!(
                "subnet pool '{}' has no free /{length} left; pass --subnet, remove unused networks or add a prefix to the pool",
                shared.name
            ))
        })?;
        // Its subnet pool has ranges of other networks as well, so its id cannot name this one.
        self.grant(Pool { id: Uuid::new_v4(), manager: request.manager, ..new_pool(shared.id, false, cidr) }, None).await
    }

    /// Writes the pool down. `subnet` is the one it is to be.
    async fn grant(&self, mut pool: Pool, subnet: Option<Subnet>) -> Result<Pool, Error> {
        let _turn = self.turns.take("pool ids".into()).await;
        if self.state().pools.contains_key(&pool.id) {
            // kuryr-libnetwork's PoolID is the subnet pool's id; where several pools of this host draw on one, that would name none of them.
            pool.id = Uuid::new_v4();
        }
        if let Some(subnet) = subnet {
            pool.subnet = Some(subnet.id);
            pool.gateway = subnet.gateway_ip;
        }
        let mut entries = vec![Entry::Pool(pool.clone())];
        if !pool.owned {
            entries.push(self.promise(Work::MarkPool(pool.subnetpool)));
        }
        if let Err(error) = self.commit(entries).await {
            if pool.owned && !pool.found {
                self.commit_at_any_rate(vec![self.promise(Work::RetirePool(pool.subnetpool))]).await;
            }
            return Err(error.into());
        }
        Ok(pool)
    }
}

fn new_pool(subnetpool: Uuid, owned: bool, cidr: IpNet) -> Pool {
    Pool {
        id: subnetpool,
        subnetpool,
        owned,
        found: false,
        namesake: None,
        subnet: None,
        manager: false,
        cidr,
        gateway: None,
        guessed: false,
        reserved: BTreeSet::new(),
        network: None,
        released: false,
        granted: now(),
        repeated: 0,
        returned: false,
    }
}

fn check_range(cidr: IpNet, request: &PoolRequest) -> Result<(), Error> {
    if cidr.trunc() != cidr {
        return Err(Error::Invalid(format!("{cidr} has host bits set; write {} instead", cidr.trunc())));
    }
    if matches!(cidr, IpNet::V6(_)) != request.v6 {
        let family = if request.v6 { 6 } else { 4 };
        return Err(Error::Invalid(format!("{cidr} is no IPv{family} range, which the engine asks for here")));
    }
    match request.pool {
        Some(pool) if !pool.contains(&cidr) => {
            Err(Error::Invalid(format!("--ip-range {cidr} is not within --subnet {pool}; choose a range inside of the subnet")))
        }
        _ => Ok(()),
    }
}

/// The first prefix of length `length` out of `prefixes` that overlaps none of `taken`.
fn free_prefix(prefixes: &[IpNet], length: u8, taken: &[IpNet]) -> Option<IpNet> {
    prefixes.iter().filter(|prefix| prefix.prefix_len() <= length).find_map(|prefix| {
        let mut start = prefix.network();
        while prefix.contains(&start) {
            let candidate = IpNet::new(start, length).ok()?;
            match taken.iter().find(|used| used.contains(&candidate) || candidate.contains(*used)) {
                None => return Some(candidate),
                // Past the larger of the two at once: a range may hold more small prefixes than can be tried.
                Some(used) => start = next(used.broadcast().max(candidate.broadcast()))?,
            }
        }
        None
    })
}

/// The address after `ip`, of its family.
fn next(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|ip| IpAddr::V4(ip.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|ip| IpAddr::V6(ip.into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_overlaps_nothing_that_is_taken() {
        let pool = [net("10.10.0.0/22")];
        assert_eq!(free_prefix(&pool, 24, &[]), Some(net("10.10.0.0/24")));
        assert_eq!(free_prefix(&pool, 24, &[net("10.10.0.0/24")]), Some(net("10.10.1.0/24")));
        assert_eq!(free_prefix(&pool, 24, &[net("10.10.0.0/23")]), Some(net("10.10.2.0/24")));
        assert_eq!(free_prefix(&pool, 24, &[net("10.10.0.128/25")]), Some(net("10.10.1.0/24")));
        assert_eq!(free_prefix(&pool, 24, &[net("10.0.0.0/8")]), None);
        assert_eq!(free_prefix(&[net("fd00::/62")], 64, &[net("fd00::/64")]), Some(net("fd00:0:0:1::/64")));
        assert_eq!(free_prefix(&pool, 16, &[]), None);
        // 2^56 prefixes are taken at once.
        assert_eq!(free_prefix(&[net("fd00::/63")], 120, &[net("fd00::/64")]), Some(net("fd00:0:0:1::/120")));
        assert_eq!(free_prefix(&[net("255.255.255.0/24")], 25, &[net("255.255.255.0/25"), net("255.255.255.192/26")]), None);
    }

    proptest! {
        /// Against trying every prefix of the length in turn.
        #[test]
        fn a_free_prefix_is_that_of_an_honest_search(length in 18u8..28, taken in prop::collection::vec((0u32..4096, 20u8..29), 0..12)) {
            let range = net("10.0.0.0/20");
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(host, length)| IpNet::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host).into(), length).unwrap().trunc())
                .collect();
            let apart = |one: &IpNet, other: &IpNet| !one.contains(other) && !other.contains(one);
            let honest = range.subnets(length).ok().and_then(|mut all| all.find(|net| taken.iter().all(|other| apart(net, other))));
            prop_assert_eq!(free_prefix(&[range], length, &taken), honest);
        }

        #[test]
        fn prefixes_run_out_only_when_all_are_taken(count in 0usize..80) {
            let pool = [net("10.0.0.0/26")];
            let mut taken = Vec::new();
            for _ in 0..count {
                match free_prefix(&pool, 31, &taken) {
                    Some(prefix) => {
                        prop_assert!(pool[0].contains(&prefix) && !taken.contains(&prefix));
                        taken.push(prefix);
                    }
                    None => prop_assert_eq!(taken.len(), 32),
                }
            }
        }
    }

    #[test]
    fn ranges_that_make_no_subnet_are_refused() {
        let request = |pool: &str, v6| PoolRequest {
            pool: Some(net(pool)),
            sub_pool: None,
            v6,
            manager: false,
            exclude: vec![],
            options: Default::default(),
        };
        assert!(check_range(net("10.0.0.0/24"), &request("10.0.0.0/16", false)).is_ok());
        for (range, pool, v6, word) in [
            ("10.0.0.1/24", "10.0.0.0/16", false, "10.0.0.0/24"),
            ("10.1.0.0/24", "10.0.0.0/16", false, "--ip-range"),
            ("10.0.0.0/24", "10.0.0.0/16", true, "IPv6"),
            ("fd00::/64", "fd00::/48", false, "IPv4"),
        ] {
            let error = check_range(net(range), &request(pool, v6)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
