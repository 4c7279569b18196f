//! Making and removing the interface of one port.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

use super::names::{bridge_name, container_name, tap_name};
use crate::{
    mac::MacAddr,
    netlink::{self, Link, Socket, Veth},
};

/// A port as far as its interface depends on it.
#[derive(Debug, Clone)]
pub struct Vif {
    /// Neutron's port.
    pub port: Uuid,
    /// Its network.
    pub network: Uuid,
    /// Its project.
    pub project: String,
    /// Docker's endpoint.
    pub endpoint: String,
    /// MAC of the container's end.
    pub mac: MacAddr,
    /// MTU of the network, in bytes; both ends get it.
    pub mtu: u32,
    /// Neutron's `binding:vif_type`.
    pub vif_type: String,
    /// Neutron's `binding:vif_details`; `bridge_name` in it goes before the name made from the network.
    pub vif_details: serde_json::Value,
    /// The host in `binding:host_id`, for the error texts.
    pub host: String,
}

/// One binding at a time: the kernel's own lock lets one in anyway, and the writes of [`silence_ipv6`] do not queue for it but spin (its
/// `addrconf_disable_ipv6` tries the lock and restarts), which makes 50 bindings at once ten times slower.
static TURN: Mutex<()> = Mutex::new(());

/// Why a port got no interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neutron found nobody to wire the port.
    #[error(
        "port {port}: Neutron answered vif_type binding_failed, that is, no agent on host '{host}' took the port; see that the L2 agent runs there and that its host name is the one in kuryr.conf"
    )]
    BindingFailed {
        /// The port.
        port: Uuid,
        /// The host it was to be bound on.
        host: String,
    },
    /// Neutron was not told the host.
    #[error(
        "port {port}: vif_type is '{vif_type}', so Neutron has not bound it to a host; kuryr's user needs the right to set binding:host_id (admin or service role)"
    )]
    Unbound {
        /// The port.
        port: Uuid,
        /// What Neutron said.
        vif_type: String,
    },
    /// A mechanism that this version cannot wire.
    #[error(
        "port {port}: vif_type '{vif_type}' is not supported, this version of kuryr binds only 'bridge'; use the Linux bridge mechanism or the embedded controller"
    )]
    Unsupported {
        /// The port.
        port: Uuid,
        /// What Neutron said.
        vif_type: String,
    },
    /// The bridge's name belongs to something else.
    #[error("port {port}: the network's bridge '{bridge}' exists but is a {kind} interface; rename or remove it")]
    NotABridge {
        /// The port.
        port: Uuid,
        /// The name wanted.
        bridge: String,
        /// What has it.
        kind: String,
    },
    /// The kernel refused a step.
    #[error("port {port}: {source}")]
    Netlink {
        /// The port.
        port: Uuid,
        /// The step and the refusal.
        source: netlink::Error,
    },
}

/// Makes the port's veth pair and plugs the host end into the network's bridge; returns the name of the container's end. Blocks. On failure
/// nothing of the port stays; a bridge made on the way does, as it does after the network's last [`unbind`], since another port may be on
/// its way into it.
pub fn bind(vif: &Vif) -> Result<String, Error> {
    let port = vif.port;
    match vif.vif_type.as_str() {
        "bridge" => {}
        "binding_failed" => return Err(Error::BindingFailed { port, host: vif.host.clone() }),
        "" | "unbound" => return Err(Error::Unbound { port, vif_type: vif.vif_type.clone() }),
        _ => return Err(Error::Unsupported { port, vif_type: vif.vif_type.clone() }),
    }
    let refused = |source| Error::Netlink { port, source };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut socket = Socket::open().map_err(refused)?;
    let bridge = ensure_bridge(&mut socket, vif)?;
    let tap = tap_name(port);
    let container = container_name(port);
    make_pair(&mut socket, vif, bridge.index, &tap, &container).map_err(refused)?;
    match plug(&mut socket, &tap) {
        Ok(()) => Ok(container),
        Err(error) => {
            if let Err(left) = socket.delete_link(&tap) {
                tracing::warn!(%port, %left, "an interface of a failed binding stays behind");
            }
            Err(refused(error))
        }
    }
}

