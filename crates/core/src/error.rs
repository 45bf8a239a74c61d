//! The one error of this crate: a stable code, one sentence, a cause and a hint.
//!
//! The code decides the exit code of the program. A message never holds a secret: whoever builds
//! one from a child's output scrubs it first (see [`crate::secret::Scrubber`]).

use crate::exit::Exit;
use lifeboat_store::aws::CredentialError;
use lifeboat_store::{StoreError, Unlocked};
use serde::{Serialize, Serializer};
use std::fmt;

/// Kind of an error; stable, and part of the JSON interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The command line asks for something impossible.
    Usage,
    /// The configuration is missing, malformed or contradictory.
    Configuration,
    /// A secret reference did not resolve.
    Secret,
    /// What keeps a secret could not be asked for it.
    SecretUnreachable,
    /// A source could not be reached.
    SourceUnreachable,
    /// A source refused our credentials or privileges.
    SourceDenied,
    /// A path, table or object that must be there is missing in a source.
    SourceMissing,
    /// A source failed while it was read, or its stream ended early.
    SourceFailed,
    /// A source changed while it was read, which spoils what was read; another try may succeed.
    SourceChanged,
    /// A client program is not installed or too old.
    ToolMissing,
    /// A store failed, as the message says.
    Store,
    /// A stored object is missing.
    ObjectMissing,
    /// A stored object is not what the manifest says.
    ObjectDamaged,
    /// A signature is wrong, or its signer is not trusted.
    Untrusted,
    /// A decryption key is missing or does not fit.
    Decryption,
    /// No restore point matches.
    PointUnknown,
    /// More than one restore point matches the prefix.
    PointAmbiguous,
    /// The restore target cannot be used in its present state.
    Target,
    /// A drill or restore did not prove what it should.
    NotProved,
    /// The state directory cannot be used.
    State,
    /// Another process is at work on the plan, the restore or the repository, or was in between.
    Busy,
    /// A live restore was not confirmed.
    NeedsConfirmation,
    /// The clock of this host is wrong.
    Clock,
    /// A point holds something that this version of the program does not know.
    Unsupported,
    /// A channel did not take a message.
    Channel,
    /// The run was asked to end early.
    Interrupted,
    /// An input or output error that no other code covers.
    Io,
}

impl Code {
    /// The stable name, kebab-case.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::Configuration => "configuration",
            Code::Secret => "secret",
            Code::SecretUnreachable => "secret-unreachable",
            Code::SourceUnreachable => "source-unreachable",
            Code::SourceDenied => "source-denied",
            Code::SourceMissing => "source-missing",
            Code::SourceFailed => "source-failed",
            Code::SourceChanged => "source-changed",
            Code::ToolMissing => "tool-missing",
            Code::Store => "store",
            Code::ObjectMissing => "object-missing",
            Code::ObjectDamaged => "object-damaged",
            Code::Untrusted => "untrusted",
            Code::Decryption => "decryption",
            Code::PointUnknown => "point-unknown",
            Code::PointAmbiguous => "point-ambiguous",
            Code::Target => "target",
            Code::NotProved => "not-proved",
            Code::State => "state",
            Code::Busy => "busy",
            Code::NeedsConfirmation => "needs-confirmation",
            Code::Clock => "clock",
            Code::Unsupported => "unsupported",
            Code::Channel => "channel",
            Code::Interrupted => "interrupted",
            Code::Io => "io",
        }
    }

    /// Returns the exit code of a program that ends with this error.
    pub fn exit(self) -> Exit {
        match self {
            Code::Usage | Code::Configuration | Code::Secret => Exit::Usage,
            Code::PointUnknown | Code::PointAmbiguous => Exit::Usage,
            Code::ObjectMissing | Code::ObjectDamaged | Code::Untrusted | Code::NotProved => {
                Exit::NotProved
            }
            Code::Busy => Exit::Busy,
            Code::NeedsConfirmation => Exit::NeedsConfirmation,
            _ => Exit::Failed,
        }
    }
}

/// Hint for a store that was asked for its past and has none.
const NAME_VERSIONED: &str =
    "leave --as-of out, or read a store that keeps versions: a bucket with versioning turned on";

