//! What a job does, by its kind, and what it came to.

use super::{failed, history};
use crate::alarm::{Outbox, Outgoing};
use crate::amount;
use crate::backup;
use crate::cancel;
use crate::context::Context;
use crate::copy::{self, Copies};
use crate::drill;
use crate::error::{Code, Error, Result};
use crate::evidence::Verdict;
use crate::history::{Ended, JobKind, JobOutcome};
use crate::host::host;
use crate::lease;
use crate::name::Name;
use crate::point::{Outcome, Selector};
use crate::prune;
use crate::report::{self, Window};
use crate::restore::live;
use crate::status::Due;
use crate::verify::{self, Verified, Which};
use jiff::Timestamp;

/// Age of a time in the schedule up to which a report tells of the period until then.
const DAY_SECONDS: i64 = 86_400;

/// Does what is due. Once nobody else can do it, `now_due` says what is due of it, if anything still
/// is: its time in the schedule may have passed on to the next.
pub(super) fn execute(
    context: &Context,
    due: &Due,
    now_due: impl FnOnce() -> Result<Option<Due>>,
) -> Ended {
    let done = match due.kind {
        JobKind::Backup => backup(context, due, now_due),
        JobKind::Drill => reserved(context, due, now_due, |due| {
            let options = drill::Options {
                drill: Some(due.subject.to_string()),
                ..drill::Options::default()
            };
            drill::run(context, &options).map(|report| of_drill(&report))
        }),
        JobKind::Copy => reserved(context, due, now_due, |due| {
            copy::heal(context, &due.points, &due.subject).map(|copies| of_copy(&copies))
        }),
        JobKind::Verify => verify(context, &due.subject),
        JobKind::Prune => reserved(context, due, now_due, |due| {
            let options = prune::Options {
                plan: Some(due.subject.to_string()),
                reading_since: reading_since(context)?,
                ..prune::Options::default()
            };
            prune::run(context, &options).map(|report| of_prune(&report))
        }),
        JobKind::Report => report(context, due),
        JobKind::Restore => Err(Error::new(Code::Usage, "a restore is never due by itself")),
    };
    done.unwrap_or_else(|error| failed(&cancel::explain(error)))
}

fn nothing_left() -> Ended {
    Ended::of(JobOutcome::NotDue, "it is not due any more")
}

fn backup(
    context: &Context,
    due: &Due,
    now_due: impl FnOnce() -> Result<Option<Due>>,
) -> Result<Ended> {
    let options = backup::Options {
        plan: Some(due.subject.to_string()),
        slot: due.slot,
        ..backup::Options::default()
    };
    let reserved = backup::reserve(context, &options)?;
    match now_due()? {
        Some(due) => Ok(of_backup(&reserved.take_for(due.slot))),
        None => Ok(nothing_left()),
    }
}

/// Runs `work` while no other host does the same. A store that takes no lease, or none that answers,
/// is no reason to leave it.
fn reserved(
    context: &Context,
    due: &Due,
    now_due: impl FnOnce() -> Result<Option<Due>>,
    work: impl FnOnce(&Due) -> Result<Ended>,
) -> Result<Ended> {
    // No plan has a name with this character.
    let name = format!("{}+{}", due.kind.as_str(), due.subject);
    let what = format!("{} of {}", due.kind.as_str(), due.subject);
    let mut lease = None;
    for store in context.config.store.keys() {
        let taken = context
            .stores
            .open(store)
            .and_then(|store| lease::take(context, &store, &name, &what));
        match taken {
            Ok(taken) => {
                lease = Some(taken);
                break;
            }
            Err(error) if error.code == Code::Busy => return Err(error),
            Err(_) => {}
        }
    }
    let ended = match now_due()? {
        Some(due) => work(&due),
        None => Ok(nothing_left()),
    };
    drop(lease);
    ended
}

fn verify(context: &Context, name: &Name) -> Result<Ended> {
    let gone = || {
        Error::new(
            Code::Configuration,
            format!("there is no verification {name}"),
        )
    };
    let config = context.config.verify.get(name).ok_or_else(gone)?;
    let which = match (&config.point, &config.sample) {
        (Some(point), _) => Which::One(Selector::parse(point)?),
        (None, Some(sample)) => {
            let unfit = || Error::new(Code::Configuration, format!("{sample:?} is no share"));
            Which::Sample(amount::share(sample).ok_or_else(unfit)?)
        }
        (None, None) => Which::Newest,
    };
    let verified = verify::run(context, &which, config.store.as_deref())?;
    Ok(of_verify(&verified))
}

