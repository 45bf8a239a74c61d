//! SQLite databases as files: copied while an application uses them, checked, and read to a proof.
//!
//! Guarantees: nothing here writes to a database; a missing file is an error, never an empty
//! database.

mod check;
mod copy;
mod proof;

pub(crate) use check::check;
pub(crate) use copy::{
    COMPANIONS, Opened, backup, companion, damaged_hint, examine, explain, open_plain,
    open_unless_database,
};
pub(crate) use proof::proof;

use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The oldest trusted library: earlier ones can lose the reset of a write-ahead log.
const LIBRARY_MIN: i32 = 3_051_003;

/// Fails unless the SQLite library in this program is new enough not to corrupt WAL databases.
pub fn assert_library() -> Result<()> {
    if rusqlite::version_number() >= LIBRARY_MIN {
        return Ok(());
    }
    Err(Error::new(
        Code::ToolMissing,
        format!(
            "the SQLite library {} in this program can corrupt databases in WAL mode",
            rusqlite::version()
        ),
    )
    .hint("build with SQLite 3.51.3 or newer"))
}

/// A file in the scratch directory that is removed, with its companions, when this is dropped.
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// Chooses a name that nothing else uses; the file is not made.
    pub(crate) fn new(scratch: &Path) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        Spool(scratch.join(format!("sqlite-{process}-{number}.spool")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What is left shows as a scratch directory that cannot be removed.
        let _ = std::fs::remove_file(&self.0);
        for ending in COMPANIONS {
            let _ = std::fs::remove_file(companion(&self.0, ending));
        }
    }
}

/// Lets several processes use a database of our own at once: they wait for each other, and whoever reads
/// holds up nobody who writes.
pub(crate) fn share(connection: &Connection) -> rusqlite::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const AGAIN: Duration = Duration::from_millis(10);
    connection.busy_timeout(PATIENCE)?;
    let begun = Instant::now();
    loop {
        // While another process does the same with a new database, SQLite does not wait by itself.
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && begun.elapsed() < PATIENCE => {
                std::thread::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// The words about a failure with a database of our own. SQLite tells of a full file system as of a
/// failing disk.
pub(crate) fn failure(path: &Path, error: &rusqlite::Error) -> String {
    /// Free bytes below which SQLite cannot work.
    const FREE_BYTES_MIN: u64 = 64 << 10;
    let directory = path.parent().unwrap_or(path);
    let space = rustix::fs::statvfs(directory).ok();
    let free = space.map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    match free {
        Some(free) if free < FREE_BYTES_MIN => {
            format!(
                "the file system of {} is full ({error})",
                directory.display()
            )
        }
        _ => error.to_string(),
    }
}

/// Returns whether an error shows that a file is no database, or a damaged one.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
    )
}

/// Opens a database that nobody writes, leaving no file beside it. If a log or journal beside it is
/// not empty, it is opened in the ordinary way, which may leave a `-shm` file.
pub(crate) fn open_still(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let busy = ["-wal", "-journal"]
        .iter()
        .any(|ending| std::fs::metadata(companion(path, ending)).is_ok_and(|data| data.len() > 0));
    if busy {
        return Connection::open_with_flags(path, flags);
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

/// Fails unless the database at `path` opens and passes `integrity_check`. Nobody may be writing
/// to it. Returns what could not be checked.
pub(crate) fn check_whole(path: &Path) -> Result<Vec<String>> {
    let not_whole = |cause: &dyn std::fmt::Display| {
        Error::new(
            Code::NotProved,
            format!("the database {} is not whole", path.display()),
        )
        .cause(cause)
        .hint("take another copy or an older point; `lifeboat verify` tells which are intact")
    };
    let checked = check(path, "integrity_check").map_err(|error| not_whole(&error))?;
    match checked.problem {
        Some(problem) => Err(not_whole(&problem)),
        None => Ok(checked.limits),
    }
}

/// The proof of the restored database at `path`, which must pass `integrity_check`. Violated
/// foreign keys are counted in the proof, because they may have been violated in the source as
/// well.
pub fn observe(path: &Path) -> Result<Proof> {
    assert_library()?;
    must_exist(path)?;
    let limits = check_whole(path)?;
    proof(path, limits).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the database {} cannot be read to its end", path.display()),
        )
        .cause(error)
    })
}

/// Fails if nothing is at `path`.
pub(crate) fn must_exist(path: &Path) -> Result<()> {
    let found = std::fs::metadata(path);
    found.map(drop).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the database {} is not there", path.display()),
        )
        .cause(error)
    })
}

/// Runs one reading statement and returns its single value as text; NULL becomes the empty text.
pub fn query(path: &Path, sql: &str) -> Result<String> {
    must_exist(path)?;
    let refused = |cause: &dyn std::fmt::Display| {
        Error::new(
            Code::NotProved,
            format!("the query {sql:?} has no answer from {}", path.display()),
        )
        .cause(cause)
    };
    let database = open_still(path).map_err(|error| refused(&error))?;
    ask(&database, sql).map_err(|error| {
        refused(&error).hint("ask one reading statement that returns one row of one column")
    })
}

pub(crate) fn ask(database: &Connection, sql: &str) -> Result<String, String> {
    let say = |error: rusqlite::Error| error.to_string();
    let mut statement = database.prepare(sql).map_err(say)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err("it does not read".into());
    }
    if statement.column_count() != 1 {
        return Err(format!("it returns {} columns", statement.column_count()));
    }
    let mut rows = statement.query([]).map_err(say)?;
    let Some(row) = rows.next().map_err(say)? else {
        return Err("it returns no row".into());
    };
    let answer = proof::text(row.get_ref(0).map_err(say)?);
    match rows.next().map_err(say)? {
        Some(_) => Err("it returns more than one row".into()),
        None => Ok(answer),
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
