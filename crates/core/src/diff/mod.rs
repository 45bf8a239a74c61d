//! What changed from one restore point to another, by table, file and object.
//!
//! It is read from the details of both points, and nothing of the artifacts is read but the indexes
//! of buckets. Lists of files and objects are walked side by side, so that neither is held whole.

mod content;
mod document;

pub use document::{
    BytesChange, Change, Diff, DiffPoint, DiffSource, Entries, Entry, FilesDiff, Listed,
    ObjectKind, ObjectsDiff, TableChange, TablesDiff, Totals,
};

use crate::clock::is_ahead;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fetch::{self, Fetched};
use crate::name::Name;
use crate::point::{Details, Manifest, OnlyPartial, Outcome, PointId, Selector};
use crate::survey::{Survey, survey};
use std::collections::BTreeSet;

/// Largest number of entries of a list, unless all are asked for.
pub const LISTED_MAX: usize = 20;

/// Which points are compared, and how much is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The earlier point, or whatever is compared with; the complete point of the same plan before
    /// the other one when absent.
    pub before: Option<Selector>,
    /// The other point.
    pub after: Selector,
    /// The store that is read; any that holds a point when absent.
    pub store: Option<String>,
    /// The only sources that are compared; every one when empty.
    pub sources: Vec<String>,
    /// Lists everything.
    pub all: bool,
}

/// A point, with what is known of its content.
struct Side {
    fetched: Fetched,
    details: Details,
    from_catalog: bool,
}

impl Side {
    fn manifest(&self) -> &Manifest {
        &self.fetched.copy.manifest
    }

    /// The sources of which something was captured.
    fn sources(&self) -> BTreeSet<&Name> {
        let sources = self.manifest().sources.iter();
        let captured = sources.filter(|source| source.outcome != Outcome::Failed);
        captured.map(|source| &source.name).collect()
    }

    fn document(&self) -> DiffPoint {
        let manifest = self.manifest();
        DiffPoint {
            point: manifest.point.clone(),
            plan: manifest.plan.clone(),
            started: manifest.started,
            outcome: manifest.outcome,
            store: self.fetched.store.name.clone(),
            from_catalog: self.from_catalog,
        }
    }
}

/// Compares two points.
pub fn diff(context: &Context, options: &Options) -> Result<Diff> {
    let survey = survey(context, false)?;
    let store = options.store.as_deref();
    let choose = |selector: &Selector| {
        fetch::choose_in(context, &survey, selector, &[], store, OnlyPartial::Take)
    };
    let after = choose(&options.after)?;
    let before = match &options.before {
        Some(selector) => choose(selector)?,
        None => previous(context, &survey, &after, store)?,
    };
    let [before, after] = [before, after].map(|point| read(context, &point, store));
    compare(&before?, &after?, options)
}

/// The newest complete point of the same plan before a point.
fn previous(
    context: &Context,
    survey: &Survey,
    point: &PointId,
    store: Option<&str>,
) -> Result<PointId> {
    let manifests = || survey.copies.iter().map(|(_, copy)| &copy.manifest);
    let of = manifests().find(|manifest| manifest.point == *point);
    let now = context.clock.now();
    let earlier = survey.copies.iter().filter(|(name, copy)| {
        let manifest = &copy.manifest;
        let is_like = of.is_some_and(|of| {
            (&of.app, &of.environment, &of.plan)
                == (&manifest.app, &manifest.environment, &manifest.plan)
        });
        is_like
            && store.is_none_or(|store| name == store)
            && manifest.point < *point
            && manifest.lacks().is_none()
            && !manifest.safety
            && !is_ahead(manifest.point.time(), now)
            && !survey.disowned.contains(&manifest.point)
            && copy.check_trust(&context.trusted).is_ok()
    });
    let newest = earlier.map(|(_, copy)| &copy.manifest.point).max();
    newest.cloned().ok_or_else(|| {
        let plan = of.map(|of| format!(" of plan {}", of.plan));
        let plan = plan.unwrap_or_default();
        let message = format!("there is no complete point{plan} before {point}");
        let error = Error::new(Code::PointUnknown, message);
        survey.as_far_as_read(
            error.hint("name both points; `lifeboat points` lists them"),
            store,
        )
    })
}

/// Reads a point and its details: from a store, or else what the catalog noted of them.
fn read(context: &Context, point: &PointId, store: Option<&str>) -> Result<Side> {
    let mut fetched = fetch::fetch(context, point, store)?;
    let unread = || Error::new(Code::Decryption, "its details were not read");
    let read = std::mem::replace(&mut fetched.details, Err(unread()));
    let (details, from_catalog) = match read {
        Ok(details) => (details, false),
        Err(error) => match context.state.catalog.details(point)? {
            Some(noted) => (noted, true),
            None => {
                let message = format!(
                    "what is in {point} is not known here, since store {} did not tell: {}",
                    fetched.store.name, error.message
                );
                return Err(Error { message, ..error });
            }
        },
    };
    Ok(Side {
        fetched,
        details,
        from_catalog,
    })
}

fn compare(before: &Side, after: &Side, options: &Options) -> Result<Diff> {
    let (old, new) = (before.manifest(), after.manifest());
    if (&old.app, &old.environment) != (&new.app, &new.environment) {
        let message = format!(
            "{} is of {}/{}, and {} of {}/{}",
            old.point, old.app, old.environment, new.point, new.app, new.environment
        );
        return Err(Error::new(Code::Usage, message).hint("compare points of one application"));
    }
    let (had, has) = (before.sources(), after.sources());
    let both: BTreeSet<&Name> = had.intersection(&has).copied().collect();
    if both.is_empty() {
        let message = format!("{} and {} have no source in common", old.point, new.point);
        return Err(Error::new(Code::Usage, message)
            .hint("compare points of one plan, or of plans that share sources"));
    }
    let known: BTreeSet<&Name> = had.union(&has).copied().collect();
    for wanted in &options.sources {
        if !known.iter().any(|name| *name == wanted) {
            let message = format!("neither point has a source named {wanted}");
            let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            let hint = format!("they have: {}", known.join(", "));
            return Err(Error::new(Code::Usage, message).hint(hint));
        }
    }
    let is_wanted = |source: &Name| {
        options.sources.is_empty() || options.sources.iter().any(|wanted| source == wanted)
    };
    let only = |one: &BTreeSet<&Name>, other: &BTreeSet<&Name>| {
        let only = one.difference(other).copied();
        only.filter(|name| is_wanted(name)).cloned().collect()
    };
    let most = match options.all {
        true => usize::MAX,
        false => LISTED_MAX,
    };
    let sources = both.iter().filter(|source| is_wanted(source));
    let sources = sources.map(|source| content::source(source, before, after, most));
    Ok(Diff {
        app: new.app.clone(),
        environment: new.environment.clone(),
        before: before.document(),
        after: after.document(),
        only_before: only(&had, &has),
        only_after: only(&has, &had),
        sources: sources.collect(),
    })
}
