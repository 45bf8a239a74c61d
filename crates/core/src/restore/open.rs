//! Live restores that are open: interrupted, or over with what was live before still kept. Lists them, goes on with
//! one, takes one back, and lets go of what one keeps.

use super::carry_out::{Restoring, run_commands};
use super::journal::{self, Journal, Kept};
use super::leftovers;
use super::live::{self, Report, Target};
use super::swap::{Done, Swapped};
use super::writes;
use crate::config::Config;
use crate::context::Context;
use crate::copies::manifest_sha256;
use crate::error::{Code, Error, Result};
use crate::evidence::{self, Activity, Record, Verdict};
use crate::fetch::{self, Fetched};
use crate::name::Name;
use crate::point::PointId;
use crate::probe::{CheckOutcome, CheckResult, Subject};
use crate::restoring::{self, Restore, Stage};
use crate::staging;
use jiff::Timestamp;
use serde::Serialize;
use std::fs::File;
use std::time::Instant;

/// What an open restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A process is at work on it.
    Running,
    /// It ended before anything live was touched.
    Ended,
    /// It ended while something of it was live.
    Interrupted,
    /// It is over, and what was live before is kept.
    Kept,
    /// It is over, and what was live before is removed in part.
    Closing,
}

/// An open restore.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    /// Its id.
    pub id: PointId,
    /// What it is.
    pub state: State,
    /// When it began.
    pub begun: Timestamp,
    /// When it was over.
    pub ended: Option<Timestamp>,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// The points.
    pub points: Vec<PointId>,
    /// The sources.
    pub sources: Vec<Name>,
    /// Where what was live before is kept, a line each.
    pub kept: Vec<String>,
    /// Its evidence, once there is some.
    pub evidence: Option<PointId>,
}

impl Open {
    fn of(journal: &Journal) -> Self {
        let made = journal.swaps.iter().filter(|swap| swap.done != Done::Not);
        let kept = made.filter_map(|swap| Some(format!("{}: {}", swap.source, swap.keeps()?)));
        Open {
            id: journal.restore.id.clone(),
            state: match journal.restore.stage {
                _ if journal.restore.is_running() => State::Running,
                Stage::Kept => State::Kept,
                Stage::Closing => State::Closing,
                Stage::Placing => State::Ended,
                Stage::Swapping | Stage::Swapped | Stage::Undoing => State::Interrupted,
            },
            begun: journal.restore.begun,
            ended: journal.restore.ended,
            by: journal.restore.by.clone(),
            reason: journal.restore.reason.clone(),
            points: journal.points.iter().map(|one| one.point.clone()).collect(),
            sources: journal.restore.sources.clone(),
            kept: kept.collect(),
            evidence: journal.evidence.clone(),
        }
    }
}

/// The open restores of this host, the oldest first.
pub fn list(context: &Context) -> Result<Vec<Open>> {
    let all: Vec<Journal> = restoring::all(&context.state)?;
    Ok(all.iter().map(Open::of).collect())
}

/// What undoing or finishing a restore came to.
#[derive(Debug, Clone, Serialize)]
pub struct Closed {
    /// The restore.
    pub id: PointId,
    /// What was done, a line each.
    pub steps: Vec<String>,
    /// What could not be done.
    pub warnings: Vec<String>,
    /// The evidence of it.
    pub evidence: Option<PointId>,
}

/// Takes the lock of restores.
pub(super) fn alone(context: &Context) -> Result<File> {
    if let Some(lock) = context.state.lock("restore")? {
        return Ok(lock);
    }
    let all: Vec<Restore> = restoring::all(&context.state)?;
    let running = all.iter().find(|restore| restore.is_running());
    Err(running.map_or_else(
        || Error::new(Code::Busy, "a restore is running").hint("wait until it has ended"),
        Restore::at_work,
    ))
}

