//! Keystone's tokens: who logs in, for which project, and what the token's body tells about it.

use axum::http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use super::{
    ApiError,
    attributes::plain,
    context::{seconds, timestamp},
    secrets,
    store::{self, Object},
};

/// How long a token lives, in seconds.
const LIFETIME: i64 = 3600;

/// A token as it is stored.
#[derive(Debug)]
pub struct Token {
    /// What the caller sends as `X-Auth-Token`.
    pub id: String,
    user: String,
    project: Option<String>,
    method: String,
    issued: i64,
    expires: i64,
}

/// Logs in with the body of `POST /auth/tokens` and stores a new token.
pub fn issue(tx: &Transaction<'_>, body: &Object) -> Result<Token, ApiError> {
    let malformed = |what: &str| ApiError::identity(StatusCode::BAD_REQUEST, format!("{what} is a required property"));
    let auth = body.get("auth").ok_or_else(|| malformed("'auth'"))?;
    let identity = auth.get("identity").ok_or_else(|| malformed("'identity'"))?;
    let method = identity.pointer("/methods/0").and_then(Value::as_str).ok_or_else(|| malformed("'methods'"))?;
    let now = seconds();
    let (user, project, expires) = match method {
        "password" => {
            let given = identity.pointer("/password/user").ok_or_else(|| malformed("'user'"))?;
            let user = user_by_password(tx, given)?;
            let project = scope(tx, auth.get("scope"))?;
            (user, project, now + LIFETIME)
        }
        "token" => {
            let given = identity.pointer("/token/id").and_then(Value::as_str).ok_or_else(|| malformed("'token'"))?;
            let old = lookup(tx, given)?.ok_or_else(ApiError::unauthorized)?;
            // Keystone refuses to widen what an application credential was made for.
            if old.method == "application_credential" {
                return Err(ApiError::unauthorized());
            }
            (old.user, scope(tx, auth.get("scope"))?, old.expires)
        }
        "application_credential" => {
            let given = identity.get("application_credential").ok_or_else(|| malformed("'application_credential'"))?;
            let (user, project) = user_by_credential(tx, given)?;
            (user, Some(project), now + LIFETIME)
        }
        _ => return Err(ApiError::unauthorized()),
    };
    if let Some(project) = &project
        && roles(tx, &user, project)?.is_empty()
    {
        return Err(ApiError::unauthorized());
    }
    let id = secrets::random().map_err(ApiError::internal)?;
    tx.execute("DELETE FROM tokens WHERE expires_at <= ?", [now])?;
    tx.execute(
        "INSERT INTO tokens (id, user_id, project_id, method, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        (&id, &user, &project, method, now, expires),
    )?;
    Ok(Token { id, user, project, method: method.to_owned(), issued: now, expires })
}

/// A token that is still valid.
pub fn lookup(tx: &Transaction<'_>, id: &str) -> Result<Option<Token>, ApiError> {
    let sql = "SELECT id, user_id, project_id, method, issued_at, expires_at FROM tokens WHERE id = ? AND expires_at > ?";
    let found = tx.query_row(sql, (id, seconds()), |row| {
        Ok(Token {
            id: row.get(0)?,
            user: row.get(1)?,
            project: row.get(2)?,
            method: row.get(3)?,
            issued: row.get(4)?,
            expires: row.get(5)?,
        })
    });
    Ok(found.optional()?)
}

/// The body that tells about a token.
pub fn describe(tx: &Transaction<'_>, token: &Token, catalog: Value) -> Result<Value, ApiError> {
    let domain = json!({"id": "default", "name": "Default"});
    let user = store::find(tx, "users", &token.user)?.ok_or_else(ApiError::unauthorized)?;
    let time = |moment| timestamp(moment).replace('Z', ".000000Z");
    let mut body = json!({
        "methods": [token.method],
        "user": {"id": token.user, "name": user.get("name"), "domain": domain, "password_expires_at": null},
        "audit_ids": [],
        "issued_at": time(token.issued),
        "expires_at": time(token.expires),
    });
    if let (Some(project), Some(map)) = (&token.project, body.as_object_mut()) {
        let found = store::find(tx, "projects", project)?.ok_or_else(ApiError::unauthorized)?;
        map.insert("project".into(), json!({"id": project, "name": found.get("name"), "domain": domain}));
        map.insert("is_domain".into(), json!(false));
        map.insert("roles".into(), json!(roles(tx, &token.user, project)?));
        map.insert("catalog".into(), catalog);
    }
    Ok(json!({"token": body}))
}

