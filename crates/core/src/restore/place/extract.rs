//! Extracting a tar archive below one directory and nowhere else.
//!
//! Every name is walked from the target directory by descriptors that follow no link, and every
//! file, link and hard link is made anew: what exists is never opened, followed or replaced. So a
//! link in the archive can point anywhere, being content, and nothing can be written through it.
//! Nothing is synced: see [`super::sync_tree`].

use super::Within;
use super::tape::{Member, TapeReader};
use crate::error::{Code, Error, Result};
use crate::observe::Observer;
use crate::source::Skipped;
use crate::source::files::{acl, escape};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tar::EntryType;

/// So many attributes that could not be set are named one by one.
const NAMED_MAX: usize = 20;

/// What an extraction made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files, further names of hard-linked ones among them.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// Whether every entry has its owner and group; without privilege, only one's own have.
    pub owners_restored: bool,
    /// What is in the archive and was not made: named pipes.
    pub skipped: Vec<Skipped>,
    /// What an operator should know, such as attributes that could not be set.
    pub warnings: Vec<String>,
}

/// Extracts a tar archive into an open directory, and reads `input` to its end.
///
/// A truncated or damaged archive is an error, and so is one that no honest backup makes: names
/// that are absolute or climb out, hard links to anything but a file of the same archive's kind,
/// devices, or an entry in the place of another. What was made before the error stays.
pub fn extract(
    input: &mut dyn Read,
    directory: &Within,
    observer: &dyn Observer,
) -> Result<Extracted> {
    let mut tape = TapeReader::new(input);
    let mut extraction = Extraction {
        root: directory,
        observer,
        parent: None,
        directories: BTreeMap::new(),
        result: Extracted {
            owners_restored: true,
            ..Extracted::default()
        },
        not_set: BTreeMap::new(),
        buffer: vec![0; 256 << 10],
    };
    while let Some(member) = tape.next()? {
        extraction.member(&member, &mut tape)?;
    }
    extraction.finish()
}

struct Extraction<'a> {
    root: &'a Within,
    observer: &'a dyn Observer,
    /// The directory of the last entry: the next one is mostly in it as well.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Their modes, owners and times are set last, deepest first.
    directories: BTreeMap<Vec<u8>, Member>,
    result: Extracted,
    /// What could not be set, and why → on what.
    not_set: BTreeMap<String, BTreeSet<String>>,
    buffer: Vec<u8>,
}

fn hostile(path: &[u8], what: &str) -> Error {
    Error::new(
        Code::ObjectDamaged,
        format!("the archive entry {} {what}", escape(path)),
    )
    .hint("no backup made by this program has such an entry: do not trust this copy")
}

fn not_made(path: &[u8], error: Errno) -> Error {
    if error == Errno::EXIST {
        return hostile(path, "is in the place of an earlier one");
    }
    Error::new(Code::Target, format!("{} cannot be restored", escape(path)))
        .cause(error)
        .hint("check the room and the permissions of the target")
}

/// The components of a name, without `.`; an error for a name that could leave the target.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    if path.first() == Some(&b'/') {
        return Err(hostile(path, "has an absolute name"));
    }
    if path.is_empty() || path.contains(&0) {
        return Err(hostile(path, "has no valid name"));
    }
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    match parts.contains(&b"..".as_slice()) {
        true => Err(hostile(path, "climbs out of its directory")),
        false => Ok(parts),
    }
}

