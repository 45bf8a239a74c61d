//! Tests of the report, in which time is a value.

use super::*;
use crate::document::assert_document;
use crate::history::{JobKind, JobOutcome};
use crate::point::Outcome;
use crate::retention::Why;
use crate::status::{DrillFacts, PlanFacts, Point, Proved, StoreFacts};

const HOSTILE: &str =
    "<script>alert(1)</script> | `x` *b* [l](http://evil.example) \u{202e}txt\nhunter2";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn id(text: &str) -> PointId {
    PointId::parse(text).unwrap()
}

fn when(schedule: &str) -> crate::config::When {
    crate::config::When {
        schedule: Some(schedule.to_owned()),
        ..Default::default()
    }
}

fn window() -> Window {
    Window::ending(Period::Week, at("2026-11-20T06:00:00Z")).unwrap()
}

fn point(text: &str, bytes: u64) -> Point {
    let id = id(text);
    let time = id.time();
    Point {
        id,
        plan: name("daily"),
        counts: true,
        outcome: Outcome::Complete,
        started: time,
        finished: time,
        slot: None,
        stores: vec![name("disk")],
        missed: Vec::new(),
        lost: Vec::new(),
        bytes,
    }
}

fn job(id_: &str, kind: JobKind, subject: &str, outcome: JobOutcome, message: &str) -> Job {
    let id = id(id_);
    let time = id.time();
    Job {
        id,
        app: name("crm"),
        environment: name("production"),
        kind,
        subject: name(subject),
        slot: None,
        reason: "scheduled".into(),
        called: false,
        attempt: 1,
        created: time,
        started: time,
        finished: Some(time + jiff::SignedDuration::from_secs(90)),
        outcome: Some(outcome),
        point: None,
        message: Some(message.into()),
        host: "web1".into(),
        process: None,
    }
}

/// A daily plan with a store and a drill, of which nothing is known yet.
fn bare() -> Facts {
    Facts {
        restores: Vec::new(),
        keep_aside: crate::span::Span { seconds: 0 },
        uncopied: BTreeMap::new(),
        now: at("2026-11-20T07:00:00Z"),
        app: name("crm"),
        environment: name("production"),
        rpo: None,
        rto: None,
        plans: vec![PlanFacts {
            name: name("daily"),
            when: when("0 3 * * *"),
            sources: vec![name("db")],
            stores: vec![name("disk")],
            prunes: true,
            relocks: None,
            watch: Default::default(),
        }],
        drills: vec![DrillFacts {
            name: name("weekly"),
            when: when("0 4 * * 0"),
            plans: vec![name("daily")],
            max_age: Some(crate::span::Span {
                seconds: 9 * 86_400,
            }),
        }],
        verifications: Vec::new(),
        reports: Vec::new(),
        stores: vec![StoreFacts {
            name: name("disk"),
            error: None,
            damaged: Default::default(),
        }],
        points: Vec::new(),
        checks: Vec::new(),
        records: Vec::new(),
        jobs: Vec::new(),
        ahead: Vec::new(),
        measured: Default::default(),
        heal: true,
    }
}

/// A week with a point, a backup that failed with a hostile message, and a drill.
fn week() -> (Facts, Record) {
    let mut facts = bare();
    facts.points = vec![
        point("20261110T030000Z-0001", 100),
        point("20261120T030000Z-0002", 150),
    ];
    facts.jobs = vec![
        job(
            "20261114T030000Z-000a",
            JobKind::Backup,
            "daily",
            JobOutcome::Failed,
            HOSTILE,
        ),
        job(
            "20261115T050000Z-000b",
            JobKind::Verify,
            "sample",
            JobOutcome::Done,
            "2 points: intact",
        ),
    ];
    let record = Record {
        activity: evidence::Activity::Drill,
        drill: Some(name("weekly")),
        started: at("2026-11-15T04:00:00Z"),
        finished: at("2026-11-15T04:00:03Z"),
        limits: vec![HOSTILE.into()],
        points: vec![evidence::ProvedPoint {
            point: id("20261110T030000Z-0001"),
            plan: Some(name("daily")),
            store: Some(name("disk")),
            manifest_sha256: None,
            sources: vec![name("db")],
            left_out: Vec::new(),
            uncompared: Vec::new(),
        }],
        ..evidence::sample()
    };
    facts.records = vec![Proved {
        id: record.id.clone(),
        drill: record.drill.clone(),
        started: record.started,
        finished: record.finished,
        outcome: record.outcome,
        rto_seconds: record.rto_seconds,
        plans: vec![name("daily")],
        sources: vec![(name("daily"), name("db"))],
        uncompared: vec![],
    }];
    (facts, record)
}

