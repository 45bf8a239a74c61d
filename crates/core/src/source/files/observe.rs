//! The proof of a restored tree, by the same walk and the same sums as its capture.

use super::attributes;
use super::capture::{meta, read_at};
use super::extent::data_extents;
use super::walk::{Eased, Entry, Selection, Visitor, walk};
use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use crate::observe::Reporter;
use crate::pool::{Pool, workers};
use crate::sqlite;
use crate::tree::sums::{Attributes, ContentHash, FilesSums, What, escape};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

const READ_BYTES: usize = 1 << 20;
/// Entries in a batch for one thread, at most.
const BATCH_ENTRIES: usize = 128;
/// Bytes to read in a batch, at most.
const BATCH_BYTES: u64 = 4 << 20;
/// Directories in a batch, at most. They are held open, and a process has 1024 descriptors.
const BATCH_DIRECTORIES: usize = 16;

/// The proof of everything below `directory`, which is itself not part of it. Sockets, pipes and
/// devices are skipped. Fails if anything cannot be read.
///
/// A file or directory that its owner may not read is made readable while it is read: a restore by
/// an ordinary user makes such files, and that user must be able to prove them.
pub fn observe(directory: &Path, reporter: &Reporter) -> Result<Proof> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the directory {} cannot be entered", directory.display()),
        )
        .cause(error)
    })?;
    let reading = reporter.clone();
    let mut observation = Observation {
        directory,
        sums: FilesSums::new(),
        first_names: HashMap::new(),
        batch: Batch::default(),
        parent: None,
        reader: Reader::new(reporter.clone()),
        pool: Pool::new(workers(), move || {
            let mut reader = Reader::new(reading.clone());
            Box::new(move |batch: &mut Batch| reader.read(batch))
        }),
        alone: false,
    };
    walk(start, &Selection::everything(), &mut observation)?;
    observation.hand_over()?;
    observation.take_all()?;
    Ok(observation.sums.finish())
}

/// One entry on its way into the sums.
struct Seen {
    path: Vec<u8>,
    stat: Stat,
    content: Content,
}

/// What is known of an entry's content.
enum Content {
    /// Not read yet. The entry lies in this directory; a file may be a further name of an earlier
    /// one.
    Unread {
        directory: Arc<OwnedFd>,
        first: Option<Vec<u8>>,
    },
    Directory(Attributes),
    File(Attributes, (u64, u128)),
    Hardlink(Attributes, Vec<u8>),
    Symlink(Vec<u8>),
    Unreadable(Errno),
}

/// Entries in the order of the walk.
#[derive(Default)]
struct Batch {
    entries: Vec<Seen>,
    bytes: u64,
    directories: usize,
}

/// The walk. It runs ahead while other threads read what it found, and adds up their results in its
/// own order.
struct Observation<'a> {
    directory: &'a Path,
    sums: FilesSums,
    first_names: HashMap<(u64, u64), Vec<u8>>,
    batch: Batch,
    /// The directory of the last entry, and its path.
    parent: Option<(Vec<u8>, Arc<OwnedFd>)>,
    pool: Pool<Batch>,
    reader: Reader,
    /// True if entries are read as they are met: a directory that had to be made readable is so
    /// only until the walk leaves it.
    alone: bool,
}

impl Observation<'_> {
    fn unreadable(&self, path: &[u8], cause: impl std::fmt::Display) -> Error {
        Error::new(
            Code::NotProved,
            format!(
                "{} in {} cannot be read",
                escape(path),
                self.directory.display()
            ),
        )
        .cause(cause)
        .hint("run as the user who restored it, or as root")
    }

    /// Adds an entry to the open batch, and hands the batch over when it is full.
    fn push(&mut self, entry: Seen) -> Result<()> {
        if FileType::from_raw_mode(entry.stat.st_mode) == FileType::RegularFile {
            let size = u64::try_from(entry.stat.st_size).unwrap_or(0);
            self.batch.bytes = self.batch.bytes.saturating_add(size);
        }
        self.batch.entries.push(entry);
        let batch = &self.batch;
        let is_full = batch.entries.len() >= BATCH_ENTRIES
            || batch.bytes >= BATCH_BYTES
            || batch.directories >= BATCH_DIRECTORIES;
        match is_full || self.alone {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    /// Hands over the open batch to be read.
    fn hand_over(&mut self) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        self.parent = None;
        if self.alone {
            self.take_all()?;
            self.reader.read(&mut batch);
            return self.sum(&batch);
        }
        while self.pool.full() {
            self.collect()?;
        }
        let lost = |error| Error::io("the restored files cannot be read", &error);
        self.pool.submit(batch).map_err(lost)
    }

    /// Adds up the oldest batch that was handed over. Returns false if there is none.
    fn collect(&mut self) -> Result<bool> {
        let lost = |error| Error::io("the restored files cannot be read", &error);
        match self.pool.next().map_err(lost)? {
            Some(batch) => self.sum(&batch).map(|()| true),
            None => Ok(false),
        }
    }

    fn take_all(&mut self) -> Result<()> {
        while self.collect()? {}
        Ok(())
    }

    fn sum(&mut self, batch: &Batch) -> Result<()> {
        let none = Attributes::default();
        for Seen {
            path,
            stat,
            content,
        } in &batch.entries
        {
            let (attributes, what) = match content {
                // An entry that was not read is not proved.
                Content::Unread { .. } => return Err(self.unreadable(path, Errno::IO)),
                Content::Directory(attributes) => (attributes, What::Directory),
                Content::File(attributes, (bytes, hash)) => {
                    let (bytes, hash) = (*bytes, *hash);
                    (attributes, What::File { bytes, hash })
                }
                Content::Hardlink(attributes, first) => (attributes, What::Hardlink { first }),
                Content::Symlink(target) => (&none, What::Symlink { target }),
                Content::Unreadable(error) => return Err(self.unreadable(path, error)),
            };
            self.sums.add(&meta(path, stat, attributes), &what);
        }
        Ok(())
    }

    /// The directory of an entry, to be held open.
    fn parent(&mut self, entry: &Entry<'_>) -> Result<Arc<OwnedFd>> {
        let end = entry.path.iter().rposition(|byte| *byte == b'/');
        let path = entry.path.get(..end.unwrap_or(0)).unwrap_or_default();
        if let Some((_, parent)) = self.parent.as_ref().filter(|(known, _)| known == path) {
            return Ok(Arc::clone(parent));
        }
        let parent = entry.directory.try_clone_to_owned();
        let parent = Arc::new(parent.map_err(|error| self.unreadable(entry.path, error))?);
        self.parent = Some((path.to_vec(), Arc::clone(&parent)));
        self.batch.directories += 1;
        Ok(parent)
    }
}