fn roles(tx: &Transaction<'_>, user: &str, project: &str) -> Result<Vec<Value>, ApiError> {
    let sql = "SELECT r.id, r.name FROM roles r JOIN role_assignments a ON a.role_id = r.id WHERE a.user_id = ? AND a.project_id = ?";
    let mut query = tx.prepare_cached(sql)?;
    let rows = query.query_map((user, project), |row| Ok(json!({"id": row.get::<_, String>(0)?, "name": row.get::<_, String>(1)?})))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds a user or project by id, or by name inside the one domain; what is unknown is 401, as in Keystone.
fn named(tx: &Transaction<'_>, table: &str, given: &Value) -> Result<Object, ApiError> {
    let (column, wanted) = match (given.get("id"), given.get("name")) {
        (Some(id), _) => ("id", plain(id)),
        (None, Some(name)) => {
            let domain = given.get("domain").ok_or_else(ApiError::unauthorized)?;
            let ours = domain.get("id").is_some_and(|id| id == "default") || domain.get("name").is_some_and(|name| name == "Default");
            if !ours {
                return Err(ApiError::unauthorized());
            }
            ("name", plain(name))
        }
        _ => return Err(ApiError::unauthorized()),
    };
    let found = store::select(tx, table, Some((column, &wanted)))?.pop().ok_or_else(ApiError::unauthorized)?;
    if found.get("enabled") == Some(&json!(false)) { Err(ApiError::unauthorized()) } else { Ok(found) }
}

fn id_of(object: &Object) -> String {
    object.get("id").map(plain).unwrap_or_default()
}

fn user_by_password(tx: &Transaction<'_>, given: &Value) -> Result<String, ApiError> {
    let id = id_of(&named(tx, "users", given)?);
    let password = given.get("password").and_then(Value::as_str).ok_or_else(ApiError::unauthorized)?;
    let hash: Option<String> = tx.query_row("SELECT password_hash FROM users WHERE id = ?", [&id], |row| row.get(0))?;
    if hash.is_some_and(|hash| secrets::verify(password, &hash)) { Ok(id) } else { Err(ApiError::unauthorized()) }
}

fn user_by_credential(tx: &Transaction<'_>, given: &Value) -> Result<(String, String), ApiError> {
    let sql = "SELECT user_id, project_id, secret_hash FROM application_credentials WHERE ";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let found = match (given.get("id"), given.get("name"), given.get("user")) {
        (Some(id), _, _) => tx.query_row(&format!("{sql} id = ?"), [plain(id)], row),
        (None, Some(name), Some(user)) => {
            let user = id_of(&named(tx, "users", user)?);
            tx.query_row(&format!("{sql} name = ? AND user_id = ?"), (plain(name), user), row)
        }
        _ => return Err(ApiError::unauthorized()),
    };
    let (user, project, hash) = found.optional()?.ok_or_else(ApiError::unauthorized)?;
    let secret = given.get("secret").and_then(Value::as_str).unwrap_or_default();
    named(tx, "users", &json!({"id": user}))?;
    if secrets::verify(secret, &hash) { Ok((user, project)) } else { Err(ApiError::unauthorized()) }
}

fn scope(tx: &Transaction<'_>, scope: Option<&Value>) -> Result<Option<String>, ApiError> {
    match scope {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text == "unscoped" => Ok(None),
        Some(scope) => {
            let project = scope.get("project").ok_or_else(ApiError::unauthorized)?;
            Ok(Some(id_of(&named(tx, "projects", project)?)))
        }
    }
}
