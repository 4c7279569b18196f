//! IpamDriver.RequestAddress and ReleaseAddress.

use std::{net::IpAddr, time::Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use uuid::Uuid;

use super::{
    Core, Error,
    network::gateway_mismatch,
    port_pool::Wanted,
    record::{Address, AddressState, Entry, Network, Pool, Port, Subnet, Work},
    request::{AddressPurpose, AddressRequest},
};
use crate::{mac::MacAddr, openstack};

impl Core {
    /// IpamDriver.RequestAddress: the address with the prefix length of its subnet.
    pub async fn request_address(&self, request: AddressRequest) -> Result<IpNet, Error> {
        self.known_pool(request.pool).await?;
        let (pool, network) = self.pool_and_network(request.pool)?;
        match network {
            None => self.reserve_before_network(pool, &request).await,
            Some(network) => {
                let subnet = network.subnets.iter().find(|subnet| subnet.pool == pool.id).cloned().ok_or_else(|| {
                    Error::Unknown(format!("network {} has no subnet for pool {}; remove and create it again", network.id, pool.id))
                })?;
                if network.id.is_of_manager() {
                    return match request.purpose {
                        AddressPurpose::Gateway => Ok(existing_gateway(&subnet, request.address)?
                            .map_or_else(|| no_gateway(subnet.cidr), |ip| with_prefix(ip, subnet.cidr))),
                        AddressPurpose::Endpoint { .. } => self.reserve(&network, &subnet, request.address).await,
                    };
                }
                let ip = match request.purpose {
                    AddressPurpose::Gateway => existing_gateway(&subnet, request.address)?,
                    AddressPurpose::Endpoint { mac } => Some(self.endpoint_address(&network, &subnet, request.address, mac).await?),
                };
                Ok(ip.map_or_else(|| no_gateway(subnet.cidr), |ip| with_prefix(ip, subnet.cidr)))
            }
        }
    }

    /// IpamDriver.ReleaseAddress; an unknown address is released already, or by now if Neutron still has it. The port goes when the engine
    /// holds none of its addresses, even if an endpoint still has it: after a crash an engine releases addresses without deleting the endpoint.
    pub async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), Error> {
        let Ok(pool) = Uuid::parse_str(pool) else { return Ok(()) };
        let known = self.state().pools.contains_key(&pool);
        if known {
            self.release_known_address(pool, address).await;
        } else {
            self.commit_at_any_rate(vec![self.promise(Work::LateAddress { pool, address })]).await;
        }
        Ok(())
    }

    /// Releases an address of a pool that this host knows.
    pub(super) async fn release_known_address(&self, pool: Uuid, address: IpAddr) {
        if let Some(work) = self.reservation_to_end(pool, address) {
            return self.commit_at_any_rate(vec![self.promise(work)]).await;
        }
        let found = self.state().port_with(pool, address).map(|port| port.id);
        match found {
            Some(port) => {
                let _turn = self.turns.take(format!("port {port}")).await;
                let entries = {
                    let state = self.state();
                    let known = state.port_with(pool, address).filter(|port| !port.pooled).cloned();
                    let Some(mut port) = known else { return };
                    port.mark(pool, AddressState::Released);
                    if port.is_held() { vec![Entry::Port(port)] } else { self.retire(&state, port) }
                };
                self.commit_at_any_rate(entries).await;
            }
            None => {
                let _turn = self.turns.take(format!("pool {pool}")).await;
                let known = self.state().pools.get(&pool).cloned();
                if let Some(mut pool) = known.filter(|pool| pool.network.is_none())
                    && pool.reserved.remove(&address)
                {
                    self.commit_at_any_rate(vec![Entry::Pool(pool)]).await;
                }
            }
        }
    }

    /// The entries by which a port ends: its link and the Neutron port go behind.
    pub(super) fn retire(&self, state: &super::State, mut port: Port) -> Vec<Entry> {
        if let Some(before) = state.unplugging(port.id) {
            // A binding script is told the endpoint that it unplugs.
            port.endpoint = port.endpoint.or_else(|| before.endpoint.clone());
            port.inherit(before);
        }
        port.exposing |= state.exposes(port.id);
        let mut entries = state.call_off_port(port.id);
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
    async fn reserve_before_network(&self, pool: Pool, request: &AddressRequest) -> Result<IpNet, Error> {
        let gateway = request.purpose == AddressPurpose::Gateway;
        let ip = match (request.address, gateway) {
            (Some(ip), true) if pool.subnet.is_some() && pool.gateway != Some(ip) => {
                return Err(Error::Invalid(format!("{}.", gateway_mismatch(Some(ip), pool.gateway))));
            }
            (Some(ip), _) => ip,
            (None, true) => match self.likely_gateway(&pool).await? {
                Some(ip) => ip,
                None => return Ok(no_gateway(pool.cidr)),
            },
            (None, false) => {
                return Err(Error::Unknown(format!("no network uses address pool {} ({}) yet; create one first", pool.id, pool.cidr)));
            }
        };
        let anycast = gateway && ip.is_ipv6() && ip == pool.cidr.network();
        // The first address of an IPv6 range means its routers, and is the gateway that Neutron chooses by itself.
        if !anycast {
            check_host(ip, pool.cidr, if gateway { "gateway" } else { "address" })?;
        }
        let answer = with_prefix(ip, pool.cidr);
        let _turn = self.turns.take(format!("pool {}", pool.id)).await;
        let mut pool = self.pool_and_network(pool.id)?.0;
        if gateway {
            pool.gateway = Some(ip);
            pool.guessed = request.address.is_none();
        } else {
            pool.reserved.insert(ip);
        }
        self.commit(vec![Entry::Pool(pool)]).await?;
        Ok(answer)
    }

    /// The gateway of a range for which the user named none: that of the subnet the pool is for, or of the subnets that Neutron has with this
    /// range, if they agree, since the network may be put upon one of them. Else the first address. None where those subnets have no gateway.
    /// Where no kuryr has used the range before, the guess is not worth a search in the whole cloud, unless nodes of a swarm will insist on it.
    async fn likely_gateway(&self, pool: &Pool) -> Result<Option<IpAddr>, Error> {
        if pool.subnet.is_some() {
            return Ok(pool.gateway);
        }
        let fresh = pool.owned && !pool.found && !pool.manager;
        let subnets = match fresh {
            true => Vec::new(),
            false => self.neutron.list::<openstack::Subnet>(&[("cidr", &pool.cidr.to_string())]).await?,
        };
        if let [first, others @ ..] = subnets.as_slice()
            && others.iter().all(|subnet| subnet.gateway_ip == first.gateway_ip)
        {
            return Ok(first.gateway_ip);
        }
        let free = pool.cidr.hosts().find(|ip| check_host(*ip, pool.cidr, "gateway").is_ok() && !pool.reserved.contains(ip));
        free.map(Some).ok_or_else(|| Error::Invalid(format!("{} has no room for a gateway; choose a larger subnet", pool.cidr)))
    }

    async fn endpoint_address(
        &self,
        network: &Network,
        subnet: &Subnet,
        wanted: Option<IpAddr>,
        mac: Option<MacAddr>,
    ) -> Result<IpAddr, Error> {
        let Some(ip) = wanted else {
            if let Some(ip) = self.take_waiting(subnet).await? {
                return Ok(ip);
            }
            if let Some(port) = network.ports.port {
                return self.take_existing_by_id(network, subnet, port).await;
            }
            if mac.is_none() {
                self.port_pool.started(network, &self.settings.port_pool);
                if let Some(ip) = self.take_pooled(network, subnet, false).await? {
                    return Ok(ip);
                }
            }
            if let Some(mac) = mac
                && let Some(ip) = self.take_existing_by_mac(network, subnet, mac).await?
            {
                return Ok(ip);
            }
            let cold = self.free_address(network, subnet, mac).await;
            // What is being made ahead may be all that the cloud grants.
            return match cold {
                Err(Error::Cloud(error)) if mac.is_none() && error.is_conflict() => {
                    self.take_pooled(network, subnet, true).await?.ok_or(Error::Cloud(error))
                }
                cold => cold,
            };
        };
        check_host(ip, subnet.cidr, "address")?;
        if subnet.gateway == Some(ip) || subnet.reserved.contains(&ip) {
            let what = if subnet.gateway == Some(ip) { "the gateway" } else { "an auxiliary address" };
            return Err(Error::Taken(format!("{ip} is {what} of network {}; choose another --ip", network.id)));
        }
        let _turn = self.turns.take(format!("address {ip} of {}", subnet.id)).await;
        let held = self.state().port_with(subnet.pool, ip).map(|port| port.id);
        if let Some(port) = held {
            let again = async {
                self.check_in_one(network, port).await?;
                self.grant_again(network, subnet, port, ip).await
            };
            if let Some(ip) = self.with_pooled(port, again).await? {
                return Ok(ip);
            }
        }
        if self.take_back(subnet, ip).await? {
            return Ok(ip);
        }
        match self.waiting_port(subnet) {
            Some(port) => self.change_waiting(network, subnet, port, ip).await,
            None => {
                let made = self.new_port(network, &Wanted { subnet, ip: Some(ip), mac }).await;
                self.unless_existing(network, subnet, ip, made).await
            }
        }
    }

    /// The outcome of an attempt to have an address that Neutron may refuse because a port has it: one that was there before and that nothing
    /// uses is meant.
    async fn unless_existing(&self, network: &Network, subnet: &Subnet, ip: IpAddr, tried: Result<IpAddr, Error>) -> Result<IpAddr, Error> {
        match tried {
            Err(Error::Cloud(error)) if error.is_conflict() && error.kind() != "OverQuota" => {
                self.take_existing(network, subnet, ip).await?.ok_or(Error::Cloud(error))
            }
            outcome => outcome,
        }
    }

    /// The engine asks for an address that this host has a port for.
    async fn grant_again(&self, network: &Network, subnet: &Subnet, port: Uuid, ip: IpAddr) -> Result<Option<IpAddr>, Error> {
        let granted = self.change_port(port, |_, mut port| {
            if let Some(endpoint) = &port.endpoint {
                return Err(Error::Taken(format!(
                    "address {ip} of network {} is in use by endpoint {endpoint}; choose another --ip",
                    network.id
                )));
            }
            // Nothing is bound to it: it was made ahead, the engine lost our first reply, or it gave up before it made the endpoint.
            port.hand_out(subnet.pool);
            // So that the collector gives the engine its time once more.
            port.created = super::now();
            Ok(vec![Entry::Port(port)])
        });
        Ok(granted.await?.map(|()| ip))
    }

    /// Takes the other family's address that was made together with the one granted just before. An engine asks for both addresses of an
    /// endpoint one after the other, under a lock of the network.
    async fn take_waiting(&self, subnet: &Subnet) -> Result<Option<IpAddr>, Error> {
        while let Some(port) = self.waiting_port(subnet) {
            let mut taken = None;
            self.change_port(port.id, |_, mut port| {
                let waits = |address: &&Address| address.state == AddressState::Waiting;
                taken = port.address(subnet.pool).filter(waits).map(|address| address.ip);
                port.mark(subnet.pool, AddressState::Granted);
                Ok(taken.map_or_else(Vec::new, |_| vec![Entry::Port(port)]))
            })
            .await?;
            if taken.is_some() {
                return Ok(taken);
            }
        }
        Ok(None)
    }

    /// The newest port whose address out of this subnet's pool nobody has asked for.
    fn waiting_port(&self, subnet: &Subnet) -> Option<Port> {
        let state = self.state();
        let waiting = |port: &&Port| {
            port.endpoint.is_none()
                && port.is_held()
                && port.address(subnet.pool).is_some_and(|address| address.state == AddressState::Waiting)
        };
        state.every_port().filter(waiting).max_by_key(|port| port.created).cloned()
    }

    /// `--ip6` on a dual-stack network: the port that came with the IPv4 address changes its other one, unless a port that was there before has
    /// the address.
    async fn change_waiting(&self, network: &Network, subnet: &Subnet, port: Port, ip: IpAddr) -> Result<IpAddr, Error> {
        let outcome = if port.existing {
            let its = port.address(subnet.pool).map(|address| address.ip.to_string()).unwrap_or_default();
            Err(Error::Taken(format!(
                "port {}, which --ip names, has the address {its} and not {ip}; pass that, or leave --ip6 out",
                port.id
            )))
        } else {
            self.readdress(&port, subnet, ip).await
        };
        let existing = match outcome {
            Err(Error::Cloud(_)) => self.unless_existing(network, subnet, ip, outcome.map(|()| ip)).await.map(Some),
            outcome => outcome.map(|()| None),
        };
        let changed = self.change_port(port.id, |state, mut port| match &existing {
            Ok(None) => {
                for address in port.addresses.iter_mut().filter(|address| address.pool == subnet.pool) {
                    address.ip = ip;
                    address.state = AddressState::Granted;
                }
                Ok(vec![Entry::Port(port)])
            }
            // CreateEndpoint brings the two together.
            Ok(Some(_)) => {
                port.addresses.retain(|address| address.pool != subnet.pool);
                Ok(vec![Entry::Port(port)])
            }
            // The engine never releases the first address when the second is refused.
            Err(_) => Ok(self.retire(state, port)),
        });
        let changed = changed.await?;
        existing?;
        changed.map(|()| ip).ok_or_else(|| given_back(port.id))
    }

    /// A restarted container with `--ip` asks for an address whose port waits to be removed: it gets that port back, unless Neutron may have
    /// removed it by now, or it was made ahead and is no container's. Where a start waits for its port to be ACTIVE it gets a new one as well,
    /// since the old one may still be ACTIVE for the link that is gone. For a new one the removal has to be done, or is tried once more.
    async fn take_back(&self, subnet: &Subnet, ip: IpAddr) -> Result<bool, Error> {
        let mut tried = None;
        loop {
            let settled = self.backlog.notified();
            let claimed = {
                let mut state = self.state();
                let Some((task, port)) = state.retiring(subnet.pool, ip).map(|(task, port)| (task, port.clone())) else { return Ok(false) };
                let is_as_it_was = !self.settings.vif_plugging_is_fatal && !state.going.contains(&port.id) && !port.pooled;
                let first = state.first_task(port.id).unwrap_or(task);
                if !is_as_it_was && let Some(retry) = state.retries.get_mut(&first) {
                    match tried {
                        None => {
                            tried = Some(retry.attempts);
                            retry.due = Instant::now();
                            self.backlog.notify_waiters();
                        }
                        Some(before) if before < retry.attempts => return Ok(false),
                        Some(_) => {}
                    }
                }
                // False when its removal is under way and cannot be called off any more.
                (is_as_it_was && state.busy.insert(port.id)).then_some((task, port))
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
            let mut entries = vec![Entry::NoTask(task)];
            if std::mem::take(&mut port.exposing) {
                entries.push(self.promise(Work::Conceal(id)));
            }
            entries.push(Entry::Port(port));
            let outcome = self.commit(entries).await;
            self.state().busy.remove(&id);
            self.backlog.notify_waiters();
            outcome?;
            return Ok(true);
        }
    }

    /// An address of Neutron's choice that is no auxiliary one: a subnet that was there before is not told of those, and gives them out too.
    async fn free_address(&self, network: &Network, subnet: &Subnet, mac: Option<MacAddr>) -> Result<IpAddr, Error> {
        let mut auxiliary = Vec::new();
        let outcome = loop {
            // The port of an auxiliary address has the MAC for as long as it is held.
            let mac = mac.filter(|_| auxiliary.is_empty());
            match self.new_port(network, &Wanted { subnet, ip: None, mac }).await {
                // Held until another address is found, so that Neutron does not choose it again.
                Ok(ip) if subnet.reserved.contains(&ip) => auxiliary.push(ip),
                outcome => break outcome,
            }
        };
        for ip in auxiliary {
            self.release_known_address(subnet.pool, ip).await;
        }
        outcome
    }

    async fn new_port(&self, network: &Network, wanted: &Wanted<'_>) -> Result<IpAddr, Error> {
        let subnet = wanted.subnet;
        let port = self.obtain_port(network, wanted).await?;
        let granted = port.address(subnet.pool).map(|address| address.ip);
        granted.ok_or_else(|| Error::Unknown(format!("Neutron made port {} without an address of subnet {}", port.id, subnet.id)))
    }
}

/// The engine has given an address back while a request of its own still worked on it.
pub(super) fn given_back(port: Uuid) -> Error {
    Error::Unknown(format!("the addresses of port {port} were given back before this request had ended; run the command again"))
}

/// A network on a subnet that was there before: its gateway is a fact, and so is the one that the engine was told.
fn existing_gateway(subnet: &Subnet, wanted: Option<IpAddr>) -> Result<Option<IpAddr>, Error> {
    match wanted {
        Some(ip) if subnet.guessed == Some(ip) => Ok(wanted),
        Some(_) if wanted != subnet.gateway => Err(Error::Invalid(format!("{}.", gateway_mismatch(wanted, subnet.gateway)))),
        _ => Ok(subnet.gateway),
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

/// What the engine takes for the gateway of a network without one: kuryr-libnetwork's answer.
fn no_gateway(cidr: IpNet) -> IpNet {
    match cidr {
        IpNet::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpNet::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

pub(super) fn with_prefix(ip: IpAddr, cidr: IpNet) -> IpNet {
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
