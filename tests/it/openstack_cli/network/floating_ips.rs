//! `openstack floating ip …`

use serde_json::json;

use super::{assert_shows, column};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn floating_ips_are_made_led_to_ports_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    for command in [
        "network create n",
        "subnet create --network n --subnet-range 10.1.0.0/24 s",
        "router create --external-gateway kuryr r",
        "router add subnet r s",
        "port create --network n p",
        "port create --network n --fixed-ip subnet=s,ip-address=10.1.0.50 --fixed-ip subnet=s,ip-address=10.1.0.51 two",
        "network create far",
        "subnet create --network far --subnet-range 10.5.0.0/24 fs",
        "port create --network far lone",
    ] {
        shell.ok(command).await;
    }
    let (outside, router) = (shell.json("network show kuryr").await["id"].clone(), shell.json("router show r").await["id"].clone());
    let (port, two) = (shell.json("port show p").await["id"].clone(), shell.json("port show two").await["id"].clone());
    let free = shell.json("floating ip create --description f --tag a kuryr").await;
    let expected = json!({
        "floating_ip_address": "172.24.4.3", "floating_network_id": outside, "port_id": null, "fixed_ip_address": null, "router_id": null,
        "status": "DOWN", "description": "f", "tags": ["a"],
    });
    assert_shows(&free, &expected);
    // Nobody reports here: the datapath is not running.
    let led = shell.json("floating ip create --port p --floating-ip-address 172.24.4.200 --fixed-ip-address 10.1.0.2 kuryr").await;
    let expected = json!({"floating_ip_address": "172.24.4.200", "port_id": port, "fixed_ip_address": "10.1.0.2", "router_id": router, "status": "DOWN"});
    assert_shows(&led, &expected);
    assert_shows(&led["port_details"], &json!({"name": "p", "status": "DOWN", "admin_state_up": true}));
    let other = shell.json("floating ip create --subnet kuryr --project admin kuryr").await;
    assert_eq!(other["floating_ip_address"], "172.24.4.4");
    for (command, complaint) in [
        ("floating ip create --port p kuryr", "as that fixed IP already has a floating IP on external network"),
        ("floating ip create --port two kuryr", "has multiple fixed IPv4 addresses"),
        ("floating ip create --port lone kuryr", "Therefore, cannot associate Port"),
        ("floating ip create --port p --fixed-ip-address 10.1.0.9 kuryr", "does not have such a fixed IPv4 address"),
        ("floating ip create --floating-ip-address 172.24.4.200 kuryr", "IP address 172.24.4.200 already allocated"),
        ("floating ip create --floating-ip-address 10.0.0.1 kuryr", "is not a valid IP for any of the subnets"),
        ("floating ip create n", "is not a valid external network"),
        ("router unset --external-gateway r", "is required by one or more floating IPs"),
        ("router remove subnet r s", "as it is required by one or more floating IPs"),
        ("floating ip show 10.0.0.1", "No FloatingIP found for 10.0.0.1"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    for (filters, found) in [
        ("", &["172.24.4.3", "172.24.4.200", "172.24.4.4"][..]),
        ("--port p", &["172.24.4.200"]),
        ("--router r", &["172.24.4.200"]),
        ("--fixed-ip-address 10.1.0.2", &["172.24.4.200"]),
        ("--floating-ip-address 172.24.4.3", &["172.24.4.3"]),
        ("--network n", &[]),
        ("--network kuryr --status DOWN --project admin", &["172.24.4.4"]),
        ("--status ACTIVE", &[]),
        ("--tags a", &["172.24.4.3"]),
    ] {
        assert_eq!(column(&shell.json(&format!("floating ip list {filters}")).await, "Floating IP Address"), found, "{filters}");
    }
    shell.ok("floating ip set --description g --tag b --port two --fixed-ip-address 10.1.0.51 172.24.4.3").await;
    let expected = json!({"description": "g", "tags": ["a", "b"], "port_id": two, "fixed_ip_address": "10.1.0.51", "router_id": router});
    assert_shows(&shell.json("floating ip show 172.24.4.3").await, &expected);
    shell.ok("floating ip unset --port --tag a 172.24.4.3").await;
    let expected = json!({"tags": ["b"], "port_id": null, "fixed_ip_address": null, "router_id": null});
    assert_shows(&shell.json("floating ip show 172.24.4.3").await, &expected);
    // Its port gone, the address stays.
    shell.ok("port delete p").await;
    assert_shows(&shell.json("floating ip show 172.24.4.200").await, &json!({"port_id": null, "router_id": null, "status": "DOWN"}));
    assert!(
        shell.refused("floating ip delete 172.24.4.3 172.24.4.200 172.24.4.4 172.24.4.99").await.contains("1 of 4 floating IPs failed")
    );
    assert_eq!(shell.json("port list --network kuryr --device-owner network:floatingip").await, json!([]));
    shell.ok("router unset --external-gateway r").await;
    shell.close().await;
}
