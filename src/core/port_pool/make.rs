//! Making ports: one for an address that is asked for, by the one call to the cloud on a container's way, and those that are made ahead.

use std::net::IpAddr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{
    Core, Error, naming,
    record::{Address, AddressState, Entry, Network, Port, Subnet, Work},
};
use crate::{binding, mac::MacAddr, openstack};

/// The address that a port is wanted for.
pub(in super::super) struct Wanted<'a> {
    /// Its subnet.
    pub subnet: &'a Subnet,
    /// The address; none leaves the choice to Neutron.
    pub ip: Option<IpAddr>,
    /// The MAC; none leaves that to Neutron too.
    pub mac: Option<MacAddr>,
}

impl Core {
    /// A port with the wanted address granted, and on a dual-stack network with an address of the other family waiting: one port carries
    /// both families.
    pub(in super::super) async fn obtain_port(&self, network: &Network, wanted: &Wanted<'_>) -> Result<Port, Error> {
        let subnets = families(network, wanted.subnet);
        let body = self.port_body(network, &subnets, wanted);
        // It may have left by the time that we read the refusal.
        let leaving = self.removes_ports();
        let made = match self.neutron.create::<openstack::Port>(&body).await {
            Err(error) if error.is_conflict() => {
                let _refused = self.port_pool.refused();
                if !self.make_room(network, &error).await? && !leaving {
                    return Err(error.into());
                }
                self.neutron.create(&body).await?
            }
            other => other?,
        };
        let port = self.granted_port(network, wanted.subnet, &made);
        if let Err(error) = self.commit(vec![Entry::Port(port.clone())]).await {
            self.commit_at_any_rate(vec![self.promise(Work::RetirePort(Box::new(port)))]).await;
            return Err(error.into());
        }
        let granted = self.state().port(&made.id).cloned();
        granted.ok_or_else(|| Error::Unknown(format!("port {} was released while it was being made; try again", made.id)))
    }

    /// Gives a port that is not bound to an endpoint another address in one of its subnets.
    pub(in super::super) async fn readdress(&self, port: &Port, subnet: &Subnet, ip: IpAddr) -> Result<(), Error> {
        let new = |address: &Address| if address.pool == subnet.pool { ip } else { address.ip };
        let fixed_ips: Vec<Value> = port.addresses.iter().map(|address| fixed_ip(address.subnet, Some(new(address)))).collect();
        self.neutron.update::<openstack::Port>(port.id, &json!({"fixed_ips": fixed_ips})).await?;
        Ok(())
    }

    fn port_body(&self, network: &Network, subnets: &[&Subnet], wanted: &Wanted<'_>) -> Value {
        let ip_of = |subnet: &Subnet| wanted.ip.filter(|_| subnet.id == wanted.subnet.id);
        let fixed_ips: Vec<Value> = subnets.iter().map(|subnet| fixed_ip(subnet.id, ip_of(subnet))).collect();
        let mut body = json!({
            "name": naming::PORT_NAME,
            "admin_state_up": true,
            "network_id": network.neutron,
            "fixed_ips": fixed_ips,
            "device_owner": naming::DEVICE_OWNER,
            "binding:host_id": self.settings.host,
        });
        network.ports.write_into(&mut body);
        if let Some(mac) = wanted.mac {
            body["mac_address"] = json!(mac);
        }
        body
    }

    fn granted_port(&self, network: &Network, wanted: &Subnet, made: &openstack::Port) -> Port {
        let address = |fixed: &openstack::FixedIp| {
            let subnet = network.subnets.iter().find(|subnet| subnet.id == fixed.subnet_id)?;
            let state = if subnet.id == wanted.id { AddressState::Granted } else { AddressState::Waiting };
            Some(Address { ip: fixed.ip_address, subnet: subnet.id, pool: subnet.pool, state })
        };
        Port { addresses: made.fixed_ips.iter().filter_map(address).collect(), ..Port::new(network.id.clone(), network.mtu, made) }
    }

