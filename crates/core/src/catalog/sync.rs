//! Brings the notes of a store up to date with what the store holds.
//!
//! A store is listed once, and only manifests that are new, or have another size or were put at
//! another time than is noted, are read, several at a time. Their bytes are held until they are noted, a
//! few hundred at a time, and the copies without them.

use super::{Catalog, index};
use crate::copies::{self, Listed, PointCopy, StoredManifest};
use crate::error::{Code, Error, Result};
use crate::point::PointId;
use crate::pool;
use crate::stores::OpenStore;
use crate::thread;
use std::collections::BTreeMap;

/// Number of manifests that are noted in one transaction.
const BATCH_MANIFESTS: usize = 256;

/// Content of a store that could be listed.
pub(crate) struct Synced {
    pub(crate) copies: BTreeMap<PointId, PointCopy>,
    /// Errors of manifests that exist and could not be read. The copy of such a point is the one
    /// noted before.
    pub(crate) errors: BTreeMap<PointId, Error>,
}

impl Catalog {
    /// Updates the notes of a store: one list call, and a read of each manifest that is new or
    /// was put anew. Returns its copies, and the errors of manifests that could not be read.
    pub fn sync(&self, store: &OpenStore) -> Result<(Vec<PointCopy>, Vec<Error>)> {
        let Synced { copies, errors } = self.sync_points(store, false)?;
        Ok((
            copies.into_values().collect(),
            errors.into_values().collect(),
        ))
    }

    /// Updates as [`Catalog::sync`] does and returns the copies by point; `rescan` reads every
    /// manifest.
    pub(crate) fn sync_points(&self, store: &OpenStore, rescan: bool) -> Result<Synced> {
        let location = store.store.location();
        let (listed, noted) = self.listed_and_noted(store, &location)?;
        let times = self.times(&location)?;
        let by_point = noted.into_iter().map(|c| (c.manifest.point.clone(), c));
        let mut copies: BTreeMap<PointId, PointCopy> = by_point.collect();
        let gone: Vec<PointId> = copies
            .extract_if(.., |point, _| !listed.contains_key(point))
            .map(|(point, _)| point)
            .collect();
        if !gone.is_empty() {
            // A copy that is gone stays in the memory.
            self.drop_notes(&location, &gone)?;
            self.drop_details()?;
        }
        let stored: Vec<_> = listed.iter().map(|(p, l)| (p.clone(), l.stored)).collect();
        let is_noted = |point: &PointId, listed: &Listed| {
            let noted = copies.get(point);
            !rescan && !times.moved(point, listed) && noted.is_some_and(|n| listed.sizes.fit(n))
        };
        let listed = listed.into_iter();
        let new: Vec<_> = listed.filter(|(p, listed)| !is_noted(p, listed)).collect();
        let synced = Synced {
            copies,
            errors: BTreeMap::new(),
        };
        let synced = self.read(store, location.clone(), new, synced)?;
        // One that could not be read is read again next time.
        let read = stored
            .iter()
            .filter(|(p, _)| !synced.errors.contains_key(p));
        self.note_times(&location, &times, read)?;
        Ok(synced)
    }

    /// Lists a store and, meanwhile, reads what is noted of it.
    fn listed_and_noted(
        &self,
        store: &OpenStore,
        location: &str,
    ) -> Result<(BTreeMap<PointId, Listed>, Vec<PointCopy>)> {
        let (listed, noted) = std::thread::scope(|scope| {
            let listing = thread::start_in(scope, || copies::list(store));
            let noted = self.copies(location);
            let listed = match listing.map(|listing| listing.join()) {
                Ok(Ok(listed)) => listed,
                Ok(Err(_)) => Err(Error::new(Code::Store, "a thread that listed it failed")),
                Err(_) => copies::list(store),
            };
            (listed, noted)
        });
        Ok((listed?, noted?))
    }

    /// Reads these manifests and adds them to `synced`.
    fn read(
        &self,
        store: &OpenStore,
        location: String,
        new: Vec<(PointId, Listed)>,
        synced: Synced,
    ) -> Result<Synced> {
        let mut reading = Reading {
            catalog: self,
            location,
            synced,
            batch: Vec::new(),
        };
        let readers = store.readers();
        let store = store.clone();
        let read = move |(point, listed): (PointId, Listed)| {
            let read = copies::read_listed(&store, &point, listed.sizes);
            (point, read)
        };
        pool::each(readers, new, read, |(point, read)| {
            reading.take(point, read)
        })?;
        reading.finish()
    }
}

/// Manifests that are being read.
struct Reading<'a> {
    catalog: &'a Catalog,
    location: String,
    synced: Synced,
    /// Manifests that are not noted yet.
    batch: Vec<(StoredManifest, PointCopy)>,
}

impl Reading<'_> {
    fn take(&mut self, point: PointId, read: Result<(StoredManifest, PointCopy)>) -> Result<()> {
        match read {
            Ok(read) => self.batch.push(read),
            Err(error) => {
                if shows_loss(&error) {
                    self.catalog.drop_notes(&self.location, [&point])?;
                    self.synced.copies.remove(&point);
                }
                self.synced.errors.insert(point, error);
            }
        }
        match self.batch.len() < BATCH_MANIFESTS {
            true => Ok(()),
            false => self.note_batch(),
        }
    }

    fn note_batch(&mut self) -> Result<()> {
        let (batch, location) = (std::mem::take(&mut self.batch), &self.location);
        self.catalog.write(|c| {
            let mut read = batch.iter();
            read.try_for_each(|(stored, copy)| index(c, location, stored, copy))
        })?;
        let copies = batch.into_iter().map(|(_, copy)| copy);
        let by_point = copies.map(|copy| (copy.manifest.point.clone(), copy));
        self.synced.copies.extend(by_point);
        Ok(())
    }

    fn finish(mut self) -> Result<Synced> {
        if !self.batch.is_empty() {
            self.note_batch()?;
        }
        Ok(self.synced)
    }
}

/// Returns whether an error shows that a document is gone or changed, rather than that the store
/// could not be read.
pub(super) fn shows_loss(error: &Error) -> bool {
    matches!(
        error.code,
        Code::ObjectMissing | Code::ObjectDamaged | Code::Untrusted
    )
}
