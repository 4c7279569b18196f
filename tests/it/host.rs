//! A cloud in this process, the embedded controller, and hosts on it: each the core with a journal of its own, and real links in the test's
//! namespace.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use ipnet::IpNet;
use kuryr::{
    config::PortDriver,
    controller::{Controller, ControllerSettings},
    core::{
        Core, Error, Kind, PoolSettings, Settings,
        request::{
            AddressPurpose, AddressRequest, Attachment, DockerId, DriverOptions, EndpointRequest, IpamData, JoinRequest, NetworkRequest,
            PoolGrant, PoolRequest,
        },
    },
    journal::Journal,
    libnetwork::{self, Edge},
    metrics::Metrics,
    netlink::Socket,
    openstack::{CloudSettings, Network, Neutron, Port, Router, SecurityGroup, Subnet, SubnetPool},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tower::Service as _;

use crate::trunks::Trunks;

/// The name under which the controller binds ports on this machine.
pub const HERE: &str = "here";

/// The embedded controller, listening.
pub struct Cloud {
    pub controller: Arc<Controller>,
    pub neutron: Neutron,
    /// What the controller has not, and other Neutrons have.
    pub trunks: Arc<Trunks>,
    front: Front,
    state: TempDir,
}

/// How the cloud misbehaves.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// This status and body come instead of an answer.
    Answer(u16, &'static str),
    /// It is done, and the answer comes when [`Cloud::mend`] is called.
    Late,
    /// It is done, and answered, when [`Cloud::mend`] is called.
    OnHold,
    /// It is done, and a gateway answers that it has heard nothing.
    Lost,
    /// In the answer the first text stands as the second: another Neutron says it so.
    Reworded(&'static str, &'static str),
}

/// Requests of this method whose path has this part get into trouble.
struct Ambush {
    method: &'static str,
    path: &'static str,
    trouble: Trouble,
}

/// Stands before the controller and misbehaves where it is told to.
#[derive(Clone)]
struct Front {
    controller: axum::Router,
    trunks: Arc<Trunks>,
    trouble: Arc<Mutex<Vec<Ambush>>>,
    /// Method, path and query of every request.
    asked: Arc<Mutex<Vec<String>>>,
    mended: watch::Sender<u64>,
    held: watch::Sender<usize>,
}

async fn serve(State(mut front): State<Front>, request: Request) -> Response {
    let mut mended = front.mended.subscribe();
    mended.mark_unchanged();
    let (method, path) = (request.method().as_str(), request.uri().path());
    front.asked.lock().unwrap().push(format!("{method} {}", request.uri()));
    let ambushed = |ambush: &&Ambush| ambush.method == method && path.contains(ambush.path);
    let trouble = front.trouble.lock().unwrap().iter().find(ambushed).map(|ambush| ambush.trouble.clone());
    match trouble {
        None => front.answer(request).await,
        Some(Trouble::Answer(status, body)) => instead(status, body),
        Some(Trouble::Reworded(text, other)) => {
            let (mut head, body) = front.answer(request).await.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            head.headers.remove("content-length");
            Response::from_parts(head, String::from_utf8_lossy(&body).replace(text, other).into())
        }
        Some(Trouble::OnHold) => {
            mended.changed().await.unwrap();
            front.answer(request).await
        }
        Some(Trouble::Lost) => {
            front.answer(request).await;
            instead(504, "")
        }
        Some(Trouble::Late) => {
            let answer = front.answer(request).await;
            front.held.send_modify(|times| *times += 1);
            mended.changed().await.unwrap();
            answer
        }
    }
}

fn instead(status: u16, body: &'static str) -> Response {
    let mut answer = Response::new(axum::body::Body::from(body));
    *answer.status_mut() = status.try_into().unwrap();
    answer.headers_mut().insert("x-openstack-request-id", "req-4711".try_into().unwrap());
    answer
}

impl Front {
    async fn answer(&mut self, request: Request) -> Response {
        match request.uri().path().contains("/trunks") {
            true => self.trunks.clone().answer(request, &mut self.controller).await,
            false => self.controller.call(request).await.unwrap(),
        }
    }
}

impl Cloud {
    pub async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = ControllerSettings {
            state_dir: state.path().join("controller"),
            listen: listener.local_addr().unwrap(),
            host: HERE.into(),
            external_cidr: "172.24.4.0/24".parse().unwrap(),
        };
        let controller = Controller::open(settings).unwrap();
        let trunks = Arc::new(Trunks::default());
        let front = Front {
            controller: controller.router(),
            trunks: trunks.clone(),
            trouble: Arc::default(),
            asked: Arc::default(),
            mended: watch::Sender::new(0),
            held: watch::Sender::new(0),
        };
        let app = axum::Router::new().fallback(serve).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let neutron = Neutron::new(settings_for(&controller, &[])).unwrap();
        Self { controller, neutron, trunks, front, state }
    }

    /// From now on requests of this method whose path has this part get into trouble.
    pub fn trouble(&self, method: &'static str, path: &'static str, trouble: Trouble) {
        self.front.trouble.lock().unwrap().push(Ambush { method, path, trouble });
    }

    /// Ends all trouble, and lets the answers go that were held back.
    pub fn mend(&self) {
        self.front.trouble.lock().unwrap().clear();
        self.front.mended.send_modify(|times| *times += 1);
    }

    /// Lets requests to come be answered as they should; answers that are held back stay so.
    pub fn spare_others(&self) {
        self.front.trouble.lock().unwrap().clear();
    }

    /// Until as many answers as this have been held back.
    pub async fn held(&self, times: usize) {
        self.front.held.subscribe().wait_for(|held| *held >= times).await.unwrap();
    }

    /// Method, path and query of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.front.asked.lock().unwrap().clone()
    }

    /// How many objects of any kind kuryr can leave behind there are.
    pub async fn objects(&self) -> [usize; 6] {
        let neutron = &self.neutron;
        [
            neutron.list::<Network>(&[]).await.unwrap().len(),
            neutron.list::<Subnet>(&[]).await.unwrap().len(),
            neutron.list::<SubnetPool>(&[]).await.unwrap().len(),
            neutron.list::<Port>(&[]).await.unwrap().len(),
            neutron.list::<Router>(&[]).await.unwrap().len(),
            neutron.list::<SecurityGroup>(&[]).await.unwrap().len(),
        ]
    }

    /// The settings of a client of this cloud, with `changes` to the options.
    pub fn settings(&self, changes: &[(&str, &str)]) -> CloudSettings {
        settings_for(&self.controller, changes)
    }

    /// A host of this cloud with a journal of its own; the same `name` again takes up the journal of the host that was stopped.
    pub fn host(&self, name: &str) -> Host {
        self.host_with(name, Neutron::new(self.settings(&[])).unwrap(), core_settings())
    }

    pub fn host_with(&self, name: &str, neutron: Neutron, settings: Settings) -> Host {
        Host::start(&self.state.path().join(name), neutron, settings)
    }

    /// Where the journal of a host lies.
    pub fn journal(&self, name: &str) -> std::path::PathBuf {
        self.state.path().join(name)
    }

    /// A client of this cloud with requests and a budget of its own.
    pub fn client(&self) -> Neutron {
        Neutron::new(self.settings(&[])).unwrap()
    }

    /// Waits for what nothing announces; the limit is there to end a broken run.
    pub async fn until(&self, mut such: impl AsyncFnMut() -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        while !such().await {
            assert!(tokio::time::Instant::now() < limit, "it never came to that");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets kuryr's project have this many ports.
    pub async fn set_port_quota(&self, ports: usize) {
        let project = &self.ports().await[0].project_id;
        let written = "INSERT INTO quotas (project_id, resource, amount) VALUES (?1, 'port', ?2)";
        self.controller.store().transact(|tx| Ok(tx.execute(written, (project, i64::try_from(ports).unwrap()))?)).unwrap();
    }

    pub async fn ports(&self) -> Vec<Port> {
        self.neutron.list::<Port>(&[("device_owner", "compute:kuryr")]).await.unwrap()
    }
}

fn settings_for(controller: &Controller, changes: &[(&str, &str)]) -> CloudSettings {
    let credentials = controller.service_credentials().unwrap();
    let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CloudSettings::from_options(&credentials.options().into_iter().chain(changes).collect()).unwrap()
}

pub fn core_settings() -> Settings {
    Settings {
        host: HERE.into(),
        subnetpool_name_prefix: "kuryrPool".into(),
        default_subnetpool_v4: "kuryr".into(),
        default_subnetpool_v6: "kuryr6".into(),
        enable_dhcp: true,
        veth_dst_prefix: "eth".into(),
        binding: Default::default(),
        port_driver: PortDriver::Veth,
        sriov: false,
        link_iface: String::new(),
        process_external_connectivity: true,
        external_network: None,
        vif_plugging_is_fatal: false,
        vif_plugging_timeout: Duration::ZERO,
        port_pool: PoolSettings::disabled(),
    }
}

/// A daemon without its listeners.
pub struct Host {
    pub core: Arc<Core>,
    stop: watch::Sender<bool>,
    backlog: JoinHandle<()>,
    port_pool: JoinHandle<()>,
}

/// What a test says of a Docker network.
#[derive(Default)]
pub struct Plan<'a> {
    pub ranges: &'a [&'a str],
    pub gateway: Option<&'a str>,
    pub options: &'a [(&'a str, &'a str)],
    pub ipam_options: &'a [(&'a str, &'a str)],
    pub aux_addresses: &'a [&'a str],
    /// Not `--internal`.
    pub outside: bool,
}

