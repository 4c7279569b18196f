//! TLS for the plugin's TCP listener: a certificate and a key from files, clients checked when an authority for them is named, and the files
//! read again while connections go on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::client::{certificates, provider};

/// How long a client may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The PEM files of a server.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// `ssl_cert_file`: the server's certificate, and after it those between it and the authority.
    pub certificate: PathBuf,
    /// `ssl_key_file`: the private key of the first certificate.
    pub key: PathBuf,
    /// `ssl_client_ca_file`: only clients with a certificate of one of these authorities are served; none: whoever connects is.
    pub client_authorities: Option<PathBuf>,
}

/// The server cannot be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or holds nothing usable.
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
    #[error("cannot serve TLS with ssl_cert_file '{}' and ssl_key_file '{}': {source}; check that they belong together", certificate.display(), key.display())]
    Pieces {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// A TLS server whose files can be read again. A connection keeps what it was made with.
#[derive(Debug)]
pub struct ServerTls {
    files: ServerFiles,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be used, or a key that is not the certificate's.
    pub fn load(files: ServerFiles) -> Result<Self, Error> {
        let current = watch::Sender::new(Arc::new(read(&files)?));
        Ok(Self { files, current })
    }

    /// Reads the files again, for connections from now on.
    ///
    /// # Errors
    /// As [`ServerTls::load`]; what was read before then stays in use.
    pub fn reload(&self) -> Result<(), Error> {
        self.current.send_replace(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// The server's part of the handshake.
    ///
    /// # Errors
    /// What the client sent was not TLS, or its certificate was missing or not trusted, or it took too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.borrow().clone());
        tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await?
    }
}

fn read(files: &ServerFiles) -> Result<ServerConfig, Error> {
    let chain = pem("ssl_cert_file", &files.certificate, "the server's certificate", certificates)?;
    let one_key = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string());
    let key = pem("ssl_key_file", &files.key, "the server's private key", one_key)?;
    let pieces = |source| Error::Pieces { certificate: files.certificate.clone(), key: files.key.clone(), source };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(pieces)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(pem("ssl_client_ca_file", path, "CA certificates", |pem| {
            let mut store = RootCertStore::empty();
            for certificate in certificates(pem)? {
                store.add(certificate).map_err(|error| error.to_string())?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider()).build().map_err(|error| error.to_string())
        })?),
    };
    builder.with_single_cert(chain, key).map_err(pieces)
}

/// What `parse` makes of the file that `option` names.
fn pem<T>(option: &'static str, path: &Path, wanted: &'static str, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Error> {
    let text = fs::read(path).map_err(|error| error.to_string());
    text.and_then(|text| parse(&text)).map_err(|reason| Error::Pem { option, path: path.to_owned(), wanted, reason })
}
