//! The oslo.config file grammar, the table of options and the effective configuration.
//!
//! [`Config::load`] is what the program uses; [`show`](show::show) and [`sample`](sample::sample) print for an operator.

use std::path::PathBuf;

mod effective;
mod kind;
pub mod options;
pub mod oslo;
mod port_driver;
mod reader;
pub mod sample;
pub mod show;
pub mod sources;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrong_values;

pub use effective::{Auth, Config, Log, NamedFile, Neutron, PortPool, Secret, Spec, Ssl};
pub use port_driver::{LinkIface, PortDriver, PortDrivers};
pub use sources::{Origin, Settings, Sources, distance};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read the configuration {}: {source}; name a file that exists and that kuryr may read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A line is not of the grammar. Its text is not repeated: it may hold a password.
    #[error("{}:{line}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: oslo::SyntaxError,
    },
    /// A value is not of its option's kind.
    #[error("{origin}: [{group}] {option} = {value}: allowed is {allowed}")]
    Value {
        /// Where the value stands.
        origin: Origin,
        /// The section.
        group: String,
        /// The option.
        option: &'static str,
        /// The value, `****` for a secret.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// A value does not go with others.
    #[error("{origin}: [{group}] {option} = {value} {reason}")]
    Unfit {
        /// Where the value stands.
        origin: Origin,
        /// The section.
        group: &'static str,
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// With what it does not go, and the remedy.
        reason: String,
    },
    /// A `$name` in a value cannot be replaced.
    #[error("{origin}: [{group}] {option}: ${name} {why}")]
    Reference {
        /// Where the value stands.
        origin: Origin,
        /// The section.
        group: String,
        /// The option.
        option: &'static str,
        /// The name behind the dollar sign.
        name: String,
        /// What is wrong with it, and the remedy.
        why: &'static str,
    },
}

impl Config {
    /// Reads files and environment into the configuration in effect. Every option is checked, also one without effect.
    ///
    /// # Errors
    /// A file that cannot be read, a line outside the grammar, a wrong value, a `$name` that names nothing.
    pub fn load(sources: &Sources) -> Result<Self, Error> {
        let mut settings = Settings::read(sources)?;
        for opt in options::OPTIONS {
            let Some(found) = settings.get(opt)? else { continue };
            if opt.is_without_effect() && found.origin != Origin::Default && !opt.is_default(&found.text) {
                settings
                    .warnings
                    .push(format!("{}: [{}] {} is accepted, but kuryr does nothing with it", found.origin, opt.group, opt.name));
            }
        }
        reader::Reader(&settings).config()
    }
}
