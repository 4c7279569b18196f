//! Networks and all that hangs on them by the `openstack` command: what is made, changed, listed and refused, asserted on its values.

mod addresses;
mod floating_ips;
mod networks;
mod ports;
mod projects;
mod quotas;
mod routers;
mod security_groups;
mod subnets;

use serde_json::Value;

use super::{column, names};

/// Asserts that the object shows these values; others are not looked at.
#[track_caller]
fn assert_shows(shown: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name} in {shown:#}");
    }
}
