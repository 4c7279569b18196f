//! `kuryr serve`.

use super::{config::Files, controller::Address, log};
use crate::{app, config::Config};

/// Arguments of `kuryr serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: Files,
    /// Be the cloud as well: run the embedded Keystone and Neutron for this one machine
    #[arg(long)]
    embedded: bool,
    #[command(flatten)]
    address: Address,
}

/// Reads the configuration, sets up logging and runs the daemon until it is told to stop.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.files.sources())?;
    log::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let embedded = args.embedded.then(|| args.address.settings(&config));
    runtime.block_on(app::serve(config, embedded))?;
    Ok(())
}
