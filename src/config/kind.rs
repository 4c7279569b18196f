//! What the text of an option may be, and how a refusal names what would be right.

use std::net::SocketAddr;

use super::options::flag;

/// Linux's `IFNAMSIZ` without the closing zero.
const LONGEST_INTERFACE: usize = 15;
/// The engine appends a number to `veth_dst_prefix`; two digits of it must find room.
const LONGEST_INTERFACE_PREFIX: usize = LONGEST_INTERFACE - 2;
/// Neutron stores names of 255 characters; `-` and the longest CIDR of IPv6 follow the prefix.
const LONGEST_POOL_PREFIX: usize = 255 - 44;
/// Neutron's column for `binding:host_id`.
const LONGEST_HOST: usize = 255;
/// Levels of Python's logging, of oslo.log and of our own.
const LEVELS: &[&str] = &["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "NOTSET"];

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// 1/true/on/yes or 0/false/off/no in any case.
    Flag,
    /// A boolean that the Python passed on to Neutron as it was: t/f and y/n too, and space around it.
    NeutronFlag,
    /// A whole number of at least this.
    Integer(i64),
    /// A share of a hundred.
    Percent,
    /// Items separated by commas.
    List,
    /// `target=LEVEL` items separated by commas; a level is a name or a number of Python's.
    Levels,
    /// One of these words, with case.
    Choice(&'static [&'static str]),
    /// One of these words, in any case.
    AnyCase(&'static [&'static str]),
    /// The name of a host as its Neutron agent reports it.
    Host,
    /// An address and port to listen on, with or without `http://` or `https://`.
    Listen,
    /// Absolute paths and loopback addresses, separated by commas.
    LocalPlaces,
    /// `http://` or `https://` and a host.
    Url,
    /// A path from the root.
    AbsolutePath,
    /// A file in which a container engine looks for a plugin.
    SpecFile,
    /// The name of a network interface.
    Interface,
    /// The start of the name of a network interface.
    InterfacePrefix,
    /// The start of the name of a subnet pool.
    PoolPrefix,
}

impl Kind {
    /// What a wrong value is told.
    pub fn allowed(self) -> String {
        let fixed = match self {
            Self::Text => "any text",
            Self::Flag => "true or false (also 1/0, yes/no, on/off)",
            Self::NeutronFlag => "True or False (also 1/0, yes/no, on/off, y/n, t/f)",
            Self::Integer(least) => return format!("a whole number from {least} to {}", i32::MAX),
            Self::Percent => "a whole number from 0 to 100",
            Self::List => "a list separated by commas",
            Self::Levels => {
                return format!("a list of target=LEVEL, such as kuryr::core=DEBUG, with a number or a level out of {}", LEVELS.join(", "));
            }
            Self::Choice(words) => return format!("one of {}", words.join(", ")),
            Self::AnyCase(words) => return format!("one of {}, in upper or lower case", words.join(", ")),
            Self::Host => return format!("a name of at most {LONGEST_HOST} characters without spaces"),
            Self::Listen => "an address of this machine and a port, such as http://127.0.0.1:23750",
            Self::LocalPlaces => "absolute paths of Unix sockets and loopback addresses such as 127.0.0.1:9751, separated by commas",
            Self::Url => "a URL, such as http://controller:9696",
            Self::AbsolutePath => "an absolute path",
            Self::SpecFile => {
                "an absolute path that ends in .spec or .json, as engines look for it, such as /etc/docker/plugins/kuryr.json"
            }
            Self::Interface => return format!("the name of an interface: at most {LONGEST_INTERFACE} characters, no '/', ':' or space"),
            Self::InterfacePrefix => {
                return format!("1 to {LONGEST_INTERFACE_PREFIX} characters, to which the engine adds a number; no '/', ':' or space");
            }
            Self::PoolPrefix => return format!("1 to {LONGEST_POOL_PREFIX} printable characters"),
        };
        fixed.to_owned()
    }

    /// Whether `text` is a value of this kind.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::Text | Self::List => true,
            Self::Flag => flag(text).is_some(),
            Self::NeutronFlag => neutron_flag(text).is_some(),
            // What is seconds must still be so after some arithmetic.
            Self::Integer(least) => text.trim().parse::<i64>().is_ok_and(|n| n >= least && n <= i32::MAX.into()),
            Self::Percent => text.trim().parse::<u8>().is_ok_and(|n| n <= 100),
            Self::Levels => items(text).all(is_level),
            Self::Choice(words) => words.contains(&text),
            Self::AnyCase(words) => words.iter().any(|word| word.eq_ignore_ascii_case(text)),
            // An empty name is as good as none: the machine's own is taken.
            Self::Host => text.chars().count() <= LONGEST_HOST && !has_space(text),
            Self::Listen => text.is_empty() || is_listen(text),
            Self::LocalPlaces => items(text).all(is_local),
            Self::Url => text.is_empty() || is_url(text),
            Self::AbsolutePath => text.starts_with('/'),
            Self::SpecFile => text.is_empty() || text.starts_with('/') && (text.ends_with(".spec") || text.ends_with(".json")),
            Self::Interface => text.is_empty() || is_interface(text, LONGEST_INTERFACE),
            Self::InterfacePrefix => is_interface(text, LONGEST_INTERFACE_PREFIX),
            Self::PoolPrefix => (1..=LONGEST_POOL_PREFIX).contains(&text.chars().count()) && !text.chars().any(char::is_control),
        }
    }
}

