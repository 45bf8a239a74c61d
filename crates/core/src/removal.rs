//! Removes a tree that nobody needs any more, such as restored data in clear.
//!
//! Guarantees: no link is followed and no mount point is crossed, so nothing outside the tree is
//! touched. A directory locked by its mode and an entry marked immutable are unlocked first, where
//! this user may. Whatever remains is returned with the reason.

use crate::thread;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, Stat, fchmod, fstat,
    ioctl_getflags, ioctl_setflags, openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Depth limit: a directory that lies deeper is moved up before it is removed.
const DEPTH_MAX: usize = 64;
/// How often a directory is read again while some of its entries can be removed.
const PASSES_MAX: usize = 10_000;
/// The largest number of remaining entries that are named.
const STAYS_MAX: usize = 20;

/// Something that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// Where it is.
    pub path: PathBuf,
    /// Why it is still there.
    pub why: String,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} could not be removed: {}",
            self.path.display(),
            self.why
        )
    }
}

/// Removes a file, a link, or a directory with everything in it. Returns what remains. A path that
/// does not exist is no error.
pub fn remove_tree(path: &Path) -> Vec<Stays> {
    let Some(name) = path.file_name().map(c_name) else {
        return vec![stays(path, "it has no name")];
    };
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, above, flags, Mode::empty()) {
        Ok(parent) => remove_at(&parent, &name, path),
        Err(Errno::NOENT) => Vec::new(),
        Err(error) => vec![stays(path, error)],
    }
}

/// Removes an entry of an open directory, like [`remove_tree`]; `path` is for the report.
pub fn remove_at(parent: &OwnedFd, name: &CStr, path: &Path) -> Vec<Stays> {
    ahead(|half| half.entry(parent, name, 0));
    let mut removal = Removal::default();
    removal.entry(parent, name, path, 0);
    removal.stays
}

/// Runs `work` in two threads, one for each half. Nearly all of the time goes into unlinking files,
/// which two threads can do side by side. The removal proper takes whatever they leave.
fn ahead(work: impl Fn(Half) + Copy + Send) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let _ = thread::start_in(scope, move || work(Half(half)));
        }
    });
}

/// Removes files and links of every other directory, and ignores errors.
#[derive(Clone, Copy)]
struct Half(u64);

