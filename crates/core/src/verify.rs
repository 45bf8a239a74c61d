//! Re-reads stored objects and compares them with the manifests. No object is decrypted, so a host
//! that can only write can still verify. A repository is opened, for which its password is enough.

mod absent;
mod snapshots;

use crate::archive::TapReader;
use crate::clock::{Clock, is_ahead};
use crate::context::Context;
use crate::copies::PointCopy;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::fetch;
use crate::kept;
use crate::machines::{self, Keepers};
use crate::name::Name;
use crate::observe::Reporter;
use crate::point::{ManifestArtifact, OnlyPartial, POINTS_PREFIX, PointId, Selector, manifest_key};
use crate::runbook;
use crate::snapshot::{self, Blobs};
use crate::stores::OpenStore;
use crate::survey::{self, Survey, Unread};
use absent::{Came, absent_copy, came_since};
use lifeboat_repository::Id;
use serde::Serialize;
pub use snapshots::VerifiedSnapshot;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;

/// The points to verify.
#[derive(Debug, Clone)]
pub enum Which {
    /// One point.
    One(Selector),
    /// The newest point of each plan.
    Newest,
    /// Every point.
    All,
    /// A random percentage of the points, at least one.
    Sample(u8),
}

/// The verdict on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Soundness {
    /// It is as the manifest says.
    Intact,
    /// The store, or the key to it, failed: nothing is known of the object.
    Unread,
    /// It is not there.
    Missing,
    /// It is there, but is not what the manifest says.
    Damaged,
}

impl Soundness {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Soundness::Intact => "intact",
            Soundness::Unread => "unread",
            Soundness::Missing => "missing",
            Soundness::Damaged => "damaged",
        }
    }
}

/// One object that was read again.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedObject {
    /// Its store.
    pub store: Name,
    /// Its key.
    pub key: String,
    /// The verdict.
    pub outcome: Soundness,
    /// The fault, if there is one.
    pub detail: Option<String>,
}

/// One point that was verified.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedPoint {
    /// Its id.
    pub point: PointId,
    /// The worst of its objects.
    pub outcome: Soundness,
    /// Each object, by store.
    pub objects: Vec<VerifiedObject>,
    /// The snapshots of machines that it names, as their keepers have them.
    pub snapshots: Vec<VerifiedSnapshot>,
}

/// The document of `verify`: for one point its objects, for several points each with its own.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Document<'a> {
    /// One point.
    One {
        /// Its id.
        point: &'a PointId,
        /// The worst of everything.
        outcome: Soundness,
        /// Each object, by store.
        objects: &'a [VerifiedObject],
        /// The snapshots of machines that it names.
        snapshots: &'a [VerifiedSnapshot],
        /// As in [`Verified`].
        instructions: &'a [VerifiedObject],
        /// As in [`Verified`].
        unread: &'a [VerifiedObject],
    },
    /// Several, or none.
    Several {
        /// The worst of everything.
        outcome: Soundness,
        /// The points.
        points: &'a [VerifiedPoint],
        /// As in [`Verified`].
        instructions: &'a [VerifiedObject],
        /// As in [`Verified`].
        unread: &'a [VerifiedObject],
    },
}

/// What was verified.
#[derive(Debug)]
pub struct Verified {
    /// The points.
    pub points: Vec<VerifiedPoint>,
    /// The instructions in each store that holds one of them.
    pub instructions: Vec<VerifiedObject>,
    /// Stores that could not be asked for their points, and manifests that could not be read. Other
    /// points may exist there.
    pub unread: Vec<VerifiedObject>,
}

impl Verified {
    /// The worst of everything.
    pub fn worst(&self) -> Soundness {
        let points = self.points.iter().map(|p| p.outcome);
        let others = self.instructions.iter().chain(&self.unread);
        points
            .chain(others.map(|o| o.outcome))
            .max()
            .unwrap_or(Soundness::Missing)
    }

    /// The document.
    pub fn document(&self) -> Document<'_> {
        let outcome = self.worst();
        let (instructions, unread) = (&self.instructions, &self.unread);
        match self.points.as_slice() {
            [only] => Document::One {
                point: &only.point,
                outcome,
                objects: &only.objects,
                snapshots: &only.snapshots,
                instructions,
                unread,
            },
            points => Document::Several {
                outcome,
                points,
                instructions,
                unread,
            },
        }
    }

    /// Returns the exit code of the verification.
    pub fn exit(&self) -> Exit {
        match self.worst() {
            Soundness::Intact => Exit::Done,
            Soundness::Unread => Exit::Failed,
            Soundness::Missing | Soundness::Damaged => Exit::NotProved,
        }
    }
}

