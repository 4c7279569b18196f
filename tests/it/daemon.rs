//! The program as a process of its own, with its log.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    /// `kuryr serve` with these further arguments and variables; its journal is in `state`.
    #[allow(clippy::disallowed_methods, reason = "the test is about the program")]
    pub fn start<V: AsRef<OsStr>>(state: &Path, args: &[&str], environment: &[(&str, V)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kuryr"))
            .arg("serve")
            .args(args)
            .env("OS_KURYR__STATE_PATH", state)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads the log as far as a line with `text` in it.
    pub fn logs(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the daemon ended before it said '{text}'");
        }
        line
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        std::io::copy(&mut self.log, &mut std::io::sink()).unwrap();
        self.child.wait().unwrap()
    }

    pub fn end(self) {
        self.signal(Signal::SIGTERM);
        assert!(self.wait().success());
    }
}

impl Drop for Daemon {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Sends one request over a connection, which is then closed, and returns the whole answer.
pub fn ask(stream: &mut (impl Read + Write), request: &str, body: &str) -> String {
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
