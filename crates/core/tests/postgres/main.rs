//! PostgreSQL with real servers: what is captured comes back, and what does not is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests fail by panicking, and break things on purpose"
)]

mod support;

mod failures;
mod races;
mod round_trip;
mod targets;
