//! Secrets: references until the moment of use, and then values that cannot be printed.
//!
//! A [`Reference`] names where a secret is. A [`Secret`] holds it: it has no `Display` and no
//! `Serialize`, `Debug` shows nothing, and its memory is wiped on drop. A [`Scrubber`] removes
//! known secrets from text that came from elsewhere, such as a child's standard error.

use crate::error::{Code, Error, Fact, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, RwLock};
use zeroize::Zeroizing;

/// The first bytes of a binary file that `age` encrypted.
pub(crate) const AGE_FILE: &[u8] = b"age-encryption.org/";

/// A resolved secret. It can be read with [`Secret::expose`] and by no other means.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the bytes as they are.
    pub fn new(bytes: Vec<u8>) -> Self {
        Secret(Arc::new(Zeroizing::new(bytes)))
    }

    /// The secret itself. Every call is a place to review.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text. Fails, without showing it, if it is not UTF-8.
    pub fn expose_str(&self) -> Result<&str> {
        std::str::from_utf8(&self.0)
            .map_err(|_| Error::new(Code::Secret, "a secret that must be text is not UTF-8"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is: `env:NAME`, `file:PATH`, `cmd:PROGRAM ARGS`, `credential:NAME` (systemd),
/// `ssm:NAME`, `secretsmanager:NAME#KEY` or `vault:PATH#KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// An environment variable of this process.
    Env(String),
    /// A file; one trailing newline is dropped.
    File(String),
    /// The standard output of a command, split on white space with single and double quotes;
    /// one trailing newline is dropped.
    Command(String),
    /// A file of that name in `$CREDENTIALS_DIRECTORY`, as systemd's `LoadCredential=` makes.
    Credential(String),
    /// A parameter of the AWS Systems Manager, by its name or ARN.
    Ssm(String),
    /// A secret of the AWS Secrets Manager, by its name or ARN.
    SecretsManager {
        /// Its name or ARN.
        name: String,
        /// The field of the JSON object that it is; without one, all of it.
        key: Option<String>,
    },
    /// A field of a secret of HashiCorp Vault, or what speaks as it does.
    Vault {
        /// The path of the secret, as `vault kv get` takes it: `secret/crm/backup`.
        path: String,
        /// The field.
        key: String,
    },
}

/// A reference, and who resolves it.
#[derive(Debug, Clone)]
pub struct Resolvable {
    reference: Reference,
    resolve: fn(&Reference) -> Result<Secret>,
}

impl Resolvable {
    /// A reference that `resolve` will resolve.
    pub fn new(reference: Reference, resolve: fn(&Reference) -> Result<Secret>) -> Self {
        Resolvable { reference, resolve }
    }

    /// Fetches the secret.
    pub fn open(&self) -> Result<Secret> {
        (self.resolve)(&self.reference)
    }
}

impl fmt::Display for Resolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

// Two that name the same secret are the same.
impl PartialEq for Resolvable {
    fn eq(&self, other: &Self) -> bool {
        self.reference == other.reference
    }
}

impl Eq for Resolvable {}

impl Hash for Resolvable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reference.hash(state);
    }
}

/// Follows references that lead out of this process.
pub trait Follow {
    /// Runs the command line of a `cmd:` reference, and returns what it printed.
    fn run(&self, line: &str) -> Result<Vec<u8>>;
    /// Fetches a parameter of the AWS Systems Manager.
    fn parameter(&self, name: &str) -> Result<Vec<u8>>;
    /// Fetches a secret of the AWS Secrets Manager.
    fn managed(&self, name: &str, key: Option<&str>) -> Result<Vec<u8>>;
    /// Fetches a field of a secret of Vault.
    fn vault(&self, path: &str, key: &str) -> Result<Vec<u8>>;
}

/// The error for a text that is not a reference. It never carries the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAReference {
    /// It does not begin as references do, or with nothing behind it.
    Other,
    /// The path or the key of a secret in Vault is missing.
    VaultKey,
}

impl fmt::Display for NotAReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotAReference::Other => {
                "a secret must be a reference, not the secret itself: \
                 use env:NAME, file:PATH, cmd:PROGRAM ARGS, credential:NAME, ssm:NAME, \
                 secretsmanager:NAME#KEY or vault:PATH#KEY"
            }
            NotAReference::VaultKey => {
                "a secret in Vault is named by its path and the field of it that is meant: \
                 vault:PATH#KEY, as in vault:secret/crm/backup#password"
            }
        })
    }
}

