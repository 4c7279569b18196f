//! The file grammar of oslo.config: what its `iniparser.BaseParser` accepts, with the same answers.
//!
//! A comment stands only at the start of a line, so a value keeps `#`, `;` and `%`. A line that begins with a blank continues the value
//! above it. Sections and keys may repeat: every assignment is kept in order, and the reader decides that the last one wins.

/// One `key = value` of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The section's name as written, without brackets.
    pub section: String,
    /// The key as written; oslo.config compares it with case.
    pub key: String,
    /// The value without one pair of outer quotes, continuation lines joined by a line feed.
    pub value: String,
    /// The line of the key, counted from 1.
    pub line: usize,
}

/// A line that the grammar refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and how to write it.
    pub what: &'static str,
}

/// Reads the text of a file into its assignments, in order.
///
/// # Errors
/// The first line that is no section, comment, assignment or continuation.
pub fn parse(text: &str) -> Result<Vec<Assignment>, SyntaxError> {
    let mut done: Vec<Assignment> = Vec::new();
    let mut section: Option<String> = None;
    // True while the last entry of `done` may still be continued.
    let mut open = false;
    // Python reads a lone carriage return as a line's end too.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for (index, raw) in text.split('\n').enumerate() {
        let refuse = |what| Err(SyntaxError { line: index + 1, what });
        let line = raw.trim_end();
        if line.is_empty() {
            open = false;
        } else if line.starts_with([' ', '\t']) {
            match done.last_mut() {
                Some(last) if open => {
                    last.value.push('\n');
                    last.value.push_str(line.trim_start());
                }
                _ => return refuse("a line that begins with a blank continues a value, and none is open here; remove the blank"),
            }
        } else if let Some(rest) = line.strip_prefix('[') {
            open = false;
            match rest.strip_suffix(']') {
                None => return refuse("a section must end with ]"),
                Some("") => return refuse("a section needs a name between [ and ]"),
                Some(name) => section = Some(name.to_owned()),
            }
        } else if line.starts_with(['#', ';']) {
            open = false;
        } else {
            let Some(at) = line.find([':', '=']) else { return refuse("neither '=' nor ':' stands on this line; write key = value") };
            let (key, value) = (line[..at].trim(), unquote(line[at + 1..].trim()));
            if key.is_empty() {
                return refuse("the key before '=' or ':' is empty");
            }
            let Some(section) = &section else { return refuse("a [section] must stand before the first key") };
            done.push(Assignment { section: section.clone(), key: key.to_owned(), value: value.to_owned(), line: index + 1 });
            open = true;
        }
    }
    Ok(done)
}

/// Takes one pair of equal quotes away; a lone quote vanishes, as in oslo.config.
fn unquote(value: &str) -> &str {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return value };
    if !value.ends_with(quote) {
        return value;
    }
    if value.len() == 1 { "" } else { &value[1..value.len() - 1] }
}

/// The name under which oslo.config compares sections: `DEFAULT` as it stands, all others in lower case.
/// So `[default]` is another section than `[DEFAULT]`.
pub fn normal_section(name: &str) -> String {
    if name == "DEFAULT" { "DEFAULT".to_owned() } else { name.to_lowercase() }
}

/// Replaces `$name`, `${name}` and `$group.name` by what `look_up` answers; `$$` and `\$` give one `$`, a `$` before anything else stays.
///
/// # Errors
/// Whatever `look_up` answers for a name it does not know.
pub fn substitute<E>(value: &str, look_up: &mut impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
    let value = value.replace(r"\$", "$$");
    let mut out = String::with_capacity(value.len());
    let mut rest = value.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let (name, tail) = match after.strip_prefix('{') {
            Some(inner) => match inner[name_length(inner)..].strip_prefix('}') {
                Some(tail) => (&inner[..name_length(inner)], tail),
                None => ("", after),
            },
            None => after.split_at(name_length(after)),
        };
        if name.is_empty() {
            out.push('$');
            rest = after;
        } else {
            out.push_str(&look_up(name)?);
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// How many bytes of `text` belong to a name: `[_a-z][._a-z0-9]*` in any case.
fn name_length(text: &str) -> usize {
    if !text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
        return 0;
    }
    text.find(|c: char| !(c == '_' || c == '.' || c.is_ascii_alphanumeric())).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Vec<(String, String, String, usize)> {
        parse(text).unwrap().into_iter().map(|a| (a.section, a.key, a.value, a.line)).collect()
    }

    #[test]
    fn accepts_what_oslo_accepts() {
        for (text, section, key, value, line) in [
            ("[a]\nk = v", "a", "k", "v", 2),
            ("[a]\nk: v=w", "a", "k", "v=w", 2),
            ("[a]\nk=v:w", "a", "k", "v:w", 2),
            ("[a]\r\nk = v\r\n", "a", "k", "v", 2),
            ("[a]\rk = v\r", "a", "k", "v", 2),
            ("[a]\nk = pa#ss;wo%rd # kept", "a", "k", "pa#ss;wo%rd # kept", 2),
            ("[a]\nk = \"v \"", "a", "k", "v ", 2),
            ("[a]\nk = 'v\"", "a", "k", "'v\"", 2),
            ("[a]\nk = \"", "a", "k", "", 2),
            ("[a]\nk = C:\\temp", "a", "k", "C:\\temp", 2),
            ("[a]\nk = one\n  two\n\tthree", "a", "k", "one\ntwo\nthree", 2),
            ("[a]\nk =\n  one", "a", "k", "\none", 2),
        ] {
            assert_eq!(values(text), [(section.to_owned(), key.to_owned(), value.to_owned(), line)], "{text:?}");
        }
        assert_eq!(values("[a]\nk=1\n[b]\nk=2\n[a]\nk=3").len(), 3);
    }

    #[test]
    fn refuses_what_oslo_refuses() {
        for (text, line) in
            [("k = v", 1), ("[a]\nword", 2), ("[a", 1), ("[]", 1), ("[a]\n= v", 2), ("[a]\n  k = v", 2), ("[a]\nk=v\n\n  w", 4)]
        {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn substitutes_names() {
        let mut look = |name: &str| if name.starts_with("no") { Err(name.to_owned()) } else { Ok(format!("<{name}>")) };
        for (text, expected) in
            [("$a/${b}c/$g.d", "<a>/<b>c/<g.d>"), ("$$a", "$a"), ("\\$a", "$a"), ("$5 ${x $", "$5 ${x $"), ("a$", "a$"), ("$é", "$é")]
        {
            assert_eq!(substitute(text, &mut look).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(substitute("x$none", &mut look), Err("none".to_owned()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]a=: \t\n'\"#;$é]{0,60}") {
            let _ = parse(&text);
            let _ = substitute::<()>(&text, &mut |_| Ok(String::new()));
        }

        /// A value that is quoted comes back unchanged, whatever it holds but line breaks.
        #[test]
        fn quoted_values_come_back(value in "[^\n\r]{0,40}") {
            prop_assert_eq!(&parse(&format!("[s]\nk = \"{value}\"\n")).unwrap()[0].value, &value);
        }

        /// Doubling every dollar keeps a value as it is, so a sample or shown file can hold any text.
        #[test]
        fn doubled_dollars_come_back(value in "[$a{}.]{0,40}") {
            let doubled = value.replace('$', "$$");
            prop_assert_eq!(substitute::<()>(&doubled, &mut |_| Ok("X".to_owned())).unwrap(), value);
        }
    }
}
