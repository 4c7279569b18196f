//! The journal of systemd: one datagram a line to `/run/systemd/journal/socket`. Sources: systemd's `JOURNAL_NATIVE_PROTOCOL`; the names of the
//! fields are those of oslo.log's `OSJournalHandler`.

use std::{io, os::unix::net::UnixDatagram, path::PathBuf, sync::Arc};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::{line, syslog};

/// Where sd_journal_send(3) finds it.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// Bytes of a line that are sent: what is longer would need a file in memory in place of a datagram.
const LONGEST: usize = 64 * 1024;

/// Writes to the journal; what it does not take at once goes to stderr, since nobody may wait for a log.
#[derive(Clone)]
pub(super) struct Journal {
    // Not connected, so that a journal that is started anew gets the next line.
    socket: Arc<UnixDatagram>,
    path: PathBuf,
    facility: u8,
}

/// One line of one event.
pub(super) struct Line {
    journal: Journal,
    /// All fields but the message.
    fields: Vec<u8>,
}

impl Journal {
    pub fn open(path: impl Into<PathBuf>, facility: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Arc::new(socket), path: path.into(), facility: syslog::number(facility) })
    }

    fn line(&self, described: &[(&str, &str)]) -> Line {
        let mut fields = Vec::new();
        field(&mut fields, "SYSLOG_IDENTIFIER", b"kuryr-server");
        field(&mut fields, "SYSLOG_FACILITY", self.facility.to_string().as_bytes());
        for (name, value) in described {
            field(&mut fields, name, value.as_bytes());
        }
        Line { journal: self.clone(), fields }
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        self.line(&[])
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        let (priority, at) = (syslog::severity(meta).to_string(), meta.line().unwrap_or_default().to_string());
        self.line(&[
            ("PRIORITY", &priority),
            ("LOGGER_NAME", meta.target()),
            ("LOGGER_LEVEL", line::level(meta)),
            ("CODE_FILE", meta.file().unwrap_or_default()),
            ("CODE_LINE", &at),
        ])
    }
}

impl io::Write for Line {
    /// The formatter hands over a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = line.trim_ascii_end();
        let mut datagram = std::mem::take(&mut self.fields);
        field(&mut datagram, "MESSAGE", &text[..text.len().min(LONGEST)]);
        if self.journal.socket.send_to(&datagram, &self.journal.path).is_err() {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A field in the form for any bytes: its name, a newline, the length in 64 bits from the lowest on, the value, a newline.
fn field(datagram: &mut Vec<u8>, name: &str, value: &[u8]) {
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, time::Duration};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The fields of a datagram, read as systemd's journal reads them.
    fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = datagram.iter().position(|b| *b == b'\n') {
            let name = String::from_utf8(datagram[..end].to_vec()).unwrap();
            let (length, rest) = datagram[end + 1..].split_at(8);
            let (value, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            fields.insert(name, String::from_utf8(value.to_vec()).unwrap());
            datagram = rest.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    #[test]
    fn events_have_the_fields_of_oslo_log_also_after_a_restart_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let layer =
            tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(Journal::open(&path, "LOG_LOCAL1").unwrap());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        tracing::info!("nobody listens yet");
        for _ in 0..2 {
            let _ = fs::remove_file(&path);
            let journal = UnixDatagram::bind(&path).unwrap();
            journal.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            tracing::warn!(target: "kuryr::core", "two\nlines");
            tracing::error!("{}", "x".repeat(2 * LONGEST));
            let mut datagram = vec![0; 4 * LONGEST];
            let length = journal.recv(&mut datagram).unwrap();
            let found = fields(&datagram[..length]);
            let told = ["PRIORITY", "LOGGER_NAME", "LOGGER_LEVEL", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER"].map(|name| found[name].as_str());
            assert_eq!(told, ["4", "kuryr::core", "WARNING", "17", "kuryr-server"]);
            assert!(found["MESSAGE"].ends_with("two\nlines") && found["CODE_FILE"].ends_with("journal.rs"), "{found:?}");
            assert_ne!(found["CODE_LINE"], "0");
            let length = journal.recv(&mut datagram).unwrap();
            let found = fields(&datagram[..length]);
            assert_eq!((found["MESSAGE"].len(), found["PRIORITY"].as_str()), (LONGEST, "3"));
        }
    }
}
