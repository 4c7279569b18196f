//! The HTTP client for the cloud: TLS as keystoneauth's options say it, timeouts, connections that are kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WantsClientCert, WebPkiServerVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub use self::refusal::{TlsRefusal, tls_refusal};
use self::verify::{AnyCertificate, NamedCertificate};

mod refusal;
mod verify;

/// How long an unused connection is kept. A server may close earlier; the pool sees that and opens another one.
const IDLE: Duration = Duration::from_secs(60);
/// Upper bound for setting up one connection; a host that drops packets is told apart from a slow answer.
const CONNECT: Duration = Duration::from_secs(10);

/// The session options of keystoneauth that concern the connection.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// `cafile`: trusted instead of the system's certificates.
    pub cafile: Option<PathBuf>,
    /// `insecure`: take any certificate.
    pub insecure: bool,
    /// `certfile`: the client's certificate chain in PEM; holds the key as well when `keyfile` is absent.
    pub certfile: Option<PathBuf>,
    /// `keyfile`: the client's private key in PEM.
    pub keyfile: Option<PathBuf>,
    /// Ask no proxy, whatever the environment says: the servers are on this machine, where a proxy would not find them.
    pub direct: bool,
    /// Upper bound for one request, from connecting to the end of the body.
    pub timeout: Duration,
}

/// The client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM file cannot be read or holds nothing usable.
    #[error("cannot use {option} '{}': {reason}; name a readable PEM file that holds {wanted}", path.display())]
    Pem {
        /// The option that names the file.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// rustls refused the pieces.
    #[error("cannot set up TLS: {0}; check that certfile and keyfile belong together")]
    Tls(#[from] rustls::Error),
    /// reqwest refused the settings.
    #[error("cannot build the HTTP client: {0}; check the proxy variables of the environment")]
    Build(#[from] reqwest::Error),
}

/// The one cryptography provider of the program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Builds a client; does no network I/O.
///
/// # Errors
/// A certificate or key file that cannot be used.
pub fn build(settings: &ClientSettings) -> Result<reqwest::Client, Error> {
    let tls = tls_config(settings)?;
    let builder = reqwest::Client::builder();
    let builder = if settings.direct { builder.no_proxy() } else { builder };
    let client = builder
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("kuryr/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .timeout(settings.timeout)
        .connect_timeout(CONNECT.min(settings.timeout))
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(Duration::from_secs(30))
        // A token in X-Auth-Token must not follow a redirect to another host.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(client)
}

fn tls_config(settings: &ClientSettings) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &settings.cafile {
        _ if settings.insecure => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()))),
        Some(path) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier(path)?)),
        // A machine without a CA store can still talk plain HTTP; over TLS the handshake then says what is missing.
        None => builder.with_root_certificates(system_roots()),
    };
    with_identity(builder, settings)
}

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

fn verifier(path: &Path) -> Result<NamedCertificate, Error> {
    let refused = |reason: String| Error::Pem { option: "cafile", path: path.to_owned(), wanted: "CA certificates", reason };
    let pem = fs::read(path).map_err(|error| refused(error.to_string()))?;
    let named = certificates(&pem).map_err(&refused)?;
    let mut store = RootCertStore::empty();
    for certificate in &named {
        store.add(certificate.clone()).map_err(|error| refused(error.to_string()))?;
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
    Ok(NamedCertificate { authorities: authorities.build().map_err(|error| refused(error.to_string()))?, named })
}

fn with_identity(builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>, settings: &ClientSettings) -> Result<ClientConfig, Error> {
    let Some(certfile) = &settings.certfile else {
        return Ok(builder.with_no_client_auth());
    };
    let refused = |reason: String| Error::Pem { option: "certfile", path: certfile.clone(), wanted: "the client's certificate", reason };
    let pem = fs::read(certfile).map_err(|error| refused(error.to_string()))?;
    let chain = certificates(&pem).map_err(refused)?;
    let keyfile = settings.keyfile.as_ref().unwrap_or(certfile);
    let refused = |reason: String| Error::Pem { option: "keyfile", path: keyfile.clone(), wanted: "the client's private key", reason };
    let pem = fs::read(keyfile).map_err(|error: io::Error| refused(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| refused(error.to_string()))?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// The certificates of a PEM text, of which there must be one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if found.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(found) }
}
