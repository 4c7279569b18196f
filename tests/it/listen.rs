//! The listeners with raw bytes over real sockets.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::post};
use kuryr::http::listen::{Error, Listener};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Long past any of these tests; reached only when a drain hangs.
const DRAIN: Duration = Duration::from_secs(30);

fn socket() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("plugins/kuryr.sock");
    (folder, path)
}

async fn start(path: &Path, router: Router) -> (watch::Sender<bool>, JoinHandle<bool>) {
    let (stop, stopped) = watch::channel(false);
    let listener = Listener::unix(path).await.unwrap();
    (stop, tokio::spawn(listener.serve(router, stopped, DRAIN)))
}

fn echo() -> Router {
    Router::new().fallback(|body: String| async move { body })
}

/// Reads one reply with a Content-Length.
async fn reply(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn one_connection_takes_many_requests_with_any_host_and_no_content_type() {
    let (_folder, path) = socket();
    let (_stop, _server) = start(&path, echo()).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    for (host, body) in [("Host: \r\n", "one"), ("Host: plugin.moby.localhost\r\n", "two"), ("Host: %2Frun%2Fdocker\r\n", "three")] {
        let request = format!("POST /Plugin.Activate HTTP/1.1\r\n{host}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = reply(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with(body), "{answer}");
    }
}

#[tokio::test]
async fn the_socket_is_for_root_alone_and_goes_with_the_daemon() {
    let (_folder, path) = socket();
    let (stop, server) = start(&path, echo()).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary name stayed");
    stop.send(true).unwrap();
    assert!(server.await.unwrap());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let (_folder, path) = socket();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a socket left behind is what this is about");
    let (_stop, _server) = start(&path, echo()).await;
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn a_live_socket_is_not_stolen() {
    let (_folder, path) = socket();
    let (_stop, _server) = start(&path, echo()).await;
    assert!(matches!(Listener::unix(&path).await, Err(Error::InUse(_))));
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_stays() {
    let (_folder, path) = socket();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(matches!(Listener::unix(&path).await, Err(Error::NoSocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_drain_finishes_the_running_request_and_takes_no_new_one() {
    let (_folder, path) = socket();
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (entered.clone(), release.clone());
    let slow = move || async move {
        inside.notify_one();
        gate.notified().await;
        "finished"
    };
    let (stop, server) = start(&path, Router::new().route("/slow", post(slow))).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let mut idle = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    entered.notified().await;
    stop.send(true).unwrap();
    // The idle connection is closed by the drain, so its end shows that the drain has begun.
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(UnixStream::connect(&path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    release.notify_one();
    let answer = reply(&mut stream).await;
    assert!(answer.ends_with("finished"), "{answer}");
    assert!(server.await.unwrap());
}
