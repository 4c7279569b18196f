//! Making and removing the interface of one port.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Error, bridge, hw_veb,
    names::{container_name, tap_name},
    nested, ovs, pair, script,
};
use crate::{
    mac::MacAddr,
    netlink::{self, Socket},
};

/// What makes a port's interface: the binding drivers of kuryr-lib.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// A veth pair, plugged as Neutron's `vif_type` says.
    #[default]
    Veth,
    /// A macvlan with the port's MAC.
    Macvlan {
        /// The machine's own interface, below it.
        link_iface: String,
    },
    /// An ipvlan, whose MAC is the machine's.
    Ipvlan {
        /// The machine's own interface, below it.
        link_iface: String,
    },
    /// A VLAN, as whose frames the machine's trunk carries the port's.
    Vlan {
        /// The machine's own interface, below it.
        link_iface: String,
        /// The VLAN id on the trunk.
        id: u16,
    },
    /// A virtual function of a network card.
    HwVeb {
        /// `pci_slot` in the port's `binding:profile`.
        pci_slot: String,
        /// `vlan` in its `binding:vif_details`; 0 for none.
        vlan: u16,
        /// The function's interface.
        interface: String,
    },
}

/// A port as far as its interface depends on it.
#[derive(Debug, Clone)]
pub struct Vif {
    /// What makes its interface.
    pub driver: Driver,
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
    /// MTU of the network, in bytes; every interface of the port gets it.
    pub mtu: u32,
    /// Neutron's `binding:vif_type`.
    pub vif_type: String,
    /// Neutron's `binding:vif_details`; `bridge_name` in it goes before the bridge that would be taken without it.
    pub vif_details: serde_json::Value,
    /// The host in `binding:host_id`, for the error texts.
    pub host: String,
}

/// What plugging depends on besides the port.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[kuryr] ovsdb_socket`: where Open vSwitch's database listens.
    pub ovsdb_socket: PathBuf,
    /// `[kuryr] ovs_bridge`: Open vSwitch's integration bridge, where Neutron does not name it.
    pub ovs_bridge: String,
    /// `[DEFAULT] bindir`: directory of the scripts for other vif_types.
    pub bindir: PathBuf,
    /// How long Open vSwitch or a script may take for one port.
    pub deadline: Duration,
    /// Where sysfs is mounted, which tells of network cards.
    pub sysfs: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ovsdb_socket: "/run/openvswitch/db.sock".into(),
            ovs_bridge: "br-int".into(),
            bindir: "/usr/libexec/kuryr".into(),
            deadline: Duration::from_secs(10),
            sysfs: "/sys".into(),
        }
    }
}

/// How a vif_type is served.
enum Plug {
    Bridge,
    Ovs,
    Script(PathBuf),
    /// Calico's `tap` is routed, not plugged.
    Nothing,
}

impl Plug {
    /// `None` for a type that neither kuryr nor a script serves.
    fn of(vif: &Vif, settings: &Settings) -> Option<Self> {
        match vif.vif_type.as_str() {
            "bridge" => Some(Self::Bridge),
            "ovs" => Some(Self::Ovs),
            "" | "unbound" | "binding_failed" => None,
            other => script::path(settings, other).map(Self::Script).or_else(|| (other == "tap").then_some(Self::Nothing)),
        }
    }
}

/// Makes the port's interface and plugs its host end, if it has one; returns the name of the container's end. Blocks, for at most a little more than the
/// deadline in `settings`. On failure nothing of the port stays.
pub fn bind(vif: &Vif, settings: &Settings) -> Result<String, Error> {
    let port = vif.port;
    let refused = |source| Error::Netlink { port, source };
    if let Some((link_iface, sharing)) = nested::sharing(&vif.driver) {
        let mut socket = Socket::open().map_err(refused)?;
        let _turn = turn();
        nested::plug(&mut socket, vif, link_iface, sharing)?;
        return Ok(container_name(port));
    }
    if let Driver::HwVeb { pci_slot, vlan, interface } = &vif.driver {
        hw_veb::plug(&mut Socket::open().map_err(refused)?, vif, pci_slot, *vlan, settings)?;
        return Ok(interface.clone());
    }
    let Some(plug) = Plug::of(vif, settings) else { return Err(refusal(vif, settings)) };
    let mut socket = Socket::open().map_err(refused)?;
    match plug {
        Plug::Bridge => {
            let _turn = turn();
            bridge::plug(&mut socket, vif)?;
        }
        Plug::Ovs => ovs::plug(&mut socket, vif, settings)?,
        Plug::Nothing => {
            let _turn = turn();
            pair::make(&mut socket, vif, None).map_err(refused)?;
        }
        Plug::Script(path) => {
            {
                let _turn = turn();
                pair::make(&mut socket, vif, None).map_err(refused)?;
            }
            script::bind(&path, vif, settings.deadline).inspect_err(|_| pair::undo(&mut socket, port, &[tap_name(port)]))?;
        }
    }
    Ok(container_name(port))
}

