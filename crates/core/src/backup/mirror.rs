//! Captures a bucket as packs of new objects and an index of all objects.
//!
//! Guarantees: the index names only packs that every receiving store confirmed to hold. Objects
//! whose bytes are stored already are not fetched again, even after a run that was killed. An
//! object that could not be copied is reported, and its previous version stays in the point.

mod basis;
mod journal;

use super::{Destination, Run, send};
use crate::archive::Tally;
use crate::compress::Compress;
use crate::config::{BucketConfig, SourceConfig};
use crate::error::{Code, Error, Result};
use crate::fingerprint::{BytesFingerprint, Fingerprint, Inventory, Proof};
use crate::name::{Extension, Name};
use crate::place;
use crate::point::{Consistency, DetailsArtifact, ManifestArtifact};
use crate::scratch;
use crate::source::bucket::index::{Entry, Lines, Sum, to_line};
use crate::source::bucket::merge::{self, Counts, Listed, Rules, Step};
use crate::source::bucket::pack::{Feed, LeftOut, Missed, Packed, Work, steps};
use crate::source::bucket::sort::{self, Sorted, Sorter};
use crate::source::bucket::{self, INDEX, PACK_PREFIX, key::ObjectKey};
use crate::source::{ArtifactSpec, Captured};
use basis::Basis;
use journal::Journal;
use lifeboat_store::bucket::Bucket;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Target size of a pack in bytes; a thousandth of the bytes to fetch when that is more.
const PACK_BYTES: u64 = 64 << 20;
/// Largest size of a pack of several objects, in bytes.
const PACK_BYTES_MAX: u64 = 4 << 30;
/// Attempts to copy an object that changes meanwhile.
const ATTEMPTS_MAX: usize = 3;
/// Objects left out that a run names; the details name all of them.
const TOLD_MAX: usize = 50;

/// Outcome for an object that was to be fetched.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Stored(Box<Entry>),
    Gone,
    LeftOut,
}

/// Files to tidy up once the point is committed.
pub(super) struct Mirrored {
    directory: PathBuf,
    index: PathBuf,
}

