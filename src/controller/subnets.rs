//! Neutron subnets: the address ranges of a network.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::{Attribute, Kind, Preset, fixed, plain, writable},
    error::ApiError,
    networks::NETWORKS,
    ports::addresses,
    resource::{Call, Resource, as_is, flag, text},
    routers::INTERFACE,
    store::{self, Object},
    subnetpools::{SUBNETPOOLS, allocate, overlap},
};

const ATTRIBUTES: &[Attribute] = &[
    writable("name", Kind::Text(255), Preset::Empty),
    fixed("network_id", Kind::Id, Preset::Required),
    fixed("ip_version", Kind::Integer, Preset::Required),
    fixed("cidr", Kind::Any, Preset::Null),
    fixed("subnetpool_id", Kind::Id, Preset::Null),
    fixed("prefixlen", Kind::Integer, Preset::Null),
    fixed("use_default_subnetpool", Kind::Bool, Preset::False),
    fixed("ipv6_ra_mode", Kind::Any, Preset::Null),
    fixed("ipv6_address_mode", Kind::Any, Preset::Null),
    // Absent is the first host, null is none.
    writable("gateway_ip", Kind::Address, Preset::Absent),
    writable("allocation_pools", Kind::List, Preset::Absent),
    writable("dns_nameservers", Kind::List, Preset::List),
    writable("host_routes", Kind::List, Preset::List),
    writable("enable_dhcp", Kind::Bool, Preset::True),
];

/// `/v2.0/subnets`.
pub const SUBNETS: Resource = Resource {
    singular: "subnet",
    collection: "subnets",
    title: "Subnet",
    not_found: "SubnetNotFound",
    columns: &["id", "project_id", "name", "network_id", "subnetpool_id"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: as_is,
    view,
};

fn refused(reason: impl AsRef<str>) -> ApiError {
    ApiError::bad_request("InvalidInput", format!("Invalid input for operation: {}.", reason.as_ref()))
}

fn create(call: &Call<'_>, mut subnet: Object) -> Result<Object, ApiError> {
    let network = NETWORKS.find(call, text(&subnet, "network_id"))?;
    if !call.context.owns(&network) {
        return Err(ApiError::forbidden("rule:create_subnet"));
    }
    let cidr = choose_cidr(call, &mut subnet)?;
    for other in store::select(call.tx, "subnets", Some(("network_id", text(&network, "id"))))? {
        if text(&other, "cidr").parse().is_ok_and(|other| overlap(&cidr, &other)) {
            let id = text(&network, "id");
            return Err(refused(format!("Requested subnet with cidr: {cidr} for network: {id} overlaps with another subnet")));
        }
    }
    subnet.insert("cidr".into(), json!(cidr));
    if !subnet.contains_key("gateway_ip") {
        let gateway = plus_one(cidr.network()).filter(|ip| cidr.contains(ip));
        subnet.insert("gateway_ip".into(), json!(gateway));
    }
    if subnet.get("allocation_pools").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let pools: Vec<Value> =
            default_pools(cidr, gateway(&subnet)).iter().map(|(start, end)| json!({"start": start, "end": end})).collect();
        subnet.insert("allocation_pools".into(), json!(pools));
    }
    check(&subnet, cidr)?;
    subnet.insert("shared".into(), json!(is_open(&network)));
    SUBNETS.insert(call, &subnet)?;
    if addresses::is_auto(&subnet) {
        addresses::extend(call, &subnet)?;
    }
    Ok(subnet)
}

