//! The only place that writes restored data.
//!
//! Guarantees: nothing outside the named target is touched, whatever an archive says; a file
//! appears under its name only whole and durable; what was live is kept until the caller undoes the
//! swap or removes it. Nothing here knows where bytes come from, nor whether they are the right
//! ones.

pub mod aside;
mod extract;
mod swap;
mod tape;
#[cfg(test)]
mod tests;
mod within;

pub use extract::{Extracted, extract};
pub use swap::{Noted, Swap, swap_in};
pub(crate) use tape::{Member, TapeReader};
pub use within::Within;

use crate::error::{Code, Error, Result};
use crate::sqlite as database;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Writes all of `input` to a new file at `path` with these permission bits, durably. Returns its
/// length. Fails if the file exists; see [`replace_file`].
pub fn write_file(input: &mut dyn Read, path: &Path, mode: u32) -> Result<u64> {
    let aside = Aside::new(path)?;
    aside.refuse_existing()?;
    let bytes = aside.fill(input, mode)?;
    aside.show(RenameFlags::NOREPLACE)?;
    Ok(bytes)
}

/// Does what [`write_file`] does, but replaces an existing file in one step.
pub fn replace_file(input: &mut dyn Read, path: &Path, mode: u32) -> Result<u64> {
    let aside = Aside::new(path)?;
    let bytes = aside.fill(input, mode)?;
    aside.show(RenameFlags::empty())?;
    Ok(bytes)
}

/// Writes a SQLite database to a new file at `path` (0600), durably. The file appears under its
/// name only after it passed `integrity_check`, and after the companions of an earlier database of
/// that name (`-wal`, `-shm`, `-journal`) are gone: SQLite would apply them to the new one.
pub fn sqlite(input: &mut dyn Read, path: &Path) -> Result<()> {
    Aside::new(path)?.sqlite(input)
}

/// Makes a directory for this user alone, with its parents, unless it exists.
pub fn create_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Error::new(
                Code::Target,
                format!("the directory {} cannot be made", path.display()),
            )
            .cause(error)
            .hint("check the permissions and the space there, or name another target")
        })
}

/// Makes the directory (0700, with its parents) unless it exists. Fails if it is not empty.
pub fn ensure_empty_or_new(directory: &Path) -> Result<()> {
    let refused = |what: &str| {
        Error::new(
            Code::Target,
            format!("the target {} {what}", directory.display()),
        )
        .hint("name a directory that is empty or does not exist yet")
    };
    match std::fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(refused("is not empty")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            use std::os::unix::fs::DirBuilderExt;
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(directory)
                .map_err(|error| refused("cannot be made").cause(error))
        }
        Err(error) => Err(refused("cannot be used as a directory").cause(error)),
    }
}

/// The directory a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `.NAME.TAG` beside `path`.
fn beside(path: &Path, tag: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(tag);
    parent(path).join(name)
}

/// Makes an extracted tree durable, and everything else on its file system. [`extract`] syncs
/// nothing, because a drill needs no durability.
pub fn sync_tree(directory: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .and_then(rustix::fs::syncfs)
        .map_err(|error| {
            Error::new(
                Code::Target,
                format!(
                    "the file system of {} cannot be synced",
                    directory.display()
                ),
            )
            .cause(error)
            .hint("check that the directory is there, and its disk is sound")
        })
}

/// Makes the entries of a directory durable.
fn sync_directory(directory: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
        .and_then(rustix::fs::fsync)
        .map_err(|error| not_synced(directory, error))
}

fn not_synced(directory: &Path, error: Errno) -> Error {
    Error::new(
        Code::Target,
        format!("the directory {} cannot be synced", directory.display()),
    )
    .cause(error)
}

/// A file under construction beside its target. It is removed when this is dropped, unless it was
/// shown.
struct Aside {
    /// The directory of the target and of this file.
    directory: OwnedFd,
    target: PathBuf,
    name: OsString,
}

