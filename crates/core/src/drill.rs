//! Rehearsal of a restore: restores points into throwaway targets by the same code as a real
//! restore, compares them, runs the configured checks, and adds a signed record to the evidence.
//!
//! It has no restore or comparison code of its own. The throwaway targets are always removed
//! afterwards; the next drill removes those of a run that was killed.

use crate::cancel;
use crate::config::{CheckConfig, Config, DrillConfig, When};
use crate::context::Context;
use crate::copies::manifest_sha256;
use crate::error::{Code, Error, Result};
use crate::evidence::{
    self, Activity, Appended, Facts, Phase, ProvedPoint, Record, ShownCheck, Verdict,
};
use crate::exit::Exit;
use crate::fetch::{self, Fetched};
use crate::machines;
use crate::name::Name;
use crate::point::{self, OnlyPartial, Outcome, PointId, Selector, age_limit};
use crate::probe::{CheckOutcome, CheckResult, Subject, name_of};
use crate::restore::checks::{self, Checked};
use crate::restore::{Restored, Stopwatch, bring_back, held};
use crate::runbook;
use crate::scratch;
use crate::source::machine;
use crate::source::{ScratchServers, Target};
use crate::span::Span;
use crate::status;
use crate::survey;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// Options of a drill.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name of the drill in the configuration; the only drill when absent.
    pub drill: Option<String>,
    /// Point to use instead of the configured one.
    pub point: Option<String>,
    /// Store to use instead of the configured one.
    pub store: Option<String>,
}

/// Result of a drill.
#[derive(Debug)]
pub struct Report {
    /// The signed record and where it is stored.
    pub evidence: Appended,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// The document of `drill`.
#[derive(Debug, Clone, Serialize)]
pub struct Document<'a> {
    drill: Option<&'a Name>,
    point: Option<&'a PointId>,
    points: &'a [ProvedPoint],
    store: Option<&'a Name>,
    outcome: Verdict,
    checks: Vec<ShownCheck<'a>>,
    limits: Vec<&'a str>,
    rto_seconds: f64,
    rpo_seconds: f64,
    rto_missed: bool,
    rpo_missed: bool,
    phases: &'a [Phase],
    evidence: Option<&'a str>,
    evidence_missing_in: Vec<&'a Name>,
}

impl<'a> From<&'a Appended> for Document<'a> {
    fn from(evidence: &'a Appended) -> Self {
        let record = &evidence.record;
        let first = record.points.first();
        Document {
            drill: record.drill.as_ref(),
            point: first.map(|point| &point.point),
            points: &record.points,
            store: first.and_then(|point| point.store.as_ref()),
            outcome: record.outcome,
            checks: record.shown_checks(),
            limits: record.limits(),
            rto_seconds: record.rto_seconds,
            rpo_seconds: record.rpo_seconds,
            rto_missed: record.missed_rto(),
            rpo_missed: record.missed_rpo(),
            phases: &record.phases,
            evidence: evidence.key.as_deref(),
            evidence_missing_in: evidence.missing.iter().map(|(store, _)| store).collect(),
        }
    }
}

impl Report {
    /// Makes the document.
    pub fn document(&self) -> Document<'_> {
        Document::from(&self.evidence)
    }

    /// Returns the exit code of the drill.
    pub fn exit(&self) -> Exit {
        self.evidence.record.outcome.exit_of_drill()
    }
}

