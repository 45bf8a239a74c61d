//! Directory trees as archives and as proofs: what a capture writes, what a restore reads back, and
//! the sums that both sides compute.

pub(crate) mod acl;
pub(crate) mod sums;
pub(crate) mod tape;

pub use sums::escape;

/// Prefix of the comment of a file with several names; their number follows.
pub(crate) const LINKS_COMMENT: &str = "links=";