/// Fails unless `confirm` names the application. `what` tells what the command would do, a line each.
pub(super) fn confirmed(
    config: &Config,
    confirm: Option<&str>,
    command: &str,
    what: impl FnOnce() -> Vec<String>,
) -> Result<()> {
    let expected = format!("{}/{}", config.app.name, config.app.environment);
    let needs = |message: String| {
        Error::new(Code::NeedsConfirmation, message)
            .hint(format!("lifeboat {command} --confirm {expected}"))
    };
    match confirm {
        Some(given) if given == expected => Ok(()),
        Some(given) => Err(needs(format!(
            "--confirm says {given}, this configuration is of {expected}"
        ))),
        None => {
            let nothing = needs("nothing was done without --confirm".to_owned());
            Err(nothing.cause(what().join("; ")))
        }
    }
}

/// Takes a restore back: what was live before is live again. `confirm` is `APP/ENVIRONMENT`; without it, fails with
/// what would be done and what was written since.
pub fn undo(
    context: &Context,
    id: &str,
    confirm: Option<&str>,
    reason: Option<&str>,
) -> Result<Closed> {
    let _restore = alone(context)?;
    let mut journal = journal::named(&context.state, id)?;
    refuse_half_removed(&journal.restore)?;
    refuse_before_later(context, &journal.restore)?;
    let command = format!("restores undo {}", journal.restore.id);
    confirmed(&context.config, confirm, &command, || {
        would_undo(context, &journal)
    })?;
    if journal.restore.stage == Stage::Placing {
        let warnings = leftovers::clean_up(context)?;
        journal::forget_one(context, &journal)?;
        return Ok(Closed {
            id: journal.restore.id,
            steps: vec!["nothing live was touched".to_owned()],
            warnings,
            evidence: None,
        });
    }
    take_back(context, &mut journal, reason)
}

/// Fails if a part of what was live before may be removed.
fn refuse_half_removed(restore: &Restore) -> Result<()> {
    if restore.stage != Stage::Closing {
        return Ok(());
    }
    let id = &restore.id;
    let message =
        format!("restore {id} cannot be taken back: what was live before is removed in part");
    Err(Error::new(Code::Target, message)
        .hint(format!("remove the rest: lifeboat restores finish {id}")))
}

/// Fails if a later restore of one of its sources is open: what it replaced is what this one restored.
fn refuse_before_later(context: &Context, restore: &Restore) -> Result<()> {
    let all: Vec<Restore> = restoring::all(&context.state)?;
    let mut later = all.iter().filter(|other| {
        let mut sources = other.sources.iter();
        let touched = other.stage != Stage::Placing;
        touched && other.id > restore.id && sources.any(|name| restore.sources.contains(name))
    });
    let Some(last) = later.next_back() else {
        return Ok(());
    };
    let message = format!("restore {} came after {}", last.id, restore.id);
    Err(Error::new(Code::Target, message)
        .cause("it keeps what this one restored")
        .hint(format!(
            "take that one back first, or let it go: lifeboat restores undo {0}, lifeboat restores finish {0}",
            last.id
        )))
}

/// Puts back what was live before a restore, and signs that. The caller holds the lock of restores.
fn take_back(context: &Context, journal: &mut Journal, reason: Option<&str>) -> Result<Closed> {
    let (begun, started) = (Instant::now(), context.clock.now());
    let (mut steps, mut warnings) = (Vec::new(), writes::since(context, journal));
    look_again(context, journal)?;
    journal.restore.take_over()?;
    let restore = &context.config.restore;
    // Where it cannot be stopped nothing was done, and the restore is what it was.
    let done = run_commands(context, &restore.stop).and_then(|()| {
        journal.at(context, Stage::Undoing)?;
        swap_back(context, journal, &mut steps)
    });
    let started_again = run_commands(context, &restore.start);
    let error = done.and(started_again).err();
    let evidence = sign(context, journal, started, begun, reason, error.as_ref())?;
    if let Some(error) = error {
        let id = &journal.restore.id;
        return Err(Error {
            message: format!("restore {id} is not taken back: {}", error.message),
            ..error
        });
    }
    clean(context, journal, &mut warnings);
    journal.forget(&context.state)?;
    Ok(Closed {
        id: journal.restore.id.clone(),
        steps,
        warnings,
        evidence: Some(evidence),
    })
}

