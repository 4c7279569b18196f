//! Roles and who has them: `/v3/roles`, `/v3/role_assignments`, and the grants below a project.

use std::sync::Arc;

use axum::{Router, extract::Path, routing::get};
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::{Answer, Ask, Caller, DOMAIN, Reply, bad_request, done, is_true, not_found, ok};
use crate::controller::{ApiError, Controller, resource::text, store, tokens};

/// The routes.
pub fn router() -> Router<Arc<Controller>> {
    Router::new()
        .route("/identity/v3/roles", get(list))
        .route("/identity/v3/roles/{id}", get(show))
        .route("/identity/v3/role_assignments", get(assignments))
        .route("/identity/v3/projects/{project}/users/{user}/roles", get(granted))
        .route("/identity/v3/projects/{project}/users/{user}/roles/{role}", get(check).put(grant).delete(revoke))
}

async fn list(ask: Ask) -> Reply {
    ask.answer(|caller| {
        caller.must_be_admin("list_roles")?;
        // Without the filter, Keystone lists the roles of no domain, which all are here.
        let mut roles = store::select(caller.tx, "roles", None)?;
        roles.retain(|_| caller.query("domain_id").is_none());
        ok(caller.listed("roles", roles, &["name"]))
    })
    .await
}

async fn show(ask: Ask, Path(id): Path<String>) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("get_role")?;
        ok(json!({"role": caller.shown("roles", caller.find("roles", "role", &id)?)}))
    })
    .await
}

/// One user's role in one project, as a path names it.
struct Place {
    project: String,
    user: String,
    role: String,
}

/// Runs `work` for an administrator on a grant whose parts all exist.
async fn place(ask: Ask, action: &'static str, ids: [String; 3], work: fn(&Caller<'_>, &Place) -> Answer) -> Reply {
    let [project, user, role] = ids;
    let place = Place { project, user, role };
    ask.answer(move |caller| {
        caller.must_be_admin(action)?;
        caller.find("roles", "role", &place.role)?;
        caller.find("users", "user", &place.user)?;
        caller.find("projects", "project", &place.project)?;
        work(caller, &place)
    })
    .await
}

impl Place {
    fn missing(&self) -> ApiError {
        let message = format!("role assignment with role: {}, user or group: {}, project, domain, or system", self.role, self.user);
        not_found(&message, &self.project)
    }
}

async fn check(ask: Ask, Path((project, user, role)): Path<(String, String, String)>) -> Reply {
    place(ask, "check_grant", [project, user, role], |caller, place| {
        let sql = "SELECT 1 FROM role_assignments WHERE project_id = ? AND user_id = ? AND role_id = ?";
        let found: Option<i64> = caller.tx.query_row(sql, (&place.project, &place.user, &place.role), |row| row.get(0)).optional()?;
        found.map_or_else(|| Err(place.missing()), |_| done())
    })
    .await
}

async fn grant(ask: Ask, Path((project, user, role)): Path<(String, String, String)>) -> Reply {
    place(ask, "create_grant", [project, user, role], |caller, place| {
        let sql = "INSERT OR IGNORE INTO role_assignments (project_id, user_id, role_id) VALUES (?, ?, ?)";
        caller.tx.execute(sql, (&place.project, &place.user, &place.role))?;
        done()
    })
    .await
}

async fn revoke(ask: Ask, Path((project, user, role)): Path<(String, String, String)>) -> Reply {
    place(ask, "revoke_grant", [project, user, role], |caller, place| {
        let Place { project, user, role } = place;
        let sql = "DELETE FROM role_assignments WHERE project_id = ? AND user_id = ? AND role_id = ?";
        if caller.tx.execute(sql, (project, user, role))? == 0 {
            return Err(place.missing());
        }
        // As in Keystone, where the application credential of somebody who has lost a role would outlive the reason it was made for.
        caller.tx.execute("DELETE FROM application_credentials WHERE user_id = ? AND project_id = ?", (user, project))?;
        let sql = "SELECT EXISTS (SELECT 1 FROM role_assignments WHERE user_id = ? AND project_id = ?)";
        let roles_left: bool = caller.tx.query_row(sql, (user, project), |row| row.get(0))?;
        if !roles_left {
            tokens::revoke_all(caller.tx, user, Some(project))?;
        }
        done()
    })
    .await
}

