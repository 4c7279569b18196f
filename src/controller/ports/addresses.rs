//! The addresses of ports: which of its network's subnets a port gets them from, and that no two ports have the same.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use crate::{
    controller::{
        alloc,
        error::ApiError,
        query::Query,
        resource::{Call, Only, text},
        routers::INTERFACE,
        store::{self, Object},
    },
    mac::MacAddr,
};

/// One address of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedIp {
    subnet: String,
    ip: IpAddr,
}

/// For a list of ports: the ports that have one of the addresses it asks for, oldest first; all when it asks for none.
pub fn holders(call: &Call<'_>, query: &Query) -> Result<Only, ApiError> {
    let asked = query.iter().filter(|(name, _)| name == "fixed_ips").filter_map(|(_, filter)| filter.strip_prefix("ip_address="));
    // What is no address is nobody's.
    let asked: Vec<Option<IpAddr>> = asked.map(|text| text.parse().ok()).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let mut find = call.tx.prepare_cached("SELECT p.rowid, p.id FROM port_addresses a JOIN ports p ON p.id = a.port_id WHERE a.ip = ?")?;
    let mut found = BTreeMap::new();
    for ip in asked.into_iter().flatten() {
        let rows = find.query_map([alloc::number(ip).to_be_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(Some(found.into_values().collect()))
}

/// `fixed_ips` as the API shows it.
pub fn shown(addresses: &[FixedIp]) -> Value {
    addresses.iter().map(|address| json!({"subnet_id": address.subnet, "ip_address": address.ip.to_string()})).collect()
}

/// The addresses of a stored port.
pub fn of_port(port: &Object) -> Result<Vec<FixedIp>, ApiError> {
    let list = port.get("fixed_ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entries = list.iter().filter_map(Value::as_object);
    entries.map(|entry| Ok(FixedIp { subnet: text(entry, "subnet_id").to_owned(), ip: parsed(text(entry, "ip_address"))? })).collect()
}

fn parsed(address: &str) -> Result<IpAddr, ApiError> {
    address.parse().map_err(|_| ApiError::invalid_input("fixed_ips", format!("'{address}' is not a valid IP address")))
}

/// Writes the addresses of a port that is in the store.
pub fn keep(call: &Call<'_>, port: &str, network: &str, addresses: &[FixedIp]) -> Result<(), ApiError> {
    let mut insert = call.tx.prepare_cached("INSERT INTO port_addresses (port_id, network_id, subnet_id, ip) VALUES (?, ?, ?, ?)")?;
    for address in addresses {
        let bytes = alloc::number(address.ip).to_be_bytes();
        insert.execute((port, network, &address.subnet, bytes)).map_err(|error| match store::is_constraint(&error) {
            true => allocated(address.ip, &address.subnet),
            false => error.into(),
        })?;
    }
    Ok(())
}

fn allocated(ip: IpAddr, subnet: &str) -> ApiError {
    ApiError::conflict("IpAddressAlreadyAllocated", format!("IP address {ip} already allocated in subnet {subnet}"))
}

/// Whether hosts make their addresses in the subnet themselves, out of their MACs.
pub fn is_auto(subnet: &Object) -> bool {
    ["ipv6_address_mode", "ipv6_ra_mode"].iter().any(|mode| ["slaac", "dhcpv6-stateless"].contains(&text(subnet, mode)))
}

/// The address that a host with the port's MAC makes in an IPv6 subnet (RFC 4291, appendix A).
fn made_of_mac(subnet: &Object, port: &Object) -> Result<FixedIp, ApiError> {
    let cidr: IpNet = text(subnet, "cidr").parse().map_err(ApiError::internal)?;
    let mac: MacAddr = text(port, "mac_address").parse().map_err(ApiError::internal)?;
    let ip = alloc::address(alloc::number(cidr.network()) | u128::from(mac.interface_id()));
    Ok(FixedIp { subnet: text(subnet, "id").to_owned(), ip })
}

/// Gives the ports of a network their addresses in a new subnet where hosts make them themselves.
pub fn extend(call: &Call<'_>, subnet: &Object) -> Result<(), ApiError> {
    let network = text(subnet, "network_id");
    for mut port in store::select(call.tx, "ports", Some(("network_id", network)))? {
        let fixed = made_of_mac(subnet, &port)?;
        // An address that somebody has is no reason to refuse the subnet.
        if text(&port, "device_owner") == INTERFACE || taken(call, network, fixed.ip)? {
            continue;
        }
        keep(call, text(&port, "id"), network, std::slice::from_ref(&fixed))?;
        let mut addresses = of_port(&port)?;
        addresses.push(fixed);
        port.insert("fixed_ips".into(), shown(&addresses));
        store::replace(call.tx, "ports", &["id"], &port)?;
    }
    Ok(())
}

/// The addresses for a request's `fixed_ips`; without one, an address of each family that the network has. An entry that names only the
/// subnet keeps the address that the port has there in `previous`. Subnets where hosts make their addresses themselves are always among
/// them, but for a router's port. `port` has its network, MAC and owner.
pub fn resolve(call: &Call<'_>, port: &Object, wanted: Option<&Value>, previous: &[FixedIp]) -> Result<Vec<FixedIp>, ApiError> {
    let network = text(port, "network_id");
    let subnets = store::select(call.tx, "subnets", Some(("network_id", network)))?;
    let router = text(port, "device_owner") == INTERFACE;
    let mut chosen = match wanted {
        Some(wanted) => of_entries(call, network, &subnets, wanted, previous, router)?,
        None => one_of_each_family(call, network, &subnets)?,
    };
    for subnet in subnets.iter().filter(|subnet| !router && is_auto(subnet)) {
        let fixed = made_of_mac(subnet, port)?;
        if taken(call, network, fixed.ip)? {
            return Err(allocated(fixed.ip, &fixed.subnet));
        }
        chosen.push(fixed);
    }
    Ok(chosen)
}

/// What the entries of `fixed_ips` ask for.
fn of_entries(
    call: &Call<'_>,
    network: &str,
    subnets: &[Object],
    wanted: &Value,
    previous: &[FixedIp],
    router: bool,
) -> Result<Vec<FixedIp>, ApiError> {
    let entries = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut open: Vec<&Object> = Vec::new();
    let mut chosen: Vec<FixedIp> = Vec::new();
    // The named addresses come first, so that no free choice takes one of them.
    for entry in entries {
        let subnet = named_subnet(call, network, subnets, entry)?;
        match (subnet, given(entry, "ip_address")?) {
            (subnet, Some(address)) => {
                let fixed = named_address(network, subnets, subnet, parsed(address)?)?;
                if !router && subnets.iter().any(|subnet| text(subnet, "id") == fixed.subnet && is_auto(subnet)) {
                    // Clients send back what they were shown; the address is made again from the MAC.
                    if previous.contains(&fixed) {
                        continue;
                    }
                    return Err(on_auto(&fixed));
                }
                if chosen.contains(&fixed) || taken(call, network, fixed.ip)? {
                    return Err(allocated(fixed.ip, &fixed.subnet));
                }
                chosen.push(fixed);
            }
            (Some(subnet), None) if !router && is_auto(subnet) => {}
            (Some(subnet), None) => open.push(subnet),
            (None, None) => return Err(ApiError::invalid_input("fixed_ips", "an entry needs 'subnet_id' or 'ip_address'")),
        }
    }
    for subnet in open {
        let kept = previous.iter().find(|fixed| fixed.subnet == text(subnet, "id") && !chosen.contains(fixed));
        let fixed = match kept {
            Some(kept) => Some(kept.clone()),
            None => pick(call, network, subnet, &chosen)?,
        };
        chosen.push(fixed.ok_or_else(|| exhausted(network))?);
    }
    Ok(chosen)
}

fn one_of_each_family(call: &Call<'_>, network: &str, subnets: &[Object]) -> Result<Vec<FixedIp>, ApiError> {
    let mut chosen = Vec::new();
    for version in [4, 6] {
        let mut family = subnets.iter().filter(|subnet| subnet.get("ip_version") == Some(&json!(version)) && !is_auto(subnet)).peekable();
        if family.peek().is_none() {
            continue;
        }
        let mut found = None;
        for subnet in family {
            found = pick(call, network, subnet, &chosen)?;
            if found.is_some() {
                break;
            }
        }
        chosen.push(found.ok_or_else(|| exhausted(network))?);
    }
    Ok(chosen)
}

fn on_auto(fixed: &FixedIp) -> ApiError {
    let message = format!(
        "IPv6 address {} cannot be directly assigned to a port on subnet {} as the subnet is configured for automatic addresses",
        fixed.ip, fixed.subnet
    );
    ApiError::bad_request("AllocationOnAutoAddressSubnet", message)
}

fn exhausted(network: &str) -> ApiError {
    ApiError::conflict("IpAddressGenerationFailure", format!("No more IP addresses available on network {network}."))
}

/// A text of an entry of `fixed_ips`; the entry may hold nothing else than the two known ones.
fn given<'e>(entry: &'e Value, name: &str) -> Result<Option<&'e str>, ApiError> {
    let refused = || ApiError::invalid_input("fixed_ips", format!("'{entry}' is not a valid fixed IP"));
    let fields = entry.as_object().ok_or_else(refused)?;
    if fields.keys().any(|name| name != "subnet_id" && name != "ip_address") {
        return Err(refused());
    }
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refused()),
    }
}

