//! Reads the content of files as one stream. What comes next is fetched in the background, pack by
//! pack and on all cores.

use crate::error::{Error, Result};
use crate::fetch::{Fetcher, Sink, Want};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::requests;
use crate::sync::{into_inner, lock};
use crate::tree::{Node, NodeKind, Nodes};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashSet, VecDeque};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::vec::IntoIter;

/// The bytes that are fetched at a time; up to three times as much is in memory.
const WINDOW_BYTES: u64 = 16 << 20;
/// The most blobs that are fetched at a time, however small.
const WINDOW_BLOBS: usize = 16_384;

/// The blobs of the files in a tree, depth first in order of name. A file with several names occurs
/// once, at its first name.
pub struct Contents {
    repository: Arc<Repository>,
    index: Arc<Index>,
    /// The open directories on the way: the tree of each, and its remaining entries.
    open: Vec<(Id, Nodes)>,
    content: IntoIter<Id>,
    linked: HashSet<(u64, u64)>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contents")
    }
}

impl Contents {
    /// The blobs of these entries, which may be directories.
    pub fn new(repository: &Arc<Repository>, index: &Arc<Index>, nodes: Vec<Node>) -> Self {
        Contents {
            repository: Arc::clone(repository),
            index: Arc::clone(index),
            open: vec![(Id::default(), nodes.into())],
            content: IntoIter::default(),
            linked: HashSet::new(),
        }
    }

    fn visit(&mut self, node: Node) -> Result<()> {
        let broken = |damage| Error::Config(damage);
        if let Some(tree) = node.directory().map_err(broken)? {
            let entries = self.repository.tree_nodes(&self.index, &tree)?;
            self.open.push((tree, entries));
            return Ok(());
        }
        let first = node.links <= 1 || self.linked.insert((node.device_id, node.inode));
        if node.kind == NodeKind::File && first {
            self.content = node.content.unwrap_or_default().into_iter();
        }
        Ok(())
    }
}

impl Iterator for Contents {
    type Item = Result<Id>;

    fn next(&mut self) -> Option<Result<Id>> {
        loop {
            if let Some(id) = self.content.next() {
                return Some(Ok(id));
            }
            let (tree, nodes) = self.open.last_mut()?;
            let id = *tree;
            match nodes.next() {
                Some(node) => {
                    let node = node.map_err(|damage| Error::Blob { id, damage });
                    if let Err(error) = node.and_then(|node| self.visit(node)) {
                        return Some(Err(error));
                    }
                }
                None => drop(self.open.pop()),
            }
        }
    }
}

/// Reads one blob after another, as a stream. An I/O error wraps the error of the repository.
#[derive(Debug)]
pub struct BlobReader {
    windows: Receiver<Result<Vec<Vec<u8>>>>,
    blobs: VecDeque<Vec<u8>>,
    at: usize,
    ended: bool,
}

impl BlobReader {
    /// Reads these blobs of data, each checked against its id. `ids` is iterated on a thread of its
    /// own.
    pub fn new(
        repository: &Arc<Repository>,
        index: &Arc<Index>,
        ids: impl Iterator<Item = Result<Id>> + Send + 'static,
    ) -> Result<Self> {
        let (sender, windows) = bounded(0);
        let (repository, index) = (Arc::clone(repository), Arc::clone(index));
        std::thread::Builder::new()
            .name("fetch".into())
            .spawn(move || {
                if let Err(error) = fetch(&repository, &index, ids, &sender) {
                    // Nobody may be listening any more.
                    let _ = sender.send(Err(error));
                }
            })
            .map_err(Error::Threads)?;
        Ok(BlobReader {
            windows,
            blobs: VecDeque::new(),
            at: 0,
            ended: false,
        })
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(blob) = self.blobs.front() {
                let rest = blob.get(self.at..).unwrap_or_default();
                if !rest.is_empty() {
                    let count = rest.len().min(buffer.len());
                    let (now, _) = rest.split_at(count);
                    if let Some(room) = buffer.get_mut(..count) {
                        room.copy_from_slice(now);
                    }
                    self.at += count;
                    return Ok(count);
                }
                self.blobs.pop_front();
                self.at = 0;
                continue;
            }
            if self.ended {
                return Ok(0);
            }
            match self.windows.recv() {
                // An empty window is the last. If it never came, the stream was cut off.
                Ok(Ok(window)) if window.is_empty() => self.ended = true,
                Ok(Ok(window)) => self.blobs = window.into(),
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

fn fetch(
    repository: &Repository,
    index: &Index,
    mut ids: impl Iterator<Item = Result<Id>>,
    windows: &Sender<Result<Vec<Vec<u8>>>>,
) -> Result<()> {
    let pool = requests::reader_pool(repository)?;
    let fetcher = Fetcher::new(repository, index, &pool);
    loop {
        let (mut wants, mut bytes) = (Vec::new(), 0);
        while bytes < WINDOW_BYTES
            && wants.len() < WINDOW_BLOBS
            && let Some(id) = ids.next()
        {
            let id = id?;
            let at = index.locations(BlobKind::Data, &id).next();
            let at = at.ok_or(Error::UnknownBlob { id })?;
            bytes += u64::from(at.plain_bytes);
            let to = wants.len();
            wants.push(Want { id, at, to });
        }
        let slots = Slots((0..wants.len()).map(|_| Mutex::default()).collect());
        fetcher.run(&wants, &slots);
        let window = slots.take()?;
        let last = window.is_empty();
        if windows.send(Ok(window)).is_err() || last {
            return Ok(());
        }
    }
}

/// The blobs of a window, in order.
struct Slots(Vec<Mutex<Slot>>);

/// The result of a blob.
type Slot = Option<std::result::Result<Vec<u8>, Arc<Error>>>;

impl Slots {
    fn take(self) -> Result<Vec<Vec<u8>>> {
        let (mut blobs, mut failed) = (Vec::with_capacity(self.0.len()), None);
        for slot in self.0 {
            match into_inner(slot) {
                Some(Ok(blob)) => blobs.push(blob),
                Some(Err(error)) if failed.is_none() => failed = Some(error),
                // Dropped, so that nobody else holds the first error.
                Some(Err(_)) | None => {}
            }
        }
        match failed {
            Some(error) => Err(Arc::into_inner(error).unwrap_or(Error::Stopped)),
            None => Ok(blobs),
        }
    }
}

impl Sink<usize> for Slots {
    fn wanted(&self, _: &usize) -> bool {
        true
    }

    fn take(&self, to: &usize, blob: std::result::Result<&[u8], &Arc<Error>>) {
        if let Some(slot) = self.0.get(*to) {
            *lock(slot) = Some(match blob {
                Ok(bytes) => Ok(bytes.to_vec()),
                Err(error) => Err(Arc::clone(error)),
            });
        }
    }
}
