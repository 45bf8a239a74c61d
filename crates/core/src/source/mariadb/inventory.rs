//! The inventory of a database: everything in its catalog besides rows, and the state of its
//! tables.
//!
//! Guarantees: a database and a faithful restore of it under another name have the same text. The
//! database's own name is removed from definitions that the server writes itself, facts are
//! labelled, lists are in the server's order, and counters that only grow are kept apart as
//! sequences. A fact that this version of the server does not have is left out. Accounts and
//! privileges are not in it, except for the accounts that definitions name.

use super::client::{identifier, literal, rows};
use super::connection::Connection;
use super::flavor::{Flavor, flavor_of, release_of};
use super::unqualify::unqualify;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{
    COUNTER, DatabaseInventory, EVENT_END, EVENT_STATE, Inventory, NOT_PRESERVED, Proof,
    are_objects, nested_joins,
};
use crate::secret::Scrubber;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_128;

/// Longest definition that is kept as text; a longer one is kept as a hash.
const DEFINITION_BYTES_MAX: usize = 600;

/// Prefix of such a hash.
pub const SHORTENED: &str = "xxh3:";

/// Makes MySQL return current numbers of tables, which it otherwise keeps for a day.
const FRESH: &str = "/*!80000 SET SESSION information_schema_stats_expiry = 0 */;\n";

/// The state of one table; two states are equal if nobody changed the table in between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// `BASE TABLE`, `SYSTEM VERSIONED`, `SEQUENCE`, `VIEW`.
    pub kind: String,
    /// `InnoDB`.
    pub engine: String,
    /// Its creation time, and its number if the account may see that.
    pub identity: String,
    /// The time it was last written, as far as the engine knows.
    pub written: Option<String>,
    /// The server's comment on it; for a view that cannot be used, the reason.
    pub comment: String,
}

/// A column that a dump does not carry completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// The reason.
    pub kind: SpecialKind,
}

/// The reasons why a dump does not carry a column completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialKind {
    /// It is written with six digits.
    Float,
    /// It is computed.
    Generated,
    /// It is computed at each reading, from the clock or from who asks.
    Momentary,
    /// MySQL masks its values by a policy of the server.
    Masked,
}

/// The contents of a catalog.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// Names and definitions.
    pub inventory: DatabaseInventory,
    /// Tables, views and sequences, by name.
    pub tables: BTreeMap<String, Table>,
    /// Columns that a dump does not carry completely.
    pub specials: Vec<Special>,
    /// Routines whose bodies this account may not read.
    pub unreadable: Vec<String>,
    /// Views that check rows written through other views, each with those other views that a dump
    /// defines only after it.
    pub checked_views: Vec<(String, String)>,
    /// For tables with a history, the columns that hold the period of a row's validity.
    pub period_columns: BTreeMap<String, BTreeSet<String>>,
    /// Tables whose history is by transactions and not by time.
    pub by_transaction: BTreeSet<String>,
    /// The time of the query, by the server's clock.
    pub now: String,
    /// Engines that have transactions.
    pub transactional: BTreeSet<String>,
}

/// A kind of object, and where the catalog lists it.
struct Question {
    kind: &'static str,
    from: &'static str,
    /// The column that names the database.
    schema: &'static str,
    condition: &'static str,
    /// The columns that name the object.
    name: &'static [&'static str],
    /// The columns that define it. Rows of one name are combined.
    facts: &'static [&'static str],
}

const IS_TABLE: &str = "TABLE_NAME IN (SELECT t.TABLE_NAME FROM information_schema.TABLES t \
    WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED'))";

