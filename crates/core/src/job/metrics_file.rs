//! The file that holds the metrics, for the textfile collector of Prometheus' node exporter.

use super::tell::Desk;
use super::turn::Watcher;
use crate::alarm::{self, open_alarms};
use crate::config::Config;
use crate::error::Result;
use crate::history::History;
use crate::place::replace_file;
use crate::status::{Form, Status, metrics};
use std::path::Path;

/// Mode of the file: whoever collects it is another user.
const MODE: u32 = 0o644;

/// Replaces the file of `run.metrics_file` in one step, if there is one. A file that cannot be
/// written is told to the watcher, and is no reason for anything to fail.
pub(super) fn publish(
    config: &Config,
    status: &Status,
    history: &History,
    desk: &Desk,
    watcher: &dyn Watcher,
) {
    let Some(path) = &config.run.metrics_file else {
        return;
    };
    if let Err(error) = write(path, status, history, desk) {
        let path = path.display();
        watcher.warned(&format!("the metrics in {path} are old: {error}"));
    }
}

fn write(path: &Path, status: &Status, history: &History, desk: &Desk) -> Result<()> {
    let jobs = history.jobs(&status.app, &status.environment)?;
    let open = open_alarms(&desk.outbox().ledger()?, status.at);
    let metrics = metrics(status, &jobs).and(alarm::metrics(status, &open));
    let text = metrics.text(Form::Prometheus);
    replace_file(&mut text.as_bytes(), path, MODE).map(drop)
}
