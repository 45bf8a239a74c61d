//! How a command's output is restored: as a file. Only its operator knows its use.

use crate::error::Result;
use crate::fingerprint::{Difference, Proof};
use crate::observe::Reporter;
use crate::point::DetailsArtifact;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::source::descriptor::observe_file;
use crate::source::{Arrived, Descriptor, Incoming, Placed, StockArtifact, StockSource, Target};
use std::fmt::Write;
use std::path::Path;

/// The descriptor of command output.
pub struct OfCommand;

impl Descriptor for OfCommand {
    fn main_artifact(&self) -> &'static str {
        super::ARTIFACT
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        _: &mut Target<'_>,
    ) -> Result<Arrived> {
        let path = incoming.as_files(directory, super::ARTIFACT)?;
        Ok(Arrived::at(Placed::File(path)))
    }

    fn observe(
        &self,
        placed: &Placed,
        _: &DetailsArtifact,
        _: &Scrubber,
        _: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        observe_file("command", placed)
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        let source = stock.source;
        let directory = quote(&format!("restored/{source}"));
        for StockArtifact { artifact, open, .. } in &stock.artifacts {
            let file = quote(&format!(
                "restored/{source}/{source}.{}",
                artifact.extension
            ));
            writeln!(
                out,
                "Output of the command of source `{source}`:\n\n```sh\nmkdir -p {directory}\n{open} > {file}\n```\n"
            )?;
        }
        Ok(())
    }
}
