//! Containers in a machine of the cloud: real macvlans on the machine's own interface, and the address pairs of its port in Neutron. Kernels
//! without ipvlan are asked for one all the same.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use kuryr::{
    config::PortDriver,
    core::{Kind, PoolSettings, Settings, request::DockerId},
    mac::MacAddr,
    netlink::{Socket, Veth, netns},
    openstack::{Network, Port, Subnet},
};
use serde_json::{Value, json};

use crate::{
    daemon::Daemon,
    host::{Cloud, Host, Plan, Trouble, core_settings, endpoint, id, now, options},
};

const RANGE: &str = "10.0.0.0/24";
/// Ends a run that is broken.
const LIMIT: Duration = Duration::from_secs(60);
/// What an operator has put on the machine's port.
const OPERATORS: &str = "192.0.2.7";

/// A cloud in which this machine has a port, for the interface `eth0` here; its other end is `far`.
struct Machine {
    cloud: Cloud,
    network: Network,
    port: Port,
}

impl Machine {
    async fn start() -> Self {
        let cloud = Cloud::start().await;
        let network: Network = cloud.neutron.create(&json!({"name": "machines"})).await.unwrap();
        let body = json!({"network_id": network.id, "cidr": RANGE, "ip_version": 4});
        cloud.neutron.create::<Subnet>(&body).await.unwrap();
        let body = json!({
            "network_id": network.id, "device_owner": "compute:nova", "device_id": "machine",
            "allowed_address_pairs": [{"ip_address": OPERATORS}]
        });
        let port: Port = cloud.neutron.create(&body).await.unwrap();
        machines_link(port.mac_address);
        Self { cloud, network, port }
    }

    fn host(&self, name: &str) -> Host {
        self.host_with(name, settings(PortDriver::Macvlan))
    }

    fn host_with(&self, name: &str, settings: Settings) -> Host {
        self.cloud.host_with(name, self.cloud.client(), settings)
    }

    /// Addresses and MACs that the machine's port lets through.
    async fn pairs(&self) -> Vec<(String, String)> {
        let port: Port = self.cloud.neutron.show(self.port.id).await.unwrap();
        let text = |pair: &Value, key: &str| pair[key].as_str().unwrap().to_owned();
        let pairs = port.extra["allowed_address_pairs"].as_array().unwrap().clone();
        pairs.iter().map(|pair| (text(pair, "ip_address"), text(pair, "mac_address"))).collect()
    }

    fn operators(&self) -> Vec<(String, String)> {
        vec![(OPERATORS.to_owned(), self.port.mac_address.to_string())]
    }

    fn trouble(&self, method: &'static str, trouble: Trouble) {
        self.cloud.trouble(method, Box::leak(format!("/ports/{}", self.port.id).into_boxed_str()), trouble);
    }
}

/// The machine's own interface.
pub fn machines_link(mac: MacAddr) {
    let mut socket = Socket::open().unwrap();
    socket.add_veth(&Veth { name: "eth0", mac: Some(mac), peer: "far", mtu: Some(1400), ..Veth::default() }).unwrap();
    for name in ["eth0", "far"] {
        let index = socket.link(name).unwrap().unwrap().index;
        socket.set_up(index).unwrap();
    }
}

fn settings(port_driver: PortDriver) -> Settings {
    Settings { port_driver, link_iface: "eth0".into(), ..core_settings() }
}

fn plan() -> Plan<'static> {
    Plan { ranges: &[RANGE], gateway: Some("10.0.0.1"), ..Plan::default() }
}

