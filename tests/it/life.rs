//! The life of networks and endpoints: the core, the embedded controller as its Neutron, and real links in the test's own namespace.

use std::{collections::BTreeSet, future::pending, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use kuryr::{
    controller::{Controller, ControllerSettings},
    core::{
        Core, Settings,
        request::{AddressPurpose, AddressRequest, DockerId, EndpointRequest, IpamData, NetworkRequest, PoolGrant, PoolRequest},
    },
    journal::Journal,
    netlink::Socket,
    openstack::{CloudSettings, Network, Neutron, Port, Subnet, SubnetPool},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

struct Host {
    controller: Arc<Controller>,
    neutron: Neutron,
    core: Arc<Core>,
    _state: TempDir,
    _stop: watch::Sender<bool>,
}

impl Host {
    async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = ControllerSettings {
            state_dir: state.path().join("controller"),
            listen: listener.local_addr().unwrap(),
            host: "here".into(),
            external_cidr: "172.24.4.0/24".parse().unwrap(),
        };
        let controller = Controller::open(settings).unwrap();
        tokio::spawn(controller.clone().serve(listener, pending()));
        let credentials = controller.service_credentials().unwrap();
        let cloud = CloudSettings::from_options(&credentials.options()).unwrap();
        let neutron = Neutron::new(cloud).unwrap();
        let (journal, records) = Journal::open(&state.path().join("journal")).unwrap();
        let core = Arc::new(Core::new(core_settings(), neutron.clone(), journal, &records).unwrap());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(core.clone().run_backlog(stopped));
        Self { controller, neutron, core, _state: state, _stop: stop }
    }

    async fn pool(&self, range: &str) -> PoolGrant {
        let range: IpNet = range.parse().unwrap();
        let v6 = range.addr().is_ipv6();
        self.core
            .request_pool(PoolRequest { pool: Some(range), sub_pool: None, v6, exclude: vec![], options: Default::default() })
            .await
            .unwrap()
    }

    async fn network(&self, id: &DockerId, ranges: &[&str]) -> Vec<PoolGrant> {
        let mut grants = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            let grant = self.pool(range).await;
            let request = AddressRequest { pool: grant.id, address: None, purpose: AddressPurpose::Gateway };
            let gateway = self.core.request_address(request).await.unwrap();
            let data =
                IpamData { pool: Some(grant.cidr), pool_text: (*range).to_owned(), gateway: Some(gateway.addr()), aux_addresses: vec![] };
            if gateway.addr().is_ipv4() {
                v4.push(data)
            } else {
                v6.push(data)
            }
            grants.push(grant);
        }
        let request = NetworkRequest { network: id.clone(), v4, v6, internal: true, options: Default::default() };
        self.core.create_network(request).await.unwrap();
        grants
    }

    async fn address(&self, pool: &PoolGrant, ip: Option<&str>) -> Result<IpNet, kuryr::core::Error> {
        let address = ip.map(|ip| ip.parse().unwrap());
        self.core.request_address(AddressRequest { pool: pool.id, address, purpose: AddressPurpose::Endpoint { mac: None } }).await
    }

    async fn ports(&self) -> Vec<Port> {
        self.neutron.list::<Port>(&[("device_owner", "compute:kuryr")]).await.unwrap()
    }
}

fn core_settings() -> Settings {
    Settings {
        host: "here".into(),
        subnetpool_name_prefix: "kuryrPool".into(),
        default_subnetpool_v4: "kuryr".into(),
        default_subnetpool_v6: "kuryr6".into(),
        enable_dhcp: true,
        veth_dst_prefix: "eth".into(),
        binding: Default::default(),
        external_network: None,
        vif_plugging_is_fatal: false,
        vif_plugging_timeout: Duration::ZERO,
    }
}

fn id(digit: char) -> DockerId {
    DockerId::parse(&digit.to_string().repeat(64)).unwrap()
}

fn endpoint(network: &DockerId, endpoint: &DockerId, v4: Option<IpNet>, v6: Option<IpNet>) -> EndpointRequest {
    EndpointRequest { network: network.clone(), endpoint: endpoint.clone(), v4, v6, mac: None, options: Default::default() }
}

