//! `kuryr config show` and `kuryr config sample`.

use std::path::PathBuf;

use super::flags::Flags;
use crate::config::{self, Sources};

/// Arguments of `kuryr config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the configuration in effect and where each value comes from, without secrets
    Show(Files),
    /// Print a commented configuration file with every option
    Sample,
}

/// Which files to read; `serve` takes the same.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Files {
    /// Read this file; may be given again, the later one wins
    #[arg(long, value_name = "FILE")]
    pub config_file: Vec<PathBuf>,
    /// Read the *.conf files of this directory, in order of their names, after the files
    #[arg(long, value_name = "DIR")]
    pub config_dir: Vec<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl Files {
    /// The sources of the configuration, with the environment of the process. A variable that is not UTF-8 is left out.
    pub fn sources(self) -> Sources {
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Sources { command_line: self.flags.0, ..Sources::new(self.config_file, self.config_dir, environment) }
    }
}

/// Prints what was asked for.
///
/// # Errors
/// As [`config::Config::load`].
#[allow(clippy::print_stdout, reason = "printing is what the command is for")]
pub fn run(args: Args) -> Result<(), config::Error> {
    match args.verb {
        Verb::Show(files) => print!("{}", config::show::show(&files.sources())?),
        Verb::Sample => print!("{}", config::sample::sample()),
    }
    Ok(())
}
