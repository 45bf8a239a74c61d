//! Walks a tree: makes entries without content at once, and plans the files.

use super::directory::{Directory, State};
use super::existing::Existing;
use super::file::Planned;
use super::links::{self, First, Link};
use super::metadata::{Meta, On};
use super::options::{Action, Progress};
use super::report::{Cause, count};
use super::write::{self, SUFFIX};
use super::{Found, Restore, Visit, lock, removal};
use crate::error::{Damage, Error};
use crate::tree::{self, Node, NodeKind};
use rustix::fs::{AtFlags, FileType, Mode};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

impl Restore<'_> {
    /// Walks the tree of a directory.
    pub(super) fn visit(&self, visit: &Visit, json: &[u8]) -> Found {
        let mut walked = Walked::new(self, &visit.directory);
        let read = tree::read(json, |node| walked.node(node));
        if let Err(damage) = read {
            walked.broken(visit, damage);
        }
        let found = walked.finish();
        self.release(&visit.directory);
        found
    }

    /// Walks the tree of a very large directory, and restores its entries whenever enough are
    /// found.
    pub(super) fn visit_long(&self, visit: &Visit, found: &mut Found) {
        let (repository, index) = (self.fetcher.repository, self.fetcher.index);
        let text = match repository.tree_text(index, &visit.tree) {
            Ok(text) => text,
            Err(error) => {
                return self.unread(&visit.directory, Cause::Repository(Arc::new(error)));
            }
        };
        let mut walked = Walked::new(self, &visit.directory);
        let like_partial = |name: &[u8]| name.windows(SUFFIX.len()).any(|part| part == SUFFIX);
        let first = text.read(|node| {
            if let Ok(node) = node
                && like_partial(&node.name)
            {
                walked.later.insert(node.name.into());
            }
        });
        let read = first.and_then(|()| {
            text.read(|node| {
                walked.node(node);
                if walked.found.is_full() {
                    found.append(walked.take_found());
                    self.deliver(found);
                }
            })
        });
        if let Err(damage) = read {
            walked.broken(visit, damage);
        }
        found.append(walked.finish());
        self.release(&visit.directory);
    }
}

/// A directory whose tree is being read.
pub(super) struct Walked<'r, 'a> {
    restore: &'r Restore<'a>,
    directory: &'r Arc<Directory>,
    found: Found,
    names: HashSet<Box<[u8]>>,
    /// Names of later entries that might also be names of partial files.
    later: HashSet<Box<[u8]>>,
    /// Names in lower case, if the directory existed before.
    folded: HashSet<Vec<u8>>,
    folds: Option<bool>,
    /// True if an entry could not be read, so that existing entries may belong to the snapshot.
    refused: bool,
}

impl<'r, 'a> Walked<'r, 'a> {
    pub(super) fn new(restore: &'r Restore<'a>, directory: &'r Arc<Directory>) -> Self {
        Walked {
            restore,
            directory,
            found: Found::default(),
            names: HashSet::new(),
            later: HashSet::new(),
            folded: HashSet::new(),
            folds: None,
            refused: false,
        }
    }

    /// Handles the next entry.
    pub(super) fn node(&mut self, node: Result<Node, Damage>) {
        let restore = self.restore;
        let mut node = match node {
            Ok(node) => node,
            Err(damage) => {
                self.refused = true;
                let cause = Cause::Refused(format!("an entry of it cannot be used: {damage}"));
                return restore.tally.fail(self.directory.location(), cause);
            }
        };
        if !self.names.insert(node.name.as_slice().into()) {
            let cause = Cause::Refused("its directory has two entries of this name".to_owned());
            return self.fail(&node.name, cause);
        }
        let location = || self.directory.location_of(&node.name);
        let (here, below) = restore.options.select(location);
        if node.kind == NodeKind::Directory {
            if here || below {
                self.inner(node, here, below);
            }
        } else if here {
            let progress = &restore.options.progress;
            Progress::add(&progress.files, 1);
            Progress::add(&progress.bytes, node.size);
            if let Err(cause) = self.entry(&mut node) {
                Progress::add(&progress.files_done, 1);
                self.fail(&node.name, cause);
            }
        }
    }

