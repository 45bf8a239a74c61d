//! Secret keys for decryption, unlocked in memory that is wiped.

use super::{hex, packets};
use crate::error::{Code, Error, Result};
use crate::secret::Secret;
use pgp::composed::{PublicOrSecret, SignedSecretKey};
use pgp::packet::SecretSubkey;
use pgp::types::{KeyDetails, KeyId, Password, S2kParams, SecretParams, StringToKey};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// OpenPGP secret keys, at least one of which can decrypt.
#[derive(Clone)]
pub struct SecretKeys(Arc<Keys>);

struct Keys {
    keys: Vec<SignedSecretKey>,
    /// Ids of the parts that decrypt, unlocked.
    usable: Vec<KeyId>,
    /// Ids of the parts that would decrypt with the right passphrase.
    locked: Vec<KeyId>,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({} keys)", self.0.keys.len())
    }
}

/// Use of a part of a key.
enum Part {
    Usable,
    Locked,
    /// Its secret is on a card or was left out of the export.
    Absent,
    /// It only signs.
    Other,
}

impl SecretKeys {
    /// Reads every secret key in an exported file, armored or binary, and unlocks the parts that
    /// decrypt.
    pub fn parse(secret: &Secret, passphrase: Option<&Secret>) -> Result<Self> {
        let refused = |message: &str, hint: &str| Error::new(Code::Decryption, message).hint(hint);
        let mut secrets =
            read_secrets(secret.expose()).map_err(|message| refused(message, EXPORT))?;
        let password = passphrase.map(|p| Password::from(p.expose()));
        let (mut usable, mut locked, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        for key in &mut secrets {
            let id = key.primary_key.legacy_key_id();
            let part = unlock(&mut key.primary_key, password.as_ref());
            sort(id, part, &mut usable, &mut locked, &mut absent);
            for subkey in &mut key.secret_subkeys {
                let id = subkey.key.legacy_key_id();
                let part = unlock(&mut subkey.key, password.as_ref());
                sort(id, part, &mut usable, &mut locked, &mut absent);
            }
        }
        if usable.is_empty() {
            return Err(if !locked.is_empty() {
                locked_error(&locked, passphrase.is_some())
            } else if !absent.is_empty() {
                let message = format!(
                    "the secret part of OpenPGP key {} is not in it: it is on a card, or was left out of the export",
                    ids(&absent)
                );
                refused(
                    &message,
                    "export it where it is, or decrypt with gpg: decrypt = { gpg = \"/root/.gnupg\" }",
                )
            } else {
                refused("its OpenPGP keys can only sign", EXPORT)
            });
        }
        Ok(SecretKeys(Arc::new(Keys {
            keys: secrets,
            usable,
            locked,
        })))
    }

    pub(super) fn keys(&self) -> &[SignedSecretKey] {
        &self.0.keys
    }

    /// The error that no key here opens a message to these recipients.
    pub(super) fn no_match(&self, recipients: &[KeyId]) -> Error {
        let fits = |known: &[KeyId]| recipients.iter().any(|r| known.contains(r));
        if fits(&self.0.locked) && !fits(&self.0.usable) {
            let locked = self.0.locked.iter().filter(|k| recipients.contains(k));
            return locked_error(&locked.copied().collect::<Vec<_>>(), true);
        }
        let own = ids(&self.0.usable);
        if recipients.is_empty() {
            return Error::new(
                Code::Decryption,
                "the object is encrypted to a passphrase, not to an OpenPGP key",
            )
            .hint("decrypt it with `gpg --decrypt`");
        }
        if fits(&self.0.usable) || recipients.iter().any(KeyId::is_wildcard) {
            return Error::new(
                Code::Decryption,
                "the object does not decrypt with the OpenPGP key given here",
            )
            .cause(format!("it is encrypted to {}; the secret key here is {own}", ids(recipients)))
            .hint("give the secret key of one of its recipients; if it is the right one, the object is damaged");
        }
        Error::new(
            Code::Decryption,
            "no OpenPGP secret key given here decrypts the object",
        )
        .cause(format!(
            "it is encrypted to {}; the secret key here is {own}",
            ids(recipients)
        ))
        .hint("give the secret key of one of the recipients it was encrypted to")
    }
}

pub(super) const EXPORT: &str =
    "write it with `gpg --armor --export-secret-keys KEY`, readable by root alone";

fn ids(ids: &[KeyId]) -> String {
    let shown: Vec<_> = ids
        .iter()
        .map(|id| match id.is_wildcard() {
            true => "a hidden key".to_owned(),
            false => hex(id.as_ref()),
        })
        .collect();
    shown.join(", ")
}

fn locked_error(locked: &[KeyId], tried: bool) -> Error {
    let keys = ids(locked);
    if tried {
        return Error::new(
            Code::Decryption,
            format!("the passphrase does not open OpenPGP secret key {keys}"),
        )
        .hint("check what `passphrase` of `decrypt` refers to");
    }
    Error::new(
        Code::Decryption,
        format!("OpenPGP secret key {keys} is protected by a passphrase"),
    )
    .hint("add passphrase = \"file:PATH\" to `decrypt`, or decrypt with gpg: decrypt = { gpg = \"/root/.gnupg\" }")
}

fn sort(
    id: KeyId,
    part: Part,
    usable: &mut Vec<KeyId>,
    locked: &mut Vec<KeyId>,
    absent: &mut Vec<KeyId>,
) {
    match part {
        Part::Usable => usable.push(id),
        Part::Locked => locked.push(id),
        Part::Absent => absent.push(id),
        Part::Other => {}
    }
}

/// Reads the secret keys in a file, at least one; the error says why there is none.
pub(super) fn read_secrets(bytes: &[u8]) -> Result<Vec<SignedSecretKey>, &'static str> {
    let keys = read(bytes).ok_or("it cannot be read as an OpenPGP secret key")?;
    let nothing = keys.is_empty();
    let secrets = keys.into_iter().filter_map(|key| match key {
        PublicOrSecret::Secret(key) => Some(key),
        PublicOrSecret::Public(_) => None,
    });
    let secrets: Vec<_> = secrets.collect();
    match (secrets.is_empty(), nothing) {
        (false, _) => Ok(secrets),
        (true, true) => Err("it holds no OpenPGP secret key"),
        (true, false) => Err("it holds a public key, and no secret key"),
    }
}