/// Removes the port's veth pair, wherever its container end is now; a missing one is fine. The bridge stays. Blocks.
pub fn unbind(vif: &Vif) -> Result<(), Error> {
    let remove = || Socket::open()?.delete_link(&tap_name(vif.port));
    remove().map_err(|source| Error::Netlink { port: vif.port, source })
}

/// [`unbind`] for many ports at once, for the price of one: 50 deletions one after another took 1.0 s where these took 0.06 s. Blocks.
pub fn unbind_many(ports: &[Uuid]) -> Result<(), netlink::Error> {
    let taps: Vec<String> = ports.iter().copied().map(tap_name).collect();
    Socket::open()?.delete_links(&taps)
}

/// The network's bridge, made if absent, up. Several ports of one network may get here at once: whoever comes second finds it.
fn ensure_bridge(socket: &mut Socket, vif: &Vif) -> Result<Link, Error> {
    let port = vif.port;
    let refused = |source| Error::Netlink { port, source };
    let wanted = vif.vif_details.get("bridge_name").and_then(serde_json::Value::as_str).filter(|name| !name.is_empty());
    let name = wanted.map_or_else(|| bridge_name(vif.network), str::to_owned);
    let mut found = socket.link(&name).map_err(refused)?;
    if found.is_none() {
        match socket.add_bridge(&name) {
            Ok(()) => silence_ipv6(&name),
            Err(error) if error.is_exists() => {}
            Err(error) => return Err(refused(error)),
        }
        found = socket.link(&name).map_err(refused)?;
    }
    let Some(bridge) = found else {
        return Err(refused(netlink::Error::BadReply {
            what: format!("create bridge {name}"),
            detail: "it was gone at once; something else on this host removes bridges".into(),
        }));
    };
    if bridge.kind != "bridge" {
        let kind = if bridge.kind.is_empty() { "physical".into() } else { bridge.kind };
        return Err(Error::NotABridge { port, bridge: name, kind });
    }
    if !bridge.up {
        socket.set_up(bridge.index).map_err(refused)?;
    }
    Ok(bridge)
}

/// Makes the pair with MACs, MTU and bridge in one request. A pair of that name is from an earlier life of the port, because the core
/// binds only ports that are its own and unbound: it is replaced.
fn make_pair(socket: &mut Socket, vif: &Vif, bridge: u32, tap: &str, container: &str) -> Result<(), netlink::Error> {
    let veth = Veth {
        name: tap,
        mac: Some(host_mac(vif.mac)),
        master: Some(bridge),
        peer: container,
        peer_mac: Some(vif.mac),
        peer_netns: None,
        mtu: Some(vif.mtu),
    };
    match socket.add_veth(&veth) {
        Err(error) if error.is_exists() => {
            socket.delete_link(tap)?;
            socket.delete_link(container)?;
            socket.add_veth(&veth)
        }
        other => other,
    }
}

fn plug(socket: &mut Socket, tap: &str) -> Result<(), netlink::Error> {
    // Before it is up, so that it never says a word on the network.
    silence_ipv6(tap);
    let missing = || netlink::Error::BadReply { what: format!("look up {tap}"), detail: "the interface just made is gone".into() };
    let index = socket.link(tap)?.ok_or_else(missing)?.index;
    socket.set_up(index)
}

/// The host end's MAC: the port's with another first octet, the highest that is locally administered. A bridge takes the lowest MAC of its
/// ports for its own, and a host end with the port's very MAC would make the bridge keep the container's frames for itself.
fn host_mac(port: MacAddr) -> MacAddr {
    let [first, rest @ ..] = port.0;
    let other = if first == 0xfe { 0xfa } else { 0xfe };
    let [b, c, d, e, f] = rest;
    MacAddr([other, b, c, d, e, f])
}

/// Keeps this host from taking part in the network: no link-local address, no autoconfiguration. A host without IPv6 has no such file.
fn silence_ipv6(name: &str) {
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
