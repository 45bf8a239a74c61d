//! Restores a snapshot, or a part of one, into a directory.
//!
//! A file gets its name only when all of it is present and right. Until then it is beside it as
//! `NAME.lifeboat-partial`, from which the next restore continues, and what had the name before
//! stays intact. Damage in the repository affects only the files it hits: their partial files stay,
//! with holes where the damage is. Nothing is ever written through a symbolic link in the target,
//! nor outside it. Failures are returned in the report; only if nothing can be restored is there an
//! error. The restored files are not synced to disk.

mod directory;
mod existing;
mod file;
mod links;
mod metadata;
mod options;
mod removal;
mod report;
#[cfg(test)]
mod tests;
mod walk;
mod write;

pub use options::{Action, Observer, Options, Overwrite, Progress, Source};
pub use report::{Cause, Failed, Report, Unset};

use crate::error::{Error, Result};
use crate::fetch::{Fetcher, Sink, Want};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::requests;
use crate::sync::{into_inner, lock};
use crate::tree::{self, Node, NodeKind};
use directory::{Directory, Handles};
use file::{Planned, To};
use links::{First, Link};
use rayon::prelude::*;
use report::Tally;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex};

/// The stack of each thread. Directories may be nested too deep for the usual size.
const STACK_BYTES: usize = 64 << 20;
/// The number of trees that are read at a time.
const TREES: usize = if cfg!(test) { 2 } else { 512 };
/// The number of files after which the walk pauses and they are restored.
const WINDOW_FILES: usize = if cfg!(test) { 100 } else { 32 << 10 };
/// The number of their blobs after which it pauses, too.
const WINDOW_BLOBS: usize = 128 << 10;

/// Restores a snapshot. An error means that nothing was restored, or that it is unknown what was.
pub fn run(repository: &Repository, index: &Index, options: &Options) -> Result<Report> {
    let everything = options.include.is_empty() && options.exclude.is_empty();
    if options.delete && everything && is_root(&options.target) {
        return Err(Error::DeletesAll);
    }
    let start = start(repository, index, options)?;
    let threads = match options.threads {
        0 => {
            let cores = std::thread::available_parallelism();
            let cores = cores.map_or(2, |cores| cores.get().clamp(2, 16));
            requests::reader_threads(repository, cores)
        }
        threads => threads,
    };
    let pool = requests::pool(threads, Some(STACK_BYTES))?;
    let restore = Restore {
        options,
        fetcher: Fetcher::new(repository, index, &pool),
        handles: Handles::default(),
        tally: Tally::default(),
        firsts: Mutex::default(),
        uid: rustix::process::geteuid().as_raw(),
    };
    let root = Directory::target(&options.target, options.dry_run)?;
    restore.all(root, start);
    let read_bytes = restore.fetcher.read_bytes();
    Ok(restore.tally.report(read_bytes))
}

/// Returns whether a path means the root directory.
fn is_root(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|path| path == Path::new("/"))
}

/// The starting point of a restore.
enum Start {
    Tree(Id),
    /// A single entry that is not a directory.
    Entry(Box<Node>),
}

/// Follows the path within the snapshot to the starting point.
fn start(repository: &Repository, index: &Index, options: &Options) -> Result<Start> {
    let mut tree = match options.source {
        Source::Snapshot(id) => repository.snapshot(&id)?.tree,
        Source::Tree(id) => id,
    };
    let absent = || Error::NotInSnapshot {
        path: options.within.clone(),
    };
    let mut components = options.within.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::Normal(name) => name.as_bytes(),
            Component::RootDir | Component::CurDir => continue,
            _ => return Err(absent()),
        };
        let text = repository.tree_text(index, &tree)?;
        let mut found = None;
        let about = |damage| Error::Blob { id: tree, damage };
        text.read(|node| {
            if let Ok(node) = node
                && node.name == name
            {
                found = Some(node);
            }
        })
        .map_err(about)?;
        let node = found.ok_or_else(absent)?;
        match (node.kind, node.subtree) {
            (NodeKind::Directory, Some(subtree)) => tree = subtree,
            _ if components.peek().is_none() => return Ok(Start::Entry(Box::new(node))),
            _ => return Err(absent()),
        }
    }
    Ok(Start::Tree(tree))
}

/// The state that all threads share.
struct Restore<'a> {
    options: &'a Options,
    fetcher: Fetcher<'a>,
    handles: Handles,
    tally: Tally,
    /// The first name of each file that has several.
    firsts: Mutex<HashMap<(u64, u64), Arc<First>>>,
    uid: u32,
}

/// A directory whose tree is to be read.
struct Visit {
    directory: Arc<Directory>,
    tree: Id,
}

/// What the walk has found but not yet restored.
#[derive(Default)]
struct Found {
    files: Vec<Planned>,
    links: Vec<Link>,
    visits: Vec<Visit>,
    /// The number of blobs of the files.
    blobs: usize,
}

