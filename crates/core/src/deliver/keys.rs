//! Keys of artifacts in a store.
//!
//! A key that a manifest or an intent names is never used again; an object that nothing names is
//! replaced.

use crate::archive::{KeyFields, KeyTemplate};
use crate::config::Config;
use crate::context::Context;
use crate::copies;
use crate::error::{Code, Result};
use crate::host::host;
use crate::marks::IntentKeys;
use crate::name::StoredKey;
use crate::point::{ManifestArtifact, PointId};
use crate::source::ArtifactSpec;
use crate::stores::OpenStore;
use std::collections::BTreeSet;

/// The key, without extension, of an artifact of a point that this run takes.
pub(crate) fn stem(
    config: &Config,
    template: &str,
    plan: &str,
    source: &str,
    artifact: &ArtifactSpec,
    point: &PointId,
) -> Result<String> {
    let app = &config.app;
    let host = host();
    Ok(KeyTemplate::parse(template)?.render(&KeyFields {
        app: &app.name,
        environment: &app.environment,
        plan,
        source,
        artifact: &artifact.name,
        host: &host,
        point: point.as_str(),
        at: point.time(),
    }))
}

/// Keys of a store that may not be used again, as far as they were asked for.
#[derive(Default)]
pub(crate) struct NamedKeys {
    /// Those that manifests name, once that was asked.
    manifests: Option<BTreeSet<String>>,
    /// Those that intents name: what these announced is being deleted, perhaps right now.
    intents: IntentKeys,
}

/// Finds a key that neither a manifest nor an intent names, and says whether the object must be new:
/// `stem` + `suffix`, or with `-<point>` between them when that is taken. An object that nothing
/// names is replaced.
pub(crate) fn free_key(
    context: &Context,
    store: &OpenStore,
    named: &mut NamedKeys,
    ours: &[ManifestArtifact],
    stem: &str,
    suffix: &str,
    point: &PointId,
) -> Result<(StoredKey, bool)> {
    named.intents.ask(context, store)?;
    let plain = format!("{stem}{suffix}");
    let is_used = |key: &str, named: &NamedKeys| {
        ours.iter().any(|a| a.key == key) || named.intents.contains(key)
    };
    if !is_used(&plain, named) {
        if store.store.stat(&plain)?.is_none() {
            return Ok((StoredKey::made(plain)?, true));
        }
        if named.manifests.is_none() {
            named.manifests = named_keys(store)?;
        }
        let manifests = named.manifests.as_ref();
        if manifests.is_some_and(|named| !named.contains(&plain)) {
            return Ok((StoredKey::made(plain)?, false));
        }
    }
    let mut candidate = format!("{stem}-{point}{suffix}");
    let mut count = 2;
    while is_used(&candidate, named) {
        candidate = format!("{stem}-{point}-{count}{suffix}");
        count += 1;
    }
    Ok((StoredKey::made(candidate)?, true))
}

/// Reads every key that a manifest of this store names from the store itself. `None` when a
/// manifest is damaged: it may name any key, and must not prevent new points.
fn named_keys(store: &OpenStore) -> Result<Option<BTreeSet<String>>> {
    let mut keys = BTreeSet::new();
    for point in copies::list(store)?.keys() {
        match copies::read(store, point) {
            Ok(copy) => keys.extend(copy.manifest.artifacts.into_iter().map(|a| a.key.into())),
            Err(error) if error.code == Code::ObjectDamaged => return Ok(None),
            // A prune deleted it after the listing; its intent named the same keys.
            Err(error) if error.code == Code::ObjectMissing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(keys))
}
