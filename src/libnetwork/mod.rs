//! Docker's edge: the libnetwork remote driver and IPAM protocol. Knows JSON and Docker's contract, knows no Neutron.
//!
//! The contract is moby's `daemon/libnetwork/drivers/remote` and `ipams/remote`. A v1 plugin is called without any time limit and every status but 200
//! is final, so each call has a deadline of ours and an error text for a person.

pub mod call;
pub mod endpoint;
pub mod error;
pub mod ipam;
pub mod network;
pub mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use tokio::sync::watch;

use self::{
    call::{Call, NAMES},
    error::Error,
};
use crate::{core::Core, metrics::Metrics};

/// The longest body taken, in bytes; real ones stay below 10 KiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// The content type of every reply, which engines ignore and other clients look at.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// What of the configuration the edge needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `capability_scope`: `local` or `global`; the engine refuses anything else.
    pub scope: String,
    /// `local_default_address_space`: the name of the default address space.
    pub address_space: String,
    /// `global_default_address_space`: the name of the one in which a swarm's manager asks, where the scope is global.
    pub global_space: String,
    /// `ports_by_mac`: whether the engine is to say the MAC with each address it asks for, and to choose one if the user does not.
    pub requires_mac: bool,
    /// `request_timeout`: how long a call may take.
    pub request_timeout: Duration,
}

impl Settings {
    /// Whether a swarm's manager is served.
    fn is_global(&self) -> bool {
        self.scope == "global"
    }

    /// The name of the global address space. With a local scope it is the same as the local one: were they to differ, engines from 27 on would ask
    /// again and again for a pool that overlaps nothing. With a global scope they differ whatever the configuration says, since a manager that is
    /// a node too asks for everything twice, and only this name tells for which of the two.
    fn global_address_space(&self) -> String {
        match (self.is_global(), self.global_space != self.address_space) {
            (false, _) => self.address_space.clone(),
            (true, true) => self.global_space.clone(),
            (true, false) => format!("{}_of_swarm", self.address_space),
        }
    }
}

/// The plugin server's state, shared by its connections.
#[derive(Debug, Clone)]
pub struct Edge {
    core: Arc<Core>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    running: watch::Sender<usize>,
}

/// Counts a running call for as long as it lives.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|count| *count += 1);
        Self(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Edge {
    /// An edge that has `core` do the work.
    pub fn new(core: Arc<Core>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        Self { core, settings: Arc::new(settings), metrics, running: watch::Sender::new(0) }
    }

    /// The HTTP service for the listeners.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }

    /// Waits until no call is at work, not even one whose client has gone or whose deadline has passed.
    pub async fn idle(&self) {
        let mut running = self.running.subscribe();
        // The sender lives in self, so that the wait cannot fail.
        let _ = running.wait_for(|count| *count == 0).await;
    }

    async fn answer(&self, name: &str, request: Request) -> Result<Value, Error> {
        let body = read(name, request, self.settings.request_timeout).await?;
        let call = Call::decode(name, &body, &self.settings)?;
        let (object, late) = (call.object(), call.late());
        let (core, cleaner) = (self.core.clone(), self.core.clone());
        let work = async move { call.answer(&core).await };
        let take_back = move |reply: Value| async move {
            let Some(call) = late.taken_back(&reply) else { return };
            tracing::info!("taking back {}, which came too late", call.object());
            if let Err(error) = call.answer(&cleaner).await {
                tracing::error!("what came too late could not be taken back: {error}");
            }
        };
        finish(name, object, self.settings.request_timeout, &self.running, work, take_back).await
    }
}

/// The body of a call that the protocol has. That of a call which is refused is read as well, or a client that is still writing would see a broken
/// connection in the place of the answer. A client that stops half way would hold the daemon's end up.
async fn read(name: &str, request: Request, limit: Duration) -> Result<Bytes, Error> {
    let method = request.method().clone();
    let body = tokio::time::timeout(limit, axum::body::to_bytes(request.into_body(), BODY_LIMIT)).await;
    if !NAMES.contains(&name) {
        return Err(Error::UnknownCall(name.to_owned()));
    }
    if method != Method::POST {
        return Err(Error::NotPost { call: name.to_owned(), method: method.to_string() });
    }
    let broken = |reason: String| Error::Body { call: name.to_owned(), reason, limit: BODY_LIMIT };
    match body {
        Ok(body) => body.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken(format!("its end did not come within {limit:?}"))),
    }
}

