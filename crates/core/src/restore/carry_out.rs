//! A running restore: places, compares, swaps, undoes, and reports.
//!
//! Nothing live is touched before everything is staged beside it and equals what was captured.

mod buckets;
mod machine;
mod prepare;
mod report;

pub(super) use machine::{is_aside, is_of_machine, plan as plan_machine};

use super::checks::{self, Checked};
use super::resume::Resumable;
use super::swap::{PreparedSwap, Swapped};
use super::{
    Restored, Stopwatch, application, bring_back, interrupted, leftovers, partly_filled,
    prove_again,
};
use crate::backup;
use crate::cancel;
use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Fact, Result};
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
use std::collections::BTreeSet;
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

    /// Undoes or finishes the swaps that an earlier live restore left interrupted, and removes the
    /// copies that it left.
    pub fn recover(&mut self) -> Result<()> {
        let sources = self.wanted.iter().map(|wanted| wanted.name().as_str());
        let ended = interrupted::recover(self.context, sources)?;
        self.warnings.extend(ended.into_iter().map(|e| e.text));
        self.warnings.extend(leftovers::clean_up(self.context)?);
        Ok(())
    }

    /// Stages and compares everything while the application still runs; then stops, swaps and
    /// starts the application and runs the checks.
    pub fn onto_live(&mut self, reason: Option<String>, unproven: bool) -> Result<()> {
        if unproven {
            self.unproven = true;
            let limit = "it was asked for without proof (--unproven)";
            self.limits.push(limit.into());
        }
        for fetched in self.points {
            if let Err(error) = &fetched.details {
                let why = format!("what was captured cannot be read: {error}");
                self.may_be_unproven(&why)?;
                self.limits.push(why);
            }
        }
        let mut swaps: Vec<PreparedSwap> = Vec::new();
        let prepared = self.prepare_all(&mut swaps);
        let ids: Vec<&PointId> = self.points.iter().map(|p| &p.copy.manifest.point).collect();
        let done = prepared.and_then(|()| {
            self.take_safety_points(reason);
            leftovers::note_swap(self.context, &ids)?;
            self.swap_all(&swaps)
        });
        if self.undone == Some(false) {
            // Only a person can now tell which of these leftovers is still needed.
            return done;
        }
        let nothing_changed = done.is_err() || self.undone == Some(true);
        for swap in &swaps {
            let stays = swap.clean(nothing_changed, &self.context.scrubber);
            self.warn_of(stays);
        }
        if nothing_changed {
            staging::remove_empty(&self.made);
        }
        if let Err(error) = leftovers::strike_out(self.context) {
            self.warnings.push(error.to_string());
        }
        done
    }

    fn prepare_all(&mut self, swaps: &mut Vec<PreparedSwap>) -> Result<()> {
        for wanted in self.wanted.clone() {
            swaps.extend(self.prepare(&wanted)?);
        }
        let unknown = |check: &&CheckResult| check.outcome == CheckOutcome::Unknown;
        if let Some(check) = self.checks.iter().find(unknown) {
            self.may_be_unproven(&format!("{}: {}", check.name, check.observed()))?;
        }
        match self
            .checks
            .iter()
            .find(|c| c.outcome == CheckOutcome::Failed)
        {
            None => Ok(()),
            Some(check) => {
                let message = format!("{} differs from what was captured", check.name);
                Err(Error::new(Code::NotProved, message)
                    .cause(check.observed())
                    .hint(
                        "nothing live was changed; choose another point or another copy (--store)",
                    ))
            }
        }
    }

    /// Fails for a source that is not proved, unless the operator asked for a restore without
    /// proof.
    fn may_be_unproven(&self, why: &str) -> Result<()> {
        if self.unproven {
            return Ok(());
        }
        let points = self.named_points();
        let message = format!("nothing proves that {points} comes back as it was captured");
        Err(Error::new(Code::NotProved, message).cause(why).hint(
            "nothing live was changed; choose another copy (--store) or another point, or go on without proof: --unproven, with a --reason that says why",
        ))
    }

    fn swap_all(&mut self, swaps: &[PreparedSwap]) -> Result<()> {
        let restore = self.context.config.restore.clone();
        let swapped = self.run_all(&restore.stop).and_then(|()| {
            swaps.iter().try_for_each(|swap| {
                let scrubber = &self.context.scrubber;
                let what = format!("swap {}", swap.source);
                let swapped = self.watch.time(what, || swap.carry_out(scrubber))?;
                self.swapped.push(swapped);
                Ok(())
            })
        });
        if let Err(error) = swapped {
            let untouched = self.swapped.is_empty();
            let half = error.fact == Some(Fact::HalfSwapped);
            let became = match (self.undo(half), untouched) {
                (true, true) => "nothing was swapped in, the application is as it was before",
                (true, false) => "failed and swapped back, the application is as it was before",
                (false, _) => "failed, and not all of it could be swapped back",
            };
            let _ = self.run_all(&restore.start);
            return Err(Error {
                message: format!("{became}: {}", error.message),
                ..error
            });
        }
        for (swap, swapped) in swaps.iter().zip(&self.swapped) {
            if let Some(kept) = swapped.kept() {
                let text = format!(
                    "source {}: what was live before is kept as {kept}",
                    swap.source
                );
                self.kept.push(text);
            }
        }
        self.move_to_live(swaps);
        if let Err(error) = self
            .run_all(&restore.prepare)
            .and_then(|()| self.run_all(&restore.start))
            .and_then(|()| self.run_all(&restore.after))
        {
            let name = Subject::word("start");
            self.checks
                .push(CheckResult::failed(name, "every command succeeds", &error));
        }
        let own = self.restored.len();
        let untouched = checks::untouched(&self.context.config, &self.restored);
        self.restored.extend(untouched);
        let checked = Checked {
            context: self.context,
            restored: &self.restored,
            points: self.points,
            directory: Path::new("/"),
        };
        let asked = restore.checks.iter().filter(|check| !is_aside(check));
        let results: Vec<_> = asked.map(|check| checks::run(&checked, check)).collect();
        self.restored.truncate(own);
        // What is live must answer. A check that could not be made counts as well, unless it is of
        // a source that was not to be restored.
        let unanswered = |c: &CheckResult| c.outcome == CheckOutcome::Unknown && c.code.is_some();
        let unanswered = results.iter().any(unanswered);
        self.checks.extend(results);
        let failed = |c: &CheckResult| c.outcome == CheckOutcome::Failed;
        if unanswered || self.checks.iter().any(failed) {
            let _ = self.run_all(&restore.stop);
            self.undo(false);
            let _ = self.run_all(&restore.start);
        }
        Ok(())
    }

    /// Takes safety points of what is live now, by the plans of the restored sources. A failure
    /// must not stop a restore of something broken: what is live is also kept beside what is
    /// swapped in.
    fn take_safety_points(&mut self, reason: Option<String>) {
        let of = format!(
            "before the restore of {}: {}",
            self.named_points(),
            reason.unwrap_or_default()
        );
        let plans: BTreeSet<&Name> = self.points.iter().map(|p| &p.copy.manifest.plan).collect();
        for plan in plans {
            if !self.is_any_live(plan) {
                let text =
                    "nothing of it was live, so that there was nothing to take a safety point of";
                self.warnings.push(format!("plan {plan}: {text}"));
                continue;
            }
            let options = backup::Options {
                safety: true,
                slot: None,
                plan: Some(plan.to_string()),
                reason: Some(of.clone()),
            };
            let taken = self
                .watch
                .time("safety point", || backup::run(self.context, &options));
            let why = match taken {
                Ok(report) if !report.stores.is_empty() => {
                    self.safety_points.push(report.point);
                    continue;
                }
                Ok(report) => report
                    .failure
                    .map_or_else(|| report.errors.join("; "), |e| e.to_string()),
                Err(error) => error.to_string(),
            };
            self.warnings.push(format!(
                "plan {plan}: no safety point could be taken: {why}"
            ));
        }
    }

    /// Returns true if there is anything live that a backup by this plan could take.
    fn is_any_live(&self, plan: &Name) -> bool {
        let config = &self.context.config;
        let plan = config.plan.get(plan);
        let mut sources = plan.into_iter().flat_map(|p| &p.sources);
        sources.any(|name| {
            let roots = config.source.get(name).map(|s| s.kind.roots());
            // A source without a path here is left for the backup to ask.
            roots.is_some_and(|roots| {
                roots.is_empty() || roots.iter().any(|r| std::fs::symlink_metadata(r).is_ok())
            })
        })
    }

    /// The ids of the restored points, for a message.
    fn named_points(&self) -> String {
        application::join_ids(self.points.iter().map(|p| &p.copy.manifest.point))
    }

    fn run_all(&mut self, commands: &[Vec<String>]) -> Result<()> {
        for words in commands {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            self.context.reporter.step(&words.join(" "), None);
            // An interrupted restore must still start what it stopped.
            let command = Command::new(program)
                .args(arguments)
                .scrub_with(&self.context.scrubber)
                .cleanup();
            // Arguments may hold data, and phases appear in clear in the evidence.
            let output = self.watch.time(format!("command {program}"), || {
                Transport::Local.output(&command)
            })?;
            if !output.status.success() {
                return Err(Error::new(
                    Code::Target,
                    format!("{} ended with {}", words.join(" "), output.status),
                )
                .cause(output.stderr));
            }
        }
        Ok(())
    }

    /// Makes checks ask what is live, after the swap.
    fn move_to_live(&mut self, swaps: &[PreparedSwap]) {
        for restored in &mut self.restored {
            let kind = self
                .context
                .config
                .source
                .get(&restored.source)
                .map(|s| &s.kind);
            if let Some(live) = kind.and_then(checks::placed_live) {
                restored.placed = live;
            }
            if let Some(place) = self
                .places
                .iter_mut()
                .find(|(name, _)| name == &restored.source)
            {
                place.1 = match kind {
                    Some(SourceKind::Files(_)) => {
                        let own = swaps.iter().filter(|swap| swap.source == restored.source);
                        let live = own.filter_map(PreparedSwap::live_path);
                        live.map(|path| path.display().to_string())
                            .collect::<Vec<_>>()
                            .join(", ")
                    }
                    Some(SourceKind::Bucket(bucket)) => format!("bucket {}", bucket.bucket),
                    _ => restored.placed.describe(),
                };
            }
        }
    }

    /// Swaps everything back. Returns false if some of it could not be, or if one swap is `half`
    /// done already. Each failure becomes a failed check, so that it reaches the evidence, and is
    /// reported at once.
    fn undo(&mut self, half: bool) -> bool {
        let mut whole = !half;
        while let Some(swapped) = self.swapped.pop() {
            if let Err(error) = swapped.undo(&self.context.scrubber) {
                whole = false;
                self.context
                    .reporter
                    .warn(&format!("undoing the swap failed: {error}"));
                let (name, expected) = (Subject::word("undo"), "what was live is live again");
                self.checks
                    .push(CheckResult::failed(name, expected, &error));
            }
        }
        self.undone = Some(whole);
        if whole {
            // They were swapped back: nothing is there.
            self.places.clear();
            self.kept.clear();
        }
        whole
    }
}
