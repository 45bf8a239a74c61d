//! Removes entries that are in the way or not in the snapshot, never following a link.

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The names in a directory.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Box<[u8]>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Removes an entry with everything in it, and returns how many entries were removed. An entry that
/// is gone already counts as none.
pub(super) fn all(directory: impl AsFd, name: &[u8]) -> io::Result<u64> {
    let directory = directory.as_fd();
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => return Ok(1),
        Err(Errno::NOENT) => return Ok(0),
        // Systems differ in which error they return for a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner: OwnedFd = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(inner) => inner,
        // It is not a directory, so the error of unlinking stands.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(Errno::PERM.into()),
        Err(error) => return Err(error.into()),
    };
    let mut removed = 1;
    for name in names(&inner)? {
        removed += all(&inner, &name)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    Ok(removed)
}
