//! Checks everything that some entries of a snapshot need: every tree below them, and every blob of
//! their files.

use crate::error::{Error, FileKind, Result};
use crate::fetch::{Fetcher, Sink, Want};
use crate::id::Id;
use crate::index::{Index, Location};
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::requests;
use crate::sync::{into_inner, lock};
use crate::tree::Node;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Blobs that are read at a time.
const WINDOW_BLOBS: usize = 65_536;

/// The result of an examination.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that were examined.
    pub files: u64,
    /// The entries that cannot be restored as they were, by path, and the reason for each.
    pub damaged: BTreeMap<Vec<u8>, String>,
    /// The blobs that cannot be read.
    pub bad: HashSet<Id>,
}

/// Reads everything that the entries need, except the blobs in `good`. Blobs found intact are added
/// to `good`, so what several snapshots share is read once. `passed` receives the bytes of
/// plaintext that were read. An error means that the check could not be done.
pub fn run(
    repository: &Repository,
    index: &Index,
    nodes: Vec<Node>,
    good: &mut HashSet<Id>,
    passed: &(dyn Fn(u64) + Sync),
) -> Result<Found> {
    let pool = requests::reader_pool(repository)?;
    let mut examination = Examination {
        fetcher: Fetcher::new(repository, index, &pool),
        found: Found::default(),
        window: Window::default(),
        good,
        passed,
    };
    let mut open = vec![(0, nodes.into_iter())];
    let mut path = Vec::new();
    while let Some((length, rest)) = open.last_mut() {
        path.truncate(*length);
        let Some(node) = rest.next() else {
            open.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(&node.name);
        let mut damaged = |why: String| {
            examination.found.bad.extend(node.subtree);
            examination.found.damaged.insert(path.clone(), why);
        };
        match node.directory() {
            Err(damage) => damaged(damage.to_string()),
            Ok(None) => examination.file(&path, &node)?,
            Ok(Some(tree)) => match repository.tree(index, &tree) {
                Ok(entries) => open.push((path.len(), entries.into_iter())),
                Err(error) if error.is_damage() => damaged(error.to_string()),
                Err(error) => return Err(error),
            },
        }
    }
    examination.flush()?;
    Ok(examination.found)
}

/// The blobs in the index for which there is no pack that is present and long enough.
pub fn lost(repository: &Repository, index: &Index) -> Result<HashSet<Id>> {
    let stored: HashMap<Id, u64> = repository.list(FileKind::Pack)?.into_iter().collect();
    let is_there = |place: &Location| {
        let stored = stored.get(&place.pack);
        stored.is_some_and(|&bytes| bytes >= place.end())
    };
    let lost = index
        .groups()
        .filter(|group| !group.places().any(|place| is_there(&place)));
    Ok(lost.map(|group| group.id()).collect())
}

/// Blobs to read, collected until there are enough.
#[derive(Default)]
struct Window {
    wants: Vec<Want<Id>>,
    waiting: HashSet<Id>,
    /// The files, each with its blobs.
    files: Vec<(Vec<u8>, Vec<Id>)>,
}

struct Examination<'a> {
    fetcher: Fetcher<'a>,
    found: Found,
    window: Window,
    good: &'a mut HashSet<Id>,
    passed: &'a (dyn Fn(u64) + Sync),
}

impl Examination<'_> {
    fn file(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let Some(content) = &node.content else {
            return Ok(());
        };
        self.found.files += 1;
        let index = self.fetcher.index;
        let mut size = 0;
        let mut unread = Vec::new();
        for id in content {
            let Some(at) = index.locations(BlobKind::Data, id).next() else {
                self.found.bad.insert(*id);
                let why = Error::UnknownBlob { id: *id }.to_string();
                self.found.damaged.insert(path.to_vec(), why);
                return Ok(());
            };
            size += u64::from(at.plain_bytes);
            if !self.good.contains(id) {
                unread.push(*id);
                if self.window.waiting.insert(*id) {
                    self.window.wants.push(Want {
                        id: *id,
                        at,
                        to: *id,
                    });
                }
            }
        }
        if size != node.size {
            let why = format!("it is {} bytes long, its blobs are {size}", node.size);
            self.found.damaged.insert(path.to_vec(), why);
        }
        if !unread.is_empty() {
            self.window.files.push((path.to_vec(), unread));
        }
        match self.window.wants.len() >= WINDOW_BLOBS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let read = Reading {
            bad: Mutex::default(),
            failed: Mutex::default(),
            passed: self.passed,
        };
        self.fetcher.run(&window.wants, &read);
        let bad = into_inner(read.bad);
        if let Some(error) = into_inner(read.failed) {
            return Err(Arc::into_inner(error).unwrap_or(Error::Stopped));
        }
        for (path, ids) in window.files {
            if let Some(why) = ids.iter().find_map(|id| bad.get(id)) {
                self.found.damaged.insert(path, why.clone());
            }
        }
        self.found.bad.extend(bad.keys());
        let right = window
            .waiting
            .into_iter()
            .filter(|id| !bad.contains_key(id));
        self.good.extend(right);
        Ok(())
    }
}

/// Records the blobs that cannot be read.
struct Reading<'a> {
    bad: Mutex<BTreeMap<Id, String>>,
    /// The error that ends the check, since it is no damage.
    failed: Mutex<Option<Arc<Error>>>,
    passed: &'a (dyn Fn(u64) + Sync),
}

impl Sink<Id> for Reading<'_> {
    fn wanted(&self, _: &Id) -> bool {
        true
    }

    fn take(&self, to: &Id, blob: std::result::Result<&[u8], &Arc<Error>>) {
        match blob {
            Ok(bytes) => (self.passed)(bytes.len() as u64),
            Err(error) if error.is_damage() => {
                lock(&self.bad).insert(*to, error.to_string());
            }
            Err(error) => {
                lock(&self.failed).get_or_insert_with(|| Arc::clone(error));
            }
        }
    }
}
