//! Puts one database in the place of another. A server has no statement for that.
//!
//! Tables and sequences move with one `RENAME TABLE`, which does all of it or nothing, and keeps
//! their rows where they are. Views, triggers, routines and events cannot be moved: their
//! definitions are read, dropped, and created again at the destination. Guarantees: nothing is
//! dropped before its definition lies in the journal, a table [`JOURNAL`] in the live database; a
//! step that fails is undone; a swap that was interrupted in any way is found by its journal, and
//! [`recover`] undoes or finishes it; events sleep wherever they are not live. Not guaranteed: that
//! triggers fire for those who write meanwhile. Stop the application first, as `restore.stop` does.

mod contents;
mod journal;
mod recover;

use super::admin::{create_database, database_exists, drop_database};
use super::client::{Server, execute, identifier, literal, rows};
use super::connection::Connection;
use super::restore::{feed, sleep};
use super::rewrite::{Account, Events};
use crate::error::{Code, Error, Fact, Result};
use crate::host::host;
use crate::secret::Scrubber;
use crate::source::database::on;
use contents::Contents;
use journal::Journal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub use journal::{JOURNAL, interrupted, is_interrupted};
pub use recover::{Recovered, recover};

/// The table, beside what was live, that holds the statements of its broken views: they refer to
/// what is gone, so they cannot be created anywhere.
pub const BROKEN_VIEWS: &str = "lifeboat_broken_views";

/// How long to wait for other users of a table, in seconds.
const PATIENCE_SECONDS: u32 = 60;

/// The databases to swap.
#[derive(Debug, Clone, Copy)]
pub struct Swap<'a> {
    /// The live name.
    pub live: &'a str,
    /// The database that goes there.
    pub new: &'a str,
    /// The new name of what was live.
    pub old: &'a str,
    /// The one of these names that holds restored data, and nothing of value, once all is as before
    /// the restore.
    pub restored: &'a str,
}

/// Puts one database under the name of the live one, and what was there, if anything, under another
/// name, where its events sleep. Undone if a step fails.
pub fn swap_databases(admin: &Connection, swap: Swap<'_>, scrubber: &Scrubber) -> Result<()> {
    let Swap {
        live,
        new,
        old,
        restored,
    } = swap;
    if !database_exists(admin, new, scrubber)? {
        return Err(
            Error::new(Code::Target, format!("database {new} is not there"))
                .hint("see which databases the server has: SHOW DATABASES"),
        );
    }
    refuse_taken(admin, old, scrubber)?;
    let had_live = database_exists(admin, live, scrubber)?;
    let mut moves = vec![Move::new(new, live, true)];
    if had_live {
        moves.insert(0, Move::new(live, old, false));
    }
    Moving::new(admin, live, scrubber)?
        .begin(moves, restored, old == restored)
        .map_err(on(live))
}

/// Puts the live database, which was restored where nothing was before, under another name, where
/// its events sleep.
pub fn withdraw_database(
    admin: &Connection,
    live: &str,
    to: &str,
    scrubber: &Scrubber,
) -> Result<()> {
    refuse_taken(admin, to, scrubber)?;
    Moving::new(admin, live, scrubber)?
        .begin(vec![Move::new(live, to, false)], to, true)
        .map_err(on(live))
}

fn refuse_taken(admin: &Connection, name: &str, scrubber: &Scrubber) -> Result<()> {
    if !database_exists(admin, name, scrubber)? {
        return Ok(());
    }
    Err(
        Error::new(Code::Target, format!("database {name} is there already"))
            .hint("drop it, when what it keeps is no longer needed"),
    )
}

/// A move of everything from one database to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Move {
    from: String,
    to: String,
    /// True if events run there.
    awake: bool,
}

impl Move {
    fn new(from: &str, to: &str, awake: bool) -> Self {
        Move {
            from: from.to_owned(),
            to: to.to_owned(),
            awake,
        }
    }
}

