//! The tags of any object over HTTP, with the statuses of Neutron's `TaggingController` (`neutron/extensions/tagging.py`).

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};

use super::{
    Controller,
    error::ApiError,
    neutron::{body_object, resource, run},
    resource::{Call, Resource},
    store::{self, Object},
    tag::{self, TagError},
};

impl From<TagError> for ApiError {
    fn from(error: TagError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, kind: error.kind(), message: error.to_string() }
    }
}

/// `/networking/v2.0/{collection}/{id}/tags` and one tag below it.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/networking/v2.0/{collection}/{id}/tags", get(all).put(all).post(all).delete(all))
        .route("/networking/v2.0/{collection}/{id}/tags/{tag}", get(one).put(one).delete(one))
}

/// The status and, but for 204 and 201, the body.
type Answer = (StatusCode, Option<Value>, &'static str);

async fn all(
    State(controller): State<Arc<Controller>>,
    Path((collection, id)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    // The datapath does not look at tags: nothing to announce.
    run(controller, headers, false, move |call| -> Result<Answer, ApiError> {
        let resource = resource(&collection)?;
        let object = found(call, resource, &id, &method)?;
        let mut status = StatusCode::OK;
        let tags = match method {
            Method::PUT => tag::parse(&Value::Object(body_object(&body)?))?,
            Method::POST => {
                status = StatusCode::CREATED;
                let more = tag::parse(&Value::Object(body_object(&body)?))?;
                tag::add(&tags_of(&object), more.iter().map(String::as_str))?
            }
            Method::DELETE => {
                keep(call, resource, object, &[])?;
                return Ok((StatusCode::NO_CONTENT, None, resource.collection));
            }
            _ => return Ok((StatusCode::OK, Some(json!({"tags": tags_of(&object)})), resource.collection)),
        };
        keep(call, resource, object, &tags)?;
        Ok((status, Some(json!({"tags": tags})), resource.collection))
    })
    .await
}

async fn one(
    State(controller): State<Arc<Controller>>,
    Path((collection, id, tag)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    run(controller, headers, false, move |call| -> Result<Answer, ApiError> {
        let resource = resource(&collection)?;
        let object = found(call, resource, &id, &method)?;
        let tags = tags_of(&object);
        let status = match method {
            Method::PUT => {
                keep(call, resource, object, &tag::add(&tags, [tag.as_str()])?)?;
                StatusCode::CREATED
            }
            Method::DELETE => {
                keep(call, resource, object, &tag::remove(&tags, &tag)?)?;
                StatusCode::NO_CONTENT
            }
            _ if tags.contains(&tag) => StatusCode::NO_CONTENT,
            _ => return Err(TagError::NotFound(tag).into()),
        };
        Ok((status, None, resource.collection))
    })
    .await
}

/// The object, if the caller may do this to its tags.
fn found(call: &Call<'_>, resource: &Resource, id: &str, method: &Method) -> Result<Object, ApiError> {
    let object = resource.find(call, id)?;
    if method != Method::GET && method != Method::HEAD && !call.context.owns(&object) {
        return Err(ApiError::forbidden(&format!("rule:update_{}_tags", resource.singular)));
    }
    Ok(object)
}

fn tags_of(object: &Object) -> Vec<String> {
    let list = object.get("tags").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn keep(call: &Call<'_>, resource: &Resource, mut object: Object, tags: &[String]) -> Result<(), ApiError> {
    if tags_of(&object) == tags {
        return Ok(());
    }
    object.insert("tags".to_owned(), json!(tags));
    resource.touch(&mut object);
    Ok(store::replace(call.tx, resource.collection, resource.columns, &object)?)
}
