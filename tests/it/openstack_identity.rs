//! Logging in: which Keystone, which of its APIs, how often, and what is said when it fails.

use std::sync::atomic::{AtomicU64, Ordering};

use kuryr::openstack::{CloudSettings, Error, Network, Neutron, Options};
use serde_json::{Value, json};

use crate::openstack_stage::{Asked, Does, Stage, answers, token};

fn new(options: &[(&str, &str)]) -> Neutron {
    let options: Options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Neutron::new(CloudSettings::from_options(&options).unwrap()).unwrap()
}

fn no_networks() -> Does {
    answers(200, json!({"networks": []}))
}

fn unauthorized() -> Does {
    answers(401, json!({"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}))
}

/// A Keystone whose tokens are counted, and a Neutron that takes the last one only, from the one with this number on.
async fn counted(first_good: u64) -> Stage {
    let issued = AtomicU64::new(0);
    Stage::open(move |asked, base| {
        if asked.path == "/v3/auth/tokens" {
            return token(base, &(issued.fetch_add(1, Ordering::SeqCst) + 1).to_string(), 3600);
        }
        let shown: u64 = asked.header("x-auth-token").unwrap().parse().unwrap();
        if shown >= first_good { no_networks() } else { unauthorized() }
    })
    .await
}

async fn at_once(client: &Neutron, number: usize) -> Vec<Result<Vec<Network>, Error>> {
    let calls: Vec<_> = (0..number)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.list::<Network>(&[]).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}

#[tokio::test]
async fn many_who_start_or_are_refused_share_one_login() {
    let stage = counted(1).await;
    let client = stage.client(&[]);
    assert!(at_once(&client, 20).await.iter().all(Result::is_ok));
    assert_eq!((stage.asked("/auth/tokens").len(), client.calls().auth()), (1, 1));

    let stage = counted(2).await;
    let client = stage.client(&[]);
    client.authenticate().await.unwrap();
    assert!(at_once(&client, 20).await.iter().all(Result::is_ok));
    assert_eq!((stage.asked("/auth/tokens").len(), client.calls().auth()), (2, 2));
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_as_well_is_an_error() {
    let stage = counted(u64::MAX).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
    assert_eq!((error.status(), error.kind(), error.request_id()), (Some(401), "Unauthorized", Some("req-1")));
    let text = error.to_string();
    assert!(
        text.starts_with("cannot list networks: Neutron answered 401 Unauthorized: The request") && text.contains("same Keystone"),
        "{text}"
    );
    assert_eq!((stage.asked("/auth/tokens").len(), stage.asked("/networks").len()), (2, 2));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_not_twenty_times() {
    let stage = Stage::open(|_, _| unauthorized()).await;
    let client = stage.client(&[]);
    for outcome in at_once(&client, 20).await {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::Keystone { status: 401, .. }), "{error}");
    }
    assert_eq!(stage.asked("/auth/tokens").len(), 1);
    client.authenticate().await.unwrap_err();
    assert_eq!(stage.asked("/auth/tokens").len(), 2, "later it may have been corrected");
}

/// Answers `/` and whatever else is in the table with a version document, logins below `v3`, and nothing else.
fn versions(asked: &Asked, base: &str, root: &str, status: u16, document: &Value) -> Does {
    match asked.path.as_str() {
        path if path == format!("{root}/v3/auth/tokens") => token(base, "t", 3600),
        path if path == format!("{root}/") => answers(status, document.clone()),
        path if path.starts_with("/network/") => no_networks(),
        _ => answers(404, json!({"error": {"code": 404, "title": "Not Found", "message": "The resource could not be found."}})),
    }
}

#[tokio::test]
async fn keystone_is_found_from_every_form_of_auth_url() {
    let link = |id: &str, href: &str| json!({"id": id, "status": "stable", "links": [{"rel": "self", "href": href}]});
    let listed = |root: &str| json!({"versions": {"values": [link("v2.0", "http://wrong.invalid/v2.0/"), link("v3.14", &format!("http://wrong.invalid:5000{root}/v3/"))]}});
    let plain = json!({"versions": [link("v3.14", "http://wrong.invalid/v3/")]});
    for (given, root, status, document) in [
        ("/v3", "", 404, Value::Null),
        ("/v3/", "", 404, Value::Null),
        ("/identity/v3", "/identity", 404, Value::Null),
        ("", "", 300, listed("")),
        ("/", "", 300, listed("")),
        ("/identity", "/identity", 300, listed("/identity")),
        ("/identity/", "/identity", 300, listed("/identity")),
        ("", "", 200, plain),
        ("/v2.0", "", 300, listed("")),
        ("/identity/v2.0/", "/identity", 300, listed("/identity")),
        // A Keystone that does not say what it has.
        ("", "", 404, Value::Null),
        ("/identity", "/identity", 503, json!("<html>")),
    ] {
        let document_ = document.clone();
        let stage = Stage::open(move |asked, base| versions(asked, base, root, status, &document_)).await;
        let auth_url = format!("{}{given}", stage.base);
        let client = new(&[("auth_url", &auth_url), ("username", "u"), ("password", "p"), ("user_domain_name", "D")]);
        client.list::<Network>(&[]).await.unwrap_or_else(|error| panic!("{given} {document}: {error}"));
        // A domain is named, so that the older API has no meaning.
        assert_eq!(stage.asked("/v2.0/tokens").len(), 0);
    }
}

const MITAKA: &str = "[keystone_client]\nauth_uri = BASE/v2.0\nadmin_user = kuryr\nadmin_tenant_name = service\nadmin_password = s3cret\n";

/// A client as the daemon makes it from a configuration file of Mitaka's time.
fn mitaka(stage: &Stage, more: &str) -> Neutron {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kuryr.conf");
    std::fs::write(&file, format!("{}{more}", MITAKA.replace("BASE", &stage.base))).unwrap();
    let config = kuryr::config::Config::load(&kuryr::config::Sources::new(vec![file], vec![folder.path().to_owned()], [])).unwrap();
    Neutron::new(kuryr::app::cloud_settings(&config, std::iter::empty::<(String, String)>()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_configuration_of_mitaka_logs_in_by_the_older_api() {
    let stage = Stage::open(|asked, base| match asked.path.as_str() {
        "/v2.0/tokens" => {
            let endpoint = |region: &str| json!({"region": region, "publicURL": format!("{base}/{region}"), "internalURL": "http://wrong.invalid"});
            let token = json!({"issued_at": "2016-05-31T00:00:00.123456", "expires": "2016-05-31T01:00:00Z", "id": "old", "tenant": {"name": "service"}});
            let catalog = json!([{"type": "network", "name": "neutron", "endpoints_links": [], "endpoints": [endpoint("one"), endpoint("two")]}]);
            answers(200, json!({"access": {"token": token, "serviceCatalog": catalog, "user": {"name": "kuryr"}}}))
        }
        _ => no_networks(),
    })
    .await;
    for (more, path) in [
        ("", "/one/v2.0/networks".to_owned()),
        ("[neutron]\nregion_name = two\n", "/two/v2.0/networks".to_owned()),
        (&format!("[neutron_client]\nneutron_uri = {}/fixed\n", stage.base), "/fixed/v2.0/networks".to_owned()),
    ] {
        mitaka(&stage, more).list::<Network>(&[]).await.unwrap();
        let last = stage.asked("").pop().unwrap();
        assert_eq!((last.path.as_str(), last.header("x-auth-token")), (path.as_str(), Some("old")));
    }
    let login = json!({"auth": {"passwordCredentials": {"username": "kuryr", "password": "s3cret"}, "tenantName": "service"}});
    assert!(stage.asked("tokens").iter().all(|asked| asked.body == login && asked.method == "POST"));
}

#[tokio::test]
async fn where_the_older_api_is_gone_v3_stands_in_with_the_domain_default() {
    for gone in [300, 301, 404, 405, 410] {
        let stage = Stage::open(move |asked, base| match asked.path.as_str() {
            "/v2.0/tokens" => answers(gone, Value::Null),
            _ => versions(asked, base, "", 404, &Value::Null),
        })
        .await;
        let client = mitaka(&stage, "");
        client.list::<Network>(&[]).await.unwrap_or_else(|error| panic!("{gone}: {error}"));
        let auth = &stage.asked("/v3/auth/tokens")[0].body["auth"];
        let domain = json!({"id": "default"});
        assert_eq!(auth["identity"]["password"]["user"], json!({"name": "kuryr", "password": "s3cret", "domain": domain}));
        assert_eq!(auth["scope"]["project"], json!({"name": "service", "domain": domain}));
    }
}

#[tokio::test]
async fn a_refusal_by_the_older_api_is_final_and_is_not_tried_elsewhere() {
    let stage = Stage::open(|_, _| unauthorized()).await;
    let error = mitaka(&stage, "").authenticate().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot get a token for user 'kuryr' in project 'service': Keystone answered 401: The request"), "{error}");
    assert_eq!(stage.asked("").len(), 1);
}

#[tokio::test]
async fn once_v3_has_answered_the_older_api_is_not_asked_again() {
    let stage = Stage::open(|asked, base| match asked.path.as_str() {
        path if path.starts_with("/network/") => unauthorized(),
        _ => versions(asked, base, "", 404, &Value::Null),
    })
    .await;
    mitaka(&stage, "").list::<Network>(&[]).await.unwrap_err();
    assert_eq!((stage.asked("/v3/auth/tokens").len(), stage.asked("/v2.0/tokens").len()), (2, 1));
}

/// auth_url leads to Neutron, to some web server, or beside Keystone's path: none of them knows what a login is.
#[tokio::test]
async fn a_service_that_is_no_keystone_is_told_apart_and_not_quoted() {
    let page = "<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1>nginx/1.22.1</body></html>";
    let neutrons = r#"{"message": "The resource could not be found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}"#;
    for (status, body) in [(404, page), (404, neutrons), (404, ""), (405, page), (501, "Unsupported method ('POST')")] {
        let stage = Stage::open(move |_, _| Does::Answers(status, vec![], body.to_owned())).await;
        let error = stage.client(&[]).authenticate().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot get a token for user 'kuryr' in project 'kuryr': there is no Keystone at {}/v3, where something else answered {status}; \
                 write Keystone's address in auth_url, such as http://HOST:5000/v3",
                stage.base
            )
        );
        assert_eq!((error.status(), error.is_not_found()), (Some(status), false));
    }
}

#[tokio::test]
async fn what_keystone_says_comes_with_a_remedy_and_without_the_secret() {
    for (status, title, remedy) in [
        (400, "Bad Request", "domain are all given"),
        (401, "Unauthorized", "check user, password"),
        (403, "Forbidden", "role in the project"),
        (404, "Not Found", "ends in /v3"),
        (500, "Internal Server Error", "Keystone's log"),
    ] {
        let body = json!({"error": {"code": status, "title": title, "message": "told of 's3cret'."}});
        let stage = Stage::open(move |_, _| answers(status, body.clone())).await;
        let error = stage.client(&[]).authenticate().await.unwrap_err();
        assert_eq!((error.status(), error.kind(), error.request_id()), (Some(status), title, Some("req-1")));
        let text = error.to_string();
        let start = format!("cannot get a token for user 'kuryr' in project 'kuryr': Keystone answered {status}: told of '***' (req-1); ");
        assert!(text.starts_with(&start) && text.contains(remedy), "{text}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn trusts_application_credentials_and_tokens_are_sent_as_keystone_wants_them() {
    let stage = Stage::open(|asked, base| if asked.path == "/v3/auth/tokens" { token(base, "t", 3600) } else { no_networks() }).await;
    let auth_url = format!("{}/v3", stage.base);
    let by_password = json!({"methods": ["password"], "password": {"user": {"name": "u", "domain": {"id": "default"}, "password": "p"}}});
    let credential = |credential: Value| json!({"methods": ["application_credential"], "application_credential": credential});
    for (options, identity, scope) in [
        (vec![("username", "u"), ("password", "p"), ("trust_id", "x")], by_password, json!({"OS-TRUST:trust": {"id": "x"}})),
        (
            vec![("application_credential_id", "i"), ("application_credential_secret", "s")],
            credential(json!({"id": "i", "secret": "s"})),
            Value::Null,
        ),
        (
            vec![
                ("application_credential_name", "n"),
                ("application_credential_secret", "s"),
                ("username", "u"),
                ("user_domain_name", "D"),
            ],
            credential(json!({"name": "n", "secret": "s", "user": {"name": "u", "domain": {"name": "D"}}})),
            Value::Null,
        ),
        (
            vec![("auth_type", "v3token"), ("token", "given"), ("project_id", "p")],
            json!({"methods": ["token"], "token": {"id": "given"}}),
            json!({"project": {"id": "p"}}),
        ),
    ] {
        let options: Vec<_> = [("auth_url", auth_url.as_str())].into_iter().chain(options).collect();
        new(&options).list::<Network>(&[]).await.unwrap();
        let asked = stage.asked("/auth/tokens").pop().unwrap();
        assert_eq!((&asked.body["auth"]["identity"], &asked.body["auth"]["scope"]), (&identity, &scope));
    }
}
