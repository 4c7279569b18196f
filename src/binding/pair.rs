//! The port's veth pair.

use std::fs;

use uuid::Uuid;

use super::{
    Vif,
    names::{container_name, tap_name},
};
use crate::{
    mac::MacAddr,
    netlink::{Error, Socket, Veth},
};

/// Makes the pair with MACs, MTU and bridge in one request and brings the host end up; on failure nothing of it stays.
pub(super) fn make(socket: &mut Socket, vif: &Vif, master: Option<u32>) -> Result<(), Error> {
    let (tap, container) = (tap_name(vif.port), container_name(vif.port));
    let veth = Veth {
        name: &tap,
        mac: Some(host_mac(vif.mac)),
        master,
        peer: &container,
        peer_mac: Some(vif.mac),
        peer_netns: None,
        mtu: Some(vif.mtu),
    };
    replace(socket, &veth)?;
    raise(socket, &tap).inspect_err(|_| undo(socket, vif.port, &[tap]))
}

/// Makes a pair. One of that name is from an earlier life of the port, because the core binds only ports that are its own and unbound: it
/// is replaced.
pub(super) fn replace(socket: &mut Socket, veth: &Veth<'_>) -> Result<(), Error> {
    match socket.add_veth(veth) {
        Err(error) if error.is_exists() => {
            socket.delete_link(veth.name)?;
            socket.delete_link(veth.peer)?;
            socket.add_veth(veth)
        }
        other => other,
    }
}

/// Brings up an interface that stays on the host; it never says a word of its own on the network.
pub(super) fn raise(socket: &mut Socket, name: &str) -> Result<(), Error> {
    silence_ipv6(name);
    let missing = || Error::BadReply { what: format!("look up {name}"), detail: "the interface just made is gone".into() };
    let index = socket.link(name)?.ok_or_else(missing)?.index;
    socket.set_up(index)
}

/// Removes what a failed binding has made; the failure is the error to tell.
pub(super) fn undo(socket: &mut Socket, port: Uuid, names: &[String]) {
    if let Err(left) = socket.delete_links(names) {
        tracing::warn!(%port, %left, "an interface of a failed binding stays behind");
    }
}

/// The host end's MAC: the port's with another first octet, the highest that is locally administered. A bridge takes the lowest MAC of its
/// ports for its own, and a host end with the port's very MAC would make the bridge keep the container's frames for itself.
pub(super) fn host_mac(port: MacAddr) -> MacAddr {
    let [first, rest @ ..] = port.0;
    let other = if first == 0xfe { 0xfa } else { 0xfe };
    let [b, c, d, e, f] = rest;
    MacAddr([other, b, c, d, e, f])
}

/// Keeps this host from taking part in the network: no link-local address, no autoconfiguration. A host without IPv6 has no such file.
pub(super) fn silence_ipv6(name: &str) {
    for (file, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{file}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_end_never_has_the_ports_mac() {
        for first in [0x02, 0xfa, 0xfe, 0x00] {
            let port = MacAddr([first, 0x16, 0x3e, 1, 2, 3]);
            assert_ne!(host_mac(port), port);
            assert!(!host_mac(port).is_multicast());
        }
    }
}
