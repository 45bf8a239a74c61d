//! Extracts a tar archive below one directory and nowhere else.
//!
//! Every name is walked from the target directory by descriptors that follow no link, and every
//! file, link and hard link is made anew: what exists is never opened, followed or replaced. A link
//! in the archive may therefore point anywhere, being content, and nothing can be written through
//! it. Nothing is synced: see [`super::sync_tree`].

use super::Within;
use super::tape::{Member, TapeReader};
use crate::error::{Code, Error, Result};
use crate::observe::Reporter;
use crate::point::Skipped;
use crate::pool::{Pool, workers};
use crate::tree::{acl, escape};
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
use std::sync::Arc;
use tar::EntryType;

/// Number of attributes that could not be set and are named one by one.
const NAMED_MAX: usize = 20;
/// Files up to this size are read whole and made by other threads.
const SMALL_BYTES: usize = 64 << 10;
/// Entries in a batch, at most.
const BATCH_ENTRIES: usize = 128;
/// Bytes of data in a batch, at most.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes read and written at a time for larger files.
const BUFFER_BYTES: usize = 256 << 10;

/// Totals of an extraction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files, including further names of hard-linked ones.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// True if every entry has its owner and group. Without privilege, only this user's own entries
    /// do.
    pub owners_restored: bool,
    /// Entries of the archive that were not made: named pipes.
    pub skipped: Vec<Skipped>,
    /// Warnings for an operator, such as attributes that could not be set.
    pub warnings: Vec<String>,
}

/// Extracts a tar archive into an open directory, and reads `input` to its end.
///
/// Fails for a truncated or damaged archive, and for one that no honest backup makes: names that
/// are absolute or climb out, hard links to anything but a file of the same archive, devices, or an
/// entry in the place of another. Entries made before the error stay.
pub fn extract(input: &mut dyn Read, directory: &Within, reporter: &Reporter) -> Result<Extracted> {
    let root = Arc::new(directory.try_clone()?);
    let others = Arc::clone(&root);
    let mut extraction = Extraction {
        reporter,
        maker: Maker::new(root),
        directories: BTreeMap::new(),
        skipped: Vec::new(),
        batch: Batch::default(),
        pool: Pool::new(workers(), move || {
            let mut maker = Maker::new(Arc::clone(&others));
            Box::new(move |batch: &mut Batch| maker.batch(batch))
        }),
        failed: false,
        buffer: Vec::new(),
    };
    let read = extraction.members(&mut TapeReader::new(input));
    if !extraction.failed {
        // What precedes an error in the archive is made first. An error of making it comes before
        // that one.
        extraction.make_all()?;
    }
    read?;
    extraction.finish()
}

/// Entries that were made.
#[derive(Default)]
struct Made {
    files: u64,
    links: u64,
    bytes: u64,
    /// True if some entry has another owner or group than in the archive.
    lacks_owners: bool,
    /// Attributes that could not be set, with the reason → the entries they belong to.
    not_set: BTreeMap<String, BTreeSet<String>>,
}

impl Made {
    fn not_set(&mut self, what: &str, name: String) {
        let names = self.not_set.entry(what.to_owned()).or_default();
        if names.len() <= NAMED_MAX {
            names.insert(name);
        }
    }

    fn add(&mut self, other: Made) {
        self.files += other.files;
        self.links += other.links;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.lacks_owners |= other.lacks_owners;
        for (what, names) in other.not_set {
            let names = names.into_iter();
            names.for_each(|name| self.not_set(&what, name));
        }
    }
}

/// Small files and symbolic links for one thread to make, and the result.
#[derive(Default)]
struct Batch {
    /// Each member with the length of its data.
    members: Vec<(Member, usize)>,
    data: Vec<u8>,
    made: Made,
    failed: Option<Error>,
}

/// A running extraction: it reads the archive and makes directories, large files and hard links,
/// while other threads make the rest.
struct Extraction<'a> {
    reporter: &'a Reporter,
    maker: Maker,
    /// Directories whose modes, owners and times are set last, deepest first.
    directories: BTreeMap<Vec<u8>, Member>,
    skipped: Vec<Skipped>,
    batch: Batch,
    pool: Pool<Batch>,
    /// True if another thread could not make an entry.
    failed: bool,
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

/// The components of a name, without `.`. Fails for a name that could leave the target.
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

