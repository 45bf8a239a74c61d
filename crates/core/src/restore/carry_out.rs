//! A running restore: places, compares, swaps, undoes, and reports.
//!
//! Nothing live is touched before everything is staged beside it and equals what was captured.

mod buckets;
mod machine;
mod onto_live;
mod prepare;
mod report;

pub(super) use machine::{is_aside, is_of_machine, plan as plan_machine};

use super::checks;
use super::journal::Journal;
use super::resume::Resumable;
use super::swap::Swapped;
use super::{Restored, Stopwatch, bring_back, partly_filled, prove_again};
use crate::cancel;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fetch::Fetched;
use crate::kind::StoredKind;
use crate::name::Name;
use crate::ownership;
use crate::place;
use crate::point::{self, ManifestSource, PointId};
use crate::probe::{CheckOutcome, CheckResult, Subject};
use crate::removal::Stays;
use crate::secret::Secret;
use crate::source::{self, Database, Target};
use crate::staging;
use crate::transport::{Command, Transport};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A source to restore, and the point that it comes from.
#[derive(Clone)]
pub(super) struct Wanted<'a> {
    pub source: ManifestSource,
    pub fetched: &'a Fetched,
}

impl Wanted<'_> {
    pub fn name(&self) -> &Name {
        &self.source.name
    }

    pub fn point(&self) -> &PointId {
        &self.fetched.copy.manifest.point
    }
}

/// Returns true if a source of this kind can be restored into the database of this URL.
fn takes_url(kind: &StoredKind, url: &str) -> bool {
    match kind {
        StoredKind::Known(kind) => source::descriptor(*kind).takes_url(url),
        StoredKind::Unknown(_) => false,
    }
}

/// Runs commands of `[restore]`, one after the other, until one fails.
pub(super) fn run_commands(context: &Context, commands: &[Vec<String>]) -> Result<()> {
    let mut commands = commands.iter().filter_map(|words| words.split_first());
    commands.try_for_each(|(program, arguments)| run_command(context, program, arguments))
}

fn run_command(context: &Context, program: &str, arguments: &[String]) -> Result<()> {
    let words = [&[program.to_owned()], arguments].concat().join(" ");
    context.reporter.step(&words, None);
    // An interrupted restore must still start what it stopped.
    let command = Command::new(program)
        .args(arguments)
        .scrub_with(&context.scrubber)
        .cleanup();
    let output = Transport::Local.output(&command)?;
    if output.status.success() {
        return Ok(());
    }
    let message = format!("{words} ended with {}", output.status);
    Err(Error::new(Code::Target, message).cause(output.stderr))
}

/// A running restore.
pub(super) struct Restoring<'a> {
    context: &'a Context,
    points: &'a [Fetched],
    wanted: Vec<Wanted<'a>>,
    begun: Instant,
    started: jiff::Timestamp,
    watch: Stopwatch,
    restored: Vec<Restored>,
    pub checks: Vec<CheckResult>,
    places: Vec<(String, String)>,
    /// Places where what was live before is kept, while it is.
    kept: Vec<String>,
    warnings: Vec<String>,
    limits: Vec<String>,
    swapped: Vec<Swapped>,
    /// Directories above live places that were missing and were made.
    made: Vec<PathBuf>,
    /// True if everything was swapped back, false if not; `None` if that was not tried.
    undone: Option<bool>,
    /// Points taken of what was live before.
    safety_points: Vec<PointId>,
    /// Sources that a live restore leaves out because they have no live place.
    left: Vec<Name>,
    /// True if something was not restored, for a reason that does not lie in the point.
    lacking: bool,
    /// True if the operator asked for a restore without proof.
    unproven: bool,
    /// What a live restore notes before it does it.
    journal: Option<Journal>,
    /// When the application began to be stopped.
    stopped: Option<Instant>,
    /// Seconds for which the application was down.
    downtime: Option<f64>,
}

impl<'a> Restoring<'a> {
    pub fn new(context: &'a Context, points: &'a [Fetched], wanted: Vec<Wanted<'a>>) -> Self {
        Restoring {
            context,
            points,
            wanted,
            begun: Instant::now(),
            started: context.clock.now(),
            watch: Stopwatch::default(),
            restored: vec![],
            checks: vec![],
            places: vec![],
            kept: vec![],
            warnings: vec![],
            limits: vec![],
            swapped: vec![],
            made: vec![],
            undone: None,
            safety_points: vec![],
            left: vec![],
            lacking: false,
            unproven: false,
            journal: None,
            stopped: None,
            downtime: None,
        }
    }

