//! The errors of a store, as facts; the caller turns them into sentences.

use crate::aws::CredentialError;
use crate::lock::Unlocked;
use std::io;
use std::sync::Arc;

/// The reason why a store did not do what was requested.
///
/// In every variant `location` is [`crate::Store::location`], `key` is the object's key, and
/// `detail` is the text from the store or the operating system.
#[expect(missing_docs, reason = "the fields are described above, once")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object.
    #[error("no object {key:?} in {location}")]
    NotFound { location: String, key: String },
    /// The object exists already, and `if_absent` was set.
    #[error("object {key:?} is already in {location}")]
    AlreadyExists { location: String, key: String },
    /// The key is empty, absolute, or has empty, `.` or `..` components.
    #[error("invalid object key {key:?}: {reason}")]
    InvalidKey { key: String, reason: &'static str },
    /// The store refuses writes (a read-only file system, or a policy).
    #[error("{location} is read-only: {detail}")]
    ReadOnly { location: String, detail: String },
    /// No space is left, or a quota is exhausted.
    #[error("{location} is full: {detail}")]
    Full { location: String, detail: String },
    /// The directory or bucket itself does not exist.
    #[error("{location} does not exist: {detail}")]
    Missing { location: String, detail: String },
    /// The store does not know the credentials, or refuses them.
    #[error("{location} refused the credentials: {detail}")]
    Credentials { location: String, detail: String },
    /// There are no credentials to show the store.
    #[error("{location}: {error}")]
    NoCredentials {
        location: String,
        error: CredentialError,
    },
    /// The store accepts the credentials, but does not permit this request.
    #[error("{location} denied access to {key:?}: {detail}")]
    Denied {
        location: String,
        key: String,
        detail: String,
    },
    /// The object is in an archive storage class: it must be restored there first, which takes
    /// hours.
    #[error("{location} keeps {key:?} in an archive storage class: {detail}")]
    Archived {
        location: String,
        key: String,
        detail: String,
    },
    /// The store did not answer, or not in time.
    #[error("{location} cannot be reached: {detail}")]
    Unreachable { location: String, detail: String },
    /// There is no connection, for a reason given by the code that opens connections.
    #[error("{location} cannot be reached: {reason}")]
    Link {
        location: String,
        reason: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store keeps no versions of its objects, and was asked for one.
    #[error("{location} keeps no versions of its objects")]
    WithoutVersions { location: String },
    /// After the upload, the store reports another size or checksum than was sent.
    #[error("{location} holds {key:?} with {observed}, but {expected} was sent")]
    Unconfirmed {
        location: String,
        key: String,
        expected: String,
        observed: String,
    },
    /// The object is not locked as the store was told to lock it. It may be there all the same.
    #[error("{location} does not lock {key:?} as it should: {why}")]
    Unlocked {
        location: String,
        key: String,
        why: Unlocked,
    },
    /// The body to store ended in an error; nothing was stored.
    #[error("the data for {key:?} ended in an error: {source}")]
    Body { key: String, source: io::Error },
    /// The job was asked to end while it waited; see [`crate::Ending`].
    #[error("waiting for {location} was interrupted")]
    Interrupted { location: String },
    /// Anything else.
    #[error("{location}: {detail}")]
    Other { location: String, detail: String },
}

/// The beginning of `detail` in [`StoreError::Credentials`] if the credentials were valid before.
pub(crate) const EXPIRED: &str = "the session token has expired";

impl StoreError {
    /// Returns whether the credentials belonged to a session that has expired.
    pub fn is_expired_session(&self) -> bool {
        matches!(self, StoreError::Credentials { detail, .. } if detail.starts_with(EXPIRED))
    }
}
