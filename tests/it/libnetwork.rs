//! Golden tests of Docker's edge: what engines 20.10, 26.1 and 28.5 really sent (`tests/golden/`, the replies are a stub plugin's that these engines took),
//! and property tests over requests gone wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
    time::Duration,
};

use kuryr::{
    core::request::{Attachment, EndpointGrant, PoolGrant},
    libnetwork::{
        Settings,
        call::{Call, NAMES},
        endpoint, ipam,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const NETWORK: &str = "927ee3996ca08da3ca02e66a2b5d2196e27543747f3a0be2f87b8d3fad1b8ac4";
const ENDPOINT: &str = "326aba6247266cfd0ca3771b0283e2142a3e934bb994d1b77fc93bb467c0df48";

fn settings() -> Settings {
    Settings {
        scope: "local".to_owned(),
        address_space: "no_address_space".to_owned(),
        global_space: "no_address_space".to_owned(),
        requires_mac: false,
        request_timeout: Duration::from_secs(20),
    }
}

fn decode(name: &str, request: &Value) -> Result<Call, kuryr::libnetwork::error::Error> {
    let body = if request.is_null() { Vec::new() } else { serde_json::to_vec(request).unwrap() };
    Call::decode(name, &body, &settings())
}

/// Every recorded call: engine and line, name, request, reply.
fn captures() -> Vec<(String, String, Value, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut calls = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !file.starts_with("docker-") {
            continue;
        }
        for (index, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let mut capture: Value = serde_json::from_str(line).unwrap();
            let name = capture["path"].as_str().unwrap().trim_start_matches('/').to_owned();
            calls.push((format!("{file}:{}", index + 1), name, capture["request"].take(), capture["response"].take()));
        }
    }
    calls
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn an_engine_says_the_mac_with_the_address_where_the_configuration_wants_it() {
    for wanted in [false, true] {
        let settings = Settings { requires_mac: wanted, ..settings() };
        let Call::Constant(reply) = Call::decode("IpamDriver.GetCapabilities", b"", &settings).unwrap() else { panic!("constant") };
        assert_eq!(reply["RequiresMACAddress"], wanted);
    }
}

#[test]
fn every_recorded_request_decodes() {
    let calls = captures();
    let mut names = BTreeSet::new();
    for (place, name, mut request, _) in calls {
        // A pool id is the plugin's own: the recording stub gave out other ones than kuryr's UUIDs.
        if name == "IpamDriver.RequestAddress" {
            request["PoolID"] = json!(Uuid::from_u128(1));
        }
        if let Err(error) = decode(&name, &request) {
            panic!("{place}: {error}");
        }
        names.insert(name);
    }
    let missing: Vec<_> = NAMES.iter().filter(|name| !names.contains(**name)).collect();
    assert_eq!(missing, [&"NetworkDriver.DiscoverDelete"], "calls that no recording has");
}

#[test]
fn exposed_ports_are_read_from_the_calls_of_every_engine() {
    let mut seen = BTreeSet::new();
    for (place, name, request, _) in captures() {
        let listed = request["Options"]["com.docker.network.endpoint.exposedports"].as_array().cloned().unwrap_or_default();
        let listed: BTreeSet<_> = listed.iter().map(|port| (port["Proto"].as_u64().unwrap(), port["Port"].as_u64().unwrap())).collect();
        let (Ok(Call::Join(read)) | Ok(Call::Program(read))) = decode(&name, &request) else { continue };
        let read: BTreeSet<_> = read.exposed.iter().map(|port| (u64::from(port.protocol), u64::from(port.port))).collect();
        assert_eq!(read, listed, "{place}");
        if !listed.is_empty() {
            seen.insert((
                place.split('-').nth(1).unwrap().trim_end_matches(|c: char| !c.is_ascii_digit()).chars().take(5).collect::<String>(),
                name,
            ));
        }
    }
    let engines = ["20.10", "26.1.", "28.5."].map(str::to_owned);
    let all: Vec<_> = seen.iter().filter(|(_, name)| name == "NetworkDriver.Join").map(|(engine, _)| engine.clone()).collect();
    assert!(engines.iter().all(|engine| all.iter().any(|seen| seen.starts_with(engine.trim_end_matches('.')))), "{seen:?}");
    let programmed = seen.iter().filter(|(_, name)| name == "NetworkDriver.ProgramExternalConnectivity").count();
    assert!(programmed >= 3, "{seen:?}");
}

/// For each call the keys of the stub's successful replies and their JSON types.
fn accepted() -> BTreeMap<String, BTreeMap<String, &'static str>> {
    let mut accepted: BTreeMap<String, BTreeMap<String, &'static str>> = BTreeMap::new();
    for (_, name, _, reply) in captures() {
        let keys = accepted.entry(name).or_default();
        for (key, value) in reply.as_object().unwrap().iter().filter(|(key, _)| *key != "Err" && *key != "Error") {
            keys.insert(key.clone(), kind(value));
        }
    }
    // Keys that the recording stub never set: moby, drivers/remote/api.
    accepted.get_mut("NetworkDriver.Join").unwrap().insert("DisableGatewayService".to_owned(), "bool");
    accepted
}

#[test]
fn replies_have_the_shape_that_engines_took() {
    let constant = |name: &str, request: Value| match decode(name, &request).unwrap() {
        Call::Constant(reply) => (name.to_owned(), reply),
        other => panic!("{name} is answered by the core: {other:?}"),
    };
    let grant = PoolGrant { id: Uuid::from_u128(1), cidr: "10.0.0.0/24".parse().unwrap() };
    let attachment = Attachment {
        interface: "t_c07791891-0e".to_owned(),
        dst_prefix: "eth".to_owned(),
        gateway: Some("10.0.0.1".parse().unwrap()),
        gateway_v6: Some("fd00::1".parse().unwrap()),
        routes: vec![("10.9.0.0/16".parse().unwrap(), "10.0.0.9".parse().unwrap())],
    };
    let replies = [
        constant("Plugin.Activate", Value::Null),
        constant("NetworkDriver.GetCapabilities", Value::Null),
        constant("NetworkDriver.GwAllocCheck", json!({"Options": null})),
        constant("NetworkDriver.AllocateNetwork", json!({"NetworkID": "x", "Options": {"a": "b"}})),
        constant("NetworkDriver.FreeNetwork", json!({"NetworkID": "x"})),
        constant("NetworkDriver.DiscoverNew", Value::Null),
        constant("IpamDriver.GetCapabilities", Value::Null),
        constant("IpamDriver.GetDefaultAddressSpaces", Value::Null),
        ("IpamDriver.RequestPool".to_owned(), ipam::pool_granted(&grant)),
        ("IpamDriver.RequestAddress".to_owned(), ipam::address_granted("10.0.0.2/24".parse().unwrap())),
        ("NetworkDriver.CreateEndpoint".to_owned(), endpoint::created(&EndpointGrant { mac: Some("fa:16:3e:00:00:01".parse().unwrap()) })),
        ("NetworkDriver.CreateEndpoint".to_owned(), endpoint::created(&EndpointGrant { mac: None })),
        ("NetworkDriver.Join".to_owned(), endpoint::joined(&attachment)),
    ];
    let accepted = accepted();
    for (name, reply) in &replies {
        for (key, value) in reply.as_object().unwrap() {
            assert_eq!(accepted[name].get(key), Some(&kind(value)), "{key} of {name}");
        }
    }
    let [activate, capabilities, ..] = &replies;
    assert_eq!(activate.1, json!({"Implements": ["NetworkDriver", "IpamDriver"]}));
    assert_eq!(capabilities.1, json!({"Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": true}));
    assert_eq!(replies[3].1, json!({"Options": {"a": "b"}}));
    assert_eq!(replies[8].1, json!({"PoolID": Uuid::from_u128(1), "Pool": "10.0.0.0/24", "Data": {}}));
    assert_eq!(replies[9].1, json!({"Address": "10.0.0.2/24", "Data": {}}));
    assert_eq!(replies[10].1, json!({"Interface": {"MacAddress": "fa:16:3e:00:00:01"}}));
    assert_eq!(replies[11].1, json!({"Interface": {}}));
    assert_eq!(
        replies[12].1,
        json!({"InterfaceName": {"SrcName": "t_c07791891-0e", "DstPrefix": "eth"}, "Gateway": "10.0.0.1", "GatewayIPv6": "fd00::1",
               "StaticRoutes": [{"Destination": "10.9.0.0/16", "RouteType": 0, "NextHop": "10.0.0.9"}], "DisableGatewayService": true})
    );
}

#[test]
fn join_leaves_out_a_gateway_that_is_not_there() {
    let attachment =
        Attachment { interface: "t_c1".to_owned(), dst_prefix: "eth".to_owned(), gateway: None, gateway_v6: None, routes: Vec::new() };
    let reply = endpoint::joined(&attachment);
    assert_eq!(reply, json!({"InterfaceName": {"SrcName": "t_c1", "DstPrefix": "eth"}, "StaticRoutes": [], "DisableGatewayService": true}));
}

#[test]
fn a_network_is_read_with_docker_s_exact_pool_text() {
    let request = json!({
        "NetworkID": NETWORK,
        "Options": {"com.docker.network.generic": {"neutron.net.shared": "True"}, "com.docker.network.internal": true},
        "IPv4Data": [{"AddressSpace": "x", "Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24", "AuxAddresses": {"a": "10.0.0.9/24", "b": "10.0.0.8"}}],
        "IPv6Data": [{"AddressSpace": "x", "Pool": "2001:DB8::/64", "Gateway": "::/0"}],
        "Novelty": 1,
    });
    let Call::CreateNetwork(network) = decode("NetworkDriver.CreateNetwork", &request).unwrap() else { panic!("another call") };
    assert!(network.internal);
    assert_eq!(network.options["neutron.net.shared"], "True");
    assert_eq!(network.v4[0].gateway, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(network.v4[0].aux_addresses, ["10.0.0.9".parse::<std::net::IpAddr>().unwrap(), "10.0.0.8".parse().unwrap()]);
    assert_eq!((network.v6[0].pool_text.as_str(), network.v6[0].gateway), ("2001:DB8::/64", None));
}

#[test]
fn an_endpoint_s_mac_is_read_in_both_forms_and_a_portmap_in_any() {
    for (interface, options) in [
        (json!({"Address": "10.0.0.2/24", "MacAddress": "02:42:0A:00:00:02"}), json!({"com.docker.network.portmap": "none"})),
        (
            json!({"Address": "10.0.0.2/24"}),
            json!({"com.docker.network.endpoint.macaddress": "AkIKAAAC", "com.docker.network.portmap": [{"Proto": 6}]}),
        ),
    ] {
        let request = json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": interface, "Options": options});
        let Call::CreateEndpoint(endpoint) = decode("NetworkDriver.CreateEndpoint", &request).unwrap() else { panic!("another call") };
        assert_eq!(endpoint.mac, Some("02:42:0a:00:00:02".parse().unwrap()));
    }
}

#[test]
fn an_internal_network_needs_no_gateway_of_ours() {
    for (options, skip) in [(json!({"com.docker.network.internal": true}), true), (json!({}), false)] {
        let Call::Constant(reply) = decode("NetworkDriver.GwAllocCheck", &json!({"Options": options})).unwrap() else {
            panic!("not constant")
        };
        assert_eq!(reply, json!({"SkipIPv4": skip, "SkipIPv6": skip}));
    }
}

#[test]
fn a_wrong_value_is_named_and_refused_as_400() {
    let pool = Uuid::from_u128(1);
    for (name, request, value) in [
        ("NetworkDriver.DeleteNetwork", json!({"NetworkID": "id-x"}), "id-x"),
        ("NetworkDriver.DeleteNetwork", json!({"NetworkID": 4711}), "4711"),
        ("NetworkDriver.Join", json!({"NetworkID": NETWORK, "EndpointID": "short", "SandboxKey": "/any"}), "short"),
        ("NetworkDriver.CreateNetwork", json!({"NetworkID": NETWORK, "IPv4Data": [{"Pool": "10.0.0.0/33"}]}), "10.0.0.0/33"),
        ("NetworkDriver.CreateNetwork", json!({"NetworkID": NETWORK, "IPv4Data": [{"Pool": "fd00::/64"}]}), "fd00::/64"),
        (
            "NetworkDriver.CreateEndpoint",
            json!({"NetworkID": NETWORK, "EndpointID": ENDPOINT, "Interface": {"MacAddress": "02:42"}}),
            "02:42",
        ),
        ("IpamDriver.RequestPool", json!({"Pool": "10.0.0.5/24"}), "10.0.0.5/24"),
        ("IpamDriver.RequestPool", json!({"Pool": "10.0.0.0/24", "V6": true}), "10.0.0.0/24"),
        ("IpamDriver.RequestPool", json!({"V6": "perhaps"}), "perhaps"),
        ("IpamDriver.RequestAddress", json!({"PoolID": "nowhere"}), "nowhere"),
        ("IpamDriver.RequestAddress", json!({"PoolID": pool, "Address": "10.0.0.2/24"}), "10.0.0.2/24"),
        ("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": "300.0.0.1"}), "300.0.0.1"),
    ] {
        let error = decode(name, &request).unwrap_err();
        let text = error.to_string();
        assert!(error.status() == 400 && text.contains(value) && text.contains("Failed validating "), "{name}: {text}");
        assert_eq!(error.body(), json!({"Err": text, "Error": text}));
    }
}

