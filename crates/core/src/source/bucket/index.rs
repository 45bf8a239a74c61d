//! The index of a mirrored bucket: a line of JSON for each object, in the order of the keys.
//!
//! It names everything that a restore of its point needs: what each object was, and the pack and
//! offset of its bytes. It is read and written as a stream and never held whole.

use super::key::ObjectKey;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{ObjectsFingerprint, RowSum};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

/// The longest line that is read. S3's own limits on keys, metadata and tags are far lower.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One version of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, hex.
    pub sha256: String,
    /// Its ETag as the bucket gives it, without quotes.
    pub etag: String,
    /// The time it was last modified, in seconds since 1970.
    pub modified: i64,
    /// Its version, in a bucket that keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `content-type` and the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its user metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The artifact that holds its bytes.
    pub pack: String,
    /// Its name in that tar.
    pub member: String,
    /// Offset of its bytes in the plain tar.
    pub offset: u64,
    /// The time when it was found to be deleted or replaced. It is then kept for a while, but is
    /// not part of the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<Timestamp>,
}

impl Entry {
    /// Returns true if it is part of the point: it was there when the point was taken.
    pub fn is_live(&self) -> bool {
        self.gone.is_none()
    }

    /// The entry as a line of JSON, with its newline.
    pub fn line(&self) -> Result<Vec<u8>> {
        to_line(self)
    }
}

/// Formats a value as a line of JSON, with its newline.
pub fn to_line(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)
        .map_err(|e| Error::new(Code::Io, "an entry cannot be written as JSON").cause(e))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads lines of JSON. Fails for a line that is not JSON, and for an unfinished line at the end.
pub struct Lines<R, T> {
    reader: BufReader<R>,
    what: String,
    number: u64,
    line: Vec<u8>,
    marker: std::marker::PhantomData<T>,
}

impl<R: Read, T: for<'de> Deserialize<'de>> Lines<R, T> {
    /// Reads lines from `reader`; `what` names the file in errors.
    pub fn new(reader: R, what: impl Into<String>) -> Self {
        Lines {
            reader: BufReader::with_capacity(128 << 10, reader),
            what: what.into(),
            number: 0,
            line: Vec::new(),
            marker: std::marker::PhantomData,
        }
    }

    fn read(&mut self) -> Result<Option<T>> {
        let what = &self.what;
        self.line.clear();
        self.number += 1;
        let mut limited = Read::take(&mut self.reader, LINE_BYTES_MAX);
        let count = limited
            .read_until(b'\n', &mut self.line)
            .map_err(|e| Error::from_io(Code::Io, format!("{what} cannot be read"), e))?;
        if count == 0 {
            return Ok(None);
        }
        let damaged = |cause: String| {
            let message = format!("{what} is damaged in line {}", self.number);
            Error::new(Code::ObjectDamaged, message).cause(cause)
        };
        if self.line.last() != Some(&b'\n') {
            return Err(damaged("the line has no end".into()));
        }
        let value = serde_json::from_slice(&self.line).map_err(|e| damaged(e.to_string()))?;
        Ok(Some(value))
    }
}

impl<R: Read, T: for<'de> Deserialize<'de>> Iterator for Lines<R, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The fingerprint of a bucket, built up object by object, in any order.
#[derive(Debug)]
pub struct Sum {
    objects: u64,
    bytes: u64,
    content: RowSum,
    metadata: RowSum,
}

impl Default for Sum {
    fn default() -> Self {
        Sum {
            objects: 0,
            bytes: 0,
            content: RowSum::new("objects"),
            metadata: RowSum::new("metadata"),
        }
    }
}

impl Sum {
    /// Adds an object: its key and content, and its headers, metadata and tags.
    pub fn add(&mut self, entry: &Entry) -> Result<()> {
        self.objects += 1;
        self.bytes += entry.bytes;
        let content = (&entry.key, entry.bytes, &entry.sha256);
        self.content.add(&to_line(&content)?);
        let carried = (&entry.key, &entry.headers, &entry.metadata, &entry.tags);
        self.metadata.add(&to_line(&carried)?);
        Ok(())
    }

    /// The fingerprint.
    pub fn finish(&self) -> ObjectsFingerprint {
        ObjectsFingerprint {
            objects: self.objects,
            bytes: self.bytes,
            content: self.content.hex(),
            carried: self.metadata.hex(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_line_is_an_error_and_a_whole_one_round_trips() {
        let entry = Entry {
            key: ObjectKey::new(b"a\xff".to_vec()),
            gone: Some(Timestamp::UNIX_EPOCH),
            ..Entry::default()
        };
        let line = entry.line().unwrap();
        let read: Vec<Entry> = Lines::new(&line[..], "x").map(Result::unwrap).collect();
        assert_eq!(read, [entry]);
        for end in 1..line.len() {
            let mut lines = Lines::<_, Entry>::new(&line[..end], "x");
            assert_eq!(lines.next().unwrap().unwrap_err().code, Code::ObjectDamaged);
        }
    }

    #[test]
    fn the_sum_separates_content_from_metadata() {
        let of = |change: fn(&mut Entry)| {
            let mut entry = Entry::default();
            change(&mut entry);
            let mut sum = Sum::default();
            sum.add(&entry).unwrap();
            sum.finish()
        };
        let plain = of(|_| ());
        let content = of(|e| e.sha256 = "x".into());
        let tags = of(|e| drop(e.tags.insert("a".into(), "b".into())));
        let moved = of(|e| e.etag = "x".into());
        assert_ne!(plain.content, content.content);
        assert_eq!(plain.carried, content.carried);
        assert_ne!(plain.carried, tags.carried);
        assert_eq!(plain.content, tags.content);
        assert_eq!(plain, moved);
    }
}
