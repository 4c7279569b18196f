//! The OpenStack client against a stub of Keystone and Neutron that answers what each case needs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use kuryr::openstack::{CloudSettings, Error, Extension, Network, Neutron, Options, Port, Subnet, SubnetPool};
use serde_json::{Value, json};
use uuid::Uuid;

type Answer = fn(&Cloud, &str, &str) -> Option<(u16, String)>;

struct Cloud {
    base: String,
    auths: AtomicU64,
    /// The generation of the token that is good; others get 401.
    good: AtomicU64,
    answer: Answer,
}

async fn serve(State(cloud): State<Arc<Cloud>>, method: Method, uri: Uri, headers: HeaderMap, _body: Bytes) -> Response {
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if path == "/v3/auth/tokens" {
        let number = cloud.auths.fetch_add(1, Ordering::SeqCst) + 1;
        let endpoint = |interface: &str, region: &str, path: &str| json!({"interface": interface, "region_id": region, "url": format!("{}{path}", cloud.base)});
        let catalog = json!([{"type": "network", "endpoints": [
            endpoint("internal", "one", "/one-internal"), endpoint("public", "one", "/one"), endpoint("public", "two", "/two/v2.0/"),
        ]}]);
        let token = json!({"token": {"issued_at": "2026-01-01T00:00:00.0Z", "expires_at": "2026-01-01T01:00:00.0Z", "catalog": catalog}});
        return (StatusCode::CREATED, [("x-subject-token", number.to_string())], token.to_string()).into_response();
    }
    let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok()).and_then(|token| token.parse().ok());
    if token != Some(cloud.good.load(Ordering::SeqCst)) {
        return (StatusCode::UNAUTHORIZED, "Authentication required").into_response();
    }
    match (cloud.answer)(&cloud, method.as_str(), path) {
        Some((status, body)) => (StatusCode::from_u16(status).unwrap(), [("x-openstack-request-id", "req-1")], body).into_response(),
        None => std::future::pending().await,
    }
}

async fn cloud(answer: Answer) -> Arc<Cloud> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let cloud = Arc::new(Cloud { base, auths: AtomicU64::new(0), good: AtomicU64::new(1), answer });
    let app = Router::new().fallback(serve).with_state(Arc::clone(&cloud));
    tokio::spawn(async move { axum::serve(listener, app).await });
    cloud
}

fn client(base: &str, more: &[(&str, &str)]) -> Neutron {
    let auth_url = format!("{base}/v3");
    let fixed = [("auth_url", auth_url.as_str()), ("username", "kuryr"), ("password", "s3cret"), ("project_name", "kuryr")];
    let options: Options = fixed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Neutron::new(CloudSettings::from_options(&options).unwrap()).unwrap()
}

fn no_networks(_: &Cloud, _: &str, _: &str) -> Option<(u16, String)> {
    Some((200, json!({"networks": []}).to_string()))
}

#[tokio::test]
async fn many_refused_calls_share_one_authentication() {
    let cloud = cloud(no_networks).await;
    let neutron = client(&cloud.base, &[]);
    neutron.list::<Network>(&[]).await.unwrap();
    assert_eq!(cloud.auths.load(Ordering::SeqCst), 1);

    cloud.good.store(2, Ordering::SeqCst);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let neutron = neutron.clone();
            tokio::spawn(async move { neutron.list::<Network>(&[]).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(cloud.auths.load(Ordering::SeqCst), 2);
    assert_eq!(neutron.calls().auth(), 2);
}

#[tokio::test]
async fn pages_are_followed_on_the_configured_host() {
    let cloud = cloud(|_, _, path| {
        let (ids, next) = if path.contains("marker=b") {
            (["c", "d"], None)
        } else {
            (["a", "b"], Some("http://elsewhere.invalid/v2.0/extensions?limit=2&marker=b"))
        };
        let mut page = json!({"extensions": ids.map(|alias| json!({"alias": alias}))});
        if let Some(href) = next {
            page["extensions_links"] = json!([{"rel": "next", "href": href}]);
        }
        Some((200, page.to_string()))
    })
    .await;
    let found = client(&cloud.base, &[]).list::<Extension>(&[("limit", "2")]).await.unwrap();
    assert_eq!(found.iter().map(|extension| extension.alias.as_str()).collect::<String>(), "abcd");
}

#[tokio::test]
async fn errors_keep_what_neutron_said() {
    let cloud = cloud(|_, _, path| {
        let status = path.rsplit('-').next().and_then(|end| end.trim_start_matches('0').parse().ok()).unwrap_or(500);
        Some((status, json!({"NeutronError": {"type": "Kind", "message": "told.", "detail": ""}}).to_string()))
    })
    .await;
    let neutron = client(&cloud.base, &[]);
    for (status, remedy) in [(403, "rights"), (404, "still exists"), (409, "in the way"), (413, "later"), (500, "log")] {
        let id = Uuid::parse_str(&format!("00000000-0000-0000-0000-{status:012}")).unwrap();
        let error = neutron.show::<Port>(id).await.unwrap_err();
        assert_eq!((error.status(), error.kind(), error.request_id()), (Some(status), "Kind", Some("req-1")));
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot show port {id}: Neutron answered {status} Kind: told (req-1); ")) && text.contains(remedy),
            "{text}"
        );
    }
    cloud.good.store(u64::MAX, Ordering::SeqCst);
    let error = neutron.show::<Port>(Uuid::nil()).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert!(error.to_string().contains("same Keystone"), "{error}");
}

#[tokio::test]
async fn a_hanging_neutron_meets_the_deadline() {
    let cloud = cloud(|_, _, _| None).await;
    let error = client(&cloud.base, &[("timeout", "0.2")]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { service: "Neutron", after, .. } if *after == Duration::from_millis(200)), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let error = client("http://127.0.0.1:1", &[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { service: "Keystone", .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"));
}

#[tokio::test]
async fn region_and_interface_choose_the_endpoint() {
    let cloud = cloud(|_, _, path| Some((200, json!({"extensions": [{"alias": path}]}).to_string()))).await;
    for (options, path) in [
        (vec![], "/one/v2.0/extensions"),
        (vec![("region_name", "two")], "/two/v2.0/extensions"),
        (vec![("endpoint_type", "internalURL")], "/one-internal/v2.0/extensions"),
    ] {
        cloud.auths.store(0, Ordering::SeqCst);
        let found = client(&cloud.base, &options).list::<Extension>(&[]).await.unwrap();
        assert_eq!(found[0].alias, path);
    }
    cloud.auths.store(0, Ordering::SeqCst);
    let error = client(&cloud.base, &[("region_name", "three")]).list::<Extension>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::NoEndpoint { offered, .. } if offered.contains("'public' in 'two'")), "{error}");
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
