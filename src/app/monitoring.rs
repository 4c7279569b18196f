//! What an operator's tools ask the daemon: `/metrics`, `/healthz`, `/readyz`, and root by `kuryr gc`: `/gc`. It has sockets of its own, since the engine's would be shared with
//! whoever may make ports.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use super::Error;
use crate::{
    core::{self, Core, Round},
    http::listen::Listener,
    metrics::{self, CloudRequests, Levels, Metrics},
};

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Monitored {
    pub metrics: Arc<Metrics>,
    pub core: Arc<Core>,
    pub requests: CloudRequests,
}

/// Opens the listeners of `[kuryr] metrics_listen`: paths of unix sockets, and addresses, of which the configuration takes none but those of
/// loopback, because anybody may ask there.
pub(super) async fn open(items: &[String]) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for item in items {
        let listener = match item.parse::<SocketAddr>() {
            Ok(address) => Listener::tcp(address).await?,
            Err(_) => Listener::unix(Path::new(item)).await?,
        };
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The HTTP service of a listener. What belongs to nobody is told and removed only where nobody but root can ask.
pub(super) fn router(monitored: Monitored, listener: &Listener) -> Router {
    let for_root = match listener.tcp_address() {
        None => Router::new().route("/gc", get(look).post(collect)),
        Some(_) => Router::new(),
    };
    for_root
        .route("/metrics", get(show))
        // That it is answered at all is the news.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(monitored)
}

async fn look(State(monitored): State<Monitored>) -> impl IntoResponse {
    told(&monitored.core.look_for_leftovers(core::now()).await)
}

async fn collect(State(monitored): State<Monitored>) -> impl IntoResponse {
    // Of its own, so that it goes on to its end when whoever asked does not wait for that.
    match tokio::spawn(async move { monitored.core.collect(core::now()).await }).await {
        Ok(round) => told(&round),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}

fn told(round: &Round) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    match serde_json::to_string(round) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}

async fn show(State(monitored): State<Monitored>) -> impl IntoResponse {
    let counts = monitored.core.counts();
    let levels = Levels {
        pools: counts.pools,
        networks: counts.networks,
        ports: counts.ports,
        ports_ready: counts.ready,
        ports_unready: counts.pooled - counts.ready,
        tasks: counts.tasks,
        oldest_task: monitored.core.oldest_task_age(),
    };
    match monitored.metrics.text(&levels) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}

/// Ready is a daemon whose listeners are open, which they are before anybody can ask here, and that has worked with its cloud. It stays ready when the
/// cloud goes away later: running containers, stops and removals do not need it, and `kuryr_neutron_requests_total` tells of it.
async fn ready(State(monitored): State<Monitored>) -> impl IntoResponse {
    if monitored.requests.has_answered() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Neutron has not answered yet; the log says what it was asked and why that failed\n")
    }
}