/// The value of a boolean as Neutron reads it in a body (oslo.utils' strict `bool_from_string`).
pub fn neutron_flag(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "t" | "y" => Some(true),
        "f" | "n" => Some(false),
        other => flag(other),
    }
}

/// The items of a list: what stands between commas, without space around it; a comma at the end adds none.
pub fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim().trim_end_matches(',');
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

fn has_space(text: &str) -> bool {
    text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn is_level(item: &str) -> bool {
    let Some((_, level)) = item.split_once('=') else { return false };
    level.trim().parse::<i64>().is_ok() || LEVELS.contains(&level.trim().to_uppercase().as_str())
}

/// Names are looked up only when the listener is opened; here the form counts.
fn is_listen(text: &str) -> bool {
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    let Some((host, port)) = authority.trim_end_matches('/').rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let named = !host.is_empty() && !host.contains([':', '/']) && !has_space(host);
    port.parse::<u16>().is_ok() && if bracketed { authority.trim_end_matches('/').parse::<SocketAddr>().is_ok() } else { named }
}

fn is_local(item: &str) -> bool {
    item.starts_with('/') || item.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

fn is_url(text: &str) -> bool {
    let parsed = text.parse::<http::Uri>();
    parsed.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()))
}

/// Linux's `dev_valid_name`.
fn is_interface(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !matches!(text, "." | "..") && !text.contains(['/', ':']) && !has_space(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_what_it_should_and_nothing_else() {
        let long = |n| "x".repeat(n);
        for (kind, good, bad) in [
            (Kind::NeutronFlag, vec!["True", "false", " yes ", "T", "n", "0"], vec!["", "maybe", "2"]),
            (Kind::Integer(1), vec!["1", " 20 ", "2147483647"], vec!["0", "-1", "1.5", "2147483648", "", "9223372036854775807"]),
            (Kind::Percent, vec!["0", " 20 ", "100"], vec!["101", "-1", "1.5", "20%", ""]),
            (Kind::Levels, vec!["", "a=DEBUG", "a=INFO, b.c = warn,", "a=30, b=0,c=-5"], vec!["odd", "x=y", "a=INFO,,b=INFO", "a=1.5"]),
            (Kind::Choice(&["Days", "none"]), vec!["Days", "none"], vec!["days", "None", "", "Day"]),
            (Kind::AnyCase(&["Days", "none"]), vec!["Days", "days", "NONE"], vec!["", "Day", "days "]),
            (Kind::Host, vec!["", "node-1.example", "ünode"], vec!["two words", "tab\t"]),
            (
                Kind::Listen,
                vec!["", "http://127.0.0.1:23750", "https://[::1]:1/", "node-1:23750", "0.0.0.0:0"],
                vec!["http://127.0.0.1", "127.0.0.1:99999", "ftp://a:1", "http://:1", "::1:1", "[::1:1", "http://a:1/path", "nonsense"],
            ),
            (Kind::LocalPlaces, vec!["", "/run/a.sock", "/a, 127.0.0.1:1,[::1]:2"], vec!["0.0.0.0:1", "relative", "127.0.0.1", "/a,,/b"]),
            (Kind::Url, vec!["", "http://k:5000/v3", "https://[::1]/"], vec!["k:5000", "ftp://k", "http://", "http://a b"]),
            (Kind::AbsolutePath, vec!["/", "/a b"], vec!["", "a", "./a"]),
            (Kind::SpecFile, vec!["", "/etc/docker/plugins/kuryr.spec", "/x/kuryr.json"], vec!["kuryr.spec", "/x/kuryr"]),
            (Kind::Interface, vec!["", "eth0", "br-int"], vec!["a/b", "a:b", "a b", "..", "sixteen-letters-"]),
            (Kind::InterfacePrefix, vec!["eth", "veth", "thirteen-long"], vec!["", "a/b", ".", "fourteen-long-"]),
            (Kind::PoolPrefix, vec!["kuryrPool", "mit Leerzeichen"], vec!["", "a\nb"]),
        ] {
            for text in good {
                assert!(kind.accepts(text), "{kind:?} refuses {text:?}");
            }
            for text in bad {
                assert!(!kind.accepts(text), "{kind:?} takes {text:?}");
            }
        }
        assert!(Kind::Host.accepts(&long(255)) && !Kind::Host.accepts(&long(256)));
        assert!(Kind::PoolPrefix.accepts(&long(211)) && !Kind::PoolPrefix.accepts(&long(212)));
    }
}
