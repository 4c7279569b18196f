//! Whether this process may change the network at all, asked once at start instead of at the first container.

use std::fs;

/// What the kernel lets a process do that is not everybody's; the numbers are those of `linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// CAP_NET_ADMIN: interfaces, addresses, routes, packet filters.
    NetAdmin = 12,
    /// CAP_SYS_ADMIN: network namespaces, which the embedded controller's routers live in.
    SysAdmin = 21,
}

impl Capability {
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::NetAdmin => ("CAP_NET_ADMIN", "make interfaces"),
            Self::SysAdmin => ("CAP_SYS_ADMIN", "make the namespaces of routers"),
        }
    }
}

/// The process may not do its work.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "kuryr needs {} to {} and does not have it; start it as root or set AmbientCapabilities={} in its unit",
    .0.parts().0, .0.parts().1, .0.parts().0
)]
pub struct MissingCapability(Capability);

/// Says whether the calling thread has the capability. A `/proc` that cannot be read counts as yes: the first request will tell.
pub fn check_capability(wanted: Capability) -> Result<(), MissingCapability> {
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else { return Ok(()) };
    if has(&status, wanted) { Ok(()) } else { Err(MissingCapability(wanted)) }
}

fn has(status: &str, wanted: Capability) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_none_or(|bits| bits & (1 << wanted as u64) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        assert!(has("CapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n", Capability::NetAdmin));
        assert!(!has("CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffefff\n", Capability::NetAdmin));
        assert!(!has("CapEff:\t000001ffffdfffff\n", Capability::SysAdmin));
    }
}
