//! Puts objects into a bucket: a new one, or the live one, where the objects they replace are kept.
//!
//! Every object is put with the headers, metadata and tags it had. Several small objects are put at
//! a time; memory is bounded by those and by one part of a large object.

use super::index::{Entry, Lines, Sum, to_line};
use super::key::{ObjectKey, Places};
use super::merge::Listed;
use super::objects::{self, Named, deliver, entries, fetch_index, proof};
use super::pack::wanted;
use super::sort::{self, Sorter};
use crate::digest::hex;
use crate::error::{Code, Error, Fact, Result};
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::place::Within;
use crate::scratch;
use crate::source::Incoming;
use crate::staging;
use crate::thread;
use crossbeam_channel::{Sender, bounded};
use lifeboat_store::StoreError;
use lifeboat_store::bucket::{Attributes, Bucket, Fetched as Got, Putting};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest size of an object that is put from memory, several at a time.
const SMALL_BYTES: u64 = 1 << 20;
/// Number of small objects put at a time.
const PARALLEL: usize = 8;

/// A bucket, or a part of one, that a source is restored to.
#[derive(Clone)]
pub struct BucketPlace {
    bucket: Bucket,
    /// Prefix of every key there.
    prefix: Vec<u8>,
    index: PathBuf,
    _scratch: Arc<scratch::Directory>,
}

impl BucketPlace {
    /// A place in a bucket, which must hold nothing below the prefix. A spool goes below `scratch`.
    pub fn new(scratch: &Path, bucket: Bucket, prefix: &str) -> Result<Self> {
        let mut prefix = prefix.trim_matches('/').to_owned();
        if !prefix.is_empty() {
            prefix.push('/');
        }
        let found = bucket.peek(prefix.as_bytes()).map_err(target_error)?;
        if !found.is_empty() {
            let message = format!("{}/{prefix} is not empty", bucket.location());
            return Err(Error::new(Code::Target, message)
                .hint("name a new bucket, or a prefix under which there is nothing yet"));
        }
        let scratch = scratch::Directory::create(scratch, "restore")?;
        Ok(BucketPlace {
            bucket,
            prefix: prefix.into_bytes(),
            index: scratch.path().join("index"),
            _scratch: Arc::new(scratch),
        })
    }

    /// Its description for people.
    pub fn describe(&self) -> String {
        let prefix = String::from_utf8_lossy(&self.prefix);
        match prefix.is_empty() {
            true => self.bucket.location().to_owned(),
            false => format!("{prefix} in {}", self.bucket.location()),
        }
    }

    fn key(&self, key: &ObjectKey) -> Vec<u8> {
        [self.prefix.as_slice(), key.bytes()].concat()
    }
}

/// Converts an error of a bucket that is written to.
fn target_error(error: StoreError) -> Error {
    let keyless = matches!(error, StoreError::NoCredentials { .. });
    let error = Error::from(error);
    if error.code == Code::ObjectDamaged {
        return error;
    }
    Error {
        code: Code::Target,
        ..error
    }
    .hint(match keyless {
        true => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add access_key=REFERENCE&secret_key=REFERENCE to the URL"
        }
        false => "check that the bucket exists, and that these credentials may list, get and put there",
    })
}

/// Puts every live object of a source into a bucket.
pub(super) fn to_bucket(incoming: &Incoming<'_>, to: &BucketPlace) -> Result<Vec<String>> {
    fetch_index(incoming, &to.index)?;
    putting(&to.bucket, |put| {
        deliver(incoming, &to.index, &|_| Ok(true), &mut |wanted, reader| {
            put.put(to.key(&wanted.entry.key), &wanted.entry, reader)
        })
    })
}

/// Puts objects, small ones on several threads.
struct Putter<'a> {
    bucket: &'a Bucket,
    small: Sender<(Vec<u8>, Putting, Vec<u8>)>,
    failed: &'a Mutex<Option<Error>>,
}

