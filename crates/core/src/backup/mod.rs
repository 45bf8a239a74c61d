//! Takes a restore point: captures each source of a plan in order, and commits a copy in each
//! store.
//!
//! Guarantees: a store's manifest is its last object, so a run that dies leaves no visible point;
//! a source or store that fails does not stop the others; a key that a manifest names is never
//! overwritten; `finally` commands run whatever happened.

mod anomalies;
mod commit;
mod hooks;
mod mirror;
mod receiving;
mod report;
mod reserve;
mod spool;
mod unchanged;

use crate::archive::Tally;
use crate::compress::Compress;
use crate::config::{Config, PlanConfig, SourceConfig, SourceKind};
use crate::context::Context;
use crate::deliver::{ATTEMPTS_MAX, Delivered, Destination, NamedKeys, Stored, send, stem};
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{BytesFingerprint, Fingerprint, Inventory, Proof};
use crate::kind::StoredKind;
use crate::lease::{self, Lease};
use crate::name::{Name, StoredKey};
use crate::objective;
use crate::point::{
    Consistency, Details, DetailsArtifact, External, FileAttributes, ManifestArtifact,
    ManifestSource, Outcome, PointId, Trigger, TriggeredBy,
};
use crate::restoring;
use crate::scratch;
use crate::snapshot::Slot;
use crate::source::{self, ArtifactSpec, CaptureContext, Captured, Shape, Source};
use crate::stores::OpenStore;
use crate::wrong_clock;
use lifeboat_store::PutOptions;
use receiving::{Receiving, exposed, look_before, open_repositories, set_aside, unanimous};
pub use report::{Options, Planned, Report, ReportArtifact, ReportStored};
pub use reserve::{Reserved, reserve, run};
use spool::Spool;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use unchanged::Same;

/// Returns the plan of that name, or the only one.
pub fn choose_plan<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<(&'a Name, &'a PlanConfig)> {
    let plans = &config.plan;
    let known = || {
        plans
            .keys()
            .map(Name::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (name, plans.len()) {
        (Some(name), _) => plans.get_key_value(name).ok_or_else(|| {
            Error::new(Code::Usage, format!("there is no plan named {name}"))
                .hint(format!("the configuration has: {}", known()))
        }),
        (None, 1) => plans
            .first_key_value()
            .ok_or_else(|| Error::new(Code::Configuration, "no plan")),
        (None, 0) => Err(
            Error::new(Code::Configuration, "the configuration has no plan")
                .hint("add [plan.NAME] with sources = […] and stores = […]"),
        ),
        (None, _) => Err(
            Error::new(Code::Usage, "there are several plans and none was named").hint(format!(
                "name one: lifeboat backup PLAN, with PLAN one of: {}",
                known()
            )),
        ),
    }
}

/// Says what a backup would do. Nothing is connected to and nothing is changed.
pub fn plan(context: &Context, options: &Options) -> Result<Planned> {
    let (name, plan) = choose_plan(&context.config, options.plan.as_deref())?;
    context.config.check_plan(name)?;
    let point = PointId::new(&context.clock);
    let mut steps: Vec<_> = plan
        .before
        .iter()
        .map(|c| format!("run {}", c.join(" ")))
        .collect();
    for source_name in &plan.sources {
        let config = source_config(&context.config, source_name)?;
        for artifact in source::open(&config.kind)?.artifacts() {
            for store_name in &plan.stores {
                let store = context.config.store.get(store_name);
                let Some(store) = store else { continue };
                if store.is_repository() {
                    let path = slot(source_name, &artifact, &config.kind).path();
                    steps.push(format!(
                        "capture {} of source {source_name} ({}) and put it into the repository of store {store_name}, at {path} of the snapshot",
                        artifact.name, config.kind.name()
                    ));
                    continue;
                }
                let template = config.key.as_ref().unwrap_or(&store.key);
                let key = stem(
                    &context.config,
                    template,
                    name,
                    source_name,
                    &artifact,
                    &point,
                )?;
                let suffix = match &store.encrypt {
                    Some(_) => ", encrypted",
                    None => "",
                };
                steps.push(format!(
                    "capture {} of source {source_name} ({}) and put it into store {store_name} as {key}.{}…, {}{suffix}",
                    artifact.name, config.kind.name(), artifact.extension, store.compress
                ));
            }
        }
    }
    for store in &plan.stores {
        steps.push(format!("commit the manifest in store {store}"));
    }
    steps.extend(plan.finally.iter().map(|c| format!("run {}", c.join(" "))));
    Ok(Planned {
        plan: name.to_string(),
        steps,
    })
}

/// Place of an artifact of a source in a snapshot.
fn slot(source: &str, artifact: &ArtifactSpec, kind: &SourceKind) -> Slot {
    Slot {
        source: source.to_owned(),
        artifact: artifact.name.to_string(),
        extension: artifact.extension.to_string(),
        is_tree: source::descriptor(kind.kind()).is_tree(),
    }
}

fn source_config<'a>(config: &'a Config, name: &str) -> Result<&'a SourceConfig> {
    config.source.get(name).ok_or_else(|| {
        Error::new(
            Code::Configuration,
            format!("there is no source named {name}"),
        )
        .hint("run `lifeboat config check`")
    })
}

