//! The OpenStack client and what can happen to a connection: TLS, deadlines, answers that are none.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kuryr::openstack::{Error, Network, Port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};

use crate::openstack_stage::{Asked, Does, Stage, answers, client, token};

const NO_NETWORKS: &str = r#"{"networks": []}"#;

/// Logs everybody in and has no networks.
fn quiet(asked: &Asked, base: &str) -> Does {
    if asked.path.starts_with("/v3/auth/tokens") { token(base, "t", 3600) } else { answers(200, json!({"networks": []})) }
}

/// Logs everybody in and does this with every call of Neutron.
async fn neutron(does: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Stage {
    Stage::open(move |asked, base| if asked.path == "/v3/auth/tokens" { token(base, "t", 3600) } else { does(asked) }).await
}

/// An authority with what it has signed, as PEM files.
struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new(authority: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let this = Self { folder: tempfile::tempdir().unwrap(), authority };
        this.file("ca.pem", &this.authority.pem());
        this
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A certificate for this host name, and its key.
    fn signed(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.authority).unwrap();
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap(), pem)
    }

    fn server(&self, name: &str, asks_for_one: bool) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(ring::default_provider().into()).with_safe_default_protocol_versions().unwrap();
        let builder = if asks_for_one {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(std::sync::Arc::new(roots), ring::default_provider().into());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key, _) = self.signed(name);
        builder.with_single_cert(vec![certificate], key).unwrap()
    }
}

async fn refused(stage: &Stage, options: &[(&str, &str)]) -> String {
    let error = stage.client(options).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(error, Error::Tls { service: "Keystone", .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot get a token for user 'kuryr' in project 'kuryr': no TLS with Keystone at {}", stage.base))
    );
    error.to_string()
}

#[tokio::test]
async fn only_a_trusted_certificate_is_good_enough() {
    let (certificates, others, namesake) = (Certificates::new("a"), Certificates::new("b"), Certificates::new("a"));
    let stage = Stage::tls(certificates.server("localhost", false), quiet).await;
    stage.client(&[("cafile", &certificates.path("ca.pem"))]).list::<Network>(&[]).await.unwrap();
    stage.client(&[("insecure", "true")]).list::<Network>(&[]).await.unwrap();
    stage.client(&[("insecure", "true"), ("cafile", &others.path("ca.pem"))]).list::<Network>(&[]).await.unwrap();

    let before = stage.asked("").len();
    let (other, namesake) = (others.path("ca.pem"), namesake.path("ca.pem"));
    for (options, words) in [
        (vec![], "signed by nobody we trust"),
        (vec![("cafile", other.as_str())], "signed by nobody we trust"),
        (vec![("cafile", namesake.as_str())], "under that name"),
    ] {
        let error = refused(&stage, &options).await;
        assert!(error.contains(words) && error.contains("cafile") && error.contains("insecure"), "{error}");
    }
    assert_eq!(stage.asked("").len(), before, "nothing may be sent to a server that is not trusted");

    let elsewhere = Stage::tls(certificates.server("elsewhere.example", false), quiet).await;
    let error = refused(&elsewhere, &[("cafile", &certificates.path("ca.pem"))]).await;
    assert!(error.contains("elsewhere.example") && error.contains("host name"), "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_authority() {
    let certificates = Certificates::new("a");
    let server = |is_ca: bool, name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // What `openssl req -x509` makes.
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let builder = ServerConfig::builder_with_provider(ring::default_provider().into()).with_safe_default_protocol_versions().unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], der).unwrap(), certificate.pem())
    };
    for is_ca in [false, true] {
        let (config, pem) = server(is_ca, "localhost");
        let stage = Stage::tls(config, quiet).await;
        let cafile = certificates.file("own.pem", &pem);
        stage.client(&[("cafile", &cafile)]).list::<Network>(&[]).await.unwrap();
        refused(&stage, &[("cafile", &certificates.path("ca.pem"))]).await;

        let (config, pem) = server(is_ca, "elsewhere.example");
        let stage = Stage::tls(config, quiet).await;
        let cafile = certificates.file("own.pem", &pem);
        assert!(refused(&stage, &[("cafile", &cafile)]).await.contains("elsewhere.example"));
    }
}

#[tokio::test]
async fn a_server_may_ask_who_we_are() {
    let certificates = Certificates::new("a");
    let stage = Stage::tls(certificates.server("localhost", true), quiet).await;
    let cafile = certificates.path("ca.pem");
    let both = certificates.file("both.pem", &certificates.signed("kuryr").2);
    stage.client(&[("cafile", &cafile), ("certfile", &both)]).list::<Network>(&[]).await.unwrap();
    stage.client(&[("cafile", &cafile), ("certfile", &both), ("keyfile", &both)]).list::<Network>(&[]).await.unwrap();

    let error = refused(&stage, &[("cafile", &cafile)]).await;
    assert!(error.contains("client certificate") && error.contains("certfile"), "{error}");
    let strange = certificates.file("strange.pem", &Certificates::new("b").signed("kuryr").2);
    let error = refused(&stage, &[("cafile", &cafile), ("certfile", &strange)]).await;
    assert!(error.contains("refuses our certificate") && error.contains("certfile"), "{error}");
}

