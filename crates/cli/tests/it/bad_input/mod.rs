//! Bad input gets an error that names the thing, its cause and the way out, the right exit code,
//! and nothing is lost or left behind.

mod clock;
mod configuration;
mod databases;
mod keys;
mod objects;
mod sources;
mod stores;
mod targets;
