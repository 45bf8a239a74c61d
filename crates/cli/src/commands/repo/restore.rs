//! `lifeboat repo restore`.

use super::backup::bad_pattern;
use super::{Open, find, part};
use crate::args::repo::{Overwrite as Choice, Restore};
use crate::output::{self, Printer};
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::Restored;
use lifeboat_core::{Exit, Result};
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::restore::{self, Options, Overwrite, Report, Source};
use lifeboat_repository::snapshot::Filter;
use std::time::Duration;

pub fn run(open: &Open<'_>, args: &Restore) -> Result<Exit> {
    let begun = std::time::Instant::now();
    let patterns =
        |sensitive, insensitive| Patterns::new(sensitive, insensitive).map_err(bad_pattern);
    let (snapshot, within) = part(&args.snapshot);
    let _lock = open.read_lock()?;
    let all = open.snapshots()?;
    let (id, _) = find(&all, &Filter::from(&args.filter), snapshot)?;
    let index = open.index()?;
    let options = Options {
        within: within.into(),
        include: patterns(&args.include, &args.iinclude)?,
        exclude: patterns(&args.exclude, &args.iexclude)?,
        delete: args.delete,
        overwrite: match args.overwrite {
            Choice::Always => Overwrite::Always,
            Choice::IfChanged => Overwrite::IfChanged,
            Choice::IfNewer => Overwrite::IfNewer,
            Choice::Never => Overwrite::Never,
        },
        sparse: args.sparse,
        verify: args.verify,
        dry_run: args.dry_run,
        ..Options::new(Source::Snapshot(*id), &args.target)
    };
    open.step("restoring");
    let report = restore::run(&open.repository, &index, &options).map_err(explain)?;
    open.not_interrupted("run it again: it goes on from what is there")?;
    for unset in &report.unset {
        open.warn(&format!(
            "{}: {}: {}",
            unset.path.display(),
            unset.what,
            unset.error
        ));
    }
    let restored = Restored::new(*id, &args.target, args.dry_run, &report);
    let took = begun.elapsed();
    open.run
        .answer(&restored, |out| tell(out, args, &report, took))?;
    Ok(restored.exit())
}

fn tell(out: &Printer, args: &Restore, report: &Report, took: Duration) {
    for failed in &report.failed {
        out.line(format!(
            "failed: {}: {}",
            failed.path.display(),
            failed.cause
        ));
    }
    let would = if args.dry_run { "would be " } else { "" };
    out.line(format!(
        "{} ({}) {would}restored to {} in {}; {} right already, {} left as they are, {} deleted",
        output::count(report.files, "file"),
        output::bytes(report.bytes),
        args.target.display(),
        output::seconds(took.as_secs_f64()),
        report.unchanged,
        report.skipped,
        report.deleted,
    ));
    if args.verify {
        let read = output::count(report.verified, "file");
        out.line(format!("{read} read again and right"));
    }
    if report.owners_unset > 0 {
        out.line(match report.owners_unset {
            1 => "1 entry has another owner: only root may set it".to_owned(),
            count => format!("{count} entries have another owner: only root may set it"),
        });
    }
    if !report.failed.is_empty() {
        let count = output::count(report.failed.len(), "entry");
        out.line(format!("{count} failed"));
    }
}
