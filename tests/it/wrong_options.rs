//! Every option that a call of the engine can have, with every kind of wrong value: each time a refusal that names option and value, before
//! anything is made or written down.

use std::{collections::BTreeSet, path::Path, time::Duration};

use kuryr::core::Counts;
use serde_json::{Map, Value, json};

use crate::{
    daemon::Daemon,
    host::{Cloud, Host, Plugin, taps},
};

const RANGE: &str = "10.0.0.0/24";
const NOBODYS: &str = "00000000-0000-0000-0000-000000000007";

/// Where an option stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// `docker network create -o`.
    Network,
    /// What the engine itself says of a network.
    NetworkOfEngine,
    /// `--ipam-opt`.
    Ipam,
    /// What the engine itself says of an address.
    Address,
    /// `--driver-opt` of an endpoint, and what the engine says of it.
    Endpoint,
    /// What the engine says of an endpoint as it joins.
    Join,
}

/// What an option should hold.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The id of an object of Neutron.
    Id,
    /// The name of one.
    Name,
    /// Names and ids, separated by commas.
    Names,
    /// True or false, as a text.
    Flag,
    /// True or false as the engine writes it.
    EngineFlag,
    Count,
    Mtu,
    DnsName,
    Mac,
    Word,
    ExposedPorts,
}

impl Kind {
    /// Texts and scalars that are wrong.
    fn wrong(self) -> Vec<Value> {
        let long = "x".repeat(4097);
        let name = vec![json!(7), json!(true), json!("nobody's"), json!("x".repeat(300)), json!(long), json!("two\nlines")];
        match self {
            Self::Id => vec![
                json!(7),
                json!(true),
                json!("no id"),
                json!("00000000-0000-0000-0000-00000000000g"),
                json!(format!("{NOBODYS}7")),
                json!(NOBODYS),
                json!(long),
                json!(format!("{NOBODYS}\n")),
            ],
            Self::Name => name,
            Self::Names => [name, vec![json!(NOBODYS), json!("nobody's,default")]].concat(),
            Self::Flag => vec![json!(7), json!(1.5), json!("perhaps"), json!(long)],
            Self::EngineFlag => vec![json!(7), json!("perhaps")],
            Self::Count => vec![json!(-1), json!(1.5), json!(true), json!("many"), json!("4294967296"), json!("1\n")],
            Self::Mtu => vec![json!(0), json!(67), json!(65536), json!(-1), json!(1.5), json!(true), json!("jumbo"), json!("1400\n")],
            Self::DnsName => {
                vec![json!(1.5), json!("a_b"), json!("-a"), json!("x".repeat(64)), json!(long), json!("web\n"), json!("web"), json!(7)]
            }
            Self::Mac => vec![json!(7), json!(true), json!("02:42"), json!("02:42:0a:00:00:0g")],
            Self::Word => vec![json!(7), json!(true)],
            Self::ExposedPorts => vec![json!(7), json!(true), json!("80"), json!([80])],
        }
    }

    /// Of the wrong type for every option but a list.
    fn of_wrong_type(self) -> Vec<Value> {
        match self {
            Self::ExposedPorts => vec![json!({"Proto": 6, "Port": 80})],
            _ => vec![json!(["web"]), json!({"a": 1})],
        }
    }
}

/// Every option that kuryr reads.
fn options() -> Vec<(Place, &'static str, Kind)> {
    let both = |name, kind| [(Place::Network, name, kind), (Place::Ipam, name, kind)];
    let ports = |name, kind| [(Place::Network, name, kind), (Place::Endpoint, name, kind)];
    [
        both("neutron.net.uuid", Kind::Id),
        both("neutron.net.name", Kind::Name),
        both("neutron.net.shared", Kind::Flag),
        both("neutron.subnet.uuid", Kind::Id),
        both("neutron.subnet.name", Kind::Name),
        both("neutron.subnet.v6.uuid", Kind::Id),
        both("neutron.subnet.v6.name", Kind::Name),
        both("neutron.pool.uuid", Kind::Id),
        both("neutron.pool.name", Kind::Name),
        both("neutron.pool.v6.uuid", Kind::Id),
        both("neutron.pool.v6.name", Kind::Name),
        ports("neutron.port.uuid", Kind::Id),
        ports("neutron.port.security_groups", Kind::Names),
        ports("neutron.port.qos_policy", Kind::Name),
        ports("neutron.port.dns_name", Kind::DnsName),
    ]
    .into_iter()
    .flatten()
    .chain([
        (Place::Network, "kuryr.pool.min", Kind::Count),
        (Place::Network, "kuryr.pool.max", Kind::Count),
        (Place::Network, "kuryr.pool.idle_time", Kind::Count),
        (Place::Network, "com.docker.network.driver.mtu", Kind::Mtu),
        (Place::NetworkOfEngine, "com.docker.network.internal", Kind::EngineFlag),
        (Place::Endpoint, "com.docker.network.endpoint.macaddress", Kind::Mac),
        (Place::Address, "com.docker.network.endpoint.macaddress", Kind::Mac),
        (Place::Address, "RequestAddressType", Kind::Word),
        (Place::Join, "com.docker.network.endpoint.exposedports", Kind::ExposedPorts),
    ])
    .collect()
}

