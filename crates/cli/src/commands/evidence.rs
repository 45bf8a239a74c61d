//! `lifeboat evidence list|show|verify`.

use super::Run;
use super::drill::{show_record, show_where_all_are, verdict};
use crate::args::{Cold, EvidenceCommand};
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::cold::Want;
use lifeboat_core::evidence::{self, ChainOutcome, Listed, Records, Shown};
use lifeboat_core::point::Selector;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, command: &EvidenceCommand) -> Result<Exit> {
    match command {
        EvidenceCommand::List => list(run),
        EvidenceCommand::Show { id } => show(run, id),
        EvidenceCommand::Verify { cold, .. } => verify(run, cold),
    }
}

fn list(run: &Run<'_>) -> Result<Exit> {
    let context = run.context()?;
    let records = evidence::records(&context)?;
    run.answer(&records, |out| tell(out, &records, context.clock.now()))?;
    if !run.out.is_json() {
        let errors = records.errors.iter();
        errors.for_each(|error| run.warn(&error.to_string()));
    }
    Ok(Exit::Done)
}

fn tell(out: &Printer, records: &Records, now: Timestamp) {
    let mut newest_first: Vec<&Listed> = records.evidence.iter().collect();
    newest_first.sort_by_key(|l| std::cmp::Reverse(l.record.started));
    let rows = newest_first.into_iter().map(|l| {
        let record = &l.record;
        let points: Vec<_> = record.points.iter().map(|p| p.point.to_string()).collect();
        let (outcome, why) = match &l.distrust {
            None => (record.outcome.as_str(), String::new()),
            Some(error) => ("untrusted", error.message.clone()),
        };
        vec![
            record.id.to_string(),
            output::age(record.started, now),
            record.activity.as_str().to_owned(),
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
    out.table(&columns, rows);
}

fn show(run: &Run<'_>, id: &str) -> Result<Exit> {
    let shown = evidence::show(&run.context()?, id)?;
    run.results();
    match run.out.is_json() {
        // The record says which version of the format it is.
        true => run.out.json(&shown)?,
        false => tell_record(run.out, &shown),
    }
    Ok(Exit::Done)
}

fn tell_record(out: &Printer, shown: &Shown) {
    let record = &shown.record.record;
    out.line(format!(
        "{} {} of {}/{}: {}",
        record.id,
        record.activity.as_str(),
        record.app,
        record.environment,
        verdict(record.outcome)
    ));
    out.line(format!(
        "  by {} on {}, {} to {}",
        record.author, record.host, record.started, record.finished
    ));
    if let Some(reason) = &record.reason {
        out.line(format!("  reason: {reason}"));
    }
    if let Some(target) = &record.target {
        out.line(format!("  target: {target}"));
    }
    show_record(out, record);
    show_where_all_are(out, record);
    if let Some(why) = &shown.sealed {
        out.line(format!("  what was observed is sealed: {why}"));
        why.hint
            .iter()
            .for_each(|hint| out.line(format!("  {hint}")));
    }
    for phase in &record.phases {
        let seconds = output::seconds(phase.seconds);
        out.line(format!("  phase {}: {seconds}", phase.name));
    }
    out.line(match &shown.record.distrust {
        None => format!("  signed by {}, who is trusted", record.signer),
        Some(error) => format!("  not to be believed: {error}"),
    });
}

fn verify(run: &Run<'_>, cold: &Cold) -> Result<Exit> {
    let want = Want::Point(Selector::Latest);
    let report = evidence::verify(&run.context_for(cold, &want)?)?;
    run.answer(&report.document(), |out| {
        if report.outcome() == ChainOutcome::Intact {
            out.line(format!(
                "{}, every signature and every chain is intact",
                output::count(report.records, "record")
            ));
        }
        let told = |what: &str, all: &[String]| {
            all.iter()
                .for_each(|one| out.line(format!("{what}: {one}")));
        };
        told("wrong", &report.problems);
        told("unread", &report.unread);
        told("note", &report.notes);
    })?;
    Ok(report.outcome().exit())
}
