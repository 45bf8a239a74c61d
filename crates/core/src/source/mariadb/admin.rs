//! Creates and drops whole databases, and checks if they exist.

use super::client::{execute, identifier, literal, query};
use super::connection::Connection;
use super::inventory::defaults;
use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use crate::secret::Scrubber;
use crate::source::database::on;

/// Maximum length of a database name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Creates a database with the character set and collation of the captured one (or of the server,
/// if they are unknown).
pub fn create_database(
    admin: &Connection,
    name: &str,
    captured: Option<&Proof>,
    scrubber: &Scrubber,
) -> Result<()> {
    let mut sql = format!("CREATE DATABASE {}", identifier(name));
    if let Some(defaults) = captured.and_then(defaults) {
        sql.push_str(&defaults.clauses());
    }
    let none = admin.with_database("");
    execute(&none, &sql, scrubber).map_err(|error| {
        let cause = error.cause.clone().unwrap_or_default();
        let unknown = ["Unknown collation", "Unknown character set"];
        match unknown.iter().any(|text| cause.contains(text)) {
            // This server is older than the captured one, or of the other flavor.
            true => Error::new(
                Code::ToolMissing,
                format!("this server does not have the character set of database {name}"),
            )
            .cause(cause)
            .hint("install a server of the kind and version that was captured"),
            false => on(name)(error),
        }
    })
}

/// A database that was given the character set and collation of a captured one.
pub struct Adopted {
    /// Its earlier ones, as the end of `ALTER DATABASE`.
    before: String,
    /// A message for people about what was done, or could not be.
    pub warning: String,
}

/// Gives an empty database the character set and collation of the captured one, which new objects
/// in it take over. `None` if it has them already.
pub fn adopt_defaults(
    target: &Connection,
    captured: Option<&Proof>,
    scrubber: &Scrubber,
) -> Result<Option<Adopted>> {
    let Some(wanted) = captured.and_then(defaults) else {
        return Ok(None);
    };
    let name = target.database().unwrap_or_default();
    let here = default_set(target, scrubber)?;
    let there = format!("{} COLLATE {}", wanted.set, wanted.collation);
    if here == there && wanted.comment.is_empty() {
        return Ok(None);
    }
    let clauses = wanted.clauses();
    let sql = format!("ALTER DATABASE {}{clauses}", identifier(name));
    let warning = match execute(target, &sql, scrubber) {
        Ok(()) if here == there => return Ok(None),
        Ok(()) => format!(
            "its default character set was {here}; it is that of the captured database now, {there}"
        ),
        Err(error) => format!(
            "its default character set is {here}, and was {there} at capture; it could not be changed: {}",
            error.cause.unwrap_or(error.message)
        ),
    };
    Ok(Some(Adopted {
        before: format!(" CHARACTER SET {here}"),
        warning,
    }))
}

impl Adopted {
    /// Restores the database's earlier ones.
    pub fn undo(&self, target: &Connection, scrubber: &Scrubber) {
        let name = identifier(target.database().unwrap_or_default());
        let sql = format!("ALTER DATABASE {name}{}", self.before);
        if let Err(error) = execute(target, &sql, scrubber) {
            tracing::debug!(%error, "the default character set is not what it was");
        }
    }
}

/// `utf8mb4 COLLATE utf8mb4_general_ci`, of the connected database.
fn default_set(connection: &Connection, scrubber: &Scrubber) -> Result<String> {
    let name = connection.database().unwrap_or_default();
    let sql = format!(
        "SELECT CONCAT(DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', DEFAULT_COLLATION_NAME) \
         FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        literal(name)
    );
    query(&connection.with_database(""), &sql, scrubber).map_err(on(name))
}

/// Drops a database with everything in it. A missing one is no error.
pub fn drop_database(admin: &Connection, name: &str, scrubber: &Scrubber) -> Result<()> {
    let sql = format!("DROP DATABASE IF EXISTS {}", identifier(name));
    execute(&admin.with_database(""), &sql, scrubber).map_err(on(name))
}

/// Empties a database that was empty before, by recreating it with the character set and collation
/// that it has. The server keeps privileges on it.
pub fn empty_again(connection: &Connection, scrubber: &Scrubber) -> Result<()> {
    let name = connection.database().unwrap_or_default();
    let none = connection.with_database("");
    let defaults = default_set(connection, scrubber)?;
    let name_there = identifier(name);
    let sql = format!(
        "DROP DATABASE {name_there}; CREATE DATABASE {name_there} CHARACTER SET {defaults}"
    );
    execute(&none, &sql, scrubber).map_err(on(name))
}

/// Returns true if the server has a database of this name.
pub fn database_exists(admin: &Connection, name: &str, scrubber: &Scrubber) -> Result<bool> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        literal(name)
    );
    let answer = query(&admin.with_database(""), &sql, scrubber).map_err(on(name))?;
    Ok(answer == "1")
}

/// Returns true if a database holds nothing that a user made.
pub fn is_empty(connection: &Connection, scrubber: &Scrubber) -> Result<bool> {
    let sql = "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()) \
        + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()) \
        + (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE())";
    let name = connection.database().unwrap_or_default();
    Ok(query(connection, sql, scrubber).map_err(on(name))? == "0")
}
