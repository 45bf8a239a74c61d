//! The versions of objects in a bucket that keeps them: reads and removes one, finds what locks it,
//! and what stood in the bucket at a time.
//!
//! Guarantees: a version is read and removed only if the server says that it is this version. S3
//! tells the time of a version in whole seconds, so a view as of a time shows everything that was
//! stored within the second of that time too; see [`crate::past::Standing`] for the order within a
//! second. Listing versions, and asking whether a bucket locks objects, need keys that were given:
//! those that the environment provides are not used for it.

use super::bucket::Bucket;
use super::bucket::versions::UNVERSIONED;
use super::http::{LEGAL_HOLD, LOCKED_UNTIL};
use super::refusal::refusal;
use super::{S3Store, address, check_s3_key, download};
use crate::listed::check_listed;
use crate::memory::beyond;
use crate::past::{Past, Versioned};
use crate::read::Exact;
use crate::runtime;
use crate::{Lock, ObjectInfo, Store, StoreError};
use jiff::Timestamp;
use opendal::Metadata;
use std::io::Read;

impl S3Store {
    /// Returns what the server reports about a version; `None` if it has no such version.
    pub(super) fn head_version(
        &self,
        key: &str,
        version: &str,
    ) -> Result<Option<Metadata>, StoreError> {
        let found = match self.head_of(key, Some(version)) {
            // A version id of another server may be refused, and so is the marker of a deletion. An
            // answer to HEAD has no text that says which.
            Err(HeadError::Refused(400 | 405, _)) => return Ok(None),
            found => found.map_err(HeadError::into_store_error)?,
        };
        // A server that keeps no versions may ignore the question.
        Ok(found.filter(|metadata| match metadata.version() {
            Some(is) => is == version,
            None => version == UNVERSIONED,
        }))
    }

    pub(super) fn remove_version(&self, key: &str, version: &str) -> Result<(), StoreError> {
        check_s3_key(key)?;
        if self.head_version(key, version)?.is_none() {
            return Ok(());
        }
        let (operator, path) = (self.operator.clone(), key.to_owned());
        let version = version.to_owned();
        let answer = runtime::run(self.place.ending.work(), &self.location, async move {
            operator.delete_with(&path).version(&version).await
        })?;
        match answer {
            Err(error) if refusal(&error).is_some_and(|r| r.status == 404) => Ok(()),
            answer => answer.map_err(|error| self.error(&error, key)),
        }
    }

