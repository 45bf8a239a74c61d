//! The facts that everything else follows from.

use crate::anomaly::{Measured, Watch};
use crate::catalog::Doubt;
use crate::clock::is_ahead;
use crate::config::{Config, PlanConfig, PrunedBy, StoreKind, When};
use crate::context::Context;
use crate::copies::{PointCopy, manifest_sha256};
use crate::error::{Error, Result};
use crate::evidence::{self, Activity, Listed, Record, Verdict};
use crate::history::Job;
use crate::host::host;
use crate::kept::{self, Proofs};
use crate::marks::Unchanged;
use crate::measures;
use crate::name::Name;
use crate::point::{External, Manifest, Outcome, PointId, TriggeredBy};
use crate::restoring::{self, Restore};
use crate::span::Span;
use crate::survey::{self, Survey};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of an application.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time at which they hold.
    pub now: Timestamp,
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The recovery point objective.
    pub rpo: Option<Span>,
    /// The recovery time objective.
    pub rto: Option<Span>,
    /// The plans, by name.
    pub plans: Vec<PlanFacts>,
    /// The drills, by name.
    pub drills: Vec<DrillFacts>,
    /// The verifications, by name.
    pub verifications: Vec<VerifyFacts>,
    /// The reports, by name.
    pub reports: Vec<ReportFacts>,
    /// The stores, by name.
    pub stores: Vec<StoreFacts>,
    /// The points, the oldest first.
    pub points: Vec<Point>,
    /// Runs that found nothing new, the oldest first.
    pub checks: Vec<Check>,
    /// Believed records of drills and restores, in the order in which they were made.
    pub records: Vec<Proved>,
    /// Jobs of this host, the oldest first.
    pub jobs: Vec<Job>,
    /// Points that are dated in the future.
    pub ahead: Vec<PointId>,
    /// The measures of the newest complete points of each plan, at most 15, the oldest first.
    pub measured: BTreeMap<Name, Vec<Measured>>,
    /// Snapshots of machines in the newest complete point of each plan that were not copied where they should be.
    pub uncopied: BTreeMap<Name, Vec<Uncopied>>,
    /// Live restores of this host that are not closed, the oldest first.
    pub restores: Vec<Restore>,
    /// How long what was live before one of them is kept.
    pub keep_aside: Span,
    /// Give a store the copies it missed.
    pub heal: bool,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct PlanFacts {
    /// Its name.
    pub name: Name,
    /// When it runs by itself.
    pub when: When,
    /// Its sources.
    pub sources: Vec<Name>,
    /// Its stores.
    pub stores: Vec<Name>,
    /// True if some store of it does not keep every point.
    pub prunes: bool,
    /// Time after which it is pruned without a new point, too, since locks of its stores are to be
    /// extended.
    pub relocks: Option<Span>,
    /// How its points are judged by those before them.
    pub watch: Watch,
}

/// A drill.
#[derive(Debug, Clone)]
pub struct DrillFacts {
    /// Its name.
    pub name: Name,
    /// When it runs by itself.
    pub when: When,
    /// The plans whose points it restores.
    pub plans: Vec<Name>,
    /// Age of its last proof after which it is overdue.
    pub max_age: Option<Span>,
}

/// A verification.
#[derive(Debug, Clone)]
pub struct VerifyFacts {
    /// Its name.
    pub name: Name,
    /// When it runs by itself.
    pub when: When,
    /// Age after which it is overdue.
    pub max_age: Option<Span>,
}

/// A report.
#[derive(Debug, Clone)]
pub struct ReportFacts {
    /// Its name.
    pub name: Name,
    /// When it is written by itself.
    pub when: When,
}

/// A store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Its name.
    pub name: Name,
    /// The error of a store that did not answer.
    pub error: Option<Error>,
    /// Copies that this host read and found damaged.
    pub damaged: BTreeMap<PointId, Doubt>,
}

/// A restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// Its plan.
    pub plan: Name,
    /// True if everything of its plan is in it, and a trusted signer says so. Points that were taken
    /// before a live restore, disowned, or dated in the future do not count.
    pub counts: bool,
    /// How much of its plan it holds.
    pub outcome: Outcome,
    /// When its capture began.
    pub started: Timestamp,
    /// When its capture ended.
    pub finished: Timestamp,
    /// The time in the schedule that it was taken for.
    pub slot: Option<Timestamp>,
    /// The stores that hold a copy.
    pub stores: Vec<Name>,
    /// The stores that should have received a copy and never had one, as far as is known here.
    pub missed: Vec<Name>,
    /// The stores that held a copy and lost it.
    pub lost: Vec<Name>,
    /// Bytes of one copy.
    pub bytes: u64,
}

