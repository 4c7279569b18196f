//! Neutron subnet pools: the ranges that subnets are cut from, so that no two of a pool overlap.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::{Attribute, Kind, Preset, computed, fixed, plain, writable},
    error::ApiError,
    resource::{Call, Resource, as_is, as_stored, flag, text},
    store::{self, Object},
};

const ATTRIBUTES: &[Attribute] = &[
    writable("name", Kind::Text(255), Preset::Empty),
    writable("prefixes", Kind::List, Preset::Required),
    writable("default_prefixlen", Kind::Integer, Preset::Absent),
    writable("min_prefixlen", Kind::Integer, Preset::Absent),
    writable("max_prefixlen", Kind::Integer, Preset::Absent),
    writable("default_quota", Kind::Integer, Preset::Null),
    writable("is_default", Kind::Bool, Preset::False).for_admins(),
    writable("address_scope_id", Kind::Id, Preset::Null),
    fixed("shared", Kind::Bool, Preset::False).for_admins(),
    computed("ip_version"),
];

/// `/v2.0/subnetpools`.
pub const SUBNETPOOLS: Resource = Resource {
    singular: "subnetpool",
    collection: "subnetpools",
    title: "Subnet pool",
    not_found: "SubnetPoolNotFound",
    columns: &["id", "project_id", "name"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: as_is,
    view: as_stored,
};

fn create(call: &Call<'_>, mut pool: Object) -> Result<Object, ApiError> {
    complete(call, &mut pool)?;
    SUBNETPOOLS.insert(call, &pool)?;
    Ok(pool)
}

fn update(call: &Call<'_>, mut pool: Object, changes: Object) -> Result<Object, ApiError> {
    let before = prefixes(&pool)?;
    pool.extend(changes);
    complete(call, &mut pool)?;
    let after = prefixes(&pool)?;
    // Subnets of the pool may lie anywhere in the old prefixes.
    if !before.iter().all(|old| after.iter().any(|new| new.contains(old))) {
        let message = "Illegal subnetpool update : Existing prefixes must be a subset of the new prefixes.";
        return Err(ApiError::bad_request("IllegalSubnetPoolPrefixUpdate", message));
    }
    Ok(pool)
}

/// Checks the pool as a whole, fills in its lengths and writes them as text, as Neutron answers them.
fn complete(call: &Call<'_>, pool: &mut Object) -> Result<(), ApiError> {
    let nets = prefixes(pool)?;
    let Some(first) = nets.first().copied() else {
        return Err(ApiError::bad_request("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list."));
    };
    let v6 = matches!(first, IpNet::V6(_));
    if nets.iter().any(|net| matches!(net, IpNet::V6(_)) != v6) {
        return Err(ApiError::bad_request("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool."));
    }
    if pool.get("address_scope_id").is_some_and(|scope| !scope.is_null()) {
        return Err(ApiError::invalid_input("address_scope_id", "address scopes are not supported"));
    }
    if pool.get("default_quota").and_then(Value::as_i64).is_some_and(|quota| quota < 0) {
        return Err(ApiError::invalid_input("default_quota", "it must be non-negative"));
    }
    let least = length(pool, "min_prefixlen").unwrap_or(if v6 { 64 } else { 8 });
    let most = length(pool, "max_prefixlen").unwrap_or(i64::from(first.max_prefix_len()));
    let usual = length(pool, "default_prefixlen").unwrap_or(least);
    bounds(("min_prefixlen", least), ("max_prefixlen", most))?;
    bounds(("min_prefixlen", least), ("default_prefixlen", usual))?;
    bounds(("default_prefixlen", usual), ("max_prefixlen", most))?;
    bounds(("min_prefixlen", 0), ("min_prefixlen", least))?;
    bounds(("max_prefixlen", most), ("ip_version_max_prefixlen", i64::from(first.max_prefix_len())))?;
    pool.insert("prefixes".into(), json!(nets));
    pool.insert("ip_version".into(), json!(if v6 { 6 } else { 4 }));
    for (name, value) in [("min_prefixlen", least), ("max_prefixlen", most), ("default_prefixlen", usual)] {
        pool.insert(name.into(), json!(value.to_string()));
    }
    refuse_second_default(call, pool)
}

fn refuse_second_default(call: &Call<'_>, pool: &Object) -> Result<(), ApiError> {
    if !flag(pool, "is_default") {
        return Ok(());
    }
    let rival = |other: &Object| {
        flag(other, "is_default") && other.get("ip_version") == pool.get("ip_version") && text(other, "id") != text(pool, "id")
    };
    if store::select(call.tx, "subnetpools", None)?.iter().any(rival) {
        let message = "Invalid input for operation: A default subnetpool for this IP family has already been set. \
                       Only one default may exist per IP family.";
        return Err(ApiError::bad_request("InvalidInput", message));
    }
    Ok(())
}

fn bounds(low: (&str, i64), high: (&str, i64)) -> Result<(), ApiError> {
    if low.1 <= high.1 {
        return Ok(());
    }
    let message = format!("Illegal prefix bounds: {}={}, {}={}.", low.0, low.1, high.0, high.1);
    Err(ApiError::bad_request("IllegalSubnetPoolPrefixBounds", message))
}

/// A prefix length of a pool, stored as text and given as a number.
fn length(pool: &Object, name: &str) -> Option<i64> {
    pool.get(name).and_then(|value| plain(value).parse().ok())
}

/// The pool's prefixes: host bits cleared, neighbours joined.
fn prefixes(pool: &Object) -> Result<Vec<IpNet>, ApiError> {
    let given = pool.get("prefixes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let parse = |value: &Value| match plain(value).parse::<IpNet>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => Err(ApiError::invalid_input("prefixes", format!("'{}' is not a valid IP subnet", plain(value)))),
    };
    let nets = given.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(IpNet::aggregate(&nets))
}

fn delete(call: &Call<'_>, pool: &Object) -> Result<(), ApiError> {
    let subnets = store::select(call.tx, "subnets", Some(("subnetpool_id", text(pool, "id"))))?;
    if subnets.is_empty() {
        return Ok(());
    }
    let message = "Unable to delete subnet pool: Subnet pool has existing allocations.";
    Err(ApiError::bad_request("SubnetPoolDeleteError", message))
}

/// Cuts a subnet for `project` out of the pool: the one wanted, or the first free one of the length.
pub fn allocate(call: &Call<'_>, pool: &Object, project: &str, cidr: Option<IpNet>, prefixlen: Option<i64>) -> Result<IpNet, ApiError> {
    let wanted = cidr.map(|net| i64::from(net.prefix_len())).or(prefixlen).or(length(pool, "default_prefixlen")).unwrap_or_default();
    let (least, most) = (length(pool, "min_prefixlen").unwrap_or_default(), length(pool, "max_prefixlen").unwrap_or_default());
    if wanted < least {
        let message = format!("Unable to allocate subnet with prefix length {wanted}, minimum allowed prefix is {least}.");
        return Err(ApiError::bad_request("MinPrefixSubnetAllocationError", message));
    }
    if wanted > most {
        let message = format!("Unable to allocate subnet with prefix length {wanted}, maximum allowed prefix is {most}.");
        return Err(ApiError::bad_request("MaxPrefixSubnetAllocationError", message));
    }
    let subnets = store::select(call.tx, "subnets", Some(("subnetpool_id", text(pool, "id"))))?;
    let taken: Vec<IpNet> = subnets.iter().filter_map(|subnet| text(subnet, "cidr").parse().ok()).collect();
    let length = u8::try_from(wanted).map_err(ApiError::internal)?;
    let ranges = prefixes(pool)?;
    let found = match cidr {
        Some(net) => {
            Some(net).filter(|net| ranges.iter().any(|range| range.contains(net)) && !taken.iter().any(|other| overlap(net, other)))
        }
        None => ranges.iter().find_map(|range| first_free(range, length, &taken)),
    };
    let Some(found) = found else {
        let reason = if cidr.is_some() {
            "Cannot allocate requested subnet from the available set of prefixes".to_owned()
        } else {
            format!("Insufficient prefix space to allocate subnet size /{wanted}")
        };
        return Err(ApiError::conflict("SubnetAllocationError", format!("Failed to allocate subnet: {reason}.")));
    };
    if let Some(quota) = pool.get("default_quota").and_then(Value::as_u64) {
        let own = subnets.iter().filter(|subnet| text(subnet, "project_id") == project);
        let used: u128 = own.filter_map(|subnet| text(subnet, "cidr").parse().ok()).map(|net| weight(&net)).sum();
        if used.saturating_add(weight(&found)) > u128::from(quota) {
            return Err(ApiError::conflict("SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded."));
        }
    }
    Ok(found)
}

/// What a subnet counts against `default_quota`: IPv4 addresses, or IPv6 networks of length 64.
fn weight(net: &IpNet) -> u128 {
    let whole: u8 = if matches!(net, IpNet::V6(_)) { 64 } else { 32 };
    1 << whole.saturating_sub(net.prefix_len())
}

/// Whether two subnets share an address.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The lowest free subnet of a length; steps over taken ones, however small the subnets and wide the range.
fn first_free(range: &IpNet, length: u8, taken: &[IpNet]) -> Option<IpNet> {
    if length < range.prefix_len() {
        return None;
    }
    let mut candidate = IpNet::new(range.network(), length).ok()?;
    while range.contains(&candidate) {
        let Some(obstacle) = taken.iter().find(|other| overlap(&candidate, other)) else { return Some(candidate) };
        let end = obstacle.broadcast().max(candidate.broadcast());
        candidate = IpNet::new(super::subnets::plus_one(end)?, length).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against trying every subnet of the length in turn.
        #[test]
        fn the_first_free_subnet_is_that_of_an_honest_search(length in 18u8..28, taken in prop::collection::vec((0u32..4096, 20u8..29), 0..12)) {
            let range: IpNet = "10.0.0.0/20".parse().unwrap();
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(host, length)| IpNet::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host).into(), length).unwrap().trunc())
                .collect();
            let honest = range.subnets(length).ok().and_then(|mut all| all.find(|net| taken.iter().all(|other| !overlap(net, other))));
            prop_assert_eq!(first_free(&range, length, &taken), honest);
        }
    }

    #[test]
    fn the_lowest_free_subnet_is_found() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        for (range, length, taken, want) in [
            ("10.0.0.0/16", 24, vec![], Some("10.0.0.0/24")),
            ("10.0.0.0/16", 24, vec!["10.0.0.128/25", "10.0.1.0/24"], Some("10.0.2.0/24")),
            ("10.0.0.0/16", 24, vec!["10.0.0.0/17"], Some("10.0.128.0/24")),
            ("10.0.0.0/24", 25, vec!["10.0.0.0/25", "10.0.0.200/32"], None),
            ("255.255.255.0/24", 24, vec!["255.255.255.0/24"], None),
            ("10.0.0.0/24", 16, vec![], None),
            ("fd00::/48", 64, vec!["fd00::/49"], Some("fd00:0:0:8000::/64")),
        ] {
            let taken: Vec<IpNet> = taken.into_iter().map(net).collect();
            assert_eq!(first_free(&net(range), length, &taken), want.map(net), "{range} /{length} {taken:?}");
        }
    }
}
