//! Gathers the facts that costs follow from: from a survey of the stores, the configuration, the history
//! of jobs, and what was noted of the buckets.

use super::facts::{
    Copies, Facts, MachineFacts, MachineList, MachineService, Pace, Place, ReadFacts, RunFacts,
    Runner, ServerKey, Sharing, StoreFacts,
};
use crate::amount;
use crate::config::{Config, PlanConfig, PrunedBy, SourceKind, StoreConfig, StoreKind, When};
use crate::context::Context;
use crate::copies::PointCopy;
use crate::error::{Error, Result};
use crate::history::{Job, JobKind, JobOutcome};
use crate::kept::{self, Judged};
use crate::kind::Kind;
use crate::machines;
use crate::name::Name;
use crate::point::PointId;
use crate::posture;
use crate::retention::Held;
use crate::source::bucket::is_pack;
use crate::survey::{self, Survey};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a manifest with its signature, which no manifest names.
const MANIFEST_BYTES: u64 = 4096;
/// Newest runs whose time is taken.
const RUNS: usize = 30;

/// The facts, and errors of stores that could not be read.
pub struct Gathered {
    /// The facts.
    pub facts: Facts,
    /// Stores and manifests that could not be read.
    pub errors: Vec<Error>,
}

/// Gathers the facts. `jobs` are those of this host, the oldest first.
pub fn gather(context: &Context, jobs: &[Job], runner: Option<Runner>) -> Result<Gathered> {
    let survey = survey::survey(context, false)?;
    let judged = kept::judge(context, &survey, &kept::proofs(context));
    let config = &context.config;
    let at = context.clock.now();
    let named: BTreeSet<&Name> = config.plan.values().flat_map(|plan| &plan.stores).collect();
    let stores = config.store.iter().filter(|(name, _)| named.contains(name));
    let stores =
        stores.map(|(name, store)| (name.clone(), store_facts(context, &survey, name, store)));
    let mut copies = Vec::new();
    for (plan, plan_config) in &config.plan {
        for store in &plan_config.stores {
            let here = judged.iter().find(|j| j.store == *store && j.plan == *plan);
            copies.extend(copies_of(context, plan, plan_config, store, here));
        }
    }
    let facts = Facts {
        at,
        stores: stores.collect(),
        machines: machine_facts(context, &survey, &judged, &copies),
        reads: read_facts(config, at),
        runs: run_facts(config, jobs, &judged, &copies, at),
        copies,
        runner,
    };
    let errors = survey.unread.into_iter().map(|unread| unread.error);
    Ok(Gathered {
        facts,
        errors: errors.collect(),
    })
}

fn store_facts(context: &Context, survey: &Survey, name: &Name, store: &StoreConfig) -> StoreFacts {
    let bucket = match &store.kind {
        StoreKind::S3(s3) => Some(s3),
        StoreKind::Local(_) | StoreKind::Sftp(_) => None,
    };
    let place = match &store.kind {
        StoreKind::Local(_) => Place::Local,
        StoreKind::Sftp(_) => Place::Sftp,
        StoreKind::S3(s3) if s3.server.endpoint.is_some() => Place::Server,
        StoreKind::S3(s3) => Place::Amazon {
            region: s3.server.region.clone(),
        },
    };
    let encryption = bucket.and_then(|s3| s3.server_side_encryption.as_deref());
    let own_key = bucket.and_then(|s3| s3.kms_key_id.as_deref());
    // Amazon's own keys have such names.
    let own_key = own_key.is_some_and(|id| !id.contains("alias/aws/"));
    let key = match own_key {
        true => ServerKey::Own,
        false => ServerKey::OfAccount,
    };
    StoreFacts {
        class: bucket.and_then(|s3| s3.storage_class.clone()),
        key: encryption.filter(|e| e.starts_with("aws:kms")).map(|_| key),
        elsewhere: store.pruned_by == PrunedBy::Elsewhere,
        versions: match store.pruned_by {
            PrunedBy::Lifeboat => posture::noted_versions(context, name),
            // Posture does not look what becomes of what others delete.
            PrunedBy::Elsewhere => posture::Versions::Unknown,
        },
        asked: survey.unasked(name).is_none(),
        place,
    }
}

