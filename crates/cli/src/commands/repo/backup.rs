//! `lifeboat repo backup`.

use super::{Open, find, lines};
use crate::args::repo::{Backup, Exclude, ExcludePatterns};
use crate::output::{self, Printer};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::Saved;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::aside;
use lifeboat_repository::backup::{self, Excludes, How, Options, Outcome, Report, Skipped};
use lifeboat_repository::lock::Mode;
use lifeboat_repository::mounts::{Mounts, PATIENCE};
use lifeboat_repository::pattern::{BadPattern, Patterns, expand};
use lifeboat_repository::snapshot::{Filter, GroupBy, Snapshot};
use lifeboat_repository::time::Time;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn run(open: &Open<'_>, args: &Backup) -> Result<Exit> {
    let named = match args.stdin {
        true => vec![Path::new("/").join(&args.stdin_filename)],
        false => named(open, args)?,
    };
    let directory = directory_of(&named)?;
    let (paths, gone) = match args.stdin {
        true => (named, Vec::new()),
        false => there(named, &directory)?,
    };
    let begun = std::time::Instant::now();
    let zone = TimeZone::system();
    let time = match &args.time {
        Some(text) => time(text, "--time", &zone)?,
        None => Time::new(Timestamp::now(), &zone),
    };
    let hostname = args
        .host
        .clone()
        .or_else(super::host_of_restic)
        .unwrap_or_else(|| open.author.host.clone());
    let mut options = Options {
        paths,
        directory,
        parent: None,
        time,
        zone,
        hostname,
        username: open.author.user.clone(),
        tags: args.tag.clone(),
        one_file_system: args.one_file_system,
        excludes: excludes(&args.exclude)?,
        program: concat!("lifeboat ", env!("CARGO_PKG_VERSION")).into(),
        patience: PATIENCE,
        how: How {
            dry_run: args.dry_run,
            skip_if_unchanged: args.skip_if_unchanged,
            ignore_ctime: args.ignore_ctime || args.ignore_inode,
            ignore_inode: args.ignore_inode,
        },
    };
    let by: GroupBy = args.group_by.parse().map_err(|why: String| {
        Error::new(Code::Usage, format!("--group-by: {why}")).hint("write it as host,paths")
    })?;
    let _lock = match args.dry_run {
        true => None,
        false => open.lock(Mode::Shared)?,
    };
    options.parent = match (args.force || args.stdin, &args.parent) {
        (true, _) => None,
        (false, Some(text)) => Some(find(&open.snapshots()?, &Filter::default(), text)?.0),
        (false, None) => parent(&open.snapshots()?, &options, by),
    };
    let index = open.index()?;
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
    let mut report = report.map_err(explain)?;
    drop(report.skipped.splice(..0, gone));
    if let Some(unread) = &report.unread {
        let (count, error) = (unread.count, &unread.error);
        open.warn(&match (report.parent, count) {
            (None, _) => format!("the parent snapshot cannot be used, so every file was read: {error}"),
            (_, 1) => format!("a directory of the parent snapshot cannot be read, so its files were: {error}"),
            _ => format!("{count} directories of the parent snapshot cannot be read, so their files were; the first: {error}"),
        });
    }
    for skipped in &report.skipped {
        open.warn(&format!(
            "left out {}: {}",
            skipped.path.display(),
            skipped.error
        ));
    }
    for path in &report.set_aside {
        open.warn(&format!("left out {}: {}", path.display(), aside::REASON));
    }
    let took = begun.elapsed();
    let saved = Saved::new(&report, &options, took);
    open.run.answer(&saved, |out| tell(out, &report, took))?;
    Ok(saved.exit())
}

fn tell(out: &Printer, report: &Report, took: Duration) {
    let id = report.snapshot.short();
    let (what, stored) = match report.outcome {
        Outcome::Stored => (format!("snapshot {id}"), "stored in"),
        Outcome::Unchanged => (format!("as in snapshot {id}, no new one"), "stored in"),
        Outcome::Tried => ("a dry run, nothing is stored".into(), "to be stored in"),
    };
    out.line(format!(
        "{what}: {} in {}, {}",
        output::count(report.files, "file"),
        output::count(report.directories, "directory"),
        output::bytes(report.bytes)
    ));
    out.line(format!(
        "  {} as before; {} new, {stored} {}; {}",
        output::count(report.files_unmodified, "file"),
        output::bytes(report.added.bytes),
        output::bytes(report.added.stored_bytes),
        output::seconds(took.as_secs_f64())
    ));
    if !report.skipped.is_empty() {
        out.line(match report.skipped.len() {
            1 => "  1 entry was left out".to_owned(),
            count => format!("  {count} entries were left out"),
        });
    }
}

