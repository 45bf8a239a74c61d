//! What a backup means: sources, archives, restore points, drills, restores and evidence.
//!
//! This crate never prints and never exits the process: it returns values, and tells of progress
//! through an [`observe::Observer`].

pub mod amount;
pub mod archive;
pub mod backup;
pub mod catalog;
pub mod clock;
pub mod cold;
pub mod compress;
pub mod config;
pub mod context;
pub mod copies;
pub mod copy;
pub mod digest;
pub mod discover;
pub mod doctor;
pub mod document;
pub mod drill;
pub mod error;
pub mod evidence;
pub mod expect;
pub mod explain;
mod exposure;
pub mod fetch;
pub mod finding;
pub mod fingerprint;
pub mod given;
pub mod host;
pub mod interrupt;
pub mod kit;
pub mod lease;
pub mod name;
pub mod objective;
pub mod observe;
pub mod ownership;
mod percent;
pub mod place;
pub mod plain;
pub mod point;
mod pool;
pub mod posture;
pub mod probe;
pub mod process;
pub mod recovery;
pub mod removal;
pub mod repo;
pub mod restore;
pub mod runbook;
pub mod schedule;
pub mod scratch;
pub mod secret;
pub mod servers;
mod sftp;
pub mod shell;
pub mod sign;
pub mod snapshot;
pub mod source;
pub mod span;
pub mod staging;
pub mod stores;
pub mod survey;
pub mod thread;
pub mod transport;
pub mod verify;

pub use error::{Code, Error, Result};
