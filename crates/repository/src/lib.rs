//! The restic repository format, versions 1 and 2: chunks, seals, packs, indexes, trees and
//! snapshots, byte for byte what `restic` reads and writes.
//!
//! Opens and makes repositories in any [`lifeboat_store::Store`], backs up directories into them,
//! checks them and restores from them. It takes no locks yet, so that nothing else may write to or
//! prune a repository meanwhile, and it does not forget or prune yet. It knows nothing of configuration, and
//! prints nothing.

pub mod backup;
pub mod check;
pub mod chunker;
pub mod crypto;
mod encoding;
mod error;
mod fetch;
mod id;
pub mod index;
pub mod keyfile;
pub mod pack;
pub mod pattern;
mod repository;
pub mod restore;
pub mod saver;
pub mod snapshot;
pub mod time;
pub mod tree;
mod unpacked;

pub use error::{Damage, Error, FileKind, Result};
pub use id::{Id, NotAnId};
pub use repository::{Author, Config, Repository, open_blob};
pub use snapshot::Snapshot;
