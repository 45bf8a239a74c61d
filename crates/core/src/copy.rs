//! Copies restore points to a store that lacks them.
//!
//! Stored objects are copied unchanged when both stores seal alike; otherwise they are opened and
//! sealed anew, which needs the decryption key of the store they come from.

use crate::archive::{KeyFields, KeyTemplate, TapReader};
use crate::cancel;
use crate::compress::Compress;
use crate::context::Context;
use crate::copies::{PointCopy, manifest_sha256};
use crate::deliver::{Destination, NamedKeys, Stored, commit_copy, free_key, send};
use crate::error::{Code, Error, Result};
use crate::evidence;
use crate::exit::Exit;
use crate::exposure;
use crate::fetch::{self, Fetched};
use crate::kept;
use crate::kind::StoredKind;
use crate::marks;
use crate::name::{Name, StoredKey};
use crate::point::{Details, Manifest, ManifestArtifact, OnlyPartial, PointId, Selector};
use crate::sign::TrustedSigners;
use crate::snapshot::{About, Blobs, Deposit, Slot};
use crate::source::{self, bucket};
use crate::stores::OpenStore;
use crate::survey::{self, Survey};
use crate::verify::{self, ReadBefore, Soundness};
use lifeboat_repository::Id;
use lifeboat_store::PutOptions;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::sync::Arc;

/// One point that was copied.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// Its id.
    pub point: PointId,
    /// Bytes put into the receiving store.
    pub bytes: u64,
}

/// The document of `copy`: points that were copied, and stores that could not be read.
#[derive(Debug, Serialize)]
pub struct Copies {
    /// The store that received them.
    pub to: Name,
    /// The points that were copied.
    pub copied: Vec<Copied>,
    /// Errors of other stores and manifests that could not be read, and may hold further points.
    #[serde(rename = "errors")]
    pub unread: Vec<Error>,
}

impl Copies {
    /// Returns the exit code of the copying.
    pub fn exit(&self) -> Exit {
        match self.unread.is_empty() {
            true => Exit::Done,
            false => Exit::Partial,
        }
    }
}

/// Copies one point, or every one that `to` should have and lacks: points that were taken for it,
/// and points of a plan that now stores there. Skips a point that `to` already holds whole; copies
/// it again if objects of it are missing or damaged there. Points are read from the stores of
/// `source`: those of `context`, or the same stores as they stood at a time ([`crate::past`]), and
/// then `to` itself may be one of them.
pub fn run(
    source: &Context,
    context: &Context,
    selector: Option<&Selector>,
    from: Option<&str>,
    to: &str,
) -> Result<Copies> {
    let target = context.stores.receiving(to)?;
    if let Some(from) = from {
        source.stores.open(from)?;
    }
    let of_past = source.as_of().is_some();
    if from == Some(to) && !of_past {
        return Err(Error::new(Code::Usage, "the two stores are the same one")
            .hint("name two stores: --from STORE --to STORE"));
    }
    let survey = survey::survey(source, false)?;
    if let Some(error) = survey.unasked(to).filter(|_| !of_past) {
        return Err(error.clone());
    }
    let found = &survey.copies;
    let points: Vec<PointId> = match selector {
        Some(selector) => vec![fetch::choose(
            source,
            selector,
            &[],
            from,
            OnlyPartial::Take,
        )?],
        None if of_past => {
            let present = survey::survey(context, false)?;
            if let Some(error) = present.unasked(to) {
                return Err(error.clone());
            }
            lacked(context, found, &present, from, to)?
        }
        None => lacked(context, found, &survey, from, to)?,
    };
    let looked = exposure::look(context, &target);
    if let Some(text) = looked.warning().filter(|_| !points.is_empty()) {
        context.reporter.warn(&text);
    }
    let mut copied = Vec::new();
    for point in points {
        let from = match from {
            Some(from) => Name::made(from.to_owned())?,
            None => {
                let mut holders: Vec<_> = found.iter().collect();
                holders.retain(|(name, _)| of_past || name != to);
                // What is known to be damaged is the last resort.
                holders.sort_by_key(|(name, _)| !of_past && survey.is_damaged(name, &point));
                holder(&context.trusted, &holders, &point)?
            }
        };
        let fetched = fetch::fetch(source, &point, Some(&from))?;
        let manifest = &fetched.copy.manifest;
        let sources: Vec<Name> = manifest.sources.iter().map(|s| s.name.clone()).collect();
        context
            .config
            .check_copy(&manifest.plan, &sources, &target.name)?;
        looked.refuse(&context.config, &sources)?;
        let done = copy_point(context, &fetched, &target);
        if let Err(error) = &done
            && !of_past
        {
            note_damage(context, &fetched, error)?;
        }
        if let Some(bytes) = done? {
            copied.push(Copied { point, bytes });
        }
    }
    // A point named by the operator was found, so that unread stores do not matter.
    let unread = survey.unread.into_iter().filter(|_| selector.is_none());
    Ok(Copies {
        to: target.name.clone(),
        copied,
        unread: unread.map(|unread| unread.error).collect(),
    })
}

