//! `lifeboat drill`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use lifeboat_core::drill::{self, Options};
use lifeboat_core::evidence::{Appended, Record, Verdict};
use lifeboat_core::fingerprint::Difference;
use lifeboat_core::probe::{CheckOutcome, CheckResult, DIFFERENCES_SHOWN};
use lifeboat_core::{Code, Result};

pub fn run(run: &Run<'_>, args: &args::Drill) -> Result<u8> {
    let context = run.context()?;
    let options = Options {
        drill: args.drill.clone(),
        point: args.point.clone(),
        store: args.store.clone(),
    };
    let report = drill::run(&context, &options)?;
    run.results();
    let record = &report.evidence.record;
    if run.cli.json {
        output::json(&json(&report.evidence))?;
    } else {
        line(format!(
            "drill {}: {}",
            record.drill.as_deref().unwrap_or_default(),
            verdict(record.outcome)
        ));
        show_record(record);
        report
            .warnings
            .iter()
            .for_each(|w| line(format!("note: {w}")));
        show_evidence(&report.evidence);
    }
    Ok(match record.outcome {
        Verdict::Verified => 0,
        Verdict::Interrupted => Code::Interrupted.exit_code(),
        Verdict::Restored | Verdict::Unverifiable | Verdict::Failed => 4,
    })
}

/// The record as the JSON of `drill`.
pub fn json(evidence: &Appended) -> serde_json::Value {
    let record = &evidence.record;
    let first = record.points.first();
    let missing: Vec<_> = evidence.missing.iter().map(|(store, _)| store).collect();
    serde_json::json!({
        "schema": 1,
        "drill": record.drill,
        "point": first.map(|p| &p.point),
        "points": record.points,
        "store": first.and_then(|p| p.store.as_ref()),
        "outcome": record.outcome,
        "checks": checks(record),
        "limits": record.limits(),
        "rto_seconds": record.rto_seconds,
        "rpo_seconds": record.rpo_seconds,
        "rto_missed": record.missed_rto(),
        "rpo_missed": record.missed_rpo(),
        "phases": record.phases,
        "evidence": evidence.key,
        "evidence_missing_in": missing,
    })
}

/// The checks of a record, with what was observed as far as it is open here.
pub fn checks(record: &Record) -> Vec<serde_json::Value> {
    let check = |check: &CheckResult| {
        let mut value = serde_json::json!({
            "name": check.question(),
            "expected": check.expected(),
            "observed": check.observed(),
            "outcome": check.outcome,
        });
        if let serde_json::Value::Object(map) = &mut value {
            map.extend(check.code.clone().map(|code| ("code".into(), code.into())));
            let count = check.differences.map(|n| ("differences".into(), n.into()));
            map.extend(count);
            if !check.listed.is_empty() {
                map.insert(
                    "listed".into(),
                    check.listed.iter().map(difference).collect(),
                );
            }
            if check.unlisted() > 0 {
                map.insert("unlisted".into(), check.unlisted().into());
            }
        }
        value
    };
    record.checks.iter().map(check).collect()
}

fn difference(difference: &Difference) -> serde_json::Value {
    serde_json::json!({
        "subject": difference.subject,
        "expected": difference.expected,
        "observed": difference.observed,
    })
}

/// Says how to see the differences that the text of a record does not show, where there are any.
pub fn show_where_all_are(record: &Record) {
    let shows_all = |check: &CheckResult| check.listed.len() <= DIFFERENCES_SHOWN;
    if !record.checks.iter().all(shows_all) {
        line(format!(
            "  all differences: lifeboat --json evidence show {}",
            record.id
        ));
    }
}

/// A verdict, coloured.
pub fn verdict(verdict: Verdict) -> String {
    let colour = match verdict {
        Verdict::Verified => 32,
        Verdict::Restored | Verdict::Unverifiable | Verdict::Interrupted => 33,
        Verdict::Failed => 31,
    };
    format!("\x1b[{colour}m{}\x1b[0m", verdict.as_str())
}

/// What a record says, for people.
pub fn show_record(record: &Record) {
    for point in &record.points {
        let store = point.store.as_deref().unwrap_or("none");
        line(format!(
            "  point {} of plan {}, copy in store {store}",
            point.point,
            point.plan.as_deref().unwrap_or("unknown")
        ));
    }
    for check in &record.checks {
        let mark = match check.outcome {
            CheckOutcome::Passed => "\x1b[32mpassed\x1b[0m ",
            CheckOutcome::Failed => "\x1b[31mfailed\x1b[0m ",
            CheckOutcome::Unknown => "\x1b[33munknown\x1b[0m",
        };
        line(format!(
            "  {mark} {}: expected {}; observed {}",
            check.question(),
            check.expected(),
            // What a command says may have several lines, and this is one.
            output::joined(check.observed())
        ));
    }
    record
        .limits()
        .into_iter()
        .for_each(|limit| line(format!("  limit   {limit}")));
    let measured = |what: &str, seconds: f64, target: Option<u64>, missed: bool| {
        let measured = output::seconds(seconds);
        match target.map(|s| output::seconds(s as f64)) {
            None => format!("{what} {measured}"),
            Some(target) if missed => {
                format!("{what} {measured}, \x1b[31mMISSED\x1b[0m its objective of {target}")
            }
            Some(target) => format!("{what} {measured} (objective {target})"),
        }
    };
    let time = (record.rto_seconds, record.rto_target_seconds);
    let point = (record.rpo_seconds, record.rpo_target_seconds);
    line(format!(
        "  {}",
        measured("recovery time", time.0, time.1, record.missed_rto())
    ));
    line(format!(
        "  {}",
        measured("recovery point", point.0, point.1, record.missed_rpo())
    ));
}

/// Where the evidence is.
pub fn show_evidence(evidence: &Appended) {
    match &evidence.key {
        Some(key) => {
            show_where_all_are(&evidence.record);
            line(format!(
                "  evidence {} number {}, {key}",
                evidence.record.id, evidence.record.sequence
            ));
        }
        None => line("  no evidence is kept: nothing here signs in the application's name"),
    }
    for (store, error) in &evidence.missing {
        line(format!(
            "  store {store} did not receive the evidence and will with the next record: {error}"
        ));
    }
}