    /// Takes what was found since the last call.
    fn take_found(&mut self) -> Found {
        for file in &mut self.found.files {
            file.avoid(|name| self.names.contains(name) || self.later.contains(name));
        }
        std::mem::take(&mut self.found)
    }

    /// Returns what was found, and records the surplus entries of the target.
    pub(super) fn finish(mut self) -> Found {
        let existing = self.directory.state() == State::Existing;
        if self.restore.options.delete && existing && !self.refused {
            let names = self.restore.handle(self.directory);
            match names.and_then(|handle| removal::names(&*handle)) {
                Ok(mut there) => {
                    there.retain(|name| {
                        let location = || self.directory.location_of(name);
                        !self.names.contains(name) && self.restore.options.select(location).0
                    });
                    *lock(&self.directory.surplus) = there;
                }
                Err(error) => {
                    let cause = Cause::system("listed")(error);
                    self.restore.tally.fail(self.directory.location(), cause);
                }
            }
        }
        self.take_found()
    }

    /// Records that the rest of the tree is unknown.
    fn broken(&mut self, visit: &Visit, damage: Damage) {
        self.refused = true;
        let id = visit.tree;
        let cause = Cause::Repository(Arc::new(Error::Blob { id, damage }));
        self.restore.tally.fail(self.directory.location(), cause);
    }

    fn fail(&self, name: &[u8], cause: Cause) {
        let location = self.directory.location_of(name);
        self.restore.tally.fail(location, cause);
    }

    fn inner(&mut self, mut node: Node, here: bool, below: bool) {
        let Some(subtree) = node.subtree else {
            let cause = Cause::Refused("it is a directory without a tree".to_owned());
            return self.fail(&node.name, cause);
        };
        if here && let Err(cause) = self.tell_apart(&node.name) {
            return self.fail(&node.name, cause);
        }
        let meta = Meta::of(&mut node);
        let inner = Directory::within(self.directory, &node.name, meta);
        let failed = here && self.restore.ensure(&inner) == State::Failed;
        if below && !failed {
            self.found.visits.push(Visit {
                directory: inner,
                tree: subtree,
            });
        } else {
            self.restore.release(&inner);
        }
    }

    /// Refuses a name that the file system cannot tell from an earlier one.
    fn tell_apart(&mut self, name: &[u8]) -> Result<(), Cause> {
        if self.directory.state() != State::Existing
            || self.folded.insert(name.to_ascii_lowercase())
        {
            return Ok(());
        }
        let directory = self.directory;
        let restore = self.restore;
        match self
            .folds
            .get_or_insert_with(|| restore.folds_case(directory))
        {
            false => Ok(()),
            true => Err(Cause::Refused(
                "another entry differs from it only in case, which the file system does not tell"
                    .to_owned(),
            )),
        }
    }

    /// Handles an entry that is not a directory.
    fn entry(&mut self, node: &mut Node) -> Result<(), Cause> {
        let restore = self.restore;
        let state = restore.ensure(self.directory);
        if state == State::Failed {
            return Ok(());
        }
        self.tell_apart(&node.name)?;
        let meta = Meta::of(node);
        let mut there = match state {
            State::Existing => restore
                .handle(self.directory)
                .and_then(|handle| Existing::look(&*handle, &node.name))
                .map_err(Cause::system("looked at"))?,
            _ => None,
        };
        let no_use = matches!(node.kind, NodeKind::Socket | NodeKind::Irregular);
        let stays = |there: &Existing| !there.yields(restore.options.overwrite, meta.mtime);
        if no_use || there.as_ref().is_some_and(stays) {
            count(&restore.tally.skipped, 1);
            Progress::add(&restore.options.progress.files_done, 1);
            Progress::add(&restore.options.progress.bytes_done, node.size);
            restore.tell(Action::Skipped, || self.directory.location_of(&node.name));
            return Ok(());
        }
        if there.is_some_and(|there| there.is_directory()) {
            self.make_way(&node.name)?;
            there = None;
        }
        let mut first = None;
        if let Some(key) = links::key(node) {
            match restore.claim(key, node, self.directory) {
                links::Claim::First(claimed) => first = Some(claimed),
                links::Claim::Further(of) => {
                    self.directory.hold();
                    let directory = Arc::clone(self.directory);
                    let link = Link::new(directory, &node.name, of, there);
                    self.found.links.push(link);
                    return Ok(());
                }
                links::Claim::Another => {}
            }
        }
        if node.kind != NodeKind::File {
            return self.special(node, &meta, there, first);
        }
        self.directory.hold();
        let directory = Arc::clone(self.directory);
        let fresh = state == State::Fresh;
        let planned = Planned::new(directory, node, meta, there, first, fresh);
        self.found.blobs += planned.blobs();
        self.found.files.push(planned);
        Ok(())
    }

