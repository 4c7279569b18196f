//! Logging: set up once by the program, used everywhere through `tracing`.
//!
//! Lines look as oslo.log writes them: `YYYY-MM-DD HH:MM:SS.mmm PID LEVEL target [-] message`, or its JSON, with the time in UTC.

mod file;
mod journal;
mod line;
mod syslog;

use std::{io, path::PathBuf};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::Targets,
    fmt::writer::{BoxMakeWriter, MakeWriterExt},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::{file::LogFile, journal::Journal, line::OsloLine, syslog::Syslog};

/// What to log and where.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Log debug messages too.
    pub debug: bool,
    /// Append to this file instead of stderr; it is opened anew when it was renamed.
    pub file: Option<PathBuf>,
    /// Log to stderr too when there is a file.
    pub stderr: bool,
    /// Write one JSON object a line.
    pub json: bool,
    /// Log to the system log as well, under this facility: `LOG_USER` and the like, in any case, with or without the prefix.
    pub syslog: Option<String>,
    /// Log to systemd's journal as well, under this facility, and to stderr then only if `stderr` says so.
    pub journal: Option<String>,
    /// `target=LEVEL` items that hold for single targets; an item that is not of this form is passed over.
    pub levels: Vec<String>,
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file cannot be opened.
    #[error("cannot append to the log file {}: {source}; make its directory or set log_file to another path", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// There is no socket to be had for the system log.
    #[error("cannot log to the system log: {0}; unset use_syslog")]
    Syslog(io::Error),
    /// There is no socket to be had for the journal.
    #[error("cannot log to the journal: {0}; unset use_journal")]
    Journal(io::Error),
    /// A subscriber is there already.
    #[error("logging was set up twice in one process")]
    Twice,
}

/// Sends the process's log where `settings` say.
///
/// # Errors
/// A log file that cannot be opened; a second call.
pub fn start(settings: &Settings) -> Result<(), Error> {
    let level = if settings.debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let levels =
        settings.levels.iter().filter_map(|item| item.split_once('=')).filter_map(|(t, l)| Some((t.trim(), level_named(l.trim())?)));
    let filter = Targets::new().with_default(level).with_targets(levels);
    let mut writer = match &settings.file {
        None if settings.journal.is_some() && !settings.stderr => BoxMakeWriter::new(io::sink),
        None => BoxMakeWriter::new(io::stderr),
        Some(path) => {
            let file = LogFile::open(path).map_err(|source| Error::Open { path: path.clone(), source })?;
            if settings.stderr { BoxMakeWriter::new(file.and(io::stderr)) } else { BoxMakeWriter::new(file) }
        }
    };
    if let Some(facility) = &settings.syslog {
        writer = BoxMakeWriter::new(writer.and(Syslog::open(syslog::SOCKET, facility).map_err(Error::Syslog)?));
    }
    if let Some(facility) = &settings.journal {
        writer = BoxMakeWriter::new(writer.and(Journal::open(journal::SOCKET, facility).map_err(Error::Journal)?));
    }
    let line = OsloLine { pid: std::process::id(), json: settings.json };
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).event_format(line).with_writer(writer);
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|_| Error::Twice)
}

