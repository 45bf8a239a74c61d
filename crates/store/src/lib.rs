//! A store is a place that holds objects under keys: a local disk, a directory on another host, an
//! S3 bucket, or memory.
//!
//! Guarantees: an object is visible under its key only when complete, and only after the store has
//! confirmed that it is durable. A body that ends in an error leaves nothing behind. This crate
//! knows nothing of restore points, plans, encryption or formats.

pub mod aws;
mod ending;
mod error;
mod health;
mod key;
mod listed;
pub mod local;
mod lock;
pub mod memory;
mod past;
mod probe;
mod read;
mod runtime;
pub mod s3;
pub mod sftp;
mod sign;
pub mod threads;

pub use ending::Ending;
pub use error::StoreError;
pub use key::check_key;
pub use local::LocalStore;
pub use lock::{Lock, LockMode, LockSettings, ObjectLock, Unlocked};
pub use memory::MemoryStore;
pub use s3::{Call, S3Options, S3Store, bucket};
pub use sftp::{SftpOptions, SftpStore};

use bytes::Bytes;
use jiff::Timestamp;
use std::io::Read;

/// A place that holds objects. Keys are relative, `/`-separated, and checked by [`check_key`].
///
/// Every method may be called from several threads at once.
pub trait Store: Send + Sync {
    /// The location, for people: a path or a URL without credentials.
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

    /// Stores bytes that are in memory, as [`Store::put`] does, without a further copy of them if
    /// possible.
    fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.put(key, &mut body.as_ref(), options)
    }

    /// Opens an object for reading, from byte `offset` to its end. Fails with
    /// [`StoreError::NotFound`] if there is no such object, and if the offset is beyond the end.
    /// The reader yields every byte that the object had when it was opened, or ends in an error: a
    /// broken connection or a truncated file is never an early end.
    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Opens a part of an object for reading. It works like [`Store::open`], but the reader ends
    /// after `bytes`, or where the object ends. Over a network, what comes after the part is not
    /// sent, and the object must not be replaced meanwhile.
    fn open_part(
        &self,
        key: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(self.open(key, offset)?.take(bytes)))
    }

    /// Returns what the store reports about an object; `None` if there is no such object.
    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError>;

    /// Lists every object whose key starts with `prefix` (any string, not only whole components),
    /// in ascending byte order of keys.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Removes an object. It is no error if there is none. A store that keeps versions may only
    /// hide it: see [`Store::delete_version`].
    fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes one version of an object for good, and leaves no marker in its place. It is no error
    /// if there is no such version. Fails with [`StoreError::WithoutVersions`] if the kind of store
    /// keeps none, and with [`StoreError::Denied`] if the version is locked.
    fn delete_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        let _ = (key, version);
        Err(without_versions(self.location()))
    }

    /// Returns what forbids to delete an object, or this version of it: the strongest lock that is
    /// known. `None` if there is none, or if these credentials may not see locks. The date of a
    /// lock may have passed: the caller compares it with its clock.
    fn lock(&self, key: &str, version: Option<&str>) -> Result<Option<Lock>, StoreError> {
        let _ = (key, version);
        Ok(None)
    }

    /// Locks an object, or this version of it, until `until`, unless it is locked until `enough`
    /// already. Returns until when it is locked then, as the store reports it. It never shortens a
    /// lock. Fails with [`StoreError::Unlocked`] if that cannot be had, as in every store that was not
    /// told to lock objects.
    fn extend_lock(
        &self,
        key: &str,
        version: Option<&str>,
        enough: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let _ = (version, enough, until);
        Err(StoreError::Unlocked {
            location: self.location(),
            key: key.to_owned(),
            why: Unlocked::Absent,
        })
    }

    /// What the store says about locks on its objects; `None` if these credentials may not ask.
    fn lock_settings(&self) -> Result<Option<LockSettings>, StoreError> {
        Ok(Some(LockSettings::default()))
    }

    /// Opens one version of an object, as [`Store::open`] does. Fails with [`StoreError::NotFound`]
    /// if there is no such version, or if the store keeps none.
    fn open_version(
        &self,
        key: &str,
        version: &str,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let _ = (version, offset);
        Err(StoreError::NotFound {
            location: self.location(),
            key: key.to_owned(),
        })
    }

    /// Returns a view of the store that reads what stood there at a time, and writes nothing: every
    /// change fails with [`StoreError::ReadOnly`]. Of each object it shows the newest version that
    /// was stored at that time or before; none if the object had been deleted by then. The view
    /// goes by the store's own times, which may be whole seconds: see the store. Fails with
    /// [`StoreError::WithoutVersions`] if the store keeps no versions.
    fn as_of(&self, at: Timestamp) -> Result<Box<dyn Store>, StoreError> {
        let _ = at;
        Err(without_versions(self.location()))
    }

    /// Proves that objects can be written, read back and listed here: puts a small object under
    /// `lifeboat/probe`, reads it, finds it in a listing, and removes it if deletion is allowed.
    fn probe(&self) -> Result<(), StoreError>;

    /// Returns whether every request goes over a network, so that a caller with many requests
    /// should run several at a time.
    fn is_remote(&self) -> bool {
        false
    }

    /// Returns whether a listing is certain to show everything that was put before it began, by
    /// anybody. It is not certain if something in between may serve an older listing.
    fn lists_at_once(&self) -> bool {
        false
    }

    /// Returns whether [`PutOptions::if_absent`] holds against racing writers, as far as is known.
    /// It is false once the server has said that it does not support conditional requests.
    fn makes_once(&self) -> bool {
        true
    }

    /// The free bytes that the file system of the store reports; `None` if the store has no such
    /// limit, or does not report one.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Tests what anybody can see here over the network without credentials: whether the store
    /// lists its objects, and whether it returns those of `keys` that exist. A store that requires
    /// a login exposes nothing.
    fn exposure(&self, keys: &[String]) -> Result<Exposure, StoreError> {
        let _ = keys;
        Ok(Exposure::default())
    }
}

/// The things that a store reveals without credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposure {
    /// True if the names and sizes of objects are visible.
    pub is_listed: bool,
    /// True if the content of any tried object is readable.
    pub is_read: bool,
}

/// The options of [`Store::put`].
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Fail with [`StoreError::AlreadyExists`] rather than replace an object.
    pub if_absent: bool,
    /// The approximate size, used to choose the size of upload parts. It may be wrong.
    pub bytes_hint: Option<u64>,
}

/// Proof that an object was stored, as confirmed by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Size of the stored object in bytes.
    pub bytes: u64,
    /// The id of this version of the object, if the store keeps versions.
    pub version: Option<String>,
}

/// The facts that a store reports about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key.
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The time when it was stored, by the store's own clock, if known.
    pub modified: Option<Timestamp>,
    /// The id of its current version, if the store keeps versions. Listings may lack it.
    pub version: Option<String>,
}

/// The error of a store that keeps no versions and is asked for one.
fn without_versions(location: String) -> StoreError {
    StoreError::WithoutVersions { location }
}
