//! The end of a backup: writes the manifest of each store's copy, and reports on the run.

use super::{Destination, Report, Run, Stored, mirror, send};
use crate::cancel;
use crate::compress::Compress;
use crate::context::Context;
use crate::copies::{self, PointCopy};
use crate::document;
use crate::error::{Code, Error, Result};
use crate::evidence;
use crate::host::{author, host, machine};
use crate::name::{Name, StoredKey};
use crate::point::{Details, Manifest, Outcome, StoredDetails, Targets, details_key};
use crate::runbook;
use crate::sign::Signer;
use crate::snapshot::Deposit;
use crate::stores::OpenStore;
use jiff::Timestamp;
use lifeboat_store::PutOptions;

impl Run<'_> {
    /// Commits the point in every store that received all of it, and returns the report.
    pub(super) fn commit(mut self) -> Report {
        let interrupted = cancel::check().err();
        let any = !self.details.artifacts.is_empty();
        let failed = interrupted.is_some()
            || !any
            || self.sources.iter().all(|s| s.outcome == Outcome::Failed);
        let outcome = match (failed, self.failure.is_some() || self.skipped) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Partial,
            (false, false) => Outcome::Complete,
        };
        let finished = self.context.clock.now();
        let mut committed = Vec::new();
        for receiving in &self.stores {
            if let Some(error) = &receiving.failed {
                self.details.errors.push(error.to_string());
            }
        }
        if outcome != Outcome::Failed {
            self.context.reporter.step("commit", None);
            committed = self.commit_stores(outcome, finished);
            if committed.len() == self.open_stores().len() {
                self.mirrored.iter().for_each(mirror::Mirrored::settle);
            }
        }
        // Without its snapshot, data in a repository cannot be found.
        let lost = |store: &str| {
            let mut stores = self.stores.iter();
            stores.any(|s| s.store.name == store && s.deposit.is_some() && s.failed.is_some())
        };
        for artifact in &mut self.artifacts {
            artifact.stored.retain(|stored| !lost(&stored.store));
        }
        let missing: Vec<_> = self
            .plan
            .stores
            .iter()
            .filter(|s| !committed.contains(s))
            .cloned()
            .collect();
        let outcome = if committed.is_empty() {
            Outcome::Failed
        } else {
            outcome
        };
        let failure = interrupted
            .or_else(|| self.failure.clone())
            .or_else(|| self.stores.iter().find_map(|s| s.failed.clone()));
        Report {
            schema: 1,
            point: self.point,
            app: self.context.config.app.name.to_string(),
            plan: self.plan_name.to_string(),
            outcome,
            reason: self.reason,
            started: self.details.point.time(),
            finished: self.context.clock.now(),
            seconds: self.begun.elapsed().as_secs_f64(),
            artifacts: self.artifacts,
            stores: committed,
            missing_copies: missing,
            warnings: self.details.warnings,
            errors: self.details.errors,
            failure: (outcome == Outcome::Failed).then_some(failure).flatten(),
        }
    }

    /// Enters the snapshots and stored bytes of a store's artifacts in the report.
    fn note_snapshot(&mut self, store: &str, manifest: &Manifest) {
        let in_report = self.artifacts.iter_mut();
        for artifact in in_report {
            let known = manifest.artifacts.iter();
            let mut known = known.filter(|a| a.snapshot.is_some());
            let known = known.find(|a| a.source == artifact.source && a.name == artifact.name);
            let stored = artifact.stored.iter_mut().find(|s| s.store == store);
            if let (Some(known), Some(stored)) = (known, stored) {
                stored.snapshot.clone_from(&known.snapshot);
                stored.bytes = known.bytes;
                stored.sha256.clone_from(&known.sha256);
            }
        }
    }

    /// Current recovery objectives.
    fn targets(&self) -> Targets {
        let config = &self.context.config;
        let of_plan = config.drill.iter().filter(|(_, drill)| {
            let mut plans = drill.plans.iter();
            plans.any(|plan| plan == self.plan_name)
        });
        let ages = of_plan.filter_map(|(name, drill)| Some((name.clone(), drill.max_age?.seconds)));
        Targets {
            rpo_seconds: config.app.rpo.map(|span| span.seconds),
            rto_seconds: config.app.rto.map(|span| span.seconds),
            schedule: self.plan.schedule.clone(),
            drill_max_age_seconds: ages.collect(),
        }
    }

    fn commit_stores(&mut self, outcome: Outcome, finished: Timestamp) -> Vec<Name> {
        let open = self.open_stores();
        let heads = evidence::heads(self.context, &open);
        let mut committed = Vec::new();
        for index in 0..self.stores.len() {
            let Some(receiving) = self.stores.get(index).filter(|s| s.failed.is_none()) else {
                continue;
            };
            let draft = Manifest {
                safety: self.safety,
                schema: 1,
                point: self.point.clone(),
                app: self.context.config.app.name.clone(),
                environment: self.context.config.app.environment.clone(),
                plan: self.plan_name.clone(),
                host: host(),
                author: author(),
                reason: self.reason.clone(),
                trigger: Some(self.trigger),
                targets: Some(self.targets()),
                machine: machine(),
                previous: None,
                lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
                outcome,
                started: self.point.time(),
                finished,
                store: receiving.store.name.clone(),
                stores: self.plan.stores.clone(),
                sources: self.sources.clone(),
                artifacts: receiving.artifacts.clone(),
                details: StoredDetails {
                    key: StoredKey::own("details"),
                    bytes: 0,
                    sha256: String::new(),
                    encrypt: None,
                    openpgp_signer: None,
                    version: None,
                },
                evidence: heads.clone(),
                signer: self.context.state.signer.id().to_string(),
            };
            let (store, deposit) = (receiving.store.clone(), receiving.deposit.clone());
            match commit_copy(
                self.context,
                &store,
                deposit.as_deref(),
                draft,
                &self.details,
            ) {
                Ok(copy) => {
                    self.note_snapshot(&store.name, &copy.manifest);
                    committed.push(store.name);
                }
                Err(error) => {
                    if let Some(receiving) = self.stores.get_mut(index) {
                        let error = receiving.give_up(&self.context.reporter, error);
                        self.details.errors.push(error.to_string());
                    }
                }
            }
        }
        committed
    }
}

