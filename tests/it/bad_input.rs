//! What goes wrong, from the engine's side, the cloud's and this host's: each time one clear sentence that names object and remedy, in time,
//! and nothing left behind in Neutron, in the journal or among the links.

use std::{path::Path, process::Stdio, time::Duration};

use kuryr::openstack::{Network, Neutron, Port, Subnet};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::host::{Cloud, HERE, Host, Plan, Plugin, Trouble, core_settings, endpoint, id, taps};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// The refusal's text, which has to contain `words`, and is one line for a terminal.
fn refused(outcome: Result<Value, (u16, String)>, status: u16, words: &[&str]) -> String {
    let (got, text) = outcome.unwrap_err();
    assert_eq!(got, status, "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
    assert!(!text.contains('\n'), "{text}");
    text
}

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn network_body(digit: char, cidr: &str, gateway: &str) -> Value {
    json!({"NetworkID": hex(digit), "Options": {}, "IPv6Data": [],
           "IPv4Data": [{"AddressSpace": "x", "Pool": cidr, "Gateway": gateway, "AuxAddresses": {}}]})
}

fn endpoint_body(network: char, endpoint: char, address: &str) -> Value {
    json!({"NetworkID": hex(network), "EndpointID": hex(endpoint), "Interface": {"Address": address}, "Options": {}})
}

async fn pool(plugin: &Plugin, cidr: &str) -> Value {
    plugin.call("IpamDriver.RequestPool", json!({"AddressSpace": "x", "Pool": cidr, "V6": false})).await.unwrap()["PoolID"].clone()
}

/// A network with one pool, made as the engine does it.
async fn network(plugin: &Plugin, digit: char, cidr: &str, gateway: &str) -> Value {
    let pool = pool(plugin, cidr).await;
    let request =
        json!({"PoolID": pool, "Address": gateway.split('/').next(), "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    plugin.call("IpamDriver.RequestAddress", request).await.unwrap();
    plugin.call("NetworkDriver.CreateNetwork", network_body(digit, cidr, gateway)).await.unwrap();
    pool
}

async fn address(plugin: &Plugin, pool: &Value, address: &str) -> Result<Value, (u16, String)> {
    plugin.call("IpamDriver.RequestAddress", json!({"PoolID": pool, "Address": address, "Options": null})).await
}

async fn remove(plugin: &Plugin, digit: char, pool: &Value) {
    plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool})).await.unwrap();
    plugin.call("NetworkDriver.DeleteNetwork", json!({"NetworkID": hex(digit)})).await.unwrap();
}

