//! A SQLite database as a source, and the proof of a restored one.
//!
//! Guarantees: the captured artifact is the database at one instant, opens by itself, and passed
//! `quick_check`; a missing file is an error, never an empty database. It does not prove virtual
//! tables beyond their shadow tables, nor what is ordered or computed by what only an application
//! defines.

mod check;
mod copy;
mod proof;
#[cfg(test)]
mod tests;

pub(crate) use copy::{COMPANIONS, Opened, backup, companion, open_plain, open_unless_database};

use super::{ArtifactSpec, CaptureContext, Captured, Consistency, Source};
use crate::config::SqliteConfig;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::fingerprint::Proof;
use crate::name::{Extension, Name};
use crate::observe::Observer;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The oldest library that is trusted: those before can lose the reset of a write-ahead log.
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

/// One SQLite database.
#[derive(Debug)]
pub struct SqliteSource {
    path: PathBuf,
}

impl SqliteSource {
    /// Checks the configuration; touches nothing.
    pub fn new(config: SqliteConfig) -> Result<Self> {
        if !config.path.is_absolute() {
            return Err(Error::new(
                Code::Configuration,
                format!(
                    "the database path {} is not absolute",
                    config.path.display()
                ),
            )
            .hint("write it from the root: path = \"/…\""));
        }
        Ok(SqliteSource { path: config.path })
    }

    /// Refuses what cannot be a database before a spool is made for it.
    fn check(&self) -> Result<std::fs::Metadata> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(data) if data.is_file() => Ok(data),
            Ok(_) => Err(
                Error::new(Code::SourceFailed, format!("{path} is not a regular file")).hint(
                    "name the database file itself; a directory is a source of kind \"files\"",
                ),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
                Code::SourceMissing,
                format!("the database {path} is missing"),
            )
            .hint("correct the source's path, or take the source out of the plan")),
            Err(error) => Err(Error::new(
                Code::SourceDenied,
                format!("the database {path} cannot be reached"),
            )
            .cause(error)
            .hint("run as its owner or as root")),
        }
    }

    fn capture_spool(
        &self,
        spool: &Path,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        let live_bytes = self.check()?.len();
        context
            .observer
            .step("copying the database", Some(live_bytes));
        let mut warnings = backup(&self.path, spool)?;
        let failed = |error: rusqlite::Error| copy::explain(&self.path, &error);
        let checked = check::check(spool, "quick_check").map_err(failed)?;
        if let Some(problem) = checked.problem {
            return Err(Error::new(
                Code::SourceFailed,
                format!("the database {} is damaged", self.path.display()),
            )
            .cause(problem)
            .hint(copy::damaged_hint(&self.path)));
        }
        let proof = proof::proof(spool, checked.limits).map_err(failed)?;
        let database = open_still(spool).map_err(failed)?;
        let mut answers = BTreeMap::new();
        for sql in context.queries {
            match ask(&database, sql) {
                Ok(answer) => {
                    answers.insert(sql.clone(), answer);
                }
                Err(error) => warnings.push(format!("the query {sql:?} has no answer: {error}")),
            }
        }
        drop(database);
        stream(spool, output, context.observer)?;
        if live_bytes == 0 {
            let path = self.path.display();
            warnings.push(format!("the database {path} is empty: it holds no table"));
        }
        Ok(Captured {
            proof: Some(proof),
            consistency: Consistency::Snapshot,
            skipped: Vec::new(),
            warnings,
            tools: BTreeMap::from([("sqlite".to_owned(), rusqlite::version().to_owned())]),
            answers,
        })
    }
}

impl Source for SqliteSource {
    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own("database"),
            extension: Extension::own("sqlite"),
        }]
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != "database" {
            return Err(Error::new(
                Code::Usage,
                format!("a SQLite source has no artifact {artifact:?}"),
            ));
        }
        assert_library()?;
        let spool = Spool::new(context.scratch);
        self.capture_spool(spool.path(), output, context)
    }

    fn examine(&self, subject: &str, _context: &CaptureContext<'_>) -> Vec<Finding> {
        let finding =
            |severity, message: String, hint| Finding::new(subject, severity, message, hint);
        let examined = assert_library()
            .and_then(|()| self.check())
            .and_then(|data| Ok((data.len(), copy::examine(&self.path)?)));
        match examined {
            Ok((0, _)) => vec![finding(
                Severity::Warning,
                format!("the database {} is empty", self.path.display()),
                Some("check that this is the file the application writes".into()),
            )],
            Ok((bytes, mode)) => vec![finding(
                Severity::Ok,
                format!(
                    "{} can be read: {bytes} bytes, journal mode {mode}",
                    self.path.display()
                ),
                None,
            )],
            Err(error) => vec![finding(Severity::Error, error.to_string(), error.hint)],
        }
    }
}

/// A file in the scratch directory that is gone, with its companions, when this is dropped.
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// A name nothing else uses; the file is not made.
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

/// Copies the spool to `output`.
fn stream(spool: &Path, output: &mut dyn Write, observer: &dyn Observer) -> Result<()> {
    let unreadable = |error| Error::io(format!("{} cannot be read", spool.display()), &error);
    let mut file = std::fs::File::open(spool).map_err(unreadable)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        output
            .write_all(buffer.get(..count).unwrap_or_default())
            .map_err(|error| Error::from_io(Code::Io, "the copy cannot be handed on", error))?;
        observer.advance(count as u64);
    }
    output
        .flush()
        .map_err(|error| Error::from_io(Code::Io, "the copy cannot be handed on", error))
}

/// Opens a database that nobody writes, leaving no file beside it. With a log or journal beside it
/// that holds something, it is opened in the ordinary way, which may leave a `-shm` file.
fn open_still(path: &Path) -> rusqlite::Result<Connection> {
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
    let checked = check::check(path, "integrity_check").map_err(|error| not_whole(&error))?;
    match checked.problem {
        Some(problem) => Err(not_whole(&problem)),
        None => Ok(checked.limits),
    }
}

/// The proof of the restored database at `path`, which must pass `integrity_check`. Foreign keys
/// that are violated are counted in the proof: they may have been violated in the source as well.
pub fn observe(path: &Path) -> Result<Proof> {
    assert_library()?;
    must_exist(path)?;
    let limits = check_whole(path)?;
    proof::proof(path, limits).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the database {} cannot be read to its end", path.display()),
        )
        .cause(error)
    })
}

fn must_exist(path: &Path) -> Result<()> {
    let found = std::fs::metadata(path);
    found.map(drop).map_err(|error| {
        Error::new(
            Code::NotProved,
            format!("the database {} is not there", path.display()),
        )
        .cause(error)
    })
}

/// The one value that one reading statement returns, as text; NULL as the empty text.
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

fn ask(database: &Connection, sql: &str) -> Result<String, String> {
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