/// Hint for store errors that have no hint of their own.
pub(crate) const ASK_DOCTOR: &str = "run `lifeboat doctor` to check this store";

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// An error as an operator reads it, and as every document holds it.
#[derive(Debug, Clone, Serialize)]
pub struct Error {
    /// Its kind.
    pub code: Code,
    /// One lower-case sentence that names the object concerned.
    pub message: String,
    /// Underlying reason, in the words of the program that reported it.
    pub cause: Option<String>,
    /// Next step for the operator.
    pub hint: Option<String>,
    /// Machine-readable subject, where code depends on it; not part of a document.
    #[serde(skip)]
    pub fact: Option<Fact>,
}

/// Subject of an error, beside its code. Code decides by these facts, not by the wording of an
/// error; the one exception is [`Error::blames_content`], which looks for a lack of resources in the
/// words of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The host key of another host is unknown, or not the trusted one.
    HostKey,
    /// An environment variable of this name is not set.
    Variable(String),
    /// A store refused the credentials.
    Credentials,
    /// A store accepts the credentials, and does not permit this request.
    Denied,
    /// A store has no space left.
    Full,
    /// The location of a store does not exist.
    Place,
    /// The password of a repository is missing or does not fit.
    RepositoryPassword,
    /// Something stored is missing or damaged, which other copies may heal.
    Stored,
    /// A swap failed and could not be undone: what is live now is not what was live before.
    HalfSwapped,
    /// A store keeps no versions of its objects.
    WithoutVersions,
    /// A program is not there. Any other failure to start one means that it is.
    NotInstalled,
}

/// Result type of most functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error that has only a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error {
            code,
            message: message.into(),
            cause: None,
            hint: None,
            fact: None,
        }
    }

    /// Sets the fact.
    pub fn about(mut self, fact: Fact) -> Self {
        self.fact = Some(fact);
        self
    }

    /// Adds the cause, unless it is blank.
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        let cause = cause.to_string();
        let cause = cause.trim();
        self.cause = (!cause.is_empty()).then(|| cause.to_owned());
        self
    }

    /// Adds the hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error and its hint, in one line.
    pub fn with_hint(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    /// Makes an input or output error; `doing` says what failed.
    pub fn io(doing: impl Into<String>, error: &std::io::Error) -> Self {
        Error::new(Code::Io, doing).cause(error)
    }
}

impl Error {
    /// Returns whether the error shows that stored content is gone, damaged or forged, or does not
    /// restore as it was captured. Any other error only means that the content could not be
    /// examined here and now. `ours` says that a failing target is a throwaway one of Lifeboat's
    /// own, into which everything captured should restore.
    pub fn blames_content(&self, ours: bool) -> bool {
        let said = self.cause.as_deref().unwrap_or_default();
        let of_this_host = || OF_THIS_HOST.iter().any(|reason| said.contains(reason));
        match self.code {
            // Here the content is at fault, whatever the cause says.
            Code::ObjectMissing | Code::Untrusted | Code::NotProved => true,
            Code::ObjectDamaged | Code::SourceMissing | Code::SourceFailed => !of_this_host(),
            Code::Target => ours && !of_this_host(),
            _ => false,
        }
    }
}

/// Messages of the operating system, and of servers that quote it, for a lack of resources on this
/// host.
const OF_THIS_HOST: [&str; 9] = [
    "No space left on device",
    "Disk quota exceeded",
    "database or disk is full",
    "Read-only file system",
    "Input/output error",
    "Too many open files",
    "Cannot allocate memory",
    "Operation not permitted (os error 1)",
    "Permission denied (os error 13)",
];

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Wraps an error so that it can travel through `std::io` (a `Write` given to a source, say)
/// unchanged.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

