//! The daemon's start and end as the engine and the service manager see them.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};
use serde_json::{Value, json};

use crate::daemon::{Daemon, ask};

const SOCKET: &str = "/run/docker/plugins/kuryr.sock";
const ACTIVATE: &str = "POST /Plugin.Activate";
const REQUEST_POOL: (&str, &str) =
    ("POST /IpamDriver.RequestPool", r#"{"AddressSpace": "no_address_space", "Pool": "10.0.0.0/24", "V6": false}"#);

/// A state directory that outlives the daemon in it.
fn state() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    (folder, state)
}

/// How many IPv4 sockets listen in this network namespace (state 0A of /proc/net/tcp).
fn listening() -> usize {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A")).count()
}

/// A daemon for a cloud at `address`.
fn beside(state: &Path, address: &str) -> Daemon {
    beside_with(state, address, &[])
}

/// The same with further variables in its environment.
fn beside_with(state: &Path, address: &str, further: &[(&'static str, String)]) -> Daemon {
    let mut environment = vec![
        ("OS_NEUTRON__AUTH_URL", format!("http://{address}/v3")),
        ("OS_NEUTRON__AUTH_TYPE", "password".to_owned()),
        ("OS_NEUTRON__USERNAME", "u".to_owned()),
        ("OS_NEUTRON__PASSWORD", "p".to_owned()),
        ("OS_NEUTRON__PROJECT_NAME", "p".to_owned()),
        ("OS_KURYR__REQUEST_TIMEOUT", "2".to_owned()),
    ];
    environment.extend_from_slice(further);
    let mut daemon = Daemon::start(state, &[], &environment);
    daemon.logs("ready");
    daemon
}

#[test]
fn tcp_is_served_where_kuryr_uri_says_so_and_nowhere_else() {
    let (_folder, state) = state();
    let mut daemon = Daemon::start(&state, &["--embedded"], &[] as &[(&str, &str)]);
    daemon.logs("ready");
    let embedded_controller = listening();
    assert_eq!(embedded_controller, 1);
    daemon.end();
    let mut daemon = Daemon::start(&state, &["--embedded"], &[("OS_KURYR_URI", "http://localhost:23750")]);
    daemon.logs("ready");
    assert_eq!(listening(), embedded_controller + 1);
    let answer = ask(&mut TcpStream::connect("127.0.0.1:23750").unwrap(), ACTIVATE, "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("IpamDriver"), "{answer}");
    daemon.end();
}

#[test]
fn a_call_that_is_refused_is_read_to_its_end() {
    let (_folder, state) = state();
    let daemon = beside(&state, "127.0.0.1:1");
    for (call, status) in [("POST /NetworkDriver.Dance", "404"), ("PUT /NetworkDriver.Join", "405")] {
        let mut engine = UnixStream::connect(SOCKET).unwrap();
        let expects = "Connection: close\r\nExpect: 100-continue";
        engine.write_all(format!("{call} HTTP/1.1\r\nHost: x\r\n{expects}\r\nContent-Length: 2\r\n\r\n").as_bytes()).unwrap();
        // The daemon says so when it begins to read the body.
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        engine.read_exact(&mut go_on).unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100"), "{call}: {}", String::from_utf8_lossy(&go_on));
        engine.write_all(b"{}").unwrap();
        let mut answer = String::new();
        engine.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{call}: {answer}");
    }
    daemon.end();
}

#[test]
fn activation_and_capabilities_need_no_cloud() {
    let (_folder, state) = state();
    let daemon = beside(&state, "127.0.0.1:1");
    for call in [ACTIVATE, "POST /NetworkDriver.GetCapabilities", "POST /IpamDriver.GetDefaultAddressSpaces"] {
        let answer = ask(&mut UnixStream::connect(SOCKET).unwrap(), call, "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{call}: {answer}");
    }
    let answer = ask(&mut UnixStream::connect(SOCKET).unwrap(), REQUEST_POOL.0, REQUEST_POOL.1);
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("127.0.0.1:1"), "{answer}");
    daemon.end();
}

/// Of a fault there is one sentence in the log and none of the program's insides, whatever goes wrong.
#[test]
fn a_fault_is_a_line_of_the_log() {
    let (folder, state) = state();
    let log = folder.path().join("kuryr.log");
    let further = [("OS_DEFAULT__LOG_FILE", log.to_str().unwrap().to_owned()), ("OS_DEFAULT__USE_STDERR", "True".to_owned())];
    let daemon = beside_with(&state, "127.0.0.1:1", &further);
    let faults = [
        ("POST /NetworkDriver.CreateNetwork", "{", 400),
        ("POST /NetworkDriver.CreateNetwork", r#"{"NetworkID": "x"}"#, 400),
        ("POST /IpamDriver.RequestPool", r#"{"AddressSpace": "x", "Pool": "10.0.0.7/24", "V6": false}"#, 400),
        ("POST /NetworkDriver.Dance", "{}", 404),
        (REQUEST_POOL.0, REQUEST_POOL.1, 500),
    ];
    for (call, body, status) in faults {
        let answer = ask(&mut UnixStream::connect(SOCKET).unwrap(), call, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{call}: {answer}");
    }
    daemon.end();
    let written = fs::read_to_string(log).unwrap();
    let told = |line: &str| line.split(' ').nth(4).is_some_and(|_| line.contains(" [-] ") && line.starts_with("20"));
    let others: Vec<_> = written.lines().filter(|line| !told(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    let refusals = written.lines().filter(|line| line.contains("Driver.")).count();
    assert_eq!(refusals, faults.len(), "{written}");
}

#[test]
fn a_log_directory_has_the_log_in_json() {
    let (folder, state) = state();
    let further = [("OS_DEFAULT__LOG_DIR", folder.path().to_str().unwrap().to_owned())];
    let switches = ["OS_DEFAULT__USE_JSON", "OS_DEFAULT__USE_STDERR"].map(|name| (name, "True".to_owned()));
    beside_with(&state, "127.0.0.1:1", &[&further[..], &switches].concat()).end();
    let written = fs::read_to_string(folder.path().join("kuryr-server.log")).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ready = lines.iter().find(|line| line["message"] == "ready").unwrap();
    assert_eq!((&ready["levelname"], &ready["name"], &ready["extra"]["socket"]), (&json!("INFO"), &json!("kuryr::app"), &json!(SOCKET)));
}

#[test]
fn the_system_log_and_the_journal_have_what_the_daemon_says() {
    // The machine's own /dev stays as it is: another one stands before it, with all that the daemon wants of it.
    assert_eq!(std::env::var("KURYR_IN_NETNS").as_deref(), Ok("1"), "this test mounts over /dev");
    let null = File::open("/dev/null").unwrap();
    mount(None::<&str>, "/dev", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    File::create("/dev/null").unwrap();
    let behind = format!("/proc/self/fd/{}", null.as_raw_fd());
    mount(Some(behind.as_str()), "/dev/null", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    fs::create_dir_all("/run/systemd/journal").unwrap();
    let logs = ["/dev/log", "/run/systemd/journal/socket"].map(|path| UnixDatagram::bind(path).unwrap());
    let (_folder, state) = state();
    let switches = ["OS_DEFAULT__USE_SYSLOG", "OS_DEFAULT__USE_JOURNAL", "OS_DEFAULT__USE_STDERR"].map(|name| (name, "True".to_owned()));
    let facility = [("OS_DEFAULT__SYSLOG_LOG_FACILITY", "local1".to_owned())];
    let daemon = beside_with(&state, "127.0.0.1:1", &[&switches[..], &facility].concat());
    let [system, journal] = logs.map(|log| {
        log.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut datagram = vec![0; 64 * 1024];
        loop {
            let length = log.recv(&mut datagram).unwrap();
            let said = String::from_utf8_lossy(&datagram[..length]);
            if said.contains("[-] ready") {
                break said.into_owned();
            }
        }
    });
    // Facility 17, severity 6.
    assert!(system.starts_with("<142>kuryr-server["), "{system}");
    assert!(journal.contains("kuryr::app") && journal.contains("MESSAGE") && journal.contains("17\nPRIORITY"), "{journal}");
    daemon.end();
}

/// Options of a network alone are nothing to its address management, which says so.
#[test]
fn an_option_that_nobody_reads_there_is_warned_of() {
    let (folder, state) = state();
    let log = folder.path().join("kuryr.log");
    let places = [("OS_DEFAULT__LOG_FILE", log.to_str().unwrap()), ("OS_DEFAULT__USE_STDERR", "True")];
    let mut daemon = Daemon::start(&state, &["--embedded"], &places);
    daemon.logs("ready");
    let pool = json!({"AddressSpace": "x", "Pool": "10.0.0.0/24", "V6": false, "Options": {"kuryr.pool.min": "0"}});
    let options = json!({"com.docker.network.generic": {"kuryr.pool.max": "1", "kuryr.pool.maxi": "1"}});
    let data = json!([{"AddressSpace": "x", "Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24"}]);
    let network = json!({"NetworkID": "a".repeat(64), "Options": options, "IPv4Data": data, "IPv6Data": []});
    for (call, body) in [(REQUEST_POOL.0, pool), ("POST /NetworkDriver.CreateNetwork", network)] {
        let answer = ask(&mut UnixStream::connect(SOCKET).unwrap(), call, &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{call}: {answer}");
    }
    daemon.end();
    let written = fs::read_to_string(log).unwrap();
    let warned: Vec<_> = written.lines().filter_map(|line| line.split_once("kuryr has no option ")).map(|(_, text)| text).collect();
    let unknown =
        ["'kuryr.pool.min' here and goes on without it", "'kuryr.pool.maxi' here and goes on without it; did you mean kuryr.pool.max?"];
    assert_eq!(warned, unknown);
}

#[test]
fn a_cloud_that_hangs_is_named_in_the_answer_and_holds_the_end_up_no_longer() {
    let (_folder, state) = state();
    // The system takes connections for it, and nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let daemon = beside(&state, &address);
    let mut engine = UnixStream::connect(SOCKET).unwrap();
    let (call, body) = REQUEST_POOL;
    let expects = "Connection: close\r\nExpect: 100-continue";
    engine.write_all(format!("{call} HTTP/1.1\r\nHost: x\r\n{expects}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
    // The daemon says so when it begins to read the body, and the call is then under way.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    engine.read_exact(&mut go_on).unwrap();
    engine.write_all(body.as_bytes()).unwrap();
    daemon.signal(Signal::SIGTERM);
    let mut answer = String::new();
    engine.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains(&address), "{answer}");
    assert!(daemon.wait().success());
}
