//! Users, projects, roles, tokens, the catalog and application credentials by the `openstack` command.

use serde_json::{Value, json};

use super::{Shell, column, names};
use crate::cloud::Cloud;

#[tokio::test(flavor = "multi_thread")]
async fn users_and_projects_are_made_changed_and_removed() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    assert_eq!(names(&shell.json("user list").await), ["admin", "kuryr"]);
    let made = shell.json("user create --password secret --email a@b.c --description Person --project kuryr alice").await;
    assert_eq!((&made["name"], &made["enabled"], &made["email"]), (&json!("alice"), &json!(true), &json!("a@b.c")));
    assert!(shell.refused("user create alice").await.contains("Duplicate entry found with name alice"));
    shell.ok("user set --name alicia --email d@e.f --disable alice").await;
    let shown = shell.json("user show alicia").await;
    assert_eq!((&shown["id"], &shown["enabled"], &shown["email"]), (&made["id"], &json!(false), &json!("d@e.f")));
    assert_eq!(shell.json("user list --long").await[2]["Email"], json!("d@e.f"));
    shell.ok("user delete alicia").await;
    assert!(shell.refused("user show alicia").await.contains("alicia"));

    assert_eq!(names(&shell.json("project list").await), ["admin", "kuryr"]);
    let made = shell.json("project create --description \"'A place'\" --tag red --property colour=blue lab").await;
    assert_eq!((&made["description"], &made["tags"], &made["colour"]), (&json!("A place"), &json!(["red"]), &json!("blue")));
    assert!(shell.refused("project create lab").await.contains("409"));
    shell.ok("project set --name laboratory --tag green lab").await;
    // The client sends tags in any order.
    assert_eq!(shell.json("project show laboratory").await["tags"].as_array().unwrap().len(), 2);
    assert_eq!(names(&shell.json("project list --tags red,green").await), ["laboratory"]);
    shell.ok("project set --immutable laboratory").await;
    assert!(shell.refused("project delete laboratory").await.contains("immutable"));
    shell.ok("project set --no-immutable laboratory").await;
    shell.ok("project delete laboratory").await;
    assert!(shell.refused("project show laboratory").await.contains("laboratory"));
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_given_shown_and_taken() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    assert_eq!(names(&shell.json("role list").await), ["admin", "member", "reader"]);
    assert_eq!(shell.json("role show member").await["name"], json!("member"));
    shell.ok("user create --password secret bob").await;
    shell.ok("role add --user bob --project kuryr member").await;
    let mine = "role assignment list --names --user bob";
    let rows = shell.json(mine).await;
    assert_eq!(
        (column(&rows, "Role"), column(&rows, "User"), column(&rows, "Project")),
        (vec!["member"], vec!["bob@Default"], vec!["kuryr@Default"])
    );
    assert_eq!(column(&shell.json(&format!("{mine} --effective")).await, "Role"), ["member", "reader"]);
    assert_eq!(shell.json("role assignment list --role reader").await, json!([]));
    assert_eq!(names(&shell.json("project list --user bob").await), ["kuryr"]);

    let mut bob = Shell::user(&cloud, "bob", "secret").unwrap();
    assert_eq!(names(&bob.json("project list --my-projects").await), ["kuryr"]);
    assert!(bob.refused("user list").await.contains("identity:list_users"));
    assert!(bob.refused("user create eve").await.contains("identity:create_user"));
    assert!(bob.refused("role assignment list --auth-user").await.contains("identity:list_role_assignments"));
    bob.ok("user password set --original-password secret --password better").await;
    bob.close().await;

    shell.ok("role remove --user bob --project kuryr member").await;
    assert_eq!(shell.json(mine).await, json!([]));
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_and_what_it_is_made_of_are_shown() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    assert_eq!(names(&shell.json("catalog list").await), ["keystone", "neutron"]);
    assert_eq!(shell.json("catalog show network").await["type"], json!("network"));
    assert_eq!(column(&shell.json("service list").await, "Type"), ["identity", "network"]);
    assert_eq!(shell.json("service show neutron").await["type"], json!("network"));
    let endpoints = shell.json("endpoint list --service network --interface public").await;
    assert_eq!(column(&endpoints, "URL"), [format!("{}/networking", cloud.base)]);
    assert_eq!(shell.json("endpoint list").await.as_array().unwrap().len(), 6);
    assert_eq!(shell.json("endpoint show identity-admin").await["interface"], json!("admin"));
    assert_eq!(column(&shell.json("region list").await, "Region"), ["RegionOne"]);
    assert_eq!(shell.json("region show RegionOne").await["region"], json!("RegionOne"));
    assert_eq!(names(&shell.json("domain list").await), ["Default"]);
    assert_eq!(shell.json("domain show Default").await["id"], json!("default"));
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_until_it_is_revoked() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let token = shell.json("token issue").await["id"].as_str().unwrap().to_owned();
    let users = "/identity/v3/users";
    assert_eq!(cloud.call(&token, reqwest::Method::GET, users, Value::Null).await.0, 200);
    let auth_url = format!("{}/identity/v3", cloud.base);
    let environment = [
        ("OS_AUTH_TYPE", "v3token"),
        ("OS_AUTH_URL", auth_url.as_str()),
        ("OS_TOKEN", &token),
        ("OS_PROJECT_NAME", "kuryr"),
        ("OS_PROJECT_DOMAIN_NAME", "Default"),
    ];
    let mut by_token = Shell::start(&environment, None).unwrap();
    assert_eq!(names(&by_token.json("user list").await), ["admin", "kuryr"]);
    by_token.close().await;
    shell.ok(&format!("token revoke {token}")).await;
    assert_eq!(cloud.call(&token, reqwest::Method::GET, users, Value::Null).await.0, 401);
    let mut by_token = Shell::start(&environment, None).unwrap();
    assert!(by_token.refused("user list").await.contains("401"));
    shell.close().await;
}

