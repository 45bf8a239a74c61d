//! Databases that a restore began to fill: notes by which a killed restore is recognised.
//!
//! The notes are in the state directory, so only the host that began a restore knows of it. A
//! database is emptied only if this host began to fill it from the same point, and if it holds no
//! more than a part of that: each of its tables is one of the point's, with no more rows.

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Fingerprint, Proof};
use crate::place;
use crate::point::PointId;
use crate::process::ProcessName;
use crate::secret::Scrubber;
use crate::source::Database;
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

const NOTES: &str = "filling.json";

/// A database that is being filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filling {
    database: String,
    point: PointId,
    source: String,
    process: ProcessName,
}

fn path(state: &State) -> Result<PathBuf> {
    Ok(state.private_directory(&["restores"])?.join(NOTES))
}

/// Reads the notes. Unreadable notes count as none.
fn read(context: &Context) -> Vec<Filling> {
    let text = path(&context.state)
        .ok()
        .and_then(|path| std::fs::read(path).ok());
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn write(context: &Context, notes: &[Filling]) -> Result<()> {
    let text = serde_json::to_vec(notes).unwrap_or_default();
    place::replace_file(&mut text.as_slice(), &path(&context.state)?, 0o600).map(drop)
}

/// Notes that a database is about to be filled. If a killed restore of the same source and point
/// left it partly filled, empties it, provided that nothing else is lost; returns what was done.
pub(super) fn begin(
    context: &Context,
    database: &Database,
    point: &PointId,
    source: &str,
    captured: Option<&Proof>,
) -> Result<Option<String>> {
    let filling = Filling {
        database: database.display(),
        point: point.clone(),
        source: source.to_owned(),
        process: ProcessName::this()?,
    };
    let mut notes = read(context);
    let earlier = notes.iter().find(|note| note.database == filling.database);
    let done = match earlier {
        Some(earlier) => begin_again(&context.scrubber, database, earlier, &filling, captured)?,
        None => None,
    };
    notes.retain(|note| note.database != filling.database);
    if !database.is_empty(&context.scrubber)? {
        // It holds someone else's data: whoever fills it refuses it.
        return Ok(done);
    }
    notes.push(filling);
    write(context, &notes)?;
    Ok(done)
}

fn begin_again(
    scrubber: &Scrubber,
    database: &Database,
    earlier: &Filling,
    filling: &Filling,
    captured: Option<&Proof>,
) -> Result<Option<String>> {
    if earlier.process.is_alive() && earlier.process != filling.process {
        return Err(Error::new(
            Code::Busy,
            format!("another restore into {} is running", filling.database),
        )
        .hint("wait until it has ended"));
    }
    if database.is_empty(scrubber)? {
        return Ok(None);
    }
    let same = (&earlier.point, &earlier.source) == (&filling.point, &filling.source);
    let counts = database.row_counts(scrubber)?;
    let part = same && captured.is_some_and(|captured| is_part(&counts, captured));
    let told = format!(
        "an interrupted restore of source {} of {} left it partly filled",
        earlier.source, earlier.point
    );
    if part && database.empty_again(scrubber)? {
        return Ok(Some(format!(
            "{}: {told}; it was emptied, and the restore began again",
            filling.database
        )));
    }
    Err(Error::new(
        Code::Target,
        format!("the database {} is not empty: {told}", filling.database),
    )
    .hint("look whether anything else is in it; then drop it, make it anew, and run this again"))
}

/// Returns true if tables with these row counts hold only a part of what was captured. A database
/// that is whole may be in use.
fn is_part(counts: &BTreeMap<String, u64>, captured: &Proof) -> bool {
    let Fingerprint::Tables(tables) = &captured.fingerprint else {
        return false;
    };
    let rows = |name: &String| tables.tables.get(name).map(|table| table.rows);
    let within = counts
        .iter()
        .all(|(name, count)| rows(name).is_some_and(|rows| *count <= rows));
    let whole = tables
        .tables
        .iter()
        .all(|(name, table)| counts.get(name) == Some(&table.rows));
    within && !whole
}

/// Removes the note of a database, unless a part of the dump is still in it.
pub(super) fn end(context: &Context, database: &Database, whole: bool) -> Result<()> {
    if !whole && !matches!(database.is_empty(&context.scrubber), Ok(true)) {
        return Ok(());
    }
    let name = database.display();
    let mut notes = read(context);
    notes.retain(|note| note.database != name);
    write(context, &notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{Inventory, TableFingerprint, TablesFingerprint};

    #[test]
    fn only_a_part_of_what_was_captured_is_emptied() {
        let table = |rows| TableFingerprint {
            rows,
            ..TableFingerprint::default()
        };
        let tables = [("a", 2), ("b", 3)].map(|(name, rows)| (name.to_owned(), table(rows)));
        let captured = Proof {
            fingerprint: Fingerprint::Tables(TablesFingerprint {
                algorithm: String::new(),
                tables: tables.into(),
                objects: BTreeMap::new(),
                limits: vec![],
            }),
            inventory: Inventory::None,
        };
        let cases: [(&[(&str, u64)], bool); 6] = [
            (&[("a", 2), ("b", 1)], true),
            (&[("a", 0)], true),
            (&[("a", 3)], false),
            (&[("a", 1), ("mine", 0)], false),
            // Whole: somebody may have finished it by hand, and use it.
            (&[("a", 2), ("b", 3)], false),
            (&[], true),
        ];
        for (counts, expected) in cases {
            let counts = counts
                .iter()
                .map(|(name, rows)| ((*name).to_owned(), *rows));
            let counts = counts.collect();
            assert_eq!(is_part(&counts, &captured), expected, "{counts:?}");
        }
    }
}
