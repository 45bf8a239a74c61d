//! One run of a prune in one store: ends what was announced, then announces what goes next.
//!
//! Guarantees: what an intent announced is decided about anew; a manifest goes before its objects, and
//! its snapshot before the tombstone; the intent goes last, so that whoever finds it can end what it
//! began. It trusts the decisions that it is given, and looks again only at pins and at what other
//! manifests name.

use super::delete::{self, Fate as Object};
use super::report::{Fate, StorePruned};
use crate::cancel;
use crate::context::Context;
use crate::copies::{self, PointCopy, Sizes, StoredManifest, manifest_sha256};
use crate::error::{Code, Error, Result};
use crate::kept::Judged;
use crate::lease;
use crate::marks::{self, Gone, Intent, Leaving, Marks, POINTS_MAX, Tombstone};
use crate::name::Name;
use crate::point::{Manifest, PointId, manifest_key};
use crate::pool;
use crate::retention::{Decision, Why};
use crate::stores::OpenStore;
use crate::survey::Survey;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Largest total size of the manifests in one intent, in bytes.
const MANIFESTS_BYTES_MAX: usize = 4 << 20;
/// Time after the last deletion during which the packs of a repository are looked at in each run:
/// those that nothing needs are deleted in a second step.
const PACKS_DAYS: i64 = 4;

/// One run in one store.
pub(super) struct Step<'a> {
    pub(super) context: &'a Context,
    pub(super) store: &'a OpenStore,
    pub(super) survey: &'a Survey,
    pub(super) judged: &'a [Judged<'a>],
    /// When the oldest job of this host began that is reading points.
    pub(super) reading_since: Option<Timestamp>,
    /// True if every plan is looked at.
    pub(super) whole: bool,
}

/// What is decided about a copy that is in the store.
struct Known<'a> {
    copy: &'a PointCopy,
    decision: &'a Decision,
}

/// A point of an intent that is to be deleted now.
#[derive(Clone)]
struct Going {
    leaving: Leaving,
    manifest: Manifest,
    /// True if its manifest is still there.
    visible: bool,
}

/// What the deletion of a point came to.
enum Outcome {
    Gone {
        freed: u64,
        left: Vec<String>,
    },
    /// Another manifest stands there now.
    Replaced,
}

