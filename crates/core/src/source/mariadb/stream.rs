//! Runs the dump program, passes its output on, and fingerprints it on a second thread as it
//! passes.
//!
//! Guarantees: `Ok` only if the program succeeded *and* the dump it printed is whole. Buffers in
//! flight are bounded. An error of the output ends the dump and is returned as it is. A dump that
//! waits for a lock longer than it may is ended, by asking the server to kill its query.

use super::client::{Server, literal, query, refused, rows};
use super::connection::Connection;
use super::dump::{ColumnOrders, Contents, Reader};
use super::flavor::{Flavor, release_of};
use super::programs::{Program, Tool};
use crate::error::{Code, Error, Result};
use crate::observe::Reporter;
use crate::secret::Scrubber;
use crate::source::tee::{self, Pieces, Teed};
use crate::thread;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest row or statement that the programs accept: as much as the protocol allows.
const PACKET: &str = "--max-allowed-packet=1073741824";

/// Server errors for a table that has changed, is gone, or stays locked: `ER_TABLE_DEF_CHANGED`,
/// `ER_NO_SUCH_TABLE`, `ER_BAD_TABLE_ERROR`, `ER_LOCK_DEADLOCK`, `ER_LOCK_WAIT_TIMEOUT`,
/// `ER_NEED_REPREPARE`.
const CHANGED: &[u32] = &[1412, 1146, 1051, 1213, 1205, 1615];
/// Server errors for a view that uses something gone: `ER_VIEW_INVALID`.
const BROKEN: &[u32] = &[1356];

/// A dump to be made of a database.
#[derive(Debug, Clone)]
pub struct Dumping<'a> {
    /// The database.
    pub connection: &'a Connection,
    /// Facts about the server.
    pub server: &'a Server,
    /// True to record the position of the binary log.
    pub binlog: bool,
    /// True to dump earlier rows of system-versioned tables too.
    pub history: bool,
    /// Tables that the program cannot dump together with the history of others.
    pub by_transaction: &'a BTreeSet<String>,
    /// How long it may wait for a lock, in seconds.
    pub lock_timeout_seconds: u64,
    /// Removes known secrets from the output of tools.
    pub scrubber: &'a Scrubber,
}

/// The part that one run of the dump program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DumpPart {
    /// Everything.
    Whole,
    /// The tables whose history is by transactions, with their current rows.
    Apart,
    /// Everything else.
    Rest,
}

/// A completed dump.
pub struct Dumped {
    /// Its contents.
    pub contents: Contents,
    /// Messages of the program, although it succeeded.
    pub said: String,
}

/// Returns true if this dump program can dump the history of system-versioned tables of this
/// server.
pub fn dumps_history(program: &Program, server: &Server) -> bool {
    let since = |release: Option<[u32; 2]>| release.is_some_and(|release| release >= [10, 11]);
    program.flavor == Flavor::Mariadb
        && since(release_of(&program.version))
        && server.flavor == Flavor::Mariadb
        && since(Some(server.release))
}