struct Moving<'a> {
    admin: Connection,
    /// The database that has the journal.
    live: String,
    sleep: &'static str,
    scrubber: &'a Scrubber,
}

impl<'a> Moving<'a> {
    fn new(admin: &Connection, live: &str, scrubber: &'a Scrubber) -> Result<Self> {
        let admin = admin.with_database("");
        let server = Server::ask(&admin, scrubber)?;
        Ok(Moving {
            live: live.to_owned(),
            sleep: sleep(&server),
            admin,
            scrubber,
        })
    }

    /// The statements that open every session of a swap. They take a lock of that name, which is
    /// held until the server has done its last statement, even if the sender is gone: see
    /// [`recover`].
    fn opening(&self) -> String {
        format!(
            "SET lock_wait_timeout = {PATIENCE_SECONDS}, foreign_key_checks = 0;\nDO GET_LOCK({}, {PATIENCE_SECONDS});\n",
            self.lock()
        )
    }

    /// The name of that lock, as a literal.
    fn lock(&self) -> String {
        let name: String = format!("lifeboat {}", self.live).chars().take(64).collect();
        literal(&name)
    }

    fn execute(&self, sql: &str) -> Result<()> {
        execute(
            &self.admin,
            &format!("{}{sql}", self.opening()),
            self.scrubber,
        )
    }