/// The restores that were interrupted while something of them was live.
pub(super) fn interrupted(context: &Context) -> Result<Vec<Restore>> {
    let all: Vec<Restore> = restoring::all(&context.state)?;
    Ok(all.into_iter().filter(Restore::is_interrupted).collect())
}

/// Takes back every restore that was interrupted while something of it was live, and forgets those that touched
/// nothing. Returns what was done, a line each. The caller holds the lock of restores.
pub(super) fn take_back_interrupted(context: &Context) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for restore in interrupted(context)?.iter().rev() {
        let mut journal = journal::named(&context.state, restore.id.as_str())?;
        let closed = take_back(context, &mut journal, Some("it was interrupted"))?;
        let id = &closed.id;
        told.push(format!("restore {id} was interrupted, and is taken back"));
        told.extend(closed.steps);
        told.extend(closed.warnings);
    }
    journal::forget_placing(context)?;
    Ok(told)
}

/// What undoing would do, and lose, a line each.
fn would_undo(context: &Context, journal: &Journal) -> Vec<String> {
    let restore = &context.config.restore;
    let run = |words: &Vec<String>| format!("run {}", words.join(" "));
    let mut steps: Vec<String> = restore.stop.iter().map(run).collect();
    let made = journal.swaps.iter().filter(|swap| swap.done != Done::Not);
    steps.extend(made.rev().map(|swap| match swap.keeps() {
        Some(kept) => format!("put back what was live of source {}: {kept}", swap.source),
        None => format!("take away what was restored of source {}", swap.source),
    }));
    steps.extend(restore.start.iter().map(run));
    steps.extend(writes::since(context, journal));
    steps
}

/// Notes what is live and what is kept now, where a swap was made whole. Fails before anything is changed if what was
/// live before is not there any more.
fn look_again(context: &Context, journal: &mut Journal) -> Result<()> {
    let made = journal.swaps.iter_mut();
    for swap in made.filter(|swap| swap.done == Done::Whole) {
        swap.look_again(context).map_err(|error| Error {
            message: format!("source {}: {}", swap.source, error.message),
            ..error
        })?;
    }
    Ok(())
}

fn swap_back(context: &Context, journal: &mut Journal, steps: &mut Vec<String>) -> Result<()> {
    for number in (0..journal.swaps.len()).rev() {
        let Some(swap) = journal.swaps.get(number) else {
            continue;
        };
        let (source, was) = (swap.source.clone(), swap.done);
        let named = |error: Error| Error {
            message: format!("source {source}: {}", error.message),
            ..error
        };
        let found = swap.settle(context).map_err(named)?;
        note(context, journal, number, Done::Begun)?;
        if let Some(swapped) = found {
            swapped.undo(&context.scrubber).map_err(named)?;
        }
        let text = match was {
            Done::Not => "it was not touched",
            Done::Begun | Done::Whole => "what was live before is live again",
        };
        note(context, journal, number, Done::Not)?;
        steps.push(format!("source {source}: {text}"));
    }
    Ok(())
}

fn note(context: &Context, journal: &mut Journal, number: usize, done: Done) -> Result<()> {
    if let Some(swap) = journal.swaps.get_mut(number) {
        swap.done = done;
    }
    journal.write(&context.state)
}

/// Removes what was restored and is not live any more.
fn clean(context: &Context, journal: &Journal, warnings: &mut Vec<String>) {
    for swap in &journal.swaps {
        match swap.prepared(context) {
            Ok(prepared) => {
                let stays = prepared.clean(true, &context.scrubber);
                warnings.extend(stays.iter().map(ToString::to_string));
            }
            Err(error) => warnings.push(error.to_string()),
        }
    }
    staging::remove_empty(&journal.made);
}

