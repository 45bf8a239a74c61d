//! `lifeboat repo forget` and `prune`.

use super::snapshots::{table, value};
use super::{Open, local, meant, span, tag_lists, zone};
use crate::args::repo::{Forget, Prune};
use crate::output::{self, Printer};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_core::explain::explain;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::forget::{self, Policy};
use lifeboat_repository::lock::Mode;
use lifeboat_repository::prune;
use lifeboat_repository::snapshot::{Filter, Group, GroupBy, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn usage(option: &str) -> impl Fn(String) -> Error {
    move |why| {
        Error::new(Code::Usage, format!("{option}: {why}"))
            .hint("see `lifeboat repo forget --help`")
    }
}

fn policy(args: &Forget) -> Result<Policy> {
    let mut policy = Policy {
        tags: tag_lists(&args.keep_tag),
        ..Policy::default()
    };
    if let Some(count) = &args.keep_last {
        policy.last = count.parse().map_err(usage("--keep-last"))?;
    }
    let counts = [
        ("--keep-hourly", &args.keep_hourly),
        ("--keep-daily", &args.keep_daily),
        ("--keep-weekly", &args.keep_weekly),
        ("--keep-monthly", &args.keep_monthly),
        ("--keep-yearly", &args.keep_yearly),
    ];
    for (rule, (option, given)) in policy.each.iter_mut().zip(counts) {
        if let Some(count) = given {
            *rule = count.parse().map_err(usage(option))?;
        }
    }
    if let Some(length) = &args.keep_within {
        policy.within = length.parse().map_err(usage("--keep-within"))?;
    }
    let lengths = [
        ("--keep-within-hourly", &args.keep_within_hourly),
        ("--keep-within-daily", &args.keep_within_daily),
        ("--keep-within-weekly", &args.keep_within_weekly),
        ("--keep-within-monthly", &args.keep_within_monthly),
        ("--keep-within-yearly", &args.keep_within_yearly),
    ];
    for (rule, (option, given)) in policy.within_each.iter_mut().zip(lengths) {
        if let Some(length) = given {
            *rule = length.parse().map_err(usage(option))?;
        }
    }
    Ok(policy)
}

/// A group of snapshots, each with why it is kept.
struct Judged<'s> {
    group: Group,
    kept: Vec<(&'s (Id, Snapshot), Vec<String>)>,
    removed: Vec<&'s (Id, Snapshot)>,
}

pub fn forget(open: &Open<'_>, args: &Forget) -> Result<Exit> {
    let policy = policy(args)?;
    if policy.is_empty() && args.snapshots.is_empty() {
        return Err(Error::new(Code::Usage, "no rule says what to keep")
            .hint("give at least one, as --keep-daily 7, or name the snapshots to remove"));
    }
    let by: GroupBy = args.group_by.parse().map_err(usage("--group-by"))?;
    let filter = Filter::from(&args.filter);
    let lock = match args.dry_run {
        true => open.lock(Mode::Shared)?,
        false => open.lock(Mode::Exclusive)?,
    };
    let all = open.snapshots()?;
    let judged = match args.snapshots.as_slice() {
        [] => judge(&all, &filter, by, &policy),
        named => vec![Judged {
            group: Group::default(),
            kept: Vec::new(),
            removed: meant(&all, &filter, named)?,
        }],
    };
    let removed: Vec<Id> = judged
        .iter()
        .flat_map(|g| g.removed.iter().map(|s| s.0))
        .collect();
    if let Some(emptied) = judged.iter().find(|group| {
        args.snapshots.is_empty() && group.kept.is_empty() && !group.removed.is_empty()
    }) {
        return Err(Error::new(
            Code::Usage,
            format!("the rules keep nothing of {}", name(&emptied.group)),
        )
        .hint("give rules that keep something, or name the snapshots to remove"));
    }
    if !args.dry_run {
        forget::remove(&open.repository, &removed).map_err(explain)?;
    }
    if let Some(lock) = lock {
        lock.release().map_err(explain)?;
    }
    let pruned = match args.prune && !args.dry_run && !removed.is_empty() {
        true => Some(pruned(open, prune::Options::default())?),
        false => None,
    };
    open.run.results();
    if open.json() {
        let groups: Vec<Value> = judged
            .iter()
            .map(|judged| {
                let kept = judged.kept.iter().map(|((id, snapshot), reasons)| {
                    json!({ "snapshot": value(id, snapshot), "reasons": reasons })
                });
                let removed = judged
                    .removed
                    .iter()
                    .map(|(id, snapshot)| value(id, snapshot));
                json!({
                    "group": judged.group,
                    "keep": kept.collect::<Vec<_>>(),
                    "remove": removed.collect::<Vec<_>>(),
                })
            })
            .collect();
        let pruned = pruned.as_ref().map(report_value);
        open.run.out.json(
            &json!({ "schema": 1, "dry_run": args.dry_run, "groups": groups, "prune": pruned }),
        )?;
        return Ok(Exit::Done);
    }
    for judged in &judged {
        if args.snapshots.is_empty() {
            open.run.out.line(format!("{}:", name(&judged.group)));
            let rows = judged.kept.iter().map(|((id, snapshot), reasons)| {
                vec![id.short(), local(&snapshot.time), reasons.join(", ")]
            });
            open.run.out.table(&["kept", "time", "because"], rows);
        }
        if !judged.removed.is_empty() {
            open.run.out.line(if args.dry_run {
                "would be removed:"
            } else {
                "removed:"
            });
            table(open.run.out, judged.removed.iter().copied());
        }
    }
    if !judged.is_empty() {
        open.run.out.line(format!("times in {}", zone()));
    }
    let count = output::count(removed.len(), "snapshot");
    open.run.out.line(match (removed.len(), args.dry_run) {
        (0, _) => "nothing is to be removed".to_owned(),
        (_, true) => format!("{count} would be removed"),
        (_, false) if pruned.is_some() => format!("{count} removed"),
        (_, false) => {
            format!("{count} removed; `lifeboat repo prune` frees what only they needed")
        }
    });
    if let Some(report) = pruned {
        show(open.run.out, &report, false);
    }
    Ok(Exit::Done)
}

fn name(group: &Group) -> String {
    let mut parts = Vec::new();
    if let Some(host) = &group.host {
        parts.push(format!("host {host}"));
    }
    if let Some(paths) = &group.paths {
        parts.push(paths.join(", "));
    }
    if let Some(tags) = &group.tags {
        parts.push(match tags.is_empty() {
            true => "no tags".to_owned(),
            false => format!("tags {}", tags.join(",")),
        });
    }
    match parts.is_empty() {
        true => "all snapshots".to_owned(),
        false => parts.join("; "),
    }
}

fn judge<'s>(
    all: &'s [(Id, Snapshot)],
    filter: &Filter,
    by: GroupBy,
    policy: &Policy,
) -> Vec<Judged<'s>> {
    let mut groups: BTreeMap<Group, Vec<&(Id, Snapshot)>> = BTreeMap::new();
    for entry in all.iter().filter(|(_, s)| filter.matches(s)) {
        groups.entry(by.group(&entry.1)).or_default().push(entry);
    }
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let judge = |(group, entries): (Group, Vec<&'s (Id, Snapshot)>)| {
        let snapshots: Vec<&Snapshot> = entries.iter().map(|(_, s)| s).collect();
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (entry, reasons) in entries.iter().zip(policy.apply(&snapshots, now, &zone)) {
            match reasons.is_empty() {
                true => removed.push(*entry),
                false => kept.push((*entry, reasons.iter().map(ToString::to_string).collect())),
            }
        }
        Judged {
            group,
            kept,
            removed,
        }
    };
    groups.into_iter().map(judge).collect()
}

