//! Logging as the configuration wants it, for the commands that stay.

use crate::{config::Config, telemetry};

/// Opens the log and puts into it what the operator should know about the configuration.
pub(super) fn start(config: &Config) -> Result<(), telemetry::Error> {
    telemetry::start(&telemetry::Settings {
        debug: config.log.debug,
        file: config.log.file.clone(),
        stderr: config.log.stderr,
        json: config.log.json,
        syslog: config.log.syslog.clone(),
        journal: config.log.journal.clone(),
        levels: config.log.levels.clone(),
    })?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(())
}