/// Signs that a restore was taken back, or was not.
fn sign(
    context: &Context,
    journal: &Journal,
    started: Timestamp,
    begun: Instant,
    reason: Option<&str>,
    error: Option<&Error>,
) -> Result<PointId> {
    let app = &context.config.app;
    let (subject, expected) = (Subject::word("undo"), "what was live before is live again");
    let check = match error {
        Some(error) => CheckResult::failed(subject, expected, error),
        None => CheckResult::new(subject, expected, "it is", CheckOutcome::Passed),
    };
    let said = match reason {
        Some(reason) => format!("restore {} is taken back: {reason}", journal.restore.id),
        None => format!("restore {} is taken back", journal.restore.id),
    };
    let draft = Record {
        reason: Some(said),
        target: Some(format!("live: {}/{}", app.name, app.environment)),
        outcome: match error {
            Some(_) => Verdict::Failed,
            None => Verdict::Restored,
        },
        checks: vec![check],
        rto_seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        // No objective is of this, and it proves nothing of any point.
        rto_target_seconds: None,
        rpo_target_seconds: None,
        ..evidence::draft(context, Activity::Undo, started)
    };
    Ok(evidence::append(context, draft)?.record.id)
}

/// Lets go of what a restore keeps: it cannot be taken back afterwards.
pub fn finish(context: &Context, id: &str, confirm: Option<&str>) -> Result<Closed> {
    let _restore = alone(context)?;
    let mut journal = journal::named(&context.state, id)?;
    let id = journal.restore.id.clone();
    match journal.restore.stage {
        Stage::Kept | Stage::Closing => {}
        Stage::Placing => {
            let hint = format!("remove what it left: lifeboat restores undo {id}");
            let message = format!("restore {id} ended before anything live was touched");
            return Err(Error::new(Code::Usage, message).hint(hint));
        }
        Stage::Swapping | Stage::Swapped | Stage::Undoing => {
            return Err(journal.restore.interrupted());
        }
    }
    confirmed(
        &context.config,
        confirm,
        &format!("restores finish {id}"),
        || {
            let kept = Open::of(&journal).kept.into_iter();
            kept.map(|kept| format!("remove {kept}")).collect()
        },
    )?;
    close(context, &mut journal)
}

/// Lets go of what restores keep whose time is over. Returns what was done, and what could not be, a line each.
pub fn let_go(context: &Context) -> Vec<String> {
    let is_over = |restore: &Restore| {
        let kept = context.config.restore.keep_aside.seconds;
        let is_closed = matches!(restore.stage, Stage::Kept | Stage::Closing);
        let ended = restore.ended.filter(|_| is_closed);
        let seconds = ended.map(|ended| context.clock.now().as_second() - ended.as_second());
        seconds.is_some_and(|seconds| u64::try_from(seconds).is_ok_and(|seconds| seconds >= kept))
    };
    let all = restoring::all::<Restore>(&context.state);
    let told = all.map(|all| {
        let over = all.iter().filter(|restore| is_over(restore));
        let closed = over.map(|restore| {
            let _restore = alone(context)?;
            let mut journal = journal::named(&context.state, restore.id.as_str())?;
            // Somebody may have begun to take it back meanwhile.
            is_over(&journal.restore)
                .then(|| close(context, &mut journal))
                .transpose()
        });
        let told = closed.filter_map(Result::transpose);
        let told = told.map(|closed| match closed {
            Ok(closed) => format!(
                "what was live before restore {} was kept long enough: {}",
                closed.id,
                closed.steps.join("; ")
            ),
            Err(error) => error.with_hint(),
        });
        told.collect()
    });
    told.unwrap_or_else(|error| vec![error.with_hint()])
}

/// Removes what a restore keeps, and its journal.
fn close(context: &Context, journal: &mut Journal) -> Result<Closed> {
    let mut steps = Vec::new();
    journal.at(context, Stage::Closing)?;
    // A name that was free again may be another's by now.
    let all: Vec<Journal> = restoring::all(&context.state)?;
    let others = all
        .iter()
        .filter(|other| other.restore.id != journal.restore.id);
    let theirs: Vec<String> = others
        .flat_map(|other| other.swaps.iter().filter_map(|swap| swap.keeps()))
        .collect();
    for swap in &journal.swaps {
        if let Some(kept) = swap.keeps().filter(|kept| theirs.contains(kept)) {
            steps.push(format!(
                "source {}: {kept} stays, another restore keeps it",
                swap.source
            ));
            continue;
        }
        swap.forget_kept(context).map_err(|error| Error {
            message: format!("source {}: {}", swap.source, error.message),
            ..error
        })?;
        if let Some(kept) = swap.keeps() {
            steps.push(format!("source {}: {kept} is removed", swap.source));
        }
    }
    journal.forget(&context.state)?;
    Ok(Closed {
        id: journal.restore.id.clone(),
        steps,
        warnings: vec![],
        evidence: None,
    })
}

