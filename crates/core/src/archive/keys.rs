//! Keys that archives are sealed to and opened with: age keys or OpenPGP keys.
//!
//! Recipients are public and compare equal when they are the same keys in any order. Identities are
//! private and never printed.

use super::openpgp::{Certificates, Gpg, MessageSigner, MessageSigners, SecretKeys, is_openpgp};
use super::plugins::{self, Unattended};
use crate::error::{Code, Error, Result};
use crate::secret::{AGE_FILE, Secret};
use age::secrecy::ExposeSecret as _;
use age::secrecy::zeroize::Zeroize as _;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

#[derive(Clone)]
enum RecipientKey {
    X25519(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
    Plugin(age::plugin::Recipient),
}

impl RecipientKey {
    /// The key as `age` uses it; `None` for a plugin's key.
    fn as_age(&self) -> Option<&dyn age::Recipient> {
        Some(match self {
            RecipientKey::X25519(key) => key,
            RecipientKey::Ssh(key) => key,
            RecipientKey::Plugin(_) => return None,
        })
    }
}

impl fmt::Display for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecipientKey::X25519(key) => key.fmt(f),
            RecipientKey::Ssh(key) => key.fmt(f),
            RecipientKey::Plugin(key) => key.fmt(f),
        }
    }
}

/// The public keys an archive is encrypted to; at least one. One archive has one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// Keys for `age`.
    Age(AgeRecipients),
    /// Keys for `gpg`.
    OpenPgp(Certificates),
}

impl Recipients {
    /// Parses age and SSH keys as [`AgeRecipients::parse`] does.
    pub fn parse(entries: &[String]) -> Result<Self> {
        AgeRecipients::parse(entries).map(Recipients::Age)
    }

    /// Parses keys of either format: OpenPGP key files if the first entry is the path of one;
    /// otherwise as [`AgeRecipients::parse`].
    pub fn parse_any(entries: &[String], now: jiff::Timestamp) -> Result<Self> {
        let is_file_of_openpgp = |entry: &String| {
            let looked_at = crate::plain::read(entry.trim());
            looked_at.is_ok_and(|bytes| is_openpgp(&bytes))
        };
        if !entries.first().is_some_and(is_file_of_openpgp) {
            return Self::parse(entries);
        }
        let paths: Vec<PathBuf> = entries.iter().map(|e| PathBuf::from(e.trim())).collect();
        let certificates = Certificates::read(&paths, now);
        certificates.usable()?;
        Ok(Recipients::OpenPgp(certificates))
    }

    /// The keys as text, sorted.
    pub fn names(&self) -> &[String] {
        match self {
            Recipients::Age(keys) => keys.names(),
            Recipients::OpenPgp(keys) => keys.names(),
        }
    }
}

/// The public keys an archive is encrypted to for `age`; at least one.
#[derive(Clone)]
pub struct AgeRecipients {
    /// The keys as text, sorted and without duplicates, by which two of these are compared.
    names: Arc<[String]>,
    keys: Arc<[RecipientKey]>,
}

impl PartialEq for AgeRecipients {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for AgeRecipients {}

impl fmt::Debug for AgeRecipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AgeRecipients").field(&self.names).finish()
    }
}

impl AgeRecipients {
    /// Parses `age1…` keys, including those of plugins, `ssh-ed25519 …` and `ssh-rsa …` keys, and
    /// absolute paths of files that hold one such key a line, with blank lines and `#` comments.
    /// Errors name the entry.
    pub fn parse(entries: &[String]) -> Result<Self> {
        let mut keys = Vec::new();
        for entry in entries.iter().map(|entry| entry.trim()) {
            if entry.starts_with('/') {
                parse_file(Path::new(entry), &mut keys)?;
            } else {
                keys.push(parse_recipient(entry, "in the configuration")?);
            }
        }
        if keys.is_empty() {
            return Err(Error::new(
                Code::Configuration,
                "encryption is asked for, but there is no recipient",
            )
            .hint("list at least one age1… or ssh-ed25519 public key, or drop `encrypt`"));
        }
        let mut named: Vec<(String, RecipientKey)> =
            keys.into_iter().map(|key| (key.to_string(), key)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.dedup_by(|a, b| a.0 == b.0);
        let (names, keys): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        Ok(AgeRecipients {
            names: names.into(),
            keys: keys.into(),
        })
    }

    /// The keys as text, sorted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn encryptor(&self) -> Result<age::Encryptor> {
        let plugins = self.plugins()?;
        let keys = self.keys.iter().filter_map(RecipientKey::as_age);
        let plugins = plugins.iter().map(|plugin| plugin as &dyn age::Recipient);
        age::Encryptor::with_recipients(keys.chain(plugins)).map_err(|error| {
            Error::new(Code::Configuration, "cannot encrypt to these recipients").cause(error)
        })
    }

