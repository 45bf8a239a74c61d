//! A survey: what the stores hold, as far as they answer.

use crate::catalog::memory::Forgotten;
use crate::catalog::{Doubt, Lost};
use crate::clock::is_ahead;
use crate::config::PrunedBy;
use crate::context::Context;
use crate::copies::{PointCopy, manifest_sha256};
use crate::error::{Code, Error, Fact, Result};
use crate::marks::{self, DOUBTFUL, Marks, Pin};
use crate::name::Name;
use crate::point::{Manifest, PointId};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The contents of the stores, as far as they answer.
pub struct Survey {
    /// Every copy of this application's points, with the name of its store.
    pub copies: Vec<(Name, PointCopy)>,
    /// Lost copies of this application's points: they were in a store that answered, are gone from
    /// it, and were not acknowledged as gone.
    pub missing: Vec<Lost>,
    /// Points that were disowned.
    pub disowned: BTreeSet<PointId>,
    /// Copies that each store held and lost, and that were acknowledged as gone.
    pub given_up: BTreeMap<Name, BTreeSet<PointId>>,
    /// Copies that this host read and found damaged, by store.
    pub damaged: BTreeMap<Name, BTreeMap<PointId, Doubt>>,
    /// The marks in each store; of one that did not answer, those that it had when it was asked last.
    pub marks: BTreeMap<Name, Marks>,
    /// Stores and manifests that could not be read.
    pub unread: Vec<Unread>,
}

/// A store or a manifest that could not be read.
pub struct Unread {
    /// The store.
    pub store: Name,
    /// The point whose manifest could not be read; `None` for the whole store.
    pub point: Option<PointId>,
    /// The error.
    pub error: Error,
}

/// Where others delete, nothing that was announced before is carried out any more. Returns whether they
/// do.
fn forget_intents(context: &Context, store: &Name, marks: &mut Marks) -> bool {
    let config = context.config.store.get(store);
    let elsewhere = config.is_some_and(|config| config.pruned_by == PrunedBy::Elsewhere);
    if elsewhere {
        marks.intents.clear();
    }
    elsewhere
}

impl Survey {
    /// What a store that does not answer held when it was asked last. What was said of its points
    /// then is added.
    fn noted(&mut self, context: &Context, store: &Name, location: &str) -> Result<Vec<PointCopy>> {
        let mut marks = marks::noted(context, store, location);
        forget_intents(context, store, &mut marks);
        self.marks.insert(store.clone(), marks);
        context.state.catalog.copies(location)
    }

    /// Adds what this host alone knows of the copies of a store.
    fn remember(&mut self, context: &Context, store: &Name, location: &str) -> Result<()> {
        let catalog = &context.state.catalog;
        let (damaged, given_up) = (catalog.doubts(location)?, catalog.given_up(location)?);
        self.damaged.insert(store.clone(), damaged);
        self.given_up.insert(store.clone(), given_up);
        Ok(())
    }

    /// The error of a store that could not be asked; `None` if it answered.
    pub fn unasked(&self, store: &str) -> Option<&Error> {
        let mut unasked = self.unread.iter().filter(|u| u.point.is_none());
        unasked.find(|u| u.store == store).map(|u| &u.error)
    }

    /// Returns whether this host found a copy damaged when it read it last.
    pub fn is_damaged(&self, store: &Name, point: &PointId) -> bool {
        let damaged = self.damaged.get(store);
        damaged.is_some_and(|damaged| damaged.contains_key(point))
    }

    /// The reason for which a point is pinned; `None` if it is not. What was said last counts, in
    /// whatever store.
    pub fn pinned(&self, point: &PointId) -> Option<&str> {
        let mut marks = self.marks.values();
        if marks.any(|marks| marks.doubtful.contains(point)) {
            return Some(DOUBTFUL);
        }
        let last = self.last_pin(point).filter(|pin| pin.pinned);
        last.map(|pin| pin.reason.as_str())
    }

    /// When a pin was taken off a point; `None` if that was not said last of it.
    pub fn unpinned_at(&self, point: &PointId) -> Option<Timestamp> {
        let last = self.last_pin(point).filter(|pin| !pin.pinned);
        last.map(|pin| pin.header.at)
    }

    /// What was said last of a point, in whatever store.
    pub fn last_pin(&self, point: &PointId) -> Option<&Pin> {
        let said = self
            .marks
            .values()
            .filter_map(|marks| marks.pins.get(point));
        said.max_by_key(|pin| pin.said())
    }