/// A snapshot of a machine that was not copied into the region that its source names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uncopied {
    /// The source.
    pub source: Name,
    /// The region.
    pub region: String,
}

/// A run of a plan that found nothing new since its newest complete point. Only the last one is
/// known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// When it began.
    pub at: Timestamp,
    /// The plan.
    pub plan: Name,
    /// The point.
    pub point: PointId,
    /// The time in the schedule for which it ran.
    pub slot: Option<Timestamp>,
}

/// A believed record of a drill or a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct Proved {
    /// Its id.
    pub id: PointId,
    /// The drill; absent for a restore.
    pub drill: Option<Name>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The verdict.
    pub outcome: Verdict,
    /// Seconds until everything was restored and checked.
    pub rto_seconds: f64,
    /// The plans of its points.
    pub plans: Vec<Name>,
    /// Each source it restored, with its plan.
    pub sources: Vec<(Name, Name)>,
    /// Those of them that cannot be compared: machines.
    pub uncompared: Vec<Name>,
}

impl Proved {
    /// Whether all came back, and was compared where it can be.
    pub(super) fn is_whole(&self) -> bool {
        self.outcome.is_whole(!self.uncompared.is_empty())
    }
}

impl Facts {
    /// Facts from what the stores hold, but for the measures of the points. Without a configuration,
    /// plans and drills are those that the newest manifests name.
    pub fn of(context: &Context, survey: &Survey, listed: &[Listed], jobs: Vec<Job>) -> Self {
        let config = &context.config;
        let now = context.clock.now();
        let proofs = Proofs::of(listed, now);
        let missed = kept::missing_copies(context, survey, &proofs);
        let is_trusted = |copy: &PointCopy| copy.check_trust(&context.trusted).is_ok();
        let points = points(survey, missed, now, &is_trusted);
        let checks = checks(survey, &proofs, &points, now, &is_trusted);
        let uncopied = uncopied(config, survey, &points);
        let (plans, drills, rpo, rto) = match context.is_cold() {
            true => promised(survey),
            false => configured(config),
        };
        let stores = config.store.keys().map(|name| StoreFacts {
            name: name.clone(),
            error: survey.unasked(name).cloned(),
            damaged: survey.damaged.get(name).cloned().unwrap_or_default(),
        });
        let verifications = config.verify.iter().map(|(name, verify)| VerifyFacts {
            name: name.clone(),
            when: verify.when.clone(),
            max_age: verify.max_age,
        });
        let reports = config.report.iter().map(|(name, report)| ReportFacts {
            name: name.clone(),
            when: report.when.clone(),
        });
        Facts {
            now,
            app: config.app.name.clone(),
            environment: config.app.environment.clone(),
            rpo,
            rto,
            plans,
            drills,
            verifications: verifications.collect(),
            reports: reports.collect(),
            stores: stores.collect(),
            points,
            checks,
            records: records(listed, now),
            jobs: jobs_of(jobs, &host()),
            ahead: survey.ahead(context).into_iter().collect(),
            measured: BTreeMap::new(),
            uncopied,
            // What cannot be read is told of by whoever restores.
            restores: restoring::all(&context.state).unwrap_or_default(),
            keep_aside: config.restore.keep_aside,
            heal: config.run.heal,
        }
    }

    /// Adds the measures of the newest points, for which some details may have to be read.
    pub fn measure(&mut self, context: &Context, survey: &Survey) {
        let measured = self.plans.iter().map(|plan| {
            let points = self.points.iter();
            let of_plan = points.filter(|p| p.counts && p.plan == plan.name);
            let newest = of_plan.map(|point| &point.id).rev();
            let measured = measures::measured(context, survey, newest);
            (plan.name.clone(), measured)
        });
        self.measured = measured.collect();
    }
}