impl Putter<'_> {
    fn put(&self, key: Vec<u8>, entry: &Entry, reader: &mut (dyn Read + Send)) -> Result<()> {
        if let Some(error) = self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        {
            return Err(error);
        }
        let putting = Putting {
            bytes: entry.bytes,
            attributes: Attributes {
                headers: entry.headers.clone(),
                metadata: entry.metadata.clone(),
            },
            tags: entry.tags.clone(),
        };
        if entry.bytes > SMALL_BYTES {
            return self
                .bucket
                .put(&key, reader, &putting)
                .map_err(target_error);
        }
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| Error::from_io(Code::ObjectDamaged, "an object cannot be read", e))?;
        let gone = |_| Error::new(Code::Target, "the objects cannot be put");
        self.small.send((key, putting, bytes)).map_err(gone)
    }
}

/// Runs `work` with a [`Putter`]. An error of a put is an error of the work.
fn putting<T>(bucket: &Bucket, work: impl FnOnce(&Putter<'_>) -> Result<T>) -> Result<T> {
    let failed = Mutex::new(None);
    let done = std::thread::scope(|scope| {
        let (small, waiting) = bounded::<(Vec<u8>, Putting, Vec<u8>)>(PARALLEL);
        for _ in 0..PARALLEL {
            let waiting = waiting.clone();
            let failed = &failed;
            thread::start_in(scope, move || {
                for (key, putting, bytes) in waiting {
                    let put = bucket.put(&key, &mut bytes.as_slice(), &putting);
                    if let Err(error) = put {
                        let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(target_error(error));
                    }
                }
            })?;
        }
        let putter = Putter {
            bucket,
            small,
            failed: &failed,
        };
        work(&putter)
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => done,
    }
}

/// The proof of what is in a bucket now, read from there, and its differences from the index.
pub(super) fn observe_bucket(
    at: &BucketPlace,
    reporter: &Reporter,
) -> Result<(Proof, Vec<Difference>)> {
    let listed = |entry: &Entry| Listed {
        key: ObjectKey::new(at.key(&entry.key)),
        bytes: entry.bytes,
        ..Listed::default()
    };
    let live = || -> Result<_> {
        let entries = entries(&at.index)?;
        Ok(entries.filter(|e| e.as_ref().is_ok_and(Entry::is_live) || e.is_err()))
    };
    let asked: Vec<u8> = at.prefix.clone();
    let asked = live()?.map_while(Result::ok).flat_map(move |entry| {
        let key = ObjectKey::new([asked.as_slice(), entry.key.bytes()].concat());
        wanted(&Listed {
            key,
            bytes: entry.bytes,
            ..Listed::default()
        })
    });
    let mut pieces = at.bucket.fetch(asked, PARALLEL).map_err(target_error)?;
    let (mut sum, mut named) = (Sum::default(), Named::default());
    for entry in live()? {
        let entry = entry?;
        crate::cancel::check()?;
        let (mut hash, mut observed, mut there) = (Sha256::new(), Entry::default(), true);
        let count = wanted(&listed(&entry)).count();
        for number in 0..count {
            let ended = || Error::new(Code::Target, "the bucket cannot be read back to its end");
            match pieces.next().ok_or_else(ended)? {
                Got::Piece(piece) => {
                    hash.update(&piece.bytes);
                    reporter.advance(piece.bytes.len() as u64);
                    if number == 0 {
                        observed.bytes = piece.head.bytes;
                        observed.headers = piece.head.attributes.headers;
                        observed.metadata = piece.head.attributes.metadata;
                        observed.tags = piece.tags;
                    }
                }
                Got::Failed(error) => return Err(target_error(error)),
                _ => there = false,
            }
        }
        if !there {
            named.missing(&entry);
            continue;
        }
        observed.key = entry.key.clone();
        observed.sha256 = hex(&hash.finalize());
        named.compare(&entry, &observed);
        sum.add(&observed)?;
    }
    Ok((proof(&sum), named.finish()))
}

/// A change to one object of the live bucket.
#[derive(Serialize, Deserialize)]
enum Done {
    /// It was replaced; what was there is kept at this path.
    Replaced(Box<Entry>, PathBuf),
    /// It was not there.
    Made(ObjectKey),
}

/// Objects staged in a directory, to be put into the live bucket.
pub struct Aside {
    /// The live bucket.
    pub bucket: Bucket,
    /// Prefix of the keys that belong to the source.
    pub prefix: String,
    /// The directory of the objects and their index.
    pub own: PathBuf,
    /// The directory that keeps the objects they replace.
    pub keep: PathBuf,
    /// A directory for spools.
    pub scratch: PathBuf,
}

/// Objects that were put into the live bucket, and what was there before.
pub struct Swapped {
    bucket: Bucket,
    keep: PathBuf,
    /// Number of objects that were put.
    pub put: u64,
}

impl Aside {
    /// Puts every object that differs in the live bucket from what was captured. What is there is
    /// fetched and kept first; objects that are there and not in the point are left alone. If this
    /// fails, everything is undone, or the error is about [`Fact::HalfSwapped`].
    pub fn carry_out(&self) -> Result<Swapped> {
        staging::create_directory(&self.keep)?;
        let mut swapped = Swapped {
            bucket: self.bucket.clone(),
            keep: self.keep.clone(),
            put: 0,
        };
        match self.put_all(&mut swapped) {
            Ok(()) => Ok(swapped),
            Err(error) => match swapped.undo() {
                Ok(()) => Err(error),
                Err(worse) => {
                    let cause = error.cause.clone().unwrap_or_default();
                    Err(error
                        .cause(format!("{cause}; and it could not be undone: {worse}"))
                        .about(Fact::HalfSwapped))
                }
            },
        }
    }

    fn put_all(&self, swapped: &mut Swapped) -> Result<()> {
        let spool = scratch::Directory::create(&self.scratch, "live")?;
        let mut sorter = Sorter::new(spool.path(), "listing");
        for page in self
            .bucket
            .list(self.prefix.as_bytes())
            .map_err(target_error)?
        {
            for object in page.map_err(target_error)? {
                let listed = Listed {
                    key: ObjectKey::new(object.key.clone()),
                    bytes: object.bytes,
                    etag: object.etag,
                    modified: object.modified,
                    is_stored: false,
                };
                sorter.push(&object.key, to_line(&listed)?)?;
            }
        }
        let mut listing = sorter.finish()?.peekable();
        let mut notes = open_notes(&self.keep)?;
        let own = Within::open(&self.own)?;
        let mut places = Places::default();
        for entry in entries(&self.own.join(objects::INDEX_NAME))? {
            let entry = entry?;
            if !entry.is_live() {
                continue;
            }
            crate::cancel::check()?;
            if !entry.key.bytes().starts_with(self.prefix.as_bytes()) {
                let message = format!(
                    "the index names {}, which is no key of this source in the bucket",
                    entry.key
                );
                return Err(Error::new(Code::ObjectDamaged, message).hint(
                    "if the source's prefix was changed, restore to a directory or another bucket with --to",
                ));
            }
            let path = places.next(&entry.key);
            let mut there = None;
            while let Some(record) = listing.next_if(|r| match r {
                Ok((key, _)) => key.as_slice() <= entry.key.bytes(),
                Err(_) => true,
            }) {
                let (key, line) = record?;
                if key == entry.key.bytes() {
                    let parsed = serde_json::from_slice::<Listed>(&line);
                    there = Some(
                        parsed
                            .map_err(|e| Error::new(Code::State, "a spool is damaged").cause(e))?,
                    );
                }
            }
            let done = match &there {
                Some(listed) if listed.is(&entry) => continue,
                Some(listed) => self.keep_object(listed, swapped.put)?,
                None => Done::Made(entry.key.clone()),
            };
            // Noted before it is done: undoing a change that was not made does no harm.
            notes
                .write_all(&to_line(&done)?)
                .map_err(|e| sort::unusable(&self.keep, &e))?;
            let mut file = own.file(&path).map_err(|e| {
                let path = self.own.join(&path);
                Error::io(format!("{} cannot be read", path.display()), &e.into())
            })?;
            put_entry(&self.bucket, &entry, &mut file)?;
            swapped.put += 1;
        }
        Ok(())
    }

    /// Fetches and keeps what is in the live bucket now.
    fn keep_object(&self, listed: &Listed, number: u64) -> Result<Done> {
        let path = self.keep.join(format!("{number:08}"));
        let pieces = self.bucket.fetch(wanted(listed), 4).map_err(target_error)?;
        let mut entry = Entry {
            key: listed.key.clone(),
            bytes: listed.bytes,
            ..Entry::default()
        };
        let mut output = sort::create(&path)?;
        for (number, piece) in pieces.enumerate() {
            let piece = match piece {
                Got::Piece(piece) => piece,
                Got::Failed(error) => return Err(target_error(error)),
                Got::Gone if number == 0 => return Ok(Done::Made(listed.key.clone())),
                _ => {
                    let message = format!("{} cannot be kept before it is replaced", listed.key);
                    return Err(Error::new(Code::Target, message)
                        .hint("stop what writes to the bucket (restore.stop), then run again"));
                }
            };
            if number == 0 {
                entry.bytes = piece.head.bytes;
                entry.headers = piece.head.attributes.headers;
                entry.metadata = piece.head.attributes.metadata;
                entry.tags = piece.tags;
            }
            output
                .write_all(&piece.bytes)
                .map_err(|e| sort::unusable(&path, &e))?;
        }
        output.flush().map_err(|e| sort::unusable(&path, &e))?;
        Ok(Done::Replaced(Box::new(entry), path))
    }
}

fn put_entry(bucket: &Bucket, entry: &Entry, file: &mut File) -> Result<()> {
    let putting = Putting {
        bytes: entry.bytes,
        attributes: Attributes {
            headers: entry.headers.clone(),
            metadata: entry.metadata.clone(),
        },
        tags: entry.tags.clone(),
    };
    bucket
        .put(entry.key.bytes(), file, &putting)
        .map_err(target_error)
}

const NOTES: &str = "notes.ndjson";

fn open_notes(keep: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(keep.join(NOTES))
        .map_err(|e| sort::unusable(keep, &e))
}

impl Swapped {
    /// What an earlier process put, by its notes; `None` if there are none.
    pub fn noted(bucket: Bucket, keep: &Path) -> Option<Swapped> {
        let notes = File::open(keep.join(NOTES)).ok()?;
        let notes = Lines::<_, Done>::new(notes, "the notes of what was replaced");
        Some(Swapped {
            bucket,
            keep: keep.to_owned(),
            put: notes.filter(std::result::Result::is_ok).count() as u64,
        })
    }

    /// The place that keeps the replaced objects, if any were replaced.
    pub fn kept(&self) -> Option<String> {
        (self.put > 0).then(|| self.keep.display().to_string())
    }

    /// Puts back what was replaced, and removes what was new.
    pub fn undo(&self) -> Result<()> {
        let file = File::open(self.keep.join(NOTES)).map_err(|e| sort::unusable(&self.keep, &e))?;
        for done in Lines::<_, Done>::new(file, "the notes of what was replaced") {
            match done? {
                Done::Made(key) => self.bucket.delete(key.bytes()).map_err(target_error)?,
                Done::Replaced(entry, path) => {
                    let mut file = File::open(&path).map_err(|e| sort::unusable(&path, &e))?;
                    put_entry(&self.bucket, &entry, &mut file)?;
                }
            }
        }
        staging::remove(&self.keep);
        Ok(())
    }
}
