//! `openstack router …`

use serde_json::{Value, json};

use super::{assert_shows, column, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn routers_are_made_changed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let outside = shell.json("network show kuryr").await;
    let range = outside["subnets"][0].clone();
    let gateway = |address: &str, snat: bool| {
        json!({"external_gateway_info": {
            "network_id": outside["id"], "enable_snat": snat, "external_fixed_ips": [{"subnet_id": range, "ip_address": address}],
        }})
    };
    let plain = shell.json("router create --description d --tag t --disable r0").await;
    let expected = json!({
        "name": "r0", "description": "d", "admin_state_up": false, "status": "ACTIVE", "external_gateway_info": null, "routes": [], "tags": ["t"],
    });
    assert_shows(&plain, &expected);
    assert_shows(&shell.json("router create --external-gateway kuryr r1").await, &gateway("172.24.4.2", true));
    let create = "router create --external-gateway kuryr --fixed-ip subnet=kuryr,ip-address=172.24.4.100 --disable-snat --project admin r2";
    assert_shows(&shell.json(create).await, &gateway("172.24.4.100", false));
    for (filters, found) in [
        ("", &["r0", "r1", "r2"][..]),
        ("--name r1", &["r1"]),
        ("--enable", &["r1", "r2"]),
        ("--disable --tags t", &["r0"]),
        ("--project admin", &["r2"]),
        ("--sort-column Name --sort-descending", &["r2", "r1", "r0"]),
    ] {
        assert_eq!(names(&shell.json(&format!("router list {filters}")).await), found, "{filters}");
    }
    let long = shell.json("router list --long --name r0").await;
    assert_shows(&long[0], &json!({"State": false, "Routes": [], "External gateway info": null, "Tags": ["t"]}));

    shell.ok("router set --name r --description e --enable --tag u r0").await;
    assert_shows(&shell.json("router show r").await, &json!({"description": "e", "admin_state_up": true, "tags": ["t", "u"]}));
    shell.ok("router set --external-gateway kuryr --fixed-ip subnet=kuryr,ip-address=172.24.4.77 r").await;
    assert_shows(&shell.json("router show r").await, &gateway("172.24.4.77", true));
    shell.ok("router set --external-gateway kuryr --disable-snat r").await;
    assert_shows(&shell.json("router show r").await, &gateway("172.24.4.77", false));
    let taken = shell.refused("router set --external-gateway kuryr --fixed-ip ip-address=172.24.4.100 r1").await;
    assert!(taken.contains("IP address 172.24.4.100 already allocated"), "{taken}");
    assert_shows(&shell.json("router show r1").await, &gateway("172.24.4.2", true));
    assert!(shell.refused("network set --internal kuryr").await.contains("it has existing gateway ports"));
    shell.ok("router unset --external-gateway --tag t r").await;
    assert_shows(&shell.json("router show r").await, &json!({"external_gateway_info": null, "tags": ["u"]}));
    shell.ok("network create inside").await;
    for (command, complaint) in [
        ("router create --external-gateway inside x", "is not an external network"),
        ("router create --ha x", "Invalid input for ha"),
        ("router create --distributed x", "Invalid input for distributed"),
        ("router create --availability-zone-hint nova x", "Unrecognized attribute(s) 'availability_zone_hints'"),
        ("router show nosuch", "No Router found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    assert!(shell.refused("router delete r r1 r2 nosuch").await.contains("1 of 4 routers failed to delete"));
    assert_eq!(shell.json("port list").await, json!([]), "the gateways' ports are gone");
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_join_subnets_and_carry_routes() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    for command in [
        "network create n",
        "subnet create --network n --subnet-range 10.1.0.0/24 s4",
        "subnet create --network n --ip-version 6 --subnet-range fd30::/64 s6",
        "network create m",
        "subnet create --network m --subnet-range 10.2.0.0/24 m4",
        "network create twin",
        "subnet create --network twin --subnet-range 10.1.0.0/24 t4",
        "subnet create --network m --subnet-range 10.3.0.0/24 --gateway none none",
        "subnet create --network twin --ip-version 6 --subnet-range fd31::/64 --ipv6-address-mode slaac foreign",
        "port create --network m --fixed-ip subnet=m4,ip-address=10.2.0.9 pm",
        "router create --external-gateway kuryr r",
        "router add subnet r s4",
        "router add subnet r s6",
        "router add port r pm",
    ] {
        shell.ok(command).await;
    }
    let shown = shell.json("router show r").await;
    let mut addresses: Vec<&str> = column(&shown["interfaces_info"], "ip_address");
    addresses.sort_unstable();
    assert_eq!(addresses, ["10.1.0.1", "10.2.0.9", "fd30::1"]);
    let ports = shell.json("port list --router r --device-owner network:router_interface").await;
    assert_eq!(ports.as_array().unwrap().len(), 3);
    let interface = shell.json("port list --fixed-ip ip-address=10.1.0.1").await[0]["ID"].as_str().unwrap().to_owned();
    let port = shell.json(&format!("port show {interface}")).await;
    assert_shows(&port, &json!({"device_owner": "network:router_interface", "device_id": shown["id"], "security_group_ids": []}));

    shell.ok("router set --route destination=10.99.0.0/16,gateway=10.1.0.7 r").await;
    shell
        .ok("router add route --route destination=10.98.0.0/16,gateway=10.1.0.8 --route destination=10.99.0.0/16,gateway=10.1.0.7 r")
        .await;
    let routes = async |shell: &mut Shell| -> Vec<Value> { shell.json("router show r").await["routes"].as_array().unwrap().clone() };
    let route = |range: &str, hop: &str| json!({"destination": range, "nexthop": hop});
    assert_eq!(routes(&mut shell).await, [route("10.99.0.0/16", "10.1.0.7"), route("10.98.0.0/16", "10.1.0.8")]);
    for (command, complaint) in [
        ("router add subnet r s4", "Router already has a port on subnet"),
        ("router add subnet r t4", "overlaps with cidr 10.1.0.0/24"),
        ("router add subnet r none", "Subnet for router interface must have a gateway IP"),
        ("router add subnet r foreign", "configured to receive RAs from an external router"),
        ("router add port r pm", "Port already has an attached device"),
        ("router set --route destination=10.9.0.0/16,gateway=10.77.0.7 r", "the nexthop is not connected with router"),
        ("router add route --route destination=10.9.0.0/16,gateway=10.1.0.1 r", "the nexthop is used by router"),
        ("router remove subnet r s4", "as it is required by one or more routes"),
        ("router remove subnet r t4", "has no interface on subnet"),
        ("router delete r", "still has ports"),
        ("subnet delete s4", "One or more ports have an IP allocation from this subnet"),
        ("network delete n", "There are one or more ports still in use"),
        ("subnet set --gateway none s4", "Current gateway ip 10.1.0.1 already in use by port"),
        (&format!("port delete {interface}"), "cannot be deleted directly via the port API: has device owner network:router_interface"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    shell
        .ok("router remove route --route destination=10.99.0.0/16,gateway=10.1.0.7 --route destination=10.1.0.0/16,gateway=10.1.0.7 r")
        .await;
    assert_eq!(routes(&mut shell).await, [route("10.98.0.0/16", "10.1.0.8")]);
    shell.ok("router unset --route destination=10.98.0.0/16,gateway=10.1.0.8 r").await;
    assert_eq!(routes(&mut shell).await, [Value::Null; 0]);
    shell.ok("router set --route destination=10.98.0.0/16,gateway=10.1.0.8 r").await;
    shell.ok("router set --no-route r").await;
    shell.ok("router remove subnet r s4").await;
    shell.ok("router remove subnet r s6").await;
    shell.ok("router remove port r pm").await;
    assert!(shell.refused("port show pm").await.contains("No Port found for pm"), "a port that was a router's goes with it, as in Neutron");
    shell.ok("router delete r").await;
    shell.close().await;
}
