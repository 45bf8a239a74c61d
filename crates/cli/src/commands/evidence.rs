//! `lifeboat evidence list|show|verify`.

use super::Run;
use super::drill::{checks, show_record, show_where_all_are, verdict};
use crate::args::{Cold, EvidenceCommand};
use crate::output::{self, line};
use lifeboat_core::cold::Want;
use lifeboat_core::evidence::{self, Activity, Listed};
use lifeboat_core::point::Selector;
use lifeboat_core::{Code, Error, Result};
use serde_json::{Value, json};

pub fn run(run: &Run<'_>, command: &EvidenceCommand) -> Result<u8> {
    match command {
        EvidenceCommand::List => list(run),
        EvidenceCommand::Show { id } => show(run, id),
        EvidenceCommand::Verify { cold, .. } => verify(run, cold),
    }
}

fn value(listed: &Listed) -> Value {
    let mut value = serde_json::to_value(&listed.record).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.insert("checks".into(), json!(checks(&listed.record)));
        map.insert("limits".into(), json!(listed.record.limits()));
        map.insert("key".into(), json!(listed.key));
        map.insert("trusted".into(), json!(listed.distrust.is_none()));
    }
    value
}

fn list(run: &Run<'_>) -> Result<u8> {
    let context = run.context()?;
    let (listed, errors) = evidence::list(&context)?;
    run.results();
    if run.cli.json {
        let records: Vec<_> = listed.iter().map(value).collect();
        let errors: Vec<_> = errors.iter().map(output::error_value).collect();
        output::json(&json!({ "schema": 1, "evidence": records, "errors": errors }))?;
        return Ok(0);
    }
    let now = context.clock.now();
    let mut newest_first: Vec<&Listed> = listed.iter().collect();
    newest_first.sort_by_key(|l| std::cmp::Reverse(l.record.started));
    let rows = newest_first.into_iter().map(|l| {
        let record = &l.record;
        let activity = match record.activity {
            Activity::Drill => "drill",
            Activity::Restore => "restore",
        };
        let points: Vec<_> = record.points.iter().map(|p| p.point.to_string()).collect();
        let (outcome, why) = match &l.distrust {
            None => (record.outcome.as_str(), String::new()),
            Some(error) => ("untrusted", error.message.clone()),
        };
        vec![
            record.id.to_string(),
            output::age(record.started, now),
            activity.into(),
            outcome.to_owned(),
            output::seconds(record.rto_seconds),
            output::seconds(record.rpo_seconds),
            points.join(" "),
            record.target.clone().unwrap_or_default(),
            output::reason(record.reason.as_deref()),
            why,
        ]
    });
    let columns = [
        "id", "age", "activity", "outcome", "rto", "rpo", "points", "target", "reason", "distrust",
    ];
    line(output::table(&columns, rows));
    for error in errors {
        lifeboat_core::observe::Observer::warn(run.progress.as_ref(), &error.to_string());
    }
    Ok(0)
}

fn show(run: &Run<'_>, id: &str) -> Result<u8> {
    let context = run.context()?;
    let (listed, _) = evidence::list(&context)?;
    run.results();
    let mut fitting = listed
        .into_iter()
        .filter(|l| l.record.id.as_str().starts_with(id));
    let Some(mut found) = fitting.next() else {
        return Err(
            Error::new(Code::PointUnknown, format!("no evidence begins with {id}"))
                .hint("run `lifeboat evidence list`"),
        );
    };
    if fitting.next().is_some() {
        return Err(
            Error::new(Code::PointAmbiguous, format!("{id} begins several records"))
                .hint("give more of the id"),
        );
    }
    let sealed = evidence::open_detail(&context, &mut found.record).err();
    if run.cli.json {
        let mut value = value(&found);
        if let Value::Object(map) = &mut value {
            let why = sealed.as_ref().map(output::error_value);
            map.insert("sealed".into(), json!(why));
        }
        output::json(&value)?;
        return Ok(0);
    }
    let record = &found.record;
    line(format!(
        "{} {} of {}/{}: {}",
        record.id,
        match record.activity {
            Activity::Drill => "drill",
            Activity::Restore => "restore",
        },
        record.app,
        record.environment,
        verdict(record.outcome)
    ));
    line(format!(
        "  by {} on {}, {} to {}",
        record.author, record.host, record.started, record.finished
    ));
    if let Some(reason) = &record.reason {
        line(format!("  reason: {reason}"));
    }
    if let Some(target) = &record.target {
        line(format!("  target: {target}"));
    }
    show_record(record);
    show_where_all_are(record);
    if let Some(why) = sealed {
        line(format!("  what was observed is sealed: {why}"));
        why.hint.iter().for_each(|hint| line(format!("  {hint}")));
    }
    for phase in &record.phases {
        line(format!(
            "  phase {}: {}",
            phase.name,
            output::seconds(phase.seconds)
        ));
    }
    match &found.distrust {
        None => line(format!("  signed by {}, who is trusted", record.signer)),
        Some(error) => line(format!("  not to be believed: {error}")),
    }
    Ok(0)
}

fn verify(run: &Run<'_>, cold: &Cold) -> Result<u8> {
    let want = Want::Point(Selector::Latest);
    let report = evidence::verify(&run.context_for(cold, &want)?)?;
    run.results();
    let (outcome, exit) = match (report.problems.is_empty(), report.unread.is_empty()) {
        (false, _) => ("damaged", 4),
        (true, false) => ("unread", 1),
        (true, true) => ("intact", 0),
    };
    if run.cli.json {
        output::json(&json!({
            "schema": 1, "outcome": outcome, "records": report.records,
            "problems": report.problems, "unread": report.unread, "notes": report.notes,
        }))?;
        return Ok(exit);
    }
    if exit == 0 {
        let records = if report.records == 1 {
            "record"
        } else {
            "records"
        };
        line(format!(
            "{} {records}, every signature and every chain is intact",
            report.records
        ));
    }
    let told =
        |what: &str, all: &[String]| all.iter().for_each(|one| line(format!("{what}: {one}")));
    told("wrong", &report.problems);
    told("unread", &report.unread);
    told("note", &report.notes);
    Ok(exit)
}