#[rustfmt::skip]
const QUESTIONS: &[Question] = &[
    Question { kind: "database", from: "SCHEMATA", schema: "SCHEMA_NAME", condition: "1",
        name: &[], facts: &["DEFAULT_CHARACTER_SET_NAME", "DEFAULT_COLLATION_NAME", "SCHEMA_COMMENT"] },
    Question { kind: "table", from: "TABLES", schema: "TABLE_SCHEMA",
        condition: "TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')", name: &["TABLE_NAME"],
        facts: &["TABLE_TYPE", "ENGINE", "TABLE_COLLATION", "CREATE_OPTIONS", "TABLE_COMMENT"] },
    Question { kind: "column", from: "COLUMNS", schema: "TABLE_SCHEMA", condition: IS_TABLE,
        name: &["TABLE_NAME", "COLUMN_NAME"],
        facts: &["ORDINAL_POSITION", "COLUMN_TYPE", "IS_NULLABLE", "COLUMN_DEFAULT", "CHARACTER_SET_NAME",
            "COLLATION_NAME", "EXTRA", "GENERATION_EXPRESSION", "SRS_ID", "COLUMN_COMMENT"] },
    Question { kind: "index", from: "STATISTICS", schema: "TABLE_SCHEMA", condition: "1",
        name: &["TABLE_NAME", "INDEX_NAME"],
        facts: &["SEQ_IN_INDEX", "COLUMN_NAME", "EXPRESSION", "COLLATION", "SUB_PART", "NON_UNIQUE", "INDEX_TYPE",
            "IS_VISIBLE", "IGNORED", "INDEX_COMMENT"] },
    Question { kind: "constraint", from: "KEY_COLUMN_USAGE", schema: "CONSTRAINT_SCHEMA",
        condition: "REFERENCED_TABLE_NAME IS NOT NULL", name: &["TABLE_NAME", "CONSTRAINT_NAME"],
        facts: &["ORDINAL_POSITION", "COLUMN_NAME", "REFERENCED_TABLE_SCHEMA", "REFERENCED_TABLE_NAME",
            "REFERENCED_COLUMN_NAME"] },
    Question { kind: "constraint", from: "REFERENTIAL_CONSTRAINTS", schema: "CONSTRAINT_SCHEMA", condition: "1",
        name: &["TABLE_NAME", "CONSTRAINT_NAME"],
        facts: &["UNIQUE_CONSTRAINT_NAME", "MATCH_OPTION", "UPDATE_RULE", "DELETE_RULE"] },
    Question { kind: "constraint", from: "CHECK_CONSTRAINTS", schema: "CONSTRAINT_SCHEMA", condition: "1",
        name: &["TABLE_NAME", "CONSTRAINT_NAME"], facts: &["LEVEL", "CHECK_CLAUSE"] },
    Question { kind: "constraint", from: "TABLE_CONSTRAINTS", schema: "CONSTRAINT_SCHEMA",
        condition: "CONSTRAINT_TYPE = 'CHECK'", name: &["TABLE_NAME", "CONSTRAINT_NAME"], facts: &["ENFORCED"] },
    Question { kind: "partition", from: "PARTITIONS", schema: "TABLE_SCHEMA", condition: "PARTITION_NAME IS NOT NULL",
        name: &["TABLE_NAME", "PARTITION_NAME", "SUBPARTITION_NAME"],
        facts: &["PARTITION_ORDINAL_POSITION", "SUBPARTITION_ORDINAL_POSITION", "PARTITION_METHOD",
            "PARTITION_EXPRESSION", "PARTITION_DESCRIPTION", "SUBPARTITION_METHOD", "SUBPARTITION_EXPRESSION",
            "PARTITION_COMMENT"] },
    Question { kind: "view", from: "VIEWS", schema: "TABLE_SCHEMA", condition: "1", name: &["TABLE_NAME"],
        facts: &["VIEW_DEFINITION", "CHECK_OPTION", "SECURITY_TYPE", "DEFINER", "ALGORITHM", "CHARACTER_SET_CLIENT",
            "COLLATION_CONNECTION"] },
    Question { kind: "trigger", from: "TRIGGERS", schema: "TRIGGER_SCHEMA", condition: "1",
        name: &["EVENT_OBJECT_TABLE", "TRIGGER_NAME"],
        facts: &["ACTION_TIMING", "EVENT_MANIPULATION", "ACTION_ORDER", "ACTION_STATEMENT", "SQL_MODE", "DEFINER",
            "CHARACTER_SET_CLIENT", "COLLATION_CONNECTION", "DATABASE_COLLATION"] },
    Question { kind: "routine", from: "ROUTINES", schema: "ROUTINE_SCHEMA", condition: "1",
        name: &["ROUTINE_TYPE", "ROUTINE_NAME"],
        facts: &["DTD_IDENTIFIER", "ROUTINE_DEFINITION", "IS_DETERMINISTIC", "SQL_DATA_ACCESS", "SECURITY_TYPE",
            "SQL_MODE", "ROUTINE_COMMENT", "DEFINER", "CHARACTER_SET_CLIENT", "COLLATION_CONNECTION",
            "DATABASE_COLLATION"] },
    Question { kind: "routine", from: "PARAMETERS", schema: "SPECIFIC_SCHEMA", condition: "ORDINAL_POSITION > 0",
        name: &["ROUTINE_TYPE", "SPECIFIC_NAME"],
        facts: &["ORDINAL_POSITION", "PARAMETER_MODE", "PARAMETER_NAME", "DTD_IDENTIFIER"] },
    Question { kind: "event", from: "EVENTS", schema: "EVENT_SCHEMA", condition: "1", name: &["EVENT_NAME"],
        facts: &["EVENT_TYPE", "EXECUTE_AT", "INTERVAL_VALUE", "INTERVAL_FIELD", "STARTS", "ENDS", "TIME_ZONE",
            "ON_COMPLETION", "EVENT_DEFINITION", "SQL_MODE", "EVENT_COMMENT", "DEFINER",
            "CHARACTER_SET_CLIENT", "COLLATION_CONNECTION", "DATABASE_COLLATION"] },
    // Separate: a copy beside a live database does not run.
    Question { kind: EVENT_STATE, from: "EVENTS", schema: "EVENT_SCHEMA", condition: "1", name: &["EVENT_NAME"],
        facts: &["STATUS"] },
];

