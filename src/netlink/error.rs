//! What can go wrong between us and the kernel.

use std::io;

use nix::errno::Errno;

/// A request to the kernel that did not succeed; each text says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel answered with an error number.
    #[error("{what}: {}{}{}", .errno.desc(), detail_text(.detail), remedy(*.errno))]
    Kernel {
        /// What was tried on which object.
        what: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own sentence, often empty.
        detail: String,
    },
    /// No answer came in time.
    #[error("{what}: the kernel did not answer within {seconds} s; look for a stuck network driver in the kernel log and try again")]
    Timeout {
        /// What was tried on which object.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The list changed while it was read, each time.
    #[error("{what}: the list changed during each of five readings; try again when fewer interfaces come and go")]
    Interrupted {
        /// What was tried.
        what: String,
    },
    /// The kernel's answer does not follow the protocol as we know it.
    #[error("{what}: the kernel's answer was not understood: {detail}; report this with the kernel version")]
    BadReply {
        /// What was tried.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A name which the kernel or the file system cannot take.
    #[error("'{name}' cannot name {object}: {reason}")]
    BadName {
        /// The name refused.
        name: String,
        /// What it should have named.
        object: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A system call outside netlink failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn kernel(what: impl Into<String>, errno: Errno) -> Self {
        Self::Kernel { what: what.into(), errno, detail: String::new() }
    }

    /// The kernel's error number, when the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::System { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// The object is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// The object is not there: ENODEV for links, ESRCH for routes, EADDRNOTAVAIL for addresses, ENOENT for the rest.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL))
    }

    /// The process lacks a capability.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES))
    }
}

fn detail_text(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::EACCES => "; this needs CAP_NET_ADMIN (and CAP_SYS_ADMIN for namespaces): run as root or grant it",
        Errno::EEXIST => "; remove or rename the one that is there",
        Errno::ENODEV => "; the interface is gone or was never made",
        Errno::EOPNOTSUPP => "; this kernel lacks the driver: load its module",
        Errno::ENOBUFS | Errno::ENOMEM => "; the host is short of memory",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_object_and_the_remedy() {
        let error = Error::kernel("create veth tap07791891-0e", Errno::EPERM);
        let text = error.to_string();
        assert!(text.starts_with("create veth tap07791891-0e: ") && text.contains("CAP_NET_ADMIN"), "{text}");
        assert!(error.is_denied() && !error.is_exists() && !error.is_missing());
    }
}
