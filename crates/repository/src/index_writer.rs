//! Writes index files of a good size. Threads may add packs at once: who fills a file writes it.
//!
//! Packs must be durable when they are added. In which file and order they come is not said, and a
//! file that could not be written is not tried again.
//!
//! A writer made by [`IndexWriter::keeping_up`] also writes a file whenever a killed run would
//! otherwise lose much: then the next run finds the packs that were stored. Such a file is as good
//! as any other; what no snapshot needs, the next prune takes away.

use crate::error::Result;
use crate::index::{IndexFile, IndexPack};
use crate::repository::Repository;
use crate::sync::{into_inner, lock};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An index file is written when it names so many blobs.
const BLOBS: usize = 40_000;
/// A run that is killed may lose so many packs and so much time, ...
const LOST_PACKS: u64 = 2;
const LOST_TIME: Duration = Duration::from_secs(30);
/// ... or this part of what it did, which keeps the number of index files low in a long run.
const LOST_PART: u32 = 16;

/// See the module. Nothing is sure to be written before [`IndexWriter::finish`].
pub(crate) struct IndexWriter<'r> {
    repository: &'r Repository,
    open: Mutex<Open>,
    /// Where a killed run must not lose much.
    progress: Option<Mutex<Progress>>,
}

/// What is in no file yet.
#[derive(Default)]
struct Open {
    file: IndexFile,
    blobs: usize,
}

/// How far a run is, and how far it was when a file was written last.
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

    /// Notes one more pack. Whether a file should be written now.
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

/// Whether too much would be lost now: of packs and of time, what is in no file yet and all.
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

    /// The same, but what was added is named soon by a file that is written.
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

    /// Notes a pack that is to be deleted.
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

    /// Files that a run of so many packs writes, and the largest part of it that is ever lost.
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
        // A short run on a disk: a file for every two packs.
        assert_eq!(files(36, |pack| pack as f64 * 0.05), (18, 1, 0.05));
        // A terabyte on a disk.
        let (many, lost, _) = files(65_536, |pack| pack as f64 * 0.05);
        assert!(many < 200 && lost <= 65_536 / 16, "{many} {lost}");
        // And over a slow line: a pack in 16 seconds.
        let (many, _, waited) = files(65_536, |pack| pack as f64 * 16.0);
        assert!(many < 300 && waited <= 65_536.0, "{many} {waited}");
        let (many, lost, waited) = files(20, |pack| pack as f64 * 16.0);
        assert_eq!((many, lost, waited), (10, 1, 16.0));
    }
}
