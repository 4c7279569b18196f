//! NetworkDriver.CreateEndpoint, Join and DeleteEndpoint.

use std::{collections::BTreeMap, time::Instant};

use serde_json::json;
use uuid::Uuid;

use super::{
    Core, Error,
    address::given_back,
    options::warn_of_unknown,
    port_options::{PORT_OPTIONS, PortOptions},
    record::{Address, AddressState, Entry, Network, Port, Work},
    request::{Attachment, DockerId, EndpointGrant, EndpointRequest, JoinRequest},
    work::gone,
};
use crate::{
    binding::{self, Driver, Vif},
    journal::Lasting,
    mac::MacAddr,
    openstack,
};

impl Core {
    /// NetworkDriver.CreateEndpoint: binds the port of the addresses to this endpoint and makes its link on this host.
    pub async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointGrant, Error> {
        warn_of_unknown(&request.options, &PORT_OPTIONS);
        let options = PortOptions::read(&request.options)?;
        let _turn = self.turns.take(format!("endpoint {}", request.endpoint)).await;
        let network = self.network(&request.network).await?;
        let choice = self.port_choice(options).await?;
        let port = match self.port_of_endpoint(&request.endpoint) {
            Some(port) => repeated(port, &request)?,
            None => self.granted(&network, &request).await?,
        };
        let port = match choice.port.filter(|named| *named != port.id) {
            Some(named) => self.named_port(&network, port, named).await?,
            None => port,
        };
        check_mac(&port, request.mac)?;
        self.check_mac_is_free(request.mac)?;
        self.check_vnic_type(&port)?;
        let port = self.prepare(port, &request, &choice.fields).await?;
        if let Some(mac) = request.mac.filter(|mac| *mac != port.mac) {
            self.change_mac(&port, mac).await?;
        }
        let lost = port.ready && !self.is_plugged(&port).await?;
        if lost {
            self.take_link_off(&port).await?;
        }
        let had_a_link = lost || port.existing || port.changed.contains_key("security_groups");
        if self.settings.vif_plugging_is_fatal && had_a_link && port.endpoint.is_none() {
            self.await_left(port.id).await?;
        }
        let mut claimed = None;
        self.state().started = Some(Instant::now());
        let dress = self.promise(Work::DressPort { port: port.id, endpoint: request.endpoint.clone() });
        let (before, after) = if self.wants_no_device() { (None, Some(dress)) } else { (Some(dress), None) };
        self.change_port_for(Lasting::ProcessEnd, port.id, |_, mut port| {
            if let Some(other) = port.endpoint.as_ref().filter(|other| **other != request.endpoint) {
                return Err(in_use(&network, &port, other));
            }
            port.joined &= port.endpoint.is_some();
            port.endpoint = Some(request.endpoint.clone());
            claimed = Some(port.clone());
            Ok([Some(Entry::Port(port)), before].into_iter().flatten().collect())
        })
        .await?;
        let port = claimed.ok_or_else(|| given_back(port.id))?;
        let bound = if port.ready { Ok(port.clone()) } else { self.connect(port.clone()).await };
        let port = match bound {
            Ok(port) => port,
            Err(error) => {
                // The engine gives the addresses back by itself, but does not delete an endpoint whose creation failed.
                self.free(port.id, &request.endpoint, false).await;
                return Err(error);
            }
        };
        let still_held = self.state().port(&port.id).is_some_and(|now| now.endpoint.as_ref() == Some(&request.endpoint));
        if !still_held {
            // Its link was to go before it came.
            self.unplug(&port).await?;
            return Err(given_back(port.id));
        }
        self.commit_at_any_rate(after.into_iter().collect()).await;
        // Docker would set it, which an ipvlan cannot bear, and a virtual function has it.
        let own_mac = !matches!(port.driver, Driver::Ipvlan { .. } | Driver::HwVeb { .. });
        Ok(EndpointGrant { mac: (request.mac.is_none() && own_mac).then_some(port.mac) })
    }

