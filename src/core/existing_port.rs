//! Ports that were there before: an operator, Zun or somebody else made them, and `--ip` or `--mac-address` chooses one. Such a port is used and not
//! owned. What it needs for an endpoint is written before its link is made, and no more than what is not so yet; it is taken back when the engine
//! releases the addresses. One that anything else uses is refused and left alone.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Core, Error,
    address::given_back,
    adopt::only_docker_id,
    naming,
    port_driver::Vnic,
    record::{Address, AddressState, Entry, Network, Port, Subnet},
    request::{DockerId, EndpointRequest},
    work::gone,
};
use crate::{mac::MacAddr, openstack};

/// How often a port that others change at the same moment is looked at again.
const ATTEMPTS: usize = 5;
/// The fields that options of an endpoint set.
const OPTIONAL: [&str; 3] = ["security_groups", "qos_policy_id", "dns_name"];

/// By what a port that was there before is chosen.
#[derive(Clone, Copy)]
enum Sought {
    Address(IpAddr),
    Mac(MacAddr),
    Id(Uuid),
}

impl Core {
    /// Grants the address of a port that was there before; none when no port has the address.
    pub(super) async fn take_existing(&self, network: &Network, subnet: &Subnet, ip: IpAddr) -> Result<Option<IpAddr>, Error> {
        self.take_sought(network, subnet, Sought::Address(ip)).await
    }

    /// Grants the address that a port with this MAC has on the subnet; none when no port has the MAC.
    pub(super) async fn take_existing_by_mac(&self, network: &Network, subnet: &Subnet, mac: MacAddr) -> Result<Option<IpAddr>, Error> {
        self.take_sought(network, subnet, Sought::Mac(mac)).await
    }

    /// Grants the address that the port of this id has on the subnet.
    pub(super) async fn take_existing_by_id(&self, network: &Network, subnet: &Subnet, port: Uuid) -> Result<IpAddr, Error> {
        let taken = self.take_sought(network, subnet, Sought::Id(port)).await?;
        taken.ok_or_else(|| no_such_port(port))
    }

    /// The port that has an address of a subnet, if one has.
    pub(super) async fn port_at(&self, subnet: Uuid, ip: IpAddr) -> Result<Option<openstack::Port>, Error> {
        let query = [format!("subnet_id={subnet}"), format!("ip_address={ip}")];
        let listed = self.neutron.list::<openstack::Port>(&[("fixed_ips", &query[0]), ("fixed_ips", &query[1])]).await?;
        // Neutron takes the two for conditions on any addresses of a port.
        let has = |port: &openstack::Port| port.fixed_ips.iter().any(|fixed| fixed.subnet_id == subnet && fixed.ip_address == ip);
        Ok(listed.into_iter().find(has))
    }

    /// The port that has a MAC on a network of Neutron, if one has.
    pub(super) async fn port_with_mac(&self, network: Uuid, mac: MacAddr) -> Result<Option<openstack::Port>, Error> {
        let query = [network.to_string(), mac.to_string()];
        let listed = self.neutron.list::<openstack::Port>(&[("network_id", &query[0]), ("mac_address", &query[1])]).await?;
        Ok(listed.into_iter().find(|port| port.mac_address == mac))
    }

    /// Whether a port may be the one of a Docker network's endpoint.
    pub(super) async fn check_port(&self, port: Uuid, network: Option<&openstack::Network>) -> Result<(), Error> {
        let found = self.port_by_id(port).await?;
        if network.is_some_and(|network| network.id == found.network_id) {
            return Ok(());
        }
        let its = found.network_id;
        Err(Error::Invalid(format!("port {port} is on network {its}, not on this one; name that with neutron.net.uuid={its}")))
    }

    async fn port_by_id(&self, port: Uuid) -> Result<openstack::Port, Error> {
        match self.neutron.show::<openstack::Port>(port).await {
            Err(error) if error.is_not_found() => Err(no_such_port(port)),
            outcome => Ok(outcome?),
        }
    }

