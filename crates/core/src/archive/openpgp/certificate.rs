//! Public keys, and the part of each that is used for encryption or for signing.
//!
//! The choice follows `gpg`: the newest subkey that is bound to the primary key by a valid
//! signature, meant for the purpose, and neither expired nor revoked; without such a subkey, the
//! primary key if it is meant for the purpose. Revocations by other keys (designated revokers) are
//! not supported.

use super::hex;
use super::packets;
use crate::error::{Code, Error, Result};
use jiff::{SignedDuration, Timestamp};
use pgp::composed::{PublicOrSecret, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{KeyFlags, PublicKey, PublicSubkey, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, KeyVersion, PublicParams, Tag};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// OpenPGP public keys to encrypt to. Two values are equal when they encrypt to the same keys.
///
/// A key that cannot be used for encryption is kept with the reason, because a store whose key has
/// expired must remain readable.
#[derive(Clone)]
pub struct Certificates {
    /// Fingerprints of the parts that are encrypted to, sorted and without duplicates.
    names: Arc<[String]>,
    chosen: Arc<Result<Vec<Chosen>>>,
    /// Every key that could be read.
    all: Arc<[SignedPublicKey]>,
}

impl PartialEq for Certificates {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Certificates {}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.names).finish()
    }
}

/// Purpose of a part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Encryption,
    Signing,
}

/// Part of a key that encrypts or signs: the primary key or a subkey.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// The part of a key that fits a purpose.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) part: Part,
    /// Its fingerprint.
    pub(super) fingerprint: String,
    pub(super) expiry: Option<Expiry>,
}

/// Expiry of a key.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// Name and location of the key, for messages.
    pub key: String,
    /// Fingerprint of the primary key.
    pub fingerprint: String,
    /// Time of expiry.
    pub at: Timestamp,
}

impl Certificates {
    /// Reads every key of these files, armored or binary, and chooses the parts to encrypt to at
    /// `now`.
    pub fn read(paths: &[PathBuf], now: Timestamp) -> Self {
        let mut all = Vec::new();
        let chosen = choose_all(paths, now, &mut all);
        let mut names: Vec<String> = match &chosen {
            Ok(chosen) => chosen.iter().map(|c| c.fingerprint.clone()).collect(),
            Err(_) => paths.iter().map(|p| p.display().to_string()).collect(),
        };
        names.sort();
        names.dedup();
        Certificates {
            names: names.into(),
            chosen: Arc::new(chosen),
            all: all.into(),
        }
    }

