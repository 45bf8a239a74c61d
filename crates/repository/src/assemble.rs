//! Builds trees from streams of entries that arrive depth first, as in an archive.
//!
//! The thread that brings the streams cuts them into chunks. All threads store the chunks. The tree
//! of a directory is made once everything in it is stored. So memory holds only the chunks under
//! way and the entries of the open directories.

use crate::chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunks, Input};
use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::pack::BlobKind;
use crate::pipeline::Pipeline;
use crate::repository::Repository;
use crate::saver::Saver;
use crate::tree::{Node, TreeBuilder};
use rayon::Scope;
use std::collections::{HashMap, VecDeque};
use std::io::Read;

/// The most entries that may wait for the content of an earlier entry.
const STEPS_MAX: usize = 16_384;

/// An entry, or the beginning or end of a directory, as the caller reported it.
enum Step {
    Enter(Node),
    Leave,
    /// An entry without content.
    Add(Node),
    /// A file whose content is the next chunks; the number says how many.
    File(Node, usize),
    /// A further name of the file with the same inode.
    Link(Node),
    /// The file made from the second stream, and its number of chunks.
    Aside(Node, usize),
}

/// Receives the entries; see [`assemble`].
pub struct Assembly<'s, 'scope> {
    repository: &'s Repository,
    scope: &'s Scope<'scope>,
    content: &'scope Pipeline<'scope>,
    beside: &'scope Pipeline<'scope>,
    keeper: Keeper<'scope>,
    buffer: Vec<u8>,
    small: Vec<u8>,
    /// Bytes of the second stream that are not cut into chunks yet.
    aside: Vec<u8>,
    aside_chunks: usize,
}

impl std::fmt::Debug for Assembly<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assembly")
    }
}

/// The result of an assembly.
#[derive(Debug, Default)]
pub struct Assembled {
    /// The entries that lie in no directory, in the order in which they arrived.
    pub nodes: Vec<Node>,
    /// The file that [`Assembly::finish_aside`] made, if it was called.
    pub aside: Option<Node>,
}

/// Stores the entries that `feed` reports. `feed` may wait, so this must not be called on a rayon
/// thread.
pub fn assemble(
    repository: &Repository,
    saver: &Saver<'_>,
    feed: impl FnOnce(&mut Assembly<'_, '_>) -> Result<()>,
) -> Result<Assembled> {
    let (content, beside) = (Pipeline::new(saver), Pipeline::new(saver));
    let (fed, keeper) = rayon::in_place_scope(|scope| {
        let mut assembly = Assembly {
            repository,
            scope,
            content: &content,
            beside: &beside,
            keeper: Keeper::new(saver, &content, &beside),
            buffer: Vec::new(),
            small: Vec::new(),
            aside: Vec::new(),
            aside_chunks: 0,
        };
        let fed = feed(&mut assembly);
        (fed, assembly.keeper)
    });
    let assembled = fed.and_then(|()| keeper.finish());
    // A failure to store explains why the feed could not go on.
    content.finish()?;
    beside.finish()?;
    assembled
}

impl Assembly<'_, '_> {
    /// Begins a directory: the entries that follow lie in it.
    pub fn enter(&mut self, node: Node) -> Result<()> {
        self.keeper.step(Step::Enter(node))
    }

    /// Ends the directory that was begun last.
    pub fn leave(&mut self) -> Result<()> {
        self.keeper.step(Step::Leave)
    }

    /// Adds an entry that has no content.
    pub fn add(&mut self, node: Node) -> Result<()> {
        self.keeper.step(Step::Add(node))
    }

    /// Adds a further name of the file with the same `inode`, which was added before with several
    /// links.
    pub fn link(&mut self, node: Node) -> Result<()> {
        self.keeper.step(Step::Link(node))
    }

