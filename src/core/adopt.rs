//! Takes up again what this host had in Neutron when its journal was lost: piece by piece, as the engine names things by its own ids, which
//! stand in Neutron as tags. Only what several facts say to be this host's is taken up: tags and owner, and for ports the host as well.

use std::{collections::BTreeSet, net::IpAddr};

use uuid::Uuid;

use super::{
    Core, Error,
    existing::{is_an_operators, kuryr_made_network, kuryr_made_subnet, named_after_range},
    existing_port, naming, now,
    port_options::PortChoice,
    record::{Address, AddressState, Entry, Network, Pool, Port, Subnet, Work},
    request::DockerId,
    state::State,
};
use crate::openstack::{self, Router, SubnetPool};

/// Bytes a frame may carry where Neutron does not say.
const DEFAULT_MTU: u32 = 1500;

impl Core {
    /// The engine's network, from memory or else from Neutron.
    pub(super) async fn known_network(&self, id: &DockerId) -> Result<Option<Network>, Error> {
        if let Some(network) = self.state().networks.get(id).cloned() {
            return Ok(Some(network));
        }
        let _turn = self.turns.take(format!("adoption of network {id}")).await;
        if let Some(network) = self.state().networks.get(id).cloned() {
            return Ok(Some(network));
        }
        if self.state().retires_network(|network| network.id == *id) {
            return Ok(None);
        }
        let tags = naming::id_tags(id).join(",");
        let name = naming::untagged_network_name(id);
        let key = if self.tagging().await?.networks { ("tags", tags.as_str()) } else { ("name", name.as_str()) };
        let mut found = self.neutron.list::<openstack::Network>(&[key]).await?;
        if found.is_empty() {
            found.extend(self.network_of_user_port(id).await?);
        }
        match (found.pop(), found.len()) {
            (None, _) => Ok(None),
            (Some(found), 0) => {
                let _turn = self.adoption_on(found.id).await;
                if let Some(network) = self.state().networks.get(id).cloned() {
                    return Ok(Some(network));
                }
                let nameless = {
                    let state = self.state();
                    let on_it = |network: &&Network| network.neutron == found.id && network.id.is_nameless();
                    state.networks.values().find(on_it).map(|network| network.id.clone())
                };
                match nameless {
                    Some(nameless) => self.name(&nameless, id, &found).await,
                    None => self.adopt(id, &found).await.map(Some),
                }
            }
            (Some(_), others) => Err(Error::Unknown(format!(
                "network {id} is not known on this host, and {} networks of Neutron have its {} {}; take them off all but one",
                others + 1,
                key.0,
                key.1
            ))),
        }
    }

    /// The pool of an engine's network, from memory or else by the subnet in Neutron that has its id for a tag.
    pub(super) async fn known_pool(&self, id: Uuid) -> Result<Option<Pool>, Error> {
        if let Some(pool) = self.state().pools.get(&id).cloned() {
            return Ok(Some(pool));
        }
        let _turn = self.turns.take(format!("adoption of pool {id}")).await;
        if let Some(pool) = self.state().pools.get(&id).cloned() {
            return Ok(Some(pool));
        }
        let Some(subnet) = self.subnet_of_pool(id).await? else { return Ok(None) };
        let _on_network = self.adoption_on(subnet.network_id).await;
        if self.state().retires_network(|network| network.subnets.iter().any(|known| known.id == subnet.id)) {
            return Ok(None);
        }
        let placed = self.state().networks.values().find(|network| waits_for_pool(network, subnet.id)).cloned();
        let network = match placed {
            Some(network) => network,
            None => {
                let found = self.neutron.show::<openstack::Network>(subnet.network_id).await?;
                // Several Docker networks may be on it, and nothing tells here which of them the pool is of; CreateEndpoint will.
                let docker = only_docker_id(&found.tags).filter(|docker| !self.state().networks.contains_key(docker));
                self.adopt(&docker.unwrap_or_else(|| DockerId::nameless(id)), &found).await?
            }
        };
        self.key_pool(&network.id, subnet.id, id).await
    }

