//! Conversion between an artifact stream and stored bytes: compression, encryption, names.
//!
//! Guarantees: one pass, bounded memory, nothing on disk. `gunzip`, `zstd`, `age` and `gpg` read
//! the result, and reading refuses anything that is not whole. This module does not know where
//! bytes go, and it does not replace the hashes of a manifest: a damaged object whose content is
//! unharmed (a changed padding bit, say) is detected only by the caller's [`Tally`].

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
