//! Directories of the target. A directory is made when something in it is restored, is held open
//! while in use, and gets its metadata when everything in it is done.

use super::existing::Existing;
use super::metadata::{self, Applied, Meta, On};
use super::options::Action;
use super::report::{Cause, count, path};
use super::{Restore, lock, removal};
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A handle that may be closed at any time; it is opened again when needed.
pub(super) type Slot = Arc<Mutex<Option<Arc<OwnedFd>>>>;

/// The most handles that are kept open.
const HANDLES: usize = 256;

/// The open handles, oldest first.
#[derive(Default)]
pub(super) struct Handles {
    open: Mutex<VecDeque<Slot>>,
}

impl Handles {
    /// Records a slot that was just filled. Closes the oldest handle if there are too many.
    pub(super) fn note(&self, slot: &Slot) {
        let oldest = {
            let mut open = lock(&self.open);
            open.push_back(Arc::clone(slot));
            match open.len() > HANDLES {
                true => open.pop_front(),
                false => None,
            }
        };
        if let Some(oldest) = oldest.filter(|oldest| !Arc::ptr_eq(oldest, slot)) {
            lock(&oldest).take();
        }
    }
}

/// The state of a directory in the target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing in it has been restored yet.
    Unmade,
    /// This restore made it; it holds only what is restored.
    Fresh,
    /// It existed before.
    Existing,
    /// It could not be made, which has been reported.
    Failed,
}

/// A directory that is restored, or has something in it that is.
pub(super) struct Directory {
    pub(super) parent: Option<Arc<Directory>>,
    pub(super) name: Box<[u8]>,
    /// Metadata to set; `None` for the target itself.
    meta: Option<Meta>,
    state: Mutex<State>,
    slot: Slot,
    /// The number of things to do before it is finished: its own visit, and its entries.
    pending: AtomicUsize,
    /// Entries in the target that are not in the snapshot.
    pub(super) surplus: Mutex<Vec<Box<[u8]>>>,
    /// Names of partial files that stay.
    pub(super) partial: Mutex<Vec<Box<[u8]>>>,
}

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// The target directory, which is made if it is missing.
    pub(super) fn target(target: &Path, dry_run: bool) -> Result<Arc<Directory>> {
        let failed = |source: io::Error| Error::Target {
            path: target.to_owned(),
            source,
        };
        let (handle, state) = match rustix::fs::openat(CWD, target, OPEN, Mode::empty()) {
            Ok(handle) => (Some(handle), State::Existing),
            Err(Errno::NOENT) if dry_run => (None, State::Fresh),
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(target).map_err(failed)?;
                let opened = rustix::fs::openat(CWD, target, OPEN, Mode::empty());
                // An access control list inherited from the parent directory must not reach what is
                // in this one.
                (
                    Some(opened.map_err(|error| failed(error.into()))?),
                    State::Existing,
                )
            }
            Err(error) => return Err(failed(error.into())),
        };
        let name = target.file_name().unwrap_or_default();
        let directory = Directory::build(None, name.as_encoded_bytes(), None, state);
        *lock(&directory.slot) = handle.map(Arc::new);
        Ok(Arc::new(directory))
    }

    /// A directory in `parent`, which is not finished before this one is.
    pub(super) fn within(parent: &Arc<Directory>, name: &[u8], meta: Meta) -> Arc<Directory> {
        parent.hold();
        let parent = Some(Arc::clone(parent));
        Arc::new(Directory::build(parent, name, Some(meta), State::Unmade))
    }

    fn build(
        parent: Option<Arc<Directory>>,
        name: &[u8],
        meta: Option<Meta>,
        state: State,
    ) -> Directory {
        Directory {
            parent,
            name: name.into(),
            meta,
            state: Mutex::new(state),
            slot: Slot::default(),
            pending: AtomicUsize::new(1),
            surplus: Mutex::default(),
            partial: Mutex::default(),
        }
    }

    /// Adds one thing to do before this directory is finished.
    pub(super) fn hold(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> State {
        *lock(&self.state)
    }

    /// The path below the target: empty for the target itself, otherwise it begins with `/`.
    pub(super) fn location(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(&at.name);
            at = parent;
        }
        let mut location = Vec::new();
        for name in names.into_iter().rev() {
            location.push(b'/');
            location.extend_from_slice(name);
        }
        location
    }

    /// The path of an entry of this directory, below the target.
    pub(super) fn location_of(&self, name: &[u8]) -> Vec<u8> {
        let mut location = self.location();
        location.push(b'/');
        location.extend_from_slice(name);
        location
    }
}