    /// The fingerprints that are encrypted to, sorted; the paths of the files if they cannot be
    /// used.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Fails with the reason if these keys cannot be encrypted to.
    pub fn usable(&self) -> Result<()> {
        match self.chosen.as_ref() {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    /// The keys that expire within `span` of `now`.
    pub fn expiring(&self, now: Timestamp, span: SignedDuration) -> Vec<&Expiry> {
        let chosen = self.chosen.as_ref().as_ref().map(Vec::as_slice);
        let expiries = chosen.unwrap_or_default().iter().flat_map(|c| &c.expiry);
        expiries
            .filter(|expiry| expiry.at.duration_since(now) <= span)
            .collect()
    }

    /// Every key that could be read, including those that cannot be encrypted to.
    pub(in crate::archive) fn all(&self) -> &[SignedPublicKey] {
        &self.all
    }

    pub(super) fn recipients(&self) -> Result<Vec<Part>> {
        match self.chosen.as_ref() {
            Ok(chosen) => Ok(chosen.iter().map(|c| c.part.clone()).collect()),
            Err(error) => Err(error.clone()),
        }
    }
}

fn choose_all(
    paths: &[PathBuf],
    now: Timestamp,
    read: &mut Vec<SignedPublicKey>,
) -> Result<Vec<Chosen>> {
    let mut all: Vec<Chosen> = Vec::new();
    for path in paths {
        let keys = read_file(path)?;
        read.extend(keys.iter().cloned());
        for key in keys {
            let chosen = choose(&key, Purpose::Encryption, |_| true, now).map_err(|unfit| {
                unfit.error(
                    &key,
                    Purpose::Encryption,
                    &format!(" in {}", path.display()),
                )
            })?;
            if all.iter().all(|c| c.fingerprint != chosen.fingerprint) {
                all.push(chosen.of_file(path));
            }
        }
    }
    if all.is_empty() {
        return Err(Error::new(
            Code::Configuration,
            "encryption is asked for, but there is no OpenPGP key",
        )
        .hint("list at least one file of public keys, or drop `encrypt`"));
    }
    Ok(all)
}

fn read_file(path: &Path) -> Result<Vec<SignedPublicKey>> {
    let shown = path.display();
    let export = format!("write it with `gpg --armor --export KEY > {shown}`");
    let bytes = crate::plain::read(path).map_err(|error| {
        Error::new(
            Code::Configuration,
            format!("OpenPGP key file {shown} cannot be read"),
        )
        .cause(error)
        .hint(export.clone())
    })?;
    let keys = packets::keys(&bytes).map_err(|error| {
        Error::new(
            Code::Configuration,
            format!("{shown} holds something that is no OpenPGP public key"),
        )
        .cause(error)
        .hint(export.clone())
    })?;
    if keys.is_empty() {
        return Err(Error::new(
            Code::Configuration,
            format!("{shown} holds no OpenPGP public key"),
        )
        .hint(export));
    }
    keys.into_iter()
        .map(|key| match key {
            PublicOrSecret::Public(key) => Ok(key),
            // A private key put here by mistake can be read by whoever may read public ones.
            PublicOrSecret::Secret(_) => Err(Error::new(
                Code::Configuration,
                format!("{shown} holds a private key, where public keys are listed"),
            )
            .hint(format!(
                "{export}; the private key belongs into `decrypt`, and only where drills and restores run"
            ))),
        })
        .collect()
}

/// Reason why a key cannot encrypt or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    Expired {
        subkey: Option<String>,
        at: Timestamp,
    },
    Revoked {
        subkey: Option<String>,
        reason: String,
    },
    NotYet {
        subkey: Option<String>,
        at: Timestamp,
    },
    /// No part is meant for the purpose.
    NotMeant,
    Unsupported(String),
    Unbound,
}

