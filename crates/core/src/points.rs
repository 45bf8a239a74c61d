//! Lists restore points, shows one, and forgets those that may be gone.
//!
//! A list has the points that the stores hold, as far as they answer, and those that were in them once. Nothing is
//! decrypted for a list; what was captured is known only where the catalog noted it.

use crate::backup;
use crate::catalog::memory::Forgotten;
use crate::context::Context;
use crate::copies::PointCopy;
use crate::error::{Error, Result};
use crate::evidence::{self, PointProof, Proof};
use crate::exit::Exit;
use crate::fetch::{self, Fetched};
use crate::fingerprint::Fingerprint;
use crate::kept;
use crate::name::Name;
use crate::point::{
    Details, DetailsArtifact, Manifest, OnlyPartial, Outcome, PointId, Selector, Skipped,
};
use crate::runbook;
use crate::status;
use crate::survey::{self, Survey, survey};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// The choice of points that are listed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The plan that they must be of.
    pub plan: Option<String>,
    /// The store that must hold a copy, or have held one.
    pub store: Option<String>,
    /// Reads every store anew, and checks the instructions there.
    pub rescan: bool,
}

impl Options {
    fn is_of_plan(&self, plan: &Name) -> bool {
        self.plan.as_ref().is_none_or(|wanted| plan == wanted)
    }

    fn is_in_store(&self, store: &Name) -> bool {
        self.store.as_ref().is_none_or(|wanted| store == wanted)
    }
}

/// The document of `points`.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    /// Points that a store holds, by id, and then points that none holds any more.
    pub points: Vec<ListedPoint>,
    /// Plans whose newest complete point is older than the objective.
    pub overdue: Vec<OverduePlan>,
    /// Problems that came up on the way.
    pub errors: Vec<Problem>,
}

/// A problem that came up while points were listed.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Problem {
    /// A store or a manifest could not be read, so there may be more points.
    Unread(Error),
    /// The instructions of a store cannot be followed.
    Instructions(Error),
}

/// A plan whose newest complete point is too old.
#[derive(Debug, Clone, Serialize)]
pub struct OverduePlan {
    /// The plan.
    pub plan: Name,
    /// The sentence that tells it.
    pub why: String,
}

/// The outcome of a point, or that it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Everything that its plan names was captured.
    Complete,
    /// Only a part of it was captured.
    Partial,
    /// Nothing was captured that could be restored.
    Failed,
    /// It was in a store once, and no store holds it any more.
    Missing,
}

impl Standing {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Complete => Outcome::Complete.as_str(),
            Standing::Partial => Outcome::Partial.as_str(),
            Standing::Failed => Outcome::Failed.as_str(),
            Standing::Missing => "missing",
        }
    }
}

impl From<Outcome> for Standing {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Standing::Complete,
            Outcome::Partial => Standing::Partial,
            Outcome::Failed => Standing::Failed,
        }
    }
}

/// One point of a list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedPoint {
    /// Its id.
    pub point: PointId,
    /// Its application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// Its signer, as the manifest says.
    pub signer: String,
    /// Its plan.
    pub plan: Name,
    /// The beginning of its capture.
    pub started: Timestamp,
    /// When a run last found nothing new since.
    pub unchanged_at: Option<Timestamp>,
    /// How complete it is.
    pub outcome: Standing,
    /// The reason it was taken for, where someone gave one.
    pub reason: Option<String>,
    /// Set on a point that was taken before a live restore, of what was to be replaced.
    pub safety: bool,
    /// Size of what was captured, in bytes; absent if it is not known here.
    pub bytes: Option<u64>,
    /// Size of one copy, in bytes; absent if there is none.
    pub stored_bytes: Option<u64>,
    /// The stores that hold a copy.
    pub stores: Vec<Name>,
    /// The stores that should hold a copy and do not.
    pub missing_copies: Vec<Name>,
    /// Set when every copy is signed by someone who is believed here.
    pub trusted: bool,
    /// Its proof.
    #[serde(flatten)]
    pub proof: PointProof,
    /// The stores that held a copy once, and lost it.
    pub missing: Vec<Name>,
    /// Set on a point that is dated in the future, and so set aside.
    pub ahead: bool,
    /// Set on a point that was disowned.
    pub disowned: bool,
    /// The stores that it is leaving.
    pub leaving: Vec<LeavingStore>,
    /// The reason for which it is pinned.
    pub pinned: Option<String>,
    /// The signers of copies who are not trusted.
    #[serde(skip)]
    pub distrusted: BTreeSet<String>,
    /// The fate of each copy that was lost, and the way to heal it.
    #[serde(skip)]
    pub losses: Vec<String>,
}

