//! Signatures of manifests and evidence: Ed25519, in OpenSSH's format, namespace `lifeboat`.
//!
//! Guarantees: `ssh-keygen -Y verify -n lifeboat` accepts what is signed here and the other way
//! round, and a signature is trusted only if the operator listed its key. A signature does not
//! prove when it was made: a signer can write any time into what it signs.

mod trusted;

pub use trusted::TrustedSigners;

use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, SshSig};
use std::fmt;
use zeroize::Zeroizing;

/// The namespace of every signature: a signature made for another purpose is refused.
pub const NAMESPACE: &str = "lifeboat";

/// The signer: the fingerprint of a public key as OpenSSH shows it, `SHA256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignerId(String);

impl SignerId {
    /// The id as OpenSSH shows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as one component of a key: it has no separator, and different ids stay different.
    pub fn key_component(&self) -> String {
        self.0
            .chars()
            .map(|c| match c {
                '/' => '_',
                '+' | ':' => '-',
                c => c,
            })
            .collect()
    }
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key that checks signatures.
#[derive(Debug, Clone)]
pub struct PublicKey(ssh_key::PublicKey);

impl PartialEq for PublicKey {
    /// Compares keys without their comments.
    fn eq(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// Parses `ssh-ed25519 AAAA… comment`.
    pub fn parse(text: &str) -> Result<Self> {
        ssh_key::PublicKey::from_openssh(text.trim())
            .map(PublicKey)
            .map_err(|error| {
                Error::new(
                    Code::Configuration,
                    format!("{text:?} is no public SSH key"),
                )
                .cause(error)
                .hint("write it as in an id_ed25519.pub file: ssh-ed25519 AAAA…")
            })
    }

    /// Its fingerprint.
    pub fn id(&self) -> SignerId {
        SignerId(self.0.fingerprint(HashAlg::Sha256).to_string())
    }

    /// `ssh-ed25519 AAAA…`, without a comment.
    pub fn to_openssh(&self) -> String {
        let bare = ssh_key::PublicKey::from(self.0.key_data().clone());
        // A key that was parsed from text, or made here, always has a text form.
        bare.to_openssh().unwrap_or_default()
    }

    /// The `allowed_signers` line that trusts this key to sign as `principal`.
    pub fn line_for(&self, principal: &str) -> String {
        format!(
            "{principal} namespaces=\"{NAMESPACE}\" {}",
            self.to_openssh()
        )
    }
}

/// A private key that signs.
pub struct Signer(PrivateKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id())
    }
}

impl Signer {
    /// Parses an OpenSSH private key: Ed25519, without a passphrase.
    pub fn from_openssh(secret: &Secret) -> Result<Self> {
        let wrong = |message: &str| {
            Error::new(Code::Secret, message)
                .hint("make one with: ssh-keygen -t ed25519 -N '' -f signing.key")
        };
        // Resolving a reference drops the final newline, but the format requires it.
        let text = Zeroizing::new(format!("{}\n", secret.expose_str()?.trim()));
        let key = PrivateKey::from_openssh(text.as_bytes())
            .map_err(|error| wrong("the signing key is no OpenSSH private key").cause(error))?;
        if key.is_encrypted() {
            return Err(wrong("the signing key is protected by a passphrase")
                .hint("take the passphrase off for this host: ssh-keygen -p -N '' -f KEY"));
        }
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(wrong(&format!(
                "the signing key is {}, and only ssh-ed25519 signs here",
                key.algorithm()
            )));
        }
        Ok(Signer(key))
    }

    /// Makes a key from 32 random bytes. They are the private key: take them from the kernel.
    pub fn from_random(random: &Zeroizing<[u8; 32]>) -> Self {
        Signer(PrivateKey::from(Ed25519Keypair::from_seed(random)))
    }

    /// Generates a key from the kernel's randomness.
    pub fn generate() -> Result<Self> {
        let mut random = Zeroizing::new([0; 32]);
        let mut filled = 0;
        while let Some(rest) = random.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
                .map_err(|error| Error::io("the kernel gives no randomness", &error.into()))?;
        }
        Ok(Signer::from_random(&random))
    }

    /// The private key as a file that `ssh-keygen` reads; write it with mode 0600.
    pub fn to_openssh(&self) -> Result<Zeroizing<String>> {
        self.0.to_openssh(LineEnding::LF).map_err(|error| {
            Error::new(Code::Secret, "the signing key cannot be written").cause(error)
        })
    }

    /// The fingerprint of its public key.
    pub fn id(&self) -> SignerId {
        self.public().id()
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().clone())
    }

    /// `ssh-ed25519 AAAA…`.
    pub fn public_openssh(&self) -> String {
        self.public().to_openssh()
    }

    /// The HMAC-SHA-256 of a proof of content, in hex, under a key that only the owner of this one
    /// knows. A plain hash of a small secret could be guessed; this cannot. `None` if the key
    /// cannot sign.
    ///
    /// The HMAC key is the SHA-256 of our Ed25519 signature of a constant, which is always the
    /// same.
    pub fn proof_mac(&self, content: &[u8]) -> Option<String> {
        let signature = self
            .0
            .sign(NAMESPACE, HashAlg::Sha512, b"lifeboat proof key 1");
        let key = Sha256::digest(signature.ok()?.signature_bytes());
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(content);
        Some(hex(&mac.finalize().into_bytes()))
    }

    /// Signs a message and returns the text of a `.sig` file.
    pub fn sign(&self, message: &[u8]) -> Result<String> {
        self.0
            .sign(NAMESPACE, HashAlg::Sha512, message)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|error| Error::new(Code::Secret, "signing failed").cause(error))
    }
}

