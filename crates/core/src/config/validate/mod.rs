//! Whether a configuration that is well formed also makes sense, and is safe.
//!
//! What contradicts itself is refused when the file is read ([`Gravity::Refused`]); what works and
//! is unwise, or cannot meet its own objectives, is a finding. What would put a secret or a backup
//! where it must never be also refuses the run ([`Config::check_plan`]). Loading a configuration looks
//! at no file of this host; the checks look at names and modes, and at what web servers are
//! configured to publish.

mod apart;
mod disk;
mod keys;
mod objectives;
mod public;
mod shape;

use super::places::path_of;
use super::{Config, FilesConfig, PlanConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::Name;
use lifeboat_repository::mounts::Mounts;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// How long a file system may take to tell where a path leads. Who backs it up waits longer.
const PATIENCE_AT_NAMES: Duration = Duration::from_secs(2);

/// How grave an issue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    /// It contradicts itself: the file is not loaded.
    Refused,
    /// It cannot do what it is for.
    Error,
    /// It works, with a risk.
    Warning,
}

/// Something about the configuration.
#[derive(Debug, Clone)]
pub(super) struct Issue {
    /// `plan.hourly`, `app`.
    pub(super) subject: String,
    /// The key and index within it: `sources[1]`; empty for the whole.
    pub(super) at: String,
    pub(super) gravity: Gravity,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Issue {
    fn new(
        gravity: Gravity,
        subject: impl Into<String>,
        at: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Issue {
            subject: subject.into(),
            at: at.into(),
            gravity,
            message: message.into(),
            hint: None,
        }
    }

    fn refused(
        subject: impl Into<String>,
        at: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Issue::new(Gravity::Refused, subject, at, message)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Where it stands in the file.
    pub(super) fn path(&self) -> String {
        path_of(&self.subject, &self.at)
    }
}

impl Config {
    /// What is wrong or unsafe about this configuration, as far as this host's file system tells.
    /// Nothing is reached and no secret is resolved.
    pub fn check(&self) -> Vec<Finding> {
        let issues = self.issues(true).into_iter();
        issues
            .map(|issue| Finding {
                severity: match issue.gravity {
                    Gravity::Refused | Gravity::Error => Severity::Error,
                    Gravity::Warning => Severity::Warning,
                },
                message: match issue.at.is_empty() {
                    true => issue.message,
                    false => format!("{}: {}", issue.at, issue.message),
                },
                subject: issue.subject,
                hint: issue.hint,
            })
            .collect()
    }

    /// Refuses a plan that would put something where it must never be: a sensitive source into a
    /// store in clear, a separate one beside other data, anything where a web server publishes it.
    pub fn check_plan(&self, plan: &str) -> Result<()> {
        let mut issues = Vec::new();
        apart::sensitive(self, &mut issues);
        apart::separate(self, true, &mut issues);
        public::misplaced(self, &mut issues);
        let stores = self.plan.get(plan).map(|plan| plan.stores.as_slice());
        let concerns = |subject: &str| match subject.split_once('.') {
            Some(("plan", name)) => name == plan,
            Some(("store", name)) => stores.is_some_and(|s| s.iter().any(|store| store == name)),
            _ => true,
        };
        let refused = issues
            .into_iter()
            .find(|issue| issue.gravity != Gravity::Warning && concerns(&issue.subject));
        refused.map_or(Ok(()), |issue| {
            let error = Error::new(
                Code::Configuration,
                format!("{}: {}", issue.path(), issue.message),
            );
            Err(match issue.hint {
                Some(hint) => error.hint(hint),
                None => error.hint("run `lifeboat config check`"),
            })
        })
    }

    /// Refuses to copy what a plan captured into a store where [`Config::check_plan`] would refuse
    /// it, if the plan named that store.
    pub fn check_copy(&self, plan: &Name, sources: &[Name], store: &Name) -> Result<()> {
        let mut copying = self.clone();
        let known = |name: &&Name| self.source.contains_key(*name);
        let copied = PlanConfig {
            schedule: None,
            sources: sources.iter().filter(known).cloned().collect(),
            stores: vec![store.clone()],
            keep: None,
            before: Vec::new(),
            finally: Vec::new(),
        };
        copying.plan.insert(plan.clone(), copied);
        copying.check_plan(plan)
    }

    /// Everything there is to say. `on_disk` also looks at this host's links and modes.
    pub(super) fn issues(&self, on_disk: bool) -> Vec<Issue> {
        let mut issues = Vec::new();
        shape::sources(self, &mut issues);
        shape::stores(self, &mut issues);
        shape::plans(self, &mut issues);
        shape::drills(self, &mut issues);
        shape::restore(self, &mut issues);
        shape::evidence(self, &mut issues);
        apart::sensitive(self, &mut issues);
        apart::separate(self, on_disk, &mut issues);
        apart::same_place(self, &mut issues);
        apart::mirrors_into_itself(self, &mut issues);
        apart::backs_itself_up(self, on_disk, &mut issues);
        objectives::recovery_point(self, &mut issues);
        objectives::unused(self, &mut issues);
        objectives::drills(self, &mut issues);
        keys::inside_sources(self, on_disk, &mut issues);
        if on_disk {
            public::misplaced(self, &mut issues);
            keys::readable_by_others(self, &mut issues);
        }
        issues
    }

    /// The files sources, with their names.
    fn files_sources(&self) -> impl Iterator<Item = (&str, &FilesConfig)> {
        self.source
            .iter()
            .filter_map(|(name, source)| match &source.kind {
                SourceKind::Files(files) => Some((name.as_str(), files)),
                _ => None,
            })
    }
}

/// What stands at a path that a files source may cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File,
    Directory,
}

/// Whether a files source captures `path`: it lies in one of its paths and no pattern excludes it.
fn covers(files: &FilesConfig, path: &Path, entry: Entry, on_disk: bool) -> bool {
    let path = settled(path, on_disk);
    let mut roots = files.paths.iter().chain(&files.optional);
    roots.any(|root| {
        let inner = path.strip_prefix(settled(root, on_disk));
        inner.is_ok_and(|inner| !is_excluded(&files.exclude, root, inner, entry))
    })
}

/// Whether a pattern excludes `inner` beneath `root`, or a directory on the way to it.
fn is_excluded(patterns: &[String], root: &Path, inner: &Path, entry: Entry) -> bool {
    let mut here = root.to_owned();
    let mut steps = inner.components().peekable();
    while let Some(step) = steps.next() {
        here.push(step);
        let is_directory = steps.peek().is_some() || entry == Entry::Directory;
        if patterns
            .iter()
            .any(|pattern| excludes(pattern, &here, is_directory))
        {
            return true;
        }
    }
    false
}

/// Patterns as files sources read them: one without a slash matches a name, one that begins with a
/// slash the whole path, another its end; one that ends in a slash matches directories only.
fn excludes(pattern: &str, path: &Path, is_directory: bool) -> bool {
    let bare = pattern.trim_end_matches('/');
    if bare.len() < pattern.len() && !is_directory {
        return false;
    }
    let (glob, subject) = match (bare.contains('/'), bare.starts_with('/')) {
        (false, _) => (bare.to_owned(), path.file_name().map(Path::new)),
        (true, true) => (bare.to_owned(), Some(path)),
        (true, false) => (format!("**/{bare}"), Some(path)),
    };
    let glob = globset::GlobBuilder::new(&glob)
        .literal_separator(true)
        .build();
    match (glob, subject) {
        (Ok(glob), Some(subject)) => glob.compile_matcher().is_match(subject),
        _ => false,
    }
}

/// A path without `.` and `..`; on disk also without links, as far as it is there.
fn settled(path: &Path, on_disk: bool) -> PathBuf {
    let mut settled = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                settled.pop();
            }
            other => settled.push(other),
        }
    }
    if !on_disk {
        return settled;
    }
    // A path of a source may lie where nobody answers.
    let mounts = Mounts::of_this_process(PATIENCE_AT_NAMES);
    for ancestor in settled.ancestors() {
        let real = mounts.ask_anyway(ancestor, |path| path.canonicalize());
        if let (Ok(real), Ok(rest)) = (real, settled.strip_prefix(ancestor)) {
            // Joining nothing would add a slash that a file cannot have.
            return match rest.as_os_str().is_empty() {
                true => real,
                false => real.join(rest),
            };
        }
    }
    settled
}

#[cfg(test)]
mod tests;
