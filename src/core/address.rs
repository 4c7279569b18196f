//! IpamDriver.RequestAddress and ReleaseAddress.

use std::net::IpAddr;

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    Core, Error,
    port_pool::Wanted,
    record::{AddressState, Entry, Network, Pool, Port, Subnet, Work},
    request::{AddressPurpose, AddressRequest},
};

impl Core {
    /// IpamDriver.RequestAddress: the address with the prefix length of its subnet.
    pub async fn request_address(&self, request: AddressRequest) -> Result<IpNet, Error> {
        let (pool, network) = self.pool_and_network(request.pool)?;
        match network {
            None => self.reserve_before_network(pool, &request).await,
            Some(network) => {
                let subnet = network.subnets.iter().find(|subnet| subnet.pool == pool.id).cloned().ok_or_else(|| {
                    Error::Unknown(format!("network {} has no subnet for pool {}; remove and create it again", network.id, pool.id))
                })?;
                let ip = match request.purpose {
                    AddressPurpose::Gateway => existing_gateway(&subnet, request.address)?,
                    AddressPurpose::Endpoint { .. } => self.endpoint_address(&network, &subnet, request.address).await?,
                };
                Ok(with_prefix(ip, subnet.cidr))
            }
        }
    }

    /// IpamDriver.ReleaseAddress; an unknown address is released already. The port goes when the engine holds none of its addresses, even
    /// if an endpoint still has it: after a crash an engine releases addresses without deleting the endpoint.
    pub async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), Error> {
        let Ok(pool) = Uuid::parse_str(pool) else { return Ok(()) };
        let entries = {
            let state = self.state();
            match state.port_with(pool, address).cloned() {
                Some(mut port) => {
                    port.mark(pool, AddressState::Released);
                    if port.is_held() { vec![Entry::Port(port)] } else { self.retire(&state, port) }
                }
                None => match state.pools.get(&pool).cloned() {
                    Some(mut pool) if pool.network.is_none() => {
                        if pool.reserved.remove(&address) {
                            vec![Entry::Pool(pool)]
                        } else {
                            Vec::new()
                        }
                    }
                    _ => Vec::new(),
                },
            }
        };
        if entries.is_empty() { Ok(()) } else { Ok(self.commit(entries).await?) }
    }

    /// The entries by which a port ends: its link and the Neutron port go behind.
    pub(super) fn retire(&self, state: &super::State, mut port: Port) -> Vec<Entry> {
        // A binding script is told the endpoint that it unplugs.
        port.endpoint = port.endpoint.or_else(|| state.unplugging(port.id));
        let mut entries = state.call_off(port.id);
        entries.push(Entry::NoPort(port.id));
        entries.push(self.promise(Work::RetirePort(Box::new(port))));
        entries
    }

    fn pool_and_network(&self, id: Uuid) -> Result<(Pool, Option<Network>), Error> {
        let state = self.state();
        let pool = state.pools.get(&id).cloned().ok_or_else(|| {
            Error::Unknown(format!(
                "address pool {id} is not known on this host; remove the Docker network that uses it and create it again"
            ))
        })?;
        let network = pool.network.as_ref().and_then(|network| state.networks.get(network)).cloned();
        Ok((pool, network))
    }

    /// Before the network is made its gateway and auxiliary addresses are only noted; CreateNetwork tells Neutron of them.
    async fn reserve_before_network(&self, mut pool: Pool, request: &AddressRequest) -> Result<IpNet, Error> {
        let gateway = request.purpose == AddressPurpose::Gateway;
        let ip = match request.address {
            Some(ip) => ip,
            None if gateway => pool
                .cidr
                .hosts()
                .find(|ip| check_host(*ip, pool.cidr, "gateway").is_ok() && !pool.reserved.contains(ip))
                .ok_or_else(|| Error::Invalid(format!("{} has no room for a gateway; choose a larger subnet", pool.cidr)))?,
            None => return Err(Error::Unknown(format!("no network uses address pool {} ({}) yet; create one first", pool.id, pool.cidr))),
        };
        check_host(ip, pool.cidr, if gateway { "gateway" } else { "address" })?;
        if gateway {
            pool.gateway = Some(ip);
        } else {
            pool.reserved.insert(ip);
        }
        let answer = with_prefix(ip, pool.cidr);
        self.commit(vec![Entry::Pool(pool)]).await?;
        Ok(answer)
    }

    async fn endpoint_address(&self, network: &Network, subnet: &Subnet, wanted: Option<IpAddr>) -> Result<IpAddr, Error> {
        let Some(ip) = wanted else {
            return match self.take_waiting(subnet).await? {
                Some(ip) => Ok(ip),
                None => self.new_port(network, subnet, None).await,
            };
        };
        check_host(ip, subnet.cidr, "address")?;
        if subnet.gateway == Some(ip) || subnet.reserved.contains(&ip) {
            let what = if subnet.gateway == Some(ip) { "the gateway" } else { "an auxiliary address" };
            return Err(Error::Taken(format!("{ip} is {what} of network {}; choose another --ip", network.id)));
        }
        let _turn = self.turns.take(format!("address {ip} of {}", subnet.id)).await;
        let held = self.state().port_with(subnet.pool, ip).cloned();
        if let Some(port) = held {
            return self.grant_again(network, subnet, port, ip).await;
        }
        if self.take_back(subnet, ip).await? {
            return Ok(ip);
        }
        match self.waiting_port(subnet) {
            Some(port) => self.change_waiting(subnet, port, ip).await,
            None => self.new_port(network, subnet, Some(ip)).await,
        }
    }

    /// The engine asks for an address that this host has a port for.
    async fn grant_again(&self, network: &Network, subnet: &Subnet, mut port: Port, ip: IpAddr) -> Result<IpAddr, Error> {
        if let Some(endpoint) = &port.endpoint {
            return Err(Error::Taken(format!(
                "address {ip} of network {} is in use by endpoint {endpoint}; choose another --ip",
                network.id
            )));
        }
        // Nothing is bound to it: the engine lost our first reply, or gave up before it made the endpoint.
        port.mark(subnet.pool, AddressState::Granted);
        self.commit(vec![Entry::Port(port)]).await?;
        Ok(ip)
    }

    /// Takes the other family's address that was made together with the one granted just before. An engine asks for both addresses of an
    /// endpoint one after the other, under a lock of the network.
    async fn take_waiting(&self, subnet: &Subnet) -> Result<Option<IpAddr>, Error> {
        let Some(mut port) = self.waiting_port(subnet) else { return Ok(None) };
        let Some(ip) = port.address(subnet.pool).map(|address| address.ip) else { return Ok(None) };
        port.mark(subnet.pool, AddressState::Granted);
        self.commit(vec![Entry::Port(port)]).await?;
        Ok(Some(ip))
    }

    /// The newest port whose address out of this subnet's pool nobody has asked for.
    fn waiting_port(&self, subnet: &Subnet) -> Option<Port> {
        let state = self.state();
        let waiting = |port: &&Port| {
            port.endpoint.is_none()
                && port.is_held()
                && port.address(subnet.pool).is_some_and(|address| address.state == AddressState::Waiting)
        };
        state.ports.values().filter(waiting).max_by_key(|port| port.created).cloned()
    }

    /// `--ip6` on a dual-stack network: the port that came with the IPv4 address changes its other one.
    async fn change_waiting(&self, subnet: &Subnet, port: Port, ip: IpAddr) -> Result<IpAddr, Error> {
        match self.readdress(&port, subnet, ip).await {
            Ok(port) => {
                self.commit(vec![Entry::Port(port)]).await?;
                Ok(ip)
            }
            Err(error) => {
                // The engine never releases the first address when the second is refused.
                let entries = self.retire(&self.state(), port);
                self.commit(entries).await?;
                Err(error)
            }
        }
    }

    /// A restarted container with `--ip` asks for an address whose port waits to be removed: it gets that port back.
    async fn take_back(&self, subnet: &Subnet, ip: IpAddr) -> Result<bool, Error> {
        loop {
            let settled = self.backlog.notified();
            let claimed = {
                let mut state = self.state();
                let Some((task, port)) = state.retiring(subnet.pool, ip).map(|(task, port)| (task, port.clone())) else { return Ok(false) };
                // False when its removal is under way and cannot be called off any more.
                state.busy.insert(port.id).then_some((task, port))
            };
            let Some((task, mut port)) = claimed else {
                settled.await;
                continue;
            };
            port.endpoint = None;
            port.created = super::now();
            for address in &mut port.addresses {
                address.state = if address.ip == ip { AddressState::Granted } else { AddressState::Waiting };
            }
            let id = port.id;
            let outcome = self.commit(vec![Entry::NoTask(task), Entry::Port(port)]).await;
            self.state().busy.remove(&id);
            self.backlog.notify_waiters();
            outcome?;
            return Ok(true);
        }
    }

    async fn new_port(&self, network: &Network, subnet: &Subnet, ip: Option<IpAddr>) -> Result<IpAddr, Error> {
        let port = self.obtain_port(network, &Wanted { subnet, ip }).await?;
        let granted = port.address(subnet.pool).map(|address| address.ip);
        granted.ok_or_else(|| Error::Unknown(format!("Neutron made port {} without an address of subnet {}", port.id, subnet.id)))
    }
}