    /// The names of the sources to restore.
    pub fn source_names(&self) -> Vec<Name> {
        self.wanted.iter().map(|w| w.name().clone()).collect()
    }

    /// Restores each source into a directory of its own. A source that fails leaves nothing there
    /// and does not stop the others; an error means that none was restored.
    ///
    /// A run that was killed is resumed: what it placed is kept if it equals what was captured, and
    /// everything else is restored again.
    pub fn restore_to_directory(&mut self, directory: &Path) -> Result<()> {
        ownership::led_astray(directory).map_err(|error| Error {
            message: format!("the target {} {}", directory.display(), error.message),
            ..error
        })?;
        if let Some(fault) = ownership::exposed(directory) {
            let text = "others can change what is restored there";
            self.warnings.push(format!("{text}: {fault}"));
        }
        let points = self.points.iter().map(|p| p.copy.manifest.point.clone());
        let mut resumable = Resumable::begin(directory, points.collect(), &self.source_names())?;
        let directory = directory
            .canonicalize()
            .map_err(|e| Error::io("the target cannot be found", &e))?;
        let mut failed = Vec::new();
        for wanted in self.wanted.clone() {
            if let Err(error) = self.bring_once(&wanted, &directory, &mut resumable) {
                self.warn_of(staging::remove(&directory.join(wanted.name().as_str())));
                failed.push((wanted.source.name, error));
            }
        }
        if self.restored.is_empty() {
            match resumable.is_new {
                true => self.warn_of(staging::remove(&directory)),
                false => resumable.finish()?,
            }
            let error = failed.into_iter().next().map(|(_, error)| error);
            return error.map_or(Ok(()), Err);
        }
        // When it is run again, it restores what failed.
        let whole = failed.is_empty();
        for (source, error) in failed {
            let hint = error.hint.iter();
            self.warnings
                .extend(hint.map(|hint| format!("source {source}: {hint}")));
            let error = cancel::explain(error);
            self.failed(Subject::content(&source), "it comes back", &error);
        }
        place::sync_tree(&directory)?;
        match whole {
            true => resumable.finish(),
            false => Ok(()),
        }
    }

    /// Records that the points were read from what stood in the stores at a time.
    pub fn read_as_of(&mut self, at: jiff::Timestamp) {
        let limits = self.points.iter().map(|fetched| {
            let (point, store) = (&fetched.copy.manifest.point, &fetched.store.name);
            format!("{point} was read from store {store} as it stood at {at}, not as it is now")
        });
        self.limits.extend(limits);
    }

    /// Records what of the application is in none of the points.
    pub fn leave_out(&mut self, left_out: Vec<String>) {
        let owners = point::owners(self.points.iter().map(|p| &*p.copy.manifest));
        for fetched in self.points {
            let manifest = &fetched.copy.manifest;
            for source in &manifest.sources {
                let owner = owners.get(&source.name);
                if let Some(owner) = owner.filter(|owner| **owner != manifest.point) {
                    self.limits.push(format!(
                        "source {}: restored as in {owner}, not as in {}",
                        source.name, manifest.point
                    ));
                }
            }
        }
        self.warnings.extend(left_out.iter().cloned());
        self.limits.extend(left_out);
    }

    /// Records that something was not restored. The target is the operator's: its refusal does not
    /// count against the point.
    pub fn failed(&mut self, name: Subject, expected: &str, error: &Error) {
        let result = CheckResult::from_error(name, expected, error, false);
        self.lacking |= result.outcome == CheckOutcome::Unknown;
        self.checks.push(result);
    }