impl Step<'_> {
    pub(super) fn run(&self, pruned: &mut StorePruned) -> Result<()> {
        let none = Marks::default();
        let marks = self.survey.marks.get(&self.store.name).unwrap_or(&none);
        pruned.errors.extend(marks.errors.iter().cloned());
        for intent in &marks.ahead {
            // What it names is announced again, with a time that can be told.
            self.remove_intent(intent)?;
        }
        self.remove_lone_signatures()?;
        let mut forgot = false;
        let mut announced = BTreeSet::new();
        for intent in &marks.intents {
            cancel::check()?;
            let points = intent.points.iter();
            announced.extend(points.map(|l| (l.point.clone(), l.manifest_sha256.clone())));
            let mut snapshots = BTreeSet::new();
            self.carry_out(intent, marks, pruned, &mut snapshots)?;
            forgot |= !snapshots.is_empty();
        }
        self.announce(&announced, pruned)?;
        self.free_packs(marks, forgot, pruned)
    }

    fn known(&self) -> BTreeMap<&PointId, Known<'_>> {
        let mut known = BTreeMap::new();
        for judged in self.judged {
            for (copy, decision) in judged.copies.iter().zip(&judged.decisions) {
                known.insert(&copy.manifest.point, Known { copy, decision });
            }
        }
        known
    }

    /// Deletes what of an intent still has to go, leaves a tombstone of it, and removes the intent
    /// once nothing of it is left to be done.
    fn carry_out(
        &self,
        intent: &Intent,
        marks: &Marks,
        pruned: &mut StorePruned,
        snapshots: &mut BTreeSet<String>,
    ) -> Result<()> {
        if marks.begun.contains(&intent.header.id) && self.is_replayed(intent, marks) {
            return self.remove_intent(intent);
        }
        let (mut going, mut pending) = (Vec::new(), false);
        let known = self.known();
        for leaving in &intent.points {
            if self.is_of_another_run(&leaving.plan) {
                pending = true;
                continue;
            }
            let here = known.get(&leaving.point);
            let visible = match here {
                Some(here) if manifest_sha256(here.copy) != leaving.manifest_sha256 => continue,
                Some(here) => match here.decision {
                    Decision::Keep(_) => continue,
                    Decision::Wait { .. } => {
                        pending = true;
                        continue;
                    }
                    Decision::Delete(_) if self.is_read(intent) => {
                        pruned.set(&leaving.point, Fate::Waiting);
                        pending = true;
                        continue;
                    }
                    Decision::Delete(_) => true,
                },
                // A copy that is there and is not judged is nobody's to delete here.
                None if self.is_there(&leaving.point) => {
                    pruned.errors.push(self.left_alone(&leaving.point));
                    continue;
                }
                None => false,
            };
            going.push(Going {
                manifest: *leaving.copy(&self.store.name)?.manifest,
                leaving: leaving.clone(),
                visible,
            });
        }
        if !going.is_empty() {
            let (gone, failed) = self.delete(intent, going, pruned, snapshots)?;
            if !gone.is_empty() {
                self.forget(snapshots, pruned)?;
                self.remove_pins(&gone)?;
                // What went is on record, whatever did not.
                Tombstone::new(self.context, intent, gone).put(self.context, self.store)?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        match pending {
            true => Ok(()),
            false => self.remove_intent(intent),
        }
    }

    /// Returns whether each point of an intent is known to be gone, or stands there anew: somebody
    /// put the intent back, or the last run was killed before it could remove it.
    fn is_replayed(&self, intent: &Intent, marks: &Marks) -> bool {
        intent.points.iter().all(|leaving| {
            let gone = marks.pruned.get(&leaving.point);
            gone.is_some_and(|gone| gone.manifest_sha256 == leaving.manifest_sha256)
        })
    }

    /// Returns whether the points of a plan are for another run: this one looks at some other plan.
    fn is_of_another_run(&self, plan: &Name) -> bool {
        let is_configured = self.context.config.plan.contains_key(plan);
        let is_looked_at = self.judged.iter().any(|judged| judged.plan == *plan);
        !self.whole && is_configured && !is_looked_at
    }

    /// Returns whether a job of this host may be reading a point that was announced by this intent.
    fn is_read(&self, intent: &Intent) -> bool {
        self.reading_since
            .is_some_and(|since| since <= intent.header.at)
    }

    /// The error for a copy that was announced to go and that no rule is about any more.
    fn left_alone(&self, point: &PointId) -> Error {
        let store = &self.store.name;
        let message = format!(
            "{point} was announced to go from store {store}, and stays: its manifest there is not believed any more, or its plan is not configured"
        );
        Error::new(Code::Untrusted, message).hint(format!(
            "see what is wrong with it: lifeboat verify {point} --store {store}"
        ))
    }

    fn is_there(&self, point: &PointId) -> bool {
        let mut copies = self.survey.copies.iter();
        copies.any(|(store, copy)| *store == self.store.name && copy.manifest.point == *point)
    }

    /// Deletes points: every manifest first, then what only they name. Returns what went, and the first
    /// error.
    fn delete(
        &self,
        intent: &Intent,
        going: Vec<Going>,
        pruned: &mut StorePruned,
        snapshots: &mut BTreeSet<String>,
    ) -> Result<(Vec<Gone>, Option<Error>)> {
        // Somebody may have pinned one since the stores were asked.
        let pins = marks::read_pins(self.context, self.store)?;
        let (stay, going): (Vec<_>, Vec<_>) = going
            .into_iter()
            .partition(|going| going.visible && pins.pinned(&going.leaving.point).is_some());
        for stay in stay {
            pruned.set(&stay.leaving.point, Fate::Returned);
        }
        let names: BTreeSet<&PointId> = going.iter().map(|g| &g.leaving.point).collect();
        let named = self.named(&names)?;
        self.context.reporter.step("prune", None);
        let (store, store_time) = (self.store.clone(), intent.store_time);
        let work = move |going: Going| {
            let outcome = delete_point(&store, &going, &named, store_time);
            (going, outcome)
        };
        let (mut gone, mut first) = (Vec::new(), None);
        pool::each(self.store.readers(), going, work, |(going, outcome)| {
            let point = &going.leaving.point;
            match outcome {
                Ok(Outcome::Replaced) => pruned.set(point, Fate::Returned),
                Ok(Outcome::Gone { freed, left }) => {
                    pruned.set(point, Fate::Deleted);
                    pruned.freed_bytes += freed;
                    pruned.left.extend(left.iter().cloned());
                    let artifacts = going.manifest.artifacts.iter();
                    snapshots.extend(artifacts.filter_map(|a| a.snapshot.clone()));
                    gone.push(Gone {
                        point: point.clone(),
                        plan: going.leaving.plan.clone(),
                        why: going.leaving.why,
                        manifest_sha256: going.leaving.manifest_sha256.clone(),
                        left,
                    });
                }
                Err(error) => {
                    pruned.set(point, Fate::Unfinished);
                    first.get_or_insert(error);
                }
            }
            Ok(())
        })?;
        let location = self.store.store.location();
        let points: Vec<&PointId> = gone.iter().map(|gone| &gone.point).collect();
        self.context.state.catalog.drop_pruned(&location, &points)?;
        Ok((gone, first))
    }

    /// The keys that manifests of this store name, those of points that go excepted. Fails if a
    /// manifest cannot be read: it may name any key.
    fn named(&self, going: &BTreeSet<&PointId>) -> Result<BTreeSet<String>> {
        let synced = self.context.state.catalog.sync_points(self.store, false)?;
        let mut errors = synced.errors.into_iter();
        // One that is gone since the listing names nothing any more.
        let unread = errors.find(|(_, error)| error.code != Code::ObjectMissing);
        if let Some((point, error)) = unread {
            let message = format!(
                "nothing is deleted in store {}, since the manifest of {point} there cannot be read: it may name any object",
                self.store.name
            );
            return Err(Error { message, ..error });
        }
        let staying = synced
            .copies
            .iter()
            .filter(|(point, _)| !going.contains(point));
        let objects = staying.flat_map(|(_, copy)| delete::objects(&copy.manifest));
        Ok(objects.map(|object| object.key).collect())
    }

    /// Removes old signatures of intents that are gone: a run was killed between the two.
    fn remove_lone_signatures(&self) -> Result<()> {
        let now = self.context.clock.now();
        let is_old = |key: &str| {
            let id = key.strip_prefix(marks::INTENTS_PREFIX);
            let id = id.and_then(|id| PointId::parse(id.strip_suffix(".json")?));
            id.is_none_or(|id| now.duration_since(id.time()) > SignedDuration::from_hours(1))
        };
        let listed = self.store.store.list(marks::INTENTS_PREFIX)?;
        let keys: BTreeSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        let lone = keys.iter().filter(|key| {
            let of = key.strip_suffix(".sig");
            // The signature of an intent is put before it.
            of.is_some_and(|of| !keys.contains(of) && is_old(of))
        });
        for key in lone {
            delete::remove(self.store, key)?;
        }
        Ok(())
    }

    /// Removes what was said of points that are gone.
    fn remove_pins(&self, gone: &[Gone]) -> Result<()> {
        let marks = self.survey.marks.get(&self.store.name);
        let pins = gone
            .iter()
            .filter(|gone| marks.is_some_and(|marks| marks.pins.contains_key(&gone.point)));
        for gone in pins {
            for object in self.store.store.list(&marks::pin::prefix(&gone.point))? {
                delete::remove(self.store, &object.key)?;
            }
        }
        Ok(())
    }

    fn remove_intent(&self, intent: &Intent) -> Result<()> {
        let key = intent.key();
        delete::remove(self.store, &key)?;
        delete::remove(self.store, &format!("{key}.sig"))?;
        Ok(())
    }

    /// Announces what nothing keeps, unless an intent names it already.
    fn announce(
        &self,
        announced: &BTreeSet<(PointId, String)>,
        pruned: &mut StorePruned,
    ) -> Result<()> {
        let mut new: Vec<(PointId, Name, Why, String, Sizes)> = Vec::new();
        for judged in self.judged {
            for (copy, decision) in judged.copies.iter().zip(&judged.decisions) {
                let sha256 = manifest_sha256(copy);
                let point = copy.manifest.point.clone();
                if let Decision::Delete(why) = decision
                    && !announced.contains(&(point.clone(), sha256.clone()))
                {
                    new.push((point, judged.plan.clone(), *why, sha256, copy.sizes()));
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let store_time = self.store_time()?;
        let reading = self.store.clone();
        let read = move |(point, plan, why, sha256, sizes): (PointId, Name, Why, String, Sizes)| {
            let stored = copies::read_again(&reading, &point, sizes, &sha256)?;
            Ok(stored.and_then(|stored| leaving(point, plan, why, sha256, stored)))
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        pool::each(self.store.readers(), new, read, |read| {
            let read: Result<Option<Leaving>> = read;
            let Some(leaving) = read? else {
                // It was replaced since the stores were asked.
                return Ok(());
            };
            bytes += leaving.manifest.len();
            batch.push(leaving);
            if batch.len() >= POINTS_MAX || bytes >= MANIFESTS_BYTES_MAX {
                bytes = 0;
                self.put_intent(store_time, std::mem::take(&mut batch), pruned)?;
            }
            Ok(())
        })?;
        match batch.is_empty() {
            true => Ok(()),
            false => self.put_intent(store_time, batch, pruned),
        }
    }

    fn put_intent(
        &self,
        store_time: Option<Timestamp>,
        points: Vec<Leaving>,
        pruned: &mut StorePruned,
    ) -> Result<()> {
        cancel::check()?;
        let intent = Intent::new(self.context, &self.store.name, store_time, points);
        intent.put(self.context, self.store)?;
        for leaving in &intent.points {
            pruned.set(&leaving.point, Fate::Announced);
        }
        Ok(())
    }

    /// The time by the clock of the store: that of the lease, which was written just now.
    fn store_time(&self) -> Result<Option<Timestamp>> {
        let key = lease::key(self.context, super::LEASE);
        Ok(self.store.store.stat(&key)?.and_then(|info| info.modified))
    }

    /// Forgets the snapshots of points that are gone, unless another point is in one.
    fn forget(&self, snapshots: &BTreeSet<String>, pruned: &mut StorePruned) -> Result<()> {
        let Some(repository) = self
            .store
            .snapshots
            .as_ref()
            .filter(|_| !snapshots.is_empty())
        else {
            return Ok(());
        };
        let synced = self.context.state.catalog.sync_points(self.store, false)?;
        let copies = synced.copies.values();
        let artifacts = copies.flat_map(|copy| copy.manifest.artifacts.iter());
        let named: BTreeSet<&String> = artifacts.filter_map(|a| a.snapshot.as_ref()).collect();
        let gone = snapshots.iter().filter(|id| !named.contains(id));
        pruned.snapshots += repository.forget(gone.cloned().collect())?;
        Ok(())
    }

    /// Frees the packs of a repository that nothing needs, in the run that forgot a snapshot and in
    /// those of the next days: packs are marked first, and deleted later.
    fn free_packs(&self, marks: &Marks, forgot: bool, pruned: &mut StorePruned) -> Result<()> {
        let Some(repository) = &self.store.snapshots else {
            return Ok(());
        };
        let now = self.context.clock.now();
        let recently = marks
            .pruned_at
            .is_some_and(|at| now.duration_since(at) < SignedDuration::from_hours(24 * PACKS_DAYS));
        if forgot || recently {
            pruned.freed_bytes += repository.free(now)?;
        }
        Ok(())
    }
}

/// What an intent says of a point; `None` if its manifest is no text.
fn leaving(
    point: PointId,
    plan: Name,
    why: Why,
    sha256: String,
    stored: StoredManifest,
) -> Option<Leaving> {
    Some(Leaving {
        point,
        plan,
        why,
        manifest_sha256: sha256,
        manifest: String::from_utf8(stored.bytes).ok()?,
        signature: stored.signature,
    })
}

fn delete_point(
    store: &OpenStore,
    going: &Going,
    named: &BTreeSet<String>,
    store_time: Option<Timestamp>,
) -> Result<Outcome> {
    let Going {
        leaving,
        manifest,
        visible,
    } = going;
    // A listing may lag behind: what is there after all is decided about first.
    let key = manifest_key(&leaving.point);
    if !visible && store.store.stat(&key)?.is_some() {
        return Ok(Outcome::Replaced);
    }
    if !delete::manifest(store, manifest, &leaving.manifest_sha256)? {
        return Ok(Outcome::Replaced);
    }
    let (mut freed, mut left) = (0, Vec::new());
    for object in delete::objects(manifest) {
        if named.contains(&object.key) {
            continue;
        }
        match delete::recorded(store, &object, store_time)? {
            Object::Gone(bytes) => freed += bytes,
            Object::Left => left.push(object.key),
        }
    }
    Ok(Outcome::Gone { freed, left })
}