    /// The port that `--driver-opt` names in place of the one that has the addresses. An engine asks for addresses before it tells the options, so
    /// that a port with other addresses cannot be used; one without any gets those.
    pub(super) async fn named_port(&self, network: &Network, granted: Port, named: Uuid) -> Result<Port, Error> {
        let found = self.port_by_id(named).await?;
        if found.network_id != network.neutron {
            return Err(Error::Invalid(format!("port {named} is on network {}, not on {}", found.network_id, network.neutron)));
        }
        let own: Vec<_> = found.fixed_ips.iter().filter(|fixed| !network.is_beside(fixed, found.mac_address)).collect();
        if !own.is_empty() {
            let options: Vec<String> = own.iter().map(|fixed| option_for(fixed.ip_address)).collect();
            let has: Vec<String> = granted.addresses.iter().map(|address| address.ip.to_string()).collect();
            return Err(Error::Invalid(format!(
                "port {named} has other addresses than {}, which the engine has taken before it told of the port; add {}",
                has.join(" and "),
                options.join(" and ")
            )));
        }
        self.write_down(network, &found, None).await?;
        let record = record(network, &found, None);
        let merged = self.merge(record, granted).await;
        if merged.is_err() {
            self.change_port(named, |state, port| Ok(self.retire(state, port))).await?;
        }
        merged
    }

    /// Grants the address that is sought, or the one that the port has on the subnet.
    async fn take_sought(&self, network: &Network, subnet: &Subnet, sought: Sought) -> Result<Option<IpAddr>, Error> {
        loop {
            let (found, ip) = match sought {
                Sought::Address(ip) => (self.port_at(subnet.id, ip).await?, Some(ip)),
                Sought::Mac(mac) => (self.port_with_mac(network.neutron, mac).await?, None),
                Sought::Id(port) => (Some(self.port_by_id(port).await?), None),
            };
            let Some(found) = found else { return Ok(None) };
            if !self.left_its_endpoint(found.id).await {
                return self.take(network, subnet, &found, ip).await.map(Some);
            }
        }
    }

    /// Waits for what this host still has to do with a port that its last endpoint has left; false when there was nothing.
    async fn left_its_endpoint(&self, port: Uuid) -> bool {
        let mut waited = false;
        loop {
            let settled = self.backlog.notified();
            {
                let state = self.state();
                let leaving = state.first_task(port).is_some_and(|task| !state.retries.contains_key(&task));
                if state.ports.contains_key(&port) || !leaving {
                    return waited;
                }
            }
            waited = true;
            settled.await;
        }
    }

    async fn take(&self, network: &Network, subnet: &Subnet, found: &openstack::Port, ip: Option<IpAddr>) -> Result<IpAddr, Error> {
        let on_subnet = found.fixed_ips.iter().find(|fixed| fixed.subnet_id == subnet.id).map(|fixed| fixed.ip_address);
        let ip = ip.or(on_subnet).ok_or_else(|| {
            Error::Invalid(format!("port {} has no address in {}; give it one, or choose another port", found.id, subnet.cidr))
        })?;
        self.write_down(network, found, Some((subnet, ip))).await?;
        Ok(ip)
    }

    /// Writes a port down as the one for an endpoint to come, unless anything uses it.
    async fn write_down(&self, network: &Network, found: &openstack::Port, granted: Option<(&Subnet, IpAddr)>) -> Result<(), Error> {
        let _turn = self.turns.take(format!("port {}", found.id)).await;
        let known = self.state().port(&found.id).cloned();
        let reason = match known {
            Some(Port { endpoint: Some(endpoint), .. }) => Some(format!("is in use by endpoint {endpoint}")),
            Some(_) => Some("is about to be used by another endpoint".to_owned()),
            None => occupied(found, &self.settings.host).or_else(|| endpoint_of_others(found)),
        };
        if let Some(reason) = reason {
            let has = granted.map(|(_, ip)| format!(", which has the address {ip} of network {},", network.id)).unwrap_or_default();
            return Err(Error::Taken(format!("port {}{has} {reason}; choose another --ip, or a port that nothing uses", found.id)));
        }
        self.commit(vec![Entry::Port(record(network, found, granted))]).await?;
        tracing::info!(port = %found.id, name = found.name, "a port that was there before is used");
        Ok(())
    }

