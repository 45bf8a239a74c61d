//! The evidence of drills and restores: records that are append-only, signed, chained by signer,
//! and in every store.
//!
//! Each record carries the SHA-256 of the records before it by the same signer. Manifests carry the
//! newest number and hash of the chain, so that a cut tail is noticed. Nothing here is ever changed
//! or deleted; a store that lacks records receives them with the next one. Observations lie beside
//! a record, sealed ([`detail`]). Two runs with one key do not take the same number where a store
//! can prevent it ([`place`]); where none can, the chain forks, and the next record joins the
//! branches.

mod chain;
mod detail;
pub(crate) mod gather;
mod order;
mod place;
mod proof;
mod record;
mod shown;
mod unsent;
mod verify;

pub use proof::{PointProof, Proof, Tried, proofs};
#[cfg(test)]
pub(crate) use record::sample;
pub use record::{Activity, DetailRef, Facts, Phase, ProvedPoint, Record, Verdict};
pub use shown::{Records, Shown, ShownCheck, records, show};
pub use verify::{ChainDocument, ChainOutcome, ChainReport, verify};

use crate::catalog::StoredRecord;
use crate::context::Context;
use crate::digest::sha256_hex;
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::host::{author, host};
use crate::name::Name;
use crate::point::{Head, PointId};
use crate::stores::OpenStore;
use chain::Link;
use gather::{Believed, Gathered, gather, open_stores};
use jiff::Timestamp;
use place::{How, Made};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Attempts at a free number before the record is put beside another one.
const ATTEMPTS_MAX: u32 = 64;
/// Time within which a run that claimed a number should store its record.
const CLAIM_WAIT: Duration = Duration::from_secs(10);

/// Result of adding a record.
#[derive(Debug)]
pub struct Appended {
    /// The signed record, with its observations.
    pub record: Record,
    /// Its key in its home store; `None` when it could not be signed here and no store received it.
    pub key: Option<String>,
    /// Stores that did not receive it, with the errors. They receive it with the next record.
    pub missing: Vec<(Name, Error)>,
}

/// A record of something that begins to be told: who, where, and what is aimed at. The rest is nothing yet.
pub fn draft(context: &Context, activity: Activity, started: Timestamp) -> Record {
    let app = &context.config.app;
    Record {
        schema: 1,
        id: PointId::new(&context.clock),
        sequence: 0,
        previous: vec![],
        signer: String::new(),
        activity,
        app: app.name.clone(),
        environment: app.environment.clone(),
        owner: app.owner.clone(),
        author: author(),
        host: host(),
        lifeboat: env!("CARGO_PKG_VERSION").to_owned(),
        drill: None,
        reason: None,
        target: None,
        points: vec![],
        started,
        finished: context.clock.now(),
        outcome: Verdict::Unverifiable,
        unproven: false,
        checks: vec![],
        limits: vec![],
        limits_count: 0,
        detail: None,
        phases: vec![],
        rto_seconds: 0.0,
        rpo_seconds: 0.0,
        downtime_seconds: None,
        rto_target_seconds: app.rto.map(|span| span.seconds),
        rpo_target_seconds: app.rpo.map(|span| span.seconds),
    }
}

/// Signs a record and adds it to this host's chain in every store. Sets the sequence, previous,
/// signer and detail of `draft`.
pub fn append(context: &Context, mut draft: Record) -> Result<Appended> {
    if context.is_passing() {
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
    let kept = [
        detail::keep(context, &plain),
        match home {
            Some(_) => Ok(()),
            None => unsent::keep(&context.state, &new.stored),
        },
        context.state.catalog.note_record(&new.stored),
    ];
    for error in kept.into_iter().filter_map(Result::err) {
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
    unsent::forget_held(&context.state, &gathered);
    Ok(Appended {
        record: new.record,
        key: Some(key),
        missing,
    })
}

/// A record that is being added.
struct Entry<'a> {
    context: &'a Context,
    stores: &'a [OpenStore],
    missing: Vec<(Name, Error)>,
}

impl<'a> Entry<'a> {
    /// Signs the draft as the next record of the chain and stores it in its home; returns the
    /// record and the name of that store. Without a home, it is numbered all the same, and known on
    /// this host only.
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
                // The object with that number is no record that could be followed.
                Some((_, Made::Taken)) if refused == Some(number) => return Ok((new, None)),
                Some((_, Made::Taken)) => refused = Some(number),
                Some((_, Made::Claimed | Made::Weak)) => {
                    let wait = 10 * u64::from(attempt.min(20)) + self.context.clock.random() % 50;
                    std::thread::sleep(Duration::from_millis(wait));
                }
            }
        }
        // A record beside another one is better than none: the next one joins the branches.
        Ok((self.sign(&mut draft)?, None))
    }

    /// Signs the draft as the record after all trusted ones of this chain.
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

    /// Tries the stores in order: first those that can create an object only once, then the others.
    /// `None` when no store could be written to.
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

/// The newest record of each trusted chain, for a manifest; a store that lacks records first
/// receives them.
pub fn heads(context: &Context, stores: &[OpenStore]) -> BTreeMap<Name, Head> {
    let gathered = gather(context, stores);
    unsent::forget_held(&context.state, &gathered);
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

/// One record in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The record, with its observations if this host keeps them.
    pub record: Record,
    /// Its key in the stores.
    pub key: String,
    /// The error because of which it is not trusted, if any.
    pub distrust: Option<Error>,
}

/// Reads every record of this application, in the order in which they were made; also returns the
/// errors of stores that failed.
pub fn list(context: &Context) -> Result<(Vec<Listed>, Vec<Error>)> {
    let (gathered, errors) = reachable(context);
    let listed = gathered
        .known
        .into_values()
        .filter_map(|stored| {
            let mut record: Record = serde_json::from_slice(&stored.bytes).ok()?;
            let ours = record.app == context.config.app.name
                && record.environment == context.config.app.environment;
            let distrust = gather::believe(&context.trusted, &stored).err();
            detail::open_kept(context, &mut record);
            let place = order::Place {
                sequence: record.sequence,
                finished: record.finished,
                hash: stored.sha256.clone(),
                // What is not trusted says nothing of others.
                follows: match distrust {
                    None => record.previous.clone(),
                    Some(_) => Vec::new(),
                },
            };
            let listed = Listed {
                key: gather::key(&stored.signer, stored.sequence, None),
                record,
                distrust,
            };
            ours.then_some((place, listed))
        })
        .collect();
    Ok((order::in_order(listed), errors))
}

fn reachable(context: &Context) -> (Gathered, Vec<Error>) {
    let (stores, unopened) = open_stores(context);
    let mut gathered = gather(context, &stores);
    let unlisted = std::mem::take(&mut gathered.unlisted);
    let errors = unopened.into_iter().chain(unlisted).map(|(_, error)| error);
    let errors = errors.chain(std::mem::take(&mut gathered.unread)).collect();
    (gathered, errors)
}

/// Opens the observations of a record, from this host's state or from a store whose key is on this
/// host. The error says why they stay sealed.
pub fn open_detail(context: &Context, record: &mut Record) -> Result<()> {
    let (gathered, errors) = reachable(context);
    detail::open(context, &gathered.details, record).map_err(|error| match errors.first() {
        Some(first) if error.code == Code::ObjectMissing => error.cause(first),
        _ => error,
    })
}
