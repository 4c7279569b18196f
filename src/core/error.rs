//! Why the core refuses a request.

use uuid::Uuid;

use crate::{binding, journal, openstack};

/// Why the core refused a request; the engine shows the text to a person verbatim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can never succeed as it stands: the person who typed the command can mend it.
    #[error("{0}")]
    Invalid(String),
    /// What is asked for is held by something else.
    #[error("{0}")]
    Taken(String),
    /// The engine names an object that this host knows nothing of.
    #[error("{0}")]
    Unknown(String),
    /// The cloud refused or did not answer.
    #[error(transparent)]
    Cloud(Box<openstack::Error>),
    /// The host's part failed.
    #[error(transparent)]
    Binding(Box<binding::Error>),
    /// The promise could not be made durable, so it is not given.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// Neutron did not report the port as working in time (`vif_plugging_is_fatal`).
    #[error(
        "port {port} was not ACTIVE after {seconds} s but {status}; see that the Neutron agent of host {host} is alive, or raise [neutron] vif_plugging_timeout"
    )]
    NotActive {
        /// The port.
        port: Uuid,
        /// How long it was waited for.
        seconds: u64,
        /// Its status in Neutron.
        status: String,
        /// This host, as Neutron knows it.
        host: String,
    },
    /// A thread of the daemon broke down; only a fault of kuryr can cause it.
    #[error("{what} broke off: {reason}; this is a fault of kuryr, please report it with the log")]
    Broken {
        /// What it was doing.
        what: String,
        /// What the runtime said.
        reason: String,
    },
}

// An error of the cloud is large, and most answers are no errors.
impl From<openstack::Error> for Error {
    fn from(error: openstack::Error) -> Self {
        Self::Cloud(Box::new(error))
    }
}

impl From<binding::Error> for Error {
    fn from(error: binding::Error) -> Self {
        Self::Binding(Box::new(error))
    }
}

impl Error {
    /// The HTTP status of the reply to the engine: what the cloud answered, as kuryr-libnetwork passes it on, 400 for a request that can
    /// never succeed, else 500.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            // A 404 would tell the engine that the method is not implemented.
            Self::Cloud(error) => error.status().filter(|status| *status >= 400 && *status != 404).unwrap_or(500),
            _ => 500,
        }
    }
}
