//! Real servers, faulty stores, corpora and damage, for tests only.

pub mod postgres;
