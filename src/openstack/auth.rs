//! The bodies of `POST /v3/auth/tokens`. Source: Identity API v3, "Password/Token/Application credential authentication", OS-TRUST.

use serde_json::{Value, json};

use super::settings::{ApplicationCredential, AuthMethod, Domain, Scope, User};

/// The request body; none for a method that goes without Keystone.
pub(super) fn body(method: &AuthMethod) -> Option<Value> {
    let (identity, scope) = match method {
        AuthMethod::Password { user, password, scope } => {
            let mut user = user_of(user);
            user["password"] = json!(password.expose());
            (json!({"methods": ["password"], "password": {"user": user}}), scope_of(scope))
        }
        AuthMethod::Token { token, scope } => (json!({"methods": ["token"], "token": {"id": token.expose()}}), scope_of(scope)),
        AuthMethod::ApplicationCredential { credential, secret } => {
            let mut inside = match credential {
                ApplicationCredential::Id(id) => json!({"id": id}),
                ApplicationCredential::Name { name, user } => json!({"name": name, "user": user_of(user)}),
            };
            inside["secret"] = json!(secret.expose());
            // The credential is bound to its project; Keystone refuses a scope beside it.
            (json!({"methods": ["application_credential"], "application_credential": inside}), None)
        }
        AuthMethod::AdminToken { .. } | AuthMethod::None => return None,
    };
    let mut auth = json!({"identity": identity});
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    Some(json!({"auth": auth}))
}

/// Whom the token is for, in an error's words.
pub(super) fn subject(method: &AuthMethod) -> String {
    let user = |user: &User| match user {
        User::Id(id) => format!("user {id}"),
        User::Name { name, .. } => format!("user '{name}'"),
    };
    match method {
        AuthMethod::Password { user: who, scope: Scope::Project { name, .. }, .. } => format!("{} in project '{name}'", user(who)),
        AuthMethod::Password { user: who, .. } => user(who),
        AuthMethod::ApplicationCredential { credential: ApplicationCredential::Id(id), .. } => format!("application credential {id}"),
        AuthMethod::ApplicationCredential { credential: ApplicationCredential::Name { name, user: who }, .. } => {
            format!("application credential '{name}' of {}", user(who))
        }
        AuthMethod::Token { .. } => "the given token".to_owned(),
        AuthMethod::AdminToken { .. } | AuthMethod::None => "nobody".to_owned(),
    }
}

fn domain_of(domain: &Domain) -> Value {
    match domain {
        Domain::Id(id) => json!({"id": id}),
        Domain::Name(name) => json!({"name": name}),
    }
}

fn user_of(user: &User) -> Value {
    match user {
        User::Id(id) => json!({"id": id}),
        User::Name { name, domain } => json!({"name": name, "domain": domain_of(domain)}),
    }
}

fn scope_of(scope: &Scope) -> Option<Value> {
    Some(match scope {
        Scope::ProjectId(id) => json!({"project": {"id": id}}),
        Scope::Project { name, domain } => json!({"project": {"name": name, "domain": domain_of(domain)}}),
        Scope::Domain(domain) => json!({"domain": domain_of(domain)}),
        Scope::System => json!({"system": {"all": true}}),
        Scope::Trust(id) => json!({"OS-TRUST:trust": {"id": id}}),
        Scope::Unscoped => return None,
    })
}
