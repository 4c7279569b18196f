//! Whether this process may change the network at all, asked once at start instead of at the first container.

use std::fs;

/// Bit of CAP_NET_ADMIN in `linux/capability.h`.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The process may not configure the network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "kuryr needs CAP_NET_ADMIN to make interfaces and does not have it; start it as root or set AmbientCapabilities=CAP_NET_ADMIN in its unit"
)]
pub struct MissingCapability;

/// Says whether the calling thread has CAP_NET_ADMIN. A `/proc` that cannot be read counts as yes: the first request will tell.
pub fn check_net_admin() -> Result<(), MissingCapability> {
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else { return Ok(()) };
    if has_net_admin(&status) { Ok(()) } else { Err(MissingCapability) }
}

fn has_net_admin(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_none_or(|bits| bits & CAP_NET_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_set() {
        assert!(has_net_admin("CapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n"));
        assert!(!has_net_admin("CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffefff\n"));
    }
}
