//! Keystone's part of the embedded controller over real HTTP: who may do what, what ends with what, and what is refused in which words.

use kuryr::controller::{Controller, ControllerSettings};
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

#[tokio::test]
async fn tokens_are_scoped_validated_and_revoked() {
    let identity = Identity::start().await;
    let cloud = &identity.cloud;
    let (status, unscoped, body) = cloud.authenticate(by_password("bob", "secret")).await;
    assert_eq!((status, body["token"].get("project"), body["token"].get("catalog")), (201, None, None));
    let unscoped = unscoped.unwrap();
    assert_eq!(identity.ask(&unscoped, Method::GET, "auth/catalog", Value::Null).await.0, 403);
    let (_, own) = identity.ask(&unscoped, Method::GET, "auth/projects", Value::Null).await;
    assert_eq!(own["projects"][0]["name"], "kuryr");

    let again = json!({"identity": {"methods": ["token"], "token": {"id": unscoped}}, "scope": {"project": {"id": identity.project}}});
    let (status, scoped, rescoped) = cloud.authenticate(again).await;
    let (scoped, rescoped) = (scoped.unwrap(), &rescoped["token"]);
    assert_eq!((status, &rescoped["methods"]), (201, &json!(["token", "password"])));
    assert_eq!((&rescoped["audit_ids"][1], &rescoped["expires_at"]), (&body["token"]["audit_ids"][0], &body["token"]["expires_at"]));
    let roles: Vec<_> = rescoped["roles"].as_array().unwrap().iter().map(|role| role["name"].clone()).collect();
    assert_eq!(roles, ["member", "reader"]);

    // One's own tokens with any of them; those of others only as administrator.
    let (status, told) = identity.about(&scoped, Method::GET, &unscoped).await;
    assert_eq!((status, &told["token"]["user"]["name"]), (200, &json!("bob")));
    assert_eq!(identity.about(&scoped, Method::HEAD, &unscoped).await.0, 200);
    assert_eq!(identity.about(&scoped, Method::GET, &identity.admin).await.0, 403);
    assert_eq!(identity.about(&scoped, Method::GET, "no such token").await.0, 403);
    assert_eq!(identity.about(&identity.admin, Method::GET, "no such token").await.0, 404);
    assert_eq!(identity.about(&identity.admin, Method::GET, &scoped).await.0, 200);
    assert_eq!(identity.about(&scoped, Method::DELETE, &identity.admin).await.0, 403);
    assert_eq!(identity.about(&scoped, Method::DELETE, &unscoped).await.0, 204);
    assert!(!identity.lives(&unscoped).await && identity.lives(&scoped).await);

    let change = json!({"user": {"default_project_id": identity.project}});
    assert_eq!(identity.admin(Method::PATCH, &format!("users/{}", identity.bob_id), change).await.0, 200);
    let (_, _, body) = cloud.authenticate(by_password("bob", "secret")).await;
    assert_eq!(body["token"]["project"]["name"], "kuryr");
    let mut without = by_password("bob", "secret");
    without["scope"] = json!("unscoped");
    assert_eq!(cloud.authenticate(without).await.2["token"].get("project"), None);
    cloud.controller.store().transact(|tx| Ok(tx.execute("UPDATE tokens SET expires_at = 1", [])?)).unwrap();
    assert!(!identity.lives(&scoped).await);
}

