//! The embedded Keystone and Neutron for one machine, and its datapath.
//!
//! `docs/controller.md` is the contract: which fields each resource takes and what happens to the others.

pub mod extension;
pub mod groups;
pub mod protocol;
pub mod quota;
pub mod rule;
pub mod tag;

pub mod datapath;