/// Notes that a copy is damaged, if that is why it could not be copied.
fn note_damage(context: &Context, fetched: &Fetched, error: &Error) -> Result<()> {
    if error.code != Code::ObjectDamaged {
        return Ok(());
    }
    let location = fetched.store.store.location();
    let (point, now) = (&fetched.copy.manifest.point, context.clock.now());
    let catalog = &context.state.catalog;
    catalog.note_doubt(&location, point, &error.message, now)
}

/// Copies these points, each from any other store that holds it. One that cannot be copied does not
/// hold the others up: its error is in the result. Fails if none could be copied.
pub fn heal(context: &Context, points: &[PointId], to: &str) -> Result<Copies> {
    let mut all = Copies {
        to: Name::made(to.to_owned())?,
        copied: Vec::new(),
        unread: Vec::new(),
    };
    for point in points {
        cancel::check()?;
        let selector = Selector::Prefix(point.to_string());
        match run(context, context, Some(&selector), None, to) {
            Ok(copies) => all.copied.extend(copies.copied),
            Err(error) => all.unread.push(error),
        }
    }
    match all.unread.first() {
        Some(error) if all.copied.is_empty() => Err(error.clone()),
        _ => Ok(all),
    }
}

/// Points of which `to` has a trusted manifest.
fn held_in(context: &Context, found: &[(Name, PointCopy)], to: &str) -> BTreeSet<PointId> {
    let there = found.iter().filter(|(name, _)| name == to);
    let believed = there.filter(|(_, c)| c.check_trust(&context.trusted).is_ok());
    believed.map(|(_, c)| c.manifest.point.clone()).collect()
}

/// Points among `found` that `to` should have and lacks, according to trusted manifests, and that its
/// own rules keep there. `present` is what the stores hold now.
fn lacked(
    context: &Context,
    found: &[(Name, PointCopy)],
    present: &Survey,
    from: Option<&str>,
    to: &str,
) -> Result<Vec<PointId>> {
    let there = held_in(context, &present.copies, to);
    let believed = found
        .iter()
        .filter(|(_, c)| c.check_trust(&context.trusted).is_ok());
    let belongs = |manifest: &Manifest| {
        let plan = context.config.plan.get(&manifest.plan);
        let now = plan.is_some_and(|plan| plan.stores.iter().any(|store| store == to));
        now || manifest.stores.iter().any(|store| store == to)
    };
    let lacked = believed.filter(|(name, copy)| {
        let is_source = from.is_none_or(|from| name == from);
        is_source && belongs(&copy.manifest) && !there.contains(&copy.manifest.point)
    });
    let lacked: Vec<&PointCopy> = lacked.map(|(_, copy)| copy).collect();
    let proofs = kept::proofs(context);
    let to = Name::made(to.to_owned())?;
    let unwanted = kept::unwanted(context, present, &proofs, &to, &lacked);
    let points = lacked.into_iter().map(|copy| copy.manifest.point.clone());
    let wanted: BTreeSet<PointId> = points.filter(|point| !unwanted.contains(point)).collect();
    Ok(wanted.into_iter().collect())
}

