//! Makes new trees from old ones, from the leaves up.
//!
//! A tree in which nothing changes keeps its id. It is stored again only if the stored one cannot
//! be read.

use crate::error::{Damage, Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::saver::Saver;
use crate::sync::lock;
use crate::tree::{Node, NodeKind, TreeBuilder};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Mutex;

/// The deepest nesting that is followed: deeper than real directories, and not too deep for
/// [`STACK_BYTES`].
const DEPTH_MAX: usize = 8_000;
/// The stack of each thread; deeper nesting needs more.
const STACK_BYTES: usize = 64 << 20;

/// The fate of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Keep,
    Change,
    Drop,
}

/// The entries of a tree, sorted and without duplicates, and whether that already changes the tree.
pub(crate) struct Entries {
    pub(crate) nodes: Vec<Node>,
    pub(crate) changed: bool,
}

/// A change to trees.
pub(crate) trait Rule: Sync {
    /// Reads the entries of a tree; `None` if nothing of it can be read.
    fn read(&self, path: &[u8], id: &Id) -> Result<Option<Entries>>;
    /// Changes an entry. A directory without a tree is an empty one.
    fn edit(&self, path: &[u8], node: &mut Node) -> Result<Edit>;
    /// Returns whether the change depends on the path, so that one tree may change differently
    /// elsewhere.
    fn looks_at_paths(&self) -> bool;
}

/// A new tree with everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) tree: Id,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Applies a rule to trees; see the module.
pub(crate) struct Rewriter<'a, R> {
    repository: &'a Repository,
    index: &'a Index,
    saver: &'a Saver<'a>,
    rule: &'a R,
    /// The results by the tree's id and, where that matters, its path.
    made: Mutex<HashMap<Id, Option<Made>>>,
}

impl<'a, R: Rule> Rewriter<'a, R> {
    pub(crate) fn new(
        repository: &'a Repository,
        index: &'a Index,
        saver: &'a Saver<'a>,
        rule: &'a R,
    ) -> Self {
        Rewriter {
            repository,
            index,
            saver,
            rule,
            made: Mutex::default(),
        }
    }

    /// Rewrites these roots; `None` where nothing of a root can be read.
    pub(crate) fn roots(&self, roots: &[Id]) -> Result<Vec<Option<Made>>> {
        let pool = crate::requests::pool(0, Some(STACK_BYTES))?;
        pool.install(|| roots.iter().map(|root| self.tree(b"", root, 0)).collect())
    }

    fn tree(&self, path: &[u8], id: &Id, depth: usize) -> Result<Option<Made>> {
        if depth > DEPTH_MAX {
            let damage = Damage::Format("its directories never end".into());
            return Err(Error::Blob { id: *id, damage });
        }
        let key = match self.rule.looks_at_paths() {
            true => Id::of(&[id.bytes(), path].concat()),
            false => *id,
        };
        if let Some(made) = lock(&self.made).get(&key) {
            return Ok(*made);
        }
        let made = self.make(path, id, depth)?;
        lock(&self.made).insert(key, made);
        Ok(made)
    }

    fn make(&self, path: &[u8], id: &Id, depth: usize) -> Result<Option<Made>> {
        let Some(Entries { nodes, mut changed }) = self.rule.read(path, id)? else {
            return Ok(None);
        };
        let edited: Vec<_> = nodes
            .into_par_iter()
            .map(|node| self.entry(path, node, depth))
            .collect::<Result<_>>()?;
        let mut made = Made {
            tree: *id,
            files: 0,
            bytes: 0,
        };
        let mut builder = TreeBuilder::default();
        for (edit, node, files, bytes) in edited {
            changed |= edit != Edit::Keep;
            if edit != Edit::Drop {
                made.files += files;
                made.bytes += bytes;
                let unsorted = |error: crate::tree::NotSorted| Error::Blob {
                    id: *id,
                    damage: Damage::Format(error.to_string()),
                };
                builder.add(&node).map_err(unsorted)?;
            }
        }
        if changed {
            made.tree = self.store(&builder.finish())?;
        }
        Ok(Some(made))
    }

    /// Returns the changed entry, what was done to it, and the number and total size of the files
    /// it holds.
    fn entry(&self, above: &[u8], mut node: Node, depth: usize) -> Result<(Edit, Node, u64, u64)> {
        let path = [above, b"/", &node.name].concat();
        let edit = self.rule.edit(&path, &mut node)?;
        if edit == Edit::Drop {
            return Ok((edit, node, 0, 0));
        }
        match node.kind {
            NodeKind::File => {
                let bytes = node.size;
                Ok((edit, node, 1, bytes))
            }
            NodeKind::Directory => {
                let made = match &node.subtree {
                    Some(tree) => self.tree(&path, tree, depth + 1)?,
                    None => None,
                };
                let made = match made {
                    Some(made) => made,
                    None => self.empty()?,
                };
                let edit = match node.subtree.replace(made.tree) == Some(made.tree) {
                    true => edit,
                    false => Edit::Change,
                };
                Ok((edit, node, made.files, made.bytes))
            }
            _ => Ok((edit, node, 0, 0)),
        }
    }

    fn empty(&self) -> Result<Made> {
        Ok(Made {
            tree: self.store(&TreeBuilder::default().finish())?,
            files: 0,
            bytes: 0,
        })
    }

    /// Stores a tree, unless an equal one can be read.
    fn store(&self, json: &[u8]) -> Result<Id> {
        let id = Id::of(json);
        let kind = BlobKind::Tree;
        let whole = || self.repository.load_blob(self.index, kind, &id).is_ok();
        match self.index.has(kind, &id) && whole() {
            true => Ok(id),
            false => self.saver.save_anew(kind, json),
        }
    }
}
