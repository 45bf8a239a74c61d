//! Deletes what no rule keeps, in two steps, since readers on other hosts are unseen.
//!
//! First an **intent** announces the points in the store that holds them. From then on they are
//! *leaving*: nobody chooses them by `latest` or `random`, and their keys are not used again. A later
//! run, at least the grace period on, decides anew, deletes what still has to go (the manifest first,
//! then its objects, each only if it is the recorded one), checks that it is gone, and leaves a
//! **tombstone**. Killed anywhere, the next run ends what was begun: the intent holds the manifests.
//!
//! Nothing is deleted of other applications, of unknown signers or of plans that the configuration
//! does not have, and nothing at all where a pin or a manifest of the store cannot be read.

mod delete;
mod lock;
mod machines;
mod report;
mod simulate;
mod step;

pub use machines::{MachinePruned, SnapshotPruned};
pub use report::{Fate, PrunedPoint, Report, StorePruned};
pub use simulate::{Aged, Amount, Simulated, SimulatedStore, simulate};

use crate::backup::choose_plan;
use crate::config::PrunedBy;
use crate::context::Context;
use crate::error::{Code, Error, Fact, Result};
use crate::evidence;
use crate::kept::{self, Judged, Proofs};
use crate::lease;
use crate::name::Name;
use crate::point::PointId;
use crate::retention::{self, Decision, Excess, Reason};
use crate::stores::OpenStore;
use crate::survey::{self, Survey};
use crate::wrong_clock;
use jiff::Timestamp;
use std::collections::BTreeSet;
use step::Step;

/// What is pruned.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The plan whose points are looked at; all plans if absent.
    pub plan: Option<String>,
    /// The store that is looked at; all stores if absent.
    pub store: Option<String>,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
    /// Goes beyond `prune_limit`.
    pub beyond_limit: bool,
    /// When the oldest job of this host began that is reading points now. What was announced later
    /// is not deleted while it runs.
    pub reading_since: Option<Timestamp>,
}

/// Decides about the points of each store, and carries it out unless it is a dry run. Fails if
/// nothing could be begun; what goes wrong in a store is in the report.
pub fn run(context: &Context, options: &Options) -> Result<Report> {
    wrong_clock::check_clock(context.clock.now())?;
    if let Some(plan) = &options.plan {
        choose_plan(&context.config, Some(plan))?;
    }
    if let Some(store) = &options.store {
        context.stores.open(store)?;
    }
    let survey = survey::survey(context, false)?;
    let (listed, unread) = evidence::list(context)?;
    let proofs = Proofs::of(&listed, context.clock.now());
    let mut judged = kept::judge(context, &survey, &proofs);
    judged.retain(|judged| {
        let plan = options.plan.as_ref();
        plan.is_none_or(|plan| judged.plan == *plan)
    });
    let mut report = Report::new(options.dry_run);
    report.machines = machines::prune(context, options, &survey, &mut judged, &unread);
    for store in context.config.store.keys() {
        if options.store.as_ref().is_some_and(|only| store != only) {
            continue;
        }
        let (here, rest): (Vec<_>, Vec<_>) = judged.into_iter().partition(|j| j.store == *store);
        judged = rest;
        let mut pruned = StorePruned::new(store);
        let done = prune_store(context, options, &survey, here, &unread, &mut pruned);
        pruned.errors.extend(done.err());
        // Those of a plan whose snapshots could not be deleted are left alone, and nobody else's.
        let stuck = report
            .machines
            .iter()
            .filter(|machine| machine.error.is_some());
        let stuck: BTreeSet<&Name> = stuck.map(|machine| &machine.plan).collect();
        let copies = survey.copies.iter().filter(|(at, _)| at == store);
        let waiting = copies.filter(|(_, copy)| stuck.contains(&copy.manifest.plan));
        pruned.others = pruned.others.saturating_sub(waiting.count());
        report.stores.push(pruned);
    }
    Ok(report)
}

fn prune_store(
    context: &Context,
    options: &Options,
    survey: &Survey,
    mut judged: Vec<Judged<'_>>,
    unread: &[Error],
    pruned: &mut StorePruned,
) -> Result<()> {
    let name = &pruned.store.clone();
    if let Some(error) = survey.unasked(name) {
        return Err(error.clone());
    }
    let store = context.stores.open(name)?;
    pruned.elsewhere = store.config.pruned_by == PrunedBy::Elsewhere;
    let set_aside = match pruned.elsewhere {
        true => Ok(()),
        false => set_broken_aside(context, &store, &mut judged, pruned),
    };
    if !options.dry_run {
        // What stays must be locked in time, whatever forbids to delete the rest.
        match lock::extend(context, &store, &judged) {
            Ok(locks) => pruned.locks = locks,
            Err(error) => pruned.errors.push(error),
        }
    }
    if pruned.elsewhere {
        return Ok(());
    }
    set_aside?;
    lock::wait(context, &store, survey, &mut judged)?;
    pruned.list(&judged, options.dry_run);
    pruned.others = others(survey, name, &judged, options);
    if judged
        .iter()
        .all(|judged| judged.rules_are_forever(context))
    {
        return Ok(());
    }
    let refused = refuse(context, survey, name, unread).and_then(|()| {
        let mut judged = judged.iter();
        judged.try_for_each(|judged| refuse_excess(context, options, judged))
    });
    if refused.is_err() {
        pruned.nothing_done();
    }
    refused?;
    if options.dry_run {
        return Ok(());
    }
    let lease = match lease::take(context, &store, LEASE, "prune") {
        Ok(lease) => Some(lease),
        // What was announced can still go, and makes room.
        Err(error) if error.fact == Some(Fact::Full) => None,
        Err(error) => return Err(error),
    };
    let step = Step {
        context,
        store: &store,
        survey,
        judged: &judged,
        reading_since: options.reading_since,
        whole: options.plan.is_none(),
    };
    let done = step.run(pruned);
    drop(lease);
    done
}

