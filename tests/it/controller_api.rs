//! The embedded controller over real HTTP: logging in, and the frame that all its resources share.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use crate::cloud::Cloud;

const NETWORKS: &str = "/networking/v2.0/networks";

#[tokio::test]
async fn only_the_right_password_logs_in() {
    let cloud = Cloud::start().await;
    let credentials = cloud.controller.service_credentials().unwrap();
    let (status, _, body) = cloud.login("kuryr", "kuryr", "wrong").await;
    assert_eq!((status, &body["error"]["title"]), (401, &json!("Unauthorized")));
    assert_eq!(cloud.login("kuryr", "admin", &credentials.password).await.0, 401);
    let (status, token, body) = cloud.login("kuryr", "kuryr", &credentials.password).await;
    assert_eq!((status, &body["token"]["project"]["name"]), (201, &json!("kuryr")));
    assert_eq!(body["token"]["catalog"][1]["endpoints"][0]["url"], json!(format!("{}/networking", cloud.base)));
    let token = token.unwrap();
    assert_eq!(cloud.call(&token, Method::GET, NETWORKS, Value::Null).await.0, 200);
    assert_eq!(cloud.call("forged", Method::GET, NETWORKS, Value::Null).await.0, 401);
    let (_, users) = cloud.call(&cloud.admin().await, Method::GET, "/identity/v3/users", Value::Null).await;
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    assert!(!users.to_string().contains("argon2"));
}

#[tokio::test]
async fn passwords_are_random_and_roots_alone() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (one, two) = (Cloud::start().await, Cloud::start().await);
    for name in ["admin-password", "service-password"] {
        let (here, there) = (one.state.path().join(name), two.state.path().join(name));
        assert_eq!(mode(&here), 0o600);
        assert_ne!(fs::read(here).unwrap(), fs::read(there).unwrap());
    }
    assert_eq!(mode(&one.state.path().join("controller.db")), 0o600, "it holds tokens");
}

