//! `lifeboat repo forget` and `prune`.

use super::snapshots::table;
use super::{Open, local, meant, span, tag_lists, zone};
use crate::args::repo::{Forget, Prune};
use crate::output::{self, Printer};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::{Forgotten, Pruned};
use lifeboat_core::repo::forget::{Judged, judge, name};
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::forget::{self, Policy};
use lifeboat_repository::lock::Mode;
use lifeboat_repository::prune;
use lifeboat_repository::snapshot::{Filter, Group, GroupBy};

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
        [] => judge(
            &all,
            &filter,
            by,
            &policy,
            Timestamp::now(),
            &TimeZone::system(),
        )?,
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
    let forgotten = Forgotten::new(args.dry_run, &judged, pruned.as_ref());
    open.run.answer(&forgotten, |out| {
        tell(out, args, &judged);
        let end = match (removed.len(), args.dry_run, &pruned) {
            (0, _, _) => "nothing is to be removed".to_owned(),
            (count, true, _) => format!("{} would be removed", output::count(count, "snapshot")),
            (count, false, Some(_)) => format!("{} removed", output::count(count, "snapshot")),
            (count, false, None) => format!(
                "{} removed; `lifeboat repo prune` frees what only they needed",
                output::count(count, "snapshot")
            ),
        };
        out.line(end);
        if let Some(report) = &pruned {
            show(out, report, false);
        }
    })?;
    Ok(Exit::Done)
}

fn tell(out: &Printer, args: &Forget, judged: &[Judged<'_>]) {
    for group in judged {
        if args.snapshots.is_empty() {
            out.line(format!("{}:", name(&group.group)));
            let rows = group.kept.iter().map(|((id, snapshot), reasons)| {
                vec![id.short(), local(&snapshot.time), reasons.join(", ")]
            });
            out.table(&["kept", "time", "because"], rows);
        }
        if !group.removed.is_empty() {
            out.line(match args.dry_run {
                true => "would be removed:",
                false => "removed:",
            });
            table(out, group.removed.iter().copied());
        }
    }
    if !judged.is_empty() {
        out.line(format!("times in {}", zone()));
    }
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
        true => open.run.out.json(&Pruned::new(args.dry_run, &report))?,
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
