//! Reads trees many at a time. The trees of a backup lie together in packs, in about the order in
//! which they are needed again. So each read of a tree also fetches what lies near it, which is
//! kept for the next reads. A slow store is asked once for a megabyte of trees, not once for each
//! directory, and a disk opens one file and not thousands.
//!
//! What lies near a tree never keeps it from being read: if a stretch cannot be read, as on a disk
//! with a bad sector, the tree is read alone.

use crate::error::{Error, Result};
use crate::id::Id;
use crate::sync::lock;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// The length of the stretches in which packs are read. Longer trees are read alone.
const STRETCH_BYTES: u64 = 1 << 20;
/// The most stretches that are kept. The least recently used is dropped first.
const STRETCHES: usize = 8;

/// The bytes of a stretch. The first thread to want it reads it while the others wait.
type Stretch = Arc<Mutex<Option<Arc<[u8]>>>>;

/// Reads and keeps stretches of packs; see the module.
#[derive(Default)]
pub(crate) struct ReadAhead {
    /// Stretches by pack and number; the most recently used is last.
    kept: Mutex<VecDeque<((Id, u64), Stretch)>>,
}

impl ReadAhead {
    /// Returns these bytes of a pack, or as many as there are. `fetch` reads a range of the pack.
    pub(crate) fn read(
        &self,
        pack: &Id,
        range: Range<u64>,
        fetch: impl Fn(Range<u64>) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        if range.end - range.start > STRETCH_BYTES {
            return fetch(range);
        }
        let mut found = Vec::new();
        for number in range.start / STRETCH_BYTES..range.end.div_ceil(STRETCH_BYTES) {
            let start = number * STRETCH_BYTES;
            let stretch = || fetch(start..start + STRETCH_BYTES);
            let bytes = match self.stretch((*pack, number), stretch) {
                Err(Error::Read { .. }) => return fetch(range),
                other => other?,
            };
            let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let from = place(range.start).min(bytes.len());
            let to = place(range.end).min(bytes.len());
            found.extend_from_slice(bytes.get(from..to).unwrap_or_default());
        }
        Ok(found)
    }

    fn stretch(
        &self,
        which: (Id, u64),
        fetch: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<[u8]>> {
        let stretch = self.find(which);
        let mut content = lock(&stretch);
        if let Some(bytes) = &*content {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = fetch()?.into();
        Ok(Arc::clone(content.insert(bytes)))
    }

    fn find(&self, which: (Id, u64)) -> Stretch {
        let mut kept = lock(&self.kept);
        let at = kept.iter().position(|(other, _)| *other == which);
        let (_, stretch) = at.and_then(|at| kept.remove(at)).unwrap_or_default();
        kept.push_back((which, Arc::clone(&stretch)));
        if kept.len() > STRETCHES {
            kept.pop_front();
        }
        stretch
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_stretch_is_read_once_and_every_byte_is_right() {
        let pack: Vec<u8> = (0..2_500_000_u32).flat_map(u32::to_le_bytes).collect();
        let (read_ahead, reads) = (ReadAhead::default(), AtomicUsize::new(0));
        let place = |at: u64| usize::try_from(at).unwrap().min(pack.len());
        let part = |range: &Range<u64>| &pack[place(range.start)..place(range.end)];
        let check = |range: Range<u64>| {
            let read = read_ahead.read(&Id::default(), range.clone(), |range| {
                reads.fetch_add(1, Ordering::Relaxed);
                Ok(part(&range).to_vec())
            });
            assert!(read.unwrap() == part(&range), "{range:?}");
        };
        for start in (0..10_000_000).step_by(7919) {
            check(start..start + 20_000);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 10);
        check(100..3_000_000);
        assert_eq!(reads.load(Ordering::Relaxed), 11);
        check(9_999_990..10_000_010);
        check(12_000_000..12_000_010);
    }

    #[test]
    fn a_bad_sector_spoils_only_what_lies_on_it() {
        let read_ahead = ReadAhead::default();
        let disk = |range: Range<u64>| match range.contains(&7000) {
            true => Err(Error::Read {
                key: "data/x".to_owned(),
                source: std::io::ErrorKind::Other.into(),
            }),
            false => Ok(range.map(|at| at as u8).collect()),
        };
        let read = |range| read_ahead.read(&Id::default(), range, disk);
        assert_eq!(read(5..9).unwrap(), [5, 6, 7, 8]);
        assert_eq!(read(7001..7003).unwrap(), [89, 90]);
        assert!(read(6999..7001).is_err());
    }

    #[test]
    fn a_failed_stretch_is_read_again() {
        let (read_ahead, id) = (ReadAhead::default(), Id::default());
        assert!(read_ahead.read(&id, 5..9, |_| Err(Error::Stopped)).is_err());
        let read = read_ahead.read(&id, 5..9, |_| Ok((0..100).collect()));
        assert_eq!(read.unwrap(), [5, 6, 7, 8]);
    }
}
