//! Operator commands and how they print.

pub mod config;
mod controller;
mod flags;
mod gc;
mod generate;
mod log;
mod serve;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

/// Containers with their own ports on OpenStack Neutron networks.
#[derive(Debug, Parser)]
#[command(name = "kuryr", version, about, propagate_version = true)]
struct Command {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, clap::Subcommand)]
enum Noun {
    /// Run the daemon: Docker's network and address management plugin
    Serve(serve::Args),
    /// Run the embedded Keystone and Neutron API by itself
    Controller(controller::Args),
    /// Show the configuration
    Config(config::Args),
    /// Look for what belongs to nobody, and remove what has for ten minutes, as the daemon does once a minute
    Gc(gc::Args),
    /// Write manual pages and shell completions, for packages
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Runs the command line `args`, the program's name first, and returns the exit code of the process. Called as `kuryr-server`, the
/// program's name of kuryr-libnetwork, it is `kuryr serve`.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.collect();
    let old_name = args.first().is_some_and(|name| std::path::Path::new(name).file_name().is_some_and(|name| name == "kuryr-server"));
    if old_name {
        args.insert(1, "serve".into());
    }
    let command = match Command::try_parse_from(args) {
        Ok(command) => command,
        Err(error) => {
            // A closed output is nobody's loss.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match command.noun {
        Noun::Serve(args) => serve::run(args),
        Noun::Controller(args) => controller::run(args),
        Noun::Gc(args) => gc::run(args),
        Noun::Generate(args) => generate::run(args),
        Noun::Config(args) => config::run(args).map_err(anyhow::Error::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[allow(clippy::print_stderr, reason = "the person at the terminal has to see why")]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("kuryr: {error:#}");
    ExitCode::FAILURE
}