/// Facts in which the server writes the database's name before those of its tables.
const QUALIFIED: &[&str] = &[
    "VIEW_DEFINITION",
    "COLUMN_DEFAULT",
    "GENERATION_EXPRESSION",
    "EXPRESSION",
    "CHECK_CLAUSE",
    "PARTITION_EXPRESSION",
    "SUBPARTITION_EXPRESSION",
];

/// Facts that determine the order of the rows of an object.
const ORDINALS: &[&str] = &["SEQ_IN_INDEX", "ORDINAL_POSITION"];

/// The tables and columns of this server's catalog, in capitals.
#[derive(Debug, Clone, Default)]
pub struct Dictionary(BTreeSet<(String, String)>);

impl Dictionary {
    /// Asks the server.
    pub fn ask(connection: &Connection, scrubber: &Scrubber) -> Result<Self> {
        let sql = "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
            WHERE TABLE_SCHEMA = 'information_schema'";
        let columns = rows(connection, sql, scrubber)?
            .into_iter()
            .filter_map(|row| {
                let mut row = row.into_iter();
                Some((row.next()?.to_uppercase(), row.next()?.to_uppercase()))
            });
        Ok(Dictionary(columns.collect()))
    }

    fn has(&self, table: &str, column: &str) -> bool {
        self.0.contains(&(table.to_owned(), column.to_owned()))
    }

