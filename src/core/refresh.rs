//! What an operator changes in Neutron after a Docker network was made: containers that start later get the routes, the gateway and the MTU of
//! now. The collector asks, in a few lists for all networks, so that no request has to.
//!
//! What the engine was told holds on. A subnet's record keeps the gateway by which the engine knows it, `--internal` leads nowhere, and the MTU
//! only ever becomes smaller: the record does not say whether the user has set a limit of their own.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{
    Core, Error,
    record::{Entry, Network, Port, Subnet},
    request::DockerId,
};
use crate::openstack::{self, Resource};

/// How many ids one list names: servers refuse very long addresses.
const GROUP: usize = 100;

/// What Neutron has now, by id.
struct Told {
    subnets: HashMap<Uuid, openstack::Subnet>,
    networks: HashMap<Uuid, openstack::Network>,
}

impl Core {
    /// Brings the records of all networks up to date. What Neutron does not tell of stays as it is.
    pub(super) async fn refresh_networks(&self) -> Result<(), Error> {
        let known: Vec<Network> = self.state().networks.values().cloned().collect();
        let subnets: BTreeSet<Uuid> = known.iter().flat_map(|network| &network.subnets).map(|subnet| subnet.id).collect();
        let networks: BTreeSet<Uuid> = known.iter().map(|network| network.neutron).collect();
        let (subnets, networks) = tokio::try_join!(self.listed::<openstack::Subnet>(subnets), self.listed(networks))?;
        let told = Told {
            subnets: subnets.into_iter().map(|subnet| (subnet.id, subnet)).collect(),
            networks: networks.into_iter().map(|network: openstack::Network| (network.id, network)).collect(),
        };
        for network in known {
            if network.with(&told) != network {
                self.refresh(&network.id, &told).await?;
            }
            // Their interfaces are there already, with the MTU of before.
            let too_large = |port: &&Port| told.mtu(&network).is_some_and(|mtu| port.mtu > mtu);
            let pooled: Vec<Uuid> = self.state().pooled_on(&network.id).filter(too_large).map(|port| port.id).collect();
            self.give_back(&pooled).await?;
        }
        Ok(())
    }

    async fn listed<R: Resource>(&self, ids: BTreeSet<Uuid>) -> Result<Vec<R>, Error> {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let mut found = Vec::new();
        for group in ids.chunks(GROUP) {
            let query: Vec<(&str, &str)> = group.iter().map(|id| ("id", id.as_str())).collect();
            found.extend(self.neutron.list::<R>(&query).await?);
        }
        Ok(found)
    }

    /// From the record as it stands now: the network may have got pools or another name since, or be gone.
    async fn refresh(&self, id: &DockerId, told: &Told) -> Result<(), Error> {
        let _turn = self.turns.take(format!("network {id}")).await;
        let Some(network) = self.state().networks.get(id).cloned() else { return Ok(()) };
        let fresh = network.with(told);
        if fresh != network {
            tracing::info!(network = %id, "routes, gateway or MTU were changed in Neutron, and are so for containers that start from now on");
            self.commit(vec![Entry::Network(fresh)]).await?;
        }
        Ok(())
    }
}

impl Told {
    /// Where there is no extension for it, or a driver that does not care, Neutron says nothing or zero.
    fn mtu(&self, network: &Network) -> Option<u32> {
        self.networks.get(&network.neutron)?.mtu.filter(|mtu| *mtu > 0)
    }
}

impl Network {
    /// The network as Neutron has it now.
    fn with(&self, told: &Told) -> Self {
        let mtu = told.mtu(self).map_or(self.mtu, |mtu| mtu.min(self.mtu));
        let subnets = self.subnets.iter().map(|subnet| told.subnets.get(&subnet.id).map_or_else(|| subnet.clone(), |now| subnet.with(now)));
        Self { mtu, subnets: subnets.collect(), ..self.clone() }
    }
}

impl Subnet {
    fn with(&self, now: &openstack::Subnet) -> Self {
        let mut subnet = self.clone();
        if subnet.gateway != now.gateway_ip {
            subnet.guessed = subnet.guessed.or(subnet.gateway);
            subnet.gateway = now.gateway_ip;
        }
        // Neutron keeps them in no order.
        let routes: BTreeSet<_> = now.host_routes.iter().map(|route| (route.destination, route.nexthop)).collect();
        if routes != subnet.routes.iter().copied().collect() {
            subnet.routes = routes.into_iter().collect();
        }
        subnet
    }
}