#[tokio::test]
async fn routers_join_subnets_and_an_external_network() {
    let cloud = Cloud::start().await;
    let token = cloud.admin().await;
    let make = async |collection: &str, body: Value| {
        let (status, made) = cloud.call(&token, Method::POST, &format!("/networking/v2.0/{collection}"), body).await;
        assert_eq!(status, 201, "{made}");
        made
    };
    let range = async |network: &Value, cidr: &str| {
        make("subnets", json!({"subnet": {"network_id": network["network"]["id"], "ip_version": 4, "cidr": cidr}})).await["subnet"]["id"]
            .clone()
    };
    let inside = make("networks", json!({"network": {"name": "inside"}})).await;
    let outside = make("networks", json!({"network": {"name": "outside", "router:external": true}})).await;
    let (subnet, near) = (range(&inside, "10.1.0.0/24").await, range(&outside, "192.0.2.0/24").await);
    let routers = "/networking/v2.0/routers";
    let gateway = json!({"network_id": outside["network"]["id"]});
    let wrong = json!({"router": {"external_gateway_info": {"network_id": inside["network"]["id"]}}});
    assert_eq!(cloud.call(&token, Method::POST, routers, wrong).await.0, 400);
    let made = make("routers", json!({"router": {"name": "r", "admin_state_up": true, "external_gateway_info": gateway}})).await;
    let info = &made["router"]["external_gateway_info"];
    assert_eq!((&info["enable_snat"], &info["external_fixed_ips"][0]["subnet_id"]), (&json!(true), &near));

    let router = format!("{routers}/{}", made["router"]["id"].as_str().unwrap());
    let change = async |action: &str, body: Value| {
        let (status, answer) = cloud.call(&token, Method::PUT, &format!("{router}/{action}"), body).await;
        (status, answer)
    };
    assert_eq!(change("add_router_interface", json!({})).await.0, 400);
    let (status, added) = change("add_router_interface", json!({"subnet_id": subnet})).await;
    assert_eq!((status, &added["subnet_ids"]), (200, &json!([subnet])), "{added}");
    assert_eq!(change("add_router_interface", json!({"subnet_id": subnet})).await.0, 400);
    let port = format!("/networking/v2.0/ports/{}", added["port_id"].as_str().unwrap());
    let (_, shown) = cloud.call(&token, Method::GET, &port, Value::Null).await;
    assert_eq!(shown["port"]["device_owner"], "network:router_interface");
    assert_eq!(shown["port"]["fixed_ips"], json!([{"subnet_id": subnet, "ip_address": "10.1.0.1"}]));
    assert_eq!(cloud.call(&token, Method::DELETE, &port, Value::Null).await.0, 409);

    let put = async |body: Value| cloud.call(&token, Method::PUT, &router, json!({"router": body})).await;
    let route = |hop: &str| json!({"routes": [{"destination": "10.9.0.0/16", "nexthop": hop}]});
    assert_eq!(put(route("10.7.0.1")).await.1["NeutronError"]["type"], "InvalidRoutes");
    assert_eq!(put(route("10.1.0.1")).await.1["NeutronError"]["type"], "InvalidRoutes");
    assert_eq!(put(route("10.1.0.9")).await.0, 200);
    let (status, held) = change("remove_router_interface", json!({"subnet_id": subnet})).await;
    assert_eq!((status, &held["NeutronError"]["type"]), (409, &json!("RouterInterfaceInUseByRoute")));
    assert_eq!(put(json!({"routes": []})).await.0, 200);
    let (status, used) = cloud.call(&token, Method::DELETE, &router, Value::Null).await;
    assert_eq!((status, &used["NeutronError"]["type"]), (409, &json!("RouterInUse")));
    assert_eq!(change("remove_router_interface", json!({"port_id": added["port_id"]})).await.0, 200);
    let (status, gone) = change("remove_router_interface", json!({"subnet_id": subnet})).await;
    assert_eq!((status, &gone["NeutronError"]["type"]), (404, &json!("RouterInterfaceNotFoundForSubnet")));

    let body = json!({"port": {"network_id": inside["network"]["id"], "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.1.0.77"}]}});
    let own = make("ports", body).await["port"]["id"].clone();
    assert_eq!(change("add_router_interface", json!({"port_id": own})).await.0, 200);
    assert_eq!(change("add_router_interface", json!({"port_id": own})).await.1["NeutronError"]["type"], "PortInUse");

    let body = json!({"port": {"network_id": inside["network"]["id"]}});
    let target = make("ports", body).await["port"].clone();
    let body = json!({"floatingip": {"floating_network_id": outside["network"]["id"], "port_id": target["id"]}});
    let floating = make("floatingips", body.clone()).await["floatingip"].clone();
    assert_eq!(floating["fixed_ip_address"], target["fixed_ips"][0]["ip_address"]);
    assert_eq!(floating["router_id"], made["router"]["id"]);
    let (_, twice) = cloud.call(&token, Method::POST, "/networking/v2.0/floatingips", body).await;
    assert_eq!(twice["NeutronError"]["type"], "FloatingIPPortAlreadyAssociated");
    let (_, held) = put(json!({"external_gateway_info": null})).await;
    assert_eq!(held["NeutronError"]["type"], "RouterExternalGatewayInUseByFloatingIp");
    let target = format!("/networking/v2.0/ports/{}", target["id"].as_str().unwrap());
    assert_eq!(cloud.call(&token, Method::DELETE, &target, Value::Null).await.0, 204);
    let floating = format!("/networking/v2.0/floatingips/{}", floating["id"].as_str().unwrap());
    let (_, loose) = cloud.call(&token, Method::PUT, &floating, json!({"floatingip": {"description": "d"}})).await;
    assert_eq!(loose["floatingip"]["port_id"], Value::Null);
    assert_eq!(cloud.call(&token, Method::DELETE, &floating, Value::Null).await.0, 204);
    assert_eq!(change("remove_router_interface", json!({"subnet_id": subnet})).await.0, 200);
    let (_, off) = put(json!({"external_gateway_info": {"network_id": outside["network"]["id"], "enable_snat": false}})).await;
    assert_eq!(off["router"]["external_gateway_info"]["enable_snat"], json!(false));
    assert_eq!(off["router"]["external_gateway_info"]["external_fixed_ips"], info["external_fixed_ips"]);
    assert_eq!(cloud.call(&token, Method::DELETE, &router, Value::Null).await.0, 204);
    let (_, left) = cloud.call(&token, Method::GET, "/networking/v2.0/ports", Value::Null).await;
    assert_eq!(left["ports"], json!([]));
}

