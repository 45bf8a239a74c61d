//! The result of a restore: what it did, and what it could not do.

use super::{into_inner, lock};
use crate::error::Error;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The result of a restore; in a dry run, what it would have done.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were written.
    pub files: u64,
    /// Their total size.
    pub bytes: u64,
    /// Bytes of those files that were taken from the file that was there before.
    pub bytes_reused: u64,
    /// Sealed bytes that were read from the store, including trees.
    pub bytes_read: u64,
    /// Files and links whose content was right already.
    pub unchanged: u64,
    /// Existing entries that were left alone because of [`super::Options::overwrite`].
    pub skipped: u64,
    /// Directories that were made or updated.
    pub directories: u64,
    /// Symbolic links, pipes and devices.
    pub specials: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Entries that were removed, including those in removed directories.
    pub deleted: u64,
    /// Files that were read again after they were written.
    pub verified: u64,
    /// Entries whose owner could not be set because that needs root.
    pub owners_unset: u64,
    /// Metadata that could not be set, on entries whose content is restored.
    pub unset: Vec<Unset>,
    /// Entries that could not be restored.
    pub failed: Vec<Failed>,
}

/// Metadata that could not be set.
#[derive(Debug)]
pub struct Unset {
    /// The path; `/` is the directory in the snapshot that is restored.
    pub path: PathBuf,
    /// The kind of metadata: `owner`, `mode`, `times`, `attribute user.name`.
    pub what: String,
    /// The error.
    pub error: io::Error,
}

/// An entry that could not be restored, nor anything in it.
#[derive(Debug)]
pub struct Failed {
    /// The path; `/` is the directory in the snapshot that is restored.
    pub path: PathBuf,
    /// The reason.
    pub cause: Cause,
    /// The name of the partial file beside it, which holds what could be read.
    pub partial: Option<OsString>,
    /// Bytes that could not be read, and are holes in the partial file.
    pub missing_bytes: u64,
}

/// The reason why an entry was not restored.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Data in the repository cannot be used.
    #[error(transparent)]
    Repository(Arc<Error>),
    /// The snapshot says something impossible.
    #[error("{0}")]
    Refused(String),
    /// The system refused.
    #[error("it cannot be {doing}: {error}")]
    System {
        /// The operation that was refused.
        doing: &'static str,
        /// The error of the system.
        error: io::Error,
    },
}

impl Cause {
    /// Returns a function that makes a cause of the system's refusal of an operation.
    pub(super) fn system(doing: &'static str) -> impl Fn(io::Error) -> Cause {
        move |error| Cause::System { doing, error }
    }
}

/// The report in progress.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) bytes_reused: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) directories: AtomicU64,
    pub(super) specials: AtomicU64,
    pub(super) hard_links: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) owners_unset: AtomicU64,
    unset: Mutex<Vec<Unset>>,
    failed: Mutex<Vec<Failed>>,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// A location as a path; the root is `/`.
pub(super) fn path(location: Vec<u8>) -> PathBuf {
    match location.is_empty() {
        true => PathBuf::from("/"),
        false => PathBuf::from(OsString::from_vec(location)),
    }
}

impl Tally {
    pub(super) fn fail(&self, location: Vec<u8>, cause: Cause) {
        self.fail_partly(location, cause, None, 0);
    }

    pub(super) fn fail_partly(
        &self,
        location: Vec<u8>,
        cause: Cause,
        partial: Option<OsString>,
        missing_bytes: u64,
    ) {
        lock(&self.failed).push(Failed {
            path: path(location),
            cause,
            partial,
            missing_bytes,
        });
    }

    pub(super) fn unset(&self, location: &[u8], what: String, error: io::Error) {
        lock(&self.unset).push(Unset {
            path: path(location.to_vec()),
            what,
            error,
        });
    }

    pub(super) fn report(self, bytes_read: u64) -> Report {
        let into = |count: AtomicU64| count.into_inner();
        let mut failed = into_inner(self.failed);
        failed.sort_by(|a, b| a.path.cmp(&b.path));
        let mut unset = into_inner(self.unset);
        unset.sort_by(|a, b| a.path.cmp(&b.path));
        Report {
            files: into(self.files),
            bytes: into(self.bytes),
            bytes_reused: into(self.bytes_reused),
            bytes_read,
            unchanged: into(self.unchanged),
            skipped: into(self.skipped),
            directories: into(self.directories),
            specials: into(self.specials),
            hard_links: into(self.hard_links),
            deleted: into(self.deleted),
            verified: into(self.verified),
            owners_unset: into(self.owners_unset),
            unset,
            failed,
        }
    }
}