impl Extraction<'_> {
    fn member(&mut self, member: &Member, tape: &mut TapeReader<impl Read>) -> Result<()> {
        let parts = components(&member.path)?;
        let Some((name, above)) = parts.split_last() else {
            // `./`, the top of an archive made by hand: the target keeps its own mode.
            return match member.kind {
                EntryType::Directory => Ok(()),
                _ => Err(hostile(&member.path, "has no valid name")),
            };
        };
        let name = OsStr::from_bytes(name);
        let above = above.join(&b'/');
        match member.kind.as_byte() {
            // A name that ends in a slash was a directory before there was a type.
            0 | b'0' | b'7' if member.path.last() != Some(&b'/') => {
                self.file(&above, name, member, tape)
            }
            0 | b'0' | b'5' | b'D' => self.directory(&above, name, &parts, member),
            b'1' => self.hard_link(&above, name, member),
            b'2' => self.symbolic_link(&above, name, member),
            b'6' => {
                self.result.skipped.push(Skipped {
                    name: escape(&member.path),
                    reason: "is a named pipe".into(),
                    partial: false,
                });
                Ok(())
            }
            b'3' | b'4' => Err(hostile(&member.path, "is a device")),
            _ => Err(hostile(&member.path, "is of an unknown kind")),
        }
    }

    /// Opens the directory of this name below the target, making what is missing.
    fn open(&self, path: &[u8], make: bool, access: OFlags) -> Result<OwnedFd, Errno> {
        let made = make.then(|| Mode::from_raw_mode(0o755));
        let path = Path::new(OsStr::from_bytes(path));
        self.root.descend(path, access, made)
    }

    /// The directory an entry is to be made in.
    fn parent(&mut self, above: &[u8], member: &Member) -> Result<&OwnedFd> {
        let known = self.parent.take().filter(|(path, _)| path == above);
        let parent = match known {
            Some(parent) => parent,
            None => {
                let opened = self
                    .open(above, true, OFlags::PATH)
                    .map_err(|error| match error {
                        // What stands there is a file or a link.
                        Errno::NOTDIR | Errno::LOOP => {
                            hostile(&member.path, "lies below an entry that is no directory")
                        }
                        _ => not_made(&member.path, error),
                    })?;
                (above.to_vec(), opened)
            }
        };
        Ok(&self.parent.insert(parent).1)
    }

    fn directory(
        &mut self,
        above: &[u8],
        name: &OsStr,
        parts: &[&[u8]],
        member: &Member,
    ) -> Result<()> {
        let parent = self.parent(above, member)?;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| not_made(&member.path, error))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(hostile(&member.path, "is in the place of an earlier one"));
                }
            }
            Err(error) => return Err(not_made(&member.path, error)),
        }
        let member = Member {
            path: member.path.clone(),
            link: Vec::new(),
            pieces: None,
            xattrs: member.xattrs.clone(),
            acl_access: member.acl_access.clone(),
            acl_default: member.acl_default.clone(),
            ..*member
        };
        if self.directories.insert(parts.join(&b'/'), member).is_none() {
            self.result.directories += 1;
        }
        Ok(())
    }

    fn file(
        &mut self,
        above: &[u8],
        name: &OsStr,
        member: &Member,
        tape: &mut TapeReader<impl Read>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let parent = self.parent(above, member)?;
        // The mode that it is to have need not be set later; but without the right to write, an
        // ordinary user cannot set attributes.
        let mode = match member.xattrs.is_empty() {
            true => Mode::from_raw_mode(member.mode & 0o777),
            false => Mode::RUSR | Mode::WUSR,
        };
        let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode)
            .map(File::from)
            .map_err(|error| not_made(&member.path, error))?;
        self.content(&file, member, tape)?;
        self.attributes(&file, member)?;
        self.result.files += 1;
        self.result.bytes = self.result.bytes.saturating_add(member.size);
        Ok(())
    }

    fn content(
        &mut self,
        file: &File,
        member: &Member,
        tape: &mut TapeReader<impl Read>,
    ) -> Result<()> {
        let failed = |error: std::io::Error| {
            let errno = error
                .raw_os_error()
                .map_or(Errno::IO, Errno::from_raw_os_error);
            not_made(&member.path, errno)
        };
        if member.pieces.is_some() {
            rustix::fs::ftruncate(file, member.size)
                .map_err(|error| not_made(&member.path, error))?;
        }
        let whole = [(0, member.size)];
        for (offset, length) in member.pieces.as_deref().unwrap_or(&whole) {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(usize::MAX);
                let want = want.min(self.buffer.len());
                let buffer = self.buffer.get_mut(..want).unwrap_or_default();
                let count = tape.data(buffer)?;
                if count == 0 {
                    return Err(hostile(&member.path, "has less data than it says"));
                }
                let bytes = buffer.get(..count).unwrap_or_default();
                file.write_all_at(bytes, at).map_err(failed)?;
                self.observer.advance(count as u64);
                at += count as u64;
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, above: &[u8], name: &OsStr, member: &Member) -> Result<()> {
        let parts = components(&member.link).map_err(|error| Error {
            message: format!("{} (target of {})", error.message, escape(&member.path)),
            ..error
        })?;
        let wrong = || {
            hostile(
                &member.path,
                "is a hard link to what is no file of this archive",
            )
        };
        let (first, first_above) = parts.split_last().ok_or_else(wrong)?;
        let first = OsStr::from_bytes(first);
        let first_parent = self
            .open(&first_above.join(&b'/'), false, OFlags::PATH)
            .map_err(|_| wrong())?;
        let stat = rustix::fs::statat(&first_parent, first, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| wrong())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(wrong());
        }
        let parent = self.parent(above, member)?;
        rustix::fs::linkat(&first_parent, first, parent, name, AtFlags::empty())
            .map_err(|error| not_made(&member.path, error))?;
        self.result.files += 1;
        Ok(())
    }

    fn symbolic_link(&mut self, above: &[u8], name: &OsStr, member: &Member) -> Result<()> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(hostile(&member.path, "is a link to nothing"));
        }
        let parent = self.parent(above, member)?;
        let target = OsStr::from_bytes(&member.link);
        rustix::fs::symlinkat(target, parent, name)
            .map_err(|error| not_made(&member.path, error))?;
        let (uid, gid) = owner(member)?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let owned = rustix::fs::chownat(parent, name, uid, gid, nofollow);
        // A file system that keeps no times of links is no reason to fail; nor is it proved.
        let _ = rustix::fs::utimensat(parent, name, &times(member), nofollow);
        self.note_owner(owned, &member.path)?;
        self.result.links += 1;
        Ok(())
    }

    fn note_owner(&mut self, owned: Result<(), Errno>, path: &[u8]) -> Result<()> {
        match owned {
            Ok(()) => Ok(()),
            // Without privilege, or in a user namespace that does not have this owner.
            Err(Errno::PERM | Errno::INVAL) => {
                self.result.owners_restored = false;
                Ok(())
            }
            Err(error) => Err(not_made(path, error)),
        }
    }

    fn note_not_set(&mut self, what: String, member: &Member) {
        let names = self.not_set.entry(what).or_default();
        if names.len() <= NAMED_MAX {
            names.insert(escape(&member.path));
        }
    }

    /// Sets all that a file or directory has beside its content.
    fn attributes(&mut self, file: impl AsFd, member: &Member) -> Result<()> {
        let file = file.as_fd();
        // Looking is quicker than setting what is so already.
        let stat = rustix::fs::fstat(file).map_err(|error| not_made(&member.path, error))?;
        // The owner first: changing it clears set-user-id bits and capabilities.
        let (uid, gid) = owner(member)?;
        let mut mode_stays = stat.st_mode & 0o7777 == member.mode;
        if (stat.st_uid, stat.st_gid) != (member.uid, member.gid) {
            mode_stays = false;
            self.note_owner(rustix::fs::fchown(file, uid, gid), &member.path)?;
        }
        for (name, value) in &member.xattrs {
            let Ok(c_name) = CString::new(name.as_slice()) else {
                return Err(hostile(
                    &member.path,
                    "has an attribute without a valid name",
                ));
            };
            if let Err(error) = rustix::fs::fsetxattr(file, &c_name, value, XattrFlags::empty()) {
                self.note_not_set(format!("the attribute {}: {error}", escape(name)), member);
            }
        }
        if !mode_stays {
            rustix::fs::fchmod(file, Mode::from_raw_mode(member.mode))
                .map_err(|error| not_made(&member.path, error))?;
        }
        // The list after the mode: the mode of the group is the mask of the list.
        let lists = [
            (acl::ACCESS, &member.acl_access),
            (acl::DEFAULT, &member.acl_default),
        ];
        for (name, text) in lists {
            let Some(text) = text else { continue };
            let set = match acl::from_text(text) {
                Ok(bytes) => rustix::fs::fsetxattr(file, name, &bytes, XattrFlags::empty())
                    .map_err(|error| error.to_string()),
                Err(line) => Err(format!("{line:?} is not understood")),
            };
            if let Err(error) = set {
                self.note_not_set(format!("the access control list: {error}"), member);
            }
        }
        rustix::fs::futimens(file, &times(member)).map_err(|error| not_made(&member.path, error))
    }

    /// Gives the directories what they have, then tells what was made.
    fn finish(mut self) -> Result<Extracted> {
        // Backwards by name is deepest first: a parent may lose its owner's right to enter it.
        for (path, member) in std::mem::take(&mut self.directories).into_iter().rev() {
            let opened = self
                .open(&path, false, OFlags::RDONLY)
                .map_err(|error| not_made(&path, error))?;
            self.attributes(&opened, &member)?;
        }
        for (what, names) in std::mem::take(&mut self.not_set) {
            let more = if names.len() > NAMED_MAX {
                ", and others"
            } else {
                ""
            };
            let names: Vec<String> = names.into_iter().take(NAMED_MAX).collect();
            let names = names.join(", ");
            self.result
                .warnings
                .push(format!("could not be set: {what} (of {names}{more})"));
        }
        Ok(self.result)
    }
}

/// Owner and group; the two numbers that mean "nobody in particular" to the kernel are refused.
fn owner(member: &Member) -> Result<(Option<Uid>, Option<Gid>)> {
    if member.uid == u32::MAX || member.gid == u32::MAX {
        return Err(hostile(&member.path, "has no valid owner"));
    }
    Ok((
        Some(Uid::from_raw(member.uid)),
        Some(Gid::from_raw(member.gid)),
    ))
}

fn times(member: &Member) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: member.mtime.0,
            tv_nsec: member.mtime.1.into(),
        },
    }
}