pub fn prune(open: &Open<'_>, args: &Prune) -> Result<Exit> {
    let percent = args
        .max_unused
        .strip_suffix('%')
        .unwrap_or(&args.max_unused);
    let percent: f64 = percent
        .parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| {
            Error::new(
                Code::Usage,
                format!("--max-unused: {:?} is no share", args.max_unused),
            )
            .hint("write it as 5%")
        })?;
    let grace = span(&args.grace, "--grace")?;
    let options = prune::Options {
        grace: SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
        max_unused: percent / 100.0,
        dry_run: args.dry_run,
        ..prune::Options::default()
    };
    let report = pruned(open, options)?;
    open.run.results();
    match open.json() {
        true => {
            let mut value = report_value(&report);
            if let Value::Object(map) = &mut value {
                map.insert("schema".into(), json!(1));
                map.insert("dry_run".into(), json!(args.dry_run));
            }
            open.run.out.json(&value)?;
        }
        false => show(open.run.out, &report, args.dry_run),
    }
    Ok(Exit::Done)
}

fn pruned(open: &Open<'_>, options: prune::Options) -> Result<prune::Report> {
    open.step("pruning");
    let options = prune::Options {
        wait: open.wait()?,
        author: open.author.clone(),
        ..options
    };
    prune::run(&open.repository, &options).map_err(explain)
}

fn report_value(report: &prune::Report) -> Value {
    let packs = |packs: &prune::Packs| json!({ "packs": packs.count, "bytes": packs.bytes });
    json!({
        "snapshots": report.snapshots,
        "kept": packs(&report.kept),
        "unused_bytes": report.unused_bytes,
        "repacked": packs(&report.repacked),
        "marked": packs(&report.marked),
        "recovered": packs(&report.recovered),
        "waiting": packs(&report.waiting),
        "deleted": packs(&report.deleted),
        "missing": report.missing,
    })
}

fn show(out: &Printer, report: &prune::Report, dry_run: bool) {
    let packs = |packs: &prune::Packs| {
        let count = output::count(packs.count, "pack");
        format!("{count}, {}", output::bytes(packs.bytes))
    };
    let would = if dry_run { "would be " } else { "" };
    out.line(format!(
        "kept: {}, of which {} are not needed",
        packs(&report.kept),
        output::bytes(report.unused_bytes)
    ));
    for (what, some) in [
        (format!("{would}repacked"), &report.repacked),
        (format!("{would}marked to be deleted"), &report.marked),
        (
            format!("{would}put back, since they are needed after all"),
            &report.recovered,
        ),
        ("waiting to be deleted".to_owned(), &report.waiting),
        (format!("{would}deleted"), &report.deleted),
    ] {
        if some.count > 0 {
            out.line(format!("{what}: {}", packs(some)));
        }
    }
    if report.missing > 0 {
        out.line(match report.missing {
            1 => "1 pack that nothing needs is missing".to_owned(),
            count => format!("{count} packs that nothing needs are missing"),
        });
    }
}