#[tokio::test]
async fn a_users_tokens_end_with_the_password_the_role_and_the_user() {
    let identity = Identity::start().await;
    let cloud = &identity.cloud;
    let bob = format!("users/{}", identity.bob_id);
    let password = format!("{bob}/password");
    let change = |old: &str, new: &str| json!({"user": {"original_password": old, "password": new}});
    assert_eq!(identity.ask("", Method::POST, &password, change("wrong", "new")).await.0, 401);
    assert_eq!(identity.ask("", Method::POST, &password, json!({"user": {"password": "new"}})).await.0, 400);
    let (_, locked) = identity.admin(Method::PATCH, &bob, json!({"user": {"options": {"lock_password": true}}})).await;
    assert_eq!(locked["user"]["options"], json!({"lock_password": true}));
    assert_eq!(identity.ask("", Method::POST, &password, change("secret", "new")).await.0, 403);
    let (_, open) = identity.admin(Method::PATCH, &bob, json!({"user": {"options": {"lock_password": null}}})).await;
    assert_eq!(open["user"]["options"], json!({}));
    assert_eq!(identity.ask("", Method::POST, &password, change("secret", "new")).await.0, 204);
    assert!(!identity.lives(&identity.bob).await);
    assert_eq!(cloud.login("bob", "kuryr", "secret").await.0, 401);

    let login = async || cloud.login("bob", "kuryr", "new").await.1;
    let token = login().await.unwrap();
    identity.admin(Method::PATCH, &bob, json!({"user": {"enabled": false}})).await;
    assert!(!identity.lives(&token).await && login().await.is_none());
    identity.admin(Method::PATCH, &bob, json!({"user": {"enabled": true}})).await;
    let token = login().await.unwrap();
    let project = format!("projects/{}", identity.project);
    identity.admin(Method::PATCH, &project, json!({"project": {"enabled": false}})).await;
    assert!(!identity.lives(&token).await && login().await.is_none());
    identity.admin(Method::PATCH, &project, json!({"project": {"enabled": true}})).await;
    let token = login().await.unwrap();
    assert_eq!(identity.admin(Method::HEAD, &identity.grant(), Value::Null).await.0, 204);
    let (_, granted) = identity.admin(Method::GET, &format!("{project}/users/{}/roles", identity.bob_id), Value::Null).await;
    assert_eq!(granted["roles"][0]["name"], "member");
    assert_eq!(identity.admin(Method::DELETE, &identity.grant(), Value::Null).await.0, 204);
    assert_eq!(identity.admin(Method::DELETE, &identity.grant(), Value::Null).await.0, 404);
    assert_eq!(identity.admin(Method::HEAD, &identity.grant(), Value::Null).await.0, 404);
    assert!(!identity.lives(&token).await && login().await.is_none());
    identity.admin(Method::PUT, &identity.grant(), Value::Null).await;
    let token = login().await.unwrap();
    assert_eq!(identity.admin(Method::DELETE, &bob, Value::Null).await.0, 204);
    assert!(!identity.lives(&token).await && login().await.is_none());
    let (_, left) = identity.admin(Method::GET, &format!("role_assignments?user.id={}", identity.bob_id), Value::Null).await;
    assert_eq!(left["role_assignments"], json!([]));
}

