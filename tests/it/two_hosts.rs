//! Several hosts, and operators, on the objects of one Neutron: two daemons with journals of their own are two hosts. Both have this
//! machine's name, since the controller plugs ports nowhere else.

use kuryr::{
    core::request::{AddressPurpose, AddressRequest, DockerId},
    openstack::{Network, Port, Subnet, SubnetPool},
};
use serde_json::json;
use uuid::Uuid;

use crate::host::{Cloud, Plan, Trouble, id, taps};

async fn network_named(cloud: &Cloud, name: &str) -> Option<Network> {
    cloud.neutron.list::<Network>(&[("name", name)]).await.unwrap().pop()
}

async fn operators_network(cloud: &Cloud, name: &str, cidr: &str, gateway: Option<&str>) -> (Network, Subnet) {
    let network: Network = cloud.neutron.create(&json!({"name": name})).await.unwrap();
    let version = if cidr.contains(':') { 6 } else { 4 };
    let body =
        json!({"network_id": network.id, "cidr": cidr, "ip_version": version, "gateway_ip": gateway, "name": format!("{name}-subnet")});
    (network, cloud.neutron.create(&body).await.unwrap())
}

async fn count<R: kuryr::openstack::Resource>(cloud: &Cloud, query: &[(&str, &str)]) -> usize {
    cloud.neutron.list::<R>(query).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_host_of_the_walkthrough_uses_the_network_of_the_first() {
    for first_leaves_first in [true, false] {
        let cloud = Cloud::start().await;
        let hosts = [cloud.host("one"), cloud.host("two")];
        let (networks, containers) = ([id('a'), id('b')], [id('c'), id('d')]);
        let range = "10.0.0.0/24";
        let pools_one = hosts[0].network(&networks[0], &[range]).await;
        hosts[0].core.backlog_settled().await;
        let network = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap();
        let uuid = network.id.to_string();
        let plan = Plan { ranges: &[range], gateway: Some("10.0.0.1"), options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
        let pools_two = hosts[1].create(&networks[1], &plan).await.unwrap();
        hosts[1].core.backlog_settled().await;

        let tags = cloud.neutron.show::<Network>(network.id).await.unwrap().tags;
        for tag in [
            format!("kuryr.net.uuid.lh:{}", "a".repeat(32)),
            format!("kuryr.net.uuid.lh:{}", "b".repeat(32)),
            format!("kuryr.net.uuid.uh:{}", "b".repeat(32)),
            "kuryr.net.existing:bbbbbbbbbbbb".to_owned(),
        ] {
            assert!(tags.contains(&tag), "{tag} is not among {tags:?}");
        }
        assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.0.0.0/24")]).await, 1);
        assert_eq!(count::<Subnet>(&cloud, &[("network_id", &uuid)]).await, 1);

        let pools = [&pools_one[0], &pools_two[0]];
        let first = hosts[0].run(&networks[0], &containers[0], pools[0]).await;
        let second = hosts[1].run(&networks[1], &containers[1], pools[1]).await;
        assert_ne!(first, second);

        let order = if first_leaves_first { [0, 1] } else { [1, 0] };
        let addresses = [first, second];
        let leaves = |at: usize| hosts[at].remove_container(&networks[at], &containers[at], pools[at], addresses[at]);
        leaves(order[0]).await;
        hosts[order[0]].remove(&networks[order[0]], &[pools[order[0]].clone()]).await;
        assert!(network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_some(), "the other host still uses it");
        // Also with no container anywhere, the other host's network works on.
        leaves(order[1]).await;
        let again = hosts[order[1]].run(&networks[order[1]], &id('e'), pools[order[1]]).await;
        hosts[order[1]].remove_container(&networks[order[1]], &id('e'), pools[order[1]], again).await;

        hosts[order[1]].remove(&networks[order[1]], &[pools[order[1]].clone()]).await;
        assert!(network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_none(), "its last user is gone");
        assert_eq!(count::<Subnet>(&cloud, &[("network_id", &uuid)]).await, 0);
        assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.0.0.0/24")]).await, 0);
        assert_eq!((hosts[0].left(), hosts[1].left(), taps()), (0, 0, 0));
    }
}

/// Whoever knows the network's id may put a Docker network upon it, and tags, before the one who made it has written any behind its reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_joins_at_once_keeps_its_tags() {
    let cloud = Cloud::start().await;
    let hosts = [cloud.host("one"), cloud.host("two")];
    cloud.trouble("PUT", "/tags", Trouble::Late);
    let network = id('a');
    let making = hosts[0].network(&network, &["10.0.0.0/24"]);
    tokio::pin!(making);
    tokio::select! {
        biased;
        _ = &mut making => panic!("the reply came before the tags"),
        () = cloud.held(1) => cloud.mend(),
    }
    making.await;
    let there = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap();
    let uuid = there.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    hosts[1].create(&id('b'), &plan).await.unwrap();
    for host in &hosts {
        host.core.backlog_settled().await;
    }
    let tags = cloud.neutron.show::<Network>(there.id).await.unwrap().tags;
    for letter in ["a", "b"] {
        assert!(tags.contains(&format!("kuryr.net.uuid.lh:{}", letter.repeat(32))), "{tags:?}");
    }
}

/// The backlog writes them, one by one.
#[tokio::test(flavor = "multi_thread")]
async fn tags_that_a_cloud_refuses_are_written_behind_the_reply() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    cloud.trouble("PUT", "/tags", Trouble::Answer(503, "busy"));
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    cloud.mend();
    let tag = format!("kuryr.net.uuid.lh:{}", "a".repeat(32));
    cloud.until(async || network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap().tags.contains(&tag)).await;
    host.core.backlog_settled().await;
    host.remove(&id('a'), &pools).await;
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_leave_at_the_same_moment_leave_nothing() {
    let cloud = Cloud::start().await;
    let hosts = [cloud.host("one"), cloud.host("two")];
    let networks = [id('a'), id('b')];
    let range = "10.0.0.0/24";
    let first = hosts[0].network(&networks[0], &[range]).await;
    hosts[0].core.backlog_settled().await;
    let uuid = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap().id.to_string();
    let plan = Plan { ranges: &[range], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let second = hosts[1].create(&networks[1], &plan).await.unwrap();
    hosts[1].core.backlog_settled().await;

    // Both learn that the other is still there before either has gone.
    cloud.trouble("GET", "/networks/", Trouble::Late);
    let both_know = async {
        cloud.held(2).await;
        cloud.mend();
    };
    tokio::join!(hosts[0].remove(&networks[0], &first), hosts[1].remove(&networks[1], &second), both_know);
    assert!(network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_none(), "its last user is gone");
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.0.0.0/24")]).await, 0);
    assert_eq!((hosts[0].left(), hosts[1].left()), (0, 0));
}

/// As after a race of Neutron's: the second host finds no subnet pool of the range's name, since the first has an operator's or its own is just
/// being taken for gone. Whoever leaves last takes both hosts' along.
#[tokio::test(flavor = "multi_thread")]
async fn subnet_pools_of_hosts_that_have_not_the_same_go_with_the_last_of_them() {
    for (of_an_operator, first_leaves_first) in [(true, true), (true, false), (false, true), (false, false)] {
        let cloud = Cloud::start().await;
        let hosts = [cloud.host("one"), cloud.host("two")];
        let networks = [id('a'), id('b')];
        let ranges = &["10.20.5.0/24"];
        let body = json!({"name": "ranges", "prefixes": ["10.20.0.0/16"], "default_prefixlen": 24});
        let theirs: SubnetPool = cloud.neutron.create(&body).await.unwrap();
        let named: &[_] = if of_an_operator { &[("neutron.pool.name", "ranges")] } else { &[] };
        let first = hosts[0].create(&networks[0], &Plan { ranges, ipam_options: named, ..Plan::default() }).await.unwrap();
        hosts[0].core.backlog_settled().await;

        let called = async |name: &str| {
            if !of_an_operator {
                cloud.neutron.update::<SubnetPool>(first[0].id, &json!({"name": name})).await.unwrap();
            }
        };
        called("another").await;
        let uuid = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap().id.to_string();
        let plan = Plan { ranges, options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
        let second = hosts[1].create(&networks[1], &plan).await.unwrap();
        hosts[1].core.backlog_settled().await;
        called("kuryrPool-10.20.5.0/24").await;
        assert_ne!(first[0].id, second[0].id);

        let pools = [first, second];
        for at in if first_leaves_first { [0, 1] } else { [1, 0] } {
            hosts[at].remove(&networks[at], &pools[at]).await;
        }
        let left = count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.20.5.0/24")]).await;
        assert_eq!(left, 0, "of an operator: {of_an_operator}, the first leaves first: {first_leaves_first}");
        cloud.neutron.show::<SubnetPool>(theirs.id).await.unwrap();
        assert!(network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_none());
        assert_eq!((hosts[0].left(), hosts[1].left()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_made_survives_and_what_kuryr_added_goes() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, subnet) = operators_network(&cloud, "theirs", "10.10.0.0/24", Some("10.10.0.254")).await;
    // Named by name; the last two ranges are ones that the network does not have yet, and Neutron wants one of them out of no subnet pool.
    let ranges = ["10.10.0.0/24", "10.10.1.0/24", "fd00:10::/64"];
    let plan = Plan { ranges: &ranges, options: &[("neutron.net.name", "theirs")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;
    let added = cloud.neutron.list::<Subnet>(&[("name", "kuryr-subnet-fd00:10::/64")]).await.unwrap();
    assert_eq!(added.iter().map(|subnet| subnet.network_id).collect::<Vec<_>>(), [network.id]);
    assert!(cloud.neutron.show::<Subnet>(subnet.id).await.unwrap().tags.contains(&pools[0].id.to_string()));
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;

    host.remove(&id('a'), &pools).await;
    let left = cloud.neutron.show::<Network>(network.id).await.unwrap();
    assert_eq!((left.tags, left.subnets), (vec![], vec![subnet.id]));
    assert!(cloud.neutron.show::<Subnet>(subnet.id).await.unwrap().tags.is_empty());
    for range in ranges {
        assert_eq!(count::<SubnetPool>(&cloud, &[("name", &format!("kuryrPool-{range}"))]).await, 0, "{range}");
    }
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_follows_another_at_once_leaves_nothing_of_either() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, subnet) = operators_network(&cloud, "theirs", "10.10.0.0/24", None).await;
    // The operator's own, which means nothing to kuryr.
    let theirs = Uuid::new_v4().to_string();
    cloud.neutron.add_tag::<Subnet>(subnet.id, &theirs).await.unwrap();
    let plan = Plan { ranges: &["10.10.0.0/24"], options: &[("neutron.net.name", "theirs")], ..Plan::default() };
    let first = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;

    // The engine goes on while the first is still being removed.
    cloud.trouble("GET", "/networks/", Trouble::Late);
    host.core.release_pool(&first[0].id.to_string()).await.unwrap();
    host.core.delete_network(&id('a')).await.unwrap();
    cloud.held(1).await;
    let second = host.create(&id('b'), &plan).await.unwrap();
    cloud.mend();
    host.core.backlog_settled().await;
    host.remove(&id('b'), &second).await;

    assert!(cloud.neutron.show::<Network>(network.id).await.unwrap().tags.is_empty());
    assert_eq!(cloud.neutron.show::<Subnet>(subnet.id).await.unwrap().tags, [theirs]);
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.10.0.0/24")]).await, 0);
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_is_found_by_its_options_and_gives_its_gateway() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (here, wanted) = operators_network(&cloud, "here", "10.15.0.0/24", Some("10.15.0.254")).await;
    let (_, other) = operators_network(&cloud, "there", "10.15.0.0/24", None).await;
    let uuid = wanted.id.to_string();
    // As Zun does it: the subnet in both kinds of options, no range, no gateway.
    let grant = host.request_pool(None, &[("neutron.subnet.uuid", &uuid)]).await.unwrap();
    assert_eq!(grant.cidr, wanted.cidr);
    host.core.release_pool(&grant.id.to_string()).await.unwrap();
    for (subnet, gateway) in [(&wanted, Some("10.15.0.254")), (&other, None)] {
        let uuid = subnet.id.to_string();
        let plan = Plan {
            ranges: &["10.15.0.0/24"],
            options: &[("neutron.subnet.uuid", &uuid)],
            ipam_options: &[("neutron.subnet.uuid", &uuid)],
            ..Plan::default()
        };
        let pools = host.create(&id('a'), &plan).await.unwrap();
        let address = host.run(&id('a'), &id('b'), &pools[0]).await;
        let ports = cloud.ports().await;
        assert_eq!((ports.len(), ports[0].network_id), (1, subnet.network_id));
        host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
        host.remove(&id('a'), &pools).await;
        let wrong = Plan { gateway: Some("10.15.0.9"), ..plan };
        let error = host.create(&id('a'), &wrong).await.unwrap_err().to_string();
        let gateway = gateway.unwrap_or("None");
        assert!(error.contains(&format!("gateway 10.15.0.9 does not match with gateway {gateway}")), "{error}");
    }
    assert!(cloud.neutron.show::<Network>(here.id).await.is_ok());
    host.core.backlog_settled().await;
    assert_eq!((host.left(), count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.15.0.0/24")]).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_subnet_pool_gives_ranges_and_survives() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let body = json!({"name": "ranges", "prefixes": ["10.20.0.0/16", "10.40.0.0/16"], "default_prefixlen": 24});
    let pool: SubnetPool = cloud.neutron.create(&body).await.unwrap();
    let named = [("neutron.pool.name", "ranges")];
    let mut networks = Vec::new();
    for (network, range) in [('a', "10.20.5.0/24"), ('b', "10.40.0.0/24")] {
        let pools = host.create(&id(network), &Plan { ranges: &[range], ipam_options: &named, ..Plan::default() }).await.unwrap();
        let made = cloud.neutron.list::<Subnet>(&[("name", &format!("kuryr-subnet-{range}"))]).await.unwrap();
        assert_eq!(made[0].subnetpool_id, Some(pool.id));
        networks.push((id(network), pools));
    }
    let grant = host.request_pool(None, &named).await.unwrap();
    assert_eq!(grant.cidr.to_string(), "10.20.0.0/24");
    host.core.release_pool(&grant.id.to_string()).await.unwrap();
    // Equal ranges in one pool meet there: Neutron's word is the answer, and nothing stays behind.
    let error = host.create(&id('c'), &Plan { ranges: &["10.20.5.0/24"], ipam_options: &named, ..Plan::default() }).await.unwrap_err();
    assert!(error.to_string().contains("10.20.5.0/24"), "{error}");
    let error = host.request_pool(Some("10.99.0.0/24"), &named).await.unwrap_err().to_string();
    assert!(error.contains("10.20.0.0/16, 10.40.0.0/16"), "{error}");
    for (network, pools) in networks {
        host.remove(&network, &pools).await;
    }
    assert_eq!(cloud.neutron.show::<SubnetPool>(pool.id).await.unwrap().name, "ranges");
    assert_eq!((host.left(), count::<Subnet>(&cloud, &[("subnetpool_id", &pool.id.to_string())]).await), (0, 0));
    assert_eq!(count::<Network>(&cloud, &[("name", "kuryr-net-cccccccc")]).await, 0);
}

/// Its name alone does not make it a kuryr's.
#[tokio::test(flavor = "multi_thread")]
async fn an_operators_subnet_pool_of_a_kuryrs_name_survives() {
    for prefix in ["10.20.0.0/16", "10.20.5.0/24"] {
        let cloud = Cloud::start().await;
        let host = cloud.host("one");
        let body = json!({"name": "kuryrPool-10.20.5.0/24", "prefixes": [prefix], "default_prefixlen": 24});
        let pool: SubnetPool = cloud.neutron.create(&body).await.unwrap();
        let plan = Plan { ranges: &["10.20.5.0/24"], ipam_options: &[("neutron.pool.name", "kuryrPool-10.20.5.0/24")], ..Plan::default() };
        let pools = host.create(&id('a'), &plan).await.unwrap();
        host.core.backlog_settled().await;
        host.remove(&id('a'), &pools).await;
        assert!(network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_none());
        cloud.neutron.show::<SubnetPool>(pool.id).await.unwrap();
    }
}

/// As when Neutron fails between the removal of the network and that of the pool.
#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_pool_of_a_host_before_goes_after_a_failure_as_well() {
    let cloud = Cloud::start().await;
    let hosts = [cloud.host("one"), cloud.host("two")];
    let ranges = &["10.20.5.0/24"];
    let first = hosts[0].network(&id('a'), ranges).await;
    hosts[0].core.backlog_settled().await;
    cloud.neutron.update::<SubnetPool>(first[0].id, &json!({"name": "another"})).await.unwrap();
    let uuid = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap().id.to_string();
    let second = hosts[1].create(&id('b'), &Plan { ranges, options: &[("neutron.net.uuid", &uuid)], ..Plan::default() }).await.unwrap();
    hosts[1].remove(&id('b'), &second).await;
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.20.5.0/24")]).await, 1);

    cloud.trouble("DELETE", "/subnetpools/", Trouble::Answer(500, "broken"));
    hosts[0].remove(&id('a'), &first).await;
    cloud.until(async || network_named(&cloud, "kuryr-net-aaaaaaaa").await.is_none()).await;
    cloud.mend();
    cloud.until(async || hosts[0].left() == 0).await;
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.20.5.0/24")]).await, 0);
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "another")]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_be_meant_make_nothing() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, subnet) = operators_network(&cloud, "theirs", "10.10.0.0/24", Some("10.10.0.1")).await;
    let (_, elsewhere) = operators_network(&cloud, "others", "10.10.0.0/24", Some("10.10.0.1")).await;
    operators_network(&cloud, "others", "10.11.0.0/24", None).await;
    let nowhere = Uuid::from_u128(7).to_string();
    let [network, subnet, elsewhere] = [network.id, subnet.id, elsewhere.id].map(|id| id.to_string());
    let before = (cloud.neutron.list::<Network>(&[]).await.unwrap().len(), cloud.neutron.list::<Subnet>(&[]).await.unwrap().len());
    for (options, word) in [
        (vec![("neutron.net.uuid", nowhere.as_str())], "Specified network id/name("),
        (vec![("neutron.net.name", "nothing")], "Specified network id/name(nothing) does not exist"),
        (vec![("neutron.net.name", "others")], "2 networks named 'others'"),
        (vec![("neutron.net.uuid", network.as_str()), ("neutron.net.name", "others")], "called 'theirs'"),
        (vec![("neutron.net.uuid", network.as_str()), ("neutron.net.shared", "true")], "shared = false"),
        (vec![("neutron.net.uuid", network.as_str()), ("neutron.subnet.uuid", elsewhere.as_str())], "is a subnet of network"),
        (vec![("neutron.subnet.name", "theirs-subnet"), ("neutron.subnet.uuid", elsewhere.as_str())], "called 'others-subnet'"),
        (vec![("neutron.subnet.v6.uuid", subnet.as_str())], "neutron.subnet.uuid"),
        (vec![("neutron.pool.name", "nothing")], "Specified subnet pool id/name(nothing) does not exist"),
    ] {
        for ipam in [false, true] {
            let (in_network, in_pool) = if ipam { (&[][..], &options[..]) } else { (&options[..], &[][..]) };
            let plan = Plan { ranges: &["10.10.0.0/24"], options: in_network, ipam_options: in_pool, ..Plan::default() };
            match host.create(&id('a'), &plan).await {
                // A pool is for one family, and has no use for these.
                Ok(pools) if ipam && (word.contains("shared") || options[0].0.contains(".v6.")) => host.remove(&id('a'), &pools).await,
                Ok(_) => panic!("{options:?} were taken"),
                Err(error) => assert!(error.to_string().contains(word), "{options:?}: {error}"),
            }
        }
    }
    for (in_network, in_pool, word) in [
        (("neutron.subnet.uuid", subnet.as_str()), ("neutron.subnet.uuid", elsewhere.as_str()), "mean subnet"),
        (("neutron.subnet.name", "theirs-subnet"), ("neutron.subnet.uuid", elsewhere.as_str()), "mean subnet"),
        (("neutron.net.uuid", network.as_str()), ("neutron.subnet.uuid", elsewhere.as_str()), "is not on network"),
    ] {
        let plan = Plan { ranges: &["10.10.0.0/24"], options: &[in_network], ipam_options: &[in_pool], ..Plan::default() };
        let error = host.create(&id('a'), &plan).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&elsewhere), "{in_network:?} {in_pool:?}: {error}");
    }
    host.core.backlog_settled().await;
    let after = (cloud.neutron.list::<Network>(&[]).await.unwrap().len(), cloud.neutron.list::<Subnet>(&[]).await.unwrap().len());
    assert_eq!((after, host.left()), (before, 0));
    assert!(cloud.neutron.list::<Network>(&[("name", "theirs")]).await.unwrap()[0].tags.is_empty());
    assert_eq!(cloud.neutron.list::<Port>(&[]).await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_ranges_of_fresh_networks_never_meet() {
    let cloud = Cloud::start().await;
    let hosts = [cloud.host("one"), cloud.host("two")];
    let mut made = Vec::new();
    for (host, network) in [(0, 'a'), (0, 'b'), (1, 'c')] {
        let pools = hosts[host].network(&id(network), &["10.0.0.0/24"]).await;
        let address = hosts[host].address(&pools[0], Some("10.0.0.7")).await.unwrap();
        made.push((host, id(network), pools, address));
    }
    for (host, network, pools, address) in made {
        hosts[host].core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        hosts[host].remove(&network, &pools).await;
    }
    assert_eq!(count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.0.0.0/24")]).await, 0);
    assert_eq!((hosts[0].left(), hosts[1].left(), cloud.ports().await.len()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_of_a_family_make_one_network() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24", "10.1.0.0/24"]).await;
    for (pool, start) in pools.iter().zip(["10.0.0.", "10.1.0."]) {
        let address = host.address(pool, None).await.unwrap();
        assert!(address.to_string().starts_with(start), "{address}");
        host.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
    }
    host.remove(&id('a'), &pools).await;
    assert_eq!((host.left(), count::<SubnetPool>(&cloud, &[("name", "kuryrPool-10.1.0.0/24")]).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn auxiliary_addresses_of_an_operators_subnet_are_no_containers() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    operators_network(&cloud, "theirs", "10.10.0.0/29", Some("10.10.0.1")).await;
    let plan = Plan {
        ranges: &["10.10.0.0/29"],
        options: &[("neutron.net.name", "theirs")],
        aux_addresses: &["10.10.0.2", "10.10.0.4", "10.10.0.6"],
        ..Plan::default()
    };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let mut granted = Vec::new();
    for _ in 0..2 {
        granted.push(host.address(&pools[0], None).await.unwrap().addr().to_string());
    }
    granted.sort();
    assert_eq!(granted, ["10.10.0.3", "10.10.0.5"]);
    let error = host.address(&pools[0], None).await.unwrap_err().to_string();
    assert!(error.contains("No more IP addresses"), "{error}");
    host.core.backlog_settled().await;
    assert_eq!(cloud.ports().await.len(), 2, "the auxiliary ones are free for whoever they are meant for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_list_of_tags_is_no_error() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (network, _) = operators_network(&cloud, "busy", "10.10.0.0/24", Some("10.10.0.1")).await;
    let full: Vec<String> = (0..50).map(|n| format!("tag{n}")).collect();
    cloud.neutron.set_tags::<Network>(network.id, &full).await.unwrap();
    let plan = Plan { ranges: &["10.10.0.0/24"], options: &[("neutron.net.name", "busy")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.neutron.show::<Network>(network.id).await.unwrap().tags.len(), host.left()), (50, 0));
}

/// Networks upon that of host one: as many as have room for their tags, and two more.
#[tokio::test(flavor = "multi_thread")]
async fn users_beyond_the_limit_of_tags_keep_a_network_that_kuryr_made() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let docker = |number: usize| DockerId::parse(&format!("{number:02}").repeat(32)).unwrap();
    let range = "10.0.0.0/24";
    let made = one.create(&id('a'), &Plan { ranges: &[range], outside: true, ..Plan::default() }).await.unwrap();
    one.core.backlog_settled().await;
    let network = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap();
    let uuid = network.id.to_string();
    let joined = [("neutron.net.uuid", uuid.as_str())];
    let plan = Plan { ranges: &[range], gateway: Some("10.0.0.1"), options: &joined, outside: true, ..Plan::default() };
    let mut pools = Vec::new();
    for number in 1..=18 {
        pools.push(two.create(&docker(number), &plan).await.unwrap());
    }
    two.core.backlog_settled().await;
    let tags = cloud.neutron.show::<Network>(network.id).await.unwrap().tags;
    assert!(tags.len() == 50 && !tags.iter().any(|tag| tag.contains(":1717") || tag.contains(":1818")), "{tags:?}");
    assert_eq!(count::<Port>(&cloud, &[("network_id", &uuid), ("name", "kuryr-user-port")]).await, 2);

    one.remove(&id('a'), &made).await;
    for number in 1..=16 {
        two.remove(&docker(number), &pools[number - 1]).await;
    }
    // The host of the last two starts anew, without its journal.
    two.stop().await;
    std::fs::remove_dir_all(cloud.journal("two")).unwrap();
    let two = cloud.host("two");
    two.remove(&docker(17), &pools[16]).await;
    let tags = cloud.neutron.show::<Network>(network.id).await.unwrap().tags;
    assert_eq!(tags, ["kuryr.net.made:aaaaaaaa"], "the last one still uses it");
    let address = two.run(&docker(18), &id('b'), &pools[17][0]).await;
    two.remove_container(&docker(18), &id('b'), &pools[17][0], address).await;
    two.remove(&docker(18), &pools[17]).await;
    assert_eq!((one.left(), two.left(), taps(), cloud.objects().await), (0, 0, 0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maker_whose_network_has_no_room_for_a_tag_leaves_word_of_itself() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let made = one.network(&id('a'), &["10.0.0.0/24"]).await;
    one.core.backlog_settled().await;
    let network = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap();
    let uuid = network.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], gateway: Some("10.0.0.1"), options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = two.create(&id('b'), &plan).await.unwrap();
    two.core.backlog_settled().await;
    let mut tags = cloud.neutron.show::<Network>(network.id).await.unwrap().tags;
    tags.extend((0..50 - tags.len()).map(|n| format!("operators{n}")));
    cloud.neutron.set_tags::<Network>(network.id, &tags).await.unwrap();
    one.remove(&id('a'), &made).await;
    two.stop().await;
    std::fs::remove_dir_all(cloud.journal("two")).unwrap();
    let two = cloud.host("two");
    two.remove(&id('b'), &pools).await;
    assert_eq!((one.left(), two.left(), cloud.objects().await), (0, 0, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_nobody_names_is_the_one_of_the_range_s_other_users() {
    let cloud = Cloud::start().await;
    let hosts = [cloud.host("one"), cloud.host("two")];
    let range = "10.0.0.0/24";
    let first = hosts[0].create(&id('a'), &Plan { ranges: &[range], gateway: Some("10.0.0.254"), ..Plan::default() }).await.unwrap();
    let uuid = network_named(&cloud, "kuryr-net-aaaaaaaa").await.unwrap().id.to_string();
    let options = [("neutron.net.uuid", uuid.as_str())];
    let second = hosts[1].request_pool(Some(range), &[]).await.unwrap();
    let request = AddressRequest { pool: second.id, address: None, purpose: AddressPurpose::Gateway };
    assert_eq!(hosts[1].core.request_address(request).await.unwrap().to_string(), "10.0.0.254/24");
    let second = hosts[1].create(&id('b'), &Plan { ranges: &[range], options: &options, ..Plan::default() }).await.unwrap();
    hosts[1].remove(&id('b'), &second).await;
    hosts[0].remove(&id('a'), &first).await;
}
