//! Ports made ahead on networks and subnets that an operator made.

use kuryr::{
    binding::tap_name,
    netlink::Socket,
    openstack::{Network, Port, Subnet},
};
use serde_json::{Value, json};

use crate::{
    host::{Cloud, Plan, endpoint, id, options},
    port_pool::warm_host,
};

async fn subnet(cloud: &Cloud, network: &Network, range: &str, mut fields: Value) -> Subnet {
    fields["network_id"] = json!(network.id);
    fields["cidr"] = json!(range);
    fields["ip_version"] = json!(if range.contains(':') { 6 } else { 4 });
    cloud.neutron.create(&fields).await.unwrap()
}

/// Neutron gives each port an address of such a subnet, whatever addresses are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_neutron_adds_by_itself_does_not_spoil_a_port() {
    let (cloud, host, _datapath) = warm_host(2).await;
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    subnet(&cloud, &theirs, "10.0.0.0/24", json!({})).await;
    subnet(&cloud, &theirs, "fd00:1::/64", json!({"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"})).await;
    let uuid = theirs.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.pool_settled(2).await;
    host.core.backlog_settled().await;
    let ahead = cloud.ports().await;
    assert!(ahead.len() == 2 && ahead.iter().all(|port| port.fixed_ips.len() == 2), "{ahead:?}");
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    assert!(ahead.iter().any(|port| port.fixed_ips.iter().any(|fixed| fixed.ip_address == address.addr())), "a cold start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_port_may_have_an_address_that_neutron_adds_by_itself() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    subnet(&cloud, &theirs, "10.0.0.0/24", json!({})).await;
    subnet(&cloud, &theirs, "fd00:1::/64", json!({"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"})).await;
    let named: Port = cloud.neutron.create(&json!({"network_id": theirs.id, "name": "theirs", "fixed_ips": []})).await.unwrap();
    let (uuid, port) = (theirs.id.to_string(), named.id.to_string());
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let address = host.address(&pools[0], None).await.unwrap();
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.options = options(&[("neutron.port.uuid", &port)]);
    host.core.create_endpoint(request).await.unwrap();
    let used = cloud.neutron.show::<Port>(named.id).await.unwrap();
    assert!(used.fixed_ips.len() == 2 && used.fixed_ips.iter().any(|fixed| fixed.ip_address == address.addr()), "{used:?}");
    host.core.backlog_settled().await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!(cloud.neutron.show::<Port>(named.id).await.unwrap().fixed_ips, named.fixed_ips);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_addresses_of_a_large_subnet_are_not_used_up() {
    let (cloud, host, _datapath) = warm_host(16).await;
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let few = json!({"enable_dhcp": false, "allocation_pools": [
        {"start": "10.0.1.1", "end": "10.0.1.10"}, {"start": "10.0.2.1", "end": "10.0.2.10"}]});
    subnet(&cloud, &theirs, "10.0.0.0/16", few).await;
    // What is used beside those leaves as many of them.
    let beside = json!({"network_id": theirs.id, "fixed_ips": [{"ip_address": "10.0.3.1"}]});
    let _: Port = cloud.neutron.create(&beside).await.unwrap();
    let uuid = theirs.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/16"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    host.create(&id('a'), &plan).await.unwrap();
    // A fifth of 20 addresses.
    host.core.pool_settled(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_a_port_that_a_named_one_stands_in_for_goes() {
    let (cloud, host, datapath) = warm_host(1).await;
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    subnet(&cloud, &theirs, "10.0.0.0/24", json!({})).await;
    let named: Port = cloud.neutron.create(&json!({"network_id": theirs.id, "name": "theirs", "fixed_ips": []})).await.unwrap();
    let (uuid, port) = (theirs.id.to_string(), named.id.to_string());
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.pool_settled(1).await;
    let ahead = cloud.ports().await.remove(0);
    // The embedded controller would take the link away with the port, which no Neutron does.
    tokio::task::block_in_place(|| drop(datapath));
    let address = host.address(&pools[0], None).await.unwrap();
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.options = options(&[("neutron.port.uuid", &port)]);
    host.core.create_endpoint(request).await.unwrap();
    let link = |port: &Port| Socket::open().unwrap().link(&tap_name(port.id)).unwrap();
    assert!(link(&named).is_some());
    assert_eq!(link(&ahead), None, "the link of a port that is no more");
}