    /// NetworkDriver.Join: read from memory, and noted in the journal; waits for the port to be ACTIVE when the configuration asks for it.
    pub async fn join(&self, request: JoinRequest) -> Result<Attachment, Error> {
        let (network, endpoint) = (self.network(&request.network).await?, &request.endpoint);
        let port = self.known_port(&network, endpoint).await?.ok_or_else(|| {
            Error::Unknown(format!("endpoint {endpoint} of network {} is not known on this host; start the container again", network.id))
        })?;
        self.note_join(&port).await?;
        self.promise_exposure(&port, request.exposed).await?;
        if self.settings.vif_plugging_is_fatal && !port.ready && port.becomes_active() {
            self.await_active(port.id).await?;
        }
        let held = |pool: Uuid| port.address(pool).is_some_and(|address| address.state == AddressState::Granted);
        let subnets: Vec<_> = network.subnets.iter().filter(|subnet| held(subnet.pool)).collect();
        let gateway = |v4: bool| {
            let mut gateways = subnets.iter().filter_map(|subnet| subnet.gateway);
            gateways.find(|ip| ip.is_ipv4() == v4 && !network.internal)
        };
        Ok(Attachment {
            interface: match &port.driver {
                Driver::HwVeb { interface, .. } => interface.clone(),
                _ => binding::container_name(port.id),
            },
            dst_prefix: self.settings.veth_dst_prefix.clone(),
            gateway: gateway(true),
            gateway_v6: gateway(false),
            routes: subnets.iter().flat_map(|subnet| subnet.routes.iter().copied()).collect(),
        })
    }

    /// Keeps the collector from an endpoint that the engine has come for. A loss of power takes the note, and with it the interface.
    async fn note_join(&self, port: &Port) -> Result<(), Error> {
        if port.joined {
            return Ok(());
        }
        let noted = self.change_port_for(Lasting::ProcessEnd, port.id, |_, now| match now.endpoint == port.endpoint {
            true => Ok(vec![Entry::Port(Port { joined: true, ..now })]),
            false => Err(given_back(port.id)),
        });
        noted.await?.ok_or_else(|| given_back(port.id))
    }

