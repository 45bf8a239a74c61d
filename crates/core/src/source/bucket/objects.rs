//! Restores the objects of a bucket into a directory, each checked by its own hash.
//!
//! Packs are read one after the other, and from each only what the index names; no more than one
//! entry is held. A damaged pack costs only those of its objects that are damaged.

use super::INDEX;
use super::index::{Entry, Lines, Sum, to_line};
use super::key::{ObjectKey, Places};
use super::sort::{Sorted, Sorter};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Difference, Fingerprint, Inventory, Proof};
use crate::observe::Reporter;
use crate::place::{self, Within};
use crate::scratch;
use crate::source::Incoming;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::iter::Peekable;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Name of the index, beside the objects.
pub(crate) const INDEX_NAME: &str = "index.ndjson";
/// Number of differences that are named one by one.
const NAMED_MAX: usize = 10_000;

/// An object on its way into a directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// Its entry in the index.
    pub entry: Entry,
    /// Its path in a directory.
    place: ObjectKey,
}

impl Wanted {
    fn path(&self) -> PathBuf {
        OsString::from_vec(self.place.bytes().to_vec()).into()
    }
}

/// A consumer of objects: called with each object and a reader that checks its bytes. If it fails,
/// the object could not be placed.
pub(super) type Take<'a> = &'a mut dyn FnMut(&Wanted, &mut (dyn Read + Send)) -> Result<()>;

/// Writes the index and every live object of a source below `own`. Returns warnings that name what
/// is damaged; an error means that nothing was restored.
pub(super) fn to_directory(incoming: &Incoming<'_>, own: &Within) -> Result<Vec<String>> {
    let index = own.path().join(INDEX_NAME);
    fetch_index(incoming, &index)?;
    deliver(incoming, &index, &|_| Ok(true), &mut |wanted, reader| {
        write(own, &wanted.path(), reader)
    })
}

/// Fetches the index of a source to a new file, and checks it to its end.
pub(super) fn fetch_index(incoming: &Incoming<'_>, to: &Path) -> Result<()> {
    place::write_file(&mut incoming.open(INDEX)?, to, 0o600)?;
    Ok(())
}

/// The entries of an index file.
pub(crate) fn entries(index: &Path) -> Result<Lines<File, Entry>> {
    let file = File::open(index)
        .map_err(|e| Error::io(format!("{} cannot be read", index.display()), &e))?;
    Ok(Lines::new(file, index.display().to_string()))
}

/// Passes every live object that `wants` accepts to `take`, pack after pack.
pub(super) fn deliver(
    incoming: &Incoming<'_>,
    index: &Path,
    wants: &dyn Fn(&Entry) -> Result<bool>,
    take: Take<'_>,
) -> Result<Vec<String>> {
    let spool = scratch::Directory::create(incoming.scratch, "objects")?;
    let mut wanted = by_pack(index, spool.path(), wants)?.peekable();
    let (mut warnings, mut first, mut whole) = (Vec::new(), None, 0);
    while let Some(pack) = next_pack(&mut wanted)? {
        crate::cancel::check()?;
        let taken = unpack(incoming, &pack, &mut wanted, take);
        match taken {
            Ok(()) => whole += 1,
            Err(error) if matches!(error.code, Code::Target | Code::Interrupted | Code::State) => {
                return Err(error);
            }
            Err(error) => {
                warnings.push(error.to_string());
                first.get_or_insert(error);
                // The rest of that pack cannot be read.
                while next_pack(&mut wanted)?.as_ref() == Some(&pack) {
                    wanted.next();
                }
            }
        }
    }
    match first {
        Some(error) if whole == 0 => Err(error),
        _ => Ok(warnings),
    }
}

