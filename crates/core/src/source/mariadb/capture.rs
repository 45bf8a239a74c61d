//! Captures a database: rows of one snapshot, and a catalog that did not change meanwhile.
//!
//! Guarantees: no table is silently empty, another's, or missing. The dump's snapshot covers rows
//! and not definitions: a table that is renamed, altered or created while the dump runs may be
//! dumped with other rows than it had, without an error. No lock is taken against that, since
//! whoever waits for such a lock stops everybody else at that table. Instead the catalog is read
//! before and after. If the two differ, the capture is [`Code::SourceChanged`], and the caller
//! begins again.
//!
//! Tables of engines without transactions are read as they are at their turn, and not locked: a
//! backup must not stop an application. Unless it can be shown that nobody wrote to one meanwhile,
//! the limits and the warnings name it.

use super::client::{Server, identifier, query};
use super::connection::Connection;
use super::dump::{ColumnOrders, Contents};
use super::flavor::{Flavor, release_of};
use super::grants::{self, Grants};
use super::inventory::{self, Catalog, Dictionary, SpecialKind, Table};
use super::programs::{Program, Tool};
use super::stream::{Dumping, dumps_history};
use super::swap::{JOURNAL, interrupted};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{DatabaseInventory, Fingerprint, Inventory, Proof, TablesFingerprint};
use crate::point::Consistency;
use crate::source::{CaptureContext, Captured};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// The name of the row hash.
pub const ALGORITHM: &str = "xxh3-128-sum/mariadb-dump-values";

/// Engines for which the dump programs write only the definition.
const ELSEWHERE: &[&str] = &[
    "FEDERATED",
    "MRG_MYISAM",
    "MRG_ISAM",
    "CONNECT",
    "OQGRAPH",
    "SPIDER",
    "VP",
];

/// Prefix of the limit for a table whose earlier rows are not dumped.
const NO_HISTORY: &str = "system-versioned";

/// The capture of one database.
pub struct Capture<'a> {
    /// The database.
    pub connection: &'a Connection,
    /// Facts about the server.
    pub server: &'a Server,
    /// How long to wait for locks, in seconds.
    pub lock_timeout_seconds: u64,
    /// The context of the capture.
    pub context: &'a CaptureContext<'a>,
}

