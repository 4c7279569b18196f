//! Why a port got no interface.

use std::{io, path::PathBuf};

use uuid::Uuid;

use crate::{netlink, ovsdb};

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
    /// A mechanism that is neither built in nor has a script.
    #[error(
        "port {port}: vif_type '{vif_type}' is not supported: kuryr itself plugs bridge and ovs, and there is no binding script {}",
        .script.display()
    )]
    Unsupported {
        /// The port.
        port: Uuid,
        /// What Neutron said.
        vif_type: String,
        /// The script that would be run.
        script: PathBuf,
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
    /// The device of an SR-IOV port cannot be used.
    #[error("port {port}: PCI device {pci_slot} not found: it {reason}; see pci_slot in the port's binding:profile")]
    NoPciDevice {
        /// The port.
        port: Uuid,
        /// `pci_slot` in its `binding:profile`.
        pci_slot: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The network card refused the port's MAC or VLAN.
    #[error("port {port}: the driver of network card {physical} did not take the settings of virtual function {number}: {source}")]
    VirtualFunction {
        /// The port.
        port: Uuid,
        /// The interface of the physical function.
        physical: String,
        /// The number of the virtual one.
        number: u32,
        /// The refusal.
        source: netlink::Error,
    },
    /// The machine's own interface cannot carry the port.
    #[error(
        "port {port}: [binding] link_iface is '{link_iface}', but {reason}; bring it up, or name the machine's own interface on the network"
    )]
    LinkIface {
        /// The port.
        port: Uuid,
        /// The interface.
        link_iface: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The kernel refused a step.
    #[error("port {port}: {source}")]
    Netlink {
        /// The port.
        port: Uuid,
        /// The step and the refusal.
        source: netlink::Error,
    },
    /// Ports of kuryr that nothing is behind any more cannot be looked for.
    #[error("looking for dead ports of kuryr in Open vSwitch: {reason}")]
    Search {
        /// What the switch or the kernel said.
        reason: String,
    },
    /// Open vSwitch refused a step.
    #[error("port {port}: {source}")]
    Switch {
        /// The port.
        port: Uuid,
        /// The step and the refusal.
        source: ovsdb::Error,
    },
    /// The binding script cannot be run.
    #[error("port {port}: cannot run the binding script {}: {source}; see that it is executable and its interpreter installed", .script.display())]
    ScriptStart {
        /// The port.
        port: Uuid,
        /// The script.
        script: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The binding script ran too long and was killed.
    #[error("port {port}: the binding script {} {verb} did not end within {seconds} s and was stopped{}", .script.display(), said(.output))]
    ScriptTimeout {
        /// The port.
        port: Uuid,
        /// The script.
        script: PathBuf,
        /// `bind` or `unbind`.
        verb: &'static str,
        /// The time it had.
        seconds: u64,
        /// What it wrote until then.
        output: String,
    },
    /// The binding script reported failure.
    #[error("port {port}: the binding script {} {verb} failed ({status}){}", .script.display(), said(.output))]
    Script {
        /// The port.
        port: Uuid,
        /// The script.
        script: PathBuf,
        /// `bind` or `unbind`.
        verb: &'static str,
        /// How it ended.
        status: String,
        /// What it wrote, first its standard error.
        output: String,
    },
}

fn said(output: &str) -> String {
    if output.is_empty() { ", without a word".into() } else { format!(": {output}") }
}