/// The store to read a point from, of those that have a copy.
fn holder(
    trusted: &TrustedSigners,
    copies: &[&(Name, PointCopy)],
    point: &PointId,
) -> Result<Name> {
    let mut holders = copies.iter().filter(|(_, c)| &c.manifest.point == point);
    let believed = holders
        .clone()
        .find(|(_, c)| c.check_trust(trusted).is_ok());
    let holder = believed.or_else(|| holders.next());
    holder.map(|(name, _)| name.clone()).ok_or_else(|| {
        Error::new(
            Code::ObjectMissing,
            format!("no other store holds a copy of {point}"),
        )
    })
}

/// Copies every object, then commits. Returns the bytes stored, or `None` when the target already
/// holds the point whole.
fn copy_point(context: &Context, fetched: &Fetched, target: &OpenStore) -> Result<Option<u64>> {
    let manifest = &fetched.copy.manifest;
    let details = match &fetched.details {
        Ok(details) => details.clone(),
        // A host that cannot decrypt its backups still knows what it captured.
        Err(error) => context
            .state
            .catalog
            .details(&manifest.point)?
            .ok_or_else(|| {
                let hint = "copying needs the decryption key of the store the copy comes from";
                error.clone().hint(hint)
            })?,
    };
    let bad = match held(context, target, &manifest.point) {
        Held::Whole => return Ok(None),
        Held::Not(bad) => bad,
    };
    let deposit = target.deposit(bad).map_err(|error| {
        let message = format!("store {}: {}", target.name, error.message);
        Error { message, ..error }
    })?;
    let mut copying = Copying {
        context,
        fetched,
        target,
        deposit,
        named: NamedKeys::default(),
        artifacts: vec![],
    };
    let held = held_packs(context, target)?;
    let mut bytes = 0;
    for artifact in &manifest.artifacts {
        let known = held.get(&(artifact.source.clone(), artifact.name.clone()));
        let mut known = known.into_iter().flatten();
        match known.find(|pack| can_be_kept(context, target, pack)) {
            Some(pack) => copying.artifacts.push(pack.clone()),
            None => bytes += copying.copy(artifact)?,
        }
    }
    copying.commit(&details, bytes).map(Some)
}

/// A point on its way into another store.
struct Copying<'a> {
    context: &'a Context,
    fetched: &'a Fetched,
    target: &'a OpenStore,
    /// The snapshot in the making, where points go into a repository.
    deposit: Option<Arc<Deposit>>,
    /// Keys of the target that may not be used.
    named: NamedKeys,
    /// What is there so far.
    artifacts: Vec<ManifestArtifact>,
}

