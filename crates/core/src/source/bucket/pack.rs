//! Writes objects into packs: tars of objects that are fetched as they are needed.
//!
//! Several requests run at a time, and of their answers no more than one piece each is in memory.
//! An object that changes while it is written breaks off the pack: nothing torn is ever stored, and
//! the pack is written again without it.

use super::index::{Entry, Lines};
use super::merge::{Listed, Step};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::point::Skipped;
use lifeboat_store::bucket::{Bucket, Fetched, Piece, Pieces, Wanted};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Size of a piece. Larger objects come in several pieces, so that memory is bounded.
pub const PIECE_BYTES: u64 = 1 << 20;
/// Limit on the objects of one pack: their entries are in memory while it is written.
const OBJECTS_MAX: usize = 10_000;
/// Size of a block of a tar.
const BLOCK: usize = 512;
const BLOCK_BYTES: u64 = BLOCK as u64;

/// Objects to fetch: those of the steps, or a few that are tried again.
#[derive(Clone)]
pub enum Work {
    /// The objects to fetch among the steps in this file.
    Steps(PathBuf),
    /// These objects.
    Again(Arc<[Listed]>),
}

impl Work {
    /// The objects after the first `done`.
    fn objects(&self, done: u64) -> Result<Box<dyn Iterator<Item = Result<Listed>> + Send>> {
        let done = usize::try_from(done).unwrap_or(usize::MAX);
        Ok(match self {
            Work::Steps(path) => {
                let steps = steps(path)?.filter_map(|step| match step {
                    Ok(Step::Fetch(listed, _)) => Some(Ok(listed)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                });
                Box::new(steps.skip(done))
            }
            Work::Again(objects) => {
                let objects = Arc::clone(objects);
                let count = objects.len();
                Box::new((done..count).filter_map(move |at| objects.get(at).cloned().map(Ok)))
            }
        })
    }
}

/// Reads the steps of a file.
pub fn steps(path: &Path) -> Result<Lines<File, Step>> {
    let file = File::open(path).map_err(|e| super::sort::unusable(path, &e))?;
    Ok(Lines::new(file, path.display().to_string()))
}

/// Number of pieces of an object.
fn pieces_of(bytes: u64) -> u64 {
    bytes.div_ceil(PIECE_BYTES).max(1)
}

/// The requests for the pieces of an object.
pub fn wanted(listed: &Listed) -> impl Iterator<Item = Wanted> + Send + use<> {
    let count = pieces_of(listed.bytes);
    let listed = listed.clone();
    (0..count).map(move |number| {
        let first = number * PIECE_BYTES;
        let one = count == 1;
        let length = (listed.bytes - first).min(PIECE_BYTES);
        Wanted {
            key: listed.key.bytes().to_vec(),
            // A single request is answered with a single version, whichever it is by now.
            etag: (!one && !listed.etag.is_empty()).then(|| listed.etag.clone()),
            range: (!one).then_some((first, length)),
            bytes_max: PIECE_BYTES,
        }
    })
}

/// The reason why an object could not be stored as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// It no longer exists.
    Gone(Listed),
    /// It cannot be read, for the given reason.
    Refused(Listed, String),
    /// It has changed: try again.
    Changed(Listed),
}

/// A queue of objects being fetched, in order.
pub struct Feed {
    bucket: Bucket,
    parallel: usize,
    work: Work,
    objects: Box<dyn Iterator<Item = Result<Listed>> + Send>,
    pieces: Pieces,
    /// Number of objects taken from the work so far.
    taken: u64,
    /// The next readable object, with its first piece.
    ready: Option<(Listed, Piece)>,
    /// Objects that could not be stored.
    pub missed: Vec<Missed>,
    /// The position in the work where the current pack begins.
    begun: (u64, usize),
    /// Objects that changed while the pack was written: left out when it is written again.
    torn: Vec<Listed>,
    /// The error that stopped fetching; returned once the current pack is stored.
    broken: Option<Error>,
}

