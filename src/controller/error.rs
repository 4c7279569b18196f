//! What can go wrong: at start ([`Error`]) and in answer to a request ([`ApiError`]).

use std::{io, path::PathBuf};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::datapath;

/// Why the controller could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the state directory.
    #[error("cannot {action} {path}: {source}; the controller's state directory must be writable by root")]
    State {
        /// "create", "read", "write" or "remove".
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody has started a controller on this state directory yet.
    #[error("cannot read the password in {0}: {1}; start `kuryr serve --embedded` first, with the same state path, and ask as root")]
    Password(PathBuf, io::Error),
    /// The database could not be opened or brought up to date.
    #[error("cannot use the controller's database {path}: {message}; restore it from a copy or move it away to start empty")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// The default objects could not be made.
    #[error("cannot make the controller's default objects: {0}")]
    Defaults(String),
    /// What the datapath has built could not be taken down.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(String),
    /// The listener broke.
    #[error("the controller stopped listening: {0}")]
    Listen(io::Error),
}

/// An error answer of the Neutron API: `{"NeutronError": {"type", "message", "detail"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Neutron's exception name, such as `NetworkNotFound`; empty for an error in Keystone's form.
    pub kind: &'static str,
    /// One sentence for a person.
    pub message: String,
}

impl ApiError {
    /// 400 with Neutron's exception name.
    pub fn bad_request(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }

    /// 400 for an attribute's value, in Neutron's words.
    pub fn invalid_input(attribute: &str, reason: impl AsRef<str>) -> Self {
        Self::bad_request("HTTPBadRequest", format!("Invalid input for {attribute}. Reason: {}.", reason.as_ref()))
    }

    /// 409 with Neutron's exception name.
    pub fn conflict(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, kind, message: message.into() }
    }

    /// 404 with Neutron's exception name, such as (`NetworkNotFound`, "Network", id).
    pub fn not_found(kind: &'static str, title: &str, id: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind, message: format!("{title} {id} could not be found.") }
    }

    /// 403 for an action that only an administrator or the owner may take.
    pub fn forbidden(action: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, kind: "PolicyNotAuthorized", message: format!("({action}) is disallowed by policy") }
    }

    /// An error in Keystone's form: `{"error": {"code", "message", "title"}}`.
    pub fn identity(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, kind: "", message: message.into() }
    }

    /// 401, in Keystone's words, also for Neutron's part: its middleware answers so.
    pub fn unauthorized() -> Self {
        Self::identity(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
    }

    /// 500: the store failed; the text goes to the log, and in short to the caller.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "the controller's store failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "HTTPInternalServerError",
            message: format!("Request Failed: the controller's store failed: {error}"),
        }
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = if self.kind.is_empty() {
            let title = self.status.canonical_reason().unwrap_or_default();
            json!({"error": {"code": self.status.as_u16(), "message": self.message, "title": title}})
        } else {
            json!({"NeutronError": {"type": self.kind, "message": self.message, "detail": ""}})
        };
        json_answer(self.status, &body)
    }
}

/// An answer with a JSON body.
pub fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
