//! The table of API extensions. A client decides by it what to send, so an entry stands here only for what the controller serves.

use serde_json::{Value, json};

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
}

const fn extension(alias: &'static str, name: &'static str, updated: &'static str, description: &'static str) -> Extension {
    Extension { alias, name, description, updated }
}

/// Sorted by alias.
const SERVED: &[Extension] = &[
    extension("agent", "agent", "2013-02-03T10:00:00-00:00", "The agent of this host."),
    extension("allowed-address-pairs", "Allowed Address Pairs", "2013-07-23T10:00:00-00:00", "Further addresses that a port may use."),
    extension("binding", "Port Binding", "2014-02-03T10:00:00-00:00", "Expose port bindings of a virtual port to external application"),
    extension(
        "external-net",
        "Neutron external network",
        "2013-01-14T10:00:00-00:00",
        "Adds external network attribute to network resource.",
    ),
    extension("extraroute", "Neutron Extra Route", "2013-02-01T10:00:00-00:00", "Extra routes of a router."),
    extension(
        "ext-gw-mode",
        "Neutron L3 Configurable external gateway mode",
        "2013-03-28T10:00:00-00:00",
        "Switches a router's SNAT on and off.",
    ),
    extension("net-mtu", "Network MTU", "2015-03-25T10:00:00-00:00", "Provides MTU attribute for a network resource."),
    extension("pagination", "Pagination support", "2016-06-12T00:00:00-00:00", "Extension that indicates that pagination is enabled."),
    extension("port-security", "Port Security", "2012-07-23T10:00:00-00:00", "Provides port security"),
    extension(
        "project-id",
        "project_id field enabled",
        "2016-09-09T09:09:09-09:09",
        "Extension that indicates that project_id field is enabled.",
    ),
    extension("quota_details", "Quota details management support", "2017-02-10T10:00:00-00:00", "Limits and use of a project."),
    extension("quotas", "Quota management support", "2012-07-29T10:00:00-00:00", "Expose functions for quotas management per tenant"),
    extension("router", "Neutron L3 Router", "2012-07-20T10:00:00-00:00", "Routers, their interfaces and gateways, and floating IPs."),
    extension("security-group", "security-group", "2012-10-05T10:00:00-00:00", "The security groups extension."),
    extension("sorting", "Sorting support", "2016-06-12T00:00:00-00:00", "Extension that indicates that sorting is enabled."),
    extension(
        "standard-attr-tag",
        "Tag support for resources with standard attribute",
        "2017-01-01T00:00:00-00:00",
        "Tags on network, subnet, subnetpool, port, security_group, security_group_rule, router and floatingip.",
    ),
    extension(
        "stateful-security-group",
        "Stateful security group",
        "2019-11-26T09:00:00-00:00",
        "Indicates if the security group is stateful or not",
    ),
    extension("subnet_allocation", "Subnet Allocation", "2015-03-30T10:00:00-00:00", "Enables allocation of subnets from a subnet pool"),
];

impl Extension {
    /// All of them, sorted by alias.
    pub fn served() -> &'static [Self] {
        SERVED
    }

    /// The one called `alias`, if it is served; Neutron answers 404 otherwise.
    pub fn find(alias: &str) -> Option<&'static Self> {
        SERVED.iter().find(|extension| extension.alias == alias)
    }

    /// The inside of `{"extension": {..}}`.
    pub fn body(&self) -> Value {
        json!({"alias": self.alias, "name": self.name, "description": self.description, "updated": self.updated, "links": []})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Extension;

    #[test]
    fn aliases_are_unique_and_found() {
        let served = Extension::served();
        assert_eq!(served.iter().map(|extension| extension.alias).collect::<BTreeSet<_>>().len(), served.len());
        for extension in served {
            assert_eq!(Extension::find(extension.alias), Some(extension));
        }
        assert_eq!(Extension::find("trunk"), None);
    }

    #[test]
    fn what_kuryr_libnetwork_looks_for_is_there_in_neutrons_form() {
        for alias in ["subnet_allocation", "standard-attr-tag"] {
            let body = Extension::find(alias).unwrap().body();
            let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["alias", "description", "links", "name", "updated"]);
            assert_eq!(body["alias"], alias);
        }
    }
}
