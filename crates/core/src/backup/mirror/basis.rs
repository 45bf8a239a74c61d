//! The part of a bucket that the stores hold already: the newest point that all receiving stores
//! have, its index, and its packs that are still there.

use crate::config::Config;
use crate::context::Context;
use crate::copies::{self, PointCopy, manifest_sha256};
use crate::digest::hex;
use crate::error::{Code, Error, Result};
use crate::fetch::{self, Fetched};
use crate::kind::Kind;
use crate::marks;
use crate::name::Name;
use crate::observe::Reporter;
use crate::point::{Details, DetailsArtifact, ManifestArtifact, Outcome, PointId};
use crate::source::bucket::{INDEX, is_pack, sort};
use crate::stores::OpenStore;
use crate::thread;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Largest number of points tried, newest first.
const POINTS_MAX: usize = 3;
/// Parallel requests to a store.
const PARALLEL: usize = 8;

/// A pack, and its artifact in each store.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    pub details: DetailsArtifact,
    /// Its artifacts by the name of the store.
    pub stored: BTreeMap<Name, ManifestArtifact>,
}

/// Stored data that the next point can build on.
#[derive(Debug, Default)]
pub(super) struct Basis {
    /// The index, decrypted.
    pub index: Option<PathBuf>,
    pub packs: Vec<Pack>,
}

/// Finds the basis. The inner error says why existing points cannot be used.
pub(super) fn find(
    context: &Context,
    stores: &[OpenStore],
    source: &str,
    spool: &Path,
    state: &Path,
) -> Result<Result<Basis>> {
    let mut held: Vec<BTreeMap<PointId, PointCopy>> = Vec::new();
    for store in stores {
        let found = match context.state.catalog.sync(store) {
            Ok((copies, _)) => copies,
            // The store may not be listed: use the copies that this host put there.
            Err(_) => context.state.catalog.copies(&store.store.location())?,
        };
        let marks = marks::read(context, store);
        let ours = found.into_iter().filter(|c| {
            // What is announced to go may be gone before this point is committed.
            let leaves = marks
                .leaving(&c.manifest.point, &manifest_sha256(c))
                .is_some();
            !leaves && has_source(&context.config, c, source)
        });
        held.push(ours.map(|c| (c.manifest.point.clone(), c)).collect());
    }
    let Some((first, others)) = held.split_first() else {
        return Ok(Ok(Basis::default()));
    };
    let common = first
        .keys()
        .rev()
        .filter(|point| others.iter().all(|other| other.contains_key(*point)));
    let mut why = None;
    for point in common.take(POINTS_MAX) {
        let copies: Vec<_> = held.iter().filter_map(|h| h.get(point)).collect();
        match read(context, stores, &copies, source, spool, state) {
            Ok(basis) => return Ok(Ok(basis)),
            Err(error) if error.code == Code::Interrupted => return Err(error),
            Err(error) => drop(why.get_or_insert(error)),
        }
    }
    if why.is_none() && held.iter().any(|h| !h.is_empty()) {
        let message = "no point with this source is in every store of the plan";
        why = Some(Error::new(Code::ObjectMissing, message));
    }
    Ok(why.map_or_else(|| Ok(Basis::default()), Err))
}

fn has_source(config: &Config, copy: &PointCopy, source: &str) -> bool {
    let (manifest, app) = (&copy.manifest, &config.app);
    let is_ours = manifest.app == app.name && manifest.environment == app.environment;
    let mut sources = manifest.sources.iter();
    is_ours
        && sources
            .any(|s| s.name == source && s.kind.is(Kind::Bucket) && s.outcome != Outcome::Failed)
}

fn read(
    context: &Context,
    stores: &[OpenStore],
    copies: &[&PointCopy],
    source: &str,
    spool: &Path,
    state: &Path,
) -> Result<Basis> {
    for copy in copies {
        copy.check_trust(&context.trusted)?;
    }
    let Some((store, copy)) = stores.iter().zip(copies).next() else {
        return Ok(Basis::default());
    };
    let point = &copy.manifest.point;
    let mut details = context.state.catalog.details(point)?;
    let mut unread = None;
    for (store, copy) in stores.iter().zip(copies) {
        if details.is_none() {
            match copies::read_details(store, &copy.manifest) {
                Ok(read) => details = Some(read),
                Err(error) => drop(unread.get_or_insert(error)),
            }
        }
    }
    let Some(details) = details else {
        return Err(unread.unwrap_or_else(|| Error::new(Code::ObjectMissing, "it has no details")));
    };
    let index = index(
        &context.reporter,
        stores,
        copies,
        &details,
        source,
        spool,
        state,
    )?;
    let packs = packs(stores, copies, &details, source);
    let whole = in_all(&packs, stores)?;
    if whole.len() < packs.len() {
        context.reporter.warn(&format!(
            "source {source}: {} packs of {point} are missing in a store ({}); their objects are copied again",
            packs.len() - whole.len(),
            store.name
        ));
    }
    Ok(Basis {
        index: Some(index),
        packs: whole,
    })
}

