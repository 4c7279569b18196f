//! Open vSwitch's database (OVSDB, RFC 7047), blocking, over its local socket.
//!
//! A [`Client`] is one conversation with a deadline of its own: connect, a few transactions, drop. What the database holds is what
//! `ovs-vswitchd` is to do; a change counts as done only when the switch has taken it up, which `ovs-vsctl` waits for too.

mod client;
mod error;
mod notation;
mod switch;

pub use client::Client;
pub use error::Error;
pub use switch::{Bridge, OwnedPort, SwitchPort};