fn told_of(facts: &Facts, records: &[Record], window: &Window) -> Report {
    let material = Material {
        facts,
        host: "web1".into(),
        records,
        deleted: vec![DeletedCopy {
            at: at("2026-11-16T03:00:00Z"),
            point: id("20261101T030000Z-0003"),
            plan: name("daily"),
            store: name("disk"),
            why: Why::NoRule,
        }],
        announced: 1,
        kept_of_month: BTreeMap::new(),
        open: Vec::new(),
        messages: &[],
    };
    report(&material, window, &|text| text.replace("hunter2", "***"))
}

fn sample() -> Report {
    let (facts, record) = week();
    told_of(&facts, &[record], &window())
}

fn item(report: &Report, task: Task) -> &Item {
    let mut items = report.checklists.iter().flat_map(|list| &list.items);
    items.find(|item| item.task == task).unwrap()
}

#[test]
fn periods_are_those_of_the_calendar_and_follow_on_one_another() {
    for (period, from, before) in [
        (Period::Day, "2026-03-30T06:00:00Z", "2026-03-29T06:00:00Z"),
        (Period::Week, "2026-03-24T06:00:00Z", "2026-03-17T06:00:00Z"),
        (
            Period::Month,
            "2026-02-28T06:00:00Z",
            "2026-01-28T06:00:00Z",
        ),
        (
            Period::Quarter,
            "2025-12-31T06:00:00Z",
            "2025-09-30T06:00:00Z",
        ),
        (Period::Year, "2025-03-31T06:00:00Z", "2024-03-31T06:00:00Z"),
    ] {
        let window = Window::ending(period, at("2026-03-31T06:00:00Z")).unwrap();
        assert_eq!(
            (window.from, window.before),
            (at(from), at(before)),
            "{period:?}"
        );
        assert!(window.has(window.from) && !window.has(window.until));
    }
    let first = "-009999-01-02T01:59:59Z".parse::<Timestamp>();
    let first = first.unwrap_or(Timestamp::MIN);
    assert!(Window::ending(Period::Year, first).is_err());
}

#[test]
fn the_document_of_a_report() {
    let (mut facts, record) = week();
    facts.jobs.truncate(1);
    facts.jobs[0].message = Some("it broke".into());
    let mut report = told_of(
        &facts,
        &[Record {
            limits: vec!["ownership".into()],
            ..record
        }],
        &window(),
    );
    for list in &mut report.checklists {
        list.items.truncate(2);
    }
    assert_document(report, include_str!("tests/document.json").trim_end());
}

#[test]
fn nothing_is_ticked_where_nothing_is_known() {
    let facts = bare();
    let quarter = Window::ending(Period::Quarter, facts.now).unwrap();
    let report = told_of(&facts, &[], &quarter);
    let items: Vec<&Item> = report
        .checklists
        .iter()
        .flat_map(|list| &list.items)
        .collect();
    assert_eq!(items.len(), 16);
    for item in items {
        // A drill that has a schedule has one, whatever is known.
        let expected = item.task == Task::NextTestScheduled && !item.shown_by.is_empty();
        assert_eq!(item.done, expected, "{item:#?}");
        assert_eq!(item.done, !item.shown_by.is_empty(), "{item:#?}");
        assert_eq!(item.command.is_some(), !item.done, "{item:#?}");
    }
}

