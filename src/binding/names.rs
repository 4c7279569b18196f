//! Interface names, as Neutron's agents and kuryr-libnetwork form them: a prefix of three characters and the first eleven of the UUID.

use uuid::Uuid;

/// The host end of a port's veth pair.
pub fn tap_name(port: Uuid) -> String {
    prefixed("tap", port)
}

/// The container end of a port's veth pair, until Docker renames it.
pub fn container_name(port: Uuid) -> String {
    prefixed("t_c", port)
}

/// The bridge of a network, as the Linux bridge agent of Neutron names it.
pub fn bridge_name(network: Uuid) -> String {
    prefixed("brq", network)
}

/// `prefix` and as much of the UUID as fits; Neutron's agents and Nova cut at the same place.
pub(super) fn prefixed(prefix: &str, id: Uuid) -> String {
    let mut name = format!("{prefix}{id}");
    name.truncate(14);
    name
}

/// Whether the name is a host end's.
pub(super) fn is_tap(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("tap") else { return false };
    rest.len() == 11 && rest.bytes().enumerate().all(|(at, b)| if at == 8 { b == b'-' } else { matches!(b, b'0'..=b'9' | b'a'..=b'f') })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_as_kuryr_libnetwork_does() {
        let port = Uuid::parse_str("07791891-0e36-4c5f-8a3b-aabbccddeeff").unwrap();
        assert_eq!(tap_name(port), "tap07791891-0e");
        assert_eq!(container_name(port), "t_c07791891-0e");
        assert_eq!(bridge_name(port), "brq07791891-0e");
    }

    proptest! {
        #[test]
        fn fits_the_kernel_and_is_recognised(bits: u128) {
            let port = Uuid::from_u128(bits);
            let tap = tap_name(port);
            prop_assert_eq!(tap.len(), 14);
            prop_assert!(is_tap(&tap));
            prop_assert!(!is_tap(&container_name(port)));
            prop_assert_eq!(&tap[3..], &container_name(port)[3..]);
            prop_assert!(port.to_string().starts_with(&tap[3..]));
        }
    }
}