#[tokio::test]
async fn networks_live_from_create_to_delete() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (status, made) = cloud.call(&admin, Method::POST, NETWORKS, json!({"network": {"name": "a"}})).await;
    assert_eq!((status, &made["network"]["mtu"], &made["network"]["subnets"]), (201, &json!(1500), &json!([])));
    let (status, refused) = cloud.call(&admin, Method::POST, NETWORKS, json!({"network": {"nmae": "a"}})).await;
    assert_eq!((status, &refused["NeutronError"]["message"]), (400, &json!("Unrecognized attribute(s) 'nmae'")));
    // One bad item of a bulk create leaves none behind.
    let bulk = json!({"networks": [{"name": "b"}, {"name": "c", "mtu": 3}]});
    assert_eq!(cloud.call(&admin, Method::POST, NETWORKS, bulk).await.0, 400);
    let bulk = json!({"networks": [{"name": "b"}, {"name": "c"}]});
    assert_eq!(cloud.call(&admin, Method::POST, NETWORKS, bulk).await.0, 201);
    let (_, page) = cloud
        .call(
            &admin,
            Method::GET,
            &format!("{NETWORKS}?router:external=false&sort_key=name&sort_dir=desc&limit=2&fields=name"),
            Value::Null,
        )
        .await;
    assert_eq!(page["networks"], json!([{"name": "c"}, {"name": "b"}]));
    assert_eq!(page["networks_links"][0]["rel"], json!("next"));
    let (_, some) = cloud.call(&admin, Method::GET, &format!("{NETWORKS}?name=a&name=b"), Value::Null).await;
    assert_eq!(some["networks"].as_array().unwrap().len(), 2);

    let path = format!("{NETWORKS}/{}", made["network"]["id"].as_str().unwrap());
    // A plain member of another project sees nothing of it until it is shared.
    let demote = "UPDATE role_assignments SET role_id = (SELECT id FROM roles WHERE name = 'member')
                  WHERE user_id = (SELECT id FROM users WHERE name = 'kuryr')";
    cloud.controller.store().transact(|tx| Ok(tx.execute(demote, [])?)).unwrap();
    let kuryr = cloud.controller.service_credentials().unwrap();
    let other = cloud.login("kuryr", "kuryr", &kuryr.password).await.1.unwrap();
    let (status, hidden) = cloud.call(&other, Method::GET, &path, Value::Null).await;
    assert_eq!((status, &hidden["NeutronError"]["type"]), (404, &json!("NetworkNotFound")));
    let shared = json!({"network": {"shared": true}});
    let (_, changed) = cloud.call(&admin, Method::PUT, &path, shared).await;
    assert_eq!(changed["network"]["revision_number"], json!(1));
    assert_eq!(cloud.call(&other, Method::GET, &path, Value::Null).await.0, 200);
    assert_eq!(cloud.call(&admin, Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(cloud.call(&admin, Method::GET, &path, Value::Null).await.0, 404);
    assert_eq!(cloud.controller.calls()[&("DELETE".to_owned(), "networks".to_owned())], 1);
}

#[tokio::test]
async fn a_change_tied_to_a_revision_is_done_at_that_one_only() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (_, made) = cloud.call(&admin, Method::POST, NETWORKS, json!({"network": {"name": "a"}})).await;
    let path = format!("{}{NETWORKS}/{}", cloud.base, made["network"]["id"].as_str().unwrap());
    for (method, condition, status, kind) in [
        (Method::PUT, "revision_number=0", 200, None),
        (Method::PUT, "revision_number=0", 412, Some("RevisionNumberConstraintFailed")),
        (Method::DELETE, "revision_number=7", 412, Some("RevisionNumberConstraintFailed")),
        (Method::PUT, "1", 400, Some("HTTPBadRequest")),
        (Method::DELETE, "revision_number=1", 204, None),
    ] {
        let request = cloud.client.request(method.clone(), &path).header("x-auth-token", &admin).header("if-match", condition);
        let reply = request.json(&json!({"network": {"name": "b"}})).send().await.unwrap();
        assert_eq!(reply.status().as_u16(), status, "{method} {condition}");
        let body: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap_or_default();
        assert_eq!(body["NeutronError"]["type"].as_str(), kind);
    }
}

