//! Decides the fate of each pack. It is pure, except that it reads headers of packs that no index
//! lists.

use super::{IndexContent, Options, Packs, Report, State};
use crate::check;
use crate::error::{Damage, Error, FileKind, Result};
use crate::id::Id;
use crate::index::{Group, Index, IndexPack, Location};
use crate::pack::{BlobKind, PACK_BYTES, PACK_BYTES_MIN, PackedBlob};
use crate::repository::Repository;
use crate::time::Time;
use crate::used::Used;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The decisions about packs.
#[derive(Default)]
pub(super) struct Plan {
    /// Packs that leave the index and are to be deleted: nothing needs them, or everything needed
    /// in them is copied.
    pub(super) leave: BTreeSet<Id>,
    /// The blobs to copy out of them, by pack.
    pub(super) wanted: BTreeMap<Id, Vec<PackedBlob>>,
    /// Packs that return to the index.
    pub(super) recover: BTreeSet<Id>,
    /// Packs whose grace period is over, or that are gone already.
    pub(super) delete: BTreeSet<Id>,
    /// Packs of the index that are missing from the store.
    pub(super) missing: BTreeSet<Id>,
    /// Packs in the store that are in no index.
    pub(super) unknown: Vec<IndexPack>,
    pub(super) report: Report,
}

impl Plan {
    /// The index files to rewrite: those whose content no longer holds, and small ones if there are
    /// many.
    pub(super) fn rewrite(&self, state: &State) -> BTreeSet<Id> {
        let packs = state.files.values().flat_map(|file| &file.packs);
        let in_index: BTreeSet<&Id> = packs.filter(|id| !self.missing.contains(id)).collect();
        let outdated = |file: &&IndexContent| {
            let goes = |id: &Id| self.leave.contains(id) || self.missing.contains(id);
            let comes = |id: &Id| self.recover.contains(id) || in_index.contains(id);
            let marks = &mut file.to_delete.iter();
            file.packs.iter().any(goes)
                || marks.any(|(id, at)| at.is_none() || comes(id) || self.delete.contains(id))
        };
        let small = |file: &&IndexContent| file.blobs < SMALL_FILE_BLOBS;
        let many = state.files.values().filter(small).count() > SMALL_FILES;
        let files = state.files.iter();
        files
            .filter(|(_, file)| outdated(file) || many && small(file))
            .map(|(id, _)| *id)
            .collect()
    }
}

/// The part of a pack that is needed.
#[derive(Debug, Clone, Copy, Default)]
struct Stats {
    used: u64,
    unused: u64,
    data: bool,
    tree: bool,
}

/// Packs smaller than this are combined once there are enough to fill one. At most the last new
/// pack is again this small.
const SMALL_PACK_BYTES: u64 = PACK_BYTES_MIN as u64;
/// Index files that list fewer blobs are combined once there are more than [`SMALL_FILES`].
const SMALL_FILE_BLOBS: usize = 10_000;
const SMALL_FILES: usize = 8;

/// The pack chosen for each needed blob, and how much of each pack that makes needed.
struct Choice {
    stats: BTreeMap<Id, Stats>,
    /// The pack chosen for each blob that is in several, by the blob's number.
    chosen: BTreeMap<usize, Id>,
    recover: BTreeSet<Id>,
}

