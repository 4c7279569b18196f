//! What each task of the backlog does. All of it may run twice: a crash can come between the deed and its record.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Core, Error,
    endpoint::on_blocking_thread,
    existing::{is_an_operators, kuryr_made_network, kuryr_made_subnet},
    naming,
    record::{Network, Subnet, Work},
    request::DockerId,
};
use crate::{
    binding,
    openstack::{self, Router, SubnetPool},
};

/// How long the reply to CreateNetwork waits for the network's tags.
const LONGEST_TAGGING: Duration = Duration::from_secs(5);

impl Core {
    /// An earlier try, in this life of the daemon or another, may have got half way.
    pub(super) async fn work(&self, work: &Work) -> Result<(), Error> {
        // Links first: any number of them goes at once, where calls to the cloud take turns.
        if let Work::UnplugPort(port) | Work::RetirePort(port) = work {
            self.unplug(port).await?;
            self.disconnect(port).await?;
        }
        if let Work::WatchMachine(machine) = work {
            return self.watch_machine(*machine).await;
        }
        let _call = self.cloud.acquire().await;
        match work {
            Work::Expose { port, exposed } => self.expose(*port, exposed).await,
            Work::Conceal(port) => self.conceal(*port).await,
            // The collector's, and what was done above.
            Work::Seek { .. } | Work::WatchMachine(_) => Ok(()),
            Work::LateEndpoint { .. } | Work::LateAddress { .. } | Work::LatePool(_) | Work::LateNetwork(_) => {
                self.release_late(work).await
            }
            Work::DressPort { port, endpoint } => self.dress(*port, endpoint).await,
            Work::UnplugPort(_) => Ok(()),
            Work::RetirePort(port) if port.existing => self.give_port_back(port).await,
            Work::RetirePort(port) => {
                self.delete_port(port.id).await?;
                if port.exposing { self.remove_exposing_groups(port.id).await } else { Ok(()) }
            }
            Work::TagNetwork(network) => unless_gone(self.tag(network).await),
            Work::RetireNetwork { network, pools } => self.retire_network(network, pools).await,
            Work::EndReservation { subnet, address } => self.end_reservation(*subnet, *address).await,
            Work::RetireSubnet(subnet) => kept_while_used(self.neutron.delete::<openstack::Subnet>(*subnet).await),
            Work::RetirePool(pool) => self.retire_pools(&[*pool]).await,
            Work::MarkPool(pool) if self.tagging().await?.others => {
                unless_gone(full_at_worst(self.neutron.add_tag::<SubnetPool>(*pool, naming::EXISTING_POOL).await))
            }
            Work::MarkPool(_) => Ok(()),
        }
    }

    /// Notes from when on the port may be gone, so that nobody gets it back.
    async fn delete_port(&self, port: Uuid) -> Result<(), Error> {
        let first_try = self.state().going.insert(port);
        let outcome = gone(self.neutron.delete::<openstack::Port>(port).await);
        if first_try && matches!(&outcome, Err(Error::Cloud(error)) if !error.leaves_open()) {
            self.state().going.remove(&port);
        }
        outcome
    }

    async fn dress(&self, port: Uuid, endpoint: &DockerId) -> Result<(), Error> {
        let known = self.state().port(&port).filter(|port| port.endpoint.as_ref() == Some(endpoint)).cloned();
        let Some(known) = known else { return Ok(()) };
        let tagged = self.tagging().await?.others;
        if known.existing {
            // Where it takes no tags its name is still its maker's, and the device tells whose it is.
            return if tagged { gone(self.tag_existing(port, endpoint).await) } else { Ok(()) };
        }
        if known.ready {
            let (vif, settings) = (known.vif(&self.settings.host), self.settings.binding.clone());
            on_blocking_thread("labelling a port", move || binding::label(&vif, &settings)).await??;
        }
        if !tagged {
            let named = json!({"device_id": endpoint.as_str(), "name": naming::port_name(endpoint)});
            return gone(self.neutron.update::<openstack::Port>(port, &named).await);
        }
        let mut tags = vec![naming::DEVICE_OWNER.to_owned()];
        tags.extend(naming::id_tags(endpoint));
        let written =
            self.neutron.update::<openstack::Port>(port, &json!({"device_id": endpoint.as_str(), "name": naming::PORT_NAME})).await;
        let tagged = match written {
            Ok(_) => self.neutron.set_tags::<openstack::Port>(port, &tags).await,
            Err(error) => Err(error),
        };
        if tagged.as_ref().is_err_and(openstack::Error::is_not_found) {
            tracing::warn!(%port, %endpoint, "Neutron has no more the port of a container, which is cut off; start the container again");
        }
        gone(tagged)
    }

