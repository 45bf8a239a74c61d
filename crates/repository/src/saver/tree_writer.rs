//! The tree of a directory, written entry by entry. A long tree is hashed and compressed while it
//! is written, so that its plaintext is never entirely in memory.

use super::{LEVEL, Saver, length, zstd_failed};
use crate::error::Result;
use crate::hash::Hashing;
use crate::id::Id;
use crate::pack::BlobKind;
use crate::recheck::RunningSum;
use crate::tree::{LONG_BYTES, Node, TreeBuilder};
use std::io::Write;
use zstd::stream::write::Encoder;

/// Writes a tree; see the module.
pub(crate) struct TreeWriter<'s> {
    saver: &'s Saver<'s>,
    /// The bytes that are not in `long` yet.
    builder: TreeBuilder,
    long: Option<Long>,
}

/// The part of a long tree that was written.
struct Long {
    sum: RunningSum,
    hash: Hashing,
    bytes: u64,
    packed: Encoder<'static, Vec<u8>>,
}

impl Long {
    fn new() -> Result<Self> {
        Ok(Long {
            sum: RunningSum::default(),
            hash: Hashing::default(),
            bytes: 0,
            packed: Encoder::new(Vec::new(), LEVEL).map_err(zstd_failed)?,
        })
    }

    fn write(&mut self, plain: &[u8]) -> Result<()> {
        // Before the id, as for every blob.
        self.sum.update(plain);
        self.hash.update(plain);
        self.bytes += plain.len() as u64;
        self.packed.write_all(plain).map_err(zstd_failed)
    }
}

impl<'s> TreeWriter<'s> {
    pub(crate) fn new(saver: &'s Saver<'s>) -> Self {
        TreeWriter {
            saver,
            builder: TreeBuilder::default(),
            long: None,
        }
    }

    /// Adds the next entry. An entry that does not sort after the last is left out: network file
    /// systems sometimes list a name twice.
    pub(crate) fn add(&mut self, node: &Node) -> Result<()> {
        let _ = self.builder.add(node);
        if self.builder.written().len() < LONG_BYTES || !self.saver.compresses() {
            return Ok(());
        }
        let long = match &mut self.long {
            Some(long) => long,
            none => none.insert(Long::new()?),
        };
        long.write(self.builder.written())?;
        self.builder.forget_written();
        Ok(())
    }

    /// Stores the tree unless the repository has it, and returns its id.
    pub(crate) fn finish(self) -> Result<Id> {
        let rest = self.builder.finish();
        match self.long {
            None => self.saver.save(BlobKind::Tree, &rest),
            Some(mut long) => {
                long.write(&rest)?;
                self.saver.save_long(long)
            }
        }
    }
}

impl Saver<'_> {
    fn save_long(&self, long: Long) -> Result<Id> {
        let id = long.hash.finish();
        if self.has(BlobKind::Tree, &id) || !self.reserve(id) {
            return Ok(id);
        }
        let packed = long.packed.finish().map_err(zstd_failed)?;
        let bytes = length(id, usize::try_from(long.bytes).unwrap_or(usize::MAX))?;
        let mut sealer = self.sealer()?;
        sealer.seal(self.repository.key(), &packed)?;
        drop(packed);
        self.take(sealer, (BlobKind::Tree, id, long.sum.finish()), Some(bytes))?;
        Ok(id)
    }
}
