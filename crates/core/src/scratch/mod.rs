//! Throwaway directories.
//!
//! Guarantees: only this user can read what is made here, and it is removed when dropped. After
//! `kill -9`, [`sweep`] removes what is left and reports what it cannot remove.

mod directory;
pub(crate) mod elsewhere;

pub use directory::{Directory, Swept, sweep};

const PREFIX: &str = "lifeboat-scratch-";