impl Restore<'_> {
    /// An open handle of a directory that was made. Links are followed at no step.
    pub(super) fn handle(&self, directory: &Directory) -> io::Result<Arc<OwnedFd>> {
        let mut steps = Vec::new();
        let mut at = directory;
        let mut handle = loop {
            if let Some(handle) = lock(&at.slot).clone() {
                break handle;
            }
            steps.push(at);
            match &at.parent {
                Some(parent) => at = parent,
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        };
        for step in steps.into_iter().rev() {
            let flags = OPEN | OFlags::NOFOLLOW;
            let opened = rustix::fs::openat(&handle, &*step.name, flags, Mode::empty())?;
            handle = Arc::new(opened);
            *lock(&step.slot) = Some(Arc::clone(&handle));
            self.handles.note(&step.slot);
        }
        Ok(handle)
    }

    /// Makes a directory and its parents, unless that was done. Reports it if that fails.
    pub(super) fn ensure(&self, directory: &Directory) -> State {
        let mut state = lock(&directory.state);
        if *state == State::Unmade {
            *state = match &directory.parent {
                Some(parent) => match self.ensure(parent) {
                    State::Failed => State::Failed,
                    around => self
                        .make(directory, parent, around)
                        .unwrap_or_else(|cause| {
                            self.tally.fail(directory.location(), cause);
                            State::Failed
                        }),
                },
                None => State::Failed,
            };
            if *state != State::Failed {
                count(&self.tally.directories, 1);
            }
        }
        *state
    }

    fn make(
        &self,
        directory: &Directory,
        parent: &Directory,
        around: State,
    ) -> std::result::Result<State, Cause> {
        let dry_run = self.options.dry_run;
        if dry_run && around == State::Fresh {
            return Ok(State::Fresh);
        }
        let name = &directory.name;
        let handle = self.handle(parent).map_err(Cause::system("reached"))?;
        let there = match around {
            State::Fresh => None,
            _ => Existing::look(&handle, name).map_err(Cause::system("looked at"))?,
        };
        match there {
            Some(there) if there.is_directory() => {
                let usable = there.st_mode & 0o700 == 0o700;
                if !self.privileged() && there.uid == self.uid && !usable && !dry_run {
                    metadata::admit(handle.as_fd(), name, there.st_mode)
                        .map_err(Cause::system("opened"))?;
                }
                return Ok(State::Existing);
            }
            Some(there) => {
                let mtime = directory.meta.as_ref().map(|meta| meta.mtime);
                if !mtime.is_some_and(|mtime| there.yields(self.options.overwrite, mtime)) {
                    let text = "an entry that is not a directory is in its place, and must not be overwritten";
                    return Err(Cause::Refused(text.to_owned()));
                }
                if !dry_run {
                    rustix::fs::unlinkat(&handle, &**name, AtFlags::empty())
                        .map_err(|error| Cause::system("replaced")(error.into()))?;
                }
            }
            None => {}
        }
        if dry_run {
            return Ok(State::Fresh);
        }
        rustix::fs::mkdirat(&handle, &**name, Mode::RWXU).map_err(|error| match error {
            Errno::EXIST => collision(),
            error => Cause::system("made")(error.into()),
        })?;
        if around == State::Existing
            && let Ok(handle) = self.handle(directory)
        {
            metadata::disinherit(&*handle);
        }
        Ok(State::Fresh)
    }

    /// Marks one thing as done. After the last one the directory is finished, which may finish its
    /// parents.
    pub(super) fn release(&self, directory: &Arc<Directory>) {
        let mut at = Some(directory);
        while let Some(directory) = at {
            if directory.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            self.end(directory);
            at = directory.parent.as_ref();
        }
    }

    fn end(&self, directory: &Directory) {
        if !matches!(directory.state(), State::Fresh | State::Existing) {
            return;
        }
        self.remove_surplus(directory);
        if let Some(meta) = &directory.meta
            && !self.options.dry_run
        {
            let inherited = directory.state() == State::Existing;
            match self.handle(directory) {
                Ok(handle) => {
                    let on = On::Open(handle.as_fd());
                    let applied = meta.apply(on, self.privileged(), inherited);
                    self.applied(applied, || directory.location());
                }
                Err(error) => {
                    let location = directory.location();
                    self.tally.unset(&location, "metadata".to_owned(), error);
                }
            }
        }
        if directory.parent.is_some() {
            lock(&directory.slot).take();
        }
    }

    /// Reports the metadata that could not be set.
    pub(super) fn applied(&self, applied: Applied, location: impl Fn() -> Vec<u8>) {
        if applied.owner_refused {
            count(&self.tally.owners_unset, 1);
        }
        for missed in applied.missed {
            self.tally.unset(&location(), missed.what, missed.error);
        }
    }

    fn remove_surplus(&self, directory: &Directory) {
        let surplus = std::mem::take(&mut *lock(&directory.surplus));
        let partial = lock(&directory.partial);
        for name in surplus.iter().filter(|name| !partial.contains(name)) {
            let removed = match self.options.dry_run {
                true => Ok(1),
                false => self
                    .handle(directory)
                    .and_then(|handle| removal::all(&*handle, name)),
            };
            match removed {
                Ok(0) => {}
                Ok(entries) => {
                    count(&self.tally.deleted, entries);
                    self.tell(Action::Deleted, || directory.location_of(name));
                }
                Err(error) => {
                    let cause = Cause::system("removed")(error);
                    self.tally.fail(directory.location_of(name), cause);
                }
            }
        }
    }

    pub(super) fn tell(&self, action: Action, location: impl Fn() -> Vec<u8>) {
        if let Some(observer) = &self.options.observer.0 {
            observer(&path(location()), action);
        }
    }

    /// Returns whether the file system ignores case in an existing directory, judging by the
    /// directory's own name.
    pub(super) fn folds_case(&self, directory: &Directory) -> bool {
        let Some(parent) = &directory.parent else {
            return self.target_folds_case();
        };
        let other = swap_case(&directory.name);
        if *other == *directory.name {
            return parent.state() == State::Existing && self.folds_case(parent);
        }
        let look = |name: &[u8]| {
            let handle = self.handle(parent).ok()?;
            Some(Existing::look(&*handle, name).ok()??.node)
        };
        look(&directory.name).is_some_and(|node| look(&other) == Some(node))
    }

    fn target_folds_case(&self) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Ok(target) = std::fs::canonicalize(&self.options.target) else {
            return false;
        };
        let Some(name) = target.file_name() else {
            return false;
        };
        let other = swap_case(name.as_bytes());
        let other = target.with_file_name(std::ffi::OsStr::from_bytes(&other));
        let look = |path: &Path| Some(Existing::look(CWD, path.as_os_str().as_bytes()).ok()??.node);
        other != target && look(&target).is_some_and(|node| look(&other) == Some(node))
    }
}

fn swap_case(name: &[u8]) -> Vec<u8> {
    let swap = |byte: &u8| match byte.is_ascii_lowercase() {
        true => byte.to_ascii_uppercase(),
        false => byte.to_ascii_lowercase(),
    };
    name.iter().map(swap).collect()
}

/// The error for a name that must be new, in a new directory, but exists all the same.
pub(super) fn collision() -> Cause {
    let text = "another entry has taken its name: the file system does not tell their names apart, \
                or something else writes there";
    Cause::Refused(text.to_owned())
}
