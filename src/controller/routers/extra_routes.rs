//! `add_extraroutes` and `remove_extraroutes`: changes of a router's routes that do not undo another caller's.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::put,
};
use serde_json::{Value, json};

use super::ROUTERS;
use crate::controller::{
    Controller,
    error::ApiError,
    neutron::{body_object, run},
    store::Object,
};

/// The two routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/networking/v2.0/{collection}/{id}/add_extraroutes", put(add_request))
        .route("/networking/v2.0/{collection}/{id}/remove_extraroutes", put(remove_request))
}

type Target = Path<(String, String)>;

async fn add_request(state: State<Arc<Controller>>, path: Target, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(state, path, headers, body, |present, more| {
        let new = more.iter().filter(|route| !present.contains(route)).cloned().collect::<Vec<_>>();
        [present, new].concat()
    })
    .await
}

async fn remove_request(state: State<Arc<Controller>>, path: Target, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    // One that is not there is as good as removed.
    answer(state, path, headers, body, |present, less| present.into_iter().filter(|route| !less.contains(route)).collect()).await
}

async fn answer(
    State(controller): State<Arc<Controller>>,
    Path((collection, id)): Target,
    headers: HeaderMap,
    body: Bytes,
    change: fn(Vec<Value>, &[Value]) -> Vec<Value>,
) -> Result<Response, ApiError> {
    run(controller, headers, true, move |call| {
        if collection != ROUTERS.collection {
            let message = "The resource could not be found.".to_owned();
            return Err(ApiError { status: StatusCode::NOT_FOUND, kind: "HTTPNotFound", message });
        }
        let given = body_object(&body)?.remove("router");
        let Some(Value::Array(given)) = given.and_then(|mut router| router.get_mut("routes").map(Value::take)) else {
            return Err(ApiError::bad_request("HTTPBadRequest", "Unable to find 'routes' in request body"));
        };
        let router = ROUTERS.find(call, &id)?;
        let present = router.get("routes").and_then(Value::as_array).cloned().unwrap_or_default();
        let body = Object::from_iter([("router".to_owned(), json!({"routes": change(present, &given)}))]);
        Ok((StatusCode::OK, Some(ROUTERS.put(call, &id, body)?), ROUTERS.collection))
    })
    .await
}
