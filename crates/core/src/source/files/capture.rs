//! Captures a tree: one walk writes the archive and its proof together.

use super::attributes;
use super::extent::{data_extents, may_have_holes};
use super::walk::{Entry, Visitor};
use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use crate::point::Skipped;
use crate::source::CaptureContext;
use crate::sqlite::{self, Opened, Spool};
use crate::tree::sums::{Attributes, ContentHash, FilesSums, Meta, What, escape};
use crate::tree::tape::{Body, Head, TapeWriter};
use lifeboat_repository::aside;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Stat, fstat};
use rustix::io::{Errno, pread};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::EntryType;

/// Bytes read at a time. Files up to this size are read whole before their header is written.
const READ_BYTES: usize = 1 << 20;
/// How often a small file that changes is read.
const ATTEMPTS_MAX: u32 = 3;
/// Limit on the attributes of one entry. More are refused, as the reader refuses them.
const ATTRIBUTE_BYTES_MAX: usize = 4 << 20;

/// A running capture: it walks and writes.
pub(super) struct Capture<'a> {
    tape: TapeWriter<'a>,
    sums: FilesSums,
    context: &'a CaptureContext<'a>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) warnings: Vec<String>,
    /// First names of files that have several: (device, inode) → path.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    /// Databases that the backup interface refused. Their companions are captured as plain files.
    plain_databases: BTreeSet<Vec<u8>>,
    is_root: &'a dyn Fn(&[u8]) -> bool,
    buffer: Vec<u8>,
    attribute_buffer: Vec<u8>,
}

/// What happened to a file while it was read.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Same,
    /// It grew at its end, as logs do; its original length was captured.
    Grew,
    /// It was written to or truncated: what was captured may never have been its content.
    Changed,
    /// Reading failed; the rest is zeros.
    Unreadable(Errno),
}

