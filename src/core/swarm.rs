//! What a manager of a swarm asks (`capability_scope = global`). It takes addresses for the tasks of all nodes, and a node then asks its own
//! kuryr for the same address again. Neutron is what the two share: the manager makes the network and, for each address, a port that is
//! bound nowhere; nodes join that network by its id, which AllocateNetwork hands them, and use the port as one that was there before.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;
use uuid::Uuid;

use super::{
    Core, Error,
    address::with_prefix,
    claim::check_repeated,
    existing_port::is_used,
    naming,
    record::{Entry, Network, Pool, Subnet, Work},
    request::{DockerId, DriverOptions, NetworkRequest},
    work::gone,
};
use crate::openstack;

impl Core {
    /// NetworkDriver.AllocateNetwork: makes the Neutron network of a swarm's network, or takes part in the one that the options name, and answers
    /// the options for the nodes. A manager that takes over, or whose engine was started again, asks once more with those.
    pub async fn allocate_network(&self, mut request: NetworkRequest) -> Result<DriverOptions, Error> {
        let mut options = request.options.clone();
        request.network = request.network.of_manager();
        let id = request.network.clone();
        let known = self.state().networks.contains_key(&id);
        if known {
            self.follow_pools(&request).await?;
        } else {
            self.create_network(request).await?;
        }
        let neutron = self.state().networks.get(&id).map(|network| network.neutron);
        let neutron = neutron.ok_or_else(|| Error::Unknown(format!("network {id} was freed while it was being made; try again")))?;
        options.insert("neutron.net.uuid".into(), neutron.to_string());
        Ok(options)
    }

    /// NetworkDriver.FreeNetwork: the manager leaves the network. Its pools, which it gives back only after this, go with it.
    pub async fn free_network(&self, network: &DockerId) -> Result<(), Error> {
        let id = network.of_manager();
        let pools: Vec<Uuid> = {
            let state = self.state();
            state.pools.values().filter(|pool| pool.network.as_ref() == Some(&id)).map(|pool| pool.id).collect()
        };
        for pool in pools {
            self.release_known_pool(pool).await;
        }
        self.delete_known_network(&id).await;
        Ok(())
    }

    /// An engine that was started again has taken the pools of its networks anew, and names those from now on.
    async fn follow_pools(&self, request: &NetworkRequest) -> Result<(), Error> {
        let _turn = self.turns.take(format!("network {}", request.network)).await;
        let entries = {
            let state = self.state();
            let Some(mut network) = state.networks.get(&request.network).cloned() else { return Ok(()) };
            check_repeated(&network, request)?;
            let mut entries = Vec::new();
            for subnet in &mut network.subnets {
                let newest = state.unbound_pools(subnet.cidr).filter(|pool| pool.manager).max_by_key(|pool| pool.granted);
                let Some(newest) = newest else { continue };
                entries.push(Entry::NoPool(subnet.pool));
                entries.push(Entry::Pool(Pool { network: Some(network.id.clone()), ..newest.clone() }));
                subnet.pool = newest.id;
            }
            entries.push(Entry::Network(network));
            entries
        };
        Ok(self.commit(entries).await?)
    }

    /// Takes an address of a manager's network for a task or a service, as a port that is bound nowhere.
    pub(super) async fn reserve(&self, network: &Network, subnet: &Subnet, wanted: Option<IpAddr>) -> Result<IpNet, Error> {
        if let Some(ip) = wanted {
            self.call_off_release(subnet, ip).await;
            if let Some(port) = self.port_at(subnet.id, ip).await? {
                // A manager that takes over names the addresses that are in use, of which this is one, or the user that of a port of his own.
                return if port.name == naming::RESERVED_PORT || !is_used(&port) {
                    Ok(with_prefix(ip, subnet.cidr))
                } else {
                    Err(Error::Taken(format!("address {ip} of network {} is in use by port {}; choose another --ip", network.id, port.id)))
                };
            }
        }
        let fixed_ip = match wanted {
            Some(ip) => json!({"subnet_id": subnet.id, "ip_address": ip}),
            None => json!({"subnet_id": subnet.id}),
        };
        let mut body = json!({
            "name": naming::RESERVED_PORT,
            "admin_state_up": true,
            "network_id": network.neutron,
            "fixed_ips": [fixed_ip],
        });
        // The node uses it as one that was there before, and so leaves these as they are.
        network.ports.write_into(&mut body);
        let made = self.neutron.create::<openstack::Port>(&body).await?;
        let ip = made.fixed_ips.iter().find(|fixed| fixed.subnet_id == subnet.id).map(|fixed| fixed.ip_address);
        ip.map(|ip| with_prefix(ip, subnet.cidr))
            .ok_or_else(|| Error::Unknown(format!("Neutron made port {} without an address of subnet {}", made.id, subnet.id)))
    }

    /// The task by which a manager's address goes, unless the pool is none of a manager's network.
    pub(super) fn reservation_to_end(&self, pool: Uuid, address: IpAddr) -> Option<Work> {
        let state = self.state();
        let network = state.pools.get(&pool)?.network.as_ref().filter(|network| network.is_of_manager())?;
        let subnet = state.networks.get(network)?.subnets.iter().find(|subnet| subnet.pool == pool)?;
        (subnet.gateway != Some(address)).then_some(Work::EndReservation { subnet: subnet.id, address })
    }

    /// The manager asks for an address that it has just given back.
    async fn call_off_release(&self, subnet: &Subnet, ip: IpAddr) {
        let work = Work::EndReservation { subnet: subnet.id, address: ip };
        loop {
            let settled = self.backlog.notified();
            let due: Vec<Entry> = {
                let state = self.state();
                let tasks: Vec<_> = state.tasks.values().filter(|task| task.work == work).map(|task| task.id).collect();
                if tasks.is_empty() {
                    return;
                }
                if state.busy.contains(&work.key()) { Vec::new() } else { tasks.into_iter().map(Entry::NoTask).collect() }
            };
            if due.is_empty() {
                settled.await;
            } else {
                self.commit_at_any_rate(due).await;
            }
        }
    }

    /// Removes the port of an address that the manager has given back, when no node uses it any more.
    pub(super) async fn end_reservation(&self, subnet: Uuid, address: IpAddr) -> Result<(), Error> {
        match self.port_at(subnet, address).await? {
            Some(port) if port.name == naming::RESERVED_PORT => self.remove_reserved(&port).await,
            _ => Ok(()),
        }
    }

    /// Removes what a manager still holds of a network that it leaves. As long as a node uses a port, it has to wait: nobody would come for it later.
    pub(super) async fn end_reservations(&self, network: &Network) -> Result<(), Error> {
        let query = [("network_id", network.neutron.to_string()), ("name", naming::RESERVED_PORT.to_owned())];
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let mut outcome = Ok(());
        for port in self.neutron.list::<openstack::Port>(&query).await? {
            outcome = outcome.and(self.remove_reserved(&port).await);
        }
        outcome
    }

    async fn remove_reserved(&self, port: &openstack::Port) -> Result<(), Error> {
        if is_used(port) {
            return Err(Error::Taken(format!("port {} is still in use by a node of the swarm", port.id)));
        }
        gone(self.neutron.delete::<openstack::Port>(port.id).await)
    }
}
