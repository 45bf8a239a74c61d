//! The restic repository format.

pub mod backup;
pub mod check;
pub mod chunker;
pub mod crypto;
mod encoding;
mod error;
mod id;
pub mod index;
pub mod keyfile;
pub mod pack;
mod repository;
pub mod saver;
pub mod snapshot;
pub mod time;
pub mod tree;
mod unpacked;

pub use error::{Damage, Error, FileKind, Result};
pub use id::{Id, NotAnId};
pub use repository::{Author, Config, Repository, open_blob};
pub use snapshot::Snapshot;
