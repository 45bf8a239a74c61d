//! The privileges that a test has on this machine. Root may do everything. A test that another user
//! cannot run is skipped through [`needs_root`] or [`needs_mounts`], which report it on standard
//! error.

#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]

use crate::tree::privileged;
use std::process::{Command, Stdio};

/// Returns `true`, and reports it, if a test must be skipped because only root can do `what`.
pub fn needs_root(what: &str) -> bool {
    let left_out = !privileged();
    if left_out {
        eprintln!("left out: only root can {what}");
    }
    left_out
}

/// Returns `true`, and reports it, if a test must be skipped because this user may not mount
/// anything, not even in its own namespaces.
pub fn needs_mounts() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(mount_namespace()).arg("true");
    let status = probe.stderr(Stdio::null()).status();
    let left_out = !privileged() && !status.is_ok_and(|status| status.success());
    if left_out {
        eprintln!("left out: this user may not make a mount namespace, which root can");
    }
    left_out
}

/// The arguments of `unshare` for a namespace in which the user of the test may mount.
pub fn mount_namespace() -> &'static [&'static str] {
    match privileged() {
        true => &["--mount"],
        false => &["--map-root-user", "--mount"],
    }
}
