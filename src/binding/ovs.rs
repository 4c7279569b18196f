//! vif_type `ovs`: the port in Open vSwitch, for ML2/OVS and for OVN, which both know it by `iface-id`.

use std::{fs, time::Duration};

use serde_json::Value;
use uuid::Uuid;

use super::{
    Error, Settings, Vif, bridge,
    names::{container_name, prefixed, tap_name},
    pair,
    vif::{detail, turn},
};
use crate::{
    netlink::{Socket, Veth, ethtool},
    ovsdb::{self, Client, SwitchPort},
};

/// `external_ids:owner` of every port that kuryr adds, as kuryr-libnetwork has it.
pub(super) const OWNER: &str = "kuryr";
/// How long taking back a failed addition may last, on top of what has passed already.
const UNDO: Duration = Duration::from_secs(3);

/// The interfaces of a port, by the names that Nova and kuryr-libnetwork give them.
struct Names {
    tap: String,
    /// Per-port bridge of the hybrid plug, and the pair that leads from it to the switch.
    qbr: String,
    qvb: String,
    qvo: String,
}

impl Names {
    fn of(port: Uuid) -> Self {
        Self { tap: tap_name(port), qbr: prefixed("qbr", port), qvb: prefixed("qvb", port), qvo: prefixed("qvo", port) }
    }

    /// The one that is in the switch.
    fn in_switch(&self, hybrid: bool) -> &str {
        if hybrid { &self.qvo } else { &self.tap }
    }

    /// Those whose removal removes all.
    fn roots(&self) -> [String; 3] {
        [self.tap.clone(), self.qvb.clone(), self.qbr.clone()]
    }
}

/// The links of a port, plain or hybrid, whose removal removes all of them.
pub(super) fn links_of(port: Uuid) -> [String; 3] {
    Names::of(port).roots()
}

/// Makes the port's interfaces and adds it to the switch; on failure nothing of it stays.
pub(super) fn plug(socket: &mut Socket, vif: &Vif, settings: &Settings) -> Result<(), Error> {
    let port = vif.port;
    let refused = |source| Error::Switch { port, source };
    let names = Names::of(port);
    let hybrid = is_hybrid(vif);
    let bridge = detail(vif, "bridge_name").unwrap_or(&settings.ovs_bridge);
    let iface_id = port.to_string();

    let mut switch = Client::connect(&settings.ovsdb_socket, settings.deadline).map_err(refused)?;
    let found = switch.bridge(bridge).map_err(refused)?;
    let found = found.ok_or_else(|| refused(ovsdb::Error::NoBridge { bridge: bridge.to_owned() }))?;
    // Ports of an earlier life go before their interfaces do.
    switch.delete_ports(&[&names.tap, &names.qvo], &iface_id).map_err(refused)?;

    {
        let _turn = turn();
        wire(socket, vif, &names, hybrid).inspect_err(|error| {
            // Something else with the bridge's name is not ours to remove, and nothing has been made yet.
            if !matches!(error, Error::NotABridge { .. }) {
                pair::undo(socket, port, &names.roots());
            }
        })?;
    }
    // ovs-vswitchd reads packets from the host end as they are; a checksum left to hardware would stay unwritten, and the receiver would
    // drop every TCP and UDP packet.
    if found.userspace
        && !found.userspace_offload
        && let Err(error) = ethtool::checksum_in_software(&container_name(port))
    {
        tracing::warn!(%port, "TCP and UDP may fail until ovs-vswitchd runs with other_config:userspace-tso-enable=true: {error}");
    }
    let mac = vif.mac.to_string();
    let external_ids = [
        ("attached-mac", mac.as_str()),
        ("iface-id", iface_id.as_str()),
        ("iface-status", "active"),
        ("owner", OWNER),
        (endpoint_key(hybrid), vif.endpoint.as_str()),
    ];
    let name = names.in_switch(hybrid);
    let added = switch.add_port(&SwitchPort { bridge, name, external_ids: &external_ids });
    added.map_err(|error| {
        // A new conversation: the first one's time may be over.
        if let Err(left) = Client::connect(&settings.ovsdb_socket, UNDO).and_then(|mut switch| switch.withdraw_port(name)) {
            tracing::warn!(%port, %left, "a port of a failed binding may stay in Open vSwitch");
        }
        pair::undo(socket, port, &names.roots());
        refused(error)
    })
}

/// Writes the endpoint of a port that is in the switch already.
pub(super) fn label(vif: &Vif, settings: &Settings) -> Result<(), Error> {
    let (hybrid, names) = (is_hybrid(vif), Names::of(vif.port));
    let connected = Client::connect(&settings.ovsdb_socket, settings.deadline);
    let labelled = connected.and_then(|mut switch| switch.set_external_id(names.in_switch(hybrid), endpoint_key(hybrid), &vif.endpoint));
    labelled.map_err(|source| Error::Switch { port: vif.port, source })
}

fn is_hybrid(vif: &Vif) -> bool {
    vif.vif_details.get("ovs_hybrid_plug") == Some(&Value::Bool(true))
}

/// The names differ in kuryr-libnetwork's script too.
fn endpoint_key(hybrid: bool) -> &'static str {
    if hybrid { "vm-id" } else { "vm-uuid" }
}

/// Takes the port out of the switch and then removes its interfaces, plain and hybrid, whichever there are. The order matters: a switch
/// whose interface goes first keeps a dead one under its name.
pub(super) fn unplug(socket: &mut Socket, vif: &Vif, settings: &Settings) -> Result<(), Error> {
    let port = vif.port;
    let names = Names::of(port);
    let mut switch = Client::connect(&settings.ovsdb_socket, settings.deadline).map_err(|source| Error::Switch { port, source })?;
    match switch.delete_ports(&[&names.tap, &names.qvo], &port.to_string()) {
        Ok(()) => {}
        // It reads the database afresh when it starts again.
        Err(error @ ovsdb::Error::SwitchTimeout { .. }) => tracing::warn!(%port, "{error}"),
        Err(source) => return Err(Error::Switch { port, source }),
    }
    socket.delete_links(&names.roots()).map_err(|source| Error::Netlink { port, source })
}

fn wire(socket: &mut Socket, vif: &Vif, names: &Names, hybrid: bool) -> Result<(), Error> {
    let refused = |source| Error::Netlink { port: vif.port, source };
    if !hybrid {
        return pair::make(socket, vif, None).map_err(refused);
    }
    // A bridge of two ports need not learn which of them to send to, and after a migration would know it wrongly (os-vif does the same).
    let own = bridge::ensure(socket, vif, &names.qbr, Socket::add_hub)?;
    mute_arp(&names.qbr);
    let veth = Veth { name: &names.qvb, peer: &names.qvo, master: Some(own.index), mtu: Some(vif.mtu), ..Veth::default() };
    pair::replace(socket, &veth).map_err(refused)?;
    pair::raise(socket, &names.qvb).map_err(refused)?;
    pair::raise(socket, &names.qvo).map_err(refused)?;
    pair::make(socket, vif, Some(own.index)).map_err(refused)
}

/// Keeps the bridge from answering ARP for addresses of this host (os-vif, bug 1825888).
fn mute_arp(bridge: &str) {
    for (file, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{bridge}/{file}"), value);
    }
}
