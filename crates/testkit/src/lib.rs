//! x
pub mod s3;