/// The subnet's range, as given or cut from a pool; takes `prefixlen` and `use_default_subnetpool` out of the body.
fn choose_cidr(call: &Call<'_>, subnet: &mut Object) -> Result<IpNet, ApiError> {
    let prefixlen = subnet.remove("prefixlen").and_then(|value| value.as_i64());
    let version = subnet.get("ip_version").and_then(Value::as_i64).unwrap_or_default();
    if version != 4 && version != 6 {
        return Err(ApiError::invalid_input("ip_version", format!("'{version}' is not in [4, 6]")));
    }
    let given = subnet.get("cidr").filter(|value| !value.is_null()).map(parse_cidr).transpose()?;
    if given.is_some_and(|net| family(net.addr()) != version) {
        return Err(refused(format!("cidr {} does not match the ip_version '{version}'", plain(&subnet["cidr"]))));
    }
    let bad = |reason: &str| Err(ApiError::bad_request("BadRequest", format!("Bad subnets request: {reason}.")));
    if given.is_some() && prefixlen.is_some() {
        return bad("cidr and prefixlen must not be supplied together");
    }
    let default = subnet.remove("use_default_subnetpool") == Some(json!(true));
    if default && !text(subnet, "subnetpool_id").is_empty() {
        return bad("subnetpool_id and use_default_subnetpool cannot both be specified");
    }
    if default {
        let pools = store::select(call.tx, "subnetpools", None)?;
        let fits = |pool: &&Object| flag(pool, "is_default") && pool.get("ip_version") == Some(&json!(version)) && call.context.sees(pool);
        let Some(pool) = pools.iter().find(fits) else { return bad(&format!("No default subnetpool found for IPv{version}")) };
        subnet.insert("subnetpool_id".into(), json!(text(pool, "id")));
    }
    let pool = text(subnet, "subnetpool_id").to_owned();
    if pool.is_empty() {
        return given.map_or_else(|| bad("a subnetpool must be specified in the absence of a cidr"), Ok);
    }
    let found = SUBNETPOOLS.find(call, &pool)?;
    if found.get("ip_version") != subnet.get("ip_version") {
        return bad("ip_version of the subnet and of its subnetpool differ");
    }
    let network = text(subnet, "network_id");
    let siblings = store::select(call.tx, "subnets", Some(("network_id", network)))?;
    if siblings.iter().any(|other| other.get("ip_version") == subnet.get("ip_version") && text(other, "subnetpool_id") != pool) {
        let message = "Subnets hosted on the same network must be allocated from the same subnet pool.";
        return Err(ApiError::bad_request("NetworkSubnetPoolAffinityError", message));
    }
    allocate(call, &found, text(subnet, "project_id"), given, prefixlen)
}

fn parse_cidr(value: &Value) -> Result<IpNet, ApiError> {
    let text = plain(value);
    let wrong = |reason: String| ApiError::invalid_input("cidr", reason);
    let net: IpNet = text.parse().map_err(|_| wrong(format!("'{text}' is not a valid IP subnet")))?;
    if net.trunc() != net {
        return Err(wrong(format!("'{text}' isn't a recognized IP subnet cidr, '{}' is recommended", net.trunc())));
    }
    if net.prefix_len() == 0 || net.addr().is_multicast() || net.addr().is_loopback() {
        return Err(refused(format!("'{text}' cannot be a subnet: it is everything, multicast or loopback")));
    }
    Ok(net)
}

fn update(call: &Call<'_>, mut subnet: Object, changes: Object) -> Result<Object, ApiError> {
    let cidr: IpNet = text(&subnet, "cidr").parse().map_err(ApiError::internal)?;
    let before = gateway(&subnet);
    subnet.extend(changes);
    check(&subnet, cidr)?;
    if let Some(old) = before.filter(|old| gateway(&subnet) != Some(*old)) {
        let sql = "SELECT a.port_id FROM port_addresses a JOIN ports p ON p.id = a.port_id WHERE a.subnet_id = ? AND a.ip = ?
                   AND json_extract(p.document, '$.device_owner') LIKE 'network:router_interface%'";
        let mut query = call.tx.prepare_cached(sql)?;
        let mut rows = query.query((text(&subnet, "id"), blob(old)))?;
        if let Some(row) = rows.next()? {
            let port: String = row.get(0)?;
            let message = format!("Current gateway ip {old} already in use by port {port}. Unable to update.");
            return Err(ApiError::conflict("GatewayIpInUse", message));
        }
    }
    Ok(subnet)
}

