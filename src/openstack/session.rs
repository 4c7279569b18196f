//! One token for all callers, and the HTTP calls made with it.
//!
//! Callers take a snapshot of the token, marked with a generation. Who finds it refused asks for a newer generation than the one it used;
//! the first to ask authenticates, the others wait for that outcome, good or bad, so that a wrong password is tried once and not fifty
//! times (Keystone may lock the user).

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Method, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::{
    auth,
    budget::Budget,
    calls::Calls,
    catalog,
    error::Error,
    keystone::{Asker, Keystone, Login},
    settings::{AuthMethod, CloudSettings, settings},
    transport::{Answer, Purpose, Transport},
};
use crate::{http::client::ClientSettings, metrics::CloudRequests};

/// How long before its end a token is renewed, unless it lives so short that a fifth of its life is less.
const EARLY: Duration = Duration::from_secs(60);

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
    transport: Transport,
    settings: CloudSettings,
    state: Mutex<State>,
    /// Held while authenticating.
    gate: tokio::sync::Mutex<()>,
    keystone: Keystone,
    calls: Calls,
    budget: Budget,
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
    /// The only `revision_number` of the object at which it may be done (`If-Match`).
    pub revision: Option<i64>,
}

impl Call {
    /// A second POST could make a second object, and an interface of a router cannot be added or removed twice.
    fn is_repeatable(&self) -> bool {
        self.method != Method::POST && !self.path.ends_with("_router_interface")
    }
}

impl Session {
    pub fn new(settings_: CloudSettings) -> Result<Self, Error> {
        let transport = Transport::new(&ClientSettings {
            cafile: settings_.cafile.clone(),
            insecure: settings_.insecure,
            certfile: settings_.certfile.clone(),
            keyfile: settings_.keyfile.clone(),
            direct: on_this_machine(settings_.endpoint_override.as_deref().unwrap_or(&settings_.auth_url)),
            timeout: settings_.timeout,
        })
        .map_err(|error| settings(error.to_string()))?;
        Ok(Self {
            transport,
            settings: settings_,
            state: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            keystone: Keystone::default(),
            calls: Calls::default(),
            budget: Budget::default(),
        })
    }

    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    pub fn requests(&self) -> &CloudRequests {
        &self.transport.requests
    }

    /// Sends the call and gives back the body of a good answer; on 401 renews the token and tries once more. All of it within the
    /// deadline, which begins when there is a place for it.
    pub async fn call(&self, call: &Call) -> Result<Vec<u8>, Error> {
        // A login that fails while this waits for its place has failed for this as well.
        let attempts_before = self.snapshot().1;
        let _place = self.budget.place().await;
        let deadline = Instant::now() + self.settings.timeout;
        let token = self.token(attempts_before, deadline).await?;
        let mut answer = self.send_to_neutron(call, &token, deadline).await?;
        if answer.status == StatusCode::UNAUTHORIZED && auth::body(&self.settings.auth).is_some() {
            let token = self.renew(token.generation, attempts_before, deadline).await?;
            answer = self.send_to_neutron(call, &token, deadline).await?;
        }
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let error = Error::neutron(call.what.clone(), answer.status.as_u16(), &answer.body, answer.request_id);
        Err(error.moved_to(answer.location.as_deref()))
    }

    /// Makes sure that there is a good token and an endpoint.
    pub async fn authenticate(&self) -> Result<(), Error> {
        self.token(self.snapshot().1, Instant::now() + self.settings.timeout).await.map(drop)
    }

    /// Neutron's address in the words of an error: the endpoint in use, or where it would be asked for.
    pub fn address(&self) -> String {
        self.snapshot().0.map_or_else(|| self.settings.auth_url.clone(), |token| token.endpoint.clone())
    }

    async fn send_to_neutron(&self, call: &Call, token: &Token, deadline: Instant) -> Result<Answer, Error> {
        let url = format!("{}/v2.0{}", token.endpoint, call.path);
        let mut request = self.transport.request(call.method.clone(), &url);
        if let Some(secret) = &token.secret {
            request = request.header("X-Auth-Token", secret);
        }
        if let Some(body) = &call.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        if let Some(revision) = call.revision {
            request = request.header("If-Match", format!("revision_number={revision}"));
        }
        self.calls.count(&call.method);
        let purpose = Purpose { what: &call.what, service: "Neutron", url: &token.endpoint, deadline, repeatable: call.is_repeatable() };
        self.transport.send(request, &call.path, &purpose).await
    }

