//! Progress: a bar on a terminal, a line every ten seconds elsewhere; both on standard error.

use crate::output;
use indicatif::{ProgressBar, ProgressStyle};
use lifeboat_core::observe::Observer;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
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
    bar: Option<ProgressBar>,
    bytes: AtomicU64,
    line: Mutex<Line>,
}

/// A message as one JSON object.
#[derive(Serialize)]
struct Message<'a> {
    level: &'a str,
    message: &'a str,
}

struct Line {
    what: String,
    begun: Instant,
    told: Instant,
    total: Option<u64>,
}

impl Progress {
    /// Progress of a run. With `as_json`, messages are JSON objects, a line each.
    pub fn new(detail: Detail, as_json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !as_json && detail != Detail::Quiet;
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        let line = Line {
            what: String::new(),
            begun: now,
            told: now,
            total: None,
        };
        Progress {
            detail,
            as_json,
            bar,
            bytes: AtomicU64::new(0),
            line: Mutex::new(line),
        }
    }

    /// Removes the bar; results may be printed from here on.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Observer for Progress {
    fn step(&self, what: &str, total_bytes: Option<u64>) {
        self.bytes.store(0, Ordering::Relaxed);
        if let Ok(mut line) = self.line.lock() {
            let now = Instant::now();
            *line = Line {
                what: what.to_owned(),
                begun: now,
                told: now,
                total: total_bytes,
            };
        }
        if self.detail == Detail::Verbose {
            self.say("info", what);
        }
        let Some(bar) = &self.bar else { return };
        bar.reset();
        bar.unset_length();
        let template = match total_bytes {
            Some(total) => {
                bar.set_length(total);
                "{spinner} {wide_msg} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta}"
            }
            // Bytes are shown when some flow.
            None => "{spinner} {wide_msg} {elapsed}",
        };
        style(bar, template);
        bar.set_message(what.to_owned());
    }

    fn advance(&self, bytes: u64) {
        let so_far = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(bar) = &self.bar {
            if so_far == bytes && bytes > 0 && bar.length().is_none() {
                style(
                    bar,
                    "{spinner} {wide_msg} {bytes} {bytes_per_sec} {elapsed}",
                );
            }
            bar.inc(bytes);
            return;
        }
        if self.detail == Detail::Quiet {
            return;
        }
        // Another thread is telling: this one need not.
        let Ok(mut line) = self.line.try_lock() else {
            return;
        };
        if line.told.elapsed() < LINE_EVERY {
            return;
        }
        line.told = Instant::now();
        let rate = so_far as f64 / line.begun.elapsed().as_secs_f64();
        let of = line
            .total
            .map(|t| format!(" of {}", output::bytes(t)))
            .unwrap_or_default();
        let text = format!(
            "{}: {}{of}, {:.1} MiB/s",
            line.what,
            output::bytes(so_far),
            rate / f64::from(1 << 20)
        );
        drop(line);
        self.say("info", &text);
    }

    fn warn(&self, message: &str) {
        self.say("warning", message);
    }
}