impl Mirrored {
    /// Removes the journal, which only an interrupted run would need, and older indexes.
    pub(super) fn settle(&self) {
        for entry in std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.path() != self.index {
                // It is a cache: a file that cannot be removed is removed next time.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A bucket that is being mirrored.
struct Mirror<'r, 'a> {
    run: &'r mut Run<'a>,
    name: &'r Name,
    config: &'r SourceConfig,
    bucket_config: &'r BucketConfig,
    bucket: Bucket,
    spool: scratch::Directory,
    state: PathBuf,
    /// Bytes of each pack's bare tar.
    sizes: BTreeMap<String, u64>,
    packs: u64,
    left_out: LeftOut,
    warnings: Vec<String>,
}

impl Run<'_> {
    /// Mirrors a bucket into every store that has not failed.
    pub(super) fn capture_bucket(
        &mut self,
        name: &Name,
        config: &SourceConfig,
        bucket_config: &BucketConfig,
    ) -> Result<Captured> {
        let context = self.context;
        let state = context
            .state
            .private_directory(&["buckets", self.plan_name, name])?;
        let mirror = Mirror {
            bucket: bucket::connect(bucket_config, &context.scrubber)?,
            spool: scratch::Directory::create(&context.state.scratch(), "bucket")?,
            run: self,
            name,
            config,
            bucket_config,
            state,
            sizes: BTreeMap::new(),
            packs: 0,
            left_out: LeftOut::default(),
            warnings: Vec::new(),
        };
        let captured = mirror.capture()?;
        self.tell(name, &captured);
        Ok(captured)
    }

    fn tell(&mut self, name: &str, captured: &Captured) {
        let partial: Vec<_> = captured.skipped.iter().filter(|s| s.partial).collect();
        let mut texts: Vec<String> = captured.warnings.clone();
        let told = partial.iter().take(TOLD_MAX);
        texts.extend(told.map(|s| format!("{} was left out: {}", s.name, s.reason)));
        if let Some(more @ 1..) = partial.len().checked_sub(TOLD_MAX) {
            texts.push(format!("{more} more objects were left out"));
        }
        for text in texts {
            let text = format!("source {name}: {text}");
            self.context.reporter.warn(&text);
            self.details.warnings.push(text);
        }
    }
}

impl Mirror<'_, '_> {
    fn capture(mut self) -> Result<Captured> {
        let reporter = self.run.context.reporter.clone();
        reporter.step(&format!("{}: list", self.name), None);
        let listing = self.list()?;
        reporter.step(&format!("{}: compare", self.name), None);
        let (path, counts) = self.compare(listing)?;
        let results = self.fetch(&path, &counts)?;
        reporter.step(&format!("{}: {INDEX}", self.name), None);
        let index = self.spool.path().join("index");
        let (sum, named) = self.write_index(&path, results, &index)?;
        self.put_index(&index, &sum, &named)?;
        let cached = self.state.join(format!("{}.ndjson", self.run.point));
        let mut file = File::open(&index).map_err(|e| sort::unusable(&index, &e))?;
        place::write_file(&mut file, &cached, 0o600).map_err(|e| Error {
            code: Code::State,
            ..e
        })?;
        self.run.mirrored.push(Mirrored {
            directory: self.state,
            index: cached,
        });
        let skipped = self.left_out.finish();
        let last = self.run.details.artifacts.last_mut();
        if let Some(details) = last {
            details.skipped.clone_from(&skipped);
        }
        Ok(Captured {
            proof: None,
            consistency: Consistency::PerFile,
            skipped,
            warnings: self.warnings,
            tools: BTreeMap::new(),
            answers: BTreeMap::new(),
            identity: None,
            position: None,
            external: None,
        })
    }

    /// Lists everything in the bucket that is not excluded, in the order of the keys.
    fn list(&self) -> Result<Sorted> {
        let excludes = self.bucket_config.excludes()?;
        let prefix = self.bucket_config.prefix.clone().unwrap_or_default();
        let pages = self.bucket.list(prefix.as_bytes());
        let mut sorter = Sorter::new(self.spool.path(), "listing");
        for page in pages.map_err(bucket::source_error)? {
            crate::cancel::check()?;
            for object in page.map_err(bucket::source_error)? {
                let key = ObjectKey::new(object.key);
                if excludes.is_match(key.to_string()) {
                    continue;
                }
                let listed = Listed {
                    bytes: object.bytes,
                    etag: object.etag,
                    modified: object.modified,
                    key: key.clone(),
                    is_stored: false,
                };
                sorter.push(key.bytes(), to_line(&listed)?)?;
            }
        }
        sorter.finish()
    }

    /// Writes the steps of this run to a file.
    fn compare(&mut self, listing: Sorted) -> Result<(PathBuf, Counts)> {
        let stores: Vec<_> = self.run.open_stores();
        let found = basis::find(
            self.run.context,
            &stores,
            self.name,
            self.spool.path(),
            &self.state,
        )?;
        let basis = match found {
            Ok(basis) => basis,
            Err(why) => {
                self.warnings.push(format!(
                    "what is stored already cannot be told, so everything is copied again: {why}"
                ));
                Basis::default()
            }
        };
        let journal = Journal::load(&self.state, &stores, self.spool.path())?;
        let (resumed, kept) = journal.finish()?;
        let mut packs = BTreeSet::new();
        for reused in basis.packs.iter().chain(&kept) {
            if packs.insert(reused.details.name.to_string()) {
                self.reuse(reused);
            }
        }
        let rules = Rules {
            now: self.run.context.clock.now(),
            keep_seconds: self.bucket_config.keep_deleted.seconds,
            packs: &packs,
        };
        let index: Box<dyn Iterator<Item = Result<Entry>>> = match &basis.index {
            Some(path) => {
                let file = File::open(path).map_err(|e| sort::unusable(path, &e))?;
                Box::new(Lines::new(file, "the index of the point before"))
            }
            None => Box::new(std::iter::empty()),
        };
        let path = self.spool.path().join("steps");
        let counts = merge::merge(parsed(listing), index, parsed(resumed), &rules, &path)?;
        let full = full_bytes(&counts);
        let wasteful = merge::wasteful(&counts.packs, &self.sizes, full);
        if wasteful.is_empty() {
            return Ok((path, counts));
        }
        let again = self.spool.path().join("steps-again");
        let counts = merge::rewrite(steps(&path)?, &wasteful, &again)?;
        Ok((again, counts))
    }

    /// Makes a pack that is stored already part of this point.
    fn reuse(&mut self, pack: &basis::Pack) {
        self.sizes
            .insert(pack.details.name.to_string(), pack.details.bytes);
        self.run.details.artifacts.push(pack.details.clone());
        for receiving in &mut self.run.stores {
            if let Some(artifact) = pack.stored.get(&receiving.store.name) {
                receiving.artifacts.push(artifact.clone());
            }
        }
    }

    /// Fetches all that the steps say into packs; returns the outcome of each object, by key.
    fn fetch(&mut self, path: &Path, counts: &Counts) -> Result<Sorted> {
        let mut results = Sorter::new(self.spool.path(), "results");
        if counts.fetch == 0 {
            return results.finish();
        }
        let what = format!("{}: {} objects", self.name, counts.fetch);
        let reporter = self.run.context.reporter.clone();
        reporter.step(&what, Some(counts.fetch_bytes));
        let mut journal = Journal::open(&self.state)?;
        let mut work = Work::Steps(path.to_owned());
        for attempt in 1..=ATTEMPTS_MAX {
            let parallel = usize::from(self.bucket_config.parallel.max(1));
            let mut feed = Feed::start(&self.bucket, parallel, work)?;
            self.drain(&mut feed, full_bytes(counts), &mut journal, &mut results)?;
            let again = self.judge(feed.missed, attempt, &mut results)?;
            if again.is_empty() {
                break;
            }
            work = Work::Again(again.into());
        }
        results.finish()
    }

    /// Writes packs until nothing is left to fetch.
    fn drain(
        &mut self,
        feed: &mut Feed,
        full: u64,
        journal: &mut Journal,
        results: &mut Sorter,
    ) -> Result<()> {
        while feed.begin().map_err(as_source)? {
            self.packs += 1;
            let torn = feed.torn();
            match self.put_pack(feed, full) {
                Ok((packed, pack)) => {
                    journal.note(&packed, &pack)?;
                    for entry in packed.entries {
                        let key = entry.key.bytes().to_vec();
                        results.push(&key, to_line(&Outcome::Stored(Box::new(entry)))?)?;
                    }
                }
                Err(error) => {
                    if !feed.rewind(torn)? {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Decides about objects that could not be stored as listed; returns those to try again.
    fn judge(
        &mut self,
        missed: Vec<Missed>,
        attempt: usize,
        results: &mut Sorter,
    ) -> Result<Vec<Listed>> {
        let mut again = Vec::new();
        for missed in missed {
            let (listed, outcome, why) = match missed {
                Missed::Gone(listed) => {
                    let why = "it was deleted while the backup ran".to_owned();
                    (listed, Outcome::Gone, why)
                }
                Missed::Refused(listed, why) => (listed, Outcome::LeftOut, why),
                Missed::Changed(listed) if attempt < ATTEMPTS_MAX => {
                    match self.bucket.head(listed.key.bytes()) {
                        Ok(Some(head)) => {
                            again.push(Listed {
                                bytes: head.bytes,
                                etag: head.etag,
                                modified: head.modified,
                                is_stored: false,
                                ..listed
                            });
                            continue;
                        }
                        Ok(None) => {
                            let why = "it was deleted while the backup ran".to_owned();
                            (listed, Outcome::Gone, why)
                        }
                        Err(error) => (listed, Outcome::LeftOut, error.to_string()),
                    }
                }
                Missed::Changed(listed) => {
                    let why = format!("it changed while it was copied, {ATTEMPTS_MAX} times");
                    (listed, Outcome::LeftOut, why)
                }
            };
            let partial = matches!(outcome, Outcome::LeftOut);
            // An object that was only to be repacked stays where it is, and nothing is missing.
            if !(partial && listed.is_stored) {
                self.left_out.push(listed.key.to_string(), why, partial);
            }
            results.push(listed.key.bytes(), to_line(&outcome)?)?;
        }
        Ok(again)
    }

    /// Writes one pack into every store.
    fn put_pack(&mut self, feed: &mut Feed, full: u64) -> Result<(Packed, basis::Pack)> {
        let name = format!("{PACK_PREFIX}{}-{:04}", self.run.point, self.packs);
        let name = Name::made(name)?;
        let spec = ArtifactSpec {
            name: name.clone(),
            extension: Extension::own("tar"),
        };
        let mut destinations = self.destinations(&spec, self.bucket_config.compress)?;
        let expected = full.max(feed.next_bytes());
        for destination in &mut destinations {
            destination.options.bytes_hint = Some(expected);
        }
        let reporter = self.run.context.reporter.clone();
        let passed = move |bytes| reporter.advance(bytes);
        let (packed, delivered) = send(destinations, |output| {
            feed.write(&name, full, output, &passed)
        });
        if let Err(error) = &packed
            && error.code != Code::Store
        {
            return Err(error.clone());
        }
        self.run.receive(self.name, &spec, &delivered);
        let (packed, tally) = packed?;
        let stored: BTreeMap<Name, ManifestArtifact> = self
            .run
            .stores
            .iter()
            .filter(|r| r.failed.is_none())
            .filter_map(|r| Some((r.store.name.clone(), r.artifacts.last()?.clone())))
            .filter(|(_, artifact)| artifact.name == name)
            .collect();
        if stored.is_empty() {
            return Err(Error::new(Code::Store, "no store took the pack"));
        }
        let proof = Proof {
            fingerprint: Fingerprint::Bytes(BytesFingerprint {
                length: tally.bytes,
                sha256: tally.sha256.clone(),
            }),
            inventory: Inventory::None,
        };
        let details = self.details(&spec, &tally, proof);
        self.run.note_artifact(&details, &delivered);
        self.run.details.artifacts.push(details.clone());
        Ok((packed, basis::Pack { details, stored }))
    }

    fn destinations(&mut self, spec: &ArtifactSpec, compress: bool) -> Result<Vec<Destination>> {
        let compress = match compress {
            true => None,
            false => Some(Compress::None),
        };
        self.run
            .destinations(self.name, self.config, spec, compress)
    }

    fn details(&self, spec: &ArtifactSpec, tally: &Tally, proof: Proof) -> DetailsArtifact {
        DetailsArtifact {
            source: self.name.clone(),
            name: spec.name.clone(),
            bytes: tally.bytes,
            sha256: tally.sha256.clone(),
            proof,
            skipped: Vec::new(),
            tools: BTreeMap::new(),
            answers: BTreeMap::new(),
            roots: Vec::new(),
            attributes: None,
            settings: None,
            changes: None,
        }
    }

    /// Writes the index of this point to a file: its fingerprint and the packs it names.
    fn write_index(
        &self,
        path: &Path,
        results: Sorted,
        index: &Path,
    ) -> Result<(Sum, BTreeSet<String>)> {
        let retiring = self.sizes.keys().cloned().collect();
        let rules = Rules {
            now: self.run.context.clock.now(),
            keep_seconds: self.bucket_config.keep_deleted.seconds,
            packs: &retiring,
        };
        let mut output = sort::create(index)?;
        let (mut sum, mut named) = (Sum::default(), BTreeSet::new());
        let mut results = results.peekable();
        for step in steps(path)? {
            for entry in entries(step?, &mut results, &rules)? {
                if entry.is_live() {
                    sum.add(&entry)?;
                }
                if !named.contains(&entry.pack) {
                    named.insert(entry.pack.clone());
                }
                output
                    .write_all(&entry.line()?)
                    .map_err(|e| sort::unusable(index, &e))?;
            }
        }
        output.flush().map_err(|e| sort::unusable(index, &e))?;
        Ok((sum, named))
    }

    /// Stores the index, and drops packs that it does not name.
    fn put_index(&mut self, index: &Path, sum: &Sum, named: &BTreeSet<String>) -> Result<()> {
        let spec = ArtifactSpec {
            name: Name::own(INDEX),
            extension: Extension::own("ndjson"),
        };
        let destinations = self.destinations(&spec, true)?;
        let (sent, delivered) = send(destinations, |output| {
            let mut file = File::open(index).map_err(|e| sort::unusable(index, &e))?;
            io::copy(&mut file, output)
                .map_err(|e| Error::from_io(Code::Store, "the index cannot be passed on", e))
        });
        self.run.receive(self.name, &spec, &delivered);
        let (_, tally) = sent?;
        let keeps = |artifact: &str| artifact == INDEX || named.contains(artifact);
        let name = self.name;
        for receiving in &mut self.run.stores {
            let artifacts = &mut receiving.artifacts;
            artifacts.retain(|a| a.source != *name || keeps(&a.name));
        }
        let artifacts = &mut self.run.details.artifacts;
        artifacts.retain(|a| a.source != *name || keeps(&a.name));
        let proof = Proof {
            fingerprint: Fingerprint::Objects(sum.finish()),
            inventory: Inventory::None,
        };
        let details = self.details(&spec, &tally, proof);
        self.run.note_artifact(&details, &delivered);
        self.run.details.artifacts.push(details);
        Ok(())
    }
}

/// Entries of the next index that follow from a step.
fn entries(
    step: Step,
    results: &mut std::iter::Peekable<Sorted>,
    rules: &Rules<'_>,
) -> Result<Vec<Entry>> {
    let (listed, before) = match step {
        Step::Keep(entry) | Step::Gone(entry) => return Ok(vec![entry]),
        Step::Fetch(listed, before) => (listed, before.map(|b| *b)),
    };
    let mut outcome = None;
    // An object that was tried again has only the outcome of its last attempt.
    while let Some(record) = results.next_if(|r| match r {
        Ok((key, _)) => key.as_slice() <= listed.key.bytes(),
        Err(_) => true,
    }) {
        let (key, line) = record?;
        if key == listed.key.bytes() {
            outcome = Some(parse::<Outcome>(&line)?);
        }
    }
    Ok(match outcome {
        Some(Outcome::Stored(entry)) => {
            // An object that was stored again unchanged is the same version: there is no older one
            // to keep.
            let same = before.as_ref().is_some_and(|b| {
                b.sha256 == entry.sha256 && b.etag == entry.etag && b.modified == entry.modified
            });
            let retired = before.filter(|_| !same).and_then(|b| rules.retire(b));
            std::iter::once(*entry).chain(retired).collect()
        }
        Some(Outcome::Gone) => before.and_then(|b| rules.retire(b)).into_iter().collect(),
        Some(Outcome::LeftOut) => before.into_iter().collect(),
        None => {
            let message = format!("nothing is known of what became of {}", listed.key);
            return Err(Error::new(Code::SourceFailed, message).hint("run again"));
        }
    })
}

fn parse<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|e| {
        Error::new(Code::State, "a spool in the scratch directory is damaged").cause(e)
    })
}

/// Parses the lines of a sorted file.
fn parsed<T: for<'de> Deserialize<'de>>(sorted: Sorted) -> impl Iterator<Item = Result<T>> {
    sorted.map(|record| parse(&record?.1))
}

fn full_bytes(counts: &Counts) -> u64 {
    (counts.fetch_bytes / 1000).clamp(PACK_BYTES, PACK_BYTES_MAX)
}

/// Makes any error while objects are read an error of the source.
fn as_source(error: Error) -> Error {
    match error.code {
        Code::Store | Code::ObjectMissing => Error {
            code: Code::SourceFailed,
            ..error
        },
        _ => error,
    }
}
