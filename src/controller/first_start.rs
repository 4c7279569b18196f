//! What is there at first start: the domain's projects, users and roles, with random passwords in files of mode 0600.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use rusqlite::Transaction;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ApiError, Error, secrets,
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
        let role = add(tx, "roles", "admin", None)?;
        add(tx, "roles", "member", None)?;
        add(tx, "roles", "reader", None)?;
        let admin_project = add(tx, "projects", "admin", None)?;
        let kuryr_project = add(tx, "projects", "kuryr", None)?;
        let admin = add(tx, "users", "admin", Some(&admin_hash))?;
        let kuryr = add(tx, "users", "kuryr", Some(&service_hash))?;
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

/// Adds a user, project or role of the domain `default`; its id.
fn add(tx: &Transaction<'_>, table: &str, name: &str, password_hash: Option<&str>) -> Result<String, ApiError> {
    let id = Uuid::new_v4().simple().to_string();
    let domain = if table == "roles" { Value::Null } else { json!("default") };
    let mut object = Object::new();
    object.insert("id".into(), json!(id));
    object.insert("name".into(), json!(name));
    object.insert("domain_id".into(), domain);
    object.insert("description".into(), json!(""));
    object.insert("options".into(), json!({}));
    if table != "roles" {
        object.insert("enabled".into(), json!(true));
    }
    if table == "projects" {
        object.insert("is_domain".into(), json!(false));
        object.insert("parent_id".into(), json!("default"));
        object.insert("tags".into(), json!([]));
    }
    store::insert(tx, table, &["id", "name"], &object)?;
    if let Some(hash) = password_hash {
        tx.execute("UPDATE users SET password_hash = ? WHERE id = ?", (hash, &id))?;
    }
    Ok(id)
}
