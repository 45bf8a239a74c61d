//! Walks from the root to an object and back, one directory at a time, so that no symbolic link can
//! lead out of the store. Also turns errors on the way into store errors.

use crate::key::INCOMING;
use crate::{ObjectInfo, StoreError};
use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, Result};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The longest key. Nothing deeper can be an object.
const KEY_BYTES_MAX: usize = 1024;

/// Opens a directory by name, never through a symbolic link.
pub(super) fn open_directory(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        // Linux returns ENOTDIR for a symbolic link here; a file must be told apart from it.
        Err(Errno::NOTDIR) if is_symlink(parent, name) => Err(Errno::LOOP),
        other => other,
    }
}

fn is_symlink(parent: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Opens a directory by name, and makes it with mode 0700 if it is missing.
pub(super) fn make_directory(parent: &OwnedFd, name: &str) -> Result<OwnedFd> {
    match open_directory(parent, name) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        // The umask may have removed bits.
        Ok(()) => rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    open_directory(parent, name)
}

/// The directories from the root to an object, and the name of its file.
pub(super) struct Chain<'a> {
    root: &'a OwnedFd,
    directories: Vec<(&'a str, OwnedFd)>,
    name: &'a str,
}

impl<'a> Chain<'a> {
    /// The chain to `key`; every directory must exist.
    pub(super) fn open(root: &'a OwnedFd, key: &'a str) -> Result<Self> {
        Self::walk(root, key, open_directory)
    }

    /// The chain to `key`; missing directories are made.
    pub(super) fn make(root: &'a OwnedFd, key: &'a str) -> Result<Self> {
        let mut attempts = 0;
        loop {
            match Self::walk(root, key, make_directory) {
                // A deletion removed a directory between our steps.
                Err(Errno::NOENT) if attempts < super::PLACE_ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }

    fn walk(
        root: &'a OwnedFd,
        key: &'a str,
        step: fn(&OwnedFd, &str) -> Result<OwnedFd>,
    ) -> Result<Self> {
        let (parents, name) = match key.rsplit_once('/') {
            Some((parents, name)) => (Some(parents), name),
            None => (None, key),
        };
        let mut chain = Chain {
            root,
            directories: Vec::new(),
            name,
        };
        for part in parents.into_iter().flat_map(|p| p.split('/')) {
            let next = step(chain.directory(), part)?;
            chain.directories.push((part, next));
        }
        Ok(chain)
    }

    /// The directory that holds the object.
    pub(super) fn directory(&self) -> &OwnedFd {
        self.directories.last().map_or(self.root, |(_, fd)| fd)
    }

    /// The name of the object's file in that directory.
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// Makes every entry of the chain durable. It syncs all of them, each time: an entry that
    /// existed already may have been made a moment ago by a writer that has not synced it yet.
    pub(super) fn sync(&self) -> Result<()> {
        for (_, directory) in self.directories.iter().rev() {
            rustix::fs::fsync(directory)?;
        }
        rustix::fs::fsync(self.root)
    }

    /// Removes the directories of the chain that are now empty.
    pub(super) fn prune(mut self) {
        while let Some((name, directory)) = self.directories.pop() {
            drop(directory);
            // The first directory that is not empty ends it.
            if rustix::fs::unlinkat(self.directory(), name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }
}

/// Lists every object whose key starts with `prefix`, in no particular order.
pub(super) fn list(root: &OwnedFd, prefix: &str) -> Result<Vec<ObjectInfo>> {
    let (parents, _) = prefix.rsplit_once('/').unwrap_or_default();
    let mut found = Vec::new();
    let mut start = None;
    for part in parents.split('/').filter(|_| prefix.contains('/')) {
        // No key has such a component, nor begins in the incoming directory.
        if matches!(part, "" | "." | "..") || (start.is_none() && part == INCOMING) {
            return Ok(found);
        }
        match open_directory(start.as_ref().unwrap_or(root), part) {
            Ok(next) => start = Some(next),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return Ok(found),
            Err(errno) => return Err(errno),
        }
    }
    let base = match parents {
        "" => String::new(),
        parents => format!("{parents}/"),
    };
    collect(start.as_ref().unwrap_or(root), &base, prefix, &mut found)?;
    Ok(found)
}

/// Adds the objects below a directory whose keys start with `base`. The recursion is bounded: a key
/// has at most 512 components.
fn collect(
    directory: &OwnedFd,
    base: &str,
    prefix: &str,
    found: &mut Vec<ObjectInfo>,
) -> Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        // A file whose name is not UTF-8 was not put here by this store, and has no key.
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let key = format!("{base}{name}");
        let reserved = base.is_empty() && matches!(name, INCOMING | "lost+found");
        if matches!(name, "." | "..") || reserved || key.len() > KEY_BYTES_MAX {
            continue;
        }
        if !key.starts_with(prefix) {
            continue;
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => found.push(ObjectInfo {
                key,
                bytes: size(&stat),
                modified: modified(&stat),
                version: None,
            }),
            FileType::Directory => match open_directory(directory, name) {
                Ok(child) => collect(&child, &format!("{key}/"), prefix, found)?,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            },
            // Links and devices are not objects.
            _ => {}
        }
    }
    Ok(())
}

/// The size of a file, which is never negative.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

pub(super) fn modified(stat: &Stat) -> Option<Timestamp> {
    Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).ok()?).ok()
}

/// The operation in progress, named in errors.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    root: &'a Path,
    key: &'a str,
}

impl<'a> Doing<'a> {
    pub(super) fn new(root: &'a Path, key: &'a str) -> Self {
        Doing { root, key }
    }

    pub(super) fn not_found(&self) -> StoreError {
        StoreError::NotFound {
            location: self.location(),
            key: self.key.to_owned(),
        }
    }

    pub(super) fn already_exists(&self) -> StoreError {
        StoreError::AlreadyExists {
            location: self.location(),
            key: self.key.to_owned(),
        }
    }

    pub(super) fn body(&self, source: io::Error) -> StoreError {
        StoreError::Body {
            key: self.key.to_owned(),
            source,
        }
    }

    pub(super) fn io(&self, error: &io::Error) -> StoreError {
        match Errno::from_io_error(error) {
            Some(errno) => self.error(errno),
            None => StoreError::Other {
                location: self.location(),
                detail: format!("{:?}: {error}", self.key),
            },
        }
    }

    pub(super) fn error(&self, errno: Errno) -> StoreError {
        let location = self.location();
        let key = self.key.to_owned();
        let detail = io::Error::from(errno).to_string();
        match errno {
            Errno::NOSPC | Errno::DQUOT => StoreError::Full { location, detail },
            Errno::ROFS => StoreError::ReadOnly { location, detail },
            Errno::ACCESS | Errno::PERM => StoreError::Denied {
                location,
                key,
                detail,
            },
            Errno::LOOP => StoreError::Denied {
                location,
                key,
                detail: "a symbolic link stands in its way, and none is followed".to_owned(),
            },
            Errno::STALE | Errno::NODEV | Errno::HOSTDOWN | Errno::TIMEDOUT => {
                StoreError::Unreachable { location, detail }
            }
            Errno::NOTDIR | Errno::ISDIR | Errno::EXIST => StoreError::Other {
                location,
                detail: format!(
                    "{key:?} would be both a file and a directory: one object's key is the \
                     beginning of another's ({detail})"
                ),
            },
            _ => StoreError::Other {
                location,
                detail: format!("{key:?}: {detail}"),
            },
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}
