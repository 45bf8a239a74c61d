//! MariaDB and MySQL with real servers: what is captured is restored, and what is lost is noticed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod server;
mod support;

mod failures;
mod races;
mod releases;
mod round_trip;
