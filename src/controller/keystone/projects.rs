//! `/v3/projects`: projects of the one domain, none below another.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::Path, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::{
    Ask, Caller, DOMAIN, Reply, bad_request, created, done, ok,
    schema::{Kind, Property, Schema, nullable, property},
    taken,
};
use crate::controller::{
    ApiError, Controller,
    query::tags_match,
    resource::{flag, text},
    store::{self, Object},
};

const PROPERTIES: &[Property] = &[
    property("name", Kind::Name(64)),
    nullable("domain_id", Kind::Id),
    nullable("parent_id", Kind::Id),
    property("is_domain", Kind::Flag),
    property("enabled", Kind::Flag),
    nullable("description", Kind::Text),
    property("tags", Kind::Tags),
    property("options", Kind::Options(&["immutable"])),
];

const CREATE: Schema = Schema { member: "project", properties: PROPERTIES, required: &["name"], open: true };
const UPDATE: Schema = Schema { member: "project", properties: PROPERTIES, required: &[], open: true };

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/projects", get(list).post(create))
        .route("/identity/v3/projects/{id}", get(show).patch(update).delete(remove))
}

/// The projects in which a user has a role.
pub fn of_user(caller: &Caller<'_>, user: &str) -> Result<Vec<Object>, ApiError> {
    let mut query = caller.tx.prepare_cached("SELECT DISTINCT project_id FROM role_assignments WHERE user_id = ?")?;
    let own = query.query_map([user], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut projects = store::select(caller.tx, "projects", None)?;
    projects.retain(|project| own.iter().any(|id| id == text(project, "id")));
    Ok(projects)
}

async fn list(ask: Ask) -> Reply {
    ask.answer(|caller| {
        caller.must_be_admin("list_projects")?;
        let mut projects = store::select(caller.tx, "projects", None)?;
        projects.retain(|project| tags_match(project, &caller.ask.query));
        ok(caller.listed("projects", projects, &["name", "domain_id", "enabled", "parent_id", "is_domain"]))
    })
    .await
}

async fn show(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.may(caller.token.project.as_ref() == Some(&id), "get_project")?;
        ok(json!({"project": caller.shown("projects", caller.find("projects", "project", &id)?)}))
    })
    .await
}

fn name_taken(error: rusqlite::Error, project: &Object) -> ApiError {
    let details = format!("it is not permitted to have two projects with the same name in the same domain : {}", text(project, "name"));
    taken(error, "project", &details)
}

/// Completes a new project with what every project has; its id.
pub fn complete(project: &mut Object) -> String {
    project.insert("parent_id".into(), json!(DOMAIN));
    project.insert("is_domain".into(), json!(false));
    project.entry("description").or_insert(json!(""));
    project.entry("tags").or_insert(json!([]));
    super::new_object(project)
}

async fn create(ask: Ask, body: Bytes) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("create_project")?;
        let mut project = CREATE.read(&body)?;
        if flag(&project, "is_domain") {
            return Err(bad_request("There is one domain here and no other can be made: is_domain must be false."));
        }
        for (name, kind) in [("domain_id", "domain"), ("parent_id", "project")] {
            match project.get(name) {
                Some(Value::String(id)) if id != DOMAIN => {
                    let reason = "every project lies directly in the domain default";
                    return Err(bad_request(format!("Could not use {kind} {id} as {name}: {reason}.")));
                }
                _ => {}
            }
        }
        complete(&mut project);
        store::insert(caller.tx, "projects", &["id", "name"], &project).map_err(|error| name_taken(error, &project))?;
        created(json!({"project": caller.shown("projects", project)}))
    })
    .await
}

/// 403 for a project that an administrator has made immutable, unless the request is about just that.
fn must_be_mutable(project: &Object, changes: Option<&Object>) -> Result<(), ApiError> {
    let immutable = |object: &Object| object.get("options").and_then(|options| options.get("immutable")).cloned();
    let releases = changes.is_some_and(|changes| changes.len() == 1 && immutable(changes).is_some_and(|value| value != json!(true)));
    if immutable(project) != Some(json!(true)) || releases {
        return Ok(());
    }
    let action = if changes.is_some() { "update" } else { "delete" };
    let message = format!(
        "Cannot {action} project {} : it is immutable. Set its option immutable to false first, in a request of its own.",
        text(project, "id")
    );
    Err(ApiError::identity(StatusCode::FORBIDDEN, message))
}

async fn update(ask: Ask, Path(id): Path<String>, body: Bytes) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("update_project")?;
        let mut project = caller.find("projects", "project", &id)?;
        let changes = UPDATE.read(&body)?;
        must_be_mutable(&project, Some(&changes))?;
        let fixed = [("id", "project ID"), ("domain_id", "domain ID"), ("parent_id", "parent project ID"), ("is_domain", "is_domain")];
        super::only_same(&changes, &project, &fixed)?;
        super::merge(&mut project, changes);
        store::replace(caller.tx, "projects", &["name"], &project).map_err(|error| name_taken(error, &project))?;
        if !flag(&project, "enabled") {
            caller.tx.execute("DELETE FROM tokens WHERE project_id = ?", [&id])?;
        }
        ok(json!({"project": caller.shown("projects", project)}))
    })
    .await
}

async fn remove(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("delete_project")?;
        must_be_mutable(&caller.find("projects", "project", &id)?, None)?;
        // Tokens, roles and application credentials go with it. What Neutron holds of it stays, as it does in a cloud.
        store::remove(caller.tx, "projects", &id)?;
        done()
    })
    .await
}
