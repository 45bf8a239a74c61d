//! Looks into snapshots: finds entries by path, walks trees, writes out the content of a file, and
//! compares two trees.

use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::tree::{Node, NodeKind, Nodes};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::io::Write;

/// The next step of a walk after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Descend into the entry, if it is a directory.
    Enter,
    /// Skip what is in the entry.
    Skip,
    /// End the walk.
    Stop,
}

/// The thing that a path in a snapshot names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The root, which has no entry of its own.
    Root(Id),
    /// Any other entry.
    Entry(Box<Node>),
}

/// Finds the entry at a path. Leading and doubled slashes are ignored.
pub fn find(repository: &Repository, index: &Index, root: &Id, path: &[u8]) -> Result<Found> {
    use std::os::unix::ffi::OsStringExt;
    let absent = || Error::NotInSnapshot {
        path: std::ffi::OsString::from_vec(path.to_vec()).into(),
    };
    let mut found = Found::Root(*root);
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        let tree = match &found {
            Found::Root(tree) => *tree,
            Found::Entry(node) => node.subtree.ok_or_else(absent)?,
        };
        let mut inner = repository.tree_nodes(index, &tree)?;
        let node = inner.find(|node| node.as_ref().map_or(true, |node| node.name == name));
        let node = node.ok_or_else(absent)?;
        let node = node.map_err(|damage| Error::Blob { id: tree, damage })?;
        found = Found::Entry(Box::new(node));
    }
    Ok(found)
}

