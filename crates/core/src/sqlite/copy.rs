//! Copies a live SQLite database consistently, with SQLite's own backup interface.
//!
//! Guarantees: the copy is one instant of the database, whatever writes to it; the database is
//! opened read-only, never created and never written to. Where its directory may not be written, a
//! database in WAL mode that nobody has open is copied as a file. Writers of a database in rollback
//! mode wait while it is copied; those of one in WAL mode do not.
//!
//! POSIX locks belong to a process and are released when *any* descriptor of the file is closed. In
//! this process, therefore, nothing may open a database file by itself while SQLite has it open:
//! [`read_header`] and [`Claim`] keep count.

use super::Spool;
use crate::cancel;
use crate::error::{Code, Error, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait for a database that others hold locked.
const BUSY_SECONDS_MAX: u64 = 60;

/// The first bytes of a database file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Endings of the files that SQLite keeps beside a database.
pub(crate) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// `path` with a companion's ending.
pub(crate) fn companion(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Database files this process has open through SQLite: (device, inode) → how often.
static OPEN: Mutex<BTreeMap<(u64, u64), usize>> = Mutex::new(BTreeMap::new());

fn open_databases() -> MutexGuard<'static, BTreeMap<(u64, u64), usize>> {
    // The map is whole even if a holder panicked: each change is one call.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks a database file as open through SQLite in this process: made before it is opened, dropped
/// after it is closed. All code that opens a database which a files source may meet makes one.
pub(crate) struct Claim((u64, u64));

impl Claim {
    pub(crate) fn new(path: &Path) -> Result<Self, Errno> {
        let mut open = open_databases();
        let stat = rustix::fs::stat(path)?;
        let id = (stat.st_dev, stat.st_ino);
        *open.entry(id).or_insert(0) += 1;
        Ok(Claim(id))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = open_databases();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

/// The kind of a regular file.
pub(crate) enum Opened {
    /// A database; it is not held open here.
    Database,
    /// Any other file, open for reading at its start.
    Plain(OwnedFd),
}

/// Opens a regular file for reading, unless it is a SQLite database.
pub(crate) fn open_unless_database(
    directory: impl AsFd,
    name: &OsStr,
    stat: &Stat,
) -> Result<Opened, Errno> {
    let open = open_databases();
    if open.contains_key(&(stat.st_dev, stat.st_ino)) {
        return Ok(Opened::Database);
    }
    let file = open_plain(directory, name)?;
    if has_magic(&file)? {
        drop(file);
        return Ok(Opened::Database);
    }
    drop(open);
    Ok(Opened::Plain(file))
}

/// Opens a file for reading without following a link or blocking, and without changing its access
/// time if that is allowed.
pub(crate) fn open_plain(directory: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let directory = directory.as_fd();
    match rustix::fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(directory, name, flags, Mode::empty()),
        other => other,
    }
}

fn has_magic(file: &OwnedFd) -> Result<bool, Errno> {
    let mut head = [0; MAGIC.len()];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(&head == MAGIC)
}

/// Copies the database at `path` into the new file `spool` (0600). Returns warnings.
pub(crate) fn backup(path: &Path, spool: &Path) -> Result<Vec<String>> {
    let _claim = Claim::new(path).map_err(|error| match error {
        Errno::NOENT => missing(path),
        Errno::ACCESS => denied(path).cause(error),
        _ => failed(path).cause(error),
    })?;
    are_files(path)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(spool)
        .map_err(|error| Error::io(format!("{} cannot be made", spool.display()), &error))?;
    let deadline = Instant::now() + Duration::from_secs(BUSY_SECONDS_MAX);
    loop {
        let error = match backup_pages(path, spool) {
            Ok(()) => return Ok(Vec::new()),
            Err(error) => error,
        };
        if needs_recovery(&error) {
            roll_back_copy(path, spool)?;
            return Ok(vec![format!(
                "{} has an unfinished transaction left by a crash: it was rolled back in the copy",
                path.display()
            )]);
        }
        if !cannot_be_joined(path, &error) {
            return Err(explain(path, &error));
        }
        if copy_closed(path, spool)? {
            return Ok(Vec::new());
        }
        if cancel::requested() || Instant::now() >= deadline {
            return Err(explain(path, &error));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fails if a database or something beside it is not a regular file: SQLite opens any kind, and
/// would wait for a pipe.
fn are_files(path: &Path) -> Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = COMPANIONS.map(|ending| companion(&real, ending));
    for file in beside.iter().chain([&real]) {
        let kind = rustix::fs::lstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind.is_ok_and(|kind| kind != FileType::RegularFile) {
            return Err(failed(path)
                .cause(format!("{} is no regular file", file.display()))
                .hint("find out who put it there, and remove it"));
        }
    }
    Ok(())
}

/// Copies a database with a hot journal. A program crashed in a transaction, which SQLite would
/// roll back in the live file for the next reader that may write; but nothing here ever writes
/// there. Instead the file and its journal are copied, which is safe while neither changes, and the
/// transaction is rolled back in the copy.
fn roll_back_copy(path: &Path, spool: &Path) -> Result<()> {
    let journal = companion(path, "-journal");
    let look = || -> Result<_, Errno> {
        let both = (rustix::fs::stat(path)?, rustix::fs::stat(&journal)?);
        Ok([both.0, both.1].map(|s| (s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec)))
    };
    let unsteady = |cause: &dyn std::fmt::Display| {
        failed(path)
            .cause(cause)
            .hint("its journal is being rolled back just now: run again")
    };
    let before = look().map_err(|error| unsteady(&error))?;
    {
        // While this guard is held, no connection can be opened in this process; only ours is
        // counted.
        let open = open_databases();
        if open.values().sum::<usize>() > 1 {
            return Err(unsteady(&"another backup has a database open"));
        }
        copy_bytes(path, spool)?;
        copy_bytes(&journal, &companion(spool, "-journal"))?;
    }
    if look() != Ok(before) {
        return Err(unsteady(&"it changed while it was copied"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(spool, flags)
        .and_then(|copy| copy.query_row("select count(*) from sqlite_schema", [], |_| Ok(())))
        .map_err(|error| explain(path, &error))
}

/// Whether an error comes from a database in WAL mode that no other process has open, where its directory
/// may not be written: to open it, SQLite would have to make files beside it.
fn cannot_be_joined(path: &Path, error: &rusqlite::Error) -> bool {
    let here = rustix::fs::CWD;
    let may = |path: &Path, how| {
        rustix::fs::accessat(here, path, how, rustix::fs::AtFlags::EACCESS).is_ok()
    };
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = real.parent().unwrap_or(Path::new("/"));
    error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
        && may(path, rustix::fs::Access::READ_OK)
        && !may(directory, rustix::fs::Access::WRITE_OK)
}

/// Copies a database in WAL mode that no other process has open, with the log that a crash may have left:
/// first the files, then what they hold into `spool`, as from a live one. `false` if they changed meanwhile
/// or this process has the database open elsewhere: another try decides.
fn copy_closed(path: &Path, spool: &Path) -> Result<bool> {
    let still = Spool::new(spool.parent().unwrap_or(Path::new("/")));
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let wal = companion(&real, "-wal");
    let look = || {
        // Whoever opens the database makes both, and writes to the first alone until it is full.
        let files = [real.clone(), wal.clone(), companion(&real, "-shm")];
        files.map(|file| {
            let stat = rustix::fs::stat(file).ok()?;
            Some((stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec))
        })
    };
    let before = look();
    let logged = before.get(1).is_some_and(Option::is_some);
    {
        // As long as this guard is held, no connection can be opened in this process.
        let open = open_databases();
        if open.values().sum::<usize>() > 1 {
            return Ok(false);
        }
        copy_bytes(&real, still.path())?;
        if logged {
            copy_bytes(&wal, &companion(still.path(), "-wal"))?;
        }
    }
    if look() != before {
        return Ok(false);
    }
    backup_pages(still.path(), spool).map_err(|error| explain(path, &error))?;
    Ok(true)
}

/// Copies a file into the private scratch directory.
fn copy_bytes(from: &Path, to: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let copied = crate::plain::open(from)
        .and_then(|mut from| std::io::copy(&mut from, &mut options.open(to)?));
    copied.map(drop).map_err(|error| failed(from).cause(error))
}

fn backup_pages(path: &Path, spool: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | flags)?;
    source.busy_timeout(Duration::from_secs(1))?;
    // The last connection that closes a WAL database would otherwise write to it.
    source.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    )?;
    let mut target = Connection::open_with_flags(spool, OpenFlags::SQLITE_OPEN_READ_WRITE | flags)?;
    // An unfinished spool is thrown away.
    target.pragma_update(None, "journal_mode", "OFF")?;
    target.pragma_update(None, "synchronous", "OFF")?;
    let deadline = Instant::now() + Duration::from_secs(BUSY_SECONDS_MAX);
    let backup = Backup::new(&source, &mut target)?;
    loop {
        // All pages in one step: a stepped copy begins again whenever another process writes.
        let step = match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            step => step,
        };
        let ended = cancel::requested();
        if ended || Instant::now() >= deadline {
            let code = match step {
                StepResult::Locked => rusqlite::ffi::SQLITE_LOCKED,
                _ => rusqlite::ffi::SQLITE_BUSY,
            };
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(code),
                Some(match ended {
                    true => "it is locked, and was not waited for any longer".to_owned(),
                    false => format!("still locked after {BUSY_SECONDS_MAX} s"),
                }),
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Opens the database as a backup would, and returns its journal mode.
pub(crate) fn examine(path: &Path) -> Result<String> {
    let _claim = Claim::new(path).map_err(|error| failed(path).cause(error))?;
    are_files(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mode = || {
        let database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(Duration::from_secs(10))?;
        database.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
        database.pragma_query_value(None, "journal_mode", |row| row.get(0))
    };
    match mode() {
        Err(error) if needs_recovery(&error) => Ok("unknown, after a crash".into()),
        Err(error) if cannot_be_joined(path, &error) => Ok("wal".into()),
        mode => mode.map_err(|error| explain(path, &error)),
    }
}

fn needs_recovery(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

fn missing(path: &Path) -> Error {
    Error::new(
        Code::SourceMissing,
        format!("the database {} is missing", path.display()),
    )
    .hint("correct the source's path, or take the source out of the plan")
}

fn denied(path: &Path) -> Error {
    Error::new(
        Code::SourceDenied,
        format!("the database {} may not be read", path.display()),
    )
    .hint("run as its owner or as root")
}

fn failed(path: &Path) -> Error {
    Error::new(
        Code::SourceFailed,
        format!("the database {} cannot be copied", path.display()),
    )
}

/// Converts an error of SQLite about a live database.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let directory = path.parent().unwrap_or(Path::new("/"));
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => failed(path).cause(error).hint(
            "it is encrypted, damaged, or no SQLite database; dump it with its own program through a source of kind \"command\"",
        ),
        Some(ErrorCode::DatabaseCorrupt) => failed(path).cause(error).hint(damaged_hint(path)),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => failed(path)
            .cause(error)
            .hint("end the transaction that holds it, then run again"),
        Some(ErrorCode::PermissionDenied) => denied(path).cause(error),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            let access = |path: &Path, how| {
                let here = rustix::fs::CWD;
                rustix::fs::accessat(here, path, how, rustix::fs::AtFlags::EACCESS).is_ok()
            };
            if !access(path, rustix::fs::Access::READ_OK) {
                return denied(path).cause(error);
            }
            if access(directory, rustix::fs::Access::WRITE_OK) {
                return failed(path).cause(error);
            }
            Error::new(
                Code::SourceDenied,
                format!(
                    "the database {} is in WAL mode or needs a rollback, and its directory may not be written",
                    path.display()
                ),
            )
            .cause(error)
            .hint("SQLite needs its -shm file there even to read: run as its owner or as root")
        }
        _ => failed(path).cause(error),
    }
}

/// The remedy for a damaged database.
pub(crate) fn damaged_hint(path: &Path) -> String {
    format!(
        "restore an older point, or salvage what is left: sqlite3 {:?} .recover",
        OsStr::from_bytes(path.as_os_str().as_bytes())
    )
}
