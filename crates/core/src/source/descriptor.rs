//! Descriptors: what a restore, a drill and a page of stock commands need to know about each kind
//! of source.

use super::{Arrived, Database, Incoming, Limit, Onto, Placed, Target};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Difference, EVENT_STATE, Proof};
use crate::kind::Kind;
use crate::name::Name;
use crate::observe::Reporter;
use crate::point::{Details, DetailsArtifact, ManifestArtifact};
use crate::secret::Scrubber;
use crate::staging;
use std::fmt;
use std::path::Path;

/// Restoring a source, as far as kinds differ.
pub trait Descriptor: Sync {
    /// The artifact whose content is compared.
    fn main_artifact(&self) -> &'static str;

    /// Returns true if its artifact is the archive of a directory tree, which a repository stores
    /// file by file.
    fn is_tree(&self) -> bool {
        false
    }

    /// Returns true if it can be restored into the database that this URL names.
    fn takes_url(&self, _url: &str) -> bool {
        false
    }

    /// Places it in a new directory below `directory`, or in `target`.
    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        target: &mut Target<'_>,
    ) -> Result<Arrived>;

    /// The proof of the placed data, read back, and the differences that this kind can name if its
    /// proof has no names.
    fn observe(
        &self,
        placed: &Placed,
        captured: &DetailsArtifact,
        scrubber: &Scrubber,
        reporter: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)>;

    /// Returns true if the placed data can be read back and compared.
    fn is_read_back(&self, _placed: &Placed) -> bool {
        true
    }

    /// The Debian packages that its stock commands need.
    fn packages(&self) -> &'static [&'static str] {
        &[]
    }

    /// Writes the stock commands that restore it into `restored/SOURCE`, or into a new database.
    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> fmt::Result;
}

/// A source in a page of stock commands.
pub struct StockSource<'a> {
    /// Its name.
    pub source: &'a Name,
    /// Its artifacts.
    pub artifacts: Vec<StockArtifact<'a>>,
    /// The details of the point, if they can be decrypted.
    pub details: Option<&'a Details>,
}

/// An artifact in a page of stock commands.
pub struct StockArtifact<'a> {
    /// Its entry in the manifest.
    pub artifact: &'a ManifestArtifact,
    /// The commands that write the plain stream to standard output.
    pub open: String,
    /// The command that restores its tree into `restored`, if it is in a snapshot.
    pub restore_tree: Option<String>,
}

/// Reads back a plain file.
pub(crate) fn observe_file(kind: &str, placed: &Placed) -> Result<(Proof, Vec<Difference>)> {
    match placed {
        Placed::File(path) => staging::observe_file(path).map(|proof| (proof, vec![])),
        _ => Err(placed.is_no_place_of(kind)),
    }
}

/// Formats ` (a, b)`; empty if there are no texts.
pub(crate) fn in_parentheses(texts: &[String]) -> String {
    match texts.is_empty() {
        true => String::new(),
        false => format!(" ({})", texts.join(", ")),
    }
}

/// Restores the dump of a source into a database. A database that is not on a throwaway server must
/// be empty. If the restore fails, it is emptied again as far as its kind allows.
pub(crate) fn receive(database: &Database, incoming: &Incoming<'_>, onto: Onto) -> Result<Arrived> {
    if onto != Onto::Scratch && !database.is_empty(incoming.scrubber)? {
        let message = format!("the database {} is not empty", database.display());
        return Err(Error::new(Code::Target, message).hint(match database {
            Database::Postgres(_) => "create a new database (createdb NAME) and name it with --to",
            Database::Mariadb(_) => {
                "create a new database (CREATE DATABASE NAME) and name it with --to"
            }
        }));
    }
    let restored = restore_dump(database, incoming, onto);
    match onto {
        Onto::Scratch => restored,
        Onto::Made | Onto::Given => {
            restored.map_err(|error| database.after_failure(error, incoming.scrubber))
        }
    }
}

fn restore_dump(database: &Database, incoming: &Incoming<'_>, onto: Onto) -> Result<Arrived> {
    let captured = incoming.captured(super::DUMP).map(|d| &d.proof);
    let mut dump = incoming.open(super::DUMP)?;
    let warnings = database.restore_dump(&mut dump, captured, onto, incoming.scrubber)?;
    let sleeps = matches!(database, Database::Mariadb(_)) && onto != Onto::Scratch;
    let limits = match sleeps && captured.is_some_and(|proof| proof.has_objects(EVENT_STATE)) {
        true => vec![Limit::EventsAsleep],
        false => vec![],
    };
    Ok(Arrived {
        placed: Placed::Database(database.clone()),
        limits,
        warnings,
    })
}

/// Writes the dump of a database as files; this does not restore the database.
pub(crate) fn dump_as_files(
    incoming: &Incoming<'_>,
    directory: &Path,
    kind: Kind,
) -> Result<Arrived> {
    let path = incoming.as_files(directory, super::DUMP)?;
    Ok(Arrived {
        warnings: vec![format!(
            "the dump was written as a file and not restored; use --to {kind}://… for a database"
        )],
        ..Arrived::at(Placed::File(path))
    })
}

/// The proof of a database's current content.
pub(crate) fn observe_database(
    kind: &str,
    placed: &Placed,
    captured: &DetailsArtifact,
    scrubber: &Scrubber,
    reporter: &Reporter,
) -> Result<(Proof, Vec<Difference>)> {
    match placed {
        Placed::Database(database) => database
            .observe(&captured.proof, scrubber, reporter)
            .map(|proof| (proof, vec![])),
        _ => Err(placed.is_no_place_of(kind)),
    }
}

/// The name of a new database for a source: `drill_crm_db`.
pub(crate) fn new_name(what: &str, source: &str) -> String {
    let plain = source.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("{what}_{plain}")
}