/// The live objects sorted by pack, and within a pack by offset.
fn by_pack(index: &Path, spool: &Path, wants: &dyn Fn(&Entry) -> Result<bool>) -> Result<Sorted> {
    let mut sorter = Sorter::new(spool, "wanted");
    let mut places = Places::default();
    for entry in entries(index)? {
        let entry = entry?;
        if !entry.is_live() {
            continue;
        }
        let place = places.next(&entry.key);
        if !wants(&entry)? {
            continue;
        }
        let mut key = entry.pack.clone().into_bytes();
        key.push(0);
        key.extend(entry.offset.to_be_bytes());
        let place = ObjectKey::new(place.into_os_string().into_vec());
        sorter.push(&key, to_line(&Wanted { entry, place })?)?;
    }
    sorter.finish()
}

fn parse(line: &[u8]) -> Result<Wanted> {
    serde_json::from_slice(line).map_err(|e| {
        Error::new(Code::State, "a spool in the scratch directory is damaged").cause(e)
    })
}

/// The pack of the next object.
fn next_pack(wanted: &mut Peekable<Sorted>) -> Result<Option<String>> {
    match wanted.peek() {
        None => Ok(None),
        Some(Err(error)) => Err(error.clone()),
        Some(Ok((key, _))) => {
            let name = key.split(|b| *b == 0).next().unwrap_or_default();
            Ok(Some(String::from_utf8_lossy(name).into_owned()))
        }
    }
}

/// Passes on the wanted objects of one pack. Fails if the pack cannot be read, or if objects in it
/// differ from the index.
fn unpack(
    incoming: &Incoming<'_>,
    pack: &str,
    wanted: &mut Peekable<Sorted>,
    take: Take<'_>,
) -> Result<()> {
    let artifact = incoming.artifact(pack).map_err(|_| {
        let message = format!("the index names {pack}, which the manifest does not");
        Error::new(Code::ObjectDamaged, message)
    })?;
    let mut reader = (incoming.open)(artifact)?;
    let unread = |e| Error::from_io(Code::ObjectDamaged, format!("{pack} cannot be read"), e);
    let (mut at, mut damaged) = (0, None);
    while next_pack(wanted)?.as_deref() == Some(pack) {
        let Some(record) = wanted.next() else { break };
        let one = parse(&record?.1)?;
        // The index gives the offset of its bytes; the tar around them is for stock tools.
        let before = one.entry.offset.saturating_sub(at);
        let skipped = io::copy(&mut Read::take(&mut reader, before), &mut io::sink());
        if skipped.map_err(unread)? < before || one.entry.offset < at {
            let message = format!("{pack} ends before {}", one.entry.key);
            return Err(Error::new(Code::ObjectDamaged, message));
        }
        let mut checked = Checked {
            inner: Read::take(&mut reader, one.entry.bytes),
            hash: Sha256::new(),
            bytes: 0,
            entry: &one.entry,
            ended: false,
        };
        match take(&one, &mut checked) {
            Ok(()) => {}
            Err(error) if error.code == Code::ObjectDamaged => {
                damaged.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        at = one.entry.offset + checked.bytes;
    }
    // The reader compares the whole with the manifest at its end.
    io::copy(&mut reader, &mut io::sink()).map_err(unread)?;
    damaged.map_or(Ok(()), Err)
}

/// A reader that ends in an error if an object differs from the index.
struct Checked<'a, R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
    entry: &'a Entry,
    ended: bool,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::cancel::check()?;
        let count = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        if count > 0 || buffer.is_empty() || self.ended {
            return Ok(count);
        }
        self.ended = true;
        let digest = std::mem::take(&mut self.hash).finalize();
        let sha256 = hex(&digest);
        if self.bytes == self.entry.bytes && sha256 == self.entry.sha256 {
            return Ok(0);
        }
        let message = format!("the stored object {} is damaged", self.entry.key);
        let cause = format!("SHA-256 is {sha256}, the index says {}", self.entry.sha256);
        Err(Error::new(Code::ObjectDamaged, message).cause(cause).into())
    }
}

