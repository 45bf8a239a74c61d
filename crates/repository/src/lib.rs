//! The restic repository format, versions 1 and 2: chunks, seals, packs, indexes, trees and
//! snapshots, byte for byte what `restic` reads and writes.
//!
//! Opens and creates repositories in any [`lifeboat_store::Store`]; backs up directories into them;
//! browses, checks, restores, copies, prunes and repairs them; takes and honours locks. It knows
//! nothing of configuration, and prints nothing.

pub mod aside;
pub mod assemble;
pub mod backup;
pub mod browse;
mod buffer;
pub mod check;
pub mod chunker;
pub mod copy;
pub mod crypto;
mod document;
mod encoding;
mod error;
pub mod examine;
mod fetch;
pub mod forget;
mod hash;
mod id;
pub mod index;
mod index_writer;
pub mod keyfile;
pub mod lock;
pub mod mounts;
pub mod pack;
pub mod pattern;
mod pipeline;
pub mod prune;
mod read_ahead;
mod recheck;
pub mod repair;
mod repository;
mod requests;
pub mod restore;
pub mod rewrite;
pub mod saver;
pub mod snapshot;
mod storing;
pub mod stream;
mod sync;
pub mod time;
pub mod tree;
mod used;

pub use error::{Damage, Error, FileKind, Result};
pub use id::{Id, NotAnId};
pub use repository::{Author, Config, Named, Repository, open_blob};
pub use snapshot::Snapshot;
