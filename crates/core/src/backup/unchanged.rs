//! What a run does that takes no point when nothing changed: its streams wait in a spool until it is
//! known.
//!
//! Guarantees: a run is called unchanged only if each of its streams was shown to have the content
//! that the newest complete point of its plan has, if every store of the plan answers and holds that
//! point sound and whole, and if nothing was skipped. In doubt, a point is taken.

use super::spool::{Spool, Spooled};
use super::{Run, source_config, unanimous};
use crate::cancel;
use crate::clock::is_ahead;
use crate::copies::{self, PointCopy, manifest_sha256};
use crate::deliver::send;
use crate::error::{Code, Error, Result};
use crate::evidence;
use crate::fingerprint::{Fingerprint, Proof};
use crate::kept::{self, Judged, Proofs};
use crate::marks::Unchanged;
use crate::name::Name;
use crate::point::{Details, DetailsArtifact, ManifestArtifact, Outcome, PointId};
use crate::sign::Signer;
use crate::stores::OpenStore;
use crate::survey::{self, Survey};

/// A run that found nothing new.
pub(super) struct Same {
    /// The point that holds all that it found.
    pub point: PointId,
}

impl Run<'_> {
    /// Begins a spool, if the plan takes no point when nothing changed. A point that somebody asks
    /// for, with a reason or before a live restore, is always taken.
    pub(super) fn begin_spool(&mut self) -> Result<()> {
        if self.plan.skip_unchanged && self.reason.is_none() && !self.safety {
            self.spool = Some(Spool::create(&self.context.state.scratch())?);
        }
        Ok(())
    }

    /// Decides what becomes of the spool: it is delivered, unless nothing is new.
    pub(super) fn settle(&mut self) {
        let Some(spool) = self.spool.take() else {
            return;
        };
        self.same = self.find_same().unwrap_or_else(|error| {
            let reporter = &self.context.reporter;
            reporter.warn(&format!(
                "a point is taken, since it cannot be shown and noted that nothing is new: {error}"
            ));
            None
        });
        if self.same.is_none() && cancel::check().is_ok() {
            spool.streams().iter().for_each(|s| self.deliver(&spool, s));
        }
    }

    /// Compares what was captured with the plan's newest point, and notes in every store that
    /// nothing is new. `None` if that was not shown.
    fn find_same(&mut self) -> Result<Option<Same>> {
        let Some(stores) = self.whole_in() else {
            return Ok(None);
        };
        self.context.reporter.step("compare", None);
        let survey = survey::survey(self.context, false)?;
        let (listed, unread) = evidence::list(self.context)?;
        // A record that cannot be read may say that the point does not come back.
        if let Some(error) = unread.into_iter().next() {
            return Err(error);
        }
        let proofs = Proofs::of(&listed, self.context.clock.now());
        let judged = kept::judge(self.context, &survey, &proofs);
        let mut copies = Vec::new();
        for store in stores {
            match self.basis(&survey, &judged, &store.name) {
                Some(copy) if self.is_same(&store, copy)? => copies.push((store, copy)),
                _ => return Ok(None),
            }
        }
        let mut points = copies.iter().map(|(_, copy)| &copy.manifest.point);
        let Some(point) = points.next().cloned() else {
            return Ok(None);
        };
        if points.any(|other| *other != point) {
            return Ok(None);
        }
        self.note_same(&point, &copies)?;
        Ok(Some(Same { point }))
    }

    /// The stores of the plan, if all of them can be asked, and every source was captured whole.
    fn whole_in(&self) -> Option<Vec<OpenStore>> {
        let captured = |name: &Name| {
            let mut sources = self.sources.iter();
            sources.any(|s| s.name == *name && s.outcome == Outcome::Complete)
        };
        let whole = self.failure.is_none()
            && !self.skipped
            && cancel::check().is_ok()
            && self.plan.sources.iter().all(captured);
        let open = self.open_stores();
        let stores = self.plan.stores.iter().map(|name| {
            let mut open = open.iter();
            open.find(|store| store.name == *name).cloned()
        });
        stores.collect::<Option<Vec<_>>>().filter(|_| whole)
    }

    /// The copy of the plan's newest complete point in a store. `None` if it is not sound, or goes.
    fn basis<'s>(
        &self,
        survey: &Survey,
        judged: &[Judged<'s>],
        store: &Name,
    ) -> Option<&'s PointCopy> {
        let now = self.context.clock.now();
        let mut judged = judged.iter();
        let of_plan = judged.find(|of| of.store == *store && of.plan == *self.plan_name)?;
        let mut newest_first = of_plan.held.iter().zip(&of_plan.copies).rev();
        let (held, copy) = newest_first.find(|(held, copy)| {
            let out_of_choice =
                is_ahead(held.point.time(), now) || survey.disowned.contains(&held.point);
            copy.manifest.lacks().is_none() && !held.safety && !out_of_choice
        })?;
        (held.sound && held.leaving.is_none()).then_some(*copy)
    }

    /// Returns whether a copy is whole, holds what was captured, and is sealed as a new one would be.
    fn is_same(&self, store: &OpenStore, copy: &PointCopy) -> Result<bool> {
        let manifest = &copy.manifest;
        let sealing = &store.sealing;
        if manifest.recipients_sha256 != sealing.recipients_sha256()
            || manifest.artifacts.len() != self.details.artifacts.len()
        {
            return Ok(false);
        }
        let signer = &self.context.state.signer;
        let signer = (copy.signer() == Some(signer.id())).then_some(signer);
        let mut known = Known {
            run: self,
            store,
            copy,
            details: None,
        };
        for artifact in &manifest.artifacts {
            let captured = self.details.artifact(&artifact.source, &artifact.name);
            let is_same = artifact.encrypt.as_deref() == sealing.encrypt_name()
                && artifact.openpgp_signer == sealing.signed_by()
                && captured.is_some_and(|captured| {
                    is_shown_equal(captured, artifact, signer, || known.artifact(artifact))
                });
            if !is_same || !is_there(store, &artifact.key, artifact.bytes)? {
                return Ok(false);
            }
        }
        is_there(store, &manifest.details.key, manifest.details.bytes)
    }

    /// Notes beside each copy that nothing is new. Fails if no store could be told.
    fn note_same(&mut self, point: &PointId, copies: &[(OpenStore, &PointCopy)]) -> Result<()> {
        let context = self.context;
        let slot = self.trigger.slot;
        let note = Unchanged::new(context, &self.point, self.plan_name, point, slot);
        let mut errors = Vec::new();
        for (store, copy) in copies {
            if let Err(error) = note.put(context, store, &manifest_sha256(copy)) {
                let message = format!("store {} was not told: {}", store.name, error.message);
                errors.push(Error { message, ..error });
            }
        }
        if let (Some(error), true) = (errors.first(), errors.len() == copies.len()) {
            return Err(error.clone());
        }
        for error in errors {
            context.reporter.warn(&error.to_string());
            self.details.errors.push(error.to_string());
        }
        Ok(())
    }

    /// Sends a stream of the spool to every store.
    fn deliver(&mut self, spool: &Spool, stream: &Spooled) {
        let (source, artifact) = (&stream.source, &stream.artifact);
        let captured = self.details.artifact(source, &artifact.name).cloned();
        let Some(captured) = captured.filter(|_| unanimous(&self.stores).is_none()) else {
            // Another artifact of this source failed, or no store is left.
            return;
        };
        if let Err(error) = self.deliver_captured(spool, stream, &captured) {
            self.drop_source(source);
            let mut sources = self.sources.iter_mut();
            if let Some(of) = sources.find(|of| of.name == *source) {
                of.outcome = Outcome::Failed;
                of.consistency = None;
            }
            // When every store failed, that was noted for each store.
            if error.code != Code::Store || unanimous(&self.stores).is_none() {
                let message = format!("source {source}: {}", error.message);
                self.fail(Error { message, ..error });
            }
        }
    }

    fn deliver_captured(
        &mut self,
        spool: &Spool,
        stream: &Spooled,
        captured: &DetailsArtifact,
    ) -> Result<()> {
        let (source, artifact) = (&stream.source, &stream.artifact);
        let step = format!("{source}: {}", artifact.name);
        self.context.reporter.step(&step, Some(captured.bytes));
        let config = source_config(&self.context.config, source)?;
        let destinations = self.destinations(source, config, artifact, None)?;
        let (sent, delivered) = send(destinations, |output| spool.give(stream, output));
        if let Err(error) = &sent
            && error.code != Code::Store
        {
            // The spool failed: the uploads only fail because of it.
            return Err(error.clone());
        }
        self.receive(source, artifact, &delivered);
        sent?;
        self.note_artifact(captured, &delivered);
        Ok(())
    }
}