fn named_subnet<'s>(call: &Call<'_>, network: &str, subnets: &'s [Object], entry: &Value) -> Result<Option<&'s Object>, ApiError> {
    let Some(id) = given(entry, "subnet_id")? else { return Ok(None) };
    if let Some(subnet) = subnets.iter().find(|subnet| text(subnet, "id") == id) {
        return Ok(Some(subnet));
    }
    if store::find(call.tx, "subnets", id)?.is_none() {
        return Err(ApiError::not_found("SubnetNotFound", "Subnet", id));
    }
    let message =
        format!("Invalid input for operation: Failed to create port on network {network}, because fixed_ips included invalid subnet {id}.");
    Err(ApiError::bad_request("InvalidInput", message))
}

fn named_address(network: &str, subnets: &[Object], subnet: Option<&Object>, ip: IpAddr) -> Result<FixedIp, ApiError> {
    let Some(subnet) = subnet else {
        let fitting = subnets.iter().find(|subnet| usable(subnet, ip));
        return fitting.map(|subnet| FixedIp { subnet: text(subnet, "id").to_owned(), ip }).ok_or_else(|| {
            let message = format!("IP address {ip} is not a valid IP for any of the subnets on the specified network {network}.");
            ApiError::bad_request("InvalidIpForNetwork", message)
        });
    };
    if !usable(subnet, ip) {
        return Err(ApiError::bad_request(
            "InvalidIpForSubnet",
            format!("IP address {ip} is not a valid IP for the specified subnet {}.", text(subnet, "cidr")),
        ));
    }
    Ok(FixedIp { subnet: text(subnet, "id").to_owned(), ip })
}

