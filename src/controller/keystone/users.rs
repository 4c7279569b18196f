//! `/v3/users`: users with their passwords.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::Path,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use rusqlite::Transaction;
use serde_json::{Value, json};

use super::{
    Ask, DOMAIN, Reply, bad_request, created, done, not_found, ok, projects,
    schema::{Kind, Property, Schema, nullable, property},
    taken,
};
use crate::controller::{
    ApiError, Controller,
    login::knows_password,
    resource::{flag, text},
    secrets,
    store::{self, Object},
    tokens,
};

/// Kept and shown. Nothing expires and nobody is locked out here, so there is nothing to ignore; `lock_password` is obeyed.
const OPTIONS: Kind = Kind::Options(&[
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "ignore_user_inactivity",
    "lock_password",
]);

const PROPERTIES: &[Property] = &[
    property("name", Kind::Name(255)),
    nullable("password", Kind::Text),
    property("domain_id", Kind::Id),
    property("enabled", Kind::Flag),
    nullable("description", Kind::Text),
    nullable("default_project_id", Kind::Id),
    property("options", OPTIONS),
    // Kept by a real Keystone, with a meaning that they would not have here.
    nullable("password_expires_at", Kind::Nothing),
    nullable("federated", Kind::Nothing),
];

const CREATE: Schema = Schema { member: "user", properties: PROPERTIES, required: &["name"], open: true };
const UPDATE: Schema = Schema { member: "user", properties: PROPERTIES, required: &[], open: true };
const CHANGE: Schema = Schema {
    member: "user",
    properties: &[property("original_password", Kind::Text), property("password", Kind::Text)],
    required: &["original_password", "password"],
    open: false,
};

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/users", get(list).post(create))
        .route("/identity/v3/users/{id}", get(show).patch(update).delete(remove))
        .route("/identity/v3/users/{id}/password", post(change_password))
        .route("/identity/v3/users/{id}/projects", get(list_projects))
}

async fn list(ask: Ask) -> Reply {
    ask.answer(|caller| {
        caller.must_be_admin("list_users")?;
        ok(caller.listed("users", store::select(caller.tx, "users", None)?, &["name", "domain_id", "enabled"]))
    })
    .await
}

async fn show(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.may(caller.token.user == id, "get_user")?;
        ok(json!({"user": caller.shown("users", caller.find("users", "user", &id)?)}))
    })
    .await
}

async fn list_projects(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.may(caller.token.user == id, "list_user_projects")?;
        caller.find("users", "user", &id)?;
        ok(caller.listed("projects", projects::of_user(caller, &id)?, &["name", "domain_id", "enabled"]))
    })
    .await
}

fn set_password(tx: &Transaction<'_>, id: &str, password: Option<&str>) -> Result<(), ApiError> {
    let hash = password.map(secrets::hash).transpose().map_err(ApiError::internal)?;
    tx.execute("UPDATE users SET password_hash = ? WHERE id = ?", (hash, id))?;
    tokens::revoke_all(tx, id, None)
}

fn name_taken(error: rusqlite::Error, user: &Object) -> ApiError {
    taken(error, "user", &format!("Duplicate entry found with name {} at domain ID {DOMAIN}", text(user, "name")))
}

/// Completes a new user with what every user has; its id.
pub fn complete(user: &mut Object) -> String {
    user.insert("password_expires_at".into(), Value::Null);
    // As in Keystone, a user without a default project has no such field.
    user.retain(|name, value| name != "default_project_id" || !value.is_null());
    super::new_object(user)
}

async fn create(ask: Ask, body: Bytes) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("create_user")?;
        let mut user = CREATE.read(&body)?;
        let password = user.remove("password");
        match user.get("domain_id") {
            Some(domain) if domain != DOMAIN => return Err(not_found("domain", text(&user, "domain_id"))),
            _ => {}
        }
        let id = complete(&mut user);
        store::insert(caller.tx, "users", &["id", "name"], &user).map_err(|error| name_taken(error, &user))?;
        if let Some(password) = password {
            set_password(caller.tx, &id, password.as_str())?;
        }
        created(json!({"user": caller.shown("users", user)}))
    })
    .await
}

async fn update(ask: Ask, Path(id): Path<String>, body: Bytes) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("update_user")?;
        let mut user = caller.find("users", "user", &id)?;
        let mut changes = UPDATE.read(&body)?;
        let password = changes.remove("password");
        super::only_same(&changes, &user, &[("id", "user ID"), ("domain_id", "domain ID")])?;
        super::merge(&mut user, changes);
        store::replace(caller.tx, "users", &["name"], &user).map_err(|error| name_taken(error, &user))?;
        if let Some(password) = password {
            set_password(caller.tx, &id, password.as_str())?;
        }
        if !flag(&user, "enabled") {
            // As in Keystone: who is let in again later makes new ones.
            tokens::revoke_all(caller.tx, &id, None)?;
            caller.tx.execute("DELETE FROM application_credentials WHERE user_id = ?", [&id])?;
        }
        ok(json!({"user": caller.shown("users", user)}))
    })
    .await
}

async fn remove(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("delete_user")?;
        caller.find("users", "user", &id)?;
        // Its tokens, roles and application credentials go with it.
        store::remove(caller.tx, "users", &id)?;
        done()
    })
    .await
}

/// A user's own change, for which it needs no token but the old password.
async fn change_password(ask: Ask, Path(id): Path<String>, body: Bytes) -> Reply {
    let work = move |tx: &Transaction<'_>, _ask: &Ask| {
        let change = CHANGE.read(&body)?;
        if !knows_password(tx, &id, text(&change, "original_password"))? {
            return Err(ApiError::unauthorized());
        }
        let user = store::find(tx, "users", &id)?.ok_or_else(ApiError::unauthorized)?;
        if user.get("options").and_then(Value::as_object).is_some_and(|options| flag(options, "lock_password")) {
            let message = "You cannot change your password at this time due to password policy disallowing password changes. \
                           Please contact your administrator to reset your password.";
            return Err(ApiError::identity(StatusCode::FORBIDDEN, message));
        }
        if !flag(&user, "enabled") {
            return Err(ApiError::unauthorized());
        }
        if text(&change, "password").is_empty() {
            return Err(bad_request("Password validation error: the new password is empty."));
        }
        set_password(tx, &id, Some(text(&change, "password")))
    };
    ask.anonymously(work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
