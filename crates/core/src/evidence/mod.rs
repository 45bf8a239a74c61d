//! The record of drills and restores: append-only, signed, chained by signer, in every store.
//!
//! Each record carries the SHA-256 of the ones before it by the same signer. Manifests carry the
//! chain's newest number and hash, so that a cut tail shows. Nothing here is ever changed or deleted; a
//! store that lacks records receives them with the next one. What was observed lies beside a record,
//! sealed ([`detail`]). Two runs with one key do not take one number where a store can prevent it
//! ([`place`]); where none can, the chain forks, and the next record joins the branches.

mod chain;
mod detail;
mod gather;
mod place;
mod proof;
mod record;
mod shown;
mod verify;

pub use proof::{PointProof, Proof, Tried, proofs};
#[cfg(test)]
pub(crate) use record::sample;
pub use record::{Activity, DetailRef, Facts, Phase, ProvedPoint, Record, Verdict};
pub use shown::{Records, Shown, ShownCheck, ShownDifference, records, show};
pub use verify::{ChainDocument, ChainOutcome, ChainReport, verify};

use crate::catalog::StoredRecord;
use crate::context::Context;
use crate::digest::sha256_hex;
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::Head;
use crate::stores::OpenStore;
use chain::Link;
use gather::{Believed, Gathered, gather, open_stores};
use place::{How, Made};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often another writer may take our number before the record is put beside it.
const ATTEMPTS_MAX: u32 = 64;
/// How long a run that claimed a number may take to put its record.
const CLAIM_WAIT: Duration = Duration::from_secs(10);

/// What became of a new record.
#[derive(Debug)]
pub struct Appended {
    /// The record as signed, with what was observed.
    pub record: Record,
    /// Its key in its home; `None` when nobody here could sign it, and no store received it.
    pub key: Option<String>,
    /// Stores that did not receive it, and why. They receive it with the next record.
    pub missing: Vec<(Name, Error)>,
}

/// Signs a record and adds it to our chain in every store. `draft` needs no sequence, previous, signer
/// or detail; they are set here.
pub fn append(context: &Context, mut draft: Record) -> Result<Appended> {
    if context.is_cold() {
        return Ok(Appended {
            record: draft,
            key: None,
            missing: Vec::new(),
        });
    }
    let (stores, mut missing) = open_stores(context);
    let signer = gather::directory(context.state.signer.id().as_str());
    draft.signer = context.state.signer.id().to_string();
    let plain = detail::take(&mut draft, &context.clock)?;
    for store in &stores {
        if let Err(error) = detail::put(context, store, &signer, &draft, &plain) {
            missing.push((store.name.clone(), error));
        }
    }
    let mut entry = Entry {
        context,
        stores: &stores,
        missing,
    };
    let (new, home) = entry.enter(draft)?;
    let mut missing = entry.missing;
    let kept =
        detail::keep(context, &plain).and_then(|()| context.state.catalog.note_record(&new.stored));
    if let Err(error) = kept {
        context.reporter.warn(&error.to_string());
    }
    let mut key = gather::key(&signer, new.record.sequence, None);
    let mut reached = Vec::new();
    for store in &stores {
        if missing.iter().any(|(name, _)| *name == store.name) {
            continue;
        }
        match place::deliver(store, &new) {
            Ok(placed) => {
                let location = store.store.location();
                gather::note(context, &location, &placed, String::new(), &new.stored);
                if home.is_none_or(|home| *home == store.name) {
                    key = placed;
                }
                reached.push(store);
            }
            Err(error) => missing.push((store.name.clone(), error)),
        }
    }
    let gathered = gather(context, &stores);
    let believed = gathered.believed(context);
    place::heal(context, &reached, &gathered, &believed);
    Ok(Appended {
        record: new.record,
        key: Some(key),
        missing,
    })
}

/// A record on its way into its home.
struct Entry<'a> {
    context: &'a Context,
    stores: &'a [OpenStore],
    missing: Vec<(Name, Error)>,
}

impl<'a> Entry<'a> {
    /// Signs the draft as the next of our chain and makes it in its home; the record, and the name of
    /// that store. Without a home it has its number all the same, and is known here alone.
    fn enter(&mut self, mut draft: Record) -> Result<(Believed, Option<&'a Name>)> {
        let begun = Instant::now();
        let mut refused = None;
        for attempt in 0..ATTEMPTS_MAX {
            let new = self.sign(&mut draft)?;
            let number = new.record.sequence;
            let how = How {
                weak_too: false,
                take_over: begun.elapsed() > CLAIM_WAIT,
            };
            let made = self.make_somewhere(&new.stored, how);
            match made {
                None => return Ok((new, None)),
                Some((store, Made::Ours)) => return Ok((new, Some(&store.name))),
                // What holds the number is nothing that could be followed.
                Some((_, Made::Taken)) if refused == Some(number) => return Ok((new, None)),
                Some((_, Made::Taken)) => refused = Some(number),
                Some((_, Made::Claimed | Made::Weak)) => {
                    let wait = 10 * u64::from(attempt.min(20)) + self.context.clock.random() % 50;
                    std::thread::sleep(Duration::from_millis(wait));
                }
            }
        }
        // Better beside another record than nowhere: the next one joins the branches.
        Ok((self.sign(&mut draft)?, None))
    }