impl Capture<'_> {
    /// Writes the dump to `output`.
    pub fn run(&self, output: &mut dyn Write) -> Result<Captured> {
        let scrubber = self.context.scrubber;
        let program = self.connection.program(Tool::Dump)?;
        let dictionary = Dictionary::ask(self.connection, scrubber)?;
        let grants = Grants::ask(self.connection, self.server, scrubber)?;
        let before = Catalog::take(self.connection, &dictionary, scrubber)?;
        refuse_interrupted(self.connection, &before)?;
        grants::refuse(
            self.connection,
            &missing(&grants, self.server, self.connection, &before),
        )?;
        refuse_hidden(self.connection, &before)?;
        let binlog = binlog(self.connection, self.server, &grants, scrubber);
        let history = dumpable_history(&before) && dumps_history(&program, self.server);
        let dumping = Dumping {
            connection: self.connection,
            server: self.server,
            binlog: binlog == Ok(true),
            history,
            by_transaction: &before.by_transaction,
            lock_timeout_seconds: self.lock_timeout_seconds,
            scrubber,
        };
        let orders = ColumnOrders {
            orders: BTreeMap::new(),
            omitted: omitted(&before, history),
        };
        let mut warnings = Vec::new();
        let first = self.answers();
        let apart = || match history {
            true => self.transactions_of(&before),
            false => BTreeMap::new(),
        };
        let apart_before = apart();
        let (mut second, mut apart_after) = (None, BTreeMap::new());
        let dumped = dumping.run(output, &orders, self.context.reporter, &mut || {
            second = Some(self.answers());
            apart_after = apart();
        })?;
        let second = second.unwrap_or_else(|| self.answers());
        let after = Catalog::take(self.connection, &dictionary, scrubber)?;
        if let Some(change) = changed(self.connection, &before, &after) {
            return Err(change);
        }
        lacks_nothing(&before, &dumped.contents)?;
        let answers = agreed(first, second, &mut warnings);
        let limits = limits(&before, &program, history);
        let of_history = limits.iter().filter(|l| l.about == LimitAbout::History);
        warnings.extend(of_history.map(|limit| limit.text.clone()));
        let mut limits: Vec<String> = limits.into_iter().map(|limit| limit.text).collect();
        let mut unsteady = unsteady(&before, &after);
        unsteady.extend(moved(&apart_before, &apart_after));
        warnings.extend(
            unsteady
                .iter()
                .map(|(name, why)| format!("table {name}: {why}")),
        );
        limits.extend(unsteady.iter().map(|(name, why)| format!("{name}: {why}")));
        limits.sort();
        warnings.extend(checked_views(&before));
        warnings.extend(self.skew(&program));
        warnings.extend(self.long_statement(&dumped.contents));
        warnings.extend(
            dumped
                .said
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(str::to_owned),
        );
        let position = dumped.contents.gtid.clone();
        let position = position.or_else(|| dumped.contents.binlog.clone());
        Ok(Captured {
            identity: self.identity(),
            position,
            consistency: match unsteady.is_empty() {
                true => Consistency::Snapshot,
                false => Consistency::Unknown,
            },
            tools: self.versions(&program, &dumped.contents, binlog.err()),
            proof: Some(proof(
                dumped.contents,
                lower(before.inventory, &after.inventory),
                limits,
            )),
            warnings,
            answers,
            ..Captured::of_bytes()
        })
    }

    /// Answers to the queries. Snapshots cannot be shared between sessions, so queries run before
    /// the dump's snapshot and again after it. If both answers are equal, the answer is that of the
    /// snapshot.
    fn answers(&self) -> BTreeMap<String, Result<String>> {
        let ask = |sql: &String| {
            let script = format!("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY;\n{sql}");
            (
                sql.clone(),
                query(self.connection, &script, self.context.scrubber),
            )
        };
        self.context.queries.iter().map(ask).collect()
    }

    /// For each table with a history by transactions, a checksum of all transactions that wrote to
    /// it: such tables are dumped before the others, in a snapshot of their own.
    fn transactions_of(&self, catalog: &Catalog) -> BTreeMap<String, Option<String>> {
        let ask = |name: &String| {
            let columns = catalog.period_columns.get(name).into_iter().flatten();
            let columns: Vec<_> = columns.map(|column| identifier(column)).collect();
            let sql = format!(
                "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CRC32(CONCAT_WS('-', {}))), 0)) FROM {} FOR SYSTEM_TIME ALL",
                columns.join(", "),
                identifier(name)
            );
            let sum = query(self.connection, &sql, self.context.scrubber).ok();
            (name.clone(), sum)
        };
        catalog.by_transaction.iter().map(ask).collect()
    }

    fn versions(
        &self,
        program: &Program,
        contents: &Contents,
        unseen: Option<String>,
    ) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::from([
            (program.name.clone(), program.version.clone()),
            ("server".to_owned(), self.server.version.clone()),
            // Definitions may contain the name: a drill restores under the same one.
            (
                "database".to_owned(),
                self.connection.database().unwrap_or_default().to_owned(),
            ),
        ]);
        let binlog = contents.binlog.clone().or(unseen);
        versions.extend(binlog.map(|position| ("binlog".to_owned(), position)));
        versions.extend(contents.gtid.clone().map(|gtid| ("gtid".to_owned(), gtid)));
        versions
    }

    /// The identity of the server; older releases of MariaDB have none.
    fn identity(&self) -> Option<String> {
        let sql = match self.server.flavor {
            Flavor::Mysql => "SELECT @@GLOBAL.server_uuid",
            Flavor::Mariadb => {
                "SELECT MAX(VARIABLE_VALUE) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_UID'"
            }
        };
        let answer = query(self.connection, sql, self.context.scrubber).ok();
        answer.filter(|id| !id.is_empty() && id != "NULL")
    }

    fn skew(&self, program: &Program) -> Option<String> {
        skew(program, self.server)
    }

    /// The limit for a statement that is longer than a server accepts, so that it cannot be
    /// restored there.
    fn long_statement(&self, contents: &Contents) -> Option<String> {
        let (table, bytes) = contents.longest.as_ref()?;
        let sql = "SELECT @@GLOBAL.max_allowed_packet";
        let allowed = query(self.connection, sql, self.context.scrubber).ok()?;
        let allowed: u64 = allowed.parse().ok()?;
        (*bytes > allowed).then(|| {
            format!(
                "table {table} has a row that takes a statement of {bytes} bytes: a server to restore into must have max_allowed_packet above that (this one has {allowed})"
            )
        })
    }
}

