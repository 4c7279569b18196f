//! Ports made ahead of use: a start finds one that is bound, plugged and ACTIVE, and asks nobody.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kuryr::{
    controller::datapath::Datapath,
    core::{
        PoolSettings, Settings,
        request::{DockerId, EndpointRequest},
    },
    netlink::Socket,
    openstack::{Port, SecurityGroup},
};
use serde_json::json;

use crate::host::{Cloud, Host, Plan, Trouble, core_settings, endpoint, id, now, options, taps};

fn pooling(pool: PoolSettings) -> Settings {
    Settings { vif_plugging_is_fatal: true, vif_plugging_timeout: Duration::from_secs(60), port_pool: pool, ..core_settings() }
}

/// A cloud whose agent wires ports, and a host that makes so many ahead on each network.
pub async fn warm_host(min: usize) -> (Cloud, Host, Datapath) {
    let cloud = Cloud::start().await;
    let datapath = cloud.controller.start_datapath().unwrap();
    let host = host_on(&cloud, PoolSettings { min, ..PoolSettings::default() });
    (cloud, host, datapath)
}

fn host_on(cloud: &Cloud, pool: PoolSettings) -> Host {
    cloud.host_with("one", cloud.client(), pooling(pool))
}

/// Index of each interface that a port of a container has on this host, by name.
fn links() -> BTreeSet<(String, u32)> {
    let links = Socket::open().unwrap().links().unwrap();
    links.into_iter().filter(|link| link.kind == "veth").map(|link| (link.name, link.index)).collect()
}