/// Verifies every copy of the chosen points, in `store` or in all stores, and the instructions
/// there. Unless one point is asked for, a copy that was there before and is gone counts as
/// missing.
pub fn run(context: &Context, which: &Which, store: Option<&str>) -> Result<Verified> {
    if let Some(name) = store {
        context.stores.open(name)?;
    }
    let survey = survey::survey(context, false)?;
    let points = choose(context, which, store, &survey)?;
    let proofs = kept::proofs(context);
    let lacking = kept::missing_copies(context, &survey, &proofs);
    let (mut verified, mut read) = (Vec::new(), ReadBefore::default());
    let named = machines::named_by(context, &survey, &proofs);
    let mut keepers = Keepers::default();
    let asked = |name: &Name| store.is_none_or(|s| name == s);
    let by_id = matches!(which, Which::One(Selector::Prefix(_)));
    for point in points {
        let mut objects = Vec::new();
        for (name, copy) in &survey.copies {
            // A copy that leaves may be gone before it is read: it is asked for by its id.
            let stays = by_id || survey.leaving(name, copy).is_none();
            if copy.manifest.point == point && asked(name) && stays {
                let verified = verify_copy(context, name, copy, &mut read);
                remember(context, name, &point, &verified)?;
                objects.extend(verified);
            }
        }
        let lost = survey.missing.iter();
        let lost = lost.filter(|lost| lost.copy.manifest.point == point);
        let absent = lacking.get(&point).into_iter().flatten();
        let absent: BTreeSet<&Name> = absent.chain(lost.map(|lost| &lost.store)).collect();
        for name in absent.into_iter().filter(|name| asked(name)) {
            match came_since(context, &survey, name, &point) {
                Came::Not => objects.push(absent_copy(&survey, name, &point)),
                Came::Committed(copy) => {
                    objects.extend(verify_copy(context, name, &copy, &mut read));
                }
                Came::OnItsWay => {}
            }
        }
        if objects.is_empty() && !by_id {
            // This store is not to hold it, or not any longer.
            continue;
        }
        let own = named.iter().filter(|named| named.point == point);
        let snapshots: Vec<VerifiedSnapshot> = own
            .flat_map(|named| VerifiedSnapshot::of(context, named, &mut keepers))
            .collect();
        let counts = snapshots.iter().filter(|snapshot| !snapshot.released);
        let outcome = objects
            .iter()
            .map(|o| o.outcome)
            .chain(counts.map(|snapshot| snapshot.outcome))
            .max()
            .unwrap_or(Soundness::Missing);
        verified.push(VerifiedPoint {
            point,
            outcome,
            objects,
            snapshots,
        });
    }
    let instructions = verify_instructions(context, &verified, &survey.copies);
    let one = matches!(which, Which::One(_));
    let others = survey.unread.iter().filter(|unread| asked(&unread.store));
    let others = others.filter(|unread| unread.point.is_none() || !one);
    let unread = others.filter_map(|unread| unread_object(unread, &verified));
    Ok(Verified {
        unread: unread.collect(),
        points: verified,
        instructions,
    })
}

/// Remembers whether a copy is damaged; what could not be read tells nothing.
fn remember(
    context: &Context,
    store: &Name,
    point: &PointId,
    objects: &[VerifiedObject],
) -> Result<()> {
    let Some(worst) = objects.iter().max_by_key(|object| object.outcome) else {
        return Ok(());
    };
    let location = context.stores.open(store)?.store.location();
    let catalog = &context.state.catalog;
    match worst.outcome {
        Soundness::Intact => catalog.clear_doubt(&location, point),
        Soundness::Unread => Ok(()),
        Soundness::Missing | Soundness::Damaged => {
            let (key, outcome) = (&worst.key, worst.outcome.as_str());
            let why = match &worst.detail {
                Some(detail) => format!("{key} is {outcome}: {detail}"),
                None => format!("{key} is {outcome}"),
            };
            catalog.note_doubt(&location, point, &why, context.clock.now())
        }
    }
}

