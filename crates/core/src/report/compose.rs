//! From facts to the document. Pure.

use super::checklist::checklists;
use super::document::{
    Deleted, DrillProofs, Failure, JobsOfKind, Longest, Next, PlanAge, PlanAnomalies, PointSizes,
    PointsTaken, Proof, Ran, Report, StoreSizes, ToldAlarm, Unproved,
};
use super::{Material, Window};
use crate::evidence::{Activity, Record, Verdict};
use crate::history::{Job, JobOutcome};
use crate::name::Name;
use crate::notify::{Event, Message};
use crate::span::Span;
use crate::status::{
    self, Facts, PlanStatus, Point, Status, Terms, agenda, judge, longest_silence,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Most failures, records of a drill, deleted copies, limits and things due next that are listed.
const FAILURES_MAX: usize = 50;
const RECORDS_MAX: usize = 20;
const DELETED_MAX: usize = 50;
const LIMITS_MAX: usize = 30;
const NEXT_MAX: usize = 20;
/// Age up to which a record covers a source whose drill has no limit of its own.
const PROOF_AGE: Span = Span {
    seconds: 90 * 86_400,
};

/// Removes secrets from a text that came from elsewhere.
pub(super) type Clean<'a> = &'a dyn Fn(&str) -> String;

/// Tells what happened in a period. `clean` removes secrets from text that came from elsewhere.
pub fn report(material: &Material<'_>, window: &Window, clean: Clean<'_>) -> Report {
    let facts = material.facts;
    let terms = Terms::default();
    let status = judge(facts, terms);
    let told = told(material.messages, window, clean);
    let mut report = Report {
        app: facts.app.clone(),
        environment: facts.environment.clone(),
        host: material.host.clone(),
        period: window.period,
        from: window.from,
        until: window.until,
        at: facts.now,
        ran: ran(facts, window, clean),
        drills: drills(&status, material.records, window, clean),
        restores: proofs(material.records, None, window, clean).0,
        unproved: unproved(facts, &status),
        plans: status.plans.iter().map(age).collect(),
        point_sizes: point_sizes(facts, window),
        store_sizes: store_sizes(facts, &status, window, clean),
        anomalies: status.plans.iter().map(anomalies).collect(),
        deleted: deleted(material),
        alarms: material.open.clone(),
        told,
        next: next(facts, terms),
        checklists: Vec::new(),
    };
    for alarm in &mut report.alarms {
        for condition in &mut alarm.conditions {
            condition.text = clean(&condition.text);
            condition.hint = condition.hint.take().map(|hint| clean(&hint));
        }
        if let Some(acknowledged) = &mut alarm.acknowledged {
            acknowledged.reason = clean(&acknowledged.reason);
        }
    }
    report.checklists = checklists(material, &status, &report, window);
    report
}

/// The jobs that ended in the period and did something.
pub(super) fn jobs<'f>(facts: &'f Facts, window: &Window) -> impl Iterator<Item = &'f Job> {
    let window = *window;
    facts.jobs.iter().filter(move |job| {
        let whole = job.outcome.is_some_and(|outcome| !outcome.is_void());
        whole && job.finished.is_some_and(|at| window.has(at))
    })
}

fn ran(facts: &Facts, window: &Window, clean: Clean<'_>) -> Ran {
    let mut kinds = BTreeMap::new();
    let mut failures = Vec::new();
    for job in jobs(facts, window) {
        let (Some(outcome), Some(at)) = (job.outcome, job.finished) else {
            continue;
        };
        let of_kind = kinds.entry(job.kind).or_insert_with(|| JobsOfKind {
            kind: job.kind,
            jobs: 0,
            outcomes: BTreeMap::new(),
            longest: None,
        });
        note(of_kind, job, outcome);
        if outcome != JobOutcome::Done {
            failures.push(Failure {
                job: job.id.clone(),
                kind: job.kind,
                subject: job.subject.clone(),
                at,
                outcome,
                message: job.message.as_deref().map(clean),
            });
        }
    }
    let unlisted = failures.len().saturating_sub(FAILURES_MAX);
    Ran {
        noted_since: facts.jobs.first().map(|job| job.created),
        jobs: kinds.into_values().collect(),
        failures: failures.split_off(unlisted),
        failures_unlisted: unlisted as u64,
        points: facts
            .plans
            .iter()
            .map(|plan| taken(facts, &plan.name, window))
            .collect(),
    }
}

