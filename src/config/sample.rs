//! A commented file with every option.

use std::fmt::Write;

use super::options::{Kind, OPTIONS};

/// The text of `kuryr config sample`: every option with help, kind, default and older names, commented out.
pub fn sample() -> String {
    let mut out = String::new();
    let mut group = "";
    for opt in OPTIONS {
        if opt.group != group {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = opt.group;
            let _ = writeln!(out, "{gap}[{group}]");
        }
        let kind = match opt.kind {
            Kind::Text => "text".to_owned(),
            other => other.allowed(),
        };
        let _ = writeln!(out, "\n# {} ({kind})", opt.help);
        if let Some(variable) = opt.default_env {
            let _ = writeln!(out, "# Default: the environment variable {variable}, if it is set.");
        }
        if !opt.old_names.is_empty() {
            let _ = writeln!(out, "# Older names: {}", opt.old_names.join(", "));
        }
        let _ = match opt.default {
            Some(value) => writeln!(out, "#{} = {value}", opt.name),
            None => writeln!(out, "#{} = <unset>", opt.name),
        };
    }
    out
}