impl Unfit {
    /// Makes the error. `place` says where the key was found, and follows its name: ` in FILE`, or
    /// nothing.
    pub(super) fn error(self, key: &SignedPublicKey, purpose: Purpose, place: &str) -> Error {
        let name = format!("{}{place}", describe(key));
        let fingerprint = hex(key.fingerprint().as_bytes());
        let whose = |subkey: Option<String>| match subkey {
            Some(id) => format!("the {} subkey {id} of {name}", purpose.word()),
            None => name.clone(),
        };
        let to = place.strip_prefix(" in ").unwrap_or("FILE");
        let export = match purpose {
            Purpose::Encryption => format!("gpg --armor --export {fingerprint} > {to}"),
            Purpose::Signing => format!("gpg --armor --export-secret-keys {fingerprint} > {to}"),
        };
        let export = format!("export it again: {export}");
        let other = match purpose {
            Purpose::Encryption => "list another key",
            Purpose::Signing => "sign with another key",
        };
        let (message, hint) = match self {
            Unfit::Expired { subkey, at } => {
                let extend = match subkey {
                    Some(_) => format!("gpg --quick-set-expire {fingerprint} 2y '*'"),
                    None => format!("gpg --quick-set-expire {fingerprint} 2y"),
                };
                (
                    format!("{} expired on {}", whose(subkey), day(at)),
                    format!("extend it ({extend}) and {export}; or {other}"),
                )
            }
            Unfit::Revoked { subkey, reason } => {
                let reason = if reason.is_empty() {
                    reason
                } else {
                    format!(": {reason}")
                };
                (
                    format!("{} was revoked{reason}", whose(subkey)),
                    format!(
                        "{}; or {export}, if it has a new {} subkey",
                        match purpose {
                            Purpose::Encryption => "list the key that replaces it",
                            Purpose::Signing => "sign with the key that replaces it",
                        },
                        purpose.word()
                    ),
                )
            }
            Unfit::NotYet { subkey, at } => (
                format!("{} is only valid from {}", whose(subkey), day(at)),
                "check the clock of this host".into(),
            ),
            Unfit::NotMeant => {
                let (algorithm, usage) = match purpose {
                    Purpose::Encryption => ("default", "encrypt"),
                    Purpose::Signing => ("ed25519", "sign"),
                };
                (
                    format!("{name} has no part that is meant for {}", purpose.word()),
                    format!(
                        "add a subkey (gpg --quick-add-key {fingerprint} {algorithm} {usage} 2y) and {export}; or {other}"
                    ),
                )
            }
            Unfit::Unsupported(what) => match purpose {
                Purpose::Encryption => (
                    format!("{name} cannot be encrypted to: {what}"),
                    "list a key of version 4 with an RSA, Curve25519 or NIST encryption subkey"
                        .into(),
                ),
                Purpose::Signing => (
                    format!("{name} cannot sign: {what}"),
                    "use a key of version 4 with an RSA, Ed25519 or NIST signing key".into(),
                ),
            },
            Unfit::Unbound => (
                format!("{name} is not signed by itself, or not with a signature that holds"),
                export,
            ),
        };
        Error::new(Code::Configuration, message).hint(hint)
    }
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Encryption => "encryption",
            Purpose::Signing => "signing",
        }
    }

    /// Returns whether a part with these flags is meant for the purpose; without flags, its
    /// algorithm decides.
    fn fits(self, flags: Option<&KeyFlags>, algorithm: PublicKeyAlgorithm) -> bool {
        use PublicKeyAlgorithm as A;
        let able = match self {
            Purpose::Encryption => matches!(
                algorithm,
                A::RSA
                    | A::RSAEncrypt
                    | A::ElgamalEncrypt
                    | A::Elgamal
                    | A::ECDH
                    | A::X25519
                    | A::X448
            ),
            Purpose::Signing => matches!(
                algorithm,
                A::RSA | A::RSASign | A::DSA | A::ECDSA | A::EdDSALegacy | A::Ed25519 | A::Ed448
            ),
        };
        able && flags.is_none_or(|flags| match self {
            Purpose::Encryption => flags.encrypt_comms() || flags.encrypt_storage(),
            Purpose::Signing => flags.sign(),
        })
    }

    fn supports(self, part: &impl KeyDetails) -> Result<(), Unfit> {
        use PublicKeyAlgorithm as A;
        unknown_curve(part)?;
        let algorithm = part.algorithm();
        let supported = match self {
            Purpose::Encryption => matches!(
                algorithm,
                A::RSA | A::RSAEncrypt | A::ECDH | A::X25519 | A::X448
            ),
            Purpose::Signing => matches!(
                algorithm,
                A::RSA | A::RSASign | A::ECDSA | A::EdDSALegacy | A::Ed25519 | A::Ed448
            ),
        };
        match supported {
            true => Ok(()),
            false => Err(Unfit::Unsupported(format!(
                "its algorithm is {algorithm:?}"
            ))),
        }
    }
}