/// The points of a plan in a store; `None` if the configuration has no such plan.
fn copies_of(
    context: &Context,
    plan: &Name,
    config: &PlanConfig,
    store: &Name,
    judged: Option<&Judged<'_>>,
) -> Option<Copies> {
    let held: Vec<Held> = judged.map(|judged| judged.held.clone()).unwrap_or_default();
    let copies: Vec<&PointCopy> = judged
        .map(|judged| judged.copies.clone())
        .unwrap_or_default();
    let in_repository = context
        .config
        .store
        .get(store)
        .is_some_and(StoreConfig::is_repository);
    let shares = |copy: &&PointCopy| {
        let mut sources = copy.manifest.sources.iter();
        sources.any(|source| source.kind.is(Kind::Bucket))
    };
    let mut once: BTreeMap<&str, u64> = BTreeMap::new();
    for artifact in copies.iter().flat_map(|copy| &copy.manifest.artifacts) {
        if is_pack(&artifact.name) {
            once.insert(artifact.key.as_str(), artifact.bytes);
        }
    }
    let objects: BTreeMap<PointId, Vec<u64>> = copies
        .iter()
        .map(|copy| (copy.manifest.point.clone(), objects(copy)))
        .collect();
    let own: u64 = copies
        .iter()
        .map(|copy| match in_repository {
            true => copy.manifest.stored_bytes(),
            false => objects_but_packs(copy).sum(),
        })
        .sum();
    Some(Copies {
        plan: plan.clone(),
        store: store.clone(),
        bytes: own.saturating_add(once.values().sum()),
        sharing: match () {
            () if in_repository => Sharing::Repository,
            () if copies.iter().any(shares) => Sharing::Packs,
            () => Sharing::Nothing,
        },
        rules: kept::rules(context, plan, store)?,
        pace: pace(config, &held),
        objects,
        held,
    })
}

/// Sizes of the objects that a copy put there by itself: packs are shared.
fn objects_but_packs(copy: &PointCopy) -> impl Iterator<Item = u64> {
    let artifacts = copy.manifest.artifacts.iter();
    let own = artifacts.filter(|artifact| artifact.snapshot.is_none() && !is_pack(&artifact.name));
    let own = own.map(|artifact| artifact.bytes);
    own.chain([copy.manifest.details.bytes, MANIFEST_BYTES])
}

fn objects(copy: &PointCopy) -> Vec<u64> {
    let artifacts = copy
        .manifest
        .artifacts
        .iter()
        .map(|artifact| artifact.bytes);
    artifacts
        .chain([copy.manifest.details.bytes, MANIFEST_BYTES])
        .collect()
}

/// Finds how often a point is taken. With `skip_unchanged` the schedule says too much, so it is measured
/// if possible.
fn pace(config: &PlanConfig, held: &[Held]) -> Pace {
    let own = held.iter().filter(|held| !held.safety);
    let times: Vec<Timestamp> = own.map(|held| held.point.time()).collect();
    let scheduled = config.when.schedule().map(Pace::Scheduled);
    match (scheduled, Pace::measure(&times)) {
        (Some(_), measured @ Pace::Measured { .. }) if config.skip_unchanged => measured,
        (Some(scheduled), _) => scheduled,
        (None, measured) => measured,
    }
}

