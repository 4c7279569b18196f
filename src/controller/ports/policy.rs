//! What only some callers may set on a port: Neutron's default policy (`neutron/conf/policies/port.py`).
//!
//! On a shared network a guest must not lift the checks that protect the network's owner: those on MAC, addresses and router ports.

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use crate::controller::{
    error::ApiError,
    resource::{Call, flag, text},
    routers::{GATEWAY, INTERFACE},
    store::Object,
};

/// Which request sets the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// POST: a value that is the default counts as not given.
    Create,
    /// PUT
    Update,
}

/// Refuses what the caller may not set on a port of `network`.
///
/// # Errors
/// 403 `PolicyNotAuthorized`, naming Neutron's rule.
pub fn check(call: &Call<'_>, network: &Object, action: Action, given: &Object) -> Result<(), ApiError> {
    if call.context.owns(network) {
        // Its owner may lift the checks of a network, but a port's wire is known to this machine by its MAC.
        return match given.contains_key("mac_address") && action == Action::Update && !call.context.admin {
            true => Err(refused(action, "mac_address")),
            false => Ok(()),
        };
    }
    let set = |name: &str| given.get(name).filter(|value| action == Action::Update || **value != json!([]));
    if text(given, "device_owner").starts_with("network:") {
        return Err(refused(action, "device_owner"));
    }
    for name in ["mac_address", "port_security_enabled", "allowed_address_pairs"] {
        if set(name).is_some() {
            return Err(refused(action, name));
        }
    }
    let entries = set("fixed_ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if entries.iter().any(|entry| entry.get("ip_address").is_some()) {
        return Err(refused(action, "fixed_ips:ip_address"));
    }
    if set("fixed_ips").is_some() && !(flag(network, "shared") && action == Action::Create) {
        return Err(refused(action, "fixed_ips"));
    }
    Ok(())
}

fn refused(action: Action, name: &str) -> ApiError {
    let verb = if action == Action::Create { "create" } else { "update" };
    ApiError::forbidden(&format!("rule:{verb}_port:{name}"))
}

/// Refuses to make a port one of a router in another project: that would join the caller's network to it.
///
/// # Errors
/// 409 `DeviceIDNotOwnedByTenant`.
pub fn check_router(call: &Call<'_>, port: &Object) -> Result<(), ApiError> {
    let router = text(port, "device_id");
    if call.context.admin || ![INTERFACE, GATEWAY].contains(&text(port, "device_owner")) {
        return Ok(());
    }
    let mut query = call.tx.prepare_cached("SELECT project_id FROM routers WHERE id = ?")?;
    let owner: Option<String> = query.query_row([router], |row| row.get(0)).optional()?;
    if owner.is_some_and(|owner| owner != call.context.project) {
        let message = format!("The following device_id {router} is not owned by your tenant or matches another tenants router.");
        return Err(ApiError::conflict("DeviceIDNotOwnedByTenant", message));
    }
    Ok(())
}
