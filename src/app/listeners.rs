//! Where the daemon listens: what the service manager opened or the unix socket, and the TCP address of the configuration, plain or by TLS.

use std::{io, net::SocketAddr, sync::Arc};

use super::{Error, spec};
use crate::{
    config::Config,
    http::{
        listen::Listener,
        tls::{ServerFiles, ServerTls},
    },
};

/// Where kuryr-libnetwork listens when nothing is said.
const DEFAULT_URI: &str = "http://127.0.0.1:23750";

/// The open listeners of the plugin.
pub(super) struct Listeners {
    pub all: Vec<Listener>,
    /// What the TCP listeners speak, if they speak TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// The engine's plugin file, for as long as this lives.
    pub spec: Option<spec::SpecFile>,
}

/// Opens them all, or none.
pub(super) async fn open(config: &Config) -> Result<Listeners, Error> {
    let tls = match &config.ssl {
        Some(ssl) => {
            let (certificate, key, client_authorities) = (ssl.certificate.clone(), ssl.key.clone(), ssl.client_ca.clone());
            Some(Arc::new(ServerTls::load(ServerFiles { certificate, key, client_authorities })?))
        }
        None => None,
    };
    let mut all = Listener::inherited()?;
    if all.is_empty() {
        all.push(Listener::unix(&config.socket).await?);
    }
    let uri = config.kuryr_uri.as_deref().or(tls.as_ref().map(|_| DEFAULT_URI));
    if let Some(uri) = uri {
        if uri.starts_with("https://") && tls.is_none() {
            return Err(Error::UriWithoutTls(uri.to_owned()));
        }
        all.push(Listener::tcp(tcp_address(uri).await?).await?);
    }
    for address in all.iter().filter_map(Listener::tcp_address).filter(|address| !address.ip().is_loopback()) {
        if config.ssl.as_ref().is_none_or(|ssl| ssl.client_ca.is_none()) {
            tracing::warn!(%address, "whoever reaches this address may make and remove ports; see enable_ssl and [kuryr] ssl_client_ca_file");
        }
    }
    if let Some(tls) = &tls {
        all = all.into_iter().map(|listener| listener.over_tls(tls.clone())).collect();
    }
    let spec = match &config.spec {
        Some(spec) => {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let authority = uri.map(|uri| format!("{scheme}://{}", authority(uri)));
            spec::write(spec, authority.as_deref())?
        }
        None => None,
    };
    Ok(Listeners { all, tls, spec })
}

/// Host and port of a URI.
fn authority(uri: &str) -> &str {
    uri.split_once("://").map_or(uri, |(_, rest)| rest).trim_end_matches('/')
}

async fn tcp_address(uri: &str) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Uri { uri: uri.to_owned(), source };
    let mut found = tokio::net::lookup_host(authority(uri)).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(io::Error::other("none was found")))
}
