//! The life of networks and endpoints: the core, the embedded controller as its Neutron, and real links in the test's own namespace.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use kuryr::{
    core::{
        Core,
        request::{IpamData, NetworkRequest},
    },
    journal::Journal,
    netlink::Socket,
    openstack::{Network, Port, Subnet, SubnetPool},
};
use serde_json::json;
use tokio::sync::watch;

use crate::host::{Cloud, Plan, Trouble, core_settings, endpoint, id, now, taps};

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

/// What the engine says of a network with this range.
fn asked(network: char, range: &str) -> NetworkRequest {
    let data = IpamData { pool: Some(range.parse().unwrap()), pool_text: range.to_owned(), gateway: None, aux_addresses: vec![] };
    NetworkRequest { network: id(network), v4: vec![data], v6: vec![], internal: true, options: Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_of_one_range_made_at_once_never_mix() {
    let range = "10.0.0.0/24";
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    // The engine names no network here, so that this could be one call that it repeats.
    let (one, two) = (host.request_pool(Some(range), &[]).await.unwrap(), host.request_pool(Some(range), &[]).await.unwrap());
    let (first, second) = tokio::join!(host.core.create_network(asked('a', range)), host.core.create_network(asked('b', range)));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let (winner, loser) = if first.is_ok() { ('a', 'b') } else { ('b', 'a') };
    let error = first.and(second).unwrap_err().to_string();
    assert!(error.contains(range) && error.contains("run the command again"), "{error}");
    // Nor may the one that was too late get the pool of a third.
    let third = host.request_pool(Some(range), &[]).await.unwrap();
    assert!(host.core.create_network(asked(loser, range)).await.is_err());

    // The one that was refused gives back what it was granted; the other's works on.
    host.core.release_pool(&two.id.to_string()).await.unwrap();
    host.core.create_network(asked('c', range)).await.unwrap();
    host.core.backlog_settled().await;
    host.collect(now() + 700).await;
    host.core.backlog_settled().await;
    assert_eq!((host.core.counts().networks, host.core.counts().pools), (2, 2));
    for (network, container, pool) in [(winner, 'd', &one), ('c', 'e', &third)] {
        let address = host.run(&id(network), &id(container), pool).await;
        host.core.backlog_settled().await;
        let name = format!("kuryr-net-{}", network.to_string().repeat(8));
        let on = cloud.neutron.list::<Network>(&[("name", &name)]).await.unwrap()[0].id;
        let port = cloud.ports().await.into_iter().find(|port| port.device_id == id(container).as_str()).unwrap();
        assert_eq!(port.network_id, on, "{network}");
        host.remove_container(&id(network), &id(container), pool, address).await;
    }
    host.remove(&id(winner), &[one]).await;
    host.remove(&id('c'), &[third]).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_about_a_pool_that_the_engine_repeats_is_the_same_pool() {
    let range = "10.0.0.0/24";
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let lost = host.request_pool(Some(range), &[]).await.unwrap();
    let pools = host.network(&id('a'), &[range]).await;
    assert_eq!(pools, [lost]);
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_made_again_is_the_same_or_refused() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let ranges = ["10.0.0.0/24", "fd00:1::/64"];
    host.network(&id('a'), &ranges).await;
    let data = |range: &str, gateway: Option<&str>| IpamData {
        pool: Some(range.parse().unwrap()),
        pool_text: range.to_owned(),
        gateway: gateway.map(|ip| ip.parse().unwrap()),
        aux_addresses: vec![],
    };
    let same = NetworkRequest { v6: vec![data(ranges[1], None)], ..asked('a', ranges[0]) };
    host.core.create_network(same.clone()).await.unwrap();
    host.core.create_network(NetworkRequest { v4: vec![data(ranges[0], Some("10.0.0.1"))], ..same.clone() }).await.unwrap();
    for other in [
        NetworkRequest { internal: false, ..same.clone() },
        NetworkRequest { v4: vec![data("10.0.1.0/24", None)], ..same.clone() },
        NetworkRequest { v4: vec![data(ranges[0], Some("10.0.0.2"))], ..same.clone() },
        NetworkRequest { v6: vec![], ..same },
    ] {
        let error = host.core.create_network(other).await.unwrap_err().to_string();
        assert!(error.contains("there already with 10.0.0.0/24, fd00:1::/64") && error.contains("delete it first"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_size_is_a_free_one_of_the_default_pool() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    for (size, pool) in [("0.0.0.0/27", "kuryr"), ("::/80", "kuryr6")] {
        let grants = [host.request_pool(Some(size), &[]).await.unwrap(), host.request_pool(Some(size), &[]).await.unwrap()];
        let prefixes = &cloud.neutron.list::<SubnetPool>(&[("name", pool)]).await.unwrap()[0].prefixes;
        let length = size.parse::<ipnet::IpNet>().unwrap().prefix_len();
        for grant in &grants {
            assert!(grant.cidr.prefix_len() == length && prefixes.iter().any(|prefix| prefix.contains(&grant.cidr)), "{grant:?}");
            host.core.release_pool(&grant.id.to_string()).await.unwrap();
        }
        assert!(grants[0].id != grants[1].id && grants[0].cidr != grants[1].cidr);
    }
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_port_that_is_gone_already_stops_no_endpoint() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24", "fd00:1::/64"]).await;
    // Chosen addresses in this order are two ports.
    let v6 = host.address(&pools[1], Some("fd00:1::7")).await.unwrap();
    let v4 = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    let ports = cloud.ports().await;
    assert_eq!(ports.len(), 2);
    let second = ports.iter().find(|port| port.fixed_ips.iter().any(|fixed| fixed.ip_address == v6.addr())).unwrap();
    cloud.neutron.delete::<Port>(second.id).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap();
    let ports = cloud.ports().await;
    let held: BTreeSet<IpAddr> = ports.iter().flat_map(|port| &port.fixed_ips).map(|fixed| fixed.ip_address).collect();
    assert!(ports.len() == 1 && held.contains(&v6.addr()) && held.contains(&v4.addr()), "{held:?}");
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

/// Every request that reaches Neutron counts: those before the replies of RequestPool, RequestAddress for the gateway and CreateNetwork, and then
/// those behind them too. A daemon's first look has asked for the token and the extensions, once.
#[tokio::test(flavor = "multi_thread")]
async fn networks_cost_few_calls() {
    let cloud = Cloud::start().await;
    let led = kuryr::core::Settings { external_network: Some("kuryr".into()), ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), led);
    let (v4, both) = (&["10.0.0.0/24"][..], &["10.0.0.0/24", "fd00:1::/64"][..]);
    // The external network is looked up once as well.
    let pools = host.create(&id('f'), &Plan { ranges: v4, outside: true, ..Plan::default() }).await.unwrap();
    host.remove(&id('f'), &pools).await;
    let total = || cloud.controller.calls().values().sum::<u64>();
    for (plan, before_reply, made, removed) in [
        // A search for the subnet pool, and subnet pool, network, subnet and the network's tags; behind, those of the subnet.
        (Plan { ranges: v4, gateway: Some("10.0.0.1"), ..Plan::default() }, 5, 6, 4),
        (Plan { ranges: v4, ..Plan::default() }, 5, 6, 4),
        // Subnet pool, its search and the subnet's tags twice.
        (Plan { ranges: both, ..Plan::default() }, 7, 9, 5),
        // And a router with its interface, which goes only when no port stands for a Docker network whose tags had no room.
        (Plan { ranges: v4, gateway: Some("10.0.0.1"), outside: true, ..Plan::default() }, 7, 8, 7),
    ] {
        cloud.controller.reset_calls();
        // What is written behind the reply is held back until that is there.
        cloud.trouble("PUT", "/subnets/", Trouble::OnHold);
        let pools = host.create(&id('a'), &plan).await.unwrap();
        let by_the_reply = cloud.controller.calls();
        cloud.mend();
        host.core.backlog_settled().await;
        let calls = cloud.controller.calls();
        assert_eq!((by_the_reply.values().sum::<u64>(), total()), (before_reply, made), "{by_the_reply:?}, {calls:?}");
        cloud.controller.reset_calls();
        for pool in &pools {
            host.core.release_pool(&pool.id.to_string()).await.unwrap();
        }
        host.core.delete_network(&id('a')).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!(total(), removed, "{:?}", cloud.controller.calls());
        assert_eq!(host.left(), 0);
    }
}

/// kuryr-libnetwork asks the whole cloud for subnets of a range and for ports of an address, at every start and stop. Here only the gateway of a
/// range is looked for so, when nobody names it and a kuryr has used the range before.
#[tokio::test(flavor = "multi_thread")]
async fn no_subnet_and_no_port_is_looked_for_in_the_whole_cloud() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let body = json!({"network_id": theirs.id, "cidr": "10.0.1.0/24", "ip_version": 4});
    let subnet: Subnet = cloud.neutron.create(&body).await.unwrap();
    let body = json!({"network_id": theirs.id, "fixed_ips": [{"subnet_id": subnet.id, "ip_address": "10.0.1.88"}]});
    let _: Port = cloud.neutron.create(&body).await.unwrap();
    let named = theirs.id.to_string();
    for (range, ip, options) in
        [("10.0.0.0/24", None, vec![]), ("10.0.1.0/24", Some("10.0.1.88"), vec![("neutron.net.uuid", named.as_str())])]
    {
        let gateway = range.replace("0/24", "1");
        let plan = Plan { ranges: &[range], gateway: Some(&gateway), options: &options, outside: true, ..Plan::default() };
        let pools = host.create(&id('a'), &plan).await.unwrap();
        let address = host.address(&pools[0], ip).await.unwrap();
        host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
        host.join(&id('a'), &id('b')).await.unwrap();
        host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
        host.remove(&id('a'), &pools).await;
    }
    let holds = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let lists: Vec<_> =
        cloud.asked().into_iter().filter(|asked| holds(asked, &["GET"]) && holds(asked, &["/subnets?", "/ports?"])).collect();
    let wide: Vec<_> =
        lists.iter().filter(|asked| !holds(asked, &["network_id=", "subnet_id%3D", "subnetpool_id=", "tags-any="])).collect();
    assert!(lists.len() > 2 && wide.is_empty(), "{lists:#?}");
}

/// The id behind `[kuryr] external_network` is kept from network to network, and no longer than Neutron has it.
#[tokio::test(flavor = "multi_thread")]
async fn an_external_network_that_is_made_anew_is_found_again() {
    let cloud = Cloud::start().await;
    let led = kuryr::core::Settings { external_network: Some("outside".into()), ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), led);
    for (network, range) in [('a', "10.0.0.0/24"), ('b', "10.0.1.0/24")] {
        let external: Network = cloud.neutron.create(&json!({"name": "outside", "router:external": true})).await.unwrap();
        let body = json!({"network_id": external.id, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": false});
        let _: Subnet = cloud.neutron.create(&body).await.unwrap();
        let pools = host.create(&id(network), &Plan { ranges: &[range], outside: true, ..Plan::default() }).await.unwrap();
        let gateways = cloud.neutron.list::<Port>(&[("network_id", &external.id.to_string())]).await.unwrap();
        assert_eq!(gateways.len(), 1, "{network}: no router leads to the network that Neutron has now");
        host.remove(&id(network), &pools).await;
        cloud.neutron.delete::<Network>(external.id).await.unwrap();
    }
    // None is there to be found again, and nothing stays of the network that was to be led there.
    let before = cloud.objects().await;
    let plan = Plan { ranges: &["10.0.2.0/24"], outside: true, ..Plan::default() };
    let error = host.create(&id('c'), &plan).await.unwrap_err().to_string();
    assert!(error.contains("[kuryr] external_network is 'outside'") && error.contains("has 0 external networks"), "{error}");
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

/// Containers that are restarted keep their addresses and with them their ports. What is left to do for the old endpoint may be done late, when
/// the new one has its link, which has the same name.
#[tokio::test(flavor = "multi_thread")]
async fn an_unplugging_that_comes_late_leaves_a_newer_link_alone() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.backlog_settled().await;
    host.stop().await;

    // The next daemon has not come to its backlog yet.
    let (journal, records) = Journal::open(&cloud.journal("one")).unwrap();
    let core = Arc::new(Core::new(core_settings(), cloud.client(), journal, records));
    core.create_endpoint(endpoint(&network, &id('b'), Some(address), None)).await.unwrap();
    core.delete_endpoint(&network, &id('b')).await.unwrap();
    core.create_endpoint(endpoint(&network, &id('c'), Some(address), None)).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let backlog = tokio::spawn(core.clone().run_backlog(stopped));
    core.backlog_settled().await;
    assert_eq!(taps(), 1, "the new container has lost its link");

    core.delete_endpoint(&network, &id('c')).await.unwrap();
    core.backlog_settled().await;
    assert_eq!(taps(), 0);
    stop.send_replace(true);
    backlog.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_that_are_given_back_beside_their_network_leave_nothing() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    for round in 0..50 {
        let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
        // As after a loss of the journal, when releases are understood late.
        let (releasing, deleting, pool) = (host.core.clone(), host.core.clone(), pools[0].id.to_string());
        let released = tokio::spawn(async move { releasing.release_pool(&pool).await });
        let deleted = tokio::spawn(async move { deleting.delete_network(&id('a')).await });
        released.await.unwrap().unwrap();
        deleted.await.unwrap().unwrap();
        host.core.backlog_settled().await;
        assert_eq!((cloud.objects().await, host.left()), (before, 0), "round {round}");
    }
}