/// Stores the details and the manifest of one store's copy, which commits it, and then the recovery
/// instructions; until then, those of older points remain, and are true. With a deposit, the
/// details and everything in it first become a snapshot.
pub(crate) fn commit_copy(
    context: &Context,
    store: &OpenStore,
    deposit: Option<&Deposit>,
    mut manifest: Manifest,
    details: &Details,
) -> Result<PointCopy> {
    let (catalog, location) = (&context.state.catalog, store.store.location());
    manifest.previous = catalog.previous_of_plan(&location, &manifest);
    note_proofs(&context.state.signer, &mut manifest, details);
    match deposit {
        Some(deposit) => deposit.commit_point(&mut manifest, details)?,
        None => manifest.details = put_details(store, details)?,
    }
    let copy = copies::commit(&context.state.signer, store, &manifest)?;
    // The copy is committed, even if the index or the instructions cannot be updated.
    let noted = context
        .state
        .catalog
        .note(&store.store.location(), &copy)
        .and_then(|()| context.state.catalog.note_details(details));
    if let Err(error) = noted {
        context.reporter.warn(&error.to_string());
    }
    if let Err(error) = runbook::put(context, store, &manifest) {
        context.reporter.warn(&format!(
            "store {} has point {}, but {} could not be written for it: {error}",
            store.name,
            manifest.point,
            runbook::page_key(&manifest.app, &manifest.environment)
        ));
    }
    Ok(copy)
}

/// Adds a keyed hash of each artifact's content, made with the key of the signer.
fn note_proofs(signer: &Signer, manifest: &mut Manifest, details: &Details) {
    for artifact in &mut manifest.artifacts {
        let captured = details.artifact(&artifact.source, &artifact.name);
        artifact.proof_mac = captured.and_then(|d| signer.proof_mac(&d.proof.content()));
    }
}

/// Seals the details to a store's recipients and stores them as they are written. Returns the entry
/// for its manifest.
pub fn put_details(store: &OpenStore, details: &Details) -> Result<StoredDetails> {
    let mut store = store.clone();
    store.sealing.compress = Compress::None;
    let sealing = store.sealing.clone();
    let key = format!("{}{}", details_key(&details.point), sealing.suffix());
    let key = StoredKey::made(key)?;
    let destination = Destination {
        store,
        key: key.clone(),
        options: PutOptions::default(),
        deposit: None,
    };
    let (sent, delivered) = send(vec![destination], |output| {
        document::write_json(output, details)
    });
    // The store's error explains why the details could not be sent.
    let delivered = delivered.into_iter().next();
    let stored = delivered.map(|delivered| delivered.result).transpose()?;
    let (_, _) = sent?;
    let none = || Error::new(Code::Store, format!("{key} was not stored"));
    let Stored { tally, version } = stored.ok_or_else(none)?;
    Ok(StoredDetails {
        key,
        bytes: tally.bytes,
        sha256: tally.sha256,
        encrypt: sealing.encrypt_name().map(str::to_owned),
        openpgp_signer: sealing.signed_by(),
        version,
    })
}
