//! A database of a server, of any kind: what a restore does with one, by name.
//!
//! Each kind makes its guarantees in its own module; this only chooses between them.

use super::mariadb::{self, Flavor, Recovered};
use super::{Onto, RestoreOptions, RestoreRights, postgres};
use crate::error::{Code, Error, Result};
use crate::fingerprint::Proof;
use crate::kind::Kind;
use crate::observe::Reporter;
use crate::secret::{Scrubber, Secret};
use std::collections::BTreeMap;
use std::io::Read;

/// A database, and the credentials for it.
#[derive(Debug, Clone)]
pub enum Database {
    /// A PostgreSQL database.
    Postgres(Box<postgres::Connection>),
    /// A MariaDB or MySQL database.
    Mariadb(Box<mariadb::Connection>),
}

/// Returns true if a URL names a database of a server.
pub fn is_server_url(url: &str) -> bool {
    postgres::Connection::is_url(url) || mariadb::Connection::is_url(url)
}

impl From<postgres::Connection> for Database {
    fn from(connection: postgres::Connection) -> Self {
        Database::Postgres(Box::new(connection))
    }
}

impl From<mariadb::Connection> for Database {
    fn from(connection: mariadb::Connection) -> Self {
        Database::Mariadb(Box::new(connection))
    }
}

/// Makes an error name the database `name` on the target server.
pub(super) fn on(name: &str) -> impl Fn(Error) -> Error + '_ {
    move |error| {
        let code = match error.code {
            Code::ToolMissing | Code::Interrupted | Code::Busy => error.code,
            _ => Code::Target,
        };
        Error {
            code,
            message: format!("database {name} on the target server: {}", error.message),
            cause: Some(error.cause.unwrap_or_default()),
            hint: Some(error.hint.unwrap_or_else(|| "read the cause".into())),
            fact: error.fact,
        }
    }
}

/// An interrupted swap that was undone or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// True if what was live before is live again; false if what was restored is live.
    pub undone: bool,
    /// What is live now, for people.
    pub text: String,
}

impl Database {
    /// The database that a URL names, for a source of this kind.
    pub fn from_url(url: &Secret, kind: Kind) -> Result<Self> {
        match Flavor::of_kind(kind) {
            Some(flavor) => mariadb::Connection::from_url(url, flavor).map(Database::from),
            None => postgres::Connection::from_url(url).map(Database::from),
        }
    }

    /// A connection to the same server, but to none of the users' databases.
    pub fn administrative(&self) -> Self {
        match self {
            Database::Postgres(connection) => connection.with_database("postgres").into(),
            Database::Mariadb(connection) => connection.with_database("").into(),
        }
    }

