//! Tells what happened in a period, what was proved in it and what was not.
//!
//! [`report`] is pure: it goes from facts to a document, and takes every age and verdict from
//! [`crate::status`]. A thing to be done is ticked only where a job, a signed record or a restore
//! point shows that it was done. [`to_markdown`] and [`to_html`] give the document a form for people.

mod checklist;
mod compose;
mod document;
mod html;
mod markdown;
mod page;
#[cfg(test)]
mod tests;
mod words;

pub use compose::report;
pub use document::{
    Checklist, Deleted, DeletedCopy, DrillProofs, Failure, Item, JobsOfKind, Longest, Next,
    PlanAge, PlanAnomalies, PointSizes, PointsTaken, Proof, Ran, Report, ShownBy, StoreSizes, Task,
    ToldAlarm, Unproved,
};

use crate::alarm::{Outbox, open_alarms};
use crate::config::{Period, ReportFormat};
use crate::context::Context;
use crate::document::Document;
use crate::error::{Code, Error, Result};
use crate::evidence::{self, Record};
use crate::finding::Severity;
use crate::history::Job;
use crate::host::host;
use crate::kept::{self, Proofs};
use crate::name::Name;
use crate::notify::{Body, Event, Message};
use crate::point::PointId;
use crate::retention::{Decision, Reason};
use crate::status::Facts;
use crate::survey::{self, Survey};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use lifeboat_repository::forget;
use std::collections::BTreeMap;

/// Most messages of the outbox that are looked at.
const MESSAGES_MAX: usize = 1000;

/// The beginning and the end of a period, and the beginning of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its length.
    pub period: Period,
    /// Beginning of the period before.
    pub before: Timestamp,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, which is not a part of it.
    pub until: Timestamp,
}

impl Window {
    /// The period that ends at a time. Fails if there is no such time.
    pub fn ending(period: Period, until: Timestamp) -> Result<Self> {
        let span = match period {
            Period::Day => Span::new().days(1),
            Period::Week => Span::new().days(7),
            Period::Month => Span::new().months(1),
            Period::Quarter => Span::new().months(3),
            Period::Year => Span::new().years(1),
        };
        let earlier = |at: Timestamp| {
            let begun = at.to_zoned(TimeZone::UTC).checked_sub(span);
            begun.map(|begun| begun.timestamp()).map_err(|error| {
                let message = format!("no {} ends at {until}", period.as_str());
                Error::new(Code::Usage, message).cause(error)
            })
        };
        let from = earlier(until)?;
        Ok(Window {
            period,
            before: earlier(from)?,
            from,
            until,
        })
    }

    /// Returns whether a time is in the period.
    pub fn has(&self, at: Timestamp) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// What a report is made of.
pub struct Material<'a> {
    /// The facts as they are now.
    pub facts: &'a Facts,
    /// The host that writes the report.
    pub host: String,
    /// Believed records of drills and restores, the oldest first.
    pub records: &'a [Record],
    /// Copies that the rules deleted, the oldest first.
    pub deleted: Vec<DeletedCopy>,
    /// Number of copies that are announced to go.
    pub announced: u64,
    /// The newest point of each plan that a monthly rule keeps, or that is kept forever.
    pub kept_of_month: BTreeMap<Name, PointId>,
    /// Alarms that are open.
    pub open: Vec<crate::alarm::OpenAlarm>,
    /// Messages that the outbox remembers, the oldest first.
    pub messages: &'a [Message],
}

/// Gathers what is known, and writes the report of a period. `jobs` are those of this host.
pub fn gather(
    context: &Context,
    jobs: Vec<Job>,
    outbox: &Outbox,
    window: &Window,
) -> Result<Report> {
    let survey = survey::survey(context, false)?;
    let (listed, _) = evidence::list(context)?;
    let mut facts = Facts::of(context, &survey, &listed, jobs);
    facts.measure(context, &survey);
    let proofs = Proofs::of(&listed, facts.now);
    let believed = listed.into_iter();
    let believed = believed.filter(|listed| listed.distrust.is_none());
    let records: Vec<Record> = believed.map(|listed| listed.record).collect();
    let messages = outbox.remembered(window.from, window.until, MESSAGES_MAX)?;
    let material = Material {
        facts: &facts,
        host: host(),
        records: &records,
        deleted: deleted(&survey, window),
        announced: announced(&survey),
        kept_of_month: kept_of_month(context, &survey, &proofs),
        open: open_alarms(&outbox.ledger()?, facts.now),
        messages: &messages,
    };
    Ok(report(&material, window, &|text| {
        context.scrubber.scrub(text)
    }))
}