#[tokio::test]
async fn tags_are_set_added_found_and_removed() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let (_, made) = cloud.call(&admin, Method::POST, NETWORKS, json!({"network": {"name": "a"}})).await;
    cloud.call(&admin, Method::POST, NETWORKS, json!({"network": {"name": "untagged"}})).await;
    let network = format!("{NETWORKS}/{}", made["network"]["id"].as_str().unwrap());
    let tags = format!("{network}/tags");
    let (status, set) = cloud.call(&admin, Method::PUT, &tags, json!({"tags": ["red", "blue"]})).await;
    assert_eq!((status, set), (200, json!({"tags": ["red", "blue"]})));
    assert_eq!(cloud.call(&admin, Method::PUT, &format!("{tags}/a%20b"), Value::Null).await.0, 201);
    assert_eq!(cloud.call(&admin, Method::GET, &format!("{tags}/a%20b"), Value::Null).await.0, 204);
    assert_eq!(cloud.call(&admin, Method::DELETE, &format!("{tags}/red"), Value::Null).await.0, 204);
    for method in [Method::GET, Method::DELETE] {
        let (status, gone) = cloud.call(&admin, method, &format!("{tags}/red"), Value::Null).await;
        assert_eq!((status, &gone["NeutronError"]["type"]), (404, &json!("TagNotFound")));
    }
    let (status, more) = cloud.call(&admin, Method::POST, &tags, json!({"tags": ["green", "blue"]})).await;
    assert_eq!((status, more), (201, json!({"tags": ["blue", "a b", "green"]})));
    assert_eq!(cloud.call(&admin, Method::PUT, &tags, json!({"tags": [""]})).await.0, 400);
    let (_, found) = cloud.call(&admin, Method::GET, &format!("{NETWORKS}?tags=blue,green&fields=name"), Value::Null).await;
    assert_eq!(found["networks"], json!([{"name": "a"}]));
    let (_, shown) = cloud.call(&admin, Method::GET, &network, Value::Null).await;
    assert_eq!((&shown["network"]["tags"], &shown["network"]["revision_number"]), (&json!(["blue", "a b", "green"]), &json!(4)));
    assert_eq!(cloud.call(&admin, Method::DELETE, &tags, Value::Null).await.0, 204);
    assert_eq!(cloud.call(&admin, Method::GET, &tags, Value::Null).await.1, json!({"tags": []}));

    // A rule's row has a column that its document has not; its tags must leave that alone.
    let groups = "/networking/v2.0/security-groups";
    let (_, group) = cloud.call(&admin, Method::POST, groups, json!({"security_group": {"name": "web"}})).await;
    let rule = group["security_group"]["security_group_rules"][0]["id"].as_str().unwrap();
    let tags = format!("/networking/v2.0/security-group-rules/{rule}/tags");
    assert_eq!(cloud.call(&admin, Method::PUT, &tags, json!({"tags": ["x"]})).await.0, 200);
    assert_eq!(cloud.call(&admin, Method::GET, &tags, Value::Null).await.1, json!({"tags": ["x"]}));
}

