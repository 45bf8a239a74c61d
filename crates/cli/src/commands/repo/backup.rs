//! `lifeboat repo backup`.

use super::{Open, find};
use crate::args::repo::Backup;
use crate::output::{self, line};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_core::repo::explain;
use lifeboat_core::{Code, Error, Result};
use lifeboat_repository::Id;
use lifeboat_repository::backup::{self, Options};
use lifeboat_repository::lock::Mode;
use lifeboat_repository::snapshot::{Filter, GroupBy, Snapshot};
use lifeboat_repository::time::Time;
use serde_json::json;
use std::path::PathBuf;

pub fn run(open: &Open<'_>, args: &Backup) -> Result<u8> {
    let paths: Vec<PathBuf> = args.paths.iter().map(absolute).collect::<Result<_>>()?;
    let begun = std::time::Instant::now();
    let zone = TimeZone::system();
    let time = Time::new(Timestamp::now(), &zone);
    let hostname = args
        .host
        .clone()
        .unwrap_or_else(|| open.author.host.clone());
    let _lock = open.lock(Mode::Shared)?;
    let parent = match (args.force, &args.parent) {
        (true, _) => None,
        (false, Some(text)) => Some(find(&open.snapshots()?, &Filter::default(), text)?.0),
        (false, None) => parent(&open.snapshots()?, &paths, &hostname, time),
    };
    let (index, errors) = open.repository.load_index().map_err(explain)?;
    for error in errors {
        open.warn(&error.to_string());
    }
    let options = Options {
        paths,
        parent,
        time,
        zone,
        hostname,
        username: open.author.user.clone(),
        tags: args.tag.clone(),
        one_file_system: args.one_file_system,
        program: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).into(),
    };
    open.step("backing up");
    let report = backup::run(&open.repository, &index, &options).map_err(explain)?;
    for skipped in &report.skipped {
        open.warn(&format!(
            "left out {}: {}",
            skipped.path.display(),
            skipped.error
        ));
    }
    open.run.results();
    let added = &report.added;
    if open.json() {
        output::json(&json!({
            "schema": 1,
            "snapshot": report.snapshot,
            "parent": parent,
            "tree": report.tree,
            "files": report.files,
            "files_unmodified": report.files_unmodified,
            "directories": report.directories,
            "bytes": report.bytes,
            "added": {
                "data_blobs": added.data_blobs,
                "tree_blobs": added.tree_blobs,
                "bytes": added.bytes,
                "stored_bytes": added.stored_bytes,
            },
            "seconds": begun.elapsed().as_secs_f64(),
            "skipped": report.skipped.iter().map(|skipped| json!({
                "path": skipped.path.to_string_lossy(),
                "error": skipped.error.to_string(),
            })).collect::<Vec<_>>(),
        }))?;
    } else {
        line(format!(
            "snapshot {}: {} files in {} directories, {}",
            report.snapshot.short(),
            report.files,
            report.directories,
            output::bytes(report.bytes)
        ));
        line(format!(
            "  {} files as before; {} new, stored in {}; {}",
            report.files_unmodified,
            output::bytes(added.bytes),
            output::bytes(added.stored_bytes),
            output::seconds(begun.elapsed().as_secs_f64())
        ));
        if !report.skipped.is_empty() {
            line(format!("  {} entries were left out", report.skipped.len()));
        }
    }
    Ok(if report.skipped.is_empty() { 0 } else { 3 })
}

/// An absolute path without `.` and `..`, of something that is there.
fn absolute(path: &PathBuf) -> Result<PathBuf> {
    let unusable = |error: std::io::Error| {
        Error::new(
            Code::SourceMissing,
            format!("{} cannot be backed up", path.display()),
        )
        .cause(error)
    };
    std::fs::symlink_metadata(path).map_err(unusable)?;
    let absolute = std::path::absolute(path).map_err(unusable)?;
    let mut clean = PathBuf::new();
    for component in absolute.components() {
        match component {
            // As restic takes it: by name, not by where a link leads.
            std::path::Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    Ok(clean)
}

/// The newest snapshot of the same host and paths that is not from the future.
fn parent(
    snapshots: &[(Id, Snapshot)],
    paths: &[PathBuf],
    hostname: &str,
    time: Time,
) -> Option<Id> {
    let mut wanted: Vec<String> = paths
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    wanted.sort_unstable();
    let same = |snapshot: &Snapshot| {
        let group = GroupBy::default().group(snapshot);
        group.host.as_deref() == Some(hostname) && group.paths.as_ref() == Some(&wanted)
    };
    let mut found = snapshots
        .iter()
        .filter(|(_, s)| s.time.at <= time.at && same(s));
    found.next_back().map(|(id, _)| *id)
}