/// What of the newest complete point of each plan was not copied into the region that its source names.
fn uncopied(config: &Config, survey: &Survey, points: &[Point]) -> BTreeMap<Name, Vec<Uncopied>> {
    let regions = config.source.iter().filter_map(|(name, source)| {
        let account = source.kind.account()?;
        Some((name, account.copy_to.as_deref()?))
    });
    let regions: BTreeMap<&Name, &str> = regions.collect();
    let mut found: BTreeMap<Name, Vec<Uncopied>> = BTreeMap::new();
    for plan in config.plan.keys().filter(|_| !regions.is_empty()) {
        let mut own = points.iter().filter(|point| point.plan == *plan);
        let newest = own.rfind(|point| point.counts);
        let mut copies = survey.copies.iter();
        let copy =
            newest.and_then(|point| copies.find(|(_, copy)| copy.manifest.point == point.id));
        let sources = copy.iter().flat_map(|(_, copy)| &copy.manifest.sources);
        for source in sources {
            let wanted = regions.get(&source.name).zip(source.external.as_ref());
            let Some((region, external)) = wanted else {
                continue;
            };
            let is_there = |one: &External| one.region.as_deref() == Some(region);
            if !external.everywhere().any(is_there) {
                found.entry(plan.clone()).or_default().push(Uncopied {
                    source: source.name.clone(),
                    region: (*region).to_owned(),
                });
            }
        }
    }
    found
}

/// The runs that found nothing new, as the stores tell of them.
pub fn unchanged(context: &Context, survey: &Survey) -> Vec<Check> {
    if survey
        .marks
        .values()
        .all(|marks| marks.unchanged.is_empty())
    {
        return Vec::new();
    }
    let now = context.clock.now();
    let proofs = kept::proofs(context);
    let is_trusted = |copy: &PointCopy| copy.check_trust(&context.trusted).is_ok();
    let points = points(survey, BTreeMap::new(), now, &is_trusted);
    checks(survey, &proofs, &points, now, &is_trusted)
}

/// The runs that found nothing new, where a plan looks for that. None are known where the stores
/// cannot be asked.
pub fn unchanged_here(context: &Context) -> Vec<Check> {
    if !context.config.plan.values().any(|plan| plan.skip_unchanged) {
        return Vec::new();
    }
    let survey = survey::survey(context, false);
    survey.map_or_else(|_| Vec::new(), |survey| unchanged(context, &survey))
}

/// The time as of which a point holds what its plan captures: when it was begun, or when a run last
/// found nothing new since.
pub fn current_at(checks: &[Check], point: &PointId) -> Timestamp {
    let of_point = checks.iter().filter(|check| check.point == *point);
    let times = of_point.map(|check| check.at);
    times.fold(point.time(), Timestamp::max)
}

/// Gathers the facts from the stores, but for the measures of the points. `jobs` are those of this
/// host.
pub fn gather(context: &Context, jobs: Vec<Job>) -> Result<Facts> {
    let survey = survey::survey(context, false)?;
    let (listed, _) = evidence::list(context)?;
    Ok(Facts::of(context, &survey, &listed, jobs))
}

/// Gathers the facts as [`gather`] does, and measures the newest points.
pub fn gather_measured(context: &Context, jobs: Vec<Job>) -> Result<Facts> {
    let survey = survey::survey(context, false)?;
    let (listed, _) = evidence::list(context)?;
    let mut facts = Facts::of(context, &survey, &listed, jobs);
    facts.measure(context, &survey);
    Ok(facts)
}

type Promised = (Vec<PlanFacts>, Vec<DrillFacts>, Option<Span>, Option<Span>);

fn configured(config: &Config) -> Promised {
    let plans = config.plan.iter().map(|(name, plan)| PlanFacts {
        name: name.clone(),
        when: plan.when.clone(),
        sources: plan.sources.clone(),
        stores: plan.stores.clone(),
        prunes: prunes(config, plan) || relocks(config, plan).is_some(),
        relocks: relocks(config, plan),
        watch: Watch::of(config, plan),
    });
    let drills = config.drill.iter().map(|(name, drill)| DrillFacts {
        name: name.clone(),
        when: drill.when.clone(),
        plans: drill.plans.clone(),
        max_age: drill.max_age,
    });
    (
        plans.collect(),
        drills.collect(),
        config.app.rpo,
        config.app.rto,
    )
}

