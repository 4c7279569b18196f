//! The limits that projects have of their own, and the count of what they use.

use rusqlite::Transaction;

use super::{Limits, QuotaError};

/// The tables, as a step for the store's migrations: quotas, and the counted ones that nothing else brings.
pub const MIGRATION: &str = include_str!("../migrations/0003.sql");

/// Where a resource with a quota is kept.
const TABLES: &[(&str, &str)] = &[
    ("floatingip", "floatingips"),
    ("network", "networks"),
    ("port", "ports"),
    ("router", "routers"),
    ("security_group", "security_groups"),
    ("security_group_rule", "security_group_rules"),
    ("subnet", "subnets"),
    ("subnetpool", "subnetpools"),
];

/// A project's limits: its own over the defaults.
pub fn limits(tx: &Transaction<'_>, project: &str) -> rusqlite::Result<Limits> {
    let mut limits = Limits::default();
    let mut query = tx.prepare_cached("SELECT resource, amount FROM quotas WHERE project_id = ?")?;
    let rows: Vec<(String, i64)> = query.query_map([project], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    // A resource that this version does not count is left alone.
    limits.set(rows.iter().filter_map(|(resource, limit)| Some((TABLES.iter().find(|(known, _)| known == resource)?.0, *limit))));
    Ok(limits)
}

/// Gives a project limits of its own; those not named stay.
pub fn set(tx: &Transaction<'_>, project: &str, limits: &[(&'static str, i64)]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO quotas (project_id, resource, amount) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = excluded.amount",
    )?;
    limits.iter().try_for_each(|(resource, limit)| insert.execute((project, resource, limit)).map(drop))
}

/// Takes a project back to the defaults; false when it had none of its own (404 `TenantQuotaNotFound`).
pub fn reset(tx: &Transaction<'_>, project: &str) -> rusqlite::Result<bool> {
    Ok(tx.prepare_cached("DELETE FROM quotas WHERE project_id = ?")?.execute([project])? > 0)
}

/// The projects with limits of their own.
pub fn projects(tx: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut query = tx.prepare_cached("SELECT DISTINCT project_id FROM quotas ORDER BY project_id")?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// How many objects of `resource` the project has; 0 for a resource without a quota.
pub fn used(tx: &Transaction<'_>, project: &str, resource: &str) -> rusqlite::Result<u64> {
    let Some((_, table)) = TABLES.iter().find(|(known, _)| *known == resource) else { return Ok(0) };
    let count: i64 =
        tx.prepare_cached(&format!("SELECT count(*) FROM {table} WHERE project_id = ?"))?.query_row([project], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Whether `more` objects fit; to be asked in the transaction that makes them. The outer error is the store's.
///
/// # Errors
/// [`QuotaError::Over`] inside.
pub fn enforce(tx: &Transaction<'_>, project: &str, resource: &str, more: u64) -> rusqlite::Result<Result<(), QuotaError>> {
    let limits = limits(tx, project)?;
    // A count reads all of the project's objects: not for a limit that is none.
    let used = if limits.is_limited(resource) { used(tx, project, resource)? } else { 0 };
    Ok(limits.check(resource, used, more))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Limits, MIGRATION, QuotaError, TABLES, enforce, limits, projects, reset, set, used};

    /// A database with our tables and as much of the others' as is counted.
    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for table in ["networks", "ports", "subnets", "subnetpools"] {
            connection.execute_batch(&format!("CREATE TABLE {table} (id TEXT PRIMARY KEY, project_id TEXT NOT NULL) STRICT;")).unwrap();
        }
        connection.execute_batch(crate::controller::groups::MIGRATION).unwrap();
        connection.execute_batch(MIGRATION).unwrap();
        connection
    }

    #[test]
    fn every_resource_with_a_limit_is_counted() {
        let mut connection = database();
        let tx = connection.transaction().unwrap();
        let counted: Vec<&str> = TABLES.iter().map(|(resource, _)| *resource).collect();
        assert_eq!(Limits::default().iter().map(|(resource, _)| resource).collect::<Vec<_>>(), counted);
        for resource in counted {
            assert_eq!(used(&tx, "a", resource).unwrap(), 0);
        }
    }

    #[test]
    fn only_the_projects_own_objects_count_against_its_own_limit() {
        let mut connection = database();
        let tx = connection.transaction().unwrap();
        set(&tx, "a", &[("network", 2), ("port", -1)]).unwrap();
        tx.execute_batch("INSERT INTO networks VALUES ('1', 'a'), ('2', 'b'), ('3', 'b'), ('4', 'b')").unwrap();
        assert_eq!(enforce(&tx, "a", "network", 1).unwrap(), Ok(()));
        assert_eq!(enforce(&tx, "a", "network", 2).unwrap(), Err(QuotaError::Over("network")));
        assert_eq!(enforce(&tx, "b", "network", 2).unwrap(), Ok(()));
        set(&tx, "a", &[("network", 1)]).unwrap();
        assert_eq!(enforce(&tx, "a", "network", 1).unwrap(), Err(QuotaError::Over("network")));
        assert_eq!(projects(&tx).unwrap(), ["a"]);
        assert!(limits(&tx, "a").unwrap().iter().any(|limit| limit == ("port", -1)));
        assert_eq!((reset(&tx, "a").unwrap(), reset(&tx, "a").unwrap()), (true, false));
        assert_eq!(limits(&tx, "a").unwrap(), Limits::default());
    }
}