    /// The port of an endpoint of a network, from memory or else by the endpoint's tags in Neutron.
    pub(super) async fn known_port(&self, network: &Network, endpoint: &DockerId) -> Result<Option<Port>, Error> {
        if let Some(port) = self.port_of_endpoint(endpoint) {
            return Ok(Some(port));
        }
        let _turn = self.turns.take(format!("adoption of endpoint {endpoint}")).await;
        if let Some(port) = self.port_of_endpoint(endpoint) {
            return Ok(Some(port));
        }
        let found = if self.tagging().await?.others {
            self.neutron.list::<openstack::Port>(&[("tags", &naming::id_tags(endpoint).join(","))]).await?
        } else {
            // One that was there before has kept its name.
            let name = naming::port_name(endpoint);
            let (named, used) = ([("name", name.as_str())], [("device_id", endpoint.as_str())]);
            let (named, used) = tokio::try_join!(self.neutron.list::<openstack::Port>(&named), self.neutron.list(&used))?;
            named.into_iter().chain(used).collect()
        };
        let found = if found.is_empty() { found } else { self.of_this_host(found).await? };
        let port = found.iter().find(|port| port.network_id == network.neutron);
        let Some(mut port) = port.and_then(|port| adopted_port(&self.state(), network, port)) else { return Ok(None) };
        self.recognise(std::slice::from_mut(&mut port)).await?;
        tracing::info!(%endpoint, port = %port.id, "took an endpoint up again from Neutron");
        self.commit(vec![Entry::Port(port.clone())]).await?;
        Ok(Some(port))
    }

    /// Ids of the engine may lead to the same Neutron network, whose records are written once; other networks need not wait for that.
    async fn adoption_on(&self, network: Uuid) -> tokio::sync::OwnedMutexGuard<()> {
        self.turns.take(format!("adoption on {network}")).await
    }

