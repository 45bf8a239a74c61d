#![allow(clippy::disallowed_methods)]

use super::*;
use crate::error::{Code, Error};
use crate::point::PointId;
use crate::status::tests::samples::{plan, status};
use crate::status::{DrillStanding, Freshness, LimitOf};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn job(kind: JobKind, minute: u32, outcome: Option<JobOutcome>) -> Job {
    let at = time(&format!("2026-11-20T06:{minute:02}:00Z"));
    Job {
        id: PointId::parse(&format!("20261120T06{minute:02}00Z-0001")).unwrap(),
        app: Name::own("crm"),
        environment: Name::own("production"),
        kind,
        subject: Name::own("hourly"),
        slot: None,
        reason: "a test".into(),
        called: false,
        attempt: 1,
        created: at,
        started: at,
        finished: outcome.map(|_| time(&format!("2026-11-20T06:{minute:02}:09Z"))),
        outcome,
        point: None,
        message: None,
        host: "here".into(),
        process: None,
    }
}

fn text(status: &Status, jobs: &[Job]) -> String {
    metrics(status, jobs).text(Form::OpenMetrics)
}

#[test]
fn nothing_is_said_where_nothing_is_known() {
    let mut empty = status();
    empty.plans.push(plan("hourly"));
    empty.stores.push(StoreStatus {
        damaged: Vec::new(),
        store: Name::own("offsite"),
        points: 0,
        bytes: 0,
        error: Some(Error::new(Code::Store, "it does not answer")),
    });
    assert_eq!(
        text(&empty, &[job(JobKind::Backup, 1, None)]),
        "# TYPE lifeboat_status_timestamp_seconds gauge
# UNIT lifeboat_status_timestamp_seconds seconds
# HELP lifeboat_status_timestamp_seconds Time for which these metrics hold.
lifeboat_status_timestamp_seconds{app=\"crm\",environment=\"production\"} 1795158000
# TYPE lifeboat_store_up gauge
# HELP lifeboat_store_up 1 if a store answered.
lifeboat_store_up{app=\"crm\",environment=\"production\",store=\"offsite\"} 0
# EOF
"
    );
}

#[test]
fn a_plan_and_a_drill_are_measured() {
    let mut known = status();
    known.rpo_target_seconds = Some(5400);
    known.plans.push(PlanStatus {
        point: PointId::parse("20261120T060700Z-7f3a"),
        age_seconds: Some(3180),
        limit_seconds: Some(5400),
        limit_of: Some(LimitOf::Objective),
        freshness: Freshness::Fresh,
        stores: vec![Name::own("disk")],
        missing_copies: [(Name::own("offsite"), 3)].into(),
        next: Some(time("2026-11-20T07:07:00Z")),
        ..plan("hourly")
    });
    known.drills.push(DrillStatus {
        drill: Name::own("weekly"),
        standing: DrillStanding::Overdue,
        outcome: Some(Verdict::Restored),
        evidence: None,
        at: None,
        verified_at: Some(time("2026-11-10T07:00:00Z")),
        age_seconds: Some(864_000),
        max_age_seconds: Some(777_600),
        rto_seconds: Some(1.5),
        rto_target_seconds: None,
        rto_missed: false,
        failing: None,
        next: None,
    });
    let said = text(&known, &[]);
    for line in [
        "lifeboat_point_age_seconds{app=\"crm\",environment=\"production\",plan=\"hourly\"} 3180",
        "lifeboat_point_timestamp_seconds{app=\"crm\",environment=\"production\",plan=\"hourly\"} 1795154820",
        "lifeboat_plan_overdue{app=\"crm\",environment=\"production\",plan=\"hourly\"} 0",
        "lifeboat_rpo_seconds{app=\"crm\",environment=\"production\"} 5400",
        "lifeboat_missing_copies{app=\"crm\",environment=\"production\",plan=\"hourly\",store=\"disk\"} 0",
        "lifeboat_missing_copies{app=\"crm\",environment=\"production\",plan=\"hourly\",store=\"offsite\"} 3",
        "lifeboat_drill_rto_seconds{app=\"crm\",drill=\"weekly\",environment=\"production\"} 1.5",
        "lifeboat_drill_overdue{app=\"crm\",drill=\"weekly\",environment=\"production\"} 1",
        "lifeboat_drill_outcome{app=\"crm\",drill=\"weekly\",environment=\"production\",lifeboat_drill_outcome=\"restored\"} 1",
        "lifeboat_drill_outcome{app=\"crm\",drill=\"weekly\",environment=\"production\",lifeboat_drill_outcome=\"verified\"} 0",
        "# UNIT lifeboat_drill_rto_seconds seconds",
        "# TYPE lifeboat_drill_outcome stateset",
        "lifeboat_next_run_timestamp_seconds{app=\"crm\",environment=\"production\",kind=\"backup\",subject=\"hourly\"} 1795158420",
    ] {
        assert!(said.lines().any(|known| known == line), "{line}\n{said}");
    }
    assert!(!said.contains("lifeboat_rto_seconds"), "{said}");
    assert!(!said.contains("kind=\"drill\""), "{said}");
}

#[test]
fn the_last_prune_counts_that_went_without_an_error() {
    let jobs = [
        job(JobKind::Prune, 1, Some(JobOutcome::Done)),
        job(JobKind::Prune, 2, Some(JobOutcome::Done)),
        job(JobKind::Prune, 3, Some(JobOutcome::Partial)),
    ];
    let all = metrics(&status(), &jobs).metrics;
    let name = "lifeboat_prune_last_success_timestamp_seconds";
    let found = all.iter().find(|metric| metric.name == name).unwrap();
    let [sample] = found.samples.as_slice() else {
        panic!("{found:?}");
    };
    let at = time("2026-11-20T06:02:09Z").as_second() as f64;
    assert_eq!(
        (sample.labels["plan"].as_str(), sample.value),
        ("hourly", at)
    );
}

#[test]
fn the_last_job_counts_that_ended_and_left_something() {
    let jobs = [
        job(JobKind::Backup, 1, Some(JobOutcome::Done)),
        job(JobKind::Backup, 2, Some(JobOutcome::Failed)),
        job(JobKind::Backup, 3, Some(JobOutcome::Busy)),
        job(JobKind::Backup, 4, None),
        job(JobKind::Drill, 5, Some(JobOutcome::Done)),
    ];
    let all = metrics(&status(), &jobs).metrics;
    let of = |name: &str| {
        let found = all.iter().find(|metric| metric.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).samples.clone()
    };
    let finished = of("lifeboat_job_last_finished_timestamp_seconds");
    let times: Vec<f64> = finished.iter().map(|sample| sample.value).collect();
    let second = |text: &str| time(text).as_second() as f64;
    assert_eq!(
        times,
        [
            second("2026-11-20T06:02:09Z"),
            second("2026-11-20T06:05:09Z")
        ]
    );
    assert_eq!(of("lifeboat_job_duration_seconds")[0].value, 9.0);
    let name = "lifeboat_job_last_outcome";
    let holds: Vec<(String, String)> = of(name)
        .iter()
        .filter(|sample| sample.value == 1.0)
        .map(|sample| (sample.labels["kind"].clone(), sample.labels[name].clone()))
        .collect();
    let expected = [("backup", "failed"), ("drill", "done")];
    assert_eq!(
        holds,
        expected.map(|(kind, state)| (kind.to_owned(), state.to_owned()))
    );
}

#[test]
fn the_older_format_has_neither_state_sets_nor_units() {
    let jobs = [job(JobKind::Backup, 1, Some(JobOutcome::Done))];
    let all = metrics(&status(), &jobs);
    let (new, old) = (all.text(Form::OpenMetrics), all.text(Form::Prometheus));
    assert!(old.contains("# TYPE lifeboat_job_last_outcome gauge\n"));
    assert!(!old.contains("# EOF") && !old.contains("# UNIT"), "{old}");
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(samples(&new), samples(&old));
}

#[test]
fn values_of_labels_are_escaped() {
    assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
}

#[test]
fn metrics_of_several_applications_are_one_document() {
    let one = metrics(&status(), &[]);
    let count = |metrics: &Metrics| {
        metrics
            .metrics
            .iter()
            .map(|m| m.samples.len())
            .sum::<usize>()
    };
    let merged = Metrics::merge(vec![one.clone(), one.clone()]);
    assert_eq!(merged.metrics.len(), one.metrics.len());
    assert_eq!(count(&merged), 2 * count(&one));
    let text = merged.text(Form::OpenMetrics);
    assert_eq!(
        text.matches("# TYPE lifeboat_status_timestamp_seconds ")
            .count(),
        1,
        "{text}"
    );
    assert_eq!(
        Metrics::merge(Vec::new()).text(Form::OpenMetrics),
        "# EOF\n"
    );
}
