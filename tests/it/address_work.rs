//! Which addresses, subnets and gateways containers get on what Neutron has: both families by id and by name, SLAAC and DHCPv6, allocation
//! pools, routers, equal ranges, many users.

use std::collections::BTreeSet;

use kuryr::{
    core::request::{DockerId, PoolGrant},
    openstack::{Network, Port, Router, Subnet, SubnetPool},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::host::{Cloud, Host, Plan, endpoint, id};

async fn network(cloud: &Cloud, name: &str) -> Network {
    cloud.neutron.create(&json!({"name": name})).await.unwrap()
}

async fn subnet(cloud: &Cloud, network: Uuid, cidr: &str, fields: Value) -> Subnet {
    let mut body = json!({"network_id": network, "cidr": cidr, "ip_version": if cidr.contains(':') { 6 } else { 4 }});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    cloud.neutron.create(&body).await.unwrap()
}

/// Starts a container with an address out of each pool, and gives its port.
async fn start(cloud: &Cloud, host: &Host, docker: &DockerId, container: &DockerId, pools: &[PoolGrant]) -> Port {
    let (mut v4, mut v6) = (None, None);
    for pool in pools {
        let address = host.address(pool, None).await.unwrap();
        *(if address.addr().is_ipv4() { &mut v4 } else { &mut v6 }) = Some(address);
    }
    host.core.create_endpoint(endpoint(docker, container, v4, v6)).await.unwrap();
    host.join(docker, container).await.unwrap();
    host.core.backlog_settled().await;
    let ports = cloud.ports().await;
    let port = ports.into_iter().find(|port| port.device_id == container.as_str()).unwrap();
    let has: BTreeSet<_> = port.fixed_ips.iter().map(|fixed| fixed.ip_address).collect();
    assert_eq!(has, v4.iter().chain(&v6).map(ipnet::IpNet::addr).collect());
    port
}

async fn stop(host: &Host, docker: &DockerId, container: &DockerId, pools: &[PoolGrant], port: &Port) {
    host.core.delete_endpoint(docker, container).await.unwrap();
    for (pool, fixed) in pools.iter().flat_map(|pool| port.fixed_ips.iter().map(move |fixed| (pool, fixed))) {
        host.core.release_address(&pool.id.to_string(), fixed.ip_address).await.unwrap();
    }
    host.core.backlog_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subnets_of_both_families_are_named_by_id_and_by_name() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs = network(&cloud, "theirs").await;
    // Others of the same ranges, on a network of the same name.
    let others = network(&cloud, "theirs").await;
    for on in [&others, &theirs] {
        subnet(&cloud, on.id, "10.0.0.0/24", json!({"name": format!("four-{}", on.id)})).await;
        subnet(&cloud, on.id, "fd00:1::/64", json!({"name": format!("six-{}", on.id)})).await;
    }
    let found = async |family: &str| cloud.neutron.list::<Subnet>(&[("name", &format!("{family}-{}", theirs.id))]).await.unwrap().remove(0);
    let (four, six) = (found("four").await, found("six").await);
    let (four_id, six_id) = (four.id.to_string(), six.id.to_string());
    for options in [
        [("neutron.subnet.uuid", four_id.as_str()), ("neutron.subnet.v6.uuid", six_id.as_str())],
        [("neutron.subnet.name", four.name.as_str()), ("neutron.subnet.v6.name", six.name.as_str())],
        [("neutron.subnet.uuid", four_id.as_str()), ("neutron.subnet.v6.name", six.name.as_str())],
    ] {
        let plan = Plan { ranges: &["10.0.0.0/24", "fd00:1::/64"], options: &options, ipam_options: &options, ..Plan::default() };
        let pools = host.create(&id('a'), &plan).await.unwrap();
        let port = start(&cloud, &host, &id('a'), &id('b'), &pools).await;
        assert_eq!(port.network_id, theirs.id);
        stop(&host, &id('a'), &id('b'), &pools, &port).await;
        host.remove(&id('a'), &pools).await;
    }
    // Each with the other family's.
    for options in [[("neutron.subnet.uuid", six_id.as_str())], [("neutron.subnet.v6.uuid", four_id.as_str())]] {
        let plan = Plan { ranges: &["10.0.0.0/24", "fd00:1::/64"], options: &options, ..Plan::default() };
        let error = host.create(&id('a'), &plan).await.unwrap_err().to_string();
        assert!(error.contains(options[0].1) && error.contains("IPv"), "{error}");
    }
    host.core.backlog_settled().await;
    assert_eq!((host.left(), cloud.neutron.list::<SubnetPool>(&[]).await.unwrap().len()), (0, 2), "the controller's own pools");
    assert!(cloud.neutron.show::<Network>(theirs.id).await.unwrap().tags.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn subnet_pools_of_both_families_are_named_by_id_and_by_name() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let made = async |name: &str, prefixes: &[&str], length: u8| {
        let body = json!({"name": name, "prefixes": prefixes, "default_prefixlen": length});
        cloud.neutron.create::<SubnetPool>(&body).await.unwrap()
    };
    let four = made("four", &["10.20.0.0/16", "10.40.0.0/16"], 24).await;
    let six = made("six", &["fd20::/48", "fd40::/48"], 64).await;
    let (four_id, six_id) = (four.id.to_string(), six.id.to_string());
    for options in [
        [("neutron.pool.uuid", four_id.as_str()), ("neutron.pool.v6.uuid", six_id.as_str())],
        [("neutron.pool.name", "four"), ("neutron.pool.v6.name", "six")],
    ] {
        // In the second prefix of each, and in neither.
        let plan = Plan { ranges: &["10.40.7.0/24", "fd40:0:0:7::/64"], ipam_options: &options, ..Plan::default() };
        let pools = host.create(&id('a'), &plan).await.unwrap();
        let subnets = cloud.neutron.list::<Subnet>(&[]).await.unwrap();
        let sources: BTreeSet<_> =
            subnets.iter().filter(|subnet| subnet.name.starts_with("kuryr-subnet-")).map(|s| s.subnetpool_id).collect();
        assert_eq!(sources, [Some(four.id), Some(six.id)].into());
        let port = start(&cloud, &host, &id('a'), &id('b'), &pools).await;
        stop(&host, &id('a'), &id('b'), &pools, &port).await;
        host.remove(&id('a'), &pools).await;
        let error = host.request_pool(Some("fd60::/64"), &options).await.unwrap_err().to_string();
        assert!(error.contains("fd20::/48, fd40::/48"), "{error}");
    }
    for pool in [four.id, six.id] {
        cloud.neutron.show::<SubnetPool>(pool).await.unwrap();
    }
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_s_gateway_is_the_container_s_although_it_was_guessed_otherwise() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs = network(&cloud, "theirs").await;
    let routed = subnet(&cloud, theirs.id, "10.0.0.0/24", json!({"gateway_ip": "10.0.0.254"})).await;
    // Another project's subnet of the range, with another gateway: nothing can be guessed from the two.
    let foreign = json!({"name": "foreign", "project_id": "0123456789abcdef0123456789abcdef"});
    let foreign: Network = cloud.neutron.create(&foreign).await.unwrap();
    subnet(&cloud, foreign.id, "10.0.0.0/24", json!({"gateway_ip": "10.0.0.99"})).await;
    let router: Router = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    cloud.neutron.add_router_interface(router.id, routed.id).await.unwrap();
    let uuid = theirs.id.to_string();
    let options = [("neutron.net.uuid", uuid.as_str())];
    let plan = || Plan { ranges: &["10.0.0.0/24"], options: &options, outside: true, ..Plan::default() };
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let port = start(&cloud, &host, &id('a'), &id('b'), &pools).await;
    assert_eq!(host.join(&id('a'), &id('b')).await.unwrap().gateway, Some("10.0.0.254".parse().unwrap()));
    let error = host.address(&pools[0], Some("10.0.0.254")).await.unwrap_err().to_string();
    assert!(error.contains("10.0.0.254 is the gateway"), "{error}");
    stop(&host, &id('a'), &id('b'), &pools, &port).await;
    host.remove(&id('a'), &pools).await;
    // What the user says is no guess.
    let error = host.create(&id('a'), &Plan { gateway: Some("10.0.0.1"), ..plan() }).await.unwrap_err().to_string();
    assert!(error.contains("pass --gateway 10.0.0.254"), "{error}");
    host.core.backlog_settled().await;
    assert_eq!((host.left(), cloud.neutron.show::<Subnet>(routed.id).await.unwrap().gateway_ip), (0, Some("10.0.0.254".parse().unwrap())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_address_is_what_the_mode_of_its_subnet_makes_it() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    for (mode, from_mac) in [("slaac", true), ("dhcpv6-stateless", true), ("dhcpv6-stateful", false)] {
        let theirs = network(&cloud, mode).await;
        subnet(&cloud, theirs.id, "10.0.0.0/24", json!({})).await;
        subnet(&cloud, theirs.id, "fd00:1::/64", json!({"ipv6_ra_mode": mode, "ipv6_address_mode": mode})).await;
        for ranges in [&["10.0.0.0/24", "fd00:1::/64"][..], &["fd00:1::/64"][..]] {
            let plan = Plan { ranges, options: &[("neutron.net.name", mode)], ..Plan::default() };
            let pools = host.create(&id('a'), &plan).await.unwrap();
            let port = start(&cloud, &host, &id('a'), &id('b'), &pools).await;
            let made: Vec<_> = port.fixed_ips.iter().map(|fixed| fixed.ip_address).filter(|ip| port.mac_address.makes(*ip)).collect();
            assert_eq!(made.len(), usize::from(from_mac), "{mode}: {port:?}");
            stop(&host, &id('a'), &id('b'), &pools, &port).await;
            // Another MAC would be another address, which the engine has by then.
            let v6 = host.address(pools.last().unwrap(), None).await.unwrap();
            let mut request = endpoint(&id('a'), &id('c'), None, Some(v6));
            request.mac = Some("02:11:22:33:44:55".parse().unwrap());
            let outcome = host.core.create_endpoint(request).await;
            match outcome {
                Err(error) if from_mac => assert!(error.to_string().contains("ports_by_mac"), "{error}"),
                outcome => assert!(!from_mac && outcome.is_ok(), "{outcome:?}"),
            }
            host.core.delete_endpoint(&id('a'), &id('c')).await.unwrap();
            host.core.release_address(&pools.last().unwrap().id.to_string(), v6.addr()).await.unwrap();
            host.remove(&id('a'), &pools).await;
        }
    }
    assert_eq!((host.left(), cloud.ports().await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn allocation_pools_are_for_those_who_name_no_address() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs = network(&cloud, "theirs").await;
    let pool = json!({"allocation_pools": [{"start": "10.0.0.20", "end": "10.0.0.21"}, {"start": "10.0.0.30", "end": "10.0.0.30"}]});
    subnet(&cloud, theirs.id, "10.0.0.0/24", pool).await;
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.name", "theirs")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let mut granted = BTreeSet::new();
    for _ in 0..3 {
        granted.insert(host.address(&pools[0], None).await.unwrap().addr().to_string());
    }
    assert_eq!(granted, ["10.0.0.20", "10.0.0.21", "10.0.0.30"].map(str::to_owned).into());
    let error = host.address(&pools[0], None).await.unwrap_err().to_string();
    assert!(error.contains("No more IP addresses") && error.contains("larger subnet"), "{error}");
    let outside = host.address(&pools[0], Some("10.0.0.200")).await.unwrap();
    assert_eq!(outside.to_string(), "10.0.0.200/24");
    // One that is given back is there for the next at once.
    host.core.release_address(&pools[0].id.to_string(), "10.0.0.30".parse().unwrap()).await.unwrap();
    assert_eq!(host.address(&pools[0], None).await.unwrap().to_string(), "10.0.0.30/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_ranges_of_several_projects_never_meet() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let mut networks = Vec::new();
    for (docker, project) in [('a', "0123456789abcdef0123456789abcdef"), ('b', "fedcba9876543210fedcba9876543210")] {
        let theirs: Network = cloud.neutron.create(&json!({"name": "same", "project_id": project})).await.unwrap();
        subnet(&cloud, theirs.id, "10.0.0.0/24", json!({"name": "same"})).await;
        let uuid = theirs.id.to_string();
        let options = [("neutron.net.uuid", uuid.as_str()), ("neutron.subnet.name", "same")];
        let plan = Plan { ranges: &["10.0.0.0/24"], options: &options, ipam_options: &options, ..Plan::default() };
        networks.push((id(docker), theirs.id, host.create(&id(docker), &plan).await.unwrap()));
    }
    networks.push((id('c'), Uuid::nil(), host.network(&id('c'), &["10.0.0.0/24"]).await));
    let mut ports = Vec::new();
    for (docker, on, pools) in &networks {
        let address = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
        host.core.create_endpoint(endpoint(docker, docker, Some(address), None)).await.unwrap();
        host.core.backlog_settled().await;
        let port = cloud.ports().await.into_iter().find(|port| port.device_id == docker.as_str()).unwrap();
        assert!(on.is_nil() || port.network_id == *on);
        ports.push(port);
    }
    assert_eq!(ports.iter().map(|port| port.network_id).collect::<BTreeSet<_>>().len(), 3);
    for ((docker, _, pools), port) in networks.iter().zip(&ports) {
        stop(&host, docker, docker, pools, port).await;
        let left: Vec<_> = cloud.ports().await;
        assert!(left.iter().all(|other| other.id != port.id));
        host.remove(docker, pools).await;
    }
    assert_eq!((host.left(), cloud.ports().await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_docker_networks_are_on_one_network() {
    let cloud = Cloud::start().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let theirs = network(&cloud, "theirs").await;
    let own = subnet(&cloud, theirs.id, "10.0.0.0/24", json!({})).await;
    let docker = |number: usize| DockerId::parse(&format!("{number:04}").repeat(16)).unwrap();
    let mut networks = Vec::new();
    for number in 1..=60 {
        let host = if number % 2 == 0 { &two } else { &one };
        let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.name", "theirs")], ..Plan::default() };
        let pools = host.create(&docker(number), &plan).await.unwrap();
        networks.push((number, host, pools));
    }
    one.core.backlog_settled().await;
    two.core.backlog_settled().await;
    // Neutron keeps 50, and each of these has four: ports stand for the others.
    let tags = cloud.neutron.show::<Network>(theirs.id).await.unwrap().tags.len();
    assert_eq!((tags, cloud.neutron.list::<Port>(&[("name", "kuryr-user-port")]).await.unwrap().len()), (48, 48));
    assert_eq!(cloud.neutron.list::<Subnet>(&[("network_id", &theirs.id.to_string())]).await.unwrap().len(), 1);
    let mut containers = Vec::new();
    for (number, host, pools) in &networks {
        let port = start(&cloud, host, &docker(*number), &docker(100 + number), pools).await;
        assert_eq!(port.network_id, theirs.id);
        containers.push(port);
    }
    assert_eq!(containers.iter().map(|port| port.fixed_ips[0].ip_address).collect::<BTreeSet<_>>().len(), 60);
    for ((number, host, pools), port) in networks.iter().zip(&containers) {
        stop(host, &docker(*number), &docker(100 + number), pools, port).await;
        host.remove(&docker(*number), pools).await;
        assert!(cloud.neutron.show::<Subnet>(own.id).await.is_ok(), "the operator's subnet stays");
    }
    assert_eq!((one.left(), two.left(), cloud.ports().await.len()), (0, 0, 0));
    assert_eq!(cloud.neutron.show::<Network>(theirs.id).await.unwrap().tags, Vec::<String>::new());
    assert!(cloud.neutron.list::<SubnetPool>(&[("name", "kuryrPool-10.0.0.0/24")]).await.unwrap().is_empty());
}
