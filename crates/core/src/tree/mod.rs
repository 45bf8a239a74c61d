//! A directory tree as an archive and as a proof: what a capture writes, what a restore reads back,
//! and the sums that both sides make of it.

pub(crate) mod acl;
pub(crate) mod sums;
pub(crate) mod tape;

pub use sums::escape;

/// What the comment of a file with several names begins with; their number follows.
pub(crate) const LINKS_COMMENT: &str = "links=";
