//! Mends what can be mended from what is left.

pub mod snapshots;

use crate::error::{Error, FileKind, Result};
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::lock::{Lock, Mode};
use crate::repository::{Author, Repository};
use crate::saver::INDEX_BLOBS;
use rayon::prelude::*;
use std::time::Duration;

/// What a repair of the index found.
#[derive(Debug, Default)]
pub struct Report {
    /// Packs that are in the new index.
    pub packs: u64,
    /// Packs whose header cannot be read, and so are not.
    pub unreadable: Vec<Error>,
    /// Index files that were replaced.
    pub replaced: u64,
}

/// Makes a new index of what the packs' own headers say, and removes the old one. Takes its own
/// lock; the caller must hold none.
pub fn index(repository: &Repository, wait: Duration, author: &Author) -> Result<Report> {
    let lock = Lock::take(repository, Mode::Exclusive, wait, author)?;
    let before = repository.list(FileKind::Index)?;
    let packs = repository.list(FileKind::Pack)?;
    let headers: Vec<(Id, Result<_>)> = packs
        .par_iter()
        .map(|(id, bytes)| (*id, repository.pack_header(id, *bytes)))
        .collect();
    let mut report = Report::default();
    let (mut file, mut blobs) = (IndexFile::default(), 0);
    for (id, header) in headers {
        let header = match header {
            Ok(header) => header,
            Err(error @ (Error::Damaged { .. } | Error::Missing { .. })) => {
                report.unreadable.push(error);
                continue;
            }
            // The store, not the pack, failed: an index without it would hide what is there.
            Err(error) => return Err(error),
        };
        report.packs += 1;
        blobs += header.len();
        file.packs.push(IndexPack {
            id,
            blobs: header.iter().map(Into::into).collect(),
            time: None,
        });
        if blobs >= INDEX_BLOBS {
            repository.save_index(&std::mem::take(&mut file))?;
            blobs = 0;
        }
    }
    if !file.packs.is_empty() {
        repository.save_index(&file)?;
    }
    // Only now: killed before, both are there, and agree.
    for (id, _) in before {
        repository.delete(FileKind::Index, &id)?;
        report.replaced += 1;
    }
    lock.release()?;
    Ok(report)
}