    /// Removes a directory that stands where another entry belongs.
    fn make_way(&self, name: &[u8]) -> Result<(), Cause> {
        let options = self.restore.options;
        if options.dry_run {
            return Ok(());
        }
        let failed = Cause::system("put in the place of a directory");
        let handle = self.restore.handle(self.directory).map_err(&failed)?;
        match options.delete {
            true => {
                let removed = removal::all(&*handle, name).map_err(&failed)?;
                count(&self.restore.tally.deleted, removed);
            }
            false => rustix::fs::unlinkat(&*handle, name, AtFlags::REMOVEDIR)
                .map_err(|error| failed(error.into()))?,
        }
        Ok(())
    }

    /// Handles a link, pipe or device.
    fn special(
        &self,
        node: &Node,
        meta: &Meta,
        there: Option<Existing>,
        first: Option<Arc<First>>,
    ) -> Result<(), Cause> {
        let restore = self.restore;
        let mut action = Action::Restored;
        if !restore.options.dry_run {
            let handle = restore.handle(self.directory);
            let handle = handle.map_err(Cause::system("reached"))?;
            action = self
                .make(handle.as_fd(), node, meta, there)
                .map_err(Cause::system("made"))?;
        }
        if let Some(first) = first {
            first.is_there();
        }
        let counter = match action {
            Action::Unchanged => &restore.tally.unchanged,
            _ => &restore.tally.specials,
        };
        count(counter, 1);
        Progress::add(&restore.options.progress.files_done, 1);
        restore.tell(action, || self.directory.location_of(&node.name));
        Ok(())
    }

    fn make(
        &self,
        handle: BorrowedFd<'_>,
        node: &Node,
        meta: &Meta,
        there: Option<Existing>,
    ) -> io::Result<Action> {
        let describe = |name: &[u8]| {
            let on = On::Named {
                directory: handle,
                name,
                link: node.kind == NodeKind::Symlink,
            };
            let applied = meta.apply(on, self.restore.privileged(), false);
            let location = || self.directory.location_of(&node.name);
            self.restore.applied(applied, location);
        };
        let Some(there) = there else {
            create(handle, &node.name, node)?;
            describe(&node.name);
            return Ok(Action::Restored);
        };
        if there.links == 1 && is_same(handle, node, &there) {
            describe(&node.name);
            return Ok(Action::Unchanged);
        }
        write::aside(
            handle,
            &node.name,
            |aside| create(handle, aside, node),
            |aside| describe(aside),
        )?;
        Ok(Action::Restored)
    }
}

/// Returns whether the existing entry needs at most new metadata.
fn is_same(handle: BorrowedFd<'_>, node: &Node, there: &Existing) -> bool {
    match node.kind {
        NodeKind::Fifo => there.kind == FileType::Fifo,
        NodeKind::Symlink if there.kind == FileType::Symlink => {
            rustix::fs::readlinkat(handle, node.name.as_slice(), Vec::new())
                .is_ok_and(|target| target.as_bytes() == node.link_target)
        }
        _ => false,
    }
}

/// Makes an entry that has no content. Nothing may have its name yet.
fn create(handle: BorrowedFd<'_>, name: &[u8], node: &Node) -> io::Result<()> {
    let device = |kind, number| {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(handle, name, kind, mode, number)
    };
    match node.kind {
        NodeKind::Symlink => rustix::fs::symlinkat(node.link_target.as_slice(), handle, name),
        NodeKind::Fifo => device(FileType::Fifo, 0),
        NodeKind::BlockDevice => device(FileType::BlockDevice, node.device),
        NodeKind::CharDevice => device(FileType::CharacterDevice, node.device),
        _ => Err(rustix::io::Errno::NOTSUP),
    }?;
    Ok(())
}
