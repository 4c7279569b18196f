//! What never changes: the two services with their endpoints, the one region and the one domain.

use std::sync::Arc;

use axum::{Router, extract::Path, routing::get};
use serde_json::{Value, json};

use super::{Ask, Caller, DOMAIN, Reply, not_found, ok};
use crate::controller::{ApiError, Controller, attributes::plain, store::Object};

const REGION: &str = "RegionOne";

/// Id and type, name, description, and path of each service.
const SERVICES: &[(&str, &str, &str, &str)] = &[
    ("identity", "keystone", "Who may do what on this machine", "/identity/v3"),
    ("network", "neutron", "The networks of this machine", "/networking"),
];

const INTERFACES: &[&str] = &["public", "internal", "admin"];

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/services", get(|ask| list(ask, &SERVICE)))
        .route("/identity/v3/services/{id}", get(|ask, id| show(ask, &SERVICE, id)))
        .route("/identity/v3/endpoints", get(|ask| list(ask, &ENDPOINT)))
        .route("/identity/v3/endpoints/{id}", get(|ask, id| show(ask, &ENDPOINT, id)))
        .route("/identity/v3/regions", get(|ask| list(ask, &FIXED_REGION)))
        .route("/identity/v3/regions/{id}", get(|ask, id| show(ask, &FIXED_REGION, id)))
        .route("/identity/v3/domains", get(|ask| list(ask, &FIXED_DOMAIN)))
        .route("/identity/v3/domains/{id}", get(|ask, id| show(ask, &FIXED_DOMAIN, id)))
}

/// The catalog as a token carries it.
pub fn of_token(base: &str) -> Value {
    let services = SERVICES.iter().map(|(kind, name, _, _)| {
        let mut endpoints = endpoints(base);
        endpoints.retain(|endpoint| endpoint.get("service_id").is_some_and(|id| id == kind));
        for endpoint in &mut endpoints {
            endpoint.remove("service_id");
            endpoint.remove("enabled");
        }
        json!({"id": kind, "type": kind, "name": name, "endpoints": endpoints})
    });
    services.collect()
}

/// A collection of fixed objects.
struct Fixed {
    collection: &'static str,
    singular: &'static str,
    filters: &'static [&'static str],
    objects: fn(&str) -> Vec<Object>,
    /// Who besides administrators may list them, and see one of this id.
    readers: fn(Option<&str>) -> bool,
}

const SERVICE: Fixed =
    Fixed { collection: "services", singular: "service", filters: &["name", "type"], objects: services, readers: |_| false };
const ENDPOINT: Fixed = Fixed {
    collection: "endpoints",
    singular: "endpoint",
    filters: &["interface", "service_id", "region_id"],
    objects: endpoints,
    readers: |_| false,
};
const FIXED_REGION: Fixed =
    Fixed { collection: "regions", singular: "region", filters: &["parent_region_id"], objects: regions, readers: |_| true };
// Everybody is of the one domain and may see it, but not ask which others there are.
const FIXED_DOMAIN: Fixed =
    Fixed { collection: "domains", singular: "domain", filters: &["name", "enabled"], objects: domains, readers: |id| id == Some(DOMAIN) };

fn rows(rows: Value) -> Vec<Object> {
    rows.as_array().into_iter().flatten().filter_map(|row| row.as_object().cloned()).collect()
}

fn services(_base: &str) -> Vec<Object> {
    let services = SERVICES
        .iter()
        .map(|(kind, name, description, _)| json!({"id": kind, "type": kind, "name": name, "description": description, "enabled": true}));
    rows(services.collect())
}

fn endpoints(base: &str) -> Vec<Object> {
    let endpoints = SERVICES.iter().flat_map(|(kind, _, _, path)| {
        INTERFACES.iter().map(move |interface| {
            json!({
                "id": format!("{kind}-{interface}"), "interface": interface, "service_id": kind, "enabled": true,
                "region": REGION, "region_id": REGION, "url": format!("{base}{path}"),
            })
        })
    });
    rows(endpoints.collect())
}

fn regions(_base: &str) -> Vec<Object> {
    rows(json!([{"id": REGION, "description": "", "parent_region_id": null}]))
}

fn domains(_base: &str) -> Vec<Object> {
    rows(json!([{"id": DOMAIN, "name": "Default", "enabled": true, "description": "The default domain", "options": {}, "tags": []}]))
}

impl Fixed {
    fn may(&self, caller: &Caller<'_>, verb: &str, noun: &str, id: Option<&str>) -> Result<(), ApiError> {
        caller.may((self.readers)(id), &format!("{verb}_{noun}"))
    }
}

async fn list(ask: Ask, fixed: &'static Fixed) -> Reply {
    ask.answer(|caller| {
        fixed.may(caller, "list", fixed.collection, None)?;
        ok(caller.listed(fixed.collection, (fixed.objects)(&caller.ask.base), fixed.filters))
    })
    .await
}

async fn show(ask: Ask, fixed: &'static Fixed, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        fixed.may(caller, "get", fixed.singular, Some(&id))?;
        let mut objects = (fixed.objects)(&caller.ask.base);
        objects.retain(|object| object.get("id").is_some_and(|found| plain(found) == id));
        let object = objects.pop().ok_or_else(|| not_found(fixed.singular, &id))?;
        ok(json!({fixed.singular: caller.shown(fixed.collection, object)}))
    })
    .await
}
