//! The real `openstack` command of python-openstackclient, as an operator types it, against the embedded controller.
//!
//! Starting it takes a second or two, so a [`Shell`] is one process that reads its commands from a pipe. It takes `>`, `|`, `;` and a
//! leading `!` for itself, and splits a command twice: an argument with blanks is written `"'so'"`.

mod identity;
mod network;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::timeout,
};

use crate::cloud::Cloud;

/// What the shell prints on both of its outputs when a command is done.
const MARK: &str = "-- the command is done --";

/// Far longer than any command takes on a busy machine: it only keeps a broken test from hanging.
const DEADLINE: Duration = Duration::from_secs(60);

/// The `openstack` command of the machine, or `None` where it is not installed and need not be.
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
fn installed() -> Option<PathBuf> {
    let named = std::env::var_os("KURYR_OPENSTACK").map(PathBuf::from);
    if named.is_none() {
        assert!(std::env::var_os("CI").is_none(), "KURYR_OPENSTACK must name the openstack command");
        println!("skipped: KURYR_OPENSTACK names no openstack command");
    }
    named
}

/// What a text of `export NAME=VALUE` lines sets.
fn variables(openrc: &str) -> Vec<(&str, &str)> {
    let pairs = openrc.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name, value.trim_matches('\''))).collect()
}

/// One running `openstack` that takes commands.
pub struct Shell {
    child: Child,
    commands: Option<ChildStdin>,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
    home: TempDir,
}

impl Shell {
    /// As the user `admin` in the project `kuryr`, by what `kuryr controller rc` prints.
    pub fn admin(cloud: &Cloud) -> Option<Self> {
        Self::start(&variables(&cloud.controller.settings().openrc().unwrap()), None)
    }

    /// As another user of that project.
    pub fn user(cloud: &Cloud, name: &str, password: &str) -> Option<Self> {
        let openrc = cloud.controller.settings().openrc().unwrap();
        let mut variables = variables(&openrc);
        variables.extend([("OS_USERNAME", name), ("OS_PASSWORD", password)]);
        Self::start(&variables, None)
    }

    /// With these variables, of which the last of a name counts, nothing else of this process's environment, and this clouds.yaml.
    pub fn start(variables: &[(&str, &str)], clouds: Option<&str>) -> Option<Self> {
        let program = installed()?;
        let home = tempfile::tempdir().unwrap();
        let mark = home.path().join("mark");
        fs::write(&mark, format!("#!/bin/sh\necho '{MARK}'\necho '{MARK}' >&2\n")).unwrap();
        fs::set_permissions(&mark, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(clouds) = clouds {
            fs::write(home.path().join("clouds.yaml"), clouds).unwrap();
        }
        #[allow(clippy::disallowed_methods, reason = "the foreign client is what is tested with; it ends when its input does")]
        let mut command = tokio::process::Command::new(program);
        command
            .env_clear()
            .envs(variables.iter().copied())
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            // Its own output must not overtake that of the mark, and warnings about Python are not failures.
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONWARNINGS", "ignore")
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let commands = child.stdin.take();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Some(Self { child, commands, out, err, home })
    }

    /// Runs a command; what it printed and what it complained about.
    async fn run(&mut self, command: &str) -> (String, String) {
        let mark = self.home.path().join("mark");
        let line = format!("{command}\n!{}\n", mark.display());
        self.commands.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        let (out, err) = (&mut self.out, &mut self.err);
        timeout(DEADLINE, async { tokio::join!(until_mark(out), until_mark(err)) })
            .await
            .unwrap_or_else(|_| panic!("openstack {command}: no end after {DEADLINE:?}"))
    }

    /// Runs a command that must succeed; what it printed.
    pub async fn ok(&mut self, command: &str) -> String {
        let (out, err) = self.run(command).await;
        // That there is no such command is the one complaint that goes to the wrong output.
        assert!(err.is_empty() && !out.contains("is not an openstack command"), "openstack {command}\n{out}{err}");
        out
    }

    /// Runs a command that must succeed and print an object or a list: as JSON.
    pub async fn json(&mut self, command: &str) -> Value {
        let out = self.ok(&format!("{command} -f json")).await;
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("openstack {command}: {error}: {out}"))
    }

    /// Runs a command that must fail; its complaint.
    pub async fn refused(&mut self, command: &str) -> String {
        let (out, err) = self.run(command).await;
        assert_ne!(err, "", "openstack {command} succeeded: {out}");
        err
    }

    /// Ends the process.
    pub async fn close(mut self) {
        drop(self.commands.take());
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap();
    }
}

async fn until_mark<R: tokio::io::AsyncBufRead + Unpin>(lines: &mut Lines<R>) -> String {
    let mut text = String::new();
    loop {
        match lines.next_line().await.unwrap() {
            Some(line) if line == MARK => return text,
            Some(line) => {
                text.push_str(&line);
                text.push('\n');
            }
            None => panic!("the openstack command has ended: {text}"),
        }
    }
}

/// One column of a list, in the list's order.
#[track_caller]
fn column<'l>(list: &'l Value, name: &str) -> Vec<&'l str> {
    list.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap_or_else(|| panic!("no {name} in {row}"))).collect()
}

/// The column `Name` of a list.
#[track_caller]
fn names(list: &Value) -> Vec<&str> {
    column(list, "Name")
}
