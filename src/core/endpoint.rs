//! NetworkDriver.CreateEndpoint, Join and DeleteEndpoint.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Core, Error,
    record::{AddressState, Entry, Network, Port, Work},
    request::{Attachment, DockerId, EndpointGrant, EndpointRequest},
};
use crate::{
    binding::{self, Vif},
    mac::MacAddr,
    openstack,
};

/// How soon Neutron is asked again whether a port is ACTIVE, and how far apart at the most.
const FIRST_POLL: Duration = Duration::from_millis(100);
const LAST_POLL: Duration = Duration::from_secs(2);

impl Core {
    /// NetworkDriver.CreateEndpoint: binds the port of the addresses to this endpoint and makes its link on this host.
    pub async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointGrant, Error> {
        let _turn = self.turns.take(format!("endpoint {}", request.endpoint)).await;
        let network = self.network(&request.network)?;
        let mut port = match self.port_of_endpoint(&request.endpoint) {
            Some(port) => repeated(port, &request)?,
            None => self.granted(&network, &request).await?,
        };
        if let Some(mac) = request.mac
            && mac != port.mac
        {
            port = self.change_mac(port, mac).await?;
        }
        port.endpoint = Some(request.endpoint.clone());
        let dress = self.promise(Work::DressPort { port: port.id, endpoint: request.endpoint.clone() });
        self.commit(vec![Entry::Port(port.clone()), dress]).await?;
        if let Err(error) = self.bind(&port).await {
            // The engine gives the addresses back by itself, but does not delete an endpoint whose creation failed.
            let freed = Port { endpoint: None, ..port };
            self.commit(vec![Entry::Port(freed)]).await?;
            return Err(error);
        }
        Ok(EndpointGrant { mac: request.mac.is_none().then_some(port.mac) })
    }

    /// NetworkDriver.Join: read from memory; waits for the port to be ACTIVE when the configuration asks for it.
    pub async fn join(&self, network: &DockerId, endpoint: &DockerId) -> Result<Attachment, Error> {
        let network = self.network(network)?;
        let port = self.port_of_endpoint(endpoint).ok_or_else(|| {
            Error::Unknown(format!("endpoint {endpoint} of network {} is not known on this host; start the container again", network.id))
        })?;
        if self.settings.vif_plugging_is_fatal {
            self.await_active(port.id).await?;
        }
        let held = |pool: Uuid| port.address(pool).is_some_and(|address| address.state == AddressState::Granted);
        let subnets: Vec<_> = network.subnets.iter().filter(|subnet| held(subnet.pool)).collect();
        let gateway = |v4: bool| {
            let mut gateways = subnets.iter().filter_map(|subnet| subnet.gateway);
            gateways.find(|ip| ip.is_ipv4() == v4 && !network.internal)
        };
        Ok(Attachment {
            interface: binding::container_name(port.id),
            dst_prefix: self.settings.veth_dst_prefix.clone(),
            gateway: gateway(true),
            gateway_v6: gateway(false),
            routes: subnets.iter().flat_map(|subnet| subnet.routes.iter().copied()).collect(),
        })
    }

