//! A restore under way: places, compares, swaps, undoes, and reports.
//!
//! Nothing live is touched before everything lies ready beside it and equals what was captured.

mod buckets;
mod prepare;

use super::checks::{self, Checked};
use super::fetch::Fetched;
use super::live::{Report, Target};
use super::place::Within;
use super::swap::{PreparedSwap, Swapped};
use super::{
    Database, DatabaseTarget, Placed, Restored, Stopwatch, bring_back, fits, half_way, place,
    staging,
};
use crate::backup::{self, author, host};
use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::{self, Activity, ProvedPoint, Record, Verdict};
use crate::name::Name;
use crate::point::{ManifestSource, PointId};
use crate::probe::{CheckOutcome, CheckResult};
use crate::secret::Secret;
use crate::transport::{Command, Transport};
use crate::verify::manifest_sha256;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A restore under way.
pub(super) struct Restoring<'a> {
    context: &'a Context,
    fetched: &'a Fetched,
    sources: Vec<ManifestSource>,
    begun: Instant,
    started: jiff::Timestamp,
    watch: Stopwatch,
    restored: Vec<Restored>,
    pub checks: Vec<CheckResult>,
    places: Vec<(String, String)>,
    warnings: Vec<String>,
    limits: Vec<String>,
    swapped: Vec<Swapped>,
    /// Directories above live places that were missing and were made.
    made: Vec<PathBuf>,
    /// Whether what was swapped in was swapped back, once that was tried.
    undone: Option<bool>,
    safety_point: Option<PointId>,
}

impl<'a> Restoring<'a> {
    pub fn new(context: &'a Context, fetched: &'a Fetched, sources: Vec<ManifestSource>) -> Self {
        Restoring {
            context,
            fetched,
            sources,
            begun: Instant::now(),
            started: context.clock.now(),
            watch: Stopwatch::default(),
            restored: vec![],
            checks: vec![],
            places: vec![],
            warnings: vec![],
            limits: vec![],
            swapped: vec![],
            made: vec![],
            undone: None,
            safety_point: None,
        }
    }

    /// The names of the sources that are to come back.
    pub fn source_names(&self) -> Vec<Name> {
        self.sources.iter().map(|s| s.name.clone()).collect()
    }

    /// Brings each source into a directory of its own. One that fails leaves nothing there and does
    /// not stop the others; an error means that none came back.
    pub fn restore_to_directory(&mut self, directory: &Path) -> Result<()> {
        staging::create_directory(directory)?;
        let directory = directory
            .canonicalize()
            .map_err(|e| Error::io("the target cannot be found", &e))?;
        let mut failed = Vec::new();
        let within = Within::open(&directory)?;
        for source in self.sources.clone() {
            let own = Path::new(source.name.as_str());
            // What was there before is not ours to remove.
            let is_new = within.look(own)?.is_none();
            if let Err(error) = self.bring(&source, &directory, &mut DatabaseTarget::Dump) {
                if is_new {
                    within.remove(own);
                }
                failed.push((source.name, error));
            }
        }
        if self.restored.is_empty() {
            return failed.into_iter().next().map_or(Ok(()), |(_, e)| Err(e));
        }
        for (source, error) in failed {
            let hint = error.hint.iter();
            self.warnings
                .extend(hint.map(|hint| format!("source {source}: {hint}")));
            self.checks.push(CheckResult {
                name: format!("{source}: content"),
                expected: "it comes back".into(),
                observed: error.to_string(),
                outcome: CheckOutcome::Failed,
            });
        }
        place::sync_tree(&directory)
    }

