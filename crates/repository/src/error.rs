//! The errors of a repository, as facts; callers turn them into sentences for people.

use crate::Id;
use crate::lock::LockFile;
use lifeboat_store::StoreError;
use std::fmt;

/// The kinds of file in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `keys/`: key files, each opened by a password.
    Key,
    /// `locks/`: locks, which say who is at work.
    Lock,
    /// `snapshots/`: snapshots.
    Snapshot,
    /// `index/`: index files, which say where each blob is.
    Index,
    /// `data/`: packs.
    Pack,
}

impl FileKind {
    /// The name of its directory.
    pub const fn directory(self) -> &'static str {
        match self {
            FileKind::Key => "keys",
            FileKind::Lock => "locks",
            FileKind::Snapshot => "snapshots",
            FileKind::Index => "index",
            FileKind::Pack => "data",
        }
    }

    /// The key of a file of this kind in its store.
    pub fn key(self, id: &Id) -> String {
        match self {
            FileKind::Pack => {
                let name = id.to_string();
                format!("data/{}/{name}", name.get(..2).unwrap_or_default())
            }
            kind => format!("{}/{id}", kind.directory()),
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Key => "key",
            FileKind::Lock => "lock",
            FileKind::Snapshot => "snapshot",
            FileKind::Index => "index",
            FileKind::Pack => "pack",
        })
    }
}

/// The damage found in stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Shorter than the format allows.
    #[error("it is {bytes} bytes long, which is too short")]
    Short {
        /// Its length.
        bytes: u64,
    },
    /// The authentication tag does not match: the bytes were changed, or belong to another
    /// repository.
    #[error("it was changed since it was written")]
    Tag,
    /// The content does not match its name.
    #[error("its content has the hash {found}")]
    Hash {
        /// The SHA-256 of the content.
        found: Id,
    },
    /// It does not follow the format.
    #[error("{0}")]
    Format(String),
}

/// An error of a repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or its connection ended while it was read.
    #[error("{key} cannot be read: {source}")]
    Read {
        /// Its key in the store.
        key: String,
        /// The error of the store.
        source: std::io::Error,
    },
    /// There is no `config`, so this is not a repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// The location that was searched.
        location: String,
    },
    /// There is a `config` already.
    #[error("there is a repository at {location} already")]
    Exists {
        /// The location of the existing repository.
        location: String,
    },
    /// The password opens no key of the repository.
    #[error("the password does not open {}", match keys {
        1 => "its only key".to_owned(),
        keys => format!("any of its {keys} keys"),
    })]
    Password {
        /// The number of keys that were tried.
        keys: usize,
    },
    /// `config` cannot be used.
    #[error("the repository's config is damaged: {0}")]
    Config(Damage),
    /// The format of the repository is not supported.
    #[error("the repository has format {version}; 1 and 2 are known")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A file cannot be used.
    #[error("{kind} {id} is damaged: {damage}")]
    Damaged {
        /// The kind of file.
        kind: FileKind,
        /// The name of the file.
        id: Id,
        /// The damage that was found.
        damage: Damage,
    },
    /// A file that something refers to is missing.
    #[error("{kind} {id} is missing")]
    Missing {
        /// The kind of file.
        kind: FileKind,
        /// Its name.
        id: Id,
    },
    /// A blob cannot be used.
    #[error("blob {id} is damaged: {damage}")]
    Blob {
        /// Its id.
        id: Id,
        /// The damage that was found.
        damage: Damage,
    },
    /// A sealed blob, opened again, differs from what was read.
    #[error(
        "blob {id} was corrupted while it was sealed: the memory or the processor of this host is faulty"
    )]
    Spoilt {
        /// Its id.
        id: Id,
    },
    /// A blob is in no index.
    #[error("blob {id} is in no index")]
    UnknownBlob {
        /// Its id.
        id: Id,
    },
    /// A blob is needed, but is only in a pack that is to be deleted.
    #[error(
        "blob {id} is needed and only in pack {pack}, which is to be deleted: prune puts it back"
    )]
    ToDelete {
        /// Its id.
        id: Id,
        /// The pack.
        pack: Id,
    },
    /// Somebody else holds a lock.
    #[error("the repository is locked {lock}")]
    Locked {
        /// The id of the lock.
        id: Id,
        /// The content of the lock.
        lock: Box<LockFile>,
    },
    /// Our own lock could not be refreshed, so others may consider it stale.
    #[error("the lock could not be refreshed for so long that others may work here now")]
    LockLost,
    /// Somebody asked for an early end.
    #[error("the work was ended early")]
    Stopped,
    /// Somebody else has rewritten the index.
    #[error("another process has rewritten the index meanwhile")]
    Changed,
    /// A path is not in the snapshot.
    #[error("{path:?} is not in the snapshot")]
    NotInSnapshot {
        /// The path.
        path: std::path::PathBuf,
    },
    /// The directory to restore to cannot be made or opened.
    #[error("{path:?} cannot be restored to: {source}")]
    Target {
        /// The directory.
        path: std::path::PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Deletion of everything that is not in the snapshot was requested for `/`.
    #[error("everything that is not in the snapshot would be deleted from /")]
    DeletesAll,
    /// Data could not be written to the output.
    #[error("the output failed: {0}")]
    Output(std::io::Error),
    /// None of the paths could be backed up.
    #[error("nothing could be backed up{}", match skipped.first() {
        Some(first) => format!(": {}: {}", first.path.display(), first.error),
        None => String::new(),
    })]
    NothingTaken {
        /// The paths that were left out, and why.
        skipped: Vec<crate::backup::Skipped>,
    },
    /// Threads could not be started.
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    /// Memory could not be allocated.
    #[error("there is no room for {bytes} bytes in memory")]
    Memory {
        /// The number of bytes that were requested.
        bytes: usize,
    },
    /// The system did not supply random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(std::io::Error),
}

impl Error {
    /// Returns whether the error is damage in stored data. Any other error comes from the store or
    /// this host, and may not occur the next time.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::Damaged { .. }
                | Error::Missing { .. }
                | Error::Blob { .. }
                | Error::UnknownBlob { .. }
        )
    }
}

/// The result of most calls in this crate.
pub type Result<T> = std::result::Result<T, Error>;