/// The contents of a pack.
#[derive(Debug, Default)]
pub struct Packed {
    /// Its objects, in order.
    pub entries: Vec<Entry>,
}

impl Feed {
    /// Begins fetching.
    pub fn start(bucket: &Bucket, parallel: usize, work: Work) -> Result<Self> {
        let (objects, pieces) = open(bucket, parallel, &work, 0)?;
        Ok(Feed {
            bucket: bucket.clone(),
            parallel,
            work,
            objects,
            pieces,
            taken: 0,
            ready: None,
            missed: Vec::new(),
            begun: (0, 0),
            torn: Vec::new(),
            broken: None,
        })
    }

    /// Goes on to the next readable object. Returns false if there is none.
    fn prepare(&mut self) -> Result<bool> {
        while self.ready.is_none() {
            crate::cancel::check()?;
            let Some(listed) = self.objects.next() else {
                return Ok(false);
            };
            let listed = listed?;
            self.taken += 1;
            let is_torn = self.torn.iter().any(|t| t.key == listed.key);
            let many = pieces_of(listed.bytes) > 1;
            match self.piece()? {
                Fetched::Piece(piece)
                    if !is_torn && (!many || piece.head.bytes == listed.bytes) =>
                {
                    self.ready = Some((listed, piece));
                    continue;
                }
                Fetched::Piece(_) | Fetched::Changed => {
                    self.missed.push(Missed::Changed(listed.clone()));
                }
                Fetched::Gone => self.missed.push(Missed::Gone(listed.clone())),
                Fetched::Refused(why) => {
                    self.missed.push(Missed::Refused(listed.clone(), why));
                }
                Fetched::Failed(error) => return Err(error.into()),
            }
            for _ in 1..pieces_of(listed.bytes) {
                self.piece()?;
            }
        }
        Ok(true)
    }

    fn piece(&mut self) -> Result<Fetched> {
        self.pieces.next().ok_or_else(|| {
            Error::new(Code::SourceFailed, "the objects ended before their time")
                .hint("check the disk of the state directory, then run again")
        })
    }

