//! Puts one database in the place of another. A server has no statement for that.
//!
//! Tables and sequences move with one `RENAME TABLE`, which does all of it or nothing, and keeps
//! their rows where they are. Views, triggers, routines and events cannot be moved: they are taken
//! as definitions, dropped, and made again at the other place. Guarantees: nothing is dropped before
//! its definition lies in a table of the server, [`DEFINITIONS`] in the database that receives what
//! was live; a step that fails is undone, and what cannot be undone is told by name; events sleep
//! wherever they are not live. Not guaranteed: that nobody who writes meanwhile misses a trigger;
//! stop the application first, as `restore.stop` does.

use super::admin::{create_database, database_exists, drop_database, on};
use super::client::{Server, execute, identifier, literal, query, rows};
use super::connection::Connection;
use super::programs::Tool;
use super::restore::{feed, sleep};
use super::rewrite::{Account, Events};
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use std::collections::BTreeMap;

/// The table that holds definitions while a swap is under way.
pub const DEFINITIONS: &str = "lifeboat_swap_under_way";

/// The table beside what was live that holds the statements of views that did not work there: they
/// refer to what is gone, so that they can be made nowhere.
pub const BROKEN_VIEWS: &str = "lifeboat_broken_views";

/// How long to wait for whoever uses a table, in seconds.
const PATIENCE: &str = "SET lock_wait_timeout = 60, foreign_key_checks = 0;\n";

/// Puts the database `aside` under the name `live`, and what was there, if anything, under the name
/// `keep`, where its events sleep. Undone when a step fails.
pub fn swap_databases(
    admin: &Connection,
    live: &str,
    aside: &str,
    keep: &str,
    scrubber: &Scrubber,
) -> Result<()> {
    if !database_exists(admin, aside, scrubber)? {
        return Err(
            Error::new(Code::Target, format!("database {aside} is not there"))
                .hint("see which databases the server has: SHOW DATABASES"),
        );
    }
    if database_exists(admin, keep, scrubber)? {
        return Err(
            Error::new(Code::Target, format!("database {keep} is there already"))
                .hint("drop it, when what it keeps is no longer needed"),
        );
    }
    let had_live = database_exists(admin, live, scrubber)?;
    let mut moves = vec![Move::new(aside, live, true)];
    if had_live {
        moves.insert(0, Move::new(live, keep, false));
    }
    Moving::new(admin, scrubber)?
        .carry_out(&moves)
        .map_err(on(live))
}

/// Puts the database `from` under the name `to`, which is free; its events sleep there.
pub fn rename_database(
    admin: &Connection,
    from: &str,
    to: &str,
    scrubber: &Scrubber,
) -> Result<()> {
    if database_exists(admin, to, scrubber)? {
        return Err(
            Error::new(Code::Target, format!("database {to} is there already"))
                .hint("drop it, when it is no longer needed"),
        );
    }
    Moving::new(admin, scrubber)?
        .carry_out(&[Move::new(from, to, false)])
        .map_err(on(from))
}

/// Everything of one database goes to another.
struct Move {
    from: String,
    to: String,
    /// Whether events run there.
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

/// What is in a database.
struct Contents {
    /// Tables and sequences.
    tables: Vec<String>,
    views: Vec<String>,
    /// Views that do not work, and the statements that made them.
    broken: Vec<(String, String)>,
    triggers: Vec<String>,
    /// `PROCEDURE`, `FUNCTION`, `PACKAGE`, …, and the name.
    routines: Vec<(String, String)>,
    events: Vec<String>,
    /// Columns whose default value names a sequence with its database: table, column, value.
    defaults: Vec<(String, String, String)>,
    /// Statements that make views, triggers, routines and events again.
    definitions: String,
}

/// What was done, to be undone.
#[derive(Default)]
struct Done {
    made: Vec<String>,
    dropping: bool,
    renamed: bool,
}

struct Moving<'a> {
    admin: Connection,
    sleep: &'static str,
    scrubber: &'a Scrubber,
}

impl<'a> Moving<'a> {
    fn new(admin: &Connection, scrubber: &'a Scrubber) -> Result<Self> {
        let admin = admin.with_database("");
        let server = Server::ask(&admin, scrubber)?;
        Ok(Moving {
            sleep: sleep(&server),

            admin,
            scrubber,
        })
    }

    fn execute(&self, sql: &str) -> Result<()> {
        execute(&self.admin, &format!("{PATIENCE}{sql}"), self.scrubber)
    }

