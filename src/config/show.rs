//! The configuration in effect as a file, each value with the place it comes from.

use std::fmt::Write;

use super::{Error, Settings, Sources, options::OPTIONS};

/// The text of `kuryr config show`. Secrets appear as `****`.
///
/// # Errors
/// As [`super::Config::load`].
pub fn show(sources: &Sources) -> Result<String, Error> {
    let settings = Settings::read(sources)?;
    let mut out = String::new();
    let mut group = "";
    for opt in OPTIONS {
        if opt.group != group {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = opt.group;
            let _ = writeln!(out, "{gap}[{group}]");
        }
        let _ = match settings.get(opt)? {
            None => writeln!(out, "# unset: {}", opt.name),
            Some(s) if opt.secret => writeln!(out, "# {}\n{} = ****", s.origin, opt.name),
            Some(s) => writeln!(out, "# {}\n{} = {}", s.origin, opt.name, written(&s.text)),
        };
    }
    Ok(out)
}

/// A value as it must stand in a file so that it is read back the same.
pub(super) fn written(text: &str) -> String {
    let text = text.replace('$', "$$").replace('\n', "\n    ");
    // Blanks or quotes at the ends would be taken away.
    let quote = |c: char| c == '"' || c == '\'';
    if text != text.trim() || (text.starts_with(quote) && text.ends_with(quote)) { format!("\"{text}\"") } else { text }
}
