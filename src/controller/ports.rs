//! Neutron ports: what an endpoint is in the cloud, with its MAC, its addresses, its security groups and its binding to a host.

pub mod addresses;
mod policy;

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use self::{
    addresses::{keep, resolve},
    policy::Action,
};
use super::{
    attributes::{Attribute, Kind, Preset, computed, fixed, writable},
    error::ApiError,
    groups,
    networks::NETWORKS,
    resource::{Call, Resource, flag, text},
    store::{self, Object},
};
use crate::mac::MacAddr;

/// The attributes that a port has besides the standard ones.
const ATTRIBUTES: &[Attribute] = &[
    fixed("network_id", Kind::Id, Preset::Required),
    writable("name", Kind::Text(255), Preset::Empty),
    writable("admin_state_up", Kind::Bool, Preset::True),
    writable("mac_address", Kind::Text(17), Preset::Absent),
    writable("fixed_ips", Kind::List, Preset::Absent),
    writable("device_id", Kind::Text(255), Preset::Empty),
    writable("device_owner", Kind::Text(255), Preset::Empty),
    writable("security_groups", Kind::List, Preset::Absent),
    writable("allowed_address_pairs", Kind::List, Preset::List),
    writable("port_security_enabled", Kind::Bool, Preset::Absent),
    writable("binding:host_id", Kind::Text(255), Preset::Empty).for_admins(),
    writable("binding:vnic_type", Kind::Text(64), Preset::Empty),
    writable("binding:profile", Kind::Map, Preset::Map).for_admins(),
    computed("binding:vif_type"),
    computed("binding:vif_details"),
    computed("status"),
];

