//! A store in a directory of a local disk.
//!
//! Guarantees: an object appears under its key in one step, after its bytes are on the disk, and
//! `put` returns only when the name is on the disk too. Directories have mode 0700 and files 0600,
//! whatever the umask. Symbolic links below the root are never followed. It does not guarantee that
//! a deletion survives a power failure, and it cannot hold both `a` and `a/b`.

mod incoming;
mod walk;

use crate::key::check_file_key;
use crate::memory::beyond;
use crate::probe::probe;
use crate::read::Exact;
use crate::{ObjectInfo, PutOptions, Receipt, Store, StoreError};
use bytes::Bytes;
use incoming::Incoming;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use walk::{Chain, Doing};

/// The bytes that are read from a body at a time.
const BUFFER_BYTES: usize = 1 << 18;

/// The bytes after which the disk is told to begin writing, so that the end does not stall.
const WRITEBACK_BYTES: u64 = 64 << 20;

/// The number of attempts to place an object whose directory a deletion has just removed.
const PLACE_ATTEMPTS: usize = 16;

/// The `statfs` types of ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, bcachefs and ZFS.
const OF_THIS_HOST: [u64; 8] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0xf2f5_2010,
    0xca45_1a4e,
    0x2fc1_2fc1,
];

/// A store of objects as files below a directory.
#[derive(Debug)]
pub struct LocalStore {
    path: PathBuf,
    root: OwnedFd,
}

impl LocalStore {
    /// Opens the store at `root`, and makes the directory if it is missing. Its parent must exist,
    /// so that a disk that is not mounted is an error, and not a backup on the wrong disk.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        match rustix::fs::mkdirat(CWD, root, Mode::RWXU) {
            Ok(()) => {
                let made = rustix::fs::chmodat(CWD, root, Mode::RWXU, AtFlags::empty())
                    .and_then(|()| sync_parent(root));
                made.map_err(|e| Doing::new(root, "").error(e))?;
            }
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => {
                return Err(StoreError::Missing {
                    location: root.display().to_string(),
                    detail: "its parent directory does not exist; is the disk mounted?".to_owned(),
                });
            }
            // An existing directory on a read-only disk can still be read.
            Err(_) if root.is_dir() => {}
            Err(errno) => return Err(Doing::new(root, "").error(errno)),
        }
        Self::open(root)
    }

    /// Opens the store at `root`, which must exist, and removes what interrupted writers left
    /// there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(|errno| {
            let location = root.display().to_string();
            match errno {
                Errno::NOENT => StoreError::Missing {
                    location,
                    detail: "there is no such directory".to_owned(),
                },
                Errno::NOTDIR => StoreError::Missing {
                    location,
                    detail: "it is not a directory".to_owned(),
                },
                errno => Doing::new(root, "").error(errno),
            }
        })?;
        incoming::sweep(&fd);
        Ok(LocalStore {
            path: root.to_owned(),
            root: fd,
        })
    }

    fn doing<'a>(&'a self, key: &'a str) -> Doing<'a> {
        Doing::new(&self.path, key)
    }

    /// Stores an object whose file `write` fills, and returns its size.
    fn put_as(
        &self,
        key: &str,
        options: &PutOptions,
        write: impl FnOnce(&mut Incoming, &Doing<'_>) -> Result<u64, StoreError>,
    ) -> Result<Receipt, StoreError> {
        check_file_key(key)?;
        let doing = self.doing(key);
        // Checked before the body is read, and once more when the file takes its name.
        if options.if_absent && self.stat(key)?.is_some() {
            return Err(doing.already_exists());
        }
        let mut file = Incoming::create(&self.root, &self.path)?;
        let bytes = write(&mut file, &doing)?;
        file.sync().map_err(|e| doing.io(&e))?;
        let observed = file.bytes().map_err(|e| doing.error(e))?;
        if observed != bytes {
            return Err(StoreError::Unconfirmed {
                location: self.location(),
                key: key.to_owned(),
                expected: format!("{bytes} bytes"),
                observed: format!("{observed} bytes"),
            });
        }
        self.place(&mut file, key, options.if_absent)?;
        Ok(Receipt {
            bytes,
            version: None,
        })
    }

    /// Moves a finished file to its key. Then the file and every directory above it are durable.
    fn place(&self, file: &mut Incoming, key: &str, if_absent: bool) -> Result<(), StoreError> {
        let doing = self.doing(key);
        let mut attempts = 0;
        loop {
            let chain = Chain::make(&self.root, key).map_err(|e| doing.error(e))?;
            match file.place(chain.directory(), chain.name(), if_absent) {
                Ok(()) => return chain.sync().map_err(|e| doing.error(e)),
                Err(Errno::NOENT) if attempts < PLACE_ATTEMPTS => attempts += 1,
                Err(Errno::EXIST) if if_absent && self.stat(key)?.is_some() => {
                    return Err(doing.already_exists());
                }
                Err(errno) => return Err(doing.error(errno)),
            }
        }
    }
}