fn macvlans() -> usize {
    Socket::open().unwrap().links().unwrap().iter().filter(|link| link.kind == "macvlan").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_macvlan_that_no_container_came_for_is_taken_back() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let joined = host.run(&id('a'), &id('b'), &pools[0]).await;
    let pairs = machine.pairs().await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('c'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!((macvlans(), machine.pairs().await.len()), (2, pairs.len() + 1));
    host.collect(now()).await;
    assert_eq!(host.collect(now() + 700).await, [(Kind::Endpoint, id('c').to_string())]);
    host.core.backlog_settled().await;
    assert_eq!((macvlans(), machine.pairs().await), (1, pairs));
    host.remove_container(&id('a'), &id('b'), &pools[0], joined).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_macvlan_speaks_on_the_machines_network_as_long_as_its_endpoint_lives() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let networks = machine.cloud.neutron.list::<Network>(&[]).await.unwrap();
    assert!(networks.iter().all(|network| !network.name.starts_with("kuryr-net")), "it is on the machine's network");
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;

    let mut socket = Socket::open().unwrap();
    let attachment = host.join(&id('a'), &id('b')).await.unwrap();
    let link = socket.link(&attachment.interface).unwrap().unwrap();
    let below = socket.link("eth0").unwrap().unwrap();
    let port = machine.cloud.ports().await.into_iter().find(|port| port.device_owner == "compute:kuryr").unwrap();
    assert_eq!((link.kind.as_str(), link.peer, link.mac, link.mtu), ("macvlan", Some(below.index), Some(port.mac_address), 1400));
    assert!(!link.up, "the engine brings it up");
    let own = (address.addr().to_string(), port.mac_address.to_string());
    assert_eq!(machine.pairs().await, [machine.operators(), vec![own]].concat());

    // What an engine does with it, and a neighbour outside of the machine that hears it.
    let (sandbox, outside) = (netns::create("sandbox").unwrap(), netns::create("outside").unwrap());
    socket.move_to_netns(link.index, &sandbox).unwrap();
    let far = socket.link("far").unwrap().unwrap();
    socket.move_to_netns(far.index, &outside).unwrap();
    for (netns, name, address) in
        [(&sandbox, attachment.interface.as_str(), address.to_string()), (&outside, "far", "10.0.0.250/24".into())]
    {
        let mut inner = netns::run_in(netns, Socket::open).unwrap().unwrap();
        let index = inner.link(name).unwrap().unwrap().index;
        inner.set_up(index).unwrap();
        inner.add_address(index, address.parse().unwrap()).unwrap();
    }
    let neighbour = netns::run_in(&outside, || UdpSocket::bind("10.0.0.250:7000")).unwrap().unwrap();
    let speaker = netns::run_in(&sandbox, || UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    speaker.send_to(b"word", "10.0.0.250:7000").unwrap();
    let mut heard = [0; 8];
    let (length, from) = neighbour.recv_from(&mut heard).unwrap();
    assert_eq!((&heard[..length], from.ip()), (&b"word"[..], address.addr()));

    netns::delete("sandbox").unwrap();
    drop((speaker, sandbox));
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((machine.pairs().await, host.left()), (machine.operators(), 0));
    assert!(machine.cloud.neutron.show::<Network>(machine.network.id).await.is_ok(), "the machine's network stays");
    netns::delete("outside").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_never_went_into_a_container_is_removed() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    assert_eq!(macvlans(), 1);
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!((macvlans(), machine.pairs().await), (0, machine.operators()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_somebody_else_put_there_stays() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let body = json!({"network_id": machine.network.id, "fixed_ips": [{"ip_address": "10.0.0.77"}]});
    let port: Port = machine.cloud.neutron.create(&body).await.unwrap();
    let pairs = json!([{"ip_address": OPERATORS}, {"ip_address": "10.0.0.77", "mac_address": port.mac_address}]);
    machine.cloud.neutron.update::<Port>(machine.port.id, &json!({"allowed_address_pairs": pairs})).await.unwrap();
    let before = machine.pairs().await;

    let address = host.address(&pools[0], Some("10.0.0.77")).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    assert_eq!(machine.pairs().await, before, "nothing is added twice");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!((machine.pairs().await, macvlans(), host.left()), (before, 0, 2), "pool and network are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_that_change_the_machines_port_at_once_lose_no_pair() {
    let machine = Machine::start().await;
    let hosts = [Arc::new(machine.host("one")), Arc::new(machine.host("two"))];
    let uuid = machine.network.id.to_string();
    let mut pools = Vec::new();
    for (host, network) in hosts.iter().zip(['a', 'b']) {
        let named = [("neutron.net.uuid", uuid.as_str())];
        pools.push(host.create(&id(network), &Plan { options: &named, ..plan() }).await.unwrap());
    }
    let containers: Vec<DockerId> = (0..8).map(|number| DockerId::parse(&format!("{number:064x}")).unwrap()).collect();
    let mut starts = tokio::task::JoinSet::new();
    for (at, container) in containers.iter().cloned().enumerate() {
        let (host, pool, network) = (hosts[at % 2].clone(), pools[at % 2][0].clone(), id(['a', 'b'][at % 2]));
        starts.spawn(async move { (at, host.run(&network, &container, &pool).await) });
    }
    let mut addresses = starts.join_all().await;
    addresses.sort_by_key(|(at, _)| *at);
    assert_eq!((machine.pairs().await.len(), macvlans()), (9, 8));
    for (_, address) in &addresses {
        assert!(machine.pairs().await.iter().any(|(ip, _)| *ip == address.addr().to_string()));
    }
    let mut ends = tokio::task::JoinSet::new();
    for (at, address) in addresses {
        let (host, pool, network) = (hosts[at % 2].clone(), pools[at % 2][0].clone(), id(['a', 'b'][at % 2]));
        let container = containers[at].clone();
        ends.spawn(async move { host.remove_container(&network, &container, &pool, address).await });
    }
    ends.join_all().await;
    assert_eq!((machine.pairs().await, macvlans()), (machine.operators(), 0));
}

/// The containers' networks are two, and both are the machine's.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_slow_for_one_endpoint_holds_no_other_up() {
    let machine = Machine::start().await;
    let host = Arc::new(machine.host("one"));
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let others = host.create(&id('c'), &plan()).await.unwrap();
    let leaving = host.run(&id('c'), &id('d'), &others[0]).await;
    host.core.backlog_settled().await;

    machine.trouble("PUT", Trouble::Late);
    let address = host.address(&pools[0], None).await.unwrap();
    let core = host.core.clone();
    let starting = tokio::spawn(async move { core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await });
    machine.cloud.held(1).await;
    machine.cloud.spare_others();
    let others_go_on = async {
        let coming = host.run(&id('c'), &id('e'), &others[0]).await;
        host.remove_container(&id('c'), &id('d'), &others[0], leaving).await;
        host.remove_container(&id('c'), &id('e'), &others[0], coming).await;
    };
    tokio::time::timeout(LIMIT, others_go_on).await.expect("they waited for the answer about another");
    assert!(!starting.is_finished());
    machine.cloud.mend();
    starting.await.unwrap().unwrap();
    assert_eq!((machine.pairs().await.len(), macvlans()), (2, 1), "the operator's and that of the one that was slow");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!((machine.pairs().await, macvlans()), (machine.operators(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_and_ends_at_once_need_few_changes_of_the_machines_port() {
    const CONTAINERS: usize = 8;
    let machine = Machine::start().await;
    let host = Arc::new(machine.host("one"));
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    host.core.backlog_settled().await;
    let containers: Vec<DockerId> = (0..CONTAINERS).map(|number| DockerId::parse(&format!("{number:064x}")).unwrap()).collect();
    let mut addresses = Vec::new();
    for _ in &containers {
        addresses.push(host.address(&pools[0], None).await.unwrap());
    }
    let revision = async || machine.cloud.neutron.show::<Port>(machine.port.id).await.unwrap().revision_number;
    let before = revision().await;
    machine.cloud.controller.reset_calls();
    machine.trouble("PUT", Trouble::Late);
    let mut starts = tokio::task::JoinSet::new();
    for (container, address) in containers.iter().zip(&addresses) {
        let (core, request) = (host.core.clone(), endpoint(&id('a'), container, Some(*address), None));
        starts.spawn(async move { core.create_endpoint(request).await.unwrap() });
    }
    // The first of them is being written, and all have looked for the machine's port.
    machine.cloud.held(1).await;
    let looked = async || machine.cloud.controller.calls().get(&("GET".into(), "ports".into())).copied() >= u64::try_from(CONTAINERS).ok();
    machine.cloud.until(looked).await;
    machine.cloud.mend();
    starts.join_all().await;
    assert_eq!((machine.pairs().await.len(), macvlans()), (CONTAINERS + 1, CONTAINERS));
    let started = revision().await;
    let each = i64::try_from(CONTAINERS).unwrap();
    assert!(started - before < each, "{} changes for {CONTAINERS} starts", started - before);

    host.core.backlog_settled().await;
    machine.trouble("PUT", Trouble::Late);
    for container in &containers {
        host.core.delete_endpoint(&id('a'), container).await.unwrap();
    }
    // The first of them is being written, and the links of all are gone, which is what comes before.
    machine.cloud.held(2).await;
    machine.cloud.until(async || macvlans() == 0).await;
    machine.cloud.mend();
    host.core.backlog_settled().await;
    let ended = revision().await;
    assert!(ended - started < each, "{} changes for {CONTAINERS} ends", ended - started);
    assert_eq!((machine.pairs().await, macvlans()), (machine.operators(), 0));
}

/// The machine gets another port while the daemon is away; one container runs on, and the start of another is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_go_from_a_port_that_is_the_machines_no_more() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let running = host.run(&id('a'), &id('b'), &pools[0]).await;
    let repeated = host.run(&id('a'), &id('c'), &pools[0]).await;
    host.core.backlog_settled().await;
    host.stop().await;
    let body = json!({"network_id": machine.network.id, "device_owner": "compute:nova", "device_id": "machine"});
    let other: Port = machine.cloud.neutron.create(&body).await.unwrap();
    let mut socket = Socket::open().unwrap();
    let index = socket.link("eth0").unwrap().unwrap().index;
    socket.set_mac(index, other.mac_address).unwrap();

    let host = machine.host("one");
    host.core.create_endpoint(endpoint(&id('a'), &id('c'), Some(repeated), None)).await.unwrap();
    host.core.backlog_settled().await;
    let of = async |port: uuid::Uuid| {
        let port: Port = machine.cloud.neutron.show(port).await.unwrap();
        let pairs = port.extra["allowed_address_pairs"].as_array().unwrap().clone();
        pairs.iter().map(|pair| pair["ip_address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(other.id).await, [repeated.addr().to_string()]);
    assert_eq!(of(machine.port.id).await, [OPERATORS.to_owned(), running.addr().to_string()]);
    for (container, address) in [('b', running), ('c', repeated)] {
        host.remove_container(&id('a'), &id(container), &pools[0], address).await;
    }
    assert_eq!((of(other.id).await, of(machine.port.id).await), (vec![], vec![OPERATORS.to_owned()]));
}

/// Of two changes that meet, Neutron repeats one without its `If-Match`.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_somebody_elses_change_brings_back_is_put_right() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let overwrite = async |pairs: Vec<(String, String)>| {
        let pairs: Vec<Value> = pairs.iter().map(|(ip, mac)| json!({"ip_address": ip, "mac_address": mac})).collect();
        machine.cloud.neutron.update::<Port>(machine.port.id, &json!({"allowed_address_pairs": pairs})).await.unwrap();
    };
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    let with = machine.pairs().await;
    overwrite(machine.operators()).await;
    host.core.backlog_settled().await;
    assert_eq!(machine.pairs().await, with);

    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    machine.cloud.until(async || machine.pairs().await.len() == 1).await;
    overwrite(with).await;
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(machine.pairs().await, machine.operators());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machines_port_that_cannot_be_changed_fails_the_start_and_nothing_is_left() {
    let machine = Machine::start().await;
    let host = machine.host("one");
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    for (status, word) in [(412, "changed by others"), (400, "Neutron answered 400")] {
        machine.trouble("PUT", Trouble::Answer(status, "{}"));
        let address = host.address(&pools[0], None).await.unwrap();
        let refused = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err();
        assert!(refused.to_string().contains(word), "{refused}");
        machine.cloud.mend();
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!((machine.pairs().await, macvlans(), host.core.counts().ports), (machine.operators(), 0, 0));
    }
    // Neither can one that is not there.
    let other = machine.host_with("two", Settings { link_iface: "eth7".into(), ..settings(PortDriver::Macvlan) });
    let refused = other.create(&id('c'), &plan()).await.unwrap_err().to_string();
    assert!(refused.contains("[binding] link_iface is 'eth7'"), "{refused}");
    let mut socket = Socket::open().unwrap();
    let index = socket.link("eth0").unwrap().unwrap().index;
    socket.set_mac(index, MacAddr([2, 0, 0, 0, 0, 9])).unwrap();
    let refused = other_network(&host).await;
    assert!(refused.contains("no Neutron port") && refused.contains("02:00:00:00:00:09"), "{refused}");
}

async fn other_network(host: &Host) -> String {
    host.create(&id('d'), &Plan { ranges: &["10.9.0.0/24"], gateway: Some("10.9.0.1"), ..Plan::default() }).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_crash_nor_a_lost_journal_leaves_a_pair_behind() {
    for survives in [true, false] {
        let machine = Machine::start().await;
        let host = machine.host("one");
        let pools = host.create(&id('a'), &plan()).await.unwrap();
        let address = host.run(&id('a'), &id('b'), &pools[0]).await;
        host.core.backlog_settled().await;
        // One more, in the middle of whose start the daemon dies.
        machine.trouble("PUT", Trouble::Late);
        let second = host.address(&pools[0], None).await.unwrap();
        let core = host.core.clone();
        let starting = tokio::spawn(async move { core.create_endpoint(endpoint(&id('a'), &id('c'), Some(second), None)).await });
        machine.cloud.held(1).await;
        starting.abort();
        let _ = starting.await;
        host.crash().await;
        machine.cloud.mend();
        assert_eq!(machine.pairs().await.len(), 3);

        let host = machine.host(if survives { "one" } else { "other" });
        for (container, address) in [('b', address), ('c', second)] {
            host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
            host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
            host.core.backlog_settled().await;
        }
        assert_eq!((machine.pairs().await, macvlans()), (machine.operators(), 0));
        Socket::open().unwrap().delete_link("eth0").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_switch_would_tell_is_not_waited_for_and_nothing_is_made_ahead() {
    let machine = Machine::start().await;
    let port_pool = PoolSettings { min: 2, ..PoolSettings::default() };
    let strict = Settings { vif_plugging_is_fatal: true, port_pool, ..settings(PortDriver::Macvlan) };
    let host = machine.host_with("one", strict);
    let pools = host.create(&id('a'), &Plan { options: &[("kuryr.pool.min", "3")], ..plan() }).await.unwrap();
    // No agent ever sees the port, and no time is allowed for one.
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.pool_settled(0).await;
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!(machine.pairs().await, machine.operators());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipvlan_is_let_through_with_the_machines_mac() {
    let machine = Machine::start().await;
    let host = machine.host_with("one", settings(PortDriver::Ipvlan));
    let pools = host.create(&id('a'), &plan()).await.unwrap();
    let address = host.address(&pools[0], None).await.unwrap();
    let mut request = endpoint(&id('a'), &id('b'), Some(address), None);
    request.mac = Some(MacAddr([2, 0, 0, 0, 0, 7]));
    let refused = host.core.create_endpoint(request.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("--mac-address 02:00:00:00:00:07") && refused.contains("ipvlan"), "{refused}");

    machine.trouble("PUT", Trouble::Late);
    request.mac = None;
    request.options = options(&[]);
    let core = host.core.clone();
    let starting = tokio::spawn(async move { core.create_endpoint(request).await });
    machine.cloud.held(1).await;
    let pairs = [machine.operators(), vec![(address.addr().to_string(), machine.port.mac_address.to_string())]].concat();
    assert_eq!(machine.pairs().await, pairs);
    machine.cloud.mend();
    match starting.await.unwrap() {
        // The container's MAC is not the port's.
        Ok(grant) => assert_eq!(grant.mac, None),
        Err(lacking) => assert!(lacking.to_string().contains("this kernel lacks the driver"), "{lacking}"),
    }
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert_eq!((machine.pairs().await, host.core.counts().ports), (machine.operators(), 0));
}

#[test]
fn a_daemon_whose_configuration_names_no_interface_of_this_machine_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kuryr.conf");
    let nested = "[DEFAULT]\ndefault_port_driver = nested\nenabled_port_drivers = nested\n[binding]\ndefault_driver = macvlan\n";
    for (more, words) in [
        ("", "kuryr.conf:2: [DEFAULT] default_port_driver = nested needs [binding] link_iface"),
        ("link_iface = eth7\n", "kuryr.conf:6: [binding] link_iface = eth7: this machine has no such interface"),
    ] {
        std::fs::write(&file, format!("{nested}{more}")).unwrap();
        let mut daemon = Daemon::start(directory.path(), &["--config-file", file.to_str().unwrap()], &[("OS_CLOUD", "none")]);
        daemon.logs(words);
        assert!(!daemon.wait().success());
    }
}