impl Dumping<'_> {
    fn options(&self, program: &Program, part: DumpPart) -> Vec<String> {
        let mut options: Vec<String> = [
            "--single-transaction",
            "--quick",
            "--triggers",
            "--hex-blob",
            "--tz-utc",
            "--complete-insert",
            "--no-tablespaces",
            // While a table is locked, a default value from a sequence cannot be restored.
            "--skip-add-locks",
            PACKET,
        ]
        .map(String::from)
        .to_vec();
        let release = release_of(&program.version).unwrap_or_default();
        options.extend(program.database_alone().iter().map(|o| String::from(*o)));
        if part == DumpPart::Apart {
            return options;
        }
        options.extend(["--routines", "--events"].map(String::from));
        if self.history && program.flavor == Flavor::Mariadb {
            options.push("--dump-history".into());
        }
        if part == DumpPart::Rest {
            let database = self.connection.database().unwrap_or_default();
            let apart = self.by_transaction.iter();
            options.extend(apart.map(|table| format!("--ignore-table={database}.{table}")));
        }
        if self.binlog && program.flavor == self.server.flavor {
            let numbers = program.version.splitn(3, '.').nth(2);
            let patch = numbers.map(|n| {
                n.chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>()
            });
            let patch: u32 = patch
                .and_then(|patch| patch.parse().ok())
                .unwrap_or_default();
            let renamed = (release, patch) >= ([8, 0], 26);
            options.push(match (program.flavor, renamed) {
                (Flavor::Mysql, true) => "--source-data=2".into(),
                _ => "--master-data=2".into(),
            });
        }
        options
    }

    /// Dumps to `output`, which may receive two dumps one after the other. Rows of tables that
    /// `orders` names are hashed in that order. `begun` is called once, when rows are about to
    /// come: every snapshot is taken by then.
    pub fn run(
        &self,
        output: &mut dyn Write,
        orders: &ColumnOrders,
        reporter: &Reporter,
        begun: &mut dyn FnMut(),
    ) -> Result<Dumped> {
        if !self.history || self.by_transaction.is_empty() {
            return self.run_part(DumpPart::Whole, output, orders, reporter, begun);
        }
        // Views of the rest may use these tables: they come first.
        let apart = self.run_part(DumpPart::Apart, output, orders, reporter, &mut || ())?;
        let mut all = self.run_part(DumpPart::Rest, output, orders, reporter, begun)?;
        all.contents.add(apart.contents);
        all.said = apart.said + &all.said;
        Ok(all)
    }

    fn run_part(
        &self,
        part: DumpPart,
        output: &mut dyn Write,
        orders: &ColumnOrders,
        reporter: &Reporter,
        begun: &mut dyn FnMut(),
    ) -> Result<Dumped> {
        let program = self.connection.program(Tool::Dump)?;
        let database = self.connection.database().unwrap_or_default();
        let mut command = self
            .connection
            .client_command(Tool::Dump, self.scrubber)?
            .args(self.options(&program, part))
            .args(["--", database]);
        if part == DumpPart::Apart {
            command = command.args(self.by_transaction);
        }
        let mut running = self.connection.transport().spawn(&command)?;
        let Some(mut pipe) = running.stdout.take() else {
            return Err(Error::new(Code::Io, "the dump was started without a pipe"));
        };
        let watch = Watch::default();
        let (stop, stopped) = bounded::<()>(0);
        let teed = std::thread::scope(|scope| {
            thread::start_in(scope, || self.watch(&watch, &stopped))?;
            // Whatever happens here, the watch ends.
            let _stop = stop;
            let first = tee::first(&mut pipe)?;
            if first.is_empty() {
                // Its exit status tells why.
                return Ok(Teed {
                    read: read_nothing(),
                    whole: true,
                });
            }
            let mut output = Watched {
                output,
                watch: &watch,
                bytes: 0,
                begun: Some(begun),
            };
            tee::tee(first, &mut pipe, &mut output, reporter, move |pieces| {
                read(pieces, orders)
            })
        });
        drop(pipe);
        let teed = match teed {
            Ok(teed) => teed,
            Err(error) => {
                drop(running.kill());
                return Err(error);
            }
        };
        if !teed.whole {
            // The reader gave up before the end: its error is the reason.
            let said = running.kill();
            return teed
                .read
                .map_err(|error| match error.cause {
                    None => error.cause(said),
                    Some(_) => error,
                })
                .and_then(|_| {
                    Err(Error::new(
                        Code::SourceFailed,
                        "the dump was not read to its end",
                    ))
                });
        }
        let (status, said) = running.wait()?;
        if let Some(waited) = watch.ended() {
            return Err(self.stayed_locked(&waited));
        }
        if !status.success() {
            return Err(self.failed(
                &program,
                status,
                &said,
                watch.passed.load(Ordering::Relaxed),
            ));
        }
        Ok(Dumped {
            contents: teed.read?,
            said,
        })
    }

    fn failed(&self, program: &Program, status: ExitStatus, said: &str, passed: u64) -> Error {
        let place = self.connection.display();
        let reported = |number: &&u32| {
            let forms = [
                format!("rror {number}:"),
                format!("rror: {number}:"),
                format!("({number})"),
            ];
            forms.iter().any(|form| said.contains(form))
        };
        match CHANGED.iter().chain(BROKEN).find(reported) {
            Some(number) if CHANGED.contains(number) => {
                return Error::new(
                    Code::SourceChanged,
                    format!("{place}: a table changed while it was dumped"),
                )
                .cause(said)
                .hint("run again when no migration is under way");
            }
            Some(_) => {
                return Error::new(
                    Code::SourceFailed,
                    format!("{place}: a view refers to something that is not there, and cannot be dumped"),
                )
                .cause(said)
                .hint("repair or drop the view that the cause names; `lifeboat doctor` lists them all");
            }
            None => {}
        }
        let error = refused(self.connection, said);
        let connected = passed > 0;
        if error.code != Code::SourceFailed && !(connected && error.code == Code::SourceUnreachable)
        {
            return error;
        }
        if let Some(set) = unknown_charset(said) {
            return Error::new(
                Code::ToolMissing,
                format!("{} does not know the character set {set}", program.name),
            )
            .cause(said)
            .hint("install the client of the server's own version");
        }
        Error::new(
            Code::SourceFailed,
            format!("{} of {place} did not end well ({status})", program.name),
        )
        .cause(said)
        .hint(match said.contains("2013") {
            true => "the dump is not whole and is thrown away; look at the server's error log, and raise its net_write_timeout where a store is slow",
            false => "the dump is not whole and is thrown away; run again when the cause is mended",
        })
    }

    fn stayed_locked(&self, waited: &str) -> Error {
        Error::new(
            Code::SourceChanged,
            format!(
                "{}: the dump waited for a lock for more than {} s",
                self.connection.display(),
                self.lock_timeout_seconds
            ),
        )
        .cause(waited)
        .hint(
            "find who holds the lock (SHOW FULL PROCESSLIST), or raise lock_timeout of this source",
        )
    }

    /// Checks, if no output has come for long, if the dump waits for a lock.
    fn watch(&self, watch: &Watch, stopped: &Receiver<()>) {
        let patience = Duration::from_secs(self.lock_timeout_seconds.max(1));
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            match stopped.recv_timeout(patience / 4) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let passed = watch.passed.load(Ordering::Relaxed);
            if passed != seen || watch.writing.load(Ordering::Relaxed) {
                (seen, since) = (passed, Instant::now());
            } else if since.elapsed() >= patience
                && let Some((thread, what)) = self.waiting()
            {
                let mut ended = watch.ended.lock().unwrap_or_else(PoisonError::into_inner);
                *ended = Some(what);
                drop(ended);
                if let Err(error) = query(
                    self.connection,
                    &format!("KILL QUERY {thread}"),
                    self.scrubber,
                ) {
                    tracing::debug!(%error, "a waiting dump could not be ended");
                }
            }
        }
    }

    /// A statement of a dump of this database that waits for a lock: its thread, and the statement.
    fn waiting(&self) -> Option<(u64, String)> {
        let sql = format!(
            "SELECT ID, CONCAT(STATE, ': ', INFO) FROM information_schema.PROCESSLIST \
             WHERE USER = SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND TIME >= {} \
             AND (DB = {} OR INFO LIKE 'FLUSH%') AND STATE LIKE 'Waiting for%' AND STATE LIKE '%lock%' \
             AND (INFO LIKE 'SELECT /*%SQL_NO_CACHE%' OR INFO LIKE 'SHOW %' OR INFO LIKE 'FLUSH %' \
               OR INFO LIKE 'SELECT%FROM%')",
            self.lock_timeout_seconds.saturating_sub(1),
            literal(self.connection.database().unwrap_or_default()),
        );
        let rows = rows(self.connection, &sql, self.scrubber).ok()?;
        let mut row = rows.into_iter().next()?.into_iter();
        Some((row.next()?.parse().ok()?, row.next()?))
    }
}