/// A network on a subnet that was there before: its gateway is a fact.
fn existing_gateway(subnet: &Subnet, wanted: Option<IpAddr>) -> Result<IpAddr, Error> {
    match (wanted, subnet.gateway) {
        (None, Some(gateway)) => Ok(gateway),
        (Some(wanted), Some(gateway)) if wanted == gateway => Ok(gateway),
        (wanted, gateway) => {
            let text = |ip: Option<IpAddr>| ip.map_or_else(|| "None".to_owned(), |ip| ip.to_string());
            Err(Error::Invalid(format!(
                "Requested gateway {} does not match with gateway {} in existed network.",
                text(wanted),
                text(gateway)
            )))
        }
    }
}

/// Refuses an address that cannot be a host of the subnet.
fn check_host(ip: IpAddr, cidr: IpNet, what: &str) -> Result<(), Error> {
    if !cidr.contains(&ip) {
        return Err(Error::Invalid(format!("{what} {ip} is outside of {cidr}; choose one inside (with --ip-range, inside of that range)")));
    }
    let long = cidr.prefix_len() + 1 < cidr.max_prefix_len();
    let broadcast = matches!(cidr, IpNet::V4(_)) && ip == cidr.broadcast();
    if long && (ip == cidr.network() || broadcast) {
        return Err(Error::Invalid(format!("{what} {ip} is the network or broadcast address of {cidr}; choose another")));
    }
    Ok(())
}

fn with_prefix(ip: IpAddr, cidr: IpNet) -> IpNet {
    // The prefix length comes from a valid range of the same family.
    IpNet::new(ip, cidr.prefix_len()).unwrap_or_else(|_| IpNet::from(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_the_subnet_are_addresses() {
        let check = |ip: &str, cidr: &str| check_host(ip.parse().unwrap(), cidr.parse().unwrap(), "address");
        for (ip, cidr) in
            [("10.0.0.1", "10.0.0.0/24"), ("10.0.0.0", "10.0.0.0/31"), ("10.0.0.1", "10.0.0.0/31"), ("fd00::ffff", "fd00::/112")]
        {
            assert!(check(ip, cidr).is_ok(), "{ip} {cidr}");
        }
        for (ip, cidr) in [("10.0.1.1", "10.0.0.0/24"), ("10.0.0.0", "10.0.0.0/24"), ("10.0.0.255", "10.0.0.0/24"), ("fd00::", "fd00::/64")]
        {
            assert!(check(ip, cidr).is_err(), "{ip} {cidr}");
        }
    }
}