#[test]
fn only_calls_without_an_argument_may_come_without_a_body() {
    let free = [
        "Plugin.Activate",
        "NetworkDriver.GetCapabilities",
        "NetworkDriver.DiscoverNew",
        "NetworkDriver.DiscoverDelete",
        "IpamDriver.GetCapabilities",
        "IpamDriver.GetDefaultAddressSpaces",
    ];
    for name in NAMES {
        match decode(name, &Value::Null) {
            Ok(_) => assert!(free.contains(&name), "{name} took an empty body"),
            Err(error) => assert!(!free.contains(&name) && error.to_string().contains("without its body"), "{name}: {error}"),
        }
    }
}

/// Any JSON of moderate size.
fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[0-9a-f:./]{0,20}".prop_map(Value::from),
        Just(Value::from(NETWORK)),
    ];
    scalar.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z.]{0,12}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `new` in the place of the `at`-th value of `value`, counted in depth.
fn mutate(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        *value = new.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mutate(item, at, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mutate(field, at, new)),
        _ => {}
    }
}

fn clear_error_or_call(name: &str, body: &[u8]) {
    if let Err(error) = Call::decode(name, body, &settings()) {
        assert_eq!(error.status(), 400, "{error}");
        let body = error.body();
        assert!(body["Err"].as_str().is_some_and(|text| !text.is_empty()) && body["Err"] == body["Error"]);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_call_or_a_clear_error(name in prop::sample::select(NAMES.to_vec()), body in prop::collection::vec(any::<u8>(), 0..300)) {
        clear_error_or_call(name, &body);
    }

    #[test]
    fn any_json_gives_a_call_or_a_clear_error(name in prop::sample::select(NAMES.to_vec()), body in any_json()) {
        clear_error_or_call(name, &serde_json::to_vec(&body).unwrap());
    }

    #[test]
    fn a_mutated_request_gives_a_call_or_a_clear_error(which in any::<prop::sample::Index>(), at in 1usize..20, new in any_json()) {
        static CALLS: LazyLock<Vec<(String, String, Value, Value)>> = LazyLock::new(captures);
        let (_, name, request, _) = which.get(&CALLS);
        let mut request = request.clone();
        mutate(&mut request, &mut at.clone(), &new);
        clear_error_or_call(name, &serde_json::to_vec(&request).unwrap());
    }
}
