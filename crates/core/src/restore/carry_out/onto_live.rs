//! A restore onto the live application: places everything beside it, swaps it in, starts, asks the checks, and swaps
//! back if one fails.
//!
//! Guarantees: nothing live is touched before everything is staged beside it, equals what was captured, and stands in
//! the journal; each swap is noted before it is begun and once it is made.

use super::{Restoring, is_aside, run_command};
use crate::backup;
use crate::config::SourceKind;
use crate::error::{Code, Error, Fact, Result};
use crate::host::author;
use crate::name::Name;
use crate::probe::{CheckOutcome, CheckResult, Subject};
use crate::restore::checks::{self, Checked};
use crate::restore::journal::{Journal, Kept, NotedPoint, NotedSource, Told};
use crate::restore::swap::{Done, PreparedSwap, Swapped};
use crate::restore::{Restored, application, interrupted, leftovers, open};
use crate::restoring::Stage;
use crate::source::Placed;
use crate::staging;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

impl Restoring<'_> {
    /// Takes back restores that were interrupted while something of them was live, makes swaps whole that no journal
    /// tells of, and removes the copies that stand aside.
    pub fn recover(&mut self) -> Result<()> {
        self.warnings
            .extend(open::take_back_interrupted(self.context)?);
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
        let points = self.points.iter().map(NotedPoint::of).collect();
        let sources = self.source_names();
        let begun = Journal::begin(self.context, points, sources, reason.clone(), unproven)?;
        self.journal = Some(begun);
        let mut swaps: Vec<PreparedSwap> = Vec::new();
        let prepared = self.prepare_all(&mut swaps);
        let done = prepared.and_then(|()| {
            self.take_safety_points(reason);
            self.note_swaps(&swaps)?;
            self.swap_all(&swaps)
        });
        self.tidy(&swaps, &done);
        done
    }

    /// Notes all that is about to be swapped in, durably: from here on another process can go on.
    fn note_swaps(&mut self, swaps: &[PreparedSwap]) -> Result<()> {
        let context = self.context;
        swaps.iter().try_for_each(PreparedSwap::sync)?;
        let noted = swaps.iter().map(|swap| swap.note(&context.scrubber));
        let noted = noted.collect::<Result<Vec<_>>>()?;
        let compared = self.restored.iter().map(|restored| NotedSource {
            name: restored.source.clone(),
            kind: restored.kind.into(),
            is_equal: restored.is_equal(),
            summary: restored.summary.clone(),
            limits: restored.limits.clone(),
            rows: self.rows(&restored.source),
        });
        let compared = compared.collect();
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.compared = compared;
        journal.swaps = noted;
        journal.told = Told {
            limits: self.limits.clone(),
            warnings: self.warnings.clone(),
            left: self.left.clone(),
        };
        journal.safety_points.clone_from(&self.safety_points);
        journal.made.clone_from(&self.made);
        journal.stopped = Some(context.clock.now());
        journal.at(context, Stage::Swapping)?;
        // The journal has them now.
        let points = self.points.iter().map(|p| p.copy.manifest.point.clone());
        leftovers::hand_over(context, &points.collect::<Vec<_>>())
    }

    /// Goes on with a restore that was interrupted, whose first swaps are made.
    pub fn go_on(&mut self, journal: Journal, swapped: Vec<Swapped>) -> Result<()> {
        let context = self.context;
        let ago = |at: Timestamp| {
            let since = context.clock.now().duration_since(at);
            Instant::now().checked_sub(since.try_into().unwrap_or_default())
        };
        self.begun = ago(journal.restore.begun).unwrap_or(self.begun);
        self.stopped = journal.stopped.and_then(ago);
        self.started = journal.restore.begun;
        self.unproven = journal.unproven;
        self.safety_points.clone_from(&journal.safety_points);
        self.made.clone_from(&journal.made);
        for noted in &journal.compared {
            let kind = noted.kind.known(&noted.name)?;
            let config = context.config.source.get(&noted.name);
            let placed = config.and_then(|config| checks::placed_live(&config.kind));
            self.keep(Restored {
                source: noted.name.clone(),
                kind,
                placed: placed.unwrap_or_else(|| Placed::Tree("/".into())),
                differences: noted.is_equal.then(Vec::new),
                limits: noted.limits.clone(),
                warnings: vec![],
                summary: noted.summary.clone(),
            });
        }
        // What was told of the sources is in it.
        self.limits.clone_from(&journal.told.limits);
        self.warnings.clone_from(&journal.told.warnings);
        self.left.clone_from(&journal.told.left);
        self.warnings.push(format!(
            "the restore was interrupted, and {} went on with it",
            author()
        ));
        let first = swapped.len();
        let mut swaps = Vec::new();
        for (number, noted) in journal.swaps.iter().enumerate() {
            if number >= first && !noted.is_staged(context)? {
                let message = format!(
                    "what is to be swapped in of source {} is not there any more",
                    noted.source
                );
                return Err(Error::new(Code::Target, message).hint(format!(
                    "take the restore back: lifeboat restores undo {}",
                    journal.restore.id
                )));
            }
            swaps.push(noted.prepared(context)?);
        }
        self.swapped = swapped;
        let stage = journal.restore.stage;
        self.journal = Some(journal);
        let done = match stage {
            Stage::Swapped => self.follow(&swaps),
            _ => self.swap_all(&swaps),
        };
        self.tidy(&swaps, &done);
        done
    }

    /// Removes what is needed no more, once it is over.
    fn tidy(&mut self, swaps: &[PreparedSwap], done: &Result<()>) {
        if self.undone == Some(false) {
            // The journal stays: it says what is where.
            return;
        }
        let nothing_changed = done.is_err() || self.undone == Some(true);
        for swap in swaps {
            let stays = swap.clean(nothing_changed, &self.context.scrubber);
            self.warn_of(stays);
        }
        if nothing_changed {
            staging::remove_empty(&self.made);
            let journal = self.journal.take();
            let forgotten = journal.map(|journal| journal.forget(&self.context.state));
            self.warnings
                .extend(forgotten.and_then(Result::err).map(|e| e.to_string()));
        }
        if let Err(error) = leftovers::strike_out(self.context) {
            self.warnings.push(error.to_string());
        }
    }

    /// Rows of each table of a source, as they were captured.
    fn rows(&self, source: &Name) -> BTreeMap<String, u64> {
        let wanted = self.wanted.iter().find(|wanted| wanted.name() == source);
        let details = wanted.and_then(|wanted| wanted.fetched.details.as_ref().ok());
        let of_source = details.into_iter().flat_map(|details| &details.artifacts);
        let of_source = of_source.filter(|artifact| artifact.source == *source);
        of_source
            .flat_map(|artifact| checks::counts(&artifact.proof))
            .collect()
    }

    /// Notes that a swap begins, and what is live now: what was stopped may have replaced it while it ended.
    fn begin(&mut self, number: usize, swap: &PreparedSwap) -> Result<()> {
        let noted = swap.note(&self.context.scrubber)?;
        if let Some(journal) = &mut self.journal
            && let Some(place) = journal.swaps.get_mut(number)
        {
            *place = noted;
        }
        self.note(number, Done::Begun)
    }

    /// Notes how far a swap came.
    fn note(&mut self, number: usize, done: Done) -> Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        if let Some(swap) = journal.swaps.get_mut(number) {
            swap.done = done;
        }
        journal.write(&self.context.state)
    }

    fn note_stage(&mut self, stage: Stage) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.at(self.context, stage),
            None => Ok(()),
        }
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
        self.stopped.get_or_insert_with(Instant::now);
        let swapped = self.run_all(&restore.stop).and_then(|()| {
            let first = self.swapped.len();
            let left = swaps.iter().enumerate().skip(first);
            left.into_iter().try_for_each(|(number, swap)| {
                self.begin(number, swap)?;
                let scrubber = &self.context.scrubber;
                let what = format!("swap {}", swap.source);
                let swapped = self.watch.time(what, || swap.carry_out(scrubber))?;
                self.swapped.push(swapped);
                self.note(number, Done::Whole)
            })?;
            if let Some(journal) = &mut self.journal {
                journal.restore.swapped = Some(self.context.clock.now());
            }
            self.note_stage(Stage::Swapped)
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
        self.follow(swaps)
    }

    /// Does what follows a swap: starts, asks the checks, and swaps back if one fails.
    fn follow(&mut self, swaps: &[PreparedSwap]) -> Result<()> {
        let restore = self.context.config.restore.clone();
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
        self.downtime = self.stopped.map(|stopped| {
            let down = stopped.elapsed().as_secs_f64();
            (down * 1000.0).round() / 1000.0
        });
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
    pub(super) fn take_safety_points(&mut self, reason: Option<String>) {
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
    pub(super) fn named_points(&self) -> String {
        application::join_ids(self.points.iter().map(|p| &p.copy.manifest.point))
    }

    pub(super) fn run_all(&mut self, commands: &[Vec<String>]) -> Result<()> {
        for words in commands {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            // Arguments may hold data, and phases appear in clear in the evidence.
            self.watch.time(format!("command {program}"), || {
                run_command(self.context, program, arguments)
            })?;
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
        if let Err(error) = self.note_stage(Stage::Undoing) {
            self.warnings.push(error.to_string());
        }
        while let Some(swapped) = self.swapped.pop() {
            let number = self.swapped.len();
            let begun = self.note(number, Done::Begun);
            self.warnings.extend(begun.err().map(|e| e.to_string()));
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