fn deleted(survey: &Survey, window: &Window) -> Vec<DeletedCopy> {
    let mut deleted: Vec<DeletedCopy> = Vec::new();
    for (store, marks) in &survey.marks {
        for (point, gone) in &marks.pruned {
            let Some(at) = marks.deleted_at.get(point).filter(|at| window.has(**at)) else {
                continue;
            };
            deleted.push(DeletedCopy {
                at: *at,
                point: point.clone(),
                plan: gone.plan.clone(),
                store: store.clone(),
                why: gone.why,
            });
        }
    }
    deleted.sort_by(|a, b| (a.at, &a.point, &a.store).cmp(&(b.at, &b.point, &b.store)));
    deleted
}

/// Copies that are still there and were announced to go.
fn announced(survey: &Survey) -> u64 {
    let leaving = survey.copies.iter();
    let leaving = leaving.filter(|(store, copy)| survey.leaving(store, copy).is_some());
    leaving.count() as u64
}

fn kept_of_month(context: &Context, survey: &Survey, proofs: &Proofs) -> BTreeMap<Name, PointId> {
    use forget::Period::Month;
    use forget::Reason::{Newest, NewestWithin, Oldest, OldestWithin};
    let of_month = |reason: &Reason| match reason {
        Reason::Forever => true,
        Reason::Rule(rule) => matches!(
            rule,
            Newest(Month) | NewestWithin(Month) | Oldest(Month) | OldestWithin(Month)
        ),
        _ => false,
    };
    let mut kept: BTreeMap<Name, PointId> = BTreeMap::new();
    for judged in kept::judge(context, survey, proofs) {
        for (held, decision) in judged.held.iter().zip(&judged.decisions) {
            let Decision::Keep(reasons) = decision else {
                continue;
            };
            if held.sound && reasons.iter().any(of_month) {
                let newest = kept.entry(judged.plan.clone());
                let newest = newest.or_insert_with(|| held.point.clone());
                if held.point > *newest {
                    newest.clone_from(&held.point);
                }
            }
        }
    }
    kept
}

/// The message that brings a report to people; `name` is what the configuration calls it. The same
/// report of the same period is the same message.
pub fn message(
    report: &Report,
    name: &Name,
    format: ReportFormat,
    contacts: Vec<String>,
) -> Result<Message> {
    let document = || {
        let document = serde_json::to_value(Document::new(report));
        document.map_err(|error| {
            Error::new(Code::Io, "the report cannot be written as JSON").cause(error)
        })
    };
    let (app, environment) = (&report.app, &report.environment);
    let (period, until) = (report.period.as_str(), words::day(report.until));
    Ok(Message {
        id: format!("report.{app}.{environment}.{name}.{}", report.until),
        alarm: format!("report.{app}.{environment}.{name}"),
        event: Event::Report,
        severity: Severity::Ok,
        at: report.at,
        app: app.clone(),
        environment: environment.clone(),
        host: report.host.clone(),
        title: format!("report of the {period} until {until} UTC"),
        items: Vec::new(),
        contacts,
        report: Some(Body {
            md: to_markdown(report),
            html: (format == ReportFormat::Html).then(|| to_html(report)),
            document: match format {
                ReportFormat::Json => Some(document()?),
                ReportFormat::Md | ReportFormat::Html => None,
            },
        }),
    })
}

/// The report as Markdown.
pub fn to_markdown(report: &Report) -> String {
    markdown::render(&page::page(report))
}

/// The report as one HTML page that needs nothing else.
pub fn to_html(report: &Report) -> String {
    html::render(&page::page(report))
}
