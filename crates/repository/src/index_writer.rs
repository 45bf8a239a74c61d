//! Writes index files of a good size. Threads may add packs at once: who fills a file writes it.
//!
//! Packs must be durable when they are added. In which file and order they come is not said, and a
//! file that could not be written is not tried again.

use crate::error::Result;
use crate::index::{IndexFile, IndexPack};
use crate::repository::Repository;
use crate::sync::{into_inner, lock};
use std::sync::Mutex;

/// An index file is written when it names so many blobs.
const BLOBS: usize = 40_000;

/// See the module. Nothing is sure to be written before [`IndexWriter::finish`].
pub(crate) struct IndexWriter<'r> {
    repository: &'r Repository,
    open: Mutex<Open>,
}

/// What is in no file yet.
#[derive(Default)]
struct Open {
    file: IndexFile,
    blobs: usize,
}

impl<'r> IndexWriter<'r> {
    pub(crate) fn new(repository: &'r Repository) -> Self {
        IndexWriter {
            repository,
            open: Mutex::default(),
        }
    }

    /// Adds a pack that is durable.
    pub(crate) fn add(&self, pack: IndexPack) -> Result<()> {
        self.put(pack, |file| &mut file.packs)
    }

    /// Notes a pack that is to be deleted.
    pub(crate) fn note(&self, pack: IndexPack) -> Result<()> {
        self.put(pack, |file| &mut file.packs_to_delete)
    }

    fn put(
        &self,
        pack: IndexPack,
        into: impl FnOnce(&mut IndexFile) -> &mut Vec<IndexPack>,
    ) -> Result<()> {
        let full = {
            let mut open = lock(&self.open);
            open.blobs += pack.blobs.len();
            into(&mut open.file).push(pack);
            (open.blobs >= BLOBS).then(|| std::mem::take(&mut *open).file)
        };
        full.map_or(Ok(()), |file| self.repository.save_index(&file).map(|_| ()))
    }

    /// Writes the last file.
    pub(crate) fn finish(self) -> Result<()> {
        let file = into_inner(self.open).file;
        match file.packs.is_empty() && file.packs_to_delete.is_empty() {
            true => Ok(()),
            false => self.repository.save_index(&file).map(|_| ()),
        }
    }
}
