//! From an artifact stream to stored bytes and back: compress, encrypt, name.
//!
//! Guarantees: one pass, bounded memory, nothing on disk; what comes out is read by `gunzip`,
//! `zstd` and `age`. It does not know where bytes go.