    /// When it was announced that a copy goes; `None` if it was not.
    pub fn leaving(&self, store: &Name, copy: &PointCopy) -> Option<Timestamp> {
        let marks = self.marks.get(store)?;
        marks.leaving(&copy.manifest.point, &manifest_sha256(copy))
    }

    /// Completes an error that says that there is no such point: adds that some stores were not
    /// read, if that is so.
    pub fn as_far_as_read(&self, error: Error, store: Option<&str>) -> Error {
        let mut unread = self.unread.iter();
        let first = unread.find(|u| store.is_none_or(|s| u.store == s));
        let Some(Unread { error: first, .. }) = first else {
            return error;
        };
        Error {
            code: first.code,
            message: format!("{}, as far as the stores could be read", error.message),
            hint: first.hint.clone(),
            ..error
        }
        .cause(first)
    }

    /// The error for a point that the rules deleted, by its id or the beginning of it; `None` if
    /// there was none.
    pub fn pruned(&self, prefix: &str, store: Option<&str>) -> Option<Error> {
        let asked = |name: &Name| store.is_none_or(|store| name == store);
        let marks = self.marks.iter().filter(|(name, _)| asked(name));
        let gone = marks.flat_map(|(name, marks)| {
            let gone = marks.pruned.values();
            gone.map(move |gone| (name, gone))
        });
        let mut fitting = gone.filter(|(_, gone)| gone.point.as_str().starts_with(prefix));
        let (store, gone) = fitting.next().filter(|_| !prefix.is_empty())?;
        let point = &gone.point;
        let message = format!("point {point} was deleted from store {store}: {}", gone.why);
        Some(Error::new(Code::PointUnknown, message).hint(format!(
            "run `lifeboat points` to see what is there; where store {store} keeps versions, `--as-of TIME` reads what stood there before"
        )))
    }

    /// Points that a trusted signer signed, that are dated in the future, and that were not
    /// disowned.
    pub fn ahead(&self, context: &Context) -> BTreeSet<PointId> {
        let now = context.clock.now();
        let ahead = self.copies.iter().filter(|(_, copy)| {
            let point = &copy.manifest.point;
            is_ahead(point.time(), now)
                && !self.disowned.contains(point)
                && copy.check_trust(&context.trusted).is_ok()
        });
        ahead.map(|(_, c)| c.manifest.point.clone()).collect()
    }

    /// The hint for a copy that is missing in a store.
    pub fn missing_hint(&self, store: &str, point: &PointId) -> String {
        match self.copies.iter().any(|(_, c)| &c.manifest.point == point) {
            true => format!("heal it: lifeboat copy {point} --to {store}"),
            false => format!(
                "find out who deleted or changed it, and whether the store was rolled back; if it may be gone: lifeboat points --forget {point} --reason TEXT"
            ),
        }
    }
}

/// Asks every store for its points; for those that stood there at a time, every store that keeps
/// versions. A store that cannot be reached contributes what the catalog
/// noted before, and is listed in `unread`. With `rescan`, every manifest is read again.
pub fn survey(context: &Context, rescan: bool) -> Result<Survey> {
    let mut survey = Survey {
        copies: Vec::new(),
        missing: Vec::new(),
        disowned: context.state.catalog.disowned()?,
        given_up: BTreeMap::new(),
        damaged: BTreeMap::new(),
        marks: BTreeMap::new(),
        unread: Vec::new(),
    };
    for name in context.config.store.keys() {
        let unread = |point, error| Unread {
            store: name.clone(),
            point,
            error,
        };
        let store = match context.stores.open(name) {
            Ok(store) => store,
            // What is told of the past is told without it.
            Err(error) if error.fact == Some(Fact::WithoutVersions) && !context.is_cold() => {
                continue;
            }
            Err(error) => {
                survey.unread.push(unread(None, error));
                if let Some(location) = place_of(context, name)? {
                    survey.remember(context, name, &location)?;
                    let noted = survey.noted(context, name, &location)?.into_iter();
                    survey.copies.extend(noted.map(|copy| (name.clone(), copy)));
                }
                continue;
            }
        };
        let catalog = &context.state.catalog;
        catalog.note_place(&store.config, &store.store.location())?;
        let copies = match catalog.sync_points(&store, rescan) {
            Ok(mut synced) => {
                let mut marks = marks::read(context, &store);
                let elsewhere = forget_intents(context, name, &mut marks);
                let explained = |point: &PointId| elsewhere || marks.explains(point);
                let lost = catalog.lost(&context.trusted, &store, &mut synced, &explained)?;
                survey.missing.extend(lost);
                let errors = synced.errors.into_iter();
                // A prune deleted it after the listing.
                let errors = errors.filter(|(point, error)| {
                    error.code != Code::ObjectMissing || !marks.explains(point)
                });
                survey
                    .unread
                    .extend(errors.map(|(p, e)| unread(Some(p), e)));
                survey.marks.insert(name.clone(), marks);
                synced.copies.into_values().collect()
            }
            Err(error) => {
                let message = format!("store {name} cannot be asked: {}", error.message);
                survey.unread.push(unread(None, Error { message, ..error }));
                survey.noted(context, name, &store.store.location())?
            }
        };
        // Doubts about copies that were put anew ended with the listing.
        survey.remember(context, name, &store.store.location())?;
        survey
            .copies
            .extend(copies.into_iter().map(|copy| (name.clone(), copy)));
    }
    if context.is_passing() {
        // Nothing is known here of the other stores that should have a copy, and nothing can be
        // done about the copies that were missing once.
        for (name, copy) in &mut survey.copies {
            copy.manifest.stores = vec![name.clone()];
        }
    }
    if context.shows_every_app() {
        return Ok(survey);
    }
    let app = &context.config.app;
    let is_ours = |m: &Manifest| m.app == app.name && m.environment == app.environment;
    survey.copies.retain(|(_, copy)| is_ours(&copy.manifest));
    survey.missing.retain(|lost| is_ours(&lost.copy.manifest));
    Ok(survey)
}

