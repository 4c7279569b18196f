//! `openstack network …`

use serde_json::json;

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_made_changed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let project = shell.json("project show kuryr").await["id"].clone();

    let plain = shell.json("network create plain").await;
    let expected = json!({
        "name": "plain", "admin_state_up": true, "status": "ACTIVE", "mtu": 1500, "shared": false, "router:external": false, "is_default": false,
        "port_security_enabled": true, "description": "", "subnets": [], "tags": [], "revision_number": 0, "project_id": project,
        "availability_zone_hints": [],
    });
    assert_shows(&plain, &expected);
    let create =
        "network create --external --default --share --mtu 1400 --disable-port-security --description for-all --tag red --tag blue out";
    let out = shell.json(create).await;
    let expected = json!({
        "router:external": true, "is_default": true, "shared": true, "mtu": 1400, "port_security_enabled": false, "description": "for-all",
        "tags": ["blue", "red"],
    });
    assert_shows(&out, &expected);
    let down = shell.json("network create --disable --internal --no-share --enable-port-security --project admin down").await;
    assert_shows(&down, &json!({"admin_state_up": false, "status": "DOWN", "router:external": false, "shared": false}));
    assert_ne!(down["project_id"], project);
    assert_eq!(shell.json("network create kuryr").await["name"], "kuryr", "names need not be unique");
    assert!(shell.refused("network show kuryr").await.contains("More than one Network"));

    shell
        .ok("network set --name plain2 --mtu 1300 --disable --share --disable-port-security --description changed --tag x --tag y plain")
        .await;
    let expected = json!({
        "id": plain["id"], "mtu": 1300, "admin_state_up": false, "status": "DOWN", "shared": true, "port_security_enabled": false,
        "description": "changed", "tags": ["x", "y"], "created_at": plain["created_at"], "revision_number": 2,
    });
    assert_shows(&shell.json("network show plain2").await, &expected);
    shell.ok("network unset --tag x plain2").await;
    shell.ok("network set --enable --no-share --external plain2").await;
    assert_shows(
        &shell.json("network show plain2").await,
        &json!({"tags": ["y"], "status": "ACTIVE", "shared": false, "router:external": true}),
    );
    shell.ok("network set --no-tag --tag z --internal plain2").await;
    assert_shows(&shell.json("network show plain2").await, &json!({"tags": ["z"], "router:external": false}));
    shell.ok("network unset --all-tag plain2").await;
    assert_eq!(shell.json("network show plain2").await["tags"], json!([]));

    for (command, complaint) in [
        ("network create --mtu 3 x", "400: Client Error"),
        ("network create --external --default x", "A default external network already exists"),
        ("network create --provider-network-type vlan x", "Unrecognized attribute(s) 'provider:network_type'"),
        ("network create --availability-zone-hint nova x", "Attribute 'availability_zone_hints' not allowed in POST"),
        ("network create --transparent-vlan x", "Unrecognized attribute(s) 'vlan_transparent'"),
        ("network set --mtu 99999 plain2", "'99999' is not between 68 and 65535"),
        ("network show nosuch", "No Network found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    assert!(shell.refused("network delete plain2 down nosuch").await.contains("1 of 3 networks failed to delete"));
    assert_eq!(names(&shell.json("network list").await), ["kuryr", "out", "kuryr"]);
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_are_listed_filtered_and_paged() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("network create --tag red --tag blue b").await;
    shell.ok("network create --tag red --disable --project admin c").await;
    shell.ok("network create --share --mtu 1400 a").await;
    for (filters, found) in [
        ("", &["kuryr", "b", "c", "a"][..]),
        ("--external", &["kuryr"]),
        ("--internal", &["b", "c", "a"]),
        ("--name b", &["b"]),
        ("--enable", &["kuryr", "b", "a"]),
        ("--disable", &["c"]),
        ("--status DOWN", &["c"]),
        ("--project admin", &["c"]),
        ("--share", &["a"]),
        ("--no-share", &["kuryr", "b", "c"]),
        ("--tags red,blue", &["b"]),
        ("--any-tags red,blue", &["b", "c"]),
        ("--not-tags red,blue", &["kuryr", "c", "a"]),
        ("--not-any-tags red,blue", &["kuryr", "a"]),
        ("--name b --disable", &[]),
        ("--sort-column Name", &["a", "b", "c", "kuryr"]),
        ("--sort-column Name --sort-descending", &["kuryr", "c", "b", "a"]),
    ] {
        assert_eq!(names(&shell.json(&format!("network list {filters}")).await), found, "{filters}");
    }
    let long = shell.json("network list --long --name a").await;
    assert_shows(&long[0], &json!({"Status": "ACTIVE", "State": true, "Shared": true, "Router Type": false, "Tags": []}));

    // Pages: in the order of ids, each begun behind the last one of the page before.
    let first = shell.json("network list --limit 3 --max-items 3").await;
    assert_eq!(names(&first).len(), 3);
    let marker = first[2]["ID"].as_str().unwrap();
    let rest = shell.json(&format!("network list --limit 3 --marker {marker}")).await;
    assert_eq!(names(&rest).len(), 1);
    let all = shell.json("network list --limit 1").await;
    let mut found: Vec<&str> = names(&first).into_iter().chain(names(&rest)).collect();
    assert_eq!(names(&all), found);
    found.sort_unstable();
    assert_eq!(found, ["a", "b", "c", "kuryr"]);
    shell.close().await;
}
