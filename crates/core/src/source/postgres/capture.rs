//! Captures a database: one snapshot for rows, inventory and answers.
//!
//! Guarantees: rows are of one instant, and no table is silently empty or another's. `TRUNCATE`,
//! rewriting `ALTER`, and dropping or renaming ignore snapshots, so a dump can read 0 rows of a
//! table without an error. Therefore the state of every table (its number, name, columns and file)
//! is read in the snapshot, and again once `pg_dump` holds its locks and nobody can change the
//! tables any more. If the two differ, not a byte was passed on, and everything begins again.
//!
//! (Locking the tables first, in the session that exports the snapshot, looks simpler and
//! deadlocks: an `ALTER` that comes then waits for our lock, `pg_dump` waits behind the `ALTER`,
//! and we wait for `pg_dump`. The server cannot detect that cycle.)

use super::archive::{ColumnOrders, Contents};
use super::connection::Connection;
use super::inventory;
use super::name::qualified;
use super::session::{Server, Session, query, query_in_snapshot};
use super::stream::{Dump, NotBegun};
use super::tools::Tools;
use crate::cancel;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{DatabaseInventory, Fingerprint, Inventory, Proof, TablesFingerprint};
use crate::point::Consistency;
use crate::source::{CaptureContext, Captured};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// The name of the row hash.
pub const ALGORITHM: &str = "xxh3-128-sum/pg-copy-text";
/// Minimum and maximum number of attempts at a dump.
const ATTEMPTS_MIN: u32 = 3;
const ATTEMPTS_MAX: u32 = 40;

/// The state of one table; two states are equal if nobody touched the table in between.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Table {
    oid: u32,
    schema: String,
    name: String,
    /// `r`, `p` or `f`, as in `pg_class`.
    kind: String,
    /// Its file and its columns.
    state: String,
    generated: Vec<String>,
    readable: bool,
    hidden: bool,
}

impl Table {
    fn key(&self) -> String {
        qualified(Some(&self.schema), &self.name)
    }
}

/// Tables, and the names of their schemas, as a session sees them. Privileges of a table that is
/// gone by now are unknown; the comparison notices that it is gone.
fn tables(session: &mut Session, server: &Server) -> Result<BTreeMap<u32, Table>> {
    let generated = if server.major >= 12 {
        "a.attgenerated <> ''"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT coalesce(json_agg(json_build_object('oid', c.oid::bigint, 'schema', n.nspname, \
           'name', c.relname, 'kind', c.relkind, 'state', concat_ws(' ', c.relfilenode::text, \
             (SELECT string_agg(concat_ws(':', a.attnum, a.attname, a.atttypid), ',' ORDER BY a.attnum) \
               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)), \
           'generated', ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum > 0 AND NOT a.attisdropped AND {generated} ORDER BY a.attname), \
           'readable', c.relkind = 'f' OR coalesce(has_schema_privilege(n.oid, 'USAGE') \
             AND has_table_privilege(c.oid, 'SELECT'), true), \
           'hidden', coalesce(row_security_active(c.oid), false))), '[]') \
         FROM {} WHERE c.relkind IN ('r', 'p', 'f')",
        inventory::own_relations()
    );
    let answer = session.run(&sql)?;
    let list: Vec<Table> = serde_json::from_str(&answer).map_err(|error| {
        Error::new(Code::SourceFailed, "the catalog's answer is not understood").cause(error)
    })?;
    Ok(list.into_iter().map(|table| (table.oid, table)).collect())
}

/// The error of an attempt that may succeed if it is repeated.
struct Again(Error);

/// The capture of one database.
pub struct Capture<'a> {
    /// The database.
    pub connection: &'a Connection,
    /// Facts about the server.
    pub server: &'a Server,
    /// The client programs.
    pub tools: &'a Tools,
    /// How long to wait for locks, and to try again, in seconds.
    pub lock_timeout_seconds: u64,
    /// The context of the capture.
    pub context: &'a CaptureContext<'a>,
}

