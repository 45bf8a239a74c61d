//! A directory that nothing can escape from.
//!
//! Guarantees: whatever is opened, made or removed through [`Within`] lies below its directory. The
//! kernel confines the walk (`openat2` with `RESOLVE_BENEATH`), and no link is followed. On kernels
//! without that call, or where a sandbox denies it, each component is opened by itself, and one
//! that is `..`, absolute or a link is refused: the same answer, more slowly. The path of the
//! directory itself is the operator's, and may lead through links.

use super::Aside;
use crate::error::{Code, Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

/// How often a walk is retried if a rename kept the kernel from confining it.
const TRIES: usize = 64;

/// An open directory that confines access to what lies below it.
#[derive(Debug)]
pub struct Within {
    handle: OwnedFd,
    path: PathBuf,
}

impl Within {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            Error::new(
                Code::Target,
                format!("the target {} cannot be entered", path.display()),
            )
            .cause(error)
            .hint("make it, or name another target")
        })?;
        Ok(Within {
            handle,
            path: path.to_owned(),
        })
    }

    /// Wraps a directory that is open already.
    pub(super) fn opened(handle: OwnedFd, path: PathBuf) -> Self {
        Within { handle, path }
    }

    /// A second handle of the same directory.
    pub(super) fn try_clone(&self) -> Result<Self> {
        let handle = self.clone_handle()?;
        Ok(Within::opened(handle, self.path.clone()))
    }

    /// Its path, for messages and for tools that need a path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory below it for this user alone, and opens it. Fails if the name exists.
    pub fn new_directory(&self, name: &str) -> Result<Within> {
        let (parent, last) = self.parent(Path::new(name), false)?;
        rustix::fs::mkdirat(&parent, last, Mode::RWXU)
            .map_err(|error| self.failed(Path::new(name), "made", error))?;
        let handle = self
            .descend(Path::new(name), OFlags::RDONLY, None)
            .map_err(|error| self.failed(Path::new(name), "entered", error))?;
        Ok(Within {
            handle,
            path: self.path.join(name),
        })
    }

    /// Attributes of what has this name below it; a link counts even if it leads nowhere. `None` if
    /// there is nothing. Fails for a name that leads through a link or out of the directory.
    pub fn look(&self, relative: &Path) -> Result<Option<Stat>> {
        let failed = |error| self.failed(relative, "looked at", error);
        let (above, last) = split(relative).ok_or_else(|| failed(Errno::XDEV))?;
        let parent = match self.descend(above, OFlags::PATH, None) {
            Ok(parent) => parent,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match rustix::fs::statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a file below it for reading.
    pub fn file(&self, relative: &Path) -> Result<File, Errno> {
        let (above, last) = split(relative).ok_or(Errno::XDEV)?;
        let parent = self.descend(above, OFlags::PATH, None)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, last, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Makes a file below it (0600), and the directories above the file (0700). Fails if the file
    /// exists.
    pub fn new_file(&self, relative: &Path) -> Result<File> {
        let (parent, last) = self.parent(relative, true)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, last, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| self.failed(relative, "written", error))
    }

    /// Writes all of `input` to a new file directly in it, durably: see [`super::write_file`].
    pub fn write_file(&self, input: &mut dyn Read, name: &OsStr, mode: u32) -> Result<u64> {
        let path = self.checked(name)?;
        let aside = Aside::within(self.clone_handle()?, &path)?;
        aside.refuse_existing()?;
        let bytes = aside.fill(input, mode)?;
        aside.show(RenameFlags::NOREPLACE)?;
        Ok(bytes)
    }

    /// Writes a SQLite database to a new file directly in it, durably: see [`super::sqlite`].
    pub fn sqlite(&self, input: &mut dyn Read, name: &OsStr) -> Result<PathBuf> {
        let path = self.checked(name)?;
        Aside::within(self.clone_handle()?, &path)?.sqlite(input)?;
        Ok(path)
    }

    /// Removes what has this name below it, with everything in it and without following a link. A
    /// missing name is no error; what cannot be removed stays.
    pub fn remove(&self, relative: &Path) {
        let Ok((parent, last)) = self.parent(relative, false) else {
            return;
        };
        if rustix::fs::unlinkat(&parent, last, AtFlags::empty()).is_ok() {
            return;
        }
        // The path begins at the open directory, and its last component is not a link now. From
        // there on the standard library works with handles.
        let held = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
        let _ = std::fs::remove_dir_all(held.join(last));
    }

    /// Opens the directory of this name below it. With `make`, missing directories are made with
    /// this mode.
    pub(super) fn descend(
        &self,
        relative: &Path,
        access: OFlags,
        make: Option<Mode>,
    ) -> Result<OwnedFd, Errno> {
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let whole = match relative.as_os_str().is_empty() {
            true => Path::new("."),
            false => relative,
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.handle, whole, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOENT) if make.is_some() => break,
                Err(Errno::NOSYS | Errno::PERM) => break,
                other => return other,
            }
        }
        self.step_by_step(relative, flags, make)
    }

    /// Does what [`Within::descend`] does, without the kernel's help.
    fn step_by_step(
        &self,
        relative: &Path,
        flags: OFlags,
        make: Option<Mode>,
    ) -> Result<OwnedFd, Errno> {
        let mut at = rustix::fs::openat(&self.handle, ".", flags, Mode::empty())?;
        for component in relative.components() {
            let part = match component {
                Component::Normal(part) => part,
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(Errno::XDEV);
                }
            };
            at = match (rustix::fs::openat(&at, part, flags, Mode::empty()), make) {
                (Err(Errno::NOENT), Some(mode)) => {
                    match rustix::fs::mkdirat(&at, part, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    rustix::fs::openat(&at, part, flags, Mode::empty())?
                }
                (opened, _) => opened?,
            };
        }
        Ok(at)
    }

    /// The directory that holds an entry, and the name of the entry there.
    fn parent<'a>(&self, relative: &'a Path, make: bool) -> Result<(OwnedFd, &'a OsStr)> {
        let (above, last) =
            split(relative).ok_or_else(|| self.failed(relative, "reached", Errno::XDEV))?;
        let parent = self
            .descend(above, OFlags::PATH, make.then_some(Mode::RWXU))
            .map_err(|error| self.failed(relative, "reached", error))?;
        Ok((parent, last))
    }

    /// The path of a name directly in it. Fails if it is not a plain name.
    fn checked(&self, name: &OsStr) -> Result<PathBuf> {
        match split(Path::new(name)) {
            Some((above, last)) if above.as_os_str().is_empty() && last == name => {
                Ok(self.path.join(name))
            }
            _ => Err(self.failed(Path::new(name), "written", Errno::XDEV)),
        }
    }

    fn clone_handle(&self) -> Result<OwnedFd> {
        self.handle
            .try_clone()
            .map_err(|error| Error::io("no further file can be opened", &error))
    }

    fn failed(&self, relative: &Path, doing: &str, error: Errno) -> Error {
        let path = self.path.join(relative);
        match error {
            Errno::XDEV | Errno::LOOP | Errno::NOTDIR => Error::new(
                Code::ObjectDamaged,
                format!(
                    "{} does not lie below {}",
                    relative.display(),
                    self.path.display()
                ),
            )
            .hint("no backup made by this program has such a name: do not trust this copy"),
            Errno::EXIST => {
                Error::new(Code::Target, format!("{} is there already", path.display()))
                    .hint("name a target that does not exist")
            }
            _ => Error::new(
                Code::Target,
                format!("{} cannot be {doing}", path.display()),
            )
            .cause(error)
            .hint("check the permissions and the space there, or name another target"),
        }
    }
}