pub fn options(pairs: &[(&str, &str)]) -> DriverOptions {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

impl Host {
    fn start(directory: &std::path::Path, neutron: Neutron, settings: Settings) -> Self {
        let (journal, records) = Journal::open(directory).unwrap();
        let core = Arc::new(Core::new(settings, neutron, journal, records));
        let (stop, stopped) = watch::channel(false);
        let backlog = tokio::spawn(core.clone().run_backlog(stopped.clone()));
        let port_pool = tokio::spawn(core.clone().run_port_pool(stopped));
        Self { core, stop, backlog, port_pool }
    }

    /// Ends the daemon as SIGTERM does; its journal is free then.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.port_pool.await.unwrap();
        self.backlog.await.unwrap();
        assert_eq!(Arc::strong_count(&self.core), 1, "something still works with the core");
    }

    /// Ends the daemon as SIGKILL does.
    pub async fn crash(self) {
        for task in [self.backlog, self.port_pool] {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        // Its children end soon after it.
        while Arc::strong_count(&self.core) > 1 {
            tokio::task::yield_now().await;
        }
    }

    pub async fn request_pool(&self, range: Option<&str>, ipam_options: &[(&str, &str)]) -> Result<PoolGrant, Error> {
        let pool: Option<IpNet> = range.map(|range| range.parse().unwrap());
        let v6 = pool.is_some_and(|pool| pool.addr().is_ipv6());
        self.core
            .request_pool(PoolRequest { pool, sub_pool: None, v6, manager: false, exclude: vec![], options: options(ipam_options) })
            .await
    }

    pub async fn network(&self, id: &DockerId, ranges: &[&str]) -> Vec<PoolGrant> {
        self.create(id, &Plan { ranges, ..Plan::default() }).await.unwrap()
    }

    /// Makes a network as the engine does, and gives back as the engine does when it is refused.
    pub async fn create(&self, id: &DockerId, plan: &Plan<'_>) -> Result<Vec<PoolGrant>, Error> {
        let mut grants = Vec::new();
        let outcome = self.create_all(id, plan, &mut grants).await;
        if outcome.is_err() {
            for grant in &grants {
                self.core.release_pool(&grant.id.to_string()).await.unwrap();
            }
        }
        outcome.map(|()| grants)
    }

    async fn create_all(&self, id: &DockerId, plan: &Plan<'_>, grants: &mut Vec<PoolGrant>) -> Result<(), Error> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in plan.ranges {
            let grant = self.request_pool(Some(range), plan.ipam_options).await?;
            grants.push(grant.clone());
            let address = plan.gateway.map(|gateway| gateway.parse().unwrap());
            let request = AddressRequest { pool: grant.id, address, purpose: AddressPurpose::Gateway };
            let gateway = self.core.request_address(request).await?.addr();
            let data = IpamData {
                pool: Some(grant.cidr),
                pool_text: (*range).to_owned(),
                gateway: (!gateway.is_unspecified()).then_some(gateway),
                aux_addresses: plan.aux_addresses.iter().map(|address| address.parse().unwrap()).collect(),
            };
            if gateway.is_ipv4() { v4.push(data) } else { v6.push(data) }
        }
        let request = NetworkRequest { network: id.clone(), v4, v6, internal: !plan.outside, options: options(plan.options) };
        self.core.create_network(request).await
    }

    /// Removes a network as the engine does.
    pub async fn remove(&self, id: &DockerId, pools: &[PoolGrant]) {
        for pool in pools {
            self.core.release_pool(&pool.id.to_string()).await.unwrap();
        }
        self.core.delete_network(id).await.unwrap();
        self.core.backlog_settled().await;
    }

    pub async fn address(&self, pool: &PoolGrant, ip: Option<&str>) -> Result<IpNet, Error> {
        let address = ip.map(|ip| ip.parse().unwrap());
        self.core.request_address(AddressRequest { pool: pool.id, address, purpose: AddressPurpose::Endpoint { mac: None } }).await
    }

    /// Starts a container as the engine does.
    pub async fn run(&self, network: &DockerId, container: &DockerId, pool: &PoolGrant) -> IpNet {
        let address = self.address(pool, None).await.unwrap();
        self.core.create_endpoint(endpoint(network, container, Some(address), None)).await.unwrap();
        self.join(network, container).await.unwrap();
        address
    }

    pub async fn join(&self, network: &DockerId, container: &DockerId) -> Result<Attachment, Error> {
        self.core.join(JoinRequest { network: network.clone(), endpoint: container.clone(), exposed: Default::default() }).await
    }

    /// Stops a container as the engine does.
    pub async fn remove_container(&self, network: &DockerId, container: &DockerId, pool: &PoolGrant, address: IpNet) {
        self.core.leave(network, container).await.unwrap();
        self.core.delete_endpoint(network, container).await.unwrap();
        self.core.release_address(&pool.id.to_string(), address.addr()).await.unwrap();
        self.core.backlog_settled().await;
    }

    /// The plugin as an engine sees it, with this long for each call.
    pub fn plugin(&self, limit: Duration) -> Plugin {
        self.plugin_of_scope("local", limit)
    }

    /// The plugin with this `capability_scope`.
    pub fn plugin_of_scope(&self, scope: &str, limit: Duration) -> Plugin {
        let settings = libnetwork::Settings {
            scope: scope.into(),
            address_space: "x".into(),
            global_space: "x".into(),
            requires_mac: false,
            request_timeout: limit,
        };
        Plugin { edge: Edge::new(self.core.clone(), settings, Arc::new(Metrics::new())) }
    }

    /// A round of the collector as of this time, which nothing stands in the way of; what it removed, by kind and id.
    pub async fn collect(&self, now: i64) -> Vec<(Kind, String)> {
        let round = self.core.collect(now).await;
        assert_eq!(round.troubles, [""; 0]);
        round.findings.into_iter().filter(|finding| finding.removed).map(|finding| (finding.kind, finding.id)).collect()
    }

    /// Networks, pools, ports and tasks of the journal, in one number that a clean end brings to zero.
    pub fn left(&self) -> usize {
        let counts = self.core.counts();
        counts.pools + counts.networks + counts.ports + counts.tasks
    }
}