/// A host with an endpoint, and an address and a pool that wait for theirs.
struct Scene {
    cloud: Cloud,
    host: Host,
    plugin: Plugin,
    address: String,
}

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

impl Scene {
    async fn set() -> Self {
        let cloud = Cloud::start().await;
        let host = cloud.host("one");
        let plugin = host.plugin(Duration::from_secs(60));
        let pool = plugin.call("IpamDriver.RequestPool", json!({"Pool": RANGE})).await.unwrap()["PoolID"].clone();
        let body = json!({"NetworkID": hex('a'), "Options": {}, "IPv4Data": [{"Pool": RANGE, "Gateway": "10.0.0.1/24"}]});
        plugin.call("NetworkDriver.CreateNetwork", body).await.unwrap();
        let mut addresses = Vec::new();
        for address in ["10.0.0.7", "10.0.0.8"] {
            let granted = plugin.call("IpamDriver.RequestAddress", json!({"PoolID": pool, "Address": address})).await.unwrap();
            addresses.push(granted["Address"].as_str().unwrap().to_owned());
        }
        let scene = Self { cloud, host, plugin, address: addresses[1].clone() };
        let endpoint = json!({"NetworkID": hex('a'), "EndpointID": hex('b'), "Interface": {"Address": addresses[0]}});
        scene.plugin.call("NetworkDriver.CreateEndpoint", endpoint).await.unwrap();
        scene.plugin.call("IpamDriver.RequestPool", json!({"Pool": "10.1.0.0/24"})).await.unwrap();
        scene.host.core.backlog_settled().await;
        scene
    }

    /// The call in which an option of that place stands.
    async fn call(&self, place: Place, options: Value) -> Result<Value, (u16, String)> {
        let pool = json!({"PoolID": NOBODYS, "Address": "10.0.0.9", "Options": options});
        let network = |options: Value| json!({"NetworkID": hex('c'), "Options": options, "IPv4Data": [{"Pool": "10.1.0.0/24", "Gateway": "10.1.0.1/24"}]});
        let (name, body) = match place {
            Place::Network => ("NetworkDriver.CreateNetwork", network(json!({"com.docker.network.generic": options}))),
            Place::NetworkOfEngine => ("NetworkDriver.CreateNetwork", network(options)),
            Place::Ipam => {
                let v6 = options.as_object().unwrap().keys().any(|name| name.contains(".v6."));
                let range = if v6 { "fd00:2::/64" } else { "10.2.0.0/24" };
                ("IpamDriver.RequestPool", json!({"Pool": range, "V6": v6, "Options": options}))
            }
            Place::Address => ("IpamDriver.RequestAddress", pool),
            Place::Endpoint => {
                let interface = json!({"Address": self.address});
                let body = json!({"NetworkID": hex('a'), "EndpointID": hex('d'), "Interface": interface, "Options": options});
                ("NetworkDriver.CreateEndpoint", body)
            }
            Place::Join => {
                let ids = json!({"NetworkID": hex('a'), "EndpointID": hex('b'), "SandboxKey": "/x", "Options": options});
                ("NetworkDriver.Join", ids)
            }
        };
        self.plugin.call(name, body).await
    }

    /// What Neutron, the journal and the kernel hold.
    async fn all(&self) -> ([usize; 6], Counts, usize) {
        self.host.core.backlog_settled().await;
        (self.cloud.objects().await, self.host.core.counts(), taps())
    }
}

