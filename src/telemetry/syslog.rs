//! The system log: one datagram a line to `/dev/log`. Source: RFC 3164, as syslog(3) writes it.

use std::{io, os::unix::net::UnixDatagram, path::PathBuf, sync::Arc};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where syslog(3) finds it.
pub(super) const SOCKET: &str = "/dev/log";

/// Writes to the system log. A line that it does not take at once is lost: nobody may wait for a log.
#[derive(Clone)]
pub(super) struct Syslog {
    // Not connected, so that a system log that is started anew gets the next line.
    socket: Arc<UnixDatagram>,
    path: PathBuf,
    facility: u8,
}

/// One line of one level.
pub(super) struct Line {
    syslog: Syslog,
    severity: u8,
}

impl Syslog {
    pub fn open(path: impl Into<PathBuf>, facility: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Arc::new(socket), path: path.into(), facility: number(facility) })
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { syslog: self.clone(), severity: 6 }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line { syslog: self.clone(), severity: severity(meta) }
    }
}

impl io::Write for Line {
    /// The formatter hands over a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut datagram = format!("<{}>kuryr-server[{}]: ", (self.syslog.facility << 3) | self.severity, std::process::id()).into_bytes();
        datagram.extend_from_slice(line.trim_ascii_end());
        // A machine without a system log still has the other places of the log.
        let _ = self.syslog.socket.send_to(&datagram, &self.syslog.path);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The severity that stands for a level.
pub(super) fn severity(meta: &Metadata<'_>) -> u8 {
    match *meta.level() {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The facility's number by its name in any case, with or without `LOG_` before it; the user's for an unknown one.
pub(super) fn number(facility: &str) -> u8 {
    let facility = facility.to_uppercase();
    let name = facility.strip_prefix("LOG_").unwrap_or(&facility);
    let names = ["KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP"];
    if let Some(at) = names.iter().position(|known| *known == name) {
        return at as u8;
    }
    // 12 to 15 belong to the system log itself.
    name.strip_prefix("LOCAL").and_then(|at| at.parse().ok()).filter(|at| *at < 8).map_or(1, |at: u8| 16 + at)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_are_sent_with_facility_and_severity_also_after_a_restart_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let layer =
            tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(Syslog::open(&path, "LOG_LOCAL0").unwrap());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        tracing::info!("nobody listens yet");
        for _ in 0..2 {
            // A system log that is started anew has a socket of its own.
            let _ = fs::remove_file(&path);
            let log = UnixDatagram::bind(&path).unwrap();
            log.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            tracing::error!("told");
            tracing::warn!("told");
            tracing::info!("told");
            tracing::debug!("told");
            for severity in [3, 4, 6, 7] {
                let mut line = [0; 500];
                let length = log.recv(&mut line).unwrap();
                let line = String::from_utf8(line[..length].to_vec()).unwrap();
                assert!(line.starts_with(&format!("<{}>kuryr-server[{}]: ", 16 * 8 + severity, std::process::id())), "{line}");
                assert!(line.ends_with("told"), "{line}");
            }
        }
    }

    #[test]
    fn facilities_have_the_numbers_of_syslog_h() {
        for (name, wanted) in
            [("LOG_USER", 1), ("USER", 1), ("log_daemon", 3), ("LOG_FTP", 11), ("LOG_LOCAL0", 16), ("local7", 23), ("x", 1)]
        {
            assert_eq!(number(name), wanted, "{name}");
        }
    }
}
