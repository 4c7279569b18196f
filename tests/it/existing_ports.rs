//! Ports that an operator, Zun or somebody else made: used when `--ip` or `--mac-address` names them, put back as they were, and left alone
//! when anything else uses them.

use std::{collections::BTreeSet, fs};

use ipnet::IpNet;
use kuryr::{
    core::{
        Error,
        request::{AddressPurpose, AddressRequest, PoolGrant},
    },
    openstack::{Network, Port, SecurityGroup, Subnet},
};
use serde_json::{Value, json};

use crate::host::{Cloud, HERE, Host, Plan, Trouble, endpoint, id, now, taps};

/// An operator's network with these ranges.
async fn network(cloud: &Cloud, ranges: &[&str]) -> (Network, Vec<Subnet>) {
    let network: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let mut subnets = Vec::new();
    for range in ranges {
        let version = if range.contains(':') { 6 } else { 4 };
        subnets.push(cloud.neutron.create(&json!({"network_id": network.id, "cidr": range, "ip_version": version})).await.unwrap());
    }
    (network, subnets)
}

/// The Docker network `a` upon it.
async fn docker(host: &Host, network: &Network, ranges: &[&str]) -> Vec<PoolGrant> {
    let uuid = network.id.to_string();
    host.create(&id('a'), &Plan { ranges, options: &[("neutron.net.uuid", &uuid)], ..Plan::default() }).await.unwrap()
}

/// A port with these addresses and fields.
async fn port(cloud: &Cloud, network: &Network, addresses: &[&str], fields: Value) -> Port {
    let fixed: Vec<_> = addresses.iter().map(|ip| json!({"ip_address": ip})).collect();
    let mut body = json!({"network_id": network.id, "name": "theirs", "fixed_ips": fixed});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    cloud.neutron.create(&body).await.unwrap()
}

async fn shown(cloud: &Cloud, port: &Port) -> Port {
    cloud.neutron.show::<Port>(port.id).await.unwrap()
}

/// What its maker sees of it.
fn face(port: &Port) -> Value {
    let addresses: BTreeSet<_> = port.fixed_ips.iter().map(|fixed| fixed.ip_address).collect();
    json!([port.name, port.device_id, port.device_owner, port.host_id, port.mac_address, port.security_groups, port.tags, addresses])
}

fn tags(endpoint: char) -> BTreeSet<String> {
    let half = endpoint.to_string().repeat(32);
    ["kuryr.port.existing".into(), format!("kuryr.net.uuid.lh:{half}"), format!("kuryr.net.uuid.uh:{half}")].into()
}

async fn stop(host: &Host, container: char, held: &[(&PoolGrant, IpNet)]) {
    host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
    release(host, held).await;
}

async fn release(host: &Host, held: &[(&PoolGrant, IpNet)]) {
    for (pool, address) in held {
        host.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
    }
    host.core.backlog_settled().await;
}

