//! A real restore: to a directory, to another database, or onto the live application.
//!
//! Every verb here first makes a plan; without a target it is all that happens. Onto the live
//! application: a safety point is taken, what writes is stopped, everything is placed aside and
//! compared, and only then swapped in, source by source. What was there is kept beside it. When
//! the swap or a check afterwards fails, it is swapped back.

use super::checks::{self, Checked};
use super::fetch::{self, Fetched};
use super::{DatabaseTarget, Placed, Restored, Stopwatch, bring_back, place, staging};
use crate::backup::{self, author, host};
use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::{self, Activity, Appended, ProvedPoint, Record, Verdict};
use crate::point::{FileAttributes, ManifestSource, Outcome, PointId, Selector};
use crate::probe::{CheckOutcome, CheckResult, name_of};
use crate::secret::{Reference, Scrubber, Secret};
use crate::source::postgres;
use crate::transport::{Command, Transport};
use crate::verify::manifest_sha256;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where to restore to.
#[derive(Debug, Clone)]
pub enum Target {
    /// Into a directory that is new or empty.
    Directory(PathBuf),
    /// Into another database: the one source of the kind that fits.
    Database(Secret),
    /// Onto the configured application.
    Live,
}

impl Target {
    /// Reads `--to`: a path, a `postgres://` URL without a password, or a reference to a URL.
    pub fn parse(text: &str) -> Result<Self> {
        let url = |u: &str| u.starts_with("postgres://") || u.starts_with("postgresql://");
        if url(text) {
            let authority = text
                .split("://")
                .nth(1)
                .unwrap_or_default()
                .split('/')
                .next()
                .unwrap_or_default();
            if authority
                .rsplit_once('@')
                .is_some_and(|(user, _)| user.contains(':'))
            {
                return Err(Error::new(
                    Code::Usage,
                    "a password in --to can be seen by every user of this host",
                )
                .hint("put the URL into an environment variable and write --to env:NAME"));
            }
            return Ok(Target::Database(Secret::new(text.as_bytes().to_vec())));
        }
        if let Ok(reference) = Reference::parse(text) {
            let secret = reference.resolve()?;
            if secret.expose_str().is_ok_and(url) {
                return Ok(Target::Database(secret));
            }
            return Err(
                Error::new(Code::Usage, format!("{reference} holds no postgres:// URL"))
                    .hint("name a directory, a postgres:// URL, or a reference to one"),
            );
        }
        if text.is_empty() {
            return Err(Error::new(Code::Usage, "--to is empty")
                .hint("name a directory or a postgres:// URL"));
        }
        Ok(Target::Directory(PathBuf::from(text)))
    }
}

/// What a restore is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which point.
    pub point: Selector,
    /// Which sources; all when empty.
    pub sources: Vec<String>,
    /// From which store; the first with a sound copy when absent.
    pub store: Option<String>,
    /// Where to; without it, only the plan is made.
    pub target: Option<Target>,
    /// `APP/ENVIRONMENT`, for a live restore.
    pub confirm: Option<String>,
    /// Why, for a live restore.
    pub reason: Option<String>,
}

/// What a restore will do.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// Which point.
    pub point: PointId,
    /// From which store.
    pub store: String,
    /// What will be done, in order, a line each.
    pub steps: Vec<String>,
}

