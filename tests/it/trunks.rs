//! Trunks, which the embedded controller has not, with the refusals of a real Neutron; and containers as sub-ports of one. The calls on a real
//! Neutron's trunks are a step of tests/lab. A kernel without 8021q makes no link, so that each start ends there and is taken back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use kuryr::{
    config::PortDriver,
    core::{Error, Settings, request::EndpointGrant},
    openstack::{Network, Port, Subnet},
};
use serde_json::{Value, json};
use tower::Service as _;
use uuid::Uuid;

use crate::{
    host::{Cloud, Host, Trouble, core_settings, endpoint, id},
    nested::machines_link,
};

/// Trunks by id, and what others do to them.
#[derive(Default)]
pub struct Trunks(Mutex<Known>);

#[derive(Default)]
struct Known {
    trunks: BTreeMap<Uuid, (Uuid, Vec<Value>)>,
    /// How many of the next VLAN ids that are asked for another daemon takes at that moment.
    stolen: usize,
}

impl Trunks {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    pub fn create(&self, port: Uuid) -> Uuid {
        let trunk = Uuid::new_v4();
        self.known().trunks.insert(trunk, (port, Vec::new()));
        trunk
    }

    pub fn steal(&self, times: usize) {
        self.known().stolen = times;
    }

    pub fn sub_ports(&self, trunk: Uuid) -> Vec<Value> {
        self.known().trunks[&trunk].1.clone()
    }

    pub fn add(&self, trunk: Uuid, port: Uuid, vlan: u16) {
        let sub_port = json!({"port_id": port, "segmentation_type": "vlan", "segmentation_id": vlan});
        self.known().trunks.get_mut(&trunk).unwrap().1.push(sub_port);
    }

    pub async fn answer(&self, request: Request, controller: &mut axum::Router) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let (root, path) = head.uri.path().split_once("/trunks").unwrap();
        if head.method == "GET" {
            let known = self.known();
            let show = |(id, (port, sub_ports)): (&Uuid, &(Uuid, Vec<Value>))| json!({"id": id, "port_id": port, "sub_ports": sub_ports});
            let all: Vec<Value> = known.trunks.iter().map(show).collect();
            return match path.strip_prefix('/') {
                Some(id) => reply(200, json!({"trunk": all.iter().find(|trunk| trunk["id"] == id).unwrap()})),
                None => {
                    let port = head.uri.query().unwrap().strip_prefix("port_id=").unwrap();
                    reply(200, json!({"trunks": all.iter().filter(|trunk| trunk["port_id"] == port).collect::<Vec<_>>()}))
                }
            };
        }
        let (trunk, verb) = path[1..].split_once('/').unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let [sub_port] = body["sub_ports"].as_array().unwrap().as_slice() else { panic!("one at a time") };
        let mut of_port =
            Request::builder().uri(format!("{root}/ports/{}", sub_port["port_id"].as_str().unwrap())).body(Body::empty()).unwrap();
        of_port.headers_mut().insert("x-auth-token", head.headers["x-auth-token"].clone());
        let shown = controller.call(of_port).await.unwrap();
        let port: Value = serde_json::from_slice(&to_bytes(shown.into_body(), usize::MAX).await.unwrap()).unwrap();
        let mut known = self.known();
        let steals = known.stolen > 0 && verb == "add_subports";
        known.stolen -= usize::from(steals);
        let Some((_, sub_ports)) = known.trunks.get_mut(&trunk.parse().unwrap()) else { return refusal(404, "TrunkNotFound") };
        let same = |key: &str| sub_ports.iter().position(|other| other[key] == sub_port[key]);
        if verb == "remove_subports" {
            let Some(at) = same("port_id") else { return refusal(404, "SubPortNotFound") };
            sub_ports.remove(at);
        } else if same("port_id").is_some() {
            return refusal(409, "TrunkPortInUse");
        } else if port["port"]["device_id"] != "" {
            return refusal(409, "PortInUse");
        } else if same("segmentation_id").is_some() {
            return refusal(409, "DuplicateSubPort");
        } else if steals {
            sub_ports.push(json!({"port_id": Uuid::new_v4(), "segmentation_type": "vlan", "segmentation_id": sub_port["segmentation_id"]}));
            return refusal(409, "DuplicateSubPort");
        } else {
            sub_ports.push(sub_port.clone());
        }
        reply(200, json!({"id": trunk, "sub_ports": sub_ports}))
    }
}

