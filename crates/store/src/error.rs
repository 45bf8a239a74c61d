//! What can go wrong with a store, as facts; the caller makes sentences of them.

use std::io;
use std::sync::Arc;

/// Why a store did not do what was asked.
///
/// In every variant `location` is [`crate::Store::location`], `key` the object's key, and
/// `detail` what the store or the operating system said.
#[expect(missing_docs, reason = "the fields are described above, once")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object.
    #[error("no object {key:?} in {location}")]
    NotFound { location: String, key: String },
    /// The object is there already and `if_absent` was asked.
    #[error("object {key:?} is already in {location}")]
    AlreadyExists { location: String, key: String },
    /// The key is empty, absolute, or has empty, `.` or `..` components.
    #[error("invalid object key {key:?}: {reason}")]
    InvalidKey { key: String, reason: &'static str },
    /// The store refuses writes (a read-only file system, or a policy).
    #[error("{location} is read-only: {detail}")]
    ReadOnly { location: String, detail: String },
    /// No space, or a quota.
    #[error("{location} is full: {detail}")]
    Full { location: String, detail: String },
    /// The directory or bucket itself does not exist.
    #[error("{location} does not exist: {detail}")]
    Missing { location: String, detail: String },
    /// The store does not know these credentials, or refuses them.
    #[error("{location} refused the credentials: {detail}")]
    Credentials { location: String, detail: String },
    /// The store knows us, and does not let us do this.
    #[error("{location} denied access to {key:?}: {detail}")]
    Denied {
        location: String,
        key: String,
        detail: String,
    },
    /// The object is there, in an archive storage class: it must be asked for, and comes after hours.
    #[error("{location} keeps {key:?} in an archive storage class: {detail}")]
    Archived {
        location: String,
        key: String,
        detail: String,
    },
    /// No answer, or none in time.
    #[error("{location} cannot be reached: {detail}")]
    Unreachable { location: String, detail: String },
    /// There is no connection to it, for a reason that whoever opens connections gave.
    #[error("{location} cannot be reached: {reason}")]
    Link {
        location: String,
        reason: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// After the upload, the store's word of the object differs from what was sent.
    #[error("{location} holds {key:?} with {observed}, but {expected} was sent")]
    Unconfirmed {
        location: String,
        key: String,
        expected: String,
        observed: String,
    },
    /// The body that was to be stored ended in an error; nothing was stored.
    #[error("the data for {key:?} ended in an error: {source}")]
    Body { key: String, source: io::Error },
    /// The job was asked to end while it waited; see [`crate::Ending`].
    #[error("waiting for {location} was interrupted")]
    Interrupted { location: String },
    /// Anything else.
    #[error("{location}: {detail}")]
    Other { location: String, detail: String },
}

/// How the detail of [`StoreError::Credentials`] begins for those that were good for a while.
pub(crate) const EXPIRED: &str = "the session token has expired";

impl StoreError {
    /// Whether the credentials were those of a session that is over.
    pub fn is_expired_session(&self) -> bool {
        matches!(self, StoreError::Credentials { detail, .. } if detail.starts_with(EXPIRED))
    }
}
