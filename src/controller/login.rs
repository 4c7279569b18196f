//! `POST /v3/auth/tokens`: who somebody is by password, token or application credential, and for which project.

use axum::http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use super::{
    ApiError,
    context::seconds,
    keystone::{
        DOMAIN, expected, forbidden,
        schema::{invalid, missing},
    },
    resource::{flag, text},
    secrets,
    store::{self, Object},
    tokens::{self, Grant, Token},
};

/// How long a token lives at most, in seconds.
const LIFETIME: i64 = 3600;

/// Logs in with the body of the request and stores a new token. What does not fit together is 401, as in Keystone without a word about
/// which part; what is malformed is 400.
pub fn login(tx: &Transaction<'_>, body: &Object) -> Result<Token, ApiError> {
    let auth = part(body.get("auth").ok_or_else(|| missing("auth"))?, "auth")?;
    let identity = part(auth.get("identity").ok_or_else(|| missing("identity"))?, "identity")?;
    let methods = identity.get("methods").ok_or_else(|| missing("methods"))?;
    let methods: Option<Vec<&str>> = methods.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let methods = methods.ok_or_else(|| invalid("identity/methods", "it is not an array of texts"))?;

    let mut grant = Grant { expires: seconds() + LIFETIME, ..Grant::default() };
    for method in &methods {
        let unsupported = || ApiError::identity(StatusCode::UNAUTHORIZED, "Attempted to authenticate with an unsupported method.");
        let prove: fn(&Transaction<'_>, &Object, &mut Grant) -> Result<String, ApiError> = match *method {
            "password" => by_password,
            "token" => by_token,
            "application_credential" => by_credential,
            _ => return Err(unsupported()),
        };
        let given = part(identity.get(*method).ok_or_else(|| expected(method, "identity"))?, method)?;
        let user = prove(tx, given, &mut grant)?;
        // Several methods must be about one person.
        if !grant.user.is_empty() && grant.user != user {
            return Err(ApiError::unauthorized());
        }
        grant.user = user;
        if !grant.methods.iter().any(|known| known == method) {
            grant.methods.insert(0, (*method).to_owned());
        }
    }
    if grant.user.is_empty() {
        return Err(ApiError::unauthorized());
    }
    match (&grant.credential, auth.get("scope")) {
        (Some(_), None | Some(Value::Null)) => {}
        (Some(_), Some(_)) => {
            let message = "Error authenticating with application credential: Application credentials cannot request a scope.";
            return Err(ApiError::identity(StatusCode::UNAUTHORIZED, message));
        }
        (None, None | Some(Value::Null)) => grant.project = default_project(tx, &grant.user)?,
        (None, Some(scope)) => grant.project = scoped(tx, scope)?,
    }
    tokens::make(tx, grant)
}

fn part<'v>(value: &'v Value, name: &str) -> Result<&'v Object, ApiError> {
    value.as_object().ok_or_else(|| invalid(name, "it is not of type 'object'"))
}

/// Finds a user or project by id, or by name in the one domain; unknown and disabled ones are 401.
fn named(tx: &Transaction<'_>, table: &str, singular: &str, given: &Value) -> Result<Object, ApiError> {
    let given = part(given, singular)?;
    let (column, wanted) = match (given.get("id"), given.get("name")) {
        (Some(id), _) => ("id", id),
        (None, Some(name)) => {
            let domain = part(given.get("domain").ok_or_else(|| expected("domain", singular))?, "domain")?;
            if text(domain, "id") != DOMAIN && text(domain, "name") != "Default" {
                return Err(ApiError::unauthorized());
            }
            ("name", name)
        }
        _ => return Err(invalid(singular, "id or name must be present.")),
    };
    let wanted = wanted.as_str().ok_or_else(|| invalid(&format!("{singular}/{column}"), "it is not of type 'string'"))?;
    let found = store::select(tx, table, Some((column, wanted)))?.pop().ok_or_else(ApiError::unauthorized)?;
    if flag(&found, "enabled") { Ok(found) } else { Err(ApiError::unauthorized()) }
}

fn by_password(tx: &Transaction<'_>, given: &Object, _grant: &mut Grant) -> Result<String, ApiError> {
    let given = given.get("user").ok_or_else(|| expected("user", "password"))?;
    let user = named(tx, "users", "user", given)?;
    let password = given.get("password").and_then(Value::as_str).ok_or_else(ApiError::unauthorized)?;
    if knows_password(tx, text(&user, "id"), password)? { Ok(text(&user, "id").to_owned()) } else { Err(ApiError::unauthorized()) }
}