fn taps() -> usize {
    Socket::open().unwrap().links().unwrap().iter().filter(|link| link.name.starts_with("tap")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_starts_with_one_call_and_leaves_nothing() {
    let host = Host::start().await;
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    host.controller.reset_calls();

    let address = host.address(&pools[0], None).await.unwrap();
    assert_eq!(address.prefix_len(), 24);
    let before_reply: u64 = host.controller.calls().values().sum();
    assert_eq!(before_reply, 1, "{:?}", host.controller.calls());
    let grant = host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    assert!(grant.mac.unwrap().to_string().starts_with("fa:16:3e"));
    let attachment = host.core.join(&network, &container).await.unwrap();
    assert_eq!(attachment.gateway, None, "the network is internal");
    assert!(Socket::open().unwrap().link(&attachment.interface).unwrap().is_some());
    host.core.backlog_settled().await;

    let ports = host.ports().await;
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].device_id, container.as_str());
    let tags: BTreeSet<_> = ports[0].tags.iter().map(String::as_str).collect();
    let (lower, upper) = (format!("kuryr.net.uuid.lh:{}", "b".repeat(32)), format!("kuryr.net.uuid.uh:{}", "b".repeat(32)));
    assert_eq!(tags, BTreeSet::from(["compute:kuryr", lower.as_str(), upper.as_str()]));

    host.core.delete_endpoint(&network, &container).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    host.core.release_pool(&pools[0].id.to_string()).await.unwrap();
    host.core.delete_network(&network).await.unwrap();
    host.core.backlog_settled().await;
    let left = host.core.counts();
    assert_eq!((left.pools, left.networks, left.ports, left.tasks), (0, 0, 0, 0));
    assert_eq!(taps(), 0);
    assert_eq!(host.ports().await.len(), 0);
    assert!(host.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap().is_empty());
    assert!(host.neutron.list::<Subnet>(&[("name", "kuryr-subnet-10.0.0.0/24")]).await.unwrap().is_empty());
    assert!(host.neutron.list::<SubnetPool>(&[("name", "kuryrPool-10.0.0.0/24")]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_carries_both_families() {
    let host = Host::start().await;
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24", "fd00:1::/64"]).await;
    host.core.backlog_settled().await;
    host.controller.reset_calls();
    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], None).await.unwrap();
    assert_eq!(host.controller.calls().values().sum::<u64>(), 1);
    host.core.create_endpoint(endpoint(&network, &container, Some(v4), Some(v6))).await.unwrap();
    host.core.backlog_settled().await;
    let ports = host.ports().await;
    let held: BTreeSet<IpAddr> = ports.iter().flat_map(|port| &port.fixed_ips).map(|fixed| fixed.ip_address).collect();
    assert_eq!((ports.len(), held), (1, BTreeSet::from([v4.addr(), v6.addr()])));

    host.core.delete_endpoint(&network, &container).await.unwrap();
    host.core.release_address(&pools[0].id.to_string(), v4.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(host.ports().await.len(), 1, "the engine still holds the IPv6 address");
    host.core.release_address(&pools[1].id.to_string(), v6.addr()).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(host.ports().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_refused_and_a_restart_gets_its_own_back() {
    let host = Host::start().await;
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let pool = pools[0].id.to_string();
    let address = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &id('b'), Some(address), None)).await.unwrap();
    let error = host.address(&pools[0], Some("10.0.0.7")).await.unwrap_err().to_string();
    assert!(error.contains("10.0.0.7") && error.contains("in use") && error.contains("--ip"), "{error}");
    let error = host.address(&pools[0], Some("10.9.0.7")).await.unwrap_err().to_string();
    assert!(error.contains("outside of 10.0.0.0/24"), "{error}");

    for (old, new) in [('b', 'c'), ('c', 'd'), ('d', 'e')] {
        host.core.delete_endpoint(&network, &id(old)).await.unwrap();
        host.core.release_address(&pool, address.addr()).await.unwrap();
        let again = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
        host.core.create_endpoint(endpoint(&network, &id(new), Some(again), None)).await.unwrap();
    }
    host.core.backlog_settled().await;
    let ports = host.ports().await;
    assert_eq!((ports.len(), taps()), (1, 1));
    assert_eq!(ports[0].device_id, id('e').as_str());
}
