//! `/v2.0/quotas`: who may see and change what.

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

use super::{Limits, QuotaError, usage};
use crate::controller::{
    Controller,
    attributes::boolean,
    error::ApiError,
    neutron::{body_object, run},
    resource::Call,
    store::Object,
};

impl From<QuotaError> for ApiError {
    fn from(error: QuotaError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, kind: error.kind(), message: error.to_string() }
    }
}

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/networking/v2.0/quotas", get(list))
        .route("/networking/v2.0/quotas/{id}", get(one).put(one).delete(one))
        .route("/networking/v2.0/quotas/{id}/{view}", get(view))
}

async fn list(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    run(controller, headers, false, |call| {
        for_admins(call, "get_quotas")?;
        let projects = usage::projects(call.tx)?;
        let quotas = projects.into_iter().map(|project| {
            let mut quota = shown(&usage::limits(call.tx, &project)?);
            quota.insert("project_id".to_owned(), json!(project));
            quota.insert("tenant_id".to_owned(), json!(project));
            Ok(quota)
        });
        Ok((StatusCode::OK, Some(json!({"quotas": quotas.collect::<Result<Vec<_>, ApiError>>()?})), "quotas"))
    })
    .await
}

async fn one(
    State(controller): State<Arc<Controller>>,
    Path(project): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    run(controller, headers, false, move |call| match method {
        Method::PUT => {
            for_admins(call, "update_quota")?;
            let Some(Value::Object(mut limits)) = body_object(&body)?.remove("quota") else {
                return Err(ApiError::bad_request("HTTPBadRequest", "Unable to find 'quota' in request body"));
            };
            // `force` asks for what is done anyway; the client sends one of the two.
            limits.remove("force");
            let checked = limits.remove("check_limit").is_some_and(|flag| boolean(&flag) == Some(true));
            let limits = Limits::parse(&limits)?;
            if checked {
                refuse_below_use(call, &project, &limits)?;
            }
            usage::set(call.tx, &project, &limits)?;
            Ok((StatusCode::OK, Some(json!({"quota": shown(&usage::limits(call.tx, &project)?)})), "quotas"))
        }
        Method::DELETE => {
            for_admins(call, "delete_quota")?;
            if !usage::reset(call.tx, &project)? {
                let message = format!("Quota for tenant {project} could not be found.");
                return Err(ApiError { status: StatusCode::NOT_FOUND, kind: "TenantQuotaNotFound", message });
            }
            Ok((StatusCode::NO_CONTENT, None, "quotas"))
        }
        // Clients ask this way which project their token is for.
        _ if project == "tenant" || project == "project" => {
            let id = json!({format!("{project}_id"): call.context.project});
            Ok((StatusCode::OK, Some(json!({project.as_str(): id})), "quotas"))
        }
        _ => {
            for_own(call, &project)?;
            Ok((StatusCode::OK, Some(json!({"quota": shown(&usage::limits(call.tx, &project)?)})), "quotas"))
        }
    })
    .await
}

async fn view(
    State(controller): State<Arc<Controller>>,
    Path((project, view)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    run(controller, headers, false, move |call| {
        for_own(call, &project)?;
        let quota = match view.as_str() {
            "default" => shown(&Limits::default()),
            "details" | "details.json" => details(call, &project)?,
            _ => return Err(ApiError::not_found("HTTPNotFound", "The resource", &view)),
        };
        Ok((StatusCode::OK, Some(json!({"quota": quota})), "quotas"))
    })
    .await
}

/// Refuses a limit that the project is over already.
fn refuse_below_use(call: &Call<'_>, project: &str, limits: &[(&'static str, i64)]) -> Result<(), ApiError> {
    for (resource, limit) in limits {
        let used = usage::used(call.tx, project, resource)?;
        // A negative limit does not convert, and is no limit.
        if u64::try_from(*limit).is_ok_and(|limit| used > limit) {
            let message = format!("Quota limit {limit} for {resource} must be greater than or equal to already used {used}");
            return Err(ApiError::bad_request("HTTPBadRequest", message));
        }
    }
    Ok(())
}

fn shown(limits: &Limits) -> Object {
    limits.iter().map(|(resource, limit)| (resource.to_owned(), json!(limit))).collect()
}

fn details(call: &Call<'_>, project: &str) -> Result<Object, ApiError> {
    let limits = usage::limits(call.tx, project)?;
    let entries = limits.iter().map(|(resource, limit)| {
        // Nothing is ever reserved: a create counts and stores in one transaction.
        let entry = json!({"limit": limit, "used": usage::used(call.tx, project, resource)?, "reserved": 0});
        Ok((resource.to_owned(), entry))
    });
    entries.collect()
}

fn for_admins(call: &Call<'_>, action: &str) -> Result<(), ApiError> {
    if call.context.admin { Ok(()) } else { Err(ApiError::forbidden(&format!("rule:{action}"))) }
}

fn for_own(call: &Call<'_>, project: &str) -> Result<(), ApiError> {
    if call.context.admin || call.context.project == project { Ok(()) } else { Err(ApiError::forbidden("rule:get_quota")) }
}
