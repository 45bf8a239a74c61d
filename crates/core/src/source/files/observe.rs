//! The proof of a restored tree, by the same walk and the same sums as its capture.

use super::attributes;
use super::capture::{meta, read_at};
use super::extent::data_extents;
use super::sums::{Attributes, ContentHash, FilesSums, What, escape};
use super::walk::{Eased, Entry, Selection, Visitor, walk};
use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use crate::observe::Observer;
use crate::source::sqlite;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::Path;

const READ_BYTES: usize = 1 << 20;

/// The proof of everything below `directory`, which is itself not part of it. Sockets, pipes and
/// devices are passed over. What cannot be read is an error.
///
/// A file or directory that its owner may not read is made readable while it is read, since a
/// restore by an ordinary user makes such files and must be provable by that user.
pub fn observe(directory: &Path, observer: &dyn Observer) -> Result<Proof> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = rustix::fs::open(directory, flags, Mode::empty()).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the directory {} cannot be entered", directory.display()),
        )
        .cause(error)
    })?;
    let mut observation = Observation {
        directory,
        observer,
        sums: FilesSums::new(),
        first_names: HashMap::new(),
        buffer: vec![0; READ_BYTES],
        attribute_buffer: Vec::new(),
    };
    walk(start, &Selection::everything(), &mut observation)?;
    Ok(observation.sums.finish())
}

struct Observation<'a> {
    directory: &'a Path,
    observer: &'a dyn Observer,
    sums: FilesSums,
    first_names: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    attribute_buffer: Vec<u8>,
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

    fn regular(&mut self, entry: &Entry<'_>) -> Result<()> {
        let path = entry.path;
        let eased = Eased::new(entry);
        let file = sqlite::open_plain(entry.directory, entry.name)
            .map_err(|error| self.unreadable(path, error))?;
        drop(eased);
        let attributes = attributes::read(&file, &mut self.attribute_buffer)
            .map_err(|error| self.unreadable(path, error))?;
        let id = (entry.stat.st_dev, entry.stat.st_ino);
        if let Some(first) = self
            .first_names
            .get(&id)
            .filter(|_| entry.stat.st_nlink > 1)
        {
            let what = What::Hardlink { first };
            self.sums.add(&meta(path, &entry.stat, &attributes), &what);
            return Ok(());
        }
        let (bytes, hash) = self
            .hash(&file, entry)
            .map_err(|error| self.unreadable(path, error))?;
        let what = What::File { bytes, hash };
        self.sums.add(&meta(path, &entry.stat, &attributes), &what);
        if entry.stat.st_nlink > 1 {
            self.first_names.insert(id, path.to_vec());
        }
        Ok(())
    }

    fn hash(&mut self, file: &OwnedFd, entry: &Entry<'_>) -> Result<(u64, u128), Errno> {
        let size = u64::try_from(entry.stat.st_size).unwrap_or(0);
        let extents = data_extents(file, &entry.stat, size)?;
        let whole = [(0, size)];
        let mut hash = ContentHash::new();
        let mut at = 0;
        for (offset, length) in extents.as_deref().unwrap_or(&whole) {
            hash.zeros(offset - at);
            at = *offset;
            let end = offset + length;
            while at < end {
                let want = usize::try_from(end - at).map_or(READ_BYTES, |n| n.min(READ_BYTES));
                let buffer = self.buffer.get_mut(..want).unwrap_or_default();
                let count = read_at(file, buffer, at)?;
                if count == 0 {
                    // Someone cut it: the length says so.
                    return Ok(hash.finish());
                }
                hash.data(buffer.get(..count).unwrap_or_default());
                self.observer.advance(count as u64);
                at += count as u64;
            }
        }
        hash.zeros(size - at);
        Ok(hash.finish())
    }
}

impl Visitor for Observation<'_> {
    fn directory(&mut self, entry: &Entry<'_>, opened: &OwnedFd) -> Result<()> {
        let attributes = match attributes::read(opened, &mut self.attribute_buffer) {
            Ok(attributes) => attributes,
            Err(error) => return Err(self.unreadable(entry.path, error)),
        };
        self.sums.add(
            &meta(entry.path, &entry.stat, &attributes),
            &What::Directory,
        );
        Ok(())
    }

    fn other(&mut self, entry: &Entry<'_>) -> Result<()> {
        match entry.kind() {
            FileType::RegularFile => self.regular(entry),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(entry.directory, entry.name, Vec::new())
                    .map_err(|error| self.unreadable(entry.path, error))?;
                let what = What::Symlink {
                    target: target.to_bytes(),
                };
                let none = Attributes::default();
                self.sums.add(&meta(entry.path, &entry.stat, &none), &what);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn trouble(&mut self, path: &[u8], reason: &str) -> Result<()> {
        Err(self.unreadable(path, reason))
    }

    fn before(&mut self, entry: &Entry<'_>) -> Option<Eased> {
        Eased::new(entry)
    }
}
