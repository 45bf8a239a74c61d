//! How a SQLite database is restored: as a file.

use crate::error::Result;
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::{Arrived, Descriptor, Incoming, Placed, StockSource, Target};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of SQLite databases.
pub struct OfSqlite;

impl Descriptor for OfSqlite {
    fn main_artifact(&self) -> &'static str {
        super::ARTIFACT
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        _: &mut Target<'_>,
    ) -> Result<Arrived> {
        let own = incoming.own(directory)?;
        let captured = incoming.captured(super::ARTIFACT);
        let root = captured.and_then(|d| d.roots.first());
        let name = root.and_then(|r| Path::new(r).file_name().map(ToOwned::to_owned));
        let name = name.unwrap_or_else(|| format!("{}.sqlite", incoming.source).into());
        let path = own.sqlite(&mut incoming.open(super::ARTIFACT)?, &name)?;
        Ok(Arrived::at(Placed::File(path)))
    }

    fn observe(
        &self,
        placed: &Placed,
        _: &DetailsArtifact,
        _: &Scrubber,
        _: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        match placed {
            Placed::File(path) => crate::sqlite::observe(path).map(|proof| (proof, vec![])),
            _ => Err(placed.is_no_place_of("sqlite")),
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        &["sqlite3"]
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        let source = stock.source;
        let directory = quote(&format!("restored/{source}"));
        let file = quote(&format!("restored/{source}/{source}.sqlite"));
        for artifact in &stock.artifacts {
            writeln!(
                out,
                "SQLite database of source `{source}`. Where it replaces a live one, remove that one's `-wal`, `-shm` and `-journal` too.\n"
            )?;
            let open = &artifact.open;
            writeln!(out, "```sh\nmkdir -p {directory}\n{open} > {file}")?;
            writeln!(
                out,
                "test \"$(sqlite3 {file} 'PRAGMA integrity_check')\" = ok\n```\n"
            )?;
        }
        Ok(())
    }
}
