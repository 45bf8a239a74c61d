//! PostgreSQL with real servers: what is captured comes back, and what does not is noticed.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod support;

mod failures;
mod races;
mod round_trip;
mod targets;
