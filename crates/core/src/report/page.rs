//! A report as sections of text, lists and tables, from which each form for people is made.
//!
//! Every text is plain here and may hold anything: whoever renders it escapes it.

use super::document::{DrillProofs, Item, Proof, Report, ShownBy};
use super::words::{day, every, list, measured, percent, seconds, task};
use crate::amount::{bytes, count};
use crate::anomaly::Compared;
use crate::status::{DrillStanding, Freshness};
use crate::visible::cut;

/// Longest text of a job or an alarm.
const TEXT_CHARS_MAX: usize = 600;

/// A page.
pub(super) struct Page {
    pub title: String,
    /// What stands before the first section.
    pub lead: Vec<Block>,
    pub sections: Vec<Section>,
}

/// A section.
pub(super) struct Section {
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

/// A part of a section.
pub(super) enum Block {
    Heading(&'static str),
    Text(Line),
    List(Vec<Line>),
    Checks(Vec<Check>),
    Table {
        head: &'static [&'static str],
        rows: Vec<Vec<String>>,
    },
}

/// A line of text, and a command at its end.
pub(super) struct Line {
    pub text: String,
    pub code: Option<String>,
}

/// Something that is done or open.
pub(super) struct Check {
    pub done: bool,
    pub line: Line,
    pub notes: Vec<Line>,
}

impl Line {
    /// A line without a command.
    pub fn text(text: impl Into<String>) -> Self {
        Line {
            text: text.into(),
            code: None,
        }
    }

