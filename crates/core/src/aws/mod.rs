//! Amazon's services, and what speaks as they do: keys from where the AWS tools find them, and whose keys
//! these are.
//!
//! Every wait is bounded, that for a metadata service by seconds. Nothing here shows a key.

mod chain;
mod metadata;
mod profile;
mod service;
mod sts;

pub use chain::{Chain, Role};
pub use sts::{Identity, identity};