/// Unplugs the port and removes its interface, of a veth pair wherever its container end is now; a missing one is fine. A Linux bridge of the network
/// stays. Blocks, as [`bind`] does.
pub fn unbind(vif: &Vif, settings: &Settings) -> Result<(), Error> {
    let refused = |source| Error::Netlink { port: vif.port, source };
    let mut socket = Socket::open().map_err(refused)?;
    match &vif.driver {
        Driver::Veth => {}
        Driver::HwVeb { pci_slot, .. } => return hw_veb::unplug(&mut socket, vif, pci_slot, settings),
        _ => return nested::unplug(&mut socket, vif),
    }
    let tap = tap_name(vif.port);
    match Plug::of(vif, settings) {
        Some(Plug::Ovs) => return ovs::unplug(&mut socket, vif, settings),
        // Without the host end the script has run already, or never: it need not be able to run twice.
        Some(Plug::Script(path)) if socket.link(&tap).map_err(refused)?.is_some() => script::unbind(&path, vif, settings.deadline)?,
        _ => {}
    }
    socket.delete_link(&tap).map_err(refused)
}

/// [`unbind`] for many ports of vif_type `bridge` at once, for the price of one: 50 deletions one after another took 1.0 s where these took
/// 0.06 s. Blocks.
pub fn unbind_many(ports: &[Uuid]) -> Result<(), netlink::Error> {
    let taps: Vec<String> = ports.iter().copied().map(tap_name).collect();
    Socket::open()?.delete_links(&taps)
}

/// Whether the interface of a port of this vif_type is made before its endpoint is known: a script is told the endpoint.
pub fn needs_no_endpoint(vif_type: &str) -> bool {
    matches!(vif_type, "bridge" | "ovs")
}

/// Whether both ends of the port's pair are in this namespace, with the port's MAC. Blocks for a moment.
pub fn is_plugged(vif: &Vif) -> Result<bool, Error> {
    let refused = |source| Error::Netlink { port: vif.port, source };
    let mut socket = Socket::open().map_err(refused)?;
    let container = socket.link(&container_name(vif.port)).map_err(refused)?;
    let host = socket.link(&tap_name(vif.port)).map_err(refused)?;
    Ok(host.is_some_and(|host| host.up) && container.is_some_and(|link| link.mac == Some(vif.mac)))
}

/// Whether the interface is still on this host under the name that only kuryr gives it, so that no container has it. Of a virtual function, which
/// bears its own name there, nothing is said. Blocks for a moment.
pub fn is_idle(vif: &Vif) -> Result<bool, Error> {
    if matches!(vif.driver, Driver::HwVeb { .. }) {
        return Ok(false);
    }
    let refused = |source| Error::Netlink { port: vif.port, source };
    let link = Socket::open().map_err(refused)?.link(&container_name(vif.port)).map_err(refused)?;
    Ok(link.is_some())
}

/// Writes the endpoint beside a port that was plugged before its endpoint was known. Blocks, as [`bind`] does.
pub fn label(vif: &Vif, settings: &Settings) -> Result<(), Error> {
    match Plug::of(vif, settings) {
        Some(Plug::Ovs) => ovs::label(vif, settings),
        _ => Ok(()),
    }
}

fn refusal(vif: &Vif, settings: &Settings) -> Error {
    let (port, vif_type) = (vif.port, vif.vif_type.clone());
    unbound(vif).unwrap_or_else(|| Error::Unsupported { port, script: settings.bindir.join(&vif_type), vif_type })
}

/// Why the port has no binding in Neutron; none when it has one.
pub(super) fn unbound(vif: &Vif) -> Option<Error> {
    let (port, vif_type) = (vif.port, vif.vif_type.clone());
    match vif_type.as_str() {
        "binding_failed" => Some(Error::BindingFailed { port, host: vif.host.clone() }),
        "" | "unbound" => Some(Error::Unbound { port, vif_type }),
        _ => None,
    }
}

/// A text in `binding:vif_details`.
pub(super) fn detail<'a>(vif: &'a Vif, key: &str) -> Option<&'a str> {
    vif.vif_details.get(key).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty())
}

/// One set of interfaces at a time: the kernel's own lock lets one in anyway, and the writes of [`pair::silence_ipv6`] do not queue for it
/// but spin (its `addrconf_disable_ipv6` tries the lock and restarts), which makes 50 bindings at once ten times slower.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
