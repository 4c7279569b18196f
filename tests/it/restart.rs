//! A container that comes back with its address (`--ip`) while the port of its life before is still to be removed.

use std::time::Duration;

use kuryr::{
    binding,
    core::{PoolSettings, Settings, request::PoolGrant},
    openstack::Port,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    host::{Cloud, Host, Trouble, core_settings, endpoint, id},
    script,
};

const WANTED: &str = "10.0.0.7";
/// What a load balancer says when it finds no Neutron.
const AWAY: Trouble = Trouble::Answer(503, "");

/// A container with the address has just gone, and the removal of its port is in trouble.
async fn gone_in_trouble(cloud: &Cloud, trouble: Trouble) -> (Host, PoolGrant) {
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some(WANTED)).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    cloud.trouble("DELETE", "/ports/", trouble);
    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    (host, pools[0].clone())
}

async fn comes_back(host: &Host, pool: &PoolGrant) {
    let address = host.address(pool, Some(WANTED)).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('c'), Some(address), None)).await.unwrap();
}

/// The port in Neutron with the address is the running container's, now and when the cloud is well again.
async fn expect_its_port(cloud: &Cloud, host: &Host) {
    for _ in 0..2 {
        host.core.backlog_settled().await;
        let ports = cloud.ports().await;
        assert_eq!(ports.len(), 1, "{ports:?}");
        assert_eq!((ports[0].device_id.as_str(), ports[0].fixed_ips[0].ip_address.to_string().as_str()), (id('c').as_str(), WANTED));
        cloud.mend();
        cloud.until(async || host.core.counts().tasks == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_neutron_may_have_removed_is_not_given_again() {
    let cloud = Cloud::start().await;
    let (host, pool) = gone_in_trouble(&cloud, Trouble::Lost).await;
    cloud.until(async || cloud.ports().await.is_empty()).await;
    comes_back(&host, &pool).await;
    expect_its_port(&cloud, &host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_an_earlier_daemon_may_have_removed_is_not_given_again() {
    let cloud = Cloud::start().await;
    let (host, pool) = gone_in_trouble(&cloud, Trouble::Late).await;
    cloud.held(1).await;
    host.crash().await;
    cloud.mend();
    cloud.trouble("DELETE", "/ports/", AWAY);
    let host = cloud.host("one");
    comes_back(&host, &pool).await;
    expect_its_port(&cloud, &host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_removal_neutron_has_refused_is_given_again() {
    let cloud = Cloud::start().await;
    let (host, pool) = gone_in_trouble(&cloud, Trouble::Answer(400, "")).await;
    let before = cloud.ports().await.remove(0).id;
    comes_back(&host, &pool).await;
    expect_its_port(&cloud, &host).await;
    assert_eq!(cloud.ports().await[0].id, before);
}

/// What cannot be unplugged is not removed, and whoever wants its address is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_unplugged_holds_no_start_up() {
    let cloud = Cloud::start().await;
    cloud.trouble("POST", "/ports", Trouble::Reworded(r#""binding:vif_type":"bridge""#, r#""binding:vif_type":"midonet""#));
    let directory = TempDir::new().unwrap();
    let begun = directory.path().join("begun");
    let script = format!("#!/bin/sh\n[ $1 = bind ] || {{ touch {}; sleep 1000; }}\n", begun.display());
    let binding = || binding::Settings { deadline: Duration::from_secs(3), ..script::settings(directory.path(), "midonet", &script) };
    let start = || cloud.host_with("one", cloud.client(), Settings { binding: binding(), ..core_settings() });
    let host = start();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some(WANTED)).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    cloud.until(async || begun.exists()).await;
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.crash().await;
    let host = start();
    assert_eq!(host.core.counts().tasks, 2, "to unplug the port, and to remove it");
    let refused = timeout(Duration::from_secs(60), host.address(&pools[0], Some(WANTED))).await.expect("it waits for ever");
    assert!(refused.unwrap_err().to_string().contains(WANTED));
    assert_eq!(cloud.ports().await.len(), 1);
}

/// Where a start waits for its port to be ACTIVE it never gets one back; see `port_pool`.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_made_ahead_that_is_to_go_never_becomes_a_containers() {
    let cloud = Cloud::start().await;
    let _datapath = cloud.controller.start_datapath().unwrap();
    let settings = Settings { port_pool: PoolSettings { min: 1, ..PoolSettings::default() }, ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), settings);
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    host.stop().await;
    let ahead = cloud.ports().await.remove(0);
    let wanted = ahead.fixed_ips[0].ip_address.to_string();
    cloud.trouble("DELETE", "/ports/", Trouble::Answer(400, ""));
    let host = cloud.host("one");
    cloud.until(async || host.core.counts().tasks == 1).await;
    let refused = host.address(&pools[0], Some(&wanted)).await.unwrap_err().to_string();
    assert!(refused.contains(&wanted), "{refused}");
    cloud.mend();
    cloud.until(async || host.core.counts().tasks == 0).await;
    let address = host.address(&pools[0], Some(&wanted)).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('c'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    let ports: Vec<Port> = cloud.ports().await;
    assert!(ports.len() == 1 && ports[0].id != ahead.id && ports[0].device_id == id('c').as_str(), "{ports:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_made_ahead_that_was_taken_while_the_daemon_was_away_is_its_takers() {
    let cloud = Cloud::start().await;
    let _datapath = cloud.controller.start_datapath().unwrap();
    let settings = || Settings { port_pool: PoolSettings { min: 1, ..PoolSettings::default() }, ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), settings());
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    host.stop().await;
    let ahead = cloud.ports().await.remove(0);
    cloud.neutron.update::<Port>(ahead.id, &json!({"device_id": "an operator's"})).await.unwrap();
    // Before the daemon has looked at its ports.
    let looks = cloud.asked().len();
    cloud.trouble("GET", "/ports", Trouble::OnHold);
    let host = cloud.host_with("one", cloud.client(), settings());
    cloud.until(async || cloud.asked()[looks..].iter().any(|asked| asked.starts_with("GET") && asked.contains("/ports?"))).await;
    cloud.spare_others();
    let wanted = ahead.fixed_ips[0].ip_address.to_string();
    let refused = host.address(&pools[0], Some(&wanted)).await.unwrap_err().to_string();
    assert!(refused.contains(&wanted), "{refused}");
    cloud.mend();
    host.core.backlog_settled().await;
    assert_eq!(cloud.neutron.show::<Port>(ahead.id).await.unwrap().device_id, "an operator's");
}