#[test]
fn what_is_ticked_names_what_shows_it_and_one_fault_opens_it() {
    let report = sample();
    let intact = item(&report, Task::StoredIntact);
    assert!(intact.done, "{intact:#?}");
    assert_eq!(
        intact.shown_by[0],
        ShownBy::Job(id("20261115T050000Z-000b"))
    );
    assert!(item(&report, Task::Decrypts).done);
    assert!(item(&report, Task::RecentPoints).done);
    assert!(item(&report, Task::CopiesComplete).done);
    // One job failed, and for days there was no point.
    assert!(!item(&report, Task::JobsSucceeded).done);
    assert!(!item(&report, Task::BackupsRan).done);
    assert!(
        !item(&report, Task::SizesUsual).done,
        "nothing was compared"
    );

    let opened = |change: &dyn Fn(&mut Facts, &mut Record), task: Task| {
        let (mut facts, mut record) = week();
        change(&mut facts, &mut record);
        let report = told_of(&facts, &[record], &window());
        let item = item(&report, task);
        assert!(!item.done && item.shown_by.is_empty(), "{item:#?}");
    };
    opened(
        &|facts, _| {
            facts.jobs[1].outcome = Some(JobOutcome::NotProved);
        },
        Task::StoredIntact,
    );
    opened(
        &|facts, _| {
            let doubt = crate::catalog::Doubt {
                why: "a hash differs".into(),
                at: facts.now,
            };
            let damaged = &mut facts.stores[0].damaged;
            damaged.insert(id("20261110T030000Z-0001"), doubt);
        },
        Task::StoredIntact,
    );
    opened(
        &|_, record| record.outcome = evidence::Verdict::Restored,
        Task::Decrypts,
    );
    opened(
        &|_, record| record.finished = at("2026-11-13T05:59:59Z"),
        Task::Decrypts,
    );
    opened(
        &|facts, record| {
            record.outcome = evidence::Verdict::Verified;
            let failed = facts.records[0].clone();
            facts.records.push(Proved {
                outcome: evidence::Verdict::Failed,
                finished: at("2026-11-16T04:00:00Z"),
                ..failed
            });
        },
        Task::Decrypts,
    );
    opened(&|facts, _| drop(facts.points.pop()), Task::RecentPoints);
    opened(
        &|facts, _| facts.points[1].missed.push(name("disk")),
        Task::CopiesComplete,
    );
    opened(
        &|facts, _| {
            let error = Error::new(Code::Store, "it is away");
            facts.stores[0].error = Some(error);
        },
        Task::CopiesComplete,
    );
}

#[test]
fn text_from_elsewhere_is_escaped_visible_and_without_secrets() {
    let report = sample();
    let (md, html) = (to_markdown(&report), to_html(&report));
    for text in [&md, &html] {
        assert!(
            !text.contains("hunter2") && text.contains("\\u{202e}"),
            "{text}"
        );
        assert!(!text.contains('\u{202e}'), "{text}");
    }
    assert!(
        !html.contains("<script") && html.contains("&lt;script&gt;"),
        "{html}"
    );
    let raw = md.matches("<script>").count();
    assert_eq!(md.matches("\\<script\\>").count(), 2, "{md}");
    assert_eq!(raw, 0, "{md}");
    assert!(!md.contains(" `x`") && md.contains("\\*b\\*"), "{md}");
    // Nothing becomes a link.
    assert!(!md.contains("http://") && !html.contains("href"));
}

#[test]
fn the_message_of_a_report_is_the_same_for_the_same_period() {
    let report = sample();
    let message = |format| message(&report, &name("weekly"), format, Vec::new()).unwrap();
    let (md, html, json) = (
        message(ReportFormat::Md),
        message(ReportFormat::Html),
        message(ReportFormat::Json),
    );
    assert_eq!(md.id, html.id);
    let body = |message: &Message| message.report.clone().unwrap();
    assert_eq!((body(&md).html, body(&md).document), (None, None));
    assert!(body(&html).html.unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(body(&json).document.unwrap()["period"], "week");
    // A message that an older version wrote has no report, and still parses.
    let mut old = serde_json::to_value(&md).unwrap();
    old.as_object_mut().unwrap().remove("report");
    let old: Message = serde_json::from_value(old).unwrap();
    assert_eq!(old.report, None);
}
