//! Progress: a bar for each task on a terminal, a line every ten seconds elsewhere; both on standard
//! error.

use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lifeboat_core::observe::{Observer, Task, TaskId, Unit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing but warnings.
    Quiet,
    /// Bars or lines.
    Normal,
    /// Each step as a line, too.
    Verbose,
}

/// Tells of progress.
pub struct Progress {
    detail: Detail,
    as_json: bool,
    bars: Option<MultiProgress>,
    /// What is under way.
    tasks: Mutex<BTreeMap<TaskId, Shown>>,
}

/// A message as one JSON object.
#[derive(Serialize)]
struct Message<'a> {
    level: &'a str,
    message: &'a str,
}

/// A task that is under way.
struct Shown {
    name: String,
    total: Option<u64>,
    unit: Unit,
    done: u64,
    begun: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress of a run. With `as_json`, messages are JSON objects, a line each.
    pub fn new(detail: Detail, as_json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !as_json && detail != Detail::Quiet;
        Progress {
            detail,
            as_json,
            bars: terminal.then(MultiProgress::new),
            tasks: Mutex::default(),
        }
    }

    /// Removes the bars; results may be printed from here on.
    pub fn finish(&self) {
        for task in self.tasks().values() {
            task.bar.iter().for_each(ProgressBar::finish_and_clear);
        }
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<TaskId, Shown>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, level: &str, message: &str) {
        let text = if self.as_json {
            // Two strings are written as JSON without fail.
            serde_json::to_string(&Message { level, message }).unwrap_or_default()
        } else if level == "warning" {
            format!("\x1b[33mwarning:\x1b[0m {message}")
        } else {
            message.to_owned()
        };
        let write = || {
            let _ = writeln!(anstream::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// How a bar looks, by whether its total is known and anything was counted yet.
fn template(unit: Unit, total: Option<u64>, any: bool) -> &'static str {
    match (unit, total, any) {
        (Unit::Bytes, Some(_), _) => {
            "{spinner} {wide_msg} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        }
        (Unit::Objects, Some(_), _) => "{spinner} {wide_msg} {bar:20} {pos}/{len} {eta}",
        (_, None, false) => "{spinner} {wide_msg} {elapsed}",
        (Unit::Bytes, None, true) => "{spinner} {wide_msg} {bytes} {bytes_per_sec} {elapsed}",
        (Unit::Objects, None, true) => "{spinner} {wide_msg} {pos} {elapsed}",
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Shown {
    /// How far it is, in a line.
    fn line(&self) -> String {
        let seconds = self.begun.elapsed().as_secs_f64();
        let amount = |count: u64| match self.unit {
            Unit::Bytes => output::bytes(count),
            Unit::Objects => count.to_string(),
        };
        let of = self.total.map(|total| format!(" of {}", amount(total)));
        let of = of.unwrap_or_default();
        let rate = self.done as f64 / seconds;
        let rate = match self.unit {
            Unit::Bytes => format!("{:.1} MiB/s", rate / f64::from(1 << 20)),
            Unit::Objects => format!("{rate:.0}/s"),
        };
        format!("{}: {}{of}, {rate}", self.name, amount(self.done))
    }
}

impl Observer for Progress {
    fn began(&self, task: Task<'_>) {
        if self.detail == Detail::Verbose {
            self.say("info", task.name);
        }
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(match task.total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::new_spinner(),
            });
            style(&bar, template(task.unit, task.total, false));
            bar.set_message(task.name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        let shown = Shown {
            name: task.name.to_owned(),
            total: task.total,
            unit: task.unit,
            done: 0,
            begun: now,
            told: now,
            bar,
        };
        self.tasks().insert(task.id, shown);
    }

    fn advanced(&self, task: TaskId, amount: u64) {
        let mut tasks = self.tasks();
        let Some(shown) = tasks.get_mut(&task) else {
            return;
        };
        let first = shown.done == 0 && amount > 0;
        shown.done += amount;
        if let Some(bar) = &shown.bar {
            if first && shown.total.is_none() {
                style(bar, template(shown.unit, None, true));
            }
            bar.inc(amount);
            return;
        }
        if self.detail == Detail::Quiet || shown.told.elapsed() < LINE_EVERY {
            return;
        }
        shown.told = Instant::now();
        let line = shown.line();
        drop(tasks);
        self.say("info", &line);
    }

    fn ended(&self, task: TaskId) {
        let shown = self.tasks().remove(&task);
        if let (Some(bars), Some(bar)) = (&self.bars, shown.and_then(|shown| shown.bar)) {
            bar.finish_and_clear();
            bars.remove(&bar);
        }
    }

    fn warned(&self, message: &str) {
        self.say("warning", message);
    }
}
