//! The table of API extensions. A client decides by it what to send, so an entry stands here only for what the controller serves.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use serde_json::{Value, json};

use super::{
    Controller,
    error::ApiError,
    neutron::{resource, run},
};

/// One extension as `GET /v2.0/extensions/{alias}` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// The name clients look for.
    pub alias: &'static str,
    /// For people.
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    /// When Neutron's own definition was last changed; clients show it and do no more with it.
    pub updated: &'static str,
    /// The collection it is about; without that one it is not served.
    pub collection: &'static str,
}

const fn extension(
    alias: &'static str,
    collection: &'static str,
    name: &'static str,
    updated: &'static str,
    description: &'static str,
) -> Extension {
    Extension { alias, name, description, updated, collection }
}

/// The collections that are served by routes of their own.
const OWN_ROUTES: &[&str] = &["agents", "quotas"];

/// Sorted by alias.
const KNOWN: &[Extension] = &[
    extension("agent", "agents", "agent", "2013-02-03T10:00:00-00:00", "The agent of this host."),
    extension(
        "allowed-address-pairs",
        "ports",
        "Allowed Address Pairs",
        "2013-07-23T10:00:00-00:00",
        "Further addresses that a port may use.",
    ),
    extension(
        "binding",
        "ports",
        "Port Binding",
        "2014-02-03T10:00:00-00:00",
        "Expose port bindings of a virtual port to external application",
    ),
    extension(
        "default-subnetpools",
        "subnetpools",
        "Default Subnetpools",
        "2016-02-18T18:00:00-00:00",
        "Provides ability to mark and use a subnetpool as the default",
    ),
    extension(
        "external-net",
        "networks",
        "Neutron external network",
        "2013-01-14T10:00:00-00:00",
        "Adds external network attribute to network resource.",
    ),
    extension("extraroute", "routers", "Neutron Extra Route", "2013-02-01T10:00:00-00:00", "Extra routes of a router."),
    extension(
        "extraroute-atomic",
        "routers",
        "Atomically add/remove extra routes",
        "2019-07-10T00:00:00+00:00",
        "Edit extra routes of a router on server side by atomically adding/removing extra routes",
    ),
    extension(
        "ext-gw-mode",
        "routers",
        "Neutron L3 Configurable external gateway mode",
        "2013-03-28T10:00:00-00:00",
        "Switches a router's SNAT on and off.",
    ),
    extension("net-mtu", "networks", "Network MTU", "2015-03-25T10:00:00-00:00", "Provides MTU attribute for a network resource."),
    extension(
        "pagination",
        "networks",
        "Pagination support",
        "2016-06-12T00:00:00-00:00",
        "Extension that indicates that pagination is enabled.",
    ),
    extension("port-security", "ports", "Port Security", "2012-07-23T10:00:00-00:00", "Provides port security"),
    extension(
        "project-id",
        "networks",
        "project_id field enabled",
        "2016-09-09T09:09:09-09:09",
        "Extension that indicates that project_id field is enabled.",
    ),
    extension(
        "quota-check-limit",
        "quotas",
        "Quota engine limit check",
        "2022-01-01T00:00:00-00:00",
        "Support for checking the resource usage before applying a new quota limit",
    ),
    extension("quota_details", "quotas", "Quota details management support", "2017-02-10T10:00:00-00:00", "Limits and use of a project."),
    extension(
        "quotas",
        "quotas",
        "Quota management support",
        "2012-07-29T10:00:00-00:00",
        "Expose functions for quotas management per tenant",
    ),
    extension(
        "revision-if-match",
        "networks",
        "If-Match constraints based on revision_number",
        "2016-12-11T00:00:00-00:00",
        "A change is done only at the revision that its If-Match names.",
    ),
    extension(
        "router",
        "routers",
        "Neutron L3 Router",
        "2012-07-20T10:00:00-00:00",
        "Routers, their interfaces and gateways, and floating IPs.",
    ),
    extension("security-group", "security_groups", "security-group", "2012-10-05T10:00:00-00:00", "The security groups extension."),
    extension("sorting", "networks", "Sorting support", "2016-06-12T00:00:00-00:00", "Extension that indicates that sorting is enabled."),
    extension(
        "standard-attr-tag",
        "networks",
        "Tag support for resources with standard attribute",
        "2017-01-01T00:00:00-00:00",
        "Tags on every resource with an id of its own.",
    ),
    extension(
        "stateful-security-group",
        "security_groups",
        "Stateful security group",
        "2019-11-26T09:00:00-00:00",
        "Indicates if the security group is stateful or not",
    ),
    extension(
        "subnet_allocation",
        "subnetpools",
        "Subnet Allocation",
        "2015-03-30T10:00:00-00:00",
        "Enables allocation of subnets from a subnet pool",
    ),
];

impl Extension {
    /// Those whose collection is served, sorted by alias.
    pub fn served() -> impl Iterator<Item = &'static Self> {
        KNOWN.iter().filter(|extension| OWN_ROUTES.contains(&extension.collection) || resource(extension.collection).is_ok())
    }

    /// The one called `alias`, if it is served.
    pub fn find(alias: &str) -> Option<&'static Self> {
        Self::served().find(|extension| extension.alias == alias)
    }

    /// The inside of `{"extension": {..}}`.
    pub fn body(&self) -> Value {
        json!({"alias": self.alias, "name": self.name, "description": self.description, "updated": self.updated, "links": []})
    }
}

/// `/v2.0/extensions`
pub fn router() -> Router<Arc<Controller>> {
    Router::new().route("/networking/v2.0/extensions", get(list)).route("/networking/v2.0/extensions/{id}", get(show))
}

async fn list(State(controller): State<Arc<Controller>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let bodies: Vec<Value> = Extension::served().map(Extension::body).collect();
    run(controller, headers, false, move |_| Ok((StatusCode::OK, Some(json!({"extensions": bodies})), "extensions"))).await
}

async fn show(State(controller): State<Arc<Controller>>, Path(alias): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    run(controller, headers, false, move |_| {
        let alias = alias.strip_suffix(".json").unwrap_or(&alias);
        let missing = || ApiError {
            status: StatusCode::NOT_FOUND,
            kind: "ExtensionNotFound",
            message: format!("Extension with alias {alias} does not exist"),
        };
        let extension = Extension::find(alias).ok_or_else(missing)?;
        Ok((StatusCode::OK, Some(json!({"extension": extension.body()})), "extensions"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Extension, KNOWN};
    use crate::controller::neutron::resource;

    #[test]
    fn aliases_are_unique_and_found_when_their_collection_is_served() {
        assert_eq!(KNOWN.iter().map(|extension| extension.alias).collect::<BTreeSet<_>>().len(), KNOWN.len());
        for extension in Extension::served() {
            assert_eq!(Extension::find(extension.alias), Some(extension));
        }
        for (alias, collection) in [("router", "routers"), ("binding", "ports"), ("subnet_allocation", "subnetpools")] {
            assert_eq!(Extension::find(alias).is_some(), resource(collection).is_ok(), "{alias}");
        }
        assert_eq!(Extension::find("trunk"), None);
    }

    #[test]
    fn what_kuryr_libnetwork_looks_for_is_there_in_neutrons_form() {
        for alias in ["subnet_allocation", "standard-attr-tag"] {
            let body = KNOWN.iter().find(|extension| extension.alias == alias).unwrap().body();
            let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["alias", "description", "links", "name", "updated"]);
            assert_eq!(body["alias"], alias);
        }
    }
}
