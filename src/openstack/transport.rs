//! One request to the cloud and its whole answer: the deadline, a limit of size, what may be repeated, and failures in words.

use std::{error::Error as StdError, io, time::Duration};

use reqwest::{Method, Request, RequestBuilder, Response, StatusCode};
use tokio::time::{Instant, sleep};

use super::error::Error;
use crate::{
    http::client::{self, ClientSettings},
    metrics::{CloudRequests, Service},
};

/// The largest answer that is read. Ten thousand ports are about 15 MiB.
const LARGEST: usize = 32 << 20;
/// How often a request is sent when the cloud asks to wait (`Retry-After`).
const ATTEMPTS: u32 = 3;
/// Longer waits are left to the caller, whose work is kept in the journal.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The HTTP client with the deadline of a call.
pub(super) struct Transport {
    http: reqwest::Client,
    /// Counts every attempt.
    pub requests: CloudRequests,
    /// Upper bound of one call, with all that belongs to it.
    pub timeout: Duration,
}

/// What a request is for and how long it may take.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub what: &'a str,
    pub service: &'static str,
    pub url: &'a str,
    pub deadline: Instant,
    /// Whether sending it twice does no harm.
    pub repeatable: bool,
}

/// The answer, good or bad.
pub(super) struct Answer {
    pub status: StatusCode,
    pub request_id: Option<String>,
    pub subject_token: Option<String>,
    /// Where a redirect leads; none is followed.
    pub location: Option<String>,
    retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

enum Failure {
    Http(reqwest::Error),
    TooLarge,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl Purpose<'_> {
    /// The answer is not what the API promises.
    pub fn unreadable(&self, reason: impl Into<String>) -> Error {
        Error::BadReply { what: self.what.to_owned(), service: self.service, url: self.url.to_owned(), reason: reason.into() }
    }
}

impl Transport {
    pub fn new(settings: &ClientSettings) -> Result<Self, client::Error> {
        Ok(Self { http: client::build(settings)?, requests: CloudRequests::default(), timeout: settings.timeout })
    }

    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).header("Accept", "application/json")
    }

    /// Sends the request; `path` is what the log calls it.
    pub async fn send(&self, request: RequestBuilder, path: &str, purpose: &Purpose<'_>) -> Result<Answer, Error> {
        let request = request.build().map_err(|error| self.failed(Failure::from(error), purpose))?;
        let (mut attempts, mut broken) = (0, None);
        loop {
            attempts += 1;
            // A body of bytes can always be copied; without a copy this attempt is the last one.
            let Some(copy) = request.try_clone() else {
                return self.attempt(request, path, purpose).await.map_err(|failure| self.failed(failure, purpose));
            };
            match self.attempt(copy, path, purpose).await {
                // The server may close a kept connection in the moment in which we write to it.
                Err(Failure::Http(error)) if purpose.repeatable && broken.is_none() && is_broken(&error) => {
                    broken = Some(Failure::Http(error))
                }
                Ok(answer) => match answer.wait(purpose.repeatable) {
                    Some(wait) if attempts < ATTEMPTS && Instant::now() + wait < purpose.deadline => sleep(wait).await,
                    _ => return Ok(answer),
                },
                // A change whose connection broke may have been made, whatever became of the repeat.
                Err(failure) => {
                    let first = broken.filter(|_| request.method() != Method::GET);
                    return Err(self.failed(first.unwrap_or(failure), purpose));
                }
            }
        }
    }

    async fn attempt(&self, mut request: Request, path: &str, purpose: &Purpose<'_>) -> Result<Answer, Failure> {
        let started = Instant::now();
        *request.timeout_mut() = Some(purpose.deadline.saturating_duration_since(started));
        let (method, service) = (request.method().clone(), purpose.service);
        let outcome = async { Answer::read(self.http.execute(request).await?).await }.await;
        let took = started.elapsed();
        let asked = if service == "Keystone" { Service::Keystone } else { Service::Neutron };
        self.requests.observe(asked, method.as_str(), path, outcome.as_ref().ok().map(|answer| answer.status.as_u16()), took);
        let ms = took.as_millis();
        match &outcome {
            Ok(answer) => {
                let request_id = answer.request_id.as_deref().unwrap_or("-");
                tracing::debug!(service, %method, path, status = answer.status.as_u16(), ms, request_id, "called");
            }
            Err(Failure::Http(error)) => tracing::debug!(service, %method, path, ms, error = deepest(error), "call failed"),
            Err(Failure::TooLarge) => tracing::debug!(service, %method, path, ms, "the answer is too large"),
        }
        outcome
    }

    /// No answer within the deadline.
    pub fn timed_out(&self, purpose: &Purpose<'_>) -> Error {
        Error::Timeout { what: purpose.what.to_owned(), service: purpose.service, url: purpose.url.to_owned(), after: self.timeout }
    }

    fn failed(&self, failure: Failure, purpose: &Purpose<'_>) -> Error {
        let Failure::Http(error) = failure else {
            return purpose.unreadable(format!("it is larger than {} MiB", LARGEST >> 20));
        };
        let (what, service, url) = (purpose.what.to_owned(), purpose.service, purpose.url.to_owned());
        // Connecting has a limit of its own, so that a host that drops packets is told apart from a service that is slow.
        if error.is_timeout() && (!error.is_connect() || Instant::now() >= purpose.deadline) {
            return self.timed_out(purpose);
        }
        if let Some(client::TlsRefusal { reason, remedy }) = client::tls_refusal(&error) {
            return Error::Tls { what, service, url, reason, remedy };
        }
        match http_error(&error) {
            Some(http) if http.is_parse() => purpose.unreadable("it is not HTTP; the address of a TLS port starts with https://"),
            _ if is_broken(&error) => Error::Broken { what, service, url, reason: deepest(&error) },
            _ => Error::Unreachable { what, service, url, reason: deepest(&error) },
        }
    }
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, Failure> {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut answer = Self {
            status: response.status(),
            request_id: header("x-openstack-request-id"),
            subject_token: header("x-subject-token"),
            location: header("location"),
            // The other form, a date, is not used by OpenStack's services.
            retry_after: header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs),
            body: Vec::new(),
        };
        if response.content_length().is_some_and(|length| length > LARGEST as u64) {
            return Err(Failure::TooLarge);
        }
        while let Some(chunk) = response.chunk().await? {
            if answer.body.len() + chunk.len() > LARGEST {
                return Err(Failure::TooLarge);
            }
            answer.body.extend_from_slice(&chunk);
        }
        Ok(answer)
    }

    /// How long the cloud wants us to wait before we ask again, if it is worth it.
    fn wait(&self, repeatable: bool) -> Option<Duration> {
        let refused_unread = matches!(self.status.as_u16(), 413 | 429);
        let may_repeat = refused_unread || (self.status == StatusCode::SERVICE_UNAVAILABLE && repeatable);
        self.retry_after.filter(|wait| may_repeat && *wait <= LONGEST_WAIT)
    }
}

/// Whether there was a connection and it ended too early.
fn is_broken(error: &reqwest::Error) -> bool {
    !error.is_timeout() && !error.is_connect() && (error.is_request() || error.is_body() || error.is_decode())
}

fn http_error(error: &reqwest::Error) -> Option<&hyper::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref() {
            return Some(http);
        }
        cause = error.source();
    }
    None
}

/// reqwest's own text says only that sending failed; the cause is below.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn StdError = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    match deepest.downcast_ref::<hyper::Error>() {
        Some(http) if http.is_incomplete_message() => "the server closed it before the answer was complete".to_owned(),
        _ => match deepest.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::UnexpectedEof) => "the server closed it before the answer was complete".to_owned(),
            _ => deepest.to_string(),
        },
    }
}
