//! The life of networks and endpoints: the core, the embedded controller as its Neutron, and real links in the test's own namespace.

use std::{collections::BTreeSet, net::IpAddr};

use kuryr::{
    netlink::Socket,
    openstack::{Network, Subnet, SubnetPool},
};

use crate::host::{Cloud, Trouble, endpoint, id, taps};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_starts_with_one_call_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    cloud.controller.reset_calls();

    let address = host.address(&pools[0], None).await.unwrap();
    assert_eq!(address.prefix_len(), 24);
    let before_reply: u64 = cloud.controller.calls().values().sum();
    assert_eq!(before_reply, 1, "{:?}", cloud.controller.calls());
    let grant = host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    assert!(grant.mac.unwrap().to_string().starts_with("fa:16:3e"));
    let attachment = host.join(&network, &container).await.unwrap();
    assert_eq!(attachment.gateway, None, "the network is internal");
    assert!(Socket::open().unwrap().link(&attachment.interface).unwrap().is_some());
    host.core.backlog_settled().await;

    let ports = cloud.ports().await;
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].device_id, container.as_str());
    let tags: BTreeSet<_> = ports[0].tags.iter().map(String::as_str).collect();
    let (lower, upper) = (format!("kuryr.net.uuid.lh:{}", "b".repeat(32)), format!("kuryr.net.uuid.uh:{}", "b".repeat(32)));
    assert_eq!(tags, BTreeSet::from(["compute:kuryr", lower.as_str(), upper.as_str()]));

    host.core.delete_endpoint(&network, &container).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.core.release_pool(&pools[0].id.to_string()).await.unwrap();
    host.core.delete_network(&network).await.unwrap();
    host.core.backlog_settled().await;
    let left = host.core.counts();
    assert_eq!((left.pools, left.networks, left.ports, left.tasks), (0, 0, 0, 0));
    assert_eq!(taps(), 0);
    assert_eq!(cloud.ports().await.len(), 0);
    assert!(cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap().is_empty());
    assert!(cloud.neutron.list::<Subnet>(&[("name", "kuryr-subnet-10.0.0.0/24")]).await.unwrap().is_empty());
    assert!(cloud.neutron.list::<SubnetPool>(&[("name", "kuryrPool-10.0.0.0/24")]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_an_operator_deletes_meanwhile_keeps_no_task_alive() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    // Nobody writes the tags until the network is gone.
    cloud.trouble("PUT", "/tags", Trouble::Answer(503, "busy"));
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let network = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap()[0].id;
    cloud.neutron.delete::<Network>(network).await.unwrap();
    cloud.mend();
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while host.core.counts().tasks > 0 {
        assert!(tokio::time::Instant::now() < limit, "a task about a network that is gone does not end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    host.remove(&id('a'), &pools).await;
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_is_never_two_endpoints() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    for _ in 0..5 {
        let address = host.address(&pools[0], None).await.unwrap();
        let outcomes = ['b', 'c'].map(|container| host.core.create_endpoint(endpoint(&id('a'), &id(container), Some(address), None)));
        let [one, two] = outcomes;
        let (one, two) = tokio::join!(one, two);
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        for container in ['b', 'c'] {
            host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
        }
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!((cloud.ports().await.len(), taps()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_carries_both_families() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24", "fd00:1::/64"]).await;
    host.core.backlog_settled().await;
    cloud.controller.reset_calls();
    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], None).await.unwrap();
    assert_eq!(cloud.controller.calls().values().sum::<u64>(), 1);
    host.core.create_endpoint(endpoint(&network, &container, Some(v4), Some(v6))).await.unwrap();
    host.core.backlog_settled().await;
    let ports = cloud.ports().await;
    let held: BTreeSet<IpAddr> = ports.iter().flat_map(|port| &port.fixed_ips).map(|fixed| fixed.ip_address).collect();
    assert_eq!((ports.len(), held), (1, BTreeSet::from([v4.addr(), v6.addr()])));

    host.core.delete_endpoint(&network, &container).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), v4.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(cloud.ports().await.len(), 1, "the engine still holds the IPv6 address");
    host.core.release_address(&pools[1].id.to_string(), v6.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(cloud.ports().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_refused_and_a_restart_gets_its_own_back() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let pool = pools[0].id.to_string();
    let address = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &id('b'), Some(address), None)).await.unwrap();
    let error = host.address(&pools[0], Some("10.0.0.7")).await.unwrap_err().to_string();
    assert!(error.contains("10.0.0.7") && error.contains("in use") && error.contains("--ip"), "{error}");
    let error = host.address(&pools[0], Some("10.9.0.7")).await.unwrap_err().to_string();
    assert!(error.contains("outside of 10.0.0.0/24"), "{error}");

    for (old, new) in [('b', 'c'), ('c', 'd'), ('d', 'e')] {
        host.core.delete_endpoint(&network, &id(old)).await.unwrap();
        host.core.release_address(&pool, address.addr()).await.unwrap();
        let again = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
        host.core.create_endpoint(endpoint(&network, &id(new), Some(again), None)).await.unwrap();
    }
    host.core.backlog_settled().await;
    let ports = cloud.ports().await;
    assert_eq!((ports.len(), taps()), (1, 1));
    assert_eq!(ports[0].device_id, id('e').as_str());
}
