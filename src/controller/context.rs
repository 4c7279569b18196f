//! Who asks, and what that caller may see.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use rusqlite::{OptionalExtension, Transaction};
use serde_json::json;
use time::{OffsetDateTime, macros::format_description};

use super::{error::ApiError, store::Object};

/// The caller of a request, from its token.
#[derive(Debug, Clone)]
pub struct Context {
    /// The user.
    pub user: String,
    /// The project of the token's scope; empty without one.
    pub project: String,
    /// Whether the token carries the role `admin`.
    pub admin: bool,
    /// Whether it carries the role `member`, as administrators' tokens do: who has no more than `reader` changes nothing.
    pub member: bool,
}

impl Context {
    /// The controller itself, acting for a project.
    pub fn internal(project: &str) -> Self {
        Self { user: String::new(), project: project.to_owned(), admin: true, member: true }
    }

    /// Looks the request's token up; none, an unknown and an expired one are 401.
    pub fn of(tx: &Transaction<'_>, headers: &HeaderMap) -> Result<Self, ApiError> {
        let token = headers.get("x-auth-token").and_then(|value| value.to_str().ok()).ok_or_else(ApiError::unauthorized)?;
        let mut query = tx.prepare_cached(
            "SELECT user_id, coalesce(project_id, ''), EXISTS (SELECT 1 FROM token_roles WHERE token_id = t.id AND name = 'admin'),
             EXISTS (SELECT 1 FROM token_roles WHERE token_id = t.id AND name = 'member')
             FROM tokens t WHERE id = ?1 AND expires_at > ?2",
        )?;
        query
            .query_row((token, seconds()), |row| {
                Ok(Self { user: row.get(0)?, project: row.get(1)?, admin: row.get(2)?, member: row.get(3)? })
            })
            .optional()?
            .ok_or_else(ApiError::unauthorized)
    }

    /// Whether the caller may change the object.
    pub fn owns(&self, object: &Object) -> bool {
        self.admin || self.member && self.is_of_project(object)
    }

    fn is_of_project(&self, object: &Object) -> bool {
        object.get("project_id").and_then(|value| value.as_str()) == Some(self.project.as_str())
    }

    /// Whether the caller may see the object: its own, shared or external ones.
    pub fn sees(&self, object: &Object) -> bool {
        let flag = |name: &str| object.get(name) == Some(&json!(true));
        self.admin || self.is_of_project(object) || flag("shared") || flag("router:external")
    }
}

/// Seconds since 1970.
pub fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

/// A moment as Neutron writes it, such as `2026-11-23T15:46:56Z`.
pub fn timestamp(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")).unwrap_or_default()
}
