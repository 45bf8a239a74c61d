//! The file that holds the metrics, for the textfile collector of Prometheus' node exporter.

use super::turn::Watcher;
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
pub fn publish(config: &Config, status: &Status, history: &History, watcher: &dyn Watcher) {
    let Some(path) = &config.run.metrics_file else {
        return;
    };
    if let Err(error) = write(path, status, history) {
        let path = path.display();
        watcher.warned(&format!("the metrics in {path} are old: {error}"));
    }
}

fn write(path: &Path, status: &Status, history: &History) -> Result<()> {
    let jobs = history.jobs(&status.app, &status.environment)?;
    let text = metrics(status, &jobs).text(Form::Prometheus);
    replace_file(&mut text.as_bytes(), path, MODE).map(drop)
}
