//! A server that says exactly what a test wants it to say, also what no decent server would, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use kuryr::openstack::{CloudSettings, Neutron, Options};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The lines of the head, names in lower case.
    pub head: String,
    pub body: Value,
    /// Counts the connections.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name)).map(|(_, value)| value)
    }
}

/// What it does.
pub enum Does {
    /// Status, further header lines, body.
    Answers(u16, Vec<(&'static str, String)>, String),
    /// These bytes and the end of the connection.
    Sends(Vec<u8>),
    /// Bytes without end.
    Floods,
    /// Nothing.
    Hangs,
    /// It ends the connection, and nobody listens any more.
    Leaves,
}

/// A JSON answer with a request id.
pub fn answers(status: u16, body: Value) -> Does {
    Does::Answers(status, vec![("x-openstack-request-id", "req-1".to_owned())], body.to_string())
}

pub struct Stage {
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stage {
    /// Opens a plain server on a free port of `localhost`.
    pub async fn open(play: impl Fn(&Asked, &str) -> Does + Send + Sync + 'static) -> Self {
        Self::start(None, play).await
    }

    /// The same with TLS.
    pub async fn tls(config: ServerConfig, play: impl Fn(&Asked, &str) -> Does + Send + Sync + 'static) -> Self {
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), play).await
    }

    async fn start(tls: Option<TlsAcceptor>, play: impl Fn(&Asked, &str) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (play, stage) = (Arc::new(play), Self { base: base.clone(), asked: Arc::clone(&asked) });
        let exit = Exit::default();
        tokio::spawn(async move {
            for connection in 0.. {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = exit.wanted.notified() => break,
                };
                let (tls, play, base, asked, exit) = (tls.clone(), Arc::clone(&play), base.clone(), Arc::clone(&asked), exit.clone());
                tokio::spawn(async move {
                    let play = |request: &Asked| {
                        asked.lock().unwrap().push(request.clone());
                        play(request, &base)
                    };
                    match tls {
                        // A client that refuses the certificate is what some tests want.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => perform(stream, connection, play, &exit).await,
                            Err(_) => None,
                        },
                        None => perform(stream, connection, play, &exit).await,
                    }
                });
            }
            drop(listener);
            exit.done.notify_one();
        });
        stage
    }

    /// What it was asked so far, of those with this in their path.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.contains(path)).cloned().collect()
    }

    /// A client that logs in as the user `kuryr` with its password at `<base>/v3`, if `more` says nothing else.
    pub fn client(&self, more: &[(&str, &str)]) -> Neutron {
        client(&self.base, more)
    }
}

pub fn client(base: &str, more: &[(&str, &str)]) -> Neutron {
    let auth_url = format!("{base}/v3");
    let fixed = [("auth_url", auth_url.as_str()), ("username", "kuryr"), ("password", "s3cret"), ("project_name", "kuryr")];
    let options: Options = fixed.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Neutron::new(CloudSettings::from_options(&options).unwrap()).unwrap()
}

/// Keystone's answer to a login: a token of this text, good for so long, and a catalog that leads to `<base>/network`.
pub fn token(base: &str, text: &str, seconds: u64) -> Does {
    let expires = format!("2026-01-01T{:02}:{:02}:{:02}.000000Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let catalog =
        json!([{"type": "network", "endpoints": [{"interface": "public", "region_id": "one", "url": format!("{base}/network")}]}]);
    let body = json!({"token": {"issued_at": "2026-01-01T00:00:00.000000Z", "expires_at": expires, "catalog": catalog}});
    Does::Answers(201, vec![("x-subject-token", text.to_owned())], body.to_string())
}

/// How a connection has the server leave.
#[derive(Clone, Default)]
struct Exit {
    wanted: Arc<Notify>,
    done: Arc<Notify>,
}

async fn perform(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    play: impl Fn(&Asked) -> Does,
    exit: &Exit,
) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let asked = request(&mut stream, &mut read, connection).await?;
        match play(&asked) {
            Does::Answers(status, headers, body) => {
                let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Does::Sends(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Does::Floods => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(&[b' '; 1 << 16]).await.ok()?;
                }
            }
            Does::Hangs => std::future::pending().await,
            Does::Leaves => {
                exit.wanted.notify_one();
                exit.done.notified().await;
                return None;
            }
        }
    }
}

/// The next request of the connection; `read` holds what came too early.
async fn request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), read: &mut Vec<u8>, connection: usize) -> Option<Asked> {
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let plain = read.first().is_none_or(u8::is_ascii_uppercase);
        if !plain {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok()?;
        }
        if !plain || stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut asked = Asked { method, path, head, body: Value::Null, connection };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    while read.len() < end + length {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    asked.body = serde_json::from_slice(&read[end..end + length]).unwrap_or_default();
    read.drain(..end + length);
    Some(asked)
}
