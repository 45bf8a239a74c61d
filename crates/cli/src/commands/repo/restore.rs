//! `lifeboat repo restore`.

use super::backup::bad_pattern;
use super::{Open, find, part};
use crate::args::repo::{Overwrite as Choice, Restore};
use crate::output;
use lifeboat_core::explain::explain;
use lifeboat_core::{Exit, Result};
use lifeboat_repository::pattern::Patterns;
use lifeboat_repository::restore::{self, Options, Overwrite, Source};
use lifeboat_repository::snapshot::Filter;
use serde_json::json;

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
    open.run.results();
    let failed = report.failed.iter();
    if open.json() {
        open.run.out.json(&json!({
            "schema": 1,
            "snapshot": id,
            "target": args.target.to_string_lossy(),
            "dry_run": args.dry_run,
            "files": report.files,
            "bytes": report.bytes,
            "bytes_reused": report.bytes_reused,
            "unchanged": report.unchanged,
            "skipped": report.skipped,
            "directories": report.directories,
            "specials": report.specials,
            "hard_links": report.hard_links,
            "deleted": report.deleted,
            "verified": report.verified,
            "owners_unset": report.owners_unset,
            "failed": failed.map(|failed| json!({
                "path": failed.path.to_string_lossy(),
                "error": failed.cause.to_string(),
                "partial": failed.partial.as_ref().map(|name| name.to_string_lossy()),
                "missing_bytes": failed.missing_bytes,
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        for failed in failed {
            open.run.out.line(format!(
                "failed: {}: {}",
                failed.path.display(),
                failed.cause
            ));
        }
        let would = if args.dry_run { "would be " } else { "" };
        open.run.out.line(format!(
            "{} ({}) {would}restored to {} in {}; {} right already, {} left as they are, {} deleted",
            output::count(report.files, "file"),
            output::bytes(report.bytes),
            args.target.display(),
            output::seconds(begun.elapsed().as_secs_f64()),
            report.unchanged,
            report.skipped,
            report.deleted,
        ));
        if args.verify {
            let read = output::count(report.verified, "file");
            open.run.out.line(format!("{read} read again and right"));
        }
        if report.owners_unset > 0 {
            open.run.out.line(match report.owners_unset {
                1 => "1 entry has another owner: only root may set it".to_owned(),
                count => format!("{count} entries have another owner: only root may set it"),
            });
        }
        if !report.failed.is_empty() {
            open.run.out.line(format!(
                "{} failed",
                output::count(report.failed.len(), "entry")
            ));
        }
    }
    Ok(if report.failed.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
