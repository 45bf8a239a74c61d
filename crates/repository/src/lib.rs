//! The restic repository format.

pub mod chunker;
pub mod crypto;
mod encoding;
mod error;
mod id;
pub mod keyfile;
pub mod pack;
pub mod time;
pub mod tree;
mod unpacked;

pub use error::{Damage, Error, FileKind, Result};
pub use id::{Id, NotAnId};
