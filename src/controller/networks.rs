//! Neutron networks: the broadcast domains, each a bridge on this machine.

use serde_json::json;

use super::{
    attributes::{Attribute, Kind, Preset, computed, writable},
    error::ApiError,
    floatingips::FLOATING,
    resource::{Call, Resource, as_is, flag, merge, text},
    routers::GATEWAY,
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
    computed("availability_zone_hints"),
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
    network.insert("availability_zone_hints".into(), json!([]));
    network.insert("availability_zones".into(), json!([]));
    network.insert("ipv4_address_scope".into(), json!(null));
    network.insert("ipv6_address_scope".into(), json!(null));
    network.insert("l2_adjacency".into(), json!(true));
    refuse_second_default(call, &network)?;
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
    let id = text(&network, "id").to_owned();
    let turned_off = |name: &str| flag(&network, name) && changes.get(name) == Some(&json!(false));
    if turned_off("router:external") && used_by(call, &id, "json_extract(document, '$.device_owner') IN (?2, ?3)", [GATEWAY, FLOATING])? {
        let message = format!("External network {id} cannot be updated to be made non-external, since it has existing gateway ports.");
        return Err(ApiError::conflict("ExternalNetworkInUse", message));
    }
    // The ports of gateways and floating IPs belong to no project.
    if turned_off("shared") && used_by(call, &id, "project_id NOT IN (?2, ?3)", [text(&network, "project_id"), ""])? {
        let message = format!("Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it.");
        return Err(ApiError::conflict("InvalidSharedSetting", message));
    }
    let network = merge(call, network, changes)?;
    refuse_second_default(call, &network)?;
    subnets::share(call, &network)?;
    Ok(network)
}

/// Whether a port of the network fulfils an SQL condition on ?2 and ?3.
fn used_by(call: &Call<'_>, network: &str, condition: &str, values: [&str; 2]) -> Result<bool, ApiError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM ports WHERE network_id = ?1 AND {condition})");
    Ok(call.tx.query_row(&sql, (network, values[0], values[1]), |row| row.get(0))?)
}

/// Refuses to make a second external network the default one, as Neutron does.
fn refuse_second_default(call: &Call<'_>, network: &Object) -> Result<(), ApiError> {
    let default = |network: &Object| flag(network, "is_default") && flag(network, "router:external");
    if !default(network) {
        return Ok(());
    }
    let rival = |other: &&Object| default(other) && text(other, "id") != text(network, "id");
    match store::select(call.tx, "networks", None)?.iter().find(rival) {
        Some(other) => {
            let message = format!("A default external network already exists: {}.", text(other, "id"));
            Err(ApiError::conflict("DefaultExternalNetworkExists", message))
        }
        None => Ok(()),
    }
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