/// Waits for what nothing announces, such as a second try after a pause; the limit is there to end a broken run.
async fn await_that(what: &str, look: impl AsyncFn() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    while !look().await {
        assert!(tokio::time::Instant::now() < limit, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything is as it was before: in Neutron, in the journal and among the links.
async fn nothing_left(cloud: &Cloud, host: &Host, before: [usize; 6]) {
    await_that("the end of the backlog", async || host.left() == 0).await;
    assert_eq!((cloud.objects().await, taps()), (before, 0), "networks, subnets, pools, ports, routers, groups; taps");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_reaches_no_cloud() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    cloud.controller.reset_calls();
    for (call, body, words) in [
        ("NetworkDriver.CreateNetwork", "{", ["no JSON object", "NetworkDriver.CreateNetwork"]),
        ("NetworkDriver.CreateNetwork", "", ["empty body", "Run the command again"]),
        ("NetworkDriver.CreateNetwork", "[1]", ["no JSON object", "another JSON value"]),
        ("NetworkDriver.CreateEndpoint", "{\"NetworkID\": \"x\"}", ["NetworkID", "64 digits"]),
        ("IpamDriver.RequestPool", "{\"Pool\": \"10.0.0.0/33\"}", ["Pool", "10.0.0.0/33"]),
        ("IpamDriver.RequestAddress", "{\"PoolID\": \"7\"}", ["PoolID", "UUID"]),
        ("IpamDriver.RequestPool", r#"{"Options": {"neutron.pool.uuid": ["x"]}}"#, ["neutron.pool.uuid", "a text"]),
        ("IpamDriver.RequestPool", r#"{"Options": 7}"#, ["Options", "an object"]),
        ("IpamDriver.RequestPool", r#"{"V6": "yes"}"#, ["V6", "true or false"]),
    ] {
        refused(plugin.raw(call, body.into()).await, 400, &words);
    }
    // Of neither length, or with letters that no id has.
    for id in ["a".repeat(63), "a".repeat(65), "a".repeat(24), "a".repeat(26), "G".repeat(64), "A".repeat(25), String::new()] {
        let body = json!({"NetworkID": id, "Options": {}}).to_string();
        refused(plugin.raw("NetworkDriver.CreateNetwork", body).await, 400, &["NetworkID", "64 digits", "25 characters"]);
    }
    for id in ["a".repeat(64), "z".repeat(25)] {
        let wrong = json!({"com.docker.network.generic": {"neutron.net.uuid": {"a": 1}}});
        let body = json!({"NetworkID": id, "Options": wrong}).to_string();
        refused(plugin.raw("NetworkDriver.CreateNetwork", body).await, 400, &["neutron.net.uuid", "a text"]);
        let body = json!({"NetworkID": id, "EndpointID": id, "Options": {"neutron.port.security_groups": ["web"]}}).to_string();
        refused(plugin.raw("NetworkDriver.CreateEndpoint", body).await, 400, &["neutron.port.security_groups", "a text"]);
    }
    refused(plugin.raw("NetworkDriver.Dance", "{}".into()).await, 404, &["NetworkDriver.Dance"]);
    assert!(cloud.controller.calls().is_empty(), "{:?}", cloud.controller.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_objects_are_named_and_released_already() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    let before = cloud.objects().await;
    let nowhere = json!("00000000-0000-0000-0000-000000000007");
    let ids = json!({"NetworkID": hex('a'), "EndpointID": hex('b'), "SandboxKey": "/x"});
    for (call, body, words) in [
        ("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', "10.0.0.2/24"), [hex('a').as_str(), "create it again"]),
        ("NetworkDriver.Join", ids.clone(), [&hex('a'), "create it again"]),
        ("IpamDriver.RequestAddress", json!({"PoolID": nowhere, "Address": ""}), [nowhere.as_str().unwrap(), "create it again"]),
    ] {
        refused(plugin.call(call, body).await, 500, &words);
    }
    let pool = network(&plugin, 'a', "10.0.0.0/24", "10.0.0.1/24").await;
    refused(plugin.call("NetworkDriver.Join", ids.clone()).await, 500, &[&hex('b'), "start the container again"]);
    refused(plugin.call("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', "10.0.0.9/24")).await, 500, &["10.0.0.9", "not granted"]);
    remove(&plugin, 'a', &pool).await;
    for (call, body) in [
        ("NetworkDriver.Leave", ids.clone()),
        ("NetworkDriver.DeleteEndpoint", ids.clone()),
        ("NetworkDriver.RevokeExternalConnectivity", ids.clone()),
        ("NetworkDriver.EndpointOperInfo", ids),
        ("NetworkDriver.DeleteNetwork", json!({"NetworkID": hex('a')})),
        ("IpamDriver.ReleaseAddress", json!({"PoolID": nowhere, "Address": "10.0.0.9"})),
        ("IpamDriver.ReleasePool", json!({"PoolID": nowhere})),
        ("IpamDriver.ReleasePool", json!({"PoolID": "of another driver"})),
    ] {
        plugin.call(call, body).await.unwrap();
    }
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_given_are_refused_without_harm() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    let before = cloud.objects().await;
    let pool = network(&plugin, 'a', "10.0.0.0/29", "10.0.0.1/29").await;
    let first = address(&plugin, &pool, "10.0.0.2").await.unwrap();
    plugin.call("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', first["Address"].as_str().unwrap())).await.unwrap();
    let taken: Port = cloud
        .neutron
        .create(&json!({"network_id": cloud.ports().await[0].network_id, "device_owner": "network:dhcp", "fixed_ips": [{"ip_address": "10.0.0.3"}]}))
        .await
        .unwrap();
    for (wanted, status, words) in [
        ("10.0.1.2", 400, ["10.0.1.2", "outside of 10.0.0.0/29"]),
        ("10.0.0.7", 400, ["10.0.0.7", "choose another"]),
        ("10.0.0.1", 500, ["10.0.0.1 is the gateway", "choose another --ip"]),
        ("10.0.0.2", 500, ["10.0.0.2", "choose another --ip"]),
        ("10.0.0.3", 500, ["10.0.0.3", "belongs to network:dhcp"]),
    ] {
        refused(address(&plugin, &pool, wanted).await, status, &words);
    }
    // .4, .5 and .6 are all that is left.
    let mut granted = vec![first];
    for _ in 0..3 {
        granted.push(address(&plugin, &pool, "").await.unwrap());
    }
    refused(address(&plugin, &pool, "").await, 409, &["No more IP addresses", "add a larger subnet"]);
    assert_eq!((cloud.ports().await.len(), taps()), (4, 1), "the refusals did no harm");
    cloud.neutron.delete::<Port>(taken.id).await.unwrap();
    plugin.call("NetworkDriver.DeleteEndpoint", json!({"NetworkID": hex('a'), "EndpointID": hex('b')})).await.unwrap();
    for address in granted {
        let bare = address["Address"].as_str().unwrap().split('/').next();
        plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": bare})).await.unwrap();
    }
    remove(&plugin, 'a', &pool).await;
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_another_ipam_driver_are_refused_with_the_remedy() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    let remedy = &["--ipam-driver kuryr"][..];
    refused(plugin.call("NetworkDriver.CreateNetwork", network_body('a', "10.0.0.0/24", "10.0.0.1/24")).await, 400, remedy);
    let pool = network(&plugin, 'b', "10.1.0.0/24", "10.1.0.1").await;
    for interface in [json!(null), json!({})] {
        let body = json!({"NetworkID": hex('b'), "EndpointID": hex('c'), "Interface": interface, "Options": {}});
        refused(plugin.call("NetworkDriver.CreateEndpoint", body).await, 400, &["has no address", remedy[0]]);
    }
    remove(&plugin, 'b', &pool).await;
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_overlaps_on_its_network_is_refused_in_neutrons_words() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let before = cloud.objects().await;
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    // A network of its own has its addresses for itself: Neutron, and so kuryr-libnetwork, takes a range that overlaps another network's.
    let wider = host.network(&id('b'), &["10.0.0.0/16"]).await;
    host.core.backlog_settled().await;
    // On a network that has the range it cannot be, be it kuryr's, whose subnet pool has no more, or an operator's.
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let subnet = json!({"network_id": theirs.id, "cidr": "10.0.0.0/24", "ip_version": 4});
    cloud.neutron.create::<Subnet>(&subnet).await.unwrap();
    for (name, words) in [("kuryr-net-aaaaaaaa", "choose a range that is free in the subnet pool"), ("theirs", "overlaps")] {
        let plan = Plan { ranges: &["10.0.0.0/16"], options: &[("neutron.net.name", name)], ..Plan::default() };
        let error = host.create(&id('c'), &plan).await.unwrap_err().to_string();
        assert!(error.contains("10.0.0.0/16") && error.contains(words), "{error}");
    }
    cloud.neutron.delete::<Network>(theirs.id).await.unwrap();
    host.core.backlog_settled().await;
    host.remove(&id('a'), &pools).await;
    host.remove(&id('b'), &wider).await;
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_the_cloud_is_passed_on_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    let led = kuryr::core::Settings { external_network: Some("kuryr".into()), ..core_settings() };
    let host = cloud.host_with("one", Neutron::new(cloud.settings(&[])).unwrap(), led);
    let plugin = host.plugin(LONG);
    let before = cloud.objects().await;
    let error = |kind| match kind {
        401 => "Authentication required",
        403 => r#"{"NeutronError": {"type": "PolicyNotAuthorized", "message": "rule:create is disallowed by policy", "detail": ""}}"#,
        404 => r#"{"NeutronError": {"type": "NotFound", "message": "It could not be found.", "detail": ""}}"#,
        409 => r#"{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}}"#,
        413 => "<html>Request Entity Too Large</html>",
        _ => r#"{"NeutronError": {"type": "HTTPInternalServerError", "message": "Request Failed", "detail": ""}}"#,
    };
    for status in [401, 403, 404, 409, 413, 500] {
        // A 404 from a driver would tell the engine that the method is not there.
        let passed_on = if status == 404 { 500 } else { status };
        let answered = format!("answered {status}");
        let words = [answered.as_str(), "req-4711", "; "];

        cloud.trouble("POST", "/subnetpools", Trouble::Answer(status, error(status)));
        let request = json!({"AddressSpace": "x", "Pool": "10.0.0.0/24", "V6": false});
        let text = refused(plugin.call("IpamDriver.RequestPool", request).await, passed_on, &words);
        assert!(text.contains("kuryrPool-10.0.0.0/24"), "{text}");
        cloud.mend();

        for (method, path, object) in [
            ("POST", "/networks", "kuryr-net-aaaaaaaa"),
            ("POST", "/subnets", "10.0.0.0/24"),
            ("POST", "/routers", "kuryr-router-aaaaaaaa"),
            ("PUT", "/add_router_interface", "interface on subnet"),
        ] {
            let pool = pool(&plugin, "10.0.0.0/24").await;
            cloud.trouble(method, path, Trouble::Answer(status, error(status)));
            let text = refused(
                plugin.call("NetworkDriver.CreateNetwork", network_body('a', "10.0.0.0/24", "10.0.0.1/24")).await,
                passed_on,
                &words,
            );
            assert!(text.contains(object), "{text}");
            cloud.mend();
            plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool})).await.unwrap();
            nothing_left(&cloud, &host, before).await;
        }

        let pool = network(&plugin, 'a', "10.0.0.0/24", "10.0.0.1/24").await;
        cloud.trouble("POST", "/ports", Trouble::Answer(status, error(status)));
        refused(address(&plugin, &pool, "10.0.0.5").await, passed_on, &[&answered, "10.0.0.5", "req-4711"]);
        cloud.mend();
        // A release succeeds whatever the cloud says, and is finished when it thinks better of it.
        let granted = address(&plugin, &pool, "10.0.0.5").await.unwrap();
        plugin.call("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', granted["Address"].as_str().unwrap())).await.unwrap();
        cloud.trouble("DELETE", "/", Trouble::Answer(status, error(status)));
        plugin.call("NetworkDriver.DeleteEndpoint", json!({"NetworkID": hex('a'), "EndpointID": hex('b')})).await.unwrap();
        plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": "10.0.0.5"})).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!(cloud.ports().await.len(), 1);
        cloud.mend();
        if status == 404 {
            // What Neutron does not know is removed as far as we can tell; the collector's listing is another witness.
            let left = cloud.ports().await;
            for port in left {
                cloud.neutron.delete::<Port>(port.id).await.unwrap();
            }
        }
        remove(&plugin, 'a', &pool).await;
        nothing_left(&cloud, &host, before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_down_refuses_creates_and_keeps_no_release_waiting() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    let pool = network(&plugin, 'a', "10.0.0.0/24", "10.0.0.1/24").await;
    let granted = address(&plugin, &pool, "").await.unwrap();
    let bare = granted["Address"].as_str().unwrap().split('/').next();
    plugin.call("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', granted["Address"].as_str().unwrap())).await.unwrap();
    host.core.backlog_settled().await;
    drop(plugin);
    host.stop().await;

    // The same host again, with nobody listening where Neutron was: once by its own address, once by Keystone's.
    for (option, service) in [("endpoint_override", "Neutron"), ("auth_url", "Keystone")] {
        let down = Neutron::new(cloud.settings(&[(option, "http://127.0.0.1:9/v3")])).unwrap();
        let host = cloud.host_with("one", down, core_settings());
        let plugin = host.plugin(LONG);
        let words = ["no connection to", service, "http://127.0.0.1:9", "check that"];
        refused(plugin.call("IpamDriver.RequestPool", json!({"Pool": "10.7.0.0/24"})).await, 500, &words);
        refused(address(&plugin, &pool, "").await, 500, &words);
        // What runs goes on: its Join needs no cloud.
        let ids = json!({"NetworkID": hex('a'), "EndpointID": hex('b'), "SandboxKey": "/x"});
        plugin.call("NetworkDriver.Join", ids.clone()).await.unwrap();
        if service == "Keystone" {
            plugin.call("NetworkDriver.Leave", ids.clone()).await.unwrap();
            plugin.call("NetworkDriver.DeleteEndpoint", ids).await.unwrap();
            plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": bare})).await.unwrap();
            remove(&plugin, 'a', &pool).await;
            host.core.backlog_settled().await;
            assert_eq!(taps(), 0, "the link needs no cloud to go");
        }
        drop(plugin);
        host.stop().await;
    }
    let host = cloud.host("one");
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_hangs_is_left_at_the_deadline_and_what_comes_late_is_taken_back() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (plugin, hasty) = (host.plugin(LONG), host.plugin(SHORT));
    let before = cloud.objects().await;
    let words = ["got no answer within", "run the command again"];

    // A network that is made after the engine has been told that it is not.
    let pool_a = pool(&plugin, "10.0.0.0/24").await;
    cloud.trouble("POST", "/subnets", Trouble::Late);
    refused(hasty.call("NetworkDriver.CreateNetwork", network_body('a', "10.0.0.0/24", "10.0.0.1/24")).await, 500, &words);
    plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool_a})).await.unwrap();
    cloud.mend();
    hasty.edge.idle().await;
    nothing_left(&cloud, &host, before).await;

    // An address, and a pool of kuryr's choice.
    let pool = network(&plugin, 'a', "10.0.0.0/24", "10.0.0.1/24").await;
    cloud.trouble("POST", "/ports", Trouble::Late);
    refused(address(&hasty, &pool, "").await, 500, &words);
    cloud.mend();
    hasty.edge.idle().await;
    await_that("the end of the port", async || cloud.ports().await.is_empty()).await;
    cloud.trouble("GET", "/subnetpools", Trouble::Late);
    refused(hasty.call("IpamDriver.RequestPool", json!({"AddressSpace": "x", "Pool": "", "V6": false})).await, 500, &words);
    cloud.mend();
    hasty.edge.idle().await;
    assert_eq!(host.core.counts().pools, 1, "the pool of the network alone");

    // An endpoint whose address the engine gives back while it is still being made.
    let granted = address(&plugin, &pool, "10.0.0.5").await.unwrap();
    let mut body = endpoint_body('a', 'b', granted["Address"].as_str().unwrap());
    body["Interface"]["MacAddress"] = json!("02:42:0a:00:00:05");
    cloud.trouble("PUT", "/ports", Trouble::Late);
    refused(hasty.call("NetworkDriver.CreateEndpoint", body).await, 500, &words);
    plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": "10.0.0.5"})).await.unwrap();
    cloud.mend();
    hasty.edge.idle().await;
    remove(&plugin, 'a', &pool).await;
    nothing_left(&cloud, &host, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_whose_mac_cannot_be_changed_stays_bound_with_its_own() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    let other: Port = {
        let network = cloud.ports().await[0].network_id;
        cloud.neutron.create(&json!({"network_id": network, "mac_address": "02:42:0a:00:00:05"})).await.unwrap()
    };
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.mac = Some(other.mac_address);
    let error = host.core.create_endpoint(request.clone()).await.unwrap_err().to_string();
    assert!(error.contains("02:42:0a:00:00:05") || error.contains("MAC"), "{error}");
    let port = &cloud.ports().await[0];
    assert_eq!((port.host_id.as_str(), port.vif_type.as_deref()), (HERE, Some("bridge")));
    request.mac = None;
    let grant = host.core.create_endpoint(request).await.unwrap();
    assert_eq!(grant.mac, Some(port.mac_address));
}

#[tokio::test]
async fn a_request_that_breaks_off_is_refused_in_time_and_holds_no_end_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kuryr.sock");
    let listener = kuryr::http::listen::Listener::unix(&path).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = tokio::spawn(listener.serve(host.plugin(SHORT).edge.router(), stopped, Duration::from_secs(60)));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    let mut answer = Vec::new();
    // To the end, since a connection in the middle of a body is good for nothing any more.
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not come within 300ms"), "{answer}");
    stop.send_replace(true);
    assert!(server.await.unwrap(), "the drain was held");
}

/// A file system of 256 KiB on `directory`.
fn small_file_system(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
}

fn fill(directory: &Path) {
    let mut size = 1 << 18;
    let mut number = 0;
    while size > 0 {
        match std::fs::write(directory.join(format!("ballast{number}")), vec![0; size]) {
            Ok(()) => number += 1,
            Err(_) => size /= 2,
        }
    }
}

fn make_room(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("ballast") {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_promises_and_no_release() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let directory = cloud.journal("one");
    small_file_system(&directory);
    let host = cloud.host("one");
    let plugin = host.plugin(LONG);
    let pool_a = network(&plugin, 'a', "10.0.0.0/24", "10.0.0.1/24").await;
    let granted = address(&plugin, &pool_a, "10.0.0.5").await.unwrap();
    plugin.call("NetworkDriver.CreateEndpoint", endpoint_body('a', 'b', granted["Address"].as_str().unwrap())).await.unwrap();
    host.core.backlog_settled().await;
    let pool_b = pool(&plugin, "10.1.0.0/24").await;
    let running = cloud.objects().await;

    fill(&directory);
    let words = ["cannot write the journal", "journal.db", "check the space"];
    refused(plugin.call("IpamDriver.RequestPool", json!({"Pool": "10.7.0.0/24"})).await, 500, &words);
    refused(address(&plugin, &pool_a, "").await, 500, &words);
    refused(plugin.call("NetworkDriver.CreateNetwork", network_body('c', "10.1.0.0/24", "10.1.0.1/24")).await, 500, &words);
    host.core.backlog_settled().await;
    assert_eq!(cloud.objects().await, running, "what could not be promised is not there");
    plugin.call("NetworkDriver.DeleteEndpoint", json!({"NetworkID": hex('a'), "EndpointID": hex('b')})).await.unwrap();
    plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool_a, "Address": "10.0.0.5"})).await.unwrap();
    plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool_b})).await.unwrap();
    remove(&plugin, 'a', &pool_a).await;
    nothing_left(&cloud, &host, before).await;

    make_room(&directory);
    drop(plugin);
    host.stop().await;
    let host = cloud.host("one");
    assert_eq!(host.left(), 0, "the journal has caught up");
    host.stop().await;
    umount2(&directory, MntFlags::MNT_DETACH).unwrap();
}

/// Runs `kuryr serve` with its state in `state`, under `wrapper`, and returns how it says that it cannot start.
async fn cannot_start(wrapper: &[&str], state: &Path) -> String {
    let binary = env!("CARGO_BIN_EXE_kuryr");
    let words: Vec<&str> = wrapper.iter().copied().chain([binary, "serve", "--embedded"]).collect();
    #[allow(clippy::disallowed_methods, reason = "the test runs the product")]
    let mut command = tokio::process::Command::new(words[0]);
    command.args(&words[1..]).env("OS_KURYR__STATE_PATH", state).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("kuryr has started all the same").unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_daemon_that_cannot_do_its_work_does_not_start_and_says_why() {
    let state = tempfile::tempdir().unwrap();
    for capability in ["net_admin", "sys_admin"] {
        let without = [format!("--bounding-set=-{capability}"), format!("--inh-caps=-{capability}")];
        let text = cannot_start(&["setpriv", &without[0], &without[1]], &state.path().join("caps")).await;
        assert!(text.contains(&format!("CAP_{}", capability.to_uppercase())) && text.contains("start it as root"), "{text}");
    }

    let readonly = state.path().join("readonly");
    std::fs::create_dir(&readonly).unwrap();
    mount(Some(&readonly), &readonly, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    mount(None::<&str>, &readonly, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>).unwrap();
    for below in ["", "deeper"] {
        let text = cannot_start(&[], &readonly.join(below)).await;
        assert!(text.contains("readonly") && text.contains("Read-only file system") && text.contains("[kuryr] state_path"), "{text}");
    }
    umount2(&readonly, MntFlags::MNT_DETACH).unwrap();

    let full = state.path().join("full");
    small_file_system(&full);
    fill(&full);
    let text = cannot_start(&[], &full).await;
    assert!(text.contains("full") && text.contains("journal.db") && text.contains("space"), "{text}");
    umount2(&full, MntFlags::MNT_DETACH).unwrap();
}
