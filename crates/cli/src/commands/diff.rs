//! `lifeboat diff`.

use super::Run;
use crate::args;
use crate::output::{self, Printer, bytes, count};
use lifeboat_core::cold::Want;
use lifeboat_core::diff::{
    self, BytesChange, Change, Diff, DiffPoint, DiffSource, Entries, FilesDiff, ObjectKind,
    ObjectsDiff, Options, TableChange, TablesDiff, Totals,
};
use lifeboat_core::point::Selector;
use lifeboat_core::visible::visible;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Diff) -> Result<Exit> {
    let first = Selector::parse(&args.point)?;
    let (before, after) = match &args.other {
        Some(other) => (Some(first), Selector::parse(other)?),
        None => (None, first),
    };
    let (store, want) = (args.from.store.as_deref(), Want::Point(after.clone()));
    let context = run.context_as_of(&args.cold, &args.as_of, store, &want)?;
    let options = Options {
        before,
        after,
        store: args.from.store.clone(),
        sources: args.sources.clone(),
        all: args.all,
    };
    let diff = diff::diff(&context, &options)?;
    run.answer(&diff, |out| tell(out, &diff))?;
    Ok(Exit::Done)
}

fn tell(out: &Printer, diff: &Diff) {
    out.line(format!("{}/{}", diff.app, diff.environment));
    for (word, point) in [("from", &diff.before), ("to", &diff.after)] {
        out.line(format!("  {word:<4} {}", shown(point)));
    }
    for (names, other) in [
        (&diff.only_before, &diff.after),
        (&diff.only_after, &diff.before),
    ] {
        for name in names {
            out.line(format!("source {name}: it is not in {}", other.point));
        }
    }
    for source in &diff.sources {
        tell_source(out, source);
    }
}

fn shown(point: &DiffPoint) -> String {
    let origin = match point.from_catalog {
        true => ", as this host noted it",
        false => "",
    };
    let (id, plan, outcome) = (&point.point, &point.plan, point.outcome.as_str());
    format!("{id}, plan {plan}, {outcome}{origin}")
}

fn tell_source(out: &Printer, source: &DiffSource) {
    let name = &source.source;
    if source.equal {
        return out.line(format!("source {name}: nothing changed"));
    }
    if let Some(tables) = &source.tables {
        tell_tables(out, name, tables);
    }
    if let Some(files) = &source.files {
        tell_files(out, name, files);
    }
    if let Some(objects) = &source.objects {
        tell_objects(out, name, objects);
    }
    for (artifact, stream) in source.streams.iter().filter(|(_, s)| !s.equal) {
        out.line(format!("source {name}: {artifact} {}", tell_stream(stream)));
    }
    for limit in &source.limits {
        out.line(format!("source {name}: {}", output::joined(limit)));
    }
}

/// A number before and after: `5 → 7`, or once where it is the same.
fn totals(totals: Totals, words: impl Fn(u64) -> String) -> String {
    let (before, after) = (words(totals.before), words(totals.after));
    match before == after {
        true => after,
        false => format!("{before} → {after}"),
    }
}

fn plain(number: u64) -> String {
    number.to_string()
}

