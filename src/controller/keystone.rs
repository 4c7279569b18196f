//! Keystone v3 under `/identity`: who asks, what is refused in which words, and the frame of every answer.

pub mod application_credentials;
pub mod auth;
pub mod catalog;
pub mod grants;
pub mod projects;
pub mod schema;
pub mod users;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Query as QueryString, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use rusqlite::Transaction;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ApiError, Controller,
    attributes::plain,
    error::json_answer,
    neutron::base,
    query::Query,
    store::{self, Object},
    tokens::{self, Token},
};

/// The id of the one domain, whose name is `Default`.
pub const DOMAIN: &str = "default";

/// The routes of Keystone's part.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity", get(versions))
        .route("/identity/", get(versions))
        .route("/identity/v3", get(version))
        .route("/identity/v3/", get(version))
        .merge(auth::router())
        .merge(catalog::router())
        .merge(users::router())
        .merge(projects::router())
        .merge(grants::router())
        .merge(application_credentials::router())
}

fn version_entry(base: &str) -> Value {
    json!({
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

async fn versions(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Response {
    let entry = version_entry(&base(&controller, &headers));
    json_answer(StatusCode::MULTIPLE_CHOICES, &json!({"versions": {"values": [entry]}}))
}

async fn version(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Response {
    json_answer(StatusCode::OK, &json!({"version": version_entry(&base(&controller, &headers))}))
}

/// What a handler gives: the status, and a body where there is one.
pub type Answer = Result<(StatusCode, Option<Value>), ApiError>;

/// A handler's answer on its way out.
pub type Reply = Result<Response, ApiError>;

/// 200 with a body.
pub fn ok(body: Value) -> Answer {
    Ok((StatusCode::OK, Some(body)))
}

/// 201 with a body.
pub fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Some(body)))
}

/// 204.
pub fn done() -> Answer {
    Ok((StatusCode::NO_CONTENT, None))
}

/// A request whose caller is not known yet.
#[derive(Debug)]
pub struct Ask {
    controller: Arc<Controller>,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The pairs of its query string.
    pub query: Query,
    /// The URL at which the caller reached us, without a path.
    pub base: String,
}

impl FromRequestParts<Arc<Controller>> for Ask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, controller: &Arc<Controller>) -> Result<Self, ApiError> {
        let query = QueryString::from_request_parts(parts, controller).await;
        let QueryString(query) = query.map_err(|error| bad_request(error.to_string()))?;
        let base = base(controller, &parts.headers);
        Ok(Self { controller: Arc::clone(controller), headers: parts.headers.clone(), query, base })
    }
}

impl Ask {
    /// Runs `work` in one transaction for whoever asks; errors of the store come in Keystone's form.
    pub async fn anonymously<T: Send + 'static>(
        self,
        work: impl FnOnce(&Transaction<'_>, &Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.controller.store().clone();
        store.transaction(move |tx| work(tx, &self)).await.map_err(|error| ApiError::identity(error.status, error.message))
    }

    /// Runs `work` in one transaction for the owner of the request's token; without a valid one it is 401.
    pub async fn answer(self, work: impl FnOnce(&Caller<'_>) -> Answer + Send + 'static) -> Reply {
        let work = move |tx: &Transaction<'_>, ask: &Self| {
            let token = tokens::of(tx, &ask.headers)?;
            let admin = tokens::roles(tx, &token.id)?.iter().any(|role| role["name"] == "admin");
            work(&Caller { tx, token, admin, ask })
        };
        let (status, body) = self.anonymously(work).await?;
        Ok(body.map_or_else(|| status.into_response(), |body| json_answer(status, &body)))
    }
}

/// A request of somebody with a valid token, inside its transaction.
#[derive(Debug)]
pub struct Caller<'a> {
    /// The transaction; an error rolls it back.
    pub tx: &'a Transaction<'a>,
    /// The token that came with the request.
    pub token: Token,
    /// Whether the token carries the role `admin`.
    pub admin: bool,
    /// The request.
    pub ask: &'a Ask,
}

