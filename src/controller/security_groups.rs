//! Security groups as a resource.

use serde_json::{Value, json};

use super::{
    attributes::{Attribute, Kind, Preset, computed, writable},
    error::ApiError,
    groups::{self, DEFAULT_NAME},
    query::Query,
    resource::{Call, Only, Resource, merge, text},
    rule::Match,
    store::{self, Object},
};

const ATTRIBUTES: &[Attribute] = &[
    writable("name", Kind::Text(255), Preset::Empty),
    writable("stateful", Kind::Bool, Preset::True),
    computed("security_group_rules"),
    computed("shared"),
];

/// `/v2.0/security-groups`
pub const SECURITY_GROUPS: Resource = Resource {
    singular: "security_group",
    collection: "security_groups",
    title: "Security group",
    not_found: "SecurityGroupNotFound",
    columns: &["id", "project_id", "name"],
    attributes: ATTRIBUTES,
    create,
    update,
    delete,
    before_list,
    view,
};

/// For the lists of groups and of rules: a project has its default group when it first looks, as in Neutron; an administrator may look at another project's.
pub fn before_list(call: &Call<'_>, query: &Query) -> Result<Only, ApiError> {
    let asked = query.iter().find(|(name, _)| name == "project_id" || name == "tenant_id").map(|(_, project)| project.as_str());
    let project = asked.filter(|_| call.context.admin).unwrap_or(&call.context.project);
    let mut query = call.tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM projects WHERE id = ?)")?;
    if query.query_row([project], |row| row.get(0))? {
        groups::ensure_default(call.tx, project)?;
    }
    Ok(None)
}

fn create(call: &Call<'_>, mut object: Object) -> Result<Object, ApiError> {
    let (id, project) = (text(&object, "id").to_owned(), text(&object, "project_id").to_owned());
    // The default group comes first, as in Neutron: it must not be taken for the one that is being made.
    groups::ensure_default(call.tx, &project)?;
    if text(&object, "name") == DEFAULT_NAME {
        return Err(ApiError::conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists."));
    }
    object.insert("shared".to_owned(), json!(false));
    SECURITY_GROUPS.insert(call, &object)?;
    for rule in Match::of_new_group() {
        groups::add_rule(call.tx, &project, &id, &rule, "")?;
    }
    Ok(object)
}

fn update(call: &Call<'_>, object: Object, changes: Object) -> Result<Object, ApiError> {
    let renamed = changes.get("name").is_some_and(|name| Some(name) != object.get("name"));
    if renamed && text(&object, "name") == DEFAULT_NAME {
        return Err(ApiError::conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed."));
    }
    if renamed && text(&changes, "name") == DEFAULT_NAME {
        return Err(ApiError::conflict("SecurityGroupDefaultAlreadyExists", "Default security group already exists."));
    }
    if changes.get("stateful").is_some_and(|stateful| Some(stateful) != object.get("stateful")) {
        refuse_in_use(call, text(&object, "id"))?;
    }
    merge(call, object, changes)
}

fn delete(call: &Call<'_>, object: &Object) -> Result<(), ApiError> {
    if text(object, "name") == DEFAULT_NAME && !call.context.admin {
        return Err(ApiError::conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group."));
    }
    refuse_in_use(call, text(object, "id"))
}

fn refuse_in_use(call: &Call<'_>, id: &str) -> Result<(), ApiError> {
    let mut query = call.tx.prepare_cached("SELECT EXISTS (SELECT 1 FROM port_security_groups WHERE group_id = ?)")?;
    if query.query_row([id], |row| row.get(0))? {
        return Err(ApiError::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")));
    }
    Ok(())
}

fn view(call: &Call<'_>, object: &mut Object) -> Result<(), ApiError> {
    let rules = store::select(call.tx, "security_group_rules", Some(("security_group_id", text(object, "id"))))?;
    object.insert("security_group_rules".to_owned(), Value::Array(rules.into_iter().map(Value::Object).collect()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{context::Context, error::ApiError, resource::Call, security_group_rules::SECURITY_GROUP_RULES, store::Store},
        SECURITY_GROUPS,
    };

    #[test]
    fn groups_and_rules_live_by_neutrons_rules() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("controller.db")).unwrap();
        let context = Context { user: "u".to_owned(), project: "a".to_owned(), admin: false, member: true };
        store
            .transact(|tx| {
                let call = Call { tx, context: &context, host: "here" };
                let post = |body: Value| SECURITY_GROUPS.post(&call, body.as_object().unwrap().clone());
                let made = post(json!({"security_group": {"name": "web"}}))?;
                let group = &made["security_group"];
                assert_eq!(group["security_group_rules"].as_array().unwrap().len(), 2);
                assert_eq!(post(json!({"security_group": {"name": "default"}})).unwrap_err().kind, "SecurityGroupDefaultAlreadyExists");
                let rule = |more: &str| {
                    let body = json!({"security_group_rule": {"security_group_id": group["id"], "direction": "ingress", "protocol": more}});
                    SECURITY_GROUP_RULES.post(&call, body.as_object().unwrap().clone())
                };
                let made = rule("tcp")?;
                assert_eq!(made["security_group_rule"]["ethertype"], "IPv4");
                assert_eq!(rule("6").unwrap_err().kind, "SecurityGroupRuleExists");
                assert_eq!(rule("bogus").unwrap_err().kind, "SecurityGroupRuleInvalidProtocol");
                let id = group["id"].as_str().unwrap();
                SECURITY_GROUPS.remove(&call, id)?;
                assert_eq!(
                    SECURITY_GROUP_RULES.list(&call, &vec![("security_group_id".into(), id.into())], "")?["security_group_rules"],
                    json!([])
                );
                Ok::<_, ApiError>(())
            })
            .unwrap();
    }
}
