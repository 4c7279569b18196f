//! Logging: set up once by the program, used everywhere through `tracing`.
//!
//! Lines look as oslo.log writes them: `YYYY-MM-DD HH:MM:SS.mmm PID LEVEL target [-] message`, with the time in UTC.

use std::{fmt, fs::OpenOptions, io, path::PathBuf, sync::Arc};

use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, writer::MakeWriterExt},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// What to log and where.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Log debug messages too.
    pub debug: bool,
    /// Append to this file instead of stderr.
    pub file: Option<PathBuf>,
    /// Log to stderr too when there is a file.
    pub stderr: bool,
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
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).event_format(OsloLine { pid: std::process::id() });
    let registry = tracing_subscriber::registry().with(filter);
    let started = match &settings.file {
        None => registry.with(layer.with_writer(io::stderr)).try_init(),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = Arc::new(file.map_err(|source| Error::Open { path: path.clone(), source })?);
            if settings.stderr {
                registry.with(layer.with_writer(file.and(io::stderr))).try_init()
            } else {
                registry.with(layer.with_writer(file)).try_init()
            }
        }
    };
    started.map_err(|_| Error::Twice)
}

/// A level by Python's name for it.
fn level_named(name: &str) -> Option<LevelFilter> {
    Some(match name.to_uppercase().as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "ERROR" | "CRITICAL" => LevelFilter::ERROR,
        _ => return None,
    })
}

/// The line format of oslo.log.
struct OsloLine {
    pid: u32,
}

impl<S, N> FormatEvent<S, N> for OsloLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = time::OffsetDateTime::now_utc();
        let (date, clock) = (now.date(), now.time());
        let level = match *event.metadata().level() {
            Level::WARN => "WARNING",
            other => other.as_str(),
        };
        write!(writer, "{date} {:02}:{:02}:{:02}.{:03} ", clock.hour(), clock.minute(), clock.second(), clock.millisecond())?;
        write!(writer, "{} {level} {} [-] ", self.pid, event.metadata().target())?;
        ctx.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
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

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let settings = Settings { file: Some("/nonexistent/kuryr.log".into()), ..Settings::default() };
        assert!(start(&settings).unwrap_err().to_string().contains("/nonexistent/kuryr.log"));
    }
}