fn note(of_kind: &mut JobsOfKind, job: &Job, outcome: JobOutcome) {
    of_kind.jobs += 1;
    *of_kind.outcomes.entry(outcome.as_str()).or_default() += 1;
    let Some(seconds) = job.seconds() else {
        return;
    };
    let is_longer = |known: &Longest| known.seconds < seconds;
    if of_kind.longest.as_ref().is_none_or(is_longer) {
        of_kind.longest = Some(Longest {
            job: job.id.clone(),
            subject: job.subject.clone(),
            seconds,
        });
    }
}

fn taken(facts: &Facts, plan: &Name, window: &Window) -> PointsTaken {
    let noted: BTreeSet<_> = facts.jobs.iter().filter_map(|j| j.point.as_ref()).collect();
    let points = facts.points.iter();
    let points: Vec<&Point> = points
        .filter(|point| point.plan == *plan && window.has(point.started))
        .collect();
    let complete = || points.iter().filter(|point| point.counts);
    PointsTaken {
        plan: plan.clone(),
        complete: complete().count() as u64,
        others: (points.len() - complete().count()) as u64,
        unnoted: points.iter().filter(|p| !noted.contains(&p.id)).count() as u64,
        newest: complete().next_back().map(|point| point.id.clone()),
        silence: longest_silence(facts, plan, window.from, window.until),
    }
}

fn drills(
    status: &Status,
    records: &[Record],
    window: &Window,
    clean: Clean<'_>,
) -> Vec<DrillProofs> {
    let drills = status.drills.iter().map(|drill| {
        let (records, records_unlisted) = proofs(records, Some(&drill.drill), window, clean);
        DrillProofs {
            drill: drill.drill.clone(),
            standing: drill.standing,
            age_seconds: drill.age_seconds,
            max_age_seconds: drill.max_age_seconds,
            overdue: drill.is_overdue(),
            records,
            records_unlisted,
        }
    });
    drills.collect()
}

/// The records of a drill, or of restores, in the period, and the number of older ones beyond.
fn proofs(
    records: &[Record],
    drill: Option<&Name>,
    window: &Window,
    clean: Clean<'_>,
) -> (Vec<Proof>, u64) {
    let own = records.iter().filter(|record| {
        let is_own = match record.activity {
            Activity::Drill => drill.is_some() && record.drill.as_ref() == drill,
            Activity::Restore | Activity::Undo => drill.is_none(),
        };
        is_own && window.has(record.finished)
    });
    let mut proofs: Vec<Proof> = own.map(|record| proof(record, clean)).collect();
    let unlisted = proofs.len().saturating_sub(RECORDS_MAX);
    (proofs.split_off(unlisted), unlisted as u64)
}

fn proof(record: &Record, clean: Clean<'_>) -> Proof {
    let limits = record.limits();
    let listed = limits.iter().take(LIMITS_MAX).map(|limit| clean(limit));
    Proof {
        evidence: record.id.clone(),
        at: record.finished,
        outcome: record.outcome,
        points: record.points.iter().map(|p| p.point.clone()).collect(),
        rto_seconds: record.rto_seconds,
        rto_target_seconds: record.rto_target_seconds,
        rto_missed: record.missed_rto(),
        limits: listed.collect(),
        limits_unlisted: limits.len().saturating_sub(LIMITS_MAX) as u64,
    }
}

fn unproved(facts: &Facts, status: &Status) -> Unproved {
    let gates = facts.plans.iter();
    let gates = gates.map(|plan| status::gate(facts, Some(&plan.name), PROOF_AGE));
    let uncovered = gates
        .flat_map(|gate| gate.sources)
        .filter(|source| !source.covered);
    let drills = status.drills.iter().filter(|drill| drill.is_overdue());
    let verifications = status
        .verifications
        .iter()
        .filter(|verify| verify.overdue || verify.outcome == Some(JobOutcome::NotProved));
    Unproved {
        sources: uncovered.collect(),
        drills: drills.map(|drill| drill.drill.clone()).collect(),
        verifications: verifications.map(|v| v.verify.clone()).collect(),
    }
}

fn age(plan: &PlanStatus) -> PlanAge {
    PlanAge {
        plan: plan.plan.clone(),
        point: plan.point.clone(),
        age_seconds: plan.age_seconds,
        limit_seconds: plan.limit_seconds,
        freshness: plan.freshness,
    }
}