/// A store or a manifest that could not be read; `None` if the points show it already.
fn unread_object(unread: &Unread, points: &[VerifiedPoint]) -> Option<VerifiedObject> {
    let mut told_before = points.iter().flat_map(|point| &point.objects);
    let key = unread.point.as_ref().map(manifest_key);
    let is_told = |o: &VerifiedObject| {
        let same = key.as_ref().is_none_or(|key| &o.key == key);
        o.store == unread.store && same && o.outcome != Soundness::Intact
    };
    if told_before
        .any(|object| is_told(object) && (key.is_some() || object.outcome == Soundness::Unread))
    {
        return None;
    }
    let (outcome, detail) = verdict(&unread.error);
    Some(VerifiedObject {
        store: unread.store.clone(),
        key: key.unwrap_or_else(|| POINTS_PREFIX.to_owned()),
        outcome,
        detail,
    })
}

/// Checks the instructions of each store that answered and holds one of these points.
fn verify_instructions(
    context: &Context,
    verified: &[VerifiedPoint],
    found: &[(Name, PointCopy)],
) -> Vec<VerifiedObject> {
    let objects = verified.iter().flat_map(|point| &point.objects);
    let there = objects.filter(|o| matches!(o.outcome, Soundness::Intact | Soundness::Damaged));
    let stores: BTreeSet<&Name> = there.map(|object| &object.store).collect();
    let asked = found.iter().filter(|(name, _)| stores.contains(name));
    let subjects = runbook::subjects(&context.trusted, asked);
    let checked = subjects.into_iter().map(|(name, app, environment)| {
        let checked = context
            .stores
            .open(&name)
            .and_then(|s| runbook::check(context, &s, &app, &environment));
        let (outcome, detail) = match checked {
            Ok(()) => (Soundness::Intact, None),
            Err(error) => verdict(&error),
        };
        VerifiedObject {
            store: name,
            key: runbook::page_key(&app, &environment),
            outcome,
            detail,
        }
    });
    checked.collect()
}

fn choose(
    context: &Context,
    which: &Which,
    store: Option<&str>,
    survey: &Survey,
) -> Result<Vec<PointId>> {
    let of_store = survey
        .missing
        .iter()
        .filter(|lost| store.is_none_or(|s| lost.store == s));
    let gone: BTreeSet<PointId> = of_store.map(|l| l.copy.manifest.point.clone()).collect();
    if let Which::One(selector) = which {
        let chosen = fetch::choose_in(context, survey, selector, &[], store, OnlyPartial::Take);
        let Selector::Prefix(prefix) = selector else {
            return Ok(vec![chosen?]);
        };
        let named = |point: &&PointId| point.as_str().starts_with(prefix.as_str());
        return match (chosen, gone.iter().find(named)) {
            (Err(error), Some(gone)) if error.code != Code::PointAmbiguous => {
                Ok(vec![gone.clone()])
            }
            (chosen, _) => Ok(vec![chosen?]),
        };
    }
    let staying = survey.copies.iter();
    let staying = staying.filter(|(name, copy)| survey.leaving(name, copy).is_none());
    let all: BTreeSet<PointId> = staying.map(|(_, c)| c.manifest.point.clone()).collect();
    if all.is_empty() && gone.is_empty() {
        let error = Error::new(Code::PointUnknown, "there is no restore point yet")
            .hint("run `lifeboat backup`, or `lifeboat points --rescan` if the stores hold some");
        return Err(survey.as_far_as_read(error, store));
    }
    let chosen: BTreeSet<PointId> = match which {
        Which::One(_) | Which::All => all,
        Which::Newest => newest(&context.clock, survey),
        Which::Sample(percent) => {
            let mut all: Vec<_> = all.into_iter().collect();
            let wanted = (all.len() * usize::from(*percent)).div_ceil(100).max(1);
            let mut chosen = BTreeSet::new();
            while chosen.len() < wanted && !all.is_empty() {
                let at = context.clock.random() % all.len() as u64;
                chosen.insert(all.swap_remove(usize::try_from(at).unwrap_or(0)));
            }
            chosen
        }
    };
    Ok(chosen
        .into_iter()
        .chain(gone)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect())
}