/// Details of a copy, which are read once they are needed.
struct Known<'a> {
    run: &'a Run<'a>,
    store: &'a OpenStore,
    copy: &'a PointCopy,
    /// What was read, or that it cannot be.
    details: Option<Option<Details>>,
}

impl Known<'_> {
    fn artifact(&mut self, artifact: &ManifestArtifact) -> Option<DetailsArtifact> {
        let manifest = &self.copy.manifest;
        let catalog = &self.run.context.state.catalog;
        let details = self.details.get_or_insert_with(|| {
            let noted = catalog.details(&manifest.point).ok().flatten();
            noted.or_else(|| copies::read_details(self.store, manifest).ok())
        });
        let known = details.as_ref()?;
        known.artifact(&artifact.source, &artifact.name).cloned()
    }
}

/// Returns whether an object is in a store, in its size.
fn is_there(store: &OpenStore, key: &str, bytes: u64) -> Result<bool> {
    let found = store.store.stat(key)?;
    Ok(found.is_some_and(|found| found.bytes == bytes))
}

/// Returns whether what was captured was shown to be what an artifact of a point holds, captured with
/// the same settings. `signer` is our key, if it signed the manifest; `known` reads the details,
/// where that is possible.
fn is_shown_equal(
    captured: &DetailsArtifact,
    artifact: &ManifestArtifact,
    signer: Option<&Signer>,
    known: impl FnOnce() -> Option<DetailsArtifact>,
) -> bool {
    let Some(settings) = &captured.settings else {
        return false;
    };
    let is_shown = shows_equality(&captured.proof);
    if let (Some(signer), Some(proof_mac), Some(settings_mac)) =
        (signer, &artifact.proof_mac, &artifact.settings_mac)
    {
        let fits = |content: &[u8], mac: &String| signer.proof_mac(content).as_ref() == Some(mac);
        // What differs here is not equal by its bytes either.
        if !fits(settings.as_bytes(), settings_mac) || !fits(&captured.proof.content(), proof_mac) {
            return false;
        }
        if is_shown {
            return true;
        }
    }
    let Some(known) = known().filter(|known| known.settings.as_ref() == Some(settings)) else {
        return false;
    };
    let same_bytes = (known.bytes, &known.sha256) == (captured.bytes, &captured.sha256);
    same_bytes || (is_shown && known.proof.content() == captured.proof.content())
}

/// Returns whether equal proofs of this kind show equal content.
fn shows_equality(proof: &Proof) -> bool {
    match &proof.fingerprint {
        Fingerprint::Bytes(_) | Fingerprint::Files(_) => true,
        Fingerprint::Tables(tables) => tables.limits.is_empty(),
        Fingerprint::Objects(_) => false,
    }
}

#[cfg(test)]
mod tests;