fn reply(status: u16, body: Value) -> Response {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status.try_into().unwrap();
    answer
}

fn refusal(status: u16, kind: &str) -> Response {
    reply(status, json!({"NeutronError": {"type": kind, "message": kind, "detail": ""}}))
}

/// A machine of the cloud with a trunk.
struct Machine {
    cloud: Cloud,
    trunk: Uuid,
}

impl Machine {
    async fn start() -> Self {
        let cloud = Cloud::start().await;
        let network: Network = cloud.neutron.create(&json!({"name": "machines"})).await.unwrap();
        let body = json!({"network_id": network.id, "cidr": "192.168.0.0/24", "ip_version": 4});
        cloud.neutron.create::<Subnet>(&body).await.unwrap();
        let port: Port = cloud.neutron.create(&json!({"network_id": network.id, "device_owner": "compute:nova"})).await.unwrap();
        machines_link(port.mac_address);
        let trunk = cloud.trunks.create(port.id);
        Self { cloud, trunk }
    }

    fn host(&self, name: &str) -> Host {
        let settings = Settings { port_driver: PortDriver::Vlan, link_iface: "eth0".into(), ..core_settings() };
        self.cloud.host_with(name, self.cloud.client(), settings)
    }

    /// Ports and VLAN ids on the trunk.
    fn on_trunk(&self) -> Vec<(String, u64)> {
        let text = |sub_port: &Value| sub_port["port_id"].as_str().unwrap().to_owned();
        self.cloud.trunks.sub_ports(self.trunk).iter().map(|own| (text(own), own["segmentation_id"].as_u64().unwrap())).collect()
    }
}

