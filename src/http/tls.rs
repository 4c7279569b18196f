//! TLS for the plugin's TCP listener: a certificate and a key from files, clients checked when an authority for them is named, and the files
//! read again while connections go on.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{client::provider, pem};

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
    /// A file cannot be used.
    #[error(transparent)]
    Pem(#[from] pem::Error),
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
    let chain = pem::read("ssl_cert_file", &files.certificate, "the server's certificate", pem::certificates)?;
    let key = pem::read("ssl_key_file", &files.key, "the server's private key", pem::key)?;
    let pieces = |source| Error::Pieces { certificate: files.certificate.clone(), key: files.key.clone(), source };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(pieces)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(pem::read("ssl_client_ca_file", path, "CA certificates", |pem| {
            let mut store = RootCertStore::empty();
            for certificate in pem::certificates(pem)? {
                store.add(certificate).map_err(|error| error.to_string())?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider()).build().map_err(|error| error.to_string())
        })?),
    };
    builder.with_single_cert(chain, key).map_err(pieces)
}
