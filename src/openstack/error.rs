//! What can go wrong between kuryr and the cloud, in words for the person who has to do something about it.

use std::time::Duration;

use serde_json::Value;

use super::told::Told;

/// A call to the cloud failed. Cheap to clone: one failed authentication is shared by all who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Neutron answered with an error.
    #[error("cannot {what}: Neutron answered {status}{}{}{}; {}", labelled(kind), told(message, detail), request(request_id), neutron_remedy(*status, kind))]
    Neutron {
        /// What was tried, on which object.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Neutron's `type`, such as `IpAddressAlreadyAllocated`; empty when the body was not Neutron's.
        kind: String,
        /// Neutron's `message`.
        message: String,
        /// Neutron's `detail`; mostly empty.
        detail: String,
        /// `x-openstack-request-id`, under which the cloud's logs tell more.
        request_id: Option<String>,
    },
    /// Keystone answered with an error.
    #[error("cannot {what}: Keystone answered {status}{}{}; {}", told(message, ""), request(request_id), keystone_remedy(*status))]
    Keystone {
        /// What was tried.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Keystone's `title`, such as `Unauthorized`.
        kind: String,
        /// Keystone's `message`.
        message: String,
        /// `x-openstack-request-id`.
        request_id: Option<String>,
    },
    /// What answered a login is no Keystone: it does not know the path, and says so in other words than Keystone's.
    #[error(
        "cannot {what}: there is no Keystone at {url}, where something else answered {status}; write Keystone's address in auth_url, such as http://HOST:5000/v3"
    )]
    NoKeystone {
        /// What was tried.
        what: String,
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// There was no connection.
    #[error(
        "cannot {what}: no connection to {service} at {url}: {reason}; check that the address is right and that the service runs and is reachable from this host"
    )]
    Unreachable {
        /// What was tried.
        what: String,
        /// `Keystone` or `Neutron`.
        service: &'static str,
        /// Where.
        url: String,
        /// What the operating system or TLS said.
        reason: String,
    },
    /// The connection ended in the middle; whether the request was carried out is not known.
    #[error(
        "cannot {what}: the connection to {service} at {url} broke: {reason}; try again, and look into the log of the service or of the proxy before it if it happens often"
    )]
    Broken {
        /// What was tried.
        what: String,
        /// `Keystone` or `Neutron`.
        service: &'static str,
        /// Where.
        url: String,
        /// What the operating system said.
        reason: String,
    },
    /// TLS was refused, by us or by the service.
    #[error("cannot {what}: no TLS with {service} at {url}: {reason}; {remedy}")]
    Tls {
        /// What was tried.
        what: String,
        /// `Keystone` or `Neutron`.
        service: &'static str,
        /// Where.
        url: String,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// No answer in time.
    #[error(
        "cannot {what}: {service} at {url} gave no answer within {after:?}; check the load of the service and the network on the way, or raise 'timeout'"
    )]
    Timeout {
        /// What was tried.
        what: String,
        /// `Keystone` or `Neutron`.
        service: &'static str,
        /// Where.
        url: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The catalog has no Neutron for us.
    #[error("cannot find Neutron: the service catalog has no endpoint of type 'network' with interface '{interface}'{}; it offers {offered}; set region_name, endpoint_type or endpoint_override accordingly", region.as_ref().map_or_else(String::new, |region| format!(" in region '{region}'")))]
    NoEndpoint {
        /// The interface asked for.
        interface: String,
        /// The region asked for.
        region: Option<String>,
        /// What there is instead.
        offered: String,
    },
    /// The answer is not what the API promises.
    #[error(
        "cannot {what}: {service} at {url} sent an answer that cannot be read: {reason}; check that the address is that of {service} and not of a proxy or another service"
    )]
    BadReply {
        /// What was tried.
        what: String,
        /// `Keystone` or `Neutron`.
        service: &'static str,
        /// Where.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings do not suffice or contradict each other.
    #[error("cannot use the cloud's settings: {reason}")]
    Settings {
        /// What is wrong, and what to write instead.
        reason: String,
    },
}

impl Error {
    /// The HTTP status, if the cloud answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Neutron { status, .. } | Self::Keystone { status, .. } | Self::NoKeystone { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Neutron's type or Keystone's title; empty for everything else.
    pub fn kind(&self) -> &str {
        match self {
            Self::Neutron { kind, .. } | Self::Keystone { kind, .. } => kind,
            _ => "",
        }
    }

