//! The end of a backup: writes the manifest of each store's copy, and reports on the run.

use super::unchanged::Same;
use super::{Report, Run, mirror};
use crate::cancel;
use crate::deliver::commit_copy;
use crate::evidence;
use crate::host::{author, host, machine};
use crate::name::Name;
use crate::point::{Head, Manifest, ManifestArtifact, Outcome, StoredDetails, Targets};
use crate::snapshot::About;
use crate::stores::OpenStore;
use jiff::Timestamp;
use std::collections::BTreeMap;

impl Run<'_> {
    /// Commits the point in every store that received all of it, and returns the report.
    pub(super) fn commit(mut self) -> Report {
        if let Some(same) = self.same.take() {
            return self.report_same(same);
        }
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
        if outcome == Outcome::Complete && !self.safety {
            self.look_for_anomalies();
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
            unchanged: false,
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

    /// The report of a run that found nothing new.
    fn report_same(mut self, same: Same) -> Report {
        for captured in &std::mem::take(&mut self.details.artifacts) {
            self.note_artifact(captured, &[]);
        }
        Report {
            schema: 1,
            point: same.point,
            app: self.context.config.app.name.to_string(),
            plan: self.plan_name.to_string(),
            outcome: Outcome::Complete,
            unchanged: true,
            reason: self.reason,
            started: self.point.time(),
            finished: self.context.clock.now(),
            seconds: self.begun.elapsed().as_secs_f64(),
            artifacts: self.artifacts,
            stores: self.plan.stores.clone(),
            missing_copies: Vec::new(),
            warnings: self.details.warnings,
            errors: self.details.errors,
            failure: None,
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
            schedule: self.plan.when.schedule.clone(),
            drill_max_age_seconds: ages.collect(),
        }
    }

    /// The manifest of a store's copy.
    fn manifest(
        &self,
        store: &OpenStore,
        outcome: Outcome,
        finished: Timestamp,
        heads: &BTreeMap<Name, Head>,
        artifacts: Vec<ManifestArtifact>,
        details: StoredDetails,
    ) -> Manifest {
        let app = &self.context.config.app;
        Manifest {
            schema: 1,
            point: self.point.clone(),
            app: app.name.clone(),
            environment: app.environment.clone(),
            plan: self.plan_name.clone(),
            host: host(),
            author: author(),
            reason: self.reason.clone(),
            trigger: Some(self.trigger),
            targets: Some(self.targets()),
            machine: machine(),
            previous: None,
            safety: self.safety,
            lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
            outcome,
            started: self.point.time(),
            finished,
            store: store.name.clone(),
            stores: self.plan.stores.clone(),
            sources: self.sources.clone(),
            artifacts,
            details,
            recipients_sha256: store.sealing.recipients_sha256(),
            evidence: heads.clone(),
            signer: self.context.state.signer.id().to_string(),
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
            let (store, deposit) = (receiving.store.clone(), receiving.deposit.clone());
            let artifacts = receiving.artifacts.clone();
            let draft = |artifacts, details| {
                self.manifest(&store, outcome, finished, &heads, artifacts, details)
            };
            let about = About {
                point: &self.point,
                plan: self.plan_name,
                time: self.point.time(),
                host: &host(),
                author: &author(),
            };
            match commit_copy(
                self.context,
                &store,
                deposit.as_deref(),
                artifacts,
                &self.details,
                &draft,
                &about,
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
