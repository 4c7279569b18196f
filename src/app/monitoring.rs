//! What an operator's tools ask the daemon: `/metrics`, `/healthz`, `/readyz`. It has sockets of its own, since the engine's would be shared with
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
    core::Core,
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

/// The HTTP service.
pub(super) fn router(monitored: Monitored) -> Router {
    Router::new()
        .route("/metrics", get(show))
        // That it is answered at all is the news.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(monitored)
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
