//! Neutron networks: the broadcast domains, each a bridge on this machine.

use serde_json::json;

use super::{
    attributes::{Attribute, Kind, Preset, computed, fixed, writable},
    error::ApiError,
    resource::{Call, Resource, as_is, merge, text},
    store::{self, Object},
    subnets,
};

/// The attributes that a network has besides the standard ones.
const ATTRIBUTES: &[Attribute] = &[
    writable("name", Kind::Text(255), Preset::Empty),
    writable("admin_state_up", Kind::Bool, Preset::True),
    writable("shared", Kind::Bool, Preset::False).for_admins(),
    writable("router:external", Kind::Bool, Preset::False).for_admins(),
    writable("is_default", Kind::Bool, Preset::False).for_admins(),
    writable("port_security_enabled", Kind::Bool, Preset::True),
    writable("mtu", Kind::Integer, Preset::Absent),
    fixed("availability_zone_hints", Kind::List, Preset::List),
    computed("availability_zones"),
    computed("status"),
    computed("subnets"),
    computed("ipv4_address_scope"),
    computed("ipv6_address_scope"),
    computed("l2_adjacency"),
];

/// `/v2.0/networks`.
pub const NETWORKS: Resource = Resource {
    singular: "network",
    collection: "networks",
    title: "Network",
    not_found: "NetworkNotFound",
    columns: &["id", "project_id", "name"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: as_is,
    view,
};

/// What a bridge on one machine carries without a tunnel's overhead.
const DEFAULT_MTU: i64 = 1500;

/// The least MTU that IPv4 needs everywhere.
const LEAST_MTU: i64 = 68;

fn create(call: &Call<'_>, mut network: Object) -> Result<Object, ApiError> {
    check_mtu(&network)?;
    if network.get("mtu").and_then(|mtu| mtu.as_i64()).unwrap_or(0) == 0 {
        network.insert("mtu".into(), json!(DEFAULT_MTU));
    }
    network.insert("availability_zones".into(), json!([]));
    network.insert("ipv4_address_scope".into(), json!(null));
    network.insert("ipv6_address_scope".into(), json!(null));
    network.insert("l2_adjacency".into(), json!(true));
    NETWORKS.insert(call, &network)?;
    Ok(network)
}

fn check_mtu(network: &Object) -> Result<(), ApiError> {
    match network.get("mtu").and_then(|mtu| mtu.as_i64()) {
        Some(mtu) if mtu != 0 && !(LEAST_MTU..=65535).contains(&mtu) => {
            Err(ApiError::invalid_input("mtu", format!("'{mtu}' is not between {LEAST_MTU} and 65535")))
        }
        _ => Ok(()),
    }
}

fn update(call: &Call<'_>, network: Object, changes: Object) -> Result<Object, ApiError> {
    check_mtu(&changes)?;
    let network = merge(call, network, changes)?;
    subnets::share(call, &network)?;
    Ok(network)
}

/// Refuses while ports remain; the subnets go with the network.
fn delete(call: &Call<'_>, network: &Object) -> Result<(), ApiError> {
    let id = text(network, "id");
    let ports = store::select(call.tx, "ports", Some(("network_id", id)))?;
    // Ports that the network itself owns go with it, as in Neutron.
    if ports.iter().any(|port| text(port, "device_owner") != "network:dhcp") {
        let message = format!("Unable to complete operation on network {id}. There are one or more ports still in use on the network.");
        return Err(ApiError::conflict("NetworkInUse", message));
    }
    call.tx.execute("DELETE FROM ports WHERE network_id = ?", [id])?;
    call.tx.execute("DELETE FROM subnets WHERE network_id = ?", [id])?;
    Ok(())
}

fn view(call: &Call<'_>, network: &mut Object) -> Result<(), ApiError> {
    let mut query = call.tx.prepare_cached("SELECT id FROM subnets WHERE network_id = ? ORDER BY rowid")?;
    let ids = query.query_map([text(network, "id")], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    network.insert("subnets".into(), json!(ids));
    let up = network.get("admin_state_up") != Some(&json!(false));
    network.insert("status".into(), json!(if up { "ACTIVE" } else { "DOWN" }));
    Ok(())
}
