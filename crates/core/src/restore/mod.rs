//! Rehearse and carry out.

pub mod place;
