//! Measures of points, which [`crate::anomaly`] judges.
//!
//! They come from the manifests and from what the catalog noted of the details. Details that it did
//! not note are read where that is cheap and needs nobody: small ones, in clear or with a key that is
//! a file.

use crate::anomaly::{Copy, Measured, POINTS_MAX, measure};
use crate::clock::is_ahead;
use crate::context::Context;
use crate::copies::{self, PointCopy};
use crate::name::Name;
use crate::point::{Details, PointId};
use crate::snapshot;
use crate::stores::OpenStore;
use crate::survey::Survey;
use std::collections::BTreeMap;

/// Largest details that are read for this, in stored bytes.
const DETAILS_BYTES_MAX: u64 = 4 << 20;

/// Measures the newest 15 of these points, given from the newest to the oldest; returns them from
/// the oldest to the newest.
pub fn measured<'p>(
    context: &Context,
    survey: &Survey,
    newest: impl Iterator<Item = &'p PointId>,
) -> Vec<Measured> {
    let mut reader = Reader {
        context,
        gave_up: false,
    };
    let measured = newest.take(POINTS_MAX + 1).map(|point| {
        let copies = survey.copies.iter().filter(|(_, copy)| {
            copy.manifest.point == *point && copy.check_trust(&context.trusted).is_ok()
        });
        let copies: Vec<&(Name, PointCopy)> = copies.collect();
        let answers = |store: &Name| survey.unasked(store).is_none();
        let details = reader.details(&copies, answers);
        let copies = copies.iter();
        let copies = copies.map(|(store, copy)| Copy::of(store, &copy.manifest));
        measure(copies, details.as_ref())
    });
    let mut measured: Vec<Measured> = measured.collect();
    measured.reverse();
    measured
}

/// Copies of the newest complete points of a plan that the catalog noted, at most 14, by ascending
/// point. Nothing is asked of a store.
pub fn noted<'s>(
    context: &Context,
    plan: &Name,
    stores: impl Iterator<Item = &'s OpenStore>,
) -> Noted {
    let catalog = &context.state.catalog;
    let disowned = catalog.disowned().unwrap_or_default();
    let now = context.clock.now();
    let app = &context.config.app;
    let counts = |copy: &PointCopy| {
        let manifest = &copy.manifest;
        (&manifest.app, &manifest.environment) == (&app.name, &app.environment)
            && manifest.plan == *plan
            && manifest.lacks().is_none()
            && !manifest.safety
            && !is_ahead(manifest.point.time(), now)
            && !disowned.contains(&manifest.point)
            && copy.check_trust(&context.trusted).is_ok()
    };
    let mut noted = Noted::new();
    for store in stores {
        let copies = catalog.newest_copies(&store.store.location(), POINTS_MAX, counts);
        for copy in copies.unwrap_or_default() {
            let point = noted.entry(copy.manifest.point.clone()).or_default();
            point.push((store.name.clone(), copy));
        }
    }
    while noted.len() > POINTS_MAX {
        noted.pop_first();
    }
    noted
}

/// Copies of points, with the names of their stores.
pub type Noted = BTreeMap<PointId, Vec<(Name, PointCopy)>>;

/// Measures points whose copies were noted; their details only if they were noted, too.
pub fn measured_of(context: &Context, noted: &Noted) -> Vec<Measured> {
    let measured = noted.iter().map(|(point, copies)| {
        let details = context.state.catalog.outline(point).ok().flatten();
        let copies = copies.iter();
        let copies = copies.map(|(store, copy)| Copy::of(store, &copy.manifest));
        measure(copies, details.as_ref())
    });
    measured.collect()
}

/// Reads details that the catalog did not note.
struct Reader<'a> {
    context: &'a Context,
    /// Set once some could not be read: the others are sealed alike.
    gave_up: bool,
}

impl Reader<'_> {
    /// The details of a point, perhaps without inventories; `None` where they are not known here.
    fn details(
        &mut self,
        copies: &[&(Name, PointCopy)],
        answers: impl Fn(&Name) -> bool,
    ) -> Option<Details> {
        let catalog = &self.context.state.catalog;
        let (_, first) = copies.first()?;
        let noted = catalog.outline(&first.manifest.point).ok().flatten();
        if noted.is_some() || self.gave_up {
            return noted;
        }
        let copies = copies.iter().filter(|(store, _)| answers(store));
        let opened = copies.filter_map(|(name, copy)| {
            let store = self.context.stores.open(name).ok()?;
            is_cheap(&store, copy).then_some((store, copy))
        });
        for (store, copy) in opened {
            if let Ok(details) = copies::read_details(&store, &copy.manifest) {
                // So they are read once.
                let _ = catalog.note_details(&details);
                return Some(details);
            }
            self.gave_up = true;
        }
        None
    }
}

/// Returns whether the details of a copy are small, and can be read without asking anybody.
fn is_cheap(store: &OpenStore, copy: &PointCopy) -> bool {
    let stored = &copy.manifest.details;
    let decrypt = store.config.decrypt.as_ref();
    let opens = match stored.encrypt.as_deref() {
        None => true,
        Some(snapshot::ENCRYPTION) => store.config.is_repository(),
        // `gpg` may ask for a passphrase.
        Some(_) => decrypt.is_some_and(|d| d.gpg.is_none()),
    };
    opens && stored.bytes <= DETAILS_BYTES_MAX
}
