//! Throwaway places for drills: private directories and database servers that leave nothing behind.
//!
//! Guarantees: what is made here is readable by nobody else, reachable from this host only, and gone
//! when dropped. After `kill -9` the servers are killed by the kernel, and [`sweep`] removes what
//! lies about; what it cannot remove it names. Settings that trade safety for speed are used here and must never reach a live server.

mod directory;
mod elsewhere;
mod mariadb;
mod postgres;
mod server;

pub use directory::{Directory, Swept, sweep};
pub use mariadb::ScratchMariadb;
pub use postgres::{SCRATCH_USER, ScratchPostgres};
