//! The second half of a prune, alone in the repository: the new index, then what it lets go.

use super::plan::Plan;
use super::{Options, Report, State, none};
use crate::error::{Error, FileKind, Result};
use crate::id::Id;
use crate::index::{IndexFile, IndexPack};
use crate::repository::Repository;
use crate::requests;
use crate::storing::INDEX_BLOBS;
use crate::time::Time;
use crate::used::Used;
use std::collections::BTreeSet;

pub(super) fn run(
    repository: &Repository,
    state: &State,
    mut plan: Plan,
    options: &Options,
) -> Result<Report> {
    let listed = repository.list(FileKind::Index)?;
    let now: BTreeSet<Id> = listed.into_iter().map(|(id, _)| id).collect();
    // Another prune came in between our two locks.
    if state.files.keys().any(|id| !now.contains(id)) {
        return Err(Error::Changed);
    }
    spare_what_came_meanwhile(repository, state, &mut plan)?;
    let at_once = options.grace.is_zero();
    let mut writer = Writer {
        repository,
        file: IndexFile::default(),
        blobs: 0,
    };
    let since = Time::utc(options.now);
    // Packs that stay in the index are to be deleted in none.
    let mut stay: BTreeSet<Id> = BTreeSet::new();
    for content in state.files.values() {
        let packs = content.packs.iter();
        stay.extend(packs.filter(|id| !plan.leave.contains(id) && !plan.missing.contains(id)));
    }
    let mut noted = BTreeSet::new();
    let rewrite = plan.rewrite(state);
    let mut delete: BTreeSet<Id> = std::mem::take(&mut plan.delete);
    for id in &rewrite {
        let file = repository.index_file(id)?;
        for mut pack in file.packs {
            if plan.missing.contains(&pack.id) {
            } else if plan.leave.contains(&pack.id) {
                pack.time = Some(since);
                if at_once {
                    delete.insert(pack.id);
                } else if noted.insert(pack.id) {
                    writer.note(pack)?;
                }
            } else {
                writer.add(pack)?;
            }
        }
        for mut pack in file.packs_to_delete {
            // One that leaves the index now waits from now on.
            let again = plan.leave.contains(&pack.id);
            if again || stay.contains(&pack.id) || delete.contains(&pack.id) {
            } else if plan.recover.contains(&pack.id) {
                pack.time = None;
                writer.add(pack)?;
            } else if noted.insert(pack.id) {
                pack.time = pack.time.or(Some(since));
                writer.note(pack)?;
            }
        }
    }
    for pack in std::mem::take(&mut plan.unknown) {
        if at_once {
            delete.insert(pack.id);
        } else {
            writer.note(pack)?;
        }
    }
    writer.flush()?;
    for id in &rewrite {
        repository.delete(FileKind::Index, id)?;
    }
    let there = delete
        .into_iter()
        .filter(|id| state.stored.contains_key(id));
    let delete: Vec<Id> = there.collect();
    requests::each(&delete, |id| repository.delete(FileKind::Pack, id))?;
    Ok(plan.report)
}

/// Backups that ended since the first look may need what was rubbish then: such packs stay.
fn spare_what_came_meanwhile(
    repository: &Repository,
    state: &State,
    plan: &mut Plan,
) -> Result<()> {
    let mut roots = Vec::new();
    for (id, _) in repository.list(FileKind::Snapshot)? {
        if !state.snapshots.contains(&id) {
            roots.push(repository.snapshot(&id)?.tree);
        }
    }
    // What was unknown may have been stored by a backup that is through now.
    let (index, errors) = repository.load_index()?;
    none(errors)?;
    let mut indexed = BTreeSet::new();
    for (_, place) in index.blobs().filter(|(_, place)| !place.to_delete) {
        indexed.insert(place.pack);
    }
    plan.unknown.retain(|pack| !indexed.contains(&pack.id));
    plan.delete
        .retain(|id| !indexed.contains(id) || plan.missing.contains(id));
    if roots.is_empty() {
        return Ok(());
    }
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

/// Collects packs and writes index files of a good size.
struct Writer<'r> {
    repository: &'r Repository,
    file: IndexFile,
    blobs: usize,
}

impl Writer<'_> {
    fn add(&mut self, pack: IndexPack) -> Result<()> {
        self.blobs += pack.blobs.len();
        self.file.packs.push(pack);
        self.flush_if_full()
    }

    fn note(&mut self, pack: IndexPack) -> Result<()> {
        self.blobs += pack.blobs.len();
        self.file.packs_to_delete.push(pack);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        match self.blobs >= INDEX_BLOBS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        let file = std::mem::take(&mut self.file);
        self.blobs = 0;
        if !file.packs.is_empty() || !file.packs_to_delete.is_empty() {
            self.repository.save_index(&file)?;
        }
        Ok(())
    }
}
