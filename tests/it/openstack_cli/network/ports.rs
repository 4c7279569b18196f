//! `openstack port …`

use serde_json::json;

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

/// A network `n` with the subnet `s`, 10.1.0.0/24, and the security groups `g1` and `g2`.
async fn cloud_with_network() -> (Cloud, Option<Shell>) {
    let cloud = Cloud::start().await;
    let mut shell = Shell::admin(&cloud);
    if let Some(shell) = &mut shell {
        for command in [
            "network create n",
            "subnet create --network n --subnet-range 10.1.0.0/24 s",
            "security group create g1",
            "security group create g2",
        ] {
            shell.ok(command).await;
        }
    }
    (cloud, shell)
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_made_with_every_option() {
    let (_cloud, Some(mut shell)) = cloud_with_network().await else { return };
    let subnet = shell.json("subnet show s").await["id"].clone();
    let group = |name: &str| format!("security group show {name}");
    let (g1, g2) = (shell.json(&group("g1")).await["id"].clone(), shell.json(&group("g2")).await["id"].clone());
    let default = shell.json(&group("default")).await["id"].clone();

    let plain = shell.json("port create --network n plain").await;
    let expected = json!({
        "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.2"}], "security_group_ids": [default], "status": "DOWN", "admin_state_up": true,
        "binding_vif_type": "unbound", "binding_host_id": "", "binding_vnic_type": "normal", "device_id": "", "device_owner": "",
        "port_security_enabled": true, "allowed_address_pairs": [], "tags": [],
    });
    assert_shows(&plain, &expected);
    assert!(plain["mac_address"].as_str().unwrap().starts_with("fa:16:3e:"));

    let create = "port create --network n --fixed-ip subnet=s,ip-address=10.1.0.50 --fixed-ip subnet=s --mac-address 02:00:00:00:00:01 \
                  --device dev1 --device-owner compute:kuryr --host here --security-group g1 --security-group g2 \
                  --allowed-address ip-address=10.9.0.0/24,mac-address=02:00:00:00:00:09 --allowed-address ip-address=10.9.1.1 \
                  --description d --tag t1 --tag t2 --vnic-type normal --binding-profile a=b --enable full";
    let mut full = shell.json(create).await;
    full["security_group_ids"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    let mut groups = [g1.clone(), g2];
    groups.sort_by_key(ToString::to_string);
    let expected = json!({
        "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.50"}, {"subnet_id": subnet, "ip_address": "10.1.0.3"}],
        "mac_address": "02:00:00:00:00:01", "device_id": "dev1", "device_owner": "compute:kuryr", "binding_host_id": "here",
        "binding_vif_type": "bridge", "binding_vif_details": {"port_filter": true, "connectivity": "l2"}, "binding_profile": {"a": "b"},
        "security_group_ids": groups, "description": "d", "tags": ["t1", "t2"],
        "allowed_address_pairs": [
            {"ip_address": "10.9.0.0/24", "mac_address": "02:00:00:00:00:09"}, {"ip_address": "10.9.1.1", "mac_address": "02:00:00:00:00:01"},
        ],
    });
    assert_shows(&full, &expected);
    let bare = shell.json("port create --network n --no-fixed-ip --no-security-group --disable-port-security --disable bare").await;
    let expected =
        json!({"fixed_ips": [], "security_group_ids": [], "port_security_enabled": false, "admin_state_up": false, "status": "DOWN"});
    assert_shows(&bare, &expected);
    let direct = shell.json("port create --network n --host here --vnic-type direct direct").await;
    assert_shows(&direct, &json!({"binding_vnic_type": "direct", "binding_vif_type": "binding_failed"}));
    assert_shows(&shell.json("port create --network n --host there far").await, &json!({"binding_vif_type": "binding_failed"}));

    for (command, complaint) in [
        ("port create --network n --fixed-ip ip-address=10.1.0.50 x", "IP address 10.1.0.50 already allocated in subnet"),
        ("port create --network n --fixed-ip subnet=s,ip-address=10.2.0.9 x", "is not a valid IP for the specified subnet"),
        ("port create --network n --fixed-ip ip-address=10.2.0.9 x", "is not a valid IP for any of the subnets"),
        ("port create --network n --fixed-ip subnet=kuryr x", "fixed_ips included invalid subnet"),
        ("port create --network n --mac-address 02:00:00:00:00:01 x", "The mac address 02:00:00:00:00:01 is in use"),
        ("port create --network n --mac-address 01:00:00:00:00:01 x", "is not a valid MAC address"),
        ("port create --network n --disable-port-security --security-group g1 x", "Cannot disable port security"),
        (
            "port create --network n --no-security-group --disable-port-security --allowed-address ip-address=10.9.0.1 x",
            "Port Security must be enabled",
        ),
        ("port create --network n --allowed-address ip-address=ten x", "is not a valid address pair"),
        ("port create --network n --numa-policy-required x", "Unrecognized attribute(s) 'numa_affinity_policy'"),
        ("port create --network n --enable-uplink-status-propagation x", "Unrecognized attribute(s) 'propagate_uplink_status'"),
        ("port create --network n --security-group nosuch x", "No SecurityGroup found for nosuch"),
        ("port create --network nosuch x", "No Network found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    assert_eq!(names(&shell.json("port list --network n").await), ["plain", "full", "bare", "direct", "far"]);
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_changed_and_deleted() {
    let (_cloud, Some(mut shell)) = cloud_with_network().await else { return };
    let subnet = shell.json("subnet show s").await["id"].clone();
    let default = shell.json("security group show default").await["id"].clone();
    let g1 = shell.json("security group show g1").await["id"].clone();
    let made = shell.json("port create --network n --no-security-group p").await;
    let set = "port set --name q --device dev2 --device-owner compute:x --fixed-ip subnet=s,ip-address=10.1.0.60 --security-group g1 \
               --mac-address 02:00:00:00:00:33 --allowed-address ip-address=10.9.9.9 --description d2 --tag x --tag y --disable --binding-profile k=v p";
    shell.ok(set).await;
    shell.ok("port set --host here q").await;
    let expected = json!({
        "id": made["id"], "device_id": "dev2", "device_owner": "compute:x", "mac_address": "02:00:00:00:00:33", "description": "d2",
        "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.2"}, {"subnet_id": subnet, "ip_address": "10.1.0.60"}],
        "security_group_ids": [g1], "allowed_address_pairs": [{"ip_address": "10.9.9.9", "mac_address": "02:00:00:00:00:33"}],
        "tags": ["x", "y"], "admin_state_up": false, "binding_host_id": "here", "binding_vif_type": "bridge", "binding_profile": {"k": "v"},
    });
    assert_shows(&shell.json("port show q").await, &expected);
    assert!(shell.refused("port set --mac-address 02:00:00:00:00:34 q").await.contains("port is already bound"));
    let unset = "port unset --fixed-ip subnet=s,ip-address=10.1.0.2 --security-group g1 --tag x --device --device-owner --host \
                 --allowed-address ip-address=10.9.9.9,mac-address=02:00:00:00:00:33 --binding-profile k q";
    shell.ok(unset).await;
    let expected = json!({
        "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.60"}], "security_group_ids": [], "tags": ["y"], "device_id": "",
        "device_owner": "", "binding_host_id": "", "binding_vif_type": "unbound", "allowed_address_pairs": [], "binding_profile": {},
    });
    assert_shows(&shell.json("port show q").await, &expected);
    shell.ok("port set --no-fixed-ip --no-security-group --no-allowed-address --disable-port-security --enable --no-tag q").await;
    let expected = json!({"fixed_ips": [], "port_security_enabled": false, "admin_state_up": true, "tags": []});
    assert_shows(&shell.json("port show q").await, &expected);
    assert!(shell.refused("port set --security-group default q").await.contains("Cannot disable port security"));
    shell.ok("port set --enable-port-security --security-group default --fixed-ip subnet=s q").await;
    assert_shows(&shell.json("port show q").await, &json!({"security_group_ids": [default], "port_security_enabled": true}));

    assert!(shell.refused("network delete n").await.contains("There are one or more ports still in use on the network"));
    assert!(shell.refused("port delete q nosuch").await.contains("1 of 2 ports failed to delete"));
    assert!(shell.refused("port show q").await.contains("No Port found for q"));
    shell.ok("network delete n").await;
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_found_by_their_properties() {
    let (_cloud, Some(mut shell)) = cloud_with_network().await else { return };
    shell.ok("network create m").await;
    shell.ok("subnet create --network m --subnet-range 10.1.0.0/24 ms").await;
    shell.ok("port create --network n --security-group g1 --fixed-ip subnet=s,ip-address=10.1.0.50 --device d1 --device-owner compute:a --host here --tag red a").await;
    shell.ok("port create --network n --fixed-ip subnet=s,ip-address=10.1.0.51 --mac-address 02:00:00:00:00:02 --device d2 b").await;
    shell.ok("port create --network m --fixed-ip subnet=ms,ip-address=10.1.0.50 --project admin --tag blue c").await;
    let g1 = shell.json("security group show g1").await["id"].as_str().unwrap().to_owned();
    for (filters, found) in [
        ("", &["a", "b", "c"][..]),
        ("--network n", &["a", "b"]),
        ("--device-owner compute:a", &["a"]),
        ("--device-id d2", &["b"]),
        ("--host here", &["a"]),
        ("--mac-address 02:00:00:00:00:02", &["b"]),
        ("--name c", &["c"]),
        ("--status ACTIVE", &[]),
        ("--project admin", &["c"]),
        ("--tags red", &["a"]),
        ("--any-tags red,blue", &["a", "c"]),
        ("--not-any-tags red", &["b", "c"]),
        ("--fixed-ip ip-address=10.1.0.50", &["a", "c"]),
        ("--fixed-ip subnet=ms", &["c"]),
        // Both must be true of one address.
        ("--fixed-ip subnet=s,ip-address=10.1.0.50", &["a"]),
        ("--fixed-ip ip-substring=0.51", &["b"]),
        ("--fixed-ip ip-address=10.1.0.50 --fixed-ip ip-address=10.1.0.51 --network n", &["a", "b"]),
        (&format!("--security-group {g1}"), &["a"]),
        ("--sort-column Name --sort-descending", &["c", "b", "a"]),
    ] {
        assert_eq!(names(&shell.json(&format!("port list {filters}")).await), found, "{filters}");
    }
    let long = shell.json("port list --long --name a").await;
    assert_shows(&long[0], &json!({"Security Groups": [g1], "Device Owner": "compute:a", "Tags": ["red"], "Status": "DOWN"}));
    let first = shell.json("port list --limit 2 --max-items 2").await;
    let last = shell.json(&format!("port list --limit 2 --marker {}", first[1]["ID"].as_str().unwrap())).await;
    let mut found: Vec<&str> = names(&first).into_iter().chain(names(&last)).collect();
    found.sort_unstable();
    assert_eq!(found, ["a", "b", "c"]);
    shell.close().await;
}