/// What a restore did.
#[derive(Debug)]
pub struct Report {
    /// The signed record, and where it is.
    pub evidence: Appended,
    /// Taken before a live restore.
    pub safety_point: Option<PointId>,
    /// Where each source is now.
    pub places: Vec<(String, String)>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// What [`run`] came to.
#[derive(Debug)]
pub enum Answer {
    /// No target was given: this is what would be done onto the live application.
    Planned(Planned),
    /// It was carried out; whether it succeeded is in the record.
    Done(Box<Report>),
}

/// Plans or carries out a restore.
pub fn run(context: &Context, options: &Options) -> Result<Answer> {
    crate::scratch::sweep(&context.scratch())?;
    let point = fetch::choose(context, &options.point, &[], options.store.as_deref())?;
    let fetched = fetch::fetch(context, &point, options.store.as_deref())?;
    let sources = choose_sources(&fetched, &options.sources)?;
    let Some(target) = &options.target else {
        return Ok(Answer::Planned(plan(context, &fetched, &sources)));
    };
    let mut restoring = Restoring::new(context, &fetched, sources);
    let attempt = match target {
        Target::Directory(directory) => {
            place::ensure_empty_or_new(directory)?;
            restoring.to_directory(directory)
        }
        Target::Database(url) => restoring.to_database(url),
        Target::Live => {
            confirm(context, options)?;
            let _restore = context.lock("restore")?.ok_or_else(|| {
                Error::new(Code::Busy, "another restore is running").hint("wait until it has ended")
            })?;
            restoring.onto_live(options.reason.clone())
        }
    };
    if let Err(error) = &attempt {
        restoring.checks.push(CheckResult {
            name: "restore".into(),
            expected: "every source comes back".into(),
            observed: error.to_string(),
            outcome: CheckOutcome::Failed,
        });
    }
    let report = restoring.report(target, options.reason.clone());
    attempt?;
    report.map(|r| Answer::Done(Box::new(r)))
}

fn choose_sources(fetched: &Fetched, wanted: &[String]) -> Result<Vec<ManifestSource>> {
    let held = &fetched.copy.manifest.sources;
    for name in wanted {
        if !held.iter().any(|s| &s.name == name) {
            let known: Vec<_> = held.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::new(
                Code::Usage,
                format!(
                    "point {} has no source named {name}",
                    fetched.copy.manifest.point
                ),
            )
            .hint(format!("it has: {}", known.join(", "))));
        }
    }
    let chosen = held
        .iter()
        .filter(|s| wanted.is_empty() || wanted.contains(&s.name));
    Ok(chosen
        .filter(|s| s.outcome != Outcome::Failed || !wanted.is_empty())
        .cloned()
        .collect())
}

fn confirm(context: &Context, options: &Options) -> Result<()> {
    let app = &context.config.app;
    let expected = format!("{}/{}", app.name, app.environment);
    let needs = |message: String| {
        Error::new(Code::NeedsConfirmation, message)
            .hint(format!("read the plan (lifeboat restore POINT), then add --live --confirm {expected} --reason TEXT"))
    };
    match &options.confirm {
        None => {
            return Err(needs(format!(
                "a live restore of {expected} needs --confirm"
            )));
        }
        Some(given) if *given != expected => {
            return Err(needs(format!(
                "--confirm says {given}, this configuration is of {expected}"
            )));
        }
        Some(_) => {}
    }
    if options
        .reason
        .as_deref()
        .is_none_or(|r| r.trim().is_empty())
    {
        return Err(needs("a live restore needs --reason".into()));
    }
    Ok(())
}

