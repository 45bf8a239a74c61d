//! From an artifact stream to stored bytes and back: compress, encrypt, name.
//!
//! Guarantees: one pass, bounded memory, nothing on disk; what comes out is read by `gunzip`,
//! `zstd`, `age` and `gpg`, and what is not whole is refused on the way back. It does not know where
//! bytes go, and it does not replace the hashes of a manifest: a damaged object whose content is
//! unharmed (a changed padding bit, say) is for the caller's [`Tally`] to find.

mod damage;
mod gzip;
mod keys;
mod open;
mod openpgp;
mod plugins;
mod seal;
mod tap;
mod template;
#[cfg(test)]
mod tests;

pub use keys::{AgeRecipients, Identities, NewIdentity, Recipients};
pub(crate) use keys::{is_recipient, unsupported};
pub use open::{Ahead, ahead, open, rehearse};
pub use openpgp::{Certificates, Expiry, Gpg, MessageKey, MessageSigner, SecretKeys};
pub use seal::{Sealer, Sealing};
pub use tap::{Tally, Tap, TapReader};
pub use template::{KeyField, KeyFields, KeyTemplate};

pub(crate) use open::decryption_error;
