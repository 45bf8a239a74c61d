//! Checks that a database is whole, even if only its application knows how some of it is ordered or
//! computed: collations and functions that a program defines are not in the file.
//!
//! Guarantees: pages, trees and rows of every table are checked. What depends on something missing
//! (the order and number of entries of an index, constraints, generated columns) is not judged, and
//! is named in the limits.

use super::{open_still, quoted};
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Null;
use rusqlite::{Connection, Row};
use std::collections::BTreeSet;
use std::path::Path;

/// Prefix of what `integrity_check` says of pages and trees, which no collation affects.
const OF_PAGES: &str = "*** in database";

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// The first fault.
    pub problem: Option<String>,
    /// What could not be checked here, and the reason.
    pub limits: Vec<String>,
}

/// Checks the database at `path`, which nobody may be writing, with `integrity_check` or
/// `quick_check`.
pub(crate) fn check(path: &Path, pragma: &str) -> rusqlite::Result<Checked> {
    let database = open_still(path)?;
    let built_in = collations(&database)?;
    stand_in_for_collations(&database)?;
    let mut missing = BTreeSet::new();
    let said = loop {
        match findings(&database, pragma, "1") {
            Err(error) => match unknown_function(&error) {
                Some(name) if missing.insert(format!("{name}()")) => {
                    stand_in_for_function(&database, &name)?;
                }
                _ => return Err(error),
            },
            Ok(said) => break said,
        }
    };
    missing.extend(collations(&database)?.difference(&built_in).cloned());
    if missing.is_empty() {
        return Ok(Checked {
            problem: said.into_iter().next(),
            limits: Vec::new(),
        });
    }
    check_each(&database, pragma, &missing)
}

/// Checks table by table: wholly those that need nothing missing, and the others as far as
/// possible.
fn check_each(
    database: &Connection,
    pragma: &str,
    missing: &BTreeSet<String>,
) -> rusqlite::Result<Checked> {
    let mut checked = Checked::default();
    for name in tables(database)? {
        let needs = needed(database, &name, missing)?;
        let said = findings(database, pragma, &quoted(&name))?;
        let counts = |line: &String| needs.is_empty() || line.starts_with(OF_PAGES);
        checked.problem = checked.problem.or_else(|| said.into_iter().find(counts));
        if !needs.is_empty() {
            checked.limits.push(format!(
                "table main.{name}: only the application defines {}; what it orders or computes by that is in the copy, and is not checked here",
                needs.join(", ")
            ));
        }
    }
    Ok(checked)
}

/// Makes the order of bytes stand in for every missing collation.
pub(crate) fn stand_in_for_collations(database: &Connection) -> rusqlite::Result<()> {
    database.collation_needed(|database, name| database.create_collation(name, Ord::cmp))
}

/// Makes a function that returns NULL, which violates no constraint, stand in for a missing one.
fn stand_in_for_function(database: &Connection, name: &str) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    database.create_scalar_function(name, -1, flags, |_| Ok(Null))
}

fn unknown_function(error: &rusqlite::Error) -> Option<String> {
    let text = error.to_string();
    let after = |words: &str| Some(text.split_once(words)?.1.to_owned());
    let name = after("unknown function: ").or_else(|| after("no such function: "))?;
    let end = name.find([' ', '(']).unwrap_or(name.len());
    name.get(..end).map(str::to_owned)
}

fn texts(
    database: &Connection,
    sql: &str,
    parameters: &[&str],
    column: usize,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(sql)?;
    let text = |row: &Row<'_>| row.get::<_, Option<String>>(column);
    let rows = statement.query_map(rusqlite::params_from_iter(parameters), text)?;
    rows.filter_map(Result::transpose).collect()
}

fn collations(database: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let names = texts(database, "pragma collation_list", &[], 1)?;
    Ok(names.into_iter().collect())
}

/// The findings of a check; empty if it finds nothing.
fn findings(database: &Connection, pragma: &str, of: &str) -> rusqlite::Result<Vec<String>> {
    let mut lines = texts(database, &format!("pragma {pragma}({of})"), &[], 0)?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}

/// The tables that are kept in the file.
fn tables(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "select name from sqlite_schema where type = 'table' and rootpage <> 0 order by name";
    texts(database, sql, &[], 0)
}

/// The missing collations and functions named in the definition of a table or its indexes. A table
/// whose name is a number cannot be checked alone: it needs everything that is missing.
fn needed(
    database: &Connection,
    table: &str,
    missing: &BTreeSet<String>,
) -> rusqlite::Result<Vec<String>> {
    let sql = "select sql from sqlite_schema where tbl_name = ?1 and type in ('table', 'index')";
    let definitions = texts(database, sql, &[table], 0)?.join("\n").to_lowercase();
    let is_number = table.parse::<i64>().is_ok();
    let named = |name: &&String| {
        is_number || definitions.contains(&name.trim_end_matches("()").to_lowercase())
    };
    Ok(missing.iter().filter(named).cloned().collect())
}