/// The rules that a new and a changed subnet must keep.
fn check(subnet: &Object, cidr: IpNet) -> Result<(), ApiError> {
    let version = family(cidr.addr());
    let gateway = gateway(subnet);
    // The first address of an IPv6 range is that of its routers.
    let edge = |ip: IpAddr| version == 4 && cidr.prefix_len() < 31 && (ip == cidr.network() || ip == cidr.broadcast());
    if let Some(ip) = gateway.filter(|ip| family(*ip) != version || edge(*ip)) {
        return Err(refused(format!("gateway_ip '{ip}' cannot be the gateway of {cidr}")));
    }
    if flag(subnet, "enable_dhcp") && cidr.max_prefix_len() - cidr.prefix_len() < 2 {
        return Err(refused(format!("Subnet has a prefix length that is incompatible with DHCP service enabled: {cidr}")));
    }
    check_pools(subnet, cidr, gateway)?;
    check_ipv6_modes(subnet, cidr)?;
    let mut seen = Vec::new();
    for server in items(subnet, "dns_nameservers") {
        let address = plain(server).parse::<IpAddr>().ok().filter(|address| !seen.contains(address));
        let wrong = || ApiError::invalid_input("dns_nameservers", format!("'{}' is not a valid nameserver or given twice", plain(server)));
        seen.push(address.ok_or_else(wrong)?);
    }
    let mut seen = Vec::new();
    for route in items(subnet, "host_routes") {
        let wrong = || ApiError::invalid_input("host_routes", format!("'{route}' is not a destination and a nexthop, or given twice"));
        let fields = route.as_object().filter(|fields| fields.len() == 2).ok_or_else(wrong)?;
        let destination = text(fields, "destination").parse::<IpNet>().map_err(|_| wrong())?;
        let nexthop = text(fields, "nexthop").parse::<IpAddr>().map_err(|_| wrong())?;
        if family(destination.addr()) != version || family(nexthop) != version || seen.contains(&(destination, nexthop)) {
            return Err(wrong());
        }
        seen.push((destination, nexthop));
    }
    Ok(())
}

fn check_pools(subnet: &Object, cidr: IpNet, gateway: Option<IpAddr>) -> Result<(), ApiError> {
    let mut seen: Vec<(IpAddr, IpAddr)> = Vec::new();
    for pool in items(subnet, "allocation_pools") {
        let wrong = || ApiError::bad_request("InvalidAllocationPool", format!("The allocation pool {pool} is not valid."));
        let fields = pool.as_object().filter(|fields| fields.len() == 2).ok_or_else(wrong)?;
        let start = text(fields, "start").parse::<IpAddr>().map_err(|_| wrong())?;
        let end = text(fields, "end").parse::<IpAddr>().map_err(|_| wrong())?;
        if family(start) != family(end) || start > end {
            return Err(wrong());
        }
        if !cidr.contains(&start) || !cidr.contains(&end) {
            let message = format!("The allocation pool {start}-{end} spans beyond the subnet cidr {cidr}.");
            return Err(ApiError::bad_request("OutOfBoundsAllocationPool", message));
        }
        if seen.iter().any(|other| start <= other.1 && other.0 <= end) {
            let message = format!("Found overlapping allocation pools: {start}-{end} for subnet {cidr}.");
            return Err(ApiError::conflict("OverlappingAllocationPools", message));
        }
        if let Some(ip) = gateway.filter(|ip| (start..=end).contains(ip)) {
            let message = format!("Gateway ip {ip} conflicts with allocation pool {start}-{end}.");
            return Err(ApiError::conflict("GatewayConflictWithAllocationPools", message));
        }
        seen.push((start, end));
    }
    Ok(())
}

fn check_ipv6_modes(subnet: &Object, cidr: IpNet) -> Result<(), ApiError> {
    let mode = |name: &str| subnet.get(name).filter(|value| !value.is_null()).map(plain);
    let (ra, address) = (mode("ipv6_ra_mode"), mode("ipv6_address_mode"));
    for (name, mode) in [("ipv6_ra_mode", &ra), ("ipv6_address_mode", &address)] {
        let Some(mode) = mode else { continue };
        if !["dhcpv6-stateful", "dhcpv6-stateless", "slaac"].contains(&mode.as_str()) {
            return Err(ApiError::invalid_input(name, format!("'{mode}' is not in [dhcpv6-stateful, dhcpv6-stateless, slaac]")));
        }
        if family(cidr.addr()) != 6 || !flag(subnet, "enable_dhcp") {
            return Err(refused(format!("{name} needs ip_version 6 and enable_dhcp")));
        }
        if mode != "dhcpv6-stateful" && cidr.prefix_len() != 64 {
            return Err(refused(format!("Invalid CIDR {cidr} for IPv6 address mode {mode}: its prefix length must be 64")));
        }
    }
    if ra.is_some() && address.is_some() && ra != address {
        return Err(refused("ipv6_ra_mode and ipv6_address_mode must be the same when both are set"));
    }
    Ok(())
}

