//! Signing inside messages, as `gpg --sign --encrypt` does.
//!
//! The signature tells whoever decrypts with `gpg` who made a message. Lifeboat itself trusts the
//! signed manifest, which holds the hash of every stored object. A key that is expired, revoked or
//! not meant for signing signs nothing. A key that cannot sign is kept with the reason, because a
//! store whose key has expired must remain readable.

use super::agent::AgentKey;
use super::certificate::{Chosen, Expiry, Part, Purpose, Unfit, choose, describe};
use super::gpg::Gpg;
use super::hex;
use super::secret::{EXPORT, Lockable, is_elsewhere, open, read_secrets};
use crate::error::{Code, Error, Result};
use crate::secret::Secret;
use jiff::{SignedDuration, Timestamp};
use pgp::composed::{SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{KeyDetails, Password, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha512};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Signs inside messages. The key is read only when it is needed; two signers are equal when they
/// are configured alike.
#[derive(Clone)]
pub struct MessageSigner {
    name: Arc<str>,
    read: Arc<dyn Fn() -> MessageKey + Send + Sync>,
    opened: Arc<OnceLock<MessageKey>>,
}

impl PartialEq for MessageSigner {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for MessageSigner {}

impl fmt::Debug for MessageSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageSigner").field(&self.name).finish()
    }
}

impl MessageSigner {
    /// Makes a signer that calls `read` when it is first needed; `name` says where the key comes
    /// from.
    pub fn new(name: &str, read: impl Fn() -> MessageKey + Send + Sync + 'static) -> Self {
        MessageSigner {
            name: name.into(),
            read: Arc::new(read),
            opened: Arc::default(),
        }
    }

    fn opened(&self) -> &MessageKey {
        self.opened.get_or_init(|| (self.read)())
    }

    /// Fails with the reason if nothing can be signed.
    pub fn usable(&self) -> Result<()> {
        self.hand().map(drop)
    }

    /// Fingerprint of the key or subkey that signs, if it can.
    pub fn fingerprint(&self) -> Option<String> {
        self.hand().ok().map(|hand| hand.fingerprint.clone())
    }

    /// Its expiry, if that is within `span` of `now`.
    pub fn expiring(&self, now: Timestamp, span: SignedDuration) -> Option<Expiry> {
        let expiry = self.hand().ok()?.expiry.clone()?;
        (expiry.at.duration_since(now) <= span).then_some(expiry)
    }

    /// The public key if it could be read, even if it cannot sign now.
    pub(in crate::archive) fn certificate(&self) -> Option<&SignedPublicKey> {
        self.opened().certificate.as_ref()
    }

    pub(super) fn hand(&self) -> Result<Arc<Hand>> {
        self.opened().hand.clone().map_err(|error| Error {
            message: format!("its OpenPGP signing key: {}", error.message),
            ..error
        })
    }
}

/// A key that signs inside messages, or the reason why it cannot.
pub struct MessageKey {
    certificate: Option<SignedPublicKey>,
    hand: Result<Arc<Hand>>,
}

impl MessageKey {
    /// Makes a key that cannot sign, for this reason.
    pub fn failed(error: Error) -> Self {
        MessageKey {
            certificate: None,
            hand: Err(error),
        }
    }

    /// Reads an exported secret key, armored or binary, and unlocks the part that signs at `now`.
    pub fn parse(secret: &Secret, passphrase: Option<&Secret>, now: Timestamp) -> Self {
        let key = match only_key(secret) {
            Ok(key) => key,
            Err(error) => return Self::failed(error),
        };
        let certificate = key.to_public_key();
        let hand = of_secret(key, &certificate, passphrase, now).and_then(proved);
        MessageKey {
            certificate: Some(certificate),
            hand,
        }
    }

    /// Uses a key of the user's GnuPG, whose agent or card has it, by its fingerprint.
    pub fn of_gpg(gpg: &Gpg, fingerprint: &str, now: Timestamp) -> Self {
        let certificate = match gpg.certificate(fingerprint) {
            Ok(certificate) => certificate,
            Err(error) => return Self::failed(error),
        };
        let hand = of_agent(gpg, &certificate, now).and_then(proved);
        MessageKey {
            certificate: Some(certificate),
            hand,
        }
    }
}

/// The part of a key that signs, and the means to sign with it.
pub(super) struct Hand {
    key: Box<dyn SigningKey + Send + Sync>,
    part: Part,
    fingerprint: String,
    expiry: Option<Expiry>,
    agent: Option<AgentKey>,
}

impl Hand {
    pub(super) fn key(&self) -> &dyn SigningKey {
        self.key.as_ref()
    }

    /// Error of the agent, if it did not make the last signature.
    pub(super) fn failure(&self) -> Option<Error> {
        self.agent.as_ref().and_then(AgentKey::failure)
    }
}

fn only_key(secret: &Secret) -> Result<SignedSecretKey> {
    let refused = |message: &str| Error::new(Code::Secret, message).hint(EXPORT);
    let mut keys = read_secrets(secret.expose()).map_err(refused)?;
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (_, others) => Err(refused(&format!(
            "it holds {} OpenPGP secret keys, and one is to sign",
            others + 1
        ))),
    }
}