#[tokio::test]
async fn a_quota_stops_the_create_that_is_one_too_many() {
    let cloud = Cloud::start().await;
    let kuryr = cloud.controller.service_credentials().unwrap();
    let (_, token, login) = cloud.login("kuryr", "kuryr", &kuryr.password).await;
    let (token, project) = (token.unwrap(), login["token"]["project"]["id"].as_str().unwrap());
    let quotas = "/networking/v2.0/quotas";
    let own = format!("{quotas}/{project}");
    let create = json!({"network": {"name": "a"}});

    // The project's first network is there from the start.
    let (status, set) = cloud.call(&token, Method::PUT, &own, json!({"quota": {"network": 2}})).await;
    assert_eq!((status, &set["quota"]["network"], &set["quota"]["port"]), (200, &json!(2), &json!(-1)));
    let bulk = json!({"networks": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(cloud.call(&token, Method::POST, NETWORKS, bulk).await.0, 409);
    let (status, made) = cloud.call(&token, Method::POST, NETWORKS, create.clone()).await;
    assert_eq!(status, 201);
    let (status, refused) = cloud.call(&token, Method::POST, NETWORKS, create.clone()).await;
    assert_eq!((status, &refused["NeutronError"]["type"]), (409, &json!("OverQuota")));
    let (_, details) = cloud.call(&token, Method::GET, &format!("{own}/details"), Value::Null).await;
    assert_eq!(details["quota"]["network"], json!({"limit": 2, "used": 2, "reserved": 0}));
    let (_, default) = cloud.call(&token, Method::GET, &format!("{own}/default"), Value::Null).await;
    assert_eq!(default["quota"]["network"], json!(-1));
    let (_, list) = cloud.call(&token, Method::GET, quotas, Value::Null).await;
    assert_eq!((list["quotas"].as_array().unwrap().len(), &list["quotas"][0]["project_id"]), (1, &json!(project)));
    // What is deleted makes room again.
    let network = format!("{NETWORKS}/{}", made["network"]["id"].as_str().unwrap());
    assert_eq!(cloud.call(&token, Method::DELETE, &network, Value::Null).await.0, 204);
    assert_eq!(cloud.call(&token, Method::POST, NETWORKS, create.clone()).await.0, 201);
    assert_eq!(cloud.call(&token, Method::DELETE, &own, Value::Null).await.0, 204);
    let (status, gone) = cloud.call(&token, Method::DELETE, &own, Value::Null).await;
    assert_eq!((status, &gone["NeutronError"]["type"]), (404, &json!("TenantQuotaNotFound")));
    assert_eq!(cloud.call(&token, Method::POST, NETWORKS, create).await.0, 201);

    // Without the role `admin` a project sees its own limits and changes none.
    let demote = "UPDATE role_assignments SET role_id = (SELECT id FROM roles WHERE name = 'member')
                  WHERE user_id = (SELECT id FROM users WHERE name = 'kuryr')";
    cloud.controller.store().transact(|tx| Ok(tx.execute(demote, [])?)).unwrap();
    assert_eq!(cloud.call(&token, Method::GET, &own, Value::Null).await.0, 200);
    assert_eq!(cloud.call(&token, Method::GET, &format!("{quotas}/other"), Value::Null).await.0, 403);
    assert_eq!(cloud.call(&token, Method::PUT, &own, json!({"quota": {"network": -1}})).await.0, 403);
    assert_eq!(cloud.call(&token, Method::GET, quotas, Value::Null).await.0, 403);
}

#[tokio::test]
async fn subnets_are_cut_from_pools_and_never_overlap() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let pools = "/networking/v2.0/subnetpools";
    let subnets = "/networking/v2.0/subnets";
    let ask = async |method, path: &str, body| cloud.call(&admin, method, path, body).await;
    let (_, net) = ask(Method::POST, NETWORKS, json!({"network": {"name": "a"}})).await;
    let net = &net["network"]["id"];
    let (_, second) = ask(Method::POST, NETWORKS, json!({"network": {"name": "b"}})).await;
    let second = &second["network"]["id"];
    let wanted = json!({"subnetpool": {"name": "p", "prefixes": ["10.51.0.0/16"], "default_prefixlen": 24, "shared": false}});
    let (status, pool) = ask(Method::POST, pools, wanted).await;
    let pool = &pool["subnetpool"];
    let shown = json!([pool["default_prefixlen"], pool["min_prefixlen"], pool["max_prefixlen"], pool["ip_version"]]);
    assert_eq!((status, shown), (201, json!(["24", "8", "32", 4])));

    let cut = json!({"subnet": {"network_id": net, "ip_version": 4, "subnetpool_id": pool["id"], "enable_dhcp": "True"}});
    let (status, made) = ask(Method::POST, subnets, cut).await;
    let made = &made["subnet"];
    let shown = json!([made["cidr"], made["gateway_ip"], made["allocation_pools"], made["enable_dhcp"], made["shared"]]);
    let range = json!([{"start": "10.51.0.2", "end": "10.51.0.254"}]);
    assert_eq!((status, shown), (201, json!(["10.51.0.0/24", "10.51.0.1", range, true, null])));

    for (body, status, kind) in [
        (json!({"network_id": second, "subnetpool_id": pool["id"], "cidr": "10.51.0.128/25"}), 409, "SubnetAllocationError"),
        (json!({"network_id": second, "subnetpool_id": pool["id"], "cidr": "10.52.0.0/24"}), 409, "SubnetAllocationError"),
        (json!({"network_id": second, "subnetpool_id": pool["id"], "prefixlen": 7}), 400, "MinPrefixSubnetAllocationError"),
        (json!({"network_id": net, "cidr": "10.51.0.0/25"}), 400, "InvalidInput"),
        (json!({"network_id": net, "cidr": "10.60.0.1/24"}), 400, "HTTPBadRequest"),
        (json!({"network_id": net, "cidr": "fd00::/64"}), 400, "InvalidInput"),
        (json!({"network_id": net}), 400, "BadRequest"),
        (
            json!({"network_id": net, "cidr": "10.61.0.0/24", "allocation_pools": [{"start": "10.61.0.1", "end": "10.61.0.9"}]}),
            409,
            "GatewayConflictWithAllocationPools",
        ),
        (json!({"network_id": net, "cidr": "10.61.0.0/24", "host_routes": [{"destination": "10.0.0.0/8"}]}), 400, "HTTPBadRequest"),
        (json!({"network_id": pool["id"], "cidr": "10.61.0.0/24"}), 404, "NetworkNotFound"),
    ] {
        let mut body = body;
        body["ip_version"] = json!(4);
        let (got, refused) = ask(Method::POST, subnets, json!({"subnet": body})).await;
        assert_eq!((got, &refused["NeutronError"]["type"]), (status, &json!(kind)), "{body} {refused}");
    }
    // Both or none of a bulk create; the same range is free on another network.
    let plain = |cidr: &str| json!({"network_id": second, "ip_version": 4, "cidr": cidr, "gateway_ip": null});
    assert_eq!(ask(Method::POST, subnets, json!({"subnets": [plain("10.51.0.0/24"), plain("10.51.0.0/25")]})).await.0, 400);
    let (status, bulk) = ask(Method::POST, subnets, json!({"subnets": [plain("10.51.0.0/24"), plain("10.51.1.0/24")]})).await;
    assert_eq!((status, &bulk["subnets"][0]["gateway_ip"]), (201, &Value::Null));
    assert_eq!(bulk["subnets"][0]["allocation_pools"][0]["start"], json!("10.51.0.1"));

    let path = format!("{subnets}/{}", made["id"].as_str().unwrap());
    let pool_path = format!("{pools}/{}", pool["id"].as_str().unwrap());
    let (status, refused) = ask(Method::DELETE, &pool_path, Value::Null).await;
    assert_eq!((status, &refused["NeutronError"]["type"]), (400, &json!("SubnetPoolDeleteError")));
    let use_it = |owner: &'static str| {
        let (subnet, network) = (made["id"].as_str().unwrap().to_owned(), net.as_str().unwrap().to_owned());
        cloud.controller.store().transact(move |tx| {
            let document = json!({"id": "p", "device_owner": owner, "fixed_ips": [{"subnet_id": subnet, "ip_address": "10.51.0.2"}]});
            tx.execute("INSERT OR REPLACE INTO ports VALUES ('p', '', '', ?1, 'm', '', ?2)", (&network, document.to_string()))?;
            let address = "INSERT OR REPLACE INTO port_addresses VALUES ('p', ?1, ?2, x'00000000000000000000ffff0a330002')";
            Ok(tx.execute(address, (&network, &subnet))?)
        })
    };
    use_it("compute:kuryr").unwrap();
    let (status, refused) = ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &refused["NeutronError"]["type"]), (409, &json!("SubnetInUse")));
    use_it("network:dhcp").unwrap();
    assert_eq!(ask(Method::DELETE, &path, Value::Null).await.0, 204);
    assert_eq!(ask(Method::DELETE, &pool_path, Value::Null).await.0, 204);
}

