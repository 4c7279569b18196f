//! Listeners for the plugin and the embedded controller, and the HTTP client for the cloud.

pub mod client;
pub mod listen;
pub mod pem;
pub mod tls;
