//! A vif_type that kuryr does not know itself is plugged by the operator's script, called as kuryr-libnetwork calls it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use kuryr::{
    binding::{self, Error, Settings, Vif},
    mac::MacAddr,
    netlink::Socket,
};
use uuid::Uuid;

use crate::host::{Cloud, Trouble, core_settings, id};

const TAP: &str = "tap07791891-0e";

fn vif(vif_type: &str) -> Vif {
    Vif {
        driver: Default::default(),
        port: Uuid::from_u128(0x0779_1891_0e36_4c5f_8a3b_aabb_ccdd_eeff),
        network: Uuid::from_u128(0xb6ad_0000_1111_2222_3333_4444_5555_6666),
        project: "5f1d".into(),
        endpoint: "326aba62".into(),
        mac: MacAddr([0xfa, 0x16, 0x3e, 0, 0, 1]),
        mtu: 1442,
        vif_type: vif_type.into(),
        vif_details: serde_json::json!({"port_filter": true, "ovs_hybrid_plug": true}),
        host: "node-1".into(),
    }
}

pub fn settings(directory: &Path, vif_type: &str, script: &str) -> Settings {
    let path = directory.join(vif_type);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Settings { bindir: directory.to_owned(), ..Settings::default() }
}

fn tap() -> bool {
    Socket::open().unwrap().link(TAP).unwrap().is_some()
}

#[test]
fn is_told_all_that_the_python_told_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    // One word a line; the interface must be there at both calls.
    let script = format!("#!/bin/sh\nset -e\nip link show dev \"$3\" >/dev/null\nprintf '%s\\n' \"$@\" --- >>{}\n", log.display());
    let settings = settings(directory.path(), "midonet", &script);
    assert_eq!(binding::bind(&vif("midonet"), &settings).unwrap(), "t_c07791891-0e");
    let mut socket = Socket::open().unwrap();
    let link = socket.link(TAP).unwrap().unwrap();
    assert_eq!((link.mtu, link.up, link.master), (1442, true, None));
    binding::unbind(&vif("midonet"), &settings).unwrap();
    // Not a second time: a script need not bear it.
    binding::unbind(&vif("midonet"), &settings).unwrap();
    assert!(!tap());
    let told = fs::read_to_string(&log).unwrap();
    let port = "07791891-0e36-4c5f-8a3b-aabbccddeeff";
    let network = "b6ad0000-1111-2222-3333-444455556666";
    let details = "\"{'ovs_hybrid_plug': True, 'port_filter': True}\"";
    let mac = "fa:16:3e:00:00:01";
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "bind", port, TAP, "326aba62", mac, network, "5f1d", details, "---", //
            "unbind", port, TAP, "326aba62", mac, details, network, "---"
        ]
    );
}

#[test]
fn a_failure_is_told_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let failing = settings(directory.path(), "iovisor", "#!/bin/sh\necho trying; echo 'gateway is down' >&2; exit 3\n");
    let text = binding::bind(&vif("iovisor"), &failing).unwrap_err().to_string();
    assert!(text.contains("iovisor bind failed (exit status: 3): gateway is down; trying"), "{text}");
    assert!(!tap());

    let broken = settings(directory.path(), "broken", "#!/no/such/interpreter\n");
    let error = binding::bind(&vif("broken"), &broken).unwrap_err();
    assert!(matches!(error, Error::ScriptStart { .. }), "{error}");
    assert!(!tap());

    // An unbind that fails keeps the interface for the next try.
    let one_way = settings(directory.path(), "iovisor", "#!/bin/sh\n[ $1 = bind ]\n");
    binding::bind(&vif("iovisor"), &one_way).unwrap();
    let text = binding::unbind(&vif("iovisor"), &one_way).unwrap_err().to_string();
    assert!(text.contains("iovisor unbind failed (exit status: 1), without a word"), "{text}");
    assert!(tap());
    // With the script gone, kuryr has nobody to ask.
    fs::remove_file(directory.path().join("iovisor")).unwrap();
    binding::unbind(&vif("iovisor"), &one_way).unwrap();
    assert!(!tap());
}

#[test]
fn a_script_that_hangs_is_stopped_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let script = format!("#!/bin/sh\necho waiting\nsleep 1000 & echo $! >{}\nwait\n", pid.display());
    let settings = Settings { deadline: Duration::from_secs(3), ..settings(directory.path(), "hanging", &script) };
    let error = binding::bind(&vif("hanging"), &settings).unwrap_err();
    assert!(matches!(error, Error::ScriptTimeout { .. }) && error.to_string().ends_with(": waiting"), "{error}");
    assert!(!tap());
    // Killed, and gone as soon as its new parent has noticed; a zombie counts as gone.
    let sleeper = fs::read_to_string(&pid).unwrap();
    let stat = format!("/proc/{}/stat", sleeper.trim());
    let end = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < end, "still there: {stat}");
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_that_a_script_leaves_behind_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let script = format!("#!/bin/sh\necho started\nsleep 1000 & echo $! >{}\n", pid.display());
    let settings = settings(directory.path(), "daemon", &script);
    binding::bind(&vif("daemon"), &settings).unwrap();
    let pid = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn calicos_tap_is_left_unplugged_unless_there_is_a_script() {
    let directory = tempfile::tempdir().unwrap();
    let without = Settings { bindir: directory.path().to_owned(), ..Settings::default() };
    binding::bind(&vif("tap"), &without).unwrap();
    assert!(tap());
    binding::unbind(&vif("tap"), &without).unwrap();
    assert!(!tap());
    let with = settings(directory.path(), "tap", "#!/bin/sh\nexit 7\n");
    assert!(binding::bind(&vif("tap"), &with).unwrap_err().to_string().contains("exit status: 7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plugs_the_port_of_a_container_and_unplugs_it_as_that_containers() {
    let cloud = Cloud::start().await;
    cloud.trouble("POST", "/ports", Trouble::Reworded(r#""binding:vif_type":"bridge""#, r#""binding:vif_type":"midonet""#));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let script = format!("#!/bin/sh\necho $* >>{}\n", log.display());
    let binding = settings(directory.path(), "midonet", &script);
    let host = cloud.host_with("one", cloud.client(), kuryr::core::Settings { binding, ..core_settings() });
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.run(&id('a'), &id('b'), &pools[0]).await;
    let port = cloud.ports().await.remove(0);
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    let (tap, network, details) = (&format!("tap{}", port.id)[..14], port.network_id, "\"{'connectivity': 'l2', 'port_filter': True}\"");
    let whose = format!("{} {tap} {} {}", port.id, id('b'), port.mac_address);
    let told = format!("bind {whose} {network} {} {details}\nunbind {whose} {details} {network}\n", port.project_id);
    assert_eq!(fs::read_to_string(&log).unwrap(), told);
}