impl Reference {
    /// Parses `scheme:rest`.
    pub fn parse(text: &str) -> std::result::Result<Self, NotAReference> {
        let (scheme, rest) = text.split_once(':').ok_or(NotAReference::Other)?;
        if rest.trim().is_empty() {
            return Err(NotAReference::Other);
        }
        let rest = rest.to_owned();
        // No path has the sign, but a field may.
        let parts = rest.split_once('#');
        let parts = parts.filter(|(path, key)| !path.trim().is_empty() && !key.is_empty());
        match scheme {
            "ssm" => Ok(Reference::Ssm(rest)),
            "secretsmanager" => Ok(Reference::SecretsManager {
                name: parts.map_or(&*rest, |(name, _)| name).to_owned(),
                key: parts.map(|(_, key)| key.to_owned()),
            }),
            "vault" => {
                let (path, key) = parts.ok_or(NotAReference::VaultKey)?;
                Ok(Reference::Vault {
                    path: path.to_owned(),
                    key: key.to_owned(),
                })
            }
            "env" => Ok(Reference::Env(rest)),
            "file" => Ok(Reference::File(rest)),
            "cmd" => Ok(Reference::Command(rest)),
            "credential" => Ok(Reference::Credential(rest)),
            _ => Err(NotAReference::Other),
        }
    }

    /// Fetches the secret. Errors name the reference, never the value. An empty value is an error.
    pub fn resolve(&self, follow: &dyn Follow) -> Result<Secret> {
        let bytes = self.fetch(follow)?;
        // The last byte of a file from age belongs to it.
        let binary = bytes.starts_with(AGE_FILE);
        let trimmed = bytes
            .strip_suffix(b"\n")
            .filter(|_| !binary)
            .unwrap_or(&bytes);
        self.unless_empty(trimmed.strip_suffix(b"\r").unwrap_or(trimmed))
    }

    /// Fetches the password of a repository as restic reads it. A file or the output of a command
    /// may begin with a byte order mark that sets its encoding, and white space around it is
    /// dropped. Anything else is fetched as by [`Self::resolve`].
    pub fn resolve_as_restic(&self, follow: &dyn Follow) -> Result<Secret> {
        if let Reference::Env(_) = self {
            return self.resolve(follow);
        }
        let text = password_text(&self.fetch(follow)?).ok_or_else(|| {
            Error::new(Code::Secret, format!("the password at {self} is no text"))
                .hint("write it as UTF-8")
        })?;
        self.unless_empty(text.trim().as_bytes())
    }

    fn unless_empty(&self, secret: &[u8]) -> Result<Secret> {
        match secret.is_empty() {
            false => Ok(Secret::new(secret.to_vec())),
            true => {
                let error = Error::new(Code::Secret, format!("the secret at {self} is empty"))
                    .hint("put the secret there, or correct the reference");
                Err(match self {
                    Reference::Env(name) => error.about(Fact::Variable(name.clone())),
                    _ => error,
                })
            }
        }
    }

    fn fetch(&self, follow: &dyn Follow) -> Result<Zeroizing<Vec<u8>>> {
        let bytes = match self {
            Reference::Env(name) => std::env::var_os(name)
                .map(std::os::unix::ffi::OsStringExt::into_vec)
                .ok_or_else(|| {
                    Error::new(
                        Code::Secret,
                        format!("environment variable {name} is not set"),
                    )
                    .hint(format!("set {name} for the user that runs lifeboat"))
                    .about(Fact::Variable(name.clone()))
                })?,
            Reference::File(path) => read_file(path)?,
            Reference::Command(line) => follow.run(line)?,
            Reference::Ssm(name) => follow.parameter(name)?,
            Reference::SecretsManager { name, key } => follow.managed(name, key.as_deref())?,
            Reference::Vault { path, key } => follow.vault(path, key)?,
            Reference::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    Error::new(
                        Code::Secret,
                        format!("{self}: CREDENTIALS_DIRECTORY is not set"),
                    )
                    .hint("start lifeboat from a systemd unit with LoadCredential=")
                })?;
                let path = std::path::Path::new(&directory).join(name);
                read_file(&path.to_string_lossy())?
            }
        };
        Ok(Zeroizing::new(bytes))
    }
}

/// Decodes UTF-8, or UTF-16 after a byte order mark. `None` if it is neither.
fn password_text(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = rest.as_chunks::<2>();
        let units = units.iter().map(|bytes| unit(*bytes));
        let text = char::decode_utf16(units).collect::<std::result::Result<String, _>>();
        text.ok().filter(|_| rest.is_empty())
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    };
    text.map(Zeroizing::new)
}