#[tokio::test]
async fn extensions_name_only_what_is_served() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let extensions = "/networking/v2.0/extensions";
    let (status, list) = cloud.call(&admin, Method::GET, extensions, Value::Null).await;
    assert_eq!(status, 200);
    let listed: Vec<&Value> = list["extensions"].as_array().unwrap().iter().collect();
    for extension in &listed {
        let alias = extension["alias"].as_str().unwrap();
        let (status, shown) = cloud.call(&admin, Method::GET, &format!("{extensions}/{alias}"), Value::Null).await;
        assert_eq!((status, &shown["extension"]), (200, *extension));
    }
    // An alias is there exactly if its collection answers.
    for (alias, collection) in [("security-group", "security-groups"), ("quotas", "quotas"), ("agent", "agents"), ("router", "routers")] {
        let answers = cloud.call(&admin, Method::GET, &format!("/networking/v2.0/{collection}"), Value::Null).await.0 == 200;
        assert_eq!(listed.iter().any(|extension| extension["alias"] == alias), answers, "{alias}");
    }
    let (status, missing) = cloud.call(&admin, Method::GET, &format!("{extensions}/trunk"), Value::Null).await;
    assert_eq!((status, &missing["NeutronError"]["type"]), (404, &json!("ExtensionNotFound")));
    assert_eq!(cloud.call(&admin, Method::POST, extensions, json!({})).await.0, 405);
    assert_eq!(cloud.call("forged", Method::GET, extensions, Value::Null).await.0, 401);
}

