//! Options of the configuration that may stand on the command line too, as oslo.log has them: made from the table of options.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::options::{Kind, OPTIONS, Opt};

/// The options given on the command line, by their names in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(pub BTreeMap<&'static str, String>);

fn flags() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(|opt| opt.flag)
}

/// `--nodebug` takes `--debug` back.
fn negative(opt: &Opt) -> String {
    format!("no{}", opt.name)
}

fn positive(opt: &'static Opt) -> Arg {
    let long = opt.name.replace('_', "-");
    // The name as in the file is understood as well, and so are the older ones in both spellings.
    let mut aliases = vec![opt.name.to_owned()];
    aliases.extend(opt.old_names.iter().flat_map(|old| [(*old).to_owned(), old.replace('_', "-")]));
    aliases.retain(|alias| *alias != long);
    aliases.sort();
    aliases.dedup();
    let arg = Arg::new(opt.name).long(long).aliases(aliases).help(opt.help.trim_end_matches('.')).hide(opt.is_without_effect());
    match opt.kind {
        Kind::Flag => arg.action(ArgAction::SetTrue).overrides_with(negative(opt)),
        _ => arg.action(ArgAction::Set).value_name(opt.name.to_uppercase()),
    }
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for opt in flags() {
            let arg = positive(opt);
            command = command.arg(if opt.name == "debug" { arg.short('d') } else { arg });
            if opt.kind == Kind::Flag {
                let long = negative(opt).replace('_', "-");
                let arg = Arg::new(negative(opt)).long(long).alias(negative(opt)).action(ArgAction::SetTrue).hide(true);
                command = command.arg(arg.overrides_with(opt.name));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = BTreeMap::new();
        for opt in flags() {
            let value = match opt.kind {
                Kind::Flag if matches.get_flag(opt.name) => Some("true".to_owned()),
                Kind::Flag if matches.get_flag(&negative(opt)) => Some("false".to_owned()),
                Kind::Flag => None,
                _ => matches.get_one::<String>(opt.name).cloned(),
            };
            given.extend(value.map(|value| (opt.name, value)));
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn given(args: &str) -> Vec<(&'static str, String)> {
        let matches =
            Flags::augment_args(Command::new("x")).try_get_matches_from(["x"].into_iter().chain(args.split_whitespace())).unwrap();
        Flags::from_arg_matches(&matches).unwrap().0.into_iter().collect()
    }

    #[test]
    fn the_flags_of_oslo_log_are_understood_in_every_spelling() {
        Flags::augment_args(Command::new("x")).debug_assert();
        for (args, name, value) in [
            ("-d", "debug", "true"),
            ("--debug", "debug", "true"),
            ("--debug --nodebug", "debug", "false"),
            ("--log-file /x", "log_file", "/x"),
            ("--logfile=/x", "log_file", "/x"),
            ("--log_file /x", "log_file", "/x"),
            ("--log-dir /x", "log_dir", "/x"),
            ("--logdir /x", "log_dir", "/x"),
            ("--use-syslog", "use_syslog", "true"),
            ("--nouse-syslog", "use_syslog", "false"),
            ("--syslog-log-facility LOG_LOCAL0", "syslog_log_facility", "LOG_LOCAL0"),
            ("--use-json", "use_json", "true"),
            ("--log-config /x", "log_config_append", "/x"),
            ("--log-config-append /x", "log_config_append", "/x"),
            ("--watch-log-file", "watch_log_file", "true"),
        ] {
            assert_eq!(given(args), [(name, value.to_owned())], "{args}");
        }
        assert_eq!(given(""), []);
    }
}