    /// Writes into Neutron what an endpoint needs of its port before the link is made: host, owner, device and MAC of a port that was there
    /// before, and `options` of any. Nothing is written that is so already. A port made ahead has its link, which goes before other groups are
    /// written.
    pub(super) async fn prepare(&self, mut port: Port, request: &EndpointRequest, options: &Map<String, Value>) -> Result<Port, Error> {
        if (!port.existing && options.is_empty() && port.changed.is_empty()) || port.is_on_trunk() {
            return Ok(port);
        }
        for _ in 0..ATTEMPTS {
            let found = self.neutron.show::<openstack::Port>(port.id).await?;
            if let Some(reason) = occupied(&found, &self.settings.host).filter(|_| port.existing) {
                return Err(Error::Taken(format!("port {}, which the address belongs to, {reason}; choose another --ip", port.id)));
            }
            let mut body = self.wanted(&port, &found, request, options);
            if body.contains_key("mac_address") && !found.host_id.is_empty() {
                // Neutron changes the MAC only of a port that is not bound.
                body = Map::from_iter([("binding:host_id".to_owned(), json!(""))]);
            }
            if body.contains_key("security_groups") {
                self.take_link_off(&port).await?;
            }
            for field in body.keys().filter(|field| !matches!(field.as_str(), "binding:host_id" | "device_owner")) {
                port.changed.entry(field.clone()).or_insert_with(|| field_of(&found, field));
            }
            let changed = port.changed.clone();
            let before = |_: &super::State, now: Port| Ok(vec![Entry::Port(Port { changed, ..now })]);
            self.change_port(port.id, before).await?.ok_or_else(|| given_back(port.id))?;
            let found = match body.is_empty() {
                true => found,
                false => match self.neutron.update_at::<openstack::Port>(port.id, found.revision_number, &body).await {
                    Err(error) if error.is_outdated() => continue,
                    outcome => outcome?,
                },
            };
            if port.existing && found.host_id != self.settings.host {
                continue;
            }
            let mut prepared = None;
            self.change_port(port.id, |_, mut now| {
                now.mac = found.mac_address;
                now.vif_type = found.vif_type.clone().unwrap_or_default();
                now.vif_details = found.vif_details.clone().into();
                now.vnic = Vnic::of(&found).map(Box::new);
                prepared = Some(now.clone());
                Ok(vec![Entry::Port(now)])
            })
            .await?;
            return prepared.ok_or_else(|| given_back(port.id));
        }
        Err(Error::Taken(format!("port {} is being changed by others again and again; try again when they are done", port.id)))
    }

    /// The fields of a port that are not yet as the endpoint needs them.
    fn wanted(&self, port: &Port, found: &openstack::Port, request: &EndpointRequest, options: &Map<String, Value>) -> Map<String, Value> {
        // What an endpoint before this one set, and this one does not.
        let mut wanted: Map<String, Value> = port
            .changed
            .iter()
            .filter(|(field, _)| OPTIONAL.contains(&field.as_str()))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        wanted.extend(options.clone());
        if port.existing {
            wanted.insert("binding:host_id".into(), json!(self.settings.host));
            wanted.insert("device_owner".into(), json!(naming::DEVICE_OWNER));
            wanted.insert("admin_state_up".into(), json!(true));
            if (found.device_id.is_empty() && !self.wants_no_device()) || port.changed.contains_key("device_id") {
                wanted.insert("device_id".into(), json!(request.endpoint.as_str()));
            }
            if let Some(mac) = request.mac {
                wanted.insert("mac_address".into(), json!(mac));
            }
        }
        wanted.retain(|field, value| !equal(&field_of(found, field), value));
        wanted
    }

    /// The tags of an endpoint on a port that was there before, beside those that others wrote.
    pub(super) async fn tag_existing(&self, port: Uuid, endpoint: &DockerId) -> Result<(), openstack::Error> {
        let found = self.neutron.show::<openstack::Port>(port).await?;
        let mut wanted = vec![naming::EXISTING_PORT.to_owned()];
        wanted.extend(naming::id_tags(endpoint));
        for stale in found.tags.iter().filter(|tag| is_ours(tag) && !wanted.contains(tag)) {
            self.neutron.remove_tag::<openstack::Port>(port, stale).await?;
        }
        for missing in wanted.iter().filter(|tag| !found.tags.contains(tag)) {
            self.neutron.add_tag::<openstack::Port>(port, missing).await?;
        }
        Ok(())
    }