/// A store that a point is leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeavingStore {
    /// The store.
    pub store: Name,
    /// When its copy may be deleted; absent if the configuration does not have its plan.
    pub until: Option<Timestamp>,
}

impl Listing {
    /// Returns the exit code of the list: a copy that was lost, or instructions that mislead, weigh more
    /// than a store that did not answer.
    pub fn exit(&self) -> Exit {
        let lost = self.points.iter().any(|point| !point.losses.is_empty());
        let misleads = |problem: &Problem| matches!(problem, Problem::Instructions(_));
        match (
            lost || self.errors.iter().any(misleads),
            self.errors.is_empty(),
        ) {
            (true, _) => Exit::NotProved,
            (false, false) => Exit::Partial,
            (false, true) => Exit::Done,
        }
    }

    /// Says if a store or a manifest could not be read.
    pub fn is_cut_short(&self) -> bool {
        let unread = |problem: &Problem| matches!(problem, Problem::Unread(_));
        self.errors.iter().any(unread)
    }
}

type Proofs = BTreeMap<PointId, Proof>;

/// Reads the proof of each point from the records that can be believed.
fn proofs(context: &Context) -> Proofs {
    let Ok((listed, _)) = evidence::list(context) else {
        return Proofs::new();
    };
    let believed = listed.iter().filter(|l| l.distrust.is_none());
    evidence::proofs(believed.map(|l| &l.record))
}

/// Lists the points of the stores.
pub fn list(context: &Context, options: &Options) -> Result<Listing> {
    if let Some(store) = &options.store {
        context.stores.open(store)?;
    }
    let survey = survey(context, options.rescan)?;
    if let Some(plan) = &options.plan
        && !survey.copies.iter().any(|(_, c)| c.manifest.plan == *plan)
        && lost(&survey, options).is_empty()
    {
        // A renamed plan may still have points; a plan without points must be configured.
        backup::choose_plan(&context.config, Some(plan))?;
    }
    let held = held(&survey, options);
    let pages = match options.rescan {
        true => runbook::check_all(context, held.values().flatten().copied()),
        false => Vec::new(),
    };
    let unread = survey.unread.iter().map(|unread| unread.error.clone());
    let unread = unread.map(Problem::Unread);
    Ok(Listing {
        points: listed(context, &survey, options, held),
        overdue: overdue(context, &survey, options),
        errors: unread
            .chain(pages.into_iter().map(Problem::Instructions))
            .collect(),
    })
}

/// The overdue plans. Empty for a list of one store, of the past, and without a configuration:
/// nothing is known then.
fn overdue(context: &Context, survey: &Survey, options: &Options) -> Vec<OverduePlan> {
    if context.is_passing() || options.store.is_some() {
        return Vec::new();
    }
    let overdue = status::overdue(context, survey).into_iter();
    overdue
        .filter(|(plan, _)| options.is_of_plan(plan))
        .map(|(plan, why)| OverduePlan { plan, why })
        .collect()
}

type Held<'s> = BTreeMap<PointId, Vec<&'s (Name, PointCopy)>>;

/// The copies of each point that the options select.
fn held<'s>(survey: &'s Survey, options: &Options) -> Held<'s> {
    let mut held = Held::new();
    for entry in &survey.copies {
        let manifest = &entry.1.manifest;
        if options.is_of_plan(&manifest.plan) {
            held.entry(manifest.point.clone()).or_default().push(entry);
        }
    }
    held.retain(|_, copies| copies.iter().any(|(store, _)| options.is_in_store(store)));
    held
}

/// A copy that was lost.
struct Loss<'s> {
    store: &'s Name,
    manifest: &'s Manifest,
    text: String,
}

/// The lost copies of each point that the options select.
fn lost<'s>(survey: &'s Survey, options: &Options) -> BTreeMap<PointId, Vec<Loss<'s>>> {
    let mut lost: BTreeMap<PointId, Vec<Loss<'s>>> = BTreeMap::new();
    for one in &survey.missing {
        let (store, manifest) = (&one.store, &one.copy.manifest);
        if options.is_of_plan(&manifest.plan) && options.is_in_store(store) {
            let hint = survey.missing_hint(store, &manifest.point);
            lost.entry(manifest.point.clone()).or_default().push(Loss {
                store,
                manifest,
                text: format!("{}; {hint}", one.text()),
            });
        }
    }
    lost
}

