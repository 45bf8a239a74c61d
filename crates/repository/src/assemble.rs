//! Builds trees out of streams: entries that come one after the other, depth first, as in an archive.
//!
//! One thread takes the streams and cuts them into chunks; another stores these, in batches and on
//! all cores, and makes the tree of each directory once it is through. So what is in memory is two
//! batches and the entries of the directories that are open.

use crate::chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunks};
use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::saver::Saver;
use crate::tree::{Node, TreeBuilder};
use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::io::Read;

/// A batch is about so long.
const BATCH_BYTES: usize = 8 << 20;
/// A batch has at most so many entries, each of which may be small.
const BATCH_STEPS: usize = 16_384;

/// What is told of the entries.
enum Step {
    Enter(Node),
    Leave,
    /// An entry without content.
    Add(Node),
    /// A file whose content is so many of the chunks before.
    File(Node, usize),
    /// Another name of the file that has the same inode.
    Link(Node),
    /// The second stream has so many of its chunks.
    Aside(Node, usize),
}

#[derive(Default)]
struct Batch {
    chunks: Vec<Vec<u8>>,
    /// Chunks of the second stream.
    aside: Vec<Vec<u8>>,
    steps: Vec<Step>,
    bytes: usize,
}

/// Takes the entries; see [`assemble`].
pub struct Assembly<'a> {
    repository: &'a Repository,
    batches: Sender<Batch>,
    /// Chunks that were stored, whose room is used again.
    rooms: Receiver<Vec<u8>>,
    batch: Batch,
    buffer: Vec<u8>,
    small: Vec<u8>,
    /// What of the second stream is not cut yet.
    aside: Vec<u8>,
    aside_chunks: usize,
}

impl std::fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assembly")
    }
}

/// What was assembled.
#[derive(Debug, Default)]
pub struct Assembled {
    /// The entries that are in no directory, in the order in which they came.
    pub nodes: Vec<Node>,
    /// The file that [`Assembly::finish_aside`] made, if it did.
    pub aside: Option<Node>,
}

/// Stores what `feed` tells.
pub fn assemble(
    repository: &Repository,
    saver: &Saver<'_>,
    feed: impl FnOnce(&mut Assembly<'_>) -> Result<()>,
) -> Result<Assembled> {
    let (batches, incoming) = bounded(0);
    let (room, rooms) = bounded(256);
    std::thread::scope(|scope| {
        let keeping = scope.spawn(move || Keeper::new(saver, room).run(&incoming));
        let mut assembly = Assembly {
            repository,
            batches,
            rooms,
            batch: Batch::default(),
            buffer: Vec::new(),
            small: Vec::new(),
            aside: Vec::new(),
            aside_chunks: 0,
        };
        let fed = feed(&mut assembly).and_then(|()| assembly.flush());
        drop(assembly);
        let kept = keeping.join().unwrap_or_else(|_| Err(gone()));
        match (fed, kept) {
            // What the keeper met explains why the feed could not go on.
            (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(()), kept) => kept,
        }
    })
}

fn gone() -> Error {
    Error::Config(Damage::Format("the thread that stores chunks ended".into()))
}

impl Assembly<'_> {
    /// Begins a directory: what follows is in it.
    pub fn enter(&mut self, node: Node) -> Result<()> {
        self.step(Step::Enter(node))
    }

    /// Ends the directory that was begun last.
    pub fn leave(&mut self) -> Result<()> {
        self.step(Step::Leave)
    }

    /// Adds an entry that has no content.
    pub fn add(&mut self, node: Node) -> Result<()> {
        self.step(Step::Add(node))
    }

    /// Adds another name of the file with the same `inode`, which came before and has several.
    pub fn link(&mut self, node: Node) -> Result<()> {
        self.step(Step::Link(node))
    }

    /// Adds a file, with all that `stream` gives. Its size is set here. An error of the stream is
    /// [`Error::Read`] of this `name`.
    pub fn file(&mut self, mut node: Node, stream: &mut dyn Read, name: &str) -> Result<u64> {
        let failed = |source| Error::Read {
            key: name.to_owned(),
            source,
        };
        let mut small = std::mem::take(&mut self.small);
        small.clear();
        let limit = CHUNK_BYTES_MIN as u64;
        stream.take(limit).read_to_end(&mut small).map_err(failed)?;
        let (mut count, mut size) = (0, small.len() as u64);
        if small.len() < CHUNK_BYTES_MIN {
            if !small.is_empty() {
                self.chunk(&small)?;
                count = 1;
            }
        } else {
            let mut buffer = std::mem::take(&mut self.buffer);
            let repository = self.repository;
            let whole = small.as_slice().chain(stream);
            let mut chunks = Chunks::new(repository.chunker(), whole, &mut buffer);
            size = 0;
            while let Some(chunk) = chunks.next().map_err(failed)? {
                self.chunk(chunk)?;
                size += chunk.len() as u64;
                count += 1;
            }
            self.buffer = buffer;
        }
        self.small = small;
        node.size = size;
        self.step(Step::File(node, count))?;
        Ok(size)
    }

    /// Adds to a second stream, which comes bit by bit beside the entries.
    pub fn aside(&mut self, bytes: &[u8]) -> Result<()> {
        self.aside.extend_from_slice(bytes);
        if self.aside.len() >= CHUNK_BYTES_MAX {
            self.cut_aside(false)?;
        }
        Ok(())
    }

    /// Makes a file of the second stream, which [`Assembled::aside`] holds.
    pub fn finish_aside(&mut self, mut node: Node, size: u64) -> Result<()> {
        self.cut_aside(true)?;
        node.size = size;
        let count = std::mem::take(&mut self.aside_chunks);
        self.step(Step::Aside(node, count))
    }

    /// Cuts off what is certain to be chunks; where a chunk ends, only what is before it says.
    fn cut_aside(&mut self, ended: bool) -> Result<()> {
        let mut chunks = Vec::new();
        let mut stream = self.aside.as_slice();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut cut = Chunks::new(self.repository.chunker(), &mut stream, &mut buffer);
        while let Some(chunk) = cut.next().map_err(Error::Output)? {
            chunks.push(chunk.to_vec());
        }
        self.buffer = buffer;
        self.aside.clear();
        if !ended && let Some(last) = chunks.pop() {
            self.aside = last;
        }
        for chunk in chunks {
            self.aside_chunks += 1;
            self.batch.bytes += chunk.len();
            self.batch.aside.push(chunk);
        }
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let mut room = self.rooms.try_recv().unwrap_or_default();
        room.clear();
        room.extend_from_slice(bytes);
        self.batch.bytes += room.len();
        self.batch.chunks.push(room);
        self.flush_if_full()
    }

    fn step(&mut self, step: Step) -> Result<()> {
        self.batch.steps.push(step);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        match self.batch.bytes >= BATCH_BYTES || self.batch.steps.len() >= BATCH_STEPS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batches.send(batch).map_err(|_| gone())
    }
}

