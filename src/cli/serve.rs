//! `kuryr serve`.

use super::config::Files;
use crate::{app, config::Config, telemetry};

/// Reads the configuration, sets up logging and runs the daemon until it is told to stop.
pub(super) fn run(files: Files) -> anyhow::Result<()> {
    let config = Config::load(&files.sources())?;
    telemetry::start(&telemetry::Settings {
        debug: config.log.debug,
        file: config.log.file.clone(),
        stderr: config.log.stderr,
        levels: config.log.levels.clone(),
    })?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::serve(config))?;
    Ok(())
}