/// The drill of that name, or the only one; if none is configured, a drill of the only plan.
pub fn choose_drill(config: &Config, name: Option<&str>) -> Result<(Name, DrillConfig)> {
    let drills = &config.drill;
    let known = || {
        drills
            .keys()
            .map(Name::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (name, drills.len()) {
        (Some(name), _) => {
            let drill = drills.get(name).ok_or_else(|| {
                Error::new(Code::Usage, format!("there is no drill named {name}"))
                    .hint(format!("the configuration has: {}", known()))
            })?;
            Ok((Name::made(name.to_owned())?, drill.clone()))
        }
        (None, 0) => {
            let drill = DrillConfig {
                when: When::default(),
                plans: config.plan.keys().cloned().collect(),
                store: None,
                point: "latest".into(),
                max_age: None,
                checks: vec![],
            };
            Ok((Name::own("all"), drill))
        }
        (None, 1) => drills
            .first_key_value()
            .map(|(name, drill)| (name.clone(), drill.clone()))
            .ok_or_else(|| Error::new(Code::Configuration, "no drill")),
        (None, _) => Err(
            Error::new(Code::Usage, "there are several drills and none was named").hint(format!(
                "name one: lifeboat drill DRILL, with DRILL one of: {}",
                known()
            )),
        ),
    }
}

/// Runs a drill. Fails only if it could not begin; later failures are in the record.
pub fn run(context: &Context, options: &Options) -> Result<Report> {
    let (name, mut config) = choose_drill(&context.config, options.drill.as_deref())?;
    if let Some(point) = &options.point {
        config.point.clone_from(point);
    }
    if options.store.is_some() {
        config.store = options.store.clone().map(Name::made).transpose()?;
    }
    if let Some(store) = &config.store {
        context.stores.open(store)?;
    }
    context.sweep();
    let points = choose_points(context, &config)?;
    let begun = Instant::now();
    let started = context.clock.now();
    let mut rehearsal = Rehearsal {
        context,
        watch: Stopwatch::default(),
        checks: vec![],
        limits: vec![],
        warnings: vec![],
        proved: vec![],
        uncompared: false,
    };
    rehearsal.run(&config, &points)?;
    let checks = status::unchanged_here(context);
    let times = points
        .iter()
        .map(|(point, _)| status::current_at(&checks, point).as_second());
    let oldest = times.min();
    let outcome = rehearsal.verdict();
    if rehearsal.uncompared {
        // Then it is not known of the others either.
        for point in &mut rehearsal.proved {
            point.uncompared.clear();
        }
    }
    let rto = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    let draft = Record {
        drill: Some(name),
        points: rehearsal.proved,
        outcome,
        checks: rehearsal.checks,
        limits: rehearsal.limits.into_iter().map(Into::into).collect(),
        phases: rehearsal.watch.phases,
        rto_seconds: rto,
        rpo_seconds: oldest.map_or(0.0, |o| (started.as_second() - o).max(0) as f64),
        ..evidence::draft(context, Activity::Drill, started)
    };
    Ok(Report {
        evidence: evidence::append(context, draft)?,
        warnings: rehearsal.warnings,
    })
}

/// Chooses the point of each plan, and the store whose copy is proved.
fn choose_points(context: &Context, config: &DrillConfig) -> Result<Vec<(PointId, Option<Name>)>> {
    let selector = Selector::parse(&config.point)?;
    let survey = survey::survey(context, false)?;
    let mut points = Vec::new();
    // Without a complete point, a partial one is drilled: a source that it lacks fails, and a
    // missing file is a limit.
    let partial = OnlyPartial::Take;
    // A named point belongs to one plan; other selectors choose a point of each plan.
    if matches!(selector, Selector::Prefix(_) | Selector::LatestOf(_)) {
        let store = config.store.as_deref();
        let point = fetch::choose_in(context, &survey, &selector, &config.plans, store, partial)?;
        return Ok(vec![(point, config.store.clone())]);
    }
    for plan in &config.plans {
        let first = context
            .config
            .plan
            .get(plan)
            .and_then(|p| p.stores.first().cloned());
        let store = config.store.clone().or(first);
        let only = std::slice::from_ref(plan);
        let choose = |selector: &Selector| {
            fetch::choose_in(context, &survey, selector, only, store.as_deref(), partial)
        };
        let chosen = choose(&selector).or_else(|error| match younger(&selector) {
            Some(younger) if error.code == Code::PointUnknown => {
                let point = choose(&younger).map_err(|_| error)?;
                context.reporter.warn(&format!(
                    "plan {plan} has no point as old as {} asks for yet; {point} is drilled instead",
                    config.point
                ));
                Ok(point)
            }
            _ => Err(error),
        });
        let point = chosen.map_err(|error| Error {
            message: format!("plan {plan}: {}", error.message),
            ..error
        })?;
        points.push((point, store));
    }
    Ok(points)
}

/// The choice among points younger than a range asks for: a young installation has no others.
fn younger(selector: &Selector) -> Option<Selector> {
    match selector {
        Selector::Random(young, _) if young.seconds > 0 => {
            Some(Selector::Random(Span { seconds: 0 }, *young))
        }
        _ => None,
    }
}

/// Whether it is a machine that came back, and was not compared.
fn is_uncompared_machine(restored: &Restored) -> bool {
    machine::is_machine(restored.kind) && restored.differences.is_none()
}

/// A drill in progress.
struct Rehearsal<'a> {
    context: &'a Context,
    watch: Stopwatch,
    checks: Vec<CheckResult>,
    limits: Vec<String>,
    warnings: Vec<String>,
    proved: Vec<ProvedPoint>,
    /// True when some content was restored that could not be compared.
    uncompared: bool,
}

impl Rehearsal<'_> {
    fn run(&mut self, config: &DrillConfig, points: &[(PointId, Option<Name>)]) -> Result<()> {
        let base = scratch::Directory::create(&self.context.state.scratch(), "drill")?;
        let quarantine = machines::quarantine(self.context)?;
        self.warnings.extend(machines::reap(self.context));
        let mut servers = ScratchServers::new(&self.context.state.scratch(), quarantine);
        let mut fetched_points = Vec::new();
        for (point, store) in points {
            let context = self.context;
            let what = format!("fetch {point}");
            let fetched = self
                .watch
                .time(what, || fetch::fetch(context, point, store.as_deref()));
            match fetched {
                Ok(fetched) => fetched_points.push(fetched),
                Err(error) => self.unfetched(point, store.as_deref(), &error),
            }
        }
        for fetched in &fetched_points {
            let m = &fetched.copy.manifest;
            let checked = runbook::check(self.context, &fetched.store, &m.app, &m.environment);
            if let Err(error) = checked {
                self.warnings.push(error.with_hint());
            }
            let point = &fetched.copy.manifest.point;
            self.limits
                .extend(age_limit(point, self.context.clock.now()));
        }
        let owners = point::owners(fetched_points.iter().map(|f| &*f.copy.manifest));
        let mut restored = Vec::new();
        for fetched in &fetched_points {
            restored.extend(self.bring_back_all(fetched, base.path(), &mut servers, &owners));
        }
        let checked = Checked {
            context: self.context,
            restored: &restored,
            points: &fetched_points,
            directory: base.path(),
        };
        let context = self.context;
        let results = self.watch.time("checks", || {
            config
                .checks
                .iter()
                .map(|check: &CheckConfig| {
                    context.reporter.step(&name_of(check), None);
                    checks::run(&checked, check)
                })
                .collect::<Vec<_>>()
        });
        self.checks.extend(results);
        self.warnings.extend(servers.end());
        let stays = base.remove();
        self.warnings.extend(stays.iter().map(|stays| {
            format!("what was restored is there in clear: {stays}; the next run tries again")
        }));
        Ok(())
    }

    fn bring_back_all(
        &mut self,
        fetched: &Fetched,
        base: &std::path::Path,
        servers: &mut ScratchServers,
        owners: &BTreeMap<Name, PointId>,
    ) -> Vec<Restored> {
        let manifest = &fetched.copy.manifest;
        let mut all = Vec::new();
        if let Err(error) = &fetched.details {
            self.limits.push(format!(
                "{}: its details cannot be read: {error}",
                manifest.point
            ));
            self.uncompared = true;
            if error.blames_content(true) {
                let name = Subject::of("details of", &manifest.point);
                self.failed(name, "as the manifest says", error);
            }
        }
        for source in &manifest.sources {
            // An application has one source of each name: that of the newest of its points.
            let owner = owners.get(&source.name);
            if let Some(owner) = owner.filter(|owner| **owner != manifest.point) {
                let text = format!(
                    "source {}: drilled as in {owner}, not as in {}",
                    source.name, manifest.point
                );
                self.limits.push(text);
                continue;
            }
            let name = Subject::content(&source.name);
            if source.outcome == Outcome::Failed {
                let error = Error::new(
                    Code::SourceFailed,
                    "its capture failed: it is not in this point",
                );
                self.failed(name, "captured", &error);
                continue;
            }
            let mut target = Target::Scratch(servers);
            match bring_back(
                self.context,
                fetched,
                source,
                base,
                &mut target,
                &mut self.watch,
            ) {
                Ok(mut restored) => {
                    self.prove_held(fetched, &mut restored);
                    self.note(&restored);
                    all.push(restored);
                }
                Err(error) => {
                    self.failed(name, "restored and equal to what was captured", &error);
                }
            }
        }
        let sources: Vec<Name> = all.iter().map(|r: &Restored| r.source.clone()).collect();
        let own = manifest.sources.iter().map(|s| &s.name);
        let own = own.filter(|name| owners.get(*name) == Some(&manifest.point));
        self.proved.push(ProvedPoint {
            point: manifest.point.clone(),
            plan: Some(manifest.plan.clone()),
            store: Some(fetched.store.name.clone()),
            manifest_sha256: Some(manifest_sha256(&fetched.copy)),
            left_out: own
                .filter(|name| !sources.contains(name))
                .cloned()
                .collect(),
            uncompared: all
                .iter()
                .filter(|restored| is_uncompared_machine(restored))
                .map(|restored| restored.source.clone())
                .collect(),
            sources,
        });
        all
    }

    /// Proves what a machine holds, if it is one.
    fn prove_held(&mut self, fetched: &Fetched, restored: &mut Restored) {
        let proved = held::prove_all(self.context, fetched, restored, &mut self.watch);
        self.checks.extend(proved);
    }

    /// Records a point without any trusted copy: the evidence must name it.
    fn unfetched(&mut self, point: &PointId, store: Option<&str>, error: &Error) {
        self.failed(Subject::of("point", point), "a whole, signed copy", error);
        let noted = survey::survey(self.context, false).map_or_else(|_| vec![], |s| s.copies);
        let mut noted = noted.into_iter().map(|(_, copy)| copy.manifest);
        let plan = noted.find(|m| &m.point == point).map(|m| m.plan);
        self.proved.push(ProvedPoint {
            point: point.clone(),
            plan,
            store: store.and_then(Name::parse),
            manifest_sha256: None,
            sources: vec![],
            left_out: vec![],
            uncompared: vec![],
        });
    }

    fn failed(&mut self, name: Subject, expected: &str, error: &Error) {
        let error = cancel::explain(error.clone());
        let mut result = CheckResult::from_error(name, expected, &error, true);
        // A lack on this host can be fixed here; what a server refuses must be fixed where it came
        // from.
        let refused = error.code == Code::Target;
        if refused && error.hint.is_some() {
            result.observed = Some(error.with_hint().into());
        }
        let lacking = result.outcome == CheckOutcome::Unknown;
        let told = match lacking || refused {
            true => error.with_hint(),
            false => error.to_string(),
        };
        let reporter = &self.context.reporter;
        reporter.warn(&format!("{}: {told}", result.name));
        self.checks.push(result);
    }

    fn note(&mut self, restored: &Restored) {
        let prefixed = |text: &dyn std::fmt::Display| format!("source {}: {text}", restored.source);
        self.limits
            .extend(restored.limits.iter().map(|l| prefixed(l)));
        self.warnings
            .extend(restored.warnings.iter().map(|w| prefixed(w)));
        match &restored.differences {
            // What it holds was compared, which is told by itself.
            Some(_) if machine::is_machine(restored.kind) => {}
            Some(differences) => {
                let source = &restored.source;
                self.checks
                    .push(checks::content(source, &restored.summary, differences))
            }
            None if is_uncompared_machine(restored) => self.limits.push(format!(
                "source {}: the machine came back and runs, and its content was compared with {}",
                restored.source,
                match self.holds_something(&restored.source) {
                    true => "nothing that proves it equal",
                    false => "nothing",
                }
            )),
            None => self.uncompared = true,
        }
    }

    /// Whether the configuration names databases that live on a machine.
    fn holds_something(&self, source: &Name) -> bool {
        let config = self.context.config.source.get(source);
        let snapshots = config.and_then(|config| config.kind.snapshots());
        snapshots.is_some_and(|snapshots| !snapshots.holds.is_empty())
    }

    /// Whether a machine came back, and was not compared.
    fn has_machines(&self) -> bool {
        self.proved.iter().any(|point| !point.uncompared.is_empty())
    }

    fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|c| c.outcome == outcome);
        Verdict::of(Facts {
            failed: any(CheckOutcome::Failed)
                || self.checks.is_empty() && !self.uncompared && !self.has_machines(),
            lacking: any(CheckOutcome::Unknown),
            uncompared: self.uncompared || self.has_machines(),
            interrupted: cancel::requested(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;
    use crate::evidence::sample;

    #[test]
    fn the_document_of_a_drill() {
        let mut record = sample();
        record.drill = Name::parse("weekly");
        record.rto_target_seconds = Some(2);
        let missing = Name::parse("offsite").unwrap();
        let report = Report {
            evidence: Appended {
                record,
                key: None,
                missing: vec![(missing, Error::new(Code::Store, "x"))],
            },
            warnings: Vec::new(),
        };
        let expected = r#"{
  "schema": 1,
  "drill": "weekly",
  "point": "20261120T060000Z-7f3a",
  "points": [
    {
      "point": "20261120T060000Z-7f3a",
      "plan": "hourly",
      "store": "disk",
      "sources": [
        "db"
      ]
    }
  ],
  "store": "disk",
  "outcome": "verified",
  "checks": [
    {
      "name": "sql db",
      "expected": "> 0",
      "observed": "3",
      "outcome": "passed"
    }
  ],
  "limits": [
    "ownership"
  ],
  "rto_seconds": 2.5,
  "rpo_seconds": 3600.0,
  "rto_missed": true,
  "rpo_missed": false,
  "phases": [
    {
      "name": "fetch",
      "seconds": 1.0
    }
  ],
  "evidence": null,
  "evidence_missing_in": [
    "offsite"
  ]
}"#;
        assert_document(report.document(), expected);
        assert_eq!(report.exit(), Exit::Done);
    }
}
