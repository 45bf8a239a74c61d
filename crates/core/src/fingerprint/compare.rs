//! The one comparison of what was captured with what was restored.

use super::Proof;

/// One way in which two proofs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `table public.users`, `file config/app.toml`.
    pub subject: String,
    /// As captured.
    pub expected: String,
    /// As restored.
    pub observed: String,
}

/// To be written.
pub fn compare(_captured: &Proof, _restored: &Proof) -> Vec<Difference> {
    Vec::new()
}