/// A level by Python's name or number for it.
fn level_named(name: &str) -> Option<LevelFilter> {
    if let Ok(number) = name.parse::<i64>() {
        return Some(match number {
            ..=5 => LevelFilter::TRACE,
            6..=10 => LevelFilter::DEBUG,
            11..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            31..=50 => LevelFilter::ERROR,
            // Above everything that is ever said.
            51.. => LevelFilter::OFF,
        });
    }
    Some(match name.to_uppercase().as_str() {
        "TRACE" | "NOTSET" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "ERROR" | "CRITICAL" | "FATAL" => LevelFilter::ERROR,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One process, one subscriber: the runner gives every test a process of its own.
    #[test]
    fn lines_look_as_oslo_log_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kuryr.log");
        std::fs::write(&path, "before\n").unwrap();
        let levels = ["quiet=WARN", "loud=DEBUG", "odd", "x=y"].map(str::to_owned).to_vec();
        start(&Settings { file: Some(path.clone()), levels, ..Settings::default() }).unwrap();
        tracing::warn!(target: "kuryr::core", port = 7, "gone");
        tracing::debug!(target: "kuryr::core", "hidden");
        tracing::info!(target: "quiet", "hidden");
        tracing::debug!(target: "loud", "heard");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "before");
        let (stamp, rest) = lines[1].split_at(23);
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00:00.000");
        assert_eq!(rest, format!(" {} WARNING kuryr::core [-] gone port=7", std::process::id()));
        assert!(lines[2].ends_with("DEBUG loud [-] heard"), "{text}");
        assert!(matches!(start(&Settings::default()), Err(Error::Twice)));
    }

    /// A level of Python's lets pass what is at least as grave.
    #[test]
    fn levels_have_the_names_and_numbers_of_python() {
        for (name, level) in [
            ("TRACE", LevelFilter::TRACE),
            ("5", LevelFilter::TRACE),
            ("0", LevelFilter::TRACE),
            ("debug", LevelFilter::DEBUG),
            ("10", LevelFilter::DEBUG),
            ("15", LevelFilter::INFO),
            ("20", LevelFilter::INFO),
            ("+21", LevelFilter::WARN),
            ("30", LevelFilter::WARN),
            ("40", LevelFilter::ERROR),
            ("CRITICAL", LevelFilter::ERROR),
            ("50", LevelFilter::ERROR),
            ("99", LevelFilter::OFF),
        ] {
            assert_eq!(level_named(name), Some(level), "{name}");
        }
        assert_eq!([level_named("loud"), level_named("1.5"), level_named("")], [None; 3]);
    }

    #[test]
    fn json_lines_have_the_names_of_oslo_logs_formatter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kuryr.log");
        start(&Settings { file: Some(path.clone()), json: true, ..Settings::default() }).unwrap();
        tracing::warn!(target: "kuryr::core", port = 7, who = "me", gone = true, ms = 12_u128, "a \"quoted\"\nline");
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(
            (&line["levelname"], &line["name"], &line["process"]),
            (&"WARNING".into(), &"kuryr::core".into(), &std::process::id().into())
        );
        assert_eq!(
            (&line["message"], &line["extra"]),
            (&"a \"quoted\"\nline".into(), &serde_json::json!({"port": 7, "who": "me", "gone": true, "ms": 12}))
        );
        assert!(line["asctime"].is_string() && line["created"].is_f64());
    }

    #[test]
    fn a_log_file_that_was_taken_away_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let says = |name: &str| std::fs::read_to_string(at(name)).unwrap().lines().filter_map(|l| l.chars().last()).collect::<String>();
        std::fs::create_dir(at("log")).unwrap();
        start(&Settings { file: Some(at("log/kuryr.log")), ..Settings::default() }).unwrap();
        tracing::info!("1");
        // As logrotate does it with `create`, then with `nocreate`.
        std::fs::rename(at("log/kuryr.log"), at("log/kuryr.log.1")).unwrap();
        std::fs::write(at("log/kuryr.log"), "").unwrap();
        tracing::info!("2");
        tracing::info!("3");
        std::fs::rename(at("log/kuryr.log"), at("log/kuryr.log.2")).unwrap();
        tracing::info!("4");
        assert_eq!((says("log/kuryr.log.1"), says("log/kuryr.log.2"), says("log/kuryr.log")), ("1".into(), "23".into(), "4".into()));
        // While it cannot be opened nothing is lost.
        std::fs::rename(at("log"), at("gone")).unwrap();
        tracing::info!("5");
        assert_eq!(says("gone/kuryr.log"), "45");
        std::fs::create_dir(at("log")).unwrap();
        tracing::info!("6");
        assert_eq!((says("gone/kuryr.log"), says("log/kuryr.log")), ("45".into(), "6".into()));
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let settings = Settings { file: Some("/nonexistent/kuryr.log".into()), ..Settings::default() };
        assert!(start(&settings).unwrap_err().to_string().contains("/nonexistent/kuryr.log"));
    }
}