/// Every point that the options select, with all that is known of it.
fn listed(
    context: &Context,
    survey: &Survey,
    options: &Options,
    held: Held<'_>,
) -> Vec<ListedPoint> {
    let proofs = proofs(context);
    let checks = status::unchanged(context, survey);
    let captured = context.state.catalog.captured_bytes();
    let captured = captured.unwrap_or_default();
    let ahead = survey.ahead(context);
    let mut absent = kept::missing_copies(context, survey, &kept::proofs(context));
    let mut lost = lost(survey, options);
    let mut points = Vec::new();
    for (id, copies) in held {
        let Some((_, first)) = copies.first() else {
            continue;
        };
        let distrusted = copies
            .iter()
            .filter(|(_, copy)| copy.check_trust(&context.trusted).is_err())
            .map(|(_, copy)| copy.manifest.signer.clone());
        let distrusted: BTreeSet<String> = distrusted.collect();
        let losses = lost.remove(&id).unwrap_or_default();
        points.push(ListedPoint {
            outcome: first.manifest.outcome.into(),
            unchanged_at: checks.iter().rev().find(|c| c.point == id).map(|c| c.at),
            bytes: captured.get(&id).copied(),
            stored_bytes: Some(first.manifest.stored_bytes()),
            stores: copies.iter().map(|(store, _)| store.clone()).collect(),
            missing_copies: absent.remove(&id).unwrap_or_default(),
            trusted: distrusted.is_empty(),
            ahead: ahead.contains(&id),
            disowned: survey.disowned.contains(&id),
            leaving: leaving(context, survey, &copies),
            pinned: survey.pinned(&id).map(ToOwned::to_owned),
            distrusted,
            ..missing(&first.manifest, losses, proofs.get(&id))
        });
    }
    let nowhere = lost.into_values().filter_map(|losses| {
        let manifest = losses.first()?.manifest;
        Some(missing(manifest, losses, proofs.get(&manifest.point)))
    });
    points.extend(nowhere);
    points
}

/// The stores that the copies of a point are leaving.
fn leaving(context: &Context, survey: &Survey, copies: &[&(Name, PointCopy)]) -> Vec<LeavingStore> {
    let leaving = copies.iter().filter_map(|(store, copy)| {
        let since = survey.leaving(store, copy)?;
        let rules = kept::rules(context, &copy.manifest.plan, store);
        Some(LeavingStore {
            store: store.clone(),
            until: rules.map(|rules| rules.leaves(since)),
        })
    });
    leaving.collect()
}

/// A point of which no copy is left, as the manifest of a lost copy described it.
fn missing(manifest: &Manifest, losses: Vec<Loss<'_>>, proof: Option<&Proof>) -> ListedPoint {
    let stores: Vec<Name> = losses.iter().map(|loss| loss.store.clone()).collect();
    ListedPoint {
        point: manifest.point.clone(),
        app: manifest.app.clone(),
        environment: manifest.environment.clone(),
        signer: manifest.signer.clone(),
        plan: manifest.plan.clone(),
        started: manifest.started,
        unchanged_at: None,
        outcome: Standing::Missing,
        reason: manifest.reason.clone(),
        safety: manifest.safety,
        bytes: None,
        stored_bytes: None,
        stores: Vec::new(),
        missing_copies: stores.clone(),
        trusted: true,
        proof: proof.into(),
        missing: stores,
        ahead: false,
        disowned: false,
        leaving: Vec::new(),
        pinned: None,
        distrusted: BTreeSet::new(),
        losses: losses.into_iter().map(|loss| loss.text).collect(),
    }
}

/// The document of `points --forget`.
#[derive(Debug, Clone, Serialize)]
pub struct Forgot {
    /// Each forgotten point.
    pub forgotten: Vec<ForgottenPoint>,
}

/// A point that was forgotten.
#[derive(Debug, Clone, Serialize)]
pub struct ForgottenPoint {
    /// Its id.
    pub point: PointId,
    /// The state it was in before.
    pub was: Forgotten,
}

/// Records that points may be gone, or are not to be chosen; see [`survey::forget`].
pub fn forget(context: &Context, ids: &[String], reason: &str) -> Result<Forgot> {
    let forgotten = survey::forget(context, ids, reason)?.into_iter();
    let forgotten = forgotten.map(|(point, was)| ForgottenPoint { point, was });
    Ok(Forgot {
        forgotten: forgotten.collect(),
    })
}