fn fate(before: &Stat, after: &Stat) -> Fate {
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    if after.st_size > before.st_size {
        Fate::Grew
    } else if after.st_size < before.st_size || time(before) != time(after) {
        Fate::Changed
    } else {
        Fate::Same
    }
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Reads at `offset` until `buffer` is full or the file ends.
pub(super) fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn not_written(error: io::Error) -> Error {
    Error::from_io(Code::Io, "the archive cannot be written", error)
}

impl<'a> Capture<'a> {
    pub(super) fn new(
        output: &'a mut dyn Write,
        context: &'a CaptureContext<'a>,
        is_root: &'a dyn Fn(&[u8]) -> bool,
    ) -> Self {
        Capture {
            tape: TapeWriter::new(output),
            sums: FilesSums::new(),
            context,
            skipped: Vec::new(),
            warnings: Vec::new(),
            first_names: HashMap::new(),
            plain_databases: BTreeSet::new(),
            is_root,
            buffer: vec![0; READ_BYTES],
            attribute_buffer: Vec::new(),
        }
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<(Proof, Vec<Skipped>, Vec<String>)> {
        self.tape.finish().map_err(not_written)?;
        Ok((self.sums.finish(), self.skipped, self.warnings))
    }

    fn skip(&mut self, path: &[u8], reason: impl Into<String>, partial: bool) {
        self.skipped.push(Skipped {
            name: format!("/{}", escape(path)),
            reason: reason.into(),
            partial,
        });
    }

    fn warn(&mut self, path: &[u8], what: &str) {
        self.warnings.push(format!("/{} {what}", escape(path)));
    }

    /// Returns attributes that can be stored, and reports the others.
    fn accept(&mut self, path: &[u8], found: Result<Attributes, Errno>) -> Attributes {
        let attributes = match found {
            Ok(attributes) => attributes,
            Err(error) => {
                self.skip(
                    path,
                    format!("its attributes cannot be read: {error}"),
                    true,
                );
                return Attributes::default();
            }
        };
        let bytes: usize = attributes.0.iter().map(|(n, v)| n.len() + v.len()).sum();
        if bytes > ATTRIBUTE_BYTES_MAX {
            self.skip(path, format!("its attributes are {bytes} bytes long"), true);
            return Attributes::default();
        }
        attributes
    }

    /// Writes an entry that has no data.
    fn bare(
        &mut self,
        path: &[u8],
        stat: &Stat,
        attributes: &Attributes,
        what: &What<'_>,
    ) -> Result<()> {
        let (kind, link): (EntryType, &[u8]) = match what {
            What::Directory => (EntryType::Directory, b""),
            What::Symlink { target } => (EntryType::Symlink, target),
            What::Hardlink { first } => (EntryType::Link, first),
            What::File { .. } => (EntryType::Regular, b""),
        };
        let head = Head {
            kind,
            link,
            links: 1,
            ..head(path, stat, attributes)
        };
        self.tape
            .begin(&head, &Body::Plain(0))
            .and_then(|()| self.tape.end())
            .map_err(not_written)?;
        self.sums.add(&meta(path, stat, attributes), what);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry<'_>) -> Result<()> {
        let target = match rustix::fs::readlinkat(entry.directory, entry.name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                return self.trouble(entry.path, &format!("cannot be read: {error}"));
            }
        };
        if (self.is_root)(entry.path) {
            let what = "is a symbolic link: the link is kept, not what it points to";
            self.warn(entry.path, what);
        }
        let none = Attributes::default();
        self.bare(
            entry.path,
            &entry.stat,
            &none,
            &What::Symlink { target: &target },
        )
    }

    fn regular(&mut self, entry: &Entry<'_>) -> Result<()> {
        let id = (entry.stat.st_dev, entry.stat.st_ino);
        if let Some(first) = self
            .first_names
            .get(&id)
            .filter(|_| entry.stat.st_nlink > 1)
        {
            let first = first.clone();
            // The attributes are stored with the first name; the proof has them for both names.
            let found =
                attributes::read_unopened(entry.directory, entry.name, &mut self.attribute_buffer);
            let attributes = self.accept(entry.path, found);
            return self.bare(
                entry.path,
                &entry.stat,
                &attributes,
                &What::Hardlink { first: &first },
            );
        }
        if self.is_companion(entry) {
            let reason = "belongs to the database beside it, which was taken whole";
            self.skip(entry.path, reason, false);
            return Ok(());
        }
        let taken = match sqlite::open_unless_database(entry.directory, entry.name, &entry.stat) {
            Ok(Opened::Database) => self.database(entry)?,
            Ok(Opened::Plain(file)) => self.plain(entry.path, &file)?,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                return self.trouble(entry.path, &format!("cannot be opened: {error}"));
            }
        };
        if taken && entry.stat.st_nlink > 1 {
            self.first_names.insert(id, entry.path.to_vec());
        }
        Ok(())
    }

    /// Returns true if this is the log, index or journal of a database that is captured through
    /// SQLite.
    fn is_companion(&self, entry: &Entry<'_>) -> bool {
        let name = entry.name.as_bytes();
        let base = |ending: &&str| name.strip_suffix(ending.as_bytes());
        let Some(base) = sqlite::COMPANIONS.iter().find_map(base) else {
            return false;
        };
        let ending = name.len() - base.len();
        let path = entry
            .path
            .get(..entry.path.len() - ending)
            .unwrap_or_default();
        if self.plain_databases.contains(path) {
            // Without an index SQLite makes a new one; an old one may mislead it.
            return name.ends_with(b"-shm");
        }
        let base = OsStr::from_bytes(base);
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(entry.directory, base, nofollow).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && matches!(
                    sqlite::open_unless_database(entry.directory, base, &stat),
                    Ok(Opened::Database)
                )
        })
    }

    /// Captures a live database through SQLite's backup interface. Returns true if anything was
    /// captured.
    fn database(&mut self, entry: &Entry<'_>) -> Result<bool> {
        let mut path = b"/".to_vec();
        path.extend_from_slice(entry.path);
        let spool = Spool::new(self.context.scratch);
        let error = match sqlite::backup(Path::new(OsStr::from_bytes(&path)), spool.path()) {
            Ok(warnings) => {
                self.warnings.extend(warnings);
                return self.copied_database(entry, &spool);
            }
            Err(error) if error.code == Code::SourceMissing => return Ok(false),
            Err(error) if error.code == Code::Io => return Err(error),
            Err(error) => error,
        };
        self.plain_databases.insert(entry.path.to_vec());
        let file = match sqlite::open_plain(entry.directory, entry.name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(false),
            Err(open) => {
                self.trouble(entry.path, &format!("cannot be opened: {open}"))?;
                return Ok(false);
            }
        };
        let reason = format!("SQLite cannot copy it, so its bytes were taken as they are: {error}");
        self.warn(
            entry.path,
            "begins as a SQLite database and is not a whole one",
        );
        self.skip(entry.path, reason, true);
        self.plain(entry.path, &file)
    }

    fn copied_database(&mut self, entry: &Entry<'_>, spool: &Spool) -> Result<bool> {
        let file = sqlite::open_plain(rustix::fs::CWD, spool.path().as_os_str())
            .map_err(|e| Error::io("the copy of a database cannot be read", &e.into()))?;
        let stat = fstat(&file)
            .map_err(|e| Error::io("the copy of a database cannot be read", &e.into()))?;
        let found =
            attributes::read_unopened(entry.directory, entry.name, &mut self.attribute_buffer);
        let attributes = self.accept(entry.path, found);
        let fate = self.stream(
            &head(entry.path, &entry.stat, &attributes),
            &meta(entry.path, &entry.stat, &attributes),
            &file,
            &stat,
        )?;
        if let Fate::Unreadable(error) = fate {
            return Err(Error::io(
                "the copy of a database cannot be read",
                &error.into(),
            ));
        }
        self.warn(
            entry.path,
            "is a SQLite database: it was taken through SQLite's backup interface",
        );
        Ok(true)
    }

    /// Captures a file as it is. Returns true if anything was captured.
    fn plain(&mut self, path: &[u8], file: &OwnedFd) -> Result<bool> {
        let stat = match fstat(file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
            // Something of another kind took the name after the walk saw it.
            Ok(_) => {
                self.trouble(path, "became something else while it was looked at")?;
                return Ok(false);
            }
            Err(error) => {
                self.trouble(path, &format!("cannot be looked at: {error}"))?;
                return Ok(false);
            }
        };
        let found = attributes::read(file, &mut self.attribute_buffer);
        let attributes = self.accept(path, found);
        let small = size_of(&stat) < READ_BYTES as u64;
        let sparse = may_have_holes(&stat, size_of(&stat));
        let fate = if small && !sparse {
            match self.small(path, file, stat, &attributes)? {
                Some(fate) => fate,
                None => return Ok(false),
            }
        } else {
            let (head, meta) = (
                head(path, &stat, &attributes),
                meta(path, &stat, &attributes),
            );
            self.stream(&head, &meta, file, &stat)?
        };
        match fate {
            Fate::Same => {}
            Fate::Grew => self.warn(path, "grew while it was read: it was cut at its first size"),
            Fate::Changed => {
                let reason = "changed while it was read: its content may be torn";
                self.skip(path, reason, true);
            }
            Fate::Unreadable(error) => {
                let reason =
                    format!("cannot be read to its end, zeros stand for the rest: {error}");
                self.skip(path, reason, true);
            }
        }
        Ok(true)
    }

    /// Captures a file that fits the buffer: it is read until it stops changing, then written.
    /// `None` if it cannot be read at all.
    fn small(
        &mut self,
        path: &[u8],
        file: &OwnedFd,
        mut stat: Stat,
        attributes: &Attributes,
    ) -> Result<Option<Fate>> {
        let mut attempt = 0;
        let (length, fate) = loop {
            attempt += 1;
            let read = read_at(file, &mut self.buffer, 0);
            let after = fstat(file);
            let (length, after) = match (read, after) {
                (Ok(length), Ok(after)) => (length, after),
                (Err(error), _) | (_, Err(error)) => {
                    self.trouble(path, &format!("cannot be read: {error}"))?;
                    return Ok(None);
                }
            };
            let mut fate = fate(&stat, &after);
            // Bytes were added while it was read.
            if fate == Fate::Same && length as u64 != size_of(&after) {
                fate = Fate::Changed;
            }
            if fate == Fate::Same || attempt == ATTEMPTS_MAX {
                break (length, fate);
            }
            stat = after;
            if size_of(&stat) >= READ_BYTES as u64 {
                let (head, meta) = (head(path, &stat, attributes), meta(path, &stat, attributes));
                return self.stream(&head, &meta, file, &stat).map(Some);
            }
        };
        let mut hash = ContentHash::new();
        let content = self.buffer.get(..length).unwrap_or_default();
        hash.data(content);
        self.tape
            .begin(&head(path, &stat, attributes), &Body::Plain(length as u64))
            .and_then(|()| self.tape.data(content))
            .and_then(|()| self.tape.end())
            .map_err(not_written)?;
        self.context.reporter.advance(length as u64);
        let (bytes, hash) = hash.finish();
        self.sums
            .add(&meta(path, &stat, attributes), &What::File { bytes, hash });
        Ok(Some(fate))
    }

    /// Captures a file of any size, piece by piece, with holes as holes, at the size first seen.
    fn stream(
        &mut self,
        head: &Head<'_>,
        meta: &Meta<'_>,
        file: &OwnedFd,
        stat: &Stat,
    ) -> Result<Fate> {
        let size = size_of(stat);
        // If the file system does not report holes, the whole file is read.
        let extents = data_extents(file, stat, size).ok().flatten();
        let whole = [(0, size)];
        let (body, extents) = match &extents {
            Some(extents) => (Body::Sparse { size, extents }, extents.as_slice()),
            None => (Body::Plain(size), whole.as_slice()),
        };
        self.tape.begin(head, &body).map_err(not_written)?;
        let mut hash = ContentHash::new();
        let mut at = 0;
        let mut broken = None;
        for (offset, length) in extents {
            hash.zeros(offset - at);
            at = *offset;
            let end = offset + length;
            while at < end && broken.is_none() {
                let want = usize::try_from(end - at).map_or(READ_BYTES, |n| n.min(READ_BYTES));
                let buffer = self.buffer.get_mut(..want).unwrap_or_default();
                let count = match read_at(file, buffer, at) {
                    Ok(count) => count,
                    Err(error) => {
                        broken = Some(Fate::Unreadable(error));
                        break;
                    }
                };
                let bytes = buffer.get(..count).unwrap_or_default();
                hash.data(bytes);
                self.tape.data(bytes).map_err(not_written)?;
                self.context.reporter.advance(count as u64);
                at += count as u64;
                if count < want {
                    broken = Some(Fate::Changed);
                }
            }
            if broken.is_some() {
                break;
            }
        }
        // Missing bytes are zeros, in the archive as in the proof.
        hash.zeros(size - at);
        self.tape.end().map_err(not_written)?;
        let (bytes, hash) = hash.finish();
        self.sums.add(meta, &What::File { bytes, hash });
        let after = fstat(file).map_or(Fate::Changed, |after| fate(stat, &after));
        Ok(broken.unwrap_or(after))
    }
}