    pub(super) fn locked(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Lock>, StoreError> {
        check_s3_key(key)?;
        if !self.may_lock()? {
            return Ok(None);
        }
        let found = match version {
            Some(version) => self.head_version(key, version),
            None => self.head(key),
        };
        match found {
            Ok(found) => Ok(found.as_ref().and_then(lock_of)),
            Err(StoreError::Denied { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the bucket may lock objects. It is asked once; if it may not be asked, each
    /// object is.
    fn may_lock(&self) -> Result<bool, StoreError> {
        if let Some(known) = self.locks.get() {
            return Ok(*known);
        }
        let asked = self.bucket.as_ref().map(Bucket::lock_settings);
        let may = asked.transpose()?.flatten();
        let may = may.is_none_or(|settings| settings.enabled);
        Ok(*self.locks.get_or_init(|| may))
    }

    pub(super) fn read_version(
        &self,
        key: &str,
        version: &str,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        check_s3_key(key)?;
        let metadata = self.head_version(key, version)?;
        let metadata = metadata.ok_or_else(|| self.no_such_object(key))?;
        self.reader(key, &metadata, Some(version), offset)
    }

    /// Opens an object, or a version of it, of which the server reported `metadata`.
    pub(super) fn reader(
        &self,
        key: &str,
        metadata: &Metadata,
        version: Option<&str>,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        let bytes = metadata.content_length();
        if offset > bytes {
            return Err(beyond(&self.location, key, offset, bytes));
        }
        if offset == bytes {
            return Ok(Box::new(std::io::empty()));
        }
        let what = download::Of { key, version };
        let reader = download::start(self, &what, offset..bytes, metadata.etag())?;
        let what = format!("{key:?} in {}", self.location);
        Ok(Box::new(Exact::new(reader, bytes - offset, what)))
    }

    /// Opens a part of an object or of a version.
    pub(super) fn part(
        &self,
        key: &str,
        version: Option<&str>,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        check_s3_key(key)?;
        if bytes == 0 {
            return Ok(Box::new(std::io::empty()));
        }
        let what = download::Of { key, version };
        match download::part(self, &what, offset..offset.saturating_add(bytes)) {
            Ok(part) => Ok(Box::new(part)),
            // Perhaps it is missing, or shorter than that: opening the whole finds out.
            Err(_) => {
                let whole = match version {
                    Some(version) => self.read_version(key, version, offset),
                    None => self.open(key, offset),
                };
                Ok(Box::new(whole?.take(bytes)))
            }
        }
    }

    pub(super) fn past(&self, at: Timestamp) -> Result<Box<dyn Store>, StoreError> {
        let keeps = self.versions()?.keeps_versions(&self.full_prefix());
        match keeps.map_err(|error| self.as_listing(error))? {
            true => Ok(Box::new(Past::new(self.clone(), at))),
            false => Err(StoreError::WithoutVersions {
                location: self.location.clone(),
            }),
        }
    }

    /// The client that lists versions.
    fn versions(&self) -> Result<&Bucket, StoreError> {
        let Some(bucket) = &self.bucket else {
            address(&self.place, &self.location)?;
            return Err(StoreError::Credentials {
                location: self.location.clone(),
                detail: "its versions are listed only with keys that are given".to_owned(),
            });
        };
        Ok(bucket)
    }

    /// The beginning of every complete key; empty, or with a slash at its end.
    pub(super) fn full_prefix(&self) -> String {
        match self.place.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    pub(super) fn no_such_object(&self, key: &str) -> StoreError {
        StoreError::NotFound {
            location: self.location.clone(),
            key: key.to_owned(),
        }
    }
}

impl Versioned for S3Store {
    fn standing(&self, prefix: &str, at: Timestamp) -> Result<Vec<ObjectInfo>, StoreError> {
        let root = self.full_prefix();
        let standing = self.versions()?.standing(&format!("{root}{prefix}"), at);
        let standing = standing.map_err(|error| self.as_listing(error))?;
        check_listed(standing.seen(), || self.location.clone())?;
        let mut found = standing.finish();
        for object in &mut found {
            if let Some(key) = object.key.strip_prefix(&root) {
                object.key = key.to_owned();
            }
        }
        Ok(found)
    }

    fn open_version_part(
        &self,
        key: &str,
        version: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Box<dyn Read + Send>, StoreError> {
        self.part(key, Some(version), offset, bytes)
    }
}

/// The reason why the server said nothing about an object.
pub(super) enum HeadError {
    /// It refused, with this HTTP status.
    Refused(u16, StoreError),
    /// It failed, or its refusal needs no further question.
    Failed(StoreError),
}

impl HeadError {
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            HeadError::Refused(_, error) | HeadError::Failed(error) => error,
        }
    }
}

impl From<StoreError> for HeadError {
    fn from(error: StoreError) -> Self {
        HeadError::Failed(error)
    }
}

/// The stronger of the locks that the server reports about an object.
fn lock_of(metadata: &Metadata) -> Option<Lock> {
    let said = metadata.user_metadata()?;
    let held = said.get(LEGAL_HOLD).map(|_| Lock::Held);
    // A date that cannot be read is a lock of unknown length.
    let until = said.get(LOCKED_UNTIL).map(|date| {
        let until = date.parse().map(Lock::Until);
        until.unwrap_or(Lock::Held)
    });
    held.max(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opendal::MetadataBuilder;

    fn lock(said: &[(&str, &str)]) -> Option<Lock> {
        let mut builder = MetadataBuilder::file(1);
        let said = said.iter().copied();
        builder.user_metadata(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        lock_of(&builder.build())
    }

    #[test]
    fn the_stronger_lock_counts_and_a_date_that_cannot_be_read_has_no_end() {
        let date = (LOCKED_UNTIL, "2026-12-31T00:00:00.000Z");
        let until = Lock::Until("2026-12-31T00:00:00Z".parse().unwrap());
        assert_eq!(lock(&[]), None);
        assert_eq!(lock(&[("other", "x")]), None);
        assert_eq!(lock(&[date]), Some(until));
        assert_eq!(lock(&[(LEGAL_HOLD, "ON")]), Some(Lock::Held));
        assert_eq!(lock(&[date, (LEGAL_HOLD, "ON")]), Some(Lock::Held));
        assert_eq!(lock(&[(LOCKED_UNTIL, "soon")]), Some(Lock::Held));
    }
}
