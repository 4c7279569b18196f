//! What a plain member of one project sees of another's objects, and what only an administrator may do.

use kuryr::controller::Controller;
use reqwest::Method;
use serde_json::{Value, json};

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

/// Leaves the user `kuryr` no other role than this one.
fn demote(controller: &Controller, role: &str) {
    let sql = "UPDATE role_assignments SET role_id = (SELECT id FROM roles WHERE name = ?)
               WHERE user_id = (SELECT id FROM users WHERE name = 'kuryr')";
    controller.store().transact(|tx| Ok(tx.execute(sql, [role])?)).unwrap();
}

/// A shell of that member.
fn member(cloud: &Cloud) -> Option<Shell> {
    demote(&cloud.controller, "member");
    let credentials = cloud.controller.service_credentials().unwrap();
    Shell::user(cloud, &credentials.username, &credentials.password)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_sees_its_own_and_what_is_shared_and_nothing_else() {
    let cloud = Cloud::start().await;
    let Some(mut admin) = Shell::admin(&cloud) else { return };
    for command in [
        "network create --project admin hidden",
        "subnet create --project admin --network hidden --subnet-range 10.1.0.0/24 hidden",
        "port create --project admin --network hidden hidden",
        "router create --project admin hidden",
        "security group create --project admin hidden",
        "subnet pool create --project admin --pool-prefix 10.60.0.0/16 hidden",
        "network create --project admin --share shared",
        "subnet create --project admin --network shared --subnet-range 10.2.0.0/24 shared",
        "port create --project admin --network shared foreign",
        // So that the member owns nothing of what lies outside.
        "network create --project admin --external outside",
        "subnet create --project admin --network outside --subnet-range 192.0.2.0/24 outside",
        "floating ip create --project admin outside",
    ] {
        admin.ok(command).await;
    }
    let hidden = admin.json("network show hidden").await["id"].as_str().unwrap().to_owned();
    let mut shell = member(&cloud).unwrap();
    assert_eq!(names(&shell.json("network list").await), ["kuryr", "shared", "outside"]);
    assert_eq!(names(&shell.json("subnet list").await), ["kuryr", "shared", "outside"]);
    assert_eq!(names(&shell.json("subnet pool list").await), ["kuryr", "kuryr6"]);
    assert_eq!(names(&shell.json("security group list").await), ["default"]);
    for kind in ["port", "router", "floating ip"] {
        assert_eq!(shell.json(&format!("{kind} list")).await, json!([]), "{kind}");
    }
    for command in ["network show", "network delete", "network set --name x"] {
        let err = shell.refused(&format!("{command} {hidden}")).await;
        assert!(err.contains(&format!("No Network found for {hidden}")), "{command}: {err}");
    }
    assert!(shell.refused("network set --name x shared").await.contains("disallowed by policy"));
    assert!(shell.refused("network delete shared").await.contains("disallowed by policy"));
    assert_eq!(admin.json("network show shared").await["name"], "shared");

    // As a guest on the shared network it may have a port, with nothing of its own choice but the subnet.
    let port = shell.json("port create --network shared --fixed-ip subnet=shared --device d --device-owner compute:kuryr guest").await;
    assert_shows(&port, &json!({"fixed_ips": [{"subnet_id": shell.json("subnet show shared").await["id"], "ip_address": "10.2.0.3"}]}));
    assert_eq!(port["binding_vif_type"], Value::Null, "the binding is the administrator's to see");
    for options in [
        "--fixed-ip subnet=shared,ip-address=10.2.0.9",
        "--mac-address 02:00:00:00:00:01",
        "--device-owner network:dhcp",
        "--allowed-address ip-address=10.2.0.9",
        "--host here",
    ] {
        for command in [format!("port create --network shared {options} x"), format!("port set {options} guest")] {
            let err = shell.refused(&command).await;
            assert!(err.contains("disallowed by policy"), "{command}: {err}");
        }
    }
    for command in [
        "port create --network shared --disable-port-security --no-security-group x",
        "port set --disable-port-security --no-security-group guest",
        "port create --network shared --binding-profile a=b x",
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains("disallowed by policy"), "{command}: {err}");
    }
    assert_eq!(names(&shell.json("port list").await), ["guest"]);
    assert!(admin.refused("network set --no-share shared").await.contains("Multiple tenants are using it"));

    for command in [
        "network create --share x",
        "network create --external x",
        "network set --share kuryr",
        "subnet pool create --share --pool-prefix 10.61.0.0/16 x",
        "subnet pool create --default --pool-prefix 10.61.0.0/16 x",
        "subnet create --network shared --subnet-range 10.3.0.0/24 x",
        "router create --external-gateway outside --disable-snat x",
        "router create --external-gateway outside --fixed-ip ip-address=192.0.2.9 x",
        "floating ip create --floating-ip-address 192.0.2.9 outside",
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains("disallowed by policy"), "{command}: {err}");
    }
    shell.ok("router create --external-gateway outside mine").await;
    let err = shell.refused("router add subnet mine shared").await;
    assert!(err.contains("is not owned by project making the request"), "{err}");
    shell.ok("floating ip create outside").await;
    assert_eq!(shell.json("network agent list").await, json!([]));
    shell.close().await;
    admin.close().await;
}