/// The last component of a name, and its parent in the form of [`components`].
fn split(path: &[u8]) -> Result<(&OsStr, Vec<u8>)> {
    let parts = components(path)?;
    let (name, above) = parts
        .split_last()
        .ok_or_else(|| hostile(path, "has no valid name"))?;
    Ok((OsStr::from_bytes(name), above.join(&b'/')))
}

impl Extraction<'_> {
    fn members(&mut self, tape: &mut TapeReader<impl Read>) -> Result<()> {
        while let Some(member) = tape.next()? {
            self.member(member, tape)?;
        }
        Ok(())
    }

    fn member(&mut self, member: Member, tape: &mut TapeReader<impl Read>) -> Result<()> {
        let (parts, is_directory) = (components(&member.path)?, is_directory(&member));
        if parts.is_empty() {
            // `./`, the top of an archive made by hand: the target keeps its own mode.
            return match member.kind {
                EntryType::Directory => Ok(()),
                _ => Err(hostile(&member.path, "has no valid name")),
            };
        }
        match member.kind.as_byte() {
            _ if is_directory => {
                let path = parts.join(&b'/');
                self.directory(path, &member)
            }
            0 | b'0' | b'7' if member.path.last() != Some(&b'/') => {
                let length = usize::try_from(member.size).ok();
                let length = length.filter(|length| *length <= SMALL_BYTES);
                match length.filter(|_| member.pieces.is_none()) {
                    Some(length) => self.small_file(member, length, tape),
                    None => self.large_file(&member, tape),
                }
            }
            b'1' => {
                // The file it names may not be made yet.
                self.make_all()?;
                self.maker.hard_link(&member)
            }
            b'2' => self.push(member, 0),
            b'6' => {
                self.skipped.push(Skipped {
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

    /// Adds an entry, whose data is in the open batch already, and hands the batch over when it is
    /// full.
    fn push(&mut self, member: Member, length: usize) -> Result<()> {
        self.batch.members.push((member, length));
        let batch = &self.batch;
        match batch.members.len() >= BATCH_ENTRIES || batch.data.len() >= BATCH_BYTES {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    /// Hands over the open batch.
    fn hand_over(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        while self.pool.full() {
            self.collect()?;
        }
        self.pool.submit(batch).map_err(|error| lost(&error))
    }

    /// Waits for the oldest batch that was handed over. Returns false if there is none.
    fn collect(&mut self) -> Result<bool> {
        let Some(batch) = self.pool.next().map_err(|error| lost(&error))? else {
            return Ok(false);
        };
        self.maker.made.add(batch.made);
        self.failed |= batch.failed.is_some();
        batch.failed.map_or(Ok(true), Err)
    }

    /// Waits until everything read so far is made.
    fn make_all(&mut self) -> Result<()> {
        if !self.batch.members.is_empty() {
            self.hand_over()?;
        }
        while self.collect()? {}
        Ok(())
    }

    fn directory(&mut self, path: Vec<u8>, member: &Member) -> Result<()> {
        self.maker.directory(member)?;
        let member = Member {
            path: member.path.clone(),
            link: Vec::new(),
            pieces: None,
            xattrs: member.xattrs.clone(),
            acl_access: member.acl_access.clone(),
            acl_default: member.acl_default.clone(),
            ..*member
        };
        self.directories.insert(path, member);
        Ok(())
    }

    fn small_file(
        &mut self,
        member: Member,
        length: usize,
        tape: &mut TapeReader<impl Read>,
    ) -> Result<()> {
        let start = self.batch.data.len();
        self.batch.data.resize(start + length, 0);
        let data = self.batch.data.get_mut(start..).unwrap_or_default();
        let count = tape.data(data);
        if !count.as_ref().is_ok_and(|count| *count == length) {
            // A truncated file is not made at all.
            self.batch.data.truncate(start);
            count?;
            return Err(hostile(&member.path, "has less data than it says"));
        }
        self.reporter.advance(length as u64);
        self.push(member, length)
    }

    fn large_file(&mut self, member: &Member, tape: &mut TapeReader<impl Read>) -> Result<()> {
        let file = self.maker.new_file(member)?;
        self.content(&file, member, tape)?;
        self.maker.finish_file(&file, member)
    }

    fn content(
        &mut self,
        file: &File,
        member: &Member,
        tape: &mut TapeReader<impl Read>,
    ) -> Result<()> {
        if member.pieces.is_some() {
            rustix::fs::ftruncate(file, member.size)
                .map_err(|error| not_made(&member.path, error))?;
        }
        self.buffer.resize(BUFFER_BYTES, 0);
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
                write_at(file, buffer.get(..count).unwrap_or_default(), at, member)?;
                self.reporter.advance(count as u64);
                at += count as u64;
            }
        }
        Ok(())
    }

    /// Sets the attributes of the directories, then returns the totals.
    fn finish(mut self) -> Result<Extracted> {
        // Backwards by name is deepest first: a parent may lose its owner's right to enter it.
        for (path, member) in self.directories.iter().rev() {
            let opened = self
                .maker
                .open(path, false, OFlags::RDONLY)
                .map_err(|error| not_made(path, error))?;
            self.maker.attributes(&opened, member)?;
        }
        let made = self.maker.made;
        let mut warnings = Vec::new();
        for (what, names) in made.not_set {
            let more = if names.len() > NAMED_MAX {
                ", and others"
            } else {
                ""
            };
            let names: Vec<String> = names.into_iter().take(NAMED_MAX).collect();
            let names = names.join(", ");
            warnings.push(format!("could not be set: {what} (of {names}{more})"));
        }
        Ok(Extracted {
            files: made.files,
            directories: self.directories.len() as u64,
            links: made.links,
            bytes: made.bytes,
            owners_restored: !made.lacks_owners,
            skipped: self.skipped,
            warnings,
        })
    }
}

fn lost(error: &std::io::Error) -> Error {
    Error::io("the files cannot be restored", error)
}

/// Returns true if the entry is a directory. Before types existed, a name that ends in a slash was
/// one.
fn is_directory(member: &Member) -> bool {
    match member.kind.as_byte() {
        b'5' | b'D' => true,
        0 | b'0' => member.path.last() == Some(&b'/'),
        _ => false,
    }
}

fn write_at(file: &File, bytes: &[u8], at: u64, member: &Member) -> Result<()> {
    file.write_all_at(bytes, at).map_err(|error| {
        let errno = error.raw_os_error();
        not_made(
            &member.path,
            errno.map_or(Errno::IO, Errno::from_raw_os_error),
        )
    })
}

/// Makes entries below the target, and counts them.
struct Maker {
    root: Arc<Within>,
    /// The directory of the last entry: the next entry is usually in it as well.
    parent: Option<(Vec<u8>, OwnedFd)>,
    made: Made,
}

impl Maker {
    fn new(root: Arc<Within>) -> Self {
        Maker {
            root,
            parent: None,
            made: Made::default(),
        }
    }

    /// Makes a whole batch, or its entries up to an error.
    fn batch(&mut self, batch: &mut Batch) {
        let mut data = batch.data.as_slice();
        for (member, length) in &batch.members {
            let (own, rest) = data.split_at_checked(*length).unwrap_or_default();
            data = rest;
            let made = match member.kind.is_symlink() {
                true => self.symbolic_link(member),
                false => self.small_file(member, own),
            };
            if let Err(error) = made {
                batch.failed = Some(error);
                break;
            }
        }
        batch.made = std::mem::take(&mut self.made);
    }

    /// Opens the directory of this name below the target. With `make`, makes what is missing.
    fn open(&self, path: &[u8], make: bool, access: OFlags) -> Result<OwnedFd, Errno> {
        let made = make.then(|| Mode::from_raw_mode(0o755));
        let path = Path::new(OsStr::from_bytes(path));
        self.root.descend(path, access, made)
    }

    /// The directory in which to make an entry, and the name of the entry there.
    fn place<'m>(&mut self, member: &'m Member) -> Result<(&OwnedFd, &'m OsStr)> {
        let (name, above) = split(&member.path)?;
        let known = self.parent.take().filter(|(path, _)| *path == above);
        let parent = match known {
            Some(parent) => parent,
            None => {
                let opened = self.open(&above, true, OFlags::PATH);
                let opened = opened.map_err(|error| match error {
                    // A file or a link stands there.
                    Errno::NOTDIR | Errno::LOOP => {
                        hostile(&member.path, "lies below an entry that is no directory")
                    }
                    _ => not_made(&member.path, error),
                })?;
                (above, opened)
            }
        };
        Ok((&self.parent.insert(parent).1, name))
    }

    fn directory(&mut self, member: &Member) -> Result<()> {
        let (parent, name) = self.place(member)?;
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| not_made(&member.path, error))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Ok(()),
                    _ => Err(hostile(&member.path, "is in the place of an earlier one")),
                }
            }
            Err(error) => Err(not_made(&member.path, error)),
        }
    }

    /// Makes a file without content.
    fn new_file(&mut self, member: &Member) -> Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let (parent, name) = self.place(member)?;
        // The final mode saves setting it later. But without the right to write, an ordinary user
        // could not set attributes.
        let mode = match member.xattrs.is_empty() {
            true => Mode::from_raw_mode(member.mode & 0o777),
            false => Mode::RUSR | Mode::WUSR,
        };
        rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, mode)
            .map(File::from)
            .map_err(|error| not_made(&member.path, error))
    }

    /// Sets the attributes of a file.
    fn finish_file(&mut self, file: &File, member: &Member) -> Result<()> {
        self.attributes(file, member)?;
        self.made.files += 1;
        self.made.bytes = self.made.bytes.saturating_add(member.size);
        Ok(())
    }

    fn small_file(&mut self, member: &Member, data: &[u8]) -> Result<()> {
        let file = self.new_file(member)?;
        write_at(&file, data, 0, member)?;
        self.finish_file(&file, member)
    }

    fn hard_link(&mut self, member: &Member) -> Result<()> {
        let about = |error: Error| Error {
            message: format!("{} (target of {})", error.message, escape(&member.path)),
            ..error
        };
        let wrong = || {
            hostile(
                &member.path,
                "is a hard link to what is no file of this archive",
            )
        };
        if components(&member.link).map_err(about)?.is_empty() {
            return Err(wrong());
        }
        let (first, first_above) = split(&member.link).map_err(about)?;
        let first_parent = self
            .open(&first_above, false, OFlags::PATH)
            .map_err(|_| wrong())?;
        let stat = rustix::fs::statat(&first_parent, first, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| wrong())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(wrong());
        }
        let (parent, name) = self.place(member)?;
        rustix::fs::linkat(&first_parent, first, parent, name, AtFlags::empty())
            .map_err(|error| not_made(&member.path, error))?;
        self.made.files += 1;
        Ok(())
    }

    fn symbolic_link(&mut self, member: &Member) -> Result<()> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(hostile(&member.path, "is a link to nothing"));
        }
        let (parent, name) = self.place(member)?;
        let target = OsStr::from_bytes(&member.link);
        rustix::fs::symlinkat(target, parent, name)
            .map_err(|error| not_made(&member.path, error))?;
        let (uid, gid) = owner(member)?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let owned = rustix::fs::chownat(parent, name, uid, gid, nofollow);
        // A file system that keeps no times of links is no reason to fail; such times are not
        // proved either.
        let _ = rustix::fs::utimensat(parent, name, &times(member), nofollow);
        self.note_owner(owned, &member.path)?;
        self.made.links += 1;
        Ok(())
    }

    fn note_owner(&mut self, owned: Result<(), Errno>, path: &[u8]) -> Result<()> {
        match owned {
            Ok(()) => Ok(()),
            // Without privilege, or in a user namespace that does not map this owner.
            Err(Errno::PERM | Errno::INVAL) => {
                self.made.lacks_owners = true;
                Ok(())
            }
            Err(error) => Err(not_made(path, error)),
        }
    }

    /// Sets all attributes of a file or directory.
    fn attributes(&mut self, file: impl AsFd, member: &Member) -> Result<()> {
        let file = file.as_fd();
        // Checking is quicker than setting what is right already.
        let stat = rustix::fs::fstat(file).map_err(|error| not_made(&member.path, error))?;
        // The owner comes first: changing it clears set-user-id bits and capabilities.
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
                let what = format!("the attribute {}: {error}", escape(name));
                self.made.not_set(&what, escape(&member.path));
            }
        }
        if !mode_stays {
            rustix::fs::fchmod(file, Mode::from_raw_mode(member.mode))
                .map_err(|error| not_made(&member.path, error))?;
        }
        // The list comes after the mode: the mode of the group is the mask of the list.
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
                let what = format!("the access control list: {error}");
                self.made.not_set(&what, escape(&member.path));
            }
        }
        rustix::fs::futimens(file, &times(member)).map_err(|error| not_made(&member.path, error))
    }
}

/// Owner and group of a member. Refuses the two numbers that mean "unchanged" to the kernel.
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