impl Copying<'_> {
    /// Copies an artifact. Returns how many bytes were stored for it as an object.
    fn copy(&mut self, artifact: &ManifestArtifact) -> Result<u64> {
        let what = format!("copy {} to {}", artifact.key, self.target.name);
        let reporter = &self.context.reporter;
        reporter.step(&what, artifact.stored_bytes());
        // A pack of a bucket is compressed, or not, as its source says.
        let mut target = self.target.clone();
        if bucket::is_pack(&artifact.name) && artifact.compress == "none" {
            target.sealing.compress = Compress::None;
        }
        match self.deposit.clone() {
            Some(deposit) => self.deposit(artifact, &target, deposit).map(|()| 0),
            None => self.put(artifact, &target),
        }
    }

    fn deposit(
        &mut self,
        artifact: &ManifestArtifact,
        target: &OpenStore,
        deposit: Arc<Deposit>,
    ) -> Result<()> {
        let slot = slot(&self.fetched.copy.manifest, artifact);
        let key = StoredKey::made(slot.path())?;
        let into = Some((deposit, slot));
        let Stored { tally, .. } =
            reseal(self.context, self.fetched, artifact, target, &key, into)?;
        self.artifacts.push(ManifestArtifact {
            key,
            bytes: tally.bytes,
            compress: "none".into(),
            openpgp_signer: None,
            snapshot: None,
            version: None,
            ..artifact.clone()
        });
        Ok(())
    }

    fn put(&mut self, artifact: &ManifestArtifact, target: &OpenStore) -> Result<u64> {
        let (context, manifest) = (self.context, &self.fetched.copy.manifest);
        let fields = KeyFields {
            app: &manifest.app,
            environment: &manifest.environment,
            plan: &manifest.plan,
            source: &artifact.source,
            artifact: &artifact.name,
            host: &manifest.host,
            point: manifest.point.as_str(),
            at: manifest.point.time(),
        };
        let source = context.config.source.get(&artifact.source);
        let template = source
            .and_then(|s| s.key.as_ref())
            .unwrap_or(&target.config.key);
        let stem = KeyTemplate::parse(template)?.render(&fields);
        let suffix = format!(".{}{}", artifact.extension, target.sealing.suffix());
        let (key, _) = free_key(
            context,
            target,
            &mut self.named,
            &self.artifacts,
            &stem,
            &suffix,
            &manifest.point,
        )?;
        let Stored { tally, version } =
            copy_artifact(context, self.fetched, artifact, target, &key)?;
        let bytes = tally.bytes;
        self.artifacts.push(ManifestArtifact {
            key,
            bytes,
            sha256: tally.sha256,
            compress: target.sealing.compress_name().into(),
            encrypt: target.sealing.encrypt_name().map(Into::into),
            openpgp_signer: target.sealing.signed_by(),
            snapshot: None,
            version,
            ..artifact.clone()
        });
        Ok(bytes)
    }

    /// Commits the copy. Returns how many bytes were stored for it, of which `bytes` as objects.
    fn commit(self, details: &Details, bytes: u64) -> Result<u64> {
        let (context, target) = (self.context, self.target);
        let manifest = &self.fetched.copy.manifest;
        let heads = evidence::heads(context, std::slice::from_ref(target));
        let draft = |artifacts, details| Manifest {
            store: target.name.clone(),
            artifacts,
            details,
            signer: context.state.signer.id().to_string(),
            evidence: heads.clone(),
            // An artifact that was sealed to other keys may have been copied as it was.
            recipients_sha256: manifest
                .recipients_sha256
                .clone()
                .filter(|known| Some(known) == target.sealing.recipients_sha256().as_ref()),
            ..(**manifest).clone()
        };
        let about = About {
            point: &manifest.point,
            plan: &manifest.plan,
            time: manifest.started,
            host: &manifest.host,
            author: &manifest.author,
        };
        let copy = commit_copy(
            context,
            target,
            self.deposit.as_deref(),
            self.artifacts,
            details,
            &draft,
            &about,
        )?;
        Ok(match self.deposit {
            Some(_) => copy.manifest.stored_bytes(),
            None => bytes,
        })
    }
}

/// Packs by source and name of the artifact.
type Packs = BTreeMap<(Name, Name), BTreeSet<ManifestArtifact>>;

