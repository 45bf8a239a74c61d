//! Examines what the target holds already, and which parts of a file are right.

use super::options::Overwrite;
use crate::id::Id;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// An existing entry that has the name of one to restore.
#[derive(Clone, Copy)]
pub(super) struct Existing {
    pub(super) kind: FileType,
    pub(super) st_mode: u32,
    pub(super) bytes: u64,
    pub(super) mtime: Timespec,
    pub(super) links: u64,
    pub(super) uid: u32,
    /// The device and inode.
    pub(super) node: (u64, u64),
}

impl Existing {
    #[allow(
        clippy::useless_conversion,
        reason = "the width of a count of links differs between processors"
    )]
    pub(super) fn of(stat: &Stat) -> Self {
        Existing {
            kind: FileType::from_raw_mode(stat.st_mode),
            st_mode: stat.st_mode,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            links: u64::from(stat.st_nlink),
            uid: stat.st_uid,
            node: (stat.st_dev, stat.st_ino),
        }
    }

    /// Looks up the entry of a name without following a link; `None` if there is none.
    pub(super) fn look(directory: impl AsFd, name: &[u8]) -> io::Result<Option<Self>> {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Existing::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Returns whether it may be replaced by an entry with this modification time.
    pub(super) fn yields(&self, overwrite: Overwrite, mtime: Timespec) -> bool {
        let time = |time: Timespec| (time.tv_sec, time.tv_nsec);
        match overwrite {
            Overwrite::Always | Overwrite::IfChanged => true,
            Overwrite::IfNewer => time(mtime) > time(self.mtime),
            Overwrite::Never => false,
        }
    }

    /// Returns whether it has this size and this modification time.
    pub(super) fn resembles(&self, bytes: u64, mtime: Timespec) -> bool {
        self.bytes == bytes
            && (self.mtime.tv_sec, self.mtime.tv_nsec) == (mtime.tv_sec, mtime.tv_nsec)
    }
}

/// Opens an existing file without following a link or waiting.
pub(super) fn open(directory: impl AsFd, name: &[u8], access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into())
}

/// The size from which all threads compare a file together.
const TOGETHER_BYTES: u64 = 8 << 20;

/// Returns, for each part of a file, whether it holds the right content.
pub(super) fn compare(file: &File, content: &[Id], lengths: &[u32]) -> Vec<bool> {
    let mut offset = 0;
    let mut parts = Vec::with_capacity(content.len());
    for (id, length) in content.iter().zip(lengths) {
        parts.push((id, offset, *length));
        offset += u64::from(*length);
    }
    let right = |(id, offset, length): &(&Id, u64, u32)| holds(file, id, *offset, *length);
    match offset >= TOGETHER_BYTES {
        true => parts.par_iter().map(right).collect(),
        false => parts.iter().map(right).collect(),
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn holds(file: &File, id: &Id, offset: u64, length: u32) -> bool {
    // Taken, not borrowed, so that it can never be in use already.
    let mut buffer = BUFFER.take();
    buffer.resize(length as usize, 0);
    let read = file.read_exact_at(&mut buffer, offset);
    let right = read.is_ok() && Id::of(&buffer) == *id;
    BUFFER.set(buffer);
    right
}