/// Refuses while ports have addresses of the subnet. A DHCP server's port only loses its address, as in Neutron, and so does every port but
/// a router's in a subnet where hosts make their addresses themselves.
fn delete(call: &Call<'_>, subnet: &Object) -> Result<(), ApiError> {
    let id = text(subnet, "id");
    let mut query = call.tx.prepare_cached("SELECT DISTINCT port_id FROM port_addresses WHERE subnet_id = ?")?;
    let ids = query.query_map([id], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for port in ids {
        let Some(mut port) = store::find(call.tx, "ports", &port)? else { continue };
        let owner = text(&port, "device_owner");
        if owner != "network:dhcp" && (owner == INTERFACE || !addresses::is_auto(subnet)) {
            let message = format!("Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet.");
            return Err(ApiError::conflict("SubnetInUse", message));
        }
        if let Some(Value::Array(addresses)) = port.get_mut("fixed_ips") {
            addresses.retain(|address| address["subnet_id"] != json!(id));
        }
        store::replace(call.tx, "ports", &["id"], &port)?;
    }
    call.tx.execute("DELETE FROM port_addresses WHERE subnet_id = ?", [id])?;
    Ok(())
}

fn view(_call: &Call<'_>, subnet: &mut Object) -> Result<(), ApiError> {
    subnet.remove("shared");
    Ok(())
}

/// Lets the subnets of a network be seen by those who see the network.
pub fn share(call: &Call<'_>, network: &Object) -> Result<(), ApiError> {
    let sql = "UPDATE subnets SET document = json_set(document, '$.shared', json(?2)) WHERE network_id = ?1";
    call.tx.execute(sql, (text(network, "id"), is_open(network).to_string()))?;
    Ok(())
}

/// Whether other projects see the network. Its subnets keep that as `shared`, which they do not show.
fn is_open(network: &Object) -> bool {
    flag(network, "shared") || flag(network, "router:external")
}

fn items<'o>(object: &'o Object, name: &str) -> &'o [Value] {
    object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn gateway(subnet: &Object) -> Option<IpAddr> {
    text(subnet, "gateway_ip").parse().ok()
}

fn family(ip: IpAddr) -> i64 {
    if ip.is_ipv6() { 6 } else { 4 }
}

/// An address as `port_addresses` stores it.
fn blob(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address after `ip`, if there is one in its family.
pub fn plus_one(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(ip) => ip.to_bits().checked_add(1).map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    }
}

fn minus_one(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().checked_sub(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(ip) => ip.to_bits().checked_sub(1).map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    }
}

/// All host addresses but the gateway, as one or two ranges.
fn default_pools(cidr: IpNet, gateway: Option<IpAddr>) -> Vec<(IpAddr, IpAddr)> {
    // Two addresses or one: all are hosts. IPv6 has no broadcast address.
    let tiny = cidr.max_prefix_len() - cidr.prefix_len() < 2;
    let first = if tiny { Some(cidr.network()) } else { plus_one(cidr.network()) };
    let last = if tiny || cidr.addr().is_ipv6() { Some(cidr.broadcast()) } else { minus_one(cidr.broadcast()) };
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let Some(gateway) = gateway.filter(|ip| (first..=last).contains(ip)) else { return vec![(first, last)] };
    let below = minus_one(gateway).map(|end| (first, end));
    let above = plus_one(gateway).map(|start| (start, last));
    [below, above].into_iter().flatten().filter(|(start, end)| start <= end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_pools_leave_out_the_gateway_and_the_edges() {
        for (cidr, gateway, want) in [
            ("10.0.0.0/24", Some("10.0.0.1"), "10.0.0.2-10.0.0.254"),
            ("10.0.0.0/24", None, "10.0.0.1-10.0.0.254"),
            ("10.0.0.0/24", Some("10.0.0.9"), "10.0.0.1-10.0.0.8 10.0.0.10-10.0.0.254"),
            ("10.0.0.0/24", Some("10.9.0.1"), "10.0.0.1-10.0.0.254"),
            ("10.0.0.0/31", Some("10.0.0.1"), "10.0.0.0-10.0.0.0"),
            ("10.0.0.7/32", None, "10.0.0.7-10.0.0.7"),
            ("fd00::/64", Some("fd00::1"), "fd00::2-fd00::ffff:ffff:ffff:ffff"),
            ("fd00::/64", Some("fd00::"), "fd00::1-fd00::ffff:ffff:ffff:ffff"),
        ] {
            let pools = default_pools(cidr.parse().unwrap(), gateway.map(|ip| ip.parse().unwrap()));
            let shown: Vec<String> = pools.iter().map(|(start, end)| format!("{start}-{end}")).collect();
            assert_eq!(shown.join(" "), want, "{cidr} {gateway:?}");
        }
    }
}