fn of_secret(
    key: SignedSecretKey,
    certificate: &SignedPublicKey,
    passphrase: Option<&Secret>,
    now: Timestamp,
) -> Result<Hand> {
    let fingerprint = |part: &dyn KeyDetails| hex(part.fingerprint().as_bytes());
    let mut here = Vec::new();
    if !is_elsewhere(&key.primary_key) {
        here.push(fingerprint(&key.primary_key));
    }
    let subkeys = key.secret_subkeys.iter().map(|subkey| &subkey.key);
    here.extend(
        subkeys
            .filter(|s| !is_elsewhere(*s))
            .map(|s| fingerprint(s)),
    );
    let chosen = chosen(certificate, &here, now, "")?;
    let password = passphrase.map(|p| Password::from(p.expose()));
    let signs = |part: &dyn KeyDetails| fingerprint(part) == chosen.fingerprint;
    let subkeys = key.secret_subkeys.into_iter().map(|subkey| subkey.key);
    let key: Box<dyn SigningKey + Send + Sync> = match &chosen.part {
        Part::Primary(_) => Box::new(unlocked(key.primary_key, password.as_ref())?),
        Part::Subkey(_) => match subkeys.into_iter().find(|subkey| signs(subkey)) {
            Some(subkey) => Box::new(unlocked(subkey, password.as_ref())?),
            None => return Err(Unfit::NotMeant.error(certificate, Purpose::Signing, "")),
        },
    };
    Ok(Hand {
        key,
        part: chosen.part,
        fingerprint: chosen.fingerprint,
        expiry: chosen.expiry,
        agent: None,
    })
}

fn of_agent(gpg: &Gpg, certificate: &SignedPublicKey, now: Timestamp) -> Result<Hand> {
    let grips = gpg.keygrips(&hex(certificate.fingerprint().as_bytes()))?;
    let here: Vec<String> = grips.keys().cloned().collect();
    let place = format!(" in {}", gpg.home().display());
    let chosen = chosen(certificate, &here, now, &place)?;
    let grip = grips.get(&chosen.fingerprint).cloned().unwrap_or_default();
    let agent = AgentKey::new(gpg, chosen.part.clone(), grip);
    Ok(Hand {
        key: Box::new(agent.clone()),
        part: chosen.part,
        fingerprint: chosen.fingerprint,
        expiry: chosen.expiry,
        agent: Some(agent),
    })
}

/// Chooses the part that signs, among those whose secret is `here`.
fn chosen(
    certificate: &SignedPublicKey,
    here: &[String],
    now: Timestamp,
    place: &str,
) -> Result<Chosen> {
    let refused = |unfit: Unfit| unfit.error(certificate, Purpose::Signing, place);
    let at_hand = |fingerprint: &str| here.iter().any(|f| f == fingerprint);
    match choose(certificate, Purpose::Signing, at_hand, now) {
        Ok(chosen) => Ok(chosen),
        // The part that would sign may be absent here.
        Err(Unfit::NotMeant) => match choose(certificate, Purpose::Signing, |_| true, now) {
            Ok(absent) => Err(Error::new(
                Code::Secret,
                format!(
                    "the secret part of {} that signs, {}, is not in it: it is on a card, or was left out of the export",
                    describe(certificate), absent.fingerprint
                ),
            )
            .hint("export it where it is, or sign with gpg: sign = { gpg = \"/root/.gnupg\", key = \"FINGERPRINT\" }")),
            Err(unfit) => Err(refused(unfit)),
        },
        Err(unfit) => Err(refused(unfit)),
    }
}

fn unlocked<K: Lockable>(mut key: K, password: Option<&Password>) -> Result<K> {
    if open(&mut key, password) {
        return Ok(key);
    }
    let id = hex(key.legacy_key_id().as_ref());
    Err(match password {
        Some(_) => Error::new(
            Code::Secret,
            format!("the passphrase does not open OpenPGP secret key {id}"),
        )
        .hint("check what `passphrase` of `sign` refers to"),
        None => Error::new(
            Code::Secret,
            format!("OpenPGP secret key {id} is protected by a passphrase"),
        )
        .hint("add passphrase = \"file:PATH\" to `sign`, or sign with gpg: sign = { gpg = \"/root/.gnupg\", key = \"FINGERPRINT\" }"),
    })
}

/// Signs something and checks it, so that a key that cannot sign is noticed before a backup rather
/// than at the end of its first message.
fn proved(hand: Hand) -> Result<Arc<Hand>> {
    let digest = Sha512::digest(b"whether this key signs");
    let hash = HashAlgorithm::Sha512;
    let signature = hand.key.sign(&Password::empty(), hash, &digest);
    let verified = signature.and_then(|signature| match &hand.part {
        Part::Primary(key) => key.verify(hash, &digest, &signature),
        Part::Subkey(key) => key.verify(hash, &digest, &signature),
    });
    match verified {
        Ok(()) => Ok(Arc::new(hand)),
        Err(error) => Err(hand.failure().unwrap_or_else(|| {
            Error::new(
                Code::Secret,
                format!("OpenPGP key {} does not sign", hand.fingerprint),
            )
            .cause(error)
            .hint("export it again, or sign with another key")
        })),
    }
}
