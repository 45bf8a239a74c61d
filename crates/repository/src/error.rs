//! What may go wrong in a repository, as facts; whoever uses it makes sentences for people.

use crate::Id;
use crate::lock::LockFile;
use lifeboat_store::StoreError;
use std::fmt;

/// The kinds of file in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `keys/`: what opens the repository with a password.
    Key,
    /// `locks/`: who is at work.
    Lock,
    /// `snapshots/`.
    Snapshot,
    /// `index/`: which blob is where.
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

/// What is wrong with stored bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Shorter than the format allows.
    #[error("it is {bytes} bytes long, which is too short")]
    Short {
        /// Its length.
        bytes: u64,
    },
    /// The authentication tag does not fit: changed, or of another repository.
    #[error("it was changed since it was written")]
    Tag,
    /// The content is not what its name says.
    #[error("its content has the hash {found}")]
    Hash {
        /// The SHA-256 of what is there.
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
    /// A file ended, or its connection, while it was read.
    #[error("{key} cannot be read: {source}")]
    Read {
        /// Its key in the store.
        key: String,
        /// What the store said.
        source: std::io::Error,
    },
    /// There is no `config`: not a repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// There is a `config` already.
    #[error("there is a repository at {location} already")]
    Exists {
        /// Where.
        location: String,
    },
    /// No key of the repository fits the password.
    #[error("the password does not open {}", match keys {
        1 => "its only key".to_owned(),
        keys => format!("any of its {keys} keys"),
    })]
    Password {
        /// How many were tried.
        keys: usize,
    },
    /// `config` cannot be used.
    #[error("the repository's config is damaged: {0}")]
    Config(Damage),
    /// A format this does not know.
    #[error("the repository has format {version}; 1 and 2 are known")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A file cannot be used.
    #[error("{kind} {id} is damaged: {damage}")]
    Damaged {
        /// What it is.
        kind: FileKind,
        /// Its name.
        id: Id,
        /// What is wrong.
        damage: Damage,
    },
    /// A file that is referred to is not there.
    #[error("{kind} {id} is missing")]
    Missing {
        /// What it is.
        kind: FileKind,
        /// Its name.
        id: Id,
    },
    /// A blob cannot be used.
    #[error("blob {id} is damaged: {damage}")]
    Blob {
        /// Its id.
        id: Id,
        /// What is wrong.
        damage: Damage,
    },
    /// What was sealed of a blob is not the blob.
    #[error(
        "what was sealed of blob {id} is not what was read: the memory or the processor of this host errs"
    )]
    Spoilt {
        /// Its id.
        id: Id,
    },
    /// No index knows a blob.
    #[error("blob {id} is in no index")]
    UnknownBlob {
        /// Its id.
        id: Id,
    },
    /// A blob that is needed is only in a pack that is to be deleted.
    #[error(
        "blob {id} is needed and only in pack {pack}, which is to be deleted: prune puts it back"
    )]
    ToDelete {
        /// Its id.
        id: Id,
        /// Its pack.
        pack: Id,
    },
    /// Somebody else is at work.
    #[error("the repository is locked {lock}")]
    Locked {
        /// The lock's name.
        id: Id,
        /// What it says.
        lock: Box<LockFile>,
    },
    /// Our own lock could not be refreshed, so that others may take it for abandoned.
    #[error("the lock could not be refreshed for so long that others may work here now")]
    LockLost,
    /// Somebody asked for an early end.
    #[error("the work was ended early")]
    Stopped,
    /// Somebody else has rewritten the index.
    #[error("the index was written anew by somebody else meanwhile")]
    Changed,
    /// A path that is not in a snapshot.
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
        /// What the system says.
        source: std::io::Error,
    },
    /// Deleting what is not in the snapshot was asked for all of `/`.
    #[error("everything that is not in the snapshot would be deleted from /")]
    DeletesAll,
    /// What was read could not be handed on.
    #[error("the output failed: {0}")]
    Output(std::io::Error),
    /// Nothing of what was to be backed up could be.
    #[error("nothing could be backed up{}", match skipped.first() {
        Some(first) => format!(": {}: {}", first.path.display(), first.error),
        None => String::new(),
    })]
    NothingTaken {
        /// What was left out, and why.
        skipped: Vec<crate::backup::Skipped>,
    },
    /// No threads.
    #[error("threads cannot be started: {0}")]
    Threads(std::io::Error),
    /// No memory.
    #[error("there is no room for {bytes} bytes in memory")]
    Memory {
        /// What was asked for.
        bytes: usize,
    },
    /// No random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(std::io::Error),
}

impl Error {
    /// Whether it says what is wrong with what is stored; anything else is of the store or of this
    /// host, and may be right the next time.
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

/// The result of most calls here.
pub type Result<T> = std::result::Result<T, Error>;
