//! Users, projects, roles, tokens, the catalog and application credentials by the `openstack` command.

use serde_json::json;

use super::Shell;
use crate::cloud::Cloud;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_users_and_projects_are_shown() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud).await else { return };
    let users = shell.json("user list").await;
    let names: Vec<_> = users.as_array().unwrap().iter().map(|user| user["Name"].clone()).collect();
    assert_eq!(names, ["admin", "kuryr"]);
    assert_eq!(shell.json("project show kuryr").await["name"], json!("kuryr"));
    assert!(shell.refused("user show nobody").await.contains("nobody"));
    shell.close().await;
}
