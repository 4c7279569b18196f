//! Integration tests in one binary: one link step instead of many. Each test runs in a process and a network namespace of its own
//! (`tools/in-netns`, see `tools/test`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop where it stands")]

mod address_work;
mod bad_input;
mod binding;
mod cloud;
mod collector;
mod compat;
mod configuration;
mod controller_api;
mod daemon;
mod datapath;
mod existing_ports;
mod expose;
mod host;
mod identity_api;
mod layers;
mod libnetwork;
mod life;
mod listen;
mod lost_journal;
mod monitoring;
mod nested;
mod netlink;
mod openstack;
mod openstack_cli;
mod openstack_controller;
mod openstack_identity;
mod openstack_stage;
mod openstack_wire;
mod oslo;
mod ovs;
mod package;
mod plugging;
mod port_options;
mod port_pool;
mod script;
mod socket_activation;
mod sriov;
mod start_and_end;
mod swarm;
mod tagging;
mod tls;
mod trunks;
mod two_hosts;
mod wiring;
