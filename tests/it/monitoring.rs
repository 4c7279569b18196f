//! What operators' tools are told: metrics, health, readiness.

use std::{
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kuryr::metrics::{Levels, Metrics};

use crate::{
    daemon::{Daemon, ask},
    host::{Cloud, id},
};

const METRICS: &str = "/run/kuryr/metrics.sock";
const PLUGIN: &str = "/run/docker/plugins/kuryr.sock";
const POOL: &str = r#"{"AddressSpace":"x","Pool":"10.0.0.0/24","SubPool":"","Options":null,"V6":false}"#;

fn told(path: &str) -> String {
    ask(&mut UnixStream::connect(METRICS).unwrap(), &format!("GET {path}"), "")
}

fn plugin(call: &str, body: &str) -> String {
    ask(&mut UnixStream::connect(PLUGIN).unwrap(), &format!("POST /{call}"), body)
}

#[test]
fn the_work_of_a_daemon_is_told_on_its_socket_and_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let listen = format!("{METRICS},127.0.0.1:9751");
    let mut daemon = Daemon::start(dir.path(), &["--embedded"], &[("OS_KURYR__METRICS_LISTEN", listen)]);
    daemon.logs("ready");
    assert_eq!(std::fs::metadata(METRICS).unwrap().permissions().mode() & 0o777, 0o600);
    let granted = plugin("IpamDriver.RequestPool", POOL);
    assert!(granted.starts_with("HTTP/1.1 200"), "{granted}");
    assert!(plugin("NetworkDriver.Dance", "{}").starts_with("HTTP/1.1 404"));
    assert!(told("/healthz").starts_with("HTTP/1.1 200"));
    assert!(told("/readyz").starts_with("HTTP/1.1 200"));
    assert!(told("/NetworkDriver.Join").starts_with("HTTP/1.1 404"), "the engine's calls are not taken here");
    let unix = told("/metrics");
    assert!(unix.contains("content-type: application/openmetrics-text; version=1.0.0"), "{unix}");
    let loopback = ask(&mut TcpStream::connect("127.0.0.1:9751").unwrap(), "GET /metrics", "");
    for text in [unix, loopback] {
        for line in [
            r#"kuryr_plugin_calls_total{method="IpamDriver.RequestPool",result="ok"} 1"#,
            r#"kuryr_plugin_calls_total{method="unknown",result="error"} 1"#,
            r#"kuryr_plugin_call_duration_seconds_count{method="IpamDriver.RequestPool",result="ok"} 1"#,
            r#"kuryr_neutron_requests_total{method="POST",resource="subnetpools",status="201"} 1"#,
            r#"kuryr_keystone_requests_total{status="201"} 1"#,
            "kuryr_pools 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
    daemon.end();
    assert!(UnixStream::connect(METRICS).is_err());
}

/// `kuryr gc` with these arguments: how it ended, and what it wrote.
#[allow(clippy::disallowed_methods, reason = "the test is about the program")]
fn gc(args: &[&str]) -> (bool, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kuryr")).arg("gc").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn root_is_told_what_belongs_to_nobody() {
    let (done, _, error) = gc(&["--dry-run"]);
    assert!(!done && error.contains(METRICS) && error.contains("start kuryr.service"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path(), &["--embedded"], &[("OS_KURYR__METRICS_LISTEN", format!("127.0.0.1:9751,{METRICS}"))]);
    daemon.logs("ready");
    assert_eq!(gc(&[]), (true, "Nothing belongs to nobody.\n".into(), String::new()));
    let granted = plugin("IpamDriver.RequestPool", POOL);
    let pool = granted.split('"').find(|part| part.len() == 36).unwrap();
    for args in [&["--dry-run"][..], &[]] {
        let (done, table, error) = gc(args);
        assert!(done && error.is_empty(), "{error}");
        let line = table.lines().find(|line| line.contains(pool)).unwrap();
        assert!(line.starts_with("pool ") && line.contains(" in 1") && line.ends_with("it was asked for, and no network came"), "{table}");
    }
    let (_, text, _) = gc(&["--dry-run", "--format", "json"]);
    let round: kuryr::core::Round = serde_json::from_str(&text).unwrap();
    assert_eq!((round.findings[0].id.as_str(), round.findings[0].due - round.findings[0].since), (pool, 600));
    for method in ["GET", "POST"] {
        let loopback = ask(&mut TcpStream::connect("127.0.0.1:9751").unwrap(), &format!("{method} /gc"), "");
        assert!(loopback.starts_with("HTTP/1.1 404"), "anybody may ask there: {loopback}");
    }
    assert!(told("/metrics").contains(r#"kuryr_collector_findings_total{kind="switch_port"} 0"#));
    daemon.end();
}

#[test]
fn gc_fails_when_the_cloud_cannot_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let cloud = [("OS_NEUTRON__AUTH_TYPE", "none"), ("OS_NEUTRON__ENDPOINT", "http://127.0.0.1:1")];
    let mut daemon = Daemon::start(dir.path(), &[], &cloud);
    daemon.logs("ready");
    let (done, table, error) = gc(&["-n"]);
    assert!(!done && table == "Nothing belongs to nobody.\n" && error.contains("not everything could be looked at"), "{table}{error}");
    assert!(error.contains("127.0.0.1:1"), "{error}");
    daemon.end();
}

#[test]
fn a_daemon_without_its_cloud_is_alive_and_not_ready_and_says_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = [
        ("OS_NEUTRON__AUTH_TYPE", "none"),
        // Nobody listens there.
        ("OS_NEUTRON__ENDPOINT", "http://127.0.0.1:1"),
    ];
    let mut daemon = Daemon::start(dir.path(), &[], &cloud);
    daemon.logs("ready");
    // The journal does not know it, and Neutron cannot be asked now.
    let forgotten = format!(r#"{{"NetworkID":"{}","EndpointID":"{}"}}"#, "a".repeat(64), "b".repeat(64));
    let released = plugin("NetworkDriver.DeleteEndpoint", &forgotten);
    assert!(released.starts_with("HTTP/1.1 200"), "{released}");
    assert!(told("/healthz").starts_with("HTTP/1.1 200"));
    let unready = told("/readyz");
    assert!(unready.starts_with("HTTP/1.1 503") && unready.contains("Neutron has not answered"), "{unready}");
    let text = told("/metrics");
    assert!(text.contains("\nkuryr_journal_tasks 1\n"), "{text}");
    // Counted as soon as the first of what is asked for in the background has failed.
    let end = Instant::now() + Duration::from_secs(60);
    while !told("/metrics").contains(r#"status="none""#) {
        assert!(Instant::now() < end, "{}", told("/metrics"));
        thread::sleep(Duration::from_millis(20));
    }
    daemon.end();
}

#[test]
fn metrics_are_not_shown_to_the_network() {
    let dir = tempfile::tempdir().unwrap();
    for place in ["0.0.0.0:9751", "metrics.sock"] {
        let mut daemon = Daemon::start(dir.path(), &["--embedded"], &[("OS_KURYR__METRICS_LISTEN", place)]);
        let line = daemon.logs("metrics_listen");
        assert!(line.contains(place) && line.contains("loopback"), "{line}");
        assert!(!daemon.wait().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_and_the_age_of_promises_are_counted() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    host.address(&pools[0], None).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!(host.core.oldest_task_age().as_secs(), 0);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    host.collect(now + 3600).await;
    host.collect(now + 3600).await;
    let metrics = Metrics::new().with(cloud.neutron.requests(), host.core.findings());
    let text = metrics.text(&Levels::default()).unwrap();
    assert!(text.contains(r#"kuryr_collector_findings_total{kind="port"} 1"#), "{text}");
    assert!(text.contains(r#"kuryr_collector_findings_total{kind="network"} 0"#), "{text}");
}
