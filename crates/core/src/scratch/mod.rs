//! Throwaway directories.
//!
//! Guarantees: what is made here is readable by nobody else, and gone when dropped. After `kill -9`
//! [`sweep`] removes what lies about; what it cannot remove it names.

mod directory;
pub(crate) mod elsewhere;

pub use directory::{Directory, Swept, sweep};

const PREFIX: &str = "lifeboat-scratch-";
