//! `kuryr controller`: the embedded Keystone and Neutron by itself, and its openrc.

use std::net::SocketAddr;

use ipnet::Ipv4Net;

use super::{config::Files, log};
use crate::{
    app,
    config::Config,
    controller::{Controller, ControllerSettings},
    journal::Journal,
    netlink,
};

/// Arguments of `kuryr controller`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the environment with which the openstack client reaches it as the user admin
    Rc(Place),
    /// Remove what it has built on this machine and forget all it knows; the daemon must not run
    Purge(Files),
}

#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    address: Address,
}

/// Where the controller answers and what it makes; `kuryr serve --embedded` takes the same.
#[derive(Debug, clap::Args)]
pub(super) struct Address {
    /// Where the embedded controller answers
    #[arg(long, default_value = "127.0.0.1:9696")]
    listen: SocketAddr,
    /// Range of the external network that the embedded controller makes at first start
    #[arg(long, default_value = "172.24.4.0/24")]
    external_cidr: Ipv4Net,
}

impl Address {
    /// The settings of a controller that keeps its state beside the daemon's.
    pub(super) fn settings(&self, config: &Config) -> ControllerSettings {
        ControllerSettings {
            state_dir: config.state_path.join("controller"),
            listen: self.listen,
            host: config.host.clone(),
            external_cidr: self.external_cidr,
        }
    }
}

impl Place {
    fn settings(self) -> anyhow::Result<ControllerSettings> {
        let config = Config::load(&self.files.sources())?;
        Ok(self.address.settings(&config))
    }
}

/// Runs the controller until it is told to stop, or prints what was asked for.
#[allow(clippy::print_stdout, reason = "printing is what the command is for")]
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Some(Verb::Rc(place)) => {
            print!("{}", place.settings()?.openrc()?);
            return Ok(());
        }
        Some(Verb::Purge(files)) => return purge(&files),
        None => {}
    }
    let Place { files, address } = args.place;
    let config = Config::load(&files.sources())?;
    log::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let controller = Controller::open(address.settings(&config))?;
    netlink::check_capability(netlink::Capability::NetAdmin)?;
    netlink::check_capability(netlink::Capability::SysAdmin)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address.listen).await?;
        let _datapath = controller.start_datapath()?;
        let ended = app::await_signal();
        let stop = async {
            match ended {
                Ok(ended) => ended.await,
                // It then runs until it is killed, which its database bears.
                Err(_) => std::future::pending().await,
            }
        };
        controller.serve(listener, stop).await?;
        Ok(())
    })
}

/// The daemon's promises end with the cloud that they were made of, so its journal goes as well.
fn purge(files: &Files) -> anyhow::Result<()> {
    let config = Config::load(&files.clone().sources())?;
    // Refused while a daemon holds the state.
    let held = Journal::open(&config.state_path)?;
    let controller = config.state_path.join("controller");
    Controller::forget(&controller)?;
    drop(held);
    // Only what kuryr has put there: the operator may have chosen a directory with other things in it.
    for entry in std::fs::read_dir(&config.state_path)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "lock" || name.to_string_lossy().starts_with("journal.db")) {
            std::fs::remove_file(path)?;
        }
    }
    let _ = std::fs::remove_dir(&config.state_path);
    Ok(())
}