fn point_sizes(facts: &Facts, window: &Window) -> Vec<PointSizes> {
    let sizes = facts.plans.iter().map(|plan| {
        let sizes = |from: Timestamp, until: Timestamp| {
            let points = facts.points.iter();
            let own = points.filter(|p| p.counts && p.plan == plan.name);
            let within = own.filter(|p| (from..until).contains(&p.started));
            let mut bytes: Vec<u64> = within.map(|point| point.bytes).collect();
            bytes.sort_unstable();
            bytes
        };
        let now = sizes(window.from, window.until);
        let before = sizes(window.before, window.from);
        let middle = |sizes: &[u64]| sizes.get(sizes.len() / 2).copied();
        let (bytes, bytes_before) = (middle(&now), middle(&before));
        PointSizes {
            plan: plan.name.clone(),
            points: now.len() as u64,
            bytes,
            points_before: before.len() as u64,
            bytes_before,
            drift_percent: bytes.zip(bytes_before).and_then(|(a, b)| drift(a, b)),
        }
    });
    sizes.collect()
}

/// How far a number moved, in percent of what it was; `None` from nothing.
fn drift(now: u64, before: u64) -> Option<i64> {
    let (now, before) = (i128::from(now), i128::from(before));
    let percent = ((now - before) * 100).checked_div(before)?;
    Some(i64::try_from(percent).unwrap_or(i64::MAX))
}

fn store_sizes(
    facts: &Facts,
    status: &Status,
    window: &Window,
    clean: Clean<'_>,
) -> Vec<StoreSizes> {
    let sizes = status.stores.iter().map(|store| {
        let added = |from: Timestamp, until: Timestamp| {
            let points = facts.points.iter();
            let held = points.filter(|p| p.stores.contains(&store.store));
            let within = held.filter(|p| (from..until).contains(&p.started));
            within.map(|point| point.bytes).sum()
        };
        StoreSizes {
            store: store.store.clone(),
            error: store.error.as_ref().map(|error| clean(&error.with_hint())),
            points: store.points,
            bytes: store.bytes,
            bytes_added: added(window.from, window.until),
            bytes_added_before: added(window.before, window.from),
        }
    });
    sizes.collect()
}

fn anomalies(plan: &PlanStatus) -> PlanAnomalies {
    PlanAnomalies {
        plan: plan.plan.clone(),
        point: plan.point.clone(),
        compared: plan.compared,
        anomalies: plan.anomalies.clone(),
        anomalies_unlisted: plan.anomalies_unlisted,
    }
}

fn deleted(material: &Material<'_>) -> Deleted {
    let all = &material.deleted;
    let older = all.len().saturating_sub(DELETED_MAX);
    Deleted {
        copies: all.len() as u64,
        listed: all.iter().skip(older).cloned().collect(),
        announced: material.announced,
    }
}

/// What was told of each alarm in the period. The same message may have gone through several
/// channels.
fn told(messages: &[Message], window: &Window, clean: Clean<'_>) -> Vec<ToldAlarm> {
    let mut alarms: Vec<ToldAlarm> = Vec::new();
    let mut seen = BTreeSet::new();
    for message in messages {
        let about_alarm = matches!(
            message.event,
            Event::New | Event::Repeated | Event::Escalated | Event::Recovered
        );
        if !about_alarm || !window.has(message.at) || !seen.insert(&message.id) {
            continue;
        }
        let place = alarms.iter().position(|a| a.alarm == message.alarm);
        let place = place.unwrap_or_else(|| {
            alarms.push(ToldAlarm {
                alarm: message.alarm.clone(),
                title: clean(&message.title),
                opened: None,
                ended: None,
                messages: 0,
            });
            alarms.len() - 1
        });
        let Some(alarm) = alarms.get_mut(place) else {
            continue;
        };
        alarm.messages += 1;
        match message.event {
            Event::New => alarm.opened = alarm.opened.or(Some(message.at)),
            Event::Recovered => alarm.ended = Some(message.at),
            _ => {}
        }
    }
    alarms
}

fn next(facts: &Facts, terms: Terms) -> Vec<Next> {
    let agenda = agenda(facts, terms);
    let now = agenda.now.into_iter().map(|due| (facts.now, due));
    let all = now.chain(agenda.later).take(NEXT_MAX);
    let next = all.map(|(at, due)| Next {
        at,
        kind: due.kind,
        subject: due.subject,
    });
    next.collect()
}

/// Returns whether a record verified something in the period.
pub(super) fn is_verified(record: &Record, window: &Window) -> bool {
    record.outcome == Verdict::Verified && window.has(record.finished)
}
