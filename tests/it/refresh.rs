//! What an operator changes of a subnet or a network reaches the containers that start later, and nothing of what the engine was told changes.

use kuryr::{
    core::{
        PoolSettings, Settings,
        request::{AddressPurpose, AddressRequest, MTU_OPTION, PoolGrant},
    },
    netlink::Socket,
    openstack::{Network, Subnet},
};
use serde_json::{Value, json};

use crate::host::{Cloud, Host, Plan, Trouble, core_settings, id, now};

async fn change(cloud: &Cloud, cidr: &str, changes: Value) {
    let found = cloud.neutron.list::<Subnet>(&[("cidr", cidr)]).await.unwrap();
    cloud.neutron.update::<Subnet>(found[0].id, &changes).await.unwrap();
}

async fn set_mtu(cloud: &Cloud, mtu: u32) {
    let found = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap();
    cloud.neutron.update::<Network>(found[0].id, &json!({"mtu": mtu})).await.unwrap();
}

/// MTU of the one interface that is there for a container.
fn mtus() -> Vec<u32> {
    Socket::open().unwrap().links().unwrap().iter().filter(|link| link.name.starts_with("t_c")).map(|link| link.mtu).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_gateway_of_a_subnet_are_those_that_neutron_has_now() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plan = Plan { ranges: &["10.0.0.0/24", "fd00:1::/64"], outside: true, ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let plan = Plan { ranges: &["10.7.0.0/24"], ..Plan::default() };
    let closed = host.create(&id('d'), &plan).await.unwrap();
    host.run(&id('a'), &id('b'), &pools[0]).await;
    let first = host.join(&id('a'), &id('b')).await.unwrap();
    assert_eq!((first.gateway, first.routes.len()), (Some("10.0.0.1".parse().unwrap()), 0));

    let routes = json!([{"destination": "192.168.0.0/16", "nexthop": "10.0.0.254"}]);
    let pool = json!([{"start": "10.0.0.2", "end": "10.0.0.99"}]);
    change(&cloud, "10.0.0.0/24", json!({"host_routes": routes, "gateway_ip": "10.0.0.253", "allocation_pools": pool})).await;
    change(&cloud, "10.7.0.0/24", json!({"gateway_ip": "10.7.0.253", "allocation_pools": [{"start": "10.7.0.2", "end": "10.7.0.99"}]}))
        .await;
    let asked = cloud.asked().len();
    host.collect(now()).await;
    let during = cloud.asked().split_off(asked);
    let expected = vec![("192.168.0.0/16".parse().unwrap(), "10.0.0.254".parse().unwrap())];
    let starts = async |host: &Host, container| {
        host.run(&id('a'), &id(container), &pools[0]).await;
        let joined = host.join(&id('a'), &id(container)).await.unwrap();
        assert_eq!((joined.gateway, joined.routes), (Some("10.0.0.253".parse().unwrap()), expected.clone()));
    };
    starts(&host, 'c').await;
    let lists = during.iter().filter(|asked| asked.contains("/subnets") || asked.contains("/networks")).count();
    assert_eq!(lists, 2, "one list each, for any number of Docker networks");
    host.run(&id('d'), &id('f'), &closed[0]).await;
    assert_eq!(host.join(&id('d'), &id('f')).await.unwrap().gateway, None, "--internal has no way out");
    // It stands in the journal, and the engine may still name the gateway that it was told.
    host.stop().await;
    let host = cloud.host("one");
    starts(&host, 'e').await;
    let told = host.core.request_address(gateway(&pools[0], "10.0.0.1")).await.unwrap();
    assert_eq!(told.addr().to_string(), "10.0.0.1");
    host.core.request_address(gateway(&pools[0], "10.0.0.7")).await.unwrap_err();

    change(&cloud, "10.0.0.0/24", json!({"host_routes": [], "gateway_ip": null})).await;
    host.collect(now()).await;
    let last = host.join(&id('a'), &id('e')).await.unwrap();
    assert_eq!((last.gateway, last.routes.len()), (None, 0));
}

fn gateway(pool: &PoolGrant, ip: &str) -> AddressRequest {
    AddressRequest { pool: pool.id, address: Some(ip.parse().unwrap()), purpose: AddressPurpose::Gateway }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mtu_that_neutron_lowers_is_that_of_later_containers() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[(MTU_OPTION, "1400")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    for (neutrons, expected) in [(1400, 1400), (1450, 1400), (1300, 1300)] {
        set_mtu(&cloud, neutrons).await;
        host.collect(now()).await;
        let address = host.run(&id('a'), &id('b'), &pools[0]).await;
        assert_eq!(mtus(), [expected], "{neutrons}");
        host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_made_ahead_with_an_mtu_that_neutron_has_lowered_makes_way() {
    let cloud = Cloud::start().await;
    let pool = PoolSettings { min: 1, ..PoolSettings::default() };
    let host = cloud.host_with("one", cloud.client(), Settings { port_pool: pool, ..core_settings() });
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    cloud.until(async || mtus() == [1500]).await;
    set_mtu(&cloud, 1300).await;
    host.collect(now()).await;
    cloud.until(async || mtus() == [1300]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_does_not_tell_leaves_networks_as_they_are() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plan = Plan { ranges: &["10.0.0.0/24"], outside: true, ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;
    cloud.trouble("GET", "/subnets", Trouble::Answer(503, "busy"));
    let round = host.core.collect(now()).await;
    assert!(round.troubles.len() == 1 && round.troubles[0].contains("503"), "{:?}", round.troubles);
    cloud.mend();
    // Nor does one that has lost them.
    cloud.trouble("GET", "/subnets", Trouble::Answer(200, r#"{"subnets": []}"#));
    host.collect(now()).await;
    cloud.mend();
    host.run(&id('a'), &id('b'), &pools[0]).await;
    assert_eq!(host.join(&id('a'), &id('b')).await.unwrap().gateway, Some("10.0.0.1".parse().unwrap()));
}