/// The mismatch between the dump program and the server, if there is one.
pub fn skew(program: &Program, server: &Server) -> Option<String> {
    if program.flavor != server.flavor {
        return Some(format!(
            "{} is {}'s, the server is {}'s: install the server's own client",
            program.name,
            program.flavor.title(),
            server.flavor.title()
        ));
    }
    let release = release_of(&program.version)?;
    (release < server.release).then(|| {
        format!(
            "{} {} is older than the server ({})",
            program.name, program.version, server.version
        )
    })
}

/// The privileges that this account lacks to see everything.
pub fn missing(
    grants: &Grants,
    server: &Server,
    connection: &Connection,
    catalog: &Catalog,
) -> Vec<String> {
    let views = catalog.tables.values().any(|table| table.kind == "VIEW");
    grants.missing(server, connection.database().unwrap_or_default(), views)
}

/// Returns true if the position of the binary log can be read. If there is a position but it cannot
/// be read, fails with the reason.
pub fn binlog(
    connection: &Connection,
    server: &Server,
    grants: &Grants,
    scrubber: &crate::secret::Scrubber,
) -> Result<bool, String> {
    let logs = query(connection, "SELECT @@GLOBAL.log_bin", scrubber);
    match logs.as_deref() {
        Ok("1") if grants.may_see_binlog(server) => Ok(true),
        Ok("1") => Err(match server.flavor {
            Flavor::Mariadb => "not recorded: the account lacks BINLOG MONITOR ON *.*".to_owned(),
            Flavor::Mysql => {
                "not recorded: the account lacks RELOAD, REPLICATION CLIENT ON *.*".to_owned()
            }
        }),
        _ => Ok(false),
    }
}

/// Fails for routines without bodies and for views that cannot be used: they would break off the
/// dump.
pub fn refuse_hidden(connection: &Connection, catalog: &Catalog) -> Result<()> {
    let place = connection.display();
    if !catalog.unreadable.is_empty() {
        return Err(Error::new(
            Code::SourceDenied,
            format!("{place}: this account may not read the bodies of: {}", catalog.unreadable.join(", ")),
        )
        .hint("grant it SELECT ON mysql.proc (MariaDB, MySQL 5), or SHOW_ROUTINE ON *.* (MySQL 8 and later)"));
    }
    let broken = broken_views(catalog);
    if !broken.is_empty() {
        return Err(Error::new(
            Code::SourceFailed,
            format!(
                "{place}: views refer to something that is not there, and cannot be dumped: {}",
                broken.join(", ")
            ),
        )
        .hint("repair or drop them; SHOW CREATE VIEW shows what they want"));
    }
    Ok(())
}

fn broken_views(catalog: &Catalog) -> Vec<String> {
    let broken =
        |table: &Table| table.kind == "VIEW" && table.comment.contains("references invalid");
    let views = catalog.tables.iter().filter(|(_, table)| broken(table));
    views.map(|(name, _)| name.clone()).collect()
}

/// The views that the dump programs write in an order that a server refuses.
pub fn checked_views(catalog: &Catalog) -> impl Iterator<Item = String> {
    catalog.checked_views.iter().map(|(name, other)| {
        format!(
            "view {name} has a CHECK OPTION and is of view {other}, which the dump defines after it: a restore stops there; rename one of them"
        )
    })
}

/// Returns true if there is a table whose history can be dumped. The dump program writes no history
/// at all if there is a table whose history is by transactions. Such tables are dumped separately,
/// before the others, unless they need a sequence, which would come after them.
pub fn dumpable_history(catalog: &Catalog) -> bool {
    let columns = catalog.inventory.objects.get("column");
    let needs_sequence = |table: &String| {
        let own = format!("{table}.");
        let mut columns = columns.into_iter().flatten();
        // A long definition is kept as a hash, so it may.
        let may = |text: &str| text.contains("nextval(") || text.starts_with(inventory::SHORTENED);
        columns.any(|(name, definition)| name.starts_with(&own) && may(definition))
    };
    histories_by_time(catalog).next().is_some()
        && !catalog.by_transaction.iter().any(needs_sequence)
}

fn histories_by_time(catalog: &Catalog) -> impl Iterator<Item = &String> {
    let versioned = catalog.tables.iter();
    let versioned = versioned.filter(|(_, table)| table.kind == "SYSTEM VERSIONED");
    let names = versioned.map(|(name, _)| name);
    names.filter(|name| !catalog.by_transaction.contains(*name))
}

