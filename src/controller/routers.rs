//! Routers: their gateway to an external network and their static routes; [`interfaces`] ties them to subnets.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::{Attribute, Kind, Preset, computed, writable},
    context::Context,
    error::ApiError,
    networks::NETWORKS,
    ports::PORTS,
    resource::{Call, Resource, as_is, as_stored, flag, text},
    store::{self, Object},
};

pub mod extra_routes;
pub mod interfaces;

const ATTRIBUTES: &[Attribute] = &[
    writable("name", Kind::Text(255), Preset::Empty),
    writable("admin_state_up", Kind::Bool, Preset::True),
    writable("external_gateway_info", Kind::Map, Preset::Null),
    writable("routes", Kind::List, Preset::List),
    writable("distributed", Kind::Bool, Preset::Absent),
    writable("ha", Kind::Bool, Preset::Absent),
    computed("status"),
];

/// `/v2.0/routers`.
pub const ROUTERS: Resource = Resource {
    singular: "router",
    collection: "routers",
    title: "Router",
    not_found: "RouterNotFound",
    columns: &["id", "project_id", "name"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list: as_is,
    view: as_stored,
};

/// The `device_owner` of a router's port on a subnet.
pub const INTERFACE: &str = "network:router_interface";

/// The `device_owner` of a router's port on its external network.
pub const GATEWAY: &str = "network:router_gateway";

fn create(call: &Call<'_>, mut router: Object) -> Result<Object, ApiError> {
    refuse_modes(&mut router)?;
    router.insert("status".into(), json!("ACTIVE"));
    let wanted = router.remove("external_gateway_info").unwrap_or_default();
    router.insert("external_gateway_info".into(), Value::Null);
    set_gateway(call, &mut router, &wanted)?;
    check_routes(call, &router)?;
    ROUTERS.insert(call, &router)?;
    Ok(router)
}

fn update(call: &Call<'_>, mut router: Object, mut changes: Object) -> Result<Object, ApiError> {
    refuse_modes(&mut changes)?;
    let gateway = changes.remove("external_gateway_info");
    let routed = changes.contains_key("routes");
    router.extend(changes);
    if let Some(wanted) = gateway {
        set_gateway(call, &mut router, &wanted)?;
    }
    if routed {
        check_routes(call, &router)?;
    }
    Ok(router)
}

fn delete(call: &Call<'_>, router: &Object) -> Result<(), ApiError> {
    let id = text(router, "id");
    if !ports(call, id, INTERFACE)?.is_empty() {
        return Err(ApiError::conflict("RouterInUse", format!("Router {id} still has ports")));
    }
    clear_gateway(call, router)
}

/// One machine has neither distributed nor highly available routers.
fn refuse_modes(router: &mut Object) -> Result<(), ApiError> {
    for mode in ["distributed", "ha"] {
        if flag(router, mode) {
            return Err(ApiError::invalid_input(mode, "'True' is not supported by this controller"));
        }
        router.remove(mode);
    }
    Ok(())
}

/// A router's ports of one kind.
pub fn ports(call: &Call<'_>, router: &str, owner: &str) -> Result<Vec<Object>, ApiError> {
    let mut ports = store::select(call.tx, "ports", Some(("device_id", router)))?;
    ports.retain(|port| text(port, "device_owner") == owner);
    Ok(ports)
}

/// The `(subnet, address)` pairs of a port.
pub fn fixed_ips(port: &Object) -> impl Iterator<Item = (&str, IpAddr)> {
    let list = port.get("fixed_ips").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|ip| Some((ip.get("subnet_id")?.as_str()?, ip.get("ip_address")?.as_str()?.parse().ok()?)))
}

/// Makes a port of a router or a floating IP (`router` is its id); `project` is empty for a gateway's, which the tenant does not see.
pub fn make_port(
    call: &Call<'_>,
    project: &str,
    router: &str,
    owner: &str,
    network: &str,
    fixed_ips: Option<&Value>,
) -> Result<Object, ApiError> {
    let context = Context::internal(project);
    let inner = Call { tx: call.tx, context: &context, host: call.host };
    // A router forwards what others send: no security group or source check fits it.
    let mut port = json!({"network_id": network, "device_id": router, "device_owner": owner,
        "port_security_enabled": false, "security_groups": []});
    if let Some(fixed_ips) = fixed_ips {
        port["fixed_ips"] = fixed_ips.clone();
    }
    let mut made = PORTS.post(&inner, Object::from_iter([("port".to_owned(), port)]))?;
    match made.get_mut("port").map(Value::take) {
        Some(Value::Object(port)) => Ok(port),
        _ => Err(ApiError::internal("a port was made but not shown")),
    }
}