#[tokio::test]
async fn an_application_credential_gives_no_more_and_no_longer_than_it_should() {
    let identity = Identity::start().await;
    let cloud = &identity.cloud;
    let path = identity.credentials();
    let make = async |token: &str, body: Value| identity.ask(token, Method::POST, &path, json!({"application_credential": body})).await;
    for (body, says) in [
        (json!({}), "'name' is a required property"),
        (json!({"name": "x", "other": 1}), "('other' was unexpected)"),
        (json!({"name": "x", "expires_at": "tomorrow"}), "Timestamp not in expected format"),
        (json!({"name": "x", "expires_at": "2001-01-01T00:00:00"}), "must not be before now"),
        (json!({"name": "x", "roles": [{"name": "admin"}]}), "unassigned role"),
        (json!({"name": "x", "roles": ["member"]}), "every item is an object"),
        (json!({"name": "x", "access_rules": [{"path": "/", "method": "GET", "service": "network"}]}), "access rules"),
    ] {
        let (status, answer) = make(&identity.bob, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(says), "{body}: {message}");
    }
    assert_eq!(make(&identity.admin, json!({"name": "x"})).await.0, 403);

    let (reader, token) =
        identity.credential(json!({"name": "r", "roles": [{"name": "reader"}], "expires_at": "2100-01-01T00:00:00"})).await;
    let (_, told) = identity.about(&token, Method::GET, &token).await;
    assert_eq!(told["token"]["roles"][0]["name"], "reader");
    assert_eq!(told["token"]["application_credential"], json!({"id": reader, "name": "r", "restricted": true}));
    assert_eq!(make(&identity.bob, json!({"name": "r"})).await.0, 409);
    // Restricted: it makes and deletes no others. Its token makes no other token, and its login has the scope it has.
    assert_eq!(make(&token, json!({"name": "x"})).await.0, 403);
    assert_eq!(identity.ask(&token, Method::DELETE, &format!("{path}/{reader}"), Value::Null).await.0, 403);
    let again = json!({"identity": {"methods": ["token"], "token": {"id": token}}});
    assert_eq!(cloud.authenticate(again).await.0, 403);
    let mut scoped = by_credential(&reader, "x");
    scoped["scope"] = json!({"project": {"id": identity.project}});
    assert_eq!(cloud.authenticate(scoped).await.0, 401);
    let (free, token) = identity.credential(json!({"name": "u", "unrestricted": true})).await;
    assert_eq!(make(&token, json!({"name": "by u"})).await.0, 201);

    // Expired, it logs nobody in, and a token from before lives no longer than it.
    let soon = "UPDATE application_credentials SET expires_at = unixepoch() + ?2 WHERE id = ?1";
    let expire = |id: &str, seconds: i64| cloud.controller.store().transact(|tx| Ok(tx.execute(soon, (id, seconds))?)).unwrap();
    let (short, _) = identity.credential(json!({"name": "s", "secret": "known", "expires_at": "2100-01-01T00:00:00"})).await;
    expire(&short, 60);
    let (_, _, body) = cloud.authenticate(by_credential(&short, "known")).await;
    let expiry = |body: &Value| body["token"]["expires_at"].as_str().unwrap().to_owned();
    assert!(expiry(&body) < expiry(&told));
    expire(&short, -1);
    assert_eq!(cloud.authenticate(by_credential(&short, "known")).await.0, 401);
    assert_eq!(cloud.authenticate(by_credential(&free, "wrong")).await.0, 401);

    // Others see it only as administrators, whatever the path says; the secret nobody sees.
    let (status, shown) = identity.admin(Method::GET, &format!("{path}/{free}"), Value::Null).await;
    assert_eq!((status, shown["application_credential"].get("secret")), (200, None));
    let kuryr = cloud.controller.service_credentials().unwrap();
    let member = "UPDATE role_assignments SET role_id = (SELECT id FROM roles WHERE name = 'member')
                  WHERE user_id = (SELECT id FROM users WHERE name = 'kuryr')";
    cloud.controller.store().transact(|tx| Ok(tx.execute(member, [])?)).unwrap();
    let stranger = cloud.login("kuryr", "kuryr", &kuryr.password).await.1.unwrap();
    let own = format!("users/{}/application_credentials", identity.named("users", "kuryr").await);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(identity.ask(&stranger, method, &format!("{own}/{free}"), Value::Null).await.0, 403);
    }
    assert_eq!(identity.ask(&stranger, Method::GET, &format!("{own}/none"), Value::Null).await.0, 404);

    // It goes with the role it was made for, and its tokens with it.
    assert!(identity.lives(&token).await);
    assert_eq!(identity.admin(Method::DELETE, &identity.grant(), Value::Null).await.0, 204);
    assert!(!identity.lives(&token).await);
    assert_eq!(identity.admin(Method::GET, &path, Value::Null).await.1["application_credentials"], json!([]));
}

#[tokio::test]
async fn a_controller_starts_although_an_administrator_has_deleted_everything() {
    let identity = Identity::start().await;
    for (method, path) in [(Method::DELETE, "networks"), (Method::DELETE, "subnetpools")] {
        let collection = format!("/networking/v2.0/{path}");
        let (_, list) = identity.cloud.call(&identity.admin, Method::GET, &collection, Value::Null).await;
        for object in list[path].as_array().unwrap() {
            let one = format!("{collection}/{}", object["id"].as_str().unwrap());
            assert_eq!(identity.cloud.call(&identity.admin, method.clone(), &one, Value::Null).await.0, 204);
        }
    }
    assert_eq!(identity.admin(Method::DELETE, &format!("projects/{}", identity.project), Value::Null).await.0, 204);
    let mine = identity.named("users", "admin").await;
    for id in [identity.named("users", "kuryr").await, identity.bob_id.clone(), mine] {
        assert_eq!(identity.admin(Method::DELETE, &format!("users/{id}"), Value::Null).await.0, 204);
    }
    assert!(!identity.lives(&identity.admin).await);
    let settings: ControllerSettings = identity.cloud.controller.settings().clone();
    Controller::open(settings).unwrap();
}