/// Packs of buckets that points in `target` already refer to: a pack is stored once, however many
/// points need it.
fn held_packs(context: &Context, target: &OpenStore) -> Result<Packs> {
    let (copies, _) = context.state.catalog.sync(target)?;
    let marks = marks::read(context, target);
    let app = &context.config.app;
    let ours = copies.into_iter().filter(|c| {
        let is_ours = c.manifest.app == app.name && c.manifest.environment == app.environment;
        // What is announced to go may be gone before this copy is committed.
        let leaves = marks
            .leaving(&c.manifest.point, &manifest_sha256(c))
            .is_some();
        is_ours && !leaves && c.check_trust(&context.trusted).is_ok()
    });
    let artifacts = ours.flat_map(|c| c.manifest.artifacts);
    let mut packs = Packs::new();
    for pack in artifacts.filter(|a| bucket::is_pack(&a.name)) {
        let name = (pack.source.clone(), pack.name.clone());
        packs.entry(name).or_default().insert(pack);
    }
    Ok(packs)
}

/// Returns whether a stored pack is intact and in the store's current layout.
fn can_be_kept(context: &Context, target: &OpenStore, artifact: &ManifestArtifact) -> bool {
    let blobs = &mut Blobs::default();
    artifact.snapshot.is_some() == target.config.is_repository()
        && verify::verify_artifact(context, target, artifact, blobs).0 == Soundness::Intact
}

/// State of a point in `target`.
enum Held {
    Whole,
    /// Part of it, or nothing, with the unreadable blobs of its repository that the point needs.
    Not(HashSet<Id>),
}

fn held(context: &Context, target: &OpenStore, point: &PointId) -> Held {
    let copy = crate::copies::read(target, point);
    let Some(copy) = copy
        .ok()
        .filter(|copy| copy.check_trust(&context.trusted).is_ok())
    else {
        return Held::Not(HashSet::new());
    };
    let mut read = ReadBefore::default();
    let objects = verify::verify_copy(context, &target.name, &copy, &mut read);
    match objects.iter().all(|o| o.outcome == Soundness::Intact) {
        true => Held::Whole,
        false => Held::Not(read.bad_blobs()),
    }
}

/// Place of an artifact in a snapshot.
fn slot(manifest: &Manifest, artifact: &ManifestArtifact) -> Slot {
    let mut sources = manifest.sources.iter();
    Slot {
        is_tree: sources.any(|s| s.name == artifact.source && is_tree(&s.kind)),
        source: artifact.source.to_string(),
        artifact: artifact.name.to_string(),
        extension: artifact.extension.to_string(),
    }
}

fn is_tree(kind: &StoredKind) -> bool {
    match kind {
        StoredKind::Known(kind) => source::descriptor(*kind).is_tree(),
        // Artifacts of an unknown kind are copied unchanged.
        StoredKind::Unknown(_) => false,
    }
}

fn copy_artifact(
    context: &Context,
    fetched: &Fetched,
    artifact: &ManifestArtifact,
    target: &OpenStore,
    key: &StoredKey,
) -> Result<Stored> {
    let alike = artifact.snapshot.is_none()
        && fetched.store.sealing == target.sealing
        && artifact.compress == target.sealing.compress_name()
        && artifact.encrypt.as_deref() == target.sealing.encrypt_name();
    let options = PutOptions {
        if_absent: false,
        bytes_hint: Some(artifact.bytes),
    };
    if alike {
        let stored = fetch::open_stored(fetched, artifact)?;
        let mut body = Counted {
            inner: TapReader::new(stored),
            context,
        };
        let receipt = target.store.put(key, &mut body, &options)?;
        return Ok(Stored {
            tally: body.inner.finish().1,
            version: receipt.version,
        });
    }
    reseal(context, fetched, artifact, target, key, None)
}

