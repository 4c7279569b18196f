//! Keystone's tokens: how they are kept, what they allow, and what a token's body tells.

use axum::http::{HeaderMap, StatusCode};
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ApiError,
    context::{seconds, timestamp},
    keystone::DOMAIN,
    secrets,
    store::{self, Object},
};

/// A token as it is stored.
#[derive(Debug)]
pub struct Token {
    /// What the caller sends as `X-Auth-Token`.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What it is for; none in an unscoped token.
    pub project: Option<String>,
    /// How its owner has logged in, the latest first.
    pub methods: Vec<String>,
    /// The application credential it was made with.
    pub credential: Option<String>,
    /// Its own name in logs, and that of the login it was made from.
    pub audit_ids: Vec<String>,
    /// In seconds since 1970.
    pub issued: i64,
    /// In seconds since 1970.
    pub expires: i64,
}

/// What a new token is made of.
#[derive(Debug, Default)]
pub struct Grant {
    /// Whose it is.
    pub user: String,
    /// What it is for.
    pub project: Option<String>,
    /// How its owner has logged in.
    pub methods: Vec<String>,
    /// The application credential.
    pub credential: Option<String>,
    /// The audit id of the login it is made from.
    pub parent: Option<String>,
    /// In seconds since 1970.
    pub expires: i64,
}

/// Makes and stores a token, if it allows anything: a scope in which the user has no role is 401.
pub fn make(tx: &Transaction<'_>, grant: Grant) -> Result<Token, ApiError> {
    let id = secrets::random().map_err(ApiError::internal)?;
    let Grant { user, project, methods, credential, parent, expires } = grant;
    let issued = seconds();
    let audit_ids: Vec<String> = [Uuid::new_v4().simple().to_string()].into_iter().chain(parent).collect();
    tx.execute("DELETE FROM tokens WHERE expires_at <= ?", [issued])?;
    tx.execute(
        "INSERT INTO tokens (id, user_id, project_id, method, application_credential_id, audit_ids, issued_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (&id, &user, &project, methods.join(","), &credential, audit_ids.join(","), issued, expires),
    )?;
    if project.is_some() && roles(tx, &id)?.is_empty() {
        return Err(ApiError::unauthorized());
    }
    Ok(Token { id, user, project, methods, credential, audit_ids, issued, expires })
}

/// A token that is still valid.
pub fn lookup(tx: &Transaction<'_>, id: &str) -> Result<Option<Token>, ApiError> {
    let mut query = tx.prepare_cached(
        "SELECT id, user_id, project_id, method, application_credential_id, audit_ids, issued_at, expires_at
         FROM tokens WHERE id = ? AND expires_at > ?",
    )?;
    let list = |text: String| text.split(',').map(str::to_owned).collect();
    let found = query.query_row((id, seconds()), |row| {
        Ok(Token {
            id: row.get(0)?,
            user: row.get(1)?,
            project: row.get(2)?,
            methods: list(row.get(3)?),
            credential: row.get(4)?,
            audit_ids: list(row.get(5)?),
            issued: row.get(6)?,
            expires: row.get(7)?,
        })
    });
    Ok(found.optional()?)
}

/// The token that came with a request as `X-Auth-Token`; none, an unknown and an expired one are 401.
pub fn of(tx: &Transaction<'_>, headers: &HeaderMap) -> Result<Token, ApiError> {
    let id = headers.get("x-auth-token").and_then(|value| value.to_str().ok()).ok_or_else(ApiError::unauthorized)?;
    lookup(tx, id)?.ok_or_else(ApiError::unauthorized)
}

/// The token that a request is about, `X-Subject-Token`.
pub fn subject(tx: &Transaction<'_>, headers: &HeaderMap) -> Result<Token, ApiError> {
    let missing = || ApiError::identity(StatusCode::BAD_REQUEST, "X-Subject-Token is missing");
    let id = headers.get("x-subject-token").and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    // Not the id itself: an error's text may end in a log.
    lookup(tx, id)?.ok_or_else(|| ApiError::identity(StatusCode::NOT_FOUND, "Could not find token: the one in X-Subject-Token."))
}

/// What a token allows, as (`id`, `name`) objects; nothing without a project.
pub fn roles(tx: &Transaction<'_>, id: &str) -> Result<Vec<Value>, ApiError> {
    let mut query = tx.prepare_cached("SELECT role_id, name FROM token_roles WHERE token_id = ? ORDER BY name")?;
    let rows = query.query_map([id], |row| Ok(json!({"id": row.get::<_, String>(0)?, "name": row.get::<_, String>(1)?})))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends a user's tokens, or those for one project of it.
pub fn revoke_all(tx: &Transaction<'_>, user: &str, project: Option<&str>) -> Result<(), ApiError> {
    tx.execute("DELETE FROM tokens WHERE user_id = ?1 AND (?2 IS NULL OR project_id = ?2)", (user, project))?;
    Ok(())
}

/// The body that tells about a token; the catalog is in it only where there is a project.
pub fn describe(tx: &Transaction<'_>, token: &Token, catalog: Option<Value>) -> Result<Value, ApiError> {
    let named = |table: &str, id: &str| -> Result<Object, ApiError> {
        let found = store::find(tx, table, id)?.ok_or_else(ApiError::unauthorized)?;
        let domain = json!({"id": DOMAIN, "name": "Default"});
        Ok([("id".to_owned(), json!(id)), ("name".to_owned(), found["name"].clone()), ("domain".to_owned(), domain)].into_iter().collect())
    };
    let time = |moment| timestamp(moment).replace('Z', ".000000Z");
    let mut user = named("users", &token.user)?;
    user.insert("password_expires_at".into(), Value::Null);
    let mut body = Object::new();
    body.insert("methods".into(), json!(token.methods));
    body.insert("user".into(), Value::Object(user));
    body.insert("audit_ids".into(), json!(token.audit_ids));
    body.insert("issued_at".into(), json!(time(token.issued)));
    body.insert("expires_at".into(), json!(time(token.expires)));
    if let Some(project) = &token.project {
        body.insert("project".into(), Value::Object(named("projects", project)?));
        body.insert("is_domain".into(), json!(false));
        body.insert("roles".into(), json!(roles(tx, &token.id)?));
        if let Some(catalog) = catalog {
            body.insert("catalog".into(), catalog);
        }
    }
    if let Some(id) = &token.credential {
        let credential = store::find(tx, "application_credentials", id)?.ok_or_else(ApiError::unauthorized)?;
        let restricted = credential.get("unrestricted") != Some(&json!(true));
        body.insert("application_credential".into(), json!({"id": id, "name": credential["name"], "restricted": restricted}));
    }
    Ok(json!({"token": body}))
}
