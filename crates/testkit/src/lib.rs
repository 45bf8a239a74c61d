//! Real servers, faulty stores, corpora and damage, for tests only.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test code fails by panicking"
)]

pub mod aws;
pub mod channels;
pub mod debian;
pub mod gpg;
pub mod lightsail;
pub mod mariadb;
pub mod postgres;
pub mod privilege;
pub mod restic;
pub mod s3;
pub mod silent;
pub mod ssh;
pub mod tree;
pub mod vault;
