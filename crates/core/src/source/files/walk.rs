//! The walk over a directory tree: in path order, by directory descriptors, following no link.
//!
//! Capture and observation use the same walk, so that hard links get the same first name on both
//! sides. An entry that vanishes between listing and reading counts as missing. The names of one
//! directory at a time are held, and one descriptor for each level.

use super::exclude::Excludes;
use crate::error::Result;
use lifeboat_repository::aside;
use lifeboat_repository::mounts::Mounts;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Depth limit. Deeper directories are refused: every level holds a descriptor, and a process has
/// 1024.
const DEPTH_MAX: usize = 512;

/// An entry met on the walk.
pub(super) struct Entry<'a> {
    /// The directory it is in.
    pub(super) directory: BorrowedFd<'a>,
    /// Its name there.
    pub(super) name: &'a OsStr,
    /// Its path in the archive: relative, without a trailing slash.
    pub(super) path: &'a [u8],
    pub(super) stat: Stat,
}

impl Entry<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// A consumer of the entries of a walk.
pub(super) trait Visitor {
    /// A directory was entered; its entries follow.
    fn directory(&mut self, entry: &Entry<'_>, opened: &OwnedFd) -> Result<()>;
    /// Anything but a directory.
    fn other(&mut self, entry: &Entry<'_>) -> Result<()>;
    /// An entry that could not be examined or, if it is a directory, entered.
    fn trouble(&mut self, path: &[u8], reason: &str) -> Result<()>;
    /// Something that a restore set aside, which the walk leaves out.
    fn set_aside(&mut self, _path: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Called before a directory is opened. The returned value is held until the walk has left the
    /// directory.
    fn before(&mut self, _entry: &Entry<'_>) -> Option<Eased> {
        None
    }
}

/// A file or directory that its owner was given the right to read, until this is dropped.
pub(super) struct Eased {
    place: OwnedFd,
    mode: Mode,
}

impl Eased {
    /// Lets the owner, if that is this user, read (and enter) the entry. `None` if that is not
    /// needed or not possible.
    pub(super) fn new(entry: &Entry<'_>) -> Option<Self> {
        let user = rustix::process::geteuid();
        let mode = Mode::from_raw_mode(entry.stat.st_mode & 0o7777);
        let wanted = match entry.kind() {
            FileType::Directory => Mode::RUSR | Mode::XUSR,
            _ => Mode::RUSR,
        };
        let needless = user.is_root() || mode.contains(wanted);
        if needless || entry.stat.st_uid != user.as_raw() {
            return None;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(entry.directory, entry.name, flags, Mode::empty()).ok()?;
        let eased = Eased { place, mode };
        eased.set(mode | wanted).ok()?;
        Some(eased)
    }

    fn set(&self, mode: Mode) -> Result<(), Errno> {
        // Descriptors of this kind refuse `fchmod`.
        rustix::fs::chmod(format!("/proc/self/fd/{}", self.place.as_raw_fd()), mode)
    }
}

impl Drop for Eased {
    fn drop(&mut self) {
        // It was possible a moment ago. If it fails now, another observation of the tree reports
        // it.
        let _ = self.set(self.mode);
    }
}

/// The part of a tree to walk.
pub(super) struct Selection {
    /// Paths relative to the start, none below another unless an exclusion lies between. `None` for
    /// everything.
    pub(super) roots: Option<BTreeSet<PathBuf>>,
    pub(super) excludes: Excludes,
    pub(super) one_file_system: bool,
    /// Mounts that may not answer, if the walk begins at `/`; `None` if it begins elsewhere.
    pub(super) mounts: Option<Mounts>,
    /// True to leave out what restores set aside, except for roots.
    pub(super) leaves_set_aside: bool,
}

/// The part of a directory that is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    /// Only what leads to a root.
    Lead,
    /// Everything that is not excluded; the device is for `one_file_system`.
    Full(u64),
}

impl Selection {
    pub(super) fn everything() -> Self {
        Selection {
            roots: None,
            excludes: Excludes::default(),
            one_file_system: false,
            mounts: None,
            leaves_set_aside: false,
        }
    }

    fn is_root(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.roots.as_ref().is_some_and(|r| r.contains(path))
    }

    /// The names directly below `path` that lead to a root.
    fn leads(&self, path: &[u8]) -> BTreeSet<OsString> {
        let path = Path::new(OsStr::from_bytes(path));
        let below = self.roots.iter().flat_map(|r| r.range(path.to_owned()..));
        below
            .take_while(|root| root.starts_with(path))
            .filter_map(|root| root.strip_prefix(path).ok()?.iter().next())
            .map(OsStr::to_owned)
            .collect()
    }

    fn leads_to_root(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let mut below = self.roots.iter().flat_map(|r| r.range(path.to_owned()..));
        below.next().is_some_and(|root| root.starts_with(path))
    }

    /// Returns true if an entry can be left out by its name and its kind in the directory alone.
    /// The entry itself is then not touched.
    fn leaves_out(&self, within: Extent, path: &[u8], kind: FileType) -> bool {
        let Extent::Full(device) = within else {
            return false;
        };
        let is_another = |mounts: &Mounts| mounts.is_another(&absolute(path), device);
        let elsewhere = self.one_file_system && self.mounts.as_ref().is_some_and(is_another);
        (elsewhere || self.excludes.matches(path, kind == FileType::Directory))
            && !self.leads_to_root(path)
    }

    /// The part of an entry that is wanted, given the part of its directory that is wanted; `None`
    /// for nothing.
    fn extent(&self, within: Extent, path: &[u8], stat: &Stat) -> Option<Extent> {
        if self.is_root(path) {
            return Some(Extent::Full(stat.st_dev));
        }
        let Extent::Full(device) = within else {
            return Some(Extent::Lead);
        };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let elsewhere = self.one_file_system && stat.st_dev != device;
        if elsewhere || self.excludes.matches(path, directory) {
            return self.leads_to_root(path).then_some(Extent::Lead);
        }
        Some(Extent::Full(device))
    }
}

/// Walks what `selection` names below `start`, which is itself not visited.
pub(super) fn walk(start: OwnedFd, selection: &Selection, visitor: &mut dyn Visitor) -> Result<()> {
    let device = rustix::fs::fstat(&start).map_or(0, |stat| stat.st_dev);
    let extent = match &selection.roots {
        Some(roots) if !roots.contains(Path::new("")) => Extent::Lead,
        _ => Extent::Full(device),
    };
    let mut walk = Walk {
        selection,
        visitor,
        path: Vec::new(),
    };
    walk.inside(&start, extent, 0)
}

struct Walk<'a> {
    selection: &'a Selection,
    visitor: &'a mut dyn Visitor,
    path: Vec<u8>,
}

impl Walk<'_> {
    fn inside(&mut self, directory: &OwnedFd, extent: Extent, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            let reason = "is nested deeper than 512 directories";
            return self.visitor.trouble(&self.path, reason);
        }
        let names = match extent {
            Extent::Lead => {
                let mut names = Names::default();
                for name in self.selection.leads(&self.path) {
                    names.push(name.as_bytes(), FileType::Unknown);
                }
                names
            }
            Extent::Full(_) => match self.ask(directory.as_fd(), false, list) {
                Ok(names) => names,
                Err(error) => {
                    let reason = format!("cannot be listed: {error}");
                    return self.visitor.trouble(&self.path, &reason);
                }
            },
        };
        let length = self.path.len();
        for (name, kind) in names.iter() {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            let done = match self.selection.leaves_out(extent, &self.path, kind) {
                true => Ok(()),
                false => self.entry(directory.as_fd(), name, extent, depth),
            };
            self.path.truncate(length);
            done?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        within: Extent,
        depth: usize,
    ) -> Result<()> {
        if self.selection.leaves_set_aside
            && within != Extent::Lead
            && !self.selection.is_root(&self.path)
            && aside::is_set_aside(directory, Path::new(name), name)
        {
            return self.visitor.set_aside(&self.path);
        }
        // A parent of a configured path may be a link: the path leads through it.
        let through = within == Extent::Lead && !self.selection.is_root(&self.path);
        let follow = if through {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        let own = name.to_owned();
        let look = move |directory: BorrowedFd<'_>| statat(directory, &own, follow);
        let stat = match self.ask(directory, through, look) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let reason = format!("cannot be looked at: {error}");
                return self.visitor.trouble(&self.path, &reason);
            }
        };
        let Some(extent) = self.selection.extent(within, &self.path, &stat) else {
            return Ok(());
        };
        let path = self.path.clone();
        let mut entry = Entry {
            directory,
            name,
            path: &path,
            stat,
        };
        if entry.kind() != FileType::Directory {
            // An entry that leads to a root but is not a directory was excluded itself.
            let wanted = extent != Extent::Lead;
            return if wanted {
                self.visitor.other(&entry)
            } else {
                Ok(())
            };
        }
        let eased = self.visitor.before(&entry);
        let nofollow = if through {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | nofollow;
        let is_lead = extent == Extent::Lead;
        let own = name.to_owned();
        let open = move |directory: BorrowedFd<'_>| {
            let opened = match openat(directory, &own, flags, Mode::empty()) {
                // Its entries may still be reachable by name.
                Err(Errno::ACCESS) if is_lead => {
                    openat(directory, &own, flags | OFlags::PATH, Mode::empty())?
                }
                opened => opened?,
            };
            let stat = rustix::fs::fstat(&opened).ok();
            Ok((opened, stat))
        };
        let (opened, stat) = match self.ask(directory, through, open) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                let reason = format!("cannot be entered: {error}");
                return self.visitor.trouble(&self.path, &reason);
            }
        };
        if let (None, Some(stat)) = (&eased, stat) {
            entry.stat = stat;
        }
        self.visitor.directory(&entry, &opened)?;
        let done = self.inside(&opened, extent, depth + 1);
        drop(eased);
        done
    }

    /// Asks the file system about the current place of the walk, through its directory. On a mount
    /// that may not answer, and with `anyway` on every mount, the wait is bounded.
    fn ask<T: Send + 'static>(
        &self,
        directory: BorrowedFd<'_>,
        anyway: bool,
        question: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno> + Send + 'static,
    ) -> io::Result<T> {
        let here = absolute(&self.path);
        match &self.selection.mounts {
            Some(mounts) if anyway || mounts.is_far(&here) => {
                let directory = directory.try_clone_to_owned()?;
                mounts.ask_anyway(&here, move |_| Ok(question(directory.as_fd())?))
            }
            _ => Ok(question(directory)?),
        }
    }
}

fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

/// The names in one directory and their kinds, in one buffer: there may be a million.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    /// The start of each name, its length and its kind.
    places: Vec<(usize, u16, FileType)>,
}

impl Names {
    fn push(&mut self, name: &[u8], kind: FileType) {
        // No file system has longer names, and a shortened one is not found.
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.places.push((self.bytes.len(), length, kind));
        self.bytes.extend_from_slice(name);
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |place: &(usize, u16, FileType)| at(bytes, place);
        self.places
            .sort_unstable_by(|one, two| name(one).cmp(name(two)));
    }

    fn iter(&self) -> impl Iterator<Item = (&OsStr, FileType)> {
        let places = self.places.iter();
        places.map(|place| (OsStr::from_bytes(at(&self.bytes, place)), place.2))
    }
}

fn at<'a>(bytes: &'a [u8], (start, length, _): &(usize, u16, FileType)) -> &'a [u8] {
    let end = start + usize::from(*length);
    bytes.get(*start..end).unwrap_or_default()
}

/// The names in a directory, sorted by bytes, without `.` and `..`, and their kinds as far as the
/// directory gives them.
fn list(directory: BorrowedFd<'_>) -> Result<Names, Errno> {
    let mut names = Names::default();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name, entry.file_type());
        }
    }
    names.sort();
    Ok(names)
}
