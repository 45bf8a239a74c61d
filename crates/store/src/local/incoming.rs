//! Objects that are being written. Each is a file in `<root>/.incoming` that its writer holds
//! locked. A file that nobody holds locked was left by a writer that died; it is swept when a store
//! opens.

use super::walk::Doing;
use crate::StoreError;
use crate::key::INCOMING;
use crate::probe::random_name;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The number of names to try: a sweep can take a new file before its writer locks it.
const NAME_ATTEMPTS: usize = 16;

/// A file that has no key yet. It is removed when dropped.
pub(super) struct Incoming {
    directory: OwnedFd,
    name: String,
    file: File,
    placed: bool,
}

impl Incoming {
    /// Creates an empty, private, locked file.
    pub(super) fn create(root: &OwnedFd, path: &Path) -> Result<Self, StoreError> {
        let doing = Doing::new(path, INCOMING);
        let directory = super::walk::make_directory(root, INCOMING).map_err(|e| doing.error(e))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        for _ in 0..NAME_ATTEMPTS {
            let name = random_name(&path.display().to_string())?;
            let fd = match rustix::fs::openat(&directory, &name, flags, mode) {
                Ok(fd) => fd,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(doing.error(errno)),
            };
            let ready = rustix::fs::fchmod(&fd, mode).and_then(|()| lock(&fd));
            match ready {
                Ok(true) => {}
                Ok(false) => continue,
                Err(errno) => {
                    let _ = rustix::fs::unlinkat(&directory, &name, AtFlags::empty());
                    return Err(doing.error(errno));
                }
            }
            return Ok(Incoming {
                directory,
                name,
                file: File::from(fd),
                placed: false,
            });
        }
        Err(doing.error(Errno::EXIST))
    }

    pub(super) fn writer(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The size according to the file system.
    pub(super) fn bytes(&self) -> rustix::io::Result<u64> {
        rustix::fs::fstat(&self.file).map(|stat| super::walk::size(&stat))
    }

    /// Moves the file to its name in `directory`.
    pub(super) fn place(
        &mut self,
        directory: &OwnedFd,
        name: &str,
        if_absent: bool,
    ) -> rustix::io::Result<()> {
        if if_absent {
            super::rename_absent(&self.directory, &self.name, directory, name)?;
        } else {
            rustix::fs::renameat(&self.directory, &self.name, directory, name)?;
        }
        self.placed = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.placed {
            // A file that cannot be removed now is swept when the store is next opened.
            let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Locks a new file. Returns false if a sweep has taken it first.
fn lock(fd: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(rustix::fs::fstat(fd)?.st_nlink > 0),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes files whose writer is gone. If that is not permitted, the store can still be read.
pub(super) fn sweep(root: &OwnedFd) {
    let Ok(directory) = super::walk::open_directory(root, INCOMING) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(&directory, name, flags, Mode::empty()) else {
            continue;
        };
        if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // This fails on `.` and `..`, which are directories.
            let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        }
    }
}