/// `/v2.0/ports`.
pub const PORTS: Resource = Resource {
    singular: "port",
    collection: "ports",
    title: "Port",
    not_found: "PortNotFound",
    columns: &["id", "project_id", "name", "network_id", "mac_address", "device_id"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: addresses::holders,
    view,
};

/// Neutron's `VNIC_TYPES`.
const VNIC_TYPES: &[&str] = &[
    "normal",
    "macvtap",
    "direct",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
];

/// What only an administrator sees of a port.
const ADMIN_FIELDS: &[&str] = &["binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details"];

/// Ports of these owners go with their router or floating IP only.
const SERVICE_OWNERS: &[&str] = &["network:router_interface", "network:router_gateway", "network:floatingip"];

/// How often a random MAC is drawn before giving up.
const MAC_ATTEMPTS: usize = 16;

fn create(call: &Call<'_>, mut port: Object) -> Result<Object, ApiError> {
    let network_id = text(&port, "network_id").to_owned();
    let network = NETWORKS.find(call, &network_id)?;
    policy::check(call, &network, Action::Create, &port)?;
    policy::check_router(call, &port)?;
    let mac = match port.get("mac_address").and_then(Value::as_str) {
        Some(given) => given_mac(call, &network_id, given, "")?,
        None => random_mac(call, &network_id)?,
    };
    port.insert("mac_address".into(), json!(mac));
    if !port.contains_key("port_security_enabled") {
        let enabled = network.get("port_security_enabled").and_then(Value::as_bool).unwrap_or(true);
        port.insert("port_security_enabled".into(), json!(enabled));
    }
    let secured = flag(&port, "port_security_enabled");
    let members = match port.remove("security_groups") {
        Some(wanted) => known_groups(call, &wanted)?,
        // As in Neutron, the cloud's own ports are in no group.
        None if secured && !text(&port, "device_owner").starts_with("network:") => {
            vec![groups::ensure_default(call.tx, text(&port, "project_id"))?]
        }
        None => Vec::new(),
    };
    check_security(&mut port, &members)?;
    bind(call, &mut port)?;
    port.insert("status".into(), json!("DOWN"));
    let wanted = port.remove("fixed_ips");
    let addresses = resolve(call, &port, wanted.as_ref(), &[])?;
    port.insert("fixed_ips".into(), addresses::shown(&addresses));
    store::insert(call.tx, PORTS.collection, PORTS.columns, &port).map_err(|error| match store::is_constraint(&error) {
        true => mac_in_use(&network_id, &mac),
        false => error.into(),
    })?;
    keep(call, text(&port, "id"), &network_id, &addresses)?;
    groups::set_port_groups(call.tx, text(&port, "id"), &members)?;
    Ok(port)
}

fn update(call: &Call<'_>, mut port: Object, mut changes: Object) -> Result<Object, ApiError> {
    let id = text(&port, "id").to_owned();
    let network_id = text(&port, "network_id").to_owned();
    // Read past the caller's eyes: a network that is no longer shared still has its guests' ports.
    let network = store::find(call.tx, NETWORKS.collection, &network_id)?.unwrap_or_default();
    policy::check(call, &network, Action::Update, &changes)?;
    if let Some(Value::String(given)) = changes.get("mac_address") {
        let mac = given_mac(call, &network_id, given, &id)?;
        let (old, vif_type) = (text(&port, "mac_address"), text(&port, "binding:vif_type"));
        // The wire of a bound port carries the MAC already.
        if mac != old && vif_type == "bridge" {
            let message = format!(
                "Unable to complete operation on port {id}, port is already bound, port type: {vif_type}, old_mac {old}, new_mac {mac}."
            );
            return Err(ApiError::conflict("PortBound", message));
        }
        if mac != old {
            // Addresses that come from the MAC follow it.
            let same = port.get("fixed_ips").cloned().unwrap_or_default();
            changes.entry("fixed_ips").or_insert(same);
        }
        changes.insert("mac_address".into(), json!(mac));
    }
    let members = match changes.remove("security_groups") {
        Some(wanted) => known_groups(call, &wanted)?,
        None => groups::groups_of_port(call.tx, &id)?,
    };
    let wanted = changes.remove("fixed_ips");
    let plugged = changes.contains_key("device_id") || changes.contains_key("device_owner");
    port.extend(changes);
    if let Some(wanted) = wanted {
        let previous = addresses::of_port(&port)?;
        call.tx.execute("DELETE FROM port_addresses WHERE port_id = ?", [&id])?;
        let addresses = resolve(call, &port, Some(&wanted), &previous)?;
        keep(call, &id, &network_id, &addresses)?;
        port.insert("fixed_ips".into(), addresses::shown(&addresses));
    }
    if plugged {
        policy::check_router(call, &port)?;
    }
    check_security(&mut port, &members)?;
    bind(call, &mut port)?;
    groups::set_port_groups(call.tx, &id, &members)?;
    Ok(port)
}

/// The addresses and memberships go with the row.
fn delete(_call: &Call<'_>, port: &Object) -> Result<(), ApiError> {
    let (id, owner) = (text(port, "id"), text(port, "device_owner"));
    if SERVICE_OWNERS.contains(&owner) {
        let message = format!("Port {id} cannot be deleted directly via the port API: has device owner {owner}.");
        return Err(ApiError::conflict("ServicePortInUse", message));
    }
    Ok(())
}

fn view(call: &Call<'_>, port: &mut Object) -> Result<(), ApiError> {
    let members = groups::groups_of_port(call.tx, text(port, "id"))?;
    port.insert("security_groups".into(), json!(members));
    // What the datapath reported last stays in the store for the time when the port is switched on again.
    if port.get("admin_state_up") == Some(&json!(false)) {
        port.insert("status".into(), json!("DOWN"));
    }
    if !call.context.admin {
        port.retain(|name, _| !ADMIN_FIELDS.contains(&name.as_str()));
    }
    Ok(())
}

/// Decides the binding from host and kind of interface; this machine binds plain ports to its own bridges only.
fn bind(call: &Call<'_>, port: &mut Object) -> Result<(), ApiError> {
    if text(port, "binding:vnic_type").is_empty() {
        port.insert("binding:vnic_type".into(), json!("normal"));
    }
    let (host, vnic_type) = (text(port, "binding:host_id"), text(port, "binding:vnic_type"));
    if !VNIC_TYPES.contains(&vnic_type) {
        return Err(ApiError::invalid_input("binding:vnic_type", format!("'{vnic_type}' is not in {VNIC_TYPES:?}")));
    }
    let (vif_type, details) = match host {
        "" => ("unbound", json!({})),
        host if host == call.host && vnic_type == "normal" => ("bridge", json!({"port_filter": true, "connectivity": "l2"})),
        _ => ("binding_failed", json!({})),
    };
    if vif_type != "bridge" {
        port.insert("status".into(), json!("DOWN"));
    }
    port.insert("binding:vif_type".into(), json!(vif_type));
    port.insert("binding:vif_details".into(), details);
    Ok(())
}

fn mac_in_use(network: &str, mac: &str) -> ApiError {
    let message = format!("Unable to complete operation for network {network}. The mac address {mac} is in use.");
    ApiError::conflict("MacAddressInUse", message)
}

/// The MAC in the one spelling that is stored; it must be free on the network, but for the port itself.
fn given_mac(call: &Call<'_>, network: &str, given: &str, port: &str) -> Result<String, ApiError> {
    let refused = || ApiError::invalid_input("mac_address", format!("'{given}' is not a valid MAC address"));
    let mac: MacAddr = given.parse().map_err(|_| refused())?;
    if mac.is_multicast() || mac == MacAddr([0; 6]) {
        return Err(refused());
    }
    let mac = mac.to_string();
    if mac_taken(call, network, &mac, port)? { Err(mac_in_use(network, &mac)) } else { Ok(mac) }
}

fn mac_taken(call: &Call<'_>, network: &str, mac: &str, but: &str) -> Result<bool, ApiError> {
    let mut query = call.tx.prepare_cached("SELECT 1 FROM ports WHERE network_id = ? AND mac_address = ? AND id <> ?")?;
    Ok(query.query_row((network, mac, but), |_| Ok(())).optional()?.is_some())
}

/// A MAC of Neutron's `base_mac`, fa:16:3e, that the network does not have.
fn random_mac(call: &Call<'_>, network: &str) -> Result<String, ApiError> {
    for _ in 0..MAC_ATTEMPTS {
        let mut tail = [0; 3];
        getrandom::fill(&mut tail).map_err(ApiError::internal)?;
        let mac = MacAddr([0xfa, 0x16, 0x3e, tail[0], tail[1], tail[2]]).to_string();
        if !mac_taken(call, network, &mac, "")? {
            return Ok(mac);
        }
    }
    Err(ApiError::internal(format!("no free MAC address was found on network {network}; delete ports that are not used")))
}

fn known_groups(call: &Call<'_>, wanted: &Value) -> Result<Vec<String>, ApiError> {
    let list = wanted.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|entry| {
            let Some(id) = entry.as_str() else {
                return Err(ApiError::invalid_input("security_groups", format!("'{entry}' is not an integer or uuid")));
            };
            let found = store::find(call.tx, "security_groups", id)?.filter(|group| call.context.sees(group));
            found.map(|_| id.to_owned()).ok_or_else(|| ApiError {
                message: format!("Security group {id} does not exist"),
                ..ApiError::not_found("SecurityGroupNotFound", "Security group", id)
            })
        })
        .collect()
}