impl Aside {
    /// A file for `target`, whose directory must exist.
    fn new(target: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent(target), flags, Mode::empty());
        Aside::within(
            directory.map_err(|error| unreachable(target, error))?,
            target,
        )
    }

    /// A file for `target` in an open directory.
    fn within(directory: OwnedFd, target: &Path) -> Result<Self> {
        if target.file_name().is_none() {
            let what = format!("{} names no file", target.display());
            return Err(Error::new(Code::Target, what));
        }
        let random = crate::clock::Clock::System.random();
        let beside = beside(target, &format!("lifeboat-{random:016x}"));
        Ok(Aside {
            directory,
            target: target.to_owned(),
            name: beside.file_name().unwrap_or_default().to_owned(),
        })
    }

    fn path(&self) -> PathBuf {
        self.target.with_file_name(&self.name)
    }

    fn shown(&self) -> &OsStr {
        self.target.file_name().unwrap_or_default()
    }

    fn refuse_existing(&self) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statat(&self.directory, self.shown(), flags) {
            Err(Errno::NOENT) => Ok(()),
            Ok(_) => Err(Error::new(
                Code::Target,
                format!("{} is there already", self.target.display()),
            )
            .hint("name a target that does not exist, or restore with --live")),
            Err(error) => Err(unreachable(&self.target, error)),
        }
    }

    fn fill(&self, input: &mut dyn Read, mode: u32) -> Result<u64> {
        let failed = |doing: &str, error: &dyn std::fmt::Display| {
            let what = format!("{} cannot be {doing}", self.path().display());
            Error::new(Code::Target, what)
                .cause(error)
                .hint("check that the directory is there, writable, and has room")
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode_made = Mode::RUSR | Mode::WUSR;
        let mut file = rustix::fs::openat(&self.directory, &self.name, flags, mode_made)
            .map(File::from)
            .map_err(|error| failed("made", &error))?;
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let doing = "what is to be restored cannot be read";
                    return Err(Error::from_io(Code::Io, doing, error));
                }
            };
            file.write_all(buffer.get(..count).unwrap_or_default())
                .map_err(|error| failed("written", &error))?;
            total += count as u64;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|error| failed("given its mode", &error))?;
        file.sync_all().map_err(|error| failed("synced", &error))?;
        Ok(total)
    }

    /// See [`sqlite`].
    fn sqlite(self, input: &mut dyn Read) -> Result<()> {
        self.refuse_existing()?;
        self.fill(input, 0o600)?;
        database::check_whole(&self.path()).map_err(|error| Error {
            message: format!("the database for {} is not whole", self.target.display()),
            ..error
        })?;
        for ending in database::COMPANIONS {
            let stale = database::companion(&self.target, ending);
            let name = stale.file_name().unwrap_or_default();
            match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => {
                    let what = format!("the stale {} cannot be removed", stale.display());
                    return Err(Error::new(Code::Target, what).cause(error));
                }
            }
        }
        self.show(RenameFlags::NOREPLACE)
    }

    /// Renames the file to its final name.
    fn show(self, flags: RenameFlags) -> Result<()> {
        let at = &self.directory;
        rename_at(at, &self.name, at, self.shown(), flags).map_err(|error| {
            let hint = match error {
                Errno::EXIST => "name a target that does not exist, or restore with --live",
                _ => "check that the directory is there and writable",
            };
            Error::new(
                Code::Target,
                format!("{} cannot be put in its place", self.target.display()),
            )
            .cause(error)
            .hint(hint)
        })?;
        // A descriptor that only names the directory cannot sync it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(at, ".", flags, Mode::empty())
            .and_then(rustix::fs::fsync)
            .map_err(|error| not_synced(parent(&self.target), error))
    }
}

fn unreachable(path: &Path, error: Errno) -> Error {
    Error::new(
        Code::Target,
        format!("{} cannot be reached", path.display()),
    )
    .cause(error)
    .hint("check the directories above it, and whether this user may enter them")
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After a rename the name is gone already.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

/// [`rename_at`] for paths.
fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    rename_at(CWD, from.as_os_str(), CWD, to.as_os_str(), flags)
}

/// `rename` with flags, if the file system supports them. If not, `NOREPLACE` is replaced by a
/// check before the rename.
fn rename_at(
    from_directory: impl AsFd,
    from: &OsStr,
    to_directory: impl AsFd,
    to: &OsStr,
    flags: RenameFlags,
) -> Result<(), Errno> {
    let (from_directory, to_directory) = (from_directory.as_fd(), to_directory.as_fd());
    if flags.is_empty() {
        return rustix::fs::renameat(from_directory, from, to_directory, to);
    }
    match rustix::fs::renameat_with(from_directory, from, to_directory, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            match rustix::fs::statat(to_directory, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(from_directory, from, to_directory, to),
                Err(error) => Err(error),
            }
        }
        other => other,
    }
}
