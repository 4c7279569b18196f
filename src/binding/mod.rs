//! From a Neutron port to an interface on this host.
//!
//! A port becomes a veth pair: `tap…` stays on the host as a port of the network's bridge, `t_c…` is for the container. The container's
//! end gets its MAC and MTU and nothing else: Docker moves it, brings it up and sets the addresses, and an address set here would be live on
//! the host until then, its route included.

mod names;
mod vif;

pub use names::{bridge_name, container_name, existing, tap_name};
pub use vif::{Error, Vif, bind, unbind, unbind_many};