/// Checks and completes the address pairs, and that a port without port security has neither groups nor pairs.
fn check_security(port: &mut Object, members: &[String]) -> Result<(), ApiError> {
    let mac = text(port, "mac_address").to_owned();
    let mut pairs: Vec<Value> = Vec::new();
    for entry in port.get("allowed_address_pairs").and_then(Value::as_array).into_iter().flatten() {
        let pair = address_pair(entry, &mac)?;
        if pairs.contains(&pair) {
            return Err(ApiError::bad_request(
                "DuplicateAddressPairInRequest",
                format!("Request contains duplicate address pair: {pair}."),
            ));
        }
        pairs.push(pair);
    }
    if !flag(port, "port_security_enabled") {
        if !members.is_empty() {
            let message = "Port has security group associated. Cannot disable port security or IP address until security group is removed.";
            return Err(ApiError::conflict("PortSecurityPortHasSecurityGroup", message));
        }
        if !pairs.is_empty() {
            let message = "Port Security must be enabled in order to have allowed address pairs on a port.";
            return Err(ApiError::conflict("AddressPairAndPortSecurityRequired", message));
        }
    }
    port.insert("allowed_address_pairs".into(), Value::Array(pairs));
    Ok(())
}

fn address_pair(entry: &Value, port_mac: &str) -> Result<Value, ApiError> {
    let refused = || ApiError::invalid_input("allowed_address_pairs", format!("'{entry}' is not a valid address pair"));
    let fields = entry.as_object().ok_or_else(refused)?;
    if fields.keys().any(|name| name != "ip_address" && name != "mac_address") {
        return Err(refused());
    }
    let address = text(fields, "ip_address");
    if address.parse::<std::net::IpAddr>().is_err() && address.parse::<ipnet::IpNet>().is_err() {
        return Err(refused());
    }
    let mac = match fields.get("mac_address") {
        None | Some(Value::Null) => port_mac.to_owned(),
        Some(mac) => mac.as_str().and_then(|mac| mac.parse::<MacAddr>().ok()).ok_or_else(refused)?.to_string(),
    };
    Ok(json!({"ip_address": address, "mac_address": mac}))
}

#[cfg(test)]
mod tests;
