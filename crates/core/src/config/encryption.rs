//! Encryption of a store: recipients, the signer inside messages, and decryption keys.

use super::text;
use crate::secret::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Public keys to encrypt to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptConfig {
    /// `age1…` or `ssh-ed25519 …` recipients, or absolute paths of files that hold them, one a line.
    #[serde(default)]
    #[schemars(with = "Vec<text::AgeRecipient>")]
    pub age: Vec<String>,
    /// Instead of `age`: absolute paths of files of OpenPGP public keys, armored or binary.
    #[serde(default)]
    #[schemars(with = "Vec<text::AbsolutePath>")]
    pub openpgp: Vec<PathBuf>,
    /// Key that signs inside messages encrypted with `openpgp`, as `gpg --sign --encrypt` does.
    #[serde(default)]
    pub sign: Option<SignConfig>,
}

/// Key that signs inside OpenPGP messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignConfig {
    /// One OpenPGP secret key, as `gpg --export-secret-keys` writes it.
    #[serde(default)]
    pub openpgp: Option<Reference>,
    /// Passphrase of `openpgp`.
    #[serde(default)]
    pub passphrase: Option<Reference>,
    /// Instead of `openpgp`: home directory of a GnuPG whose agent or card has the secret key.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub gpg: Option<PathBuf>,
    /// Key of `gpg` that signs: its fingerprint, 40 hexadecimal digits.
    #[serde(default)]
    pub key: Option<String>,
}

/// The record of drills and restores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceConfig {
    /// Public keys that observations are sealed to, for stores that have none: `age1…` or
    /// `ssh-ed25519 …`, absolute paths of files that hold them, or of OpenPGP key files.
    #[serde(default)]
    pub recipients: Vec<String>,
}

impl EncryptConfig {
    /// Name of the key of this table that is set.
    pub fn format(&self) -> &'static str {
        if self.openpgp.is_empty() {
            "age"
        } else {
            "openpgp"
        }
    }
}

/// Keys to decrypt with.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecryptConfig {
    /// age identities (`AGE-SECRET-KEY-1…`, which `age -p` may have encrypted), or an OpenSSH private key.
    #[serde(default)]
    pub age: Option<Reference>,
    /// OpenPGP secret keys, as `gpg --export-secret-keys` writes them.
    #[serde(default)]
    pub openpgp: Option<Reference>,
    /// Passphrase of `openpgp` or `age`, whichever has one.
    #[serde(default)]
    pub passphrase: Option<Reference>,
    /// Instead of `openpgp`: home directory of a GnuPG whose agent or card has the secret key.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub gpg: Option<PathBuf>,
}

impl DecryptConfig {
    /// Returns whether messages in this format (`age`, `openpgp`) can be decrypted.
    pub fn opens(&self, format: &str) -> bool {
        match format {
            "openpgp" => self.openpgp.is_some() || self.gpg.is_some(),
            _ => self.age.is_some(),
        }
    }
}