impl Caller<'_> {
    /// 403 for everybody but administrators; `action` is the name in Keystone's policy.
    pub fn must_be_admin(&self, action: &str) -> Result<(), ApiError> {
        self.may(false, action)
    }

    /// 403 unless the caller is an administrator or `allowed`.
    pub fn may(&self, allowed: bool, action: &str) -> Result<(), ApiError> {
        if self.admin || allowed { Ok(()) } else { Err(forbidden(&format!("identity:{action}"))) }
    }

    /// An object of the table, or 404 in Keystone's words.
    pub fn find(&self, table: &str, singular: &str, id: &str) -> Result<Object, ApiError> {
        store::find(self.tx, table, id)?.ok_or_else(|| not_found(singular, id))
    }

    /// The URL of a path below `/v3/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}/identity/v3/{path}", self.ask.base)
    }

    /// An object as it is answered, with its own URL; `path` is that of its collection.
    pub fn shown(&self, path: &str, mut object: Object) -> Value {
        let id = object.get("id").map(plain).unwrap_or_default();
        object.insert("links".into(), json!({"self": self.url(&format!("{path}/{id}"))}));
        Value::Object(object)
    }

    /// A list as it is answered: what passes those of `filters` that the query names. Others are ignored, as in Keystone.
    pub fn listed(&self, path: &str, mut objects: Vec<Object>, filters: &[&str]) -> Value {
        for (name, wanted) in self.ask.query.iter().filter(|(name, _)| filters.contains(&name.as_str())) {
            objects.retain(|object| match object.get(name) {
                Some(Value::Bool(flag)) => *flag == is_true(wanted),
                Some(value) => plain(value) == *wanted,
                None => false,
            });
        }
        let objects: Vec<Value> = objects.into_iter().map(|object| self.shown(path, object)).collect();
        let collection = path.rsplit('/').next().unwrap_or(path);
        json!({collection: objects, "links": {"next": null, "self": self.url(path), "previous": null}})
    }

    /// The value of a name in the query string.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.ask.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Completes a new user or project with its id and what both have; the id.
pub fn new_object(object: &mut Object) -> String {
    let id = Uuid::new_v4().simple().to_string();
    object.insert("id".into(), json!(id));
    object.insert("domain_id".into(), json!(DOMAIN));
    object.entry("enabled").or_insert(json!(true));
    object.entry("options").or_insert(json!({}));
    id
}

/// 400 where a change names what cannot change, unless it says what is so already.
pub fn only_same(changes: &Object, object: &Object, fixed: &[(&str, &str)]) -> Result<(), ApiError> {
    let other = |name: &str| changes.get(name).is_some_and(|value| Some(value) != object.get(name));
    match fixed.iter().find(|(name, _)| other(name)) {
        Some((_, title)) => Err(bad_request(format!("Cannot change {title}"))),
        None => Ok(()),
    }
}

/// Applies checked changes; of the options, those that are named, and null takes one away.
pub fn merge(object: &mut Object, mut changes: Object) {
    if let (Some(Value::Object(given)), Some(Value::Object(options))) = (changes.remove("options"), object.get_mut("options")) {
        options.extend(given);
        options.retain(|_, value| !value.is_null());
    }
    object.extend(changes);
}

/// A switch in a query string: Keystone takes it for set unless the value says no.
pub fn is_true(text: &str) -> bool {
    !["0", "false", "f", "no", "n", "off"].contains(&text.to_ascii_lowercase().as_str())
}

/// 400 in Keystone's form.
pub fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::identity(StatusCode::BAD_REQUEST, message)
}

/// 400 for what Keystone's own code, not its schemas, misses.
pub fn expected(attribute: &str, target: &str) -> ApiError {
    bad_request(format!("Expecting to find {attribute} in {target}. {MALFORMED}"))
}

/// How Keystone ends most of its 400s.
pub const MALFORMED: &str = "The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.";

/// 403; `action` is the name in Keystone's policy, with `identity:`, or a sentence.
pub fn forbidden(action: &str) -> ApiError {
    ApiError::identity(StatusCode::FORBIDDEN, format!("You are not authorized to perform the requested action: {action}."))
}

/// 404 for an object by its id.
pub fn not_found(singular: &str, id: &str) -> ApiError {
    ApiError::identity(StatusCode::NOT_FOUND, format!("Could not find {singular}: {id}."))
}

/// What a broken UNIQUE of a table means: 409, because the name is taken. Any other error of the store stays one.
pub fn taken(error: rusqlite::Error, singular: &str, details: &str) -> ApiError {
    if !store::is_constraint(&error) {
        return error.into();
    }
    ApiError::identity(StatusCode::CONFLICT, format!("Conflict occurred attempting to store {singular} - {details}."))
}
