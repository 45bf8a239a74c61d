//! `lifeboat repo backup`.

use super::{Open, find};
use crate::args::repo::{Backup, Exclude};
use crate::output::{self, line};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_core::repo::explain;
use lifeboat_core::{Code, Error, Result};
use lifeboat_repository::Id;
use lifeboat_repository::backup::{self, Excludes, Options};
use lifeboat_repository::lock::Mode;
use lifeboat_repository::pattern::{BadPattern, Patterns};
use lifeboat_repository::snapshot::{Filter, GroupBy, Snapshot};
use lifeboat_repository::time::Time;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub fn run(open: &Open<'_>, args: &Backup) -> Result<u8> {
    let mut named = args.paths.clone();
    for (files, end) in [
        (&args.files_from_verbatim, b'\n'),
        (&args.files_from_raw, 0),
    ] {
        for file in files {
            named.extend(listed(file, end)?);
        }
    }
    let paths: Vec<PathBuf> = match args.stdin {
        true => vec![Path::new("/").join(&args.stdin_filename)],
        false => named
            .iter()
            .map(|path| absolute(path))
            .collect::<Result<_>>()?,
    };
    if paths.is_empty() {
        return Err(Error::new(
            Code::Usage,
            "nothing is named that could be backed up",
        ));
    }
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
    let index = open.index()?;
    let options = Options {
        paths,
        parent,
        time,
        zone,
        hostname,
        username: open.author.user.clone(),
        tags: args.tag.clone(),
        one_file_system: args.one_file_system,
        excludes: excludes(&args.exclude)?,
        program: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).into(),
    };
    open.step("backing up");
    let report = match args.stdin {
        true => {
            let mut stream = std::io::stdin();
            backup::run_stream(
                &open.repository,
                &index,
                &options,
                &args.stdin_filename,
                &mut stream,
            )
        }
        false => backup::run(&open.repository, &index, &options),
    };
    let report = report.map_err(explain)?;
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

/// The paths that a file lists, each ended by `end`.
fn listed(file: &Path, end: u8) -> Result<Vec<PathBuf>> {
    let text = read(file)?;
    let names = text
        .split(|byte| *byte == end)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        .collect())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::new(Code::Usage, format!("{} cannot be read", file.display()))
            .cause(error)
            .hint("correct the path")
    })
}

/// What is to be left out.
fn excludes(args: &Exclude) -> Result<Excludes> {
    let mut texts = args.exclude.clone();
    for file in &args.exclude_file {
        let text = String::from_utf8_lossy(&read(file)?).into_owned();
        let lines = text.lines().map(str::trim);
        let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        texts.extend(patterns.map(str::to_owned));
    }
    let patterns = Patterns::new(&texts, &args.iexclude).map_err(bad_pattern)?;
    texts.extend(args.iexclude.iter().cloned());
    let mut if_present: Vec<(OsString, Vec<u8>)> = Vec::new();
    for given in &args.exclude_if_present {
        let (name, header) = given.split_once(':').unwrap_or((given, ""));
        if name.is_empty() || name.contains('/') {
            let message = format!("--exclude-if-present: {given:?} names no file");
            return Err(Error::new(Code::Usage, message).hint("write FILE, or FILE:HEADER"));
        }
        if_present.push((name.into(), header.into()));
    }
    if args.exclude_caches {
        let (name, header) = Excludes::CACHE;
        if_present.push((name.into(), header.into()));
    }
    Ok(Excludes {
        patterns,
        texts,
        if_present,
        larger_than: args.exclude_larger_than.as_deref().map(size).transpose()?,
    })
}

pub fn bad_pattern(error: BadPattern) -> Error {
    Error::new(Code::Usage, error.to_string())
        .hint("close every bracket, and write a backslash before what is meant literally")
}

/// `500k`, `10M`, `2G`, `1T`, or bytes.
fn size(text: &str) -> Result<u64> {
    let units = [
        ('k', 10),
        ('K', 10),
        ('m', 20),
        ('M', 20),
        ('g', 30),
        ('G', 30),
        ('t', 40),
        ('T', 40),
    ];
    let unit = units.iter().find(|(unit, _)| text.ends_with(*unit));
    let (number, shift) = match unit {
        Some((unit, shift)) => (text.trim_end_matches(*unit), *shift),
        None => (text, 0),
    };
    let parsed = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift));
    parsed.ok_or_else(|| {
        Error::new(Code::Usage, format!("{text:?} is no size")).hint("write it as 500k, 10M or 2G")
    })
}

/// An absolute path without `.` and `..`, of something that is there.
fn absolute(path: &Path) -> Result<PathBuf> {
    let unusable = |error: std::io::Error| {
        Error::new(
            Code::SourceMissing,
            format!("{} cannot be backed up", path.display()),
        )
        .cause(error)
        .hint("correct the path, or leave it out")
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