/// Writes an artifact of a source.
type Capture<'a> = &'a dyn Fn(&mut dyn Write) -> Result<Captured>;

/// Names what an artifact is captured with and its proof does not show.
fn settings(
    config: &SourceConfig,
    queries: &[String],
    attributes: Option<FileAttributes>,
) -> Option<String> {
    let all = serde_json::to_vec(&(config, queries, attributes)).ok()?;
    Some(sha256_hex(&all))
}

fn trigger(options: &Options) -> Trigger {
    Trigger {
        by: match (options.safety, options.slot) {
            (true, _) => TriggeredBy::Restore,
            (false, Some(_)) => TriggeredBy::Schedule,
            (false, None) => TriggeredBy::Command,
        },
        slot: options.slot,
    }
}

/// Location of its data, as a source reported it.
#[derive(Default)]
struct Told {
    identity: Option<String>,
    position: Option<String>,
    external: Option<External>,
}

/// A backup in progress.
struct Run<'a> {
    context: &'a Context,
    plan_name: &'a Name,
    plan: &'a PlanConfig,
    point: PointId,
    reason: Option<String>,
    safety: bool,
    trigger: Trigger,
    begun: std::time::Instant,
    stores: Vec<Receiving>,
    sources: Vec<ManifestSource>,
    details: Details,
    artifacts: Vec<ReportArtifact>,
    failure: Option<Error>,
    skipped: bool,
    /// Mirrored buckets, whose files are tidied up after the commit.
    mirrored: Vec<mirror::Mirrored>,
    /// Where streams wait until it is known whether anything is new.
    spool: Option<Spool>,
    /// Set once it is known that nothing is new.
    same: Option<Same>,
}

impl<'a> Run<'a> {
    fn begin(
        context: &'a Context,
        plan_name: &'a Name,
        plan: &'a PlanConfig,
        options: &Options,
    ) -> Result<Self> {
        if !options.safety {
            restoring::refuse_beside(&context.state)?;
        }
        let point = PointId::new(&context.clock);
        let mut stores = Vec::new();
        let mut errors: Vec<Error> = Vec::new();
        for name in &plan.stores {
            match context.stores.receiving(name) {
                Ok(store) => stores.push(Receiving {
                    store,
                    named: NamedKeys::default(),
                    artifacts: vec![],
                    deposit: None,
                    failed: None,
                }),
                Err(error) => errors.push(error),
            }
        }
        if stores.is_empty() {
            let none = || {
                Error::new(
                    Code::Configuration,
                    format!("plan {plan_name} has no store"),
                )
            };
            return Err(errors.into_iter().next().unwrap_or_else(none));
        }
        wrong_clock::check_clock(point.time())?;
        let before = look_before(context, &mut stores);
        open_repositories(context, &mut stores);
        if let Some(failed) = unanimous(&stores) {
            return Err(failed);
        }
        // Choose an id after all points of this second in any store, so that lists keep the order.
        let noted = context.state.catalog.newest_beside(&point);
        let point = before
            .newest
            .iter()
            .chain(&noted)
            .fold(point, |point, newest| {
                point.following(newest, context.clock.random())
            });
        let mut warnings = exposed(context, &stores, &plan.sources)?;
        warnings.extend(set_aside(context, before.ahead)?);
        let details = Details {
            schema: 1,
            point: point.clone(),
            artifacts: vec![],
            warnings,
            errors: errors.iter().map(ToString::to_string).collect(),
        };
        Ok(Run {
            context,
            plan_name,
            plan,
            point,
            reason: options.reason.clone(),
            safety: options.safety,
            trigger: trigger(options),
            begun: std::time::Instant::now(),
            stores,
            sources: vec![],
            details,
            artifacts: vec![],
            failure: None,
            skipped: false,
            mirrored: vec![],
            spool: None,
            same: None,
        })
    }