    /// Puts a port back as it was before this host used it. The tags go last: as long as they are there nobody else takes the port.
    pub(super) async fn give_port_back(&self, port: &Port) -> Result<(), Error> {
        if port.exposing {
            self.conceal(port.id).await?;
        }
        let Some((found, mac)) = self.unbind_existing(port).await? else { return Ok(()) };
        if let Some(mac) = mac {
            // Only when it is bound to no host any more.
            gone(self.neutron.update::<openstack::Port>(port.id, &json!({"mac_address": mac})).await)?;
        }
        let mut tags: Vec<&String> = found.tags.iter().filter(|tag| is_ours(tag)).collect();
        tags.sort_by_key(|tag| tag.starts_with(naming::LOWER_HALF));
        for tag in tags {
            self.neutron.remove_tag::<openstack::Port>(port.id, tag).await?;
        }
        Ok(())
    }

    /// Takes host, owner and what kuryr changed off a port, and gives it back as it was read, with the MAC that it is still to get; none when
    /// there is nothing to do any more.
    async fn unbind_existing(&self, port: &Port) -> Result<Option<(openstack::Port, Option<Value>)>, Error> {
        loop {
            let found = match self.neutron.show::<openstack::Port>(port.id).await {
                Err(error) if error.is_not_found() => return Ok(None),
                outcome => outcome?,
            };
            if !found.host_id.is_empty() && found.host_id != self.settings.host && !port.is_on_trunk() {
                tracing::info!(port = %port.id, host = found.host_id, "left as it is, since another host has it by now");
                return Ok(None);
            }
            let mut body = port.changed.clone();
            let mac = body.remove("mac_address").filter(|mac| *mac != json!(found.mac_address));
            body.extend([("device_owner".to_owned(), json!("")), ("binding:host_id".to_owned(), json!(""))]);
            body.retain(|field, value| !equal(&field_of(&found, field), value));
            if body.is_empty() {
                return Ok(Some((found, mac)));
            }
            match self.neutron.update_at::<openstack::Port>(port.id, found.revision_number, &body).await {
                Err(error) if error.is_outdated() => {}
                outcome => {
                    gone(outcome)?;
                    return Ok(Some((found, mac)));
                }
            }
        }
    }

    /// Writes down what a port had before kuryr adds `added` to its addresses, and adds them.
    pub(super) async fn add_addresses(&self, port: &Port, added: &[Address]) -> Result<Port, Error> {
        let fixed_ip = |address: &Address| json!({"subnet_id": address.subnet, "ip_address": address.ip});
        loop {
            let found = self.neutron.show::<openstack::Port>(port.id).await?;
            let before = json!(found.fixed_ips);
            let new = added.iter().filter(|address| !found.fixed_ips.iter().any(|fixed| fixed.ip_address == address.ip));
            let fixed_ips: Vec<Value> = found.fixed_ips.iter().map(|fixed| json!(fixed)).chain(new.map(fixed_ip)).collect();
            let mut changed = None;
            self.change_port(port.id, |_, mut now| {
                now.changed.entry("fixed_ips").or_insert(before);
                changed = Some(now.clone());
                Ok(vec![Entry::Port(now)])
            })
            .await?;
            let changed = changed.ok_or_else(|| given_back(port.id))?;
            match self.neutron.update_at::<openstack::Port>(port.id, found.revision_number, &json!({"fixed_ips": fixed_ips})).await {
                Err(error) if error.is_outdated() => {}
                outcome => return Ok(outcome.map(|_| changed)?),
            }
        }
    }
}

/// Whether the port was there before kuryr used it.
pub(super) fn was_there(port: &openstack::Port) -> bool {
    port.tags.iter().any(|tag| tag == naming::EXISTING_PORT)
}