/// A dump that holds its locks, and what was read meanwhile.
struct Begun {
    dump: Dump,
    tables: BTreeMap<u32, Table>,
    inventory: DatabaseInventory,
    unknown_options: BTreeMap<String, Vec<String>>,
    left_out: Vec<String>,
    answers: BTreeMap<String, String>,
    warnings: Vec<String>,
    identity: Option<String>,
    position: Option<String>,
}

impl Capture<'_> {
    /// Writes the archive to `output`.
    pub fn run(&self, output: &mut dyn Write) -> Result<Captured> {
        let begun = self.begin()?;
        let Begun {
            dump,
            tables,
            inventory,
            unknown_options,
            left_out,
            answers,
            mut warnings,
            identity,
            position,
        } = begun;
        let contents = dump.stream(output, &ColumnOrders::new(), self.context.reporter)?;
        self.compare_with_catalog(&tables, &contents)?;
        self.schemas_kept_their_names(&tables)?;
        let client_major = super::tools::major_of(&contents.client).unwrap_or(self.tools.major);
        if client_major != self.server.major {
            warnings.push(format!(
                "pg_dump {client_major} is newer than the server ({}): restore with PostgreSQL {} tools or newer",
                self.server.major, client_major
            ));
        }
        let versions = BTreeMap::from([
            ("pg_dump".to_owned(), contents.client.clone()),
            ("server".to_owned(), self.server.version.clone()),
        ]);
        let mut limits = limits(&tables, &inventory, &unknown_options);
        limits.extend(left_out);
        limits.sort();
        Ok(Captured {
            proof: Some(proof(contents, inventory, limits)),
            consistency: Consistency::Snapshot,
            skipped: Vec::new(),
            warnings,
            tools: versions,
            answers,
            identity,
            position,
            external: None,
        })
    }

    fn begin(&self) -> Result<Begun> {
        let patience = Duration::from_secs(self.lock_timeout_seconds);
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt >= ATTEMPTS_MAX
                || (attempt >= ATTEMPTS_MIN && started.elapsed() >= patience);
            match self.attempt(last)? {
                Ok(begun) => return Ok(begun),
                Err(Again(error)) if last => return Err(error),
                Err(Again(error)) => {
                    tracing::debug!(%error, attempt, "the dump begins again");
                    // The pause grows, and never falls into step with whoever changes the tables.
                    let jitter = u64::from(started.elapsed().subsec_nanos() % 97);
                    let pause = u64::from(attempt.min(10)) * 20 + jitter;
                    cancel::wait(Duration::from_millis(pause))?;
                }
            }
        }
    }

    fn attempt(&self, last: bool) -> Result<Result<Begun, Again>> {
        let scrubber = self.context.scrubber;
        // An earlier inventory, to notice changes that ignore the snapshot.
        let mut fresh = Session::open(self.connection, scrubber)?;
        let before = match inventory::take(&mut fresh, self.server) {
            Ok(before) => before,
            Err(error) => {
                let said = error.cause.clone().unwrap_or_default();
                return self.again(error, &said, &mut fresh);
            }
        };
        // A server that does not answer this does not prevent a backup. Own connections are used: a
        // refusal would end a transaction.
        let told = |sql: &str| {
            let answer = query(self.connection, sql, scrubber).ok();
            answer.filter(|text| !text.is_empty())
        };
        let position = told(POSITION);
        let mut session = Session::open(self.connection, scrubber)?;
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let snapshot = session.run("SELECT pg_export_snapshot()")?;
        let begun = Dump::begin(
            self.connection,
            self.server,
            self.tools,
            Some(&snapshot),
            self.lock_timeout_seconds,
            scrubber,
        )?;
        let tables = tables(&mut session, self.server)?;
        refuse_hidden(&tables)?;
        let dump = match begun {
            Ok(dump) => dump,
            Err(NotBegun { said, error }) => return self.again(error, &said, &mut fresh),
        };
        if let Some(change) = changed(&tables, &self.tables_now(&mut fresh)?) {
            return Ok(Err(Again(change)));
        }
        let inventory = match inventory::take(&mut session, self.server) {
            Ok(inventory) => inventory,
            Err(error) => {
                let said = error.cause.clone().unwrap_or_default();
                return self.again(error, &said, &mut fresh);
            }
        };
        let mut warnings = Vec::new();
        if inventory.objects != before.objects {
            let change = schema_changed();
            if !last {
                return Ok(Err(Again(change)));
            }
            warnings.push(format!(
                "{change}: the rows are of one instant, but a drill may find the schema different"
            ));
        }
        let invalid = session.run(&inventory::invalid_indexes())?;
        if !invalid.is_empty() {
            warnings.push(format!("invalid indexes are not dumped: {invalid}"));
        }
        let unknown_options = inventory::unknown_options(&mut session)?;
        let left_out = inventory::left_out(&mut session)?;
        let answers = self.answers(&snapshot, &mut warnings);
        Ok(Ok(Begun {
            identity: told(IDENTITY),
            position,
            dump,
            tables,
            inventory,
            unknown_options,
            left_out,
            answers,
            warnings,
        }))
    }

    fn tables_now(&self, fresh: &mut Session) -> Result<BTreeMap<u32, Table>> {
        tables(fresh, self.server)
    }

    /// Decides if another attempt is worth it: it is for locks that were not granted in time, and
    /// for objects that went away meanwhile.
    fn again(&self, error: Error, said: &str, fresh: &mut Session) -> Result<Result<Begun, Again>> {
        if said.contains("statement timeout") || said.contains("lock timeout") {
            let holders = fresh.run(LOCKED)?;
            let named = match holders.as_str() {
                "" => "a table",
                some => some,
            };
            return Ok(Err(Again(
                Error::new(
                    Code::SourceFailed,
                    format!("{}: {named} stayed locked", self.connection.display()),
                )
                .cause(said)
                .hint("find who holds the lock (pg_stat_activity, pg_blocking_pids), or raise lock_timeout of this source"),
            )));
        }
        if error.code == Code::SourceFailed && GONE.iter().any(|words| said.contains(words)) {
            return Ok(Err(Again(schema_changed().cause(said))));
        }
        Err(error)
    }

    fn answers(&self, snapshot: &str, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut answers = BTreeMap::new();
        for sql in self.context.queries {
            match query_in_snapshot(self.connection, snapshot, sql, self.context.scrubber) {
                Ok(answer) => {
                    answers.insert(sql.clone(), answer);
                }
                Err(error) => warnings.push(format!("the query {sql:?} has no answer: {error}")),
            }
        }
        answers
    }

    fn compare_with_catalog(&self, tables: &BTreeMap<u32, Table>, dump: &Contents) -> Result<()> {
        let ordinary = tables.values().filter(|table| table.kind == "r");
        let missing: Vec<String> = ordinary
            .map(Table::key)
            .filter(|key| !dump.tables.contains_key(key))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::SourceFailed,
            format!(
                "the dump lacks tables that the catalog lists: {}",
                missing.join(", ")
            ),
        )
        .hint("run again; if it happens twice, report the versions of pg_dump and the server"))
    }

    /// Fails if a schema was renamed. That takes no lock on its tables, and `pg_dump` reads tables
    /// by name.
    fn schemas_kept_their_names(&self, tables: &BTreeMap<u32, Table>) -> Result<()> {
        let mut session = Session::open(self.connection, self.context.scrubber)?;
        let now = self.tables_now(&mut session)?;
        let moved = tables.iter().find_map(|(oid, table)| {
            let other = now.get(oid).filter(|other| other.schema != table.schema)?;
            Some((table.key(), other.key()))
        });
        match moved {
            None => Ok(()),
            Some((from, to)) => Err(Error::new(
                Code::SourceFailed,
                format!("{from} became {to} while it was dumped"),
            )
            .hint("run again when no migration is under way")),
        }
    }
}