    /// A connection to another database of the same server.
    pub fn with_database(&self, name: &str) -> Self {
        match self {
            Database::Postgres(connection) => connection.with_database(name).into(),
            Database::Mariadb(connection) => connection.with_database(name).into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> Result<&str> {
        match self {
            Database::Postgres(connection) => Ok(connection.database().unwrap_or("postgres")),
            Database::Mariadb(connection) => connection.database().ok_or_else(|| {
                Error::new(
                    Code::Configuration,
                    format!("{} names no database", connection.display()),
                )
                .hint("add its name at the end of the URL, or as the key `database`")
            }),
        }
    }

    /// A name for a database beside it: its own name with a suffix, shortened to the length the
    /// server allows.
    pub fn name_beside(&self, suffix: &str) -> Result<String> {
        let name = self.name()?;
        let characters_max = match self {
            Database::Postgres(_) => return Ok(format!("{name}{suffix}")),
            Database::Mariadb(_) => mariadb::NAME_CHARACTERS_MAX,
        };
        let room = characters_max.saturating_sub(suffix.chars().count());
        Ok(name.chars().take(room).collect::<String>() + suffix)
    }

    /// Whether the server is surely on the host where its client programs run.
    pub fn is_at_hand(&self) -> bool {
        match self {
            Database::Postgres(connection) => connection.is_at_hand(),
            Database::Mariadb(connection) => connection.is_at_hand(),
        }
    }

    /// Its description for people, without the password.
    pub fn display(&self) -> String {
        match self {
            Database::Postgres(connection) => connection.display(),
            Database::Mariadb(connection) => connection.display(),
        }
    }

    /// A URL that most drivers read, without the password.
    pub fn url_without_password(&self) -> String {
        match self {
            Database::Postgres(connection) => connection.url_without_password(),
            Database::Mariadb(connection) => connection.url_without_password(),
        }
    }

    /// The rights that its account lacks for a live restore. Nothing is tried.
    pub fn restore_rights(&self, scrubber: &Scrubber) -> Result<RestoreRights> {
        match self {
            Database::Postgres(connection) => postgres::restore_rights(connection, scrubber),
            Database::Mariadb(connection) => {
                // The same suffixes as a restore uses; a long one may shorten the name.
                let suffixes = [
                    "_restored_20261120t060000z_7f3a",
                    "_before_20261120t060000z_7f3a",
                ];
                let beside = suffixes.map(|suffix| self.name_beside(suffix));
                let beside: Vec<String> = beside.into_iter().collect::<Result<_>>()?;
                let prefix = beside.iter().zip(suffixes).next();
                let prefix = prefix.and_then(|(name, suffix)| name.strip_suffix(suffix));
                mariadb::restore_rights(connection, prefix.unwrap_or_default(), &beside, scrubber)
            }
        }
    }

    /// Runs a statement and returns its single value.
    pub fn query(&self, sql: &str, scrubber: &Scrubber) -> Result<String> {
        match self {
            Database::Postgres(connection) => postgres::query(connection, sql, scrubber),
            Database::Mariadb(connection) => mariadb::query(connection, sql, scrubber),
        }
    }

    /// The exact number of rows of every table.
    pub fn row_counts(&self, scrubber: &Scrubber) -> Result<BTreeMap<String, u64>> {
        match self {
            Database::Postgres(connection) => postgres::row_counts(connection, scrubber),
            Database::Mariadb(connection) => mariadb::row_counts(connection, scrubber),
        }
    }

    /// Returns true if it holds nothing that a user made.
    pub fn is_empty(&self, scrubber: &Scrubber) -> Result<bool> {
        match self {
            Database::Postgres(connection) => postgres::is_empty(connection, scrubber),
            Database::Mariadb(connection) => mariadb::is_empty(connection, scrubber),
        }
    }

    /// Creates a database of this name on the server, with the properties of the captured one.
    pub fn create(&self, name: &str, captured: Option<&Proof>, scrubber: &Scrubber) -> Result<()> {
        match self {
            Database::Postgres(admin) => postgres::create_database(admin, name, captured, scrubber),
            Database::Mariadb(admin) => mariadb::create_database(admin, name, captured, scrubber),
        }
    }

    /// Drops the database of this name. A missing one is no error.
    pub fn drop(&self, name: &str, scrubber: &Scrubber) -> Result<()> {
        match self {
            Database::Postgres(admin) => postgres::drop_database(admin, name, scrubber),
            Database::Mariadb(admin) => mariadb::drop_database(admin, name, scrubber),
        }
    }

    /// Returns true if the server has a database of this name.
    pub fn exists(&self, name: &str, scrubber: &Scrubber) -> Result<bool> {
        match self {
            Database::Postgres(admin) => postgres::database_exists(admin, name, scrubber),
            Database::Mariadb(admin) => mariadb::database_exists(admin, name, scrubber),
        }
    }

    /// Renames the database `aside` to `live`, and an existing `live` to `keep`.
    pub fn swap(&self, live: &str, aside: &str, keep: &str, scrubber: &Scrubber) -> Result<()> {
        match self {
            Database::Postgres(admin) => {
                postgres::swap_databases(admin, live, aside, keep, scrubber)
            }
            Database::Mariadb(admin) => {
                let swap = mariadb::Swap {
                    live,
                    new: aside,
                    old: keep,
                    restored: aside,
                };
                mariadb::swap_databases(admin, swap, scrubber)
            }
        }
    }

    /// Undoes [`Database::swap`]. `keep` is the name of what was live; `None` if nothing was.
    pub fn swap_back(
        &self,
        live: &str,
        aside: &str,
        keep: Option<&str>,
        scrubber: &Scrubber,
    ) -> Result<()> {
        match (self, keep) {
            (Database::Postgres(admin), Some(keep)) => {
                postgres::swap_databases(admin, live, keep, aside, scrubber)
            }
            (Database::Postgres(admin), None) => {
                postgres::withdraw_database(admin, live, aside, scrubber)
            }
            (Database::Mariadb(admin), Some(keep)) => {
                let swap = mariadb::Swap {
                    live,
                    new: keep,
                    old: aside,
                    restored: aside,
                };
                mariadb::swap_databases(admin, swap, scrubber)
            }
            (Database::Mariadb(admin), None) => {
                mariadb::withdraw_database(admin, live, aside, scrubber)
            }
        }
    }

    /// Gives what was live its name back, where a swap was interrupted between its two renames.
    pub fn put_back(&self, live: &str, keep: &str, scrubber: &Scrubber) -> Result<()> {
        match self {
            Database::Postgres(admin) => postgres::withdraw_database(admin, keep, live, scrubber),
            // Its own journal has what was to be done.
            Database::Mariadb(_) => Err(Error::new(
                Code::Target,
                format!("database {live} is not there"),
            )
            .hint(format!("what was live before is database {keep}"))),
        }
    }

    /// Empties it, if that can be done without losing its owner and privileges. Returns true if it
    /// was emptied.
    pub fn empty_again(&self, scrubber: &Scrubber) -> Result<bool> {
        match self {
            Database::Postgres(_) => Ok(false),
            Database::Mariadb(connection) => {
                mariadb::empty_again(connection, scrubber).map(|()| true)
            }
        }
    }

    /// Cleans up after a failed restore into a database that was empty before. If a part is left,
    /// the returned error says so.
    pub fn after_failure(&self, error: Error, scrubber: &Scrubber) -> Error {
        // A database that cannot be asked was never reached; the error says so.
        if !matches!(self.is_empty(scrubber), Ok(false)) {
            return error;
        }
        let left = match self {
            Database::Postgres(_) => String::new(),
            Database::Mariadb(connection) => match mariadb::empty_again(connection, scrubber) {
                Ok(()) => return error,
                Err(left) => format!(" ({left})"),
            },
        };
        let part = format!(
            "{} holds a part of the dump now{left}: drop it and make it anew before another try",
            self.display()
        );
        let hint = match &error.hint {
            Some(hint) => format!("{hint}; {part}"),
            None => part,
        };
        error.hint(hint)
    }

    /// Returns true if a swap of the database of this name was interrupted. An interrupted swap of
    /// PostgreSQL leaves each database whole, under one of its names.
    pub fn is_interrupted(&self, live: &str, scrubber: &Scrubber) -> Result<bool> {
        match self {
            Database::Postgres(_) => Ok(false),
            Database::Mariadb(admin) => mariadb::is_interrupted(admin, live, scrubber),
        }
    }

    /// Undoes or finishes an interrupted swap; `None` if there was no such swap.
    pub fn recover(&self, live: &str, scrubber: &Scrubber) -> Result<Option<Ended>> {
        let Database::Mariadb(admin) = self else {
            return Ok(None);
        };
        let Some(recovered) = mariadb::recover(admin, live, scrubber)? else {
            return Ok(None);
        };
        let undone = recovered == Recovered::Before;
        let text = match recovered {
            Recovered::Before => {
                format!(
                    "a swap of database {live} was interrupted: what was live before is live again"
                )
            }
            Recovered::Restored { kept: None } => {
                format!(
                    "a swap of database {live} was interrupted when only cleaning up was left: what was restored is live"
                )
            }
            Recovered::Restored { kept: Some(kept) } => format!(
                "a swap of database {live} was interrupted when only cleaning up was left: what was restored is live, what was live before is kept as database {kept}"
            ),
        };
        Ok(Some(Ended { undone, text }))
    }

    /// Restores a dump into the database, which must be empty. Returns warnings.
    pub fn restore_dump(
        &self,
        input: &mut dyn Read,
        captured: Option<&Proof>,
        onto: Onto,
        scrubber: &Scrubber,
    ) -> Result<Vec<String>> {
        let options = RestoreOptions { onto, captured };
        match self {
            Database::Postgres(connection) => {
                postgres::restore_dump(input, connection, &options, scrubber)
            }
            Database::Mariadb(connection) => {
                mariadb::restore_dump(input, connection, &options, scrubber)
            }
        }
    }

    /// The proof of its current content.
    pub fn observe(
        &self,
        captured: &Proof,
        scrubber: &Scrubber,
        reporter: &Reporter,
    ) -> Result<Proof> {
        match self {
            Database::Postgres(connection) => {
                postgres::observe(connection, captured, scrubber, reporter)
            }
            Database::Mariadb(connection) => {
                mariadb::observe(connection, captured, scrubber, reporter)
            }
        }
    }
}
