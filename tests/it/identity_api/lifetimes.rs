//! Tokens, passwords, roles and application credentials: what ends with what.

use kuryr::controller::{Controller, ControllerSettings};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Identity, by_credential, by_password};

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