#[tokio::test]
async fn http_and_https_are_told_apart() {
    let certificates = Certificates::new("a");
    let secured = Stage::tls(certificates.server("localhost", false), quiet).await;
    let error = client(&secured.base.replace("https", "http"), &[]).list::<Network>(&[]).await.unwrap_err().to_string();
    assert!(error.contains("https://"), "{error}");
    let plain = neutron(|_| Does::Hangs).await;
    let error = client(&plain.base.replace("http", "https"), &[("insecure", "true")]).list::<Network>(&[]).await.unwrap_err().to_string();
    assert!(error.contains("does not speak TLS") && error.contains("http://"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_meets_the_deadline() {
    let hanging = Stage::open(|_, _| Does::Hangs).await;
    let error = hanging.client(&[("timeout", "0.2")]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { service: "Keystone", after, .. } if *after == Duration::from_millis(200)), "{error}");
    assert!(error.to_string().contains("'timeout'") && !error.to_string().contains("s3cret"), "{error}");

    let half = neutron(|_| Does::Hangs).await;
    // It logs in within this time as well.
    let error = half.client(&[("timeout", "2")]).create::<Network>(&json!({"name": "n"})).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { service: "Neutron", .. }), "{error}");
    assert!(error.to_string().starts_with("cannot create network 'n': Neutron at "), "{error}");

    // Twenty who wait for one login wait no longer than one.
    let neutron = hanging.client(&[("timeout", "0.2")]);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let neutron = neutron.clone();
                async move { neutron.list::<Network>(&[]).await }
            })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap().unwrap_err(), Error::Timeout { service: "Keystone", .. }));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_named() {
    for (body, words) in
        [("<html>Welcome</html>", "expected value"), (r#"{"ports": []}"#, "'networks'"), (r#"{"networks": [{}]}"#, "missing field `id`")]
    {
        let stage = neutron(move |_| Does::Answers(200, vec![], body.to_owned())).await;
        let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
        assert!(matches!(error, Error::BadReply { service: "Neutron", .. }), "{error}");
        assert!(error.to_string().starts_with("cannot list networks: Neutron at ") && error.to_string().contains(words), "{error}");
    }
    let stage = Stage::open(|_, _| Does::Answers(200, vec![], "<html>Welcome</html>".to_owned())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(error, Error::BadReply { service: "Keystone", .. }), "{error}");
    let stage = neutron(|_| Does::Sends(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
    assert!(error.to_string().contains("not HTTP"), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    let announced = neutron(|_| Does::Sends(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n{".to_vec())).await;
    let endless = neutron(|_| Does::Floods).await;
    for stage in [announced, endless] {
        let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
        assert!(error.to_string().contains("larger than 32 MiB"), "{error}");
    }
}

/// The first call of Neutron is answered, the next one on the same connection finds it closed, as with a server that ends idle
/// connections in the same moment.
async fn closing() -> Stage {
    let calls = AtomicU64::new(0);
    neutron(move |asked| match (asked.connection, calls.fetch_add(1, Ordering::SeqCst)) {
        (0, 1..) => Does::Sends(Vec::new()),
        _ if asked.method == "POST" => answers(201, json!({"network": {"id": uuid::Uuid::nil()}})),
        _ => answers(200, serde_json::from_str(NO_NETWORKS).unwrap()),
    })
    .await
}

#[tokio::test]
async fn a_connection_that_was_just_closed_is_no_failure_where_repeating_is_safe() {
    let stage = closing().await;
    let client = stage.client(&[]);
    client.list::<Network>(&[]).await.unwrap();
    client.list::<Network>(&[]).await.unwrap();
    assert_eq!(stage.asked("/network/").iter().map(|asked| asked.connection).collect::<Vec<_>>(), [0, 0, 1]);

    let stage = closing().await;
    let client = stage.client(&[]);
    client.list::<Network>(&[]).await.unwrap();
    let error = client.create::<Network>(&json!({"name": "n"})).await.unwrap_err();
    assert!(matches!(error, Error::Broken { service: "Neutron", .. }), "{error}");
    assert!(error.to_string().contains("cannot create network 'n'") && error.to_string().contains("closed it before"), "{error}");
    assert_eq!(stage.asked("/network/").len(), 2, "a POST that may have been carried out is not sent again");
    client.create::<Network>(&json!({"name": "n"})).await.unwrap();
}

#[tokio::test]
async fn a_connection_dropped_half_way_is_named_after_one_more_try() {
    let stage = neutron(|_| Does::Sends(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"networks\"".to_vec())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(error, Error::Broken { service: "Neutron", .. }), "{error}");
    assert_eq!(stage.asked("/network/").len(), 2);
    let stage = Stage::open(|_, _| Does::Sends(Vec::new())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(error, Error::Broken { service: "Keystone", .. }), "{error}");
}

/// Such as a removal by a server that ends while it works on it.
#[tokio::test]
async fn a_change_whose_repeat_finds_nobody_may_have_been_made() {
    let calls = AtomicU64::new(0);
    let leaving = move |_: &Asked| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => answers(200, serde_json::from_str(NO_NETWORKS).unwrap()),
        _ => Does::Leaves,
    };
    let stage = neutron(leaving).await;
    let client = stage.client(&[]);
    client.list::<Network>(&[]).await.unwrap();
    let error = client.delete::<Network>(uuid::Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && error.leaves_open(), "{error}");
    let error = client.list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

/// Refuses this often with this status and `Retry-After`, then does as it is asked.
async fn busy(times: u64, status: u16, wait: &'static str) -> Stage {
    let calls = AtomicU64::new(0);
    neutron(move |asked| match calls.fetch_add(1, Ordering::SeqCst) {
        call if call < times => Does::Answers(status, vec![("retry-after", wait.to_owned())], "busy".to_owned()),
        _ if asked.method == "POST" => answers(201, json!({"network": {"id": uuid::Uuid::nil()}})),
        _ => answers(200, json!({"networks": []})),
    })
    .await
}

#[tokio::test]
async fn a_short_wait_that_the_cloud_asks_for_is_kept() {
    for status in [413, 429, 503] {
        busy(2, status, "0").await.client(&[]).list::<Network>(&[]).await.unwrap();
        let stage = busy(3, status, "0").await;
        assert_eq!(stage.client(&[]).list::<Network>(&[]).await.unwrap_err().status(), Some(status));
        assert_eq!(stage.asked("/network/").len(), 3);
        let stage = busy(1, status, "3600").await;
        let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err();
        assert_eq!((error.status(), stage.asked("/network/").len()), (Some(status), 1), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot list networks: Neutron answered {status}: busy; ")), "{error}");
    }
    // Nobody has looked at a request that came too often; one that met a fault may have been carried out.
    busy(1, 429, "0").await.client(&[]).create::<Network>(&json!({})).await.unwrap();
    assert_eq!(busy(1, 503, "0").await.client(&[]).create::<Network>(&json!({})).await.unwrap_err().status(), Some(503));
    let stage = busy(1, 429, "10").await;
    assert_eq!(stage.client(&[("timeout", "5")]).list::<Network>(&[]).await.unwrap_err().status(), Some(429));
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let error = client("http://127.0.0.1:1", &[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { service: "Keystone", .. }), "{error}");
    assert!(error.to_string().contains("refused") && !error.to_string().contains("s3cret"), "{error}");
    let stage = Stage::open(quiet).await;
    let error = stage.client(&[("endpoint_override", "http://127.0.0.1:1")]).show::<Port>(uuid::Uuid::nil()).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { service: "Neutron", .. }), "{error}");
    let error = client("http://nowhere.invalid", &[]).list::<Network>(&[]).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed_with_a_token() {
    let stage = neutron(|_| Does::Answers(301, vec![("location", "https://elsewhere.example/".to_owned())], String::new())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err().to_string();
    assert!(error.contains("301: it has moved to https://elsewhere.example/") && error.contains("endpoint_override"), "{error}");
    let stage = Stage::open(|_, _| Does::Answers(308, vec![("location", "https://k/v3/auth/tokens".to_owned())], String::new())).await;
    let error = stage.client(&[]).list::<Network>(&[]).await.unwrap_err().to_string();
    assert!(error.contains("Keystone answered 308: it has moved to https://k/v3/auth/tokens") && error.contains("auth_url"), "{error}");
    assert_eq!(stage.asked("").iter().map(|asked| asked.body["auth"].is_object()).collect::<Vec<_>>(), [true]);
}

/// The variables of the environment are those of a process, so the test runs itself once more in another one, behind a proxy.
#[tokio::test]
async fn a_proxy_is_not_asked_for_this_machine() {
    const INSIDE: &str = "KURYR_TEST_BEHIND_A_PROXY";
    if std::env::var_os(INSIDE).is_none() {
        #[allow(clippy::disallowed_methods, reason = "it ends when the one test in it ends, and with this one")]
        let mut other = tokio::process::Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "openstack_wire::a_proxy_is_not_asked_for_this_machine"]).kill_on_drop(true);
        other.env(INSIDE, "1").env("http_proxy", "http://127.0.0.1:1").env_remove("no_proxy").env_remove("NO_PROXY");
        let output = other.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let stage = Stage::open(quiet).await;
    for base in [stage.base.clone(), stage.base.replace("localhost", "127.0.0.1")] {
        client(&base, &[("endpoint_override", &base)]).list::<Network>(&[]).await.unwrap();
    }
    let error = client("http://192.0.2.1", &[]).list::<Network>(&[]).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "the proxy is asked for other machines: {error}");
}
