//! `/v3/users/{id}/application_credentials`: what a user gives a program instead of the password.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::Path, routing::get};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    Ask, Caller, MALFORMED, Reply, bad_request, created, done, forbidden, not_found, ok,
    schema::{self, Kind, Property, Schema, nullable, property},
    taken,
};
use crate::controller::{
    ApiError, Controller,
    context::{seconds, timestamp},
    resource::{flag, text},
    secrets,
    store::{self, Object},
    tokens,
};

const TABLE: &str = "application_credentials";

const PROPERTIES: &[Property] = &[
    property("name", Kind::Name(255)),
    nullable("description", Kind::Text),
    nullable("secret", Kind::Text),
    nullable("expires_at", Kind::Text),
    nullable("roles", Kind::List),
    property("unrestricted", Kind::Flag),
    nullable("access_rules", Kind::List),
];

const CREATE: Schema = Schema { member: "application_credential", properties: PROPERTIES, required: &["name"], open: false };

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/users/{user}/application_credentials", get(list).post(create))
        .route("/identity/v3/users/{user}/application_credentials/{id}", get(show).delete(remove))
}

fn path(user: &str) -> String {
    format!("users/{user}/{TABLE}")
}

/// 400 for what fits the schema and still cannot be.
fn refused(detail: &str) -> ApiError {
    bad_request(format!("Invalid application credential: {detail}"))
}

async fn list(ask: Ask, Path(user): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.may(caller.token.user == user, "list_application_credentials")?;
        let own = store::select(caller.tx, TABLE, Some(("user_id", &user)))?;
        ok(caller.listed(&path(&user), own, &["name"]))
    })
    .await
}

/// A credential that the caller may look at: whose it is, not the path, decides.
fn find(caller: &Caller<'_>, user: &str, id: &str, action: &str) -> Result<Object, ApiError> {
    let found = store::find(caller.tx, TABLE, id)?;
    let owner = found.as_ref().map_or(user, |found| text(found, "user_id"));
    caller.may(caller.token.user == owner, action)?;
    found.ok_or_else(|| not_found("Application Credential", id))
}

async fn show(ask: Ask, Path((user, id)): Path<(String, String)>) -> Reply {
    ask.answer(move |caller| {
        let found = find(caller, &user, &id, "get_application_credential")?;
        ok(json!({"application_credential": caller.shown(&path(text(&found, "user_id")), found.clone())}))
    })
    .await
}

/// 403 for a token of a restricted credential: a program that leaks must not leave others behind.
fn must_be_unrestricted(caller: &Caller<'_>) -> Result<(), ApiError> {
    let Some(id) = &caller.token.credential else { return Ok(()) };
    if store::find(caller.tx, TABLE, id)?.is_some_and(|used| flag(&used, "unrestricted")) {
        return Ok(());
    }
    Err(forbidden("Using method 'application_credential' is not allowed for managing additional application credentials"))
}

async fn create(ask: Ask, Path(user): Path<String>, body: Bytes) -> Reply {
    ask.answer(move |caller| {
        let given = CREATE.read(&body)?;
        must_be_unrestricted(caller)?;
        if caller.token.user != user {
            return Err(forbidden("Cannot create an application credential for another user"));
        }
        if given.get("access_rules").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty()) {
            return Err(refused("access rules are not kept to here, so none can be given"));
        }
        let secret = match text(&given, "secret") {
            "" => secrets::random().map_err(ApiError::internal)?,
            secret => secret.to_owned(),
        };
        let mut credential = keep(caller, &given, &secret)?;
        // Here and never again.
        credential.insert("secret".into(), json!(secret));
        created(json!({"application_credential": caller.shown(&path(&user), credential)}))
    })
    .await
}

/// Stores a credential of the caller for the token's project.
fn keep(caller: &Caller<'_>, given: &Object, secret: &str) -> Result<Object, ApiError> {
    let user = &caller.token.user;
    let project = caller.token.project.as_ref().ok_or_else(|| refused("a token with a project is needed"))?;
    let roles = roles(caller, given.get("roles").and_then(Value::as_array))?;
    let expires = given.get("expires_at").and_then(Value::as_str).map(moment).transpose()?;
    let (id, name) = (Uuid::new_v4().simple().to_string(), text(given, "name"));
    let shown = json!({
        "id": id, "name": name, "description": given.get("description"), "user_id": user, "project_id": project, "system": null,
        "roles": roles, "unrestricted": flag(given, "unrestricted"),
        "expires_at": expires.map(|moment| timestamp(moment).replace('Z', ".000000")),
    });
    let hash = secrets::hash(secret).map_err(ApiError::internal)?;
    let sql = "INSERT INTO application_credentials (id, name, user_id, project_id, secret_hash, expires_at, document)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let duplicate = |error| taken(error, "application_credential", &format!("Duplicate entry found with name {name}"));
    caller.tx.execute(sql, (&id, name, user, project, hash, expires, shown.to_string())).map_err(duplicate)?;
    for role in &roles {
        let sql = "INSERT INTO application_credential_roles (application_credential_id, role_id) VALUES (?, ?)";
        caller.tx.execute(sql, (&id, text(role, "id")))?;
    }
    caller.find(TABLE, "Application Credential", &id)
}

/// The roles that a body names by id or name, or all of the token. What the token has not, it cannot hand on.
fn roles(caller: &Caller<'_>, given: Option<&Vec<Value>>) -> Result<Vec<Object>, ApiError> {
    let held = tokens::roles(caller.tx, &caller.token.id)?;
    let wanted = given.filter(|given| !given.is_empty()).unwrap_or(&held);
    let mut roles: Vec<Object> = Vec::new();
    for role in wanted {
        let fault = || schema::invalid("roles", "every item is an object with an id or a name");
        let role = role.as_object().ok_or_else(fault)?;
        let key = ["id", "name"].into_iter().find(|key| role.get(*key).is_some_and(Value::is_string)).ok_or_else(fault)?;
        let found = store::select(caller.tx, "roles", Some((key, text(role, key))))?.pop();
        let found = found.ok_or_else(|| not_found("role", text(role, key)))?;
        if !held.iter().any(|held| held["id"] == found["id"]) {
            return Err(refused("Cannot create an application credential with unassigned role"));
        }
        if !roles.contains(&found) {
            roles.push(found);
        }
    }
    Ok(roles)
}

/// Reads a moment that is still to come, with or without a zone; without one it is UTC.
fn moment(text: &str) -> Result<i64, ApiError> {
    let zoned = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339));
    let moment = zoned.map_err(|_| bad_request(format!("Timestamp not in expected format. {MALFORMED}")))?.unix_timestamp();
    if moment <= seconds() {
        return Err(bad_request(format!("The 'expires_at' must not be before now. {MALFORMED}")));
    }
    Ok(moment)
}

async fn remove(ask: Ask, Path((user, id)): Path<(String, String)>) -> Reply {
    ask.answer(move |caller| {
        find(caller, &user, &id, "delete_application_credential")?;
        must_be_unrestricted(caller)?;
        // Its tokens go with it.
        store::remove(caller.tx, TABLE, &id)?;
        done()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn a_moment_is_read_with_and_without_a_zone() {
        let noon = moment("2100-01-01T12:00:00").unwrap();
        for text in ["2100-01-01T12:00:00Z", "2100-01-01T12:00:00.5", "2100-01-01T14:00:00+02:00"] {
            assert_eq!(moment(text).unwrap(), noon, "{text}");
        }
        for text in ["2001-01-01T00:00:00", "tomorrow", "", "2100-01-01", "2100-13-01T00:00:00Z"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
