//! Packet filter rulesets, applied as one transaction and never read back.

mod program;
pub mod table;
pub mod watch;

use std::time::Duration;

pub use program::{Error, Output, run};
pub use table::{Set, Table};
pub use watch::{News, Watch};

/// How long `nft` or `iptables` may take. A ruleset of 500 ports takes well under a second.
const DEADLINE: Duration = Duration::from_secs(20);

/// Applies a ruleset to the calling thread's network namespace: all of it or nothing.
pub fn apply(ruleset: &str) -> Result<(), Error> {
    program::succeed("nft", &["-f", "-"], ruleset, DEADLINE)
}

/// Whether the table is there; a cheap look that lists no content of it.
pub fn has_table(family: &str, name: &str) -> Result<bool, Error> {
    Ok(run("nft", &["-t", "list", "table", family, name], "", DEADLINE)?.success)
}

/// Runs `iptables` or `ip6tables` (the programs the engine uses, so that both write to the same backend) and waits for its lock.
pub fn iptables(program: &str, arguments: &[&str]) -> Result<Output, Error> {
    let mut all = vec!["-w", "10"];
    all.extend_from_slice(arguments);
    run(program, &all, "", DEADLINE)
}

/// Applies rules in the form of `iptables-save`, in one transaction, beside the rules of others.
pub fn iptables_restore(program: &str, rules: &str) -> Result<(), Error> {
    program::succeed(&format!("{program}-restore"), &["-w", "10", "--noflush"], rules, DEADLINE)
}
