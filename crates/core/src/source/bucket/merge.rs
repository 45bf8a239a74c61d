//! Decides what to do about each object, by comparing the listing with what is stored already.
//!
//! An object is unchanged while its ETag, size and time of modification are. Everything passes
//! through in the order of the keys, as streams: memory does not grow with the bucket.

use super::index::{Entry, to_line};
use super::key::ObjectKey;
use super::sort;
use crate::error::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::iter::Peekable;
use std::path::Path;

/// An object as listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// The time it was modified, in seconds since 1970.
    pub modified: i64,
    /// True if it is stored unchanged, and only moves into another pack.
    #[serde(default)]
    pub is_stored: bool,
}

impl Listed {
    /// Returns true if the stored entry is the object that is there now.
    pub fn is(&self, entry: &Entry) -> bool {
        // Some servers list no ETags.
        let etag = self.etag.is_empty() || self.etag == entry.etag;
        etag && self.bytes == entry.bytes && self.modified == entry.modified
    }
}

/// The step for one version of an object in the next index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It is stored and unchanged.
    Keep(Entry),
    /// It is to be fetched; with its stored entry, if it has one.
    Fetch(Listed, Option<Box<Entry>>),
    /// It was deleted or replaced, and is kept for a while.
    Gone(Entry),
}

impl Step {
    fn key(&self) -> &ObjectKey {
        match self {
            Step::Keep(entry) | Step::Gone(entry) => &entry.key,
            Step::Fetch(listed, _) => &listed.key,
        }
    }
}

/// The use of a pack by the next index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackUse {
    /// Bytes of the tar that hold current objects.
    pub live_bytes: u64,
    /// Bytes of the tar that hold deleted or replaced versions, which are kept for a while.
    pub gone_bytes: u64,
}

/// The counts of a merge.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects in the listing.
    pub listed: u64,
    /// Objects to fetch.
    pub fetch: u64,
    /// Size of the objects to fetch, in bytes.
    pub fetch_bytes: u64,
    /// Packs that are named.
    pub packs: BTreeMap<String, PackUse>,
}

/// Rules for a merge.
pub struct Rules<'a> {
    /// The current time.
    pub now: Timestamp,
    /// How long deleted and replaced versions are kept, in seconds.
    pub keep_seconds: u64,
    /// Packs whose bytes are in every store. What lies in other packs is fetched again.
    pub packs: &'a BTreeSet<String>,
}

impl Rules<'_> {
    fn keeps(&self, gone: Timestamp) -> bool {
        let age = self.now.as_second().saturating_sub(gone.as_second());
        u64::try_from(age).unwrap_or(0) < self.keep_seconds
    }

    fn holds(&self, entry: &Entry) -> bool {
        self.packs.contains(&entry.pack)
    }

    /// Marks the entry as gone from now on; `None` if it is not kept at all.
    pub fn retire(&self, entry: Entry) -> Option<Entry> {
        (self.keep_seconds > 0 && self.holds(&entry)).then_some(Entry {
            gone: Some(self.now),
            ..entry
        })
    }
}

/// Compares a listing with an index and with what an interrupted run stored, and writes the steps
/// to `steps`, in order. All three must come in the order of their keys.
pub fn merge(
    listed: impl Iterator<Item = Result<Listed>>,
    index: impl Iterator<Item = Result<Entry>>,
    resumed: impl Iterator<Item = Result<Entry>>,
    rules: &Rules<'_>,
    steps: &Path,
) -> Result<Counts> {
    let mut output = sort::create(steps)?;
    let mut counts = Counts::default();
    let (mut listed, mut index, mut resumed) =
        (listed.peekable(), index.peekable(), resumed.peekable());
    loop {
        let heads = [
            head(&mut listed, |l| &l.key)?,
            head(&mut index, |e| &e.key)?,
            head(&mut resumed, |e| &e.key)?,
        ];
        let Some(key) = heads.into_iter().flatten().min() else {
            break;
        };
        let now: Vec<Listed> = take(&mut listed, &key, |l| &l.key)?;
        let mut known: Vec<Entry> = take(&mut index, &key, |e| &e.key)?;
        let again: Vec<Entry> = take(&mut resumed, &key, |e| &e.key)?;
        let live = known.iter().position(Entry::is_live);
        let live = live.map(|at| known.remove(at));
        counts.listed += u64::from(!now.is_empty());
        // A key that is listed twice changed while it was listed; the last entry is what is there
        // now.
        let decided = decide(now.into_iter().next_back(), live, again, rules);
        let kept = known
            .into_iter()
            .filter(|e| rules.holds(e) && e.gone.is_some_and(|at| rules.keeps(at)));
        for step in decided.into_iter().chain(kept.map(Step::Gone)) {
            counts.note(&step);
            output
                .write_all(&to_line(&step)?)
                .map_err(|e| sort::unusable(steps, &e))?;
        }
    }
    output.flush().map_err(|e| sort::unusable(steps, &e))?;
    Ok(counts)
}