    /// The draft as the record after all that can be believed of our chain.
    fn sign(&mut self, draft: &mut Record) -> Result<Believed> {
        let context = self.context;
        let gathered = gather(context, self.stores);
        for (name, error) in &gathered.unlisted {
            if !self.lacks(name) {
                self.missing.push((name.clone(), error.clone()));
            }
        }
        let own: Vec<Link> = gathered
            .believed(context)
            .iter()
            .filter(|b| b.record.signer == draft.signer)
            .map(Believed::link)
            .collect();
        let next = chain::next(&own);
        draft.sequence = next.sequence;
        draft.previous = next.previous;
        let bytes = to_json(draft)?;
        Ok(Believed {
            record: draft.clone(),
            stored: StoredRecord {
                signer: gather::directory(&draft.signer),
                sequence: draft.sequence,
                sha256: sha256_hex(&bytes),
                signature: context.state.signer.sign(&bytes)?,
                bytes,
            },
        })
    }

    fn lacks(&self, store: &Name) -> bool {
        self.missing.iter().any(|(name, _)| name == store)
    }

    /// Tries the stores in their order: first those that can make an object only once, then the others.
    /// `None` when none could be written to.
    fn make_somewhere(&mut self, record: &StoredRecord, how: How) -> Option<(&'a OpenStore, Made)> {
        for weak_too in [false, true] {
            for store in self.stores {
                if self.lacks(&store.name) || weak_too && store.store.makes_once() {
                    continue;
                }
                match place::make(store, record, How { weak_too, ..how }) {
                    Ok(Made::Weak) => {}
                    Ok(made) => return Some((store, made)),
                    Err(error) => self.missing.push((store.name.clone(), error)),
                }
            }
        }
        None
    }
}

/// The newest record of each chain we believe, for a manifest; a store that lacks records receives
/// them first.
pub fn heads(context: &Context, stores: &[OpenStore]) -> BTreeMap<Name, Head> {
    let gathered = gather(context, stores);
    let believed = gathered.believed(context);
    place::heal(
        context,
        &stores.iter().collect::<Vec<_>>(),
        &gathered,
        &believed,
    );
    let mut chains: BTreeMap<String, Vec<Link>> = BTreeMap::new();
    for record in &believed {
        let signer = record.stored.signer.clone();
        chains.entry(signer).or_default().push(record.link());
    }
    let head = |links: Vec<Link>| {
        let mut ends = chain::ends(&links).into_iter();
        let newest = ends.next()?;
        Some(Head {
            sequence: newest.sequence,
            sha256: newest.hash.clone(),
            beside: ends.map(|end| end.hash.clone()).collect(),
        })
    };
    chains
        .into_iter()
        .filter_map(|(signer, links)| Some((Name::parse(&signer)?, head(links)?)))
        .collect()
}

/// One record as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it says, and what was observed as far as this host keeps it.
    pub record: Record,
    /// Its key in the stores.
    pub key: String,
    /// Why it is not to be believed, if it is not.
    pub distrust: Option<Error>,
}

/// Every record of this application that can be read, by time; and the stores that failed.
pub fn list(context: &Context) -> Result<(Vec<Listed>, Vec<Error>)> {
    let (gathered, errors) = reachable(context);
    let mut listed: Vec<Listed> = gathered
        .known
        .into_values()
        .filter_map(|stored| {
            let mut record: Record = serde_json::from_slice(&stored.bytes).ok()?;
            let ours = record.app == context.config.app.name
                && record.environment == context.config.app.environment;
            let distrust = gather::believe(&context.trusted, &stored).err();
            detail::open_kept(context, &mut record);
            ours.then(|| Listed {
                key: gather::key(&stored.signer, stored.sequence, None),
                record,
                distrust,
            })
        })
        .collect();
    // Ids of one second are in no order; numbers of one chain are.
    listed.sort_by_key(|l| (l.record.finished, l.record.sequence));
    Ok((listed, errors))
}

fn reachable(context: &Context) -> (Gathered, Vec<Error>) {
    let (stores, unopened) = open_stores(context);
    let mut gathered = gather(context, &stores);
    let unlisted = std::mem::take(&mut gathered.unlisted);
    let errors = unopened.into_iter().chain(unlisted).map(|(_, error)| error);
    let errors = errors.chain(std::mem::take(&mut gathered.unread)).collect();
    (gathered, errors)
}

/// Opens what was observed of a record, from this host's state or from a store whose key is here. An
/// error says why it stays sealed.
pub fn open_detail(context: &Context, record: &mut Record) -> Result<()> {
    let (gathered, errors) = reachable(context);
    detail::open(context, &gathered.details, record).map_err(|error| match errors.first() {
        Some(first) if error.code == Code::ObjectMissing => error.cause(first),
        _ => error,
    })
}