/// Writes a report, and puts it into the outbox for each channel that it goes to. One that is there
/// already, since a run was killed before it noted its end, is not put there again.
fn report(context: &Context, due: &Due) -> Result<Ended> {
    let config = &context.config;
    let gone = || {
        let message = format!("there is no report {}", due.subject);
        Error::new(Code::Configuration, message)
    };
    let wanted = config.report.get(&due.subject).ok_or_else(gone)?;
    let now = context.clock.now();
    let window = Window::ending(wanted.period, until(due.slot, now))?;
    let app = &config.app;
    let outbox = Outbox::open(&app.state, &app.name, &app.environment, |text| {
        context.reporter.warn(text);
    })?;
    let jobs = history(context)?.jobs(&app.name, &app.environment)?;
    let report = report::gather(context, jobs, &outbox, &window)?;
    let message = report::message(&report, &due.subject, wanted.format, config.contact_lines())?;
    let outgoing = wanted.to.iter().map(|channel| Outgoing {
        channel: channel.clone(),
        message: message.clone(),
    });
    outbox.post(&outgoing.collect::<Vec<_>>(), now)?;
    let text = format!("sent to {}", amount::count(wanted.to.len(), "channel"));
    Ok(Ended::of(JobOutcome::Done, text))
}

/// The end of the period of a report: the time of its schedule, so that one period follows on the
/// other; now if that is more than a day ago.
fn until(slot: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let is_recent =
        |slot: &Timestamp| *slot <= now && now.as_second() - slot.as_second() <= DAY_SECONDS;
    slot.filter(is_recent).unwrap_or(now)
}

/// When the oldest job of this host began that may be reading points now; `None` if none is.
pub fn reading_since(context: &Context) -> Result<Option<Timestamp>> {
    let app = &context.config.app;
    let jobs = history(context)?.jobs(&app.name, &app.environment)?;
    let reads = |kind: JobKind| match kind {
        JobKind::Restore | JobKind::Drill | JobKind::Verify | JobKind::Copy => true,
        JobKind::Backup | JobKind::Prune | JobKind::Report => false,
    };
    let host = host();
    let reading = jobs.iter().filter(|job| {
        let runs = job.outcome.is_none() && job.host == host && !job.is_abandoned();
        runs && reads(job.kind)
    });
    Ok(reading.map(|job| job.started).min())
}

/// The end of a prune.
pub fn of_prune(report: &prune::Report) -> Ended {
    let mut text = format!(
        "{} deleted, {} announced, {} freed",
        amount::count(report.count(prune::Fate::Deleted), "point"),
        report.count(prune::Fate::Announced),
        amount::bytes(report.freed_bytes()),
    );
    let snapshots: usize = report.machines.iter().map(|m| m.deleted.len()).sum();
    if snapshots > 0 {
        text += &format!(", {} deleted", amount::count(snapshots, "snapshot"));
    }
    for error in report.errors() {
        text += &format!("; {error}");
    }
    Ended::of(report.exit().into(), text)
}

/// The end of a backup.
pub fn of_backup(report: &backup::Report) -> Ended {
    let mut ended = match report.refusal() {
        Some(error) => failed(&error),
        None => {
            let bytes = report.artifacts.iter().map(|artifact| artifact.bytes).sum();
            let mut text = match report.unchanged {
                true => format!("unchanged since {}", report.point),
                false => format!("{}, {}", report.outcome.as_str(), amount::bytes(bytes)),
            };
            for store in &report.missing_copies {
                text += &format!("; store {store} has no copy");
            }
            if let Some(error) = report.errors.first() {
                text += &format!("; {error}");
            }
            Ended::of(report.exit().into(), text)
        }
    };
    let taken = report.outcome != Outcome::Failed && !report.unchanged;
    ended.point = taken.then(|| report.point.clone());
    ended
}

/// The end of a drill.
pub fn of_drill(report: &drill::Report) -> Ended {
    let record = &report.evidence.record;
    let outcome = match record.outcome {
        _ if record.is_whole() => JobOutcome::Done,
        Verdict::Verified => JobOutcome::Done,
        // It was restored, and nobody can tell whether it is the same.
        Verdict::Restored | Verdict::Failed => JobOutcome::NotProved,
        // Something else failed: another attempt may tell.
        Verdict::Unverifiable => JobOutcome::Failed,
        Verdict::Interrupted => JobOutcome::Interrupted,
    };
    let point = record.points.first().map(|point| point.point.clone());
    Ended {
        outcome,
        point,
        message: Some(record.outcome.as_str().to_owned()),
    }
}

/// The end of a restore.
pub fn of_restore(report: &live::Report) -> Ended {
    let record = &report.evidence.record;
    Ended {
        outcome: match record.outcome {
            Verdict::Interrupted => JobOutcome::Interrupted,
            _ => report.exit().into(),
        },
        point: record.points.first().map(|point| point.point.clone()),
        message: Some(record.outcome.as_str().to_owned()),
    }
}

/// The end of a verification.
pub fn of_verify(verified: &Verified) -> Ended {
    let text = match verified.points.len() {
        1 => format!("a point: {}", verified.worst().as_str()),
        count => format!("{count} points: {}", verified.worst().as_str()),
    };
    let mut ended = Ended::of(verified.exit().into(), text);
    if let [only] = verified.points.as_slice() {
        ended.point = Some(only.point.clone());
    }
    ended
}

/// The end of copying.
pub fn of_copy(copies: &Copies) -> Ended {
    let text = match copies.copied.len() {
        1 => "copied a point".to_owned(),
        count => format!("copied {count} points"),
    };
    let mut ended = Ended::of(copies.exit().into(), text);
    if let [only] = copies.copied.as_slice() {
        ended.point = Some(only.point.clone());
    }
    ended
}
