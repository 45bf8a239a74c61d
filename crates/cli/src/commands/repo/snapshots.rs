//! `lifeboat repo snapshots`.

use super::{Open, local, meant, zone};
use crate::args::repo::Snapshots;
use crate::output::{self, Printer};
use lifeboat_core::{Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::snapshot::{Filter, GroupBy, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn run(open: &Open<'_>, args: &Snapshots) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let all = open.snapshots()?;
    let filter = Filter::from(&args.filter);
    let mut meant = meant(&all, &filter, &args.snapshots)?;
    if let Some(latest) = args.latest {
        let mut counts = BTreeMap::new();
        meant.reverse();
        meant.retain(|(_, snapshot)| {
            let count = counts
                .entry(GroupBy::default().group(snapshot))
                .or_insert(0);
            *count += 1;
            *count <= latest
        });
        meant.reverse();
    }
    open.run.results();
    if open.json() {
        let listed: Vec<Value> = meant.iter().map(|(id, s)| value(id, s)).collect();
        open.run
            .out
            .json(&json!({ "schema": 1, "snapshots": listed }))?;
        return Ok(Exit::Done);
    }
    if !meant.is_empty() {
        table(open.run.out, meant.iter().copied());
    }
    let count = output::count(meant.len(), "snapshot");
    open.run.out.line(match meant.is_empty() {
        true => count,
        false => format!("{count}; times in {}", zone()),
    });
    Ok(Exit::Done)
}

/// A snapshot as JSON: as it is stored, with its id.
pub fn value(id: &Id, snapshot: &Snapshot) -> Value {
    let mut value = json!({ "id": id, "short_id": id.short() });
    if let (Value::Object(map), Ok(Value::Object(stored))) =
        (&mut value, serde_json::to_value(snapshot))
    {
        map.extend(stored);
    }
    value
}

/// Prints snapshots as a table.
pub fn table<'s>(out: &Printer, snapshots: impl Iterator<Item = &'s (Id, Snapshot)>) {
    let rows = snapshots.map(|(id, snapshot)| {
        vec![
            id.short(),
            local(&snapshot.time),
            snapshot.hostname.clone(),
            snapshot.tags.as_deref().unwrap_or_default().join(","),
            snapshot.paths.join(", "),
            snapshot
                .summary()
                .map(|summary| output::bytes(summary.total_bytes_processed))
                .unwrap_or_default(),
        ]
    });
    out.table(&["id", "time", "host", "tags", "paths", "size"], rows);
}
