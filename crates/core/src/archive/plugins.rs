//! age keys that belong to a plugin program, `age-plugin-NAME`, found in `PATH`.
//!
//! Nobody can be asked: whatever a plugin wants confirmed or typed is refused, except the
//! passphrase that is configured beside the key.

use crate::error::{Code, Error, Result};
use age::plugin::{Identity, IdentityPluginV1, Recipient, RecipientPluginV1};
use age::secrecy::SecretString;
use bech32::{Bech32, Hrp};
use std::collections::BTreeSet;

/// Answers the questions of a plugin.
#[derive(Clone, Default)]
pub(super) struct Unattended {
    passphrase: Option<SecretString>,
}

impl age::Callbacks for Unattended {
    fn display_message(&self, message: &str) {
        tracing::warn!("an age plugin says: {message}");
    }

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _description: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, _description: &str) -> Option<SecretString> {
        self.passphrase.clone()
    }
}

/// Starts the plugins of these keys. Fails when one is not installed.
pub(super) fn of_recipients(keys: &[Recipient]) -> Result<Vec<RecipientPluginV1<Unattended>>> {
    let names: BTreeSet<&str> = keys.iter().map(Recipient::plugin).collect();
    let plugin = |name: &str| {
        RecipientPluginV1::new(name, keys, &[], Unattended::default())
            .map_err(|_| missing(Code::ToolMissing, name))
    };
    names.into_iter().map(plugin).collect()
}

/// Starts the plugins of these private keys. Fails when one is not installed.
pub(super) fn of_identities(
    keys: &[Identity],
    passphrase: Option<&str>,
) -> Result<Vec<IdentityPluginV1<Unattended>>> {
    let answers = Unattended {
        passphrase: passphrase.map(|text| text.to_owned().into()),
    };
    let names: BTreeSet<&str> = keys.iter().map(Identity::plugin).collect();
    let plugin = |name: &str| {
        IdentityPluginV1::new(name, keys, answers.clone())
            .map_err(|_| missing(Code::Decryption, name))
    };
    names.into_iter().map(plugin).collect()
}

fn missing(code: Code, name: &str) -> Error {
    let hint = match name {
        "pq" => "install it where PATH finds it: the package age has it from 1.3 on",
        _ => "install it where PATH finds it",
    };
    Error::new(
        code,
        format!("age-plugin-{name} is not installed, which speaks for an age key"),
    )
    .hint(hint)
}

/// Converts a post-quantum identity as age 1.3 writes it (`AGE-SECRET-KEY-PQ-1…`) to the form that
/// its plugin takes: the same bytes under another name, as `age-plugin-pq -identity` does. `None`
/// for any other text.
pub(super) fn post_quantum(line: &str) -> Option<Identity> {
    let (name, bytes) = bech32::decode(line).ok()?;
    if name.as_str() != "AGE-SECRET-KEY-PQ-" && name.as_str() != "age-secret-key-pq-" {
        return None;
    }
    let bytes = zeroize::Zeroizing::new(bytes);
    let name = Hrp::parse("AGE-PLUGIN-PQ-").ok()?;
    let text = zeroize::Zeroizing::new(bech32::encode_upper::<Bech32>(name, &bytes).ok()?);
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_quantum_identity_is_converted_as_its_plugin_does() {
        // Both lines are of `age-keygen -pq` and `age-plugin-pq -identity`, for a key made for this.
        let native =
            "AGE-SECRET-KEY-PQ-1D657TJD0SYV9GYS3T62VW6KF3ZVKUNWMFG7VRP7NPDZ9VAD8DCUS0M0NGR";
        let plugin = "AGE-PLUGIN-PQ-1D657TJD0SYV9GYS3T62VW6KF3ZVKUNWMFG7VRP7NPDZ9VAD8DCUS5W40WQ";
        let converted = post_quantum(native).expect("an identity");
        assert_eq!(
            (converted.to_string().as_str(), converted.plugin()),
            (plugin, "pq")
        );
        let damaged = native.replace("D657", "D658");
        for other in ["", "AGE-SECRET-KEY-1Q", plugin, damaged.as_str()] {
            assert!(post_quantum(other).is_none(), "{other}");
        }
    }
}
