//! The restic repository format.

pub mod chunker;
mod id;

pub use id::{Id, NotAnId};
