//! Writes index files of a good size. Several threads may add packs; the one that fills a file
//! writes it.
//!
//! Packs must be durable when they are added. The order of packs, and the file each one ends up in,
//! are not defined. A file that could not be written is not tried again.
//!
//! A writer made by [`IndexWriter::keeping_up`] also writes a file whenever an interrupted run
//! would otherwise lose much, so that the next run finds the packs that were stored. Such a file is
//! a normal index file. What no snapshot needs is removed by the next prune.

use crate::error::Result;
use crate::index::{IndexFile, IndexPack};
use crate::repository::Repository;
use crate::sync::{into_inner, lock};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An index file is written when it lists this many blobs.
const BLOBS: usize = 40_000;
/// An interrupted run may lose this many packs, and this much time, ...
const LOST_PACKS: u64 = 2;
const LOST_TIME: Duration = Duration::from_secs(30);
/// ... or this fraction of its work, which limits the number of index files in a long run.
const LOST_PART: u32 = 16;

/// Collects packs for index files; see the module. Nothing is certain to be written before
/// [`IndexWriter::finish`].
pub(crate) struct IndexWriter<'r> {
    repository: &'r Repository,
    open: Mutex<Open>,
    /// The progress of the run, if an interrupted run must not lose much.
    progress: Option<Mutex<Progress>>,
}

/// The packs that are in no file yet.
#[derive(Default)]
struct Open {
    file: IndexFile,
    blobs: usize,
}

/// The progress of a run, now and when a file was last written.
struct Progress {
    begun: Instant,
    written: Instant,
    packs: u64,
    packs_written: u64,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Progress {
            begun: now,
            written: now,
            packs: 0,
            packs_written: 0,
        }
    }

    /// Counts one more pack. Returns whether a file should be written now.
    fn pack(&mut self) -> bool {
        let now = Instant::now();
        self.packs += 1;
        let due = is_due(
            [self.packs - self.packs_written, self.packs],
            [now - self.written, now - self.begun],
        );
        if due {
            (self.packs_written, self.written) = (self.packs, now);
        }
        due
    }
}

/// Returns whether an interruption would lose too much now. Each pair holds what is in no file yet,
/// and the total.
fn is_due([packs, all_packs]: [u64; 2], [time, all_time]: [Duration; 2]) -> bool {
    packs >= LOST_PACKS.max(all_packs / u64::from(LOST_PART))
        || time >= LOST_TIME.max(all_time / LOST_PART)
}

impl<'r> IndexWriter<'r> {
    pub(crate) fn new(repository: &'r Repository) -> Self {
        IndexWriter {
            repository,
            open: Mutex::default(),
            progress: None,
        }
    }

    /// Makes a writer that also writes files early, so that added packs are soon listed in one.
    pub(crate) fn keeping_up(repository: &'r Repository) -> Self {
        IndexWriter {
            progress: Some(Mutex::new(Progress::new())),
            ..IndexWriter::new(repository)
        }
    }

    /// Adds a pack that is durable.
    pub(crate) fn add(&self, pack: IndexPack) -> Result<()> {
        self.put(pack, |file| &mut file.packs)
    }

    /// Records a pack that is to be deleted.
    pub(crate) fn note(&self, pack: IndexPack) -> Result<()> {
        self.put(pack, |file| &mut file.packs_to_delete)
    }

    fn put(
        &self,
        pack: IndexPack,
        into: impl FnOnce(&mut IndexFile) -> &mut Vec<IndexPack>,
    ) -> Result<()> {
        let progress = self.progress.as_ref();
        let full = {
            let mut open = lock(&self.open);
            open.blobs += pack.blobs.len();
            into(&mut open.file).push(pack);
            let due = progress.is_some_and(|progress| lock(progress).pack());
            (due || open.blobs >= BLOBS).then(|| std::mem::take(&mut *open).file)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of files that a run of this many packs writes, and the largest loss at any time.
    fn files(packs: u64, seconds: impl Fn(u64) -> f64) -> (u64, u64, f64) {
        let time = |pack: u64| Duration::from_secs_f64(seconds(pack));
        let (mut files, mut written, mut lost, mut waited) = (0, 0, 0, 0.0_f64);
        for pack in 1..=packs {
            let since = time(pack) - time(written);
            if is_due([pack - written, pack], [since, time(pack)]) {
                (files, written) = (files + 1, pack);
            } else {
                lost = lost.max(pack - written);
                waited = waited.max(since.as_secs_f64());
            }
        }
        (files, lost, waited)
    }

    #[test]
    fn little_is_lost_and_few_files_are_written() {
        // A short run to a disk: a file for every two packs.
        assert_eq!(files(36, |pack| pack as f64 * 0.05), (18, 1, 0.05));
        // A terabyte to a disk.
        let (many, lost, _) = files(65_536, |pack| pack as f64 * 0.05);
        assert!(many < 200 && lost <= 65_536 / 16, "{many} {lost}");
        // A terabyte over a slow line: one pack every 16 seconds.
        let (many, _, waited) = files(65_536, |pack| pack as f64 * 16.0);
        assert!(many < 300 && waited <= 65_536.0, "{many} {waited}");
        let (many, lost, waited) = files(20, |pack| pack as f64 * 16.0);
        assert_eq!((many, lost, waited), (10, 1, 16.0));
    }
}
