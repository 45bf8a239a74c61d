//! The file that holds the metrics, for the textfile collector of Prometheus' node exporter.

use super::turn::{Mode, Watcher};
use crate::config::Config;
use crate::error::Result;
use crate::place::replace_file;
use crate::status::{Facts, Form, judge, metrics};
use std::path::Path;

/// Mode of the file: whoever collects it is another user.
const MODE: u32 = 0o644;

/// Replaces the file of `run.metrics_file` in one step, if there is one. A file that cannot be
/// written is told to the watcher, and is no reason for anything to fail.
pub fn publish(config: &Config, facts: &Facts, mode: Mode, watcher: &dyn Watcher) {
    let Some(path) = &config.run.metrics_file else {
        return;
    };
    if let Err(error) = write(path, facts, mode) {
        watcher.warned(&format!(
            "the metrics in {} are old: {error}",
            path.display()
        ));
    }
}

fn write(path: &Path, facts: &Facts, mode: Mode) -> Result<()> {
    let status = judge(facts, mode.terms());
    let text = metrics(&status, &facts.jobs).text(Form::Prometheus);
    replace_file(&mut text.as_bytes(), path, MODE).map(drop)
}
