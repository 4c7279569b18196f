//! NetworkDriver.CreateNetwork and DeleteNetwork.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Core, Error, naming,
    record::{Entry, Network, Pool, Subnet, Work},
    request::{DockerId, IpamData, NetworkRequest},
};
use crate::openstack::{self, Router};

/// Bytes a frame may carry where Neutron does not say (no `net-mtu` extension).
const DEFAULT_MTU: u32 = 1500;
/// The engine's own option for the MTU of a network.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

impl Core {
    /// NetworkDriver.CreateNetwork. A network that is there already is the answer to a call that the engine repeats.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<(), Error> {
        let _turn = self.turns.take(format!("network {}", request.network)).await;
        if self.state().networks.contains_key(&request.network) {
            return Ok(());
        }
        let pools = self.pools_of(&request)?;
        let made = self.neutron.create::<openstack::Network>(&network_body(&request)?).await?;
        let mut network = Network {
            id: request.network.clone(),
            neutron: made.id,
            owned: true,
            mtu: made.mtu.unwrap_or(DEFAULT_MTU),
            internal: request.internal,
            router: None,
            subnets: Vec::new(),
        };
        match self.furnish(&mut network, pools).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // The engine does not delete a network whose creation failed.
                let undo = vec![self.promise(Work::RetireNetwork { network: Box::new(network), pools: Vec::new() })];
                if let Err(unwritten) = self.commit(undo).await {
                    tracing::error!(%unwritten, network = %made.id, "a network that could not be completed stays in Neutron; delete it by hand");
                }
                Err(error)
            }
        }
    }

    /// NetworkDriver.DeleteNetwork; an unknown network is deleted already. Ports that the engine never gave back go with it.
    pub async fn delete_network(&self, network: &DockerId) -> Result<(), Error> {
        let _turn = self.turns.take(format!("network {network}")).await;
        let entries = {
            let state = self.state();
            let Some(network) = state.networks.get(network).cloned() else { return Ok(()) };
            let left = state.ports.values().filter(|port| port.network == network.id).cloned();
            let mut entries: Vec<Entry> = left.flat_map(|port| self.retire(&state, port)).collect();
            let mut pools = Vec::new();
            for pool in state.pools.values().filter(|pool| pool.network.as_ref() == Some(&network.id)) {
                if pool.released {
                    entries.push(Entry::NoPool(pool.id));
                    pools.extend(pool.owned.then_some(pool.subnetpool));
                } else {
                    entries.push(Entry::Pool(Pool { network: None, ..pool.clone() }));
                }
            }
            entries.extend(state.call_off(network.neutron));
            entries.push(Entry::NoNetwork(network.id.clone()));
            entries.push(self.promise(Work::RetireNetwork { network: Box::new(network), pools }));
            entries
        };
        Ok(self.commit(entries).await?)
    }

    /// The granted pools that the engine names only by their ranges.
    fn pools_of(&self, request: &NetworkRequest) -> Result<Vec<(Pool, IpamData)>, Error> {
        let state = self.state();
        let mut pools = Vec::new();
        for data in request.v4.iter().chain(&request.v6) {
            let Some(cidr) = data.pool else { continue };
            let pool = state.unbound_pool(cidr).cloned().ok_or_else(|| {
                Error::Invalid(format!(
                    "{cidr} was not granted by kuryr's address management; create the network with --ipam-driver kuryr beside --driver kuryr"
                ))
            })?;
            pools.push((pool, data.clone()));
        }
        if pools.is_empty() {
            return Err(Error::Invalid(
                "the network has no addresses; create it with --ipam-driver kuryr and without --ipv4=false alone".into(),
            ));
        }
        Ok(pools)
    }

    /// Makes the subnets and the router of a new network and writes it all down. What was made before a failure stands in `network`.
    async fn furnish(&self, network: &mut Network, pools: Vec<(Pool, IpamData)>) -> Result<(), Error> {
        let bodies: Vec<Value> = pools.iter().map(|(pool, data)| self.subnet_body(network, pool, data)).collect();
        let subnets = self.create_all(&bodies).await?;
        for ((pool, data), made) in pools.iter().zip(subnets) {
            network.subnets.push(Subnet {
                id: made.id,
                owned: true,
                pool: pool.id,
                cidr: made.cidr,
                gateway: made.gateway_ip,
                routes: made.host_routes.iter().map(|route| (route.destination, route.nexthop)).collect(),
                reserved: data.aux_addresses.iter().copied().chain(pool.reserved.iter().copied()).collect(),
            });
        }
        if let Some(external) = &self.settings.external_network
            && !network.internal
        {
            self.lead_outside(network, external).await?;
        }
        let mut entries = vec![Entry::Network(network.clone()), self.promise(Work::TagNetwork(Box::new(network.clone())))];
        entries.extend(pools.into_iter().map(|(pool, _)| Entry::Pool(Pool { network: Some(network.id.clone()), ..pool })));
        Ok(self.commit(entries).await?)
    }

    /// Subnets of different families need not wait for each other.
    async fn create_all(&self, bodies: &[Value]) -> Result<Vec<openstack::Subnet>, Error> {
        let mut made = Vec::with_capacity(bodies.len());
        for pair in bodies.chunks(2) {
            match pair {
                [one, two] => {
                    let (one, two) = tokio::join!(self.neutron.create(one), self.neutron.create(two));
                    made.extend([one?, two?]);
                }
                rest => {
                    for body in rest {
                        made.push(self.neutron.create(body).await?);
                    }
                }
            }
        }
        Ok(made)
    }

    fn subnet_body(&self, network: &Network, pool: &Pool, data: &IpamData) -> Value {
        let cidr = pool.cidr;
        let mut body = json!({
            "name": format!("{}{}", naming::SUBNET_PREFIX, data.pool_text),
            "network_id": network.neutron,
            "ip_version": if cidr.addr().is_ipv4() { 4 } else { 6 },
            "cidr": cidr,
            "enable_dhcp": self.settings.enable_dhcp,
            "subnetpool_id": pool.subnetpool,
        });
        if let Some(gateway) = data.gateway.or(pool.gateway) {
            body["gateway_ip"] = json!(gateway);
        }
        let reserved: BTreeSet<_> = data.aux_addresses.iter().chain(&pool.reserved).copied().collect();
        if !reserved.is_empty() {
            let taken: BTreeSet<_> = reserved.into_iter().chain(data.gateway.or(pool.gateway)).collect();
            body["allocation_pools"] = allocation_pools(cidr, &taken);
        }
        body
    }

    /// A router of the network's own, so that it reaches the outside and no other network reaches it.
    async fn lead_outside(&self, network: &mut Network, external: &str) -> Result<(), Error> {
        let external = self.external_network(external).await?;
        let body = json!({
            "name": naming::router_name(&network.id),
            "admin_state_up": true,
            "external_gateway_info": {"network_id": external},
        });
        let router = self.neutron.create::<Router>(&body).await?;
        network.router = Some(router.id);
        for subnet in network.subnets.iter().filter(|subnet| subnet.gateway.is_some()) {
            self.neutron.add_router_interface(router.id, subnet.id).await?;
        }
        Ok(())
    }

    async fn external_network(&self, wanted: &str) -> Result<Uuid, Error> {
        let found = self.external_network.get_or_try_init(|| async {
            let key = if Uuid::parse_str(wanted).is_ok() { "id" } else { "name" };
            let networks = self.neutron.list::<openstack::Network>(&[(key, wanted), ("router:external", "True")]).await?;
            match networks.as_slice() {
                [network] => Ok(network.id),
                _ => Err(Error::Invalid(format!(
                    "[kuryr] external_network is '{wanted}', and Neutron has {} external networks of that {key}; name one by its id",
                    networks.len()
                ))),
            }
        });
        found.await.copied()
    }
}