/// Goes on with a restore that was interrupted, from where it was.
pub fn resume(context: &Context, id: &str, confirm: Option<&str>) -> Result<Report> {
    let _restore = alone(context)?;
    let mut journal = journal::named(&context.state, id)?;
    let id = journal.restore.id.clone();
    match journal.restore.stage {
        Stage::Placing | Stage::Swapping | Stage::Swapped => {}
        Stage::Closing => refuse_half_removed(&journal.restore)?,
        Stage::Kept => {
            let message = format!("restore {id} is over");
            return Err(Error::new(Code::Usage, message)
                .hint(format!("take it back: lifeboat restores undo {id}")));
        }
        Stage::Undoing => {
            let message = format!("restore {id} was being taken back");
            return Err(Error::new(Code::Usage, message)
                .hint(format!("go on with that: lifeboat restores undo {id}")));
        }
    }
    let what = match journal.restore.stage {
        Stage::Placing => "place everything again, compare it, and swap it in",
        Stage::Swapping => "swap in what is not live yet, start, and ask the checks",
        _ => "start, and ask the checks",
    };
    let command = format!("restores resume {id}");
    confirmed(&context.config, confirm, &command, || vec![what.to_owned()])?;
    let points = fetched(context, &journal)?;
    let sources: Vec<String> = journal
        .restore
        .sources
        .iter()
        .map(ToString::to_string)
        .collect();
    let wanted = live::choose_sources(&points, &sources)?;
    let mut restoring = Restoring::new(context, &points, wanted);
    let attempt = match journal.restore.stage {
        Stage::Placing => {
            journal.forget(&context.state)?;
            restoring.recover().and_then(|()| {
                restoring.onto_live(journal.restore.reason.clone(), journal.unproven)
            })
        }
        _ => {
            journal.restore.take_over()?;
            journal.write(&context.state)?;
            let swapped = settled(context, &mut journal)?;
            restoring.go_on(journal.clone(), swapped)
        }
    };
    live::concluded(restoring, attempt, &Target::Live, journal.restore.reason)
}

/// The points of a restore, as they were.
fn fetched(context: &Context, journal: &Journal) -> Result<Vec<Fetched>> {
    let points = journal.points.iter().map(|noted| {
        let fetched = fetch::fetch(context, &noted.point, Some(&noted.store))?;
        if manifest_sha256(&fetched.copy) != noted.manifest_sha256 {
            let message = format!(
                "point {} in store {} is not the one that the restore began with",
                noted.point, noted.store
            );
            return Err(Error::new(Code::ObjectDamaged, message).hint(format!(
                "take it back: lifeboat restores undo {}",
                journal.restore.id
            )));
        }
        Ok(fetched)
    });
    points.collect()
}

/// The swaps that were made, each made whole: the first ones. Fails if one that was made is not whole any more.
fn settled(context: &Context, journal: &mut Journal) -> Result<Vec<Swapped>> {
    let mut made = Vec::new();
    for number in 0..journal.swaps.len() {
        let Some(swap) = journal.swaps.get(number) else {
            continue;
        };
        let source = &swap.source;
        let named = |error: Error| Error {
            message: format!("source {source}: {}", error.message),
            ..error
        };
        let found = match swap.done {
            Done::Whole => Some(swap.whole(context).map_err(named)?),
            Done::Not | Done::Begun => swap.settle(context).map_err(named)?,
        };
        if found.is_some() && made.len() < number {
            let message = format!("source {source} is swapped in, and one before it is not");
            let id = &journal.restore.id;
            return Err(Error::new(Code::Target, message).hint(format!(
                "take the restore back: lifeboat restores undo {id}"
            )));
        }
        let done = match found {
            Some(_) => Done::Whole,
            None => Done::Not,
        };
        note(context, journal, number, done)?;
        made.extend(found);
    }
    Ok(made)
}
