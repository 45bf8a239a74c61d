//! The second half of a prune, under an exclusive lock: writes the new index, then deletes what it
//! no longer needs.

use super::plan::Plan;
use super::{Options, Report, State, require_undamaged};
use crate::error::{Error, FileKind, Result};
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::index_writer::IndexWriter;
use crate::repository::Repository;
use crate::requests;
use crate::sync::{into_inner, lock};
use crate::time::Time;
use crate::used::Used;
use std::collections::BTreeSet;
use std::sync::Mutex;

pub(super) fn run(
    repository: &Repository,
    state: &State,
    mut plan: Plan,
    options: &Options,
) -> Result<Report> {
    let listed = repository.list(FileKind::Index)?;
    let now: BTreeSet<Id> = listed.iter().map(|(id, _)| *id).collect();
    // Another prune ran between our two locks.
    if state.files.keys().any(|id| !now.contains(id)) {
        return Err(Error::Changed);
    }
    keep_packs_needed_meanwhile(repository, state, &listed, &mut plan)?;
    // A pack that stays in the index must be marked for deletion in no index file.
    let mut stay: BTreeSet<Id> = BTreeSet::new();
    for content in state.files.values() {
        let packs = content.packs.iter();
        stay.extend(packs.filter(|id| !plan.leave.contains(id) && !plan.missing.contains(id)));
    }
    let rewrite = plan.rewrite(state);
    let outdated: Vec<(Id, u64)> = listed
        .into_iter()
        .filter(|(id, _)| rewrite.contains(id))
        .collect();
    let unknown = std::mem::take(&mut plan.unknown);
    let switch = Switch {
        writer: IndexWriter::new(repository),
        stay,
        since: Time::utc(options.now),
        at_once: options.grace.is_zero(),
        noted: Mutex::default(),
        delete: Mutex::new(std::mem::take(&mut plan.delete)),
        plan: &plan,
    };
    let failed = Mutex::new(None);
    require_undamaged(repository.each_index_file(&outdated, |_, file| {
        if let Err(error) = switch.file(file) {
            lock(&failed).get_or_insert(error);
        }
    })?)?;
    into_inner(failed).map_or(Ok(()), Err)?;
    for pack in unknown {
        switch.go(pack)?;
    }
    switch.writer.finish()?;
    for (id, _) in &outdated {
        repository.delete(FileKind::Index, id)?;
    }
    let there = into_inner(switch.delete)
        .into_iter()
        .filter(|id| state.stored.contains_key(id));
    let delete: Vec<Id> = there.collect();
    requests::each(&delete, |id| repository.delete(FileKind::Pack, id))?;
    Ok(plan.report)
}

/// Rewrites index files. Several threads may bring files at once.
struct Switch<'a> {
    plan: &'a Plan,
    writer: IndexWriter<'a>,
    /// Packs that stay in the index.
    stay: BTreeSet<Id>,
    since: Time,
    /// True if the packs that go are deleted in this run.
    at_once: bool,
    /// Packs that were marked for deletion.
    noted: Mutex<BTreeSet<Id>>,
    /// Packs to delete now.
    delete: Mutex<BTreeSet<Id>>,
}

impl Switch<'_> {
    fn file(&self, file: IndexFile) -> Result<()> {
        for mut pack in file.packs {
            if self.plan.missing.contains(&pack.id) {
            } else if self.plan.leave.contains(&pack.id) {
                pack.time = Some(self.since);
                self.go(pack)?;
            } else {
                self.writer.add(pack)?;
            }
        }
        for mut pack in file.packs_to_delete {
            // A pack that leaves the index now waits from now on.
            let stays_or_waits = self.stay.contains(&pack.id) || self.plan.leave.contains(&pack.id);
            if stays_or_waits || lock(&self.delete).contains(&pack.id) {
            } else if self.plan.recover.contains(&pack.id) {
                pack.time = None;
                self.writer.add(pack)?;
            } else {
                pack.time = pack.time.or(Some(self.since));
                self.note(pack)?;
            }
        }
        Ok(())
    }

    /// Handles a pack that goes: deletes it now, or marks it for later.
    fn go(&self, pack: IndexPack) -> Result<()> {
        if self.at_once {
            lock(&self.delete).insert(pack.id);
            return Ok(());
        }
        self.note(pack)
    }

    fn note(&self, pack: IndexPack) -> Result<()> {
        match lock(&self.noted).insert(pack.id) {
            true => self.writer.note(pack),
            false => Ok(()),
        }
    }
}

/// Keeps packs that were rubbish at the first look but may be needed by backups that ended since.
fn keep_packs_needed_meanwhile(
    repository: &Repository,
    state: &State,
    listed: &[(Id, u64)],
    plan: &mut Plan,
) -> Result<()> {
    let mut roots = Vec::new();
    for (id, _) in repository.list(FileKind::Snapshot)? {
        if !state.snapshots.contains(&id) {
            roots.push(repository.snapshot(&id)?.tree);
        }
    }
    // A pack that was unknown may have been stored by a backup that has finished now.
    let new = listed
        .iter()
        .filter(|(id, _)| !state.files.contains_key(id));
    let new: Vec<(Id, u64)> = new.copied().collect();
    let indexed: Mutex<BTreeSet<Id>> = Mutex::default();
    require_undamaged(repository.each_index_file(&new, |_, file| {
        lock(&indexed).extend(file.packs.iter().map(|pack| pack.id));
    })?)?;
    let indexed = into_inner(indexed);
    plan.unknown.retain(|pack| !indexed.contains(&pack.id));
    plan.delete.retain(|id| !indexed.contains(id));
    if roots.is_empty() {
        return Ok(());
    }
    let (index, errors) = repository.load_index()?;
    require_undamaged(errors)?;
    let used = Used::new(&index);
    used.add(repository, &roots)?;
    for group in index.groups().filter(|group| used.contains(group.number)) {
        let goes = |id: &Id| plan.leave.contains(id) || plan.missing.contains(id);
        if group
            .places()
            .any(|place| !place.to_delete && !goes(&place.pack))
        {
            continue;
        }
        for place in group.places() {
            if place.to_delete {
                plan.recover.insert(place.pack);
                plan.delete.remove(&place.pack);
            } else {
                plan.leave.remove(&place.pack);
            }
        }
    }
    Ok(())
}