fn machine_facts(
    context: &Context,
    survey: &Survey,
    judged: &[Judged<'_>],
    copies: &[Copies],
) -> Vec<MachineFacts> {
    let named = machines::named(context, judged, &|_| false);
    let mut facts = Vec::new();
    for (source, config) in &context.config.source {
        let Some(snapshots) = config.kind.snapshots() else {
            continue;
        };
        let copy_to = config.kind.account().and_then(|of| of.copy_to.as_ref());
        let plans = context.config.plan.iter();
        for (plan, plan_config) in plans.filter(|(_, plan)| plan.sources.contains(source)) {
            let own = named
                .iter()
                .filter(|n| n.source == *source && n.plan == *plan && n.stays);
            let at_source = snapshots.keep_at_source.as_ref();
            let of_plan = copies.iter().filter(|copies| copies.plan == *plan);
            let rules = match at_source {
                Some(keep) => vec![machines::rules(context, plan, keep)],
                None => of_plan.map(|copies| copies.rules.clone()).collect(),
            };
            let mut stores = plan_config.stores.iter();
            let asked = stores.all(|store| survey.unasked(store).is_none());
            for copies_in in std::iter::once(None).chain(copy_to.map(Some)) {
                let kept = own.clone().filter_map(|named| {
                    let mut copies = named.external.copies.iter();
                    let one = match copies_in {
                        None => Some(&named.external),
                        region => copies.find(|copy| copy.region.as_ref() == region),
                    };
                    Some((&named.point, one?))
                });
                let held: Vec<Held> = kept.clone().map(|(point, _)| held(point)).collect();
                let sizes = kept.filter_map(|(point, one)| Some((point.clone(), one.bytes?)));
                facts.push(MachineFacts {
                    source: source.clone(),
                    plan: plan.clone(),
                    copies_in: copies_in.cloned(),
                    list: list(&config.kind, copies_in),
                    bytes: sizes.collect(),
                    asked,
                    at_source: at_source.is_some(),
                    rules: rules.clone(),
                    pace: pace(plan_config, &held),
                    held,
                });
            }
        }
    }
    facts
}

/// A snapshot that stays, as the rules of retention see it.
fn held(point: &PointId) -> Held {
    Held {
        point: point.clone(),
        sound: true,
        safety: false,
        manual: false,
        always: Vec::new(),
        lock: None,
        leaving: None,
    }
}

/// The list of prices of a machine, in its own region or in another.
fn list(kind: &SourceKind, region: Option<&String>) -> Option<MachineList> {
    let (service, size) = match kind {
        SourceKind::Lightsail(of) => (MachineService::Lightsail, &of.bundle),
        SourceKind::Ec2(of) => (MachineService::Ec2, &of.instance_type),
        _ => return None,
    };
    let own = &kind.account()?.region;
    Some(MachineList {
        service,
        region: region.unwrap_or(own).clone(),
        size: size.clone(),
    })
}

fn in_month(when: &When, now: Timestamp) -> Option<f64> {
    let schedule = when.schedule().map(Pace::Scheduled)?;
    schedule.in_month(now)
}

/// Collects the reads of drills and verifications.
fn read_facts(config: &Config, now: Timestamp) -> Vec<ReadFacts> {
    let drills = config.drill.iter().map(|(name, drill)| {
        let plans = drill.plans.iter();
        let plans = plans.filter_map(|plan| Some((plan, config.plan.get(plan)?)));
        let plans: Vec<(&Name, &PlanConfig)> = plans.collect();
        let copies = plans.iter().filter_map(|(plan, of)| {
            let store = drill.store.as_ref().or(of.stores.first())?;
            Some(((*plan).clone(), store.clone()))
        });
        let sources: BTreeSet<&Name> = plans.iter().flat_map(|(_, plan)| &plan.sources).collect();
        let machines = sources.into_iter().filter(|source| {
            let source = config.source.get(*source);
            source.is_some_and(|source| source.kind.snapshots().is_some())
        });
        ReadFacts {
            name: format!("drill {name}"),
            runs: in_month(&drill.when, now),
            copies: copies.collect(),
            percent: None,
            machines: machines.cloned().collect(),
        }
    });
    let verifications = config.verify.iter().map(|(name, verify)| {
        let all = config.plan.iter().flat_map(|(plan, of)| {
            let stores = of
                .stores
                .iter()
                .filter(|store| verify.store.as_ref().is_none_or(|only| only == *store));
            stores
                .map(|store| (plan.clone(), store.clone()))
                .collect::<Vec<_>>()
        });
        ReadFacts {
            name: format!("verify {name}"),
            runs: in_month(&verify.when, now),
            copies: all.collect(),
            percent: verify.sample.as_deref().and_then(amount::share),
            machines: Vec::new(),
        }
    });
    drills.chain(verifications).collect()
}

/// Collects the runs that would use a runner, and their duration.
fn run_facts(
    config: &Config,
    jobs: &[Job],
    judged: &[Judged<'_>],
    copies: &[Copies],
    now: Timestamp,
) -> Vec<RunFacts> {
    let took = |kind: JobKind, subject: &Name| -> Vec<u64> {
        let own = jobs
            .iter()
            .rev()
            .filter(|job| job.kind == kind && job.subject == *subject);
        let done = own.filter(|job| {
            matches!(
                job.outcome,
                Some(JobOutcome::Done | JobOutcome::Partial | JobOutcome::NotProved)
            )
        });
        done.filter_map(Job::seconds).take(RUNS).collect()
    };
    let plans = config.plan.iter().map(|(name, plan)| {
        let paces = copies.iter().filter(|copies| copies.plan == *name);
        let paced = paces.filter_map(|copies| copies.pace.in_month(now));
        let (seconds, measured) = match took(JobKind::Backup, name) {
            seconds if !seconds.is_empty() => (seconds, "jobs of this host"),
            _ => (
                captured(name, judged),
                "points, from their first source to their last",
            ),
        };
        RunFacts {
            name: format!("plan {name}"),
            runs: in_month(&plan.when, now).or(paced.reduce(f64::max)),
            seconds,
            measured,
        }
    });
    let drills = config
        .drill
        .iter()
        .filter(|(_, drill)| drill.when.schedule.is_some());
    let drills = drills.map(|(name, drill)| RunFacts {
        name: format!("drill {name}"),
        runs: in_month(&drill.when, now),
        seconds: took(JobKind::Drill, name),
        measured: "jobs of this host",
    });
    plans.chain(drills).collect()
}

/// Seconds in which the newest points of a plan were captured.
fn captured(plan: &Name, judged: &[Judged<'_>]) -> Vec<u64> {
    let here = judged.iter().find(|judged| judged.plan == *plan);
    let copies = here.map(|judged| judged.copies.iter().rev());
    let seconds = copies.into_iter().flatten().filter_map(|copy| {
        let (started, finished) = (copy.manifest.started, copy.manifest.finished);
        u64::try_from(finished.as_second() - started.as_second()).ok()
    });
    seconds.take(RUNS).collect()
}
