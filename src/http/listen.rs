//! Listeners: a unix socket that belongs to root alone, TCP where configured, and a drain that lets running requests finish.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use listenfd::ListenFd;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
};

use super::tls::ServerTls;

/// How long to rest when the system has no descriptor or memory left for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody answers on the socket.
    #[error("{} is served by a running process already; stop that daemon first", .0.display())]
    InUse(PathBuf),
    /// What lies at the path is no socket and so nothing of ours.
    #[error("{} exists and is no socket; move it away or choose another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot {action} {object}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The path or address.
        object: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Where requests come in.
#[derive(Debug)]
pub enum Listener {
    /// A socket in the file system.
    Unix(UnixSocket),
    /// An address; anybody who reaches it is served.
    Tcp(TcpListener),
    /// An address where TLS is spoken.
    Tls(TcpListener, Arc<ServerTls>),
}

/// A bound unix socket; the file we made for it, by path and inode, goes when this is dropped, unless another process has put its own there
/// meanwhile.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    file: Option<(PathBuf, u64)>,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.file
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Binds the unix socket `path` with mode 0600 and makes missing folders. A socket nobody answers on is a left-over and is replaced.
    pub async fn unix(path: &Path) -> Result<Self, Error> {
        let failed = |action| move |source| Error::System { action, object: path.display().to_string(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at")(error)),
            Ok(found) if !found.file_type().is_socket() => return Err(Error::NoSocket(path.to_owned())),
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => return Err(Error::InUse(path.to_owned())),
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
                // A full backlog, for one, is the mark of a daemon that lives.
                Err(error) => return Err(failed("find out who serves")(error)),
            },
        }
        // Under a name of its own until the mode is right: nobody else gets a moment to connect, and the engine meets the old socket or the new one.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let listener = UnixListener::bind(&hidden).map_err(failed("bind"))?;
        let settled = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&hidden))
            .and_then(|found| fs::rename(&hidden, path).map(|()| found.ino()));
        match settled {
            Ok(inode) => Ok(Self::Unix(UnixSocket { listener, file: Some((path.to_owned(), inode)) })),
            Err(error) => {
                let _ = fs::remove_file(&hidden);
                Err(failed("set the mode of")(error))
            }
        }
    }

    /// The listeners that the service manager has opened for this process, in its order (sd_listen_fds(3)); none without one. Their files are its
    /// own and stay, so that no call of the engine is lost between two daemons.
    pub fn inherited() -> Result<Vec<Self>, Error> {
        let mut given = ListenFd::from_env();
        let failed =
            |place: usize| move |source| Error::System { action: "take over", object: format!("descriptor {place} of LISTEN_FDS"), source };
        let mut listeners = Vec::new();
        for place in 0..given.len() {
            if let Ok(Some(listener)) = given.take_unix_listener(place) {
                listener.set_nonblocking(true).map_err(failed(place))?;
                let listener = UnixListener::from_std(listener).map_err(failed(place))?;
                listeners.push(Self::Unix(UnixSocket { listener, file: None }));
            } else if let Some(listener) = given.take_tcp_listener(place).map_err(failed(place))? {
                listener.set_nonblocking(true).map_err(failed(place))?;
                listeners.push(Self::Tcp(TcpListener::from_std(listener).map_err(failed(place))?));
            }
        }
        Ok(listeners)
    }

    /// Binds a TCP address.
    pub async fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let bound = TcpListener::bind(address).await;
        bound.map(Self::Tcp).map_err(|source| Error::System { action: "listen on", object: address.to_string(), source })
    }

    /// The TCP address in use, with the port the system chose for port 0; none for a unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The same listener, speaking TLS if it is one of TCP; a unix socket has its mode to keep others away.
    pub fn over_tls(self, tls: Arc<ServerTls>) -> Self {
        match self {
            Self::Tcp(listener) | Self::Tls(listener, _) => Self::Tls(listener, tls),
            Self::Unix(socket) => Self::Unix(socket),
        }
    }

    /// Serves `router` until `stop` turns true (or its sender is gone), then takes no more connections and lets running requests finish for at most
    /// `drain`. True when all of them did.
    ///
    /// Idle connections are never closed before that: engines pool them and would lose a request to the race.
    pub async fn serve(self, router: Router, mut stop: watch::Receiver<bool>, drain: Duration) -> bool {
        let graceful = GracefulShutdown::new();
        loop {
            let handshakes = stop.clone();
            let accepted = tokio::select! {
                accepted = self.accept(&router, &graceful, handshakes) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if let Err(error) = accepted {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        drop(self);
        tokio::time::timeout(drain, graceful.shutdown()).await.is_ok()
    }

    async fn accept(&self, router: &Router, graceful: &GracefulShutdown, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        match self {
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                tokio::spawn(connection(stream, router.clone(), graceful.watcher()));
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Replies are one small write each.
                stream.set_nodelay(true)?;
                tokio::spawn(connection(stream, router.clone(), graceful.watcher()));
            }
            Self::Tls(listener, tls) => {
                let (stream, client) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    // A client in its handshake has asked for nothing yet, so that the end of the daemon does not wait for it.
                    let accepted = tokio::select! {
                        accepted = tls.accept(stream) => accepted,
                        _ = stop.wait_for(|stop| *stop) => return,
                    };
                    match accepted {
                        Ok(stream) => connection(stream, router, watcher).await,
                        Err(error) => tracing::warn!(%client, %error, "no TLS connection was made"),
                    }
                });
            }
        }
        Ok(())
    }
}

async fn connection<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // An engine keeps connections for longer than any limit that would be of use here; root alone reaches the socket.
    let serving = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection broke");
    }
}
