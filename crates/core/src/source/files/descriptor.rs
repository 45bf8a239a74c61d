//! How a tree is restored: unpacked into a directory.

use super::observe;
use crate::archive;
use crate::error::{Error, Result};
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::place;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::{Arrived, Descriptor, Incoming, Limit, Placed, StockSource, Target};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of files and directories.
pub struct OfFiles;

impl Descriptor for OfFiles {
    fn main_artifact(&self) -> &'static str {
        super::ARTIFACT
    }

    fn is_tree(&self) -> bool {
        true
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        _: &mut Target<'_>,
    ) -> Result<Arrived> {
        let own = incoming.own(directory)?;
        let unread = |error| Error::io("the archive cannot be read ahead", &error);
        let extracted = place::extract(
            &mut archive::ahead(incoming.open(super::ARTIFACT)?).map_err(unread)?,
            &own,
            incoming.reporter,
        )?;
        let limits = match extracted.owners_restored {
            true => vec![],
            false => vec![Limit::Ownership],
        };
        Ok(Arrived {
            placed: Placed::Tree(own.path().to_owned()),
            limits,
            warnings: extracted.warnings,
        })
    }

    fn observe(
        &self,
        placed: &Placed,
        _: &DetailsArtifact,
        _: &Scrubber,
        reporter: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        match placed {
            Placed::Tree(path) => observe(path, reporter).map(|proof| (proof, vec![])),
            _ => Err(placed.is_no_place_of("files")),
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        &["tar"]
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        let source = stock.source;
        let directory = quote(&format!("restored/{source}"));
        for artifact in &stock.artifacts {
            writeln!(
                out,
                "Files of source `{source}`, below `restored/{source}` with their full paths (as root, to keep owners):\n"
            )?;
            if let Some(restore) = &artifact.restore_tree {
                writeln!(out, "```sh\n{restore}\n```\n")?;
                continue;
            }
            writeln!(out, "```sh\nmkdir -p {directory}")?;
            writeln!(
                out,
                "{} | tar --numeric-owner --xattrs --xattrs-include='*' --acls -xpf - -C {directory}\n```\n",
                artifact.open
            )?;
        }
        Ok(())
    }
}
