//! `kuryr generate`, for those who make packages: manual pages and shell completions out of the commands themselves.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

/// Arguments of `kuryr generate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write the manual pages, kuryr.1 and one for each command
    Man {
        /// The directory to write to
        directory: PathBuf,
    },
    /// Write completions for bash, fish and zsh
    Completions {
        /// The directory to write to
        directory: PathBuf,
    },
}

/// Writes what was asked for.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (Verb::Man { directory } | Verb::Completions { directory }) = &args.verb;
    let failed = || format!("cannot write to {}", directory.display());
    fs::create_dir_all(directory).with_context(failed)?;
    let mut command = super::Command::command();
    match &args.verb {
        Verb::Man { .. } => clap_mangen::generate_to(command, directory).with_context(failed)?,
        Verb::Completions { .. } => {
            for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
                clap_complete::generate_to(shell, &mut command, "kuryr", directory).with_context(failed)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_for_people_has_a_page_and_a_completion() {
        let folder = tempfile::tempdir().unwrap();
        let directory = || folder.path().join("made");
        run(Args { verb: Verb::Man { directory: directory() } }).unwrap();
        run(Args { verb: Verb::Completions { directory: directory() } }).unwrap();
        let text = |name: &str| fs::read_to_string(directory().join(name)).unwrap();
        for command in super::super::Command::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(text(&format!("kuryr-{name}.1")).contains(".SH SYNOPSIS"), "{name}");
            for file in ["kuryr.bash", "kuryr.fish", "_kuryr"] {
                assert!(text(file).contains(name), "{file} does not know {name}");
            }
        }
        assert!(!directory().join("kuryr-generate.1").exists(), "a command for packagers alone");
    }
}
