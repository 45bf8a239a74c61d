//! A store is a place that holds objects under keys: a local disk, a directory of another host, an
//! S3 bucket, or memory.
//!
//! Guarantees: an object is visible under its key only whole, and only after the store has
//! confirmed that it is durable; a body that ends in an error leaves nothing behind. It knows
//! nothing of restore points, plans, encryption or formats.

mod ending;
mod error;
mod health;
mod key;
mod listed;
pub mod local;
pub mod memory;
mod probe;
mod read;
pub mod s3;
pub mod sftp;
pub mod threads;

pub use ending::Ending;
pub use error::StoreError;
pub use key::check_key;
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use s3::{S3Options, S3Store, bucket};
pub use sftp::{SftpOptions, SftpStore};

use bytes::Bytes;
use jiff::Timestamp;
use std::io::Read;

/// A place that holds objects. Keys are relative, `/`-separated, checked by [`check_key`].
///
/// Every call may be made from several threads at once.
pub trait Store: Send + Sync {
    /// Where this is, for people: a path or a URL without credentials.
    fn location(&self) -> String;

    /// Reads `body` to its end and stores it under `key`, replacing what was there unless
    /// [`PutOptions::if_absent`]. Returns once the object is durable and its size (and, where the
    /// store offers one, its checksum) is confirmed by the store itself. An error from `body`
    /// aborts the upload and is returned as [`StoreError::Body`]; nothing is then visible.
    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError>;

    /// Stores bytes that are in memory as [`Store::put`] does, without a further copy of them where
    /// that can be had.
    fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.put(key, &mut body.as_ref(), options)
    }

    /// Opens an object for reading, from byte `offset` to its end; an offset beyond the end is an
    /// error. [`StoreError::NotFound`] when there is none. The reader yields every byte the
    /// object had when it was opened, or ends in an error: a cut connection or a file truncated
    /// meanwhile is never an early end.
    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Opens a part of an object for reading: as [`Store::open`], but the reader ends after `bytes`,
    /// or where the object does. Over a network, what comes after it is not sent, and the object
    /// must not be replaced meanwhile.
    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(self.open(key, offset)?.take(bytes)))
    }

    /// What the store says of an object; `None` when there is none.
    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError>;

    /// Every object whose key starts with `prefix` (any string, not only whole components),
    /// in ascending byte order of keys.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Removes an object; removing one that is not there is no error.
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Proves that objects can be written, read back and listed here: puts a small object under
    /// `lifeboat/probe`, reads it, finds it in a listing, and removes it where deletion is
    /// allowed.
    fn probe(&self) -> Result<(), StoreError>;

    /// Whether every request waits for a network, so that whoever has many should have several under
    /// way at a time.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether a listing shows everything that was put before it began, whoever put it. Only where
    /// that is certain: not where somebody in between may keep an older one.
    fn lists_at_once(&self) -> bool {
        false
    }

    /// Whether [`PutOptions::if_absent`] holds against writers that race, as far as is known: not where
    /// the server said that it knows no conditions.
    fn makes_once(&self) -> bool {
        true
    }

    /// How many bytes can still be put here, as far as its file system says; nothing for a store that
    /// has no such limit, or does not say.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// What anybody sees here over the network without credentials: asked of the store, which tries
    /// whether it lists its objects and gives away those under `keys`, as far as they are there.
    /// Where only those get in who log in, that is nothing.
    fn exposure(&self, keys: &[String]) -> Result<Exposure, StoreError> {
        let _ = keys;
        Ok(Exposure::default())
    }
}

/// What a store shows to strangers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposure {
    /// The names and sizes of its objects.
    pub is_listed: bool,
    /// One of the objects that were tried.
    pub is_read: bool,
}

/// How an object is to be put.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Fail with [`StoreError::AlreadyExists`] rather than replace an object.
    pub if_absent: bool,
    /// About how many bytes to expect, to choose the size of upload parts. May be wrong.
    pub bytes_hint: Option<u64>,
}

/// Proof that an object was stored, as confirmed by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Size of the stored object in bytes.
    pub bytes: u64,
    /// The id of this version of it, where the store keeps several.
    pub version: Option<String>,
}

/// What a store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was stored, by the store's own clock, where that is known.
    pub modified: Option<Timestamp>,
}