impl Half {
    fn entry(self, parent: &OwnedFd, name: &CStr, depth: usize) {
        let is_directory = |stat: &Stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            kind == FileType::Directory
        };
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if depth > DEPTH_MAX || !stat.is_ok_and(|stat| is_directory(&stat)) {
            return;
        }
        if let Ok(directory) = open_directory(parent, name) {
            let _ = self.clear(&directory, depth);
        }
    }

    /// Removes them below an open directory, but not directly in it.
    fn below(self, directory: &OwnedFd) {
        let Ok(entries) = Dir::read_from(directory) else {
            return;
        };
        for entry in entries.map_while(Result::ok) {
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(directory, name, 1);
            }
        }
    }

    fn clear(self, directory: &OwnedFd, depth: usize) -> Result<(), Errno> {
        let is_mine = fstat(directory)?.st_ino % 2 == self.0;
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match entry.file_type() {
                FileType::Directory => self.entry(directory, name, depth + 1),
                // An entry of unknown kind may be a directory, which this call does not unlink.
                _ if is_mine => drop(unlinkat(directory, name, AtFlags::empty())),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Empties an open directory except for the entry `keep`. Returns what else remains.
pub fn empty(directory: &OwnedFd, path: &Path, keep: &CStr) -> Vec<Stays> {
    let mut removal = Removal {
        keep: Some(keep.to_owned()),
        ..Removal::default()
    };
    unlock_directory(directory);
    // The entry to keep lies directly in the directory.
    ahead(|half| half.below(directory));
    removal.clear(directory, path, 0);
    removal.stays
}

/// Opens a directory in `parent`. Fails for a link and for the root of another file system.
pub fn open_directory(parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match openat2(parent, name, flags, Mode::empty(), resolve) {
        // The kernel lacks the call, or a container refuses it.
        Err(Errno::NOSYS | Errno::PERM) => {
            let directory = openat(parent, name, flags, Mode::empty())?;
            match fstat(&directory)?.st_dev == fstat(parent)?.st_dev {
                true => Ok(directory),
                false => Err(Errno::XDEV),
            }
        }
        opened => opened,
    }
}

/// Renames an entry within a directory.
pub fn rename_at(parent: &OwnedFd, from: &CStr, to: &str) -> Result<(), Errno> {
    renameat(parent, from, parent, to)
}

fn c_name(name: &OsStr) -> CString {
    // A name from the system contains no zero byte.
    CString::new(name.as_bytes()).unwrap_or_default()
}

fn stays(path: &Path, why: impl fmt::Display) -> Stays {
    Stays {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// A removal under way.
#[derive(Default)]
struct Removal {
    /// An entry of the outermost directory that is left alone.
    keep: Option<CString>,
    stays: Vec<Stays>,
    moved: u64,
}

impl Removal {
    fn note(&mut self, path: &Path, why: impl fmt::Display) {
        if self.stays.len() < STAYS_MAX {
            self.stays.push(stays(path, why));
        }
    }

    /// Removes all removable entries of a directory. Entries may appear meanwhile, and a reader may
    /// skip one: the directory is read until a pass removes nothing.
    fn clear(&mut self, directory: &OwnedFd, path: &Path, depth: usize) {
        let before = self.stays.len();
        for _ in 0..PASSES_MAX {
            self.stays.truncate(before);
            if !self.pass(directory, path, depth) {
                return;
            }
        }
    }

    /// Makes one pass over a directory. Returns true if it removed anything.
    fn pass(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> bool {
        let entries = match Dir::read_from(directory) {
            Ok(entries) => entries,
            Err(error) => {
                self.note(path, error);
                return false;
            }
        };
        let mut removed = false;
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.note(path, error);
                    break;
                }
            };
            let name = entry.file_name();
            let is_kept = depth == 0 && self.keep.as_deref() == Some(name);
            if name == c"." || name == c".." || is_kept {
                continue;
            }
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            removed |= self.entry(directory, name, &below, depth + 1);
        }
        removed
    }

    /// Removes an entry of a directory. Returns true if anything is gone from there.
    fn entry(&mut self, parent: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> bool {
        let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return false,
            Err(error) => {
                self.note(path, error);
                return false;
            }
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return self.directory(parent, name, path, depth);
        }
        self.unlink(parent, name, path, AtFlags::empty())
    }

    fn unlink(&mut self, parent: &OwnedFd, name: &CStr, path: &Path, flags: AtFlags) -> bool {
        let mut unlinked = unlinkat(parent, name, flags);
        if unlinked == Err(Errno::PERM) {
            make_mutable(parent, name);
            unlinked = unlinkat(parent, name, flags);
        }
        match unlinked {
            Ok(()) => return true,
            Err(Errno::NOENT) => {}
            // Its remaining content was named already.
            Err(Errno::NOTEMPTY | Errno::EXIST) if !self.stays.is_empty() => {}
            Err(Errno::BUSY) => self.note(path, "something is mounted there"),
            Err(error) => self.note(path, error),
        }
        false
    }

    fn directory(&mut self, parent: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> bool {
        let opened = match open_directory(parent, name) {
            Err(Errno::ACCESS) => {
                unlock_closed(parent, name);
                open_directory(parent, name)
            }
            opened => opened,
        };
        let directory = match opened {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return false,
            Err(Errno::XDEV) => {
                self.note(path, "something is mounted there");
                return false;
            }
            Err(error) => {
                self.note(path, error);
                return false;
            }
        };
        unlock_directory(&directory);
        if depth > DEPTH_MAX {
            return self.move_up(parent, name, path, depth);
        }
        self.clear(&directory, path, depth);
        self.unlink(parent, name, path, AtFlags::REMOVEDIR)
    }

    /// Moves a directory that lies too deep for one open file a level up to a shallower place.
    fn move_up(&mut self, parent: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> bool {
        let up = "../".repeat(depth.saturating_sub(1));
        self.moved += 1;
        let to = format!("{up}lifeboat-deep-{}", self.moved);
        match renameat(parent, name, parent, to.as_str()) {
            Ok(()) => true,
            Err(error) => {
                self.note(path, error);
                false
            }
        }
    }
}

/// Lets this user list and change an open directory that it owns.
fn unlock_directory(directory: &OwnedFd) {
    let mode = fstat(directory).map_or(0, |stat| stat.st_mode);
    if mode & 0o700 != 0o700 {
        let _ = fchmod(directory, Mode::RWXU);
    }
}

/// Unlocks a directory that its mode keeps from being opened.
fn unlock_closed(parent: &OwnedFd, name: &CStr) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(directory) = openat(parent, name, flags, Mode::empty()) {
        // The handle stays that of this directory, whatever else takes its name.
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let _ = rustix::fs::chmod(path.as_str(), Mode::RWXU);
    }
}

/// Clears the immutable marks of a file or directory and of the directory it is in.
fn make_mutable(parent: &OwnedFd, name: &CStr) {
    let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
    let free = |file: &OwnedFd| {
        if let Ok(flags) = ioctl_getflags(file)
            && flags.intersects(fixed)
        {
            let _ = ioctl_setflags(file, flags - fixed);
        }
    };
    free(parent);
    let kind = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map(|stat| FileType::from_raw_mode(stat.st_mode));
    // Opening any other kind may block for ever, or have an effect.
    if matches!(kind, Ok(FileType::RegularFile | FileType::Directory)) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(file) = openat(parent, name, flags, Mode::empty()) {
            free(&file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        (home, tree)
    }

    fn touch(path: &Path) {
        std::fs::File::create_new(path).unwrap();
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let (home, tree) = tree();
        let live = home.path().join("live");
        std::fs::create_dir(&live).unwrap();
        touch(&live.join("kept"));
        symlink(&live, tree.join("a/link")).unwrap();
        touch(&tree.join("a/b/file"));
        assert_eq!(remove_tree(&tree), []);
        assert!(!tree.exists());
        assert!(live.join("kept").exists());
        symlink(&live, &tree).unwrap();
        assert_eq!(remove_tree(&tree), []);
        assert!(tree.symlink_metadata().is_err());
        assert!(live.join("kept").exists());
        assert_eq!(remove_tree(&tree), [], "what is not there is no error");
    }

    #[test]
    fn directories_locked_by_their_mode_are_removed() {
        let (_home, tree) = tree();
        touch(&tree.join("a/b/file"));
        for (path, mode) in [("a/b", 0), ("a", 0o500)] {
            let mode = PermissionsExt::from_mode(mode);
            std::fs::set_permissions(tree.join(path), mode).unwrap();
        }
        assert_eq!(remove_tree(&tree), []);
        assert!(!tree.exists());
    }

    #[test]
    fn a_tree_deeper_than_files_may_be_open_is_removed() {
        let (_home, tree) = tree();
        let mut at = openat(CWD, &tree, OFlags::RDONLY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deeper-and-deeper", Mode::RWXU).unwrap();
            at = open_directory(&at, c"deeper-and-deeper").unwrap();
        }
        assert_eq!(remove_tree(&tree), []);
        assert!(!tree.exists());
    }

    #[test]
    fn what_is_kept_stays_to_the_last() {
        let (_home, tree) = tree();
        touch(&tree.join("mark"));
        touch(&tree.join("a/b/mark"));
        let directory = openat(CWD, &tree, OFlags::RDONLY, Mode::empty()).unwrap();
        assert_eq!(empty(&directory, &tree, c"mark"), []);
        let left: Vec<_> = std::fs::read_dir(&tree).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert!(tree.join("mark").exists());
    }
}
