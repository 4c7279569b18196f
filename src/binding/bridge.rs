//! vif_type `bridge`: the host end in a Linux bridge, which the Linux bridge agent of Neutron or the embedded controller connects.

use super::{
    Error, Vif,
    names::bridge_name,
    pair::{self, silence_ipv6},
    vif::detail,
};
use crate::netlink::{self, Link, Socket};

/// Plugs the port into the network's bridge. On failure nothing of the port stays; a bridge made on the way does, as it does after the
/// network's last port, since another port may be on its way into it.
pub(super) fn plug(socket: &mut Socket, vif: &Vif) -> Result<(), Error> {
    let wanted = detail(vif, "bridge_name");
    let name = wanted.map_or_else(|| bridge_name(vif.network), str::to_owned);
    let bridge = ensure(socket, vif, &name, Socket::add_bridge)?;
    pair::make(socket, vif, Some(bridge.index)).map_err(|source| Error::Netlink { port: vif.port, source })
}

/// The bridge of that name, made by `add` if absent, up. Several ports of one network may get here at once: whoever comes second finds it.
pub(super) fn ensure(
    socket: &mut Socket,
    vif: &Vif,
    name: &str,
    add: impl FnOnce(&mut Socket, &str) -> Result<(), netlink::Error>,
) -> Result<Link, Error> {
    let port = vif.port;
    let refused = |source| Error::Netlink { port, source };
    let mut found = socket.link(name).map_err(refused)?;
    if found.is_none() {
        match add(socket, name) {
            Ok(()) => silence_ipv6(name),
            Err(error) if error.is_exists() => {}
            Err(error) => return Err(refused(error)),
        }
        found = socket.link(name).map_err(refused)?;
    }
    let Some(bridge) = found else {
        return Err(refused(netlink::Error::BadReply {
            what: format!("create bridge {name}"),
            detail: "it was gone at once; something else on this host removes bridges".into(),
        }));
    };
    if bridge.kind != "bridge" {
        let kind = if bridge.kind.is_empty() { "physical".into() } else { bridge.kind };
        return Err(Error::NotABridge { port, bridge: name.to_owned(), kind });
    }
    if !bridge.up {
        socket.set_up(bridge.index).map_err(refused)?;
    }
    Ok(bridge)
}