impl Visitor for Capture<'_> {
    fn directory(&mut self, entry: &Entry<'_>, opened: &OwnedFd) -> Result<()> {
        let found = attributes::read(opened, &mut self.attribute_buffer);
        let attributes = self.accept(entry.path, found);
        self.bare(entry.path, &entry.stat, &attributes, &What::Directory)
    }

    fn other(&mut self, entry: &Entry<'_>) -> Result<()> {
        let reason = match entry.kind() {
            FileType::RegularFile => return self.regular(entry),
            FileType::Symlink => return self.symlink(entry),
            FileType::Socket => "is a socket",
            FileType::Fifo => "is a named pipe",
            FileType::BlockDevice | FileType::CharacterDevice => "is a device",
            _ => "is of an unknown kind",
        };
        self.skip(entry.path, reason, false);
        Ok(())
    }

    fn set_aside(&mut self, path: &[u8]) -> Result<()> {
        self.warn(path, aside::REASON);
        self.skip(path, aside::REASON, false);
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], reason: &str) -> Result<()> {
        self.skip(path, reason, true);
        Ok(())
    }
}

fn head<'a>(path: &'a [u8], stat: &Stat, attributes: &'a Attributes) -> Head<'a> {
    Head {
        path,
        kind: EntryType::Regular,
        link: b"",
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        device: (0, 0),
        attributes,
        links: stat.st_nlink,
    }
}

pub(super) fn meta<'a>(path: &'a [u8], stat: &Stat, attributes: &'a Attributes) -> Meta<'a> {
    Meta {
        path,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        attributes,
    }
}
