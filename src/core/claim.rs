//! Which granted pools a CreateNetwork is about. The engine names them by their ranges alone, so that two networks of one range that are made at
//! the same moment must be kept from taking each other's.

use uuid::Uuid;

use super::{
    Core, Error, now,
    options::Chosen,
    record::{Network, Pool, Subnet},
    request::{IpamData, NetworkRequest},
};
use crate::openstack;

/// How far apart, in seconds, the grants of two networks made at once may be: an engine names the network right after its pools.
const AT_ONCE: i64 = 60;

/// What a CreateNetwork under way has for itself, until it is dropped.
pub(super) struct Claim<'a> {
    core: &'a Core,
    pools: Vec<Uuid>,
    /// The tasks to look for what it makes in Neutron before it stands in the journal.
    pub seeks: Vec<u64>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.core.state();
        for pool in &self.pools {
            state.claimed.remove(pool);
        }
        for task in &self.seeks {
            state.under_way.remove(task);
        }
    }
}

/// A range of the network to be, and the subnet it becomes: one of Neutron's, or none yet.
pub(super) struct Range {
    pub pool: Pool,
    pub data: IpamData,
    pub subnet: Option<openstack::Subnet>,
    /// The subnet pool that a subnet still to be made comes from, if any: Neutron wants the same for all subnets of a family on a network.
    pub source: Option<Uuid>,
}

impl Range {
    /// A pool that was granted for a subnet, by the options of the address management, is no other subnet's.
    pub fn check_granted(&self) -> Result<(), Error> {
        let (Some(granted), Some(subnet)) = (self.pool.subnet, &self.subnet) else { return Ok(()) };
        if granted == subnet.id {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "the options of the network (-o) mean subnet {}, but those of its address management (--ipam-opt) named subnet {granted} for {}; \
             name the same in both, or leave one of them out",
            subnet.id, self.pool.cidr
        )))
    }
}

impl Core {
    /// The granted pools that the engine names only by their ranges. Where a range could be another network's that is made at the same moment,
    /// none is taken: the addresses of the one would become the other's.
    pub(super) fn ranges_of(&self, request: &NetworkRequest, chosen: &Chosen) -> Result<(Vec<Range>, Claim<'_>), Error> {
        let mut state = self.state();
        let mut ranges: Vec<Range> = Vec::new();
        for data in request.v4.iter().chain(&request.v6) {
            let Some(cidr) = data.pool else { continue };
            let v6 = cidr.addr().is_ipv6();
            let named = chosen.subnet(v6).and_then(|named| named.id);
            let named_pool = chosen.pool(v6).and_then(|named| named.id);
            // Pools of one range differ in the subnet and the subnet pool that they were granted for; the right one names ours, or none.
            let manager = request.network.is_of_manager();
            let rank = |pool: &Pool| {
                (
                    pool.manager == manager,
                    pool.subnet.is_some() && pool.subnet == named,
                    pool.subnet.is_none(),
                    named_pool == Some(pool.subnetpool),
                )
            };
            let pool = state.unbound_pools(cidr).max_by_key(|pool| (rank(pool), pool.granted));
            let rival = |pool: &Pool, other: &Pool| {
                pool.id != other.id && rank(pool) == rank(other) && (pool.granted - other.granted).abs() <= AT_ONCE
            };
            if state.is_contested(cidr, now()) || pool.is_some_and(|pool| state.unbound_pools(cidr).any(|other| rival(pool, other))) {
                return Err(Error::Taken(format!(
                    "another network with {cidr} is being made on this host, and its addresses would mix with this one's; run the command \
                     again when that one is done"
                )));
            }
            let pool = pool.cloned().ok_or_else(|| {
                Error::Invalid(format!(
                    "{cidr} was not granted by kuryr's address management; create the network with --ipam-driver kuryr beside --driver kuryr"
                ))
            })?;
            ranges.push(Range { source: Some(pool.subnetpool), pool, data: data.clone(), subnet: None });
        }
        if ranges.is_empty() {
            return Err(Error::Invalid(
                "the network has no addresses; create it with --ipam-driver kuryr and without --ipv4=false alone".into(),
            ));
        }
        let pools: Vec<Uuid> = ranges.iter().map(|range| range.pool.id).collect();
        state.claimed.extend(&pools);
        Ok((ranges, Claim { core: self, pools, seeks: Vec::new() }))
    }
}

/// The answer to a call that the engine repeats must be the one it lost. What the engine may tell differently after an upgrade, its options, is
/// left out.
pub(super) fn check_repeated(network: &Network, request: &NetworkRequest) -> Result<(), Error> {
    let asked: Vec<&IpamData> = request.v4.iter().chain(&request.v6).filter(|data| data.pool.is_some()).collect();
    let same = |data: &IpamData, subnet: &Subnet| {
        data.pool == Some(subnet.cidr) && data.gateway.is_none_or(|ip| [subnet.gateway, subnet.guessed].contains(&Some(ip)))
    };
    let known = |data: &IpamData| network.subnets.iter().any(|subnet| same(data, subnet));
    let meant = |subnet: &Subnet| asked.iter().any(|data| same(data, subnet));
    // One taken up from Neutron has all subnets of its Neutron network.
    let whole = network.subnets.iter().filter(|subnet| subnet.pool != subnet.id).all(meant);
    if network.internal == request.internal && asked.iter().all(|data| known(data)) && whole {
        return Ok(());
    }
    let there: Vec<String> = network.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect();
    Err(Error::Taken(format!(
        "network {} is there already with {} and internal = {}, other than is asked for now; delete it first",
        network.id,
        there.join(", "),
        network.internal
    )))
}
