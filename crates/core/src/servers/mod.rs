//! Throwaway database servers for drills.
//!
//! Guarantees: they are reachable from this host only and gone when dropped; after `kill -9` the
//! kernel kills them. Settings that trade safety for speed are used here and must never reach a live
//! server.

mod mariadb;
mod postgres;
mod server;

pub use mariadb::ScratchMariadb;
pub use postgres::{SCRATCH_USER, ScratchPostgres};
