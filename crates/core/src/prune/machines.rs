//! Deletes snapshots at their keepers that nothing keeps: only those that a point of this application
//! names, before the last copy of that point goes.

use super::Options;
use crate::cancel;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::kept::Judged;
use crate::machines::{self, Keepers, Named};
use crate::name::Name;
use crate::point::{External, PointId};
use crate::source::machine::Snapshot;
use crate::survey::Survey;
use crate::wrong_clock;
use serde::Serialize;
use std::collections::BTreeSet;

/// What was decided about the snapshots of a machine, and done.
#[derive(Debug, Clone, Serialize)]
pub struct MachinePruned {
    /// The source.
    pub source: Name,
    /// The plan of its points.
    pub plan: Name,
    /// Snapshots that stay.
    pub kept: usize,
    /// Snapshots that were deleted, or would be.
    pub deleted: Vec<SnapshotPruned>,
    /// Snapshots of the machine that no point names. They are left alone.
    pub others: usize,
    /// What went wrong.
    pub error: Option<Error>,
}

/// A snapshot that was deleted, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotPruned {
    /// The point that names it.
    pub point: PointId,
    /// Its name.
    pub name: String,
    /// The region that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// Deletes the snapshots of each machine that are not to stay. Points whose snapshots could not be
/// deleted are taken out of what is decided, so that somebody still names them.
pub(super) fn prune(
    context: &Context,
    options: &Options,
    survey: &Survey,
    judged: &mut Vec<Judged<'_>>,
    unread: &[Error],
) -> Vec<MachinePruned> {
    let is_done = |store: &Name| options.store.as_ref().is_none_or(|only| store == only);
    let named = machines::named(context, judged, &is_done);
    let all: BTreeSet<(&Name, &Name)> = named.iter().map(|n| (&n.plan, &n.source)).collect();
    let mut report = Vec::new();
    let mut failed = BTreeSet::new();
    for (plan, source) in all {
        let own = named
            .iter()
            .filter(|n| (&n.plan, &n.source) == (plan, source));
        let own: Vec<&Named> = own.collect();
        let mut pruned = MachinePruned {
            source: source.clone(),
            plan: plan.clone(),
            kept: own.iter().filter(|named| named.stays).count(),
            deleted: Vec::new(),
            others: 0,
            error: None,
        };
        let done = is_known(context, survey, unread)
            .and_then(|()| delete(context, options, survey, &own, &mut pruned));
        if let Err(error) = done {
            let message = format!("source {source}: {}", error.message);
            pruned.error = Some(Error { message, ..error });
            failed.insert(plan.clone());
        }
        report.push(pruned);
    }
    judged.retain(|judged| !failed.contains(&judged.plan));
    report
}

fn delete(
    context: &Context,
    options: &Options,
    survey: &Survey,
    named: &[&Named],
    pruned: &mut MachinePruned,
) -> Result<()> {
    let config = &context.config;
    let mut keepers = Keepers::default();
    let Some(own) = keepers.of(config, &pruned.source, None) else {
        return Ok(());
    };
    own.there.as_ref().map_err(Error::clone)?;
    let copies_to = own.provider.copies_to().map(str::to_owned);
    // Also those of other plans, and of signers who are not believed.
    let all = survey
        .copies
        .iter()
        .flat_map(|(_, copy)| &copy.manifest.sources);
    let known = all.filter_map(|source| source.external.as_ref());
    let known = known
        .flat_map(External::everywhere)
        .map(|one| one.id.as_str());
    let known: BTreeSet<&str> = known.collect();
    for region in [None].into_iter().chain(copies_to.as_deref().map(Some)) {
        let keeper = keepers.of(config, &pruned.source, region);
        let there = keeper.and_then(|keeper| keeper.there.as_ref().ok());
        let there = there.into_iter().flatten();
        pruned.others += there.filter(|s| !known.contains(s.id.as_str())).count();
    }
    let mut stuck: Vec<Error> = Vec::new();
    let mut deleted: Vec<&External> = Vec::new();
    for named in named.iter().filter(|named| !named.stays) {
        for external in named.external.everywhere() {
            cancel::check()?;
            let region = external.region.as_deref();
            let Some(keeper) = keepers.of(config, &pruned.source, region) else {
                continue;
            };
            // The name as well: an id may be given again.
            let is_it = |s: &&Snapshot| s.id == external.id && s.name == external.name;
            let found = match &keeper.there {
                Ok(there) => there.iter().find(is_it),
                Err(error) => {
                    stuck.push(error.clone());
                    continue;
                }
            };
            let Some(snapshot) = found else {
                continue;
            };
            if !options.dry_run {
                // One that cannot be deleted does not keep the others.
                if let Err(error) = keeper.provider.delete(&snapshot.id) {
                    stuck.push(error);
                    continue;
                }
            }
            deleted.push(external);
            pruned.deleted.push(SnapshotPruned {
                point: named.point.clone(),
                name: external.name.clone(),
                region: external.region.clone(),
            });
        }
    }
    if !options.dry_run {
        stuck.extend(left(context, &pruned.source, &deleted)?);
    }
    let others = stuck.len().saturating_sub(1);
    match (stuck.into_iter().next(), others) {
        (None, _) => Ok(()),
        (Some(error), 0) => Err(error),
        (Some(error), others) => Err(Error {
            message: format!("{} (and {others} more)", error.message),
            ..error
        }),
    }
}

/// Looks whether what was deleted is gone: what says that it did may not have.
fn left(context: &Context, source: &Name, deleted: &[&External]) -> Result<Option<Error>> {
    let mut keepers = Keepers::default();
    for external in deleted {
        let region = external.region.as_deref();
        let Some(keeper) = keepers.of(&context.config, source, region) else {
            continue;
        };
        let there = keeper.there.as_ref().map_err(Error::clone)?;
        if there.iter().any(|snapshot| snapshot.id == external.id) {
            let message = format!("snapshot {} was deleted, and is still there", external.name);
            let error = Error::new(Code::SourceFailed, message);
            return Ok(Some(
                error.hint("it may take a while: the next prune looks again"),
            ));
        }
    }
    Ok(None)
}

/// Refuses to delete anything where not every point is known.
fn is_known(context: &Context, survey: &Survey, unread: &[Error]) -> Result<()> {
    let first = survey
        .unread
        .iter()
        .map(|unread| &unread.error)
        .chain(unread);
    if let Some(error) = first.into_iter().next() {
        let message = format!("no snapshot is deleted: {}", error.message);
        return Err(Error {
            message,
            ..error.clone()
        });
    }
    if let Some(point) = survey.ahead(context).into_iter().next() {
        let text = wrong_clock::ahead(&point, context.clock.now());
        return Err(Error::new(Code::Clock, text).hint(wrong_clock::AHEAD_HINT));
    }
    Ok(())
}
