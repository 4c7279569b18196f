//! What kuryr does: networks, endpoints, addresses, the port pool. Knows no HTTP server and no netlink.

pub mod request;
