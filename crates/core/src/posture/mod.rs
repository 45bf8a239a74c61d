//! Whether the buckets are what the operator believes them to be: their settings against what is wanted,
//! lifecycle rules against what is kept, copies against what a single loss takes, and a trial.
//!
//! What is found is noted, so that a runner looks once a day. Judgement is pure: [`judge`],
//! [`lifecycle`], [`document`], [`independence`].

mod canary;
mod document;
mod independence;
mod judge;
mod lifecycle;
mod mend;
pub(crate) mod owners;

pub use judge::Versions;
pub use mend::{Mending, mend, mendable};

use crate::cancel::Cancel;
use crate::catalog::NotedPosture;
use crate::condition::ConditionKind;
use crate::config::{BucketServer, Config, PrunedBy, Requirement, S3Config, StoreKind};
use crate::context::Context;
use crate::copies::PointCopy;
use crate::credentials;
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Fact, Result};
use crate::evidence;
use crate::finding::{Finding, Severity};
use crate::kept::{self, Judged};
use crate::marks;
use crate::name::Name;
use crate::point::{PointId, manifest_key};
use crate::retention::{Held, Reason};
use crate::snapshot;
use crate::source::bucket::is_pack;
use crate::survey::Survey;
use judge::{Wanted, judge};
use lifeboat_store::S3Options;
use lifeboat_store::bucket::Bucket;
use lifecycle::{Needs, Points};
use owners::Owners;
use std::collections::BTreeSet;
use std::time::Duration;

/// A server that says nothing for so long is not asked further.
const STALL: Duration = Duration::from_secs(20);
/// Findings are made anew after so many seconds.
const FRESH_SECONDS: i64 = 86_400;

/// A bucket that is watched.
pub(crate) struct Watched<'a> {
    /// Its name in the configuration.
    name: &'a Name,
    /// What findings are about: `store.offsite`.
    subject: String,
    bucket: &'a str,
    server: &'a BucketServer,
    require: &'a [Requirement],
    /// The store that it is.
    store: Option<&'a S3Config>,
}

/// The buckets that are watched: those of stores, and those of `[posture.NAME]`.
pub(crate) fn watched(config: &Config) -> Vec<Watched<'_>> {
    let stores = config
        .store
        .iter()
        .filter_map(|(name, store)| match &store.kind {
            StoreKind::S3(s3) => Some(Watched {
                name,
                subject: format!("store.{name}"),
                bucket: &s3.bucket,
                server: &s3.server,
                require: &s3.require,
                store: Some(s3),
            }),
            StoreKind::Local(_) | StoreKind::Sftp(_) => None,
        });
    let others = config.posture.iter().map(|(name, posture)| Watched {
        name,
        subject: format!("posture.{name}"),
        bucket: &posture.bucket,
        server: &posture.server,
        require: &posture.require,
        store: None,
    });
    stores.chain(others).collect()
}

impl Watched<'_> {
    fn open(&self, context: &Context) -> Result<Bucket> {
        let options = S3Options {
            bucket: self.bucket.to_owned(),
            prefix: String::new(),
            region: Some(self.server.region.clone()),
            endpoint: self.server.endpoint.clone(),
            credentials: credentials::of(self.server, &context.scrubber)?,
            virtual_host_style: self.server.virtual_host_style,
            stall: STALL,
            ending: Cancel::current().ending(),
            ..S3Options::default()
        };
        Ok(Bucket::open(&options)?)
    }

    /// A hash of everything that the findings depend on and the configuration says.
    fn settings(&self, config: &Config) -> String {
        let text = serde_json::json!({
            "bucket": self.bucket, "server": self.server, "require": self.require,
            "store": config.store.get(self.name), "plan": config.plan,
        });
        sha256_hex(text.to_string().as_bytes())
    }

    /// Looks at the bucket now.
    fn examine(&self, context: &Context, survey: &Survey) -> Result<Vec<Finding>> {
        let settings = self.open(context)?.settings()?;
        let needs = match self.store {
            Some(s3) => needs(context, survey, self.name, s3),
            None => Needs::default(),
        };
        let wanted = Wanted {
            subject: &self.subject,
            name: self.name,
            is_store: self.store.is_some(),
            require: self.require,
            // Other servers have regions of their own, or none.
            region: self
                .server
                .endpoint
                .is_none()
                .then_some(&*self.server.region),
            needs: &needs,
        };
        Ok(judge(&wanted, &settings))
    }

    /// What is found if it cannot be looked at. That a store cannot be reached is told by itself.
    fn unseen(&self, error: &Error) -> Finding {
        let missing = error.fact == Some(Fact::Place);
        let finding = Finding::new(
            &format!("{}.settings", self.subject),
            Severity::Error,
            format!("its settings cannot be looked at: {error}"),
            error.hint.clone(),
        );
        match self.store.is_none() || missing {
            true => finding.of_kind(ConditionKind::Posture),
            false => finding,
        }
    }
}

