//! Tests of the decisions, in which time is a value.

use super::*;
use crate::config::{Retry, When};
use crate::evidence::Verdict;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::point::{Outcome, PointId};
use crate::span::Span;
use jiff::Timestamp;
use jiff::tz::TimeZone;

mod aged;
mod clocks;
mod cover;
mod drills;
mod due;
mod facts;
mod gap;
mod heal;
mod judge;
mod limit;
mod overdue;
mod property;
mod prunes;
mod reports;
mod retry;
pub(crate) mod samples;
pub(crate) mod simulator;
mod unchanged;
mod verify;

/// A time of November 2026, of which the 20th is a Friday: `20T06:00`, `20T06:00:30`; or any other.
fn at(text: &str) -> Timestamp {
    let whole = match text.len() {
        8 => format!("2026-11-{text}:00Z"),
        11 => format!("2026-11-{text}Z"),
        _ => text.to_owned(),
    };
    whole.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn span(text: &str) -> Span {
    text.parse().unwrap()
}

fn plus(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second() + seconds).unwrap()
}

fn id(time: Timestamp) -> PointId {
    numbered(time, 1)
}

fn numbered(time: Timestamp, number: usize) -> PointId {
    let time = time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
    PointId::parse(&format!("{time}-{:04x}", number % 0x10000)).unwrap()
}

fn when(schedule: &str) -> When {
    When {
        schedule: Some(schedule.to_owned()),
        ..When::default()
    }
}

fn retrying(schedule: &str, attempts: u32, wait: &str) -> When {
    When {
        retry: Retry {
            attempts,
            wait: span(wait),
        },
        ..when(schedule)
    }
}

fn not_during(schedule: &str, windows: &[&str]) -> When {
    When {
        not_during: windows.iter().map(|text| text.parse().unwrap()).collect(),
        ..when(schedule)
    }
}

/// A plan over the source `db`.
fn plan(of: &str, when: When) -> PlanFacts {
    PlanFacts {
        stores: vec![name("disk")],
        name: name(of),
        when,
        sources: vec![name("db")],
        prunes: false,
        relocks: None,
        watch: Default::default(),
    }
}

fn plan_over(of: &str, when: When, sources: &[&str]) -> PlanFacts {
    PlanFacts {
        sources: sources.iter().map(|source| name(source)).collect(),
        ..plan(of, when)
    }
}

/// A drill `weekly` of the plan `p`.
fn drill(when: When) -> DrillFacts {
    DrillFacts {
        name: name("weekly"),
        when,
        plans: vec![name("p")],
        max_age: None,
    }
}

fn store(of: &str) -> StoreFacts {
    StoreFacts {
        damaged: Default::default(),
        name: name(of),
        error: None,
    }
}

fn silent(of: &str) -> StoreFacts {
    let error = crate::error::Error::new(crate::Code::Store, "it does not answer");
    StoreFacts {
        error: Some(error),
        ..store(of)
    }
}

/// Facts with these plans, one store, and nothing that ever ran.
fn facts(now: &str, plans: &[PlanFacts]) -> Facts {
    Facts {
        restores: Vec::new(),
        keep_aside: crate::span::Span { seconds: 0 },
        uncopied: std::collections::BTreeMap::new(),
        now: at(now),
        app: name("crm"),
        environment: name("production"),
        rpo: None,
        rto: None,
        plans: plans.to_vec(),
        drills: Vec::new(),
        verifications: Vec::new(),
        reports: Vec::new(),
        stores: vec![store("disk")],
        points: Vec::new(),
        checks: Vec::new(),
        records: Vec::new(),
        jobs: Vec::new(),
        ahead: Vec::new(),
        measured: Default::default(),
        heal: true,
    }
}

/// A complete point of the plan `p` that took a minute.
fn point(time: &str) -> Point {
    point_of("p", time)
}

fn point_of(plan: &str, time: &str) -> Point {
    let time = at(time);
    Point {
        id: id(time),
        plan: name(plan),
        counts: true,
        outcome: Outcome::Complete,
        started: time,
        finished: plus(time, 60),
        slot: None,
        stores: vec![name("disk")],
        missed: Vec::new(),
        lost: Vec::new(),
        bytes: 10,
    }
}

/// A partial point that another host took for a time of the schedule.
fn partial(time: &str, slot: &str) -> Point {
    Point {
        counts: false,
        outcome: Outcome::Partial,
        slot: Some(at(slot)),
        ..point(time)
    }
}

/// A job that took a minute.
fn job(kind: JobKind, subject: &str, slot: &str, started: &str, outcome: JobOutcome) -> Job {
    let started = at(started);
    Job {
        id: id(started),
        app: name("crm"),
        environment: name("production"),
        kind,
        subject: name(subject),
        slot: (!slot.is_empty()).then(|| at(slot)),
        reason: String::new(),
        called: false,
        attempt: 1,
        created: started,
        started,
        finished: Some(plus(started, 60)),
        outcome: Some(outcome),
        point: None,
        message: None,
        host: "web1".to_owned(),
        process: None,
    }
}

/// A backup of the plan `p` that took a minute.
fn run(slot: &str, started: &str, outcome: JobOutcome) -> Job {
    job(JobKind::Backup, "p", slot, started, outcome)
}

/// A backup of the plan `p` that is under way.
fn under_way(started: &str) -> Job {
    Job {
        finished: None,
        outcome: None,
        ..run("", started, JobOutcome::Done)
    }
}

/// A record of the drill `weekly` that took a minute, over the source `db` of the plan `p`.
fn record(finished: &str, outcome: Verdict) -> Proved {
    let finished = at(finished);
    Proved {
        id: id(finished),
        drill: Some(name("weekly")),
        started: plus(finished, -60),
        finished,
        outcome,
        rto_seconds: 60.0,
        plans: vec![name("p")],
        sources: vec![(name("p"), name("db"))],
        uncompared: vec![],
    }
}

fn told(due: &Due) -> String {
    let slot = due.slot.map(|slot| {
        let slot = slot.to_zoned(TimeZone::UTC);
        slot.strftime(" %dT%H:%M").to_string()
    });
    let (kind, subject) = (due.kind.as_str(), &due.subject);
    format!(
        "{kind} {subject}{} #{}",
        slot.unwrap_or_default(),
        due.attempt
    )
}

/// What is due now, in order: kind, subject, time of the schedule and attempt.
fn now(facts: &Facts) -> Vec<String> {
    let agenda = agenda(facts, Terms::default());
    agenda.now.iter().map(told).collect()
}

/// What is due later, in order, with the time.
fn later(facts: &Facts) -> Vec<(Timestamp, String)> {
    let agenda = agenda(facts, Terms::default());
    let later = agenda.later.iter();
    later.map(|(at, due)| (*at, told(due))).collect()
}

/// Facts at another time.
fn then(facts: &Facts, now: &str) -> Facts {
    Facts {
        now: at(now),
        ..facts.clone()
    }
}