    /// NetworkDriver.Leave: nothing to do, the link is still in the sandbox.
    pub async fn leave(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.DeleteEndpoint; an unknown endpoint is deleted already, or by now if Neutron still has it. The port stays until its
    /// addresses are released.
    pub async fn delete_endpoint(&self, network: &DockerId, endpoint: &DockerId) -> Result<(), Error> {
        let _turn = self.turns.take(format!("endpoint {endpoint}")).await;
        match self.port_of_endpoint(endpoint) {
            Some(port) => self.free(port.id, endpoint, true).await,
            None => {
                let late = Work::LateEndpoint { network: network.clone(), endpoint: endpoint.clone() };
                self.commit_at_any_rate(vec![self.promise(late)]).await;
            }
        }
        Ok(())
    }

    /// Parts a port from its endpoint; its link, if there is one, goes behind.
    pub(super) async fn free(&self, port: Uuid, endpoint: &DockerId, unplug: bool) {
        let _turn = self.turns.take(format!("port {port}")).await;
        let entries = {
            let state = self.state();
            let known = state.port(&port).filter(|port| port.endpoint.as_ref() == Some(endpoint)).cloned();
            let Some(port) = known else { return };
            let mut entries = state.call_off_port(port.id);
            let left =
                Port { endpoint: None, joined: false, exposing: false, ready: false, driver: Driver::Veth, carrier: None, ..port.clone() };
            entries.push(Entry::Port(left));
            if port.exposing {
                entries.push(self.promise(Work::Conceal(port.id)));
            }
            if unplug || port.carrier.is_some() {
                entries.push(self.promise(Work::UnplugPort(Box::new(port))));
            }
            entries
        };
        self.commit_at_any_rate(entries).await;
    }

    /// NetworkDriver.EndpointOperInfo: what this host knows of the endpoint's port, without a call to the cloud.
    pub async fn operational_info(&self, endpoint: &DockerId) -> BTreeMap<String, String> {
        let Some(port) = self.port_of_endpoint(endpoint) else { return BTreeMap::new() };
        BTreeMap::from([("port_id".into(), port.id.to_string()), ("vif_type".into(), port.vif_type)])
    }

    /// NetworkDriver.ProgramExternalConnectivity: names the exposed ports once more, for the endpoint with the container's gateway.
    pub async fn program_external_connectivity(&self, request: JoinRequest) -> Result<(), Error> {
        match self.port_of_endpoint(&request.endpoint) {
            Some(port) => self.promise_exposure(&port, request.exposed).await,
            None => Ok(()),
        }
    }

    /// NetworkDriver.RevokeExternalConnectivity: what was exposed goes with the endpoint, since this call does not always come.
    pub async fn revoke_external_connectivity(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    async fn network(&self, id: &DockerId) -> Result<Network, Error> {
        let known = self.known_network(id).await?;
        known
            .ok_or_else(|| Error::Unknown(format!("network {id} is not known on this host; remove the Docker network and create it again")))
    }

    pub(super) fn port_of_endpoint(&self, endpoint: &DockerId) -> Option<Port> {
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
                return Err(in_use(network, &port, other));
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

    /// One port carries both families: one port gives its address to the other, and a port that was there before is the one that stays.
    pub(super) async fn merge(&self, first: Port, second: Port) -> Result<Port, Error> {
        let (first, second) = match (first.existing, second.existing) {
            (true, true) => return Err(two_existing(&first, &second)),
            (false, true) => (second, first),
            _ => (first, second),
        };
        let held: Vec<Address> = second.addresses.iter().filter(|address| address.state == AddressState::Granted).cloned().collect();
        if let Some(address) = first.addresses.iter().find(|address| first.existing && held.iter().any(|other| other.pool == address.pool))
        {
            return Err(Error::Invalid(format!("port {} has the address {} as well; ask for it with --ip or --ip6", first.id, address.ip)));
        }
        self.take_link_off(&second).await?;
        gone(self.neutron.delete::<openstack::Port>(second.id).await)?;
        let (first, outcome) = if first.existing {
            match self.add_addresses(&first, &held).await {
                Ok(changed) => (changed, Ok(())),
                Err(error) => (first, Err(error)),
            }
        } else {
            let kept = first.addresses.iter().filter(|address| held.iter().all(|other| other.pool != address.pool));
            let fixed_ips: Vec<_> =
                kept.chain(&held).map(|address| json!({"subnet_id": address.subnet, "ip_address": address.ip})).collect();
            let outcome = self.neutron.update::<openstack::Port>(first.id, &json!({"fixed_ips": fixed_ips})).await;
            (first, outcome.map(drop).map_err(Error::from))
        };
        let mut merged = first.clone();
        merged.addresses.retain(|address| held.iter().all(|other| other.pool != address.pool));
        merged.addresses.extend(held);
        let changed = self.change_port(first.id, |state, port| {
            let mut entries = state.call_off_port(second.id);
            entries.push(Entry::NoPort(second.id));
            // Once the engine has given an address back, the merged port must not hold it.
            if outcome.is_ok() && state.ports.contains_key(&second.id) && port == first {
                entries.push(Entry::Port(merged.clone()));
            }
            Ok(entries)
        });
        changed.await?;
        outcome?;
        Ok(merged)
    }

    /// Neutron changes the MAC only of a port that is not bound, so the binding is taken off and put back with the new MAC.
    async fn change_mac(&self, port: &Port, mac: MacAddr) -> Result<(), Error> {
        self.take_link_off(port).await?;
        let (port, network) = (port.id, port.neutron_network);
        self.neutron.update::<openstack::Port>(port, &json!({"binding:host_id": ""})).await?;
        let host = &self.settings.host;
        let changed = self.neutron.update::<openstack::Port>(port, &json!({"mac_address": mac, "binding:host_id": host})).await;
        let bound = match &changed {
            Ok(bound) => Some(bound.clone()),
            Err(_) => match self.neutron.update::<openstack::Port>(port, &json!({"binding:host_id": host})).await {
                Ok(bound) => Some(bound),
                Err(error) => {
                    tracing::warn!(%port, "the port is bound to no host until its addresses are given back: {error}");
                    None
                }
            },
        };
        self.change_port(port, |_, mut port| {
            match bound {
                Some(bound) => {
                    port.mac = bound.mac_address;
                    port.vif_type = bound.vif_type.unwrap_or_default();
                    port.vif_details = bound.vif_details.into();
                }
                // A call that the engine repeats must not take the port for one that works.
                None => port.vif_type = "unbound".into(),
            }
            Ok(vec![Entry::Port(port)])
        })
        .await?;
        match changed {
            Err(error) if error.kind() == "MacAddressInUse" => Err(self.holder_of(mac, network, error).await),
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// Says which port has the MAC, and how to have that one instead.
    async fn holder_of(&self, mac: MacAddr, network: Uuid, error: openstack::Error) -> Error {
        match self.port_with_mac(network, mac).await.ok().flatten() {
            Some(holder) => {
                let addresses: Vec<String> = holder.fixed_ips.iter().map(|fixed| fixed.ip_address.to_string()).collect();
                Error::Taken(format!(
                    "port {} has the MAC {mac} already, with the address {}; to use that port pass its address with --ip as well, or set \
                     [kuryr] ports_by_mac",
                    holder.id,
                    addresses.join(" and ")
                ))
            }
            None => error.into(),
        }
    }

    pub(super) async fn bind(&self, port: &Port) -> Result<(), Error> {
        let _turn = self.link_turn(port.id).await;
        let (vif, settings) = (port.vif(&self.settings.host), self.settings.binding.clone());
        on_blocking_thread("plugging a port", move || binding::bind(&vif, &settings)).await??;
        Ok(())
    }
}

impl Port {
    /// What the binding has to know of it.
    pub(super) fn vif(&self, host: &str) -> Vif {
        Vif {
            host: host.to_owned(),
            driver: self.driver.clone(),
            port: self.id,
            network: self.neutron_network,
            mac: self.mac,
            mtu: self.mtu,
            vif_type: self.vif_type.clone(),
            vif_details: self.vif_details.clone().into(),
            endpoint: self.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
            project: self.project.clone(),
        }
    }
}

fn in_use(network: &Network, port: &Port, other: &DockerId) -> Error {
    let addresses: Vec<String> = port.addresses.iter().map(|address| address.ip.to_string()).collect();
    let addresses = addresses.join(", ");
    Error::Taken(format!("address {addresses} of network {} is in use by endpoint {other}; choose another", network.id))
}

/// In a subnet of SLAAC an address follows the MAC, and the engine has the address before it says the MAC.
fn check_mac(port: &Port, mac: Option<MacAddr>) -> Result<(), Error> {
    let Some(mac) = mac.filter(|mac| *mac != port.mac) else { return Ok(()) };
    match port.addresses.iter().find(|address| port.mac.makes(address.ip)) {
        Some(address) => Err(Error::Invalid(format!(
            "address {} comes from the MAC {}, which --mac-address {mac} would change; leave that out, or set [kuryr] ports_by_mac so that the MAC \
             is known when the address is asked for",
            address.ip, port.mac
        ))),
        None => Ok(()),
    }
}

fn two_existing(one: &Port, other: &Port) -> Error {
    Error::Invalid(format!(
        "ports {} and {} are both named for one container, which has one port; name one of them, with all its addresses",
        one.id, other.id
    ))
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
