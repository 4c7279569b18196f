//! What is there at first start: the domain's projects, users and roles, with random passwords in files of mode 0600.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use rusqlite::Transaction;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ApiError, Error,
    keystone::{projects, users},
    secrets,
    store::{self, Object, Store},
};

/// The file with the password of the user `admin`.
pub const ADMIN_PASSWORD: &str = "admin-password";

/// The file with the password of the user `kuryr`, the daemon's.
pub const SERVICE_PASSWORD: &str = "service-password";

/// Makes the default identities in an empty store.
pub fn identities(store: &Store, state_dir: &Path) -> Result<(), Error> {
    let failed = |error: ApiError| Error::Defaults(error.message);
    // Roles cannot be deleted, but the last user can.
    let exists = store.transact(|tx| Ok(!store::select(tx, "roles", None)?.is_empty())).map_err(failed)?;
    if exists {
        return Ok(());
    }
    let admin_password = secrets::random()?;
    let service_password = secrets::random()?;
    let admin_hash = secrets::hash(&admin_password)?;
    let service_hash = secrets::hash(&service_password)?;
    // The files first: a crash in between leaves an empty store, and the next start writes both anew.
    write(state_dir, ADMIN_PASSWORD, &admin_password)?;
    write(state_dir, SERVICE_PASSWORD, &service_password)?;
    let make = |tx: &Transaction<'_>| {
        let role = add(tx, "roles", "admin", complete_role)?;
        add(tx, "roles", "member", complete_role)?;
        add(tx, "roles", "reader", complete_role)?;
        let admin_project = add(tx, "projects", "admin", projects::complete)?;
        let kuryr_project = add(tx, "projects", "kuryr", projects::complete)?;
        let admin = add(tx, "users", "admin", users::complete)?;
        let kuryr = add(tx, "users", "kuryr", users::complete)?;
        for (user, hash) in [(&admin, &admin_hash), (&kuryr, &service_hash)] {
            tx.execute("UPDATE users SET password_hash = ? WHERE id = ?", (hash, user))?;
        }
        for (user, project) in [(&admin, &admin_project), (&admin, &kuryr_project), (&kuryr, &kuryr_project)] {
            tx.execute("INSERT INTO role_assignments (user_id, project_id, role_id) VALUES (?, ?, ?)", (user, project, &role))?;
        }
        Ok(())
    };
    store.transact(make).map_err(failed)
}

fn write(state_dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = state_dir.join(name);
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    open.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| Error::State { action: "write", path, source })
}

/// Adds a user, project or role; its id.
fn add(tx: &Transaction<'_>, table: &str, name: &str, complete: fn(&mut Object) -> String) -> Result<String, ApiError> {
    let mut object: Object = [("name".to_owned(), json!(name))].into_iter().collect();
    let id = complete(&mut object);
    store::insert(tx, table, &["id", "name"], &object)?;
    Ok(id)
}

/// Completes a new role, which belongs to no domain; its id.
fn complete_role(role: &mut Object) -> String {
    let id = Uuid::new_v4().simple().to_string();
    role.insert("id".into(), json!(id));
    role.insert("domain_id".into(), Value::Null);
    role.insert("description".into(), json!(""));
    role.insert("options".into(), json!({}));
    id
}
