//! The HTTP side of Neutron's API: discovery, and the routes that lead to the resources.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query as QueryString, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Controller, agents,
    context::Context,
    error::{ApiError, json_answer},
    extension,
    floatingips::FLOATINGIPS,
    keystone,
    networks::NETWORKS,
    ports::PORTS,
    query::Query,
    quota,
    resource::{Call, Resource},
    routers::{self, ROUTERS},
    security_group_rules::SECURITY_GROUP_RULES,
    security_groups::SECURITY_GROUPS,
    store::Object,
    subnetpools::SUBNETPOOLS,
    subnets::SUBNETS,
    tagging,
};

/// Every resource under `/networking/v2.0/`.
const RESOURCES: &[&Resource] =
    &[&NETWORKS, &SUBNETPOOLS, &SUBNETS, &PORTS, &SECURITY_GROUPS, &SECURITY_GROUP_RULES, &ROUTERS, &FLOATINGIPS];

/// The collections whose changes no datapath needs to see.
const QUIET: &[&str] = &["subnetpools"];

/// The routes of Neutron's part.
pub fn router(controller: Arc<Controller>) -> Router {
    Router::new()
        .route("/networking", get(versions))
        .route("/networking/", get(versions))
        .route("/networking/v2.0", get(index))
        .route("/networking/v2.0/", get(index))
        .route("/networking/v2.0/{collection}", get(collection).post(collection))
        .route("/networking/v2.0/{collection}/{id}", get(item).put(item).delete(item))
        .merge(tagging::router())
        .merge(routers::interfaces::router())
        .merge(routers::extra_routes::router())
        .merge(quota::api::router())
        .merge(extension::router())
        .merge(agents::router())
        .merge(keystone::router())
        .fallback(no_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&controller), note))
        .with_state(controller)
}

/// Counts the request and marks its answer with an id.
async fn note(State(controller): State<Arc<Controller>>, request: Request, next: Next) -> Response {
    let id = format!("req-{}", Uuid::new_v4());
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    let part = path.strip_prefix("/networking/v2.0/").unwrap_or(&path).split('/').find(|part| !part.is_empty()).unwrap_or_default();
    // Anybody may send any path: only names of a closed list may become keys.
    let served = resource(part).is_ok() || matches!(part, "identity" | "quotas" | "extensions" | "agents");
    let usual = matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH");
    controller.count(if usual { &method } else { "other" }, if served { part } else { "other" });
    let mut response = next.run(request).await;
    tracing::debug!(%method, %path, status = response.status().as_u16(), request = %id, "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-openstack-request-id", value);
    }
    response
}

async fn no_route(uri: Uri) -> ApiError {
    if uri.path().starts_with("/identity") {
        return ApiError::identity(StatusCode::NOT_FOUND, format!("({uri}): The resource could not be found."));
    }
    missing_resource()
}

fn missing_resource() -> ApiError {
    ApiError { status: StatusCode::NOT_FOUND, kind: "HTTPNotFound", message: "The resource could not be found.".to_owned() }
}

/// The URL at which the caller reached us.
pub fn base(controller: &Controller, headers: &HeaderMap) -> String {
    let host = headers.get("host").and_then(|value| value.to_str().ok());
    host.map_or_else(|| format!("http://{}", controller.settings().listen), |host| format!("http://{host}"))
}

async fn versions(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Response {
    let href = format!("{}/networking/v2.0/", base(&controller, &headers));
    let body = json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]});
    json_answer(StatusCode::OK, &body)
}

async fn index(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Response {
    let base = base(&controller, &headers);
    let entries = RESOURCES.iter().map(|resource| {
        let href = format!("{base}/networking/v2.0/{}", resource.collection);
        json!({"name": resource.singular, "collection": resource.collection, "links": [{"rel": "self", "href": href}]})
    });
    json_answer(StatusCode::OK, &json!({"resources": entries.collect::<Vec<_>>()}))
}

/// The resource of a path's first part, or 404.
pub fn resource(collection: &str) -> Result<&'static Resource, ApiError> {
    // Neutron writes `security-groups` in the path and `security_groups` in the body.
    let name = collection.strip_suffix(".json").unwrap_or(collection).replace('-', "_");
    RESOURCES.iter().find(|resource| resource.collection == name).copied().ok_or_else(missing_resource)
}

/// A body that must be a JSON object.
pub fn body_object(body: &[u8]) -> Result<Object, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(ApiError::bad_request(
            "HTTPBadRequest",
            "The server could not comply with the request since it is either malformed or otherwise incorrect.",
        )),
    }
}

async fn collection(
    State(controller): State<Arc<Controller>>,
    Path(name): Path<String>,
    QueryString(query): QueryString<Query>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let url = format!("{}/networking/v2.0/{name}", base(&controller, &headers));
    run(controller, headers, method == Method::POST, move |call| {
        let resource = resource(&name)?;
        if method == Method::POST {
            return Ok((StatusCode::CREATED, Some(resource.post(call, body_object(&body)?)?), resource.collection));
        }
        Ok((StatusCode::OK, Some(resource.list(call, &query, &url)?), resource.collection))
    })
    .await
}

async fn item(
    State(controller): State<Arc<Controller>>,
    Path((name, id)): Path<(String, String)>,
    QueryString(query): QueryString<Query>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = id.strip_suffix(".json").unwrap_or(&id).to_owned();
    let revision = wanted_revision(&headers)?;
    run(controller, headers, matches!(method, Method::PUT | Method::DELETE), move |call| {
        let resource = resource(&name)?;
        if let Some(wanted) = revision.filter(|_| method != Method::GET) {
            check_revision(call, resource, &id, wanted)?;
        }
        match method {
            Method::PUT => Ok((StatusCode::OK, Some(resource.put(call, &id, body_object(&body)?)?), resource.collection)),
            Method::DELETE => {
                resource.remove(call, &id)?;
                Ok((StatusCode::NO_CONTENT, None, resource.collection))
            }
            _ => Ok((StatusCode::OK, Some(resource.show(call, &id, &query)?), resource.collection)),
        }
    })
    .await
}

/// The revision that an `If-Match` ties a change to (`neutron/services/revisions/revision_plugin.py`).
fn wanted_revision(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get("if-match") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.strip_prefix("revision_number=")).and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| ApiError::bad_request("HTTPBadRequest", "Badly formed If-Match header: only revision_number=N is known"))
}

fn check_revision(call: &Call<'_>, resource: &Resource, id: &str, wanted: i64) -> Result<(), ApiError> {
    let now = resource.find(call, id)?.get("revision_number").and_then(Value::as_i64).unwrap_or_default();
    if now == wanted {
        return Ok(());
    }
    let message = format!("Constrained to {wanted}, but current revision is {now}");
    Err(ApiError { status: StatusCode::PRECONDITION_FAILED, kind: "RevisionNumberConstraintFailed", message })
}

/// Runs `work` for an authenticated caller in one transaction; it gives status, body and the collection it touched.
pub async fn run<F>(controller: Arc<Controller>, headers: HeaderMap, writes: bool, work: F) -> Result<Response, ApiError>
where
    F: FnOnce(&Call<'_>) -> Result<(StatusCode, Option<Value>, &'static str), ApiError> + Send + 'static,
{
    let host = controller.settings().host.clone();
    let (status, body, touched) = controller
        .store()
        .transaction(move |tx| {
            let context = Context::of(tx, &headers)?;
            work(&Call { tx, context: &context, host: &host })
        })
        .await?;
    if writes && !QUIET.contains(&touched) {
        controller.store().announce();
    }
    Ok(body.map_or_else(|| status.into_response(), |body| json_answer(status, &body)))
}
