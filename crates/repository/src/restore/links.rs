//! Files with several names: the first name that the walk finds is restored, and the others are
//! linked to it.

use super::directory::Directory;
use super::existing::Existing;
use super::options::{Action, Progress};
use super::report::{Cause, count};
use super::{Restore, lock, write};
use crate::id::Id;
use crate::tree::Node;
use rustix::fs::AtFlags;
use std::collections::hash_map::Entry;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first name of a file.
pub(super) struct First {
    directory: Arc<Directory>,
    name: Box<[u8]>,
    /// A hash of the content. It shows that other names are the same file, and not a file that
    /// reused its inode number.
    content: Id,
    there: AtomicBool,
}

impl First {
    /// Marks the first name as restored, so that others can be linked to it.
    pub(super) fn is_there(&self) {
        self.there.store(true, Ordering::Release);
    }
}

/// The role of one name of a file with several names.
pub(super) enum Claim {
    First(Arc<First>),
    Further(Arc<First>),
    /// The content differs, so it is a file of its own.
    Another,
}

/// The device and inode of an entry with several names; `None` for any other entry.
pub(super) fn key(node: &Node) -> Option<(u64, u64)> {
    let several = node.links > 1 && (node.device_id, node.inode) != (0, 0);
    several.then_some((node.device_id, node.inode))
}

fn content(node: &Node) -> Id {
    let mut bytes = node.kind.name().as_bytes().to_vec();
    bytes.extend_from_slice(&node.link_target);
    for id in node.content.iter().flatten() {
        bytes.extend_from_slice(id.bytes());
    }
    Id::of(&bytes)
}

impl Restore<'_> {
    pub(super) fn claim(&self, key: (u64, u64), node: &Node, directory: &Arc<Directory>) -> Claim {
        let content = content(node);
        match lock(&self.firsts).entry(key) {
            Entry::Occupied(first) if first.get().content == content => {
                Claim::Further(Arc::clone(first.get()))
            }
            Entry::Occupied(_) => Claim::Another,
            Entry::Vacant(free) => {
                let first = Arc::new(First {
                    directory: Arc::clone(directory),
                    name: node.name.as_slice().into(),
                    content,
                    there: AtomicBool::new(false),
                });
                free.insert(Arc::clone(&first));
                Claim::First(first)
            }
        }
    }
}

/// A further name of a file.
pub(super) struct Link {
    directory: Arc<Directory>,
    name: Box<[u8]>,
    of: Arc<First>,
    there: Option<Existing>,
}

impl Link {
    pub(super) fn new(
        directory: Arc<Directory>,
        name: &[u8],
        of: Arc<First>,
        there: Option<Existing>,
    ) -> Self {
        Link {
            directory,
            name: name.into(),
            of,
            there,
        }
    }

    /// Makes the link. The first name must be finished.
    pub(super) fn make(&self, restore: &Restore<'_>) {
        let location = || self.directory.location_of(&self.name);
        match self.link(restore) {
            Ok(action) => {
                let counter = match action {
                    Action::Unchanged => &restore.tally.unchanged,
                    _ => &restore.tally.hard_links,
                };
                count(counter, 1);
                restore.tell(action, location);
            }
            Err(cause) => restore.tally.fail(location(), cause),
        }
        Progress::add(&restore.options.progress.files_done, 1);
        restore.release(&self.directory);
    }

    fn link(&self, restore: &Restore<'_>) -> Result<Action, Cause> {
        if restore.options.dry_run {
            return Ok(Action::Restored);
        }
        let first = &self.of;
        if !first.there.load(Ordering::Acquire) {
            let name = first.directory.location_of(&first.name);
            let name = String::from_utf8_lossy(&name);
            let text = format!("it is another name of {name}, which was not restored");
            return Err(Cause::Refused(text));
        }
        let failed = Cause::system("linked to its other name");
        let from = restore.handle(&first.directory).map_err(&failed)?;
        let handle = restore.handle(&self.directory).map_err(&failed)?;
        let link = |name: &[u8]| {
            let done = rustix::fs::linkat(&*from, &*first.name, &*handle, name, AtFlags::empty());
            done.map_err(std::io::Error::from)
        };
        let Some(there) = &self.there else {
            link(&self.name).map_err(&failed)?;
            return Ok(Action::Restored);
        };
        let target = Existing::look(&*from, &first.name).map_err(&failed)?;
        if target.is_some_and(|target| target.node == there.node) {
            return Ok(Action::Unchanged);
        }
        write::aside(handle.as_fd(), &self.name, link, |_| {}).map_err(&failed)?;
        Ok(Action::Restored)
    }
}
