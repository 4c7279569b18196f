//! One token for all callers, and the HTTP calls made with it.
//!
//! Callers take a snapshot of the token, marked with a generation. Who finds it refused asks for a newer generation than the one it used;
//! the first to ask authenticates, the others wait for that outcome, good or bad, so that a wrong password is tried once and not fifty
//! times (Keystone may lock the user).

use std::{
    error::Error as _,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, timeout_at};

use super::{
    auth,
    catalog::{self, TokenDocument},
    error::Error,
    settings::{AuthMethod, CloudSettings, settings},
};
use crate::http::client::{self, ClientSettings};

/// How long before its end a token is renewed, unless it lives so short that a fifth of its life is less.
const EARLY: Duration = Duration::from_secs(60);

/// How many requests were sent, by method; for metrics, and for those who count calls per container.
#[derive(Debug, Default)]
pub struct Calls {
    get: AtomicU64,
    post: AtomicU64,
    put: AtomicU64,
    delete: AtomicU64,
    auth: AtomicU64,
}

impl Calls {
    /// `GET` to Neutron.
    pub fn get(&self) -> u64 {
        self.get.load(Ordering::Relaxed)
    }

    /// `POST` to Neutron.
    pub fn post(&self) -> u64 {
        self.post.load(Ordering::Relaxed)
    }

    /// `PUT` to Neutron.
    pub fn put(&self) -> u64 {
        self.put.load(Ordering::Relaxed)
    }

    /// `DELETE` to Neutron.
    pub fn delete(&self) -> u64 {
        self.delete.load(Ordering::Relaxed)
    }

    /// Authentications with Keystone.
    pub fn auth(&self) -> u64 {
        self.auth.load(Ordering::Relaxed)
    }

    /// All requests to Neutron.
    pub fn neutron(&self) -> u64 {
        self.get() + self.post() + self.put() + self.delete()
    }

