//! Finds the blobs that snapshots need.

use crate::error::{Error, Result};
use crate::id::Id;
use crate::index::Index;
use crate::pack::BlobKind;
use crate::repository::Repository;
use crate::requests::Readers;
use crate::tree::Needs;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of blobs of an index, one bit each. Several threads may add to it.
pub(crate) struct Used<'a> {
    index: &'a Index,
    bits: Vec<AtomicU64>,
}

impl<'a> Used<'a> {
    pub(crate) fn new(index: &'a Index) -> Self {
        let words = index.len().div_ceil(64);
        Used {
            index,
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Returns whether the blob whose first entry has this number is in the set.
    pub(crate) fn contains(&self, number: usize) -> bool {
        let word = self.bits.get(number / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1)
    }

    /// Adds a blob. Returns whether it is new to the set.
    fn insert(&self, kind: BlobKind, id: &Id) -> Result<bool> {
        let number = self.index.number(kind, id);
        let number = number.ok_or(Error::UnknownBlob { id: *id })?;
        let bit = 1 << (number % 64);
        let word = self.bits.get(number / 64);
        Ok(word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0))
    }

    /// Adds these trees and everything they need. Fails at the first tree that cannot be read, or
    /// that needs a blob no index lists.
    pub(crate) fn add(&self, repository: &Repository, roots: &[Id]) -> Result<()> {
        let readers = Readers::new(repository)?;
        let mut level = Vec::new();
        for root in roots {
            if self.insert(BlobKind::Tree, root)? {
                level.push(*root);
            }
        }
        while !level.is_empty() {
            let read = level.par_iter().map(|id| self.add_tree(repository, id));
            let below: Result<Vec<Vec<Id>>> = readers.run(|| read.collect());
            level = below?.concat();
        }
        Ok(())
    }

    /// Adds what a tree refers to, and returns the trees that are new.
    fn add_tree(&self, repository: &Repository, id: &Id) -> Result<Vec<Id>> {
        let broken = |damage| Error::Blob { id: *id, damage };
        let text = repository.tree_text(self.index, id)?;
        let mut below = Vec::new();
        let mut take = |entry: Needs<'_>| {
            if let Some(tree) = entry.directory().map_err(broken)?
                && self.insert(BlobKind::Tree, &tree)?
            {
                below.push(tree);
            }
            for content in entry.content.iter().flatten() {
                self.insert(BlobKind::Data, content)?;
            }
            Ok(())
        };
        let mut taken = Ok(());
        text.read_needs(|entry| {
            if taken.is_ok() {
                taken = take(entry);
            }
        })
        .map_err(broken)?;
        taken.map(|()| below)
    }
}