/// Parses keys. Resolving a reference removes a final newline, which may have been the last byte of
/// a binary key, so the bytes are also tried with one. The parser's error is dropped because it may
/// quote the secret.
fn read(bytes: &[u8]) -> Option<Vec<PublicOrSecret>> {
    if let Ok(keys) = packets::keys(bytes) {
        return Some(keys);
    }
    [b"\n".as_slice(), b"\r\n", b"\r"]
        .iter()
        .find_map(|ending| {
            let mut longer = Zeroizing::new(Vec::with_capacity(bytes.len() + 2));
            longer.extend_from_slice(bytes);
            longer.extend_from_slice(ending);
            packets::keys(&longer).ok()
        })
}

/// Both kinds of secret key packet.
pub(super) trait Lockable: KeyDetails {
    fn params(&self) -> &SecretParams;
    fn unlock_with(&mut self, password: &Password) -> bool;
}

impl Lockable for pgp::packet::SecretKey {
    fn params(&self) -> &SecretParams {
        self.secret_params()
    }

    fn unlock_with(&mut self, password: &Password) -> bool {
        self.remove_password(password).is_ok()
    }
}

impl Lockable for SecretSubkey {
    fn params(&self) -> &SecretParams {
        self.secret_params()
    }

    fn unlock_with(&mut self, password: &Password) -> bool {
        self.remove_password(password).is_ok()
    }
}

fn unlock(key: &mut impl Lockable, password: Option<&Password>) -> Part {
    use pgp::crypto::public_key::PublicKeyAlgorithm as Algorithm;
    if !matches!(
        key.algorithm(),
        Algorithm::RSA
            | Algorithm::RSAEncrypt
            | Algorithm::ECDH
            | Algorithm::X25519
            | Algorithm::X448
    ) {
        return Part::Other;
    }
    if is_elsewhere(key) {
        return Part::Absent;
    }
    match open(key, password) {
        true => Part::Usable,
        false => Part::Locked,
    }
}

/// Unlocks a part if it is locked; returns whether it is open.
pub(super) fn open(key: &mut impl Lockable, password: Option<&Password>) -> bool {
    match key.params() {
        SecretParams::Plain(_) => true,
        SecretParams::Encrypted(_) => password.is_some_and(|password| key.unlock_with(password)),
    }
}

/// Returns whether this is only GnuPG's mark for a secret that is elsewhere.
pub(super) fn is_elsewhere(key: &impl Lockable) -> bool {
    let SecretParams::Encrypted(params) = key.params() else {
        return false;
    };
    let s2k = match params.string_to_key_params() {
        S2kParams::Aead { s2k, .. }
        | S2kParams::Cfb { s2k, .. }
        | S2kParams::MalleableCfb { s2k, .. } => s2k,
        S2kParams::Unprotected | S2kParams::LegacyCfb { .. } => return false,
    };
    matches!(s2k, StringToKey::Private { .. } | StringToKey::Other { .. })
}
