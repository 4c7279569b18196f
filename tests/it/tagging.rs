//! Neutrons that take tags on networks only, or on nothing: what is written there, and how it is found again without a journal.

use std::fs;

use kuryr::openstack::{Network, Port, Subnet, SubnetPool};
use serde_json::json;

use crate::host::{Cloud, Plan, Trouble, id, taps};

/// How many tags say which Docker network it is.
fn ids(network: &Network) -> usize {
    network.tags.iter().filter(|tag| tag.starts_with("kuryr.net.uuid.")).count()
}

/// A whole life on a Neutron that says to have these extensions, whose objects bear the names and tags of its time; then what is left of a second
/// one after the loss of the journal is removed.
async fn live(extensions: &'static str, network_is_tagged: bool, others_are_tagged: bool) {
    let cloud = Cloud::start().await;
    cloud.trouble("GET", "/v2.0/extensions", Trouble::Answer(200, extensions));
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.backlog_settled().await;

    let network = cloud.neutron.list::<Network>(&[]).await.unwrap().into_iter().find(|found| found.name.contains("aaaaaaaa")).unwrap();
    let subnet = cloud.neutron.list::<Subnet>(&[("network_id", &network.id.to_string())]).await.unwrap().remove(0);
    let pool = cloud.neutron.list::<SubnetPool>(&[("name", "kuryrPool-10.0.0.0/24")]).await.unwrap().remove(0);
    let [port] = cloud.ports().await.try_into().unwrap();
    let port: Port = port;
    let name = if network_is_tagged { "kuryr-net-aaaaaaaa".to_owned() } else { "a".repeat(64) };
    assert_eq!((network.name.as_str(), ids(&network)), (name.as_str(), 2 * usize::from(network_is_tagged)));
    let name = if others_are_tagged { "kuryr-unbound-port".to_owned() } else { format!("{}-port", "b".repeat(64)) };
    assert_eq!((port.name.as_str(), port.tags.len()), (name.as_str(), 3 * usize::from(others_are_tagged)));
    assert_eq!((port.device_owner.as_str(), port.device_id), ("compute:kuryr", "b".repeat(64)));
    assert_eq!((subnet.name.as_str(), subnet.tags.len()), ("kuryr-subnet-10.0.0.0/24", usize::from(others_are_tagged)));
    assert!(pool.tags.is_empty());

    // The engine restarts the container.
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    let address = host.run(&id('a'), &id('c'), &pools[0]).await;
    host.core.backlog_settled().await;
    host.stop().await;
    fs::remove_dir_all(cloud.journal("one")).unwrap();
    let host = cloud.host("one");
    host.join(&id('a'), &id('c')).await.unwrap();
    host.core.delete_endpoint(&id('a'), &id('c')).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, taps(), host.left()), (before, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_takes_tags_names_tell() {
    live(r#"{"extensions": [{"alias": "subnet_allocation"}]}"#, false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mitaka_networks_take_tags_and_ports_have_names() {
    live(r#"{"extensions": [{"alias": "subnet_allocation"}, {"alias": "tag"}]}"#, true, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_but_networks_takes_tags_networks_have_names() {
    live(r#"{"extensions": [{"alias": "subnet_allocation"}, {"alias": "tag-ext"}]}"#, false, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_extensions_together_are_as_good_as_the_one_of_today() {
    live(r#"{"extensions": [{"alias": "tag"}, {"alias": "tag-ext"}]}"#, true, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_network_keeps_its_name_and_stays() {
    let cloud = Cloud::start().await;
    cloud.trouble("GET", "/v2.0/extensions", Trouble::Answer(200, r#"{"extensions": []}"#));
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let body = json!({"network_id": theirs.id, "cidr": "10.0.0.0/24", "ip_version": 4});
    cloud.neutron.create::<Subnet>(&body).await.unwrap();
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let uuid = theirs.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let pools = host.create(&id('a'), &plan).await.unwrap();
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.backlog_settled().await;
    let found: Network = cloud.neutron.show(theirs.id).await.unwrap();
    assert_eq!((found.name.as_str(), found.tags.len()), ("theirs", 0));
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, taps(), host.left()), (before, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_not_taken_for_a_neutron_without_tags() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    cloud.trouble("GET", "/v2.0/extensions", Trouble::Answer(503, "down"));
    let host = cloud.host("one");
    let plan = Plan { ranges: &["10.0.0.0/24"], ..Plan::default() };
    let refused = host.create(&id('a'), &plan).await.unwrap_err().to_string();
    assert!(refused.contains("cannot list extensions") && refused.contains("req-4711"), "{refused}");
    assert_eq!(cloud.objects().await, before);
    cloud.mend();
    let pools = host.create(&id('a'), &plan).await.unwrap();
    host.core.backlog_settled().await;
    let found = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap();
    assert_eq!(ids(&found[0]), 2);
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}