/// The steps for one key, except for versions that were gone before.
fn decide(
    now: Option<Listed>,
    live: Option<Entry>,
    again: Vec<Entry>,
    rules: &Rules<'_>,
) -> Vec<Step> {
    let Some(now) = now else {
        return live
            .and_then(|e| rules.retire(e))
            .map(Step::Gone)
            .into_iter()
            .collect();
    };
    if let Some(live) = live.as_ref().filter(|e| now.is(e) && rules.holds(e)) {
        return vec![Step::Keep(live.clone())];
    }
    let mut again = again.into_iter();
    if let Some(stored) = again.find(|e| now.is(e) && rules.holds(e)) {
        let retired = live.and_then(|e| rules.retire(e));
        let kept = std::iter::once(Step::Keep(stored));
        return kept.chain(retired.map(Step::Gone)).collect();
    }
    let before = live.filter(|e| rules.holds(e)).map(Box::new);
    vec![Step::Fetch(now, before)]
}

impl Counts {
    fn note(&mut self, step: &Step) {
        match step {
            Step::Keep(entry) => self.used(entry).live_bytes += footprint(entry.bytes),
            Step::Gone(entry) => self.used(entry).gone_bytes += footprint(entry.bytes),
            Step::Fetch(listed, _) => {
                self.fetch += 1;
                self.fetch_bytes += listed.bytes;
            }
        }
    }

    fn used(&mut self, entry: &Entry) -> &mut PackUse {
        self.packs.entry(entry.pack.clone()).or_default()
    }
}

/// Bytes that an object takes in a tar.
fn footprint(bytes: u64) -> u64 {
    512 + bytes.next_multiple_of(512)
}

/// Fetches again what is kept in these packs, so that the packs are no longer needed.
pub fn rewrite(
    steps: impl Iterator<Item = Result<Step>>,
    packs: &BTreeSet<String>,
    to: &Path,
) -> Result<Counts> {
    let mut output = sort::create(to)?;
    let mut counts = Counts::default();
    let mut last: Option<ObjectKey> = None;
    for step in steps {
        let step = match step? {
            Step::Keep(entry) if packs.contains(&entry.pack) => {
                let listed = Listed {
                    key: entry.key.clone(),
                    bytes: entry.bytes,
                    etag: entry.etag.clone(),
                    modified: entry.modified,
                    is_stored: true,
                };
                Step::Fetch(listed, Some(Box::new(entry)))
            }
            other => other,
        };
        let is_new = last.as_ref() != Some(step.key());
        counts.listed += u64::from(is_new && !matches!(step, Step::Gone(_)));
        last = Some(step.key().clone());
        counts.note(&step);
        output
            .write_all(&to_line(&step)?)
            .map_err(|e| sort::unusable(to, &e))?;
    }
    output.flush().map_err(|e| sort::unusable(to, &e))?;
    Ok(counts)
}

/// Share of a full pack below which a pack is small. Small packs are merged once there are many of
/// them.
const SMALL_SHARE: u64 = 8;
/// Waste below which a pack is left alone.
const WASTE_BYTES: u64 = 1 << 20;
/// Number of small packs that are left alone.
const SMALL_MAX: usize = 32;

/// Packs that are better rewritten: those mostly made of versions that are no longer needed, and
/// small ones once there are many. A pack that holds versions kept for a while stays until their
/// time is over. What is live in it moves out, because otherwise a pack from which an object goes
/// now and then would stay for ever.
pub fn wasteful(
    used: &BTreeMap<String, PackUse>,
    sizes: &BTreeMap<String, u64>,
    full_bytes: u64,
) -> BTreeSet<String> {
    let live = used.iter().filter(|(_, u)| u.live_bytes > 0);
    let sized = live.filter_map(|(name, u)| Some((name, u, *sizes.get(name)?)));
    let (mut chosen, mut small) = (BTreeSet::new(), Vec::new());
    for (name, used, bytes) in sized {
        let needed_bytes = used.live_bytes.saturating_add(used.gone_bytes);
        if bytes > WASTE_BYTES && needed_bytes.saturating_mul(2) < bytes {
            chosen.insert(name.clone());
        } else if used.gone_bytes == 0 && bytes < full_bytes / SMALL_SHARE {
            small.push(name.clone());
        }
    }
    if small.len() > SMALL_MAX {
        chosen.extend(small);
    }
    chosen
}

type Source<I> = Peekable<I>;

fn head<T, I: Iterator<Item = Result<T>>>(
    source: &mut Source<I>,
    key: impl Fn(&T) -> &ObjectKey,
) -> Result<Option<ObjectKey>> {
    match source.peek() {
        None => Ok(None),
        Some(Ok(item)) => Ok(Some(key(item).clone())),
        Some(Err(error)) => Err(error.clone()),
    }
}