    pub fn restore_to_database(&mut self, url: &Secret) -> Result<()> {
        let text = url.expose_str()?;
        let databases: Vec<_> = self
            .sources
            .iter()
            .filter(|s| fits(&s.kind, text))
            .cloned()
            .collect();
        let [source] = databases.as_slice() else {
            if databases.is_empty() {
                let scheme = text.split(':').next().unwrap_or_default();
                let message =
                    format!("no source that is to be restored fits a {scheme}:// database");
                return Err(Error::new(Code::Usage, message)
                    .hint("name a database of the kind that was captured, or a directory"));
            }
            let names: Vec<_> = databases.iter().map(|s| s.name.as_str()).collect();
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
        let database = Database::from_url(url, &source.kind)?;
        let source = source.clone();
        self.sources = vec![source.clone()];
        self.bring(
            &source,
            &self.context.scratch(),
            &mut DatabaseTarget::Given(database),
        )
    }

    /// Places one source and notes how it compares. An error here is one of the restore.
    fn bring(
        &mut self,
        source: &ManifestSource,
        directory: &Path,
        databases: &mut DatabaseTarget<'_>,
    ) -> Result<()> {
        let restored = bring_back(
            self.context,
            self.fetched,
            source,
            directory,
            databases,
            &mut self.watch,
        )?;
        self.places
            .push((source.name.to_string(), restored.placed.describe()));
        let prefixed = |text: &String| format!("source {}: {text}", source.name);
        self.warnings.extend(restored.warnings.iter().map(prefixed));
        self.limits.extend(restored.limits.iter().map(prefixed));
        let name = format!("{}: content", source.name);
        match &restored.differences {
            Some(differences) => {
                self.checks
                    .push(checks::content(name, &restored.summary, differences))
            }
            None => self.checks.push(CheckResult {
                name,
                expected: "equal to what was captured".into(),
                observed: "it was written, and cannot be compared as it is".into(),
                outcome: CheckOutcome::Unknown,
            }),
        }
        self.restored.push(restored);
        Ok(())
    }

    /// Makes whole what an earlier live restore that was ended left half-way.
    pub fn recover(&mut self) -> Result<()> {
        let sources = self.sources.iter().map(|source| source.name.as_str());
        self.warnings
            .extend(half_way::recover(self.context, sources)?);
        Ok(())
    }

    /// Everything is placed aside and compared while the application still runs; then it is
    /// stopped, swapped, started and asked.
    pub fn onto_live(&mut self, reason: Option<String>) -> Result<()> {
        let mut swaps: Vec<PreparedSwap> = Vec::new();
        let prepared = self.prepare_all(&mut swaps);
        let done = prepared.and_then(|()| {
            self.take_safety_point(reason);
            self.swap_all(&swaps)
        });
        if self.undone == Some(false) {
            // Only a person can tell now which of what lies there is still needed.
            return done;
        }
        let nothing_changed = done.is_err() || self.undone == Some(true);
        for swap in &swaps {
            swap.clean(nothing_changed, &self.context.scrubber);
        }
        if nothing_changed {
            staging::remove_empty(&self.made);
        }
        done
    }

    fn prepare_all(&mut self, swaps: &mut Vec<PreparedSwap>) -> Result<()> {
        for source in self.sources.clone() {
            swaps.extend(self.prepare(&source)?);
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
                    .cause(&check.observed)
                    .hint(
                        "nothing live was changed; choose another point or another copy (--store)",
                    ))
            }
        }
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
            self.undo();
            let _ = self.run_all(&restore.start);
            return Err(error);
        }
        for (swap, swapped) in swaps.iter().zip(&self.swapped) {
            if let Some(kept) = swapped.kept() {
                let text = format!(
                    "source {}: what was live before is kept as {kept}",
                    swap.source
                );
                self.warnings.push(text);
            }
        }
        self.move_to_live(swaps);
        if let Err(error) = self
            .run_all(&restore.start)
            .and_then(|()| self.run_all(&restore.after))
        {
            self.checks.push(CheckResult {
                name: "start".into(),
                expected: "every command succeeds".into(),
                observed: error.to_string(),
                outcome: CheckOutcome::Failed,
            });
        }
        let checked = Checked {
            context: self.context,
            restored: &self.restored,
            points: std::slice::from_ref(self.fetched),
            directory: Path::new("/"),
        };
        let results: Vec<_> = restore
            .checks
            .iter()
            .map(|check| checks::run(&checked, check))
            .collect();
        self.checks.extend(results);
        if self
            .checks
            .iter()
            .any(|c| c.outcome == CheckOutcome::Failed)
        {
            let _ = self.run_all(&restore.stop);
            if self.undo() {
                let text = "a check failed after the swap: what was live before is live again";
                self.warnings.push(text.into());
            }
            let _ = self.run_all(&restore.start);
        }
        Ok(())
    }

    /// A point of what is live now. That it fails must not stop a restore of something broken:
    /// what is live is also kept beside what is swapped in.
    fn take_safety_point(&mut self, reason: Option<String>) {
        let options = backup::Options {
            safety: true,
            plan: Some(self.fetched.copy.manifest.plan.to_string()),
            reason: Some(format!(
                "before the restore of {}: {}",
                self.fetched.copy.manifest.point,
                reason.unwrap_or_default()
            )),
        };
        let taken = self
            .watch
            .time("safety point", || backup::run(self.context, &options));
        match taken {
            Ok(report) if !report.stores.is_empty() => self.safety_point = Some(report.point),
            Ok(report) => {
                let why = report
                    .failure
                    .map_or_else(|| report.errors.join("; "), |e| e.to_string());
                self.warnings
                    .push(format!("no safety point could be taken: {why}"));
            }
            Err(error) => self
                .warnings
                .push(format!("no safety point could be taken: {error}")),
        }
    }

    fn run_all(&mut self, commands: &[Vec<String>]) -> Result<()> {
        for words in commands {
            let Some((program, arguments)) = words.split_first() else {
                continue;
            };
            self.context.observer.step(&words.join(" "), None);
            // An interrupted restore must still start what it stopped.
            let command = Command::new(program)
                .args(arguments)
                .scrub_with(&self.context.scrubber)
                .cleanup();
            let output = self
                .watch
                .time(words.join(" "), || Transport::Local.output(&command))?;
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

    /// After the swap, checks ask what is live.
    fn move_to_live(&mut self, swaps: &[PreparedSwap]) {
        // The swap woke them.
        self.warnings
            .retain(|warning| !warning.ends_with(crate::source::mariadb::EVENTS_SLEEP));
        for restored in &mut self.restored {
            let kind = self
                .context
                .config
                .source
                .get(&restored.source)
                .map(|s| &s.kind);
            match kind {
                Some(SourceKind::Files(_)) => restored.placed = Placed::Tree("/".into()),
                Some(SourceKind::Sqlite(sqlite)) => {
                    restored.placed = Placed::File(sqlite.path.clone())
                }
                Some(kind) => {
                    if let Some(Ok(database)) = Database::of_source(kind) {
                        restored.placed = Placed::Database(database);
                    }
                }
                None => {}
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

    /// Swaps everything back; whether all of it could be. What could not is a failed check, so
    /// that it reaches the evidence, and is told at once.
    fn undo(&mut self) -> bool {
        let mut whole = true;
        while let Some(swapped) = self.swapped.pop() {
            if let Err(error) = swapped.undo(&self.context.scrubber) {
                whole = false;
                self.context
                    .observer
                    .warn(&format!("undoing the swap failed: {error}"));
                self.checks.push(CheckResult {
                    name: "undo".into(),
                    expected: "what was live is live again".into(),
                    observed: error.to_string(),
                    outcome: CheckOutcome::Failed,
                });
            }
        }
        self.undone = Some(whole);
        whole
    }

    pub fn report(self, target: &Target, reason: Option<String>) -> Result<Report> {
        let manifest = &self.fetched.copy.manifest;
        let failed = self
            .checks
            .iter()
            .any(|c| c.outcome == CheckOutcome::Failed);
        let unknown = self
            .checks
            .iter()
            .any(|c| c.outcome == CheckOutcome::Unknown);
        let outcome = match (failed, unknown) {
            (true, _) => Verdict::Failed,
            (false, true) => Verdict::Restored,
            (false, false) => Verdict::Verified,
        };
        let app = &self.context.config.app;
        let draft = Record {
            schema: 1,
            id: PointId::new(&self.context.clock),
            sequence: 0,
            previous: None,
            signer: String::new(),
            activity: Activity::Restore,
            app: app.name.clone(),
            environment: app.environment.clone(),
            owner: app.owner.clone(),
            author: author(),
            host: host(),
            lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
            drill: None,
            reason,
            target: Some(match target {
                Target::Directory(directory) => directory.display().to_string(),
                Target::Database(_) => self
                    .places
                    .first()
                    .map_or_else(String::new, |(_, p)| p.clone()),
                Target::Bucket(_) => self
                    .places
                    .first()
                    .map_or_else(String::new, |(_, p)| p.clone()),
                Target::Live => format!("live: {}/{}", app.name, app.environment),
            }),
            points: vec![ProvedPoint {
                point: manifest.point.clone(),
                plan: Some(manifest.plan.clone()),
                store: Some(self.fetched.store.name.clone()),
                manifest_sha256: Some(manifest_sha256(&self.fetched.copy)),
                sources: self.sources.iter().map(|s| s.name.clone()).collect(),
            }],
            started: self.started,
            finished: self.context.clock.now(),
            outcome,
            checks: self.checks,
            limits: self.limits,
            phases: self.watch.phases,
            rto_seconds: (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            rpo_seconds: (self.started.as_second() - manifest.point.time().as_second()).max(0)
                as f64,
            rto_target_seconds: app.rto.map(|s| s.seconds),
            rpo_target_seconds: app.rpo.map(|s| s.seconds),
        };
        Ok(Report {
            evidence: evidence::append(self.context, draft)?,
            safety_point: self.safety_point,
            places: self.places,
            warnings: self.warnings,
        })
    }
}