    /// The `columns` that the table has.
    fn known(&self, table: &str, columns: &[&'static str]) -> Vec<&'static str> {
        let known = columns.iter().copied();
        known.filter(|column| self.has(table, column)).collect()
    }
}

impl Catalog {
    /// Reads the catalog. The result is not of a single instant: read it twice to know that nothing
    /// changed meanwhile.
    pub fn take(
        connection: &Connection,
        dictionary: &Dictionary,
        scrubber: &Scrubber,
    ) -> Result<Self> {
        let database = connection.database().unwrap_or_default();
        let answers = rows(connection, &script(dictionary), scrubber)?;
        let mut catalog = Catalog::default();
        for answer in answers.into_iter().flatten() {
            catalog.take_row(dictionary, database, &parse(&answer)?);
        }
        catalog.take_numbers(connection, scrubber);
        catalog.take_sequences(connection, scrubber)?;
        catalog.find_checked_views();
        catalog.shorten();
        Ok(catalog)
    }

    fn take_row(&mut self, dictionary: &Dictionary, database: &str, row: &[Value]) {
        let Some((tag, row)) = row.split_first() else {
            return;
        };
        let fields: Vec<Option<String>> = row.iter().map(text).collect();
        let at = |index: usize| fields.get(index).cloned().flatten();
        match tag.as_str().unwrap_or_default() {
            "now" => {
                self.now = at(0).unwrap_or_default();
                self.inventory.release = at(1).as_deref().and_then(release);
                self.inventory.asked = at(2).and_then(|seconds| seconds.parse().ok());
            }
            "ending" => {
                let kept = match at(1).as_deref() {
                    Some("PRESERVE") => "PRESERVE",
                    _ => NOT_PRESERVED,
                };
                // A server without tables of time zones does not know it.
                if let Some(seconds) = at(2) {
                    let end = format!("{seconds} {kept}");
                    self.objects(EVENT_END)
                        .insert(at(0).unwrap_or_default(), end);
                }
            }
            "engine" => self.transactional.extend(at(0)),
            "period" => {
                if at(2).as_deref() == Some("bigint") {
                    self.by_transaction.extend(at(0));
                }
                let columns = self.period_columns.entry(at(0).unwrap_or_default());
                columns.or_default().extend(at(1));
            }
            "special" => self.specials.push(Special {
                table: at(0).unwrap_or_default(),
                column: at(1).unwrap_or_default(),
                kind: match at(2).as_deref() {
                    Some("float") => SpecialKind::Float,
                    Some("masked") => SpecialKind::Masked,
                    Some("momentary") => SpecialKind::Momentary,
                    _ => SpecialKind::Generated,
                },
            }),
            "state" => {
                let table = Table {
                    kind: at(1).unwrap_or_default(),
                    engine: at(2).unwrap_or_default(),
                    identity: at(3).unwrap_or_default(),
                    written: at(4),
                    comment: at(6).unwrap_or_default(),
                };
                let name = at(0).unwrap_or_default();
                if let Some(next) = at(5).and_then(|next| next.parse().ok()) {
                    let counter = format!("{name}{COUNTER}");
                    self.inventory.sequences.insert(counter, next);
                }
                self.tables.insert(name, table);
            }
            index => {
                let question = index.parse().ok().and_then(|at: usize| QUESTIONS.get(at));
                if let Some(question) = question {
                    self.take_object(question, dictionary, database, &fields);
                }
            }
        }
    }

    fn take_object(
        &mut self,
        question: &Question,
        dictionary: &Dictionary,
        database: &str,
        fields: &[Option<String>],
    ) {
        let names = dictionary.known(question.from, question.name);
        let facts = dictionary.known(question.from, question.facts);
        let (name, values) = fields.split_at(names.len().min(fields.len()));
        let separator = if question.kind == "routine" { " " } else { "." };
        let name = name.iter().flatten().cloned().collect::<Vec<_>>();
        let name = match name.is_empty() {
            true => "default".to_owned(),
            false => name.join(separator),
        };
        if question.from == "ROUTINES" {
            let body = facts.iter().position(|fact| *fact == "ROUTINE_DEFINITION");
            if body.is_some_and(|at| values.get(at).is_none_or(Option::is_none)) {
                self.unreadable.push(name.clone());
            }
        }
        let release = self.inventory.release.as_deref().unwrap_or_default();
        let is_mariadb = release.starts_with(Flavor::Mariadb.title());
        let mut definition = Vec::new();
        for (fact, value) in facts.iter().zip(values) {
            let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else {
                continue;
            };
            if *fact == "REFERENCED_TABLE_SCHEMA" && value == database {
                continue;
            }
            if *fact == "DEFINER" {
                let definers = self.objects("definer");
                definers.insert(value.clone(), String::new());
            }
            let value = match *fact {
                // Aria reports its default once it was set, as by its own SHOW CREATE TABLE.
                "CREATE_OPTIONS" => without_word(value, "page_checksum=1"),
                "COLUMN_TYPE" => without_storage_format(value),
                "VIEW_DEFINITION" if is_mariadb => nested_joins(&unqualify(value, database)),
                fact if QUALIFIED.contains(&fact) => unqualify(value, database),
                _ => value.clone(),
            };
            definition.push(format!("{}: {value}", fact.to_lowercase()));
        }
        if question.kind == "view" {
            let value = |wanted: &str| {
                let at = facts.iter().position(|fact| *fact == wanted)?;
                values.get(at)?.clone()
            };
            if value("CHECK_OPTION").is_some_and(|option| option != "NONE") {
                let text = value("VIEW_DEFINITION").unwrap_or_default();
                self.checked_views.push((name.clone(), text));
            }
        }
        let known = self.objects(question.kind).entry(name).or_default();
        if !known.is_empty() && !definition.is_empty() {
            known.push_str("; ");
        }
        known.push_str(&definition.join(", "));
    }

    fn objects(&mut self, kind: &str) -> &mut BTreeMap<String, String> {
        self.inventory.objects.entry(kind.to_owned()).or_default()
    }

    /// Reads the numbers that InnoDB gives its tables, if this account may see them. They
    /// distinguish a table from another that took its name.
    fn take_numbers(&mut self, connection: &Connection, scrubber: &Scrubber) {
        for (table, name) in [
            ("INNODB_SYS_TABLES", "innodb_sys_tables"),
            ("INNODB_TABLES", "innodb_tables"),
        ] {
            let decoded = |part: &str| {
                format!(
                    "CONVERT(CONVERT(CONVERT({part} USING binary) USING filename) USING utf8mb4)"
                )
            };
            let sql = format!(
                "SELECT JSON_ARRAY({}, TABLE_ID) FROM information_schema.{table} \
                 WHERE {} = DATABASE() ORDER BY TABLE_ID",
                decoded("SUBSTRING_INDEX(SUBSTRING_INDEX(NAME, '/', -1), '#', 1)"),
                decoded("SUBSTRING_INDEX(NAME, '/', 1)"),
            );
            let Ok(answers) = rows(connection, &sql, scrubber) else {
                tracing::debug!(name, "the numbers of tables are not to be had");
                continue;
            };
            for row in answers
                .into_iter()
                .flatten()
                .filter_map(|row| parse(&row).ok())
            {
                let field = |at: usize| row.get(at).and_then(text).unwrap_or_default();
                if let Some(table) = self.tables.get_mut(&field(0)) {
                    table.identity.push_str(&format!(" #{}", field(1)));
                }
            }
        }
    }

    /// Reads the value of each sequence from the sequence itself.
    fn take_sequences(&mut self, connection: &Connection, scrubber: &Scrubber) -> Result<()> {
        let names = self
            .tables
            .iter()
            .filter(|(_, table)| table.kind == "SEQUENCE");
        let mut sql = String::new();
        for (name, _) in names {
            sql.push_str(&format!(
                "SELECT JSON_ARRAY({}, next_not_cached_value, increment, CONCAT_WS(', ', \
                 CONCAT('minimum: ', minimum_value), CONCAT('maximum: ', maximum_value), \
                 CONCAT('start: ', start_value), CONCAT('increment: ', increment), \
                 CONCAT('cache: ', cache_size), CONCAT('cycle: ', cycle_option))) FROM {};\n",
                literal(name),
                identifier(name)
            ));
        }
        if sql.is_empty() {
            return Ok(());
        }
        for answer in rows(connection, &sql, scrubber)?.into_iter().flatten() {
            let row = parse(&answer)?;
            let field = |at: usize| row.get(at).and_then(text).unwrap_or_default();
            let number = |at: usize| field(at).parse::<i64>().unwrap_or_default();
            // For a descending sequence, the negated value: the comparison is of how far it has
            // come.
            let value = match number(2) < 0 {
                true => number(1).saturating_neg(),
                false => number(1),
            };
            self.inventory.sequences.insert(field(0), value);
            self.objects("sequence").insert(field(0), field(3));
        }
        Ok(())
    }

    /// Replaces the definitions of views with a check by the views that they use and that come
    /// after them by name.
    fn find_checked_views(&mut self) {
        let views = self.tables.iter().filter(|(_, table)| table.kind == "VIEW");
        let views: Vec<&String> = views.map(|(name, _)| name).collect();
        let mut found = Vec::new();
        for (name, text) in &self.checked_views {
            let later = views.iter().filter(|other| **other > name);
            let used = later.filter(|other| text.contains(&identifier(other)));
            found.extend(used.map(|other| (name.clone(), (*other).clone())));
        }
        self.checked_views = found;
    }

    fn shorten(&mut self) {
        let objects = self.inventory.objects.iter_mut();
        // A restore takes the database's own properties from here, so they must be whole.
        let shortened = objects.filter(|(kind, _)| *kind != "database");
        for definition in shortened.flat_map(|(_, objects)| objects.values_mut()) {
            if definition.len() > DEFINITION_BYTES_MAX {
                *definition = format!("{SHORTENED}{:032x}", xxh3_128(definition.as_bytes()));
            }
        }
    }
}

/// Properties of a database besides its content, which its dump does not carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// The default character set of new objects.
    pub set: String,
    /// The default collation.
    pub collation: String,
    /// Its comment, which MariaDB has since 10.5; empty without one.
    pub comment: String,
}

impl Defaults {
    /// The character set and collation, as the end of `CREATE DATABASE` and of `ALTER DATABASE`.
    pub fn character_set(&self) -> String {
        format!(
            " CHARACTER SET {} COLLATE {}",
            identifier(&self.set),
            identifier(&self.collation)
        )
    }

