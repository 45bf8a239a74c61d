//! Prepares a private key that was given as a reference for an agent.
//!
//! A passphrase is removed in memory; the key is never written to a file.

use super::Host;
use crate::error::{Code, Error, Result};
use crate::secret::{Resolvable, Secret};
use ssh_key::{LineEnding, PrivateKey};

/// The hint for a key in an older format.
const CONVERT: &str = "convert it into OpenSSH's own format: ssh-keygen -p -f KEYFILE";

/// Returns the key without a passphrase, as `ssh-add` reads it.
pub(super) fn opened(
    key: &Secret,
    passphrase: Option<&Secret>,
    reference: &Resolvable,
    host: &Host,
) -> Result<Secret> {
    let place = host.display();
    let refused = |message: String, hint: &str| Err(Error::new(Code::Secret, message).hint(hint));
    let text = std::str::from_utf8(key.expose()).unwrap_or_default();
    if text.starts_with("PuTTY-User-Key-File") {
        return refused(
            format!("the key for {place} at {reference} is in PuTTY's format"),
            "convert it: puttygen KEYFILE -O private-openssh-new -o NEWFILE",
        );
    }
    if !text.contains("PRIVATE KEY-----") {
        return refused(
            format!("the key for {place} at {reference} is no private key"),
            "refer to the private key, whole, with its BEGIN and END lines; not to the .pub file",
        );
    }
    let parsed = PrivateKey::from_openssh(text);
    let encrypted = match &parsed {
        Ok(parsed) => parsed.is_encrypted(),
        Err(_) => text.contains("ENCRYPTED"),
    };
    if !encrypted {
        // `ssh-add` needs the final newline that resolving a reference removes.
        return Ok(Secret::new([key.expose(), b"\n"].concat()));
    }
    let Some(passphrase) = passphrase else {
        return refused(
            format!("the key for {place} at {reference} has a passphrase"),
            "add passphrase = \"file:PATH\" beside the key, or add the key to the ssh-agent of this user and remove it here",
        );
    };
    let Ok(parsed) = parsed else {
        return refused(
            format!("the key for {place} at {reference} is encrypted in an older format"),
            CONVERT,
        );
    };
    let Ok(parsed) = parsed.decrypt(passphrase.expose()) else {
        return refused(
            format!("the passphrase does not open the key for {place} at {reference}"),
            "try it by hand: ssh-keygen -y -f KEYFILE; then correct ssh.passphrase",
        );
    };
    match parsed.to_openssh(LineEnding::LF) {
        Ok(text) => Ok(Secret::new(text.as_bytes().to_vec())),
        Err(_) => refused(
            format!("the key for {place} at {reference} is of a kind that is not known"),
            "use an Ed25519, ECDSA or RSA key: ssh-keygen -t ed25519",
        ),
    }
}

/// The error for a key that the agent refused.
pub(super) fn unusable(host: &Host, said: &str) -> Error {
    Error::new(
        Code::Secret,
        format!("the key for {} cannot be used", host.display()),
    )
    .cause(said)
    .hint(format!(
        "try it by hand: ssh-add KEYFILE; if it is damaged, restore it, else {CONVERT}"
    ))
}
