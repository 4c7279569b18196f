//! An object of Neutron takes 50 tags, and a Docker network put upon a Neutron network has three and more. One whose tags have no room is stood for
//! by a port: without address or binding, with the tags of the Docker network, so that every host sees that the network is used. Neutron itself
//! deletes no network with such a port. kuryr-libnetwork has no such thing: there the seventeenth host is refused.

use serde_json::json;
use uuid::Uuid;

use super::{Core, Error, naming, record::Network, request::DockerId, work::gone};
use crate::openstack;

impl Core {
    /// Makes the port that stands for the Docker network, with these tags.
    pub(super) async fn make_user_port(&self, network: &Network, tags: &[String]) -> Result<(), Error> {
        let there = self.user_ports(network.neutron, Some(&network.id)).await?.pop();
        let port = match there {
            Some(port) => port,
            None => {
                let body = json!({
                    "name": naming::USER_PORT,
                    "network_id": network.neutron,
                    "device_owner": naming::USER_OWNER,
                    "device_id": network.id.as_str(),
                    "fixed_ips": [],
                });
                self.neutron.create::<openstack::Port>(&body).await?
            }
        };
        if self.tagging().await?.others {
            self.neutron.set_tags::<openstack::Port>(port.id, tags).await?;
        }
        tracing::info!(network = %network.neutron, port = %port.id, "the network's tags are used up; a port stands for this Docker network");
        Ok(())
    }

    /// Removes the ports that stand for the Docker network, if there are any.
    pub(super) async fn remove_user_ports(&self, network: &Network) -> Result<(), Error> {
        for port in self.user_ports(network.neutron, Some(&network.id)).await? {
            gone(self.neutron.delete::<openstack::Port>(port.id).await)?;
        }
        Ok(())
    }

    /// Whether such a port stands for the Docker network.
    pub(super) async fn has_user_port_of(&self, network: &Network) -> Result<bool, Error> {
        Ok(!self.user_ports(network.neutron, Some(&network.id)).await?.is_empty())
    }

    /// Whether such a port says that somebody uses the network.
    pub(super) async fn has_user_ports(&self, network: Uuid) -> Result<bool, Error> {
        Ok(!self.user_ports(network, None).await?.is_empty())
    }

    /// The Neutron network on which such a port stands for the Docker network, as if its tags were the network's own.
    pub(super) async fn network_of_user_port(&self, id: &DockerId) -> Result<Option<openstack::Network>, Error> {
        let query = [("name", naming::USER_PORT), ("device_id", id.as_str())];
        let Some(port) = self.neutron.list::<openstack::Port>(&query).await?.pop() else { return Ok(None) };
        let mut network = self.neutron.show::<openstack::Network>(port.network_id).await?;
        network.tags.extend(port.tags);
        Ok(Some(network))
    }

    async fn user_ports(&self, network: Uuid, id: Option<&DockerId>) -> Result<Vec<openstack::Port>, Error> {
        let network = network.to_string();
        let mut query = vec![("network_id", network.as_str()), ("name", naming::USER_PORT)];
        query.extend(id.map(|id| ("device_id", id.as_str())));
        Ok(self.neutron.list(&query).await?)
    }
}