    /// Whether Neutron does not know the object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Neutron { status: 404, .. })
    }

    /// Whether Neutron refuses because of something that exists: an address or a MAC in use, a quota, a subnet with ports.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Neutron { status: 409, .. })
    }

    /// Whether Neutron refuses because the object is no more as it was when it was read.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Neutron { status: 412, .. })
    }

    /// Whether the request may have been carried out all the same: its answer was lost, or a proxy answered in Neutron's place.
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::BadReply { .. } | Self::Broken { .. } => true,
            _ => self.status().is_some_and(|status| (502..=504).contains(&status)),
        }
    }

    /// Whether the cloud is away or out of order, which says nothing of the request itself.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Broken { .. } | Self::Unreachable { .. } => true,
            _ => self.status().is_some_and(|status| status >= 500),
        }
    }

    /// The id under which the cloud's logs tell more.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Neutron { request_id, .. } | Self::Keystone { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }

    /// Reads an error body of Neutron, or of what stands before it; see [`Told`].
    pub(super) fn neutron(what: String, status: u16, body: &[u8], request_id: Option<String>) -> Self {
        let Told { kind, message, detail } = Told::read(body);
        Self::Neutron { what, status, kind, message, detail, request_id }
    }

    /// Reads an error body of Keystone, or of what stands before it; see [`Told`].
    pub(super) fn keystone(what: String, status: u16, body: &[u8], request_id: Option<String>) -> Self {
        let Told { kind, message, .. } = Told::read(body);
        Self::Keystone { what, status, kind, message, request_id }
    }

    /// For an answer to a login with this status and body: whether it comes from a service that has no such path and is no Keystone.
    pub(super) fn is_no_keystone(status: u16, body: &[u8]) -> bool {
        // Keystone's own errors are `{"error": {"code", "title", "message"}}`.
        let keystones = || serde_json::from_slice::<Value>(body).is_ok_and(|body| body["error"].is_object());
        matches!(status, 404 | 405 | 410 | 501) && !keystones()
    }

    /// Says where a redirect leads, if it is one: none is followed, since a token must not go to a host that nobody configured.
    pub(super) fn moved_to(mut self, location: Option<&str>) -> Self {
        if let Self::Neutron { status: 300..=399, message, .. } | Self::Keystone { status: 300..=399, message, .. } = &mut self
            && let Some(location) = location
        {
            *message = format!("it has moved to {location}");
        }
        self
    }

    /// Takes a secret out of the service's own words: Keystone repeats values that it finds malformed.
    pub(super) fn without(mut self, secret: Option<&str>) -> Self {
        if let Self::Keystone { message, .. } = &mut self
            && let Some(secret) = secret.filter(|secret| !secret.is_empty())
        {
            *message = message.replace(secret, "***");
        }
        self
    }
}

fn labelled(kind: &str) -> String {
    if kind.is_empty() { String::new() } else { format!(" {kind}") }
}

fn told(message: &str, detail: &str) -> String {
    let mut told = String::new();
    for part in [message, detail] {
        let part = part.trim().trim_end_matches('.');
        if !part.is_empty() {
            told.push_str(": ");
            told.push_str(part);
        }
    }
    told
}

fn request(request_id: &Option<String>) -> String {
    request_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"))
}

fn neutron_remedy(status: u16, kind: &str) -> &'static str {
    match (status, kind) {
        (300..=399, _) => "correct the endpoint in the catalog, or set endpoint_override",
        (_, "OverQuota") => "delete what is no longer used or have the project's quota raised",
        (_, "IpAddressInUse" | "IpAddressAlreadyAllocated") => "choose another address or delete the port that holds it",
        (_, "MacAddressInUse") => "choose another MAC or delete the port that holds it",
        (_, "IpAddressGenerationFailure" | "NoIpsAvailable") => "delete ports that are no longer used or add a larger subnet",
        (_, "SubnetAllocationError") => "choose a range that is free in the subnet pool",
        (_, "NetworkInUse" | "SubnetInUse" | "SubnetPoolInUse" | "RouterInUse" | "RouterInterfaceInUseByFloatingIP") => {
            "remove what still uses it first"
        }
        (400, _) => "correct the value that it names",
        (401, _) => "check that Neutron and kuryr use the same Keystone and that Neutron's own service user may validate tokens",
        (403, _) => "use a user with the rights for it or have the cloud's policy allow it",
        (404, _) => "check that the object still exists and belongs to the project kuryr uses",
        (409, _) => "remove what stands in the way, or try again when the other change is done",
        (412, _) => "try again; somebody changed it at the same moment",
        (413 | 429, _) => "try again later; the cloud limits the size or the rate of requests",
        (500..=599, _) => "look for the request id in Neutron's log; it is a fault of the cloud",
        _ => "look for the request id in Neutron's log",
    }
}

fn keystone_remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "write Keystone's present address in auth_url",
        400 => "check that user, project and domain are all given",
        401 => "check user, password or application credential, the project and the domains; it may also be locked or expired",
        403 => "give the user a role in the project, or use another user",
        404 => "check auth_url; for Keystone it mostly ends in /v3",
        409 => "try again; Keystone was changing the same object",
        413 | 429 => "try again later; Keystone limits the size or the rate of requests",
        500..=599 => "look for the request id in Keystone's log; it is a fault of the cloud",
        _ => "look for the request id in Keystone's log",
    }
}
