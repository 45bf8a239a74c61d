//! The keys of an `ssh` table.

use super::text;
use crate::secret::Reference;
use crate::transport::Login;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How to log in over SSH; what is absent is the business of the user's own `ssh` configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    /// Private key in OpenSSH or PEM format; handed to an agent of Lifeboat's own, never to a file.
    #[serde(default)]
    pub key: Option<Reference>,
    /// Passphrase of the private key.
    #[serde(default)]
    pub passphrase: Option<Reference>,
    /// Absolute path of a `known_hosts` file that alone says which host keys are believed.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub known_hosts: Option<PathBuf>,
    /// Absolute path of an `ssh_config` file, instead of the user's own.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub config: Option<PathBuf>,
}

impl SshConfig {
    /// The same for who logs in.
    pub fn login(&self) -> Login {
        Login {
            key: self.key.clone(),
            passphrase: self.passphrase.clone(),
            known_hosts: self.known_hosts.clone(),
            config: self.config.clone(),
            ask_after_seconds: None,
        }
    }
}
