//! What a round of the collector tells.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{super::Error, GRACE};

/// Something that belongs to nobody, or seems to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Its id in Neutron, of a Docker network and an endpoint the engine's, of a switch's port and a link the name.
    pub id: String,
    /// Why nobody seems to need it.
    pub why: String,
    /// Since when, in seconds of Unix time.
    pub since: i64,
    /// After this second it is removed, unless somebody comes for it.
    pub due: i64,
    /// Whether the round has removed it.
    pub removed: bool,
}

/// The kinds of [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A port whose address the engine asked for and did not use, or one made ahead whose network is gone.
    Port,
    /// An endpoint that no container came for.
    Endpoint,
    /// An address pool that no network was made upon.
    Pool,
    /// A Docker network whose pools the engine has given back without deleting it.
    Network,
    /// A Neutron port of this host that the journal does not know.
    LostPort,
    /// A Neutron network made by a request whose answer was lost.
    LostNetwork,
    /// The same of a subnet.
    LostSubnet,
    /// The same of a subnet pool.
    LostSubnetpool,
    /// The same of a router.
    LostRouter,
    /// A Docker network on a Neutron network that it was being put upon when the daemon broke off.
    LostUse,
    /// A port in Open vSwitch whose interface is gone.
    SwitchPort,
    /// A veth pair that no container has.
    Link,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Port,
        Self::Endpoint,
        Self::Pool,
        Self::Network,
        Self::LostPort,
        Self::LostNetwork,
        Self::LostSubnet,
        Self::LostSubnetpool,
        Self::LostRouter,
        Self::LostUse,
        Self::SwitchPort,
        Self::Link,
    ];

    /// The name in metrics and in the commands' output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Endpoint => "endpoint",
            Self::Pool => "pool",
            Self::Network => "network",
            Self::LostPort => "lost_port",
            Self::LostNetwork => "lost_network",
            Self::LostSubnet => "lost_subnet",
            Self::LostSubnetpool => "lost_subnetpool",
            Self::LostRouter => "lost_router",
            Self::LostUse => "lost_use",
            Self::SwitchPort => "switch_port",
            Self::Link => "link",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Port => "its address was asked for or made ahead, and no endpoint came",
            Self::Endpoint => "no container came for it, and its interface is still on this host",
            Self::Pool => "it was asked for, and no network came",
            Self::Network => "its address pools were given back, and it was not deleted",
            Self::LostPort => "it has this host's marks, and neither the journal nor a container nor a device knows it",
            Self::LostNetwork | Self::LostSubnet | Self::LostSubnetpool | Self::LostRouter => {
                "the answer to the request that made it was lost, and nobody has it"
            }
            Self::LostUse => "the request that put it upon a network of Neutron broke off, and left its tags there or a port",
            Self::SwitchPort => "kuryr added it to Open vSwitch, its interface is gone, and the journal does not know it",
            Self::Link => "both its ends are on this host, and neither the journal nor Neutron has a port for it",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Finding {
    pub(super) fn new(kind: Kind, id: impl fmt::Display, since: i64) -> Self {
        Self { kind, id: id.to_string(), why: kind.why().to_owned(), since, due: since + GRACE, removed: false }
    }

    /// Whether its time is over.
    pub fn is_due(&self, now: i64) -> bool {
        now > self.due
    }
}

/// A round of the collector.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// What it found, the oldest first.
    pub findings: Vec<Finding>,
    /// What kept it from seeing or removing more.
    pub troubles: Vec<String>,
}

impl Round {
    pub(super) fn new(mut findings: Vec<Finding>, troubles: &[Error]) -> Self {
        findings.sort_by_key(|finding| finding.since);
        Self { findings, troubles: troubles.iter().map(ToString::to_string).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_one_name_everywhere() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
