//! How a copy of a point gets into a store: under which keys, as which streams, and by which commit.
//! `backup` and `copy` share it.
//!
//! Guarantees: a key that a manifest names is never overwritten; a manifest is written last, so that
//! what dies before leaves no visible copy.

mod commit;
mod keys;
mod send;

pub(crate) use commit::commit_copy;
pub use commit::put_details;
pub(crate) use keys::{NamedKeys, free_key, stem};
pub(crate) use send::{ATTEMPTS_MAX, Delivered, Destination, Stored, send};