    /// Excludes other hosts by a lease in the first store that takes one. A store that takes none
    /// reports its error when it is to receive an artifact.
    fn lease(&self) -> Result<Option<Lease>> {
        let work = format!("backup of plan {}", self.plan_name);
        for receiving in self.stores.iter().filter(|s| s.failed.is_none()) {
            match lease::take(self.context, &receiving.store, self.plan_name, &work) {
                Ok(lease) => return Ok(Some(lease)),
                Err(error) if error.code == Code::Busy => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Notes a failure; the first one becomes the error of a failed run.
    fn fail(&mut self, error: Error) {
        // Where the rest is captured, nobody says it again; before a restore it is not what is to be done.
        let told = match self.plan.sources.len() > 1 && !self.safety {
            true => error.with_hint(),
            false => error.to_string(),
        };
        self.context.reporter.warn(&told);
        self.details.errors.push(error.to_string());
        self.failure.get_or_insert(error);
    }

    fn warn_all(&mut self, texts: Vec<String>) {
        texts
            .iter()
            .for_each(|text| self.context.reporter.warn(text));
        self.details.warnings.extend(texts);
    }

    fn capture_all(&mut self) {
        for name in &self.plan.sources {
            if unanimous(&self.stores).is_some() {
                // No store is left, so that a dump would be wasted.
                return;
            }
            let started = self.context.clock.now();
            let mut told = Told::default();
            let (kind, outcome, consistency) = match source_config(&self.context.config, name) {
                Ok(config) => {
                    let (outcome, consistency) = self.capture_source(name, config, &mut told);
                    (config.kind.kind().into(), outcome, consistency)
                }
                Err(error) => {
                    self.fail(error);
                    (
                        StoredKind::Unknown(Name::own("unknown")),
                        Outcome::Failed,
                        None,
                    )
                }
            };
            self.sources.push(ManifestSource {
                name: name.clone(),
                kind,
                outcome,
                consistency,
                started,
                finished: self.context.clock.now(),
                identity: told.identity,
                position: told.position,
                external: told.external,
            });
        }
    }

    fn capture_source(
        &mut self,
        name: &Name,
        config: &SourceConfig,
        told: &mut Told,
    ) -> (Outcome, Option<Consistency>) {
        let mut outcome = Outcome::Complete;
        let mut consistency = None;
        let mut note = |run: &mut Self, captured: Captured| {
            if captured.skipped.iter().any(|s| s.partial) {
                outcome = Outcome::Partial;
                run.skipped = true;
            }
            consistency.get_or_insert(captured.consistency);
            told.identity = told.identity.take().or(captured.identity);
            told.position = told.position.take().or(captured.position);
            told.external = told.external.take().or(captured.external);
        };
        let captured = source::open(&config.kind).and_then(|source| match source.shape() {
            Shape::Packs(bucket) => self
                .capture_bucket(name, config, bucket)
                .map(|captured| note(self, captured)),
            Shape::Streams => {
                for artifact in source.artifacts() {
                    let captured =
                        self.capture_artifact(name, config, source.as_ref(), &artifact)?;
                    note(self, captured);
                }
                Ok(())
            }
        });
        match captured {
            Ok(()) => (outcome, consistency),
            Err(error) => {
                self.drop_source(name);
                // When every store failed, that is the error, and it was noted for each store.
                if error.code != Code::Store || unanimous(&self.stores).is_none() {
                    let message = format!("source {name}: {}", error.message);
                    self.fail(Error { message, ..error });
                }
                (Outcome::Failed, None)
            }
        }
    }

    /// Removes a source from the point because one of its artifacts failed.
    fn drop_source(&mut self, name: &str) {
        self.details.artifacts.retain(|a| a.source != name);
        self.artifacts.retain(|a| a.source != name);
        for receiving in &mut self.stores {
            receiving.artifacts.retain(|a| a.source != name);
        }
    }

    fn capture_artifact(
        &mut self,
        name: &Name,
        config: &SourceConfig,
        source: &dyn Source,
        artifact: &ArtifactSpec,
    ) -> Result<Captured> {
        let context = self.context;
        let spool = scratch::Directory::create(&context.state.scratch(), "capture")?;
        let queries = self.queries(name);
        let (plan, point) = (self.plan_name, self.point.clone());
        let render = |template: &str| stem(&context.config, template, plan, name, artifact, &point);
        let capture_context = CaptureContext {
            scratch: spool.path(),
            scrubber: &context.scrubber,
            reporter: &context.reporter,
            queries: &queries,
            render: &render,
        };
        let capture =
            |output: &mut dyn Write| source.capture(&artifact.name, output, &capture_context);
        let (captured, tally, delivered) = match self.spool.is_some() {
            true => self.spool_artifact(name, artifact, &capture)?,
            false => self.send_artifact(name, config, artifact, &capture)?,
        };
        for warning in &captured.warnings {
            context.reporter.warn(&format!("{name}: {warning}"));
            self.details
                .warnings
                .push(format!("source {name}: {warning}"));
        }
        for skipped in captured.skipped.iter().filter(|s| s.partial) {
            let text = format!(
                "source {name}: {} was left out: {}",
                skipped.name, skipped.reason
            );
            context.reporter.warn(&text);
            self.details.warnings.push(text);
        }
        // If only the bytes of a stream are known, their hash is the proof.
        let proof = captured.proof.clone().unwrap_or_else(|| Proof {
            fingerprint: Fingerprint::Bytes(BytesFingerprint {
                length: tally.bytes,
                sha256: tally.sha256.clone(),
            }),
            inventory: Inventory::None,
        });
        self.warn_if_empty(name, artifact, &proof);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let details = DetailsArtifact {
            source: name.to_owned(),
            name: artifact.name.clone(),
            bytes: tally.bytes,
            sha256: tally.sha256,
            proof,
            skipped: captured.skipped.clone(),
            tools: captured.tools.clone(),
            answers: captured.answers.clone(),
            roots: config.kind.roots().into_iter().map(text).collect(),
            settings: settings(config, &queries, source.attributes()),
            attributes: source.attributes(),
            changes: None,
        };
        // What is in the spool is noted when it is delivered.
        if self.spool.is_none() {
            self.note_artifact(&details, &delivered);
        }
        self.details.artifacts.push(details);
        Ok(captured)
    }

    /// Captures an artifact into every store, anew if its source changed on the way.
    fn send_artifact(
        &mut self,
        name: &Name,
        config: &SourceConfig,
        artifact: &ArtifactSpec,
        capture: Capture<'_>,
    ) -> Result<(Captured, Tally, Vec<Delivered>)> {
        let mut attempt = 1;
        let (captured, delivered) = loop {
            let step = format!("{name}: {}", artifact.name);
            self.context.reporter.step(&step, None);
            let destinations = self.destinations(name, config, artifact, None)?;
            let (captured, delivered) = send(destinations, capture);
            match &captured {
                // Every store discards what was sent, and the artifact is begun anew.
                Err(error) if self.is_worth_another(error, name, attempt) => attempt += 1,
                _ => break (captured, delivered),
            }
        };
        if let Err(error) = &captured
            && error.code != Code::Store
        {
            // The source failed: the uploads only fail because of it.
            return Err(error.clone());
        }
        self.receive(name, artifact, &delivered);
        let (captured, tally) = captured?;
        Ok((captured, tally, delivered))
    }

    /// Captures an artifact into the spool, anew if its source changed on the way.
    fn spool_artifact(
        &mut self,
        name: &Name,
        artifact: &ArtifactSpec,
        capture: Capture<'_>,
    ) -> Result<(Captured, Tally, Vec<Delivered>)> {
        let mut attempt = 1;
        loop {
            let step = format!("{name}: {}", artifact.name);
            self.context.reporter.step(&step, None);
            let none = || Error::new(Code::State, "there is no spool");
            let spool = self.spool.as_mut().ok_or_else(none)?;
            match spool.take(name, artifact, capture) {
                Err(error) if self.is_worth_another(&error, name, attempt) => attempt += 1,
                taken => return taken.map(|(captured, tally)| (captured, tally, Vec::new())),
            }
        }
    }

    /// Returns whether a capture is tried again, and says so.
    fn is_worth_another(&self, error: &Error, source: &Name, attempt: u32) -> bool {
        let is_worth = error.code == Code::SourceChanged && attempt < ATTEMPTS_MAX;
        if is_worth {
            let text = format!("{source}: {}; it is captured again", error.message);
            self.context.reporter.warn(&text);
        }
        is_worth
    }

    /// Warns of an empty capture, which is valid and hardly intended.
    fn warn_if_empty(&mut self, name: &Name, artifact: &ArtifactSpec, proof: &Proof) {
        if objective::emptied(proof, None).is_none() {
            return;
        }
        let catalog = &self.context.state.catalog;
        let before = self.stores.iter().find_map(|receiving| {
            let location = receiving.store.store.location();
            catalog.previous_proof(&location, name, &artifact.name)
        });
        if let Some(text) = objective::emptied(proof, before.as_ref()) {
            let text = format!("source {name}: {text}");
            self.context.reporter.warn(&text);
            self.details.warnings.push(text);
        }
    }

    /// Adds an artifact to the report.
    fn note_artifact(&mut self, details: &DetailsArtifact, delivered: &[Delivered]) {
        let stored = delivered.iter().filter_map(|d| {
            let tally = &d.result.as_ref().ok()?.tally;
            Some(ReportStored {
                store: d.store.clone(),
                key: d.key.to_string(),
                bytes: tally.bytes,
                sha256: tally.sha256.clone(),
                snapshot: None,
            })
        });
        self.artifacts.push(ReportArtifact {
            source: details.source.to_string(),
            name: details.name.to_string(),
            bytes: details.bytes,
            sha256: details.sha256.clone(),
            stored: stored.collect(),
            fingerprint: details.proof.fingerprint.clone(),
        });
    }

    /// The stores that have not failed.
    fn open_stores(&self) -> Vec<OpenStore> {
        let open = self.stores.iter().filter(|s| s.failed.is_none());
        open.map(|s| s.store.clone()).collect()
    }

    /// The queries whose answers drills compare.
    fn queries(&self, source: &str) -> Vec<String> {
        let checks = self.context.config.drill.values().flat_map(|d| &d.checks);
        let mut queries: Vec<_> = checks
            .filter(|c| c.sql.as_deref() == Some(source) && c.expect.as_deref() == Some("same"))
            .filter_map(|c| c.query.clone())
            .collect();
        queries.sort();
        queries.dedup();
        queries
    }

    fn destinations(
        &mut self,
        source: &str,
        config: &SourceConfig,
        artifact: &ArtifactSpec,
        compress: Option<Compress>,
    ) -> Result<Vec<Destination>> {
        let mut destinations = Vec::new();
        for receiving in self.stores.iter_mut().filter(|s| s.failed.is_none()) {
            if let Some(deposit) = &receiving.deposit {
                let slot = slot(source, artifact, &config.kind);
                destinations.push(Destination {
                    store: receiving.store.clone(),
                    key: StoredKey::made(slot.path())?,
                    options: PutOptions::default(),
                    deposit: Some((Arc::clone(deposit), slot)),
                });
                continue;
            }
            let template = config.key.as_ref().unwrap_or(&receiving.store.config.key);
            let stem = stem(
                &self.context.config,
                template,
                self.plan_name,
                source,
                artifact,
                &self.point,
            )?;
            let mut store = receiving.store.clone();
            store.sealing.compress = compress.unwrap_or(store.sealing.compress);
            let suffix = format!(".{}{}", artifact.extension, store.sealing.suffix());
            match receiving.free_key(self.context, &stem, &suffix, &self.point) {
                Ok((key, if_absent)) => {
                    let location = receiving.store.store.location();
                    let catalog = &self.context.state.catalog;
                    let previous = catalog.previous_bytes(&location, source, &artifact.name);
                    // Allow growth by half.
                    let bytes_hint = previous.map(|bytes| bytes.saturating_add(bytes / 2));
                    let options = PutOptions {
                        if_absent,
                        bytes_hint,
                    };
                    destinations.push(Destination {
                        store,
                        key,
                        options,
                        deposit: None,
                    });
                }
                Err(error) => drop(receiving.give_up(&self.context.reporter, error)),
            }
        }
        if destinations.is_empty() {
            let failed = self.stores.iter().find_map(|s| s.failed.clone());
            return Err(failed.unwrap_or_else(|| Error::new(Code::Store, "no store is left")));
        }
        Ok(destinations)
    }

    /// Notes which stores hold the artifact; the others get no copy of this point.
    fn receive(&mut self, source: &Name, artifact: &ArtifactSpec, delivered: &[Delivered]) {
        for delivery in delivered {
            let Some(receiving) = self
                .stores
                .iter_mut()
                .find(|s| s.store.name == delivery.store)
            else {
                continue;
            };
            match &delivery.result {
                Ok(Stored { tally, version }) => receiving.artifacts.push(ManifestArtifact {
                    source: source.to_owned(),
                    name: artifact.name.clone(),
                    extension: artifact.extension.clone(),
                    key: delivery.key.clone(),
                    bytes: tally.bytes,
                    sha256: tally.sha256.clone(),
                    snapshot: None,
                    compress: delivery.sealing.compress_name().into(),
                    encrypt: delivery.sealing.encrypt_name().map(Into::into),
                    openpgp_signer: delivery.sealing.signed_by(),
                    proof_mac: None,
                    settings_mac: None,
                    version: version.clone(),
                }),
                Err(error) => drop(receiving.give_up(&self.context.reporter, error.clone())),
            }
        }
    }
}