/// Whether a port may have the address: it lies in the subnet and is not the one that stands for the network or for everyone in it.
fn usable(subnet: &Object, ip: IpAddr) -> bool {
    let Ok(cidr) = text(subnet, "cidr").parse::<IpNet>() else { return false };
    // In the two smallest prefixes every address is a host.
    let all_hosts = cidr.max_prefix_len() - cidr.prefix_len() <= 1;
    cidr.contains(&ip) && (all_hosts || (ip != cidr.network() && (ip.is_ipv6() || ip != cidr.broadcast())))
}

fn taken(call: &Call<'_>, network: &str, ip: IpAddr) -> Result<bool, ApiError> {
    let mut query = call.tx.prepare_cached("SELECT 1 FROM port_addresses WHERE network_id = ? AND ip = ?")?;
    Ok(query.query_row((network, alloc::number(ip).to_be_bytes()), |_| Ok(())).optional()?.is_some())
}

/// A free address of the subnet's pools, behind the one handed out last; `None` when they are used up.
fn pick(call: &Call<'_>, network: &str, subnet: &Object, chosen: &[FixedIp]) -> Result<Option<FixedIp>, ApiError> {
    let id = text(subnet, "id");
    let mut pools = Vec::new();
    for pool in subnet.get("allocation_pools").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        pools.push(alloc::number(parsed(text(pool, "start"))?)..=alloc::number(parsed(text(pool, "end"))?));
    }
    let mut query = call.tx.prepare_cached("SELECT ip FROM address_cursors WHERE subnet_id = ?")?;
    let cursor: Option<[u8; 16]> = query.query_row([id], |row| row.get(0)).optional()?;
    let found = alloc::next_free(&pools, cursor.map(u128::from_be_bytes), |candidate| {
        let ip = alloc::address(candidate);
        Ok::<_, ApiError>(chosen.iter().any(|fixed| fixed.ip == ip) || taken(call, network, ip)?)
    })?;
    if let Some(found) = found {
        let mut replace = call.tx.prepare_cached("INSERT OR REPLACE INTO address_cursors (subnet_id, ip) VALUES (?, ?)")?;
        replace.execute((id, found.to_be_bytes()))?;
    }
    Ok(found.map(|found| FixedIp { subnet: id.to_owned(), ip: alloc::address(found) }))
}
