//! Files and directories as a source: one tar archive that GNU tar restores, and its proof.
//!
//! Guarantees: whatever could not be captured as it was is named in the result; no link is
//! followed; holes stay holes; a SQLite database met on the way is captured through SQLite's backup
//! interface. Each file is consistent in itself at best; the tree as a whole is not a snapshot.
//!
//! A file that changes while it is read: up to 1 MiB it is read again, up to three times, until it
//! stops changing. For a larger one, or one that never stops: if it only grew, as logs do, it is
//! cut at the size first seen, with a warning; otherwise its content may be torn, and the point is
//! partial. Access times, attributes of symbolic links and inode flags are not captured.
//!
//! An entry's name is its absolute path without the leading slash; the directories above a
//! configured path are entries too.

mod attributes;
mod capture;
mod descriptor;
mod exclude;
mod extent;
mod observe;
#[cfg(test)]
mod tests;
mod walk;

pub use descriptor::OfFiles;
pub use observe::observe;

use super::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use crate::config::FilesConfig;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::{Extension, Name};
use crate::point::Consistency;
use capture::Capture;
use exclude::Excludes;
use lifeboat_repository::mounts::{Mounts, PATIENCE};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, accessat};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use walk::{Selection, walk};

/// The one artifact of a tree.
const ARTIFACT: &str = "files";

/// Files and directories as a source.
#[derive(Debug)]
pub struct FilesSource {
    paths: Vec<PathBuf>,
    optional: Vec<PathBuf>,
    exclude: Vec<String>,
    one_file_system: bool,
    patience: Duration,
}

impl FilesSource {
    /// Checks the configuration; touches nothing.
    pub fn new(config: FilesConfig) -> Result<Self> {
        if config.paths.is_empty() && config.optional.is_empty() {
            return Err(
                Error::new(Code::Configuration, "a files source names no path")
                    .hint("add paths = [\"/…\"]"),
            );
        }
        for path in config.paths.iter().chain(&config.optional) {
            let plain = path.components().all(|c| c != Component::ParentDir);
            if !path.is_absolute() || !plain {
                return Err(Error::new(
                    Code::Configuration,
                    format!("the path {} is not absolute and plain", path.display()),
                )
                .hint("write it from the root, without \"..\""));
            }
        }
        Excludes::new(&config.exclude)?;
        Ok(FilesSource {
            paths: config.paths,
            optional: config.optional,
            exclude: config.exclude,
            one_file_system: config.one_file_system,
            patience: PATIENCE,
        })
    }

    /// The configured paths that exist, relative to `/`, with warnings of optional ones that do
    /// not.
    fn roots(&self, mounts: &Mounts) -> Result<(BTreeSet<PathBuf>, Vec<String>)> {
        let mut roots = BTreeSet::new();
        let mut warnings = Vec::new();
        let (mut silent, mut answered) = (None, false);
        for path in &self.paths {
            match look(mounts, path) {
                Ok(_) => {}
                // The walk reports it, and captures the rest.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    silent.get_or_insert(unreachable(path, &error));
                    roots.insert(relative(path));
                    continue;
                }
                Err(error) => return Err(unreachable(path, &error)),
            }
            roots.insert(relative(path));
            answered = true;
        }
        for path in &self.optional {
            match look(mounts, path) {
                Ok(_) => {
                    roots.insert(relative(path));
                }
                Err(error) => warnings.push(format!(
                    "the optional path {} was left out: {error}",
                    path.display()
                )),
            }
        }
        match silent {
            Some(error) if !answered => Err(error),
            _ => Ok((roots, warnings)),
        }
    }
}

/// Attributes of what is at a path. A link is not followed.
fn look(mounts: &Mounts, path: &Path) -> io::Result<Stat> {
    mounts.ask_anyway(path, |path| Ok(rustix::fs::lstat(path)?))
}

fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect()
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::new(Code::SourceMissing, format!("the path {path} is missing"))
                .hint("correct it, or move it to optional if it may be absent")
        }
        io::ErrorKind::TimedOut => Error::new(
            Code::SourceUnreachable,
            format!("the path {path} cannot be reached"),
        )
        .cause(error)
        .hint("mount it anew, or leave it out"),
        _ => Error::new(
            Code::SourceDenied,
            format!("the path {path} cannot be reached"),
        )
        .cause(error)
        .hint("run as a user who may read it"),
    }
}

impl Source for FilesSource {
    fn live(&self) -> Live {
        Live::Tree {
            roots: self.paths.iter().chain(&self.optional).cloned().collect(),
            excludes: !self.exclude.is_empty(),
        }
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own(ARTIFACT),
            extension: Extension::own("tar"),
        }]
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != ARTIFACT {
            return Err(no_artifact(artifact));
        }
        crate::sqlite::assert_library()?;
        let mounts = Mounts::of_this_process(self.patience);
        let (roots, mut warnings) = self.roots(&mounts)?;
        context.reporter.step("reading files", None);
        let selection = Selection {
            roots: Some(roots),
            excludes: Excludes::new(&self.exclude)?,
            one_file_system: self.one_file_system,
            mounts: Some(mounts),
            leaves_set_aside: true,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let start = rustix::fs::open("/", flags, Mode::empty())
            .map_err(|error| Error::io("the root directory cannot be opened", &error.into()))?;
        let is_root = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            selection.roots.as_ref().is_some_and(|r| r.contains(path))
        };
        let mut capture = Capture::new(output, context, &is_root);
        walk(start, &selection, &mut capture)?;
        let (proof, skipped, found) = capture.finish()?;
        warnings.extend(found);
        Ok(Captured {
            proof: Some(proof),
            consistency: Consistency::PerFile,
            skipped,
            warnings,
            tools: BTreeMap::from([("sqlite".to_owned(), rusqlite::version().to_owned())]),
            answers: BTreeMap::new(),
            identity: None,
            position: None,
            external: None,
        })
    }

    fn examine(&self, subject: &str, _context: &CaptureContext<'_>) -> Vec<Finding> {
        let finding =
            |severity, message: String, hint| Finding::new(subject, severity, message, hint);
        let mut findings = Vec::new();
        let mounts = Mounts::of_this_process(self.patience);
        for path in &self.paths {
            match reachable(&mounts, path) {
                Ok(()) => {}
                Err(error) => {
                    findings.push(finding(Severity::Error, error.to_string(), error.hint));
                }
            }
        }
        for path in &self.optional {
            match reachable(&mounts, path) {
                Err(error) if error.code == Code::SourceMissing => findings.push(finding(
                    Severity::Warning,
                    format!("the optional path {} is missing", path.display()),
                    Some("nothing is to be done if it does not belong on this host; otherwise correct it".into()),
                )),
                Err(error) => {
                    findings.push(finding(Severity::Warning, error.to_string(), error.hint));
                }
                Ok(()) => {}
            }
        }
        if findings.is_empty() {
            let count = self.paths.len() + self.optional.len();
            let paths = if count == 1 { "path" } else { "paths" };
            let message = format!("{count} {paths} can be read");
            findings.push(finding(Severity::Ok, message, None));
        }
        findings
    }
}

/// Fails unless a configured path exists and can be read; entries below it may still be unreadable.
fn reachable(mounts: &Mounts, path: &Path) -> Result<()> {
    let stat = look(mounts, path).map_err(|error| unreachable(path, &error))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    let access = |path: &Path| Ok(accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS)?);
    let readable = mounts.ask_anyway(path, access);
    readable.map_err(|error| unreachable(path, &error))
}
