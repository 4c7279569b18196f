//! IpamDriver.RequestPool and ReleasePool.

use std::collections::{BTreeSet, HashSet};

use ipnet::IpNet;
use serde_json::json;
use uuid::Uuid;

use super::{
    Core, Error, naming, now,
    record::{Entry, Pool, Work},
    request::{PoolGrant, PoolRequest},
};
use crate::openstack::{Subnet, SubnetPool};

impl Core {
    /// IpamDriver.RequestPool. A range asked for again before a network uses it is the same pool, since the engine repeats a call whose
    /// reply it lost; a range that a network of this host has already becomes a second pool, so that equal ranges never meet.
    pub async fn request_pool(&self, request: PoolRequest) -> Result<PoolGrant, Error> {
        let _turn = self.turns.take("pools".into()).await;
        let pool = match request.sub_pool.or(request.pool) {
            Some(cidr) => self.named_pool(cidr, &request).await?,
            None => self.default_pool(&request).await?,
        };
        Ok(PoolGrant { id: pool.id, cidr: pool.cidr })
    }

    /// IpamDriver.ReleasePool; an unknown pool is released already. The engine releases the pool before it deletes the network, so a
    /// pool in use goes with its network.
    pub async fn release_pool(&self, pool: &str) -> Result<(), Error> {
        let Some(mut pool) = Uuid::parse_str(pool).ok().and_then(|id| self.state().pools.get(&id).cloned()) else { return Ok(()) };
        let entries = if pool.network.is_some() {
            pool.released = true;
            vec![Entry::Pool(pool)]
        } else {
            self.drop_pool(&pool)
        };
        Ok(self.commit(entries).await?)
    }

    /// The entries by which a pool without a network ends.
    pub(super) fn drop_pool(&self, pool: &Pool) -> Vec<Entry> {
        let mut entries = vec![Entry::NoPool(pool.id)];
        if pool.owned {
            entries.push(self.promise(Work::RetirePool(pool.subnetpool)));
        }
        entries
    }

    async fn named_pool(&self, cidr: IpNet, request: &PoolRequest) -> Result<Pool, Error> {
        check_range(cidr, request)?;
        if let Some(pool) = self.state().unbound_pool(cidr) {
            return Ok(pool.clone());
        }
        let name = naming::subnetpool_name(&self.settings.subnetpool_name_prefix, cidr);
        let found = self.neutron.list::<SubnetPool>(&[("name", &name)]).await?;
        let free = found.into_iter().find(|pool| pool.prefixes.contains(&cidr) && !self.state().holds_subnetpool(pool.id));
        let made = free.is_none();
        let subnetpool = match free {
            Some(pool) => pool.id,
            None => {
                let body = json!({"name": name, "prefixes": [cidr], "default_prefixlen": cidr.prefix_len(), "shared": false});
                self.neutron.create::<SubnetPool>(&body).await?.id
            }
        };
        // A pool of this name that another host made is shared with it; Neutron keeps it as long as any subnet is in it.
        let pool = new_pool(subnetpool, subnetpool, true, cidr);
        if let Err(error) = self.commit(vec![Entry::Pool(pool.clone())]).await {
            if made {
                self.undo(self.neutron.delete::<SubnetPool>(subnetpool).await, &format!("subnet pool {subnetpool}"));
            }
            return Err(error.into());
        }
        Ok(pool)
    }

    /// A free prefix of the default subnet pool. Neutron gives prefixes out only with a subnet, and that has to wait until the engine
    /// names the network; so kuryr chooses one, and Neutron refuses the subnet if another host was faster.
    async fn default_pool(&self, request: &PoolRequest) -> Result<Pool, Error> {
        let (name, option) = if request.v6 {
            (&self.settings.default_subnetpool_v6, "default_subnetpool_v6")
        } else {
            (&self.settings.default_subnetpool_v4, "default_subnetpool_v4")
        };
        let found = self.neutron.list::<SubnetPool>(&[("name", name)]).await?;
        let shared = match found.as_slice() {
            [pool] => pool,
            [] => {
                return Err(Error::Invalid(format!(
                    "no subnet given, and Neutron has no subnet pool named '{name}' to take one from; pass --subnet, or make the pool or name \
                     another in [neutron] {option}"
                )));
            }
            _ => return Err(Error::Invalid(format!("Neutron has {} subnet pools named '{name}'; rename all but one", found.len()))),
        };
        let id = shared.id.to_string();
        let subnets = self.neutron.list::<Subnet>(&[("subnetpool_id", &id)]).await?;
        let held: Vec<IpNet> = self.state().pools.values().map(|pool| pool.cidr).collect();
        let taken: Vec<IpNet> = subnets.iter().map(|subnet| subnet.cidr).chain(held).chain(request.exclude.iter().copied()).collect();
        let cidr = free_prefix(&shared.prefixes, shared.default_prefixlen, &taken).ok_or_else(|| {
            Error::Taken(format!(
                "subnet pool '{name}' has no free /{} left; pass --subnet, remove unused networks or add a prefix to the pool",
                shared.default_prefixlen
            ))
        })?;
        let pool = new_pool(Uuid::new_v4(), shared.id, false, cidr);
        self.commit(vec![Entry::Pool(pool.clone())]).await?;
        Ok(pool)
    }
}

fn new_pool(id: Uuid, subnetpool: Uuid, owned: bool, cidr: IpNet) -> Pool {
    Pool { id, subnetpool, owned, cidr, gateway: None, reserved: BTreeSet::new(), network: None, released: false, granted: now() }
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
    let exact: HashSet<IpNet> = taken.iter().copied().collect();
    prefixes
        .iter()
        .filter_map(|prefix| prefix.subnets(length).ok())
        .flatten()
        .filter(|candidate| !exact.contains(candidate))
        .find(|candidate| !taken.iter().any(|used| used.contains(candidate) || candidate.contains(used)))
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
    }

    proptest! {
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
        let request =
            |pool: &str, v6| PoolRequest { pool: Some(net(pool)), sub_pool: None, v6, exclude: vec![], options: Default::default() };
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
