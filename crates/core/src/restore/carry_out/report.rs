//! The end of a restore: what was restored from each point, the verdict, and the signed record.

use super::Restoring;
use crate::cancel;
use crate::context::Context;
use crate::copies::manifest_sha256;
use crate::error::{Code, Result};
use crate::evidence::{self, Activity, Facts, ProvedPoint, Record, Verdict};
use crate::fetch::Fetched;
use crate::name::Name;
use crate::point::age_limit;
use crate::probe::{CheckOutcome, CheckResult, Subject};
use crate::restore::journal::Journal;
use crate::restore::live::{Report, Target};
use crate::restoring::Stage;
use crate::status;

impl Restoring<'_> {
    /// What was restored from a point, and what was not.
    fn proved(&self, fetched: &Fetched) -> ProvedPoint {
        let manifest = &fetched.copy.manifest;
        let own = self.wanted.iter().filter(|w| *w.point() == manifest.point);
        let own = own.map(|w| w.name().clone());
        let sources: Vec<Name> = own.filter(|name| !self.left.contains(name)).collect();
        let elsewhere = |name: &Name| self.wanted.iter().any(|w| w.name() == name);
        let left_out = manifest.sources.iter().map(|s| s.name.clone());
        let left_out = left_out.filter(|name| self.left.contains(name) || !elsewhere(name));
        ProvedPoint {
            point: manifest.point.clone(),
            plan: Some(manifest.plan.clone()),
            store: Some(fetched.store.name.clone()),
            manifest_sha256: Some(manifest_sha256(&fetched.copy)),
            left_out: left_out.collect(),
            uncompared: vec![],
            sources,
        }
    }

    fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|c| c.outcome == outcome);
        Verdict::of(Facts {
            failed: any(CheckOutcome::Failed),
            // What was swapped back is no longer there.
            lacking: self.lacking || self.undone.is_some(),
            uncompared: any(CheckOutcome::Unknown) || self.unproven,
            interrupted: cancel::requested(),
        })
    }

    pub fn report(mut self, target: &Target, reason: Option<String>) -> Result<Report> {
        self.warnings.append(&mut self.kept);
        for fetched in self.points {
            let point = &fetched.copy.manifest.point;
            self.limits.extend(age_limit(point, self.started));
            // A live restore required proof, or was told to do without.
            if let (Err(error), false) = (&fetched.details, matches!(target, Target::Live))
                && matches!(error.code, Code::ObjectDamaged | Code::ObjectMissing)
            {
                let name = Subject::of("details of", point);
                self.checks
                    .push(CheckResult::failed(name, "as the manifest says", error));
            }
        }
        let outcome = self.verdict();
        let app = &self.context.config.app;
        let checks = status::unchanged_here(self.context);
        let points = self.points.iter().map(|p| &p.copy.manifest.point);
        let times = points.map(|point| status::current_at(&checks, point).as_second());
        let oldest = times.min();
        let draft = Record {
            reason,
            target: Some(match target {
                Target::Directory(directory) => directory.display().to_string(),
                Target::Database(_) | Target::Bucket(_) => self
                    .places
                    .first()
                    .map_or_else(String::new, |(_, p)| p.clone()),
                Target::Live => format!("live: {}/{}", app.name, app.environment),
            }),
            points: self.points.iter().map(|p| self.proved(p)).collect(),
            outcome,
            unproven: self.unproven,
            checks: self.checks,
            limits: self.limits.into_iter().map(Into::into).collect(),
            phases: self.watch.phases,
            rto_seconds: (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            rpo_seconds: oldest.map_or(0, |o| (self.started.as_second() - o).max(0)) as f64,
            downtime_seconds: self.downtime,
            ..evidence::draft(self.context, Activity::Restore, self.started)
        };
        let evidence = evidence::append(self.context, draft)?;
        if let Some(journal) = self.journal.filter(|_| self.undone.is_none()) {
            let kept = keep_open(self.context, journal, &evidence.record);
            self.warnings.extend(kept.err().map(|e| e.to_string()));
        }
        Ok(Report {
            evidence,
            partial: None,
            safety_points: self.safety_points,
            undone: self.undone,
            places: self.places,
            warnings: self.warnings,
        })
    }
}

/// Notes that a restore is over, and keeps what was live before.
fn keep_open(context: &Context, mut journal: Journal, record: &Record) -> Result<()> {
    journal.evidence = Some(record.id.clone());
    journal.restore.ended = Some(record.finished);
    journal.at(context, Stage::Kept)
}
