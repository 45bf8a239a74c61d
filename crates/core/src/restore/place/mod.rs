//! The only place that writes restored things.
//!
//! Guarantees: nothing outside the named target is touched, whatever an archive says; a file shows
//! under its name only whole and durable; what was live is kept until it is undone or removed by
//! the caller. It does not know where bytes come from, nor whether they are the right ones.

mod extract;
mod swap;
mod tape;
#[cfg(test)]
mod tests;

pub use extract::{Extracted, extract};
pub use swap::{Swap, aside_path, swap_in};
pub(crate) use tape::{Member, TapeReader};

use crate::error::{Code, Error, Result};
use crate::source::sqlite as database;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Writes all of `input` to a new file at `path` with these permission bits, durably. Returns its
/// length. A file that is there already is refused; see [`replace_file`].
pub fn write_file(input: &mut dyn Read, path: &Path, mode: u32) -> Result<u64> {
    refuse_existing(path)?;
    let aside = Aside::new(path)?;
    let bytes = aside.fill(input, mode)?;
    aside.show(path, RenameFlags::NOREPLACE)?;
    Ok(bytes)
}

/// As [`write_file`], but replaces in one step a file that is there already.
pub fn replace_file(input: &mut dyn Read, path: &Path, mode: u32) -> Result<u64> {
    let aside = Aside::new(path)?;
    let bytes = aside.fill(input, mode)?;
    aside.show(path, RenameFlags::empty())?;
    Ok(bytes)
}

/// Writes a SQLite database to a new file at `path` (0600), durably. It shows under its name only
/// after it passed `integrity_check`, and after what an earlier database left beside that name
/// (`-wal`, `-shm`, `-journal`) is gone: SQLite would apply it to the new one.
pub fn sqlite(input: &mut dyn Read, path: &Path) -> Result<()> {
    refuse_existing(path)?;
    let aside = Aside::new(path)?;
    aside.fill(input, 0o600)?;
    database::check_whole(&aside.path).map_err(|error| Error {
        message: format!("the database for {} is not whole", path.display()),
        ..error
    })?;
    for ending in database::COMPANIONS {
        let stale = database::companion(path, ending);
        match rustix::fs::unlink(&stale) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                let what = format!("the stale {} cannot be removed", stale.display());
                return Err(Error::new(Code::Target, what).cause(error));
            }
        }
    }
    aside.show(path, RenameFlags::NOREPLACE)
}

/// Makes the directory (0700, with its parents) unless it is there; refuses one that holds
/// something.
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

fn refuse_existing(path: &Path) -> Result<()> {
    match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => Ok(()),
        Ok(_) => Err(
            Error::new(Code::Target, format!("{} is there already", path.display()))
                .hint("name a target that does not exist, or restore with --live"),
        ),
        Err(error) => Err(Error::new(
            Code::Target,
            format!("{} cannot be reached", path.display()),
        )
        .cause(error)
        .hint("check the directories above it, and whether this user may enter them")),
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

/// Makes an extracted tree durable, and all else on its file system: [`extract`] syncs nothing,
/// because a drill needs no durability.
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
        .map_err(|error| {
            Error::new(
                Code::Target,
                format!("the directory {} cannot be synced", directory.display()),
            )
            .cause(error)
        })
}

/// A file under construction beside its target; gone when this is dropped unless it was shown.
struct Aside {
    path: PathBuf,
}

impl Aside {
    fn new(target: &Path) -> Result<Self> {
        if target.file_name().is_none() {
            let what = format!("{} names no file", target.display());
            return Err(Error::new(Code::Target, what));
        }
        let random = crate::clock::Clock::System.random();
        Ok(Aside {
            path: beside(target, &format!("lifeboat-{random:016x}")),
        })
    }

    fn fill(&self, input: &mut dyn Read, mode: u32) -> Result<u64> {
        let failed = |doing: &str, error: &dyn std::fmt::Display| {
            let what = format!("{} cannot be {doing}", self.path.display());
            Error::new(Code::Target, what)
                .cause(error)
                .hint("check that the directory is there, writable, and has room")
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR)
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

    /// Gives the file its name.
    fn show(self, target: &Path, flags: RenameFlags) -> Result<()> {
        rename(&self.path, target, flags).map_err(|error| {
            let hint = match error {
                Errno::EXIST => "name a target that does not exist, or restore with --live",
                _ => "check that the directory is there and writable",
            };
            Error::new(
                Code::Target,
                format!("{} cannot be put in its place", target.display()),
            )
            .cause(error)
            .hint(hint)
        })?;
        sync_directory(parent(target))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After a rename there is nothing left of that name.
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// `rename`, with flags where the file system knows them. Without: for `NOREPLACE`, a look before.
fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), Errno> {
    if flags.is_empty() {
        return rustix::fs::renameat(CWD, from, CWD, to);
    }
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            match rustix::fs::statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => rustix::fs::renameat(CWD, from, CWD, to),
                Err(error) => Err(error),
            }
        }
        other => other,
    }
}
