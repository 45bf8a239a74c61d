//! Signatures found inside messages.
//!
//! A signature by a known key must be valid, and where a manifest says that an object is signed,
//! there must be one. A signature by an unknown key proves nothing and is ignored: the manifest
//! decides whether an object is the one that was stored.

use super::hex;
use crate::error::{Code, Error, Result};
use pgp::composed::{Message, SignedPublicKey};
use pgp::packet::Signature;
use pgp::types::{Fingerprint, KeyDetails, VerifyingKey};
use std::sync::Arc;

const HINT: &str =
    "do not use this copy: restore from another store, and find out who wrote this one";

/// The keys whose signatures are checked, and the key that must have signed.
#[derive(Clone, Default)]
pub struct MessageSigners {
    known: Arc<[SignedPublicKey]>,
    expected: Option<Arc<str>>,
}

impl MessageSigners {
    pub(in crate::archive) fn new(known: Vec<SignedPublicKey>) -> Self {
        MessageSigners {
            known: known.into(),
            expected: None,
        }
    }

    /// Returns the same keys, with the fingerprint of the key that must have signed, if any.
    pub(in crate::archive) fn expecting(&self, fingerprint: Option<&str>) -> Self {
        MessageSigners {
            known: Arc::clone(&self.known),
            expected: fingerprint.map(Arc::from),
        }
    }

    /// Checks the signatures of a message that was read to its end.
    pub(super) fn judge(&self, message: &Message<'_>) -> Result<()> {
        let mut signers = Vec::new();
        if let Message::Signed { reader, .. } = message {
            for index in 0..reader.num_signatures() {
                let Some(signature) = reader.signature(index) else {
                    continue;
                };
                self.verify(message, index, signature)?;
                signers.extend(issuers(signature));
            }
        }
        self.complete(&signers)
    }

    fn verify(&self, message: &Message<'_>, index: usize, signature: &Signature) -> Result<()> {
        let by = issuers(signature);
        let Some(key) = self.known.iter().find_map(|key| part(key, &by)) else {
            return Ok(());
        };
        match message.verify_nested_explicit(index, key) {
            Ok(_) => Ok(()),
            Err(error) => Err(bad(&by.join(", ")).cause(error)),
        }
    }

    /// Fails unless the required signer is among these fingerprints and key ids.
    pub(super) fn complete(&self, signers: &[String]) -> Result<()> {
        let Some(expected) = &self.expected else {
            return Ok(());
        };
        let is_expected =
            |signer: &String| signer.len() >= 16 && expected.ends_with(signer.as_str());
        if signers.iter().any(is_expected) {
            return Ok(());
        }
        let error = Error::new(
            Code::Untrusted,
            format!(
                "the manifest says that the object is signed by OpenPGP key {expected}, and it is not"
            ),
        )
        .hint(HINT);
        Err(match signers {
            [] => error.cause("there is no signature inside"),
            _ => error.cause(format!("it is signed by {}", signers.join(", "))),
        })
    }
}

/// The error of an invalid signature by a known key.
pub(super) fn bad(signer: &str) -> Error {
    Error::new(
        Code::Untrusted,
        format!("the OpenPGP signature inside the object, by {signer}, does not hold"),
    )
    .hint(HINT)
}

/// Fingerprints of the signer that a signature names, or else key ids.
fn issuers(signature: &Signature) -> Vec<String> {
    let fingerprints = signature.issuer_fingerprint().into_iter();
    let named: Vec<String> = fingerprints
        .map(|f: &Fingerprint| hex(f.as_bytes()))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let ids = signature.issuer_key_id().into_iter();
    ids.map(|id| hex(id.as_ref())).collect()
}

/// Finds the part of a key that has one of these fingerprints or key ids.
fn part<'a>(key: &'a SignedPublicKey, names: &[String]) -> Option<&'a dyn VerifyingKey> {
    let means = |part: &dyn KeyDetails| {
        let fingerprint = hex(part.fingerprint().as_bytes());
        names
            .iter()
            .any(|name| fingerprint.ends_with(name.as_str()))
    };
    if means(&key.primary_key) {
        return Some(&key.primary_key);
    }
    let subkey = key.public_subkeys.iter().find(|s| means(&s.key))?;
    let bound = subkey.signatures.iter().any(|s| {
        s.verify_subkey_binding(&key.primary_key, &subkey.key)
            .is_ok()
    });
    bound.then_some(&subkey.key as &dyn VerifyingKey)
}