#[tokio::test]
async fn refusals_have_neutrons_form_and_names() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    demote(&cloud.controller, "member");
    let credentials = cloud.controller.service_credentials().unwrap();
    let (_, token, login) = cloud.login("kuryr", "kuryr", &credentials.password).await;
    let (token, own) = (token.unwrap(), login["token"]["project"]["id"].clone());
    let make = async |kind: &str, body: Value| {
        let path = format!("/networking/v2.0/{kind}s");
        let (status, mut made) = cloud.call(&admin, Method::POST, &path, json!({kind: body})).await;
        assert_eq!(status, 201, "{made}");
        made[kind]["id"].take().as_str().unwrap().to_owned()
    };
    let shared = make("network", json!({"shared": true})).await;
    let subnet = make("subnet", json!({"network_id": shared, "ip_version": 4, "cidr": "10.1.0.0/24"})).await;
    let router = make("router", json!({})).await;
    let mine = make("network", json!({"project_id": own})).await;
    let port = |more: Value| {
        let mut body = json!({"network_id": shared});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"port": body})
    };
    let hers = json!({"port": {"network_id": mine, "device_owner": "network:router_interface", "device_id": router}});
    let missing = "00000000-0000-4000-8000-000000000000";
    let of = |collection: &str, id: &str| format!("{collection}/{id}");
    let cases = [
        (Method::POST, "ports".to_owned(), port(json!({"device_owner": "network:dhcp"})), 403, "PolicyNotAuthorized"),
        (Method::POST, "ports".to_owned(), port(json!({"project_id": "other"})), 403, "PolicyNotAuthorized"),
        (Method::POST, "ports".to_owned(), port(json!({"fixed_ips": [{"ip_address": "10.1.0.9"}]})), 403, "PolicyNotAuthorized"),
        (Method::POST, "ports".to_owned(), port(json!({"colour": "red"})), 400, "HTTPBadRequest"),
        (Method::POST, "ports".to_owned(), port(json!({"status": "ACTIVE"})), 400, "HTTPBadRequest"),
        (Method::POST, "ports".to_owned(), hers, 409, "DeviceIDNotOwnedByTenant"),
        (Method::POST, "ports".to_owned(), json!({"network": {}}), 400, "HTTPBadRequest"),
        (Method::PUT, of("networks", &shared), json!({"network": {"name": "x"}}), 403, "PolicyNotAuthorized"),
        (Method::PUT, of("networks", &mine), json!({"network": {"shared": true}}), 403, "PolicyNotAuthorized"),
        (Method::PUT, of("networks", &mine), json!({"network": {"id": missing}}), 400, "HTTPBadRequest"),
        (Method::DELETE, of("networks", &shared), Value::Null, 403, "PolicyNotAuthorized"),
        (Method::DELETE, of("subnets", &subnet), Value::Null, 403, "PolicyNotAuthorized"),
        (Method::GET, of("routers", &router), Value::Null, 404, "RouterNotFound"),
        (Method::GET, of("floatingips", missing), Value::Null, 404, "FloatingIPNotFound"),
        (Method::GET, of("security-groups", missing), Value::Null, 404, "SecurityGroupNotFound"),
        (Method::GET, of("subnetpools", missing), Value::Null, 404, "SubnetPoolNotFound"),
        (Method::PUT, format!("networks/{shared}/tags/x"), Value::Null, 403, "PolicyNotAuthorized"),
        (Method::PUT, format!("quotas/{}", own.as_str().unwrap()), json!({"quota": {"port": 1}}), 403, "PolicyNotAuthorized"),
        (Method::GET, "networks?colour=red".to_owned(), Value::Null, 400, "HTTPBadRequest"),
        (Method::GET, "networks?limit=x".to_owned(), Value::Null, 400, "BadRequest"),
        (Method::GET, "trunks".to_owned(), Value::Null, 404, "HTTPNotFound"),
    ];
    for (method, path, body, status, kind) in cases {
        let (got, answer) = cloud.call(&token, method.clone(), &format!("/networking/v2.0/{path}"), body).await;
        let error = &answer["NeutronError"];
        assert_eq!((got, error["type"].as_str()), (status, Some(kind)), "{method} {path}: {answer}");
        assert!(!error["message"].as_str().unwrap().is_empty() && error["detail"] == "", "{answer}");
    }
}