/// The document of `show`: the manifest, and what is known of the point.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The manifest of the copy that was read.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Its proof.
    #[serde(flatten)]
    pub proof: PointProof,
    /// The stores that hold a copy.
    pub copies: Vec<Name>,
    /// The stores that should hold a copy and do not; absent if no store is known to hold one.
    pub missing_copies: Option<Vec<Name>>,
    /// The captured content; absent where it cannot be decrypted.
    #[serde(rename = "contents", serialize_with = "without_inventories")]
    pub details: Option<Details>,
    /// Objects that are signed inside, counted by OpenPGP key.
    #[serde(skip)]
    pub signed_inside: BTreeMap<String, usize>,
    /// Objects that are not signed inside, although the store asks for it now.
    #[serde(skip)]
    pub unsigned_inside: usize,
}

/// The captured content, without the inventories, which may name every file.
#[derive(Serialize)]
struct Contents<'a> {
    artifacts: Vec<ContentsArtifact<'a>>,
    warnings: &'a [String],
    errors: &'a [String],
}

/// The content of one artifact.
#[derive(Serialize)]
struct ContentsArtifact<'a> {
    source: &'a Name,
    name: &'a Name,
    bytes: u64,
    sha256: &'a str,
    fingerprint: &'a Fingerprint,
    skipped: &'a [Skipped],
    tools: &'a BTreeMap<String, String>,
    answers: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a DetailsArtifact> for ContentsArtifact<'a> {
    fn from(artifact: &'a DetailsArtifact) -> Self {
        ContentsArtifact {
            source: &artifact.source,
            name: &artifact.name,
            bytes: artifact.bytes,
            sha256: &artifact.sha256,
            fingerprint: &artifact.proof.fingerprint,
            skipped: &artifact.skipped,
            tools: &artifact.tools,
            answers: &artifact.answers,
        }
    }
}

fn without_inventories<S: Serializer>(
    details: &Option<Details>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let contents = details.as_ref().map(|details| Contents {
        artifacts: details.artifacts.iter().map(Into::into).collect(),
        warnings: &details.warnings,
        errors: &details.errors,
    });
    contents.serialize(serializer)
}

/// Shows one point, read from `store` or from any store. Warns of a store whose details cannot be
/// decrypted.
pub fn show(context: &Context, selector: &Selector, store: Option<&str>) -> Result<Shown> {
    let survey = survey(context, false)?;
    let take = OnlyPartial::Take;
    let point = fetch::choose_in(context, &survey, selector, &[], store, take)?;
    let held = survey
        .copies
        .iter()
        .filter(|(_, c)| c.manifest.point == point);
    let held: Vec<Name> = held.map(|(store, _)| store.clone()).collect();
    let fetched = fetch::fetch(context, &point, store)?;
    let (signed_inside, unsigned_inside) = signers_inside(&fetched);
    let details = match fetched.details {
        Ok(details) => Some(details),
        Err(error) => {
            let store = &fetched.store.name;
            context.reporter.warn(&format!(
                "what was captured is not known, since store {store} did not tell: {error}"
            ));
            context.state.catalog.outline(&point)?
        }
    };
    Ok(Shown {
        manifest: *fetched.copy.manifest,
        proof: proofs(context).get(&point).into(),
        copies: held,
        missing_copies: kept::missing_copies(context, &survey, &kept::proofs(context))
            .remove(&point),
        details,
        signed_inside,
        unsigned_inside,
    })
}

/// Counts who signed inside the objects, and those that are not signed although their store asks for it.
fn signers_inside(fetched: &Fetched) -> (BTreeMap<String, usize>, usize) {
    let mut signers: BTreeMap<String, usize> = BTreeMap::new();
    let mut unsigned = 0;
    let artifacts = fetched.copy.manifest.artifacts.iter();
    for artifact in artifacts.filter(|a| a.encrypt.as_deref() == Some("openpgp")) {
        match &artifact.openpgp_signer {
            Some(signer) => *signers.entry(signer.clone()).or_default() += 1,
            None => unsigned += 1,
        }
    }
    let encrypt = fetched.store.config.encrypt.as_ref();
    let asked = encrypt.is_some_and(|encrypt| encrypt.sign.is_some());
    (signers, if asked { unsigned } else { 0 })
}

#[cfg(test)]
mod tests;