fn untrusted(message: impl Into<String>) -> Error {
    Error::new(Code::Untrusted, message)
}

/// Parses a `.sig` file. Refuses every text but the canonical one: the library accepts other
/// versions and lengths, and they are not among the signed bytes.
fn parse_signature(text: &str) -> Result<SshSig, String> {
    let text = format!("{}\n", text.trim());
    let signature = SshSig::from_pem(text.as_bytes()).map_err(|error| error.to_string())?;
    let written = signature.to_pem(LineEnding::LF).unwrap_or_default();
    let same = written.split_whitespace().eq(text.split_whitespace());
    if !same || signature.version() != SshSig::VERSION {
        return Err("it is not in the form that ssh-keygen writes".into());
    }
    Ok(signature)
}

/// The result of checking the signature beside a document. It does not say whether the signer is
/// trusted.
#[derive(Debug, Clone)]
pub enum Signed {
    /// The signature fits, and this key made it.
    By(PublicKey),
    /// There is no signature.
    Not,
    /// The signature does not fit these bytes in our namespace, for this reason.
    Wrong(Error),
}

impl Signed {
    /// Checks `signature` against `message`.
    pub fn check(message: &[u8], signature: Option<&str>) -> Self {
        match signature.map(|signature| signed_by(message, signature)) {
            None => Signed::Not,
            Some(Ok(key)) => Signed::By(key),
            Some(Err(error)) => Signed::Wrong(error),
        }
    }
}

/// Checks that `signature` was made of `message` in our namespace, and returns the key that made
/// it. Trust in that key is checked elsewhere.
fn signed_by(message: &[u8], signature: &str) -> Result<PublicKey> {
    let signature = parse_signature(signature).map_err(|cause| {
        untrusted("the signature is malformed")
            .cause(cause)
            .hint("the .sig object is damaged; try another store")
    })?;
    if signature.namespace() != NAMESPACE {
        return Err(untrusted(format!(
            "the signature was made for {:?}, not for {NAMESPACE:?}",
            signature.namespace()
        ))
        .hint("sign with: ssh-keygen -Y sign -n lifeboat"));
    }
    if signature.algorithm() != Algorithm::Ed25519 {
        return Err(untrusted(format!(
            "the signature is {}, and only ssh-ed25519 is checked here",
            signature.algorithm()
        ))
        .hint("check it with ssh-keygen -Y verify, or sign with an Ed25519 key"));
    }
    let key = ssh_key::PublicKey::from(signature.public_key().clone());
    key.verify(NAMESPACE, message, &signature)
        .map_err(|error| {
            untrusted("the signature does not match the bytes it stands beside")
                .cause(error)
                .hint("one of the two was changed after signing; try another store")
        })?;
    Ok(PublicKey(key))
}

#[cfg(test)]
mod tests;
