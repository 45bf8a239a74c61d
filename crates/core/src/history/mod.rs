//! The history of jobs on this host: what ran, why, and how it ended.
//!
//! Every process writes its own jobs, so that several may share a history. It is a help and never
//! the truth: what is due follows from the stores, and without a history only the attempts that
//! left nothing in a store are forgotten. A history that is damaged is therefore put aside, and one
//! that cannot be written to is kept in memory by the process that writes.

mod job;
mod log;

pub use job::{Ended, Job, JobId, JobKind, JobOutcome};
pub use log::JobLog;

use crate::clock::Clock;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::sqlite::{self, is_damage};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Version of the format of the history.
const VERSION: i64 = 1;
/// Attempts at a free id.
const IDS_MAX: u32 = 100;
/// Jobs that are kept.
pub const JOBS_MAX: usize = 5000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS job (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
        app TEXT NOT NULL, environment TEXT NOT NULL, body TEXT NOT NULL);";

/// The history of jobs.
pub struct History {
    directory: PathBuf,
    connection: Mutex<Connection>,
    /// Jobs that could not be written, by their last state.
    unwritten: Mutex<Vec<Job>>,
}

impl History {
    /// Opens the history in a state directory, or makes it. A damaged one is put aside; `warn` is
    /// told so. Fails if a newer version of the program made it.
    pub fn open(state: &Path, warn: impl Fn(&str)) -> Result<Self> {
        let path = state.join("jobs.db");
        let connection = match connect(&path) {
            Ok(connection) => connection,
            Err(error) if is_damage(&error) => {
                let aside = put_aside(&path, "job history")?;
                warn(&format!(
                    "the job history was damaged, and a new one begins; the old one is {}",
                    aside.display()
                ));
                connect(&path).map_err(|error| failed(&path, &error))?
            }
            Err(error) => return Err(failed(&path, &error)),
        };
        let version = version(&connection).map_err(|error| failed(&path, &error))?;
        if version > VERSION {
            let message = format!(
                "the job history {} was made by a newer version of lifeboat",
                path.display()
            );
            return Err(Error::new(Code::State, message)
                .cause(format!("it has version {version} of its format, and {VERSION} is the newest that is known here"))
                .hint("use that version of lifeboat, or move the file away: what is due is found in the stores"));
        }
        Ok(History {
            directory: state.to_owned(),
            connection: Mutex::new(connection),
            unwritten: Mutex::default(),
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, Vec<Job>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a job that begins, under an id that no other job has.
    pub fn begin(&self, job: &mut Job, clock: &Clock) -> Result<()> {
        for _ in 0..IDS_MAX {
            match self.insert(job) {
                Err(Refused::Taken) => job.id = JobId::new(clock),
                Err(Refused::Failed(error)) => {
                    self.unwritten().push(job.clone());
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
        Err(Error::new(Code::State, "no free id was found for a job"))
    }

    fn insert(&self, job: &Job) -> std::result::Result<(), Refused> {
        self.execute(job, "")
            .map_err(|error| match is_constraint(&error) {
                true => Refused::Taken,
                false => Refused::Failed(failed(&self.path(), &error)),
            })
    }

    fn execute(&self, job: &Job, on_conflict: &str) -> rusqlite::Result<()> {
        let unfit = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let body = serde_json::to_string(job).map_err(unfit)?;
        let statement = format!(
            "INSERT INTO job (id, app, environment, body) VALUES (?1, ?2, ?3, ?4) {on_conflict}"
        );
        let (id, app, environment) = (job.id.as_str(), job.app.as_str(), job.environment.as_str());
        let values = params![id, app, environment, body];
        self.connection().execute(&statement, values).map(drop)
    }

    /// Jobs that could not be written.
    pub fn take_unwritten(&self) -> Vec<Job> {
        std::mem::take(&mut *self.unwritten())
    }

    /// Notes jobs that another value could not write. What still cannot be written is remembered.
    pub fn note_again(&self, jobs: Vec<Job>) {
        for job in jobs {
            let _ = self.note(&job);
        }
    }

    /// Adds jobs that another host noted, unless they are known here.
    pub fn learn(&self, jobs: &[Job]) -> Result<()> {
        for job in jobs {
            match self.insert(job) {
                Ok(()) | Err(Refused::Taken) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes a job, or its new state. If that fails, this value remembers it for as long as it lives,
    /// and the error is returned.
    pub fn note(&self, job: &Job) -> Result<()> {
        let written = self.write(job);
        let mut unwritten = self.unwritten();
        unwritten.retain(|known| known.id != job.id);
        if written.is_err() {
            unwritten.push(job.clone());
        }
        written
    }

    fn write(&self, job: &Job) -> Result<()> {
        let update = "ON CONFLICT (id) DO UPDATE SET body = excluded.body";
        let written = self.execute(job, update);
        written.map_err(|error| failed(&self.path(), &error))
    }

    fn path(&self) -> PathBuf {
        self.directory.join("jobs.db")
    }

    /// The jobs of an application, the oldest first. A job of a newer version that this one does not
    /// understand is left out.
    pub fn jobs(&self, app: &Name, environment: &Name) -> Result<Vec<Job>> {
        let rows: rusqlite::Result<Vec<String>> = self
            .connection()
            .prepare("SELECT body FROM job WHERE app = ?1 AND environment = ?2 ORDER BY sequence")
            .and_then(|mut statement| {
                let rows =
                    statement.query_map([app.as_str(), environment.as_str()], |r| r.get(0))?;
                rows.collect()
            });
        let rows = rows.map_err(|error| failed(&self.path(), &error))?;
        let mut jobs: Vec<Job> = rows
            .iter()
            .filter_map(|body| serde_json::from_str(body).ok())
            .collect();
        for job in self.unwritten().iter() {
            if job.app != *app || job.environment != *environment {
                continue;
            }
            match jobs.iter_mut().find(|known| known.id == job.id) {
                Some(known) => known.clone_from(job),
                None => jobs.push(job.clone()),
            }
        }
        Ok(jobs)
    }

    /// Ends the jobs of this host that are noted as running and whose process is gone. Returns them.
    pub fn end_interrupted(
        &self,
        app: &Name,
        environment: &Name,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        let mut ended = Vec::new();
        for mut job in self.jobs(app, environment)? {
            if job.is_abandoned() {
                job.end(
                    now,
                    Ended::of(JobOutcome::Interrupted, "its process is gone"),
                );
                // One that cannot be written is remembered.
                let _ = self.note(&job);
                ended.push(job);
            }
        }
        Ok(ended)
    }

    /// Removes the oldest jobs beyond [`JOBS_MAX`], with their logs.
    pub fn trim(&self) -> Result<()> {
        let beyond: rusqlite::Result<Vec<String>> = self
            .connection()
            .prepare("SELECT id FROM job ORDER BY sequence DESC LIMIT -1 OFFSET ?1")
            .and_then(|mut statement| {
                let keep = i64::try_from(JOBS_MAX).unwrap_or(i64::MAX);
                let rows = statement.query_map([keep], |r| r.get(0))?;
                rows.collect()
            });
        for id in beyond.map_err(|error| failed(&self.path(), &error))? {
            log::remove(&self.directory, &id);
            let removed = self
                .connection()
                .execute("DELETE FROM job WHERE id = ?1", [&id]);
            removed.map_err(|error| failed(&self.path(), &error))?;
        }
        Ok(())
    }

    /// The file that holds the log of a job.
    pub fn log_path(&self, id: &JobId) -> PathBuf {
        log::path(&self.directory, id.as_str())
    }
}

/// The reason why a job could not be noted.
enum Refused {
    /// Another one has its id.
    Taken,
    Failed(Error),
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    if version(&connection)? > VERSION {
        return Ok(connection);
    }
    sqlite::share(&connection)?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    // A page that is damaged shows only when it is read.
    connection.query_row(
        "SELECT count(*), max(length(body)) FROM job",
        [],
        |_| Ok(()),
    )?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Puts a damaged database aside under another name; `what` says what is in it. Returns that name.
pub(crate) fn put_aside(path: &Path, what: &str) -> Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut aside = named(".damaged");
    for number in 2.. {
        if !aside.exists() {
            break;
        }
        aside = named(&format!(".damaged-{number}"));
    }
    let failed = |error: std::io::Error| {
        let message = format!("the damaged {what} {} cannot be put aside", path.display());
        Error::new(Code::State, message)
            .cause(error)
            .hint("move it away by hand")
    };
    let mut damaged = crate::plain::open(path).map_err(failed)?;
    crate::place::write_file(&mut damaged, &aside, 0o600)?;
    std::fs::remove_file(path).map_err(failed)?;
    // They belong to the old one.
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(named(suffix));
    }
    Ok(aside)
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(
        Code::State,
        format!("the job history cannot be used: {}", path.display()),
    )
    .cause(sqlite::failure(path, error))
    .hint("check the disk and the permissions; the file may be moved away: what is due is found in the stores")
}

#[cfg(test)]
mod tests;