/// The newest point of each plan. One dated in the future is taken only if the plan has no other.
fn newest(clock: &Clock, survey: &Survey) -> BTreeSet<PointId> {
    let now = clock.now();
    let mut newest: BTreeMap<&str, (bool, &PointId)> = BTreeMap::new();
    for (_, copy) in &survey.copies {
        let point = &copy.manifest.point;
        let counts = !is_ahead(point.time(), now) && !survey.disowned.contains(point);
        let known = newest.entry(&copy.manifest.plan).or_insert((counts, point));
        *known = (*known).max((counts, point));
    }
    newest
        .into_values()
        .map(|(_, point)| point.clone())
        .collect()
}

/// Objects that were read already, by store, key, size and hash: many points may name one pack of a
/// bucket.
#[derive(Default)]
pub(crate) struct ReadBefore {
    objects: BTreeMap<(String, ManifestArtifact), (Soundness, Option<String>)>,
    /// Blobs of repositories, by store: many points share them.
    blobs: BTreeMap<String, Blobs>,
}

impl ReadBefore {
    /// Blobs that cannot be read, or whose content is wrong.
    pub(crate) fn bad_blobs(self) -> HashSet<Id> {
        self.blobs
            .into_values()
            .flat_map(|blobs| blobs.bad)
            .collect()
    }
}

pub(crate) fn verify_copy(
    context: &Context,
    name: &Name,
    copy: &PointCopy,
    read: &mut ReadBefore,
) -> Vec<VerifiedObject> {
    let manifest = &copy.manifest;
    let object = |key: &str, outcome, detail: Option<String>| VerifiedObject {
        store: name.clone(),
        key: key.to_owned(),
        outcome,
        detail,
    };
    let store = match context.stores.open(name) {
        Ok(store) => store,
        Err(error) => {
            let (outcome, detail) = verdict(&error);
            return vec![object(&manifest_key(&manifest.point), outcome, detail)];
        }
    };
    let mut objects = Vec::new();
    // The manifest as it is stored now, not as the catalog remembers it.
    let key = manifest_key(&manifest.point);
    let stored = crate::copies::read(&store, &manifest.point);
    let trust = stored.and_then(|c| c.check_trust(&context.trusted).map(|()| c));
    let current = match trust {
        Ok(current) => {
            objects.push(object(&key, Soundness::Intact, None));
            current
        }
        Err(error) => {
            let (outcome, detail) = verdict(&error);
            objects.push(object(&key, outcome, detail));
            if outcome == Soundness::Unread {
                // Every other object would fail the same way, and perhaps slowly.
                return objects;
            }
            copy.clone()
        }
    };
    let details = &current.manifest.details;
    let blobs = read.blobs.entry(name.to_string()).or_default();
    let (outcome, detail) = match details.encrypt.as_deref() {
        Some(snapshot::ENCRYPTION) => {
            verify_in_snapshot(context, &store, &details.sha256, &details.key, None, blobs)
        }
        _ => verify_object(
            &context.reporter,
            &store,
            &NamedObject {
                key: &details.key,
                version: details.version.as_deref(),
                bytes: details.bytes,
                sha256: &details.sha256,
            },
        ),
    };
    objects.push(object(&details.key, outcome, detail));
    for artifact in &current.manifest.artifacts {
        context.reporter.step(
            &format!("verify {name}: {}", artifact.key),
            artifact.stored_bytes(),
        );
        let known = read.objects.entry((name.to_string(), artifact.clone()));
        let (outcome, detail) =
            known.or_insert_with(|| verify_artifact(context, &store, artifact, blobs));
        objects.push(object(&artifact.key, *outcome, detail.clone()));
    }
    objects
}

/// Reads the stored objects of an artifact. `blobs` are the blobs of the store's repository that
/// were found whole.
pub(crate) fn verify_artifact(
    context: &Context,
    store: &OpenStore,
    artifact: &ManifestArtifact,
    blobs: &mut Blobs,
) -> (Soundness, Option<String>) {
    let key = &artifact.key;
    match &artifact.snapshot {
        Some(snapshot) => verify_in_snapshot(context, store, snapshot, key, Some(artifact), blobs),
        None => verify_object(
            &context.reporter,
            store,
            &NamedObject {
                key,
                version: artifact.version.as_deref(),
                bytes: artifact.bytes,
                sha256: &artifact.sha256,
            },
        ),
    }
}