    /// Makes a port that nobody has asked for yet, and plugs it.
    pub(super) async fn make_ahead(&self, network: &Network) -> Result<(), Error> {
        let _making = self.port_pool.making();
        let subnets = network.pooled_families();
        let Some(first) = subnets.first() else { return Ok(()) };
        let mut body = self.port_body(network, &subnets, &Wanted { subnet: first, ip: None, mac: None });
        body["name"] = json!(naming::POOLED_NAME);
        let made: openstack::Port = self.neutron.create(&body).await?;
        let mut port = self.granted_port(network, first, &made);
        port.addresses.iter_mut().for_each(|address| address.state = AddressState::Waiting);
        port.pooled = true;
        port.groups = made.security_groups;
        self.state().held.insert(port.id);
        let _hold = super::Hold { core: self, port: port.id };
        {
            // The network is deleted before the port is written down, or takes the port along.
            let _turn = self.turns.take(format!("network {}", network.id)).await;
            let there = self.state().networks.contains_key(&network.id);
            let written = if there { self.commit(vec![Entry::Port(port.clone())]).await } else { Ok(()) };
            if !there || written.is_err() {
                self.commit_at_any_rate(vec![self.promise(Work::RetirePort(Box::new(port)))]).await;
                return Ok(written?);
            }
        }
        self.plug_ahead(port).await
    }

    /// Plugs a pooled port that the caller holds; what cannot be plugged goes.
    pub(super) async fn plug_ahead(&self, port: Port) -> Result<(), Error> {
        if !port.is_plugged_ahead() {
            return Ok(());
        }
        let plugged = self.bind(&port).await;
        let still_there = self.state().port(&port.id).is_some_and(|now| now.pooled);
        if still_there && plugged.is_err() {
            self.change_port(port.id, |state, port| Ok(self.retire(state, port))).await?;
        } else if !still_there {
            // Its network was deleted, and the link was to go before it came.
            self.unplug(&port).await?;
        }
        plugged
    }

    /// Gives back what is made ahead where that may help against a refusal, and waits for ports that are being removed; false when there were
    /// none. They may be all that is left, and so may those which are being made ahead right now.
    async fn make_room(&self, network: &Network, refusal: &openstack::Error) -> Result<bool, Error> {
        // A quota is all networks'. An address that is taken is not helped by others.
        let quota = refusal.kind() == "OverQuota";
        let full = matches!(refusal.kind(), "IpAddressGenerationFailure" | "NoIpsAvailable" | "NoMoreIps");
        if quota || full {
            self.port_pool.made().await;
        }
        let pooled: Vec<Uuid> = {
            let state = self.state();
            let networks = state.networks_with_pooled().filter(|id| quota || (full && **id == network.id));
            networks.flat_map(|id| state.pooled_on(id)).filter(|port| self.is_trusted(port)).map(|port| port.id).collect()
        };
        self.give_back(&pooled).await?;
        Ok(self.removals_settled(network, quota).await || !pooled.is_empty())
    }

    fn removes_ports(&self) -> bool {
        self.state().tasks.values().any(|task| matches!(task.work, Work::RetirePort(_)))
    }

    /// Waits for ports of this network, or of all, that are being removed; false when there were none.
    async fn removals_settled(&self, network: &Network, all: bool) -> bool {
        let pending = |core: &Self| {
            let state = core.state();
            let stuck = state.stuck();
            let removal = |work: &Work| matches!(work, Work::RetirePort(port) if all || port.network == network.id);
            state.tasks.values().any(|task| removal(&task.work) && !stuck.contains(&task.work.key()))
        };
        let mut waited = false;
        loop {
            let settled = self.backlog.notified();
            if !pending(self) {
                return waited;
            }
            waited = true;
            settled.await;
        }
    }
}

impl Network {
    /// The subnets that a port made ahead is on: those of a container whose user names no address.
    pub(super) fn pooled_families(&self) -> Vec<&Subnet> {
        let is_v4 = |subnet: &&Subnet| subnet.cidr.addr().is_ipv4();
        let first = self.subnets.iter().find(is_v4).or(self.subnets.first());
        first.map_or_else(Vec::new, |first| families(self, first))
    }
}

impl Port {
    /// Whether its link can be made before an endpoint is known: a script is told that, and what is not bound has none.
    pub(super) fn is_plugged_ahead(&self) -> bool {
        binding::needs_no_endpoint(&self.vif_type)
    }
}

/// The subnet asked for, and one of the other family if the network has it.
fn families<'a>(network: &'a Network, wanted: &'a Subnet) -> Vec<&'a Subnet> {
    let is_v4 = |subnet: &Subnet| subnet.cidr.addr().is_ipv4();
    // The engine asks for IPv4 first, so a lone IPv6 request is for an IPv6 address alone.
    let other = network.subnets.iter().find(|subnet| is_v4(wanted) && !is_v4(subnet));
    std::iter::once(wanted).chain(other).collect()
}

fn fixed_ip(subnet: Uuid, ip: Option<IpAddr>) -> Value {
    match ip {
        Some(ip) => json!({"subnet_id": subnet, "ip_address": ip}),
        None => json!({"subnet_id": subnet}),
    }
}