/// Looks at these buckets now, at all if none is named, and notes what is found. With `try_all`, it is
/// tried in each store whether its credentials destroy what is there.
pub fn examine(
    context: &Context,
    survey: &Survey,
    names: &[String],
    try_all: bool,
) -> Result<Vec<Finding>> {
    let all = watched(&context.config);
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|w| w.name.as_str() != *name))
    {
        return Err(unknown_bucket(&context.config, unknown));
    }
    let mut findings = Vec::new();
    for watched in all {
        if names.is_empty() || names.iter().any(|name| name == watched.name.as_str()) {
            context.reporter.step(&watched.subject, None);
            findings.extend(looked_at(context, survey, &watched, try_all));
        }
    }
    Ok(findings)
}

/// The error for a name that no watched bucket has.
pub(crate) fn unknown_bucket(config: &Config, name: &str) -> Error {
    let known: Vec<&str> = watched(config).iter().map(|w| w.name.as_str()).collect();
    let hint = match known.is_empty() {
        true => "no store is a bucket; [posture.NAME] watches others".to_owned(),
        false => format!("the configuration has: {}", known.join(", ")),
    };
    Error::new(Code::Usage, format!("there is no bucket named {name}")).hint(hint)
}

fn looked_at(
    context: &Context,
    survey: &Survey,
    watched: &Watched<'_>,
    try_all: bool,
) -> Vec<Finding> {
    let mut findings = match watched.examine(context, survey) {
        Ok(findings) => findings,
        Err(error) => return vec![watched.unseen(&error)],
    };
    let is_required = watched.require.contains(&Requirement::Undeletable);
    if watched.store.is_some() && (try_all || is_required) {
        let tried = context.stores.open(watched.name);
        let tried = tried.and_then(|store| Ok(canary::put_to_the_test(&*store.store)?));
        findings.push(canary::judged(&watched.subject, is_required, tried));
    }
    let noted = NotedPosture {
        settings: watched.settings(&context.config),
        at: context.clock.now(),
        findings: serde_json::to_string(&findings).unwrap_or_default(),
    };
    // What cannot be noted is looked at again.
    let _ = context.state.catalog.note_posture(&watched.subject, &noted);
    findings
}

/// What is found of the buckets, from what was noted in the last day, and else by looking.
pub(crate) fn watch(context: &Context, survey: &dyn Fn() -> Result<Survey>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut surveyed: Option<Survey> = None;
    for watched in watched(&context.config) {
        let noted = context
            .state
            .catalog
            .posture(&watched.subject)
            .ok()
            .flatten();
        let noted = noted.filter(|noted| noted.settings == watched.settings(&context.config));
        let age = |noted: &NotedPosture| {
            let now = context.clock.now().as_second();
            now.saturating_sub(noted.at.as_second()).abs()
        };
        let read =
            |noted: &NotedPosture| serde_json::from_str::<Vec<Finding>>(&noted.findings).ok();
        if let Some(known) = noted
            .as_ref()
            .filter(|n| age(n) < FRESH_SECONDS)
            .and_then(read)
        {
            findings.extend(known);
            continue;
        }
        if surveyed.is_none() {
            surveyed = survey().ok();
        }
        let Some(survey) = &surveyed else {
            continue;
        };
        let found = looked_at(context, survey, &watched, false);
        // While nobody answers, what was known holds.
        let unseen =
            |finding: &Finding| finding.subject.ends_with(".settings") && finding.kind.is_none();
        match noted
            .as_ref()
            .and_then(read)
            .filter(|_| found.iter().any(unseen))
        {
            Some(known) => findings.extend(known),
            None => findings.extend(found),
        }
    }
    findings.extend(independence(context, None));
    findings
}

/// Says of each plan what a single loss would take of all its copies, after asking whose credentials they
/// are reached with.
pub fn copies(context: &Context) -> Vec<Finding> {
    independence(context, Some(&Owners::of_stores(context)))
}

