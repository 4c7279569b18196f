//! What the edge answers when a call fails. The engine shows the text to a person verbatim.

use serde_json::json;

use crate::core;

/// Why a call of the engine got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path names no call of the protocol.
    #[error("404 Not Found: '{0}' is no call of the Docker plugin protocol")]
    UnknownCall(String),
    /// Calls are made by POST only.
    #[error("405 Method Not Allowed: {call} was called by {method}; the plugin protocol uses POST only")]
    NotPost {
        /// The call named by the path.
        call: String,
        /// The HTTP method used.
        method: String,
    },
    /// No body where one is needed: engines repeat a broken call without its body (moby/moby#35459).
    #[error(
        "Failed validating {call}: '' is no JSON object. The request came with an empty body: the engine repeats a call whose connection broke without \
         its body. Run the command again"
    )]
    EmptyBody {
        /// The call.
        call: String,
    },
    /// A body longer than the limit, or one that broke off.
    #[error("Failed validating {call}: the body could not be read ({reason}); at most {limit} bytes are taken")]
    Body {
        /// The call.
        call: String,
        /// What the transport said.
        reason: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is no JSON object.
    #[error("Failed validating {call}: '{body}' is no JSON object ({reason})")]
    NotJson {
        /// The call.
        call: String,
        /// The start of the body.
        body: String,
        /// What the parser said.
        reason: String,
    },
    /// A field holds what the protocol does not allow there.
    #[error("Failed validating {field} of {call}: '{value}' is not {expected}")]
    Field {
        /// The call.
        call: String,
        /// The field's name.
        field: String,
        /// What it holds.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The deadline passed. The work goes on behind, so that nothing stays half done.
    #[error(
        "{call} of {object} got no answer within {seconds} s; kuryr goes on behind. See the daemon's log and whether the cloud answers, then run the \
         command again"
    )]
    Deadline {
        /// The call.
        call: String,
        /// The object it was about.
        object: String,
        /// The deadline in seconds.
        seconds: u64,
    },
    /// The call's task broke down: a defect of kuryr.
    #[error("{call} of {object} broke off inside kuryr ({reason}); the daemon's log has the place")]
    Broken {
        /// The call.
        call: String,
        /// The object it was about.
        object: String,
        /// What the runtime said.
        reason: String,
    },
    /// The core refused.
    #[error(transparent)]
    Core(#[from] core::Error),
}

impl Error {
    /// The HTTP status of the reply.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownCall(_) => 404,
            Self::NotPost { .. } => 405,
            Self::EmptyBody { .. } | Self::Body { .. } | Self::NotJson { .. } | Self::Field { .. } => 400,
            Self::Deadline { .. } | Self::Broken { .. } => 500,
            // A status below 400 would be taken for success, or for a redirect.
            Self::Core(error) => match error.status() {
                status @ 400..=599 => status,
                _ => 500,
            },
        }
    }

    /// The body of the reply: NetworkDriver calls read `Err`, IpamDriver calls `Error`.
    pub fn body(&self) -> serde_json::Value {
        let text = self.to_string();
        json!({ "Err": text, "Error": text })
    }
}
