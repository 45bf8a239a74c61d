//! Restores a file: checks whether it is right already, writes its parts as they arrive, and
//! finishes it.

use super::directory::{Directory, Slot, collision};
use super::existing::{self, Existing};
use super::links::First;
use super::metadata::{Meta, On};
use super::options::{Action, Overwrite, Progress};
use super::report::{Cause, count};
use super::write::{self, SUFFIX, create, rename_new, unique, write};
use super::{Restore, lock};
use crate::error::Error;
use crate::fetch::Want;
use crate::id::Id;
use crate::pack::BlobKind;
use crate::tree::Node;
use rustix::fs::{AtFlags, FallocateFlags, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The longest name on most file systems.
const NAME_BYTES_MAX: usize = 255;

/// The place of a blob: a part of a file.
pub(super) struct To {
    pub(super) file: usize,
    part: usize,
    offset: u64,
}

/// A file to restore; see the module.
pub(super) struct Planned {
    directory: Arc<Directory>,
    name: Box<[u8]>,
    meta: Meta,
    content: Box<[Id]>,
    /// The length of each part.
    lengths: Box<[u32]>,
    /// The size of the file in the snapshot.
    size: u64,
    /// The total length of all parts.
    bytes: u64,
    there: Option<Existing>,
    first: Option<Arc<First>>,
    /// True if this restore made its directory.
    fresh: bool,
    /// The number of the partial file's name among several possible names.
    number: u8,
    /// For each part, whether it is right already, in the existing file or in the partial file.
    right: Box<[bool]>,
    /// True if those parts are in the partial file.
    resumed: bool,
    slot: Slot,
    left: AtomicU32,
    going: Mutex<Going>,
}

#[derive(Default)]
struct Going {
    done: bool,
    /// The name of the partial file, once it is made.
    partial: Option<Box<[u8]>>,
    written: u64,
    missing: u64,
    cause: Option<Cause>,
}

impl Planned {
    pub(super) fn new(
        directory: Arc<Directory>,
        node: &mut Node,
        meta: Meta,
        there: Option<Existing>,
        first: Option<Arc<First>>,
        fresh: bool,
    ) -> Self {
        Planned {
            directory,
            name: node.name.as_slice().into(),
            meta,
            content: node.content.take().unwrap_or_default().into_boxed_slice(),
            lengths: Box::default(),
            size: node.size,
            bytes: 0,
            there,
            first,
            fresh,
            number: 0,
            right: Box::default(),
            resumed: false,
            slot: Slot::default(),
            left: AtomicU32::new(0),
            going: Mutex::default(),
        }
    }

    pub(super) fn blobs(&self) -> usize {
        self.content.len()
    }

    /// Returns whether the file may still be restored.
    pub(super) fn is_going(&self) -> bool {
        !lock(&self.going).done
    }

    /// Chooses a name for the partial file that no entry beside it has.
    pub(super) fn avoid(&mut self, taken: impl Fn(&[u8]) -> bool) {
        while taken(&self.partial_name()) && self.number < u8::MAX {
            self.number += 1;
        }
    }

    fn partial_name(&self) -> Box<[u8]> {
        let mut name = match self.name.len() + SUFFIX.len() + 4 <= NAME_BYTES_MAX {
            true => self.name.to_vec(),
            false => Id::of(&self.name).short().into_bytes(),
        };
        name.extend_from_slice(SUFFIX);
        if self.number > 0 {
            name.extend_from_slice(format!("-{}", self.number).as_bytes());
        }
        name.into()
    }

    fn location(&self) -> Vec<u8> {
        self.directory.location_of(&self.name)
    }

    /// Finds out which parts must be fetched. A file that needs none is finished here.
    pub(super) fn prepare(
        &mut self,
        restore: &Restore<'_>,
        file: usize,
        wants: &mut Vec<Want<To>>,
    ) {
        let Some(places) = self.locate(restore) else {
            return;
        };
        if self.is_right(restore) {
            return;
        }
        if restore.options.dry_run {
            return self.end(restore, Ok(Action::Restored));
        }
        if !self.fresh && self.content.len() > 1 {
            self.resume(restore);
        }
        let (mut offset, mut wanted, mut unknown) = (0, 0, None);
        for (part, (at, length)) in places.iter().zip(&self.lengths).enumerate() {
            let right = self.right.get(part).is_some_and(|right| *right);
            match at {
                _ if right => {}
                Some(at) => {
                    wanted += 1;
                    let id = at.0;
                    let at = at.1;
                    let to = To { file, part, offset };
                    wants.push(Want { id, at, to });
                }
                None => unknown = self.content.get(part).map(|id| (*id, *length)),
            }
            offset += u64::from(*length);
        }
        self.left = AtomicU32::new(wanted);
        if let Some((id, length)) = unknown {
            let cause = Cause::Repository(Arc::new(Error::UnknownBlob { id }));
            self.spoil(cause, u64::from(length));
        }
        if wanted == 0 {
            self.finish(restore);
        }
    }

    /// Looks up the place and length of each part. If one part is in no index, its length follows
    /// from the file's size; if several are, nothing can be restored.
    fn locate(
        &mut self,
        restore: &Restore<'_>,
    ) -> Option<Vec<Option<(Id, crate::index::Location)>>> {
        let index = restore.fetcher.index;
        let find = |id: &Id| Some((*id, index.locations(BlobKind::Data, id).next()?));
        let places: Vec<_> = self.content.iter().map(find).collect();
        let length = |place: &Option<(Id, crate::index::Location)>| {
            place.as_ref().map_or(0, |(_, at)| at.plain_bytes)
        };
        self.lengths = places.iter().map(length).collect();
        let known: u64 = self.lengths.iter().map(|length| u64::from(*length)).sum();
        let mut unknown = places.iter().enumerate().filter(|(_, at)| at.is_none());
        if let Some((part, _)) = unknown.next() {
            let rest = self.size.checked_sub(known);
            let rest = rest.and_then(|rest| u32::try_from(rest).ok());
            let length = rest.filter(|_| unknown.next().is_none());
            match (length, self.lengths.get_mut(part)) {
                (Some(length), Some(place)) => *place = length,
                _ => {
                    let id = self.content.get(part).copied();
                    let id = id.unwrap_or(Id::new([0; Id::BYTES]));
                    let cause = Cause::Repository(Arc::new(Error::UnknownBlob { id }));
                    lock(&self.going).missing = self.size;
                    self.end(restore, Err(cause));
                    return None;
                }
            }
        }
        self.bytes = self.lengths.iter().map(|length| u64::from(*length)).sum();
        if self.bytes != self.size {
            let text = format!(
                "the snapshot says {} bytes, and its parts have {}",
                self.size, self.bytes
            );
            let error = io::Error::other(text);
            restore
                .tally
                .unset(&self.location(), "size".to_owned(), error);
        }
        Some(places)
    }

    /// Returns whether the existing file has the right content; if so, sets its metadata.
    fn is_right(&mut self, restore: &Restore<'_>) -> bool {
        let Some(there) = self.there.filter(Existing::is_file) else {
            return false;
        };
        // A file with other names, too, is not changed: they would change with it.
        let own = there.links == 1 || self.first.is_some();
        let trusted = restore.options.overwrite == Overwrite::IfChanged
            && there.resembles(self.bytes, self.meta.mtime);
        let Ok(handle) = restore.handle(&self.directory) else {
            return false;
        };
        let opened = existing::open(&*handle, &self.name, OFlags::RDONLY);
        if let (false, Ok(file)) = (trusted && own, &opened) {
            self.right = existing::compare(file, &self.content, &self.lengths).into();
            let all = self.right.iter().all(|right| *right);
            if !(all && own && there.bytes == self.bytes) {
                return false;
            }
        } else if !(trusted && own) {
            return false;
        }
        if !restore.options.dry_run {
            let on = match &opened {
                Ok(file) => On::Open(file.as_fd()),
                Err(_) => On::Named {
                    directory: handle.as_fd(),
                    name: &self.name,
                    link: false,
                },
            };
            let applied = self.meta.apply(on, restore.privileged(), true);
            restore.applied(applied, || self.location());
        }
        self.end(restore, Ok(Action::Unchanged));
        true
    }

    /// Looks for a partial file that an earlier restore left.
    fn resume(&mut self, restore: &Restore<'_>) {
        let name = self.partial_name();
        let Ok(handle) = restore.handle(&self.directory) else {
            return;
        };
        let Ok(Some(there)) = Existing::look(&*handle, &name) else {
            return;
        };
        // Anything else of this name is not ours, and stays.
        if !there.is_file() || there.links != 1 || there.uid != restore.uid {
            self.number = u8::MAX;
            return;
        }
        let opened = existing::open(&*handle, &name, OFlags::RDWR);
        let Ok(file) = opened else {
            self.number = u8::MAX;
            return;
        };
        if rustix::fs::ftruncate(&file, self.bytes).is_err() {
            return;
        }
        self.right = existing::compare(&file, &self.content, &self.lengths).into();
        self.resumed = true;
        lock(&self.going).partial = Some(name);
    }

    /// Receives a part, or the error that kept it from being read.
    pub(super) fn part(&self, restore: &Restore<'_>, to: &To, blob: Result<&[u8], &Arc<Error>>) {
        let length = self.lengths.get(to.part).copied().unwrap_or(0);
        match blob {
            Ok(plain) if plain.len() == length as usize => {
                let whole = self.content.len() == 1;
                let written = match whole {
                    true => self.write_whole(restore, plain),
                    false => self.write_part(restore, plain, to.offset),
                };
                if let Err(cause) = written {
                    return self.end(restore, Err(cause));
                }
                Progress::add(&restore.options.progress.bytes_done, plain.len() as u64);
                if whole {
                    return self.end(restore, Ok(Action::Restored));
                }
                lock(&self.going).written += plain.len() as u64;
            }
            Ok(plain) => {
                let text = format!(
                    "the index says that a part of it has {length} bytes, and it has {}",
                    plain.len()
                );
                self.spoil(Cause::Refused(text), u64::from(length));
            }
            Err(error) => self.spoil(Cause::Repository(Arc::clone(error)), u64::from(length)),
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(restore);
        }
    }

    /// Records that a part is missing for good.
    fn spoil(&self, cause: Cause, bytes: u64) {
        let mut going = lock(&self.going);
        going.missing += bytes;
        going.cause.get_or_insert(cause);
    }

    /// Writes a file that has one part.
    fn write_whole(&self, restore: &Restore<'_>, plain: &[u8]) -> Result<(), Cause> {
        if self.there.is_some() {
            self.write_part(restore, plain, 0)?;
            return self.place(restore);
        }
        let handle = restore.handle(&self.directory);
        let handle = handle.map_err(Cause::system("reached"))?;
        let file = create(handle.as_fd(), &self.name).map_err(|error| match error {
            Errno::EXIST => collision(),
            error => Cause::system("made")(error.into()),
        })?;
        let written = write(&file, plain, 0, restore.options.sparse)
            .and_then(|()| match restore.options.sparse {
                true => Ok(rustix::fs::ftruncate(&file, self.bytes)?),
                false => Ok(()),
            })
            .map_err(Cause::system("written"))
            .and_then(|()| self.describe(restore, &file));
        if written.is_err() {
            // A partly written file must not be taken for the whole.
            let _ = rustix::fs::unlinkat(&*handle, &*self.name, AtFlags::empty());
        }
        written
    }

    fn write_part(&self, restore: &Restore<'_>, plain: &[u8], offset: u64) -> Result<(), Cause> {
        let file = self.partial(restore)?;
        // Zeros are written too if an earlier restore left a partial file: it may have other bytes
        // there.
        let sparse = restore.options.sparse && !self.resumed;
        write(&file, plain, offset, sparse).map_err(Cause::system("written"))
    }

    /// The partial file, which is made if it does not exist.
    fn partial(&self, restore: &Restore<'_>) -> Result<Arc<OwnedFd>, Cause> {
        let mut slot = lock(&self.slot);
        if let Some(file) = &*slot {
            return Ok(Arc::clone(file));
        }
        let handle = restore.handle(&self.directory);
        let handle = handle.map_err(Cause::system("reached"))?;
        let known = {
            let going = lock(&self.going);
            if going.done {
                let error = io::ErrorKind::Interrupted.into();
                return Err(Cause::system("written")(error));
            }
            going.partial.clone()
        };
        let file: OwnedFd = match known {
            Some(name) => existing::open(&*handle, &name, OFlags::RDWR)
                .map_err(Cause::system("opened again"))?
                .into(),
            None => {
                let mut name = self.partial_name();
                let file = match create(handle.as_fd(), &name) {
                    Err(Errno::EXIST) => {
                        name = unique();
                        create(handle.as_fd(), &name)
                    }
                    other => other,
                };
                let file = file.map_err(|error| Cause::system("made")(error.into()))?;
                lock(&self.going).partial = Some(name);
                self.lay_out(restore, handle.as_fd(), &file)?;
                file
            }
        };
        let file = Arc::new(file);
        *slot = Some(Arc::clone(&file));
        drop(slot);
        restore.handles.note(&self.slot);
        Ok(file)
    }

    /// Gives a new partial file its size, and the right parts of the existing file.
    fn lay_out(
        &self,
        restore: &Restore<'_>,
        handle: BorrowedFd<'_>,
        file: &OwnedFd,
    ) -> Result<(), Cause> {
        let failed = |error: Errno| Cause::system("written")(error.into());
        let old = match self.right.contains(&true) {
            true => Some(
                existing::open(handle, &self.name, OFlags::RDONLY)
                    .map_err(Cause::system("opened again"))?,
            ),
            false => None,
        };
        let cloned = old
            .as_ref()
            .is_some_and(|old| rustix::fs::ioctl_ficlone(file, old).is_ok());
        if !(restore.options.sparse || cloned) {
            // A lack of space is found before anything is fetched.
            let allocated = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, self.bytes);
            // Not every file system can allocate in advance.
            if let Err(error @ (Errno::NOSPC | Errno::FBIG | Errno::DQUOT | Errno::IO)) = allocated
            {
                return Err(failed(error));
            }
        }
        rustix::fs::ftruncate(file, self.bytes).map_err(failed)?;
        let Some(old) = old else {
            return Ok(());
        };
        let mut offset = 0;
        for (right, length) in self.right.iter().zip(&self.lengths) {
            let length = u64::from(*length);
            if *right {
                if !cloned {
                    write::copy(&old, file, offset, length).map_err(Cause::system("copied"))?;
                }
                count(&restore.tally.bytes_reused, length);
                Progress::add(&restore.options.progress.bytes_done, length);
            }
            offset += length;
        }
        Ok(())
    }

    /// Finishes the file when every part has arrived, or failed.
    fn finish(&self, restore: &Restore<'_>) {
        let cause = {
            let mut going = lock(&self.going);
            if going.done {
                return;
            }
            going.cause.take()
        };
        let outcome = match cause {
            Some(cause) => Err(cause),
            None if self.content.is_empty() => self.write_whole(restore, b""),
            None => self.place(restore),
        };
        self.end(restore, outcome.map(|()| Action::Restored));
    }

    /// Gives the partial file its metadata and its final name.
    fn place(&self, restore: &Restore<'_>) -> Result<(), Cause> {
        let file = self.partial(restore)?;
        self.describe(restore, &file)?;
        let handle = restore.handle(&self.directory);
        let handle = handle.map_err(Cause::system("reached"))?;
        let partial = lock(&self.going).partial.clone().unwrap_or_default();
        let renamed = match self.there {
            Some(_) => rustix::fs::renameat(&*handle, &*partial, &*handle, &*self.name),
            None => rename_new(handle.as_fd(), &partial, &self.name),
        };
        renamed.map_err(|error| match error {
            Errno::EXIST => collision(),
            error => Cause::system("put in its place")(error.into()),
        })?;
        lock(&self.going).partial = None;
        Ok(())
    }

    /// Reads a written file again if that is requested, and sets its metadata.
    fn describe(&self, restore: &Restore<'_>, file: &OwnedFd) -> Result<(), Cause> {
        if restore.options.verify {
            let again = file.try_clone().map_err(Cause::system("read again"))?;
            let right = existing::compare(&File::from(again), &self.content, &self.lengths);
            if right.contains(&false) {
                let text = "what was written is not what is read back".to_owned();
                return Err(Cause::Refused(text));
            }
            count(&restore.tally.verified, 1);
        }
        let on = On::Open(file.as_fd());
        let applied = self.meta.apply(on, restore.privileged(), !self.fresh);
        restore.applied(applied, || self.location());
        Ok(())
    }

    /// Reports the outcome, once.
    fn end(&self, restore: &Restore<'_>, outcome: Result<Action, Cause>) {
        let (partial, missing, written) = {
            // No partial file is made after this.
            let mut slot = lock(&self.slot);
            let mut going = lock(&self.going);
            if std::mem::replace(&mut going.done, true) {
                return;
            }
            slot.take();
            (going.partial.take(), going.missing, going.written)
        };
        match outcome {
            Ok(action) => self.succeed(restore, action),
            Err(cause) => {
                let damaged = missing > 0 && (written > 0 || self.right.contains(&true));
                let kept = self.keep(restore, partial, damaged);
                let location = self.location();
                restore.tally.fail_partly(location, cause, kept, missing);
            }
        }
        Progress::add(&restore.options.progress.files_done, 1);
        restore.release(&self.directory);
    }

    fn succeed(&self, restore: &Restore<'_>, action: Action) {
        let tally = &restore.tally;
        if let Some(first) = &self.first {
            first.is_there();
        }
        match action {
            Action::Unchanged => {
                count(&tally.unchanged, 1);
                Progress::add(&restore.options.progress.bytes_done, self.bytes);
            }
            _ => {
                count(&tally.files, 1);
                count(&tally.bytes, self.bytes);
            }
        }
        restore.tell(action, || self.location());
    }

    /// Keeps a partial file if any of it could be read, and removes it otherwise.
    fn keep(
        &self,
        restore: &Restore<'_>,
        partial: Option<Box<[u8]>>,
        damaged: bool,
    ) -> Option<OsString> {
        let partial = partial?;
        if damaged {
            lock(&self.directory.partial).push(partial.clone());
            return Some(OsString::from_vec(partial.into_vec()));
        }
        if let Ok(handle) = restore.handle(&self.directory) {
            let _ = rustix::fs::unlinkat(&*handle, &*partial, AtFlags::empty());
        }
        None
    }
}