async fn granted(ask: Ask, Path((project, user)): Path<(String, String)>) -> Reply {
    ask.answer(move |caller| {
        caller.must_be_admin("list_grants")?;
        caller.find("users", "user", &user)?;
        caller.find("projects", "project", &project)?;
        let mut query = caller.tx.prepare_cached("SELECT role_id FROM role_assignments WHERE user_id = ? AND project_id = ?")?;
        let held = query.query_map((&user, &project), |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        let mut roles = store::select(caller.tx, "roles", None)?;
        roles.retain(|role| held.iter().any(|id| id == text(role, "id")));
        ok(caller.listed("roles", roles, &[]))
    })
    .await
}

/// A row of the list: ids of user, project and role, and their names.
type Row = [String; 6];

async fn assignments(ask: Ask) -> Reply {
    ask.answer(|caller| {
        caller.must_be_admin("list_role_assignments")?;
        let switch = |name: &str| caller.query(name).is_some_and(is_true);
        for (one, other) in [
            ("scope.domain.id", "scope.project.id"),
            ("scope.domain.id", "scope.system"),
            ("scope.project.id", "scope.system"),
            ("user.id", "group.id"),
        ] {
            if caller.query(one).is_some() && caller.query(other).is_some() {
                return Err(bad_request(format!("Specify {one} or {other}, not both")));
            }
        }
        // Groups, roles on domains and on the system, and inherited roles do not exist here: asked for, they are none.
        let elsewhere = ["group.id", "scope.domain.id", "scope.system", "scope.OS-INHERIT:inherited_to"];
        let mut rows =
            if elsewhere.iter().any(|name| caller.query(name).is_some()) { Vec::new() } else { rows(caller, switch("effective"))? };
        for (at, name) in [(0, "user.id"), (1, "scope.project.id"), (2, "role.id")] {
            rows.retain(|row| caller.query(name).is_none_or(|wanted| row[at] == wanted));
        }
        let shown: Vec<Value> = rows.iter().map(|row| shown(caller, row, switch("include_names"))).collect();
        let links = json!({"next": null, "self": caller.url("role_assignments"), "previous": null});
        ok(json!({"role_assignments": shown, "links": links}))
    })
    .await
}

/// The assignments as they were made, or with all they imply.
fn rows(caller: &Caller<'_>, effective: bool) -> Result<Vec<Row>, ApiError> {
    let table = if effective { "effective_roles" } else { "role_assignments" };
    let mut query = caller.tx.prepare(&format!(
        "SELECT u.id, p.id, r.id, u.name, p.name, r.name FROM {table} a
         JOIN users u ON u.id = a.user_id JOIN projects p ON p.id = a.project_id JOIN roles r ON r.id = a.role_id
         ORDER BY u.name, p.name, r.name"
    ))?;
    let row = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]);
    Ok(query.query_map([], row)?.collect::<Result<_, _>>()?)
}

fn shown(caller: &Caller<'_>, [user, project, role, user_name, project_name, role_name]: &Row, names: bool) -> Value {
    let assignment = caller.url(&format!("projects/{project}/users/{user}/roles/{role}"));
    let links = json!({"assignment": assignment});
    if !names {
        return json!({"user": {"id": user}, "scope": {"project": {"id": project}}, "role": {"id": role}, "links": links});
    }
    let domain = json!({"id": DOMAIN, "name": "Default"});
    json!({
        "user": {"id": user, "name": user_name, "domain": domain},
        "scope": {"project": {"id": project, "name": project_name, "domain": domain}},
        "role": {"id": role, "name": role_name},
        "links": links,
    })
}