fn read_file(path: &str) -> Result<Vec<u8>> {
    crate::plain::read(path).map_err(|error| {
        Error::new(Code::Secret, format!("secret file {path} cannot be read"))
            .cause(error)
            .hint("create it readable by the user that runs lifeboat, with mode 0600")
    })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Env(rest) => write!(f, "env:{rest}"),
            Reference::File(rest) => write!(f, "file:{rest}"),
            Reference::Command(rest) => write!(f, "cmd:{rest}"),
            Reference::Credential(rest) => write!(f, "credential:{rest}"),
            Reference::Ssm(name) => write!(f, "ssm:{name}"),
            Reference::SecretsManager { name, key: None } => write!(f, "secretsmanager:{name}"),
            Reference::SecretsManager {
                name,
                key: Some(key),
            } => {
                write!(f, "secretsmanager:{name}#{key}")
            }
            Reference::Vault { path, key } => write!(f, "vault:{path}#{key}"),
        }
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Reference::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A reference is no secret and is shown as it is.
impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "SecretReference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where a secret is: env:NAME, file:PATH, cmd:PROGRAM ARGS, credential:NAME, ssm:NAME, secretsmanager:NAME#KEY or vault:PATH#KEY",
            "pattern": "^((env|file|cmd|credential|ssm|secretsmanager):.+|vault:[^#]+#.+)"
        })
    }
}

/// Minimum length of a line of a key that is masked by itself: shorter ones are too common.
const KEY_LINE_BYTES_MIN: usize = 16;

/// Removes every secret it has been told of from text that will be kept or shown.
#[derive(Debug, Clone, Default)]
pub struct Scrubber(Arc<RwLock<Vec<Secret>>>);

impl Scrubber {
    /// Adds a secret. From now on it is removed from text and, if it is a key of several lines, so
    /// is each of its lines. Secrets under four bytes are ignored: masking them would garble every
    /// message without hiding anything.
    pub fn learn(&self, secret: &Secret) {
        let Ok(mut known) = self.0.write() else {
            return;
        };
        let whole = secret.expose();
        let is_known = |known: &[Secret], part: &[u8]| known.iter().any(|k| k.expose() == part);
        if whole.len() >= 4 && !is_known(&known, whole) {
            known.push(secret.clone());
        }
        let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        for line in
            lines.filter(|line| line.len() >= KEY_LINE_BYTES_MIN && line.len() < whole.len())
        {
            // Comments and headings of a key file are not secret.
            if !line.starts_with(b"#") && !line.starts_with(b"-----") && !is_known(&known, line) {
                known.push(Secret::new(line.to_vec()));
            }
        }
    }

    /// A second scrubber that knows the same secrets. The two learn separately from then on.
    pub fn fork(&self) -> Self {
        let known = self.0.read().map(|known| known.clone());
        Scrubber(Arc::new(RwLock::new(known.unwrap_or_default())))
    }

    /// Returns the text with every known secret replaced by `***`.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let Ok(known) = self.0.read() else {
            return String::from("***");
        };
        for secret in known.iter() {
            if let Ok(value) = secret.expose_str()
                && text.contains(value)
            {
                text = text.replace(value, "***");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_refused_without_being_shown() {
        let error = Reference::parse("hunter2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        for text in ["postgres://u:p@h/d", "env:", "ssm: "] {
            assert_eq!(Reference::parse(text), Err(NotAReference::Other));
        }
        for text in [
            "vault:secret/hunter2",
            "vault:#hunter2",
            "vault:secret/crm#",
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert_eq!(error, NotAReference::VaultKey);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn references_are_shown_as_they_were_written() {
        for text in [
            "env:A",
            "ssm:/crm/db",
            "secretsmanager:crm/db",
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:1:secret:crm-x#password",
            "vault:secret/crm#a#b",
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
        let key = Reference::parse("vault:secret/crm#a#b").unwrap();
        let (path, key_name) = ("secret/crm".to_owned(), "a#b".to_owned());
        assert_eq!(
            key,
            Reference::Vault {
                path,
                key: key_name
            }
        );
    }

    #[test]
    fn a_line_of_a_key_is_as_secret_as_the_key() {
        let scrubber = Scrubber::default();
        let key = b"# created: today, by the age program\nAGE-SECRET-KEY-1QQQQQQQQ\n";
        scrubber.learn(&Secret::new(key.to_vec()));
        assert_eq!(
            scrubber.scrub(
                "no such key: AGE-SECRET-KEY-1QQQQQQQQ\n# created: today, by the age program"
            ),
            "no such key: ***\n# created: today, by the age program"
        );
    }

    #[test]
    fn scrubbing_removes_what_was_learnt() {
        let scrubber = Scrubber::default();
        scrubber.learn(&Secret::new(b"hunter2".to_vec()));
        assert_eq!(
            scrubber.scrub("password hunter2 refused"),
            "password *** refused"
        );
    }
}