/// A directory that is not through.
struct Open {
    node: Node,
    entries: Vec<Node>,
}

/// Stores batches.
struct Keeper<'a> {
    saver: &'a Saver<'a>,
    room: Sender<Vec<u8>>,
    /// Ids of chunks whose file has not come yet.
    ids: VecDeque<Id>,
    aside: VecDeque<Id>,
    open: Vec<Open>,
    /// Size and content of files with several names, by inode.
    linked: HashMap<u64, (u64, Vec<Id>)>,
    assembled: Assembled,
}

impl<'a> Keeper<'a> {
    fn new(saver: &'a Saver<'a>, room: Sender<Vec<u8>>) -> Self {
        Keeper {
            saver,
            room,
            ids: VecDeque::new(),
            aside: VecDeque::new(),
            open: Vec::new(),
            linked: HashMap::new(),
            assembled: Assembled::default(),
        }
    }

    fn run(mut self, batches: &Receiver<Batch>) -> Result<Assembled> {
        for batch in batches {
            let save = |chunk: &Vec<u8>| self.saver.save(BlobKind::Data, chunk);
            let ids: Result<Vec<Id>> = batch.chunks.par_iter().map(save).collect();
            let aside: Result<Vec<Id>> = batch.aside.par_iter().map(save).collect();
            self.ids.extend(ids?);
            self.aside.extend(aside?);
            for chunk in batch.chunks {
                // Whoever cuts the next chunk uses the room again, if there is place to keep it.
                let _ = self.room.try_send(chunk);
            }
            for step in batch.steps {
                self.step(step)?;
            }
        }
        Ok(self.assembled)
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Enter(node) => self.open.push(Open {
                node,
                entries: Vec::new(),
            }),
            Step::Leave => {
                if let Some(mut open) = self.open.pop() {
                    open.node.subtree = Some(save_tree(self.saver, open.entries)?);
                    self.put(open.node);
                }
            }
            Step::Add(node) => self.put(node),
            Step::File(mut node, count) => {
                let content: Vec<Id> = self.ids.drain(..count.min(self.ids.len())).collect();
                if node.links > 1 {
                    let kept = (node.size, content.clone());
                    self.linked.insert(node.inode, kept);
                }
                node.content = Some(content);
                self.put(node);
            }
            Step::Link(mut node) => {
                let first = self.linked.get(&node.inode).cloned();
                let (size, content) = first.ok_or_else(|| {
                    let name = String::from_utf8_lossy(&node.name);
                    let what = format!("{name:?} is another name of a file that did not come");
                    Error::Config(Damage::Format(what))
                })?;
                (node.size, node.content) = (size, Some(content));
                self.put(node);
            }
            Step::Aside(mut node, count) => {
                let content = self.aside.drain(..count.min(self.aside.len())).collect();
                node.content = Some(content);
                self.assembled.aside = Some(node);
            }
        }
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            Some(open) => open.entries.push(node),
            None => self.assembled.nodes.push(node),
        }
    }
}

/// Stores a tree of these entries, in whatever order; of two of one name the first stays.
pub fn save_tree(saver: &Saver<'_>, mut nodes: Vec<Node>) -> Result<Id> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut builder = TreeBuilder::default();
    for node in &nodes {
        let _ = builder.add(node);
    }
    saver.save(BlobKind::Tree, &builder.finish())
}
