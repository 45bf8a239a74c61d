//! What was written since a restore swapped its data in, which undoing it would lose.

use super::checks::{counts, placed_live};
use super::journal::Journal;
use super::swap::Done;
use crate::amount::count;
use crate::config::SourceKind;
use crate::context::Context;
use crate::source::{self, Live, Placed};
use crate::sqlite;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Tables that are named where there are more.
const SHOWN: usize = 5;

/// What was written to each source, as far as it can be told, a line each.
pub(super) fn since(context: &Context, journal: &Journal) -> Vec<String> {
    let Some(at) = journal.restore.swapped else {
        return Vec::new();
    };
    let whole = journal.swaps.iter().filter(|swap| swap.done == Done::Whole);
    let sources: BTreeSet<&str> = whole.map(|swap| swap.source.as_str()).collect();
    let compared = journal.compared.iter();
    let compared = compared.filter(|noted| sources.contains(noted.name.as_str()));
    let lines = compared.filter_map(|noted| {
        let kind = &context.config.source.get(&noted.name)?.kind;
        let told = match source::live(kind) {
            Ok(Live::Tree { roots, .. }) => files(&roots, at),
            Ok(Live::File(_) | Live::Database(_)) => rows(context, kind, &noted.rows),
            Ok(Live::Bucket(_) | Live::Nowhere(_)) => {
                Some("what was written since is not known".to_owned())
            }
            Err(error) => Some(format!("what was written since is not known: {error}")),
        };
        told.map(|told| format!("source {}: {told}", noted.name))
    });
    lines.collect()
}

/// How the rows of a database differ from those that were restored.
fn rows(context: &Context, kind: &SourceKind, before: &BTreeMap<String, u64>) -> Option<String> {
    let now = match placed_live(kind)? {
        Placed::Database(database) => database.row_counts(&context.scrubber),
        Placed::File(path) => sqlite::observe(&path).map(|proof| counts(&proof)),
        _ => return None,
    };
    let now = match now {
        Ok(now) => now,
        Err(error) => return Some(format!("what was written since is not known: {error}")),
    };
    let tables: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let changed = tables.into_iter().filter_map(|table| {
        let of = |rows: &BTreeMap<String, u64>| rows.get(table).copied().unwrap_or(0);
        let (was, is) = (of(before), of(&now));
        match is.cmp(&was) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => {
                Some(format!("{} new in {table}", count(is - was, "row")))
            }
            std::cmp::Ordering::Less => {
                Some(format!("{} fewer in {table}", count(was - is, "row")))
            }
        }
    });
    let changed: Vec<String> = changed.collect();
    let more = changed.len().saturating_sub(SHOWN);
    let shown = changed
        .into_iter()
        .take(SHOWN)
        .collect::<Vec<_>>()
        .join(", ");
    match (shown.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("undoing loses {shown}, and rows that were changed")),
        (false, more) => Some(format!(
            "undoing loses {shown} and of {} more, and rows that were changed",
            count(more, "table")
        )),
    }
}

/// How many files were written since.
fn files(roots: &[PathBuf], at: Timestamp) -> Option<String> {
    let written: u64 = roots.iter().map(|root| newer(root, at)).sum();
    (written > 0).then(|| {
        format!(
            "undoing loses what was written to {}",
            count(written, "file")
        )
    })
}

/// Files at or under a path that were changed after a time.
fn newer(path: &Path, at: Timestamp) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        let changed =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        return u64::from(changed > at.as_nanosecond());
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| newer(&entry.path(), at)).sum()
}
