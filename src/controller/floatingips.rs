//! Floating IPs: addresses of an external network, each led to one port by the router in between.

use std::net::IpAddr;

use axum::http::StatusCode;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::{
    attributes::{Attribute, Kind, Preset, computed, fixed, writable},
    error::ApiError,
    networks::NETWORKS,
    ports::PORTS,
    resource::{Call, Resource, as_is, flag, text},
    routers::{GATEWAY, INTERFACE, fixed_ips, make_port, ports},
    store::{self, Object},
};

const ATTRIBUTES: &[Attribute] = &[
    fixed("floating_network_id", Kind::Id, Preset::Required),
    fixed("floating_ip_address", Kind::Address, Preset::Null).for_admins(),
    fixed("subnet_id", Kind::Id, Preset::Null),
    writable("port_id", Kind::Id, Preset::Null),
    writable("fixed_ip_address", Kind::Address, Preset::Null),
    computed("router_id"),
    computed("status"),
    computed("port_details"),
];

/// `/v2.0/floatingips`.
pub const FLOATINGIPS: Resource = Resource {
    singular: "floatingip",
    collection: "floatingips",
    title: "Floating IP",
    not_found: "FloatingIPNotFound",
    columns: &["id", "project_id", "floating_network_id", "floating_ip_address", "port_id", "fixed_ip_address", "router_id"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: as_is,
    view,
};

/// The `device_owner` of the port that holds a floating IP's address.
pub const FLOATING: &str = "network:floatingip";

fn bad(reason: &str) -> ApiError {
    ApiError::bad_request("BadRequest", format!("Bad floatingip request: {reason}."))
}

fn create(call: &Call<'_>, mut floating: Object) -> Result<Object, ApiError> {
    let network = text(&floating, "floating_network_id").to_owned();
    if !flag(&NETWORKS.find(call, &network)?, "router:external") {
        return Err(bad(&format!("Network {network} is not a valid external network")));
    }
    let mut wanted = Object::new();
    for (from, to) in [("subnet_id", "subnet_id"), ("floating_ip_address", "ip_address")] {
        wanted.extend(floating.get(from).filter(|value| !value.is_null()).map(|value| (to.to_owned(), value.clone())));
    }
    floating.remove("subnet_id");
    let wanted = Some(json!([wanted])).filter(|list| list != &json!([{}]));
    let holder = make_port(call, "", text(&floating, "id"), FLOATING, &network, wanted.as_ref())?;
    let address = fixed_ips(&holder).map(|(_, address)| address).find(IpAddr::is_ipv4);
    let address = address.ok_or_else(|| bad(&format!("Network {network} does not contain any IPv4 subnet")))?;
    floating.insert("floating_ip_address".into(), json!(address));
    associate(call, &mut floating)?;
    store::insert(call.tx, FLOATINGIPS.collection, FLOATINGIPS.columns, &floating)?;
    Ok(floating)
}

fn update(call: &Call<'_>, mut floating: Object, changes: Object) -> Result<Object, ApiError> {
    forget_gone_port(call, &mut floating)?;
    let moved = changes.get("port_id").is_some_and(|port| Some(port) != floating.get("port_id"));
    if moved {
        floating.insert("fixed_ip_address".into(), Value::Null);
    }
    let touched = moved || changes.contains_key("fixed_ip_address");
    floating.extend(changes);
    if touched {
        associate(call, &mut floating)?;
    }
    Ok(floating)
}

/// The address goes back to the external network.
fn delete(call: &Call<'_>, floating: &Object) -> Result<(), ApiError> {
    for port in ports(call, text(floating, "id"), FLOATING)? {
        store::remove(call.tx, PORTS.collection, text(&port, "id"))?;
    }
    Ok(())
}

/// Finds the fixed address and the router for `port_id`, or clears both when that is null.
fn associate(call: &Call<'_>, floating: &mut Object) -> Result<(), ApiError> {
    let id = text(floating, "port_id").to_owned();
    if id.is_empty() {
        if !text(floating, "fixed_ip_address").is_empty() {
            return Err(bad("fixed_ip_address cannot be given without port_id"));
        }
        floating.insert("router_id".into(), Value::Null);
        return Ok(());
    }
    let port = PORTS.find(call, &id)?;
    let asked: Option<IpAddr> = text(floating, "fixed_ip_address").parse().ok();
    let found: Vec<(&str, IpAddr)> =
        fixed_ips(&port).filter(|(_, address)| address.is_ipv4() && asked.is_none_or(|asked| asked == *address)).collect();
    let (subnet, address) = match found[..] {
        [one] => one,
        [] => return Err(bad(&format!("Port {id} does not have such a fixed IPv4 address"))),
        _ => return Err(bad(&format!("Port {id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address"))),
    };
    let network = text(floating, "floating_network_id").to_owned();
    let router = router_between(call, subnet, &network)?.ok_or_else(|| ApiError {
        status: StatusCode::NOT_FOUND,
        kind: "ExternalGatewayForFloatingIPNotFound",
        message: format!(
            "External network {network} is not reachable from subnet {subnet}. Therefore, cannot associate Port {id} with a Floating IP."
        ),
    })?;
    let sql =
        "SELECT EXISTS (SELECT 1 FROM floatingips WHERE floating_network_id = ? AND port_id = ? AND fixed_ip_address = ? AND id <> ?)";
    if call.tx.query_row(sql, (&network, &id, address.to_string(), text(floating, "id")), |row| row.get(0))? {
        let message = format!(
            "Cannot associate floating IP {} with port {id} using fixed IP {address}, as that fixed IP already has a floating IP on external \
             network {network}.",
            text(floating, "floating_ip_address")
        );
        return Err(ApiError::conflict("FloatingIPPortAlreadyAssociated", message));
    }
    floating.insert("fixed_ip_address".into(), json!(address));
    floating.insert("router_id".into(), json!(router));
    Ok(())
}

/// The router with an interface on the subnet and its gateway on the network.
fn router_between(call: &Call<'_>, subnet: &str, network: &str) -> Result<Option<String>, ApiError> {
    let sql = "SELECT g.device_id FROM port_addresses a JOIN ports i ON i.id = a.port_id JOIN ports g ON g.device_id = i.device_id
               WHERE a.subnet_id = ?1 AND g.network_id = ?2 AND json_extract(i.document, '$.device_owner') = ?3
               AND json_extract(g.document, '$.device_owner') = ?4";
    Ok(call.tx.query_row(sql, (subnet, network, INTERFACE, GATEWAY), |row| row.get(0)).optional()?)
}

/// A deleted port leaves the column null, while the document still names it.
fn forget_gone_port(call: &Call<'_>, floating: &mut Object) -> Result<Option<Object>, ApiError> {
    let port = store::find(call.tx, PORTS.collection, text(floating, "port_id"))?;
    if port.is_none() {
        for name in ["port_id", "fixed_ip_address", "router_id"] {
            floating.insert(name.into(), Value::Null);
        }
    }
    Ok(port)
}

fn view(call: &Call<'_>, floating: &mut Object) -> Result<(), ApiError> {
    let port = forget_gone_port(call, floating)?;
    // The datapath reports on the gateway's port when the router's rules are in place.
    let gateways = match text(floating, "router_id") {
        "" => Vec::new(),
        router => ports(call, router, GATEWAY)?,
    };
    let active = gateways.iter().any(|gateway| text(gateway, "status") == "ACTIVE");
    floating.insert("status".into(), json!(if active { "ACTIVE" } else { "DOWN" }));
    let details = port.map(|mut port| {
        port.retain(|name, _| {
            ["name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner"].contains(&name.as_str())
        });
        port
    });
    floating.insert("port_details".into(), json!(details));
    Ok(())
}