fn container(number: usize) -> DockerId {
    DockerId::parse(&format!("{number:064x}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_start_asks_nobody_and_makes_no_link() {
    let (cloud, host, _datapath) = warm_host(1).await;
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24", "fd00:1::/64"]).await;
    host.core.pool_settled(1).await;
    host.core.backlog_settled().await;
    let ahead = &cloud.ports().await[0];
    assert_eq!((ahead.name.as_str(), ahead.device_id.as_str(), ahead.status.as_str()), ("kuryr-pool-port", "", "ACTIVE"));
    // What is done behind the reply must not be counted.
    cloud.trouble("PUT", "/ports", Trouble::Answer(503, "later"));
    cloud.trouble("POST", "/ports", Trouble::Answer(503, "later"));
    let before = links();
    assert_eq!(before.len(), 2);
    cloud.controller.reset_calls();

    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], None).await.unwrap();
    let grant = host.core.create_endpoint(endpoint(&network, &id('b'), Some(v4), Some(v6))).await.unwrap();
    let attachment = host.join(&network, &id('b')).await.unwrap();
    assert_eq!(cloud.controller.calls().values().sum::<u64>(), 0, "{:?}", cloud.controller.calls());
    assert_eq!(links(), before);
    assert!(before.iter().any(|(name, _)| *name == attachment.interface));
    assert_eq!(grant.mac, Some(ahead.mac_address));
    let held: BTreeSet<_> = ahead.fixed_ips.iter().map(|fixed| fixed.ip_address).collect();
    assert_eq!(held, BTreeSet::from([v4.addr(), v6.addr()]));
    cloud.mend();

    // A reader of Neutron sees what it always saw, a moment later.
    host.core.pool_settled(1).await;
    cloud.until(async || cloud.ports().await.iter().any(|port| port.tags.len() == 3)).await;
    let dressed = cloud.neutron.show::<Port>(ahead.id).await.unwrap();
    assert_eq!((dressed.name.as_str(), dressed.device_id.as_str()), ("kuryr-unbound-port", id('b').as_str()));

    host.core.delete_endpoint(&network, &id('b')).await.unwrap();
    for (pool, address) in pools.iter().zip([v4, v6]) {
        host.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
    }
    host.remove(&network, &pools).await;
    assert_eq!((cloud.ports().await.len(), taps(), host.left()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_without_starts_has_none_and_one_with_starts_as_many() {
    let (cloud, host, _datapath) = warm_host(0).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(0).await;
    for started in 1..=3 {
        host.run(&id('a'), &container(started), &pools[0]).await;
        host.core.pool_settled(started).await;
    }
    host.core.backlog_settled().await;
    assert_eq!(cloud.ports().await.len(), 6);
    host.stop().await;

    // Its starts are long ago for the next daemon.
    let host = host_on(&cloud, PoolSettings { idle_time: Duration::ZERO, ..PoolSettings::default() });
    host.core.pool_settled(0).await;
    host.core.backlog_settled().await;
    assert_eq!((cloud.ports().await.len(), taps()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_network_go_before_those_of_the_host() {
    let (_cloud, host, _datapath) = warm_host(1).await;
    let plan = |options| Plan { ranges: &["10.0.0.0/24"], options, ..Plan::default() };
    host.create(&id('a'), &plan(&[("kuryr.pool.min", "3")])).await.unwrap();
    host.core.pool_settled(3).await;
    let refused = host.create(&id('b'), &plan(&[("kuryr.pool.max", "lots")])).await.unwrap_err().to_string();
    assert!(refused.contains("kuryr.pool.max") && refused.contains("lots"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_asked_for_is_the_port_that_has_it() {
    let (cloud, host, _datapath) = warm_host(2).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(2).await;
    let ahead = cloud.ports().await.remove(1);
    let wanted = ahead.fixed_ips[0].ip_address.to_string();
    cloud.controller.reset_calls();
    let address = host.address(&pools[0], Some(&wanted)).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.pool_settled(2).await;
    host.core.backlog_settled().await;
    let ports = cloud.ports().await;
    assert_eq!(ports.len(), 3, "the pool is filled up again");
    assert_eq!(ports.iter().find(|port| port.id == ahead.id).unwrap().device_id, id('b').as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mac_of_the_users_choice_gets_a_link_with_it() {
    let (_cloud, host, _datapath) = warm_host(1).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    let address = host.address(&pools[0], None).await.unwrap();
    let mac = "02:00:00:00:00:77".parse().unwrap();
    let request = EndpointRequest { mac: Some(mac), ..endpoint(&id('a'), &id('b'), Some(address), None) };
    host.core.create_endpoint(request).await.unwrap();
    let attachment = host.join(&id('a'), &id('b')).await.unwrap();
    assert_eq!(Socket::open().unwrap().link(&attachment.interface).unwrap().unwrap().mac, Some(mac));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_an_endpoint_s_own_get_a_link_anew_that_is_waited_for() {
    let (cloud, host, datapath) = warm_host(1).await;
    let web: SecurityGroup = cloud.neutron.create(&json!({"name": "web"})).await.unwrap();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    host.core.backlog_settled().await;
    let (ahead, before) = (cloud.ports().await.remove(0), links());
    let options = options(&[("neutron.port.security_groups", "web")]);
    let with_groups =
        |container, address| EndpointRequest { options: options.clone(), ..endpoint(&id('a'), &id(container), Some(address), None) };
    let address = host.address(&pools[0], None).await.unwrap();
    // While Neutron does not have the groups yet there is no link.
    cloud.trouble("PUT", "/ports/", Trouble::Answer(503, "later"));
    host.core.create_endpoint(with_groups('b', address)).await.unwrap_err();
    assert!(links().is_disjoint(&before), "the link is there with the groups of the network");
    cloud.mend();
    host.core.create_endpoint(with_groups('b', address)).await.unwrap();
    let attachment = host.join(&id('a'), &id('b')).await.unwrap();
    assert!(links().iter().any(|(name, _)| *name == attachment.interface));
    let used = cloud.neutron.show::<Port>(ahead.id).await.unwrap();
    assert_eq!((used.security_groups, used.status.as_str()), (vec![web.id], "ACTIVE"));

    // ACTIVE must not mean the link of before, which without an agent nobody sees go.
    host.core.pool_settled(1).await;
    tokio::task::block_in_place(|| drop(datapath));
    host.stop().await;
    let pool = PoolSettings { min: 1, ..PoolSettings::default() };
    let settings = Settings { vif_plugging_timeout: Duration::from_millis(800), ..pooling(pool) };
    let host = cloud.host_with("one", cloud.client(), settings);
    host.core.pool_settled(1).await;
    let address = host.address(&pools[0], None).await.unwrap();
    let error = host.core.create_endpoint(with_groups('c', address)).await.unwrap_err().to_string();
    assert!(error.contains("before the container had its interface"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_taken_up_again_when_journal_and_neutron_agree() {
    let (cloud, host, _datapath) = warm_host(4).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(4).await;
    host.core.backlog_settled().await;
    host.crash().await;
    let [kept, renamed, used, gone] = <[Port; 4]>::try_from(cloud.ports().await).unwrap();
    let network = kept.network_id;
    cloud.neutron.update::<Port>(renamed.id, &json!({"allowed_address_pairs": [{"ip_address": "10.0.0.99"}]})).await.unwrap();
    cloud.neutron.update::<Port>(used.id, &json!({"device_id": "an operator's"})).await.unwrap();
    cloud.neutron.delete::<Port>(gone.id).await.unwrap();
    // Only its tags and its name claim that it is ours.
    let claimed: Port =
        cloud.neutron.create(&json!({"network_id": network, "name": "kuryr-pool-port", "device_owner": "compute:nova"})).await.unwrap();
    cloud.neutron.set_tags::<Port>(claimed.id, &["compute:kuryr".to_owned()]).await.unwrap();

    let host = host_on(&cloud, PoolSettings { min: 4, ..PoolSettings::default() });
    host.core.pool_settled(4).await;
    host.core.backlog_settled().await;
    let there: BTreeSet<_> = cloud.ports().await.iter().map(|port| port.id).collect();
    assert!(there.contains(&kept.id), "the journal and Neutron agree on it");
    assert!(!there.contains(&renamed.id), "nobody uses it, and it is not as it was");
    assert_eq!(cloud.neutron.show::<Port>(used.id).await.unwrap().device_id, "an operator's");
    let mut given = BTreeSet::new();
    for number in 1..=8 {
        given.insert(host.run(&id('a'), &container(number), &pools[0]).await);
    }
    assert_eq!(given.len(), 8);
    for foreign in [&used, &claimed] {
        let theirs = foreign.fixed_ips[0].ip_address;
        assert!(given.iter().all(|address| address.addr() != theirs));
        cloud.neutron.show::<Port>(foreign.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_dressed_already_is_an_endpoints_though_the_journal_lost_that() {
    let (cloud, host, _datapath) = warm_host(1).await;
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    host.core.backlog_settled().await;
    host.crash().await;
    let port = cloud.ports().await.remove(0);
    let body = json!({"device_id": id('b').as_str(), "name": "kuryr-unbound-port"});
    cloud.neutron.update::<Port>(port.id, &body).await.unwrap();
    let host = host_on(&cloud, PoolSettings::disabled());
    cloud.until(async || host.core.counts().pooled == 0).await;
    host.core.backlog_settled().await;
    assert_eq!(host.core.operational_info(&id('b')).await["port_id"], port.id.to_string());
    assert_eq!(cloud.ports().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_subnet_is_not_used_up() {
    let (cloud, host, _datapath) = warm_host(16).await;
    let pools = host.network(&id('a'), &["10.0.0.0/27"]).await;
    // A fifth of 29 addresses.
    host.core.pool_settled(5).await;
    // All others go to whoever asks, and what is held or being made ahead after that too: a moment after the first refusal at the latest.
    let given = Mutex::new(BTreeSet::new());
    let ask = async || match host.address(&pools[0], None).await {
        Ok(address) => assert!(given.lock().unwrap().insert(address)),
        Err(error) => assert!(error.to_string().contains("IpAddressGenerationFailure"), "{error}"),
    };
    cloud
        .until(async || {
            ask().await;
            given.lock().unwrap().len() == 29
        })
        .await;
    host.address(&pools[0], None).await.unwrap_err();
    assert_eq!(cloud.ports().await.len(), 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_shrinks_gets_its_ports_back() {
    let (cloud, host, _datapath) = warm_host(6).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(6).await;
    let over = r#"{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}}"#;
    cloud.trouble("POST", "/ports", Trouble::Answer(409, over));
    host.run(&id('a'), &id('b'), &pools[0]).await;
    // Of five that are left, of two and of one half goes, but never the last.
    host.core.pool_settled(3).await;
    host.run(&id('a'), &id('c'), &pools[0]).await;
    host.core.pool_settled(1).await;
    host.run(&id('a'), &id('d'), &pools[0]).await;
    let refused = host.address(&pools[0], None).await.unwrap_err().to_string();
    assert!(refused.contains("OverQuota"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_gets_what_was_held_ahead_elsewhere() {
    let (cloud, host, _datapath) = warm_host(2).await;
    let plan = Plan { ranges: &["10.1.0.0/24"], options: &[("kuryr.pool.max", "0")], ..Plan::default() };
    let cold = host.create(&id('b'), &plan).await.unwrap();
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(2).await;
    let ports = cloud.neutron.list::<Port>(&[]).await.unwrap().len();
    cloud.set_port_quota(ports).await;
    host.run(&id('b'), &id('c'), &cold[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_port_of_a_quota_is_the_starts_though_it_is_being_made_ahead() {
    let (cloud, host, _datapath) = warm_host(0).await;
    let begun = now();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("kuryr.pool.max", "0")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;
    // A port of the second in which the daemon began may be of the daemon before.
    cloud.until(async || now() > begun).await;
    cloud.trouble("POST", "/ports", Trouble::Late);
    let plan = Plan { ranges: &["10.1.0.0/24"], options: &[("kuryr.pool.min", "1")], ..Plan::default() };
    host.create(&id('b'), &plan).await.unwrap();
    cloud.held(1).await;
    cloud.spare_others();
    let ports = cloud.neutron.list::<Port>(&[]).await.unwrap().len();
    cloud.set_port_quota(ports).await;
    cloud.controller.reset_calls();
    let asked = || cloud.controller.calls().get(&("POST".to_owned(), "ports".to_owned())).copied().unwrap_or_default();
    let (host, cloud) = (&host, &cloud);
    let start = async { host.address(&pools[0], None).await };
    let refused_and_then_told = async {
        cloud.until(async || asked() > 0).await;
        cloud.mend();
    };
    let (address, ()) = tokio::join!(start, refused_and_then_told);
    address.unwrap();
}

/// Each look used to bring on the next one at once: some fifty requests until a port was ACTIVE, on a Neutron that was busy with just that.
#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_not_active_are_looked_at_at_growing_distance() {
    let cloud = Cloud::start().await;
    // Without an agent none becomes ACTIVE.
    let host = host_on(&cloud, PoolSettings { min: 2, ..PoolSettings::default() });
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    let asked = |method: &str| cloud.controller.calls().get(&(method.to_owned(), "ports".to_owned())).copied().unwrap_or_default();
    cloud.until(async || asked("POST") == 2).await;
    // Before the first that counts.
    let begun = Instant::now();
    cloud.controller.reset_calls();
    cloud.until(async || asked("GET") >= 4).await;
    // A busy machine makes it longer, never shorter.
    assert!(begun.elapsed() >= Duration::from_millis(100 + 200 + 400), "{:?}", begun.elapsed());
}

/// They used to be given back, and none was made for five minutes, though the agent was only busy.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_late_is_tried_with_one_port_and_the_others_are_kept_for_it() {
    let cloud = Cloud::start().await;
    let pool = PoolSettings { min: 3, patience: Duration::from_secs(10), ..PoolSettings::default() };
    let host = cloud.host_with("one", cloud.client(), Settings { port_pool: pool, ..core_settings() });
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let ahead = async || -> BTreeSet<_> {
        cloud.ports().await.into_iter().filter(|port| port.name == "kuryr-pool-port").map(|port| port.id).collect()
    };
    cloud.until(async || host.core.counts().pooled == 3).await;
    let first = ahead().await;
    cloud.until(async || ahead().await.intersection(&first).count() == 2).await;
    // Starts that are worth four more bring on none.
    for number in 1..=7 {
        host.run(&id('a'), &container(number), &pools[0]).await;
    }
    assert_eq!(ahead().await.intersection(&first).count(), 2, "the others wait for an agent that is only busy");
    // The last of so many looks comes after the starts have paused.
    cloud.controller.reset_calls();
    let looks = || cloud.controller.calls().get(&("GET".to_owned(), "ports".to_owned())).copied().unwrap_or_default();
    cloud.until(async || looks() >= 5).await;
    let before = ahead().await;
    assert!(before.len() <= 3, "{before:?}");
    let datapath = cloud.controller.start_datapath().unwrap();
    host.core.pool_settled(7).await;
    drop(datapath);
    assert!(ahead().await.intersection(&before).count() >= 2, "they were of use to it");
}

/// Neutron 21 has been seen to leave a port in BUILD for minutes while its agents had nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_an_agent_has_missed_is_made_anew() {
    let (cloud, host, _datapath) = warm_host(2).await;
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(2).await;
    host.core.backlog_settled().await;
    host.crash().await;
    let [missed, other] = <[Port; 2]>::try_from(cloud.ports().await).unwrap();
    cloud.neutron.update::<Port>(missed.id, &json!({"admin_state_up": false})).await.unwrap();
    let host = host_on(&cloud, PoolSettings { min: 2, patience: Duration::from_secs(1), ..PoolSettings::default() });
    host.core.pool_settled(2).await;
    host.core.backlog_settled().await;
    let there: BTreeSet<_> = cloud.ports().await.iter().map(|port| port.id).collect();
    assert!(!there.contains(&missed.id) && there.contains(&other.id) && there.len() == 2, "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_goes_takes_along_what_is_being_made_for_it() {
    let (cloud, host, _datapath) = warm_host(0).await;
    let before = cloud.objects().await;
    cloud.trouble("POST", "/ports", Trouble::Late);
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("kuryr.pool.min", "2")], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    cloud.held(2).await;
    for pool in &pools {
        host.core.release_pool(&pool.id.to_string()).await.unwrap();
    }
    host.core.delete_network(&id('a')).await.unwrap();
    cloud.mend();
    cloud.until(async || cloud.objects().await == before).await;
    cloud.until(async || host.left() == 0).await;
    assert_eq!(taps(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_bursts_gives_no_address_twice_and_leaves_nothing() {
    let (cloud, mut host, _datapath) = warm_host(4).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(4).await;
    let mut held = std::collections::BTreeMap::new();
    for round in 0..4 {
        let answered = Arc::new(Mutex::new(BTreeSet::new()));
        let starts: Vec<_> = (0..8)
            .map(|number| {
                let (core, pool, answered) = (host.core.clone(), pools[0].id, answered.clone());
                let container = container(100 * round + number + 1);
                tokio::spawn(async move {
                    let purpose = kuryr::core::request::AddressPurpose::Endpoint { mac: None };
                    let request = kuryr::core::request::AddressRequest { pool, address: None, purpose };
                    let address = core.request_address(request).await?;
                    answered.lock().unwrap().insert(address);
                    core.create_endpoint(endpoint(&id('a'), &container, Some(address), None)).await?;
                    Ok::<_, kuryr::core::Error>((container, address))
                })
            })
            .collect();
        // Killed when half of them have their answer.
        for (number, start) in starts.into_iter().enumerate() {
            if number >= 4 {
                start.abort();
            }
            if let Ok(outcome) = start.await {
                let (container, address) = outcome.unwrap();
                assert!(held.insert(address, container).is_none(), "{address} was given twice");
            }
        }
        // And in a burst of stops.
        let stopped: Vec<_> = held.keys().take(2).copied().collect();
        for address in stopped {
            let container = held.remove(&address).unwrap();
            host.core.delete_endpoint(&id('a'), &container).await.unwrap();
            host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        }
        host.crash().await;
        host = host_on(&cloud, PoolSettings { min: 4, ..PoolSettings::default() });
        // An engine gives back what it has the address of when CreateEndpoint fails.
        let failed: Vec<_> = answered.lock().unwrap().iter().filter(|address| !held.contains_key(*address)).copied().collect();
        for address in failed {
            host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        }
    }
    let starts_are_over = PoolSettings { min: 4, idle_time: Duration::ZERO, ..PoolSettings::default() };
    host.crash().await;
    host = host_on(&cloud, starts_are_over);
    host.core.pool_settled(4).await;
    // Addresses whose reply the engine never had.
    host.collect(now() + 700).await;
    host.core.backlog_settled().await;
    for (address, container) in &held {
        let port = &host.core.operational_info(container).await["port_id"];
        let port = cloud.neutron.show::<Port>(port.parse().unwrap()).await.unwrap();
        assert_eq!(port.fixed_ips[0].ip_address, address.addr(), "a container that runs has lost its port");
    }
    host.core.pool_settled(4).await;
    assert_eq!(cloud.ports().await.len(), held.len() + 4);
    for (address, container) in held {
        host.remove_container(&id('a'), &container, &pools[0], address).await;
    }
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.ports().await.len(), taps(), host.left()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_in_trouble_is_left_alone_and_starts_go_on() {
    let (cloud, host, _datapath) = warm_host(3).await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(3).await;
    host.core.backlog_settled().await;
    cloud.trouble("POST", "", Trouble::Answer(503, "busy"));
    cloud.trouble("PUT", "", Trouble::Answer(503, "busy"));
    cloud.trouble("GET", "", Trouble::Answer(503, "busy"));
    let mut given = BTreeSet::new();
    for number in 1..=3 {
        given.insert(host.run(&id('a'), &container(number), &pools[0]).await);
    }
    assert_eq!(given.len(), 3);
    let refused = host.address(&pools[0], None).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    cloud.mend();
    host.core.pool_settled(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_refused_before_anything_is_made() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("kuryr.pool.max", "many")], ..Plan::default() };
    let error = host.create(&id('a'), &plan).await.unwrap_err().to_string();
    assert!(error.contains("kuryr.pool.max is 'many'"), "{error}");
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}