fn packs(
    stores: &[OpenStore],
    copies: &[&PointCopy],
    details: &Details,
    source: &str,
) -> Vec<Pack> {
    let known = details.artifacts.iter();
    known
        .filter(|d| d.source == source && is_pack(&d.name))
        .map(|details| {
            let stored = stores.iter().zip(copies).filter_map(|(store, copy)| {
                let mut artifacts = copy.manifest.artifacts.iter();
                let found = artifacts.find(|a| a.source == source && a.name == details.name)?;
                Some((store.name.clone(), found.clone()))
            });
            Pack {
                stored: stored.collect(),
                details: details.clone(),
            }
        })
        .collect()
}

/// Returns the packs that every store confirms to hold, by name and size.
pub(super) fn in_all(packs: &[Pack], stores: &[OpenStore]) -> Result<Vec<Pack>> {
    let is_held = |pack: &Pack| -> Result<bool> {
        for store in stores {
            let Some(artifact) = pack.stored.get(&store.name) else {
                return Ok(false);
            };
            if !holds(store, artifact)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let share = packs.len().div_ceil(PARALLEL).max(1);
    let answers: Vec<Result<Vec<Pack>>> = std::thread::scope(|scope| {
        let asked: Vec<_> = packs
            .chunks(share)
            .map(|some| {
                thread::start_in(scope, move || {
                    let mut held = Vec::new();
                    for pack in some {
                        if is_held(pack)? {
                            held.push(pack.clone());
                        }
                    }
                    Ok(held)
                })
            })
            .collect();
        let panicked = || Err(Error::new(Code::Store, "a store could not be asked"));
        asked
            .into_iter()
            .map(|thread| thread?.join().unwrap_or_else(|_| panicked()))
            .collect()
    });
    let mut held = Vec::new();
    for answer in answers {
        held.extend(answer?);
    }
    Ok(held)
}

/// Returns whether a store confirms to hold a pack in the layout that new points have there.
fn holds(store: &OpenStore, artifact: &ManifestArtifact) -> Result<bool> {
    match (&store.snapshots, &artifact.snapshot) {
        (Some(snapshots), Some(snapshot)) if store.config.is_repository() => {
            snapshots.has(snapshot, &artifact.key)
        }
        (_, None) if !store.config.is_repository() => {
            let found = store.store.stat(&artifact.key)?;
            Ok(found.is_some_and(|found| found.bytes == artifact.bytes))
        }
        _ => Ok(false),
    }
}

/// The decrypted index of a point as a file: the one that this host kept, or one read from a store.
fn index(
    reporter: &Reporter,
    stores: &[OpenStore],
    copies: &[&PointCopy],
    details: &Details,
    source: &str,
    spool: &Path,
    state: &Path,
) -> Result<PathBuf> {
    let known = details
        .artifact(source, INDEX)
        .ok_or_else(|| Error::new(Code::ObjectDamaged, "its details do not name the index"))?;
    let cached = state.join(format!("{}.ndjson", details.point));
    if sha256_of(&cached).is_ok_and(|sha256| sha256 == known.sha256) {
        return Ok(cached);
    }
    let path = spool.join("index-before");
    let mut failed = None;
    for (store, copy) in stores.iter().zip(copies) {
        let fetched = Fetched {
            store: store.clone(),
            copy: (*copy).clone(),
            details: Ok(details.clone()),
        };
        match fetch_index(&fetched, source, &path) {
            Ok(()) => return Ok(path),
            Err(error) => {
                reporter.warn(&error.to_string());
                let _ = std::fs::remove_file(&path);
                failed.get_or_insert(error);
            }
        }
    }
    Err(failed.unwrap_or_else(|| Error::new(Code::ObjectMissing, "no store holds the index")))
}

fn fetch_index(fetched: &Fetched, source: &str, path: &Path) -> Result<()> {
    let mut artifacts = fetched.copy.manifest.artifacts.iter();
    let artifact = artifacts
        .find(|a| a.source == source && a.name == INDEX)
        .ok_or_else(|| Error::new(Code::ObjectMissing, "the manifest names no index"))?;
    let mut reader = fetch::open_artifact(fetched, artifact)?;
    let mut output = sort::create(path)?;
    io::copy(&mut reader, &mut output)
        .map_err(|e| Error::from_io(Code::Io, "the index cannot be read", e))?;
    output.flush().map_err(|e| sort::unusable(path, &e))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(hex(&hash.finalize()))
}
