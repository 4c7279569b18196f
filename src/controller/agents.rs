//! `/v2.0/agents`: this host's datapath, as Neutron would show an agent. There is one, and it cannot be written.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query as QueryString, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

use super::{
    Controller,
    attributes::{Attribute, computed},
    context::{seconds, timestamp},
    error::ApiError,
    neutron::{base, run},
    query::{self, Query},
    resource::{Resource, as_is, as_stored},
    store::Object,
};

/// What lists may be filtered and sorted by.
const ATTRIBUTES: &[Attribute] = &[
    computed("agent_type"),
    computed("binary"),
    computed("host"),
    computed("topic"),
    computed("alive"),
    computed("admin_state_up"),
    computed("availability_zone"),
];

/// The names alone; it has no table and is never created.
const AGENTS: Resource = Resource {
    singular: "agent",
    collection: "agents",
    title: "Agent",
    not_found: "AgentNotFound",
    columns: &[],
    attributes: ATTRIBUTES,
    create: |_, _| Err(ApiError::forbidden("rule:create_agent")),
    update: |_, _, _| Err(ApiError::forbidden("rule:update_agent")),
    delete: |_, _| Err(ApiError::forbidden("rule:delete_agent")),
    before_list: as_is,
    view: as_stored,
};

/// The routes; other methods are 405.
pub fn router() -> Router<Arc<Controller>> {
    Router::new().route("/networking/v2.0/agents", get(list)).route("/networking/v2.0/agents/{id}", get(show))
}

async fn list(
    State(controller): State<Arc<Controller>>,
    QueryString(query): QueryString<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let url = format!("{}/networking/v2.0/agents", base(&controller, &headers));
    let agent = agent(&controller);
    run(controller, headers, false, move |call| {
        // Agents are an operator's business: for others the list is empty, as in Neutron.
        let agents = if call.context.admin { vec![agent] } else { Vec::new() };
        let (agents, _) = query::page(&AGENTS, agents, &query, &url)?;
        let agents: Vec<Object> = agents.into_iter().map(|agent| query::project_fields(agent, &query)).collect();
        Ok((StatusCode::OK, Some(json!({"agents": agents})), AGENTS.collection))
    })
    .await
}

async fn show(State(controller): State<Arc<Controller>>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let agent = agent(&controller);
    run(controller, headers, false, move |call| {
        let id = id.strip_suffix(".json").unwrap_or(&id);
        if !call.context.admin || agent.get("id") != Some(&json!(id)) {
            return Err(ApiError::not_found(AGENTS.not_found, AGENTS.title, id));
        }
        Ok((StatusCode::OK, Some(json!({"agent": agent})), AGENTS.collection))
    })
    .await
}

fn agent(controller: &Controller) -> Object {
    let host = &controller.settings().host;
    let started = moment(controller.started);
    let fields = [
        ("id", json!(id_of(host).to_string())),
        ("agent_type", json!("Kuryr agent")),
        ("binary", json!("kuryr")),
        ("host", json!(host)),
        ("topic", json!("N/A")),
        ("admin_state_up", json!(true)),
        // The datapath lives as long as it listens for changes.
        ("alive", json!(controller.store().is_watched())),
        ("availability_zone", Value::Null),
        ("configurations", json!({})),
        ("description", Value::Null),
        ("created_at", json!(started)),
        ("started_at", json!(started)),
        ("heartbeat_timestamp", json!(moment(seconds()))),
        ("resources_synced", Value::Null),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Agents' times have another form than other objects' times: `2026-11-23 15:46:56`.
fn moment(seconds: i64) -> String {
    timestamp(seconds).replace('T', " ").trim_end_matches('Z').to_owned()
}

/// An id that is the same at every start: the FNV-1a hash of the host's name, as a UUID of version 8.
fn id_of(host: &str) -> Uuid {
    let hash = host.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}
