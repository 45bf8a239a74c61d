//! The daemon as a service: what it tells a service manager, and its log.

use crate::args::LogFormat;
use crate::output;
use lifeboat_core::history::Job;
use lifeboat_core::job::daemon::Service;
use sd_notify::NotifyState;
use serde::Serialize;
use std::io::Write;

/// Tells systemd, if that started it, and writes a line to standard error for what happens.
pub struct Systemd {
    format: LogFormat,
    quiet: bool,
}

/// A line of the log as JSON.
#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    app: &'a str,
    message: &'a str,
}

impl Systemd {
    /// Writes lines in this format; only warnings where `quiet`.
    pub fn new(format: LogFormat, quiet: bool) -> Self {
        Systemd { format, quiet }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        // Without a service manager, there is nobody to tell.
        let _ = sd_notify::notify(states);
    }

    fn line(&self, level: &str, app: &str, message: &str) {
        if self.quiet && level == "info" {
            return;
        }
        let message = output::joined(message);
        let text = match self.format {
            LogFormat::Json => {
                let line = Line {
                    level,
                    app,
                    message: &message,
                };
                serde_json::to_string(&line).unwrap_or_default()
            }
            LogFormat::Text => {
                let app = match app {
                    "" => String::new(),
                    app => format!("{app}: "),
                };
                let mark = match level {
                    "info" => "",
                    _ => "warning: ",
                };
                format!("{mark}{app}{message}")
            }
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

impl Service for Systemd {
    fn ready(&self, status: &str) {
        self.notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    fn alive(&self) {
        self.notify(&[NotifyState::Watchdog]);
    }

    fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now().ok());
        self.notify(&states);
    }

    fn stopping(&self) {
        self.line("info", "", "it stops");
        self.notify(&[NotifyState::Stopping]);
    }

    fn began(&self, app: &str, job: &Job) {
        let (kind, id) = (job.kind.as_str(), &job.id);
        let text = format!("{kind} {} begins ({id}): {}", job.subject, job.reason);
        self.line("info", app, &text);
    }

    fn ended(&self, app: &str, job: &Job) {
        let message = job.message.as_deref().unwrap_or_default();
        let took = job
            .seconds()
            .map_or_else(String::new, |s| output::seconds(s as f64));
        let failed = job
            .outcome
            .is_some_and(|o| o.is_failure() || o.as_str() == "not-proved");
        let level = if failed { "warning" } else { "info" };
        let (kind, id) = (job.kind.as_str(), &job.id);
        let text = format!(
            "{kind} {} {} ({id}, {took}): {message}",
            job.subject,
            job.state()
        );
        self.line(level, app, &text);
    }

    fn warned(&self, app: &str, message: &str) {
        self.line("warning", app, message);
    }
}
