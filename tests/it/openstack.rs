//! The calls of Neutron as they are sent, and what is made of the answers.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use kuryr::openstack::{
    Error, Extension, FloatingIp, Network, Neutron, Port, Router, SecurityGroup, SecurityGroupRule, Subnet, SubnetPool,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::openstack_stage::{Asked, Does, Stage, answers, token};

/// Logs everybody in and does this with every call of Neutron.
async fn neutron(does: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> (Stage, Neutron) {
    let stage = Stage::open(move |asked, base| if asked.path == "/v3/auth/tokens" { token(base, "t", 3600) } else { does(asked) }).await;
    let client = stage.client(&[]);
    (stage, client)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[tokio::test]
async fn pages_are_followed_on_the_configured_host() {
    let (_stage, client) = neutron(|asked| {
        let (ids, next) = match asked.path.split_once("marker=") {
            None => (["a", "b"], Some("http://elsewhere.invalid/v2.0/extensions?limit=2&marker=b")),
            Some((_, "b")) => (["c", "d"], Some("http://elsewhere.invalid/v2.0/extensions?limit=2&marker=d&page_reverse=False")),
            Some(_) => (["e", "f"], None),
        };
        let previous = json!({"rel": "previous", "href": "http://elsewhere.invalid/v2.0/extensions?limit=2&marker=a&page_reverse=True"});
        let links: Vec<_> = [Some(previous), next.map(|href| json!({"rel": "next", "href": href}))].into_iter().flatten().collect();
        answers(200, json!({"extensions": ids.map(|alias| json!({"alias": alias})), "extensions_links": links}))
    })
    .await;
    let aliases = async |query: &[(&str, &str)]| {
        let found = client.list::<Extension>(query).await.unwrap();
        found.iter().map(|extension| extension.alias.as_str()).collect::<String>()
    };
    assert_eq!(aliases(&[("limit", "2")]).await, "abcdef");
    assert_eq!(aliases(&[("limit", "2"), ("marker", "b")]).await, "cdef");
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_end() {
    let (stage, client) = neutron(|asked| {
        let next = if asked.path.ends_with("marker=b") { "a" } else { "b" };
        let links = json!([{"rel": "next", "href": format!("http://x/?marker={next}")}]);
        answers(200, json!({"extensions": [{"alias": "x"}], "extensions_links": links}))
    })
    .await;
    client.list::<Extension>(&[]).await.unwrap();
    assert_eq!(stage.asked("/extensions").len(), 3);
}

#[tokio::test]
async fn errors_keep_what_neutron_said() {
    for (status, remedy) in
        [(400, "correct"), (403, "rights"), (404, "still exists"), (409, "in the way"), (413, "later"), (500, "Neutron's log")]
    {
        let body = json!({"NeutronError": {"type": "Kind", "message": "told.", "detail": "more\nlines"}});
        let (_stage, client) = neutron(move |_| answers(status, body.clone())).await;
        let error = client.show::<Port>(id(7)).await.unwrap_err();
        assert_eq!((error.status(), error.kind(), error.request_id()), (Some(status), "Kind", Some("req-1")));
        assert_eq!((error.is_not_found(), error.is_conflict()), (status == 404, status == 409));
        let text = error.to_string();
        let start = format!("cannot show port {}: Neutron answered {status} Kind: told: more\nlines (req-1); ", id(7));
        assert!(text.starts_with(&start) && text.contains(remedy), "{text}");
    }
}

#[tokio::test]
async fn errors_of_those_who_stand_before_neutron_are_read() {
    for (status, body, words) in [
        (
            503,
            "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>",
            "answered 503: 503 Service Unavailable No server is available to handle this request; ",
        ),
        (
            403,
            r#"{"code": 403, "message": "rule:create_port is disallowed by policy"}"#,
            "answered 403: rule:create_port is disallowed by policy; ",
        ),
        (502, "Bad Gateway\n", "answered 502: Bad Gateway; "),
        (401, "Authentication required", "answered 401: Authentication required; check that Neutron and kuryr use the same Keystone"),
        (504, "", "answered 504; "),
    ] {
        let (_stage, client) = neutron(move |_| Does::Answers(status, vec![], body.to_owned())).await;
        let error = client.create::<Port>(&json!({"network_id": id(1), "fixed_ips": [{"ip_address": "10.0.0.5"}]})).await.unwrap_err();
        assert_eq!((error.status(), error.request_id()), (Some(status), None));
        let start = format!("cannot create port with 10.0.0.5 on network {}: Neutron {words}", id(1));
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[tokio::test]
async fn region_and_interface_choose_the_endpoint() {
    let play = |asked: &Asked, base: &str| {
        if asked.path != "/v3/auth/tokens" {
            return answers(200, json!({"extensions": [{"alias": asked.path}]}));
        }
        let endpoint = |interface: &str, region: &str, path: &str| json!({"interface": interface, "region_id": region, "url": format!("{base}{path}")});
        let catalog = json!([{"type": "compute", "endpoints": [endpoint("public", "one", "/compute")]}, {"type": "network", "endpoints": [
            endpoint("internal", "one", "/one-internal"), endpoint("public", "one", "/one"), endpoint("public", "two", "/two/v2.0/"),
        ]}]);
        Does::Answers(201, vec![("x-subject-token", "t".to_owned())], json!({"token": {"catalog": catalog}}).to_string())
    };
    let stage = Stage::open(play).await;
    let other = format!("{}/other/v2.0", stage.base);
    for (options, path) in [
        (vec![], "/one/v2.0/extensions"),
        (vec![("region_name", "two")], "/two/v2.0/extensions"),
        (vec![("endpoint_type", "internalURL")], "/one-internal/v2.0/extensions"),
        (vec![("endpoint_override", other.as_str()), ("region_name", "none")], "/other/v2.0/extensions"),
    ] {
        assert_eq!(stage.client(&options).list::<Extension>(&[]).await.unwrap()[0].alias, path);
    }
    let error = stage.client(&[("region_name", "three")]).list::<Extension>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::NoEndpoint { offered, .. } if offered.contains("'public' in 'two'")), "{error}");
    assert!(error.to_string().contains("in region 'three'") && error.to_string().contains("region_name"), "{error}");
}

#[tokio::test]
async fn a_catalog_without_neutron_is_named() {
    for catalog in [json!([]), json!([{"type": "identity", "endpoints": [{"interface": "public", "url": "http://k"}]}])] {
        let body = json!({"token": {"catalog": catalog}}).to_string();
        let stage = Stage::open(move |_, _| Does::Answers(201, vec![("x-subject-token", "t".to_owned())], body.clone())).await;
        let error = stage.client(&[]).authenticate().await.unwrap_err().to_string();
        assert!(error.contains("no endpoint of type 'network' with interface 'public'; it offers none"), "{error}");
    }
}

/// Neutron 2025.1 answers 500 there, and would be asked for ever.
#[tokio::test]
async fn tags_of_an_object_that_is_gone_are_known_to_be_gone_with_it() {
    let internal = || answers(500, json!({"NeutronError": {"type": "HTTPInternalServerError", "message": "m", "detail": ""}}));
    let (_stage, client) = neutron(move |asked| match asked.path.as_str() {
        path if path.contains("/tags") => internal(),
        path if path.ends_with(&id(1).to_string()) => {
            answers(404, json!({"NeutronError": {"type": "SubnetNotFound", "message": "m", "detail": ""}}))
        }
        path => answers(200, json!({"subnet": {"id": path.rsplit('/').next(), "network_id": id(9), "cidr": "10.0.0.0/24"}})),
    })
    .await;
    client.remove_tag::<Subnet>(id(1), "x").await.unwrap();
    assert!(client.add_tag::<Subnet>(id(1), "x").await.unwrap_err().is_not_found());
    assert!(client.set_tags::<Subnet>(id(1), &["x".to_owned()]).await.unwrap_err().is_not_found());
    assert_eq!(client.remove_tag::<Subnet>(id(2), "x").await.unwrap_err().status(), Some(500));
}

/// Neutron 21 answers 500 there to one of two who change the tags of a network at the same moment: its database breaks that one off.
#[tokio::test]
async fn a_change_of_tags_that_another_has_broken_off_is_made_again() {
    let left = Arc::new(AtomicU32::new(0));
    let broken_off = left.clone();
    let (stage, client) = neutron(move |asked| match asked.path.as_str() {
        path if path.contains("/tags")
            && broken_off.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() =>
        {
            answers(500, json!({"NeutronError": {"type": "HTTPInternalServerError", "message": "m", "detail": ""}}))
        }
        _ => answers(200, json!({"network": {"id": id(1), "name": "n"}})),
    })
    .await;
    for times in [1, 2] {
        left.store(times, Ordering::SeqCst);
        client.add_tag::<Network>(id(1), "x").await.unwrap();
        left.store(times, Ordering::SeqCst);
        client.remove_tag::<Network>(id(1), "x").await.unwrap();
    }
    left.store(100, Ordering::SeqCst);
    let asked = stage.asked("/tags").len();
    assert_eq!(client.add_tag::<Network>(id(1), "x").await.unwrap_err().status(), Some(500));
    assert_eq!(stage.asked("/tags").len() - asked, 3);
}

#[tokio::test]
async fn tags_and_router_interfaces_are_sent_as_the_api_wants_them() {
    let (stage, client) = neutron(|asked| match asked.path.as_str() {
        path if path.contains("/tags/gone") => answers(404, json!({"NeutronError": {"type": "TagNotFound", "message": "m", "detail": ""}})),
        path if path.contains("/tags/odd") => answers(409, json!({"NeutronError": {"type": "Odd", "message": "m", "detail": ""}})),
        _ => answers(200, json!({})),
    })
    .await;
    client.set_tags::<Port>(id(1), &["a:b".to_owned(), "c".to_owned()]).await.unwrap();
    client.add_tag::<SecurityGroup>(id(1), "kuryr.net.uuid.lh:0123").await.unwrap();
    client.add_tag::<SubnetPool>(id(1), "a b/c?d%").await.unwrap();
    client.remove_tag::<Network>(id(1), "x").await.unwrap();
    client.remove_tag::<Network>(id(1), "gone").await.unwrap();
    assert_eq!(client.remove_tag::<Network>(id(1), "odd").await.unwrap_err().kind(), "Odd");
    client.add_router_interface(id(2), id(3)).await.unwrap();
    client.remove_router_interface(id(2), id(3)).await.unwrap();
    let subnet = json!({"subnet_id": id(3)});
    let wanted = [
        ("PUT", format!("ports/{}/tags", id(1)), json!({"tags": ["a:b", "c"]})),
        ("PUT", format!("security-groups/{}/tags/kuryr.net.uuid.lh:0123", id(1)), Value::Null),
        ("PUT", format!("subnetpools/{}/tags/a%20b%2Fc%3Fd%25", id(1)), Value::Null),
        ("DELETE", format!("networks/{}/tags/x", id(1)), Value::Null),
        ("DELETE", format!("networks/{}/tags/gone", id(1)), Value::Null),
        ("DELETE", format!("networks/{}/tags/odd", id(1)), Value::Null),
        ("PUT", format!("routers/{}/add_router_interface", id(2)), subnet.clone()),
        ("PUT", format!("routers/{}/remove_router_interface", id(2)), subnet),
    ];
    let asked: Vec<_> = stage.asked("/network/v2.0/").into_iter().map(|asked| (asked.method, asked.path, asked.body)).collect();
    assert_eq!(asked, wanted.map(|(method, path, body)| (method.to_owned(), format!("/network/v2.0/{path}"), body)));
}

#[tokio::test]
async fn an_update_is_tied_to_the_revision_it_was_made_for() {
    let (stage, client) = neutron(|asked| match asked.header("if-match") {
        Some("revision_number=7") => answers(412, json!({"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "x"}})),
        _ => answers(200, json!({"port": {"id": id(1), "mac_address": "fa:16:3e:00:00:01"}})),
    })
    .await;
    assert!(client.update_at::<Port>(id(1), 7, &json!({"name": "x"})).await.unwrap_err().is_outdated());
    client.update_at::<Port>(id(1), 8, &json!({"name": "x"})).await.unwrap();
    client.update::<Port>(id(1), &json!({"name": "x"})).await.unwrap();
    let asked: Vec<_> = stage.asked("/ports").iter().map(|asked| asked.header("if-match").map(str::to_owned)).collect();
    assert_eq!(asked, [Some("revision_number=7".to_owned()), Some("revision_number=8".to_owned()), None]);
}

#[tokio::test]
async fn filters_are_encoded_as_the_python_client_does_it() {
    let (stage, client) = neutron(|_| answers(200, json!({"ports": []}))).await;
    let subnet = format!("subnet_id={}", id(1));
    client
        .list::<Port>(&[
            ("tags", "kuryr.net.uuid.lh:a,kuryr.net.uuid.uh:b"),
            ("fixed_ips", &subnet),
            ("fixed_ips", "ip_address=fd00::1"),
            ("name", "a b"),
        ])
        .await
        .unwrap();
    let query = format!(
        "tags=kuryr.net.uuid.lh%3Aa%2Ckuryr.net.uuid.uh%3Ab&fixed_ips=subnet_id%3D{}&fixed_ips=ip_address%3Dfd00%3A%3A1&name=a+b",
        id(1)
    );
    assert_eq!(stage.asked("/ports")[0].path, format!("/network/v2.0/ports?{query}"));
}

#[tokio::test]
async fn a_cloud_without_keystone_needs_no_login() {
    let stage = Stage::open(|asked, _| match asked.header("x-auth-token") {
        Some("fixed") | None => answers(200, json!({"networks": []})),
        Some(_) => answers(401, json!({"error": {"title": "Unauthorized", "message": "no", "code": 401}})),
    })
    .await;
    for (auth_type, token, sent) in [("none", "x", None), ("noauth", "x", None), ("admin_token", "fixed", Some("fixed"))] {
        stage.client(&[("auth_type", auth_type), ("token", token), ("endpoint_override", &stage.base)]).list::<Network>(&[]).await.unwrap();
        assert_eq!(stage.asked("").last().unwrap().header("x-auth-token"), sent);
    }
    let before = stage.asked("").len();
    let wrong = stage.client(&[("auth_type", "admin_token"), ("token", "wrong"), ("endpoint", &stage.base)]);
    let error = wrong.list::<Network>(&[]).await.unwrap_err();
    assert_eq!((error.status(), error.kind()), (Some(401), "Unauthorized"));
    assert_eq!(stage.asked("").len() - before, 1, "there is no other token to try");
    assert_eq!(stage.asked("auth").len(), 0);
}

#[test]
fn every_recorded_reply_is_read() {
    let mut read = 0;
    for line in include_str!("../golden/neutron-replies.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for (key, value) in line["response"].as_object().unwrap() {
            let objects = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for object in objects {
                let outcome = match key.trim_end_matches('s') {
                    "network" => serde_json::from_value::<Network>(object).map(drop),
                    "subnet" => serde_json::from_value::<Subnet>(object).map(drop),
                    "subnetpool" => serde_json::from_value::<SubnetPool>(object).map(|pool| assert_ne!(pool.default_prefixlen, 0)),
                    "port" => serde_json::from_value::<Port>(object).map(drop),
                    "extension" => serde_json::from_value::<Extension>(object).map(drop),
                    other => panic!("no type for {other}"),
                };
                outcome.unwrap_or_else(|error| panic!("{key}: {error}"));
                read += 1;
            }
        }
    }
    assert!(read > 5, "{read}");
}

#[test]
fn what_neutron_leaves_out_or_sends_as_null_is_empty() {
    let bare = json!({"id": id(1), "name": null, "tags": null, "new_field": {"x": 1}});
    let network: Network = serde_json::from_value(bare.clone()).unwrap();
    assert_eq!((network.name.as_str(), network.tags.len(), &network.extra["new_field"]), ("", 0, &json!({"x": 1})));
    serde_json::from_value::<Router>(bare.clone()).unwrap();
    serde_json::from_value::<FloatingIp>(bare.clone()).unwrap();
    serde_json::from_value::<SecurityGroup>(bare.clone()).unwrap();
    serde_json::from_value::<SecurityGroupRule>(bare.clone()).unwrap();
    for (length, wanted) in [(json!("26"), Some(26)), (json!(26), Some(26)), (Value::Null, Some(0)), (json!("x"), None)] {
        let mut pool = bare.clone();
        pool["default_prefixlen"] = length;
        assert_eq!(serde_json::from_value::<SubnetPool>(pool).ok().map(|pool| pool.default_prefixlen), wanted);
    }
}