/// As the refusal shows the start of a value.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().replace('\n', "\\n"));
    // Of several the one that is wrong.
    text.trim_matches(['[', ']']).split(',').next().unwrap().chars().take(200).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_value_of_every_option_is_refused_before_anything_is_made() {
    let scene = Scene::set().await;
    let before = scene.all().await;
    let mut failures = Vec::new();
    for (place, option, kind) in options() {
        for value in kind.wrong().into_iter().chain(kind.of_wrong_type()) {
            // A subnet pool is looked up where a subnet is made out of it.
            let looked_up = if matches!(kind, Kind::Id) { vec![json!(NOBODYS)] } else { Kind::Name.wrong()[..4].to_vec() };
            if place == Place::Network && option.starts_with("neutron.pool.v6") && looked_up.contains(&value) {
                continue;
            }
            let case = format!("{place:?} {option} = {}", value.to_string().chars().take(60).collect::<String>());
            match scene.call(place, json!({option: value})).await {
                Ok(reply) => failures.push(format!("{case}: taken with {reply}")),
                Err((status, text)) => {
                    let named = text.contains(option) && text.contains(&shown(&value));
                    if status != 400 || !named || text.contains('\n') {
                        failures.push(format!("{case}: {status} {text}"));
                    }
                }
            }
            let after = scene.all().await;
            assert_eq!(after, before, "{case}");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_is_null_or_empty_is_as_good_as_none() {
    for value in [Value::Null, json!("")] {
        let scene = Scene::set().await;
        for place in [Place::Ipam, Place::Network, Place::NetworkOfEngine, Place::Endpoint, Place::Join] {
            // A list is never a text.
            let here =
                options().into_iter().filter(|(at, _, kind)| *at == place && (value.is_null() || !matches!(kind, Kind::ExposedPorts)));
            let all: Map<String, Value> = here.map(|(_, option, _)| (option.to_owned(), value.clone())).collect();
            scene.call(place, Value::Object(all)).await.unwrap_or_else(|refused| panic!("{place:?} {value}: {refused:?}"));
        }
    }
}

/// What docs/compat.md promises not to read.
#[tokio::test(flavor = "multi_thread")]
async fn published_ports_are_not_read_and_port_0_is_nobodys() {
    let scene = Scene::set().await;
    for value in [json!(7), json!("80:80"), json!([{"Proto": "tcp"}]), json!({"a": 1})] {
        scene.call(Place::Endpoint, json!({"com.docker.network.portmap": value})).await.unwrap();
    }
    for port in [json!({"Proto": 6, "Port": 0}), json!({"Proto": 6})] {
        scene.call(Place::Join, json!({"com.docker.network.endpoint.exposedports": [port]})).await.unwrap();
    }
    for (port, wrong) in [
        (json!({"Proto": 300, "Port": 80}), "300"),
        (json!({"Proto": 6, "Port": "80"}), "80"),
        (json!({"Proto": 6, "Port": 70000}), "70000"),
    ] {
        let (status, text) = scene.call(Place::Join, json!({"com.docker.network.endpoint.exposedports": [port]})).await.unwrap_err();
        assert!(status == 400 && text.contains(wrong), "{text}");
    }
}

#[test]
fn a_file_of_the_configuration_that_is_not_there_stops_the_start_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kuryr.conf");
    let there = file.to_str().unwrap();
    for (group, option) in [
        ("neutron", "cafile"),
        ("neutron", "certfile"),
        ("neutron", "keyfile"),
        ("keystone_client", "auth_ca_cert"),
        ("DEFAULT", "ssl_cert_file"),
        ("DEFAULT", "ssl_key_file"),
        ("kuryr", "ssl_client_ca_file"),
    ] {
        let served = format!("[DEFAULT]\nenable_ssl = True\nssl_cert_file = {there}\nssl_key_file = {there}\n");
        std::fs::write(&file, format!("{served}[{group}]\n{option} = /nowhere.pem\n")).unwrap();
        let mut daemon = Daemon::start(directory.path(), &["--config-file", there], &[("OS_CLOUD", "none")]);
        let line = daemon.logs(&format!("kuryr.conf:6: [{group}] {option} = /nowhere.pem: cannot read it: No such file"));
        assert!(line.contains("name a PEM file that is there"), "{line}");
        assert!(!daemon.wait().success());
    }
}

/// Whoever adds an option adds it here.
#[test]
fn every_option_that_the_code_or_its_pages_name_is_in_the_table() {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table: BTreeSet<&str> = options().into_iter().map(|(_, option, _)| option).collect();
    let mut named = BTreeSet::new();
    for (file, quote) in [
        ("src/core/options.rs", '"'),
        ("src/core/port_options.rs", '"'),
        ("src/core/port_pool/limits.rs", '"'),
        ("src/core/request.rs", '"'),
        ("src/libnetwork/network.rs", '"'),
        ("src/libnetwork/endpoint.rs", '"'),
        ("docs/compat.md", '`'),
    ] {
        let text = std::fs::read_to_string(repo.join(file)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
        let starts = ["neutron.net.", "neutron.subnet.", "neutron.pool.", "neutron.port.", "kuryr.pool.", "com.docker.network."];
        let option = |word: &&str| {
            starts.iter().any(|start| word.starts_with(start))
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c))
                && !word.ends_with('.')
        };
        named.extend(text.split(quote).filter(option).map(str::to_owned));
    }
    assert!(named.len() > 15, "{named:?}");
    // Not options, or not read.
    let others =
        ["com.docker.network.generic", "com.docker.network.gateway", "com.docker.network.portmap", "com.docker.network.enable_ipv6"];
    let missing: Vec<&String> = named.iter().filter(|name| !table.contains(name.as_str()) && !others.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