/// The error for a catalog that changed between two readings, so that the rows dumped meanwhile
/// cannot be trusted.
fn changed(connection: &Connection, before: &Catalog, after: &Catalog) -> Option<Error> {
    let mut names = Vec::new();
    let identity = |table: &Table| {
        (
            table.kind.clone(),
            table.engine.clone(),
            table.identity.clone(),
        )
    };
    for (name, table) in &before.tables {
        match after.tables.get(name) {
            Some(other) if identity(other) == identity(table) => {}
            _ => names.push(name.clone()),
        }
    }
    names.extend(
        after
            .tables
            .keys()
            .filter(|name| !before.tables.contains_key(*name))
            .cloned(),
    );
    for kind in before
        .inventory
        .objects
        .keys()
        .chain(after.inventory.objects.keys())
    {
        let (left, right) = (
            before.inventory.objects.get(kind),
            after.inventory.objects.get(kind),
        );
        if left != right && names.is_empty() {
            let none = BTreeMap::new();
            let (left, right) = (left.unwrap_or(&none), right.unwrap_or(&none));
            let all = left.keys().chain(right.keys());
            let differ = all.filter(|name| left.get(*name) != right.get(*name));
            names.extend(differ.map(|name| format!("{kind} {name}")));
        }
    }
    names.dedup();
    if names.is_empty() {
        return None;
    }
    Some(
        Error::new(
            Code::SourceChanged,
            format!("{}: the schema changed while it was dumped: {}", connection.display(), names.join(", ")),
        )
        .hint("run again when no migration is under way; what makes and drops tables all the time belongs into another database"),
    )
}

/// Fails if the dump lacks tables, views or sequences that the catalog lists.
fn lacks_nothing(catalog: &Catalog, contents: &Contents) -> Result<()> {
    let lacking: Vec<&str> = catalog
        .tables
        .iter()
        .filter(|(name, table)| match table.kind.as_str() {
            "BASE TABLE" | "SYSTEM VERSIONED" => !contents.tables.contains_key(*name),
            _ => !contents.others.contains(*name),
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::SourceFailed,
        format!(
            "the dump lacks what the catalog lists: {}",
            lacking.join(", ")
        ),
    )
    .hint("run again; if it happens twice, report the versions of the dump program and the server"))
}

/// The answers that did not change while the dump's snapshot was taken.
fn agreed(
    first: BTreeMap<String, Result<String>>,
    mut second: BTreeMap<String, Result<String>>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for (sql, answer) in first {
        match (answer, second.remove(&sql)) {
            (Ok(one), Some(Ok(other))) if one == other => {
                answers.insert(sql, one);
            }
            (Ok(_), Some(Ok(_))) => warnings.push(format!(
                "the query {sql:?} has no certain answer: it changed while the dump's snapshot was taken"
            )),
            (Err(error), _) | (_, Some(Err(error))) => {
                warnings.push(format!("the query {sql:?} has no answer: {error}"));
            }
            (Ok(_), None) => {}
        }
    }
    answers
}

/// A limit of a proof.
pub struct Limit {
    /// What it is about.
    pub about: LimitAbout,
    /// The limit in words: `table.column: …`.
    pub text: String,
}

/// What a limit of a proof is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAbout {
    /// The history of a table is not in the dump.
    History,
    /// A restore computes a column anew.
    Generated,
    /// Anything else that the dump loses, or the proof does not compare.
    Loss,
}

/// Returns the limits of a proof of these tables.
pub fn limits(catalog: &Catalog, program: &Program, history: bool) -> Vec<Limit> {
    let mut limits = Vec::new();
    let mut limit = |about, text| limits.push(Limit { about, text });
    for special in &catalog.specials {
        let column = format!("{}.{}", special.table, special.column);
        match special.kind {
            SpecialKind::Float => limit(
                LimitAbout::Loss,
                format!(
                    "{column}: FLOAT; the dump has six digits of it, what is beyond them is lost"
                ),
            ),
            SpecialKind::Masked => limit(
                LimitAbout::Loss,
                format!(
                    "{column}: under a masking policy; the dump has what the policy shows this account, and not the policy, which belongs to the server"
                ),
            ),
            SpecialKind::Momentary => limit(
                LimitAbout::Loss,
                format!(
                    "{column}: computed at each reading, from the clock or from who asks; not compared"
                ),
            ),
            SpecialKind::Generated if program.flavor == Flavor::Mysql => limit(
                LimitAbout::Generated,
                format!("{column}: generated; computed anew by a restore, not compared"),
            ),
            SpecialKind::Generated => {}
        }
    }
    for (name, table) in &catalog.tables {
        if table.kind == "SYSTEM VERSIONED" && (!history || catalog.by_transaction.contains(name)) {
            limit(
                LimitAbout::History,
                format!(
                    "{name}: {NO_HISTORY}; the dump has its rows of now, not those of before, and a restore dates them anew"
                ),
            );
        }
        if ELSEWHERE.contains(&table.engine.to_uppercase().as_str()) {
            limit(
                LimitAbout::Loss,
                format!(
                    "{name}: a table of engine {}; its rows are elsewhere and not in the dump",
                    table.engine
                ),
            );
        }
    }
    limits
}

