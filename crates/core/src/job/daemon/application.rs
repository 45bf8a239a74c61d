//! One application of the daemon: its configuration, and when it is looked at again.

use super::request::{ApplicationDocument, RunningDocument};
use crate::alarm::{self, Condition, open_alarms};
use crate::cancel::Cancel;
use crate::condition::ConditionKind;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::finding::Severity;
use crate::history::{History, Job, JobId};
use crate::job::tell::Desk;
use crate::job::turn::Turned;
use crate::status::{Metrics, Status, metrics};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Shortest and longest wait after a turn that failed.
const FAILED_SECONDS_MIN: i64 = 60;
const FAILED_SECONDS_MAX: i64 = 1800;

/// An application.
pub(super) struct Application {
    /// The file of its configuration.
    pub path: PathBuf,
    /// The configuration in force; `None` if none was ever accepted.
    pub config: Option<Arc<Config>>,
    /// Why the file was refused when it was read last.
    pub refused: Option<Error>,
    /// A configuration that is taken when the turn is over.
    pub replacement: Option<Arc<Config>>,
    /// False once its file is gone.
    pub listed: bool,
    /// When it is to be looked at again; `None` if nothing is scheduled.
    pub next: Option<Timestamp>,
    /// Since when its turn lasts.
    pub turning: Option<Instant>,
    /// Jobs that could not be noted.
    pub unwritten: Vec<Job>,
    /// Its alarms, once they were opened.
    pub desk: Option<Arc<Desk>>,
    /// The status after its last turn.
    status: Option<Status>,
    /// Why the last turn failed.
    error: Option<Error>,
    /// True if its file was refused during its turn, so that nobody was told yet.
    untold: bool,
    /// Turns that failed in a row.
    failures: u32,
}

/// Reads the configuration: a file, which must be right, or each file of a directory.
pub(super) fn load(config: Option<&Path>) -> Result<Vec<Application>> {
    let (path, _) = Config::locate(config)?;
    if !path.is_dir() {
        let config = Config::load(config)?;
        return Ok(vec![Application::new(config.origin.clone(), Ok(config))]);
    }
    let loaded = Config::load_directory(&path)?;
    Ok(loaded
        .into_iter()
        .map(|(path, config)| Application::new(path, config))
        .collect())
}

/// The state directory that the applications share. Fails with the first refusal if every one was
/// refused.
pub(super) fn host_state(applications: &[Application]) -> Result<PathBuf> {
    let mut accepted = applications.iter().filter_map(|app| app.config.as_ref());
    if let Some(config) = accepted.next() {
        return Ok(config.app.host_state().to_owned());
    }
    let refused = applications.iter().find_map(|app| app.refused.clone());
    Err(refused
        .unwrap_or_else(|| Error::new(crate::Code::Configuration, "there is no configuration")))
}

impl Application {
    fn new(path: PathBuf, config: Result<Config>) -> Self {
        let (config, refused) = match config {
            Ok(config) => (Some(Arc::new(config)), None),
            Err(error) => (None, Some(error)),
        };
        Application {
            path,
            // It is looked at as soon as there is time.
            next: config.as_ref().map(|_| Timestamp::MIN),
            config,
            refused,
            replacement: None,
            listed: true,
            turning: None,
            unwritten: Vec::new(),
            desk: None,
            status: None,
            error: None,
            untold: false,
            failures: 0,
        }
    }

    /// `crm/production`, or the file of an application that was never accepted.
    pub fn name(&self) -> String {
        match &self.config {
            Some(config) => format!("{}/{}", config.app.name, config.app.environment),
            None => self.path.display().to_string(),
        }
    }

    /// Returns whether its turn should begin.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.turning.is_none() && self.next.is_some_and(|next| next <= now)
    }

    /// Returns whether its file is gone, and nothing of it runs.
    pub fn is_gone(&self) -> bool {
        !self.listed && self.turning.is_none()
    }

    /// Puts a configuration in force.
    pub fn take(&mut self, config: Arc<Config>, now: Timestamp) {
        self.config = Some(config);
        self.refused = None;
        // It may have another state directory now.
        self.desk = None;
        self.next = Some(now);
    }

    /// Notes that its file was refused. It is looked at again, so that this is told.
    pub fn refuse(&mut self, error: Error, now: Timestamp) {
        self.refused = Some(error);
        match self.turning {
            Some(_) => self.untold = true,
            None if self.config.is_some() => self.next = Some(now),
            None => {}
        }
    }

    /// What is wrong beside what the stores and the history show.
    pub fn conditions(&self) -> Vec<Condition> {
        let refused = self.refused.iter().map(|error| {
            let text = format!(
                "the configuration {} is refused, and the old one stays in force: {error}",
                self.path.display()
            );
            let kind = ConditionKind::Configuration;
            Condition::new("configuration", kind, Severity::Error, None, text)
                .hint("see what is wrong with it: lifeboat config check")
        });
        refused.collect()
    }

    /// Notes a turn that succeeded.
    pub fn succeeded(&mut self, now: Timestamp, turned: Turned) {
        self.failures = 0;
        self.error = None;
        self.status = turned.status.or(self.status.take());
        // What is due at once and was not begun would be looked at without end.
        let soon = Timestamp::from_second(now.as_second() + 1).unwrap_or(now);
        self.next = match std::mem::take(&mut self.untold) {
            true => Some(soon),
            false => turned.next.map(|next| next.max(soon)),
        };
    }

    /// Notes a turn that failed: it is tried again after a while.
    pub fn failed(&mut self, now: Timestamp, error: Error) {
        let wait = FAILED_SECONDS_MIN << self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        self.error = Some(error);
        let at = now.as_second() + wait.min(FAILED_SECONDS_MAX);
        self.next = Timestamp::from_second(at).ok();
    }

    /// Its metrics as of `now`; `None` before its first turn.
    pub fn metrics(&self, now: Timestamp) -> Option<Metrics> {
        let (status, config) = (self.status.clone()?, self.config.as_ref()?);
        let history = History::open(&config.app.state, |_| ());
        let jobs = history.and_then(|h| h.jobs(&config.app.name, &config.app.environment));
        let ledger = self
            .desk
            .as_ref()
            .and_then(|desk| desk.outbox().ledger().ok());
        let open = open_alarms(&ledger.unwrap_or_default(), now);
        let status = status.aged(now);
        let metrics = metrics(&status, &jobs.unwrap_or_default());
        Some(metrics.and(alarm::metrics(&status, &open)))
    }

    /// Its document, with those of these jobs that are its own.
    pub fn document(&self, running: &BTreeMap<JobId, (Job, Cancel)>) -> ApplicationDocument {
        let config = self.config.as_ref();
        let own = running.values().filter(|(job, _)| {
            config.is_some_and(|c| job.app == c.app.name && job.environment == c.app.environment)
        });
        ApplicationDocument {
            app: self.name(),
            config: self.path.clone(),
            next: self.next.filter(|next| *next > Timestamp::MIN),
            running: own.map(|(job, _)| RunningDocument::from(job)).collect(),
            refused: self.refused.clone(),
            error: self.error.clone(),
            status: self.status.clone(),
        }
    }
}
