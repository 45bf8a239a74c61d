//! Writes files: creates them under unused names, leaves holes where there are zeros, and moves
//! them into place in one step.

use crate::chunker::is_zero;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The suffix of a file's name until it is complete.
pub(super) const SUFFIX: &[u8] = b".lifeboat-partial";
/// The unit in which zeros are looked for: the block size of most file systems.
const BLOCK_BYTES: u64 = 4096;
/// Runs of zeros shorter than this are written.
const HOLE_BYTES: usize = 32 << 10;

/// Creates a file that only we can read. Fails if the name exists.
pub(super) fn create(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
}

/// A name that is not in use.
pub(super) fn unique() -> Box<[u8]> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let process = rustix::process::getpid().as_raw_nonzero();
    let mut name = format!(".{process}-{number}").into_bytes();
    name.extend_from_slice(SUFFIX);
    name.into()
}

/// Makes something under another name, finishes it, and moves it to its name in one step.
pub(super) fn aside(
    directory: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn(&[u8]) -> io::Result<()>,
    finish: impl Fn(&[u8]),
) -> io::Result<()> {
    let aside = unique();
    make(&aside)?;
    finish(&aside);
    let renamed = rustix::fs::renameat(directory, &*aside, directory, name);
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(directory, &*aside, AtFlags::empty());
    }
    Ok(renamed?)
}

/// Renames a file. Fails if the new name exists.
pub(super) fn rename_new(
    directory: BorrowedFd<'_>,
    from: &[u8],
    to: &[u8],
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // Some file systems do not support this.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match rustix::fs::statat(directory, to, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => rustix::fs::renameat(directory, from, directory, to),
                Err(error) => Err(error),
                Ok(_) => Err(Errno::EXIST),
            }
        }
        other => other,
    }
}

/// Writes all bytes at an offset. With `sparse`, runs of zeros are skipped.
pub(super) fn write(file: &OwnedFd, bytes: &[u8], offset: u64, sparse: bool) -> io::Result<()> {
    if !sparse {
        return write_at(file, bytes, offset);
    }
    // First up to the next block boundary of the file, then block by block.
    let head = (offset.next_multiple_of(BLOCK_BYTES) - offset).min(bytes.len() as u64);
    let (first, rest) = bytes
        .split_at_checked(usize::try_from(head).unwrap_or(0))
        .unwrap_or((bytes, &[]));
    let block = usize::try_from(BLOCK_BYTES).unwrap_or(1);
    let blocks = std::iter::once(first).chain(rest.chunks(block));
    // Between two runs of data there is a hole.
    let mut run: Option<std::ops::Range<usize>> = None;
    let mut end = 0;
    for piece in blocks {
        let start = end;
        end += piece.len();
        if is_zero(piece) {
            continue;
        }
        match &mut run {
            Some(run) if start - run.end < HOLE_BYTES => run.end = end,
            Some(before) => {
                write_range(file, bytes, before.clone(), offset)?;
                run = Some(start..end);
            }
            None => run = Some(start..end),
        }
    }
    match run {
        Some(run) => write_range(file, bytes, run, offset),
        None => Ok(()),
    }
}

fn write_range(
    file: &OwnedFd,
    bytes: &[u8],
    range: std::ops::Range<usize>,
    offset: u64,
) -> io::Result<()> {
    let start = range.start as u64;
    write_at(file, bytes.get(range).unwrap_or_default(), offset + start)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies a range of one file to the same range of another.
pub(super) fn copy(from: &File, to: &OwnedFd, offset: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let room = buffer.get_mut(..wanted.min(1 << 20)).unwrap_or_default();
        from.read_exact_at(room, at)?;
        write_at(to, room, at)?;
        at += room.len() as u64;
    }
    Ok(())
}