/// Name of the lease of a prune: no plan has a name with this character.
const LEASE: &str = "+prune";

/// Looks whether the sound points whose places would cost others theirs are really there: a copy of
/// which an object is missing, or has another size, is not sound, and stays until it is healed.
fn set_broken_aside(
    context: &Context,
    store: &OpenStore,
    judged: &mut [Judged<'_>],
    pruned: &mut StorePruned,
) -> Result<()> {
    let mut looked = delete::Looked::default();
    for judged in judged {
        let Some(rules) = kept::rules(context, &judged.plan, &judged.store) else {
            continue;
        };
        let goes = |decision: &Decision| !matches!(decision, Decision::Keep(_));
        // What takes the place of a broken one is looked at in its turn.
        while judged.decisions.iter().any(goes) {
            let mut broken = false;
            let decided = judged.held.iter_mut().zip(&judged.decisions);
            for ((held, decision), copy) in decided.zip(&judged.copies) {
                if held.sound
                    && !goes(decision)
                    && let Some(lacks) = looked.lack(store, &copy.manifest)?
                {
                    held.sound = false;
                    held.always.push(Reason::NotWhole);
                    broken = true;
                    pruned
                        .errors
                        .push(broken_copy(&judged.store, &held.point, &lacks));
                }
            }
            if !broken {
                break;
            }
            let now = context.clock.now();
            judged.decisions = retention::decide(&judged.held, &rules, now);
        }
    }
    Ok(())
}

fn broken_copy(store: &Name, point: &PointId, lacks: &str) -> Error {
    let message = format!("the copy of {point} in store {store} is not whole: {lacks}");
    Error::new(Code::ObjectMissing, message).hint(format!(
        "it takes no other point's place; see how it is (lifeboat verify {point}), and heal it: lifeboat copy {point} --to {store}"
    ))
}

/// Number of copies in a store that no rule is about: of plans that the configuration does not have,
/// or of signers who are not trusted.
fn others(survey: &Survey, store: &Name, judged: &[Judged<'_>], options: &Options) -> usize {
    let here = survey.copies.iter().filter(|(name, _)| name == store);
    let here = here.filter(|(_, copy)| {
        let plan = options.plan.as_ref();
        plan.is_none_or(|plan| copy.manifest.plan == *plan)
    });
    let known: usize = judged.iter().map(|judged| judged.held.len()).sum();
    here.count().saturating_sub(known)
}

impl Judged<'_> {
    fn rules_are_forever(&self, context: &Context) -> bool {
        let rules = kept::rules(context, &self.plan, &self.store);
        let forever = rules.is_none_or(|rules| rules.rules.is_none());
        forever && self.held.iter().all(|held| held.leaving.is_none())
    }
}

/// Refuses to delete anything in a store where it cannot be known what has to stay.
fn refuse(context: &Context, survey: &Survey, store: &Name, unread: &[Error]) -> Result<()> {
    let stays = |error: &Error| Error {
        message: format!("nothing is deleted in store {store}: {}", error.message),
        ..error.clone()
    };
    let of_store = survey.unread.iter().filter(|unread| unread.store == *store);
    if let Some(unread) = of_store.into_iter().next() {
        return Err(stays(&unread.error));
    }
    if let Some(marks) = survey.marks.get(store)
        && let Some(error) = marks.unlisted.first()
    {
        return Err(stays(error));
    }
    if let Some(lost) = survey.missing.first() {
        let hint = survey.missing_hint(&lost.store, &lost.copy.manifest.point);
        let error = Error::new(Code::ObjectMissing, lost.text());
        return Err(stays(&error.hint(hint)));
    }
    // A drill may have proved a point that only the evidence of another store tells.
    if let Some(error) = unread.first() {
        return Err(stays(error));
    }
    let ahead: BTreeSet<_> = survey.ahead(context);
    if let Some(point) = ahead.into_iter().next() {
        let text = wrong_clock::ahead(&point, context.clock.now());
        return Err(stays(
            &Error::new(Code::Clock, text).hint(wrong_clock::AHEAD_HINT),
        ));
    }
    Ok(())
}

fn refuse_excess(context: &Context, options: &Options, judged: &Judged<'_>) -> Result<()> {
    let plan = context.config.plan.get(&judged.plan);
    let Some(plan) = plan.filter(|_| !options.beyond_limit) else {
        return Ok(());
    };
    let limit = plan.prune_limit;
    let Some(Excess { going, of }) = retention::excess(&judged.held, &judged.decisions, limit)
    else {
        return Ok(());
    };
    let (plan, store) = (&judged.plan, &judged.store);
    let message = format!(
        "{going} of {of} points of plan {plan} in store {store} would go, which is more than prune_limit = {limit}: nothing is deleted there"
    );
    let hint = format!(
        "see which (lifeboat prune {plan} --store {store} --dry-run); if that is right: lifeboat prune {plan} --store {store} --yes"
    );
    Err(Error::new(Code::NeedsConfirmation, message).hint(hint))
}