/// Reads everything that a path of a snapshot needs.
fn verify_in_snapshot(
    context: &Context,
    store: &OpenStore,
    snapshot: &str,
    path: &str,
    artifact: Option<&ManifestArtifact>,
    blobs: &mut Blobs,
) -> (Soundness, Option<String>) {
    let reporter = &context.reporter;
    let examined = store.snapshots().and_then(|snapshots| {
        let passed = |bytes| reporter.advance(bytes);
        snapshots.examine(snapshot, artifact, path, blobs, &passed)
    });
    match examined {
        Ok(None) => (Soundness::Intact, None),
        Ok(Some(what)) => (Soundness::Damaged, Some(what)),
        Err(error) => verdict(&error),
    }
}

/// The verdict that an error gives on an object: missing or damaged, or unread if the error is of
/// the store.
fn verdict(error: &Error) -> (Soundness, Option<String>) {
    let outcome = match error.code {
        Code::ObjectMissing => Soundness::Missing,
        Code::ObjectDamaged | Code::Untrusted => Soundness::Damaged,
        _ => Soundness::Unread,
    };
    (outcome, Some(error.with_hint()))
}

/// An object as a manifest names it.
struct NamedObject<'a> {
    key: &'a str,
    version: Option<&'a str>,
    bytes: u64,
    sha256: &'a str,
}

/// Reads an object to its end, in the version that its manifest names, and compares its size and
/// hash.
fn verify_object(
    reporter: &Reporter,
    store: &OpenStore,
    object: &NamedObject<'_>,
) -> (Soundness, Option<String>) {
    let (bytes, sha256) = (object.bytes, object.sha256);
    let reader = match store.open_named(object.key, object.version) {
        Ok(reader) => reader,
        Err(lifeboat_store::StoreError::NotFound { .. }) => {
            return (Soundness::Missing, Some("the object is not there".into()));
        }
        Err(error) => return verdict(&error.into()),
    };
    let mut reader = TapReader::new(reader);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => reporter.advance(count as u64),
            Err(error) => {
                return verdict(&Error::from_io(Code::Store, "it cannot be read", error));
            }
        }
    }
    let (_, tally) = reader.finish();
    if tally.bytes != bytes {
        return (
            Soundness::Damaged,
            Some(format!(
                "it has {} bytes, the manifest says {bytes}",
                tally.bytes
            )),
        );
    }
    if tally.sha256 != sha256 {
        return (
            Soundness::Damaged,
            Some(format!(
                "SHA-256 is {}, the manifest says {sha256}",
                tally.sha256
            )),
        );
    }
    (Soundness::Intact, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;

    fn verified(points: usize) -> Verified {
        let object = |outcome, detail: Option<&str>| VerifiedObject {
            store: Name::parse("disk").unwrap(),
            key: "k".to_owned(),
            outcome,
            detail: detail.map(str::to_owned),
        };
        let point = VerifiedPoint {
            point: PointId::parse("20261120T060000Z-7f3a").unwrap(),
            outcome: Soundness::Damaged,
            objects: vec![object(Soundness::Damaged, Some("it has 3 bytes"))],
            snapshots: vec![VerifiedSnapshot {
                source: Name::parse("machine").unwrap(),
                name: "s".to_owned(),
                region: None,
                outcome: Soundness::Intact,
                released: false,
                detail: None,
            }],
        };
        Verified {
            points: vec![point; points],
            instructions: vec![object(Soundness::Intact, None)],
            unread: Vec::new(),
        }
    }

    #[test]
    fn the_document_of_one_verified_point() {
        let expected = r#"{
  "schema": 1,
  "point": "20261120T060000Z-7f3a",
  "outcome": "damaged",
  "objects": [
    {
      "store": "disk",
      "key": "k",
      "outcome": "damaged",
      "detail": "it has 3 bytes"
    }
  ],
  "snapshots": [
    {
      "source": "machine",
      "name": "s",
      "outcome": "available",
      "released": false,
      "detail": null
    }
  ],
  "instructions": [
    {
      "store": "disk",
      "key": "k",
      "outcome": "intact",
      "detail": null
    }
  ],
  "unread": []
}"#;
        assert_document(verified(1).document(), expected);
        assert_eq!(verified(1).exit(), Exit::NotProved);
    }

    #[test]
    fn the_document_of_several_verified_points() {
        let value = serde_json::to_value(verified(2).document()).unwrap();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["outcome", "points", "instructions", "unread"]);
        let point = value["points"][1].as_object().unwrap();
        let keys: Vec<&String> = point.keys().collect();
        assert_eq!(keys, ["point", "outcome", "objects", "snapshots"]);
    }
}
