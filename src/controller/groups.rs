//! Security groups in the store: the default group of a project, a group's rules, and which ports are members.

use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    error::ApiError,
    rule::{Match, Remote},
};

/// The tables, as a step for the store's migrations; they refer to `ports`.
pub const MIGRATION: &str = include_str!("migrations/0002.sql");

/// The group that every project has, and that ports get when the request names none.
pub const DEFAULT_NAME: &str = "default";

/// Why the groups could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// SQLite.
    #[error("the security groups could not be read or written: {0}")]
    Store(#[from] rusqlite::Error),
    /// The group decides so already: 409 `SecurityGroupRuleExists`.
    #[error("Security group rule already exists. Rule id is {0}.")]
    RuleExists(String),
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::RuleExists(_) => Self::conflict("SecurityGroupRuleExists", error.to_string()),
            GroupError::Store(_) => Self::internal(error),
        }
    }
}

/// The id of the project's default group, which is made with its four rules when it is not there.
pub fn ensure_default(tx: &Transaction<'_>, project: &str) -> Result<String, GroupError> {
    let found: Option<String> = tx
        .prepare_cached("SELECT id FROM security_groups WHERE project_id = ? AND name = ?")?
        .query_row((project, DEFAULT_NAME), |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let id = Uuid::new_v4();
    insert(tx, id, project, DEFAULT_NAME, "Default security group", true)?;
    for rule in Match::of_default_group(id) {
        add_rule(tx, project, &id.to_string(), &rule, "")?;
    }
    Ok(id.to_string())
}

/// Makes a group with the two rules of every new one and gives back its id.
///
/// # Errors
/// A broken UNIQUE constraint when the project has a group `default` and this is to be another.
pub fn create(tx: &Transaction<'_>, project: &str, name: &str, description: &str, stateful: bool) -> Result<String, GroupError> {
    let id = Uuid::new_v4();
    insert(tx, id, project, name, description, stateful)?;
    for rule in Match::of_new_group() {
        add_rule(tx, project, &id.to_string(), &rule, "")?;
    }
    Ok(id.to_string())
}

fn insert(tx: &Transaction<'_>, id: Uuid, project: &str, name: &str, description: &str, stateful: bool) -> Result<(), GroupError> {
    let document = standard(tx, &id.to_string(), project, description, json!({"name": name, "stateful": stateful, "shared": false}))?;
    tx.prepare_cached("INSERT INTO security_groups (id, project_id, name, document) VALUES (?, ?, ?, ?)")?.execute((
        id.to_string(),
        project,
        name,
        document.to_string(),
    ))?;
    Ok(())
}

/// Adds a rule to a group and gives back its id.
///
/// # Errors
/// [`GroupError::RuleExists`] when the group has a rule that decides the same.
pub fn add_rule(tx: &Transaction<'_>, project: &str, group: &str, rule: &Match, description: &str) -> Result<String, GroupError> {
    let identity = Value::Object(rule.identity().body()).to_string();
    let same: Option<String> = tx
        .prepare_cached("SELECT id FROM security_group_rules WHERE security_group_id = ? AND identity = ?")?
        .query_row((group, &identity), |row| row.get(0))
        .optional()?;
    if let Some(id) = same {
        return Err(GroupError::RuleExists(id));
    }
    let id = Uuid::new_v4().to_string();
    let mut body = rule.body();
    body.insert("security_group_id".to_owned(), json!(group));
    let document = standard(tx, &id, project, description, Value::Object(body))?;
    let remote = match rule.remote {
        Remote::Group(remote) => Some(remote.to_string()),
        Remote::Any | Remote::Prefix(_) => None,
    };
    tx.prepare_cached(
        "INSERT INTO security_group_rules (id, project_id, security_group_id, remote_group_id, identity, document) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((&id, project, group, remote, identity, document.to_string()))?;
    Ok(id)
}

/// `fields` with what every resource shows.
fn standard(tx: &Transaction<'_>, id: &str, project: &str, description: &str, fields: Value) -> Result<Value, GroupError> {
    let now: String = tx.prepare_cached("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', 'now')")?.query_row([], |row| row.get(0))?;
    let mut document = json!({
        "id": id, "project_id": project, "tenant_id": project, "description": description, "tags": [],
        "created_at": now, "updated_at": now, "revision_number": 0,
    });
    if let (Value::Object(document), Value::Object(fields)) = (&mut document, fields) {
        document.extend(fields);
    }
    Ok(document)
}

/// Makes the port a member of these groups and of no others.
///
/// # Errors
/// A broken FOREIGN KEY constraint when the port or a group does not exist.
pub fn set_port_groups(tx: &Transaction<'_>, port: &str, groups: &[String]) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM port_security_groups WHERE port_id = ?")?.execute([port])?;
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO port_security_groups (port_id, group_id) VALUES (?, ?)")?;
    groups.iter().try_for_each(|group| insert.execute((port, group)).map(drop))
}

/// The groups of one port, by id.
pub fn groups_of_port(tx: &Transaction<'_>, port: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = tx.prepare_cached("SELECT group_id FROM port_security_groups WHERE port_id = ? ORDER BY group_id")?;
    query.query_map([port], |row| row.get(0))?.collect()
}

/// Every membership as (port, group), for the datapath.
pub fn memberships(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(String, String)>> {
    let mut query = tx.prepare_cached("SELECT port_id, group_id FROM port_security_groups ORDER BY port_id, group_id")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

#[cfg(test)]
mod tests;
