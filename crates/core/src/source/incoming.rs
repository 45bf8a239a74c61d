//! A source of a point that is being restored: its details, and its artifacts, to be opened.

use crate::config::SourceKind;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Reporter;
use crate::place::Within;
use crate::point::{Details, DetailsArtifact, ManifestArtifact};
use crate::secret::Scrubber;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Opens an artifact for reading: decrypted, decompressed, and checked to its last byte.
pub type OpenArtifact<'a> = &'a dyn Fn(&ManifestArtifact) -> Result<Box<dyn Read + Send>>;

/// One source of a point, as a restore reads it.
pub struct Incoming<'a> {
    /// Its name.
    pub source: &'a Name,
    /// Its artifacts.
    pub artifacts: Vec<&'a ManifestArtifact>,
    /// The details of the point, if they can be decrypted.
    pub details: Option<&'a Details>,
    /// Opens one of the artifacts.
    pub open: OpenArtifact<'a>,
    /// The source as it is configured here, if it is.
    pub configured: Option<&'a SourceKind>,
    /// A private directory for spools.
    pub scratch: &'a Path,
    /// Removes known secrets from the output of tools.
    pub scrubber: &'a Scrubber,
    /// Reports progress.
    pub reporter: &'a Reporter,
}

impl<'a> Incoming<'a> {
    /// An artifact by its name within the source.
    pub fn artifact(&self, name: &str) -> Result<&'a ManifestArtifact> {
        let mut artifacts = self.artifacts.iter();
        artifacts.find(|a| a.name == name).copied().ok_or_else(|| {
            let message = format!("the manifest names no {name} of source {}", self.source);
            Error::new(Code::ObjectMissing, message)
        })
    }

    /// The details of an artifact, if they can be decrypted.
    pub fn captured(&self, name: &str) -> Option<&'a DetailsArtifact> {
        self.details?.artifact(self.source, name)
    }

    /// Opens an artifact by its name within the source.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        (self.open)(self.artifact(name)?)
    }

    /// Makes the directory of this source. Fails if it exists: what is there belongs to somebody
    /// else.
    pub fn own(&self, directory: &Path) -> Result<Within> {
        Within::open(directory)?.new_directory(self.source)
    }

    /// Writes every artifact as a plain file, for the output of a command and for a dump that is
    /// not restored. Returns the file of the artifact named `main`.
    pub fn as_files(&self, directory: &Path, main: &str) -> Result<PathBuf> {
        let own = self.own(directory)?;
        let mut found = None;
        for artifact in &self.artifacts {
            let name: &str = match artifact.name == main {
                true => self.source,
                false => &artifact.name,
            };
            let name = format!("{name}.{}", artifact.extension);
            let mut input = (self.open)(artifact)?;
            own.write_file(&mut input, name.as_ref(), 0o600)?;
            let path = own.path().join(name);
            if artifact.name == main || found.is_none() {
                found = Some(path);
            }
        }
        found.ok_or_else(|| {
            let message = format!("the manifest names nothing of source {}", self.source);
            Error::new(Code::ObjectMissing, message)
        })
    }
}