pub(super) fn make(
    repository: &Repository,
    state: &State,
    index: &Index,
    used: &Used<'_>,
    options: &Options,
) -> Result<Plan> {
    let choice = choose(state, index, used)?;
    let mut plan = Plan {
        recover: choice.recover,
        ..Plan::default()
    };
    plan.report.snapshots = state.snapshots.len() as u64;
    let repack = sort_out(state, &choice.stats, options, &mut plan);
    plan.collect(index, used, &choice.chosen, &repack);
    let since = |at: Option<Timestamp>| at.unwrap_or(options.now);
    let mut known: BTreeSet<Id> = choice.stats.keys().copied().collect();
    for (pack, at) in state.files.values().flat_map(|file| &file.to_delete) {
        if !known.insert(*pack) {
            continue;
        }
        match state.stored.get(pack) {
            None => drop(plan.delete.insert(*pack)),
            Some(&bytes) if plan.recover.contains(pack) => plan.report.recovered.add(bytes),
            Some(&bytes) => match options.now.duration_since(since(*at)) >= options.grace {
                true => {
                    plan.delete.insert(*pack);
                    plan.report.deleted.add(bytes);
                }
                false => plan.report.waiting.add(bytes),
            },
        }
    }
    for (pack, &bytes) in &state.stored {
        if !known.contains(pack) {
            plan.report.marked.add(bytes);
            let blobs = repository.pack_header(pack, bytes).unwrap_or_default();
            plan.unknown.push(IndexPack {
                id: *pack,
                blobs: blobs.iter().map(Into::into).collect(),
                time: Some(Time::utc(options.now)),
            });
        }
    }
    if options.grace.is_zero() {
        plan.report.deleted.count += plan.report.marked.count;
        plan.report.deleted.bytes += plan.report.marked.bytes;
        plan.report.marked = Packs::default();
    }
    Ok(plan)
}

/// The packs whose length is exactly the one in the index, among those that share a blob with
/// another pack. Any other has lost a part, and may have lost more.
fn whole(state: &State, index: &Index) -> BTreeSet<Id> {
    let groups = index
        .groups()
        .filter(|group| group.places().nth(1).is_some());
    let places = groups.flat_map(|group| group.places().collect::<Vec<_>>());
    let sharing: BTreeSet<(Id, bool)> = places.map(|at| (at.pack, at.to_delete)).collect();
    let mut whole = BTreeSet::new();
    for to_delete in [false, true] {
        if !sharing.iter().any(|(_, marked)| *marked == to_delete) {
            continue;
        }
        let lengths = check::by_pack(index, |at| {
            at.to_delete == to_delete && sharing.contains(&(at.pack, to_delete))
        });
        let right = lengths.iter().filter(|(pack, length)| {
            let stored = state.stored.get(pack);
            stored.is_some_and(|&bytes| bytes == length.bytes())
        });
        whole.extend(right.map(|(pack, _)| *pack));
    }
    whole
}

/// Chooses one pack for each needed blob: an intact one if there is any, else one that is present.
/// Among several such, it chooses the one of which most is needed anyway.
fn choose(state: &State, index: &Index, used: &Used<'_>) -> Result<Choice> {
    let whole = whole(state, index);
    let sound = |place: &Location| whole.contains(&place.pack);
    let there = |place: &Location| {
        let stored = state.stored.get(&place.pack);
        stored.is_some_and(|&bytes| bytes >= place.end())
    };
    let mut choice = Choice {
        stats: BTreeMap::new(),
        chosen: BTreeMap::new(),
        recover: BTreeSet::new(),
    };
    let packs = state.files.values().flat_map(|file| &file.packs);
    choice.stats.extend(packs.map(|id| (*id, Stats::default())));
    let mut several = Vec::new();
    for group in index.groups() {
        let needed = used.contains(group.number);
        let alone = group.places().nth(1).is_none();
        let mut stay: Vec<Location> = Vec::new();
        for place in group.places().filter(|place| !place.to_delete) {
            // A pack may be in several index files.
            if !stay.contains(&place) {
                stay.push(place);
            }
        }
        match stay.as_slice() {
            places if !needed => places.iter().for_each(|place| choice.count(place, false)),
            [place] if there(place) && (alone || sound(place)) => choice.count(place, true),
            places if places.iter().any(sound) => several.push((group.number, stay)),
            places => match group.places().find(sound) {
                Some(place) => drop(choice.recover.insert(place.pack)),
                None if places.iter().any(there) => several.push((group.number, stay)),
                None => match group.places().find(there) {
                    Some(place) => drop(choice.recover.insert(place.pack)),
                    None => return Err(lost(state, &group)),
                },
            },
        }
    }
    for (number, places) in several {
        let good = places.iter().filter(|place| there(place));
        let stats = &choice.stats;
        let used = |place: &Location| stats.get(&place.pack).map_or(0, |stats| stats.used);
        let best = good.max_by_key(|place| (sound(place), used(place)));
        if let Some(best) = best.copied() {
            choice.chosen.insert(number, best.pack);
            for place in &places {
                choice.count(place, *place == best);
            }
        }
    }
    Ok(choice)
}