    /// Adds a file with everything that `stream` yields, and sets its size. Returns that size. An
    /// error of the stream becomes [`Error::Read`] with this `name`.
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
                self.content.add(self.scope, &small);
                count = 1;
            }
        } else {
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut whole = small.as_slice().chain(stream);
            let input = Input::stream(&mut whole);
            let mut chunks = Chunks::new(self.repository.chunker(), input, &mut buffer);
            let cut = self.content.cut(self.scope, &mut chunks).map_err(failed)?;
            (count, size) = (cut.chunks, cut.bytes);
            self.buffer = buffer;
        }
        self.small = small;
        node.size = size;
        self.keeper.step(Step::File(node, count))?;
        Ok(size)
    }

    /// Appends to a second stream, which arrives bit by bit beside the entries.
    pub fn aside(&mut self, bytes: &[u8]) -> Result<()> {
        self.aside.extend_from_slice(bytes);
        if self.aside.len() >= CHUNK_BYTES_MAX {
            self.cut_aside(false)?;
        }
        Ok(())
    }

    /// Makes the second stream a file, which is returned in [`Assembled::aside`].
    pub fn finish_aside(&mut self, mut node: Node, size: u64) -> Result<()> {
        self.cut_aside(true)?;
        node.size = size;
        let count = std::mem::take(&mut self.aside_chunks);
        self.keeper.step(Step::Aside(node, count))
    }

    /// Cuts off the chunks whose ends are certain: an end depends only on the bytes before it.
    fn cut_aside(&mut self, ended: bool) -> Result<()> {
        let mut stream = self.aside.as_slice();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut cut = Chunks::new(self.repository.chunker(), &mut stream, &mut buffer);
        let mut lengths = Vec::new();
        while let Some(chunk) = cut.next().map_err(Error::Output)? {
            lengths.push(chunk.len());
        }
        self.buffer = buffer;
        if !ended {
            lengths.pop();
        }
        let mut rest = self.aside.as_slice();
        for length in &lengths {
            let (chunk, later) = rest.split_at_checked(*length).unwrap_or_default();
            self.beside.add(self.scope, chunk);
            rest = later;
        }
        self.aside_chunks += lengths.len();
        self.aside.drain(..self.aside.len() - rest.len());
        Ok(())
    }
}

/// A directory that is still open.
struct Open {
    node: Node,
    entries: Vec<Node>,
}

/// Makes the trees of the entries, each once its content is stored.
struct Keeper<'a> {
    saver: &'a Saver<'a>,
    content: &'a Pipeline<'a>,
    beside: &'a Pipeline<'a>,
    /// Steps that wait for content.
    steps: VecDeque<Step>,
    open: Vec<Open>,
    /// Size and content of files with several names, by inode.
    linked: HashMap<u64, (u64, Vec<Id>)>,
    assembled: Assembled,
}

impl<'a> Keeper<'a> {
    fn new(saver: &'a Saver<'a>, content: &'a Pipeline<'a>, beside: &'a Pipeline<'a>) -> Self {
        Keeper {
            saver,
            content,
            beside,
            steps: VecDeque::new(),
            open: Vec::new(),
            linked: HashMap::new(),
            assembled: Assembled::default(),
        }
    }

    fn step(&mut self, step: Step) -> Result<()> {
        self.steps.push_back(step);
        if self.steps.len() > STEPS_MAX
            && let Some((pipeline, count)) = self.wanted()
        {
            pipeline.wait(count);
        }
        self.proceed()
    }

    /// The number of chunks that the first step waits for, and the pipeline that stores them;
    /// `None` if it waits for nothing.
    fn wanted(&self) -> Option<(&'a Pipeline<'a>, usize)> {
        match self.steps.front()? {
            Step::File(_, count) => Some((self.content, *count)),
            Step::Aside(_, count) => Some((self.beside, *count)),
            Step::Enter(_) | Step::Leave | Step::Add(_) | Step::Link(_) => None,
        }
    }

    /// Carries out the steps whose content is stored.
    fn proceed(&mut self) -> Result<()> {
        if self.content.has_failed() || self.beside.has_failed() {
            return Err(Error::Stopped);
        }
        while !self.steps.is_empty() {
            let content = match self.wanted().map(|(pipeline, count)| pipeline.take(count)) {
                Some(None) => break,
                Some(Some(ids)) => Some(ids),
                None => None,
            };
            if let Some(step) = self.steps.pop_front() {
                self.take(step, content)?;
            }
        }
        Ok(())
    }

    /// Carries out the remaining steps, once everything is stored.
    fn finish(mut self) -> Result<Assembled> {
        self.proceed()?;
        Ok(self.assembled)
    }

    fn take(&mut self, step: Step, content: Option<Vec<Id>>) -> Result<()> {
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
            Step::File(mut node, _) => {
                if node.links > 1 {
                    let kept = (node.size, content.clone().unwrap_or_default());
                    self.linked.insert(node.inode, kept);
                }
                node.content = content;
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
            Step::Aside(mut node, _) => {
                node.content = content;
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

/// Stores a tree of these entries, in whatever order. Of two entries with one name the first is
/// kept.
pub fn save_tree(saver: &Saver<'_>, mut nodes: Vec<Node>) -> Result<Id> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut builder = TreeBuilder::default();
    for node in &nodes {
        let _ = builder.add(node);
    }
    saver.save(BlobKind::Tree, &builder.finish())
}
