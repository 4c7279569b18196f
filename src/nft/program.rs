//! Running `nft` and `iptables` with a deadline.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How many characters of a refused line a message quotes.
const LONGEST_QUOTE: usize = 300;

/// How long our programs are remembered: longer than it takes to hear of their changes, shorter than until a process id comes again.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The process ids of the programs that were run last, oldest first.
static OURS: Mutex<VecDeque<(Instant, u32)>> = Mutex::new(VecDeque::new());

fn remember(id: u32) {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    while ours.front().is_some_and(|(since, _)| since.elapsed() > REMEMBERED) {
        ours.pop_front();
    }
    ours.push_back((Instant::now(), id));
}

/// Whether the process is, or was lately, a program run by this module.
pub(super) fn is_ours(id: u32) -> bool {
    OURS.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(_, ours)| *ours == id)
}

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with status 0.
    pub success: bool,
    /// What it wrote to its standard error.
    pub complaint: String,
}

/// A ruleset could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be run.
    #[error("cannot run '{program}': {source}; install the Debian packages nftables and iptables, and see that /usr/sbin is in PATH")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("'{program}' did not end within {} seconds and was stopped; look for another program that holds the firewall's lock", .deadline.as_secs())]
    Timeout {
        /// Its name.
        program: String,
        /// The time it had.
        deadline: Duration,
    },
    /// It refused.
    #[error("'{program}' refused the rules: {complaint}{}", .line.as_ref().map(|line| format!(" (line: {})", quote(line))).unwrap_or_default())]
    Refused {
        /// Name and arguments.
        program: String,
        /// What it wrote.
        complaint: String,
        /// The line of the ruleset it points to, in full.
        line: Option<String>,
    },
}

/// Runs a program in the calling thread's network namespace and reports how it ended.
pub fn run(program: &str, arguments: &[&str], input: &str, deadline: Duration) -> Result<Output, Error> {
    let failed = |source| Error::Start { program: program.to_owned(), source };
    #[allow(clippy::disallowed_methods, reason = "the firewall's own programs are the stable way to it; they run with a deadline")]
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Before it can read, and so before it can change, anything.
    remember(child.id());
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let (done, ended) = mpsc::channel();
    let input = input.to_owned();
    let pump = thread::spawn(move || {
        // A program that stops reading says why on its standard error.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes());
        }
        let mut complaint = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_end(&mut complaint);
        }
        let _ = done.send(String::from_utf8_lossy(&complaint).into_owned());
    });
    let complaint = ended.recv_timeout(deadline);
    if complaint.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let _ = pump.join();
    match complaint {
        Ok(complaint) => Ok(Output { success: status.success(), complaint }),
        Err(_) => Err(Error::Timeout { program: program.to_owned(), deadline }),
    }
}

/// Runs a program that has to succeed.
pub(super) fn succeed(program: &str, arguments: &[&str], input: &str, deadline: Duration) -> Result<(), Error> {
    let output = run(program, arguments, input, deadline)?;
    if output.success {
        return Ok(());
    }
    let line =
        failing_line(&output.complaint).and_then(|number| input.lines().nth(number.checked_sub(1)?)).map(|line| line.trim().to_owned());
    let complaint = output.complaint.lines().next().unwrap_or("it gave no reason").to_owned();
    Err(Error::Refused { program: format!("{program} {}", arguments.join(" ")), complaint, line })
}

/// A line fit for a message: a rule over thousands of addresses is one line.
fn quote(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The line number in nft's `/dev/stdin:12:3-14: Error: …`.
fn failing_line(complaint: &str) -> Option<usize> {
    complaint.split_once("/dev/stdin:")?.1.split(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_failing_line() {
        let error = succeed("nft", &["-c", "-f", "-"], "table inet kuryr {\n  nonsense here\n}\n", Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("(line: nonsense here)"), "{error}");
    }

    #[test]
    fn a_long_line_is_quoted_in_part() {
        assert_eq!(quote(&format!("  {}", "ä".repeat(300))), "ä".repeat(300));
        assert_eq!(quote(&"ä".repeat(301)), format!("{}…", "ä".repeat(300)));
    }

    #[test]
    fn a_missing_program_names_the_package() {
        let error = run("kuryr-no-such-program", &[], "", Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("nftables"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let error = run("sleep", &["600"], "", Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
