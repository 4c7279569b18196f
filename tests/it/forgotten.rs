//! What a dead engine, or a change that was cut short, has left in the journal is collected, and nothing that a container has or may still get.

use kuryr::{
    binding,
    core::{PoolSettings, Settings},
    journal::{Change, Journal, Lasting},
    netlink::Socket,
    openstack::Port,
};
use serde_json::Value;

use crate::host::{Cloud, Host, core_settings, endpoint, id, now, taps};

/// The journal of the host `one`, each record of which becomes what `change` makes of it.
async fn rewrite(cloud: &Cloud, change: impl Fn(&str, Value) -> Option<Value>) {
    let (journal, records) = Journal::open(&cloud.journal("one")).unwrap();
    let changed = |kind, body: &str| change(kind, serde_json::from_str(body).unwrap()).map(|body| body.to_string());
    let changes: Vec<Change> = records
        .iter()
        .map(|record| Change { kind: kind(record.kind), id: record.id.to_owned(), body: changed(record.kind, record.body) })
        .collect();
    journal.commit(changes, Lasting::ProcessEnd).await.unwrap();
}

fn kind(text: &str) -> &'static str {
    ["pool", "network", "port", "task"].into_iter().find(|kind| *kind == text).unwrap()
}

/// What a look shows, by kind and id, of which all is due.
async fn due(host: &Host, now: i64) -> Vec<(String, String)> {
    let round = host.core.look_for_leftovers(now).await;
    assert_eq!(round.troubles, [""; 0]);
    let due = round.findings.into_iter().filter(|finding| finding.is_due(now));
    due.map(|finding| (finding.kind.name().to_owned(), finding.id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_no_container_came_for_is_taken_back() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    // Its link stays where it is in this test, as it does in a sandbox that is slow to come.
    let joined = host.run(&id('a'), &id('b'), &pools[0]).await;
    // The engine died before it had stored this one.
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('c'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!((cloud.ports().await.len(), taps()), (2, 2));

    let (early, late) = (now(), now() + 700);
    assert_eq!(host.collect(late).await, [], "it was seen once");
    assert_eq!(due(&host, late + 600).await, []);
    assert_eq!(due(&host, late + 601).await, [("endpoint".to_owned(), id('c').to_string())]);
    assert_eq!(cloud.ports().await.len(), 2, "a look takes nothing");
    // What was seen counts for one life of the daemon, and what came to its container for all of them.
    host.stop().await;
    let host = cloud.host("one");
    assert_eq!(host.collect(early).await, []);
    let removed = host.collect(late).await;
    assert_eq!(removed.iter().map(|(kind, id)| (kind.name(), id.as_str())).collect::<Vec<_>>(), [("endpoint", id('c').as_str())]);
    host.core.backlog_settled().await;
    assert_eq!((cloud.ports().await.len(), taps(), host.core.counts().ports), (1, 1, 1), "what is in use stays");
    host.join(&id('a'), &id('c')).await.unwrap_err();
    host.join(&id('a'), &id('b')).await.unwrap();
    host.remove_container(&id('a'), &id('b'), &pools[0], joined).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

/// Journals of before had no word of Join.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_link_a_container_has_stays_whatever_the_journal_says() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    let mut socket = Socket::open().unwrap();
    let port = cloud.ports().await[0].id;
    let link = socket.link(&binding::container_name(port)).unwrap().unwrap();
    host.collect(now()).await;
    socket.rename(link.index, "eth0").unwrap();
    assert_eq!(host.collect(now() + 700).await, [], "a container got it since");
    // Time that it spent in a container counts for nothing when it is back.
    socket.rename(link.index, &link.name).unwrap();
    assert_eq!(host.collect(now() + 1400).await, []);
    assert_eq!((cloud.ports().await.len(), taps()), (1, 1));
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv4_address_whose_ipv6_address_was_refused_is_taken_back() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24", "fd00:1::/64"]).await;
    host.address(&pools[0], None).await.unwrap();
    host.address(&pools[1], Some("fd00:2::7")).await.unwrap_err();
    host.core.backlog_settled().await;
    let port = cloud.ports().await[0].id;
    assert_eq!(host.collect(now()).await, []);
    let removed = host.collect(now() + 700).await;
    assert_eq!(removed.iter().map(|(kind, id)| (kind.name(), id.as_str())).collect::<Vec<_>>(), [("port", port.to_string().as_str())]);
    host.core.backlog_settled().await;
    assert!(cloud.neutron.show::<Port>(port).await.unwrap_err().is_not_found());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_granted_again_is_young_again() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some("10.0.0.9")).await.unwrap();
    host.core.backlog_settled().await;
    host.stop().await;
    rewrite(&cloud, |kind, mut body| {
        if kind == "port" {
            body["created"] = (body["created"].as_i64().unwrap() - 10_000).into();
        }
        Some(body)
    })
    .await;
    let host = cloud.host("one");
    assert_eq!(due(&host, now()).await.len(), 1);
    assert_eq!(host.address(&pools[0], Some("10.0.0.9")).await.unwrap(), address);
    assert_eq!(host.collect(now()).await, []);
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
}

/// The network was deleted while somebody wrote the port down once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_made_ahead_on_a_network_that_is_gone_is_taken_back() {
    let cloud = Cloud::start().await;
    let host = pooling_host(&cloud);
    host.network(&id('a'), &["10.0.0.0/24"]).await;
    let made = || cloud.controller.calls().get(&("POST".to_owned(), "ports".to_owned())).copied().unwrap_or_default();
    cloud.until(async || made() == 1 && host.core.counts().pooled == 1).await;
    host.core.backlog_settled().await;
    assert_eq!(host.collect(now() + 700).await, [], "its network is there");
    host.stop().await;
    rewrite(&cloud, |kind, body| (kind == "port").then_some(body)).await;
    let host = pooling_host(&cloud);
    assert_eq!(host.left(), 0);
    assert_eq!(host.core.counts().pooled, 1);
    assert_eq!(host.collect(now()).await, []);
    let port = cloud.ports().await[0].id;
    let removed = host.collect(now() + 700).await;
    assert_eq!(removed.iter().map(|(kind, id)| (kind.name(), id.as_str())).collect::<Vec<_>>(), [("port", port.to_string().as_str())]);
    host.core.backlog_settled().await;
    assert_eq!((cloud.ports().await.len(), taps(), host.core.counts().pooled), (0, 0, 0));
}

fn pooling_host(cloud: &Cloud) -> Host {
    let pool = PoolSettings { min: 1, ..PoolSettings::default() };
    cloud.host_with("one", cloud.client(), Settings { port_pool: pool, ..core_settings() })
}
