//! How a machine comes back: in a drill as a machine in quarantine, elsewhere as the reference that says
//! which snapshot it is.

use super::{ARTIFACT, provider};
use crate::config::SourceKind;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Difference, Proof};
use crate::kind::Kind;
use crate::observe::Reporter;
use crate::point::{DetailsArtifact, External};
use crate::secret::Scrubber;
use crate::source::{
    Arrived, Descriptor, Incoming, Placed, ScratchServers, StockArtifact, StockSource, Target,
};
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

/// Bytes that a reference may have.
const REFERENCE_BYTES_MAX: u64 = 64 << 10;

/// The descriptor of machines of one kind.
pub struct OfMachine(pub Kind);

impl Descriptor for OfMachine {
    fn main_artifact(&self) -> &'static str {
        ARTIFACT
    }

    fn place(
        &self,
        incoming: &Incoming<'_>,
        directory: &Path,
        target: &mut Target<'_>,
    ) -> Result<Arrived> {
        match target {
            Target::Scratch(servers) => to_quarantine(incoming, servers),
            Target::Given(_) | Target::Made(_) | Target::Bucket(_) | Target::Files => {
                let path = incoming.as_files(directory, ARTIFACT)?;
                let text = "what was written says which snapshot it is, and is not the machine";
                Ok(Arrived {
                    warnings: vec![text.to_owned()],
                    ..Arrived::at(Placed::File(path))
                })
            }
        }
    }

    fn observe(
        &self,
        placed: &Placed,
        _: &DetailsArtifact,
        _: &Scrubber,
        _: &Reporter,
    ) -> Result<(Proof, Vec<Difference>)> {
        Err(placed.is_no_place_of(self.0.as_str()))
    }

    /// A reference that is equal proves nothing of the machine.
    fn is_read_back(&self, _: &Placed) -> bool {
        false
    }

    fn stock(&self, out: &mut String, stock: &StockSource<'_>) -> std::fmt::Result {
        let source = stock.source;
        for StockArtifact { open, .. } in &stock.artifacts {
            writeln!(
                out,
                "Which snapshot of the machine of source `{source}` it is, for the provider's own tools:\n\n```sh\n{open}\n```\n"
            )?;
        }
        Ok(())
    }
}

/// The reference that a point holds.
fn reference(incoming: &Incoming<'_>) -> Result<External> {
    let mut text = Vec::new();
    incoming
        .open(ARTIFACT)?
        .take(REFERENCE_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(|e| Error::from_io(Code::Io, "the reference cannot be read", e))?;
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!(
            "source {}: what the point holds is no reference",
            incoming.source
        );
        Error::new(Code::Unsupported, message)
            .cause(error)
            .hint("use the version that made the point, or a newer one")
    })
}

fn to_quarantine(incoming: &Incoming<'_>, servers: &mut ScratchServers) -> Result<Arrived> {
    let reference = reference(incoming)?;
    let configured = incoming.configured;
    let provider = configured.and_then(provider);
    let Some((provider, config)) = provider.zip(configured.and_then(SourceKind::snapshots)) else {
        let message = format!(
            "snapshot {} is of a machine that is not configured here",
            reference.name
        );
        return Err(Error::new(Code::Target, message)
            .hint("run the drill with the configuration that made the point"));
    };
    let hint = "it was deleted there: choose a newer point, or raise keep_at_source";
    let snapshot = super::there(provider.as_ref(), &reference, hint)?;
    let machine = servers.quarantine(incoming.source, provider, snapshot, config)?;
    Ok(Arrived::at(Placed::Machine(machine)))
}
