//! Ports in a real Open vSwitch with the userspace datapath, which needs no kernel module. Every test has a switch of its own.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use kuryr::{
    binding::{self, Error, Settings, Vif},
    core::{self, Kind},
    mac::MacAddr,
    netlink::{Link, NetnsFd, Socket, Veth, netns},
    ovsdb::{self, Client, OwnedPort},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use uuid::Uuid;

use crate::host::{Cloud, core_settings, id, now};

#[allow(clippy::disallowed_methods, reason = "a real switch to test against, and its own tools")]
fn program(name: &str) -> Command {
    Command::new(name)
}

/// The two daemons, in directories of their own; they end with this.
struct Switch {
    directory: tempfile::TempDir,
    database: Child,
    daemon: Option<Child>,
}

impl Switch {
    /// Starts both, with a bridge br-int. `None` where Open vSwitch is not installed, which in CI is a failure.
    #[allow(clippy::print_stderr, reason = "says why it is skipped")]
    fn start() -> Option<Self> {
        if !["/usr/sbin/ovs-vswitchd", "/usr/sbin/ovsdb-server"].iter().all(|path| fs::exists(path).unwrap()) {
            assert!(std::env::var_os("CI").is_none(), "ovs-vswitchd is missing");
            eprintln!("skipped: this machine has no ovs-vswitchd; tools/test installs it");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let made = program("ovsdb-tool").args(["create", &path("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema"]).status();
        assert!(made.unwrap().success());
        let socket = format!("--remote=punix:{}", path("db.sock"));
        let database = daemon("/usr/sbin/ovsdb-server", &directory, &[&path("conf.db"), &socket, &control(&directory, "ovsdb")]);
        let mut switch = Self { directory, database, daemon: None };
        switch.vsctl(&["--no-wait", "init"]);
        switch.start_daemon();
        switch.vsctl(&["add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"]);
        Some(switch)
    }

    fn start_daemon(&mut self) {
        let database = format!("unix:{}", self.socket().display());
        self.daemon = Some(daemon("/usr/sbin/ovs-vswitchd", &self.directory, &[&database, &control(&self.directory, "switch")]));
    }

    fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    fn settings(&self) -> Settings {
        Settings { ovsdb_socket: self.socket(), deadline: Duration::from_secs(60), ..Settings::default() }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket(), Duration::from_secs(60)).unwrap()
    }

    /// What the operator's tool says.
    fn vsctl(&self, arguments: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.socket().display());
        let output = program("ovs-vsctl").args([&database, "--retry", "--timeout=60"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ports(&self) -> Vec<String> {
        self.vsctl(&["list-ports", "br-int"]).lines().map(str::to_owned).collect()
    }

    fn external_id(&self, interface: &str, key: &str) -> String {
        self.vsctl(&["--if-exists", "get", "Interface", interface, &format!("external_ids:{key}")]).trim_matches('"').to_owned()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for child in self.daemon.as_mut().into_iter().chain([&mut self.database]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The address at which a daemon would be told to exit; without one it takes a place in the machine's /run.
fn control(directory: &tempfile::TempDir, name: &str) -> String {
    format!("--unixctl={}", directory.path().join(name).with_extension("ctl").display())
}

fn daemon(name: &str, directory: &tempfile::TempDir, arguments: &[&str]) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
    let mut command = program(name);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, directory.path());
    }
    command.args(arguments).args(["--no-chdir", "-vsyslog:off"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn vif(number: u8, hybrid: bool) -> Vif {
    Vif {
        driver: Default::default(),
        port: Uuid::from_u128(u128::from(number) << 96 | 0x77),
        network: Uuid::from_u128(5),
        project: "p".into(),
        endpoint: format!("endpoint-{number}"),
        mac: MacAddr([0xfa, 0x16, 0x3e, 0, 0, number]),
        mtu: 1442,
        vif_type: "ovs".into(),
        vif_details: serde_json::json!({
            "port_filter": true, "ovs_hybrid_plug": hybrid, "datapath_type": "netdev", "bridge_name": "br-int", "connectivity": "l2"
        }),
        host: "node-1".into(),
    }
}

/// The interfaces that kuryr made.
fn links() -> Vec<Link> {
    let ours = |link: &Link| ["tap", "t_c", "qbr", "qvb", "qvo"].iter().any(|prefix| link.name.starts_with(prefix));
    Socket::open().unwrap().links().unwrap().into_iter().filter(ours).collect()
}

fn link(name: &str) -> Link {
    Socket::open().unwrap().link(name).unwrap().unwrap_or_else(|| panic!("no {name}"))
}

/// Does what the engine does with the container's end, in a namespace of its own.
fn contain(container: &str, number: u8) -> NetnsFd {
    let fd = netns::create(&format!("c{number}")).unwrap();
    Socket::open().unwrap().move_to_netns(link(container).index, &fd).unwrap();
    let mut inside = netns::run_in(&fd, Socket::open).unwrap().unwrap();
    let index = inside.link(container).unwrap().unwrap().index;
    inside.rename(index, "eth0").unwrap();
    inside.set_up(index).unwrap();
    inside.add_address(index, format!("10.1.0.{number}/24").parse().unwrap()).unwrap();
    fd
}

fn ping(from: &NetnsFd, to: &str) {
    let status = netns::run_in(from, || program("busybox").args(["ping", "-c", "1", "-W", "30", to]).stdout(Stdio::null()).status());
    assert!(status.unwrap().unwrap().success(), "no answer from {to}");
}

/// UDP and TCP go from one to the other: their checksums are right.
fn talk(from: &NetnsFd, to: &NetnsFd, address: &str) {
    let server = netns::run_in(to, || UdpSocket::bind(("0.0.0.0", 7000))).unwrap().unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let client = netns::run_in(from, || UdpSocket::bind(("0.0.0.0", 0))).unwrap().unwrap();
    client.send_to(b"datagram", (address, 7000)).unwrap();
    assert_eq!(server.recv(&mut [0; 16]).unwrap(), 8);

    let listener = netns::run_in(to, || TcpListener::bind(("0.0.0.0", 7000))).unwrap().unwrap();
    let end = format!("{address}:7000").parse().unwrap();
    netns::run_in(from, || TcpStream::connect_timeout(&end, Duration::from_secs(20))).unwrap().unwrap();
    listener.accept().unwrap();
}

fn two_ports_reach_each_other(hybrid: bool) {
    let Some(switch) = Switch::start() else { return };
    let settings = switch.settings();
    let sides: Vec<_> = [1, 2].map(|n| contain(&binding::bind(&vif(n, hybrid), &settings).unwrap(), n)).into();
    let plugged = if hybrid { "qvo" } else { "tap" };
    let mut ports = switch.ports();
    ports.sort();
    assert_eq!(ports, [format!("{plugged}00000001-00"), format!("{plugged}00000002-00")]);
    ping(&sides[0], "10.1.0.2");
    ping(&sides[1], "10.1.0.1");
    talk(&sides[0], &sides[1], "10.1.0.2");
    for number in [1, 2] {
        binding::unbind(&vif(number, hybrid), &settings).unwrap();
        binding::unbind(&vif(number, hybrid), &settings).unwrap();
    }
    assert!(switch.ports().is_empty());
    assert!(links().is_empty(), "{:?}", links());
    assert!(switch.client().owned_ports("kuryr").unwrap().is_empty());
}

#[test]
fn plain_ports_reach_each_other_and_go() {
    two_ports_reach_each_other(false);
}

#[test]
fn hybrid_ports_reach_each_other_and_go() {
    two_ports_reach_each_other(true);
}

#[test]
fn a_plain_port_is_known_as_kuryr_libnetwork_made_it_known() {
    let Some(switch) = Switch::start() else { return };
    let port = vif(1, false);
    assert_eq!(binding::bind(&port, &switch.settings()).unwrap(), "t_c00000001-00");
    let id = |key: &str| switch.external_id("tap00000001-00", key);
    let written = ["attached-mac", "iface-id", "iface-status", "owner", "vm-uuid"].map(id);
    assert_eq!(written, ["fa:16:3e:00:00:01", &port.port.to_string(), "active", "kuryr", "endpoint-1"]);
    let (tap, container) = (link("tap00000001-00"), link("t_c00000001-00"));
    assert_eq!((tap.mtu, container.mtu, container.mac), (1442, 1442, Some(port.mac)));
    // Up in itself; ovs-vswitchd's datapath has it as its master only in the kernel.
    assert!(tap.up && !container.up && tap.mac != Some(port.mac));
    let expected = OwnedPort { name: "tap00000001-00".into(), iface_id: port.port.to_string() };
    assert_eq!(switch.client().owned_ports("kuryr").unwrap(), [expected]);
    assert!(switch.client().owned_ports("other").unwrap().is_empty());
}

#[test]
fn a_hybrid_port_has_a_bridge_of_its_own() {
    let Some(switch) = Switch::start() else { return };
    let port = vif(1, true);
    binding::bind(&port, &switch.settings()).unwrap();
    let id = |key: &str| switch.external_id("qvo00000001-00", key);
    let written = ["attached-mac", "iface-id", "iface-status", "owner", "vm-id"].map(id);
    assert_eq!(written, ["fa:16:3e:00:00:01", &port.port.to_string(), "active", "kuryr", "endpoint-1"]);
    let bridge = link("qbr00000001-00");
    for name in ["tap00000001-00", "qvb00000001-00", "qvo00000001-00", "t_c00000001-00"] {
        assert_eq!(link(name).mtu, 1442, "{name}");
    }
    assert_eq!(bridge.mtu, 1442);
    let master = |name: &str| link(name).master;
    assert_eq!(
        [master("tap00000001-00"), master("qvb00000001-00"), master("qvo00000001-00")],
        [Some(bridge.index), Some(bridge.index), None]
    );
    assert!(["qbr00000001-00", "qvb00000001-00", "qvo00000001-00", "tap00000001-00"].iter().all(|name| link(name).up));
    for (setting, value) in [("ageing_time", "0"), ("multicast_snooping", "0"), ("forward_delay", "0"), ("stp_state", "0")] {
        assert_eq!(fs::read_to_string(format!("/sys/class/net/qbr00000001-00/bridge/{setting}")).unwrap().trim(), value, "{setting}");
    }
    // The agent's firewall driver was changed since: what there is goes.
    binding::unbind(&vif(1, false), &switch.settings()).unwrap();
    assert!(switch.ports().is_empty() && links().is_empty(), "{:?}", links());

    // Somebody's interface under the bridge's name stays.
    Socket::open().unwrap().add_veth(&Veth { name: "qbr00000001-00", peer: "other", ..Veth::default() }).unwrap();
    let error = binding::bind(&port, &switch.settings()).unwrap_err();
    assert!(matches!(error, Error::NotABridge { .. }), "{error}");
    assert_eq!(links().len(), 1);
}

#[test]
fn a_second_binding_replaces_the_first_and_packets_flow() {
    let Some(switch) = Switch::start() else { return };
    let settings = switch.settings();
    let other = contain(&binding::bind(&vif(2, false), &settings).unwrap(), 2);
    binding::bind(&vif(1, false), &settings).unwrap();
    let before = link("tap00000001-00").index;
    let again = binding::bind(&vif(1, false), &settings).unwrap();
    assert_ne!(link("tap00000001-00").index, before);
    let mut ports = switch.ports();
    ports.sort();
    assert_eq!(ports, ["tap00000001-00", "tap00000002-00"]);
    // A switch left at the dead interface would look right and pass nothing.
    let side = contain(&again, 1);
    ping(&side, "10.1.0.2");
    talk(&other, &side, "10.1.0.1");
    // From plain to hybrid, as after a change of the agent's firewall driver.
    binding::bind(&vif(1, true), &settings).unwrap();
    let mut ports = switch.ports();
    ports.sort();
    assert_eq!(ports, ["qvo00000001-00", "tap00000002-00"]);
}

/// A container that is restarted with its address gets its port back, and with it the names of links that have just gone.
#[test]
fn a_port_that_comes_back_at_once_is_taken_up() {
    let Some(switch) = Switch::start() else { return };
    let (port, settings) = (vif(1, false), switch.settings());
    for _ in 0..50 {
        binding::bind(&port, &settings).unwrap();
        binding::unbind(&port, &settings).unwrap();
    }
    let side = contain(&binding::bind(&port, &settings).unwrap(), 1);
    let other = contain(&binding::bind(&vif(2, false), &settings).unwrap(), 2);
    ping(&side, "10.1.0.2");
    drop((side, other));
}

#[test]
fn without_a_database_the_error_says_so_and_nothing_is_left() {
    let settings = Settings { ovsdb_socket: "/run/none.sock".into(), ..Settings::default() };
    for hybrid in [false, true] {
        let text = binding::bind(&vif(1, hybrid), &settings).unwrap_err().to_string();
        assert!(text.contains("/run/none.sock") && text.contains(&vif(1, hybrid).port.to_string()), "{text}");
        assert!(links().is_empty());
    }
    // A release waits for the database, or the switch would keep a dead interface under the name.
    assert!(matches!(binding::unbind(&vif(1, false), &settings), Err(Error::Switch { .. })));
}

#[test]
fn a_switch_that_does_not_act_is_found_out_and_everything_taken_back() {
    let Some(mut switch) = Switch::start() else { return };
    switch.stop_daemon();
    let settings = Settings { deadline: Duration::from_secs(3), ..switch.settings() };
    for hybrid in [false, true] {
        let error = binding::bind(&vif(1, hybrid), &settings).unwrap_err();
        let Error::Switch { source: ovsdb::Error::SwitchTimeout { .. }, .. } = &error else { panic!("{error}") };
        assert!(error.to_string().contains("ovs-vswitchd"), "{error}");
        assert!(links().is_empty() && switch.ports().is_empty());
    }
    // A release still goes through: the switch reads the database when it is back.
    switch.start_daemon();
    binding::bind(&vif(1, false), &switch.settings()).unwrap();
    switch.stop_daemon();
    binding::unbind(&vif(1, false), &settings).unwrap();
    assert!(links().is_empty() && switch.ports().is_empty());
}

#[test]
fn a_database_that_does_not_answer_ends_the_binding_at_its_deadline() {
    let Some(switch) = Switch::start() else { return };
    let pause = |signal| kill(Pid::from_raw(switch.database.id().try_into().unwrap()), signal).unwrap();
    pause(Signal::SIGSTOP);
    let settings = Settings { deadline: Duration::from_millis(500), ..switch.settings() };
    for hybrid in [false, true] {
        let error = binding::bind(&vif(1, hybrid), &settings).unwrap_err();
        let Error::Switch { source: ovsdb::Error::Timeout { .. }, .. } = &error else { panic!("{error}") };
        assert!(error.to_string().contains("ovsdb-server"), "{error}");
        assert!(links().is_empty());
    }
    assert!(binding::unbind(&vif(1, false), &settings).is_err());
    pause(Signal::SIGCONT);
    // What it was asked meanwhile it may do now; the release that follows every failure clears that up.
    binding::unbind(&vif(1, false), &switch.settings()).unwrap();
    assert!(switch.ports().is_empty());
}

#[test]
fn twenty_ports_at_once() {
    let Some(switch) = Switch::start() else { return };
    let settings = switch.settings();
    let all = |work: fn(&Vif, &Settings)| {
        thread::scope(|scope| {
            for number in 1..=20 {
                let settings = &settings;
                scope.spawn(move || work(&vif(number, number % 2 == 0), settings));
            }
        });
    };
    all(|vif, settings| drop(binding::bind(vif, settings).unwrap()));
    assert_eq!((switch.ports().len(), switch.client().owned_ports("kuryr").unwrap().len()), (20, 20));
    all(|vif, settings| binding::unbind(vif, settings).unwrap());
    assert!(switch.ports().is_empty() && links().is_empty());
}

#[test]
fn what_the_switch_cannot_do_is_told_in_its_words() {
    let Some(switch) = Switch::start() else { return };
    let elsewhere = Vif { vif_details: serde_json::json!({"bridge_name": "br-none"}), ..vif(1, false) };
    let error = binding::bind(&elsewhere, &switch.settings()).unwrap_err();
    assert!(
        matches!(&error, Error::Switch { source: ovsdb::Error::NoBridge { .. }, .. }) && error.to_string().contains("br-none"),
        "{error}"
    );
    assert!(links().is_empty());
    // Without a name from Neutron it is the configured one.
    let unnamed = Vif { vif_details: serde_json::json!({}), ..vif(1, false) };
    binding::bind(&unnamed, &switch.settings()).unwrap();
    assert_eq!(switch.ports(), ["tap00000001-00"]);
    binding::unbind(&unnamed, &switch.settings()).unwrap();

    // A port of somebody else's under our name is left alone.
    switch.vsctl(&["--no-wait", "add-port", "br-int", "tap00000001-00", "--", "set", "Interface", "tap00000001-00", "type=internal"]);
    let text = binding::bind(&vif(1, false), &switch.settings()).unwrap_err().to_string();
    assert!(text.contains("has a port tap00000001-00 already"), "{text}");
    assert_eq!(switch.ports(), ["tap00000001-00"]);

    // The switch's own word on an interface it cannot open.
    let mut client = switch.client();
    let missing = ovsdb::SwitchPort { bridge: "br-int", name: "nowhere0", external_ids: &[("iface-id", "x")] };
    let error = client.add_port(&missing).unwrap_err();
    assert!(matches!(&error, ovsdb::Error::Interface { reason, .. } if reason.contains("No such device")), "{error}");
    client.withdraw_port("nowhere0").unwrap();
    client.withdraw_port("nowhere0").unwrap();
    assert_eq!(switch.ports(), ["tap00000001-00"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_ours_that_a_reset_left_in_the_switch_are_collected() {
    let Some(switch) = Switch::start() else { return };
    let cloud = Cloud::start().await;
    let settings = core::Settings { binding: switch.settings(), ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), settings);
    for port in [vif(1, false), vif(2, true), vif(3, true)] {
        binding::bind(&port, &switch.settings()).unwrap();
    }
    let mut socket = Socket::open().unwrap();
    // A container has the third.
    let third = socket.link("t_c00000003-00").unwrap().unwrap();
    socket.rename(third.index, "eth3").unwrap();
    // A reset takes links and leaves the database. Of others, one has another owner and one a name that kuryr does not give.
    socket.delete_links(&["tap00000001-00".into(), "qvb00000002-00".into()]).unwrap();
    for (number, name, owner) in [(4, "tap00000004-00", "other"), (5, "mine", "kuryr")] {
        let id = format!("external_ids:iface-id={}", vif(number, false).port);
        let owner = format!("external_ids:owner={owner}");
        switch.vsctl(&["--no-wait", "add-port", "br-int", name, "--", "set", "Interface", name, &id, &owner]);
    }
    // Nor is one dead whose port the journal has.
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.run(&id('a'), &id('b'), &pools[0]).await;
    let known = cloud.ports().await[0].id;
    let name = binding::tap_name(known);
    let external_id = format!("external_ids:iface-id={known}");
    socket.delete_link(&name).unwrap();
    let set = ["--no-wait", "add-port", "br-int", &name, "--", "set", "Interface", &name, &external_id, "external_ids:owner=kuryr"];
    switch.vsctl(&set);

    let start = now();
    let told = host.core.look_for_leftovers(start).await;
    let of_switch: Vec<_> = told.findings.iter().filter(|finding| finding.kind == Kind::SwitchPort).collect();
    assert_eq!(of_switch.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>(), ["tap00000001-00", "qvo00000002-00"]);
    assert!(of_switch.iter().all(|finding| finding.since == start && !finding.is_due(start + 600) && finding.is_due(start + 601)));
    for time in [start, start + 300, start + 600] {
        assert_eq!(host.collect(time).await, [], "a plug may be under way");
    }
    assert_eq!(switch.ports().len(), 6);
    let gone = [(Kind::Link, "tap00000002-00"), (Kind::SwitchPort, "tap00000001-00"), (Kind::SwitchPort, "qvo00000002-00")];
    assert_eq!(host.collect(start + 601).await, gone.map(|(kind, name)| (kind, name.to_owned())));
    assert_eq!(socket.link("qbr00000002-00").unwrap(), None, "it goes with the link");
    let mut left = switch.ports();
    left.sort();
    let mut kept = vec!["mine".to_owned(), "qvo00000003-00".into(), "tap00000004-00".into(), name];
    kept.sort();
    assert_eq!(left, kept);
    assert_eq!(host.collect(start + 1300).await, []);
}

#[test]
fn a_switch_that_is_not_there_has_no_dead_ports_and_one_that_is_silent_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("db.sock");
    let settings = Settings { ovsdb_socket: socket.clone(), deadline: Duration::from_millis(50), ..Settings::default() };
    assert_eq!(binding::dead_ports(&settings).unwrap(), []);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = binding::dead_ports(&settings).unwrap_err().to_string();
    assert!(error.starts_with("looking for dead ports of kuryr in Open vSwitch: "), "{error}");
    drop(listener);
    assert_eq!(binding::dead_ports(&settings).unwrap(), [], "ovsdb-server has ended");
}