    /// Fails unless the programs that the keys need are installed.
    pub(super) fn usable(&self) -> Result<()> {
        self.plugins().map(drop)
    }

    fn plugins(&self) -> Result<Vec<age::plugin::RecipientPluginV1<Unattended>>> {
        let keys = self.keys.iter().filter_map(|key| match key {
            RecipientKey::Plugin(key) => Some(key.clone()),
            _ => None,
        });
        plugins::of_recipients(&keys.collect::<Vec<_>>())
    }
}

fn parse_file(path: &Path, keys: &mut Vec<RecipientKey>) -> Result<()> {
    let shown = path.display();
    let text = crate::plain::read_to_string(path).map_err(|error| {
        Error::new(
            Code::Configuration,
            format!("recipients file {shown} cannot be read"),
        )
        .cause(error)
        .hint("create it with one age1… or ssh-ed25519 public key a line")
    })?;
    let before = keys.len();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            keys.push(parse_recipient(
                line,
                &format!("in {shown}, line {}", index + 1),
            )?);
        }
    }
    if keys.len() == before {
        return Err(Error::new(
            Code::Configuration,
            format!("recipients file {shown} holds no recipient"),
        )
        .hint("add one age1… or ssh-ed25519 public key a line"));
    }
    Ok(())
}

/// Says why age cannot use an SSH public key.
pub fn unsupported(entry: &str) -> Option<&'static str> {
    match entry {
        _ if entry.starts_with("ecdsa-") => Some("age cannot encrypt to ECDSA keys"),
        _ if entry.starts_with("sk-") => Some("age cannot encrypt to keys of security keys"),
        _ => None,
    }
}

/// Parses an `age1…` key of any kind; the error says why it is not one.
fn parse_age(entry: &str) -> std::result::Result<RecipientKey, &'static str> {
    // The name of a plugin ends with a 1, which an ordinary age key has nowhere else.
    match entry
        .strip_prefix("age1")
        .is_some_and(|rest| rest.contains('1'))
    {
        false => entry.parse().map(RecipientKey::X25519),
        true => entry.parse().map(RecipientKey::Plugin),
    }
}

/// Returns whether this is an `age1…` or SSH public key that can be encrypted to.
pub fn is_recipient(entry: &str) -> bool {
    match entry.starts_with("ssh-") {
        true => entry.parse::<age::ssh::Recipient>().is_ok(),
        false => parse_age(entry).is_ok(),
    }
}

fn parse_recipient(entry: &str, place: &str) -> Result<RecipientKey> {
    // A private key pasted by mistake must not reach a log.
    if entry.to_ascii_uppercase().contains("SECRET-KEY") || entry.contains("PRIVATE KEY") {
        return Err(Error::new(
            Code::Configuration,
            format!("a private key stands {place}, where public keys are listed"),
        )
        .hint("replace it by its public key (age-keygen -y), and treat it as disclosed"));
    }
    let wrong = |cause: String| {
        Error::new(
            Code::Configuration,
            format!("{entry:?} {place} is no age recipient"),
        )
        .cause(cause)
        .hint("use age1…, ssh-ed25519 … or ssh-rsa …, or the absolute path of a file of them")
    };
    if let Some(why) = unsupported(entry) {
        return Err(wrong(why.to_owned()));
    }
    if entry.starts_with("age1") {
        return parse_age(entry).map_err(|error| wrong(error.to_owned()));
    }
    if entry.starts_with("ssh-") {
        return entry
            .parse()
            .map(RecipientKey::Ssh)
            .map_err(|error: age::ssh::ParseRecipientKeyError| wrong(format!("{error:?}")));
    }
    Err(wrong(String::new()))
}

#[derive(Clone)]
enum IdentityKey {
    X25519(age::x25519::Identity),
    Ssh(age::ssh::Identity),
    Plugin(Arc<age::plugin::IdentityPluginV1<Unattended>>),
}

/// The private keys an archive is decrypted with. A store may have used another format before, so
/// both kinds of key may be needed.
#[derive(Clone, Default)]
pub struct Identities {
    age: Arc<[IdentityKey]>,
    openpgp: Option<OpenPgpIdentity>,
    signers: MessageSigners,
}