async fn free_ports(cloud: &Cloud) -> usize {
    cloud.neutron.list::<Port>(&[("name", "kuryr-unbound-port")]).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_used_by_its_address_and_put_back_as_it_was() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let group: SecurityGroup = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({"security_groups": [group.id]})).await;
    cloud.neutron.add_tag::<Port>(before.id, "mine").await.unwrap();
    let before = shown(&cloud, &before).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    for container in ['b', 'c'] {
        let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
        let grant = host.core.create_endpoint(endpoint(&id('a'), &id(container), Some(address), None)).await.unwrap();
        assert_eq!(grant.mac, Some(before.mac_address));
        host.join(&id('a'), &id(container)).await.unwrap();
        host.core.backlog_settled().await;
        let used = shown(&cloud, &before).await;
        assert_eq!((used.host_id.as_str(), used.device_owner.as_str(), used.name.as_str()), (HERE, "compute:kuryr", "theirs"));
        assert_eq!((used.device_id.as_str(), used.security_groups.as_slice()), (id(container).as_str(), [group.id].as_slice()));
        let mut wanted = tags(container);
        wanted.insert("mine".into());
        assert_eq!(used.tags.iter().cloned().collect::<BTreeSet<_>>(), wanted);
        assert_eq!((taps(), free_ports(&cloud).await), (1, 0));
        stop(&host, container, &[(&pools[0], address)]).await;
        assert_eq!(face(&shown(&cloud, &before).await), face(&before));
    }
    host.remove(&id('a'), &pools).await;
    assert_eq!((face(&shown(&cloud, &before).await), host.left(), taps()), (face(&before), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_port_and_changes_the_endpoint_in_it() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    let mut address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    for container in ['b', 'c', 'd'] {
        host.core.create_endpoint(endpoint(&id('a'), &id(container), Some(address), None)).await.unwrap();
        host.core.backlog_settled().await;
        let used = shown(&cloud, &before).await;
        assert_eq!((used.device_id.as_str(), used.tags.into_iter().collect()), (id(container).as_str(), tags(container)));
        // As dockerd restarts a container: before what was promised is done.
        host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    }
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!((face(&shown(&cloud, &before).await), host.left(), free_ports(&cloud).await), (face(&before), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn zuns_port_is_not_written_to_and_keeps_its_device() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let bound = json!({"device_id": "zun-container", "device_owner": "compute:kuryr", "binding:host_id": HERE});
    let before = port(&cloud, &theirs, &["10.0.0.88"], bound).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    cloud.controller.reset_calls();
    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.mac = Some(before.mac_address);
    assert_eq!(host.core.create_endpoint(request).await.unwrap().mac, None);
    host.core.backlog_settled().await;
    let calls = cloud.controller.calls();
    let puts: u64 = calls.iter().filter(|((method, _), _)| method == "PUT").map(|(_, times)| times).sum();
    assert_eq!(puts, 3, "one for each tag: {calls:?}");
    let used = shown(&cloud, &before).await;
    assert_eq!((used.device_id.as_str(), used.name.as_str()), ("zun-container", "theirs"));
    assert_eq!(used.tags.iter().cloned().collect::<BTreeSet<_>>(), tags('b'));
    stop(&host, 'b', &[(&pools[0], address)]).await;
    let after = shown(&cloud, &before).await;
    assert_eq!((after.device_id.as_str(), after.device_owner.as_str(), after.host_id.as_str()), ("zun-container", "", ""));
    assert!(after.tags.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anything_else_uses_is_refused_and_not_touched() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    let other = format!("kuryr.net.uuid.lh:{}", "e".repeat(32));
    let cases = [
        (json!({"device_owner": "network:dhcp", "device_id": "dhcp"}), None, "network:dhcp"),
        (json!({"device_owner": "network:ha_router_replicated_interface"}), None, "ha_router"),
        (json!({"device_owner": "compute:nova", "device_id": "a-machine", "binding:host_id": HERE}), None, "compute:nova"),
        (json!({"device_owner": "compute:kuryr", "device_id": "x", "binding:host_id": "elsewhere"}), None, "host elsewhere"),
        (json!({"binding:host_id": "elsewhere"}), None, "host elsewhere"),
        (json!({"device_owner": "compute:kuryr", "binding:host_id": HERE}), Some(&other), "tags of an endpoint"),
        (json!({"device_owner": "compute:kuryr", "name": "kuryr-unbound-port"}), None, "a kuryr made"),
    ];
    for (number, (fields, tag, word)) in cases.into_iter().enumerate() {
        let ip = format!("10.0.0.{}", 100 + number);
        let before = port(&cloud, &theirs, &[&ip], fields).await;
        if let Some(tag) = tag {
            cloud.neutron.add_tag::<Port>(before.id, tag).await.unwrap();
        }
        let before = shown(&cloud, &before).await;
        let error = host.address(&pools[0], Some(&ip)).await.unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&ip) && error.contains("--ip"), "{error}");
        host.core.backlog_settled().await;
        let after = shown(&cloud, &before).await;
        assert_eq!((face(&after), after.revision_number), (face(&before), before.revision_number));
    }
    // One that this host uses under another Docker network.
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    let uuid = theirs.id.to_string();
    let plan = Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.uuid", &uuid)], ..Plan::default() };
    let others = host.create(&id('f'), &plan).await.unwrap();
    let error = host.address(&others[0], Some("10.0.0.88")).await.unwrap_err().to_string();
    assert!(error.contains(&format!("endpoint {}", id('b'))), "{error}");
    host.core.backlog_settled().await;
    assert_eq!(shown(&cloud, &before).await.device_id, id('b').as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_that_was_faster_keeps_the_port() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    let taken = json!({"binding:host_id": "elsewhere", "device_owner": "compute:kuryr"});
    let before = cloud.neutron.update::<Port>(before.id, &taken).await.unwrap();
    let error = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
    assert!(error.contains("host elsewhere"), "{error}");
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!((face(&shown(&cloud, &before).await), taps()), (face(&before), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_others_change_at_the_same_moment_is_read_again_and_then_given_up() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    let outdated = r#"{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "", "detail": ""}}"#;
    cloud.trouble("PUT", "/ports/", Trouble::Answer(412, outdated));
    let error = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
    assert!(error.contains("being changed by others"), "{error}");
    cloud.mend();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    stop(&host, 'b', &[(&pools[0], address)]).await;
    assert_eq!(face(&shown(&cloud, &before).await), face(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_has_both_families() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let ranges = ["10.0.0.0/24", "fd00:1::/64"];
    let (theirs, _) = network(&cloud, &ranges).await;
    let before = port(&cloud, &theirs, &["10.0.0.88", "fd00:1::88"], json!({})).await;
    let pools = docker(&host, &theirs, &ranges).await;
    // The second address is the port's, asked for by name or not.
    for wanted in [Some("fd00:1::88"), None] {
        let v4 = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
        let v6 = host.address(&pools[1], wanted).await.unwrap();
        assert_eq!(v6.to_string(), "fd00:1::88/64");
        host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap();
        assert_eq!(shown(&cloud, &before).await.device_id, id('b').as_str());
        stop(&host, 'b', &[(&pools[0], v4), (&pools[1], v6)]).await;
        assert_eq!(face(&shown(&cloud, &before).await), face(&before));
    }
    host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    let error = host.address(&pools[1], Some("fd00:1::99")).await.unwrap_err().to_string();
    assert!(error.contains("fd00:1::88") && error.contains("fd00:1::99"), "{error}");
    host.core.backlog_settled().await;
    assert_eq!((face(&shown(&cloud, &before).await), host.core.counts().ports), (face(&before), 0));
    // --ip6 alone: the engine has got another IPv4 address by then.
    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], Some("fd00:1::88")).await.unwrap();
    let error = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap_err().to_string();
    assert!(error.contains("10.0.0.88 as well"), "{error}");
    release(&host, &[(&pools[0], v4), (&pools[1], v6)]).await;
    host.core.backlog_settled().await;
    assert_eq!((face(&shown(&cloud, &before).await), free_ports(&cloud).await), (face(&before), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_one_family_gets_the_other_for_as_long_as_it_is_used() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let ranges = ["10.0.0.0/24", "fd00:1::/64"];
    let (theirs, _) = network(&cloud, &ranges).await;
    let four = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let six = port(&cloud, &theirs, &["fd00:1::66"], json!({})).await;
    let pools = docker(&host, &theirs, &ranges).await;
    for (wanted, used) in [([Some("10.0.0.88"), None], &four), ([None, Some("fd00:1::66")], &six)] {
        let v4 = host.address(&pools[0], wanted[0]).await.unwrap();
        let v6 = host.address(&pools[1], wanted[1]).await.unwrap();
        host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap();
        host.core.backlog_settled().await;
        let addresses: BTreeSet<_> = shown(&cloud, used).await.fixed_ips.iter().map(|fixed| fixed.ip_address).collect();
        assert_eq!((addresses, free_ports(&cloud).await), ([v4.addr(), v6.addr()].into(), 0));
        stop(&host, 'b', &[(&pools[0], v4), (&pools[1], v6)]).await;
        assert_eq!(face(&shown(&cloud, used).await), face(used));
    }
    let v4 = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    let v6 = host.address(&pools[1], Some("fd00:1::66")).await.unwrap();
    let error = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap_err().to_string();
    assert!(error.contains(&four.id.to_string()) && error.contains(&six.id.to_string()), "{error}");
    release(&host, &[(&pools[0], v4), (&pools[1], v6)]).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!([face(&shown(&cloud, &four).await), face(&shown(&cloud, &six).await)], [face(&four), face(&six)]);
    assert_eq!((host.left(), free_ports(&cloud).await, taps()), (0, 0, 0));
}

async fn address_for(host: &Host, pool: &PoolGrant, mac: &str) -> Result<IpNet, Error> {
    let purpose = AddressPurpose::Endpoint { mac: Some(mac.parse().unwrap()) };
    host.core.request_address(AddressRequest { pool: pool.id, address: None, purpose }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_found_by_its_mac_where_the_engine_says_it_with_the_address() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({"mac_address": "02:11:22:33:44:55"})).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    let address = address_for(&host, &pools[0], "02:11:22:33:44:55").await.unwrap();
    assert_eq!(address.to_string(), "10.0.0.88/24");
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.mac = Some(before.mac_address);
    host.core.create_endpoint(request).await.unwrap();
    stop(&host, 'b', &[(&pools[0], address)]).await;
    assert_eq!(face(&shown(&cloud, &before).await), face(&before));
    // A MAC that no port has is that of the new one.
    let address = address_for(&host, &pools[0], "02:11:22:33:44:66").await.unwrap();
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.mac = Some("02:11:22:33:44:66".parse().unwrap());
    host.core.create_endpoint(request).await.unwrap();
    assert_eq!(cloud.ports().await[0].mac_address.to_string(), "02:11:22:33:44:66");
    stop(&host, 'b', &[(&pools[0], address)]).await;
    assert_eq!(free_ports(&cloud).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mac_is_the_ports_while_it_is_used_and_whose_it_is_stands_in_the_refusal() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    for fields in [json!({}), json!({"binding:host_id": HERE, "device_owner": "compute:kuryr"})] {
        let before = port(&cloud, &theirs, &["10.0.0.88"], fields).await;
        let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
        let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
        let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
        request.mac = Some("02:11:22:33:44:77".parse().unwrap());
        host.core.create_endpoint(request.clone()).await.unwrap();
        let used = shown(&cloud, &before).await;
        assert_eq!((Some(used.mac_address), used.host_id.as_str(), used.vif_type.as_deref()), (request.mac, HERE, Some("bridge")));
        // The MAC of this port for a container with another address.
        let other = host.address(&pools[0], None).await.unwrap();
        let mut second = endpoint(&id('a'), &id('c'), Some(other), None);
        second.mac = request.mac;
        let error = host.core.create_endpoint(second).await.unwrap_err().to_string();
        assert!(error.contains("10.0.0.88") && error.contains("--ip"), "{error}");
        host.core.release_address(&pools[0].id.to_string(), other.addr()).await.unwrap();
        stop(&host, 'b', &[(&pools[0], address)]).await;
        assert_eq!(shown(&cloud, &before).await.mac_address, before.mac_address);
        host.remove(&id('a'), &pools).await;
        cloud.neutron.delete::<Port>(before.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_crash_nor_a_lost_journal_costs_the_operator_a_port() {
    for lost in [false, true] {
        let cloud = Cloud::start().await;
        let host = cloud.host("one");
        let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
        let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
        let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
        let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
        host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
        host.core.backlog_settled().await;
        host.crash().await;
        if lost {
            fs::remove_dir_all(cloud.journal("one")).unwrap();
        }
        let host = cloud.host("one");
        host.collect(now() + 10_000).await;
        assert_eq!(shown(&cloud, &before).await.device_id, id('b').as_str(), "it is still in use");
        stop(&host, 'b', &[(&pools[0], address)]).await;
        assert_eq!((face(&shown(&cloud, &before).await), taps()), (face(&before), 0));
        host.remove(&id('a'), &pools).await;
        assert_eq!((face(&shown(&cloud, &before).await), host.left()), (face(&before), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_engine_forgets_is_put_back_in_time() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (theirs, _) = network(&cloud, &["10.0.0.0/24"]).await;
    let before = port(&cloud, &theirs, &["10.0.0.88"], json!({})).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    host.collect(now() + 10_000).await;
    host.core.backlog_settled().await;
    assert_eq!((host.core.counts().ports, face(&shown(&cloud, &before).await)), (0, face(&before)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_another_project_is_used_as_far_as_the_credential_may() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let project = json!({"name": "theirs", "project_id": "0123456789abcdef0123456789abcdef"});
    let theirs: Network = cloud.neutron.create(&project).await.unwrap();
    let _: Subnet = cloud.neutron.create(&json!({"network_id": theirs.id, "cidr": "10.0.0.0/24", "ip_version": 4})).await.unwrap();
    let before = port(&cloud, &theirs, &["10.0.0.88"], project).await;
    let pools = docker(&host, &theirs, &["10.0.0.0/24"]).await;
    // Seen by those alone who may.
    cloud.trouble("GET", "/ports", Trouble::Answer(200, r#"{"ports": []}"#));
    let error = host.address(&pools[0], Some("10.0.0.88")).await.unwrap_err().to_string();
    assert!(error.contains("IpAddressAlreadyAllocated") && error.contains("10.0.0.88"), "{error}");
    cloud.mend();
    let address = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    assert_eq!(shown(&cloud, &before).await.device_id, id('b').as_str());
    stop(&host, 'b', &[(&pools[0], address)]).await;
    let after = shown(&cloud, &before).await;
    assert_eq!((face(&after), after.project_id), (face(&before), before.project_id.clone()));
}