    fn names(&self, sql: &str) -> Result<Vec<String>> {
        let rows = rows(&self.admin, sql, self.scrubber)?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next())
            .collect())
    }

    fn carry_out(&self, moves: &[Move]) -> Result<()> {
        let contents = moves
            .iter()
            .map(|step| self.look(&step.from))
            .collect::<Result<Vec<_>>>()?;
        for step in moves {
            self.refuse_references(&step.from)?;
        }
        let mut done = Done::default();
        let Err(error) = self.go(moves, &contents, &mut done) else {
            return Ok(());
        };
        match self.undo(moves, &contents, &done) {
            Ok(()) => Err(error),
            Err(undo) => Err(self.stuck(moves, &done, &error, &undo)),
        }
    }

    fn go(&self, moves: &[Move], contents: &[Contents], done: &mut Done) -> Result<()> {
        for step in moves {
            if !database_exists(&self.admin, &step.to, self.scrubber)? {
                self.make_like(&step.to, &step.from)?;
                done.made.push(step.to.clone());
            } else {
                self.adopt_defaults(&step.to, &step.from)?;
            }
        }
        self.save(moves, contents)?;
        done.dropping = true;
        for (step, held) in moves.iter().zip(contents) {
            self.drop_definitions(&step.from, held)?;
        }
        self.rename(moves, contents, false)?;
        done.renamed = true;
        for (step, held) in moves.iter().zip(contents) {
            self.set_defaults(&step.to, &step.from, held)?;
            let events = match step.awake {
                true => Events::Awake,
                false => Events::Asleep(self.sleep),
            };
            self.define(&step.to, held, events)?;
        }
        self.set_aside_broken(moves, contents)?;
        self.forget(moves)?;
        for step in moves {
            if !moves.iter().any(|other| other.to == step.from) {
                self.drop_if_empty(&step.from)?;
            }
        }
        Ok(())
    }

    fn undo(&self, moves: &[Move], contents: &[Contents], done: &Done) -> Result<()> {
        if done.renamed {
            for (step, held) in moves.iter().zip(contents) {
                if !held.broken.is_empty() {
                    let (to, table) = (identifier(&step.to), identifier(BROKEN_VIEWS));
                    self.execute(&format!("DROP TABLE IF EXISTS {to}.{table}"))?;
                }
                self.drop_definitions(&step.to, held)?;
            }
            self.rename(moves, contents, true)?;
            for (step, held) in moves.iter().zip(contents) {
                self.set_defaults(&step.from, &step.from, held)?;
            }
        }
        if done.dropping {
            for (step, held) in moves.iter().zip(contents) {
                // Those that were not dropped yet, or are there again.
                self.drop_definitions(&step.from, held)?;
                self.define(&step.from, held, Events::AsTheyAre)?;
            }
            self.forget(moves)?;
        }
        for made in &done.made {
            self.drop_if_empty(made)?;
        }
        Ok(())
    }

    /// A swap that could neither be finished nor undone.
    fn stuck(&self, moves: &[Move], done: &Done, error: &Error, undo: &Error) -> Error {
        let place = |step: &Move| match done.renamed {
            true => format!("the tables of {} are in {}", step.from, step.to),
            false => format!("the tables of {} are where they were", step.from),
        };
        let places: Vec<String> = moves.iter().map(place).collect();
        let held = moves.first().map_or("", |step| step.to.as_str());
        Error::new(
            Code::Target,
            format!("a swap of databases stopped half-way: {}", places.join(", ")),
        )
        .cause(format!("{error}; then {undo}"))
        .hint(format!(
            "views, triggers, routines and events lie as statements in {held}.{DEFINITIONS}; move tables with RENAME TABLE and run the statements there"
        ))
    }

    fn look(&self, database: &str) -> Result<Contents> {
        let own = literal(database);
        let tables = |condition: &str| {
            self.names(&format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {own} AND {condition}"
            ))
        };
        let (views, broken) = self.views(&own)?;
        let routines = rows(
            &self.admin,
            &format!(
                "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {own} ORDER BY ROUTINE_TYPE DESC"
            ),
            self.scrubber,
        )?;
        Ok(Contents {
            tables: tables("TABLE_TYPE <> 'VIEW'")?,
            definitions: self.definitions(database, &views, &broken)?,
            broken: self.statements(database, broken)?,
            defaults: self.sequence_defaults(database)?,
            views,
            triggers: self.names(&format!(
                "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {own}"
            ))?,
            routines: routines
                .into_iter()
                .filter_map(|row| {
                    let mut row = row.into_iter();
                    Some((row.next()?, row.next()?))
                })
                .collect(),
            events: self.names(&format!(
                "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {own}"
            ))?,
        })
    }

    /// Default values from sequences keep the database's name when a table moves.
    fn sequence_defaults(&self, database: &str) -> Result<Vec<(String, String, String)>> {
        let sql = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND COLUMN_DEFAULT LIKE '%val(`%'",
            literal(database)
        );
        let own = format!("val({}.", identifier(database));
        let rows = rows(&self.admin, &sql, self.scrubber)?.into_iter();
        let columns = rows.filter_map(|row| {
            let mut row = row.into_iter();
            Some((row.next()?, row.next()?, row.next()?))
        });
        Ok(columns
            .filter(|(_, _, value)| value.contains(&own))
            .collect())
    }

    /// Makes the default values of the tables that came from `from` name the sequences in
    /// `database`.
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

    /// What made these views, as the server tells it also of those that do not work.
    fn statements(&self, database: &str, views: Vec<String>) -> Result<Vec<(String, String)>> {
        let database = identifier(database);
        views
            .into_iter()
            .map(|view| {
                let sql = format!("SHOW CREATE VIEW {database}.{}", identifier(&view));
                let mut answer = rows(&self.admin, &sql, self.scrubber)?.into_iter();
                let statement = answer.next().and_then(|row| row.into_iter().nth(1));
                Ok((view, statement.unwrap_or_default()))
            })
            .collect()
    }

    /// Keeps the statements of views that did not work beside what was live, and drops such views
    /// where something else is live now and has not replaced them.
    fn set_aside_broken(&self, moves: &[Move], contents: &[Contents]) -> Result<()> {
        for (step, held) in moves.iter().zip(contents) {
            if held.broken.is_empty() {
                continue;
            }
            let table = format!("{}.{}", identifier(&step.to), identifier(BROKEN_VIEWS));
            let mut sql = format!(
                "CREATE TABLE {table} (name VARCHAR(64), statement LONGTEXT) ENGINE=InnoDB CHARACTER SET utf8mb4;\n"
            );
            for (name, statement) in &held.broken {
                let (name_text, statement) = (literal(name), literal(statement));
                sql.push_str(&format!(
                    "INSERT INTO {table} VALUES ({name_text}, {statement});\n"
                ));
                let replaced = moves
                    .iter()
                    .zip(contents)
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

    /// The views of a database: those that work, and those that do not. The comment of one that
    /// does not is the reason, where the server looks into it, as it does to count rows.
    fn views(&self, database: &str) -> Result<(Vec<String>, Vec<String>)> {
        let sql = format!(
            "SELECT TABLE_NAME, TABLE_COMMENT, TABLE_ROWS FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {database} AND TABLE_TYPE = 'VIEW'"
        );
        let (mut working, mut broken) = (Vec::new(), Vec::new());
        for row in rows(&self.admin, &sql, self.scrubber)? {
            let mut row = row.into_iter();
            let Some(name) = row.next() else { continue };
            match row.next() {
                Some(comment) if comment.contains("references invalid") => broken.push(name),
                _ => working.push(name),
            }
        }
        Ok((self.dependent_last(database, working)?, broken))
    }

    /// Views after those that they are of: one with a `CHECK OPTION` cannot be made over the
    /// placeholder of another. `database` is a literal.
    fn dependent_last(&self, database: &str, views: Vec<String>) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {database}"
        );
        let definitions = rows(&self.admin, &sql, self.scrubber)?.into_iter();
        let definitions: BTreeMap<String, String> = definitions
            .filter_map(|row| {
                let mut row = row.into_iter();
                Some((row.next()?, row.next()?))
            })
            .collect();
        Ok(ordered(views, &definitions))
    }

    /// As the dump program writes them: with the character set, the mode and the time zone that
    /// each was made in.
    fn definitions(&self, database: &str, views: &[String], broken: &[String]) -> Result<String> {
        let from = self.admin.with_database(database);
        let mut text = String::new();
        let routines = ["--no-create-info", "--triggers", "--routines", "--events"];
        let mut runs = vec![(routines.to_vec(), &[][..])];
        if !views.is_empty() {
            runs.push((vec!["--skip-triggers"], views));
        }
        for (options, tables) in runs {
            let program = from.program(Tool::Dump)?;
            let mut command = from
                .client_command(Tool::Dump, self.scrubber)?
                .args(["--no-data", "--skip-lock-tables", "--no-tablespaces"])
                .args(program.database_alone())
                .args(options);
            // It describes every view it meets, also where it writes none.
            for view in broken {
                command = command.arg(format!("--ignore-table={database}.{view}"));
            }
            let output = from
                .transport()
                .output(&command.args(["--", database]).args(tables))?;
            if !output.status.success() {
                return Err(super::client::refused(&from, &output.stderr));
            }
            let printed = String::from_utf8(output.stdout).map_err(|_| {
                Error::new(
                    Code::Target,
                    format!("the definitions of {database} are not UTF-8"),
                )
                .hint("restore with --to into another database, and move it by hand")
            })?;
            text.push_str(&printed);
            text.push('\n');
        }
        Ok(text)
    }

    /// A foreign key of another database would follow the table under its new name.
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

    fn defaults(&self, database: &str) -> Result<String> {
        let sql = format!(
            "SELECT CONCAT('CHARACTER SET ', DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', DEFAULT_COLLATION_NAME) \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(database)
        );
        query(&self.admin, &sql, self.scrubber)
    }

    fn make_like(&self, name: &str, like: &str) -> Result<()> {
        create_database(&self.admin, name, None, self.scrubber)?;
        self.adopt_defaults(name, like)
    }

    fn adopt_defaults(&self, name: &str, like: &str) -> Result<()> {
        let defaults = self.defaults(like)?;
        self.execute(&format!("ALTER DATABASE {} {defaults}", identifier(name)))
    }

    /// Where definitions lie while they are nowhere else.
    fn definitions_table(moves: &[Move]) -> String {
        let first = moves.first().map_or("", |step| step.to.as_str());
        format!("{}.{}", identifier(first), identifier(DEFINITIONS))
    }

    fn save(&self, moves: &[Move], contents: &[Contents]) -> Result<()> {
        let table = Self::definitions_table(moves);
        let mut sql = format!(
            "CREATE TABLE {table} (of_database VARCHAR(64), statements LONGTEXT) ENGINE=InnoDB CHARACTER SET utf8mb4;\n"
        );
        for (step, held) in moves.iter().zip(contents) {
            let hex: String = held
                .definitions
                .bytes()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            sql.push_str(&format!(
                "INSERT INTO {table} VALUES ({}, CONVERT(X'{hex}' USING utf8mb4));\n",
                literal(&step.from)
            ));
        }
        self.execute(&sql)
    }

    fn forget(&self, moves: &[Move]) -> Result<()> {
        let table = Self::definitions_table(moves);
        self.execute(&format!("DROP TABLE IF EXISTS {table}"))
    }

    /// Drops what cannot be moved, where it is there.
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
            // Packages are known in that mode only.
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

    /// Moves the tables of every move in one statement; `back` moves them back, last first.
    fn rename(&self, moves: &[Move], contents: &[Contents], back: bool) -> Result<()> {
        let mut pairs = Vec::new();
        for (step, held) in moves.iter().zip(contents) {
            for table in &held.tables {
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
        let mut input = held.definitions.as_bytes();
        let mut nobody = |_: &Account| Ok(());
        feed(
            &mut input,
            &target,
            events,
            false,
            &mut nobody,
            self.scrubber,
        )
    }

    /// Drops a database from which everything moved away; one that still has a table stays.
    fn drop_if_empty(&self, database: &str) -> Result<()> {
        let tables = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE <> 'VIEW'",
            literal(database)
        );
        match query(&self.admin, &tables, self.scrubber)?.as_str() {
            "0" => drop_database(&self.admin, database, self.scrubber),
            _ => Err(Error::new(
                Code::Target,
                format!("database {database} has tables that were made meanwhile"),
            )
            .hint("look at them, and drop the database by hand")),
        }
    }
}

/// Names in such an order that a definition names earlier ones only, as far as that can be.
fn ordered(mut names: Vec<String>, definitions: &BTreeMap<String, String>) -> Vec<String> {
    names.sort();
    let mut ordered = Vec::with_capacity(names.len());
    while !names.is_empty() {
        let needs = |name: &String, other: &String| {
            let definition = definitions.get(name).map_or("", String::as_str);
            name != other && definition.contains(&identifier(other))
        };
        let (later, free): (Vec<String>, Vec<String>) = names
            .iter()
            .cloned()
            .partition(|name| names.iter().any(|other| needs(name, other)));
        // A column may be called as a view is: then no order is better than another.
        let stuck = free.is_empty();
        ordered.extend(free);
        names = match stuck {
            true => {
                ordered.extend(later);
                Vec::new()
            }
            false => later,
        };
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_are_of_comes_first() {
        let definitions = [
            ("a", "select `c`.`x` from `c`"),
            ("b", "1"),
            ("c", "select `x` from `b`"),
        ];
        let definitions = definitions.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let known = definitions.into_iter().collect();
        assert_eq!(ordered(names("abcd"), &known), names("bdca"));
        let circle = [
            ("a".to_owned(), "`b`".to_owned()),
            ("b".to_owned(), "`a`".to_owned()),
        ];
        assert_eq!(
            ordered(names("ba"), &circle.into_iter().collect()),
            names("ab")
        );
    }
}
