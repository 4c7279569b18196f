//! Containers inside a machine of the cloud: the interface stands on the machine's own one, and no switch of this host is involved.

use super::{Driver, Error, Vif, names::container_name};
use crate::{
    mac::MacAddr,
    netlink::{self, Link, Sharing, Socket, Stacked},
};

/// The machine's own interface as far as its Neutron port is found by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkIface {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
}

/// Reads the machine's own interface; none when there is no such one, or none with a MAC. Blocks for a moment.
///
/// # Errors
/// The kernel's refusal.
pub fn link_iface(name: &str) -> Result<Option<LinkIface>, netlink::Error> {
    let mut socket = Socket::open()?;
    let Some(Link { index, mac: Some(mac), .. }) = socket.link(name)? else { return Ok(None) };
    let addresses = socket.addresses()?.into_iter().filter(|address| address.index == index);
    Ok(Some(LinkIface { mac, addresses: addresses.map(|address| address.address.addr()).collect() }))
}

/// The interface below, and how it is shared; none for other drivers.
pub(super) fn sharing(driver: &Driver) -> Option<(&str, Sharing)> {
    match driver {
        Driver::Macvlan { link_iface } => Some((link_iface, Sharing::Macvlan)),
        Driver::Ipvlan { link_iface } => Some((link_iface, Sharing::Ipvlan)),
        Driver::Vlan { link_iface, id } => Some((link_iface, Sharing::Vlan(*id))),
        Driver::Veth | Driver::HwVeb { .. } => None,
    }
}

/// Makes the interface, down and in this namespace as Docker wants it. One of its name is from an earlier life of the port and is replaced.
pub(super) fn plug(socket: &mut Socket, vif: &Vif, link_iface: &str, sharing: Sharing) -> Result<(), Error> {
    let refused = |source| Error::Netlink { port: vif.port, source };
    let unusable = |reason| Error::LinkIface { port: vif.port, link_iface: link_iface.to_owned(), reason };
    let below = socket.link(link_iface).map_err(refused)?.ok_or_else(|| unusable("there is no such interface"))?;
    if !below.up {
        return Err(unusable("it is down"));
    }
    let name = container_name(vif.port);
    let mac = (sharing != Sharing::Ipvlan).then_some(vif.mac);
    // The kernel refuses more than the interface below has.
    let stacked = Stacked { name: &name, below: below.index, sharing, mac, mtu: vif.mtu.min(below.mtu) };
    let added = match socket.add_stacked(&stacked) {
        Err(error) if error.is_exists() => socket.delete_link(&name).and_then(|()| socket.add_stacked(&stacked)),
        outcome => outcome,
    };
    added.map_err(refused)
}

/// Removes the interface. One that has gone into a container comes back when the container leaves the network, or goes with its namespace.
pub(super) fn unplug(socket: &mut Socket, vif: &Vif) -> Result<(), Error> {
    socket.delete_link(&container_name(vif.port)).map_err(|source| Error::Netlink { port: vif.port, source })
}
