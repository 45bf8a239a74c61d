//! The log of a job: a file of bounded size, a line for each step and warning.

use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::observe::{Observer, Task, TaskId};
use crate::secret::Scrubber;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes of a log; what comes after is dropped.
const BYTES_MAX: usize = 1 << 20;

pub(super) fn path(state: &Path, id: &str) -> PathBuf {
    state.join("jobs").join(format!("{id}.log"))
}

pub(super) fn remove(state: &Path, id: &str) {
    let _ = std::fs::remove_file(path(state, id));
}

/// Writes what a job reports to a file, and passes it on to another observer.
pub struct JobLog {
    writing: Mutex<Writing>,
    clock: Clock,
    scrubber: Scrubber,
    next: Arc<dyn Observer>,
}

struct Writing {
    /// `None` if the log cannot be written.
    file: Option<File>,
    bytes: usize,
}

impl JobLog {
    /// Makes the log of a job at `path`; its directory is made if missing. `next` hears everything,
    /// too.
    pub fn create(
        path: &Path,
        clock: Clock,
        scrubber: Scrubber,
        next: Arc<dyn Observer>,
    ) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::new(
                Code::State,
                format!("the log {} cannot be written", path.display()),
            )
            .cause(error)
            .hint("free disk space there, and let this user write to the state directory")
        };
        if let Some(parent) = path.parent() {
            crate::place::create_directory(parent)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        Ok(JobLog {
            writing: Mutex::new(Writing {
                file: Some(file),
                bytes: 0,
            }),
            clock,
            scrubber,
            next,
        })
    }

    /// A log that is not kept; `next` hears everything.
    pub fn none(clock: Clock, next: Arc<dyn Observer>) -> Self {
        let writing = Writing {
            file: None,
            bytes: 0,
        };
        JobLog {
            writing: Mutex::new(writing),
            clock,
            scrubber: Scrubber::default(),
            next,
        }
    }

    /// Adds a line, with the time before it. A log that cannot be written is no reason to end a job.
    pub fn line(&self, text: &str) {
        let text = self.scrubber.scrub(text);
        let line = format!("{} {}\n", self.clock.now(), text.replace('\n', "\n    "));
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = writing.bytes;
        if before > BYTES_MAX {
            return;
        }
        writing.bytes += line.len();
        let line = match writing.bytes > BYTES_MAX {
            true => "the log is full: what follows is not in it\n".to_owned(),
            false => line,
        };
        if let Some(file) = &mut writing.file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

impl Observer for JobLog {
    fn began(&self, task: Task<'_>) {
        self.line(task.name);
        self.next.began(task);
    }

    fn advanced(&self, task: TaskId, amount: u64) {
        self.next.advanced(task, amount);
    }

    fn ended(&self, task: TaskId) {
        self.next.ended(task);
    }

    fn warned(&self, message: &str) {
        self.line(&format!("warning: {message}"));
        self.next.warned(message);
    }
}
