//! `add_router_interface` and `remove_router_interface`.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::put,
};
use ipnet::IpNet;
use serde_json::json;

use super::{INTERFACE, ROUTERS, fixed_ips, make_port, ports, routes};
use crate::controller::{
    Controller,
    error::ApiError,
    neutron::{body_object, run},
    ports::PORTS,
    resource::{Call, text},
    store::{self, Object},
    subnets::SUBNETS,
};

/// The two routes.
pub fn router() -> Router<Arc<Controller>> {
    // `{collection}`, as in the routes beside these: a fixed `routers` would hide those of a router's tags.
    Router::new()
        .route("/networking/v2.0/{collection}/{id}/add_router_interface", put(add_request))
        .route("/networking/v2.0/{collection}/{id}/remove_router_interface", put(remove_request))
}

type Target = Path<(String, String)>;

async fn add_request(state: State<Arc<Controller>>, path: Target, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(state, path, headers, body, add).await
}

async fn remove_request(state: State<Arc<Controller>>, path: Target, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    answer(state, path, headers, body, remove).await
}

/// What is added or removed.
enum By {
    Subnet(String),
    Port(String),
}

async fn answer(
    State(controller): State<Arc<Controller>>,
    Path((collection, id)): Target,
    headers: HeaderMap,
    body: Bytes,
    change: fn(&Call<'_>, &Object, By) -> Result<Object, ApiError>,
) -> Result<Response, ApiError> {
    run(controller, headers, true, move |call| {
        if collection != ROUTERS.collection {
            let message = "The resource could not be found.".to_owned();
            return Err(ApiError { status: StatusCode::NOT_FOUND, kind: "HTTPNotFound", message });
        }
        let body = body_object(&body)?;
        let mut router = ROUTERS.find(call, &id)?;
        if !call.context.owns(&router) {
            return Err(ApiError::forbidden("rule:update_router"));
        }
        let by = match (text(&body, "subnet_id"), text(&body, "port_id")) {
            ("", "") => return Err(bad("Either subnet_id or port_id must be specified")),
            (subnet, "") => By::Subnet(subnet.to_owned()),
            ("", port) => By::Port(port.to_owned()),
            _ => return Err(bad("Cannot specify both subnet-id and port-id")),
        };
        let port = change(call, &router, by)?;
        ROUTERS.touch(&mut router);
        store::replace(call.tx, ROUTERS.collection, ROUTERS.columns, &router)?;
        let subnets: Vec<&str> = fixed_ips(&port).map(|(subnet, _)| subnet).collect();
        let answer = json!({
            "id": id, "tenant_id": router.get("project_id"),
            "port_id": port.get("id"), "network_id": port.get("network_id"), "subnet_id": subnets.first(), "subnet_ids": subnets,
        });
        Ok((StatusCode::OK, Some(answer), ROUTERS.collection))
    })
    .await
}

fn bad(reason: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request("BadRequest", format!("Bad router request: {reason}."))
}

fn add(call: &Call<'_>, router: &Object, by: By) -> Result<Object, ApiError> {
    let id = text(router, "id");
    match by {
        By::Subnet(subnet_id) => {
            let subnet = SUBNETS.find(call, &subnet_id)?;
            let gateway = text(&subnet, "gateway_ip");
            if gateway.is_empty() {
                return Err(bad("Subnet for router interface must have a gateway IP"));
            }
            // A guest on a shared network must not become its gateway.
            if !call.context.owns(&subnet) {
                return Err(bad(format!(
                    "Cannot add interface to router because subnet {subnet_id} is not owned by project making the request"
                )));
            }
            refuse_foreign_advertiser(&subnet)?;
            refuse_overlap(call, id, &subnet)?;
            let fixed_ips = json!([{"subnet_id": subnet_id, "ip_address": gateway}]);
            make_port(call, text(router, "project_id"), id, INTERFACE, text(&subnet, "network_id"), Some(&fixed_ips))
        }
        By::Port(port_id) => {
            let mut port = PORTS.find(call, &port_id)?;
            let device = text(&port, "device_id");
            if !device.is_empty() {
                let message = format!(
                    "Unable to complete operation on port {port_id} for network {}. Port already has an attached device {device}.",
                    text(&port, "network_id")
                );
                return Err(ApiError::conflict("PortInUse", message));
            }
            let subnets: Vec<String> = fixed_ips(&port).map(|(subnet, _)| subnet.to_owned()).collect();
            if subnets.is_empty() {
                return Err(bad("Router port must have at least one fixed IP"));
            }
            for subnet in subnets {
                let subnet = SUBNETS.find(call, &subnet)?;
                refuse_foreign_advertiser(&subnet)?;
                refuse_overlap(call, id, &subnet)?;
            }
            port.insert("device_id".into(), json!(id));
            port.insert("device_owner".into(), json!(INTERFACE));
            PORTS.touch(&mut port);
            store::replace(call.tx, PORTS.collection, PORTS.columns, &port)?;
            Ok(port)
        }
    }
}

/// Refuses a subnet whose router advertisements come from somebody else's router.
fn refuse_foreign_advertiser(subnet: &Object) -> Result<(), ApiError> {
    if text(subnet, "ipv6_address_mode").is_empty() || !text(subnet, "ipv6_ra_mode").is_empty() {
        return Ok(());
    }
    Err(bad(format!(
        "IPv6 subnet {} configured to receive RAs from an external router cannot be added to Neutron Router",
        text(subnet, "id")
    )))
}

/// Refuses a subnet that the router has, or whose addresses overlap with those of one that it has.
fn refuse_overlap(call: &Call<'_>, router: &str, subnet: &Object) -> Result<(), ApiError> {
    let mut taken = ports(call, router, INTERFACE)?;
    taken.extend(ports(call, router, super::GATEWAY)?);
    let cidr: Option<IpNet> = text(subnet, "cidr").parse().ok();
    for (other_id, _) in taken.iter().flat_map(fixed_ips) {
        if other_id == text(subnet, "id") {
            return Err(bad(format!("Router already has a port on subnet {other_id}")));
        }
        let other = store::find(call.tx, "subnets", other_id)?.unwrap_or_default();
        let other_cidr: Option<IpNet> = text(&other, "cidr").parse().ok();
        if let (Some(one), Some(two)) = (cidr, other_cidr)
            && (one.contains(&two) || two.contains(&one))
        {
            return Err(bad(format!("Cidr {one} of subnet {} overlaps with cidr {two} of subnet {other_id}", text(subnet, "id"))));
        }
    }
    Ok(())
}

fn remove(call: &Call<'_>, router: &Object, by: By) -> Result<Object, ApiError> {
    let id = text(router, "id");
    let found = ports(call, id, INTERFACE)?.into_iter().find(|port| match &by {
        By::Subnet(subnet) => fixed_ips(port).any(|(other, _)| other == subnet),
        By::Port(port_id) => text(port, "id") == port_id,
    });
    let Some(port) = found else {
        let (kind, message) = match by {
            By::Subnet(subnet) => ("RouterInterfaceNotFoundForSubnet", format!("Router {id} has no interface on subnet {subnet}")),
            By::Port(port) => ("RouterInterfaceNotFound", format!("Router {id} does not have an interface with id {port}")),
        };
        return Err(ApiError { status: StatusCode::NOT_FOUND, kind, message });
    };
    for (subnet, _) in fixed_ips(&port) {
        refuse_needed(call, router, subnet)?;
    }
    // Not by way of the port's own delete, which refuses a router's ports.
    store::remove(call.tx, PORTS.collection, text(&port, "id"))?;
    Ok(port)
}

/// Refuses while a floating IP leads into the subnet or a route leaves through it.
fn refuse_needed(call: &Call<'_>, router: &Object, subnet: &str) -> Result<(), ApiError> {
    let id = text(router, "id");
    let needed = |kind, by: &str| {
        let message =
            format!("Router interface for subnet {subnet} on router {id} cannot be deleted, as it is required by one or more {by}.");
        Err(ApiError::conflict(kind, message))
    };
    let mut query = call.tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM floatingips f JOIN port_addresses a ON a.port_id = f.port_id WHERE f.router_id = ? AND a.subnet_id = ?)",
    )?;
    if query.query_row([id, subnet], |row| row.get(0))? {
        return needed("RouterInterfaceInUseByFloatingIP", "floating IPs");
    }
    let stored = store::find(call.tx, "subnets", subnet)?.unwrap_or_default();
    let cidr: Option<IpNet> = text(&stored, "cidr").parse().ok();
    if routes(router)?.iter().any(|(_, hop)| cidr.is_some_and(|cidr| cidr.contains(hop))) {
        return needed("RouterInterfaceInUseByRoute", "routes");
    }
    Ok(())
}