fn prunes(config: &Config, plan: &PlanConfig) -> bool {
    let is_ours = |store: &&Name| {
        let store = config.store.get(*store);
        store.is_some_and(|store| store.pruned_by == PrunedBy::Lifeboat)
    };
    let mut stores = plan.stores.iter().filter(is_ours);
    let is_at_source = |source: &Name| {
        let found = config
            .source
            .get(source)
            .and_then(|source| source.kind.snapshots());
        found.is_some_and(|snapshots| snapshots.keep_at_source.is_some())
    };
    stores.any(|store| plan.kept_in(store).is_some()) || plan.sources.iter().any(is_at_source)
}

/// An eighth of the shortest lock in the stores of a plan: locks are extended when half is left.
fn relocks(config: &Config, plan: &PlanConfig) -> Option<Span> {
    let stores = plan.stores.iter().filter_map(|name| config.store.get(name));
    let locks = stores.filter_map(|store| match &store.kind {
        StoreKind::S3(s3) => s3.object_lock.as_ref(),
        StoreKind::Local(_) | StoreKind::Sftp(_) => None,
    });
    let shortest = locks.map(|lock| lock.length.seconds).min()?;
    Some(Span {
        seconds: shortest / 8,
    })
}

/// What the newest manifest of each plan says of plans, drills and objectives.
fn promised(survey: &Survey) -> Promised {
    let mut newest: BTreeMap<&Name, &Manifest> = BTreeMap::new();
    for (_, copy) in &survey.copies {
        let manifest = &copy.manifest;
        let known = newest.entry(&manifest.plan).or_insert(manifest);
        if !manifest.safety && manifest.point > known.point {
            *known = manifest;
        }
    }
    let span = |seconds: Option<u64>| seconds.map(|seconds| Span { seconds });
    let (mut plans, mut drills) = (Vec::new(), BTreeMap::<Name, DrillFacts>::new());
    let (mut rpo, mut rto) = (None, None);
    for (name, manifest) in &newest {
        let targets = manifest.targets.clone().unwrap_or_default();
        rpo = rpo.or(span(targets.rpo_seconds));
        rto = rto.or(span(targets.rto_seconds));
        plans.push(PlanFacts {
            name: (*name).clone(),
            when: When {
                schedule: targets.schedule,
                ..When::default()
            },
            sources: manifest.sources.iter().map(|s| s.name.clone()).collect(),
            stores: manifest.stores.clone(),
            prunes: false,
            relocks: None,
            watch: Watch::unconfigured(),
        });
        for (drill, seconds) in targets.drill_max_age_seconds {
            let known = drills.entry(drill.clone()).or_insert(DrillFacts {
                name: drill,
                when: When::default(),
                plans: Vec::new(),
                max_age: span(Some(seconds)),
            });
            known.plans.push((*name).clone());
        }
    }
    (plans, drills.into_values().collect(), rpo, rto)
}

/// The jobs without those that another host seems to run: it cannot note their end here. Its lease
/// keeps two from the same work.
pub(super) fn jobs_of(mut jobs: Vec<Job>, host: &str) -> Vec<Job> {
    jobs.retain(|job| job.outcome.is_some() || job.host == host);
    jobs
}

/// The records that are believed. One that is dated in the future would count as new for ever.
pub(super) fn records(listed: &[Listed], now: Timestamp) -> Vec<Proved> {
    let believed = listed
        .iter()
        // Taking a restore back proves nothing.
        .filter(|listed| listed.record.activity != Activity::Undo)
        .filter(|listed| listed.distrust.is_none() && !is_ahead(listed.record.finished, now));
    believed.map(|listed| proved(&listed.record)).collect()
}