/// Columns that are not hashed, by table: a restore without history dates rows anew, and some
/// values differ at each reading.
fn omitted(catalog: &Catalog, history: bool) -> BTreeMap<String, BTreeSet<String>> {
    let mut omitted = catalog.period_columns.clone();
    omitted.retain(|table, _| !history || catalog.by_transaction.contains(table));
    let momentary = catalog.specials.iter();
    for special in momentary.filter(|special| special.kind == SpecialKind::Momentary) {
        let columns = omitted.entry(special.table.clone()).or_default();
        columns.insert(special.column.clone());
    }
    omitted
}

/// Returns true if a proof with these limits was made without the history of tables that have a
/// history by time.
pub fn was_without_history(catalog: &Catalog, limits: &[String]) -> bool {
    let named = |name: &String| {
        let begins = format!("{name}: {NO_HISTORY};");
        limits.iter().any(|limit| limit.starts_with(&begins))
    };
    histories_by_time(catalog).any(named)
}

/// Tables dumped separately that were, or may have been, written to between the two snapshots, with
/// the reason why that matters.
fn moved(
    before: &BTreeMap<String, Option<String>>,
    after: &BTreeMap<String, Option<String>>,
) -> Vec<(String, String)> {
    let moved = before
        .iter()
        .filter(|(name, sum)| sum.is_none() || after.get(*name) != Some(sum));
    let why = "its history is by transactions, so it was dumped before the others, and it was written to meanwhile: its rows may not be of the same instant as the others";
    moved
        .map(|(name, _)| (name.clone(), why.to_owned()))
        .collect()
}

/// Tables without transactions, except those that certainly nobody wrote to during the dump, with
/// the reason.
fn unsteady(before: &Catalog, after: &Catalog) -> Vec<(String, String)> {
    let mut unsteady = Vec::new();
    for (name, table) in tables_without_transactions(before) {
        let written = after
            .tables
            .get(name)
            .and_then(|table| table.written.as_deref());
        let seconds = |time: &str| time.get(..19).unwrap_or(time).to_owned();
        let why = match (table.engine.as_str(), written) {
            // The engine writes through to its file; this is the file's time, to the second.
            ("MyISAM", Some(written)) if seconds(written) < seconds(&before.now) => continue,
            ("MyISAM", Some(_)) => "and it was written to meanwhile",
            _ => "and it does not tell when it was written",
        };
        unsteady.push((
            name.to_owned(),
            format!(
                "engine {} has no transactions, {why}: its rows may not be of the same instant as the others",
                table.engine
            ),
        ));
    }
    unsteady
}

/// Fails if the database is in an interrupted swap: it lacks views, triggers, routines and events,
/// and a point of it would too.
pub fn refuse_interrupted(connection: &Connection, catalog: &Catalog) -> Result<()> {
    match catalog.tables.contains_key(JOURNAL) {
        true => Err(interrupted(&connection.display())),
        false => Ok(()),
    }
}

/// Tables whose rows are not part of a snapshot.
pub fn tables_without_transactions(catalog: &Catalog) -> impl Iterator<Item = (&str, &Table)> {
    catalog.tables.iter().filter_map(|(name, table)| {
        let rows = matches!(table.kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED");
        let elsewhere = ELSEWHERE.contains(&table.engine.to_uppercase().as_str())
            || table.engine == "BLACKHOLE";
        let transactional = catalog.transactional.contains(&table.engine);
        (rows && !elsewhere && !transactional).then_some((name.as_str(), table))
    })
}

/// Takes counters at their lower value: they go on while the dump runs.
fn lower(mut before: DatabaseInventory, after: &DatabaseInventory) -> DatabaseInventory {
    for (name, value) in &mut before.sequences {
        if let Some(later) = after.sequences.get(name) {
            *value = (*value).min(*later);
        }
    }
    before
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