/// The location of a store that cannot be opened now, if it was open once.
fn place_of(context: &Context, store: &Name) -> Result<Option<String>> {
    let config = context.config.store.get(store);
    let place = config.map(|config| context.state.catalog.place(config));
    Ok(place.transpose()?.flatten())
}

/// The stores that should hold a copy of a point and do not, according to the known manifests.
pub fn missing_copies(found: &[(Name, PointCopy)]) -> BTreeMap<PointId, Vec<Name>> {
    let mut held: BTreeMap<PointId, (BTreeSet<Name>, BTreeSet<Name>)> = BTreeMap::new();
    for (store, copy) in found {
        let entry = held.entry(copy.manifest.point.clone()).or_default();
        entry.0.insert(store.clone());
        entry.1.extend(copy.manifest.stores.iter().cloned());
    }
    held.into_iter()
        .map(|(point, (have, want))| (point, want.difference(&have).cloned().collect()))
        .collect()
}

/// Acknowledges that missing points are gone, and disowns those dated in the future. If any of the
/// points is where it should be, fails and forgets none.
pub fn forget(
    context: &Context,
    ids: &[String],
    reason: &str,
) -> Result<Vec<(PointId, Forgotten)>> {
    if reason.trim().is_empty() {
        return Err(Error::new(Code::Usage, "forgetting a point needs a reason")
            .hint("add --reason TEXT; it is kept in the catalog"));
    }
    let survey = survey(context, false)?;
    let now = context.clock.now();
    let named = ids.iter().map(|id| named(&survey, id, now));
    let named = named.collect::<Result<Vec<_>>>()?;
    for (point, what) in &named {
        context.state.catalog.forget(*what, point, reason, now)?;
    }
    Ok(named)
}

/// The point that an id or its prefix names, and the effect of forgetting it.
fn named(survey: &Survey, id: &str, now: Timestamp) -> Result<(PointId, Forgotten)> {
    let lost = survey.missing.iter().map(|lost| &lost.copy);
    let known = survey.copies.iter().map(|(_, copy)| copy).chain(lost);
    let fitting: BTreeSet<&PointId> = known
        .map(|copy| &copy.manifest.point)
        .filter(|point| !id.is_empty() && point.as_str().starts_with(id))
        .collect();
    let mut fitting = fitting.into_iter();
    let (Some(point), None) = (fitting.next(), fitting.next()) else {
        let message = format!("{id:?} is the id of no point, or begins several");
        return Err(Error::new(Code::PointUnknown, message)
            .hint("run `lifeboat points`, and give the whole id"));
    };
    let is_missing = survey
        .missing
        .iter()
        .any(|lost| &lost.copy.manifest.point == point);
    match (is_missing, is_ahead(point.time(), now)) {
        (true, _) => Ok((point.clone(), Forgotten::Missing)),
        (false, true) => Ok((point.clone(), Forgotten::Disowned)),
        (false, false) => {
            let message =
                format!("point {point} is where it should be: there is nothing to forget");
            Err(Error::new(Code::Usage, message)
                .hint("only points that are missing, or dated in the future, can be forgotten"))
        }
    }
}
