//! The Debian package, installed into a copy of this machine's root.

use std::{path::Path, process::Command};

#[test]
#[allow(clippy::disallowed_methods, reason = "the test is a script, since it is all about other programs")]
fn the_package_installs_starts_upgrades_and_leaves_nothing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/deb/test");
    let done = Command::new(script).arg(env!("CARGO_BIN_EXE_kuryr")).output().unwrap();
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}
