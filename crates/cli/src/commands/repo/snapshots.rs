//! `lifeboat repo snapshots`.

use super::{Open, local, meant, zone};
use crate::args::repo;
use crate::output::{self, Printer};
use lifeboat_core::repo::document::Snapshots;
use lifeboat_core::repo::select;
use lifeboat_core::{Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::snapshot::{Filter, Snapshot};

pub fn run(open: &Open<'_>, args: &repo::Snapshots) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let all = open.snapshots()?;
    let filter = Filter::from(&args.filter);
    let mut meant = meant(&all, &filter, &args.snapshots)?;
    if let Some(latest) = args.latest {
        meant = select::newest(meant, latest);
    }
    let listed: Snapshots = meant.iter().copied().collect();
    open.run.answer(&listed, |out| {
        if !meant.is_empty() {
            table(out, meant.iter().copied());
        }
        let count = output::count(meant.len(), "snapshot");
        out.line(match meant.is_empty() {
            true => count,
            false => format!("{count}; times in {}", zone()),
        });
    })?;
    Ok(Exit::Done)
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