fn made_or_no_driver(outcome: Result<EndpointGrant, Error>) {
    if let Err(lacking) = outcome {
        assert!(lacking.to_string().contains("this kernel lacks the driver"), "{lacking}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_a_sub_port_with_an_id_of_its_own_and_no_more_after_its_endpoint() {
    let machine = Machine::start().await;
    let hosts = [machine.host("one"), machine.host("two")];
    let mut pools = Vec::new();
    for (host, (network, range)) in hosts.iter().zip([('a', "10.1.0.0/24"), ('b', "10.2.0.0/24")]) {
        pools.push(host.network(&id(network), &[range]).await);
        host.core.backlog_settled().await;
    }
    machine.cloud.trouble("PUT", "/add_subports", Trouble::Late);
    let mut starts = Vec::new();
    let mut addresses = Vec::new();
    for (at, (network, container)) in [('a', 'c'), ('b', 'd')].into_iter().enumerate() {
        let address = hosts[at].address(&pools[at][0], None).await.unwrap();
        let core = hosts[at].core.clone();
        let request = endpoint(&id(network), &id(container), Some(address), None);
        starts.push(tokio::spawn(async move { core.create_endpoint(request).await }));
        addresses.push(address);
        // The second one looks at the trunk when the first has its id, since the two choose by chance.
        machine.cloud.held(at + 1).await;
    }
    let on_trunk = machine.on_trunk();
    assert!(on_trunk.len() == 2 && on_trunk[0].1 != on_trunk[1].1, "{on_trunk:?}");
    assert!(on_trunk.iter().all(|(_, id)| (1..=4094).contains(id)), "{on_trunk:?}");
    let ports = machine.cloud.ports().await;
    let own: Vec<&Port> = ports.iter().filter(|port| port.name == "kuryr-unbound-port").collect();
    assert_eq!(own.len(), 2);
    for port in own {
        assert!(on_trunk.iter().any(|(id, _)| *id == port.id.to_string()) && port.device_id.is_empty(), "{port:?}");
    }
    machine.cloud.mend();
    for start in starts {
        made_or_no_driver(start.await.unwrap());
    }
    for (at, (network, container)) in [('a', 'c'), ('b', 'd')].into_iter().enumerate() {
        hosts[at].remove_container(&id(network), &id(container), &pools[at][0], addresses[at]).await;
        assert_eq!(hosts[at].core.counts().ports, 0);
    }
    assert!(machine.on_trunk().is_empty());
    assert!(machine.cloud.ports().await.iter().all(|port| port.name != "kuryr-unbound-port"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_daemon_takes_first_is_chosen_again_and_at_last_given_up() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.network(&id('a'), &["10.1.0.0/24"]).await;
    let refused = async |word: &str| {
        let address = host.address(&pools[0], None).await.unwrap();
        let refused = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!(host.core.counts().ports, 0);
    };
    machine.cloud.trunks.steal(3);
    let address = host.address(&pools[0], None).await.unwrap();
    made_or_no_driver(host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await);
    assert_eq!(machine.cloud.trunks.known().stolen, 0);
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!(machine.on_trunk().len(), 3, "the other daemon's are left");

    machine.cloud.trunks.steal(usize::MAX);
    refused("others take every VLAN id").await;
    machine.cloud.trunks.steal(0);
    let taken: Vec<u64> = machine.on_trunk().iter().map(|(_, id)| *id).collect();
    for vlan in (1..=4094).filter(|vlan| !taken.contains(&u64::from(*vlan))) {
        machine.cloud.trunks.add(machine.trunk, Uuid::new_v4(), vlan);
    }
    refused("no VLAN id left").await;
    assert_eq!(machine.on_trunk().len(), 4094);
    let bare = Machine { trunk: Uuid::nil(), ..Machine::bare().await };
    let host = bare.host("one");
    let pools = host.network(&id('a'), &["10.1.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    let refused = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
    assert!(refused.contains("has no trunk") && refused.contains("openstack network trunk create"), "{refused}");
}

impl Machine {
    /// One whose port has no trunk.
    async fn bare() -> Self {
        kuryr::netlink::Socket::open().unwrap().delete_link("eth0").unwrap();
        let machine = Self::start().await;
        machine.cloud.trunks.known().trunks.clear();
        machine
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_port_joins_the_trunk_leaves_it_on_none() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.network(&id('a'), &["10.1.0.0/24"]).await;
    host.core.backlog_settled().await;
    machine.cloud.trouble("PUT", "/add_subports", Trouble::Late);
    let address = host.address(&pools[0], None).await.unwrap();
    let core = host.core.clone();
    let starting = tokio::spawn(async move { core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await });
    machine.cloud.held(1).await;
    starting.abort();
    let _ = starting.await;
    host.crash().await;
    machine.cloud.mend();
    assert_eq!(machine.on_trunk().len(), 1);
    let host = machine.host("one");
    // The engine repeats the call, and the port keeps its id.
    let before = machine.on_trunk();
    machine.cloud.trouble("PUT", "/remove_subports", Trouble::Answer(503, "{}"));
    made_or_no_driver(host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await);
    assert_eq!(machine.on_trunk(), before);
    machine.cloud.mend();
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    machine.cloud.until(async || machine.on_trunk().is_empty() && host.core.counts().ports + host.core.counts().tasks == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sub_ports_of_a_lost_journal_are_found_by_the_trunk_and_their_tags() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.network(&id('a'), &["10.1.0.0/24"]).await;
    host.core.backlog_settled().await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.stop().await;
    // As Neutron leaves a sub-port whose container has started.
    let port = machine.cloud.ports().await.into_iter().find(|port| port.name == "kuryr-unbound-port").unwrap();
    let carried = json!({"device_owner": "trunk:subport", "binding:host_id": "hypervisor", "device_id": id('b').as_str()});
    machine.cloud.neutron.update::<Port>(port.id, &carried).await.unwrap();
    let half = "b".repeat(32);
    let tags = ["compute:kuryr".into(), format!("kuryr.net.uuid.lh:{half}"), format!("kuryr.net.uuid.uh:{half}")];
    machine.cloud.neutron.set_tags::<Port>(port.id, &tags).await.unwrap();
    machine.cloud.trunks.add(machine.trunk, port.id, 77);
    machine.cloud.trunks.add(machine.trunk, Uuid::new_v4(), 78);

    let host = machine.host("other");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    host.core.backlog_settled().await;
    assert_eq!(machine.on_trunk().iter().map(|(_, id)| *id).collect::<Vec<_>>(), [78]);
    assert!(machine.cloud.neutron.show::<Port>(port.id).await.unwrap_err().is_not_found());
}
