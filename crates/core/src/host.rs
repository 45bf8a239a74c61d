//! Names of this host and its user.

use crate::digest::hex;
use sha2::{Digest, Sha256};

/// Name of this host, as in keys and manifests.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Id of this machine that survives restarts and is not secret: a hash of `/etc/machine-id`, which
/// is secret. `None` where there is no such file.
pub fn machine() -> Option<String> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    let mut hash = Sha256::new();
    hash.update(b"lifeboat machine\n");
    hash.update(id.as_bytes());
    let text = hex(&hash.finalize());
    (!id.is_empty()).then(|| text.chars().take(32).collect())
}

/// The user who runs the program: the login that used sudo, if any, and the user.
pub fn author() -> String {
    let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let user = env("USER")
        .or_else(|| env("LOGNAME"))
        // Used when cron or systemd sets no such variable.
        .unwrap_or_else(|| user_name(rustix::process::getuid().as_raw()));
    match env("SUDO_USER") {
        Some(login) if login != user => format!("{login} as {user}"),
        _ => user,
    }
}

/// User name of a user id; the id as text if there is none.
pub fn user_name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}