fn network_body(request: &NetworkRequest) -> Result<Value, Error> {
    let mut body = json!({"name": naming::network_name(&request.network), "admin_state_up": true});
    if let Some(text) = request.options.get(MTU_OPTION) {
        let mtu: u32 =
            text.parse().map_err(|_| Error::Invalid(format!("{MTU_OPTION} is '{text}'; write a number of bytes such as 1400")))?;
        body["mtu"] = json!(mtu);
    }
    Ok(body)
}

/// The ranges of a subnet that Neutron may choose addresses from: all hosts but `taken`.
fn allocation_pools(cidr: ipnet::IpNet, taken: &BTreeSet<std::net::IpAddr>) -> Value {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let address = |number: u128| match cidr {
        // Within an IPv4 range the number is below 2^32.
        ipnet::IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        ipnet::IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    };
    let long = cidr.prefix_len() + 1 < cidr.max_prefix_len();
    let first = number(cidr.network()) + u128::from(long);
    let last = number(cidr.broadcast()) - u128::from(long && cidr.addr().is_ipv4());
    let mut pools = Vec::new();
    let mut start = first;
    for taken in taken.iter().map(|ip| number(*ip)).filter(|taken| (first..=last).contains(taken)) {
        if start < taken {
            pools.push(json!({"start": address(start), "end": address(taken - 1)}));
        }
        start = taken + 1;
    }
    if start <= last {
        pools.push(json!({"start": address(start), "end": address(last)}));
    }
    Value::Array(pools)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_pools_leave_out_what_is_taken() {
        let pools = |cidr: &str, taken: &[&str]| {
            let taken = taken.iter().map(|ip| ip.parse().unwrap()).collect();
            allocation_pools(cidr.parse().unwrap(), &taken)
        };
        assert_eq!(
            pools("10.0.0.0/24", &["10.0.0.1", "10.0.0.5", "10.0.0.6"]),
            json!([{"start": "10.0.0.2", "end": "10.0.0.4"}, {"start": "10.0.0.7", "end": "10.0.0.254"}])
        );
        assert_eq!(pools("10.0.0.0/30", &["10.0.0.1", "10.0.0.2"]), json!([]));
        assert_eq!(pools("10.0.0.0/30", &["10.0.0.2", "10.9.9.9"]), json!([{"start": "10.0.0.1", "end": "10.0.0.1"}]));
        assert_eq!(
            pools("fd00::/126", &["fd00::2"]),
            json!([{"start": "fd00::1", "end": "fd00::1"}, {"start": "fd00::3", "end": "fd00::3"}])
        );
        assert_eq!(pools("255.255.255.0/24", &["255.255.255.254"]), json!([{"start": "255.255.255.1", "end": "255.255.255.253"}]));
    }
}