impl Store for LocalStore {
    fn free_bytes(&self) -> Option<u64> {
        let space = rustix::fs::fstatvfs(&self.root).ok()?;
        Some(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.put_as(key, options, |file, doing| write_body(file, body, doing))
    }

    fn put_whole(
        &self,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        self.put_as(key, options, |file, doing| {
            // In pieces: for a long write Linux looks for a long stretch of free memory, which
            // takes longer than the write itself.
            for piece in body.chunks(BUFFER_BYTES) {
                let written = file.writer().write_all(piece);
                written.map_err(|e| doing.io(&e))?;
            }
            Ok(body.len() as u64)
        })
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        check_file_key(key)?;
        let doing = self.doing(key);
        // NONBLOCK, so that a pipe that somebody put here does not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = Chain::open(&self.root, key)
            .and_then(|c| rustix::fs::openat(c.directory(), c.name(), flags, Mode::empty()));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(doing.not_found()),
            Err(errno) => return Err(doing.error(errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| doing.error(e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(doing.not_found());
        }
        let bytes = walk::size(&stat);
        if offset > bytes {
            return Err(beyond(&self.location(), key, offset, bytes));
        }
        let mut file = File::from(fd);
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| doing.io(&e))?;
        let what = format!("{key:?} in {}", self.location());
        Ok(Box::new(Exact::new(file, bytes - offset, what)))
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_file_key(key)?;
        let stat = Chain::open(&self.root, key)
            .and_then(|c| rustix::fs::statat(c.directory(), c.name(), AtFlags::SYMLINK_NOFOLLOW));
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(self.doing(key).error(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(ObjectInfo {
                key: key.to_owned(),
                bytes: walk::size(&stat),
                modified: walk::modified(&stat),
                version: None,
            })),
            FileType::Symlink => Err(self.doing(key).error(Errno::LOOP)),
            _ => Ok(None),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut found = walk::list(&self.root, prefix).map_err(|e| self.doing(prefix).error(e))?;
        found.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        Ok(found)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_file_key(key)?;
        let removed = Chain::open(&self.root, key).and_then(|chain| {
            rustix::fs::unlinkat(chain.directory(), chain.name(), AtFlags::empty())?;
            chain.prune();
            Ok(())
        });
        match removed {
            // EISDIR: a directory is not an object, so there is nothing to delete.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(self.doing(key).error(errno)),
        }
    }

    /// True only for file systems of this host: a network file system may show others an older
    /// state.
    fn lists_at_once(&self) -> bool {
        rustix::fs::fstatfs(&self.root).is_ok_and(|fs| {
            let kind = u64::try_from(fs.f_type).unwrap_or(0) & u64::from(u32::MAX);
            OF_THIS_HOST.contains(&kind)
        })
    }

    fn probe(&self) -> Result<(), StoreError> {
        probe(self)
    }
}

/// Copies the body to the file, and starts writing to disk while more arrives.
fn write_body(
    file: &mut Incoming,
    body: &mut (dyn Read + Send),
    doing: &Doing<'_>,
) -> Result<u64, StoreError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut bytes, mut written_back) = (0_u64, 0_u64);
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(doing.body(source)),
        };
        let Some(chunk) = buffer.get(..n) else {
            return Err(doing.body(io::Error::other(
                "the reader claims more than it could read",
            )));
        };
        file.writer().write_all(chunk).map_err(|e| doing.io(&e))?;
        bytes += n as u64;
        if bytes - written_back >= WRITEBACK_BYTES {
            file.sync_data().map_err(|e| doing.io(&e))?;
            written_back = bytes;
        }
    }
}

/// Makes the directory entry of a new root durable.
fn sync_parent(root: &Path) -> rustix::io::Result<()> {
    let parent = match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
    rustix::fs::fsync(&fd)
}

/// Renames a file to `to` without replacing anything.
fn rename_absent(
    from: &OwnedFd,
    name: &str,
    to: &OwnedFd,
    to_name: &str,
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, name, to, to_name, RenameFlags::NOREPLACE) {
        // Some file systems do not support this; a hard link has the same effect.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from, name, to, to_name, AtFlags::empty())?;
            rustix::fs::unlinkat(from, name, AtFlags::empty())
        }
        other => other,
    }
}
