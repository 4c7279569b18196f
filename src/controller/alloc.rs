//! Which address of a subnet is handed out next.
//!
//! The search goes on behind the address handed out last and wraps at the end of the pools: an address that was just released is not used
//! again at once, while neighbours and connection tables still remember who had it.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

/// An address as a number; IPv4 is mapped into IPv6, as in the store.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of a [`number`].
pub fn address(number: u128) -> IpAddr {
    Ipv6Addr::from(number).to_canonical()
}

/// The first address of the pools behind `cursor` that is not taken, else the first from the start; `None` when all are taken.
///
/// # Errors
/// Those of `taken`, which is asked for one address after the other.
pub fn next_free<E>(
    pools: &[RangeInclusive<u128>],
    cursor: Option<u128>,
    mut taken: impl FnMut(u128) -> Result<bool, E>,
) -> Result<Option<u128>, E> {
    let mut pools: Vec<(u128, u128)> = pools.iter().map(|pool| (*pool.start(), *pool.end())).collect();
    pools.sort_unstable();
    let behind = pools.iter().filter_map(|&(first, last)| match cursor {
        Some(cursor) if cursor >= last => None,
        Some(cursor) => Some((first.max(cursor + 1), last)),
        None => Some((first, last)),
    });
    let up_to = pools.iter().filter_map(|&(first, last)| {
        let cursor = cursor.filter(|cursor| *cursor >= first)?;
        Some((first, last.min(cursor)))
    });
    for (first, last) in behind.chain(up_to) {
        for candidate in first..=last {
            if !taken(candidate)? {
                return Ok(Some(candidate));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, convert::Infallible};

    use proptest::prelude::*;

    use super::*;

    fn pick(pools: &[RangeInclusive<u128>], cursor: Option<u128>, taken: &BTreeSet<u128>) -> Option<u128> {
        next_free(pools, cursor, |candidate| Ok::<_, Infallible>(taken.contains(&candidate))).unwrap()
    }

    #[test]
    fn a_released_address_waits_for_the_wrap() {
        let pools = [10..=12];
        assert_eq!(pick(&pools, None, &BTreeSet::new()), Some(10));
        assert_eq!(pick(&pools, Some(10), &BTreeSet::new()), Some(11));
        assert_eq!(pick(&pools, Some(12), &BTreeSet::new()), Some(10));
        assert_eq!(pick(&pools, Some(11), &BTreeSet::from([10, 12])), Some(11));
        assert_eq!(pick(&[u128::MAX..=u128::MAX], Some(u128::MAX), &BTreeSet::new()), Some(u128::MAX));
    }

    #[test]
    fn numbers_are_addresses_of_both_families() {
        for text in ["10.0.0.1", "255.255.255.255", "2001:db8::1", "fe80::"] {
            let parsed: IpAddr = text.parse().unwrap();
            assert_eq!(address(number(parsed)), parsed);
        }
    }

    proptest! {
        #[test]
        fn the_pick_is_the_next_free_one_in_the_circle(
            pools in prop::collection::vec((0_u128..40, 0_u128..8), 0..4),
            cursor in prop::option::of(0_u128..50),
            taken in prop::collection::btree_set(0_u128..50, 0..50),
        ) {
            let pools: Vec<RangeInclusive<u128>> = pools.into_iter().map(|(first, more)| first..=first + more).collect();
            let free: BTreeSet<u128> = pools.iter().cloned().flatten().filter(|number| !taken.contains(number)).collect();
            let behind = free.iter().find(|number| cursor.is_none_or(|cursor| **number > cursor));
            prop_assert_eq!(pick(&pools, cursor, &taken), behind.or(free.first()).copied());
        }
    }
}
