//! The bodies of `POST /v3/auth/tokens` and `POST /v2.0/tokens`. Source: Identity API v3, "Password/Token/Application credential
//! authentication", OS-TRUST; Identity API v2.0, "Authenticate".

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

/// The same for v2.0, which knows neither domains nor application credentials.
pub(super) fn body_v2(method: &AuthMethod) -> Option<Value> {
    let (mut auth, scope) = match method {
        AuthMethod::Password { user, password, scope } => {
            let (key, name) = match user {
                User::Id(id) => ("userId", id),
                User::Name { name, .. } => ("username", name),
            };
            (json!({"passwordCredentials": {key: name, "password": password.expose()}}), scope)
        }
        AuthMethod::Token { token, scope } => (json!({"token": {"id": token.expose()}}), scope),
        _ => return None,
    };
    match scope {
        Scope::ProjectId(id) => auth["tenantId"] = json!(id),
        Scope::Project { name, .. } => auth["tenantName"] = json!(name),
        Scope::Unscoped => {}
        Scope::Domain(_) | Scope::System | Scope::Trust(_) => return None,
    }
    Some(json!({"auth": auth}))
}

/// What is sent as a proof, to be taken out of texts that repeat it.
pub(super) fn proof(method: &AuthMethod) -> Option<&str> {
    match method {
        AuthMethod::Password { password: secret, .. }
        | AuthMethod::Token { token: secret, .. }
        | AuthMethod::ApplicationCredential { secret, .. }
        | AuthMethod::AdminToken { token: secret } => Some(secret.expose()),
        AuthMethod::None => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openstack::{CloudSettings, Options};

    fn body_of(options: &[(&str, &str)]) -> Value {
        let mut all: Options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("auth_url".to_owned(), "http://keystone/v3".to_owned());
        body(&CloudSettings::from_options(&all).unwrap().auth).unwrap()
    }

    #[test]
    fn password_by_names_and_by_ids() {
        let named = [("username", "u"), ("password", "p"), ("project_name", "n"), ("user_domain_name", "D"), ("project_domain_id", "d")];
        assert_eq!(
            body_of(&named),
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {"name": "u", "domain": {"name": "D"}, "password": "p"}}},
                "scope": {"project": {"name": "n", "domain": {"id": "d"}}},
            }})
        );
        assert_eq!(
            body_of(&[("user-id", "u"), ("password", "p"), ("tenant_id", "t")]),
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {"id": "u", "password": "p"}}},
                "scope": {"project": {"id": "t"}},
            }})
        );
    }

    #[test]
    fn a_trust_replaces_the_project() {
        let body = body_of(&[("username", "u"), ("password", "p"), ("project_name", "n"), ("trust_id", "t")]);
        assert_eq!(body["auth"]["scope"], json!({"OS-TRUST:trust": {"id": "t"}}));
        assert_eq!(body["auth"]["identity"]["password"]["user"]["domain"], json!({"id": "default"}));
    }

    #[test]
    fn token_and_other_scopes() {
        let body = body_of(&[("auth_type", "v3token"), ("token", "t"), ("domain_name", "D")]);
        assert_eq!(body, json!({"auth": {"identity": {"methods": ["token"], "token": {"id": "t"}}, "scope": {"domain": {"name": "D"}}}}));
        let system = body_of(&[("username", "u"), ("password", "p"), ("system_scope", "all")]);
        assert_eq!(system["auth"]["scope"], json!({"system": {"all": true}}));
        assert_eq!(body_of(&[("username", "u"), ("password", "p")])["auth"].get("scope"), None);
    }

    #[test]
    fn the_older_api_takes_names_and_ids_but_no_domains() {
        let body = |options: &[(&str, &str)]| {
            let all: Options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            body_v2(&CloudSettings::from_options(&all).unwrap().auth)
        };
        let url = ("auth_url", "http://keystone/v2.0");
        assert_eq!(
            body(&[url, ("username", "u"), ("password", "p"), ("tenant_name", "t")]).unwrap(),
            json!({"auth": {"passwordCredentials": {"username": "u", "password": "p"}, "tenantName": "t"}})
        );
        assert_eq!(
            body(&[url, ("user_id", "u"), ("password", "p"), ("tenant_id", "t")]).unwrap(),
            json!({"auth": {"passwordCredentials": {"userId": "u", "password": "p"}, "tenantId": "t"}})
        );
        assert_eq!(body(&[url, ("token", "t")]).unwrap(), json!({"auth": {"token": {"id": "t"}}}));
        assert_eq!(body(&[url, ("username", "u"), ("password", "p"), ("system_scope", "all")]), None);
        assert_eq!(body(&[url, ("application_credential_id", "i"), ("application_credential_secret", "s")]), None);
    }

    #[test]
    fn application_credentials_carry_no_scope() {
        let by_id = [("application_credential_id", "i"), ("application_credential_secret", "s"), ("project_name", "ignored")];
        assert_eq!(
            body_of(&by_id),
            json!({"auth": {"identity": {
                "methods": ["application_credential"], "application_credential": {"id": "i", "secret": "s"},
            }}})
        );
        let by_name =
            [("application_credential_name", "c"), ("application_credential_secret", "s"), ("username", "u"), ("user_domain_name", "D")];
        assert_eq!(
            body_of(&by_name)["auth"]["identity"]["application_credential"],
            json!({"name": "c", "secret": "s", "user": {"name": "u", "domain": {"name": "D"}}})
        );
    }
}
