//! The keys of an `ssh` table.

use super::text;
use crate::resolve::resolve;
use crate::secret::{Reference, Resolvable};
use crate::transport::Login;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Login over SSH; the user's own `ssh` configuration supplies what is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    /// Private key in OpenSSH or PEM format; passed to a private agent, never written to a file.
    #[serde(default)]
    pub key: Option<Reference>,
    /// Passphrase of the private key.
    #[serde(default)]
    pub passphrase: Option<Reference>,
    /// Absolute path of a `known_hosts` file; only host keys in it are trusted.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub known_hosts: Option<PathBuf>,
    /// Absolute path of an `ssh_config` file, instead of the user's own.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub config: Option<PathBuf>,
}

impl SshConfig {
    /// Converts these settings for the transport.
    pub fn login(&self) -> Login {
        let resolvable = |reference: &Reference| Resolvable::new(reference.clone(), resolve);
        Login {
            key: self.key.as_ref().map(resolvable),
            passphrase: self.passphrase.as_ref().map(resolvable),
            known_hosts: self.known_hosts.clone(),
            config: self.config.clone(),
            ask_after_seconds: None,
            instead: None,
        }
    }
}
