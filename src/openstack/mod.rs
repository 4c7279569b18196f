//! The Keystone session and the Neutron calls in use, typed.
//!
//! [`CloudSettings`] says where the cloud is and who asks, [`Neutron`] makes the calls. The session behind it keeps one token for all
//! callers and renews it once, whoever notices first that it is no longer good.

mod auth;
mod budget;
mod calls;
mod catalog;
mod clouds;
mod environment;
mod error;
mod keystone;
mod neutron;
mod session;
mod settings;
mod told;
mod transport;
mod types;

pub use budget::{Urgency, as_urgent};
pub use calls::Calls;
pub use clouds::Files;
pub use error::Error;
pub use neutron::Neutron;
pub use settings::{ApplicationCredential, AuthMethod, CloudSettings, Domain, Options, Scope, Secret, User};
pub use types::{
    Agent, AllocationPool, Extension, Extra, FixedIp, FloatingIp, HostRoute, Network, Port, QosPolicy, Resource, Router, SecurityGroup,
    SecurityGroupRule, SubPort, Subnet, SubnetPool, Trunk,
};
