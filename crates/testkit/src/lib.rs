//! Real servers, faulty stores, corpora and damage, for tests only.

pub mod postgres;
pub mod s3;
pub mod tree;