/// What of a port that was there before is known to be kuryr's, when the journal is lost: the endpoint's id in it.
pub(super) fn to_restore(port: &openstack::Port) -> Map<String, Value> {
    let ours = was_there(port) && DockerId::parse(&port.device_id).is_some_and(|id| Some(id) == only_docker_id(&port.tags));
    if ours { Map::from_iter([("device_id".to_owned(), json!(""))]) } else { Map::new() }
}

/// What else has the port, in words behind `which`; none when kuryr of this host may use it.
fn occupied(port: &openstack::Port, host: &str) -> Option<String> {
    let owner = port.device_owner.as_str();
    if !matches!(owner, "" | naming::DEVICE_OWNER | naming::OLD_DEVICE_OWNER) {
        return Some(format!("belongs to {owner} (device '{}')", port.device_id));
    }
    (!port.host_id.is_empty() && port.host_id != host).then(|| format!("is in use on host {}", port.host_id))
}

/// Whether an endpoint has the port that this host knows nothing of, in words behind `which`.
fn endpoint_of_others(port: &openstack::Port) -> Option<String> {
    let tagged = port.tags.iter().any(|tag| tag.starts_with(naming::LOWER_HALF));
    if tagged {
        let endpoint = only_docker_id(&port.tags).map(|id| format!(" {id}")).unwrap_or_default();
        return Some(format!("bears the tags of an endpoint{endpoint}"));
    }
    let made_by_kuryr = port.device_owner == naming::DEVICE_OWNER && [naming::PORT_NAME, naming::POOLED_NAME].contains(&port.name.as_str());
    made_by_kuryr.then(|| "a kuryr made for another container".to_owned())
}

/// Whether something uses the port, or has still to put it back as it was.
pub(super) fn is_used(port: &openstack::Port) -> bool {
    !port.device_owner.is_empty() || !port.device_id.is_empty() || !port.host_id.is_empty() || port.tags.iter().any(|tag| is_ours(tag))
}

fn is_ours(tag: &str) -> bool {
    tag == naming::EXISTING_PORT || tag.starts_with(naming::LOWER_HALF) || tag.starts_with(naming::UPPER_HALF)
}

fn no_such_port(port: Uuid) -> Error {
    Error::Invalid(format!("port {port} does not exist; check neutron.port.uuid and that the project of kuryr's user may see the port"))
}

fn option_for(ip: IpAddr) -> String {
    if ip.is_ipv4() { format!("--ip {ip}") } else { format!("--ip6 {ip}") }
}

/// The address of the one subnet is granted, that in another subnet of the network waits to be asked for.
fn record(network: &Network, found: &openstack::Port, granted: Option<(&Subnet, IpAddr)>) -> Port {
    let granted = granted.map(|(subnet, ip)| Address { ip, subnet: subnet.id, pool: subnet.pool, state: AddressState::Granted });
    let mut addresses: Vec<Address> = granted.into_iter().collect();
    let asked_for = addresses.first().map(|address| address.subnet);
    for subnet in network.subnets.iter().filter(|subnet| Some(subnet.id) != asked_for) {
        let fixed = found.fixed_ips.iter().find(|fixed| fixed.subnet_id == subnet.id);
        addresses.extend(fixed.map(|fixed| Address {
            ip: fixed.ip_address,
            subnet: subnet.id,
            pool: subnet.pool,
            state: AddressState::Waiting,
        }));
    }
    Port { addresses, existing: true, ..Port::new(network.id.clone(), network.mtu, found) }
}

/// The value of a field of a port, by Neutron's name.
fn field_of(port: &openstack::Port, field: &str) -> Value {
    match field {
        "binding:host_id" => json!(port.host_id),
        "device_owner" => json!(port.device_owner),
        "device_id" => json!(port.device_id),
        "admin_state_up" => json!(port.admin_state_up),
        "mac_address" => json!(port.mac_address),
        "security_groups" => json!(port.security_groups),
        "fixed_ips" => json!(port.fixed_ips),
        other => port.extra.get(other).cloned().unwrap_or_default(),
    }
}

/// The order in a list means nothing.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().all(|item| other.contains(item)),
        _ => one == other,
    }
}