/// The error for a needed blob that is in no pack.
fn lost(state: &State, blob: &Group<'_>) -> Error {
    let pack = blob.places().next().map(|place| place.pack);
    let pack = pack.unwrap_or_default();
    let (kind, id) = (FileKind::Pack, pack);
    match state.stored.get(&pack) {
        None => Error::Missing { kind, id },
        Some(&bytes) => Error::Damaged {
            kind,
            id,
            damage: Damage::Short { bytes },
        },
    }
}

impl Choice {
    fn count(&mut self, place: &Location, needed: bool) {
        let stats = self.stats.entry(place.pack).or_default();
        match needed {
            true => stats.used += u64::from(place.length),
            false => stats.unused += u64::from(place.length),
        }
        match place.kind {
            BlobKind::Data => stats.data = true,
            BlobKind::Tree => stats.tree = true,
        }
    }
}

/// Decides on each pack of the index. Returns the packs to repack.
fn sort_out(
    state: &State,
    stats: &BTreeMap<Id, Stats>,
    options: &Options,
    plan: &mut Plan,
) -> BTreeSet<Id> {
    let (mut partly, mut small) = (Vec::new(), [Vec::new(), Vec::new()]);
    let (mut needed, mut unused) = (0, 0);
    let mut kept = BTreeMap::new();
    for (pack, stats) in stats {
        let Some(&bytes) = state.stored.get(pack) else {
            plan.missing.insert(*pack);
            continue;
        };
        needed += stats.used;
        if stats.used == 0 {
            plan.leave.insert(*pack);
            plan.report.marked.add(bytes);
            continue;
        }
        kept.insert(*pack, bytes);
        unused += stats.unused;
        if stats.unused > 0 {
            partly.push((*pack, *stats));
        }
        let same = small.get_mut(usize::from(stats.tree && !stats.data));
        if let Some(small) = same.filter(|_| bytes < SMALL_PACK_BYTES) {
            small.push((*pack, bytes));
        }
    }
    let share = |stats: &Stats| stats.unused as f64 / (stats.used + stats.unused) as f64;
    partly.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    let allowed = needed as f64 * options.max_unused;
    let mut repack = BTreeSet::new();
    for (pack, stats) in partly {
        if unused as f64 <= allowed {
            break;
        }
        unused -= stats.unused;
        repack.insert(pack);
    }
    for small in small {
        let bytes: u64 = small.iter().map(|(_, bytes)| bytes).sum();
        if bytes >= PACK_BYTES as u64 {
            for (pack, _) in small {
                let stats = stats.get(&pack).copied().unwrap_or_default();
                if repack.insert(pack) {
                    unused -= stats.unused;
                }
            }
        }
    }
    for (pack, bytes) in kept {
        match repack.contains(&pack) {
            true => {
                plan.leave.insert(pack);
                plan.report.repacked.add(bytes);
                plan.report.marked.add(bytes);
            }
            false => plan.report.kept.add(bytes),
        }
    }
    plan.report.missing = plan.missing.len() as u64;
    plan.report.unused_bytes = unused;
    repack
}

impl Plan {
    /// Records what is needed of the packs to repack.
    fn collect(
        &mut self,
        index: &Index,
        used: &Used<'_>,
        chosen: &BTreeMap<usize, Id>,
        repack: &BTreeSet<Id>,
    ) {
        if repack.is_empty() {
            return;
        }
        for group in index.groups().filter(|group| used.contains(group.number)) {
            let chosen = chosen.get(&group.number);
            let taken = |place: &Location| {
                !place.to_delete && chosen.is_none_or(|pack| *pack == place.pack)
            };
            let Some(place) = group.places().find(taken) else {
                continue;
            };
            if repack.contains(&place.pack) {
                let wanted = self.wanted.entry(place.pack).or_default();
                wanted.push(place.blob(group.id()));
            }
        }
    }
}