/// Means of decrypting OpenPGP messages.
#[derive(Debug, Clone)]
pub(super) enum OpenPgpIdentity {
    Keys(SecretKeys),
    Gpg(Gpg),
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let openpgp = match &self.openpgp {
            None => "none",
            Some(OpenPgpIdentity::Keys(_)) => "keys",
            Some(OpenPgpIdentity::Gpg(_)) => "gpg",
        };
        write!(
            f,
            "Identities({} age keys, OpenPGP: {openpgp})",
            self.age.len()
        )
    }
}

/// A new key pair, as `age-keygen` makes.
pub struct NewIdentity {
    /// The public key, for `encrypt`.
    pub recipient: String,
    /// The private key, as the text of an identity file.
    pub secret: Zeroizing<Vec<u8>>,
}

impl Identities {
    /// Makes a new key pair.
    pub fn generate() -> NewIdentity {
        let identity = age::x25519::Identity::generate();
        let mut secret = Zeroizing::new(identity.to_string().expose_secret().as_bytes().to_vec());
        secret.push(b'\n');
        NewIdentity {
            recipient: identity.to_public().to_string(),
            secret,
        }
    }

    /// Parses `AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…` and `AGE-PLUGIN-…` lines, with blank
    /// lines and `#` comments, possibly encrypted by `age -p`, or one OpenSSH private key (Ed25519
    /// or RSA). The passphrase opens a protected key. Errors name the line, never its text.
    pub fn parse(secret: &Secret, passphrase: Option<&Secret>) -> Result<Self> {
        let opened = match is_age_file(secret.expose()) {
            true => Some(open_identity_file(secret.expose(), passphrase)?),
            false => None,
        };
        let text = opened.as_ref().unwrap_or(secret).expose_str()?;
        let keys = if text.trim_start().starts_with("-----BEGIN") {
            vec![parse_ssh_identity(text, passphrase)?]
        } else {
            parse_age_identities(text, passphrase)?
        };
        Ok(Identities {
            age: keys.into(),
            ..Identities::default()
        })
    }

    /// Also decrypts OpenPGP messages with these secret keys.
    pub fn with_openpgp(mut self, keys: SecretKeys) -> Self {
        self.openpgp = Some(OpenPgpIdentity::Keys(keys));
        self
    }

    /// Also decrypts OpenPGP messages through the user's `gpg`.
    pub fn with_gpg(mut self, gpg: Gpg) -> Self {
        self.openpgp = Some(OpenPgpIdentity::Gpg(gpg));
        self
    }

    /// Also checks signatures inside OpenPGP messages by these keys: the owner of an encryption key
    /// often signs with it too.
    pub fn believing(mut self, keys: Option<&Recipients>, signer: Option<&MessageSigner>) -> Self {
        let mut known = match keys {
            Some(Recipients::OpenPgp(keys)) => keys.all().to_vec(),
            Some(Recipients::Age(_)) | None => Vec::new(),
        };
        known.extend(signer.and_then(MessageSigner::certificate).cloned());
        self.signers = MessageSigners::new(known);
        self
    }

    /// Requires objects to be signed inside by the key of this fingerprint, if one is given.
    pub fn expecting(mut self, fingerprint: Option<&str>) -> Self {
        self.signers = self.signers.expecting(fingerprint);
        self
    }

    /// Parses private keys of either format.
    pub fn parse_any(secret: &Secret, passphrase: Option<&Secret>) -> Result<Self> {
        if is_openpgp(secret.expose()) {
            let keys = SecretKeys::parse(secret, passphrase)?;
            return Ok(Identities::default().with_openpgp(keys));
        }
        Self::parse(secret, passphrase)
    }

    pub(super) fn has_age(&self) -> bool {
        !self.age.is_empty()
    }

    pub(crate) fn has_openpgp(&self) -> bool {
        self.openpgp.is_some()
    }

    /// The user's `gpg`, if it decrypts.
    pub fn gpg(&self) -> Option<&Gpg> {
        match &self.openpgp {
            Some(OpenPgpIdentity::Gpg(gpg)) => Some(gpg),
            _ => None,
        }
    }

    pub(super) fn openpgp(&self) -> Option<(&OpenPgpIdentity, &MessageSigners)> {
        let openpgp = self.openpgp.as_ref()?;
        Some((openpgp, &self.signers))
    }

    pub(crate) fn as_age(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.age.iter().map(|key| match key {
            IdentityKey::X25519(key) => key as &dyn age::Identity,
            IdentityKey::Ssh(key) => key as &dyn age::Identity,
            IdentityKey::Plugin(plugin) => &**plugin as &dyn age::Identity,
        })
    }
}