    fn count(&self, method: &Method) {
        let counter = match method.as_str() {
            "POST" => &self.post,
            "PUT" => &self.put,
            "DELETE" => &self.delete,
            _ => &self.get,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A token and where it leads.
struct Token {
    generation: u64,
    /// None when no token is sent.
    secret: Option<String>,
    /// Neutron's address without version.
    endpoint: String,
    /// When to renew it, and when it ends.
    lifetime: Option<(Instant, Instant)>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// Authentications that have ended, well or badly.
    attempts: u64,
    /// The outcome of the last one, if bad.
    failure: Option<Error>,
}

pub(super) struct Session {
    http: reqwest::Client,
    settings: CloudSettings,
    state: Mutex<State>,
    /// Held while authenticating.
    gate: tokio::sync::Mutex<()>,
    /// Keystone's v3 address, once found.
    keystone: OnceLock<String>,
    calls: Calls,
}

/// One call of the Neutron API.
pub(super) struct Call {
    /// What is tried on which object, for errors.
    pub what: String,
    pub method: Method,
    /// Path and query below `/v2.0`, with its leading slash, already percent-encoded.
    pub path: String,
    /// The JSON body.
    pub body: Option<Vec<u8>>,
}

struct Answer {
    status: StatusCode,
    request_id: Option<String>,
    subject_token: Option<String>,
    body: Bytes,
}

/// What a request is for and how long it may take.
struct Purpose<'a> {
    what: &'a str,
    service: &'static str,
    url: &'a str,
    deadline: Instant,
}

impl Session {
    pub fn new(settings_: CloudSettings) -> Result<Self, Error> {
        let http = client::build(&ClientSettings {
            cafile: settings_.cafile.clone(),
            insecure: settings_.insecure,
            certfile: settings_.certfile.clone(),
            keyfile: settings_.keyfile.clone(),
            timeout: settings_.timeout,
        })
        .map_err(|error| settings(error.to_string()))?;
        Ok(Self {
            http,
            settings: settings_,
            state: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            keystone: OnceLock::new(),
            calls: Calls::default(),
        })
    }

    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Sends the call and gives back the body of a good answer; on 401 renews the token and tries once more. All of it within the
    /// deadline.
    pub async fn call(&self, call: &Call) -> Result<Bytes, Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let token = self.token(deadline).await?;
        let mut answer = self.send_to_neutron(call, &token, deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED && auth::body(&self.settings.auth).is_some() {
            let token = self.renew(token.generation, deadline).await?;
            answer = self.send_to_neutron(call, &token, deadline).await?;
        }
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            Err(Error::neutron(call.what.clone(), answer.status.as_u16(), &answer.body, answer.request_id))
        }
    }

    /// Makes sure that there is a good token and an endpoint.
    pub async fn authenticate(&self) -> Result<(), Error> {
        self.token(Instant::now() + self.settings.timeout).await.map(drop)
    }

    /// Neutron's address in the words of an error: the endpoint in use, or where it would be asked for.
    pub fn address(&self) -> String {
        self.snapshot().0.map_or_else(|| self.settings.auth_url.clone(), |token| token.endpoint.clone())
    }

    async fn send_to_neutron(&self, call: &Call, token: &Token, deadline: Instant) -> Result<Answer, Error> {
        let url = format!("{}/v2.0{}", token.endpoint, call.path);
        let mut request = self.http.request(call.method.clone(), &url).header("Accept", "application/json");
        if let Some(secret) = &token.secret {
            request = request.header("X-Auth-Token", secret);
        }
        if let Some(body) = &call.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        self.calls.count(&call.method);
        let purpose = Purpose { what: &call.what, service: "Neutron", url: &token.endpoint, deadline };
        self.send(request, &call.method, &call.path, &purpose).await
    }

    async fn send(&self, request: RequestBuilder, method: &Method, path: &str, purpose: &Purpose<'_>) -> Result<Answer, Error> {
        let started = Instant::now();
        let left = purpose.deadline.saturating_duration_since(started);
        let outcome = async {
            let response = request.timeout(left).send().await?;
            let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let (request_id, subject_token) = (header("x-openstack-request-id"), header("x-subject-token"));
            let status = response.status();
            Ok(Answer { status, request_id, subject_token, body: response.bytes().await? })
        };
        let answer: Result<Answer, reqwest::Error> = outcome.await;
        let ms = started.elapsed().as_millis();
        match answer {
            Ok(answer) => {
                let request_id = answer.request_id.as_deref().unwrap_or("-");
                tracing::debug!(service = purpose.service, %method, path, status = answer.status.as_u16(), ms, request_id, "called");
                Ok(answer)
            }
            Err(error) => {
                let error = self.transport(error.without_url(), purpose);
                tracing::debug!(service = purpose.service, %method, path, ms, %error, "call failed");
                Err(error)
            }
        }
    }

    fn transport(&self, error: reqwest::Error, purpose: &Purpose<'_>) -> Error {
        if error.is_timeout() {
            return self.timed_out(purpose);
        }
        let mut reason = error.to_string();
        let mut source = error.source();
        // reqwest's own text says only that sending failed; the cause is below.
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        let Purpose { what, service, url, .. } = *purpose;
        Error::Unreachable { what: what.to_owned(), service, url: url.to_owned(), reason }
    }

    fn timed_out(&self, purpose: &Purpose<'_>) -> Error {
        let Purpose { what, service, url, .. } = *purpose;
        Error::Timeout { what: what.to_owned(), service, url: url.to_owned(), after: self.settings.timeout }
    }

    fn snapshot(&self) -> (Option<Arc<Token>>, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.token.clone(), state.attempts)
    }

    async fn token(&self, deadline: Instant) -> Result<Arc<Token>, Error> {
        let Some(token) = self.snapshot().0 else {
            return self.renew(0, deadline).await;
        };
        let now = Instant::now();
        match token.lifetime {
            Some((renewal, end)) if now >= renewal => match self.renew(token.generation, deadline).await {
                // Keystone may be away for a moment; the old token is still good for as long as it lives.
                Err(_) if now < end => Ok(token),
                outcome => outcome,
            },
            _ => Ok(token),
        }
    }