/// A clouds.yaml with one cloud of the name `embedded`.
fn clouds(base: &str, auth: &str) -> String {
    format!(
        "clouds:\n  embedded:\n    auth_type: v3applicationcredential\n    region_name: RegionOne\n    auth:\n      auth_url: {base}/identity/v3\n{auth}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_credential_logs_in_by_id_and_by_name() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let made = shell
        .json("application credential create --role member --secret known --expiration 2100-01-01T00:00:00 --description Continuous ci")
        .await;
    assert_eq!((&made["Name"], &made["Secret"]), (&json!("ci"), &json!("known")));
    let random = shell.json("application credential create other").await;
    assert!(random["Secret"].as_str().unwrap().len() >= 32);
    assert!(shell.refused("application credential create ci").await.contains("409"));
    assert_eq!(names(&shell.json("application credential list").await), ["ci", "other"]);
    let shown = shell.ok("application credential show ci -f json").await;
    assert!(!shown.contains("known") && shown.contains("2100-01-01"));

    let id = made["ID"].as_str().unwrap();
    let auth_url = format!("{}/identity/v3", cloud.base);
    let of_kuryr = [
        ("OS_AUTH_TYPE", "v3applicationcredential"),
        ("OS_AUTH_URL", auth_url.as_str()),
        ("OS_APPLICATION_CREDENTIAL_ID", id),
        ("OS_APPLICATION_CREDENTIAL_SECRET", "known"),
    ];
    let mut by_id = Shell::start(&of_kuryr, None).unwrap();
    by_id.ok("network list").await;
    // The credential holds the role member only, although its owner is an admin.
    assert!(by_id.refused("user list").await.contains("identity:list_users"));
    assert!(by_id.refused("application credential create more").await.contains("application_credential"));

    let chosen = [("OS_CLOUD", "embedded")];
    let auth = format!("      application_credential_id: {id}\n      application_credential_secret: known\n");
    let mut from_file = Shell::start(&chosen, Some(&clouds(&cloud.base, &auth))).unwrap();
    from_file.ok("network list").await;
    from_file.close().await;

    let secret = random["Secret"].as_str().unwrap();
    let auth = format!(
        "      application_credential_name: other\n      application_credential_secret: {secret}\n      username: admin\n      user_domain_name: Default\n"
    );
    let mut by_name = Shell::start(&chosen, Some(&clouds(&cloud.base, &auth))).unwrap();
    assert_eq!(names(&by_name.json("user list").await), ["admin", "kuryr"]);
    by_name.close().await;

    // With the credential its tokens end.
    shell.ok("application credential delete ci").await;
    assert!(by_id.refused("network list").await.contains("401"));
    assert_eq!(names(&shell.json("application credential list").await), ["other"]);
    shell.close().await;
}