/// Brings the gateway to what the caller wants: none for null or `{}`.
fn set_gateway(call: &Call<'_>, router: &mut Object, wanted: &Value) -> Result<(), ApiError> {
    let wanted = match wanted {
        Value::Object(map) if !map.is_empty() => map,
        _ => {
            clear_gateway(call, router)?;
            router.insert("external_gateway_info".into(), Value::Null);
            return Ok(());
        }
    };
    if let Some(unknown) = wanted.keys().find(|key| !["network_id", "enable_snat", "external_fixed_ips"].contains(&key.as_str())) {
        return Err(ApiError::invalid_input("external_gateway_info", format!("Unexpected keys supplied: {unknown}")));
    }
    // Neutron's policy: the others get SNAT and an address of the network's choice.
    if let Some(name) = ["enable_snat", "external_fixed_ips"].iter().find(|name| wanted.contains_key(**name))
        && !call.context.admin
    {
        return Err(ApiError::forbidden(&format!("rule:update_router:external_gateway_info:{name}")));
    }
    let network = text(wanted, "network_id");
    if network.is_empty() {
        return Err(ApiError::invalid_input("external_gateway_info", "Validation of dictionary's keys failed. Expected keys: network_id"));
    }
    let snat = match wanted.get("enable_snat") {
        None | Some(Value::Null) => true,
        Some(value) => super::attributes::boolean(value)
            .ok_or_else(|| ApiError::invalid_input("external_gateway_info", format!("'{value}' cannot be converted to boolean")))?,
    };
    if !flag(&NETWORKS.find(call, network)?, "router:external") {
        return Err(ApiError::bad_request("BadRequest", format!("Bad router request: Network {network} is not an external network.")));
    }
    let id = text(router, "id").to_owned();
    let addresses = wanted.get("external_fixed_ips").filter(|ips| ips.as_array().is_some_and(|ips| !ips.is_empty()));
    let kept = ports(call, &id, GATEWAY)?.into_iter().find(|port| text(port, "network_id") == network && addresses.is_none());
    let port = match kept {
        Some(port) => port,
        None => {
            clear_gateway(call, router)?;
            make_port(call, "", &id, GATEWAY, network, addresses)?
        }
    };
    let info = json!({"network_id": network, "enable_snat": snat, "external_fixed_ips": port.get("fixed_ips")});
    router.insert("external_gateway_info".into(), info);
    Ok(())
}

/// Takes the gateway away, unless floating IPs go through it.
fn clear_gateway(call: &Call<'_>, router: &Object) -> Result<(), ApiError> {
    let id = text(router, "id");
    for port in ports(call, id, GATEWAY)? {
        // A floating IP whose port was deleted needs the router no more.
        call.tx.execute("UPDATE floatingips SET router_id = NULL WHERE router_id = ? AND port_id IS NULL", [id])?;
        let mut query = call.tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM floatingips WHERE router_id = ?)")?;
        if query.query_row([id], |row| row.get(0))? {
            let message = format!(
                "Gateway cannot be updated for router {id}, since a gateway to external network {} is required by one or more floating IPs.",
                text(&port, "network_id")
            );
            return Err(ApiError::conflict("RouterExternalGatewayInUseByFloatingIp", message));
        }
        // Not by way of the port's own delete, which refuses a router's ports.
        store::remove(call.tx, "ports", text(&port, "id"))?;
    }
    Ok(())
}

/// A router's static routes as (destination, next hop), or 400.
fn routes(router: &Object) -> Result<Vec<(IpNet, IpAddr)>, ApiError> {
    let list = router.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let parse = |route: &Value| {
        let field = |name: &str| route.get(name).and_then(Value::as_str);
        Some((field("destination")?.parse().ok()?, field("nexthop")?.parse().ok()?))
    };
    list.iter().map(|route| parse(route).ok_or_else(|| invalid_routes(route, "a route is a destination and a nexthop"))).collect()
}

fn invalid_routes(route: &impl std::fmt::Display, reason: &str) -> ApiError {
    ApiError::bad_request("InvalidRoutes", format!("Invalid format for routes: {route}, {reason}"))
}

/// Each next hop must be a neighbour of the router, and not the router.
fn check_routes(call: &Call<'_>, router: &Object) -> Result<(), ApiError> {
    let routes = routes(router)?;
    if routes.is_empty() {
        return Ok(());
    }
    let id = text(router, "id");
    let mut ports = ports(call, id, INTERFACE)?;
    ports.extend(self::ports(call, id, GATEWAY)?);
    let mut reached = Vec::new();
    for (subnet, address) in ports.iter().flat_map(fixed_ips) {
        let subnet = store::find(call.tx, "subnets", subnet)?.unwrap_or_default();
        reached.push((text(&subnet, "cidr").parse::<IpNet>().ok(), address));
    }
    for (_, hop) in &routes {
        if reached.iter().any(|(_, own)| own == hop) {
            return Err(invalid_routes(hop, "the nexthop is used by router"));
        }
        if !reached.iter().any(|(cidr, _)| cidr.is_some_and(|cidr| cidr.contains(hop))) {
            return Err(invalid_routes(hop, "the nexthop is not connected with router"));
        }
    }
    Ok(())
}
