//! Locks the objects of a store in a bucket: adds the lock to each request that makes an object,
//! reads it back, and extends it.
//!
//! Guarantees: a lock that the server refused, ignored or weakened is an error of the `put`; a lock is
//! never shortened, and never bypassed.

use super::http::{LOCK_MODE, LOCKED_UNTIL};
use super::{S3Store, check_s3_key};
use crate::StoreError;
use crate::lock::{LockMode, ObjectLock, Retained, Unlocked};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use jiff::Timestamp;
use md5::{Digest, Md5};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, HttpTransporter, Metadata};

/// A transport that adds what a bucket with locks demands. The transport below it signs.
pub(super) struct Retaining {
    pub(super) below: HttpTransporter,
    /// The lock of the objects that are made; `None` where only checksums are added.
    pub(super) lock: Option<ObjectLock>,
}

impl HttpTransport for Retaining {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>, Error> {
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let makes_object = match parts.method {
            Method::PUT => query.is_empty(),
            Method::POST => query == "uploads" || query == "uploads=",
            _ => false,
        };
        if let Some(lock) = self.lock.filter(|_| makes_object) {
            let lock = lock.at(Timestamp::now());
            set(&mut parts, "x-amz-object-lock-mode", lock.mode.as_str());
            let date = lock.date();
            set(&mut parts, "x-amz-object-lock-retain-until-date", &date);
        }
        if parts.method == Method::PUT {
            // S3 demands it of each object and each part where there are locks.
            let sent = body.clone();
            let hashing = tokio::task::spawn_blocking(move || content_md5(sent));
            let md5 = hashing.await.map_err(|error| {
                Error::new(ErrorKind::Unexpected, "a checksum could not be computed")
                    .set_source(error)
            })?;
            set(&mut parts, "content-md5", &md5);
        }
        self.below.fetch(Request::from_parts(parts, body)).await
    }
}

fn set(parts: &mut Parts, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        parts.headers.insert(HeaderName::from_static(name), value);
    }
}

/// The MD5 of pieces, as the header `Content-MD5` has it.
pub(super) fn content_md5(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut md5 = Md5::new();
    for piece in pieces {
        md5.update(piece.as_ref());
    }
    base64(&md5.finalize())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4_usize {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let digit = DIGITS.get(digit).filter(|_| at <= three.len());
            text.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

/// The retention that the server reports about an object.
fn retained(metadata: &Metadata) -> Option<Retained> {
    let said = metadata.user_metadata()?;
    Some(Retained {
        mode: LockMode::parse(said.get(LOCK_MODE)?)?,
        until: said.get(LOCKED_UNTIL)?.parse().ok()?,
    })
}

impl S3Store {
    /// The lock that an object gets that is put now, at least; `None` if it gets none.
    pub(super) fn asked_lock(&self, key: &str) -> Option<Retained> {
        let lock = self.place.object_lock.as_ref();
        let lock = lock.filter(|lock| (lock.applies)(key))?;
        Some(lock.at(Timestamp::now()))
    }

    pub(super) fn unlocked(&self, key: &str, why: Unlocked) -> StoreError {
        StoreError::Unlocked {
            location: self.location.clone(),
            key: key.to_owned(),
            why,
        }
    }

    /// Fails unless the server reports the lock that was asked for of an object, or of this version of
    /// it. `seen` is what it has just said about what stands under the key. Returns the lock.
    pub(super) fn check_lock(
        &self,
        key: &str,
        version: Option<&str>,
        seen: Option<&Metadata>,
        asked: &Retained,
    ) -> Result<Retained, StoreError> {
        let same = |seen: &&Metadata| version.is_none() || seen.version() == version;
        let known = seen.filter(same).and_then(retained);
        let known = match known {
            Some(known) => Some(known),
            // A server does not say of locks to those who may not see them.
            None => self.ask_retention(key, version)?,
        };
        match known {
            Some(known) if known.covers(asked) => Ok(known),
            Some(known) => Err(self.unlocked(
                key,
                Unlocked::Less {
                    is: known.to_string(),
                    asked: asked.to_string(),
                },
            )),
            None => Err(self.unlocked(key, Unlocked::Absent)),
        }
    }

    fn ask_retention(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Retained>, StoreError> {
        let Some(bucket) = &self.bucket else {
            return Ok(None);
        };
        let full = format!("{}{key}", self.full_prefix());
        let asked = bucket.retention(full.as_bytes(), version);
        asked.map_err(|error| self.about_lock(key, error))
    }

    /// The error of a request about a lock.
    fn about_lock(&self, key: &str, error: StoreError) -> StoreError {
        match error {
            StoreError::Denied { detail, .. } => self.unlocked(key, Unlocked::Denied(detail)),
            StoreError::Unlocked { why, .. } => self.unlocked(key, why),
            StoreError::NotFound { .. } => self.no_such_object(key),
            error => error,
        }
    }

    pub(super) fn lock_longer(
        &self,
        key: &str,
        version: Option<&str>,
        enough: Timestamp,
        until: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        check_s3_key(key)?;
        let (Some(lock), Some(bucket)) = (&self.place.object_lock, &self.bucket) else {
            return Err(self.unlocked(key, Unlocked::Absent));
        };
        let found = match version {
            Some(version) => self.head_version(key, version),
            None => self.head(key),
        };
        let found = match found {
            Ok(Some(found)) => Some(found),
            Ok(None) => return Err(self.no_such_object(key)),
            // Those who may only write can lock all the same.
            Err(StoreError::Denied { .. }) => None,
            Err(error) => return Err(error),
        };
        let known = found.as_ref().and_then(retained);
        let suffices = Retained {
            mode: lock.mode,
            until: enough,
        };
        if let Some(known) = known.filter(|known| known.covers(&suffices)) {
            return Ok(known.until);
        }
        let asked = Retained {
            mode: known.map_or(lock.mode, |known| known.mode.max(lock.mode)),
            until: known.map_or(until, |known| known.until.max(until)),
        };
        // What is read back must be what was locked, whoever puts another version meanwhile.
        let version = version.or_else(|| found.as_ref().and_then(Metadata::version));
        let full = format!("{}{key}", self.full_prefix());
        let put = bucket.put_retention(full.as_bytes(), version, &asked);
        put.map_err(|error| self.about_lock(key, error))?;
        let seen = match version {
            Some(version) => self.head_version(key, version),
            None => self.head(key),
        };
        let seen = seen.ok().flatten();
        let is = self.check_lock(key, version, seen.as_ref(), &asked)?;
        Ok(is.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_all_pieces() {
        // RFC 4648, section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        // printf abc | openssl dgst -md5 -binary | base64
        assert_eq!(content_md5(["a", "bc"]), "kAFQmDzST7DWlj99KOF/cg==");
        assert_eq!(content_md5([""; 0]), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }
}
