//! Counters and durations of the daemon in Prometheus text.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Bounds of the durations, in seconds: from a warm call to the longest deadline.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginCall {
    method: &'static str,
    outcome: &'static str,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<PluginCall, Counter>,
    durations: Family<PluginCall, Histogram>,
}

impl Metrics {
    /// Metrics with nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("kuryr");
        let calls = Family::default();
        registry.register("plugin_calls", "Calls of the engine by method and outcome", calls.clone());
        let durations = Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        registry.register_with_unit("plugin_call_duration", "Time to the answer of a call of the engine", Unit::Seconds, durations.clone());
        Self { registry, calls, durations }
    }

    /// Counts one call of the engine. `method` must come from a closed list: each value makes a series of its own.
    pub fn plugin_call(&self, method: &'static str, outcome: &'static str, took: Duration) {
        let call = PluginCall { method, outcome };
        self.calls.get_or_create(&call).inc();
        self.durations.get_or_create(&call).observe(took.as_secs_f64());
    }

    /// The metrics in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
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
    fn counts_by_method_and_outcome() {
        let metrics = Metrics::new();
        metrics.plugin_call("NetworkDriver.Join", "ok", Duration::from_millis(3));
        metrics.plugin_call("NetworkDriver.Join", "ok", Duration::from_millis(3));
        let text = metrics.text().unwrap();
        assert!(text.contains(r#"kuryr_plugin_calls_total{method="NetworkDriver.Join",outcome="ok"} 2"#), "{text}");
        assert!(text.contains("kuryr_plugin_call_duration_seconds_count"), "{text}");
    }
}
