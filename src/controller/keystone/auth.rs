//! `/v3/auth`: tokens, and what a token can be used for.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, StatusCode},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};

use super::{Ask, Caller, Reply, catalog, done, forbidden, ok, projects, schema};
use crate::controller::{
    ApiError, Controller,
    error::json_answer,
    login,
    tokens::{self, Token},
};

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/auth/tokens", get(show).post(issue).delete(revoke))
        .route("/identity/v3/auth/catalog", get(catalog_list))
        .route("/identity/v3/auth/projects", get(own_projects))
        .route("/identity/v3/auth/domains", get(no_domains))
        .route("/identity/v3/auth/system", get(no_system))
}

fn with_token(status: StatusCode, body: &Value, id: &str) -> Response {
    let mut response = json_answer(status, body);
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-subject-token", value);
    }
    response
}

fn catalog_unless_unwanted(ask: &Ask) -> Option<Value> {
    let unwanted = ask.query.iter().any(|(name, _)| name == "nocatalog");
    (!unwanted).then(|| catalog::of_token(&ask.base))
}

async fn issue(ask: Ask, body: Bytes) -> Reply {
    let work = move |tx: &rusqlite::Transaction<'_>, ask: &Ask| {
        let token = login::login(tx, &schema::object(&body)?)?;
        let body = tokens::describe(tx, &token, catalog_unless_unwanted(ask))?;
        Ok((token.id, body))
    };
    let (id, body) = ask.anonymously(work).await?;
    Ok(with_token(StatusCode::CREATED, &body, &id))
}

/// The token that a request is about: one's own, or any for an administrator.
fn subject(caller: &Caller<'_>, action: &str) -> Result<Token, ApiError> {
    let token = tokens::subject(caller.tx, &caller.ask.headers);
    match &token {
        Ok(token) => caller.may(token.user == caller.token.user, action)?,
        // Whether a token of somebody else exists is not everybody's business.
        Err(error) if error.status == StatusCode::NOT_FOUND => caller.may(false, action)?,
        Err(_) => {}
    }
    token
}

async fn show(ask: Ask) -> Reply {
    let id = ask.headers.get("x-subject-token").cloned();
    let mut response = ask
        .answer(|caller| {
            let token = subject(caller, "validate_token")?;
            ok(tokens::describe(caller.tx, &token, catalog_unless_unwanted(caller.ask))?)
        })
        .await?;
    if let Some(id) = id {
        response.headers_mut().insert("x-subject-token", id);
    }
    Ok(response)
}

async fn revoke(ask: Ask) -> Reply {
    ask.answer(|caller| {
        let token = subject(caller, "revoke_token")?;
        caller.tx.execute("DELETE FROM tokens WHERE id = ?", [token.id])?;
        done()
    })
    .await
}

async fn catalog_list(ask: Ask) -> Reply {
    ask.answer(|caller| {
        if caller.token.project.is_none() {
            return Err(forbidden("A project-scoped token is required to produce a service catalog"));
        }
        ok(json!({"catalog": catalog::of_token(&caller.ask.base), "links": {"self": caller.url("auth/catalog")}}))
    })
    .await
}

async fn own_projects(ask: Ask) -> Reply {
    ask.answer(|caller| {
        let own = projects::of_user(caller, &caller.token.user)?;
        ok(caller.listed("projects", own, &[]))
    })
    .await
}

async fn no_domains(ask: Ask) -> Reply {
    ask.answer(|caller| ok(caller.listed("domains", Vec::new(), &[]))).await
}

async fn no_system(ask: Ask) -> Reply {
    ask.answer(|caller| ok(json!({"system": [], "links": {"self": caller.url("auth/system")}}))).await
}
