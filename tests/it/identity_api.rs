//! Keystone's part of the embedded controller over real HTTP: who may do what, and what is refused in which words.

mod lifetimes;

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::Cloud;

/// A cloud with its administrator's token, and a plain member `bob` of the project `kuryr` with his.
struct Identity {
    cloud: Cloud,
    admin: String,
    bob: String,
    bob_id: String,
    project: String,
    member: String,
}

impl Identity {
    async fn start() -> Self {
        let cloud = Cloud::start().await;
        let admin = cloud.admin().await;
        let mut identity = Self { cloud, admin, bob: String::new(), bob_id: String::new(), project: String::new(), member: String::new() };
        identity.bob_id = identity.made("users", json!({"user": {"name": "bob", "password": "secret"}})).await;
        identity.project = identity.named("projects", "kuryr").await;
        identity.member = identity.named("roles", "member").await;
        assert_eq!(identity.admin(Method::PUT, &identity.grant(), Value::Null).await.0, 204);
        identity.bob = identity.cloud.login("bob", "kuryr", "secret").await.1.unwrap();
        identity
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.cloud.call(token, method, &format!("/identity/v3/{path}"), body).await
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.ask(&self.admin, method, path, body).await
    }

    /// Makes an object as administrator; its id.
    async fn made(&self, path: &str, body: Value) -> String {
        let (status, made) = self.admin(Method::POST, path, body).await;
        assert_eq!(status, 201, "{made}");
        made.as_object().unwrap().values().next().unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn named(&self, collection: &str, name: &str) -> String {
        let (_, found) = self.admin(Method::GET, &format!("{collection}?name={name}"), Value::Null).await;
        assert_eq!(found[collection].as_array().unwrap().len(), 1, "{found}");
        found[collection][0]["id"].as_str().unwrap().to_owned()
    }

    /// The path of bob's role.
    fn grant(&self) -> String {
        format!("projects/{}/users/{}/roles/{}", self.project, self.bob_id, self.member)
    }

    fn credentials(&self) -> String {
        format!("users/{}/application_credentials", self.bob_id)
    }

    /// Whether a token still is one.
    async fn lives(&self, token: &str) -> bool {
        match self.ask(token, Method::GET, "auth/projects", Value::Null).await.0 {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    /// A request about a token: status and answer.
    async fn about(&self, token: &str, method: Method, subject: &str) -> (u16, Value) {
        let url = format!("{}/identity/v3/auth/tokens", self.cloud.base);
        let request = self.cloud.client.request(method, url).header("x-auth-token", token).header("x-subject-token", subject);
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap_or_default())
    }

    /// A new application credential of bob's: its id and the token it logs in with.
    async fn credential(&self, body: Value) -> (String, String) {
        let (status, made) = self.ask(&self.bob, Method::POST, &self.credentials(), json!({"application_credential": body})).await;
        assert_eq!(status, 201, "{made}");
        let made = &made["application_credential"];
        let id = made["id"].as_str().unwrap().to_owned();
        let token = self.cloud.authenticate(by_credential(&id, made["secret"].as_str().unwrap())).await.1.unwrap();
        (id, token)
    }
}

fn by_credential(id: &str, secret: &str) -> Value {
    json!({"identity": {"methods": ["application_credential"], "application_credential": {"id": id, "secret": secret}}})
}

fn by_password(user: &str, password: &str) -> Value {
    let user = json!({"name": user, "domain": {"name": "Default"}, "password": password});
    json!({"identity": {"methods": ["password"], "password": {"user": user}}})
}

#[tokio::test]
async fn what_is_for_administrators_is_refused_to_a_member() {
    let identity = Identity::start().await;
    let own = format!("users/{}", identity.bob_id);
    let other = format!("users/{}", identity.named("users", "kuryr").await);
    let project = format!("projects/{}", identity.project);
    let other_project = format!("projects/{}", identity.named("projects", "admin").await);
    let role = format!("roles/{}", identity.member);
    let grant = identity.grant();
    let get = |path: &str| (Method::GET, path.to_owned());
    let allowed = [get(&own), get(&format!("{own}/projects")), get(&project), get("regions"), get("domains/default"), get("auth/catalog")];
    for (method, path) in allowed {
        assert_eq!(identity.ask(&identity.bob, method, &path, Value::Null).await.0, 200, "{path}");
    }
    let refused = [
        (get("users"), "list_users"),
        (get(&other), "get_user"),
        (get(&format!("{other}/projects")), "list_user_projects"),
        (get("projects"), "list_projects"),
        (get(&other_project), "get_project"),
        (get("roles"), "list_roles"),
        (get(&role), "get_role"),
        (get("services"), "list_services"),
        (get("endpoints/identity-public"), "get_endpoint"),
        (get("domains"), "list_domains"),
        (get("role_assignments"), "list_role_assignments"),
        (get(&grant), "check_grant"),
        (get(&format!("{other}/application_credentials")), "list_application_credentials"),
        ((Method::POST, "users".to_owned()), "create_user"),
        ((Method::PATCH, own.clone()), "update_user"),
        ((Method::DELETE, own.clone()), "delete_user"),
        ((Method::POST, "projects".to_owned()), "create_project"),
        ((Method::PATCH, project.clone()), "update_project"),
        ((Method::DELETE, project.clone()), "delete_project"),
        ((Method::PUT, grant.clone()), "create_grant"),
        ((Method::DELETE, grant.clone()), "revoke_grant"),
    ];
    for ((method, path), action) in refused {
        let (status, answer) = identity.ask(&identity.bob, method.clone(), &path, Value::Null).await;
        let message = format!("You are not authorized to perform the requested action: identity:{action}.");
        assert_eq!((status, &answer["error"]["message"]), (403, &json!(message)), "{method} {path}");
        assert_eq!(identity.ask("forged", method, &path, Value::Null).await.0, 401, "{path}");
    }
    for (method, path, status) in [
        (Method::GET, "users/none", 404),
        (Method::GET, "endpoints/none", 404),
        (Method::GET, "credentials", 404),
        (Method::POST, "roles", 405),
        (Method::DELETE, "domains/default", 405),
    ] {
        let (got, answer) = identity.admin(method, path, Value::Null).await;
        assert_eq!((got, answer["error"]["code"].as_u64().unwrap_or(405)), (status, u64::from(status)), "{path}");
    }
}

#[tokio::test]
async fn malformed_bodies_and_taken_names_are_refused() {
    let identity = Identity::start().await;
    let bob = format!("users/{}", identity.bob_id);
    let project = format!("projects/{}", identity.project);
    let (post, patch) = (Method::POST, Method::PATCH);
    for (method, path, body, status, says) in [
        (&post, "users", json!([]), 400, "Expecting to find valid JSON in request body"),
        (&post, "users", json!({"user": {}}), 400, "'name' is a required property"),
        (&post, "users", json!({"user": {"name": 5}}), 400, "Invalid input for field 'name': 5 is not of type 'string'"),
        (&post, "users", json!({"user": {"name": "x", "domain_id": "other"}}), 404, "Could not find domain: other."),
        (&post, "users", json!({"user": {"name": "x", "federated": []}}), 400, "'federated'"),
        (&post, "users", json!({"user": {"name": "bob"}}), 409, "Duplicate entry found with name bob"),
        (&patch, &bob, json!({"user": {}}), 400, "does not have enough properties"),
        (&patch, &bob, json!({"user": {"name": "kuryr"}}), 409, "Duplicate entry found with name kuryr"),
        (&patch, &bob, json!({"user": {"id": "other"}}), 400, "Cannot change user ID"),
        (&patch, "users/none", json!({"user": {"name": "x"}}), 404, "Could not find user: none."),
        (&post, "projects", json!({"project": {"name": "kuryr"}}), 409, "two projects with the same name"),
        (&post, "projects", json!({"project": {"name": "x", "is_domain": true}}), 400, "is_domain must be false"),
        (&post, "projects", json!({"project": {"name": "x", "parent_id": identity.project}}), 400, "directly in the domain"),
        (&post, "projects", json!({"project": {"name": "x"}, "other": 1}), 400, "('other' was unexpected)"),
        (&patch, &project, json!({"project": {"domain_id": "other"}}), 400, "Cannot change domain ID"),
        (&post, "auth/tokens", json!({}), 400, "'auth' is a required property"),
        (&post, "auth/tokens", json!({"auth": {"identity": {}}}), 400, "'methods' is a required property"),
        (&post, "auth/tokens", json!({"auth": {"identity": {"methods": ["password"]}}}), 400, "Expecting to find password in identity"),
        (&post, "auth/tokens", json!({"auth": {"identity": {"methods": ["totp"], "totp": {}}}}), 401, "unsupported method"),
        (&post, "auth/tokens", json!({"auth": {"identity": {"methods": []}}}), 401, "requires authentication"),
    ] {
        let (got, answer) = identity.admin(method.clone(), path, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(got == status && message.contains(says), "{method} {path} {body}: {got} {message}");
    }
    let mut own = by_password("bob", "secret");
    own["scope"] = json!({"project": {"id": identity.project}, "domain": {"id": "default"}});
    assert_eq!(identity.cloud.authenticate(own.clone()).await.0, 400);
    own["scope"] = json!({"system": {"all": true}});
    assert_eq!(identity.cloud.authenticate(own).await.0, 401);
}
