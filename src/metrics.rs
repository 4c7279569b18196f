//! Counters, durations and levels of the daemon in Prometheus' text.
//!
//! The parts that are measured own their numbers and count without knowing who reads: a family is a handle, and its clone in the registry shows
//! what the part has counted. Every label comes from a closed list, since each value makes a series of its own.

mod cloud;

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

pub use self::cloud::{CloudRequests, Service};

/// Bounds of the durations, in seconds: from a warm call to the longest deadline.
const BOUNDS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0];

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

fn durations<L: Clone + Eq + std::hash::Hash>() -> Durations<L> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginCall {
    method: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finding {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ahead {
    state: &'static str,
}

/// What the collector found that belonged to nobody.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    found: Family<Finding, Counter>,
    rounds: Counter,
    failures: Counter,
}

impl Findings {
    /// Counts `count` things of this kind, which must come from a closed list.
    pub fn found(&self, kind: &'static str, count: usize) {
        self.found.get_or_create(&Finding { kind }).inc_by(count as u64);
    }

    /// Counts a round that came to its end, or did not.
    pub fn round(&self, complete: bool) {
        if complete {
            self.rounds.inc()
        } else {
            self.failures.inc()
        };
    }
}

/// What this host holds at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Levels {
    /// Pools granted to the engine.
    pub pools: usize,
    /// Docker networks.
    pub networks: usize,
    /// Ports of endpoints.
    pub ports: usize,
    /// Ports made ahead that can be handed out.
    pub ports_ready: usize,
    /// Ports made ahead that are still being made.
    pub ports_unready: usize,
    /// Tasks of the journal that are not finished.
    pub tasks: usize,
    /// How long ago the oldest of them was promised.
    pub oldest_task: Duration,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<PluginCall, Counter>,
    durations: Durations<PluginCall>,
    pools: Gauge,
    networks: Gauge,
    ports: Gauge,
    ahead: Family<Ahead, Gauge>,
    tasks: Gauge,
    oldest_task: Gauge,
}

impl Metrics {
    /// Metrics with nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("kuryr");
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let calls = Family::default();
        registry.register("plugin_calls", "Calls of the engine", calls.clone());
        let durations = durations();
        registry.register_with_unit("plugin_call_duration", "Time to the answer of a call of the engine", Unit::Seconds, durations.clone());
        let mut level = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let pools = level("pools", "Address pools that the engine holds");
        let networks = level("networks", "Docker networks on this host");
        let ports = level("ports", "Neutron ports of this host's endpoints");
        let tasks = level("journal_tasks", "Promises in the journal that are still to be finished");
        let ahead = Family::default();
        registry.register("port_pool_ports", "Neutron ports made ahead of use", ahead.clone());
        let oldest_task = Gauge::default();
        registry.register_with_unit("journal_oldest_task_age", "Age of the oldest unfinished promise", Unit::Seconds, oldest_task.clone());
        Self { registry, calls, durations, pools, networks, ports, ahead, tasks, oldest_task }
    }

    /// Shows what is counted there as well.
    pub fn with(mut self, requests: &CloudRequests, findings: &Findings) -> Self {
        requests.register(&mut self.registry);
        let registry = &mut self.registry;
        registry.register("collector_findings", "What belonged to nobody and was removed", findings.found.clone());
        registry.register("collector_rounds", "Completed rounds of the collector", findings.rounds.clone());
        registry.register("collector_failures", "Rounds of the collector that an error ended", findings.failures.clone());
        self
    }

    /// Counts one call of the engine. `method` must come from a closed list.
    pub fn plugin_call(&self, method: &'static str, result: &'static str, took: Duration) {
        let call = PluginCall { method, result };
        self.calls.get_or_create(&call).inc();
        self.durations.get_or_create(&call).observe(took.as_secs_f64());
    }

    /// The metrics with these levels in the OpenMetrics text format, which is Prometheus' own made a standard.
    pub fn text(&self, levels: &Levels) -> Result<String, fmt::Error> {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.pools.set(count(levels.pools));
        self.networks.set(count(levels.networks));
        self.ports.set(count(levels.ports));
        for (state, level) in [("ready", levels.ports_ready), ("unready", levels.ports_unready)] {
            self.ahead.get_or_create(&Ahead { state }).set(count(level));
        }
        self.tasks.set(count(levels.tasks));
        self.oldest_task.set(i64::try_from(levels.oldest_task.as_secs()).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown_by_its_labels() {
        let (requests, findings) = (CloudRequests::default(), Findings::default());
        let metrics = Metrics::new().with(&requests, &findings);
        metrics.plugin_call("NetworkDriver.Join", "ok", Duration::from_micros(80));
        metrics.plugin_call("NetworkDriver.Join", "ok", Duration::from_micros(200));
        requests.observe(Service::Neutron, "GET", "/ports?name=x", Some(200), Duration::from_millis(3));
        requests.observe(Service::Neutron, "PUT", "/ports/1/tags/x", None, Duration::from_millis(3));
        requests.observe(Service::Neutron, "GET", "/no-resource-of-ours", Some(404), Duration::from_millis(3));
        requests.observe(Service::Keystone, "POST", "/v3/auth/tokens", Some(201), Duration::from_millis(3));
        findings.found("port", 2);
        findings.round(true);
        findings.round(false);
        let levels = Levels {
            pools: 1,
            networks: 2,
            ports: 3,
            ports_ready: 5,
            ports_unready: 6,
            tasks: 4,
            oldest_task: Duration::from_millis(5999),
        };
        let text = metrics.text(&levels).unwrap();
        for line in [
            r#"kuryr_plugin_calls_total{method="NetworkDriver.Join",result="ok"} 2"#,
            r#"kuryr_plugin_call_duration_seconds_bucket{le="0.0001",method="NetworkDriver.Join",result="ok"} 1"#,
            r#"kuryr_neutron_requests_total{method="GET",resource="ports",status="200"} 1"#,
            r#"kuryr_neutron_requests_total{method="PUT",resource="ports",status="none"} 1"#,
            r#"kuryr_neutron_requests_total{method="GET",resource="other",status="404"} 1"#,
            r#"kuryr_neutron_request_duration_seconds_count{method="GET",resource="ports"} 1"#,
            r#"kuryr_keystone_requests_total{status="201"} 1"#,
            r#"kuryr_collector_findings_total{kind="port"} 2"#,
            "kuryr_collector_rounds_total 1",
            "kuryr_collector_failures_total 1",
            "kuryr_pools 1",
            "kuryr_networks 2",
            "kuryr_ports 3",
            r#"kuryr_port_pool_ports{state="ready"} 5"#,
            r#"kuryr_port_pool_ports{state="unready"} 6"#,
            "kuryr_journal_tasks 4",
            "kuryr_journal_oldest_task_age_seconds 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_cloud_has_answered_when_it_did_what_it_is_for() {
        let requests = CloudRequests::default();
        requests.observe(Service::Keystone, "POST", "/v3/auth/tokens", Some(201), Duration::ZERO);
        for status in [None, Some(401), Some(500), Some(503)] {
            requests.observe(Service::Neutron, "GET", "/ports", status, Duration::ZERO);
            assert!(!requests.has_answered(), "{status:?}");
        }
        requests.observe(Service::Neutron, "GET", "/ports", Some(404), Duration::ZERO);
        assert!(requests.has_answered());
    }
}