/// The identity of the cluster: the same after a restart, and on its standbys.
const IDENTITY: &str = "SELECT system_identifier::text FROM pg_control_system()";

/// The server's position in its log, shortly before the snapshot.
const POSITION: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
    ELSE pg_current_wal_lsn() END::text";

/// Tables on which others hold exclusive locks.
const LOCKED: &str = "SELECT coalesce(string_agg(DISTINCT l.relation::regclass::text, ', '), '') \
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p') \
    WHERE l.mode = 'AccessExclusiveLock' AND l.granted \
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Messages of a server about an object that went away between two readings of the catalog.
const GONE: &[&str] = &[
    "does not exist",
    "cache lookup failed",
    "could not open relation",
    "could not find tuple",
    "concurrently",
    "deadlock detected",
];

fn schema_changed() -> Error {
    Error::new(
        Code::SourceFailed,
        "the schema changed while pg_dump read it",
    )
    .hint("run again when no migration is under way")
}

/// The error with which a capture of this database would refuse its tables, if any.
pub fn refused_tables(session: &mut Session, server: &Server) -> Result<Option<Error>> {
    let tables = tables(session, server)?;
    Ok(refuse_hidden(&tables).err())
}

/// Refuses to dump with a role that does not see everything.
fn refuse_hidden(tables: &BTreeMap<u32, Table>) -> Result<()> {
    let named = |test: fn(&&Table) -> bool| {
        let names: Vec<String> = tables.values().filter(test).map(Table::key).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = named(|table| !table.readable) {
        return Err(Error::new(
            Code::SourceDenied,
            format!("this role may not read: {names}"),
        )
        .hint("grant it: GRANT pg_read_all_data TO … (PostgreSQL 14 and later), or GRANT SELECT on each and USAGE on its schema"));
    }
    if let Some(names) = named(|table| table.hidden) {
        return Err(Error::new(
            Code::SourceDenied,
            format!("row-level security hides rows from this role: {names}"),
        )
        .hint(
            "dump as the owner of the tables, or as a role with BYPASSRLS: ALTER ROLE … BYPASSRLS",
        ));
    }
    Ok(())
}

/// The error for a table that has changed since the snapshot.
fn changed(snapshot: &BTreeMap<u32, Table>, now: &BTreeMap<u32, Table>) -> Option<Error> {
    let differs = |table: &&Table| {
        table.kind != "f"
            && now.get(&table.oid).is_none_or(|other| {
                (&other.schema, &other.name, &other.state)
                    != (&table.schema, &table.name, &table.state)
            })
    };
    let table = snapshot.values().find(differs)?;
    Some(
        Error::new(
            Code::SourceFailed,
            format!(
                "{} was truncated, rewritten, renamed or dropped while the dump began",
                table.key()
            ),
        )
        .hint("run again when no migration is under way; whoever truncates or alters it in a loop must pause"),
    )
}

/// The limits of a proof of these tables.
fn limits(
    tables: &BTreeMap<u32, Table>,
    inventory: &DatabaseInventory,
    unknown_options: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut limits = Vec::new();
    for (option, places) in unknown_options {
        let first: Vec<&str> = places.iter().take(3).map(String::as_str).collect();
        let more = match places.len() - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        limits.push(format!(
            "{}{more}: the option {option} is not known, and not compared",
            first.join(", ")
        ));
    }
    let views = inventory.objects.get(inventory::MATERIALIZED_VIEW);
    for name in views.into_iter().flat_map(BTreeMap::keys) {
        limits.push(format!(
            "{name}: a materialized view; its rows are computed anew by a restore, not compared"
        ));
    }
    for table in tables.values() {
        if table.kind == "f" {
            limits.push(format!(
                "{}: a foreign table; its rows are elsewhere and not in the dump",
                table.key()
            ));
        }
        for column in &table.generated {
            limits.push(format!(
                "{}.{column}: generated; computed anew by a restore, not compared",
                table.key()
            ));
        }
    }
    limits
}

/// The proof of a dump and its catalog.
pub fn proof(contents: Contents, inventory: DatabaseInventory, limits: Vec<String>) -> Proof {
    Proof {
        fingerprint: Fingerprint::Tables(TablesFingerprint {
            algorithm: ALGORITHM.into(),
            tables: contents.tables,
            objects: inventory::counts(&inventory),
            limits,
        }),
        inventory: Inventory::Database(inventory),
    }
}
