//! The host ends of veth pairs, as the collector sees them: those that lead into a container, and those that lead nowhere.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Error,
    names::{container_name, is_tap},
    ovs,
};
use crate::netlink::{self, Link, Socket};

/// The host end of a port's pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnd {
    /// As [`super::tap_name`] forms it.
    pub name: String,
    /// Whether the container's end is on this host as well, under the name that only kuryr gives it, so that no container has it.
    pub idle: bool,
}

/// Those of this host. Taps of virtual machines, which share the naming, are of another kind and left out.
///
/// # Errors
/// The kernel does not answer.
pub fn host_ends() -> Result<Vec<HostEnd>, netlink::Error> {
    let links = Socket::open()?.links()?;
    let pairs: BTreeSet<String> = links.into_iter().filter(is_veth).map(|link| link.name).collect();
    let end =
        |name: &String| HostEnd { name: name.clone(), idle: port_like(name).is_some_and(|port| pairs.contains(&container_name(port))) };
    Ok(pairs.iter().filter(|name| is_tap(name)).map(end).collect())
}

/// Removes a pair that no container has, with the bridge and the second pair of the hybrid plug if they are there; what stays of it in the switch is
/// then found as a [`super::DeadPort`]. Leaves it alone when a container has got it since.
///
/// # Errors
/// The kernel refuses.
pub fn remove_idle(name: &str) -> Result<(), Error> {
    let Some(port) = port_like(name) else { return Ok(()) };
    let refused = |source| Error::Netlink { port, source };
    let mut socket = Socket::open().map_err(refused)?;
    match socket.link(&container_name(port)).map_err(refused)? {
        Some(_) => socket.delete_links(&ovs::links_of(port)).map_err(refused),
        None => Ok(()),
    }
}

fn is_veth(link: &Link) -> bool {
    link.kind == "veth"
}

/// An id that makes the same names as the port's, of which a name has but a part.
fn port_like(tap: &str) -> Option<Uuid> {
    Uuid::parse_str(&format!("{}00-0000-0000-000000000000", tap.strip_prefix("tap")?)).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::tap_name, *};

    #[test]
    fn a_name_has_enough_of_an_id_for_the_other_names() {
        let port = Uuid::parse_str("07791891-0e36-4c5f-8a3b-aabbccddeeff").unwrap();
        let like = port_like(&tap_name(port)).unwrap();
        assert_eq!((tap_name(like), container_name(like)), (tap_name(port), container_name(port)));
        assert_eq!((port_like("tap0"), port_like("eth0")), (None, None));
    }
}