const IDENTITY_HINT: &str =
    "give an age identity (AGE-SECRET-KEY-1…, as age-keygen makes), or an OpenSSH private key";

/// Largest accepted work factor. The file sets it, and `age` refuses more as well.
const WORK_FACTOR_MAX: u8 = 22;

/// Returns whether this is an age file, binary or armored.
fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(AGE_FILE) || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

/// Decrypts identities that `age -p` encrypted.
fn open_identity_file(bytes: &[u8], passphrase: Option<&Secret>) -> Result<Secret> {
    let wrong = |what: &str| {
        Error::new(
            Code::Decryption,
            format!("the decryption key is an encrypted identity file{what}"),
        )
    };
    let broken = |error: &dyn fmt::Display| wrong(" that cannot be read").cause(error);
    let armored = age::armor::ArmoredReader::new(bytes);
    let decryptor = age::Decryptor::new_buffered(armored).map_err(|error| broken(&error))?;
    if !decryptor.is_scrypt() {
        return Err(wrong(", and to open it takes another key, not a passphrase")
            .hint("decrypt it for this host (age -d -i KEY), or encrypt it with a passphrase (age -p)"));
    }
    let Some(passphrase) = passphrase else {
        return Err(wrong("").hint(
            "say where its passphrase is: passphrase = \"file:PATH\" beside it (--passphrase)",
        ));
    };
    let mut identity = age::scrypt::Identity::new(passphrase.expose_str()?.to_owned().into());
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let mut text = Zeroizing::new(Vec::new());
    decryptor
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .map_err(|error| wrong(", and this passphrase does not open it").cause(error))?
        .read_to_end(&mut text)
        .map_err(|error| broken(&error))?;
    Ok(Secret::new(text.to_vec()))
}

fn parse_age_identities(text: &str, passphrase: Option<&Secret>) -> Result<Vec<IdentityKey>> {
    let mut keys = Vec::new();
    let mut of_plugins = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(key) = plugins::post_quantum(line).or_else(|| line.parse().ok()) {
            of_plugins.push(key);
            continue;
        }
        let key = line.parse().map_err(|_| {
            Error::new(
                Code::Decryption,
                format!(
                    "line {} of the decryption key is no age identity",
                    index + 1
                ),
            )
            .hint(IDENTITY_HINT)
        })?;
        keys.push(IdentityKey::X25519(key));
    }
    let passphrase = passphrase.map(Secret::expose_str).transpose()?;
    let of_plugins = plugins::of_identities(&of_plugins, passphrase)?.into_iter();
    keys.extend(of_plugins.map(|plugin| IdentityKey::Plugin(Arc::new(plugin))));
    if keys.is_empty() {
        return Err(
            Error::new(Code::Decryption, "the decryption key holds no identity")
                .hint(IDENTITY_HINT),
        );
    }
    Ok(keys)
}

fn parse_ssh_identity(text: &str, passphrase: Option<&Secret>) -> Result<IdentityKey> {
    // The parser needs the final newline that resolving a reference removes.
    let mut text = format!("{}\n", text.trim());
    let parsed = age::ssh::Identity::from_buffer(text.as_bytes(), None);
    text.zeroize();
    match parsed {
        Ok(key @ age::ssh::Identity::Unencrypted(_)) => Ok(IdentityKey::Ssh(key)),
        Ok(age::ssh::Identity::Encrypted(key)) => {
            let message = "the OpenSSH decryption key is protected by a passphrase";
            let Some(passphrase) = passphrase else {
                return Err(Error::new(Code::Decryption, message).hint(
                    "say where that is: passphrase = \"file:PATH\" beside it (--passphrase)",
                ));
            };
            let opened = key.decrypt(passphrase.expose_str()?.to_owned().into());
            let key = opened.map_err(|error| {
                let message = format!("{message}, and this one does not open it");
                Error::new(Code::Decryption, message).cause(error)
            })?;
            Ok(IdentityKey::Ssh(key.into()))
        }
        Ok(age::ssh::Identity::Unsupported(_)) => Err(Error::new(
            Code::Decryption,
            "the OpenSSH decryption key is of a kind age cannot use",
        )
        .hint("use an ssh-ed25519 or ssh-rsa key, or an age identity")),
        Err(_) => Err(Error::new(
            Code::Decryption,
            "the decryption key is no OpenSSH private key",
        )
        .hint(IDENTITY_HINT)),
    }
}