/// Walks a tree and everything below it, parents before their entries, in order of name. `visit`
/// receives each entry with its path, which begins with `at`.
pub fn walk(
    repository: &Repository,
    index: &Index,
    root: &Id,
    at: &[u8],
    visit: &mut dyn FnMut(&[u8], &Node) -> Result<Then>,
) -> Result<()> {
    let mut path = at.to_vec();
    if path.last() == Some(&b'/') {
        path.pop();
    }
    let mut open = vec![(path.len(), *root, repository.tree_nodes(index, root)?)];
    while let Some((length, tree, rest)) = open.last_mut() {
        path.truncate(*length);
        let Some(node) = rest.next() else {
            open.pop();
            continue;
        };
        let node = node.map_err(|damage| Error::Blob { id: *tree, damage })?;
        path.push(b'/');
        path.extend_from_slice(&node.name);
        match (visit(&path, &node)?, node.subtree) {
            (Then::Stop, _) => return Ok(()),
            (Then::Enter, Some(tree)) => {
                open.push((path.len(), tree, repository.tree_nodes(index, &tree)?));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Blobs of a file that are read ahead at a time.
const AHEAD: usize = 4;

/// Writes the content of a file. Damage ends it with an error; no wrong byte is written.
pub fn dump(repository: &Repository, index: &Index, file: &Node, to: &mut dyn Write) -> Result<()> {
    for ids in file.content.as_deref().unwrap_or_default().chunks(AHEAD) {
        let blobs: Result<Vec<Vec<u8>>> = ids
            .par_iter()
            .map(|id| repository.load_blob(index, BlobKind::Data, id))
            .collect();
        for blob in blobs? {
            to.write_all(&blob).map_err(Error::Output)?;
        }
    }
    Ok(())
}

/// The way in which an entry differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second snapshot has it.
    Added,
    /// Only the first snapshot has it.
    Removed,
    /// A file whose content differs.
    Modified,
    /// The content is the same; the metadata differs.
    Metadata,
    /// The type differs, as when a file has replaced a directory.
    Kind,
}

/// Receives a difference: the path, its kind, and the entry as it is now or, if it was removed, as
/// it was.
pub type Tell<'a> = dyn FnMut(&[u8], Change, &Node) -> Result<()> + 'a;

/// Reports every difference of two trees, in order of path, including everything in an added or
/// removed directory. With `metadata`, entries that differ only in metadata are reported too.
pub fn diff(
    repository: &Repository,
    index: &Index,
    (first, second): (&Id, &Id),
    metadata: bool,
    tell: &mut Tell<'_>,
) -> Result<()> {
    let mut differ = Differ {
        repository,
        index,
        metadata,
        tell,
    };
    differ.trees(&mut Vec::new(), Some(first), Some(second))
}

/// A directory of one of the two trees, read entry by entry in order of name.
struct Side {
    tree: Id,
    nodes: Option<Nodes>,
    next: Option<Node>,
}

impl Side {
    fn read(repository: &Repository, index: &Index, tree: Option<&Id>) -> Result<Self> {
        let nodes = tree.map(|tree| repository.tree_nodes(index, tree));
        let mut side = Side {
            tree: tree.copied().unwrap_or_default(),
            nodes: nodes.transpose()?.map(Nodes::sorted),
            next: None,
        };
        side.step()?;
        Ok(side)
    }

    /// Advances to the next entry, and returns the one before it.
    fn step(&mut self) -> Result<Option<Node>> {
        let about = |damage| Error::Blob {
            id: self.tree,
            damage,
        };
        let next = self.nodes.as_mut().and_then(Nodes::next);
        let next = next.transpose().map_err(about)?;
        let last = std::mem::replace(&mut self.next, next);
        match (&last, &self.next) {
            (Some(last), Some(next)) if last.name >= next.name => {
                let text = "its entries are not in order of name".to_owned();
                Err(about(Damage::Format(text)))
            }
            _ => Ok(last),
        }
    }
}

struct Differ<'a> {
    repository: &'a Repository,
    index: &'a Index,
    metadata: bool,
    tell: &'a mut Tell<'a>,
}

impl Differ<'_> {
    fn trees(&mut self, path: &mut Vec<u8>, first: Option<&Id>, second: Option<&Id>) -> Result<()> {
        if first == second {
            return Ok(());
        }
        // Deeper than any path that the kernel takes: a tree that contains itself.
        if path.len() > (1 << 20) {
            let damage = Damage::Format("its directories never end".into());
            return Err(Error::Blob {
                id: first.or(second).copied().unwrap_or_default(),
                damage,
            });
        }
        let read = |tree| Side::read(self.repository, self.index, tree);
        let (mut first, mut second) = (read(first)?, read(second)?);
        let length = path.len();
        loop {
            let order = match (&first.next, &second.next) {
                (Some(was), Some(is)) => was.name.cmp(&is.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let was = if order.is_le() { first.step()? } else { None };
            let is = if order.is_ge() { second.step()? } else { None };
            path.push(b'/');
            path.extend(was.iter().chain(&is).take(1).flat_map(|node| &node.name));
            match (was, is) {
                (Some(was), None) => self.alone(path, &was, Change::Removed)?,
                (None, Some(is)) => self.alone(path, &is, Change::Added)?,
                (Some(was), Some(is)) => self.both(path, &was, &is)?,
                (None, None) => {}
            }
            path.truncate(length);
        }
    }

    fn alone(&mut self, path: &mut Vec<u8>, node: &Node, change: Change) -> Result<()> {
        (self.tell)(path, change, node)?;
        match (node.subtree.as_ref(), change) {
            (None, _) => Ok(()),
            (tree, Change::Added) => self.trees(path, None, tree),
            (tree, _) => self.trees(path, tree, None),
        }
    }

    fn both(&mut self, path: &mut Vec<u8>, was: &Node, is: &Node) -> Result<()> {
        let change = match was.kind == is.kind {
            false => Some(Change::Kind),
            true if was.kind == NodeKind::File && was.content != is.content => {
                Some(Change::Modified)
            }
            true if was.link_target != is.link_target => Some(Change::Modified),
            true if self.metadata && different(was, is) => Some(Change::Metadata),
            true => None,
        };
        if let Some(change) = change {
            (self.tell)(path, change, is)?;
        }
        self.trees(path, was.subtree.as_ref(), is.subtree.as_ref())
    }
}

/// Returns whether anything but the content differs.
fn different(was: &Node, is: &Node) -> bool {
    let plain = |node: &Node| Node {
        content: None,
        subtree: None,
        ..node.clone()
    };
    plain(was) != plain(is)
}