    /// A token newer than `seen`.
    async fn renew(&self, seen: u64, deadline: Instant) -> Result<Arc<Token>, Error> {
        let what = format!("get a token for {}", auth::subject(&self.settings.auth));
        let purpose = Purpose { what: &what, service: "Keystone", url: &self.settings.auth_url, deadline };
        let attempts_before = self.snapshot().1;
        let _gate = timeout_at(deadline, self.gate.lock()).await.map_err(|_| self.timed_out(&purpose))?;
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = state.token.as_ref().filter(|token| token.generation > seen) {
                return Ok(Arc::clone(token));
            }
            if let Some(failure) = state.failure.as_ref().filter(|_| state.attempts > attempts_before) {
                return Err(failure.clone());
            }
        }
        let outcome = self.authenticated(seen + 1, &purpose).await.map(Arc::new);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.attempts += 1;
        state.failure = outcome.as_ref().err().cloned();
        if let Ok(token) = &outcome {
            state.token = Some(Arc::clone(token));
        }
        outcome
    }

    async fn authenticated(&self, generation: u64, purpose: &Purpose<'_>) -> Result<Token, Error> {
        let fixed = self.settings.endpoint_override.as_deref().map(|url| catalog::without_version(url).to_owned());
        let Some(body) = auth::body(&self.settings.auth) else {
            let secret = match &self.settings.auth {
                AuthMethod::AdminToken { token } => Some(token.expose().to_owned()),
                _ => None,
            };
            let endpoint = fixed.ok_or_else(|| settings("without Keystone there must be an 'endpoint'".to_owned()))?;
            return Ok(Token { generation, secret, endpoint, lifetime: None });
        };
        let keystone = self.keystone_v3(purpose).await?;
        let url = format!("{keystone}/auth/tokens");
        self.calls.auth.fetch_add(1, Ordering::Relaxed);
        let asked = Instant::now();
        let request = self.http.post(&url).header("Accept", "application/json").json(&body);
        let purpose = Purpose { url: &keystone, ..*purpose };
        let answer = self.send(request, &Method::POST, "/v3/auth/tokens", &purpose).await?;
        if !answer.status.is_success() {
            return Err(Error::keystone(purpose.what.to_owned(), answer.status.as_u16(), &answer.body, answer.request_id));
        }
        let unreadable = |reason: String| {
            let Purpose { what, service, url, .. } = purpose;
            Error::BadReply { what: what.to_owned(), service, url: url.to_owned(), reason }
        };
        let secret = answer.subject_token.ok_or_else(|| unreadable("there is no X-Subject-Token".to_owned()))?;
        let token = serde_json::from_slice::<TokenDocument>(&answer.body).map_err(|error| unreadable(error.to_string()))?.token;
        let endpoint = match fixed {
            Some(endpoint) => endpoint,
            None => {
                let url = catalog::network_endpoint(&token.catalog, &self.settings.interface, self.settings.region.as_deref())?;
                catalog::without_version(&url).to_owned()
            }
        };
        let lifetime =
            lifetime(&token.issued_at, &token.expires_at).map(|life| (asked + life.saturating_sub(EARLY.min(life / 5)), asked + life));
        Ok(Token { generation, secret: Some(secret), endpoint, lifetime })
    }

    /// Keystone's v3 address. `…/v3` is taken as it is; anything else is asked which versions there are, and `/v3` is added where that
    /// gives no answer.
    async fn keystone_v3(&self, purpose: &Purpose<'_>) -> Result<String, Error> {
        if let Some(found) = self.keystone.get() {
            return Ok(found.clone());
        }
        let given = self.settings.auth_url.trim_end_matches('/');
        let found = if given.ends_with("/v3") {
            given.to_owned()
        } else {
            // Keystone's v2.0 is gone since Queens: such an address is read as that of the same Keystone's v3.
            let root = given.strip_suffix("/v2.0").unwrap_or(given).trim_end_matches('/');
            let request = self.http.get(format!("{root}/")).header("Accept", "application/json");
            let answer = self.send(request, &Method::GET, "/", purpose).await?;
            let link = catalog::v3_link(&answer.body).and_then(|href| same_origin(root, &href));
            link.unwrap_or_else(|| format!("{root}/v3"))
        };
        Ok(self.keystone.get_or_init(|| found).clone())
    }
}

/// The link's path on the host that was asked: Keystone behind a proxy often gives out addresses that only it can reach, and a password
/// must not go to a host that nobody configured.
fn same_origin(asked: &str, href: &str) -> Option<String> {
    let mut url = reqwest::Url::parse(asked).ok()?;
    let link = url.join(href).ok()?;
    url.set_path(link.path());
    url.set_query(None);
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// How long the token lives, from Keystone's own two times: this host's clock does not come into it.
fn lifetime(issued: &Option<String>, expires: &Option<String>) -> Option<Duration> {
    let [issued, expires] = [issued, expires].map(|at| at.as_deref().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok()));
    Duration::try_from(expires? - issued?).ok()
}
