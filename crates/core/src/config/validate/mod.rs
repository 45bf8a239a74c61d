//! Validation of a well-formed configuration: whether it makes sense and is safe.
//!
//! Contradictions are refused when the file is read ([`Gravity::Refused`]). Whatever works but is
//! unwise, or cannot meet its own objectives, is a finding. Whatever would put a secret or a backup
//! where it must never be also refuses the run ([`Config::check_plan`]). Loading a configuration
//! reads no other file of this host; the checks read names and modes, and the directories that web
//! servers are configured to publish.

mod apart;
mod buckets;
mod disk;
mod keys;
mod machines;
mod notify;
mod object_lock;
mod objectives;
mod public;
mod shape;
mod when;

use super::places::path_of;
use super::{Config, FilesConfig, PlanConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::Name;
use lifeboat_repository::mounts::Mounts;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Time in which a file system must resolve a path. A backup of it waits longer.
const PATIENCE_AT_NAMES: Duration = Duration::from_secs(2);

/// Severity of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    /// A contradiction: the file is not loaded.
    Refused,
    /// It cannot fulfil its purpose.
    Error,
    /// It works, with a risk.
    Warning,
}

/// One issue of the configuration.
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

    /// Its path in the file.
    pub(super) fn path(&self) -> String {
        path_of(&self.subject, &self.at)
    }
}

impl Config {
    /// Returns what is wrong or unsafe about this configuration, as far as this host's file system
    /// shows. Nothing is connected to and no secret is resolved.
    pub fn check(&self) -> Vec<Finding> {
        let issues = self.issues(true).into_iter();
        issues
            .map(|issue| Finding {
                kind: None,
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

    /// Refuses a plan that would put something where it must never be: a sensitive source into an
    /// unencrypted store, a separate one beside other data, anything where a web server publishes
    /// it.
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

    /// Refuses to copy what a plan captured into a store if [`Config::check_plan`] would refuse
    /// that store in the plan.
    pub fn check_copy(&self, plan: &Name, sources: &[Name], store: &Name) -> Result<()> {
        let mut copying = self.clone();
        let known = |name: &&Name| self.source.contains_key(*name);
        let sources = sources.iter().filter(known).cloned().collect();
        let copied = PlanConfig::bare(sources, vec![store.clone()]);
        copying.plan.insert(plan.clone(), copied);
        copying.check_plan(plan)
    }

    /// Returns every issue. `on_disk` also examines this host's links and modes.
    pub(super) fn issues(&self, on_disk: bool) -> Vec<Issue> {
        let mut issues = Vec::new();
        shape::sources(self, &mut issues);
        shape::stores(self, &mut issues);
        buckets::postures(self, &mut issues);
        object_lock::lengths(self, &mut issues);
        shape::plans(self, &mut issues);
        shape::drills(self, &mut issues);
        when::bounds(self, &mut issues);
        when::verifications(self, &mut issues);
        when::reports(self, &mut issues);
        when::run(self, &mut issues);
        shape::restore(self, &mut issues);
        machines::holds(self, &mut issues);
        machines::drilled(self, &mut issues);
        shape::evidence(self, &mut issues);
        notify::channels(self, &mut issues);
        notify::contacts(self, &mut issues);
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

/// Type of the entry at a path that a files source may cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File,
    Directory,
}

/// Returns whether a files source captures `path`: it lies in one of its paths and no pattern
/// excludes it.
fn covers(files: &FilesConfig, path: &Path, entry: Entry, on_disk: bool) -> bool {
    let path = settled(path, on_disk);
    let mut roots = files.paths.iter().chain(&files.optional);
    roots.any(|root| {
        let inner = path.strip_prefix(settled(root, on_disk));
        inner.is_ok_and(|inner| !is_excluded(&files.exclude, root, inner, entry))
    })
}

/// Returns whether a pattern excludes `inner` beneath `root`, or a directory on the way to it.
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

/// Matches a pattern as files sources do: one without a slash matches a name, one that begins with
/// a slash the whole path, any other its end; one that ends in a slash matches directories only.
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

/// Removes `.` and `..` from a path; with `on_disk`, also resolves links as far as the path exists.
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
    // A path of a source may be on a mount that does not answer.
    let mounts = Mounts::of_this_process(PATIENCE_AT_NAMES);
    for ancestor in settled.ancestors() {
        let real = mounts.ask_anyway(ancestor, |path| path.canonicalize());
        if let (Ok(real), Ok(rest)) = (real, settled.strip_prefix(ancestor)) {
            // Joining an empty path would add a slash that a file cannot have.
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