    /// Prepares the next pack. Returns false if nothing is left.
    pub fn begin(&mut self) -> Result<bool> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let waiting = u64::from(self.ready.is_some());
        self.begun = (self.taken - waiting, self.missed.len());
        self.prepare()
    }

    /// Rewinds after a pack broke off. Returns true if the reason was a changed object, so that the
    /// pack can be written again without it.
    pub fn rewind(&mut self, torn_before: usize) -> Result<bool> {
        if self.torn.len() == torn_before {
            return Ok(false);
        }
        let (taken, missed) = self.begun;
        (self.objects, self.pieces) = open(&self.bucket, self.parallel, &self.work, taken)?;
        self.taken = taken;
        self.missed.truncate(missed);
        self.ready = None;
        self.broken = None;
        Ok(true)
    }

    /// Size of the first object of the next pack.
    pub fn next_bytes(&self) -> u64 {
        self.ready.as_ref().map_or(0, |(_, piece)| piece.head.bytes)
    }

    /// Number of objects that broke off a pack so far.
    pub fn torn(&self) -> usize {
        self.torn.len()
    }

    /// Writes objects into one tar until it has about `bytes_full` bytes.
    pub fn write(
        &mut self,
        name: &str,
        bytes_full: u64,
        output: &mut dyn Write,
        passed: &dyn Fn(u64),
    ) -> Result<Packed> {
        let mut packed = Packed::default();
        let mut at = 0;
        while at < bytes_full {
            match self.prepare() {
                Ok(true) => {}
                Ok(false) => break,
                // The objects before it are whole, and need not be fetched again.
                Err(error) if at > 0 => {
                    self.broken = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
            let Some((listed, first)) = self.ready.take() else {
                break;
            };
            let bytes = first.head.bytes;
            let full = at + bytes > bytes_full || packed.entries.len() >= OBJECTS_MAX;
            if at > 0 && full {
                self.ready = Some((listed, first));
                break;
            }
            let entry = self.object(&listed, first, name, at + BLOCK_BYTES, output, passed)?;
            at += BLOCK_BYTES + bytes.next_multiple_of(BLOCK_BYTES);
            packed.entries.push(entry);
        }
        // Two empty blocks end a tar.
        write(output, &[0; 2 * BLOCK])?;
        Ok(packed)
    }

    fn object(
        &mut self,
        listed: &Listed,
        first: Piece,
        pack: &str,
        offset: u64,
        output: &mut dyn Write,
        passed: &dyn Fn(u64),
    ) -> Result<Entry> {
        let head = first.head;
        let member = listed.key.member();
        write(output, &header(&member, head.bytes, head.modified)?)?;
        let mut hash = Sha256::new();
        let mut piece = first.bytes;
        for number in 0..pieces_of(listed.bytes) {
            if number > 0 {
                piece = match self.piece()? {
                    Fetched::Piece(next) if next.head.etag == head.etag => next.bytes,
                    Fetched::Failed(error) => return Err(error.into()),
                    _ => {
                        self.torn.push(listed.clone());
                        let message = format!("{} changed while it was copied", listed.key);
                        return Err(Error::new(Code::SourceFailed, message));
                    }
                };
            }
            hash.update(&piece);
            write(output, &piece)?;
            passed(piece.len() as u64);
        }
        let padding = head.bytes.next_multiple_of(BLOCK_BYTES) - head.bytes;
        let zeros = [0; BLOCK];
        let padding = usize::try_from(padding).unwrap_or(0);
        write(output, zeros.get(..padding).unwrap_or_default())?;
        let digest = hash.finalize();
        Ok(Entry {
            key: listed.key.clone(),
            bytes: head.bytes,
            sha256: hex(&digest),
            etag: head.etag,
            modified: if head.modified == 0 {
                listed.modified
            } else {
                head.modified
            },
            version: head.version,
            headers: head.attributes.headers,
            metadata: head.attributes.metadata,
            tags: first.tags,
            pack: pack.to_owned(),
            member,
            offset,
            gone: None,
        })
    }
}

type Opened = (Box<dyn Iterator<Item = Result<Listed>> + Send>, Pieces);

fn open(bucket: &Bucket, parallel: usize, work: &Work, done: u64) -> Result<Opened> {
    let asked = work.objects(done)?;
    // The iterator beside this one meets the same error, and returns it.
    let wanted = asked.map_while(Result::ok).flat_map(|l| wanted(&l));
    Ok((work.objects(done)?, bucket.fetch(wanted, parallel)?))
}

fn write(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output
        .write_all(bytes)
        .map_err(|e| Error::from_io(Code::Store, "a pack cannot be passed on", e))
}

fn header(member: &str, bytes: u64, modified: i64) -> Result<[u8; BLOCK]> {
    let mut header = tar::Header::new_gnu();
    header
        .set_path(member)
        .map_err(|e| Error::io("a name does not fit into a tar", &e))?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(modified).unwrap_or(0));
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Number of objects left out that are named; the others are only counted.
const NAMED_MAX: usize = 1000;

/// A list of what was left out: each by name, up to a limit.
#[derive(Debug, Default)]
pub struct LeftOut {
    named: Vec<Skipped>,
    more: u64,
}

impl LeftOut {
    /// Adds an object.
    pub fn push(&mut self, name: String, reason: String, partial: bool) {
        if self.named.len() < NAMED_MAX {
            self.named.push(Skipped {
                name,
                reason,
                partial,
            });
        } else {
            self.more += u64::from(partial);
        }
    }

    /// Returns the list.
    pub fn finish(mut self) -> Vec<Skipped> {
        if self.more > 0 {
            self.named.push(Skipped {
                name: format!("{} more objects", self.more),
                reason: "for reasons as above".into(),
                partial: true,
            });
        }
        self.named
    }
}
