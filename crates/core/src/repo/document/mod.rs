//! Documents that the commands of a repository answer with.
//!
//! They are made of what the engine returns. Paths, which may hold any bytes, are text in them.

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

/// A key of a repository: what a password opens it with.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    /// Its id.
    pub id: Id,
    /// Set on the key that opened the repository now.
    pub current: bool,
    /// Who made it.
    pub user: String,
    /// On which host.
    pub host: String,
    /// When.
    pub created: String,
}

impl Key {
    /// A key file as it is listed.
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