    fn names(&self, sql: &str) -> Result<Vec<String>> {
        let rows = rows(&self.admin, sql, self.scrubber)?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next())
            .collect())
    }

    /// Carries out the moves. Undoes them if a step fails.
    fn begin(&self, moves: Vec<Move>, restored: &str, back: bool) -> Result<()> {
        let contents = moves
            .iter()
            .map(|step| self.look(&step.from))
            .collect::<Result<Vec<_>>>()?;
        let mut made = Vec::new();
        for step in &moves {
            self.refuse_references(&step.from)?;
            if !database_exists(&self.admin, &step.to, self.scrubber)? {
                made.push(step.to.clone());
            }
        }
        let live_is_made = made.contains(&self.live);
        if live_is_made {
            self.make_database(&self.live)?;
        }
        let journal = Journal {
            moves,
            contents,
            made,
            restored: restored.to_owned(),
            host: host(),
            back,
            finished: false,
        };
        self.write(&journal).inspect_err(|_| {
            if live_is_made {
                let _ = self.drop_if_empty(&self.live);
            }
        })?;
        let Err(error) = self.resume(&journal) else {
            return Ok(());
        };
        match self.undo(&journal) {
            Ok(()) => Err(error),
            Err(undo) => Err(self.stuck(&error, &undo)),
        }
    }

    /// Carries out the remaining moves.
    fn resume(&self, journal: &Journal) -> Result<()> {
        for (step, held) in journal.steps() {
            if !database_exists(&self.admin, &step.to, self.scrubber)? {
                self.make_database(&step.to)?;
                self.set_character_set(&step.to, held)?;
            }
        }
        for (step, held) in journal.steps() {
            self.drop_definitions(&step.from, held)?;
        }
        self.rename(journal, false)?;
        for (step, held) in journal.steps() {
            self.drop_definitions(&step.to, held)?;
            self.set_character_set(&step.to, held)?;
            self.set_defaults(&step.to, &step.from, held)?;
            let events = match step.awake {
                true => Events::Awake,
                false => Events::Asleep(self.sleep),
            };
            self.define(&step.to, held, events)?;
        }
        for (step, _) in journal.steps() {
            if step.from != self.live && !journal.receives(&step.from) {
                self.drop_if_empty(&step.from)?;
            }
        }
        self.mark_finished(true)?;
        self.end(journal)
    }

    /// Finishes a swap whose objects are all at their places.
    fn end(&self, journal: &Journal) -> Result<()> {
        self.set_aside_broken(journal)?;
        self.forget()?;
        match journal.receives(&self.live) {
            true => Ok(()),
            false => self.drop_if_empty(&self.live),
        }
    }

    /// Puts everything back, however many moves were done.
    fn undo(&self, journal: &Journal) -> Result<()> {
        self.mark_finished(false)?;
        for (step, held) in journal.steps() {
            for database in [&step.from, &step.to] {
                if database_exists(&self.admin, database, self.scrubber)? {
                    self.drop_definitions(database, held)?;
                } else if database == &step.from {
                    self.make_database(database)?;
                }
            }
            if !held.broken.is_empty() && database_exists(&self.admin, &step.to, self.scrubber)? {
                let (to, table) = (identifier(&step.to), identifier(BROKEN_VIEWS));
                self.execute(&format!("DROP TABLE IF EXISTS {to}.{table}"))?;
            }
        }
        self.rename(journal, true)?;
        for (step, held) in journal.steps() {
            self.set_character_set(&step.from, held)?;
            self.set_defaults(&step.from, &step.from, held)?;
            self.define(&step.from, held, Events::AsTheyAre)?;
        }
        for made in &journal.made {
            if made != &self.live {
                self.drop_if_empty(made)?;
            }
        }
        self.forget()?;
        match journal.made.contains(&self.live) {
            true => self.drop_if_empty(&self.live),
            false => Ok(()),
        }
    }

    /// The error for a swap that could neither be finished nor undone.
    fn stuck(&self, error: &Error, undo: &Error) -> Error {
        Error::new(
            Code::Target,
            format!("the swap of database {} could neither be finished nor undone", self.live),
        )
        .cause(format!("{error}; then {undo}"))
        .hint(format!(
            "when the cause is mended: lifeboat restore --undo; views, triggers, routines and events lie as statements in {}.{JOURNAL}",
            self.live
        ))
        .about(Fact::HalfSwapped)
    }

    /// Makes default values of the tables that came from `from` name the sequences in `database`.
    fn set_defaults(&self, database: &str, from: &str, held: &Contents) -> Result<()> {
        let name = |database: &str| format!("val({}.", identifier(database));
        for (table, column, value) in &held.defaults {
            let value = value.replace(&name(from), &name(database));
            self.execute(&format!(
                "ALTER TABLE {}.{} ALTER COLUMN {} SET DEFAULT ({value})",
                identifier(database),
                identifier(table),
                identifier(column)
            ))?;
        }
        Ok(())
    }

    /// Keeps the statements of broken views beside what was live. Drops such views if something
    /// else is live now and has not replaced them.
    fn set_aside_broken(&self, journal: &Journal) -> Result<()> {
        for (step, held) in journal.steps() {
            if held.broken.is_empty() {
                continue;
            }
            let table = format!("{}.{}", identifier(&step.to), identifier(BROKEN_VIEWS));
            let mut sql = format!(
                "DROP TABLE IF EXISTS {table};\nCREATE TABLE {table} (name VARCHAR(64), statement LONGTEXT) ENGINE=InnoDB CHARACTER SET utf8mb4;\n"
            );
            for (name, statement) in &held.broken {
                let (name_text, statement) = (literal(name), literal(statement));
                sql.push_str(&format!(
                    "INSERT INTO {table} VALUES ({name_text}, {statement});\n"
                ));
                let replaced = journal
                    .steps()
                    .any(|(other, held)| other.to == step.from && held.views.contains(name));
                if !replaced {
                    let view = format!("{}.{}", identifier(&step.from), identifier(name));
                    sql.push_str(&format!("DROP VIEW IF EXISTS {view};\n"));
                }
            }
            self.execute(&sql)?;
        }
        Ok(())
    }

    /// Fails if another database has foreign keys to these tables: a key would follow the table to
    /// its new name.
    fn refuse_references(&self, database: &str) -> Result<()> {
        let own = literal(database);
        let others = self.names(&format!(
            "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE UNIQUE_CONSTRAINT_SCHEMA = {own} AND CONSTRAINT_SCHEMA <> {own}"
        ))?;
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::Target,
            format!(
                "tables of other databases refer to {database}: {}",
                others.join(", ")
            ),
        )
        .hint("drop these foreign keys, and make them again after the restore"))
    }

    fn make_database(&self, name: &str) -> Result<()> {
        create_database(&self.admin, name, None, self.scrubber)
    }

    /// Gives a database the character set of the one that its new contents came from.
    fn set_character_set(&self, database: &str, held: &Contents) -> Result<()> {
        let (name, set) = (identifier(database), &held.character_set);
        self.execute(&format!("ALTER DATABASE {name} {set}"))
    }

    /// Drops what cannot be moved, if it exists.
    fn drop_definitions(&self, database: &str, held: &Contents) -> Result<()> {
        let name = |name: &String| format!("{}.{}", identifier(database), identifier(name));
        let mut sql = String::new();
        for trigger in &held.triggers {
            sql.push_str(&format!("DROP TRIGGER IF EXISTS {};\n", name(trigger)));
        }
        for view in &held.views {
            sql.push_str(&format!("DROP VIEW IF EXISTS {};\n", name(view)));
        }
        for (kind, routine) in &held.routines {
            let drop = format!("DROP {kind} IF EXISTS {};\n", name(routine));
            // Packages are known only in that mode.
            match kind.starts_with("PACKAGE") {
                true => sql.push_str(&format!(
                    "SET sql_mode = 'ORACLE';\n{drop}SET sql_mode = DEFAULT;\n"
                )),
                false => sql.push_str(&drop),
            }
        }
        for event in &held.events {
            sql.push_str(&format!("DROP EVENT IF EXISTS {};\n", name(event)));
        }
        match sql.is_empty() {
            true => Ok(()),
            false => self.execute(&sql),
        }
    }

    /// The tables and sequences of a database.
    fn tables(&self, database: &str) -> Result<BTreeSet<String>> {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE <> 'VIEW'",
            literal(database)
        );
        Ok(self.names(&sql)?.into_iter().collect())
    }

    /// Moves in one statement the tables that were not moved yet, or moves `back` those that were.
    fn rename(&self, journal: &Journal, back: bool) -> Result<()> {
        let mut pairs = Vec::new();
        for (step, held) in journal.steps() {
            let moved = journal.moved(step, held, |database| self.tables(database))?;
            for table in held
                .tables
                .iter()
                .filter(|table| moved.contains(*table) == back)
            {
                let name =
                    |database: &str| format!("{}.{}", identifier(database), identifier(table));
                pairs.push(match back {
                    false => format!("{} TO {}", name(&step.from), name(&step.to)),
                    true => format!("{} TO {}", name(&step.to), name(&step.from)),
                });
            }
        }
        if back {
            pairs.reverse();
        }
        match pairs.is_empty() {
            true => Ok(()),
            false => self.execute(&format!("RENAME TABLE {}", pairs.join(", "))),
        }
    }

    fn define(&self, database: &str, held: &Contents, events: Events) -> Result<()> {
        let target = self.admin.with_database(database);
        let text = format!("{}{}", self.opening(), held.definitions);
        let mut nobody = |_: &Account| Ok(());
        feed(
            &mut text.as_bytes(),
            &target,
            events,
            false,
            &mut nobody,
            self.scrubber,
        )
    }

    /// Drops a database from which everything has moved away. One that still has a table stays.
    fn drop_if_empty(&self, database: &str) -> Result<()> {
        match self.tables(database)?.is_empty() {
            true => drop_database(&self.admin, database, self.scrubber),
            false => Err(Error::new(
                Code::Target,
                format!("database {database} has tables that were made meanwhile"),
            )
            .hint("look at them, and drop the database by hand")),
        }
    }
}
