//! The HTTP client for the cloud: TLS as keystoneauth's options say it, timeouts, connections that are kept.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{WantsClientCert, WebPkiServerVerifier},
    crypto::CryptoProvider,
};

pub use self::refusal::{TlsRefusal, tls_refusal};
use self::verify::{AnyCertificate, NamedCertificate};
use super::pem;

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
    /// A file of certificates or of the key cannot be used.
    #[error(transparent)]
    Pem(#[from] pem::Error),
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

/// A client for whoever listens on a Unix socket of this machine; the host in its URLs is of no matter.
///
/// # Errors
/// reqwest refused the settings.
pub fn on_socket(path: &Path, timeout: Duration) -> Result<reqwest::Client, Error> {
    // Never used, but reqwest wants to know it.
    let tls = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).http1_only().no_proxy().timeout(timeout).unix_socket(path).build()?)
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

fn verifier(path: &Path) -> Result<NamedCertificate, pem::Error> {
    pem::read("cafile", path, "CA certificates", |pem| {
        let named = pem::certificates(pem)?;
        let mut store = RootCertStore::empty();
        for certificate in &named {
            store.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider());
        Ok(NamedCertificate { authorities: authorities.build().map_err(|error| error.to_string())?, named })
    })
}

fn with_identity(builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>, settings: &ClientSettings) -> Result<ClientConfig, Error> {
    let Some(certfile) = &settings.certfile else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = pem::read("certfile", certfile, "the client's certificate", pem::certificates)?;
    let keyfile = settings.keyfile.as_ref().unwrap_or(certfile);
    let key = pem::read("keyfile", keyfile, "the client's private key", pem::key)?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}