fn take<T, I: Iterator<Item = Result<T>>>(
    source: &mut Source<I>,
    wanted: &ObjectKey,
    key: impl Fn(&T) -> &ObjectKey,
) -> Result<Vec<T>> {
    let mut taken = Vec::new();
    while let Some(item) =
        source.next_if(|item| item.as_ref().is_ok_and(|item| key(item) == wanted))
    {
        taken.push(item?);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::super::index::Lines;
    use super::*;

    fn listed(key: &str, etag: &str) -> Result<Listed> {
        Ok(Listed {
            key: ObjectKey::new(key.into()),
            bytes: 3,
            etag: etag.into(),
            modified: 7,
            is_stored: false,
        })
    }

    fn entry(key: &str, etag: &str, pack: &str, gone: Option<i64>) -> Result<Entry> {
        Ok(Entry {
            key: ObjectKey::new(key.into()),
            bytes: 3,
            etag: etag.into(),
            modified: 7,
            pack: pack.into(),
            gone: gone.map(|s| Timestamp::from_second(s).unwrap()),
            ..Entry::default()
        })
    }

    fn steps(
        now: Vec<Result<Listed>>,
        index: Vec<Result<Entry>>,
        resumed: Vec<Result<Entry>>,
    ) -> (Vec<String>, Counts) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("steps");
        let packs = BTreeSet::from(["p".to_owned(), "q".to_owned()]);
        let rules = Rules {
            now: Timestamp::from_second(1000).unwrap(),
            keep_seconds: 100,
            packs: &packs,
        };
        let counts = merge(
            now.into_iter(),
            index.into_iter(),
            resumed.into_iter(),
            &rules,
            &path,
        )
        .unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let lines = Lines::<_, Step>::new(file, "steps").map(|step| match step.unwrap() {
            Step::Keep(e) => format!("keep {} {} {}", e.key, e.etag, e.pack),
            Step::Fetch(l, old) => format!("fetch {} {} {}", l.key, l.etag, old.is_some()),
            Step::Gone(e) => format!("gone {} {} {}", e.key, e.etag, e.gone.unwrap().as_second()),
        });
        (lines.collect(), counts)
    }

    #[test]
    fn only_changes_are_fetched_and_deleted_objects_are_kept_for_a_while() {
        let (found, counts) = steps(
            vec![
                listed("a", "1"),
                listed("b", "2"),
                listed("d", "1"),
                listed("e", "1"),
            ],
            vec![
                entry("a", "1", "p", None),
                entry("a", "0", "p", Some(950)),
                entry("a", "00", "p", Some(850)),
                entry("b", "1", "p", None),
                entry("c", "1", "p", None),
                entry("e", "1", "lost", None),
            ],
            vec![],
        );
        assert_eq!(
            found,
            [
                "keep a 1 p",
                "gone a 0 950",
                "fetch b 2 true",
                "gone c 1 1000",
                "fetch d 1 false",
                "fetch e 1 false",
            ]
        );
        assert_eq!((counts.listed, counts.fetch, counts.fetch_bytes), (4, 3, 9));
        let used = counts.packs["p"];
        assert_eq!((used.live_bytes, used.gone_bytes), (1024, 2048));
    }

    #[test]
    fn what_an_interrupted_run_stored_is_not_fetched_again() {
        let (found, _) = steps(
            vec![listed("a", "2"), listed("b", "2")],
            vec![entry("a", "1", "p", None)],
            vec![
                entry("a", "2", "q", None),
                entry("b", "1", "q", None),
                entry("z", "1", "q", None),
            ],
        );
        assert_eq!(found, ["keep a 2 q", "gone a 1 1000", "fetch b 2 false"]);
    }

    #[test]
    fn a_reading_error_is_never_taken_for_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let packs = BTreeSet::new();
        let rules = Rules {
            now: Timestamp::UNIX_EPOCH,
            keep_seconds: 1,
            packs: &packs,
        };
        let broken = || Err(crate::error::Error::new(crate::error::Code::Io, "broken"));
        let none = std::iter::empty::<Result<Entry>>;
        let merged = merge(
            vec![listed("a", "1"), broken()].into_iter(),
            none(),
            none(),
            &rules,
            &directory.path().join("s"),
        );
        assert_eq!(merged.unwrap_err().message, "broken");
    }

    #[test]
    fn wasteful_packs_and_many_small_ones_are_rewritten() {
        let mib = 1 << 20;
        let mut used = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        let mut pack = |name: &str, live_bytes: u64, gone_bytes: u64, bytes| {
            let pack = PackUse {
                live_bytes,
                gone_bytes,
            };
            used.insert(name.to_owned(), pack);
            sizes.insert(name.to_owned(), bytes);
        };
        pack("full", 60 * mib, 0, 64 * mib);
        pack("dead", 10 * mib, 0, 64 * mib);
        pack("kept", 10 * mib, 30 * mib, 64 * mib);
        pack("trickling", 10 * mib, 1, 64 * mib);
        pack("moved out", 0, 1, 64 * mib);
        for i in 0..SMALL_MAX {
            pack(&format!("small{i}"), mib, 0, mib);
        }
        let few = wasteful(&used, &sizes, 64 * mib);
        let few: Vec<_> = few.into_iter().collect();
        assert_eq!(few, ["dead", "trickling"]);
        used.insert(
            "more".into(),
            PackUse {
                live_bytes: 1,
                gone_bytes: 0,
            },
        );
        sizes.insert("more".into(), 10);
        assert_eq!(wasteful(&used, &sizes, 64 * mib).len(), SMALL_MAX + 3);
    }
}
