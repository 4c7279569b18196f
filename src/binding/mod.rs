//! From a Neutron port to an interface on this host.
//!
//! With the driver `veth` a port becomes a veth pair: `tap…` stays on the host and is plugged as Neutron's `vif_type` says, `t_c…` is for the container. The
//! container's end gets its MAC and MTU and nothing else: Docker moves it, brings it up and sets the addresses, and an address set here
//! would be live on the host until then, its route included.
//!
//! | `vif_type` | plug |
//! |---|---|
//! | `bridge` | `tap…` in the network's Linux bridge |
//! | `ovs` | `tap…` in Open vSwitch's integration bridge |
//! | `ovs` with `ovs_hybrid_plug` | `tap…` and `qvb…` in a bridge `qbr…` of the port's own, whose firewall is iptables'; `qvo…` in Open vSwitch |
//! | any other | what the script of that name in `[DEFAULT] bindir` does |
//!
//! The other drivers ask for no `vif_type`. Nested ones make `t_c…` alone, on top of the machine's own interface, whose Neutron port carries the
//! traffic; SR-IOV hands out a virtual function as it is.

mod bridge;
mod dead;
mod error;
mod host_end;
mod hw_veb;
mod names;
mod nested;
mod ovs;
mod pair;
mod script;
mod vif;

pub use dead::{DeadPort, dead_ports, take_out};
pub use error::Error;
pub use host_end::{HostEnd, host_ends, remove_idle};
pub use hw_veb::pci_interface;
pub use names::{bridge_name, container_name, tap_name};
pub use nested::{LinkIface, link_iface};
pub use vif::{Driver, Settings, Vif, bind, is_idle, is_plugged, label, needs_no_endpoint, unbind, unbind_many};