    /// NetworkDriver.Leave: nothing to do, the link is still in the sandbox.
    pub async fn leave(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.DeleteEndpoint; an unknown endpoint is deleted already. The port stays until its addresses are released.
    pub async fn delete_endpoint(&self, _network: &DockerId, endpoint: &DockerId) -> Result<(), Error> {
        let _turn = self.turns.take(format!("endpoint {endpoint}")).await;
        let Some(port) = self.port_of_endpoint(endpoint) else { return Ok(()) };
        let mut entries = self.state().call_off(port.id);
        entries.push(Entry::Port(Port { endpoint: None, ..port.clone() }));
        entries.push(self.promise(Work::UnplugPort(Box::new(port))));
        Ok(self.commit(entries).await?)
    }

    /// NetworkDriver.EndpointOperInfo: what this host knows of the endpoint's port, without a call to the cloud.
    pub async fn operational_info(&self, endpoint: &DockerId) -> BTreeMap<String, String> {
        let Some(port) = self.port_of_endpoint(endpoint) else { return BTreeMap::new() };
        BTreeMap::from([("port_id".into(), port.id.to_string()), ("vif_type".into(), port.vif_type)])
    }

    /// NetworkDriver.ProgramExternalConnectivity: the port is reachable as its security groups say.
    pub async fn program_external_connectivity(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.RevokeExternalConnectivity.
    pub async fn revoke_external_connectivity(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    fn network(&self, id: &DockerId) -> Result<Network, Error> {
        let known = self.state().networks.get(id).cloned();
        known
            .ok_or_else(|| Error::Unknown(format!("network {id} is not known on this host; remove the Docker network and create it again")))
    }

    fn port_of_endpoint(&self, endpoint: &DockerId) -> Option<Port> {
        self.state().port_of(endpoint).cloned()
    }

    /// The port that carries the addresses granted for an endpoint.
    async fn granted(&self, network: &Network, request: &EndpointRequest) -> Result<Port, Error> {
        let find = |ip: std::net::IpAddr| {
            let state = self.state();
            network.subnets.iter().find_map(|subnet| state.port_with(subnet.pool, ip)).cloned()
        };
        let mut ports = Vec::new();
        for ip in request.v4.iter().chain(&request.v6).map(ipnet::IpNet::addr) {
            let port = find(ip).ok_or_else(|| {
                Error::Unknown(format!("address {ip} of network {} was not granted by kuryr, or was given back; try again", network.id))
            })?;
            if let Some(other) = &port.endpoint {
                return Err(Error::Taken(format!("address {ip} of network {} is in use by endpoint {other}; choose another", network.id)));
            }
            ports.push(port);
        }
        let mut ports = ports.into_iter();
        let first = ports.next().ok_or_else(|| {
            Error::Invalid(format!("endpoint {} has no address; create the network with --ipam-driver kuryr", request.endpoint))
        })?;
        match ports.next() {
            Some(second) if second.id != first.id => self.merge(first, second).await,
            _ => Ok(first),
        }
    }

    /// One port carries both families: the second port gives its address to the first.
    async fn merge(&self, mut first: Port, second: Port) -> Result<Port, Error> {
        self.neutron.delete::<openstack::Port>(second.id).await?;
        let held = second.addresses.iter().filter(|address| address.state == AddressState::Granted);
        for address in held {
            first.addresses.retain(|other| other.pool != address.pool);
            first.addresses.push(address.clone());
        }
        let fixed_ips: Vec<_> =
            first.addresses.iter().map(|address| json!({"subnet_id": address.subnet, "ip_address": address.ip})).collect();
        let outcome = self.neutron.update::<openstack::Port>(first.id, &json!({"fixed_ips": fixed_ips})).await;
        self.commit(vec![Entry::NoPort(second.id)]).await?;
        outcome?;
        self.commit(vec![Entry::Port(first.clone())]).await?;
        Ok(first)
    }

    /// Neutron changes the MAC only of a port that is not bound, so the binding is taken off and put back with the new MAC.
    async fn change_mac(&self, mut port: Port, mac: MacAddr) -> Result<Port, Error> {
        self.neutron.update::<openstack::Port>(port.id, &json!({"binding:host_id": ""})).await?;
        let body = json!({"mac_address": mac, "binding:host_id": self.settings.host});
        let bound = self.neutron.update::<openstack::Port>(port.id, &body).await?;
        port.mac = bound.mac_address;
        port.vif_type = bound.vif_type.unwrap_or_default();
        port.vif_details = bound.vif_details;
        Ok(port)
    }

    async fn bind(&self, port: &Port) -> Result<(), Error> {
        let (vif, settings) = (port.vif(&self.settings.host), self.settings.binding.clone());
        on_blocking_thread("plugging a port", move || binding::bind(&vif, &settings)).await??;
        Ok(())
    }

    /// Polls with growing distance until Neutron has the port working.
    async fn await_active(&self, port: Uuid) -> Result<(), Error> {
        let timeout = self.settings.vif_plugging_timeout;
        let started = Instant::now();
        let mut pause = FIRST_POLL;
        loop {
            let status = self.neutron.show::<openstack::Port>(port).await?.status;
            if status == "ACTIVE" {
                return Ok(());
            }
            let waited = started.elapsed();
            if !timeout.is_zero() && waited >= timeout {
                return Err(Error::NotActive { port, seconds: waited.as_secs(), status, host: self.settings.host.clone() });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
    }
}

impl Port {
    /// What the binding has to know of it.
    pub(super) fn vif(&self, host: &str) -> Vif {
        Vif {
            host: host.to_owned(),
            port: self.id,
            network: self.neutron_network,
            mac: self.mac,
            mtu: self.mtu,
            vif_type: self.vif_type.clone(),
            vif_details: self.vif_details.clone(),
            endpoint: self.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
            project: self.project.clone(),
        }
    }
}

/// The answer to a call that the engine repeats must be the one it lost.
fn repeated(port: Port, request: &EndpointRequest) -> Result<Port, Error> {
    let same = request.v4.iter().chain(&request.v6).all(|net| port.addresses.iter().any(|address| address.ip == net.addr()));
    if same && port.network == request.network {
        Ok(port)
    } else {
        Err(Error::Taken(format!("endpoint {} is there already with other addresses; delete it first", request.endpoint)))
    }
}

/// Netlink blocks, and so must not run on a worker of the runtime.
pub(super) async fn on_blocking_thread<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Broken { what: what.to_owned(), reason: error.to_string() })
}
