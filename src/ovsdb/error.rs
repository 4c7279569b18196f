//! What can go wrong between us and the switch.

use std::{io, path::PathBuf};

/// A change of the switch that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the socket.
    #[error(
        "cannot reach the database of Open vSwitch at {}: {source}; see that ovsdb-server runs, or set [kuryr] ovsdb_socket",
        .socket.display()
    )]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database did not answer in time.
    #[error("{what}: the database of Open vSwitch did not answer within {seconds} s; see that ovsdb-server is not stopped or overloaded")]
    Timeout {
        /// What was asked for.
        what: String,
        /// How long the whole conversation may take.
        seconds: u64,
    },
    /// The database has the change, the switch did not act.
    #[error("{what}: ovs-vswitchd did not take the change up within {seconds} s; see that it runs")]
    SwitchTimeout {
        /// What was asked for.
        what: String,
        /// How long the whole conversation may take.
        seconds: u64,
    },
    /// The connection broke.
    #[error("{what}: the connection to the database of Open vSwitch broke: {source}; it was restarted or refuses this user")]
    Broken {
        /// What was asked for.
        what: String,
        /// How.
        source: io::Error,
    },
    /// The answer does not follow RFC 7047.
    #[error("{what}: the answer of Open vSwitch's database was not understood: {detail}; report this with the version of Open vSwitch")]
    BadReply {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The database refused the transaction, of which nothing is left.
    #[error("{what}: the database of Open vSwitch refused: {error}{}", bracketed(.details))]
    Refused {
        /// What was asked for.
        what: String,
        /// Place of the refused operation in the transaction.
        operation: usize,
        /// The error's short name in RFC 7047, such as `constraint violation`.
        error: String,
        /// The database's sentence, often empty.
        details: String,
    },
    /// The bridge to plug into is not there.
    #[error(
        "Open vSwitch has no bridge {bridge}; the Neutron agent of this host (neutron-openvswitch-agent or ovn-controller) makes it: see that it runs"
    )]
    NoBridge {
        /// Its name.
        bridge: String,
    },
    /// The name of the port belongs to another owner.
    #[error(
        "Open vSwitch has a port {name} already that is not of Neutron port {wanted} (iface-id '{found}'); remove it with ovs-vsctl del-port"
    )]
    Taken {
        /// The name.
        name: String,
        /// The Neutron port it was wanted for.
        wanted: String,
        /// The Neutron port it is of, empty for none.
        found: String,
    },
    /// The switch cannot work with the interface.
    #[error("Open vSwitch cannot use interface {name}: {reason}")]
    Interface {
        /// Its name.
        name: String,
        /// What the switch wrote to the interface's `error` column.
        reason: String,
    },
}

fn bracketed(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}
