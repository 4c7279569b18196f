//! The journal is lost or damaged while containers run: what this host has in Neutron is taken up again as the engine names it.

use std::{collections::BTreeSet, fs};

use ipnet::IpNet;
use kuryr::{
    core::request::PoolGrant,
    openstack::{Network, Port, SubnetPool},
};
use serde_json::json;

use crate::host::{Cloud, Host, Plan, Trouble, endpoint, id, now, taps};

/// Starts a container with an address of each family.
async fn run(host: &Host, container: char, pools: &[PoolGrant]) -> [IpNet; 2] {
    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id(container), Some(v4), Some(v6))).await.unwrap();
    host.join(&id('a'), &id(container)).await.unwrap();
    [v4, v6]
}

async fn remove(host: &Host, container: char, pools: &[PoolGrant], addresses: [IpNet; 2]) {
    host.core.leave(&id('a'), &id(container)).await.unwrap();
    host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
    for (pool, address) in pools.iter().zip(addresses) {
        host.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
    }
    host.core.backlog_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_and_networks_of_a_lost_journal_can_be_removed() {
    for damage in [false, true] {
        let cloud = Cloud::start().await;
        let before = cloud.objects().await;
        let host = cloud.host("one");
        let pools = host.network(&id('a'), &["10.0.0.0/24", "fd00:1::/64"]).await;
        let first = run(&host, 'b', &pools).await;
        let second = run(&host, 'c', &pools).await;
        host.core.backlog_settled().await;
        host.stop().await;
        let journal = cloud.journal("one").join("journal.db");
        if damage {
            fs::write(&journal, "garbage ".repeat(1000)).unwrap();
        } else {
            fs::remove_dir_all(cloud.journal("one")).unwrap();
        }

        let host = cloud.host("one");
        assert_eq!(host.left(), 0);
        // The engine stops the one container, and starts another.
        remove(&host, 'b', &pools, first).await;
        assert_eq!((cloud.ports().await.len(), taps()), (1, 1), "the other container runs on");
        let third = run(&host, 'd', &pools).await;
        assert_ne!(third, second);
        host.join(&id('a'), &id('c')).await.unwrap();
        remove(&host, 'c', &pools, second).await;
        remove(&host, 'd', &pools, third).await;
        host.remove(&id('a'), &pools).await;
        assert_eq!((cloud.objects().await, taps(), host.left()), (before, 0, 0));
        assert_eq!(fs::exists(cloud.journal("one").join("journal.db.damaged")).unwrap(), damage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_removed_that_was_there_before_the_loss() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.backlog_settled().await;
    host.stop().await;
    fs::remove_dir_all(cloud.journal("one")).unwrap();
    let host = cloud.host("one");
    // As one after the other comes, without waiting for what goes on behind.
    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, taps(), host.left()), (before, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_taken_up_again_stays_though_the_engine_says_no_more_of_it() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.backlog_settled().await;
    host.stop().await;
    fs::remove_dir_all(cloud.journal("one")).unwrap();
    let host = cloud.host("one");
    // The engine names network and endpoint, and no pool.
    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(host.core.counts().networks, 1);
    // The first round takes the port whose address was never given back, the second looks at a network without ports.
    for _ in 0..2 {
        host.collect(now() + 700).await;
        host.core.backlog_settled().await;
    }
    assert_eq!(cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap().len(), 1);
    let again = host.run(&id('a'), &id('c'), &pools[0]).await;
    host.remove_container(&id('a'), &id('c'), &pools[0], again).await;
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.ports().await.len(), host.left(), taps()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_hosts_share_is_found_by_its_pool_and_stays_the_others() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let pools_one = one.network(&id('a'), &["10.0.0.0/24"]).await;
    one.core.backlog_settled().await;
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.name", "kuryr-net-aaaaaaaa")], ..Plan::default() };
    let pools_two = two.create(&id('b'), &plan).await.unwrap();
    two.core.backlog_settled().await;
    two.stop().await;
    fs::remove_dir_all(cloud.journal("two")).unwrap();

    let two = cloud.host("two");
    // The first word of the engine is a pool, which both hosts use.
    let address = two.run(&id('b'), &id('c'), &pools_two[0]).await;
    two.remove_container(&id('b'), &id('c'), &pools_two[0], address).await;
    two.remove(&id('b'), &pools_two).await;
    assert_eq!(two.left(), 0);
    let network = &cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap()[0];
    assert!(network.tags.iter().all(|tag| !tag.contains(&"b".repeat(12))), "{:?}", network.tags);
    let address = one.run(&id('a'), &id('d'), &pools_one[0]).await;
    one.remove_container(&id('a'), &id('d'), &pools_one[0], address).await;
    one.remove(&id('a'), &pools_one).await;
    assert_eq!((cloud.objects().await, one.left()), (before, 0));
}

/// kuryr-libnetwork takes a pool for an operator's, and marks it so, as soon as a second host names it: which it demands there.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_the_python_on_two_hosts_made_goes_with_its_network() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let pools_one = one.network(&id('a'), &["10.0.0.0/24"]).await;
    one.core.backlog_settled().await;
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.name", "kuryr-net-aaaaaaaa")], ..Plan::default() };
    let pools_two = two.create(&id('b'), &plan).await.unwrap();
    for (host, name) in [(one, "one"), (two, "two")] {
        host.core.backlog_settled().await;
        host.stop().await;
        fs::remove_dir_all(cloud.journal(name)).unwrap();
    }
    cloud.neutron.add_tag::<SubnetPool>(pools_one[0].id, "kuryr.subnetpool.existing").await.unwrap();

    let (one, two) = (cloud.host("one"), cloud.host("two"));
    two.remove(&id('b'), &pools_two).await;
    one.remove(&id('a'), &pools_one).await;
    assert_eq!((cloud.objects().await, one.left(), two.left()), (before, 0, 0));
}

/// Whoever serves the host next may be a kuryr-libnetwork, which has only what is in Neutron.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_leaves_all_that_it_promised_in_neutron() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let containers: Vec<char> = ('0'..='9').collect();
    for container in &containers {
        host.run(&id('a'), &id(*container), &pools[0]).await;
    }
    host.stop().await;
    let tags = |mut tags: Vec<String>| {
        tags.sort();
        tags
    };
    let found: BTreeSet<Vec<String>> = cloud.ports().await.into_iter().map(|port| tags(port.tags)).collect();
    let halves =
        |id: String| vec!["compute:kuryr".into(), format!("kuryr.net.uuid.lh:{}", &id[..32]), format!("kuryr.net.uuid.uh:{}", &id[32..])];
    let wanted: BTreeSet<Vec<String>> = containers.iter().map(|container| tags(halves(id(*container).as_str().to_owned()))).collect();
    assert_eq!(found, wanted);

    // The other way round: what is to go is gone with the daemon.
    let host = cloud.host("one");
    for port in cloud.ports().await {
        let address = port.fixed_ips[0].ip_address;
        let endpoint = containers.iter().map(|container| id(*container)).find(|id| port.device_id == id.as_str()).unwrap();
        host.core.leave(&id('a'), &endpoint).await.unwrap();
        host.core.delete_endpoint(&id('a'), &endpoint).await.unwrap();
        host.core.release_address(&pools[0].id.to_string(), address).await.unwrap();
    }
    host.core.release_pool(&pools[0].id.to_string()).await.unwrap();
    host.core.delete_network(&id('a')).await.unwrap();
    host.stop().await;
    assert_eq!((cloud.objects().await, taps()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_up_one_network_holds_no_other_one_up() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let slow = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let quick = host.network(&id('b'), &["10.1.0.0/24"]).await;
    host.core.backlog_settled().await;
    let network = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap()[0].id;
    host.stop().await;
    fs::remove_dir_all(cloud.journal("one")).unwrap();

    let host = cloud.host("one");
    cloud.trouble("GET", format!("/networks/{network}").leak(), Trouble::Late);
    let others = async {
        cloud.held(1).await;
        let address = host.run(&id('b'), &id('d'), &quick[0]).await;
        host.remove_container(&id('b'), &id('d'), &quick[0], address).await;
        cloud.mend();
    };
    let (address, ()) = tokio::join!(host.address(&slow[0], None), others);
    host.core.release_address(&slow[0].id.to_string(), address.unwrap().addr()).await.unwrap();
    host.remove(&id('a'), &slow).await;
    host.remove(&id('b'), &quick).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_tag_claims_is_not_taken_up() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    let network = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap()[0].id;
    // A port with the tags of an endpoint of ours, and owned by somebody else; a pool with the name of one of ours, in use.
    let port: Port =
        cloud.neutron.create(&json!({"network_id": network, "device_owner": "compute:nova", "device_id": "vm"})).await.unwrap();
    let tags =
        [format!("kuryr.net.uuid.lh:{}", "b".repeat(32)), format!("kuryr.net.uuid.uh:{}", "b".repeat(32)), "compute:kuryr".to_owned()];
    cloud.neutron.set_tags::<Port>(port.id, &tags).await.unwrap();
    host.stop().await;
    fs::remove_dir_all(cloud.journal("one")).unwrap();

    let host = cloud.host("one");
    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), port.fixed_ips[0].ip_address).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!(cloud.neutron.show::<Port>(port.id).await.unwrap().device_id, "vm");
    assert_eq!(cloud.neutron.show::<Network>(network).await.unwrap().subnets.len(), 1, "somebody else is on it");
    assert_eq!(cloud.neutron.list::<SubnetPool>(&[("name", "kuryrPool-10.0.0.0/24")]).await.unwrap().len(), 1);
    assert_eq!(host.left(), 0);
}