    /// Releases what the journal does not know and Neutron may.
    pub(super) async fn release_late(&self, work: &Work) -> Result<(), Error> {
        let outcome = match work {
            Work::LateEndpoint { network, endpoint } => self.release_late_endpoint(network, endpoint).await,
            Work::LateAddress { pool, address } => {
                if self.known_pool(*pool).await?.is_some() {
                    self.release_known_address(*pool, *address).await;
                }
                Ok(())
            }
            Work::LatePool(pool) => {
                if self.known_pool(*pool).await?.is_some() {
                    self.release_known_pool(*pool).await;
                }
                Ok(())
            }
            Work::LateNetwork(network) => {
                if self.known_network(network).await?.is_some() {
                    self.delete_known_network(network).await;
                }
                Ok(())
            }
            _ => Ok(()),
        };
        match outcome {
            // Nothing that a second try could change.
            Err(Error::Unknown(reason)) => {
                tracing::warn!("could not {}: {reason}", work.describe());
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn release_late_endpoint(&self, network: &DockerId, endpoint: &DockerId) -> Result<(), Error> {
        let Some(network) = self.known_network(network).await? else { return Ok(()) };
        if let Some(port) = self.known_port(&network, endpoint).await? {
            self.free(port.id, endpoint, true).await;
        }
        Ok(())
    }

    /// Writes a network of Neutron down as the engine's `id`, with its subnets and this host's ports. Which pools the engine knows the subnets
    /// by is left open.
    async fn adopt(&self, id: &DockerId, found: &openstack::Network) -> Result<Network, Error> {
        let neutron = found.id.to_string();
        let on_it = [("network_id", neutron.as_str())];
        let mine = [on_it[0], ("device_owner", naming::DEVICE_OWNER), ("binding:host_id", &self.settings.host)];
        // Of a trunk's sub-ports Neutron changes owner and host.
        let mine = if self.wants_no_device() { &on_it[..] } else { &mine[..] };
        let (subnets, ports) = tokio::join!(self.neutron.list::<openstack::Subnet>(&on_it), self.neutron.list::<openstack::Port>(mine));
        let (subnets, ports) = (subnets?, self.of_this_host(ports?).await?);
        let internal = found.tags.contains(&naming::internal_mark(id));
        let tagging = self.tagging().await?;
        // A kuryr-libnetwork gives networks of others such a name as well, so that the subnets have to say the same.
        let named = || !tagging.networks && found.name == naming::untagged_network_name(id) && subnets.iter().all(named_after_range);
        let owned = kuryr_made_network(found) || named();
        let mut network = Network {
            id: id.clone(),
            neutron: found.id,
            owned,
            joined: found.tags.contains(&naming::existing_mark(id)) || id.is_nameless(),
            mtu: found.mtu.unwrap_or(DEFAULT_MTU),
            internal,
            router: None,
            subnets: Vec::new(),
            ports: PortChoice::of_tags(&found.tags, id),
            pool: Default::default(),
        };
        if !network.joined && !internal && self.settings.external_network.is_some() {
            let name = naming::router_name(naming::name_start(id));
            network.router = self.neutron.list::<Router>(&[("name", &name)]).await?.first().map(|router| router.id);
        }
        let mut entries = Vec::new();
        for subnet in subnets {
            let Some((subnetpool, owned)) = self.subnetpool_of(&subnet).await? else { continue };
            entries.push(Entry::Pool(open_pool(&subnet, id, subnetpool, owned)));
            network.subnets.push(Subnet {
                id: subnet.id,
                owned: kuryr_made_subnet(&subnet) || (!tagging.others && owned && named_after_range(&subnet)),
                subnetpool,
                pool: subnet.id,
                cidr: subnet.cidr,
                gateway: subnet.gateway_ip,
                guessed: None,
                routes: subnet.host_routes.iter().map(|route| (route.destination, route.nexthop)).collect(),
                reserved: BTreeSet::new(),
            });
        }
        let mut ports: Vec<Port> = {
            let state = self.state();
            ports.iter().filter_map(|port| adopted_port(&state, &network, port)).collect()
        };
        self.recognise(&mut ports).await?;
        tracing::warn!(
            network = %id, neutron = %found.id, subnets = network.subnets.len(), ports = ports.len(),
            "the journal does not know this network; took it up again from Neutron"
        );
        entries.push(Entry::Network(network.clone()));
        entries.extend(ports.into_iter().map(Entry::Port));
        self.commit(entries).await?;
        Ok(network)
    }

    /// The subnet pool behind a subnet and whether a kuryr made it; none for a subnet that no kuryr has tagged.
    async fn subnetpool_of(&self, subnet: &openstack::Subnet) -> Result<Option<(Uuid, bool)>, Error> {
        let tagged = subnet.tags.iter().filter_map(|tag| Uuid::parse_str(tag).ok());
        for id in subnet.subnetpool_id.into_iter().chain(tagged) {
            match self.neutron.show::<SubnetPool>(id).await {
                Ok(pool) => {
                    let named = pool.name == naming::subnetpool_name(&self.settings.subnetpool_name_prefix, subnet.cidr);
                    return Ok(Some((id, named && !is_an_operators(&pool, subnet))));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(subnet.tags.iter().find_map(|tag| Uuid::parse_str(tag).ok()).map(|id| (id, false)))
    }

    /// The subnet that an engine's pool leads to: tagged with the pool's id, or the only one in the subnet pool of that id.
    async fn subnet_of_pool(&self, id: Uuid) -> Result<Option<openstack::Subnet>, Error> {
        let text = id.to_string();
        let mut found = match self.tagging().await?.others {
            true => self.neutron.list::<openstack::Subnet>(&[("tags", &text)]).await?,
            false => Vec::new(),
        };
        if found.is_empty() {
            found = self.neutron.list::<openstack::Subnet>(&[("subnetpool_id", &text)]).await?;
        }
        if found.len() > 1 {
            let state = self.state();
            let known = |subnet: &openstack::Subnet| state.networks.values().any(|network| waits_for_pool(network, subnet.id));
            if found.iter().any(known) {
                found.retain(known);
            }
        }
        match (found.pop(), found.len()) {
            (subnet, 0) => Ok(subnet),
            (_, others) => Err(Error::Unknown(format!(
                "address pool {id} is not known on this host, and {} subnets of Neutron have it for a tag; remove the Docker network that uses \
                 it and create it again",
                others + 1
            ))),
        }
    }

    /// Gives the pool of a subnet the id by which the engine knows it; none when the network has gone in the meantime.
    async fn key_pool(&self, network: &DockerId, subnet: Uuid, id: Uuid) -> Result<Option<Pool>, Error> {
        let _turn = self.turns.take(format!("network {network}")).await;
        let mut entries = Vec::new();
        let (pool, network) = {
            let state = self.state();
            let known = state.networks.get(network).filter(|network| waits_for_pool(network, subnet)).cloned();
            let Some(mut network) = known else { return Ok(None) };
            let Some(open) = state.pools.get(&subnet) else { return Ok(None) };
            let pool = Pool { id, released: false, ..open.clone() };
            for subnet in network.subnets.iter_mut().filter(|known| known.id == subnet) {
                subnet.pool = id;
            }
            let ports = state.every_port().filter(|port| port.network == network.id && port.address(subnet).is_some()).cloned();
            entries.extend(ports.map(|mut port| {
                for address in port.addresses.iter_mut().filter(|address| address.pool == subnet) {
                    address.pool = id;
                }
                Entry::Port(port)
            }));
            (pool, network)
        };
        entries.extend([Entry::NoPool(subnet), Entry::Pool(pool.clone()), Entry::Network(network)]);
        self.commit(entries).await?;
        Ok(Some(pool))
    }

    /// Gives a network that was taken up by its pool the id by which the engine knows it.
    async fn name(&self, nameless: &DockerId, id: &DockerId, found: &openstack::Network) -> Result<Option<Network>, Error> {
        let _turn = self.turns.take(format!("network {nameless}")).await;
        let (named, entries) = {
            let state = self.state();
            let Some(network) = state.networks.get(nameless).cloned() else { return Ok(None) };
            let named = Network {
                id: id.clone(),
                joined: found.tags.contains(&naming::existing_mark(id)),
                internal: found.tags.contains(&naming::internal_mark(id)),
                ports: PortChoice::of_tags(&found.tags, id),
                ..network
            };
            let mut entries = vec![Entry::NoNetwork(nameless.clone()), Entry::Network(named.clone())];
            let pools = state.pools.values().filter(|pool| pool.network.as_ref() == Some(nameless));
            entries.extend(pools.map(|pool| Entry::Pool(Pool { network: Some(id.clone()), ..pool.clone() })));
            let ports = state.every_port().filter(|port| port.network == *nameless);
            entries.extend(ports.map(|port| Entry::Port(Port { network: id.clone(), ..port.clone() })));
            (named, entries)
        };
        self.commit(entries).await?;
        Ok(Some(named))
    }

    pub(super) fn is_of_this_host(&self, port: &openstack::Port) -> bool {
        port.device_owner == naming::DEVICE_OWNER && port.host_id == self.settings.host
    }
}

/// Whether the network has the subnet, and nobody has yet said by which pool the engine knows it: its own id stands in for that.
fn waits_for_pool(network: &Network, subnet: Uuid) -> bool {
    network.subnets.iter().any(|known| known.id == subnet && known.pool == subnet)
}

fn open_pool(subnet: &openstack::Subnet, network: &DockerId, subnetpool: Uuid, owned: bool) -> Pool {
    Pool {
        id: subnet.id,
        manager: false,
        subnetpool,
        owned,
        found: true,
        namesake: None,
        subnet: None,
        cidr: subnet.cidr,
        gateway: subnet.gateway_ip,
        guessed: false,
        reserved: BTreeSet::new(),
        network: Some(network.clone()),
        // Until the engine names it, it goes with its network.
        released: true,
        granted: now(),
        repeated: 0,
        returned: false,
    }
}

/// The record of a port on an adopted network; none when this host knows the port, or is about to remove it.
fn adopted_port(state: &State, network: &Network, port: &openstack::Port) -> Option<Port> {
    if state.ports.contains_key(&port.id) || state.tasks.values().any(|task| task.work.key() == port.id) {
        return None;
    }
    // Nobody has it, whatever the journal may have known of it.
    let pooled = port.name == naming::POOLED_NAME && port.device_id.is_empty();
    let state = if pooled { AddressState::Waiting } else { AddressState::Granted };
    let address = |ip: IpAddr, subnet: Uuid| {
        let known = network.subnets.iter().find(|known| known.id == subnet)?;
        Some(Address { ip, subnet, pool: known.pool, state })
    };
    let endpoint = endpoint_in(port);
    Some(Port {
        // Nothing tells whether a container has come for it, so that one may have.
        joined: endpoint.is_some(),
        addresses: port.fixed_ips.iter().filter_map(|fixed| address(fixed.ip_address, fixed.subnet_id)).collect(),
        endpoint,
        // If a group is there it is found by the port's id.
        exposing: !pooled,
        existing: existing_port::was_there(port),
        changed: existing_port::to_restore(port),
        pooled,
        groups: if pooled { port.security_groups.clone() } else { Vec::new() },
        ..Port::new(network.id.clone(), network.mtu, port)
    })
}

/// The endpoint that a port of Neutron is said to be of.
pub(super) fn endpoint_in(port: &openstack::Port) -> Option<DockerId> {
    // The name tells it where ports take no tags.
    let named = || port.name.strip_suffix(naming::PORT_SUFFIX).and_then(DockerId::parse);
    only_docker_id(&port.tags).or_else(named).or_else(|| DockerId::parse(&port.device_id))
}

/// The Docker id that the tags spell, if they spell just one.
pub(super) fn only_docker_id(tags: &[String]) -> Option<DockerId> {
    let halves = |start: &str| tags.iter().filter_map(|tag| tag.strip_prefix(start)).map(str::to_owned).collect::<Vec<_>>();
    match (halves(naming::LOWER_HALF).as_slice(), halves(naming::UPPER_HALF).as_slice()) {
        ([lower], []) => DockerId::parse(lower),
        ([lower], [upper]) => DockerId::parse(&format!("{lower}{upper}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_spell_a_docker_id_when_they_spell_just_one() {
        for text in ["0123456789abcdef".repeat(4), "xqqzd9p112o4kvok38n3caxjm".to_owned()] {
            let id = DockerId::parse(&text).unwrap();
            let mut tags = naming::id_tags(&id);
            tags.push("compute:kuryr".into());
            assert_eq!(only_docker_id(&tags), Some(id));
            tags.push(format!("{}{}", naming::LOWER_HALF, "f".repeat(32)));
            assert_eq!(only_docker_id(&tags), None);
        }
        assert_eq!(only_docker_id(&[]), None);
    }
}
