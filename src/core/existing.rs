//! Finds the objects of Neutron that options name, and tells what kuryr made from what an operator made.

use uuid::Uuid;

use super::{Core, Error, naming, options::Reference};
use crate::openstack::{self, Network, Resource, Subnet, SubnetPool};

impl Core {
    /// The network that an option names.
    pub(super) async fn find_network(&self, named: &Reference) -> Result<Network, Error> {
        self.find(named, &[], |network: &Network| network.name.as_str()).await
    }

    /// The subnet of a family that an option names, on `network` if that is known.
    pub(super) async fn find_subnet(&self, named: &Reference, network: Option<Uuid>, v6: bool) -> Result<Subnet, Error> {
        let network = network.map(|id| id.to_string());
        let query: Vec<_> = network.iter().map(|id| ("network_id", id.as_str())).collect();
        let subnet = self.find(named, &query, |subnet: &Subnet| subnet.name.as_str()).await?;
        if subnet.cidr.addr().is_ipv6() != v6 {
            let (option, family) = if v6 { ("neutron.subnet.uuid", 4) } else { ("neutron.subnet.v6.uuid", 6) };
            let Subnet { id, cidr, .. } = subnet;
            return Err(Error::Invalid(format!("subnet {id} ({cidr}) is an IPv{family} subnet; name it with {option}={id}")));
        }
        match network {
            Some(network) if subnet.network_id.to_string() != network => Err(Error::Invalid(format!(
                "{} {} is a subnet of network {}, not of network {network}, which the options name as well; leave one of them out",
                named.option,
                named.shown(),
                subnet.network_id
            ))),
            _ => Ok(subnet),
        }
    }

    /// The subnet pool that an option names.
    pub(super) async fn find_subnetpool(&self, named: &Reference) -> Result<SubnetPool, Error> {
        self.find(named, &[], |pool: &SubnetPool| pool.name.as_str()).await
    }

    /// The object that an option names.
    pub(super) async fn find<R: Resource>(&self, named: &Reference, query: &[(&str, &str)], name_of: fn(&R) -> &str) -> Result<R, Error> {
        let Some(id) = named.id else { return self.find_by_name(named, query).await };
        let found = match self.neutron.show::<R>(id).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Err(missing::<R>(named)),
            Err(error) => return Err(error.into()),
        };
        match &named.name {
            Some(name) if name_of(&found) != name => Err(Error::Invalid(format!(
                "the options name {} {id} and also one called '{name}', but that {} is called '{}'; leave one of the two options out",
                R::NOUN,
                R::NOUN,
                name_of(&found)
            ))),
            _ => Ok(found),
        }
    }

    async fn find_by_name<R: Resource>(&self, named: &Reference, query: &[(&str, &str)]) -> Result<R, Error> {
        let name = named.shown();
        let query: Vec<_> = [("name", name.as_str())].into_iter().chain(query.iter().copied()).collect();
        let mut found = self.neutron.list::<R>(&query).await?;
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) => Err(missing::<R>(named)),
            (_, others) => Err(Error::Invalid(format!(
                "Neutron has {} {}s named '{name}'; name the one you mean by its id with {}",
                others + 1,
                R::NOUN,
                named.option.replace(".name", ".uuid")
            ))),
        }
    }
}

fn missing<R: Resource>(named: &Reference) -> Error {
    Error::Invalid(format!(
        "Specified {} id/name({}) does not exist. Check {} and that the project of kuryr's user may see it",
        R::NOUN,
        named.shown(),
        named.option
    ))
}

/// Whether a kuryr made the network, this one or one of another host: its name is formed like that, and a tag written for the Docker network
/// in that name says the same.
pub(super) fn kuryr_made_network(network: &Network) -> bool {
    let Some(start) = naming::network_name_start(&network.name) else { return false };
    let mark = naming::made_mark(start);
    network.tags.iter().any(|tag| *tag == mark || tag.strip_prefix(naming::LOWER_HALF).is_some_and(|id| id.starts_with(start)))
}

/// Whether a kuryr made the subnet: it is named after its range, and tagged with a subnet pool: its own, if it comes from one.
pub(super) fn kuryr_made_subnet(subnet: &Subnet) -> bool {
    let mut tags = subnet.tags.iter().filter_map(|tag| Uuid::parse_str(tag).ok());
    named_after_range(subnet) && tags.any(|tag| subnet.subnetpool_id.is_none_or(|pool| tag == pool))
}

/// Whether a subnet pool behind a subnet is marked as an operator's. kuryr-libnetwork marks so what it made itself once a second host names it, so
/// the mark says nothing of a pool that a kuryr would have made exactly so.
pub(super) fn is_an_operators(pool: &SubnetPool, subnet: &Subnet) -> bool {
    pool.tags.iter().any(|tag| tag == naming::EXISTING_POOL) && pool.prefixes != [subnet.cidr]
}

/// Whether the subnet has the name that a kuryr would have given it.
pub(super) fn named_after_range(subnet: &Subnet) -> bool {
    subnet.name.strip_prefix(naming::SUBNET_PREFIX).and_then(|range| range.parse().ok()) == Some(subnet.cidr)
}

/// Whether a refusal says that the subnet pool is used up at that place, or is gone.
pub(super) fn is_about_subnetpool(error: &openstack::Error) -> bool {
    matches!(error.kind(), "SubnetAllocationError" | "SubnetPoolNotFound")
}
