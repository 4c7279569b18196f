//! The daemon behind a socket that the service manager has opened: sd_listen_fds(3).

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
};

/// Plays the service manager: opens the socket, tells that it did, and becomes the daemon with the socket as descriptor 3.
const MANAGER: &str = r#"
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(16)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
print("listening", flush=True)
os.execv(sys.argv[2], [sys.argv[2], "serve", "--embedded"])
"#;

#[test]
#[allow(clippy::disallowed_methods, reason = "the test plays the service manager")]
fn a_call_made_before_the_daemon_is_ready_is_answered_and_the_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kuryr.sock");
    let mut daemon = Command::new("python3")
        .args(["-c", MANAGER])
        .arg(&socket)
        .arg(env!("CARGO_BIN_EXE_kuryr"))
        .env("OS_KURYR__STATE_PATH", dir.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(daemon.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    let mut engine = UnixStream::connect(&socket).unwrap();
    engine.write_all(b"POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    engine.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("NetworkDriver"), "{answer}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon.id().cast_signed()), nix::sys::signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(socket.exists(), "the socket is the service manager's");
}