impl Error {
    /// Takes out the [`Error`] wrapped in an `io::Error`, or makes a new one with the message
    /// `doing`.
    pub fn from_io(code: Code, doing: impl Into<String>, error: std::io::Error) -> Self {
        let error = match error.downcast::<Error>() {
            Ok(inner) => return inner,
            Err(error) => error,
        };
        match error.downcast::<StoreError>() {
            Ok(interrupted @ StoreError::Interrupted { .. }) => interrupted.into(),
            Ok(other) => Error::new(code, doing).cause(other),
            Err(error) => Error::new(code, doing).cause(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::NotFound { .. } => (
                Code::ObjectMissing,
                "run `lifeboat verify` to see which copies are whole, and `lifeboat copy` to heal this one",
            ),
            StoreError::ReadOnly { .. } => (
                Code::Store,
                "make the store writable for this user, or choose another store; in a unit of systemd, see `lifeboat init --systemd`",
            ),
            StoreError::Full { .. } => (
                Code::Store,
                "free space there, raise the quota, or choose another store",
            ),
            StoreError::Archived { .. } => (
                Code::Store,
                "ask for it to be restored for some days (aws s3api restore-object --bucket … --key … --restore-request Days=7), wait until it is there, which takes hours, then run again",
            ),
            StoreError::Missing { location, .. } if location.starts_with("sftp://") => (
                Code::Store,
                "create it, or correct the store's path: where the server shuts its users into a directory, paths begin there (`sftp HOST`, then `pwd` and `ls`, show them)",
            ),
            StoreError::Missing { .. } => (
                Code::Store,
                "create it, or correct the store's path or bucket in the configuration",
            ),
            expired if expired.is_expired_session() => (
                Code::Store,
                "get new credentials with their session_token; for runs that nobody attends give the store a key that does not expire",
            ),
            StoreError::NoCredentials { error, .. } => (Code::Store, credential_hint(error)),
            StoreError::Credentials { .. } => (
                Code::Store,
                "check access_key and secret_key of this store, and the clock of this host",
            ),
            StoreError::Denied { .. } => (
                Code::Store,
                "let this user, or these credentials, put, get and list there",
            ),
            StoreError::Unreachable { .. } => (
                Code::Store,
                "check the endpoint and the network, then run again; what other stores received is safe",
            ),
            StoreError::Link { reason, .. } => {
                if let Some(inner) = reason.downcast_ref::<Error>() {
                    return inner.clone();
                }
                (
                    Code::Store,
                    "check that host and the network between, then run again",
                )
            }
            StoreError::WithoutVersions { .. } => (Code::Usage, NAME_VERSIONED),
            StoreError::Unconfirmed { .. } => (
                Code::Store,
                "run again; if it happens twice, the store or the way to it damages data",
            ),
            StoreError::Unlocked { why, .. } => (Code::Store, lock_hint(why)),
            StoreError::Body { source, .. } => {
                if let Some(inner) = source.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
                    return inner.clone();
                }
                (Code::SourceFailed, "run again; nothing was stored")
            }
            StoreError::Interrupted { .. } => (
                Code::Interrupted,
                "what was committed before is safe; run it again",
            ),
            _ => (Code::Store, ASK_DOCTOR),
        };
        let (message, cause) = said(&error);
        Error {
            fact: fact(&error),
            ..Error::new(code, message).cause(cause).hint(hint)
        }
    }
}

fn fact(error: &StoreError) -> Option<Fact> {
    match error {
        StoreError::NotFound { .. } => Some(Fact::Stored),
        StoreError::Missing { .. } => Some(Fact::Place),
        StoreError::Credentials { .. } | StoreError::NoCredentials { .. } => {
            Some(Fact::Credentials)
        }
        StoreError::Denied { .. } => Some(Fact::Denied),
        StoreError::Full { .. } => Some(Fact::Full),
        StoreError::WithoutVersions { .. } => Some(Fact::WithoutVersions),
        _ => None,
    }
}

/// What to do where no credentials could be had.
pub(crate) fn credential_hint(error: &CredentialError) -> &'static str {
    match error {
        CredentialError::Nowhere { .. } => {
            "set access_key and secret_key, or profile; or run where the AWS tools find keys (aws sts get-caller-identity shows whether they do)"
        }
        CredentialError::Profile { .. } => {
            "correct the profile in ~/.aws/config of the user that runs lifeboat, or name another; aws configure list-profiles shows them"
        }
        CredentialError::Program { .. } => {
            "run its command by hand as the user that runs lifeboat: it must print the keys as JSON"
        }
        CredentialError::Token { .. } => {
            "let the runner or the cluster write the token there, readable by the user that runs lifeboat"
        }
        CredentialError::Role { .. } => {
            "let the trust policy of the role name who assumes it, with the external id if it asks for one"
        }
        CredentialError::Refused { .. } => "get new keys, or check the clock of this host",
        CredentialError::Odd { .. } => "look for a blank or an end of line within them",
        _ => {
            "check that this host can reach it; give the keys themselves if it is not meant to be there"
        }
    }
}