fn unknown_charset(said: &str) -> Option<String> {
    let (_, rest) = said
        .split_once("haracter set '")
        .or_else(|| said.split_once("haracter set: '"))?;
    rest.split('\'').next().map(str::to_owned)
}

/// The contents of an empty dump.
fn read_nothing() -> Result<Contents> {
    Reader::new(&ColumnOrders::default()).finish()
}

fn read(mut pieces: Pieces, orders: &ColumnOrders) -> Result<Contents> {
    let mut reader = Reader::new(orders);
    loop {
        let piece = pieces
            .fill_buf()
            .map_err(|error| Error::io("the dump cannot be read", &error))?;
        if piece.is_empty() {
            return reader.finish();
        }
        let count = piece.len();
        reader.feed(piece)?;
        pieces.consume(count);
    }
}

/// The state of a running dump.
#[derive(Debug, Default)]
struct Watch {
    passed: AtomicU64,
    /// True if it waits for the output, not for the server.
    writing: AtomicBool,
    ended: Mutex<Option<String>>,
}

impl Watch {
    fn ended(&self) -> Option<String> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// An output that is watched.
struct Watched<'a> {
    output: &'a mut dyn Write,
    watch: &'a Watch,
    bytes: u64,
    begun: Option<&'a mut dyn FnMut()>,
}

/// Upper limit of what the programs write before they take their snapshot.
const PREAMBLE_BYTES: u64 = 2048;

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watch.writing.store(true, Ordering::Relaxed);
        self.bytes += bytes.len() as u64;
        if self.bytes > PREAMBLE_BYTES
            && let Some(begun) = self.begun.take()
        {
            begun();
        }
        let written = self.output.write(bytes);
        if let Ok(count) = &written {
            self.watch
                .passed
                .fetch_add(*count as u64, Ordering::Relaxed);
        }
        self.watch.writing.store(false, Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
