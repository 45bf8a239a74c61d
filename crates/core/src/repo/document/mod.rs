//! Documents that the commands of a repository answer with.
//!
//! They are made from results of the engine. Paths, which may hold any bytes, appear as text.

mod entries;
mod keep;
mod runs;
mod snapshots;
#[cfg(test)]
mod tests;

pub use entries::{Changes, Entries, Entry, Found, FoundEntry, text};
pub use keep::{Forgotten, Kept, KeptGroup, Pruned};
pub use runs::{Checked, IndexRepaired, Restored, Saved};
pub use snapshots::{Copied, Repaired, Rewritten, Snapshots, StoredSnapshot, Tagged};

use lifeboat_repository::keyfile::KeyFile;
use lifeboat_repository::lock::Found as FoundLock;
use lifeboat_repository::{Id, Repository};
use serde::Serialize;

/// The document of `init`.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Its place.
    pub repository: String,
    /// Its id.
    pub id: String,
}

impl From<&Repository> for Made {
    fn from(repository: &Repository) -> Self {
        Made {
            repository: repository.location(),
            id: repository.config().id.clone(),
        }
    }
}

/// The document of `key list`.
#[derive(Debug, Clone, Serialize)]
pub struct Keys {
    /// Each key that can be read.
    pub keys: Vec<Key>,
}

/// A key of a repository, which a password opens.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    /// Its id.
    pub id: Id,
    /// Set on the key that opened the repository now.
    pub current: bool,
    /// The user who made it.
    pub user: String,
    /// The host it was made on.
    pub host: String,
    /// The time it was made.
    pub created: String,
}

impl Key {
    /// The listed form of a key file.
    pub fn new(id: Id, current: bool, file: KeyFile) -> Self {
        Key {
            id,
            current,
            user: file.username,
            host: file.hostname,
            created: file.created,
        }
    }
}

/// The document of `key add`, `key remove` and `key passwd`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyChanged {
    /// A key was added.
    Added(Id),
    /// A key was removed.
    Removed(Id),
}

/// The document of `unlock`.
#[derive(Debug, Clone, Serialize)]
pub struct Unlocked {
    removed: Vec<Id>,
}

impl From<&[FoundLock]> for Unlocked {
    fn from(removed: &[FoundLock]) -> Self {
        let removed = removed.iter().map(|found| found.id).collect();
        Unlocked { removed }
    }
}

/// The document of `mount`, at its end.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Mounted {
    /// The number of snapshots that were shown.
    pub snapshots: usize,
}
