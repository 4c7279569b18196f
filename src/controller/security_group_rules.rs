//! Security group rules as a resource.

use super::{
    attributes::{Attribute, Kind, Preset, computed, fixed},
    error::ApiError,
    groups,
    resource::{Call, Resource, as_stored, text},
    rule::{Match, Remote},
    security_groups::{SECURITY_GROUPS, before_list},
    store::{self, Object},
};

// `Kind::Any`: `Match::parse` checks them, in Neutron's order and words.
const ATTRIBUTES: &[Attribute] = &[
    fixed("security_group_id", Kind::Id, Preset::Required),
    fixed("direction", Kind::Any, Preset::Required),
    fixed("ethertype", Kind::Any, Preset::Null),
    fixed("protocol", Kind::Any, Preset::Null),
    fixed("port_range_min", Kind::Any, Preset::Null),
    fixed("port_range_max", Kind::Any, Preset::Null),
    fixed("remote_ip_prefix", Kind::Any, Preset::Null),
    fixed("remote_group_id", Kind::Any, Preset::Null),
    fixed("remote_address_group_id", Kind::Id, Preset::Null),
    computed("normalized_cidr"),
];

/// `/v2.0/security-group-rules`
pub const SECURITY_GROUP_RULES: Resource = Resource {
    singular: "security_group_rule",
    collection: "security_group_rules",
    title: "Security group rule",
    not_found: "SecurityGroupRuleNotFound",
    columns: &["id", "project_id", "security_group_id", "remote_group_id"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete: |_, _| Ok(()),
    before_list,
    view: as_stored,
};

fn update(_call: &Call<'_>, object: Object, _changes: Object) -> Result<Object, ApiError> {
    let id = text(&object, "id");
    Err(ApiError::bad_request("HTTPBadRequest", format!("Security group rule {id} cannot be changed; delete it and make another")))
}

fn create(call: &Call<'_>, object: Object) -> Result<Object, ApiError> {
    if object.get("remote_address_group_id").is_some_and(|value| !value.is_null()) {
        return Err(ApiError::invalid_input("remote_address_group_id", "address groups are not served by this controller"));
    }
    let rule = Match::parse(&object).map_err(|error| ApiError::bad_request(error.kind(), error.to_string()))?;
    let group = SECURITY_GROUPS.find(call, text(&object, "security_group_id"))?;
    if let Remote::Group(remote) = rule.remote {
        SECURITY_GROUPS.find(call, &remote.to_string())?;
    }
    // A rule belongs to its group's project, whoever makes it.
    let id = groups::add_rule(call.tx, text(&group, "project_id"), text(&group, "id"), &rule, text(&object, "description"))?;
    store::find(call.tx, "security_group_rules", &id)?.ok_or_else(|| ApiError::internal(format!("rule {id} is gone")))
}
