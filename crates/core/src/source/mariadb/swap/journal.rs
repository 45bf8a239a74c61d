//! The journal of a swap: its plan, kept in a table of the live database until the swap is done.
//!
//! With it, the next command can finish or undo an interrupted swap. It is written completely
//! before anything is dropped or moved.

use super::{Contents, Move, Moving};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::source::mariadb::client::{identifier, literal, query, rows};
use crate::source::mariadb::connection::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The table in the live database while a swap runs.
pub const JOURNAL: &str = "lifeboat_swap_under_way";

/// The plan of a swap.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    pub moves: Vec<Move>,
    /// The contents of each database that is moved.
    pub contents: Vec<Contents>,
    /// Databases that are created for it.
    pub made: Vec<String>,
    /// The name that the restored data has if everything is as before the restore.
    pub restored: String,
    /// The host that runs it.
    pub host: String,
    /// True if it brings back the state before the restore.
    pub back: bool,
    /// True if everything is at its place.
    #[serde(skip)]
    pub finished: bool,
}

impl Journal {
    /// Each move with its contents.
    pub fn steps(&self) -> impl Iterator<Item = (&Move, &Contents)> {
        self.moves.iter().zip(&self.contents)
    }

    /// Returns true if something is moved into this database.
    pub fn receives(&self, database: &str) -> bool {
        self.moves.iter().any(|step| step.to == database)
    }

    /// The tables of a step that are at their destination. `tables` returns the current tables of a
    /// database.
    pub fn moved(
        &self,
        step: &Move,
        held: &Contents,
        tables: impl Fn(&str) -> Result<BTreeSet<String>>,
    ) -> Result<BTreeSet<String>> {
        let mut moved = tables(&step.to)?;
        moved.retain(|table| held.tables.contains(table));
        for (other, theirs) in self.steps().filter(|(other, _)| other.from == step.to) {
            // While the other's table is there, a table of that name belongs to the other.
            let gone = tables(&other.to)?;
            moved.retain(|table| !theirs.tables.contains(table) || gone.contains(table));
        }
        Ok(moved)
    }
}

/// Returns true if a swap of this database was interrupted.
pub fn is_interrupted(admin: &Connection, live: &str, scrubber: &Scrubber) -> Result<bool> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        literal(live),
        literal(JOURNAL)
    );
    Ok(query(&admin.with_database(""), &sql, scrubber)? == "1")
}

/// The error of commands that do not repair such a database.
pub fn interrupted(place: &str) -> Error {
    Error::new(
        Code::SourceFailed,
        format!("{place} is in an unfinished swap: a live restore is running, or was interrupted"),
    )
    .hint("if none is under way: lifeboat restore --undo puts back what was live before, and a live restore does so before it begins")
}

/// Formats any text as a literal.
fn text(value: &str) -> String {
    let hex = hex(value.as_bytes());
    format!("CONVERT(X'{hex}' USING utf8mb4)")
}

impl Moving<'_> {
    fn table(&self) -> String {
        format!("{}.{}", identifier(&self.live), identifier(JOURNAL))
    }

    pub(super) fn write(&self, journal: &Journal) -> Result<()> {
        let table = self.table();
        let whole = serde_json::to_string(journal)
            .map_err(|error| Error::new(Code::State, "a journal cannot be written").cause(error))?;
        self.execute(&format!(
            "CREATE TABLE {table} (step INT PRIMARY KEY, of_database VARCHAR(64), statements LONGTEXT, journal LONGTEXT, \
             finished INT NOT NULL DEFAULT 0, begun TIMESTAMP DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB CHARACTER SET utf8mb4"
        ))?;
        let mut sql = String::from("START TRANSACTION;\n");
        for (index, (step, held)) in journal.steps().enumerate() {
            let whole = if index == 0 { whole.as_str() } else { "" };
            sql.push_str(&format!(
                "INSERT INTO {table} (step, of_database, statements, journal) VALUES ({index}, {}, {}, {});\n",
                literal(&step.from),
                text(&held.definitions),
                text(whole)
            ));
        }
        sql.push_str("COMMIT");
        self.execute(&sql).inspect_err(|_| {
            let _ = self.forget();
        })
    }

    /// The journal of the live database; `None` if it was not written to its end, so that nothing
    /// was done.
    pub(super) fn read(&self) -> Result<Option<Journal>> {
        let sql = format!(
            "SELECT journal, statements, finished FROM {} ORDER BY step",
            self.table()
        );
        let mut journal: Option<Journal> = None;
        for (index, row) in rows(&self.admin, &sql, self.scrubber)?
            .into_iter()
            .enumerate()
        {
            let mut row = row.into_iter();
            let whole = row.next().unwrap_or_default();
            let known = match journal.take() {
                Some(known) => known,
                None => serde_json::from_str(&whole).map_err(|error| {
                    Error::new(Code::Target, format!("{} cannot be read", self.table()))
                        .cause(error)
                        .hint("it is of another version of Lifeboat: undo the swap with that one")
                })?,
            };
            let known = journal.insert(known);
            if let Some(held) = known.contents.get_mut(index) {
                held.definitions = row.next().unwrap_or_default();
            }
            known.finished = row.next().is_some_and(|finished| finished == "1");
        }
        Ok(journal)
    }

    /// Seconds since it was begun, by the server's clock.
    pub(super) fn age_seconds(&self) -> Result<u64> {
        let sql = format!(
            "SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, begun, NOW())), 0) FROM {}",
            self.table()
        );
        let age = query(&self.admin, &sql, self.scrubber)?;
        Ok(age.parse().unwrap_or_default())
    }

    pub(super) fn mark_finished(&self, finished: bool) -> Result<()> {
        let (table, finished) = (self.table(), u8::from(finished));
        self.execute(&format!("UPDATE {table} SET finished = {finished}"))
    }

    pub(super) fn forget(&self) -> Result<()> {
        self.execute(&format!("DROP TABLE IF EXISTS {}", self.table()))
    }
}