/// Says of each plan what a single loss would take of all its copies.
pub(crate) fn independence(context: &Context, owners: Option<&Owners>) -> Vec<Finding> {
    independence::findings(&context.config, owners)
}

/// What was noted of the versions that the bucket of a store keeps, when it was looked at last with the
/// configuration that it has now. Nothing is asked of a server.
pub fn noted_versions(context: &Context, store: &Name) -> Versions {
    let all = watched(&context.config);
    let Some(watched) = all.iter().find(|w| w.name == store && w.store.is_some()) else {
        return Versions::Unknown;
    };
    let noted = context.state.catalog.posture(&watched.subject);
    let noted = noted.ok().flatten();
    let noted = noted.filter(|noted| noted.settings == watched.settings(&context.config));
    let findings =
        noted.and_then(|noted| serde_json::from_str::<Vec<Finding>>(&noted.findings).ok());
    judge::versions(&watched.subject, &findings.unwrap_or_default())
}

/// What must stay in the bucket of a store.
fn needs(context: &Context, survey: &Survey, name: &Name, s3: &S3Config) -> Needs {
    let prefix = match s3.prefix.as_deref().map(|prefix| prefix.trim_matches('/')) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    };
    let complete = |key: &str| format!("{prefix}{key}");
    let store = context.config.store.get(name);
    let is_repository = store.is_some_and(|store| store.is_repository());
    let mut forever = vec![
        (complete(evidence::gather::PREFIX), "records of evidence"),
        (complete(marks::PINS_PREFIX), "pins"),
    ];
    if is_repository {
        forever.push((
            complete(snapshot::PREFIX),
            "the packs and the index of the repository",
        ));
    }
    // Others may delete points there; what they delete is theirs to say.
    let elsewhere = store.is_some_and(|store| store.pruned_by == PrunedBy::Elsewhere);
    let proofs = kept::proofs(context);
    let judged = kept::judge(context, survey, &proofs);
    let mut plans = Vec::new();
    for (plan, config) in &context.config.plan {
        if elsewhere || !config.stores.contains(name) {
            continue;
        }
        let of_plan = judged.iter().find(|j| j.store == *name && j.plan == *plan);
        let Some(rules) = kept::rules(context, plan, name) else {
            continue;
        };
        if let Some(judged) = of_plan {
            let packs = judged
                .copies
                .iter()
                .flat_map(|copy| &copy.manifest.artifacts);
            let packs = packs.filter(|artifact| is_pack(&artifact.name));
            let folders = packs.filter_map(|pack| Some(pack.key.rsplit_once('/')?.0.to_owned()));
            let folders: BTreeSet<String> = folders.collect();
            let folder = |folder: String| (complete(&format!("{folder}/")), "packs of a bucket");
            forever.extend(folders.into_iter().map(folder));
        }
        plans.push(Points {
            plan: plan.to_string(),
            held: of_plan.map(still_held).unwrap_or_default(),
            keys: of_plan
                .map(|judged| keys(judged, &complete))
                .unwrap_or_default(),
            rules,
        });
    }
    Needs {
        forever,
        plans,
        prunes: !elsewhere
            && context
                .config
                .plan
                .values()
                .any(|plan| plan.stores.contains(name) && plan.kept_in(name).is_some()),
        prefix,
        now: context.clock.now(),
    }
}

/// The points without what keeps one of them only until another is proved.
fn still_held(judged: &Judged<'_>) -> Vec<Held> {
    let mut held = judged.held.clone();
    for held in &mut held {
        held.always
            .retain(|reason| matches!(reason, Reason::Pinned(_)));
    }
    held
}

/// The keys of each point that are its own.
fn keys(judged: &Judged<'_>, complete: &dyn Fn(&str) -> String) -> Vec<(PointId, Vec<String>)> {
    let of = |copy: &&PointCopy| {
        let manifest = &copy.manifest;
        let own = manifest
            .artifacts
            .iter()
            .filter(|artifact| artifact.snapshot.is_none() && !is_pack(&artifact.name));
        let mut keys: Vec<String> = own.map(|artifact| complete(&artifact.key)).collect();
        let sealed = manifest.details.encrypt.as_deref() == Some(snapshot::ENCRYPTION);
        keys.extend((!sealed).then(|| complete(&manifest.details.key)));
        keys.push(complete(&manifest_key(&manifest.point)));
        (manifest.point.clone(), keys)
    };
    judged.copies.iter().map(of).collect()
}