#[tokio::test]
async fn the_one_agent_is_alive_while_the_datapath_listens() {
    let cloud = Cloud::start().await;
    let admin = cloud.admin().await;
    let agents = "/networking/v2.0/agents";
    let listening = cloud.controller.changes();
    let (status, list) = cloud.call(&admin, Method::GET, &format!("{agents}?host=here"), Value::Null).await;
    assert_eq!((status, list["agents"].as_array().unwrap().len()), (200, 1));
    let agent = &list["agents"][0];
    assert_eq!((&agent["binary"], &agent["host"], &agent["alive"]), (&json!("kuryr"), &json!("here"), &json!(true)));
    let path = format!("{agents}/{}", agent["id"].as_str().unwrap());
    drop(listening);
    let (_, shown) = cloud.call(&admin, Method::GET, &path, Value::Null).await;
    assert_eq!((&shown["agent"]["id"], &shown["agent"]["alive"]), (&agent["id"], &json!(false)));
    let (_, none) = cloud.call(&admin, Method::GET, &format!("{agents}?host=elsewhere"), Value::Null).await;
    assert_eq!(none["agents"], json!([]));
    let (status, missing) = cloud.call(&admin, Method::GET, &format!("{agents}/x"), Value::Null).await;
    assert_eq!((status, &missing["NeutronError"]["type"]), (404, &json!("AgentNotFound")));
    assert_eq!(cloud.call(&admin, Method::DELETE, &path, Value::Null).await.0, 405);
}
