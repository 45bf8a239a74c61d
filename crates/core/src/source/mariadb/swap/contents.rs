//! The contents of a database that is to be moved, and the statements that recreate what cannot be
//! moved.

use super::Moving;
use crate::error::{Code, Error, Result};
use crate::source::mariadb::client::{identifier, literal, query, refused, rows};
use crate::source::mariadb::programs::Tool;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contents of a database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Tables and sequences.
    pub tables: Vec<String>,
    pub views: Vec<String>,
    /// Views that do not work, and the statements that created them.
    pub broken: Vec<(String, String)>,
    pub triggers: Vec<String>,
    /// `PROCEDURE`, `FUNCTION`, `PACKAGE`, …, with the name.
    pub routines: Vec<(String, String)>,
    pub events: Vec<String>,
    /// Columns whose default value names a sequence with its database: table, column, value.
    pub defaults: Vec<(String, String, String)>,
    /// Its character set and collation, as in `ALTER DATABASE`.
    pub character_set: String,
    /// Statements that recreate views, triggers, routines and events. The journal has a column for
    /// them.
    #[serde(skip)]
    pub definitions: String,
}

impl Moving<'_> {
    pub(super) fn look(&self, database: &str) -> Result<Contents> {
        let own = literal(database);
        let (views, broken) = self.views(&own)?;
        let routines = rows(
            &self.admin,
            &format!(
                "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {own} ORDER BY ROUTINE_TYPE DESC"
            ),
            self.scrubber,
        )?;
        Ok(Contents {
            tables: self.tables(database)?.into_iter().collect(),
            definitions: self.definitions(database, &views, &broken)?,
            broken: self.statements(database, broken)?,
            defaults: self.sequence_defaults(database)?,
            character_set: self.character_set(database)?,
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

    /// Default values from sequences; they keep the database's name when a table moves.
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

    /// The statements that created these views; the server shows them for broken views too.
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

    /// The views of a database: those that work, and those that do not. The comment of a broken
    /// view is the reason, if the server looks into it, as it does to count rows.
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

    /// Sorts views after those that they use: one with a `CHECK OPTION` cannot be created over the
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

    /// The definitions as the dump program writes them: with the character set, mode and time zone
    /// in which each was created.
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
            // The program describes every view it meets, even if it writes none.
            for view in broken {
                command = command.arg(format!("--ignore-table={database}.{view}"));
            }
            let output = from
                .transport()
                .output(&command.args(["--", database]).args(tables))?;
            if !output.status.success() {
                return Err(refused(&from, &output.stderr));
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

    fn character_set(&self, database: &str) -> Result<String> {
        let sql = format!(
            "SELECT CONCAT('CHARACTER SET ', DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', DEFAULT_COLLATION_NAME) \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
            literal(database)
        );
        query(&self.admin, &sql, self.scrubber)
    }
}

/// Sorts names so that a definition names only earlier ones, as far as possible.
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
        // A column may have the name of a view: then no order is better than another.
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
    fn views_that_others_use_come_first() {
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
