//! Requests to the cloud.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};

use super::Durations;

/// The collections of Neutron that get a series of their own.
const RESOURCES: [&str; 12] = [
    "networks",
    "subnets",
    "ports",
    "subnetpools",
    "routers",
    "security-groups",
    "security-group-rules",
    "trunks",
    "floatingips",
    "extensions",
    "agents",
    "quotas",
];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The identity service.
    Keystone,
    /// The networking service.
    Neutron,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    resource: &'static str,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    status: String,
}

/// The requests of one client, by what was asked and what came back.
#[derive(Debug, Clone)]
pub struct CloudRequests {
    neutron: Family<Request, Counter>,
    durations: Durations<Route>,
    keystone: Family<Login, Counter>,
    answered: Arc<AtomicBool>,
}

impl Default for CloudRequests {
    fn default() -> Self {
        Self { neutron: Family::default(), durations: super::durations(), keystone: Family::default(), answered: Arc::default() }
    }
}

impl CloudRequests {
    /// Counts one request. `path` begins below `/v2.0`; `status` is none when no answer came.
    pub fn observe(&self, service: Service, method: &str, path: &str, status: Option<u16>, took: Duration) {
        let known = |words: &[&'static str], word: &str| words.iter().find(|known| **known == word).copied().unwrap_or("other");
        // Three digits, whatever a server makes up.
        let label = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        if service == Service::Keystone {
            self.keystone.get_or_create(&Login { status: label }).inc();
            return;
        }
        let resource = known(&RESOURCES, path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default());
        let method = known(&METHODS, method);
        self.neutron.get_or_create(&Request { method, resource, status: label }).inc();
        self.durations.get_or_create(&Route { method, resource }).observe(took.as_secs_f64());
        if status.is_some_and(|status| status < 500 && status != 401) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether Neutron has ever let us in and answered.
    pub fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("neutron_requests", "Requests to Neutron; status none: no answer came", self.neutron.clone());
        registry.register_with_unit("neutron_request_duration", "Time to Neutron's answer", Unit::Seconds, self.durations.clone());
        registry.register("keystone_requests", "Requests to Keystone; status none: no answer came", self.keystone.clone());
    }
}
