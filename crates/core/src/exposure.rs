//! Public access to a store: a bucket may be public, whatever a configuration says.
//!
//! The store is asked without credentials, as anybody could ask it, for its listing and for one
//! object of each kind that a point puts there (data, details, manifest). This does not reveal
//! access that only some strangers have, nor other objects that were made public one by one.
//! Sensitive sources must not go to a public store, sealed or not; for other sources, public access
//! is a warning.

use crate::config::Config;
use crate::context::Context;
use crate::copies;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::Name;
use crate::point::{Manifest, POINTS_PREFIX, manifest_key};
use crate::snapshot;
use crate::stores::OpenStore;
use lifeboat_repository::FileKind;
use lifeboat_store::Exposure;

/// Hint about a public store.
const HINT: &str = "block public access to the bucket (on Amazon: Block Public Access; elsewhere its policy and access control lists), and think of what was in it as known to others";

const UNTOLD: &str = "whether it is public cannot be told";

/// Says what strangers can list and read; `None` when they can do neither.
fn seen(context: &Context, store: &OpenStore) -> Result<Option<String>> {
    let keys = objects(context, store);
    let Exposure { is_listed, is_read } = store.store.exposure(&keys)?;
    let what = match (is_listed, is_read) {
        (false, false) => return Ok(None),
        (true, false) => "list what it holds",
        (false, true) => "read what it holds",
        (true, true) => "list and read what it holds",
    };
    let place = store.store.location();
    Ok(Some(format!(
        "{place} is public: anybody can {what}, without credentials"
    )))
}

/// Keys of objects to request without credentials: those of the newest point. A point that the
/// catalog remembers may have left the store, so the store is asked which manifests it holds.
fn objects(context: &Context, store: &OpenStore) -> Vec<String> {
    let listed = store.store.list(POINTS_PREFIX).unwrap_or_default();
    let noted = context.state.catalog.copies(&store.store.location());
    let noted = noted.unwrap_or_default().into_iter().rev();
    let held = copies::ids(&listed);
    let mut newest = noted.filter(|c| held.is_empty() || held.contains(&c.manifest.point));
    match newest.next() {
        Some(copy) => objects_of(&copy.manifest),
        None => held.last().map(manifest_key).into_iter().collect(),
    }
}

/// Keys of one object of each kind that a copy of a point consists of. In a repository, the keys
/// that a manifest names are paths in a snapshot, and not keys of objects.
fn objects_of(manifest: &Manifest) -> Vec<String> {
    let artifact = manifest.artifacts.last().map(|a| match &a.snapshot {
        Some(id) => format!(
            "{}{}/{id}",
            snapshot::PREFIX,
            FileKind::Snapshot.directory()
        ),
        None => a.key.to_string(),
    });
    let details = &manifest.details;
    let sealed = details.encrypt.as_deref() == Some(snapshot::ENCRYPTION);
    let details = (!sealed).then(|| details.key.to_string());
    let keys = artifact.into_iter().chain(details);
    keys.chain([manifest_key(&manifest.point)]).collect()
}

/// Result of examining a store for public access.
pub(crate) struct Looked<'a> {
    store: &'a OpenStore,
    seen: Result<Option<String>>,
}

/// Examines a store before something is put there.
pub(crate) fn look<'a>(context: &Context, store: &'a OpenStore) -> Looked<'a> {
    let seen = seen(context, store);
    Looked { store, seen }
}

impl Looked<'_> {
    /// Fails if one of these sources is sensitive and the store is public.
    pub(crate) fn refuse(&self, config: &Config, sources: &[Name]) -> Result<()> {
        match (&self.seen, sensitive(config, sources)) {
            (Ok(Some(seen)), Some(source)) => Err(Error::new(
                Code::Configuration,
                format!(
                    "source {source} is sensitive, and store {} is public",
                    self.store.name
                ),
            )
            .cause(seen)
            .hint(HINT)),
            _ => Ok(()),
        }
    }

    /// Warning for the operator. Not knowing whether a store is public is no reason to skip a
    /// backup.
    pub(crate) fn warning(&self) -> Option<String> {
        let name = &self.store.name;
        match &self.seen {
            Ok(seen) => {
                let seen = seen.as_ref()?;
                Some(format!("store {name}: {seen}; {HINT}"))
            }
            Err(error) => Some(format!("store {name}: {UNTOLD}: {error}")),
        }
    }
}

/// Finds one of these sources that is sensitive.
fn sensitive<'a>(config: &Config, sources: &'a [Name]) -> Option<&'a str> {
    let is_sensitive = |name: &&Name| config.source.get(*name).is_some_and(|s| s.sensitive);
    sources.iter().find(is_sensitive).map(Name::as_str)
}

/// Finding for the doctor; `None` when the store is not public.
pub(crate) fn examine(context: &Context, subject: &str, store: &OpenStore) -> Option<Finding> {
    let plans = context.config.plan.values();
    let here = plans.filter(|plan| plan.stores.contains(&store.name));
    let sources: Vec<Name> = here.flat_map(|plan| plan.sources.clone()).collect();
    let finding = |severity, message, hint| Finding::new(subject, severity, message, hint);
    let seen = match seen(context, store) {
        Ok(seen) => seen?,
        Err(error) => {
            let message = format!("{UNTOLD}: {error}");
            return Some(finding(Severity::Warning, message, error.hint));
        }
    };
    let hint = Some(HINT.to_owned());
    Some(match sensitive(&context.config, &sources) {
        Some(source) => {
            let message = format!("{seen}; and source {source}, which goes there, is sensitive");
            finding(Severity::Error, message, hint)
        }
        None => finding(Severity::Warning, seen, hint),
    })
}
