//! The HTTP side of Keystone's API under `/identity`.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query as QueryString, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use rusqlite::Transaction;
use serde_json::{Value, json};

use super::{
    ApiError, Controller,
    attributes::plain,
    context::Context,
    error::json_answer,
    neutron::{base, body_object, run},
    query::Query,
    resource::Call,
    store, tokens,
};

/// The routes of Keystone's part.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity", get(versions))
        .route("/identity/", get(versions))
        .route("/identity/v3", get(version))
        .route("/identity/v3/", get(version))
        .route("/identity/v3/auth/tokens", get(show_token).post(issue).delete(revoke))
        .route("/identity/v3/auth/catalog", get(catalog_list))
        .route("/identity/v3/auth/projects", get(own_projects))
        .route("/identity/v3/{collection}", get(list))
        .route("/identity/v3/{collection}/{id}", get(show))
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

/// The catalog: identity and network, each with one endpoint per interface.
fn catalog(base: &str) -> Value {
    let service = |id: &str, kind: &str, name: &str, url: String| {
        let endpoints: Vec<Value> = ["public", "internal", "admin"]
            .iter()
            .map(|interface| {
                let id = format!("{id}-{interface}");
                json!({"id": id, "interface": interface, "region": "RegionOne", "region_id": "RegionOne", "url": url})
            })
            .collect();
        json!({"id": id, "type": kind, "name": name, "endpoints": endpoints})
    };
    json!([
        service("identity", "identity", "keystone", format!("{base}/identity/v3")),
        service("network", "network", "neutron", format!("{base}/networking")),
    ])
}

fn with_token(status: StatusCode, body: &Value, id: &str) -> Response {
    let mut response = json_answer(status, body);
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-subject-token", value);
    }
    response
}

async fn issue(State(controller): State<Arc<Controller>>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let base = base(&controller, &headers);
    let malformed = |error: ApiError| ApiError::identity(StatusCode::BAD_REQUEST, error.message);
    let body = body_object(&body).map_err(malformed)?;
    let work = move |tx: &Transaction<'_>| {
        let token = tokens::issue(tx, &body)?;
        let body = tokens::describe(tx, &token, catalog(&base))?;
        Ok((token.id, body))
    };
    let (id, body) = controller.store().transaction(work).await?;
    Ok(with_token(StatusCode::CREATED, &body, &id))
}

fn subject(headers: &HeaderMap) -> Result<String, ApiError> {
    let value = headers.get("x-subject-token").and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or_else(|| ApiError::identity(StatusCode::BAD_REQUEST, "X-Subject-Token is missing"))
}

fn unknown(what: &str, id: &str) -> ApiError {
    ApiError::identity(StatusCode::NOT_FOUND, format!("Could not find {what}: {id}."))
}

/// Whether the caller may look at or revoke a token: its own, or any for an administrator.
fn may_touch(context: &Context, headers: &HeaderMap, subject: &str) -> bool {
    context.admin || headers.get("x-auth-token").is_some_and(|own| own == subject)
}

async fn show_token(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let base = base(&controller, &headers);
    let work = move |tx: &Transaction<'_>| {
        let context = Context::of(tx, &headers)?;
        let id = subject(&headers)?;
        if !may_touch(&context, &headers, &id) {
            return Err(ApiError::identity(StatusCode::FORBIDDEN, "You are not authorized to perform the requested action."));
        }
        let token = tokens::lookup(tx, &id)?.ok_or_else(|| unknown("token", "the one given"))?;
        let body = tokens::describe(tx, &token, catalog(&base))?;
        Ok((token.id, body))
    };
    let (id, body) = controller.store().transaction(work).await?;
    Ok(with_token(StatusCode::OK, &body, &id))
}

async fn revoke(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let work = move |tx: &Transaction<'_>| {
        let context = Context::of(tx, &headers)?;
        let id = subject(&headers)?;
        if !may_touch(&context, &headers, &id) {
            return Err(ApiError::identity(StatusCode::FORBIDDEN, "You are not authorized to perform the requested action."));
        }
        tx.execute("DELETE FROM tokens WHERE id = ?", [id])?;
        Ok(())
    };
    controller.store().transaction(work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn catalog_list(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let base = base(&controller, &headers);
    run(controller, headers, false, move |_call| Ok((StatusCode::OK, Some(json!({"catalog": catalog(&base), "links": {}})), ""))).await
}

async fn own_projects(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    run(controller, headers, false, |call| {
        let mut projects = store::select(call.tx, "projects", None)?;
        let mut query = call.tx.prepare("SELECT DISTINCT project_id FROM role_assignments WHERE user_id = ?")?;
        let own = query.query_map([&call.context.user], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        projects.retain(|project| project.get("id").is_some_and(|id| own.contains(&plain(id))));
        Ok((StatusCode::OK, Some(json!({"projects": projects, "links": {}})), ""))
    })
    .await
}

/// The singular of a collection that can be listed; the fixed ones live in no table.
fn singular(collection: &str) -> Option<&'static str> {
    let known = [("users", "user"), ("projects", "project"), ("roles", "role"), ("domains", "domain")];
    known.iter().find(|(name, _)| *name == collection).map(|(_, singular)| *singular)
}

fn objects(call: &Call<'_>, collection: &str) -> Result<Vec<store::Object>, ApiError> {
    if collection == "domains" {
        let domain =
            json!({"id": "default", "name": "Default", "enabled": true, "description": "The default domain", "options": {}, "tags": []});
        return Ok(domain.as_object().cloned().into_iter().collect());
    }
    let mut found = store::select(call.tx, collection, None)?;
    // Without the role admin a caller sees itself only.
    let own = if collection == "users" { &call.context.user } else { &call.context.project };
    found.retain(|object| call.context.admin || object.get("id").is_some_and(|id| plain(id) == *own));
    Ok(found)
}

async fn list(
    State(controller): State<Arc<Controller>>,
    Path(collection): Path<String>,
    QueryString(query): QueryString<Query>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    run(controller, headers, false, move |call| {
        singular(&collection).ok_or_else(|| unknown("resource", &collection))?;
        let mut found = objects(call, &collection)?;
        for (name, wanted) in query.iter().filter(|(name, _)| ["name", "id", "domain_id"].contains(&name.as_str())) {
            found.retain(|object| object.get(name).is_none_or(|value| plain(value) == *wanted));
        }
        Ok((StatusCode::OK, Some(json!({collection: found, "links": {"next": null, "previous": null}})), ""))
    })
    .await
}

async fn show(
    State(controller): State<Arc<Controller>>,
    Path((collection, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    run(controller, headers, false, move |call| {
        let singular = singular(&collection).ok_or_else(|| unknown("resource", &collection))?;
        let mut found = objects(call, &collection)?;
        found.retain(|object| object.get("id").is_some_and(|found| plain(found) == id));
        let object = found.pop().ok_or_else(|| unknown(singular, &id))?;
        Ok((StatusCode::OK, Some(json!({singular: object})), ""))
    })
    .await
}
