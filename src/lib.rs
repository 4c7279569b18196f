//! kuryr gives containers their own ports on OpenStack Neutron networks.
//!
//! The modules in reading order, from the engine's edge to the kernel. `ARCHITECTURE.md` shows how a request passes through them and
//! `tests/it/layers.rs` holds which of them may import which.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop where it stands"))]

pub mod app;
pub mod cli;

pub mod libnetwork;

pub mod core;

pub mod journal;

pub mod openstack;

pub mod binding;

pub mod netlink;
pub mod nft;
pub mod ovsdb;

pub mod http;

pub mod controller;

pub mod config;
pub mod mac;
pub mod metrics;
pub mod telemetry;