/// Seals the bare stream of an artifact for `target` and stores it as an object or in a snapshot.
/// The upload runs on its own thread.
fn reseal(
    context: &Context,
    fetched: &Fetched,
    artifact: &ManifestArtifact,
    target: &OpenStore,
    key: &StoredKey,
    deposit: Option<(Arc<Deposit>, Slot)>,
) -> Result<Stored> {
    let mut plain = Counted {
        inner: TapReader::new(fetch::open_artifact(fetched, artifact)?),
        context,
    };
    let details = fetched.details.as_ref().ok();
    let bare = details.and_then(|d| d.artifact(&artifact.source, &artifact.name));
    let bare = bare.map(|known| known.bytes);
    let destination = Destination {
        store: target.clone(),
        key: key.clone(),
        options: PutOptions {
            if_absent: false,
            bytes_hint: artifact.stored_bytes().or(bare),
        },
        deposit,
    };
    let (sent, delivered) = send(vec![destination], |output| {
        io::copy(&mut plain, output)
            .map_err(|e| Error::from_io(Code::Store, format!("{key} cannot be copied"), e))
    });
    sent?;
    let none = || Error::new(Code::Store, format!("store {} gave no answer", target.name));
    delivered.into_iter().next().ok_or_else(none)?.result
}

/// Reports progress as bytes pass.
struct Counted<'a, R> {
    inner: TapReader<R>,
    context: &'a Context,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.reporter.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::copies::put_bytes;
    use crate::document::assert_document;
    use crate::observe::Reporter;
    use crate::point::manifest_key;

    #[test]
    fn what_copying_shows_to_be_damaged_is_noted_and_copied_from_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().display();
        crate::place::write_file(&mut &b"content"[..], &root.path().join("data"), 0o600).unwrap();
        let stores = ["a", "b", "c"]
            .map(|store| format!("[store.{store}]\nkind = \"local\"\npath = \"{at}/{store}\"\n"));
        let text = format!(
            "version = 1\n[app]\nname = \"crm\"\nstate = \"{at}/state\"\n\
             [source.files]\nkind = \"files\"\npaths = [\"{at}/data\"]\n\
             [plan.p]\nsources = [\"files\"]\nstores = [\"a\", \"b\", \"c\"]\n{}",
            stores.concat()
        );
        let config = Config::parse(&text, &root.path().join("lifeboat.toml")).unwrap();
        let clock = Clock::fixed("2026-11-20T06:07:00Z".parse().unwrap());
        let context = Context::open(config, clock, Reporter::silent(), &[]).unwrap();
        let point = backup::run(&context, &backup::Options::default())
            .unwrap()
            .point;
        // The third one has none, and that in the first one rotted.
        let [a, _, c] = ["a", "b", "c"].map(|store| context.stores.open(store).unwrap());
        c.store.delete(&manifest_key(&point)).unwrap();
        let artifact = &crate::copies::read(&a, &point).unwrap().manifest.artifacts[0].key;
        put_bytes(&a, artifact, b"something else", false).unwrap();
        let points = std::slice::from_ref(&point);
        let damaged = || {
            let survey = survey::survey(&context, false).unwrap();
            ["a", "b", "c"].map(|store| survey.is_damaged(&Name::own(store), &point))
        };
        assert_eq!(damaged(), [false; 3]);
        let error = heal(&context, points, "c").unwrap_err();
        assert_eq!(error.code, Code::ObjectDamaged);
        assert_eq!(damaged(), [true, false, false]);
        assert_eq!(heal(&context, points, "c").unwrap().copied[0].point, point);
    }

    #[test]
    fn the_document_of_copies() {
        let copies = Copies {
            to: Name::parse("offsite").unwrap(),
            copied: vec![Copied {
                point: PointId::parse("20261120T060000Z-7f3a").unwrap(),
                bytes: 12,
            }],
            unread: vec![Error::new(Code::Store, "store disk cannot be asked").cause("why")],
        };
        assert_eq!(copies.exit(), Exit::Partial);
        let expected = r#"{
  "schema": 1,
  "to": "offsite",
  "copied": [
    {
      "point": "20261120T060000Z-7f3a",
      "bytes": 12
    }
  ],
  "errors": [
    {
      "code": "store",
      "message": "store disk cannot be asked",
      "cause": "why",
      "hint": null
    }
  ]
}"#;
        assert_document(copies, expected);
    }
}