    fn with(text: impl Into<String>, code: impl Into<String>) -> Self {
        Line {
            text: text.into(),
            code: Some(code.into()),
        }
    }
}

fn text(text: impl Into<String>) -> Block {
    Block::Text(Line::text(text))
}

/// The page of a report.
pub(super) fn page(report: &Report) -> Page {
    let (app, environment) = (&report.app, &report.environment);
    let section = |title, blocks| Section { title, blocks };
    Page {
        title: format!("Backups of {app}/{environment}: {}", report.period.as_str()),
        lead: lead(report),
        sections: vec![
            section("What ran", ran(report)),
            section("What was proved", proved(report)),
            section("What was not proved", unproved(report)),
            section("Ages against targets", ages(report)),
            section("Sizes", sizes(report)),
            section("Anomalies", anomalies(report)),
            section("Deleted by the rules", deleted(report)),
            section("Alarms", alarms(report)),
            section("Due next", next(report)),
            section("Checklists", checklists(report)),
        ],
    }
}

/// The period, and in a few lines what matters most: some channels show no more.
fn lead(report: &Report) -> Vec<Block> {
    let (from, until) = (day(report.from), day(report.until));
    let at = day(report.at);
    let jobs: u64 = report.ran.jobs.iter().map(|kind| kind.jobs).sum();
    let failed = report.ran.failures.len() as u64 + report.ran.failures_unlisted;
    let taken: u64 = report.ran.points.iter().map(|plan| plan.complete).sum();
    let overdue = report.plans.iter();
    let overdue: Vec<_> = overdue.filter(|p| p.freshness.is_overdue()).collect();
    let verified = report.drills.iter().flat_map(|drill| &drill.records);
    let verified = verified.filter(|r| r.outcome == crate::evidence::Verdict::Verified);
    let mut lines = vec![
        format!("{}, {failed} not successful", count(jobs, "job")),
        format!("{} taken", count(taken, "complete point")),
        match overdue.is_empty() {
            true => "no plan is overdue".to_owned(),
            false => {
                let names = overdue.iter().map(|plan| plan.plan.to_string());
                format!("overdue: {}", list(names))
            }
        },
        format!(
            "{} verified by drills",
            count(verified.count() as u64, "restore")
        ),
        match report.unproved.sources.len() {
            0 => "every source is covered by a verified restore".to_owned(),
            open => format!(
                "{} not covered by a verified restore",
                count(open as u64, "source")
            ),
        },
        format!("{} open", count(report.alarms.len() as u64, "alarm")),
    ];
    let items = report.checklists.iter().flat_map(|list| &list.items);
    let open = items.filter(|item| !item.done).count() as u64;
    lines.push(format!("{} of the checklists open", count(open, "item")));
    vec![
        text(format!(
            "From {from} to {until} UTC. Written by lifeboat on {} at {at} UTC: ages, open alarms and what is due next hold for that time.",
            report.host
        )),
        Block::List(lines.into_iter().map(Line::text).collect()),
    ]
}

fn ran(report: &Report) -> Vec<Block> {
    let ran = &report.ran;
    let mut blocks = vec![match ran.noted_since {
        None => text("This host has no history of jobs: what follows is from the stores."),
        Some(since) if since > report.from => text(format!(
            "The history of this host begins at {} UTC: earlier jobs are not counted.",
            day(since)
        )),
        Some(_) if ran.jobs.is_empty() => text("No job ended in this period."),
        Some(_) => text("Jobs of this host that ended in this period:"),
    }];
    if !ran.jobs.is_empty() {
        let rows = ran.jobs.iter().map(|kind| {
            let outcomes = kind.outcomes.iter();
            let outcomes = outcomes.map(|(outcome, count)| format!("{count} {outcome}"));
            let longest = kind.longest.as_ref();
            let longest = longest.map(|l| format!("{}, {}", seconds(l.seconds), l.subject));
            vec![
                kind.kind.as_str().to_owned(),
                kind.jobs.to_string(),
                list(outcomes),
                longest.unwrap_or_default(),
            ]
        });
        blocks.push(Block::Table {
            head: &["kind", "jobs", "outcomes", "longest"],
            rows: rows.collect(),
        });
    }
    if !ran.failures.is_empty() {
        blocks.push(Block::Heading("Not successful"));
        let lines = ran.failures.iter().map(|failure| {
            let (kind, subject) = (failure.kind.as_str(), &failure.subject);
            let (outcome, at) = (failure.outcome.as_str(), day(failure.at));
            let said = said(failure.message.as_deref().unwrap_or_default());
            let line = format!("{at}: {kind} of {subject} {outcome}: {said}; see");
            Line::with(line, format!("lifeboat jobs {}", failure.job))
        });
        blocks.push(Block::List(lines.collect()));
        blocks.extend(beyond(ran.failures_unlisted, "older failure"));
    }
    blocks.push(Block::Heading("Points in the stores"));
    let rows = ran.points.iter().map(|taken| {
        let newest = taken.newest.as_ref().map(ToString::to_string);
        let silence = taken.silence.as_ref().map(|s| seconds(s.seconds));
        vec![
            taken.plan.to_string(),
            taken.complete.to_string(),
            taken.others.to_string(),
            newest.unwrap_or_default(),
            silence.unwrap_or_default(),
        ]
    });
    blocks.push(Block::Table {
        head: &["plan", "complete", "others", "newest", "longest gap"],
        rows: rows.collect(),
    });
    blocks
}

/// Text from elsewhere on one line, cut.
fn said(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    cut(&words.join(" "), TEXT_CHARS_MAX)
}

fn beyond(number: u64, what: &str) -> Option<Block> {
    (number > 0).then(|| text(format!("… and {} beyond these.", count(number, what))))
}

fn proved(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    if report.drills.is_empty() {
        blocks.push(text("There is no drill: nothing is proved by itself."));
    } else {
        let rows = report.drills.iter().map(|drill| {
            vec![
                drill.drill.to_string(),
                standing(drill),
                drill.age_seconds.map(seconds).unwrap_or_default(),
                drill.max_age_seconds.map(seconds).unwrap_or_default(),
                drill.records.len().to_string(),
            ]
        });
        blocks.push(Block::Table {
            head: &["drill", "standing", "age of proof", "limit", "records"],
            rows: rows.collect(),
        });
    }
    for drill in &report.drills {
        let of = format!("drill {}", drill.drill);
        blocks.push(Block::List(
            drill.records.iter().map(|r| record(&of, r)).collect(),
        ));
        blocks.extend(beyond(drill.records_unlisted, "older record"));
    }
    if !report.restores.is_empty() {
        blocks.push(Block::Heading("Restores"));
        let lines = report.restores.iter().map(|r| record("restore", r));
        blocks.push(Block::List(lines.collect()));
    }
    blocks.retain(|block| !matches!(block, Block::List(lines) if lines.is_empty()));
    blocks
}

fn standing(drill: &DrillProofs) -> String {
    match drill.standing {
        DrillStanding::Failed if drill.overdue => "failed, overdue".to_owned(),
        standing => standing.as_str().to_owned(),
    }
}

fn record(of: &str, proof: &Proof) -> Line {
    let points = list(proof.points.iter().map(ToString::to_string));
    let took = measured(proof.rto_seconds);
    let target = match (proof.rto_target_seconds, proof.rto_missed) {
        (None, _) => "no target".to_owned(),
        (Some(target), false) => format!("within the target of {}", seconds(target)),
        (Some(target), true) => format!("MISSED the target of {}", seconds(target)),
    };
    let (at, outcome) = (day(proof.at), proof.outcome.as_str());
    let line = format!("{at}: {of}: {outcome}, point {points}, in {took}, {target}; see");
    Line::with(line, format!("lifeboat evidence show {}", proof.evidence))
}

fn unproved(report: &Report) -> Vec<Block> {
    let unproved = &report.unproved;
    let mut lines = Vec::new();
    for source in &unproved.sources {
        let of = format!("Source {} of plan {}", source.source, source.plan);
        let max = seconds(source.max_age_seconds);
        lines.push(Line::text(match (source.age_seconds, &source.evidence) {
            (Some(age), Some(record)) => {
                let age = seconds(age);
                format!("{of}: verified {age} ago in {record}, more than {max}.")
            }
            _ => format!("{of}: no verified record covers it."),
        }));
    }
    for drill in &unproved.drills {
        let line = format!("Drill {drill} was not verified for longer than it may be.");
        lines.push(Line::with(line, format!("lifeboat drill {drill}")));
    }
    for verify in &unproved.verifications {
        let line = format!("Verification {verify} is overdue, or found something wrong.");
        lines.push(Line::with(line, "lifeboat verify"));
    }
    let mut blocks = match lines.is_empty() {
        true => vec![text(
            "Every source of every plan is covered by a verified record.",
        )],
        false => vec![Block::List(lines)],
    };
    let proofs = report.drills.iter().flat_map(|drill| drill.records.last());
    let limited: Vec<&Proof> = proofs.filter(|proof| !proof.limits.is_empty()).collect();
    if !limited.is_empty() {
        blocks.push(Block::Heading("Limits of the newest proofs"));
    }
    for proof in limited {
        blocks.push(text(format!("{} does not prove:", proof.evidence)));
        let limits = proof.limits.iter().map(|limit| Line::text(said(limit)));
        blocks.push(Block::List(limits.collect()));
        blocks.extend(beyond(proof.limits_unlisted, "limit"));
    }
    blocks
}

fn ages(report: &Report) -> Vec<Block> {
    let rows = report.plans.iter().map(|plan| {
        let fresh = match plan.freshness {
            Freshness::Overdue | Freshness::Never => plan.freshness.as_str().to_uppercase(),
            fresh => fresh.as_str().to_owned(),
        };
        vec![
            plan.plan.to_string(),
            plan.point
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            plan.age_seconds.map(seconds).unwrap_or_default(),
            plan.limit_seconds.map(seconds).unwrap_or_default(),
            fresh,
        ]
    });
    vec![Block::Table {
        head: &["plan", "newest point", "age", "limit", "state"],
        rows: rows.collect(),
    }]
}

fn sizes(report: &Report) -> Vec<Block> {
    let points = report.point_sizes.iter().map(|sizes| {
        vec![
            sizes.plan.to_string(),
            sizes.points.to_string(),
            sizes.bytes.map(bytes).unwrap_or_default(),
            sizes.points_before.to_string(),
            sizes.bytes_before.map(bytes).unwrap_or_default(),
            sizes.drift_percent.map(percent).unwrap_or_default(),
        ]
    });
    let stores = report.store_sizes.iter().map(|sizes| {
        vec![
            sizes.store.to_string(),
            sizes.points.to_string(),
            bytes(sizes.bytes),
            bytes(sizes.bytes_added),
            bytes(sizes.bytes_added_before),
        ]
    });
    let mut blocks = vec![
        text("The middle size of a plan's complete points, and that of the period before:"),
        Block::Table {
            head: &["plan", "points", "size", "before", "size before", "drift"],
            rows: points.collect(),
        },
        text("What the stores hold, and what was added in this period and the one before:"),
        Block::Table {
            head: &["store", "points", "holds", "added", "added before"],
            rows: stores.collect(),
        },
    ];
    let silent = report.store_sizes.iter().filter_map(|sizes| {
        let error = said(sizes.error.as_deref()?);
        let line = format!("Store {} did not answer: {error}", sizes.store);
        Some(Line::text(line))
    });
    let silent: Vec<Line> = silent.collect();
    if !silent.is_empty() {
        blocks.push(Block::List(silent));
    }
    blocks
}

fn anomalies(report: &Report) -> Vec<Block> {
    let mut lines = Vec::new();
    for plan in &report.anomalies {
        let name = &plan.plan;
        if let Some(point) = &plan.point {
            lines.extend(plan.anomalies.iter().map(|anomaly| {
                let line = format!("Plan {name}: {}.", said(&anomaly.text()));
                Line::with(line, format!("lifeboat diff {point}"))
            }));
        }
        if plan.anomalies_unlisted > 0 {
            let more = plan.anomalies_unlisted;
            lines.push(Line::text(format!("Plan {name}: … and {more} more.")));
        }
        let why = match plan.compared {
            Some(Compared::Content) => continue,
            Some(Compared::StoredBytes) => "only stored bytes were compared, the rest is sealed",
            Some(Compared::Unknown) => "nothing was compared, its content is sealed",
            Some(Compared::TooFewPoints) => "nothing was compared, it has too few points yet",
            Some(Compared::Off) => "nothing was compared, since the plan says so",
            None if plan.point.is_some() => "nothing was compared, nothing is known of its content",
            None => "it has no complete point",
        };
        lines.push(Line::text(format!("Plan {name}: {why}.")));
    }
    match lines.is_empty() {
        true => vec![text("The newest point of every plan is as usual.")],
        false => vec![Block::List(lines)],
    }
}

fn deleted(report: &Report) -> Vec<Block> {
    let deleted = &report.deleted;
    let copies = match deleted.copies {
        1 => "1 copy was deleted".to_owned(),
        number => format!("{number} copies were deleted"),
    };
    let mut blocks = vec![text(format!(
        "{copies}; {} announced, and may go next.",
        match deleted.announced {
            1 => "1 copy is".to_owned(),
            number => format!("{number} copies are"),
        }
    ))];
    if !deleted.listed.is_empty() {
        let rows = deleted.listed.iter().map(|gone| {
            vec![
                day(gone.at),
                gone.point.to_string(),
                gone.store.to_string(),
                gone.why.to_string(),
            ]
        });
        blocks.push(Block::Table {
            head: &["deleted", "point", "store", "why"],
            rows: rows.collect(),
        });
        let unlisted = deleted.copies.saturating_sub(deleted.listed.len() as u64);
        blocks.extend(beyond(unlisted, "older deletion"));
    }
    blocks
}

fn alarms(report: &Report) -> Vec<Block> {
    let mut blocks = Vec::new();
    if report.alarms.is_empty() {
        blocks.push(text("No alarm is open."));
    }
    for alarm in &report.alarms {
        let since = day(alarm.since);
        let mut line = format!("Open: {} ({}), since {since}.", alarm.cause, alarm.alarm);
        if let Some(acknowledged) = &alarm.acknowledged {
            let (by, until) = (&acknowledged.by, day(acknowledged.until));
            line += &format!(" {by} takes care of it until {until}.");
        }
        blocks.push(text(line));
        let conditions = alarm.conditions.iter();
        let lines = conditions.map(|c| Line::text(said(&c.text)));
        blocks.push(Block::List(lines.collect()));
    }
    if !report.told.is_empty() {
        blocks.push(Block::Heading("Told in this period"));
        let lines = report.told.iter().map(|alarm| {
            let opened = alarm.opened.map(|at| format!("new at {}", day(at)));
            let ended = alarm.ended.map(|at| format!("over at {}", day(at)));
            let messages = count(alarm.messages, "message");
            let times = opened.into_iter().chain(ended).chain([messages]);
            let title = said(&alarm.title);
            Line::text(format!("{title} ({})", list(times)))
        });
        blocks.push(Block::List(lines.collect()));
    }
    blocks
}

fn next(report: &Report) -> Vec<Block> {
    if report.next.is_empty() {
        return vec![text("Nothing is due by itself.")];
    }
    let rows = report.next.iter().map(|next| {
        let at = match next.at <= report.at {
            true => "now".to_owned(),
            false => day(next.at),
        };
        vec![at, next.kind.as_str().to_owned(), next.subject.to_string()]
    });
    vec![Block::Table {
        head: &["when", "what", "of"],
        rows: rows.collect(),
    }]
}

fn checklists(report: &Report) -> Vec<Block> {
    let mut blocks = vec![text(
        "What is ticked was shown in this period, by what is named below it. What is open needs a person.",
    )];
    for checklist in &report.checklists {
        blocks.push(Block::Heading(every(checklist.every)));
        let checks = checklist.items.iter().map(check);
        blocks.push(Block::Checks(checks.collect()));
    }
    blocks
}

fn check(item: &Item) -> Check {
    let mut notes = Vec::new();
    let note = item.note.as_deref().map(said);
    let by = list(item.shown_by.iter().map(shown_by));
    match (note, item.done) {
        (Some(note), true) => notes.push(Line::text(format!("{by}: {note}"))),
        (None, true) => notes.push(Line::text(by)),
        (note, false) => notes.push(Line {
            text: note.map_or_else(String::new, |note| format!("{note}:")),
            code: item.command.clone(),
        }),
    }
    Check {
        done: item.done,
        line: Line::text(task(item.task)),
        notes,
    }
}

fn shown_by(by: &ShownBy) -> String {
    match by {
        ShownBy::Job(id) => format!("job {id}"),
        ShownBy::Evidence(id) => format!("evidence {id}"),
        ShownBy::Point(id) => format!("point {id}"),
        ShownBy::Drill(name) => format!("drill {name}"),
    }
}
