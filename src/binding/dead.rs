//! Ports that kuryr added to Open vSwitch and whose interface is gone. A machine that was reset leaves them: its links end with it, and the
//! database of the switch outlives it.

use std::{
    collections::BTreeSet,
    io::ErrorKind::{ConnectionRefused, NotFound},
};

use uuid::Uuid;

use super::{
    Error, Settings,
    names::{prefixed, tap_name},
    ovs::OWNER,
};
use crate::{
    netlink::Socket,
    ovsdb::{self, Client, OwnedPort},
};

/// Such a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadPort {
    /// Its name in the switch.
    pub name: String,
    /// The Neutron port that it was made for.
    pub port: Uuid,
}

/// Those of this host: by the owner, by a name formed from the Neutron port's id, and by the missing link. None where there is no switch.
///
/// # Errors
/// The switch or the kernel does not answer.
pub fn dead_ports(settings: &Settings) -> Result<Vec<DeadPort>, Error> {
    let mut client = match Client::connect(&settings.ovsdb_socket, settings.deadline) {
        Err(ovsdb::Error::Connect { source, .. }) if matches!(source.kind(), NotFound | ConnectionRefused) => return Ok(Vec::new()),
        client => client.map_err(failed)?,
    };
    let owned = client.owned_ports(OWNER).map_err(failed)?;
    // After the ports: one that is being plugged has its link first.
    let links = Socket::open().and_then(|mut socket| socket.links()).map_err(failed)?;
    let links: BTreeSet<String> = links.into_iter().map(|link| link.name).collect();
    Ok(owned.into_iter().filter(|owned| !links.contains(&owned.name)).filter_map(ours).collect())
}

/// Takes such a port out of the switch.
///
/// # Errors
/// The switch does not answer, or the name is another port's by now.
pub fn take_out(dead: &DeadPort, settings: &Settings) -> Result<(), Error> {
    let taken = Client::connect(&settings.ovsdb_socket, settings.deadline)
        .and_then(|mut switch| switch.delete_ports(&[&dead.name], &dead.port.to_string()));
    taken.map_err(|source| Error::Switch { port: dead.port, source })
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Search { reason: error.to_string() }
}

/// The mark of the owner can be written by anybody; a name that kuryr forms from the very port speaks for it too.
fn ours(owned: OwnedPort) -> Option<DeadPort> {
    let port = Uuid::parse_str(&owned.iface_id).ok()?;
    let formed = [tap_name(port), prefixed("qvo", port)].contains(&owned.name);
    formed.then_some(DeadPort { name: owned.name, port })
}