/// Does `work` in a task of its own and waits for it up to `limit`: neither a client that goes away nor the deadline stops the core half way.
/// A client that goes away sends the call again and gets the answer then. After the deadline it has got its answer, so that what `work` still
/// achieves is handed to `take_back`.
async fn finish<W, B, T>(
    name: &str,
    object: String,
    limit: Duration,
    running: &watch::Sender<usize>,
    work: W,
    take_back: B,
) -> Result<Value, Error>
where
    W: Future<Output = Result<Value, Error>> + Send + 'static,
    B: FnOnce(Value) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let running = Running::new(running);
    // Whoever comes first, the end of the work or the deadline, sets it.
    let settled = Arc::new(AtomicBool::new(false));
    let first = settled.clone();
    let mut task = tokio::spawn(async move {
        let _running = running;
        let outcome = work.await;
        let late = first.swap(true, Ordering::AcqRel);
        match outcome {
            Ok(reply) if late => {
                take_back(reply).await;
                Ok(Value::Null)
            }
            outcome => outcome,
        }
    });
    let ended = match tokio::time::timeout(limit, &mut task).await {
        Ok(ended) => ended,
        Err(_) if !settled.swap(true, Ordering::AcqRel) => {
            return Err(Error::Deadline { call: name.to_owned(), object, seconds: limit.as_secs() });
        }
        Err(_) => task.await,
    };
    ended.unwrap_or_else(|broken| Err(Error::Broken { call: name.to_owned(), object, reason: broken.to_string() }))
}

/// The one place that every call passes: named, timed, counted, and its failure logged.
async fn serve(State(edge): State<Edge>, request: Request) -> Response {
    let started = Instant::now();
    let name = request.uri().path().trim_start_matches('/').to_owned();
    let reply = edge.answer(&name, request).await;
    let known = NAMES.iter().find(|known| **known == name).copied().unwrap_or("unknown");
    let (status, body) = match &reply {
        Ok(body) => (200, body.to_string()),
        Err(error) => {
            tracing::warn!(call = known, %error, "call refused");
            (error.status(), error.body().to_string())
        }
    };
    edge.metrics.plugin_call(known, if reply.is_ok() { "ok" } else { "error" }, started.elapsed());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn request(method: Method, body: Vec<u8>) -> Request {
        Request::builder().method(method).uri("/x").body(Body::from(body)).unwrap()
    }

    #[tokio::test]
    async fn only_known_calls_by_post_of_moderate_length_are_read() {
        let status = |outcome: Result<Bytes, Error>| outcome.map(|body| body.len()).map_err(|error| error.status());
        let join = "NetworkDriver.Join";
        assert_eq!(status(read("NetworkDriver.Dance", request(Method::POST, Vec::new()), HOUR).await), Err(404));
        assert_eq!(status(read(join, request(Method::GET, Vec::new()), HOUR).await), Err(405));
        assert_eq!(status(read(join, request(Method::POST, vec![b' '; BODY_LIMIT + 1]), HOUR).await), Err(400));
        assert_eq!(status(read(join, request(Method::POST, vec![b' '; BODY_LIMIT]), HOUR).await), Ok(BODY_LIMIT));
    }

    #[tokio::test]
    async fn work_goes_on_when_the_client_has_gone() {
        let running = watch::Sender::new(0);
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let work = async move {
            let _ = gate.await;
            let _ = done.send(());
            Ok(json!({}))
        };
        // One poll starts the task; the drop is what hyper does to the handler of a closed connection.
        let mut call =
            Box::pin(finish("NetworkDriver.Join", "endpoint e".to_owned(), HOUR, &running, work, |_| async { panic!("wanted") }));
        assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
        drop(call);
        assert_eq!(*running.borrow(), 1);
        go.send(()).unwrap();
        finished.await.unwrap();
        running.subscribe().wait_for(|count| *count == 0).await.unwrap();
    }

    #[tokio::test]
    async fn a_passed_deadline_names_call_and_object() {
        let running = watch::Sender::new(0);
        let error = finish("NetworkDriver.Join", "endpoint e".to_owned(), Duration::ZERO, &running, std::future::pending(), |_| async {})
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(error.status() == 500 && text.contains("NetworkDriver.Join of endpoint e"), "{text}");
        assert_eq!(*running.borrow(), 1, "the work was given up");
    }

    #[tokio::test]
    async fn what_comes_after_the_deadline_is_taken_back() {
        let running = watch::Sender::new(0);
        let (go, gate) = oneshot::channel::<()>();
        let (taken, back) = oneshot::channel();
        let work = async move {
            let _ = gate.await;
            Ok(json!({"Address": "10.0.0.2/24"}))
        };
        let take_back = |reply: Value| async move {
            let _ = taken.send(reply);
        };
        let call = "IpamDriver.RequestAddress";
        finish(call, "an address".to_owned(), Duration::ZERO, &running, work, take_back).await.unwrap_err();
        go.send(()).unwrap();
        assert_eq!(back.await.unwrap(), json!({"Address": "10.0.0.2/24"}));
        running.subscribe().wait_for(|count| *count == 0).await.unwrap();
    }

    #[tokio::test]
    async fn a_defect_in_a_call_is_an_error_of_that_call_alone() {
        let running = watch::Sender::new(0);
        let work = async { panic!("a defect") };
        let error = finish("NetworkDriver.Join", "endpoint e".to_owned(), HOUR, &running, work, |_| async {}).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert_eq!(*running.borrow(), 0);
    }
}
