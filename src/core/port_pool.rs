//! Where ports come from. Today each is made when an address is asked for, by the one call to the cloud on a container's way; ports
//! made ahead of use will be handed out here.

use std::net::IpAddr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Core, Error, naming, now,
    record::{Address, AddressState, Entry, Network, Port, Subnet, Work},
};
use crate::{mac::MacAddr, openstack};

/// The address that a port is wanted for.
pub(super) struct Wanted<'a> {
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
    pub(super) async fn obtain_port(&self, network: &Network, wanted: &Wanted<'_>) -> Result<Port, Error> {
        let subnets = families(network, wanted.subnet);
        let body = self.port_body(network, &subnets, wanted);
        let made = match self.neutron.create::<openstack::Port>(&body).await {
            // Addresses that wait to be given back may be all that is left.
            Err(error) if error.is_conflict() && self.removals_settled(network).await => self.neutron.create(&body).await?,
            other => other?,
        };
        let port = self.granted_port(network, wanted.subnet, &made);
        if let Err(error) = self.commit(vec![Entry::Port(port.clone())]).await {
            self.commit_at_any_rate(vec![self.promise(Work::RetirePort(Box::new(port)))]).await;
            return Err(error.into());
        }
        let granted = self.state().ports.get(&made.id).cloned();
        granted.ok_or_else(|| Error::Unknown(format!("port {} was released while it was being made; try again", made.id)))
    }

    /// Gives a port that is not bound to an endpoint another address in one of its subnets.
    pub(super) async fn readdress(&self, port: &Port, subnet: &Subnet, ip: IpAddr) -> Result<(), Error> {
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
        for (field, value) in &network.ports.fields {
            body[field] = value.clone();
        }
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
        Port {
            id: made.id,
            network: network.id.clone(),
            neutron_network: network.neutron,
            mac: made.mac_address,
            addresses: made.fixed_ips.iter().filter_map(address).collect(),
            vif_type: made.vif_type.clone().unwrap_or_default(),
            vif_details: made.vif_details.clone(),
            project: made.project_id.clone(),
            mtu: network.mtu,
            endpoint: None,
            exposing: false,
            existing: false,
            changed: Default::default(),
            created: now(),
        }
    }

    /// Waits for ports of this network that are being removed; false when there were none.
    async fn removals_settled(&self, network: &Network) -> bool {
        let pending = |core: &Self| {
            let state = core.state();
            let removal = |work: &Work| matches!(work, Work::RetirePort(port) if port.network == network.id);
            state.tasks.values().any(|task| removal(&task.work) && !state.retries.contains_key(&task.id))
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