/// Whether the password is that of the user; a user without one, and an unknown user, have none that fits.
pub fn knows_password(tx: &Transaction<'_>, user: &str, password: &str) -> Result<bool, ApiError> {
    let hash: Option<Option<String>> = tx.query_row("SELECT password_hash FROM users WHERE id = ?", [user], |row| row.get(0)).optional()?;
    Ok(hash.flatten().is_some_and(|hash| secrets::verify(password, &hash)))
}

fn by_token(tx: &Transaction<'_>, given: &Object, grant: &mut Grant) -> Result<String, ApiError> {
    let id = given.get("id").and_then(Value::as_str).ok_or_else(|| expected("id", "token"))?;
    let old = tokens::lookup(tx, id)?.ok_or_else(ApiError::unauthorized)?;
    // Otherwise it would outgrow what the application credential was made for.
    if old.credential.is_some() {
        return Err(forbidden("Using method 'application_credential' is not allowed for creating another token"));
    }
    // A token made from a token lives no longer, or one login would last for ever.
    grant.expires = grant.expires.min(old.expires);
    grant.methods = old.methods;
    grant.parent = old.audit_ids.last().cloned();
    Ok(old.user)
}

fn by_credential(tx: &Transaction<'_>, given: &Object, grant: &mut Grant) -> Result<String, ApiError> {
    let sql = "SELECT id, user_id, project_id, secret_hash, expires_at FROM application_credentials WHERE ";
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?, row.get(4)?))
    };
    let found = match (given.get("id").and_then(Value::as_str), given.get("name").and_then(Value::as_str), given.get("user")) {
        (Some(id), _, _) => tx.query_row(&format!("{sql} id = ?"), [id], row),
        (None, Some(name), Some(user)) => {
            let user = named(tx, "users", "user", user)?;
            tx.query_row(&format!("{sql} name = ? AND user_id = ?"), (name, text(&user, "id")), row)
        }
        (None, Some(_), None) => return Err(expected("user", "application_credential")),
        (None, None, _) => return Err(expected("id or name", "application_credential")),
    };
    let (id, user, project, hash, expires): (_, _, _, _, Option<i64>) = found.optional()?.ok_or_else(ApiError::unauthorized)?;
    let secret = given.get("secret").and_then(Value::as_str).ok_or_else(ApiError::unauthorized)?;
    let expired = expires.is_some_and(|moment| moment <= seconds());
    named(tx, "users", "user", &json!({"id": user}))?;
    named(tx, "projects", "project", &json!({"id": project}))?;
    if expired || !secrets::verify(secret, &hash) {
        return Err(ApiError::unauthorized());
    }
    grant.expires = expires.map_or(grant.expires, |moment| grant.expires.min(moment));
    grant.project = Some(project);
    grant.credential = Some(id);
    Ok(user)
}

/// The project of an explicit scope; `unscoped` has none. Roles on domains and on the system do not exist here, nor do trusts.
fn scoped(tx: &Transaction<'_>, scope: &Value) -> Result<Option<String>, ApiError> {
    if scope == "unscoped" {
        return Ok(None);
    }
    let scope = part(scope, "scope")?;
    let known: Vec<&str> =
        ["project", "domain", "system", "OS-TRUST:trust", "unscoped"].into_iter().filter(|name| scope.contains_key(*name)).collect();
    match known.as_slice() {
        ["unscoped"] => Ok(None),
        ["project"] => Ok(Some(text(&named(tx, "projects", "project", &scope["project"])?, "id").to_owned())),
        [_] => Err(ApiError::unauthorized()),
        _ => Err(expected("project, domain, OS-TRUST:trust or unscoped", "scope")),
    }
}

/// Where a login without a scope leads: into the user's default project, if it can go there.
fn default_project(tx: &Transaction<'_>, user: &str) -> Result<Option<String>, ApiError> {
    let sql = "SELECT p.id FROM users u JOIN projects p ON p.id = u.document ->> 'default_project_id'
               WHERE u.id = ?1 AND p.document ->> 'enabled' AND EXISTS (
                   SELECT 1 FROM role_assignments a WHERE a.user_id = u.id AND a.project_id = p.id)";
    Ok(tx.query_row(sql, [user], |row| row.get(0)).optional()?)
}