/// What to do where an object is not locked as it should be.
fn lock_hint(why: &Unlocked) -> &'static str {
    match why {
        Unlocked::Refused(_) => {
            "turn on versioning and object lock for the bucket (aws s3api put-bucket-versioning, put-object-lock-configuration), or remove object_lock from the store"
        }
        Unlocked::Denied(_) => {
            "let these credentials set and read locks: s3:PutObjectRetention and s3:GetObjectRetention"
        }
        _ => {
            "choose a server that keeps locks as S3 does, and let these credentials read them (s3:GetObjectRetention); or remove object_lock from the store"
        }
    }
}

/// The message, and the words of the store or the operating system.
fn said(error: &StoreError) -> (String, String) {
    let (message, detail) = match error {
        StoreError::ReadOnly { location, detail } => (format!("{location} is read-only"), detail),
        StoreError::Full { location, detail } => (format!("{location} is full"), detail),
        StoreError::Missing { location, detail } => (format!("{location} does not exist"), detail),
        StoreError::Credentials { location, detail } => {
            (format!("{location} refused the credentials"), detail)
        }
        StoreError::Denied {
            location,
            key,
            detail,
        } if key.is_empty() => (format!("{location} denied access"), detail),
        StoreError::Denied {
            location,
            key,
            detail,
        } => (format!("{location} denied access to {key}"), detail),
        StoreError::Unreachable { location, detail } => {
            (format!("{location} cannot be reached"), detail)
        }
        StoreError::Archived {
            location,
            key,
            detail,
        } => (
            format!("{location} keeps {key} in an archive storage class"),
            detail,
        ),
        StoreError::WithoutVersions { .. } => {
            let cause = "what stood there before was replaced for good";
            return (error.to_string(), cause.to_owned());
        }
        _ => return (error.to_string(), String::new()),
    };
    (message, detail.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_fits_what_a_store_said() {
        let (location, key) = (|| "s3://b".to_owned(), "k".to_owned());
        let hint = |error: StoreError| Error::from(error).hint.unwrap_or_default();
        let credentials = |detail: &str| StoreError::Credentials {
            location: location(),
            detail: detail.to_owned(),
        };
        assert!(hint(credentials("unknown")).contains("access_key"));
        let expired = "the session token has expired (400 ExpiredToken)";
        assert!(hint(credentials(expired)).contains("session_token"));
        let archived = StoreError::Archived {
            location: location(),
            key,
            detail: "403 InvalidObjectState".to_owned(),
        };
        assert!(hint(archived).contains("restore-object"));
        let missing = |location: &str| StoreError::Missing {
            location: location.to_owned(),
            detail: "there is no such directory".to_owned(),
        };
        assert!(hint(missing("sftp://u@h/b")).contains("shuts its users into a directory"));
        assert!(!hint(missing("/b")).contains("shuts"));
    }

    #[test]
    fn failures_outside_a_point_do_not_blame_its_content() {
        let error = |code| Error::new(code, "x");
        for code in [Code::ObjectDamaged, Code::Untrusted, Code::SourceFailed] {
            assert!(error(code).blames_content(false), "{code:?}");
        }
        for code in [Code::Store, Code::Interrupted, Code::Decryption, Code::Io] {
            assert!(!error(code).blames_content(true), "{code:?}");
        }
        let target = |cause: &str| error(Code::Target).cause(cause);
        assert!(target("ERROR: type \"t\" does not exist").blames_content(true));
        assert!(!target("ERROR: type \"t\" does not exist").blames_content(false));
        let full = "could not extend file \"base/5/16384\": No space left on device";
        assert!(!target(full).blames_content(true));
        assert!(error(Code::NotProved).cause(full).blames_content(true));
        let spool = error(Code::ObjectDamaged).cause("No space left on device (os error 28)");
        assert!(!spool.blames_content(true));
    }
}
