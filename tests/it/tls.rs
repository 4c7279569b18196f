//! The daemon's TCP listener by TLS: who is served, certificates that change under way, and the file that tells the engine.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sys::signal::Signal;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;

const ADDRESS: &str = "127.0.0.1:23750";

/// Authorities and certificates in PEM files of a folder.
struct Files(TempDir);

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes an authority and writes `NAME.pem`.
    fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let made = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(self.path(&format!("{name}.pem")), made.pem()).unwrap();
        made
    }

    /// Writes `NAME.pem` and `NAME.key`, signed by `authority`, and returns the certificate.
    fn certificate(&self, name: &str, authority: &Authority) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let made = params.signed_by(&key, authority).unwrap();
        fs::write(self.path(&format!("{name}.pem")), made.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        made.der().clone()
    }
}

/// The daemon with TLS from `server.pem` and `server.key`.
fn start(files: &Files, options: &[(&str, &Path)]) -> Daemon {
    let (certificate, key) = (files.path("server.pem"), files.path("server.key"));
    let mut environment = vec![("OS_DEFAULT__SSL_CERT_FILE", certificate.as_os_str()), ("OS_DEFAULT__SSL_KEY_FILE", key.as_os_str())];
    environment.push(("OS_DEFAULT__ENABLE_SSL", "True".as_ref()));
    environment.extend(options.iter().map(|(name, value)| (*name, value.as_os_str())));
    Daemon::start(&files.path("state"), &["--embedded"], &environment)
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts the authority in `ca`, and shows the certificate `NAME` when one is given.
fn connect(files: &Files, ca: &str, identity: Option<&str>) -> Connection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.path(ca)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(files.path(&format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(files.path(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let client = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
    StreamOwned::new(client, TcpStream::connect(ADDRESS).unwrap())
}

/// Activates the plugin over a connection, which stays open.
fn activate(stream: &mut (impl Read + Write)) -> std::io::Result<String> {
    stream.write_all(b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    Ok(String::from_utf8(answer).unwrap())
}

fn served(stream: &mut (impl Read + Write)) {
    let answer = activate(stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("NetworkDriver"), "{answer}");
}

#[test]
fn tls_is_spoken_and_nothing_else() {
    let files = Files::new();
    files.certificate("server", &files.authority("ca"));
    files.authority("other");
    let mut daemon = start(&files, &[]);
    daemon.logs("ready");
    served(&mut connect(&files, "ca.pem", None));
    let plain = activate(&mut TcpStream::connect(ADDRESS).unwrap());
    assert!(plain.is_err(), "served without TLS: {plain:?}");
    let distrust = activate(&mut connect(&files, "other.pem", None)).unwrap_err().to_string();
    assert!(distrust.contains("UnknownIssuer"), "{distrust}");
    daemon.end();
}

#[test]
fn a_client_without_a_certificate_of_the_authority_is_refused() {
    let files = Files::new();
    let (ca, other) = (files.authority("ca"), files.authority("other"));
    files.certificate("server", &ca);
    files.certificate("engine", &ca);
    files.certificate("stranger", &other);
    let mut daemon = start(&files, &[("OS_KURYR__SSL_CLIENT_CA_FILE", &files.path("ca.pem"))]);
    daemon.logs("ready");
    served(&mut connect(&files, "ca.pem", Some("engine")));
    for (identity, alert) in [(None, "CertificateRequired"), (Some("stranger"), "UnknownCA")] {
        let refused = activate(&mut connect(&files, "ca.pem", identity)).unwrap_err().to_string();
        assert!(refused.contains(alert), "{identity:?}: {refused}");
        daemon.logs("no TLS connection was made");
    }
    daemon.end();
}

#[test]
fn certificates_change_at_sighup_for_new_connections_alone() {
    let files = Files::new();
    let ca = files.authority("ca");
    let first = files.certificate("server", &ca);
    let mut daemon = start(&files, &[]);
    daemon.logs("ready");
    let shown = |stream: &Connection| stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
    let mut old = connect(&files, "ca.pem", None);
    served(&mut old);
    assert_eq!(shown(&old), first);

    let second = files.certificate("server", &ca);
    daemon.signal(Signal::SIGHUP);
    daemon.logs("the certificates were read again");
    let mut new = connect(&files, "ca.pem", None);
    served(&mut new);
    assert_eq!(shown(&new), second);
    served(&mut old);

    // A key that is not the certificate's, and then no certificate at all.
    files.certificate("stranger", &ca);
    fs::copy(files.path("stranger.key"), files.path("server.key")).unwrap();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.logs("stay in use");
    assert!(line.contains("ssl_key_file") && line.contains("belong together"), "{line}");
    fs::write(files.path("server.pem"), "half a fi").unwrap();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.logs("stay in use");
    assert!(line.contains("ssl_cert_file") && line.contains("no certificate"), "{line}");
    let mut after = connect(&files, "ca.pem", None);
    served(&mut after);
    assert_eq!(shown(&after), second);
    served(&mut old);
    daemon.end();
}

#[test]
fn the_engine_finds_the_address_and_the_authority_in_a_file_while_the_daemon_runs() {
    let files = Files::new();
    files.certificate("server", &files.authority("ca"));
    let (spec, ca) = (files.path("plugins/kuryr/kuryr.json"), files.path("ca.pem"));
    let mut daemon = start(&files, &[("OS_KURYR__SPEC_FILE", &spec), ("OS_KURYR__SPEC_CA_FILE", &ca)]);
    daemon.logs("ready");
    let told: Value = serde_json::from_slice(&fs::read(&spec).unwrap()).unwrap();
    assert_eq!(told["Addr"], format!("https://{ADDRESS}"));
    assert_eq!(told["TLSConfig"], json!({"CAFile": ca, "InsecureSkipVerify": false}));
    daemon.end();
    assert!(!spec.exists());
}

#[test]
fn a_start_without_the_certificate_says_which_file_and_serves_nobody() {
    let files = Files::new();
    let mut daemon = start(&files, &[]);
    let line = daemon.logs("ssl_cert_file");
    assert!(line.contains("server.pem") && line.contains("No such file"), "{line}");
    assert!(!daemon.wait().success());
    assert!(TcpStream::connect(ADDRESS).is_err());
}