    /// [`Self::character_set`], and the comment.
    pub fn clauses(&self) -> String {
        let comment = match self.comment.is_empty() {
            true => String::new(),
            false => format!(" /*M!100502 COMMENT {} */", literal(&self.comment)),
        };
        self.character_set() + &comment
    }
}

/// Properties of a captured database; `None` if they are not known.
pub fn defaults(captured: &Proof) -> Option<Defaults> {
    let Inventory::Database(inventory) = &captured.inventory else {
        return None;
    };
    let text = inventory.objects.get("database")?.get("default")?;
    let rest = text.strip_prefix("default_character_set_name: ")?;
    let (set, rest) = rest.split_once(", default_collation_name: ")?;
    let (collation, comment) = rest.split_once(", schema_comment: ").unwrap_or((rest, ""));
    Some(Defaults {
        set: set.to_owned(),
        collation: collation.to_owned(),
        comment: comment.to_owned(),
    })
}

/// Number of objects of each kind. The end of an event is not an object.
pub fn counts(inventory: &DatabaseInventory) -> BTreeMap<String, u64> {
    let count = |(kind, objects): (&String, &BTreeMap<_, _>)| (kind.clone(), objects.len() as u64);
    let objects = inventory.objects.iter();
    let objects = objects.filter(|(kind, _)| are_objects(kind));
    objects.map(count).collect()
}

/// `MariaDB 10.11`, from the version that a server reports.
fn release(version: &str) -> Option<String> {
    let flavor = flavor_of(version, Flavor::Mysql).title();
    let [major, minor] = release_of(version)?;
    Some(format!("{flavor} {major}.{minor}"))
}

/// Removes the comment that marks columns which an old release made and which keep its format on
/// disk. A restore makes them in the current format.
fn without_storage_format(column_type: &str) -> String {
    [" /* mariadb-5.3 */", " /* 5.5 binary format */"]
        .into_iter()
        .find_map(|comment| column_type.strip_suffix(comment))
        .unwrap_or(column_type)
        .to_owned()
}

fn without_word(text: &str, word: &str) -> String {
    let words: Vec<&str> = text.split(' ').filter(|other| *other != word).collect();
    words.join(" ")
}

/// Functions in an expression whose value depends on the time or the session, as servers write
/// them.
const MOMENTARY: &str = "(current_timestamp|curdate|curtime|sysdate|now|utc_date|utc_time|utc_timestamp|\
    unix_timestamp|rand|uuid|uuid_short|user|current_user|session_user|system_user|current_role|\
    connection_id|database|schema|last_insert_id|version|found_rows|row_count) ?[(]|@@";

/// One script for all questions. Each row is a JSON array that begins with the name of its
/// question.
fn script(dictionary: &Dictionary) -> String {
    let mut sql = String::from(FRESH);
    sql.push_str("SELECT JSON_ARRAY('now', NOW(), VERSION(), UNIX_TIMESTAMP());\n");
    sql.push_str(
        "SELECT JSON_ARRAY('ending', EVENT_NAME, ON_COMPLETION, FLOOR(UNIX_TIMESTAMP(CONVERT_TZ( \
           COALESCE(EXECUTE_AT, ENDS), TIME_ZONE, @@SESSION.time_zone)))) \
         FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() AND COALESCE(EXECUTE_AT, ENDS) IS NOT NULL;\n",
    );
    sql.push_str(
        "SELECT JSON_ARRAY('engine', ENGINE) FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES';\n\
         SELECT JSON_ARRAY('state', TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_TIME, UPDATE_TIME, AUTO_INCREMENT, \
           TABLE_COMMENT) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();\n",
    );
    if dictionary.has("COLUMNS", "GENERATION_EXPRESSION") {
        sql.push_str(
            "SELECT JSON_ARRAY('period', TABLE_NAME, COLUMN_NAME, DATA_TYPE) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND GENERATION_EXPRESSION IN ('ROW START', 'ROW END');\n",
        );
    }
    let momentary = match dictionary.has("COLUMNS", "GENERATION_EXPRESSION") {
        true => format!(
            "WHEN EXTRA LIKE '%VIRTUAL%' AND GENERATION_EXPRESSION REGEXP '{MOMENTARY}' THEN 'momentary'"
        ),
        false => String::new(),
    };
    sql.push_str(&format!(
        "SELECT JSON_ARRAY('special', TABLE_NAME, COLUMN_NAME, CASE \
           WHEN EXTRA LIKE '%MASKING POLICY%' THEN 'masked' \
           {momentary} \
           WHEN EXTRA REGEXP '(VIRTUAL|STORED|PERSISTENT)' THEN 'generated' ELSE DATA_TYPE END) \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND {IS_TABLE} AND \
           (DATA_TYPE = 'float' OR EXTRA REGEXP '(VIRTUAL|STORED|PERSISTENT|MASKING POLICY)');\n"
    ));
    for (index, question) in QUESTIONS.iter().enumerate() {
        if !dictionary.has(question.from, question.schema) {
            continue;
        }
        let names = dictionary.known(question.from, question.name);
        let facts = dictionary.known(question.from, question.facts);
        let fields: Vec<String> = names
            .iter()
            .chain(&facts)
            // MySQL's JSON would encode binary text in base64.
            .map(|column| format!("CONVERT(`{column}` USING utf8mb4)"))
            .collect();
        let mut order = names.clone();
        order.extend(ORDINALS.iter().filter(|ordinal| facts.contains(*ordinal)));
        let order = match order.is_empty() {
            true => String::new(),
            false => format!(" ORDER BY {}", order.join(", ")),
        };
        sql.push_str(&format!(
            "SELECT JSON_ARRAY('{index}', {}) FROM information_schema.{} WHERE {} = DATABASE() AND {}{order};\n",
            fields.join(", "),
            question.from,
            question.schema,
            question.condition,
        ));
    }
    sql
}

fn parse(answer: &str) -> Result<Vec<Value>> {
    serde_json::from_str(answer).map_err(|error| {
        Error::new(Code::SourceFailed, "the catalog's answer is not understood").cause(error)
    })
}

/// A value of an answer as text; `None` for `null`.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