/// The plugin's calls over its wire format.
pub struct Plugin {
    pub edge: Edge,
}

impl Plugin {
    pub async fn call(&self, name: &str, request: Value) -> Result<Value, (u16, String)> {
        self.raw(name, request.to_string()).await
    }

    /// The reply, or status and text of the refusal.
    pub async fn raw(&self, name: &str, body: String) -> Result<Value, (u16, String)> {
        let request = Request::builder().method("POST").uri(format!("/{name}")).body(axum::body::Body::from(body)).unwrap();
        let response = self.edge.router().call(request).await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap();
        if status == 200 {
            return Ok(body);
        }
        assert_eq!(body["Err"], body["Error"], "engines read the one or the other");
        Err((status, body["Err"].as_str().unwrap().to_owned()))
    }
}

/// A Docker id.
pub fn id(digit: char) -> DockerId {
    DockerId::parse(&digit.to_string().repeat(64)).unwrap()
}

pub fn endpoint(network: &DockerId, endpoint: &DockerId, v4: Option<IpNet>, v6: Option<IpNet>) -> EndpointRequest {
    EndpointRequest { network: network.clone(), endpoint: endpoint.clone(), v4, v6, mac: None, options: Default::default() }
}

/// Unix time in seconds, as the collector counts it.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// How many ports have their link.
pub fn taps() -> usize {
    Socket::open().unwrap().links().unwrap().iter().filter(|link| link.name.starts_with("tap")).count()
}