/// The parent and the last component; `None` for a path that names nothing below.
fn split(relative: &Path) -> Option<(&Path, &OsStr)> {
    let below = relative
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    let above = relative.parent()?;
    relative
        .file_name()
        .filter(|_| below)
        .map(|last| (above, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory with a link that leads out of it, and what lies outside.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        for directory in ["target/in", "outside"] {
            std::fs::create_dir_all(base.path().join(directory)).unwrap();
        }
        drop(File::create_new(base.path().join("outside/kept")).unwrap());
        symlink(base.path().join("outside"), target.join("link")).unwrap();
        symlink("../../outside", target.join("in/climbs")).unwrap();
        symlink("in", target.join("inner")).unwrap();
        (base, target)
    }

    const OUT: [&str; 8] = [
        "..",
        "../outside",
        "in/../../outside",
        "/etc",
        "link",
        "in/climbs",
        "inner",
        "link/../link",
    ];

    #[test]
    fn no_walk_leaves_the_directory_with_or_without_the_help_of_the_kernel() {
        let (_base, target) = place();
        let within = Within::open(&target).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for path in OUT {
            let path = Path::new(path);
            assert!(
                within.descend(path, OFlags::RDONLY, None).is_err(),
                "{path:?}"
            );
            assert!(within.step_by_step(path, flags, None).is_err(), "{path:?}");
            let made = within.descend(path, OFlags::RDONLY, Some(Mode::RWXU));
            assert!(made.is_err(), "{path:?}");
        }
        for path in ["", "in", "./in"] {
            let path = Path::new(path);
            assert!(
                within.descend(path, OFlags::RDONLY, None).is_ok(),
                "{path:?}"
            );
            assert!(within.step_by_step(path, flags, None).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn nothing_outside_is_made_read_or_removed() {
        let (base, target) = place();
        let within = Within::open(&target).unwrap();
        for path in OUT {
            let file = Path::new(path).join("kept");
            assert!(within.file(&file).is_err(), "{file:?}");
            assert!(within.look(&file).is_err(), "{file:?}");
            assert!(
                within.new_file(&Path::new(path).join("new")).is_err(),
                "{path:?}"
            );
            within.remove(&file);
            let name = OsStr::new(path);
            if Path::new(path).components().count() > 1 || path == ".." {
                assert!(
                    within.write_file(&mut &b"x"[..], name, 0o600).is_err(),
                    "{path:?}"
                );
                assert!(within.new_directory(path).is_err(), "{path:?}");
                within.remove(Path::new(path));
            }
        }
        // The link itself is removed, never its target.
        within.remove(Path::new("link"));
        assert!(target.join("link").symlink_metadata().is_err());
        let outside: Vec<_> = std::fs::read_dir(base.path().join("outside"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(outside, ["kept"]);
    }

    #[test]
    fn existing_entries_are_never_taken_over() {
        let (_base, target) = place();
        let within = Within::open(&target).unwrap();
        assert_eq!(within.new_directory("in").unwrap_err().code, Code::Target);
        let mut file = within.new_file(Path::new("a/b/c")).unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        assert!(within.new_file(Path::new("a/b/c")).is_err());
        assert!(within.file(Path::new("a/b/c")).is_ok());
        assert!(within.file(Path::new("a/b")).is_err());
        within.remove(Path::new("a"));
        assert!(within.look(Path::new("a")).unwrap().is_none());
    }
}
