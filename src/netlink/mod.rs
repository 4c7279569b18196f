//! rtnetlink, blocking: links, addresses, routes, namespaces.
//!
//! A [`Socket`] talks to the network namespace it was opened in for as long as it lives, whichever namespace its user is in later. Every
//! call blocks; async code runs them with `spawn_blocking`. Only this module knows the `netlink-*` crates, which break their API often.

mod address;
mod capability;
mod error;
pub mod ethtool;
mod link;
pub mod monitor;
pub mod netns;
mod route;
mod socket;
mod stacked;
mod virtual_function;

pub use address::Address;
pub use capability::{Capability, MissingCapability, check_capability};
pub use error::Error;
pub use link::{Link, Veth};
pub use monitor::{Event, Monitor};
pub use netns::NetnsFd;
pub use route::Route;
pub use socket::Socket;
pub use stacked::{Sharing, Stacked};