#[tokio::test]
async fn a_reader_sees_its_project_and_changes_nothing() {
    let cloud = Cloud::start().await;
    let credentials = cloud.controller.service_credentials().unwrap();
    let token = cloud.login("kuryr", "kuryr", &credentials.password).await.1.unwrap();
    let make = async |kind: &str, body: Value| {
        let (status, mut made) = cloud.call(&token, Method::POST, &format!("/networking/v2.0/{kind}s"), json!({kind: body})).await;
        assert_eq!(status, 201, "{made}");
        made[kind]["id"].take().as_str().unwrap().to_owned()
    };
    let network = make("network", json!({})).await;
    let subnet = make("subnet", json!({"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"})).await;
    let router = make("router", json!({})).await;
    let port = make("port", json!({"network_id": network})).await;
    demote(&cloud.controller, "reader");
    for path in ["networks", "ports", "routers", "subnets"] {
        let (status, list) = cloud.call(&token, Method::GET, &format!("/networking/v2.0/{path}"), Value::Null).await;
        assert_eq!((status, list[path].as_array().unwrap().is_empty()), (200, false), "{path}");
    }
    for (method, path, body) in [
        (Method::POST, "networks".to_owned(), json!({"network": {}})),
        (Method::POST, "ports".to_owned(), json!({"port": {"network_id": network}})),
        (Method::POST, "subnets".to_owned(), json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.2.0.0/24"}})),
        (Method::PUT, format!("networks/{network}"), json!({"network": {"name": "x"}})),
        (Method::PUT, format!("networks/{network}/tags/x"), Value::Null),
        (Method::PUT, format!("routers/{router}/add_router_interface"), json!({"subnet_id": subnet})),
        (Method::PUT, format!("routers/{router}/add_extraroutes"), json!({"router": {"routes": []}})),
        (Method::DELETE, format!("ports/{port}"), Value::Null),
        (Method::DELETE, format!("routers/{router}"), Value::Null),
    ] {
        let (status, answer) = cloud.call(&token, method.clone(), &format!("/networking/v2.0/{path}"), body).await;
        assert_eq!((status, &answer["NeutronError"]["type"]), (403, &json!("PolicyNotAuthorized")), "{method} {path}: {answer}");
    }
}