impl Visitor for Observation<'_> {
    fn directory(&mut self, entry: &Entry<'_>, opened: &OwnedFd) -> Result<()> {
        let attributes = attributes::read(opened, &mut self.reader.attributes)
            .map_err(|error| self.unreadable(entry.path, error))?;
        self.push(Seen {
            path: entry.path.to_vec(),
            stat: entry.stat,
            content: Content::Directory(attributes),
        })
    }

    fn other(&mut self, entry: &Entry<'_>) -> Result<()> {
        if !matches!(entry.kind(), FileType::RegularFile | FileType::Symlink) {
            return Ok(());
        }
        let mut first = None;
        if entry.kind() == FileType::RegularFile && entry.stat.st_nlink > 1 {
            let id = (entry.stat.st_dev, entry.stat.st_ino);
            first = self.first_names.get(&id).cloned();
            if first.is_none() {
                self.first_names.insert(id, entry.path.to_vec());
            }
        }
        let directory = self.parent(entry)?;
        self.push(Seen {
            path: entry.path.to_vec(),
            stat: entry.stat,
            content: Content::Unread { directory, first },
        })
    }

    fn trouble(&mut self, path: &[u8], reason: &str) -> Result<()> {
        Err(self.unreadable(path, reason))
    }

    fn before(&mut self, entry: &Entry<'_>) -> Option<Eased> {
        let eased = Eased::new(entry);
        self.alone |= eased.is_some();
        eased
    }
}

/// Reads the content of files and links.
struct Reader {
    reporter: Reporter,
    buffer: Vec<u8>,
    attributes: Vec<u8>,
}

impl Reader {
    fn new(reporter: Reporter) -> Self {
        Reader {
            reporter,
            buffer: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn read(&mut self, batch: &mut Batch) {
        for seen in &mut batch.entries {
            let Content::Unread { directory, first } = &mut seen.content else {
                continue;
            };
            let name = seen.path.rsplit(|byte| *byte == b'/').next();
            let entry = Entry {
                directory: directory.as_fd(),
                name: OsStr::from_bytes(name.unwrap_or_default()),
                path: &seen.path,
                stat: seen.stat,
            };
            let first = first.take();
            let content = self.content(&entry, first);
            seen.content = content.unwrap_or_else(Content::Unreadable);
        }
    }

    fn content(&mut self, entry: &Entry<'_>, first: Option<Vec<u8>>) -> Result<Content, Errno> {
        if entry.kind() == FileType::Symlink {
            let target = rustix::fs::readlinkat(entry.directory, entry.name, Vec::new())?;
            return Ok(Content::Symlink(target.into_bytes()));
        }
        let eased = Eased::new(entry);
        let file = sqlite::open_plain(entry.directory, entry.name)?;
        drop(eased);
        let attributes = attributes::read(&file, &mut self.attributes)?;
        match first {
            Some(first) => Ok(Content::Hardlink(attributes, first)),
            None => Ok(Content::File(attributes, self.hash(&file, &entry.stat)?)),
        }
    }

    fn hash(&mut self, file: &OwnedFd, stat: &Stat) -> Result<(u64, u128), Errno> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let extents = data_extents(file, stat, size)?;
        let whole = [(0, size)];
        let mut hash = ContentHash::new();
        let mut at = 0;
        let room = usize::try_from(size).map_or(READ_BYTES, |size| size.min(READ_BYTES));
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        for (offset, length) in extents.as_deref().unwrap_or(&whole) {
            hash.zeros(offset - at);
            at = *offset;
            let end = offset + length;
            while at < end {
                let want = usize::try_from(end - at).map_or(READ_BYTES, |n| n.min(READ_BYTES));
                let buffer = self.buffer.get_mut(..want).unwrap_or_default();
                let count = read_at(file, buffer, at)?;
                if count == 0 {
                    // It was truncated: the length shows it.
                    return Ok(hash.finish());
                }
                hash.data(buffer.get(..count).unwrap_or_default());
                self.reporter.advance(count as u64);
                at += count as u64;
            }
        }
        hash.zeros(size - at);
        Ok(hash.finish())
    }
}