/// The points of the stores, the oldest first. A copy that is not trusted says nothing of a point of
/// which there is a trusted one, nor of a time in the schedule.
pub(super) fn points(
    survey: &Survey,
    mut missed: BTreeMap<PointId, Vec<Name>>,
    now: Timestamp,
    is_trusted: &dyn Fn(&PointCopy) -> bool,
) -> Vec<Point> {
    let mut lost: BTreeMap<&PointId, BTreeSet<&Name>> = BTreeMap::new();
    for one in &survey.missing {
        lost.entry(&one.copy.manifest.point)
            .or_default()
            .insert(&one.store);
    }
    let mut points: BTreeMap<PointId, Point> = BTreeMap::new();
    let copies = survey.copies.iter();
    let copies = copies.map(|(store, copy)| (store, &copy.manifest, is_trusted(copy)));
    let (trusted, others): (Vec<_>, Vec<_>) = copies.partition(|(_, _, trusted)| *trusted);
    for (store, manifest, trusted) in trusted.into_iter().chain(others) {
        let counts = trusted
            && manifest.lacks().is_none()
            && !manifest.safety
            && !is_ahead(manifest.point.time(), now)
            && !survey.disowned.contains(&manifest.point);
        let id = &manifest.point;
        let point = points.entry(id.clone()).or_insert_with(|| {
            let lost = lost
                .get(id)
                .map(|lost| lost.iter().map(|n| (*n).clone()).collect());
            let lost: Vec<Name> = lost.unwrap_or_default();
            let mut missed = missed.remove(id).unwrap_or_default();
            missed.retain(|store| !lost.contains(store));
            Point {
                id: id.clone(),
                plan: manifest.plan.clone(),
                counts: false,
                outcome: manifest.outcome,
                started: manifest.started,
                finished: manifest.finished,
                slot: manifest
                    .trigger
                    .filter(|trigger| trusted && trigger.by == TriggeredBy::Schedule)
                    .and_then(|trigger| trigger.slot),
                stores: Vec::new(),
                missed,
                lost,
                bytes: manifest.stored_bytes(),
            }
        });
        point.counts |= counts;
        point.stores.push(store.clone());
    }
    // Those that no store holds any more.
    for one in &survey.missing {
        let manifest = &one.copy.manifest;
        let point = points
            .entry(manifest.point.clone())
            .or_insert_with(|| Point {
                id: manifest.point.clone(),
                plan: manifest.plan.clone(),
                counts: false,
                outcome: manifest.outcome,
                started: manifest.started,
                finished: manifest.finished,
                slot: None,
                stores: Vec::new(),
                missed: Vec::new(),
                lost: Vec::new(),
                bytes: manifest.stored_bytes(),
            });
        if !point.lost.contains(&one.store) {
            point.lost.push(one.store.clone());
        }
    }
    points.into_values().collect()
}

/// The runs that found nothing new, the oldest first. The note of one counts while the point that it
/// names is sound and stays, in the store that the note is in: as the manifest that it names.
pub(super) fn checks(
    survey: &Survey,
    proofs: &Proofs,
    points: &[Point],
    now: Timestamp,
    is_trusted: &dyn Fn(&PointCopy) -> bool,
) -> Vec<Check> {
    let is_there = |store: &Name, note: &Unchanged| {
        let mut copies = survey.copies.iter();
        copies.any(|(holder, copy)| {
            holder == store
                && copy.manifest.point == note.point
                && copy.manifest.plan == note.plan
                && manifest_sha256(copy) == note.manifest_sha256
                && is_trusted(copy)
                && survey.leaving(store, copy).is_none()
        })
    };
    // Whoever wrote it cannot have seen a newer point.
    let is_newest = |note: &Unchanged| {
        let of_plan = points
            .iter()
            .rev()
            .filter(|p| p.counts && p.plan == note.plan);
        let newest = of_plan
            .map(|p| &p.id)
            .find(|id| id.time() <= note.header.at);
        newest == Some(&note.point)
    };
    let notes = survey.marks.iter().flat_map(|(store, marks)| {
        let notes = marks.unchanged.iter();
        notes.map(move |note| (store, note))
    });
    let counts = notes.filter(|(store, note)| {
        !is_ahead(note.header.at, now)
            && is_there(store, note)
            && is_newest(note)
            && !proofs.refutes_any(&note.point)
    });
    let checks: BTreeSet<Check> = counts
        .map(|(_, note)| Check {
            at: note.header.at,
            plan: note.plan.clone(),
            point: note.point.clone(),
            slot: note.slot,
        })
        .collect();
    checks.into_iter().collect()
}

fn proved(record: &Record) -> Proved {
    let sources = record.points.iter().flat_map(|point| {
        let plan = point.plan.clone();
        point
            .sources
            .iter()
            .filter_map(move |source| Some((plan.clone()?, source.clone())))
    });
    Proved {
        id: record.id.clone(),
        drill: match record.activity {
            Activity::Drill => record.drill.clone(),
            Activity::Restore | Activity::Undo => None,
        },
        started: record.started,
        finished: record.finished,
        outcome: record.outcome,
        rto_seconds: record.rto_seconds,
        plans: record
            .points
            .iter()
            .filter_map(|p| p.plan.clone())
            .collect(),
        sources: sources.collect(),
        uncompared: record
            .points
            .iter()
            .flat_map(|point| point.uncompared.clone())
            .collect(),
    }
}
