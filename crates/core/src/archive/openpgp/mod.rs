//! OpenPGP: messages that any `gpg` decrypts, and reading of messages that `gpg` made.
//!
//! Guarantees: one pass and bounded memory; a message that was cut or changed ends in an error,
//! never in an early end, because the end is only reported after the integrity code (MDC) was
//! right. Data read before that must not be used. A key that is expired, revoked or not meant for
//! encryption is never encrypted to; what was encrypted to it before is still decrypted.

mod agent;
mod certificate;
mod decrypt;
mod encrypt;
mod gpg;
mod packets;
mod secret;
mod signatures;
mod signer;
#[cfg(test)]
mod tests;

pub use certificate::{Certificates, Expiry};
pub(super) use decrypt::Decrypting;
pub(super) use encrypt::Encrypting;
pub use gpg::Gpg;
pub use secret::SecretKeys;
pub use signatures::MessageSigners;
pub use signer::{MessageKey, MessageSigner};

pub(super) use packets::is_openpgp;

/// The name in manifests.
pub(crate) const NAME: &str = "openpgp";

/// A key id or fingerprint as `gpg` shows it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