fn tell_tables(out: &Printer, name: &str, tables: &TablesDiff) {
    let lists = [
        (Change::Added, &tables.added),
        (Change::Removed, &tables.removed),
        (Change::Changed, &tables.changed),
    ];
    let counts = lists.iter().map(|(change, list)| (*change, list.count));
    let counts = summary(counts, "table");
    let rows = totals(tables.rows, |rows| count(rows, "row"));
    let equal = count(tables.equal, "table");
    out.line(format!("source {name}: {counts}"));
    out.line(format!("  {equal} equal; {rows}"));
    let rows = lists.iter().flat_map(|(change, list)| {
        let rows = list.listed.iter();
        rows.map(|table| table_row(*change, table))
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        let header = ["change", "rows", "bytes", "table"];
        out.table(&header, rows);
    }
    more(out, lists.map(|(change, list)| (change, list.unlisted())));
    for kind in &tables.kinds {
        out.line(format!("  {}", tell_kind(kind)));
    }
}

fn table_row(change: Change, table: &TableChange) -> Vec<String> {
    let is_same = (table.rows_before, table.bytes_before) == (table.rows_after, table.bytes_after);
    let rows = pair(table.rows_before, table.rows_after, plain);
    vec![
        change.as_str().to_owned(),
        match is_same {
            // Only the hash of the rows tells.
            true => format!("{rows}, others"),
            false => rows,
        },
        pair(table.bytes_before, table.bytes_after, bytes),
        table.table.clone(),
    ]
}

/// A value before and after, where one of them may be absent.
fn pair(before: Option<u64>, after: Option<u64>, words: impl Fn(u64) -> String) -> String {
    match (before, after) {
        (Some(before), Some(after)) => totals(Totals { before, after }, words),
        (one, other) => one.or(other).map(words).unwrap_or_default(),
    }
}

fn tell_kind(kind: &ObjectKind) -> String {
    let numbers = Totals {
        before: kind.before,
        after: kind.after,
    };
    let redefined = kind.redefined.filter(|count| *count > 0);
    let redefined = redefined.map(|count| format!(", {count} defined otherwise"));
    format!(
        "objects of kind {}: {}{}",
        visible(&kind.kind),
        totals(numbers, plain),
        redefined.unwrap_or_default()
    )
}

/// `1 table added, 3 changed`; `nothing` without any.
fn summary(counts: impl IntoIterator<Item = (Change, u64)>, noun: &str) -> String {
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut parts: Vec<String> = Vec::new();
    for (change, number) in counts {
        let what = match parts.is_empty() {
            true => count(number, noun),
            false => number.to_string(),
        };
        parts.push(format!("{what} {}", change.as_str()));
    }
    match parts.is_empty() {
        true => format!("no {noun} differs"),
        false => parts.join(", "),
    }
}

fn tell_files(out: &Printer, name: &str, files: &FilesDiff) {
    let number = totals(files.files, |number| count(number, "file"));
    let size = totals(files.bytes, bytes);
    let line = format!("{number}; {size}");
    tell_entries(out, name, &files.entries, "entry", &line);
}

fn tell_objects(out: &Printer, name: &str, objects: &ObjectsDiff) {
    let number = totals(objects.objects, |number| count(number, "object"));
    let size = totals(objects.bytes, bytes);
    let line = format!("{number}; {size}");
    tell_entries(out, name, &objects.entries, "object", &line);
}

fn tell_entries(out: &Printer, name: &str, entries: &Entries, noun: &str, sizes: &str) {
    let lists = entries.lists();
    let counts = lists.iter().map(|(change, list)| (*change, list.count));
    let counts = summary(counts, noun);
    out.line(format!("source {name}: {counts}"));
    out.line(format!("  {sizes}"));
    let rows = lists.iter().flat_map(|(change, list)| {
        list.listed.iter().map(|entry| {
            vec![
                change.as_str().to_owned(),
                pair(entry.bytes_before, entry.bytes_after, bytes),
                entry.path.clone(),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        out.table(&["change", "bytes", "path"], rows);
    }
    more(out, lists.map(|(change, list)| (change, list.unlisted())));
}

/// Says how many entries are not listed.
fn more(out: &Printer, unlisted: impl IntoIterator<Item = (Change, u64)>) {
    for (change, count) in unlisted {
        if count > 0 {
            out.line(format!("  … and {count} more {}", change.as_str()));
        }
    }
}

fn tell_stream(stream: &BytesChange) -> String {
    match (stream.bytes_before, stream.bytes_after) {
        (Some(before), Some(after)) if before == after => {
            format!("has other content, {}", bytes(after))
        }
        (Some(before), Some(after)) => {
            format!("changed, {}", totals(Totals { before, after }, bytes))
        }
        (None, after) => format!("is new, {}", bytes(after.unwrap_or(0))),
        (Some(before), None) => format!("is gone, {}", bytes(before)),
    }
}