/// Fails for a curve that this program does not support.
fn unknown_curve(part: &impl KeyDetails) -> Result<(), Unfit> {
    let (curve, known) = match part.public_params() {
        PublicParams::ECDSA(params) => (params.curve(), params.is_supported()),
        PublicParams::ECDH(params) => {
            use ECCCurve::{Curve25519Legacy, P256, P384, P521};
            let curve = params.curve();
            let known = matches!(curve, Curve25519Legacy | P256 | P384 | P521);
            (curve, known)
        }
        _ => return Ok(()),
    };
    match known {
        true => Ok(()),
        false => Err(Unfit::Unsupported(format!(
            "its curve is {}, which is not supported here",
            curve.name()
        ))),
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Name of the key in messages: its id and the first user id.
pub(super) fn describe(key: &SignedPublicKey) -> String {
    let id = hex(key.legacy_key_id().as_ref());
    let owner = key.details.users.first().map(|user| {
        let text = String::from_utf8_lossy(user.id.id()).into_owned();
        text.replace(char::is_control, "?")
    });
    let owner = owner.map_or(String::new(), |owner| format!(" ({owner})"));
    format!("OpenPGP key {id}{owner}")
}

impl Chosen {
    fn of_file(mut self, path: &Path) -> Self {
        if let Some(expiry) = &mut self.expiry {
            expiry.key = format!("{} in {}", expiry.key, path.display());
        }
        self
    }
}

/// Chooses the part of a key for a purpose, among those whose fingerprint `at_hand` accepts.
pub(super) fn choose(
    key: &SignedPublicKey,
    purpose: Purpose,
    at_hand: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Chosen, Unfit> {
    if key.version() != KeyVersion::V4 {
        let version = u8::from(key.version());
        return Err(Unfit::Unsupported(format!("it is of version {version}")));
    }
    let primary = Primary::examine(key, purpose, now)?;
    let mut best: Option<(&SignedPublicSubKey, Option<Timestamp>)> = None;
    let mut refused: Option<Unfit> = None;
    let here = |fingerprint: pgp::types::Fingerprint| at_hand(&hex(fingerprint.as_bytes()));
    for subkey in key.public_subkeys.iter().filter(|s| here(s.fingerprint())) {
        match examine_subkey(key, subkey, purpose, now) {
            Ok(expires) if best.is_none_or(|(b, _)| b.created_at() < subkey.created_at()) => {
                best = Some((subkey, expires));
            }
            Ok(_) => {}
            // The reason why the newest part is unfit says most.
            Err(Unfit::NotMeant | Unfit::Unbound) => {}
            Err(unfit) => refused = Some(unfit),
        }
    }
    let (part, fingerprint, expires) = match best {
        Some((subkey, expires)) => (
            Part::Subkey(subkey.key.clone()),
            hex(subkey.fingerprint().as_bytes()),
            expires,
        ),
        None if primary.fits && here(key.fingerprint()) => (
            Part::Primary(key.primary_key.clone()),
            hex(key.fingerprint().as_bytes()),
            None,
        ),
        None => return Err(refused.unwrap_or(Unfit::NotMeant)),
    };
    let expires = [primary.expires, expires].into_iter().flatten().min();
    Ok(Chosen {
        part,
        fingerprint,
        expiry: expires.map(|at| Expiry {
            key: format!("OpenPGP key {}", hex(key.legacy_key_id().as_ref())),
            fingerprint: hex(key.fingerprint().as_bytes()),
            at,
        }),
    })
}

struct Primary {
    fits: bool,
    expires: Option<Timestamp>,
}

impl Primary {
    fn examine(key: &SignedPublicKey, purpose: Purpose, now: Timestamp) -> Result<Self, Unfit> {
        let own = &key.primary_key;
        let revocation =
            key.details.revocation_signatures.iter().find(|s| {
                s.typ() == Some(SignatureType::KeyRevocation) && s.verify_key(own).is_ok()
            });
        if let Some(revocation) = revocation {
            return Err(Unfit::Revoked {
                subkey: None,
                reason: reason(revocation),
            });
        }
        let created = timestamp(key.created_at());
        if created > now {
            return Err(Unfit::NotYet {
                subkey: None,
                at: created,
            });
        }
        let direct = key
            .details
            .direct_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::Key) && s.verify_key(own).is_ok());
        let direct: Vec<_> = direct.filter(|s| holds(s, now)).collect();
        let users: Vec<_> = key
            .details
            .users
            .iter()
            .filter_map(|user| {
                let valid = |s: &&Signature| {
                    holds(s, now) && s.verify_certification(own, Tag::UserId, &user.id).is_ok()
                };
                let all = user.signatures.iter().filter(valid);
                let newest = newest(all.clone().filter(|s| s.is_certification()))?;
                let revoked = all
                    .filter(|s| s.typ() == Some(SignatureType::CertRevocation))
                    .any(|s| s.created() >= newest.created());
                (!revoked).then_some(newest)
            })
            .collect();
        if direct.is_empty() && users.is_empty() {
            // The signatures of such a key cannot be checked.
            unknown_curve(own)?;
            return Err(Unfit::Unbound);
        }
        // A signature over the key alone supplies what one over a user id omits.
        let of = |has: &dyn Fn(&Signature) -> bool| {
            let signed = direct.iter().copied().filter(|s| has(s));
            newest(signed).or_else(|| newest(users.iter().copied()))
        };
        let expires = of(&|s| s.key_expiration_time().is_some())
            .and_then(|signature| expires(created, signature));
        if let Some(at) = expires.filter(|at| *at <= now) {
            return Err(Unfit::Expired { subkey: None, at });
        }
        let flags = of(&|s| flags(s).is_some()).and_then(flags);
        Ok(Primary {
            fits: purpose.fits(flags, key.algorithm()) && purpose.supports(own).is_ok(),
            expires,
        })
    }
}

/// Checks a subkey; returns when it expires, if ever, or why it cannot be used.
fn examine_subkey(
    key: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<Timestamp>, Unfit> {
    let id = || Some(hex(subkey.legacy_key_id().as_ref()));
    let valid = |kind: SignatureType| {
        let signatures = subkey.signatures.iter();
        signatures.filter(move |s| {
            s.typ() == Some(kind)
                && s.verify_subkey_binding(&key.primary_key, &subkey.key)
                    .is_ok()
        })
    };
    let binding = newest(valid(SignatureType::SubkeyBinding).filter(|s| holds(s, now)));
    let binding = binding.ok_or(Unfit::Unbound)?;
    if !purpose.fits(flags(binding), subkey.algorithm()) {
        return Err(Unfit::NotMeant);
    }
    if purpose == Purpose::Signing && !agrees(key, subkey, binding) {
        return Err(Unfit::Unbound);
    }
    // As in gpg, a revoked subkey stays revoked, whatever was signed later.
    if let Some(revocation) = valid(SignatureType::SubkeyRevocation).next() {
        return Err(Unfit::Revoked {
            subkey: id(),
            reason: reason(revocation),
        });
    }
    let created = timestamp(subkey.created_at());
    if created > now {
        return Err(Unfit::NotYet {
            subkey: id(),
            at: created,
        });
    }
    let expires = expires(created, binding);
    if let Some(at) = expires.filter(|at| *at <= now) {
        return Err(Unfit::Expired { subkey: id(), at });
    }
    purpose.supports(&subkey.key)?;
    Ok(expires)
}

/// Returns whether a signature was made before `now` and has not expired itself.
fn holds(signature: &Signature, now: Timestamp) -> bool {
    let Some(created) = signature.created().map(timestamp) else {
        return false;
    };
    let seconds = signature
        .signature_expiration_time()
        .map_or(0, |d| d.as_secs());
    let ended = created + SignedDuration::from_secs(i64::from(seconds)) <= now;
    created <= now && !(seconds > 0 && ended)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created())
}

fn timestamp(at: pgp::types::Timestamp) -> Timestamp {
    Timestamp::from_second(i64::from(at.as_secs())).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Time at which the key of a signature expires; zero in it means never.
fn expires(created: Timestamp, signature: &Signature) -> Option<Timestamp> {
    let seconds = signature.key_expiration_time()?.as_secs();
    (seconds > 0).then(|| created + SignedDuration::from_secs(i64::from(seconds)))
}

fn flags(signature: &Signature) -> Option<&KeyFlags> {
    let mut hashed = signature.config()?.hashed_subpackets();
    hashed.find_map(|subpacket| match &subpacket.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

/// Checks that a subkey that signs has itself signed that it belongs to the primary key. Otherwise
/// anybody could claim its signatures, and no reader accepts them.
fn agrees(key: &SignedPublicKey, subkey: &SignedPublicSubKey, binding: &Signature) -> bool {
    binding.embedded_signature().is_some_and(|back| {
        back.verify_primary_key_binding(&subkey.key, &key.primary_key)
            .is_ok()
    })
}

fn reason(revocation: &Signature) -> String {
    let text = revocation.revocation_reason_string();
    let text = text.map(|t| String::from_utf8_lossy(t).replace(char::is_control, " "));
    text.unwrap_or_default().trim().to_owned()
}