    /// Restores a source into a directory unless it is there whole.
    fn bring_once(
        &mut self,
        wanted: &Wanted<'_>,
        directory: &Path,
        resumable: &mut Resumable,
    ) -> Result<()> {
        let source = &wanted.source;
        if let StoredKind::Known(kind) = source.kind
            && let Some(placed) = resumable.placed(&source.name, kind)
        {
            let (context, fetched) = (self.context, wanted.fetched);
            let proved = prove_again(context, fetched, placed, &mut self.watch);
            if let Some(restored) = proved {
                let text = "it was there from a run that was ended, and was compared again";
                self.warnings
                    .push(format!("source {}: {text}", source.name));
                self.keep(restored);
                return Ok(());
            }
        }
        if resumable.resumed {
            let own = directory.join(source.name.as_str());
            if let Some(stays) = staging::remove(&own).first() {
                let message = format!(
                    "what a run that was ended left of source {} stays",
                    source.name
                );
                return Err(Error::new(Code::Target, message)
                    .cause(stays)
                    .hint("remove it by hand and run it again, or name another directory"));
            }
        }
        self.bring(wanted, directory, &mut Target::Files)?;
        match self.restored.last() {
            Some(restored) if restored.is_equal() => {
                // Without the note, a later run restores it again.
                let noted = resumable.note(restored, restored.limits_of_placing());
                self.warnings.extend(noted.err().map(|e| e.to_string()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Warns of restored data that could not be removed.
    fn warn_of(&mut self, stays: Vec<Stays>) {
        let text = |stays: &Stays| format!("what was restored is there in clear: {stays}");
        self.warnings.extend(stays.iter().map(text));
    }

    pub fn restore_to_database(&mut self, url: &Secret) -> Result<()> {
        let text = url.expose_str()?;
        let databases: Vec<_> = self
            .wanted
            .iter()
            .filter(|w| takes_url(&w.source.kind, text))
            .cloned()
            .collect();
        let [wanted] = databases.as_slice() else {
            if databases.is_empty() {
                let scheme = text.split(':').next().unwrap_or_default();
                let message =
                    format!("no source that is to be restored fits a {scheme}:// database");
                return Err(Error::new(Code::Usage, message)
                    .hint("name a database of the kind that was captured, or a directory"));
            }
            let names: Vec<_> = databases.iter().map(|w| w.name().as_str()).collect();
            return Err(Error::new(
                Code::Usage,
                format!(
                    "{} sources fit that database, one is needed",
                    databases.len()
                ),
            )
            .cause(names.join(", "))
            .hint("name it: --source NAME"));
        };
        self.context.scrubber.learn(url);
        let (wanted, name) = (wanted.clone(), wanted.name().clone());
        let database = Database::from_url(url, wanted.source.kind.known(&name)?)?;
        self.wanted = vec![wanted.clone()];
        let details = wanted.fetched.details.as_ref().ok();
        let captured = details.and_then(|d| d.artifact(&name, "dump"));
        let captured = captured.map(|d| &d.proof);
        let begun = partly_filled::begin(self.context, &database, wanted.point(), &name, captured)?;
        self.warnings.extend(begun);
        let brought = self.bring(
            &wanted,
            &self.context.state.scratch(),
            &mut Target::Given(database.clone()),
        );
        let noted = partly_filled::end(self.context, &database, brought.is_ok());
        brought.and(noted)
    }

    /// Places one source and records how it compares. An error here is an error of the restore.
    fn bring(
        &mut self,
        wanted: &Wanted<'_>,
        directory: &Path,
        databases: &mut Target<'_>,
    ) -> Result<()> {
        let restored = bring_back(
            self.context,
            wanted.fetched,
            &wanted.source,
            directory,
            databases,
            &mut self.watch,
        )?;
        self.keep(restored);
        Ok(())
    }

    /// Records a source that is placed, and how it compares.
    fn keep(&mut self, restored: Restored) {
        self.places
            .push((restored.source.to_string(), restored.placed.describe()));
        let prefixed = |text: &dyn std::fmt::Display| format!("source {}: {text}", restored.source);
        self.warnings
            .extend(restored.warnings.iter().map(|w| prefixed(w)));
        self.limits
            .extend(restored.limits.iter().map(|l| prefixed(l)));
        self.checks.push(match &restored.differences {
            Some(differences) => checks::content(&restored.source, &restored.summary, differences),
            None => CheckResult::unknown(
                Subject::content(&restored.source),
                "equal to what was captured",
                "it was written, and cannot be compared as it is",
            ),
        });
        self.restored.push(restored);
    }
}