    fn snapshot(&self) -> (Option<Arc<Token>>, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.token.clone(), state.attempts)
    }

    async fn token(&self, attempts_before: u64, deadline: Instant) -> Result<Arc<Token>, Error> {
        let Some(token) = self.snapshot().0 else {
            return self.renew(0, attempts_before, deadline).await;
        };
        let now = Instant::now();
        match token.lifetime {
            Some((renewal, end)) if now >= renewal => match self.renew(token.generation, attempts_before, deadline).await {
                // Keystone may be away for a moment; the old token is still good for as long as it lives.
                Err(_) if now < end => Ok(token),
                outcome => outcome,
            },
            _ => Ok(token),
        }
    }

    /// A token newer than `seen`. An attempt that has failed since there were `attempts_before` is not made again.
    async fn renew(&self, seen: u64, attempts_before: u64, deadline: Instant) -> Result<Arc<Token>, Error> {
        let what = format!("get a token for {}", auth::subject(&self.settings.auth));
        let purpose = Purpose { what: &what, service: "Keystone", url: &self.settings.auth_url, deadline, repeatable: true };
        let _gate = timeout_at(deadline, self.gate.lock()).await.map_err(|_| self.transport.timed_out(&purpose))?;
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
        let asked = Instant::now();
        let asker = Asker { transport: &self.transport, settings: &self.settings, calls: &self.calls };
        let Some(Login { secret, catalog, lifetime }) = self.keystone.login(asker, purpose).await? else {
            let secret = match &self.settings.auth {
                AuthMethod::AdminToken { token } => Some(token.expose().to_owned()),
                _ => None,
            };
            let endpoint = fixed.ok_or_else(|| settings("without Keystone there must be an 'endpoint'".to_owned()))?;
            return Ok(Token { generation, secret, endpoint, lifetime: None });
        };
        let endpoint = match fixed {
            Some(endpoint) => endpoint,
            None => {
                let url = catalog::network_endpoint(&catalog, &self.settings.interface, self.settings.region.as_deref())?;
                catalog::without_version(&url).to_owned()
            }
        };
        let lifetime = lifetime.map(|life| (asked + renewal(life), asked + life));
        Ok(Token { generation, secret: Some(secret), endpoint, lifetime })
    }
}

/// How old a token that lives so long gets before it is renewed.
fn renewal(life: Duration) -> Duration {
    life.saturating_sub(EARLY.min(life / 5))
}

fn on_this_machine(url: &str) -> bool {
    match Url::parse(url).ok().as_ref().and_then(Url::host_str) {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::{
        Router,
        http::{HeaderMap, StatusCode},
        response::IntoResponse,
        routing,
    };
    use serde_json::json;

    use super::*;
    use crate::openstack::Options;

    /// A Keystone that answers with this status, and a Neutron that answers with the token it was shown.
    async fn cloud(status: StatusCode) -> (Session, Arc<AtomicU64>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let logins = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&logins);
        let token = json!({"token": {"catalog": [{"type": "network", "endpoints": [{"interface": "public", "url": base}]}]}});
        let login = async move || {
            counter.fetch_add(1, Ordering::SeqCst);
            (status, [("x-subject-token", "new")], token.to_string()).into_response()
        };
        let shown = async |headers: HeaderMap| headers["x-auth-token"].to_str().unwrap().to_owned();
        let app = Router::new().route("/v3/auth/tokens", routing::post(login)).route("/v2.0/x", routing::get(shown));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let options: Options =
            [("auth_url", format!("{base}/v3")), ("username", "u".into()), ("password", "p".into()), ("endpoint_override", base)]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
        (Session::new(CloudSettings::from_options(&options).unwrap()).unwrap(), logins)
    }

    /// Calls with a token of which this much of its hour is left.
    async fn call_with(session: &Session, seconds_left: i64) -> Result<String, Error> {
        let life = Duration::from_secs(3600);
        let asked = Instant::now() - Duration::from_secs(u64::try_from(3600 - seconds_left).unwrap());
        let lifetime = Some((asked + renewal(life), asked + life));
        let endpoint = session.settings.endpoint_override.clone().unwrap();
        session.state.lock().unwrap().token = Some(Arc::new(Token { generation: 1, secret: Some("old".into()), endpoint, lifetime }));
        let call = Call { what: "test".into(), method: Method::GET, path: "/x".into(), body: None, revision: None };
        session.call(&call).await.map(|body| String::from_utf8(body).unwrap())
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_it_ends() {
        let (session, logins) = cloud(StatusCode::CREATED).await;
        assert_eq!(call_with(&session, 120).await.unwrap(), "old");
        assert_eq!(logins.load(Ordering::SeqCst), 0);
        assert_eq!(call_with(&session, 5).await.unwrap(), "new");
        assert_eq!(call_with(&session, -5).await.unwrap(), "new");
        assert_eq!(logins.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_token_is_used_to_its_end_while_keystone_is_away() {
        let (session, logins) = cloud(StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(call_with(&session, 5).await.unwrap(), "old");
        assert_eq!(call_with(&session, -5).await.unwrap_err().status(), Some(503));
        assert_eq!(logins.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_minute_or_a_fifth_of_the_life_is_left_for_renewal() {
        for (life, age) in [(3600, 3540), (300, 240), (100, 80), (5, 4), (0, 0)] {
            assert_eq!(renewal(Duration::from_secs(life)), Duration::from_secs(age));
        }
    }

    #[test]
    fn loopback_addresses_are_on_this_machine() {
        for (url, here) in [
            ("http://localhost:5000/v3", true),
            ("http://127.0.0.1:9696", true),
            ("https://[::1]/identity", true),
            ("http://10.0.0.1/v3", false),
            ("http://localhost.example", false),
            ("", false),
        ] {
            assert_eq!(on_this_machine(url), here, "{url}");
        }
    }
}
