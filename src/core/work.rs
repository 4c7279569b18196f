//! What each task of the backlog does. All of it may run twice: a crash can come between the deed and its record.

use serde_json::json;
use uuid::Uuid;

use super::{
    Core, Error,
    endpoint::on_blocking_thread,
    naming,
    record::{Network, Port, Subnet, Work},
    request::DockerId,
};
use crate::{
    binding,
    openstack::{self, Router, SubnetPool},
};

impl Core {
    pub(super) async fn work(&self, work: &Work) -> Result<(), Error> {
        match work {
            Work::DressPort { port, endpoint } => self.dress(*port, endpoint).await,
            Work::UnplugPort(port) => self.unplug(port).await,
            Work::RetirePort(port) => {
                self.unplug(port).await?;
                gone(self.neutron.delete::<openstack::Port>(port.id).await)
            }
            Work::TagNetwork(network) => self.tag(network).await,
            Work::RetireNetwork { network, pools } => self.retire_network(network, pools).await,
            Work::RetirePool(pool) => self.retire_pool(*pool).await,
        }
    }

    /// Notes the outcome of taking back what a failed request had made: the error that the engine gets is the request's own.
    pub(super) fn undo(&self, outcome: Result<(), openstack::Error>, what: &str) {
        if let Err(error) = outcome {
            tracing::error!("{what} is left behind in Neutron, delete it by hand: {error}");
        }
    }

    async fn unplug(&self, port: &Port) -> Result<(), Error> {
        let (vif, settings) = (port.vif(&self.settings.host), self.settings.binding.clone());
        on_blocking_thread("unplugging a port", move || binding::unbind(&vif, &settings)).await??;
        Ok(())
    }

    async fn dress(&self, port: Uuid, endpoint: &DockerId) -> Result<(), Error> {
        let mut tags = vec![naming::DEVICE_OWNER.to_owned()];
        tags.extend(naming::id_tags(endpoint));
        let written = self.neutron.update::<openstack::Port>(port, &json!({"device_id": endpoint.as_str()})).await;
        let tagged = match written {
            Ok(_) => self.neutron.set_tags::<openstack::Port>(port, &tags).await,
            Err(error) => Err(error),
        };
        gone(tagged)
    }

    async fn tag(&self, network: &Network) -> Result<(), Error> {
        self.neutron.set_tags::<openstack::Network>(network.neutron, &naming::id_tags(&network.id)).await?;
        for subnet in &network.subnets {
            let pool = self.state().pools.get(&subnet.pool).map(|pool| pool.subnetpool);
            let tags: Vec<String> =
                pool.iter().chain([&subnet.pool]).map(Uuid::to_string).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            self.neutron.set_tags::<openstack::Subnet>(subnet.id, &tags).await?;
        }
        Ok(())
    }

    async fn retire_network(&self, network: &Network, pools: &[Uuid]) -> Result<(), Error> {
        if self.others_use(network).await? {
            for tag in naming::id_tags(&network.id) {
                gone(self.neutron.remove_tag::<openstack::Network>(network.neutron, &tag).await)?;
            }
            return Ok(());
        }
        if let Some(router) = network.router {
            self.retire_router(router, &network.subnets).await?;
        }
        gone(self.neutron.delete::<openstack::Network>(network.neutron).await)?;
        for pool in pools {
            self.retire_pool(*pool).await?;
        }
        Ok(())
    }

    /// Whether another Docker network, on this host or another, is on the same Neutron network: it has tags of its own there.
    async fn others_use(&self, network: &Network) -> Result<bool, Error> {
        let tags = match self.neutron.show::<openstack::Network>(network.neutron).await {
            Ok(found) => found.tags,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let ours = naming::id_tags(&network.id);
        Ok(tags.iter().any(|tag| tag.starts_with("kuryr.net.") && !ours.contains(tag)))
    }

    async fn retire_router(&self, router: Uuid, subnets: &[Subnet]) -> Result<(), Error> {
        for subnet in subnets {
            gone(self.neutron.remove_router_interface(router, subnet.id).await)?;
        }
        gone(self.neutron.delete::<Router>(router).await)
    }

    /// Neutron keeps a subnet pool as long as any subnet is in it: then another host uses it, and it stays.
    async fn retire_pool(&self, pool: Uuid) -> Result<(), Error> {
        match self.neutron.delete::<SubnetPool>(pool).await {
            Err(error) if error.is_conflict() => Ok(()),
            outcome => gone(outcome),
        }
    }
}

/// What is not there any more needs no removing.
fn gone<T>(outcome: Result<T, openstack::Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