/// What relative paths are from; not asked for where there are none, since it may be gone.
fn directory_of(paths: &[PathBuf]) -> Result<PathBuf> {
    match paths.iter().find(|path| path.is_relative()) {
        None => Ok(PathBuf::from("/")),
        Some(path) => std::env::current_dir().map_err(|error| {
            let message = format!("{} is in a directory that is gone", path.display());
            Error::io(message, &error).hint("name an absolute path, or change to another directory")
        }),
    }
}

/// What is named, here and in files. An error when that is nothing.
fn named(open: &Open<'_>, args: &Backup) -> Result<Vec<PathBuf>> {
    let mounts = Mounts::of_this_process(PATIENCE);
    let mut named = args.paths.clone();
    for file in &args.files_from {
        for pattern in lines::without_comments(&lines::read(file)?) {
            let found = expand(&pattern, &mounts).map_err(bad_pattern)?;
            if found.is_empty() {
                let pattern = String::from_utf8_lossy(&pattern);
                open.warn(&format!("{}: nothing is like {pattern}", file.display()));
            }
            named.extend(found);
        }
    }
    for (files, end) in [
        (&args.files_from_verbatim, b'\n'),
        (&args.files_from_raw, 0),
    ] {
        for file in files {
            let text = lines::read(file)?;
            let names = text.split(|byte| *byte == end);
            let names = names.filter(|name| !name.is_empty());
            named.extend(names.map(|name| PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    if named.is_empty() {
        return Err(
            Error::new(Code::Usage, "nothing is named that could be backed up")
                .hint("name files and directories"),
        );
    }
    Ok(named)
}

/// Those that are there, and those that cannot be looked at. An error when that is all of them.
fn there(named: Vec<PathBuf>, directory: &Path) -> Result<(Vec<PathBuf>, Vec<Skipped>)> {
    let mounts = Mounts::of_this_process(PATIENCE);
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for path in named {
        let absolute = backup::absolute(directory, &path);
        match mounts.ask_anyway(&absolute, |path| path.symlink_metadata()) {
            Ok(_) => there.push(path),
            Err(error) => gone.push(Skipped { path, error }),
        }
    }
    match gone.first() {
        Some(first) if there.is_empty() => {
            let message = match gone.len() {
                1 => format!("{} cannot be backed up", first.path.display()),
                count => format!(
                    "none of {count} paths can be backed up, the first of them {}",
                    first.path.display()
                ),
            };
            Err(Error::new(Code::SourceMissing, message)
                .cause(&first.error)
                .hint("correct the path, or leave it out"))
        }
        _ => Ok((there, gone)),
    }
}

/// The patterns of what is to be left out, and their texts.
pub fn patterns(args: &ExcludePatterns) -> Result<(Patterns, Vec<String>)> {
    let (mut texts, mut any_case) = (args.exclude.clone(), args.iexclude.clone());
    for (files, texts) in [
        (&args.exclude_file, &mut texts),
        (&args.iexclude_file, &mut any_case),
    ] {
        for file in files {
            texts.extend(lines::patterns(file)?);
        }
    }
    let patterns = Patterns::new(&texts, &any_case).map_err(bad_pattern)?;
    texts.extend(any_case);
    Ok((patterns, texts))
}

/// What is to be left out.
fn excludes(args: &Exclude) -> Result<Excludes> {
    let (patterns, texts) = patterns(&args.patterns)?;
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

/// A time as an option has it: of this host's zone, unless it says another.
pub fn time(text: &str, option: &str, zone: &TimeZone) -> Result<Time> {
    let (own, local) = (text.parse::<Time>(), text.parse::<DateTime>());
    let parsed = match (own, local) {
        (Ok(time), _) => Ok(time),
        (_, Ok(local)) => zone.to_timestamp(local).map(|at| Time::new(at, zone)),
        (Err(error), Err(_)) => Err(error),
    };
    parsed.map_err(|error| {
        Error::new(Code::Usage, format!("{option}: {text:?} is no time"))
            .cause(error)
            .hint("write it as \"2026-03-29 02:30:00\" or 2026-03-29T02:30:00+01:00")
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

/// The newest snapshot of the same group that is not from the future.
fn parent(snapshots: &[(Id, Snapshot)], options: &Options, by: GroupBy) -> Option<Id> {
    let paths = options.absolute_paths();
    let wanted = by.group_of(&options.hostname, &paths, &options.tags);
    let mut found = snapshots
        .iter()
        .filter(|(_, s)| s.time.at <= options.time.at && by.group(s) == wanted);
    found.next_back().map(|(id, _)| *id)
}