    /// The tags of a Docker network that was put upon a network of Neutron.
    pub(super) async fn tag_joined(&self, network: &Network) -> Result<(), Error> {
        if !self.tagging().await?.networks {
            return Ok(());
        }
        let tags = network_tags(network);
        for tag in &tags {
            match self.neutron.add_tag::<openstack::Network>(network.neutron, tag).await {
                Err(error) if is_full(&error) => return self.tag_elsewhere(network, &tags).await,
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Puts the tags for which a network has no room on a port, all of them: half of them would mislead.
    async fn tag_elsewhere(&self, network: &Network, tags: &[String]) -> Result<(), Error> {
        match self.make_user_port(network, tags).await {
            Err(Error::Cloud(error)) if error.is_conflict() => {
                // More ports than the project may have.
                tracing::warn!(
                    "{error}; this Docker network is not seen by other hosts, and may lose its Neutron network when they leave it"
                );
                return Ok(());
            }
            outcome => outcome?,
        }
        let Some(found) = self.if_there(network).await? else { return Ok(()) };
        for tag in tags.iter().filter(|tag| found.tags.contains(tag)) {
            self.neutron.remove_tag::<openstack::Network>(network.neutron, tag).await?;
        }
        Ok(())
    }

    /// The tags of a network that was just made, all at once. Before the reply: from then on another host may put a Docker network upon it, and
    /// tags of its own, which this would take off. What Neutron refuses, or does not answer soon, is the backlog's; see [`Self::tag`].
    pub(super) async fn tag_made(&self, network: &Network) {
        if network.joined || !self.tagging().await.is_ok_and(|tagging| tagging.networks) {
            return;
        }
        let tags = network_tags(network);
        let written = self.neutron.set_tags::<openstack::Network>(network.neutron, &tags);
        match timeout(LONGEST_TAGGING, written).await {
            Ok(Ok(())) => drop(self.state().tagged.insert(network.neutron)),
            Ok(Err(error)) => tracing::info!("{error}; it is done behind the reply"),
            Err(_) => tracing::info!(network = %network.neutron, "the tags of a network take long; they are written behind the reply"),
        }
    }

    /// One by one, since other hosts have tags there as well.
    async fn tag(&self, network: &Network) -> Result<(), Error> {
        let tagging = self.tagging().await?;
        let tagged = network.joined || self.state().tagged.contains(&network.neutron);
        if !tagged && tagging.networks {
            for tag in network_tags(network) {
                gone(self.neutron.add_tag::<openstack::Network>(network.neutron, &tag).await)?;
            }
        }
        for subnet in network.subnets.iter().filter(|_| tagging.others) {
            for tag in subnet_tags(subnet) {
                full_at_worst(self.neutron.add_tag::<openstack::Subnet>(subnet.id, &tag).await)?;
            }
        }
        self.state().tagged.remove(&network.neutron);
        Ok(())
    }

    /// Takes a Docker network off its Neutron network. What kuryr made there goes when this was its last user on any host, which Neutron's
    /// tags and ports tell; what an operator made stays.
    async fn retire_network(&self, network: &Network, pools: &[Uuid]) -> Result<(), Error> {
        let Some(mut found) = self.if_there(network).await? else { return self.retire_pools(pools).await };
        if network.id.is_of_manager() {
            self.end_reservations(network).await?;
        }
        if network.joined && !naming::id_tags(&network.id).iter().all(|tag| found.tags.contains(tag)) {
            self.remove_user_ports(network).await?;
        }
        if self.others_use(network, &found).await? {
            self.untag(network, &found).await?;
            // The others may be leaving at this moment and have seen our tags: whoever looks last sees none, and removes the network.
            found = match self.if_there(network).await? {
                Some(after) if self.others_use(network, &after).await? => return Ok(()),
                Some(after) => after,
                None => return self.retire_pools(pools).await,
            };
        }
        if network.owned || kuryr_made_network(&found) {
            let known: BTreeSet<Uuid> = network.subnets.iter().flat_map(|subnet| [subnet.subnetpool, subnet.pool]).collect();
            let tagged = self.tagged_with(known.iter().chain(pools).copied().collect()).await?;
            let (own, users): (Vec<_>, Vec<_>) = tagged.iter().partition(|subnet| subnet.network_id == network.neutron);
            self.inherit_pools(&own, |id| known.contains(id) || pools.contains(id)).await?;
            self.retire_routers(network, &found).await?;
            match self.neutron.delete::<openstack::Network>(network.neutron).await {
                Err(error) if error.is_conflict() => {
                    if !self.is_left_to_others(network).await? {
                        return Err(error.into());
                    }
                    tracing::info!(network = %network.neutron, "others have ports on a network that this host leaves, so it stays");
                    return self.untag(network, &found).await;
                }
                outcome => gone(outcome)?,
            }
            return self.delete_pools(pools, users).await;
        }
        self.untag(network, &found).await?;
        self.clear(network).await?;
        self.retire_pools(pools).await
    }

    /// The Neutron network, unless it is gone.
    pub(super) async fn if_there(&self, network: &Network) -> Result<Option<openstack::Network>, Error> {
        match self.neutron.show::<openstack::Network>(network.neutron).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether another Docker network, on this host or another, is on the same Neutron network: it has tags of its own there, or a port in place
    /// of them.
    async fn others_use(&self, network: &Network, found: &openstack::Network) -> Result<bool, Error> {
        let ours = naming::id_tags(&network.id);
        let others = found.tags.iter().any(|tag| tag.starts_with(naming::LOWER_HALF) && !ours.contains(tag));
        let here = self.state().networks.values().any(|other| other.neutron == network.neutron && other.id != network.id);
        if others || here {
            return Ok(true);
        }
        // Neutron does not delete a network with such a port, so that they matter only to what goes before the network or without it.
        let with_router = network.router.is_some() || (self.settings.external_network.is_some() && !network.internal);
        let alone = (network.owned || kuryr_made_network(found)) && !with_router;
        Ok(!alone && self.has_user_ports(network.neutron).await?)
    }

    /// Takes the tags of a Docker network off, and leaves word of who made the network to those who stay.
    async fn untag(&self, network: &Network, found: &openstack::Network) -> Result<(), Error> {
        let tagging = self.tagging().await?;
        let start = naming::network_name_start(&found.name).filter(|_| tagging.networks && (network.owned || kuryr_made_network(found)));
        let (named, rest): (Vec<_>, Vec<_>) =
            network_tags(network).into_iter().filter(|tag| found.tags.contains(tag)).partition(|tag| tag.starts_with(naming::LOWER_HALF));
        // The list may be full: what goes first makes room for the mark, and what goes last says the same as the mark.
        for tag in rest {
            self.neutron.remove_tag::<openstack::Network>(network.neutron, &tag).await?;
        }
        if let Some(mark) = start.map(naming::made_mark).filter(|mark| !found.tags.contains(mark)) {
            full_at_worst(self.neutron.add_tag::<openstack::Network>(network.neutron, &mark).await)?;
        }
        for tag in named {
            self.neutron.remove_tag::<openstack::Network>(network.neutron, &tag).await?;
        }
        for subnet in network.subnets.iter().filter(|subnet| tagging.others && subnet.pool != subnet.subnetpool) {
            self.neutron.remove_tag::<openstack::Subnet>(subnet.id, &subnet.pool.to_string()).await?;
        }
        Ok(())
    }

    /// Removes what kuryr made on an operator's network after its last user.
    async fn clear(&self, network: &Network) -> Result<(), Error> {
        let tagging = self.tagging().await?;
        let subnets = self.neutron.list::<openstack::Subnet>(&[("network_id", &network.neutron.to_string())]).await?;
        for subnet in subnets {
            let ours = network.subnets.iter().find(|known| known.id == subnet.id);
            if kuryr_made_subnet(&subnet) || ours.is_some_and(|known| known.owned) {
                kept_while_used(self.neutron.delete::<openstack::Subnet>(subnet.id).await)?;
            } else if tagging.others {
                self.clear_subnet(&subnet, ours.map(|known| known.subnetpool)).await?;
            }
        }
        Ok(())
    }

    /// Takes the subnet pools off an operator's subnet: `ours`, which its network retires, and those of users before, who left while there
    /// were others. A tag that names no subnet pool of a kuryr is the operator's.
    async fn clear_subnet(&self, subnet: &openstack::Subnet, ours: Option<Uuid>) -> Result<(), Error> {
        let tags = subnet.tags.iter().filter_map(|tag| Uuid::parse_str(tag).ok());
        let (own, others): (Vec<Uuid>, Vec<Uuid>) = tags.partition(|id| ours == Some(*id));
        for id in own {
            self.neutron.remove_tag::<openstack::Subnet>(subnet.id, &id.to_string()).await?;
        }
        for pool in self.kuryrs_pools_among(&others, subnet).await? {
            self.neutron.remove_tag::<openstack::Subnet>(subnet.id, &pool.to_string()).await?;
            self.retire_pools(&[pool]).await?;
        }
        Ok(())
    }

    /// Promises the removal of subnet pools of other hosts that left a network while there were others, and that may not have had the pools of
    /// this host; the tags of its subnets, `own`, still name them. It comes before that of the network, with which the tags go.
    async fn inherit_pools(&self, own: &[&openstack::Subnet], known: impl Fn(&Uuid) -> bool) -> Result<(), Error> {
        let mut inherited = Vec::new();
        for subnet in own {
            let tags = subnet.tags.iter().filter_map(|tag| Uuid::parse_str(tag).ok());
            let others: Vec<Uuid> = tags.filter(|id| !known(id)).collect();
            inherited.extend(self.kuryrs_pools_among(&others, subnet).await?);
        }
        inherited.retain(|id| !self.state().retires_subnetpool(*id));
        if !inherited.is_empty() {
            self.commit_at_any_rate(inherited.into_iter().map(|id| self.promise(Work::RetirePool(id))).collect()).await;
        }
        Ok(())
    }

    /// Those of these ids that name a subnet pool which a kuryr made for the range of this subnet.
    async fn kuryrs_pools_among(&self, ids: &[Uuid], subnet: &openstack::Subnet) -> Result<Vec<Uuid>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let name = naming::subnetpool_name(&self.settings.subnetpool_name_prefix, subnet.cidr);
        let found = self.neutron.list::<SubnetPool>(&[("name", &name)]).await?;
        Ok(found.iter().filter(|pool| ids.contains(&pool.id) && !is_an_operators(pool, subnet)).map(|pool| pool.id).collect())
    }

    /// Whether others have ports on the network and this host has none, whose removal would be still to come. One without any is just being
    /// left, and goes at the next try.
    async fn is_left_to_others(&self, network: &Network) -> Result<bool, Error> {
        let ports = self.neutron.list::<openstack::Port>(&[("network_id", &network.neutron.to_string())]).await?;
        let mut of_somebody = ports.iter().filter(|port| !port.device_owner.starts_with("network:dhcp")).peekable();
        Ok(of_somebody.peek().is_some() && !of_somebody.any(|port| self.is_of_this_host(port)))
    }

    /// The router that kuryr made for the network, on this host or on another.
    async fn retire_routers(&self, network: &Network, found: &openstack::Network) -> Result<(), Error> {
        if let Some(router) = network.router {
            let subnets: Vec<Uuid> = network.subnets.iter().map(|subnet| subnet.id).collect();
            return self.retire_router(router, &subnets).await;
        }
        // Another host made it, or the answer to our request for it was lost.
        let wanted = self.settings.external_network.is_some() && !network.internal;
        let Some(start) = naming::network_name_start(&found.name).filter(|_| wanted) else { return Ok(()) };
        for router in self.neutron.list::<Router>(&[("name", &naming::router_name(start))]).await? {
            self.retire_router(router.id, &found.subnets).await?;
        }
        Ok(())
    }

    async fn retire_router(&self, router: Uuid, subnets: &[Uuid]) -> Result<(), Error> {
        for subnet in subnets {
            gone(self.neutron.remove_router_interface(router, *subnet).await)?;
        }
        kept_while_used(self.neutron.delete::<Router>(router).await)
    }

    /// A subnet pool is in use as long as a subnet is in it, which Neutron sees to, or a network of an operator is used by its name: then its
    /// id is a tag on the subnet.
    async fn retire_pools(&self, pools: &[Uuid]) -> Result<(), Error> {
        let users = self.tagged_with(pools.iter().copied().collect()).await?;
        self.delete_pools(pools, &users).await
    }

    async fn delete_pools(&self, pools: &[Uuid], users: impl IntoIterator<Item = &openstack::Subnet>) -> Result<(), Error> {
        let used: BTreeSet<Uuid> = users.into_iter().flat_map(|subnet| &subnet.tags).filter_map(|tag| Uuid::parse_str(tag).ok()).collect();
        for pool in pools.iter().filter(|pool| !used.contains(pool)) {
            kept_while_used(self.neutron.delete::<SubnetPool>(*pool).await)?;
        }
        Ok(())
    }

    /// The subnets with a tag of one of these subnet pools.
    async fn tagged_with(&self, pools: BTreeSet<Uuid>) -> Result<Vec<openstack::Subnet>, Error> {
        if pools.is_empty() || !self.tagging().await?.others {
            return Ok(Vec::new());
        }
        let tags: Vec<String> = pools.iter().map(Uuid::to_string).collect();
        Ok(self.neutron.list(&[("tags-any", &tags.join(","))]).await?)
    }
}

/// The tags by which a Docker network is found on its Neutron network.
pub(super) fn network_tags(network: &Network) -> Vec<String> {
    let mut tags = naming::id_tags(&network.id);
    tags.extend(network.joined.then(|| naming::existing_mark(&network.id)));
    tags.extend(network.internal.then(|| naming::internal_mark(&network.id)));
    tags.extend(network.ports.tags(&network.id));
    tags
}

/// The tags by which the engine's pool leads to its subnet.
fn subnet_tags(subnet: &Subnet) -> BTreeSet<String> {
    [subnet.subnetpool, subnet.pool].iter().map(Uuid::to_string).collect()
}

/// An object that is gone needs no tags.
fn unless_gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Cloud(error)) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

/// What somebody else uses stays, and goes with that user.
pub(super) fn kept_while_used<T>(outcome: Result<T, openstack::Error>) -> Result<(), Error> {
    match outcome {
        // Of a subnet pool with subnets Neutron says 400.
        Err(error) if error.is_conflict() || error.kind() == "SubnetPoolDeleteError" => Ok(()),
        outcome => gone(outcome),
    }
}

/// An object takes 50 tags and no more; what the others would say stands in the journal.
fn full_at_worst(outcome: Result<(), openstack::Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if is_full(&error) => {
            tracing::info!("{error}; kuryr goes on without the tag");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

fn is_full(error: &openstack::Error) -> bool {
    error.status() == Some(400)
}

/// What is not there any more needs no removing.
pub(super) fn gone<T>(outcome: Result<T, openstack::Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