impl Found {
    fn append(&mut self, mut other: Found) {
        self.files.append(&mut other.files);
        self.links.append(&mut other.links);
        self.visits.append(&mut other.visits);
        self.blobs += other.blobs;
    }

    fn is_full(&self) -> bool {
        self.files.len() + self.links.len() >= WINDOW_FILES || self.blobs >= WINDOW_BLOBS
    }
}

impl Restore<'_> {
    fn privileged(&self) -> bool {
        self.uid == 0
    }

    /// Alternates between walking and restoring, so that memory does not grow with the number of
    /// files.
    fn all(&self, root: Arc<Directory>, start: Start) {
        let mut found = Found::default();
        match start {
            Start::Tree(tree) => found.visits.push(Visit {
                directory: root,
                tree,
            }),
            Start::Entry(node) => {
                let mut one = walk::Walked::new(self, &root);
                one.node(Ok(*node));
                found.append(one.finish());
                self.release(&root);
            }
        }
        while !found.visits.is_empty() {
            while !found.visits.is_empty() && !found.is_full() {
                let from = found.visits.len().saturating_sub(TREES);
                let visits = found.visits.split_off(from);
                self.visit_all(visits, &mut found);
            }
            self.deliver(&mut found);
        }
        self.deliver(&mut found);
    }

    fn visit_all(&self, visits: Vec<Visit>, found: &mut Found) {
        let index = self.fetcher.index;
        let mut wants = Vec::with_capacity(visits.len());
        for (number, visit) in visits.iter().enumerate() {
            match index.locations(BlobKind::Tree, &visit.tree).next() {
                Some(at) if at.plain_bytes as usize >= tree::LONG_BYTES => {
                    self.visit_long(visit, found);
                }
                Some(at) => wants.push(Want {
                    id: visit.tree,
                    at,
                    to: number,
                }),
                None => {
                    let error = Arc::new(Error::UnknownBlob { id: visit.tree });
                    self.unread(&visit.directory, Cause::Repository(error));
                }
            }
        }
        let trees = Trees {
            restore: self,
            visits: &visits,
            found: visits.iter().map(|_| Mutex::default()).collect(),
        };
        self.fetcher.run(&wants, &trees);
        let mut each: Vec<Found> = trees.found.into_iter().map(into_inner).collect();
        // The last visit comes next, so that the walk goes deeper before it goes on.
        for one in &mut each {
            found.visits.extend(one.visits.drain(..).rev());
        }
        each.into_iter().rev().for_each(|one| found.append(one));
    }

    /// Records a directory whose tree cannot be read: its content is unknown.
    fn unread(&self, directory: &Arc<Directory>, cause: Cause) {
        self.tally.fail(directory.location(), cause);
        self.release(directory);
    }

    /// Restores what the walk has found so far.
    fn deliver(&self, found: &mut Found) {
        let mut files = std::mem::take(&mut found.files);
        let links = std::mem::take(&mut found.links);
        found.blobs = 0;
        let pool = self.fetcher.pool;
        let wants = pool.install(|| {
            let files = files.par_iter_mut().enumerate();
            files
                .fold(Vec::new, |mut wants, (number, file)| {
                    file.prepare(self, number, &mut wants);
                    wants
                })
                .reduce(Vec::new, |mut all, mut more| {
                    all.append(&mut more);
                    all
                })
        });
        let contents = Contents {
            restore: self,
            files: &files,
        };
        self.fetcher.run(&wants, &contents);
        pool.install(|| links.par_iter().for_each(|link| link.make(self)));
    }
}

/// Receives trees.
struct Trees<'r, 'a> {
    restore: &'r Restore<'a>,
    visits: &'r [Visit],
    found: Vec<Mutex<Found>>,
}

impl Sink<usize> for Trees<'_, '_> {
    fn wanted(&self, _: &usize) -> bool {
        true
    }

    fn take(&self, to: &usize, blob: std::result::Result<&[u8], &Arc<Error>>) {
        let (Some(visit), Some(found)) = (self.visits.get(*to), self.found.get(*to)) else {
            return;
        };
        match blob {
            Ok(json) => *lock(found) = self.restore.visit(visit, json),
            Err(error) => {
                let cause = Cause::Repository(Arc::clone(error));
                self.restore.unread(&visit.directory, cause);
            }
        }
    }
}

/// Receives the contents of files.
struct Contents<'r, 'a> {
    restore: &'r Restore<'a>,
    files: &'r [Planned],
}

impl Sink<To> for Contents<'_, '_> {
    fn wanted(&self, to: &To) -> bool {
        self.files.get(to.file).is_some_and(Planned::is_going)
    }

    fn take(&self, to: &To, blob: std::result::Result<&[u8], &Arc<Error>>) {
        if let Some(file) = self.files.get(to.file) {
            file.part(self.restore, to, blob);
        }
    }
}