/// What a live restore would do. Nothing is changed.
fn plan(context: &Context, fetched: &Fetched, sources: &[ManifestSource]) -> Planned {
    let manifest = &fetched.copy.manifest;
    let mut steps = vec![format!("take a safety point by plan {}", manifest.plan)];
    let restore = &context.config.restore;
    steps.extend(restore.stop.iter().map(|c| format!("run {}", c.join(" "))));
    for source in sources {
        let place = match context.config.source.get(&source.name).map(|s| &s.kind) {
            Some(SourceKind::Files(files)) => {
                let paths = files.paths.iter().chain(&files.optional);
                paths
                    .map(|p| p.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            Some(SourceKind::Sqlite(sqlite)) => sqlite.path.display().to_string(),
            Some(SourceKind::Postgres(config)) => postgres::Connection::from_config(config)
                .map_or_else(|e| format!("its database ({e})"), |c| c.display()),
            Some(SourceKind::Command(_)) => {
                "a file, since a command's output has no place of its own".into()
            }
            None => "nowhere: the configuration no longer has it".into(),
        };
        steps.push(format!(
            "fetch source {} ({}), place it aside, compare it with the manifest",
            source.name, source.kind
        ));
        steps.push(format!(
            "swap it in: {place}; what is there now is kept beside it"
        ));
    }
    steps.extend(
        restore
            .start
            .iter()
            .chain(&restore.after)
            .map(|c| format!("run {}", c.join(" "))),
    );
    steps.extend(
        restore
            .checks
            .iter()
            .map(|c| format!("check {}; if it fails, swap everything back", name_of(c))),
    );
    steps.push("sign the evidence".into());
    Planned {
        point: manifest.point.clone(),
        store: fetched.store.name.clone(),
        steps,
    }
}

/// Something that was swapped in, and can be swapped back.
enum Swapped {
    Path(place::Swap),
    Database {
        admin: postgres::Connection,
        live: String,
        aside: String,
        keep: String,
    },
}

impl Swapped {
    fn undo(self, scrubber: &Scrubber) -> Result<()> {
        match self {
            Swapped::Path(swap) => swap.undo(),
            Swapped::Database {
                admin,
                live,
                aside,
                keep,
            } => {
                // What was live goes back to its name, what was restored to its own.
                postgres::swap_databases(&admin, &live, &keep, &aside, scrubber)
            }
        }
    }
}

/// A restore under way.
struct Restoring<'a> {
    context: &'a Context,
    fetched: &'a Fetched,
    sources: Vec<ManifestSource>,
    begun: Instant,
    started: jiff::Timestamp,
    watch: Stopwatch,
    restored: Vec<Restored>,
    checks: Vec<CheckResult>,
    places: Vec<(String, String)>,
    warnings: Vec<String>,
    limits: Vec<String>,
    swapped: Vec<Swapped>,
    /// Directories above live places that were missing and were made.
    made: Vec<PathBuf>,
    /// What was swapped in was swapped back.
    undone: bool,
    safety_point: Option<PointId>,
}

impl<'a> Restoring<'a> {
    fn new(context: &'a Context, fetched: &'a Fetched, sources: Vec<ManifestSource>) -> Self {
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
            undone: false,
            safety_point: None,
        }
    }

    fn to_directory(&mut self, directory: &Path) -> Result<()> {
        staging::create_directory(directory)?;
        let directory = directory
            .canonicalize()
            .map_err(|e| Error::io("the target cannot be found", &e))?;
        for source in self.sources.clone() {
            self.bring(&source, &directory, &mut DatabaseTarget::Dump)?;
        }
        Ok(())
    }

    fn to_database(&mut self, url: &Secret) -> Result<()> {
        let databases: Vec<_> = self
            .sources
            .iter()
            .filter(|s| s.kind == "postgres")
            .cloned()
            .collect();
        let [source] = databases.as_slice() else {
            let names: Vec<_> = databases.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::new(
                Code::Usage,
                format!("{} PostgreSQL sources fit, one is needed", databases.len()),
            )
            .cause(names.join(", "))
            .hint("name it: --source NAME"));
        };
        self.context.scrubber.learn(url);
        let connection = postgres::Connection::from_url(url)?;
        let source = source.clone();
        self.sources = vec![source.clone()];
        self.bring(
            &source,
            &self.context.scratch(),
            &mut DatabaseTarget::Given(connection),
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
            .push((source.name.clone(), restored.placed.describe()));
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

    /// Everything is placed aside and compared while the application still runs; then it is
    /// stopped, swapped, started and asked.
    fn onto_live(&mut self, reason: Option<String>) -> Result<()> {
        let mut swaps: Vec<PreparedSwap> = Vec::new();
        let prepared = self.prepare_all(&mut swaps);
        let done = prepared.and_then(|()| {
            self.take_safety_point(reason);
            self.swap_all(&swaps)
        });
        let nothing_changed = done.is_err() || self.undone;
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
        for swap in swaps {
            let kept = swap.kept();
            self.warnings.push(format!(
                "source {}: what was live before is kept as {kept}",
                swap.source
            ));
        }
        self.move_to_live();
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
            plan: Some(self.fetched.copy.manifest.plan.clone()),
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
    fn move_to_live(&mut self) {
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
                Some(SourceKind::Postgres(config)) => {
                    if let Ok(connection) = postgres::Connection::from_config(config) {
                        restored.placed = Placed::Database(connection);
                    }
                }
                Some(SourceKind::Command(_)) | None => {}
            }
            if let Some(place) = self
                .places
                .iter_mut()
                .find(|(name, _)| name == &restored.source)
            {
                place.1 = match kind {
                    Some(kind @ SourceKind::Files(_)) => crate::source::roots(kind).join(", "),
                    _ => restored.placed.describe(),
                };
            }
        }
    }

    /// Swaps everything back; whether all of it could be. What could not is a failed check, so
    /// that it reaches the evidence, and is told at once.
    fn undo(&mut self) -> bool {
        self.undone = true;
        while let Some(swapped) = self.swapped.pop() {
            if let Err(error) = swapped.undo(&self.context.scrubber) {
                self.undone = false;
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
        self.undone
    }

    fn prepare(&mut self, source: &ManifestSource) -> Result<Vec<PreparedSwap>> {
        let config = self
            .context
            .config
            .source
            .get(&source.name)
            .ok_or_else(|| {
                Error::new(
                    Code::Target,
                    format!(
                        "source {} is not in the configuration any more",
                        source.name
                    ),
                )
                .hint("restore it with --to, or put it back into the configuration")
            })?;
        let point = self.fetched.copy.manifest.point.clone();
        match config.kind.clone() {
            SourceKind::Files(files) => {
                let roots: Vec<_> = files.paths.iter().chain(&files.optional).cloned().collect();
                self.prepare_paths(source, &roots, &point)
            }
            SourceKind::Sqlite(sqlite) => self.prepare_paths(source, &[sqlite.path], &point),
            SourceKind::Postgres(config) => self.prepare_database(source, &config, &point),
            SourceKind::Command(_) => {
                let text = "a command's output has no live place; restore it with --to and load it by hand";
                self.warnings
                    .push(format!("source {}: {text}", source.name));
                Ok(vec![])
            }
        }
    }

    fn prepare_paths(
        &mut self,
        source: &ManifestSource,
        roots: &[PathBuf],
        point: &PointId,
    ) -> Result<Vec<PreparedSwap>> {
        let Some(first) = roots.first() else {
            return Ok(vec![]);
        };
        one_file_system(&source.name, roots)?;
        let made = staging::make_above(roots)?;
        self.made.extend(made.iter().cloned());
        let staging = place::aside_path(first, &format!("{point}-{}", source.name));
        staging::create_directory(&staging)?;
        let mut swaps = vec![];
        let brought = self.bring(source, &staging, &mut DatabaseTarget::Dump);
        if let Err(error) = brought {
            staging::remove(&staging);
            return Err(error);
        }
        let placed = self.restored.last().map(|r| r.placed.clone());
        self.adopt_directories(source, &made, placed.as_ref())?;
        for root in roots {
            let aside = match &placed {
                Some(Placed::Tree(tree)) => tree.join(root.strip_prefix("/").unwrap_or(root)),
                Some(Placed::File(file)) => file.clone(),
                _ => continue,
            };
            if aside.symlink_metadata().is_err() {
                continue;
            }
            self.adopt_attributes(source, &aside)?;
            swaps.push(PreparedSwap {
                source: source.name.clone(),
                staging: Some(staging.clone()),
                what: What::Path {
                    aside,
                    live: root.clone(),
                    keep: staging::keep_path(root, point.as_str()),
                },
            });
        }
        Ok(swaps)
    }

    /// Directories above a live place that were gone get the attributes they had at capture. A
    /// database tells nothing of them: they become its owner's.
    fn adopt_directories(
        &mut self,
        source: &ManifestSource,
        made: &[PathBuf],
        placed: Option<&Placed>,
    ) -> Result<()> {
        let details = self.fetched.details.as_ref().ok();
        let database = details.and_then(|d| d.artifact(&source.name, "database")?.attributes);
        for directory in made {
            let captured = match placed {
                Some(Placed::Tree(tree)) => staging::attributes(
                    &tree.join(directory.strip_prefix("/").unwrap_or(directory)),
                ),
                _ => database.map(|d| FileAttributes { mode: 0o750, ..d }),
            };
            let mut warning = format!(
                "the directory {} was missing and was made",
                directory.display()
            );
            if let Some(attributes) = captured
                && let Some(more) = staging::apply_attributes(directory, attributes)?
            {
                warning = format!("{warning}; {more}");
            }
            self.warnings
                .push(format!("source {}: {warning}", source.name));
        }
        Ok(())
    }

    /// A database file gets the mode and owner it had at capture, before it is swapped in.
    fn adopt_attributes(&mut self, source: &ManifestSource, aside: &Path) -> Result<()> {
        let details = self.fetched.details.as_ref().ok();
        let known = details.and_then(|d| d.artifact(&source.name, "database")?.attributes);
        if let Some(attributes) = known {
            let warning = staging::apply_attributes(aside, attributes)?;
            self.warnings
                .extend(warning.map(|w| format!("source {}: {w}", source.name)));
        }
        Ok(())
    }

    fn prepare_database(
        &mut self,
        source: &ManifestSource,
        config: &crate::config::PostgresConfig,
        point: &PointId,
    ) -> Result<Vec<PreparedSwap>> {
        let live = postgres::Connection::from_config(config)?;
        let name = live.database().unwrap_or("postgres").to_owned();
        let suffix = point.as_str().to_lowercase().replace('-', "_");
        let (aside, keep) = (
            format!("{name}_restored_{suffix}"),
            format!("{name}_before_{suffix}"),
        );
        let admin = live.with_database("postgres");
        let captured = self
            .fetched
            .details
            .as_ref()
            .ok()
            .and_then(|d| d.artifact(&source.name, "dump"));
        postgres::create_database(
            &admin,
            &aside,
            captured.map(|d| &d.proof),
            &self.context.scrubber,
        )?;
        let mut target = DatabaseTarget::Given(live.with_database(&aside));
        if let Err(error) = self.bring(source, &self.context.scratch(), &mut target) {
            let _ = postgres::drop_database(&admin, &aside, &self.context.scrubber);
            return Err(error);
        }
        Ok(vec![PreparedSwap {
            source: source.name.clone(),
            staging: None,
            what: What::Database {
                admin,
                live: name,
                aside,
                keep,
            },
        }])
    }

    fn report(self, target: &Target, reason: Option<String>) -> Result<Report> {
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
                Target::Live => format!("live: {}/{}", app.name, app.environment),
            }),
            points: vec![ProvedPoint {
                point: manifest.point.clone(),
                plan: manifest.plan.clone(),
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

/// Swapping is a rename, which stays within one file system.
fn one_file_system(source: &str, roots: &[PathBuf]) -> Result<()> {
    let device = |path: &PathBuf| {
        let parent = path
            .ancestors()
            .skip(1)
            .find_map(|p| std::fs::metadata(p).ok())?;
        Some(std::os::unix::fs::MetadataExt::dev(&parent))
    };
    let devices: std::collections::BTreeSet<_> = roots.iter().map(device).collect();
    if devices.len() <= 1 {
        return Ok(());
    }
    Err(Error::new(
        Code::Target,
        format!(
            "the paths of source {source} lie on several file systems, and cannot be swapped as one"
        ),
    )
    .hint("restore it with --to DIRECTORY and move each path by hand, or make it several sources"))
}

/// Something that lies ready beside the live thing.
struct PreparedSwap {
    source: String,
    staging: Option<PathBuf>,
    what: What,
}

enum What {
    Path {
        aside: PathBuf,
        live: PathBuf,
        keep: PathBuf,
    },
    Database {
        admin: postgres::Connection,
        live: String,
        aside: String,
        keep: String,
    },
}

impl PreparedSwap {
    fn carry_out(&self, scrubber: &Scrubber) -> Result<Swapped> {
        match &self.what {
            What::Path { aside, live, keep } => {
                place::swap_in(aside, live, keep).map(Swapped::Path)
            }
            What::Database {
                admin,
                live,
                aside,
                keep,
            } => {
                postgres::swap_databases(admin, live, aside, keep, scrubber)?;
                Ok(Swapped::Database {
                    admin: admin.clone(),
                    live: live.clone(),
                    aside: aside.clone(),
                    keep: keep.clone(),
                })
            }
        }
    }

    fn kept(&self) -> String {
        match &self.what {
            What::Path { keep, .. } => keep.display().to_string(),
            What::Database { keep, .. } => format!("database {keep}"),
        }
    }

    /// Removes what is left aside: nothing of value once the swap is done, and all of it when it
    /// failed.
    fn clean(&self, failed: bool, scrubber: &Scrubber) {
        if let Some(staging) = &self.staging {
            staging::remove(staging);
        }
        if failed && let What::Database { admin, aside, .. } = &self.what {
            let _ = postgres::drop_database(admin, aside, scrubber);
        }
    }
}
