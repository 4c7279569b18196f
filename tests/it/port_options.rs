//! `neutron.port.*`: options of an endpoint, and of a network for all its endpoints.

use kuryr::{
    core::{
        Error,
        request::{DriverOptions, EndpointGrant},
    },
    openstack::{Network, Port, SecurityGroup, Subnet},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::host::{Cloud, Host, Plan, Trouble, endpoint, id, options, taps};

async fn group(cloud: &Cloud, name: &str) -> SecurityGroup {
    cloud.neutron.create(&json!({"name": name})).await.unwrap()
}

async fn network(cloud: &Cloud, ranges: &[&str]) -> Network {
    let network: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    for range in ranges {
        let version = if range.contains(':') { 6 } else { 4 };
        let _: Subnet = cloud.neutron.create(&json!({"network_id": network.id, "cidr": range, "ip_version": version})).await.unwrap();
    }
    network
}

async fn port(cloud: &Cloud, network: Uuid, fixed_ips: Value) -> Port {
    cloud.neutron.create(&json!({"network_id": network, "name": "theirs", "fixed_ips": fixed_ips})).await.unwrap()
}

/// CreateEndpoint of a container with `--driver-opt`s, on the network `a`.
async fn start(host: &Host, container: char, address: ipnet::IpNet, given: DriverOptions) -> Result<EndpointGrant, Error> {
    let mut request = endpoint(&id('a'), &id(container), Some(address), None);
    request.options = given;
    host.core.create_endpoint(request).await
}

async fn groups_of(cloud: &Cloud, port: Uuid) -> Vec<Uuid> {
    cloud.neutron.show::<Port>(port).await.unwrap().security_groups
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_s_groups_are_on_every_port_from_the_first_moment() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (web, db) = (group(&cloud, "web").await, group(&cloud, "db").await);
    let named = format!("web, {}", db.id);
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.port.security_groups", &named)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;
    // And after a restart of the daemon.
    host.stop().await;
    let host = cloud.host("one");
    cloud.controller.reset_calls();
    let address = host.address(&pools[0], None).await.unwrap();
    let mut groups = groups_of(&cloud, cloud.ports().await[0].id).await;
    groups.sort();
    let mut wanted = vec![web.id, db.id];
    wanted.sort();
    assert_eq!(groups, wanted);
    cloud.controller.reset_calls();
    start(&host, 'b', address, DriverOptions::new()).await.unwrap();
    host.core.backlog_settled().await;
    assert!(
        !cloud.controller.calls().keys().any(|(method, of)| method == "GET" && of != "extensions"),
        "nothing is looked up: {:?}",
        cloud.controller.calls()
    );
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    // And after the loss of the journal.
    host.stop().await;
    std::fs::remove_dir_all(cloud.journal("one")).unwrap();
    let host = cloud.host("one");
    host.core.delete_endpoint(&id('a'), &id('f')).await.unwrap();
    host.core.backlog_settled().await;
    let address = host.run(&id('a'), &id('c'), &pools[0]).await;
    let mut groups = groups_of(&cloud, cloud.ports().await[0].id).await;
    groups.sort();
    assert_eq!(groups, wanted);
    host.remove_container(&id('a'), &id('c'), &pools[0], address).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_s_groups_are_written_before_its_link_is_made_and_are_no_successor_s() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let web = group(&cloud, "web").await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    host.core.backlog_settled().await;
    let port = cloud.ports().await[0].id;
    let before = groups_of(&cloud, port).await;
    cloud.trouble("PUT", "/ports/", Trouble::Late);
    let given = || options(&[("neutron.port.security_groups", "web")]);
    {
        let starting = start(&host, 'b', address, given());
        tokio::pin!(starting);
        tokio::select! {
            outcome = &mut starting => panic!("did not wait for Neutron: {outcome:?}"),
            () = cloud.held(1) => {}
        }
        assert_eq!((groups_of(&cloud, port).await, taps()), (vec![web.id], 0), "the groups are there, the link is not");
        cloud.mend();
        starting.await.unwrap();
    }
    assert_eq!(taps(), 1);
    // A call that the engine repeats changes nothing.
    start(&host, 'b', address, given()).await.unwrap();
    // The container is restarted at once, and is another one.
    for (container, options, wanted) in [('c', DriverOptions::new(), before.clone()), ('d', given(), vec![web.id])] {
        host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
        host.core.delete_endpoint(&id('a'), &id('c')).await.unwrap();
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        let again = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
        assert_eq!(again, address);
        start(&host, container, address, options).await.unwrap();
        assert_eq!(groups_of(&cloud, cloud.ports().await[0].id).await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_an_existing_port_are_its_own_unless_the_endpoint_says_so() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (web, own) = (group(&cloud, "web").await, group(&cloud, "own").await);
    let theirs = network(&cloud, &["10.0.0.0/24"]).await;
    let body = json!({"network_id": theirs.id, "fixed_ips": [{"ip_address": "10.0.0.88"}], "security_groups": [own.id]});
    let existing: Port = cloud.neutron.create(&body).await.unwrap();
    let uuid = theirs.id.to_string();
    let given = [("neutron.net.uuid", uuid.as_str()), ("neutron.port.security_groups", "web")];
    let pools = host.create(&id('a'), &Plan { ranges: &["10.0.0.0/24"], options: &given, ..Plan::default() }).await.unwrap();
    for (options, while_used) in [(DriverOptions::new(), own.id), (options(&[("neutron.port.security_groups", "web")]), web.id)] {
        let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
        start(&host, 'b', address, options).await.unwrap();
        assert_eq!(groups_of(&cloud, existing.id).await, [while_used]);
        host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
        assert_eq!(groups_of(&cloud, existing.id).await, [own.id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_named_by_its_id_needs_its_address_or_has_none() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs = network(&cloud, &["10.0.0.0/24"]).await;
    let with = port(&cloud, theirs.id, json!([{"ip_address": "10.0.0.88"}])).await;
    let without = port(&cloud, theirs.id, json!([])).await;
    let elsewhere = port(&cloud, network(&cloud, &["10.0.0.0/24"]).await.id, json!([{"ip_address": "10.0.0.88"}])).await;
    let uuid = theirs.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let named = |port: Uuid| options(&[("neutron.port.uuid", &port.to_string())]);

    let address = host.address(&pools[0], None).await.unwrap();
    for (port, words) in [
        (with.id, ["add --ip 10.0.0.88".to_owned(), address.addr().to_string()]),
        (elsewhere.id, [format!("on network {}", elsewhere.network_id), uuid.clone()]),
        (Uuid::from_u128(7), ["does not exist".to_owned(), "neutron.port.uuid".to_owned()]),
    ] {
        let error = start(&host, 'b', address, named(port)).await.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    assert_eq!((taps(), cloud.neutron.list::<Port>(&[("name", "theirs")]).await.unwrap().len()), (0, 3));
    // A port without an address gets the one that the engine has.
    start(&host, 'b', address, named(without.id)).await.unwrap();
    host.core.backlog_settled().await;
    let used = cloud.neutron.show::<Port>(without.id).await.unwrap();
    assert_eq!((used.fixed_ips[0].ip_address, used.device_id.as_str()), (address.addr(), id('b').as_str()));
    assert!(cloud.neutron.list::<Port>(&[("name", "kuryr-unbound-port")]).await.unwrap().is_empty());
    let error = start(&host, 'c', host.address(&pools[0], None).await.unwrap(), named(without.id)).await.unwrap_err().to_string();
    assert!(error.contains(&address.addr().to_string()), "{error}");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert!(cloud.neutron.show::<Port>(without.id).await.unwrap().fixed_ips.is_empty());

    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    start(&host, 'b', address, named(with.id)).await.unwrap();
    assert_eq!(cloud.neutron.show::<Port>(with.id).await.unwrap().device_owner, "compute:kuryr");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_s_port_is_its_only_container_s() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let ranges = ["10.0.0.0/24", "fd00:1::/64"];
    let theirs = network(&cloud, &ranges).await;
    let named = port(&cloud, theirs.id, json!([{"ip_address": "10.0.0.88"}, {"ip_address": "fd00:1::88"}])).await;
    let (uuid, port) = (theirs.id.to_string(), named.id.to_string());
    let given = [("neutron.net.uuid", uuid.as_str()), ("neutron.port.uuid", port.as_str())];
    let before = cloud.objects().await;
    // Nothing is made where it cannot be.
    let error = host.create(&id('a'), &Plan { ranges: &ranges, options: &given[1..], ..Plan::default() }).await.unwrap_err().to_string();
    assert!(error.contains(&format!("neutron.net.uuid={uuid}")), "{error}");
    host.core.backlog_settled().await;
    assert_eq!(cloud.objects().await, before);
    let pools = host.create(&id('a'), &Plan { ranges: &ranges, options: &given, ..Plan::default() }).await.unwrap();
    for _ in 0..2 {
        let v4 = host.address(&pools[0], None).await.unwrap();
        let v6 = host.address(&pools[1], None).await.unwrap();
        assert_eq!([v4.to_string(), v6.to_string()], ["10.0.0.88/24", "fd00:1::88/64"]);
        host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap();
        let error = host.address(&pools[0], None).await.unwrap_err().to_string();
        assert!(error.contains(&format!("in use by endpoint {}", id('b'))), "{error}");
        host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
        for (pool, address) in pools.iter().zip([v4, v6]) {
            host.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
        }
    }
    host.remove(&id('a'), &pools).await;
    assert_eq!((host.left(), cloud.neutron.show::<Port>(named.id).await.unwrap().device_owner.as_str()), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cloud_has_not_is_named_before_anything_is_made() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    group(&cloud, "twice").await;
    group(&cloud, "twice").await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.backlog_settled().await;
    let before = cloud.objects().await;
    for (option, value, words) in [
        ("neutron.port.qos_policy", "gold", ["extension 'qos'", "neutron.port.qos_policy"]),
        ("neutron.port.dns_name", "web", ["extension 'dns-integration'", "neutron.port.dns_name"]),
        ("neutron.port.dns_name", "not a name", ["neutron.port.dns_name is 'not a name'", "letters"]),
        ("neutron.port.security_groups", "nobodys", ["nobodys", "neutron.port.security_groups"]),
        ("neutron.port.security_groups", "twice", ["2 security groups named 'twice'", "by its id"]),
        ("neutron.port.security_groups", "00000000-0000-0000-0000-000000000007", ["does not exist", "security group"]),
        ("neutron.port.uuid", "mine", ["neutron.port.uuid is 'mine'", "UUID"]),
    ] {
        let refused = [
            start(&host, 'b', address, options(&[(option, value)])).await.unwrap_err(),
            host.create(&id('f'), &Plan { ranges: &["10.9.0.0/24"], options: &[(option, value)], ..Plan::default() }).await.unwrap_err(),
        ];
        for error in refused {
            let text = error.to_string();
            assert!(matches!(error, Error::Invalid(_)) && words.iter().all(|word| text.contains(word)), "{text}");
        }
        host.core.backlog_settled().await;
        assert_eq!((cloud.objects().await, taps()), (before, 0));
    }
    start(&host, 'b', address, DriverOptions::new()).await.unwrap();
}