/// Writes a new file. It is not synced: the caller syncs everything at once, or does not need it.
fn write(own: &Within, place: &Path, reader: &mut dyn Read) -> Result<()> {
    let failed = |e: &io::Error| {
        Error::new(
            Code::Target,
            format!("{} cannot be written", own.path().join(place).display()),
        )
        .cause(e)
        .hint("check the permissions and the space there, or name another target")
    };
    let mut file = own.new_file(place)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => {
                // A damaged object must not look whole.
                own.remove(place);
                return Err(Error::from_io(
                    Code::ObjectDamaged,
                    "an object cannot be read",
                    error,
                ));
            }
        };
        file.write_all(buffer.get(..count).unwrap_or_default())
            .map_err(|e| failed(&e))?;
    }
}

/// The proof of a directory's objects, and their differences from the index there, by name.
pub(super) fn observe_directory(
    own: &Path,
    reporter: &Reporter,
) -> Result<(Proof, Vec<Difference>)> {
    let within = Within::open(own)?;
    let mut places = Places::default();
    let (mut sum, mut named) = (Sum::default(), Named::default());
    for entry in entries(&own.join(INDEX_NAME))? {
        let entry = entry?;
        if !entry.is_live() {
            continue;
        }
        crate::cancel::check()?;
        let path = places.next(&entry.key);
        match hash(&within, &path, reporter) {
            Ok(Some((bytes, sha256))) => {
                let observed = Entry {
                    bytes,
                    sha256,
                    ..entry.clone()
                };
                named.compare(&entry, &observed);
                sum.add(&observed)?;
            }
            Ok(None) => named.missing(&entry),
            Err(error) => {
                let doing = format!(
                    "{} cannot be read back",
                    own.join(path).as_os_str().as_bytes().escape_ascii()
                );
                return Err(Error::io(doing, &error));
            }
        }
    }
    Ok((proof(&sum), named.finish()))
}

/// The proof made of a sum.
pub(super) fn proof(sum: &Sum) -> Proof {
    Proof {
        fingerprint: Fingerprint::Objects(sum.finish()),
        inventory: Inventory::None,
    }
}

fn hash(own: &Within, place: &Path, reporter: &Reporter) -> io::Result<Option<(u64, String)>> {
    let mut file = match own.file(place) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
    }
    reporter.advance(bytes);
    let digest = hash.finalize();
    Ok(Some((bytes, hex(&digest))))
}

/// Differences by name, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Named {
    found: Vec<Difference>,
    more: u64,
}

impl Named {
    fn push(&mut self, subject: String, expected: String, observed: String) {
        if self.found.len() >= NAMED_MAX {
            self.more += 1;
            return;
        }
        self.found.push(Difference {
            subject,
            expected,
            observed,
        });
    }

    /// Adds an object that is missing.
    pub(super) fn missing(&mut self, entry: &Entry) {
        self.push(
            format!("object {}", entry.key),
            "present".into(),
            "missing".into(),
        );
    }

    /// Compares an object that exists with the one that is expected.
    pub(super) fn compare(&mut self, expected: &Entry, observed: &Entry) {
        let mut differ = |what: &str, a: String, b: String| {
            if a != b {
                self.push(format!("{what} of object {}", expected.key), a, b);
            }
        };
        differ(
            "size",
            expected.bytes.to_string(),
            observed.bytes.to_string(),
        );
        differ("content", expected.sha256.clone(), observed.sha256.clone());
        for (what, a, b) in [
            ("headers", &expected.headers, &observed.headers),
            ("metadata", &expected.metadata, &observed.metadata),
            ("tags", &expected.tags, &observed.tags),
        ] {
            differ(what, format!("{a:?}"), format!("{b:?}"));
        }
    }

    /// Returns all differences.
    pub(super) fn finish(mut self) -> Vec<Difference> {
        if self.more > 0 {
            let more = format!("{} more objects", self.more);
            self.push_last(more);
        }
        self.found
    }

    fn push_last(&mut self, subject: String) {
        self.found.push(Difference {
            subject,
            expected: "as captured".into(),
            observed: "different".into(),
        });
    }
}
