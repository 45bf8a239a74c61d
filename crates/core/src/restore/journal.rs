//! What a live restore is about to do, noted before it does it, so that another process can go on from there or take
//! it back.
//!
//! Guarantees: before anything live is touched, the journal says what stands aside and where what is live will be
//! kept; whatever ends the process, it is found. It stays as long as what was live before is kept.

use super::swap::NotedSwap;
use crate::context::Context;
use crate::copies::manifest_sha256;
use crate::error::{Code, Error, Result};
use crate::fetch::Fetched;
use crate::kind::StoredKind;
use crate::name::Name;
use crate::place;
use crate::point::PointId;
use crate::restoring::{self, Restore, Stage};
use crate::source::Limit;
use crate::state::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) use crate::restoring::Journal as Kept;

/// A point that is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotedPoint {
    pub point: PointId,
    /// The store that its copy is read from.
    pub store: Name,
    /// SHA-256 of the manifest of that copy.
    pub manifest_sha256: String,
}

impl NotedPoint {
    pub fn of(fetched: &Fetched) -> Self {
        NotedPoint {
            point: fetched.copy.manifest.point.clone(),
            store: fetched.store.name.clone(),
            manifest_sha256: manifest_sha256(&fetched.copy),
        }
    }
}

/// A source that stands aside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NotedSource {
    pub name: Name,
    pub kind: StoredKind,
    /// It equals what was captured; otherwise nothing proves that it does.
    pub is_equal: bool,
    pub summary: String,
    pub limits: Vec<Limit>,
    /// Rows of each of its tables, if it is a database.
    pub rows: BTreeMap<String, u64>,
}

/// What was said by the time at which everything stood aside.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Told {
    pub limits: Vec<String>,
    pub warnings: Vec<String>,
    /// Sources that have no live place.
    pub left: Vec<Name>,
}

/// The journal of a live restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Journal {
    #[serde(flatten)]
    pub restore: Restore,
    /// It was asked for without proof.
    pub unproven: bool,
    pub points: Vec<NotedPoint>,
    pub swaps: Vec<NotedSwap>,
    pub compared: Vec<NotedSource>,
    pub told: Told,
    /// Points that were taken of what was live before.
    pub safety_points: Vec<PointId>,
    /// When the application began to be stopped.
    pub stopped: Option<Timestamp>,
    /// Directories above live places that were missing and were made.
    pub made: Vec<PathBuf>,
    /// Its evidence, once there is some.
    pub evidence: Option<PointId>,
}

impl Kept for Journal {
    fn restore(&self) -> &Restore {
        &self.restore
    }
}

impl Journal {
    /// Begins the journal of a restore that has touched nothing yet.
    pub fn begin(
        context: &Context,
        points: Vec<NotedPoint>,
        sources: Vec<Name>,
        reason: Option<String>,
        unproven: bool,
    ) -> Result<Journal> {
        let id = PointId::new(&context.clock);
        let journal = Journal {
            restore: Restore::begin(id, context.clock.now(), sources, reason)?,
            unproven,
            points,
            swaps: Vec::new(),
            compared: Vec::new(),
            told: Told::default(),
            safety_points: Vec::new(),
            stopped: None,
            made: Vec::new(),
            evidence: None,
        };
        journal.write(&context.state)?;
        Ok(journal)
    }

    /// Notes how far it came.
    pub fn at(&mut self, context: &Context, stage: Stage) -> Result<()> {
        self.restore.stage = stage;
        self.write(&context.state)
    }
}

/// The journal of an id, or of an unambiguous beginning of one.
pub(super) fn named(state: &State, id: &str) -> Result<Journal> {
    let all: Vec<Journal> = restoring::all(state)?;
    let mut found = all
        .into_iter()
        .filter(|journal| journal.restore.id.as_str().starts_with(id));
    let hint = "`lifeboat restores list` shows what can be undone or finished";
    let refused = |message: String| Err(Error::new(Code::Usage, message).hint(hint));
    match (found.next(), found.next()) {
        (Some(one), None) if !id.is_empty() => Ok(one),
        (Some(_), _) => refused(format!("{id:?} begins the ids of several restores")),
        (None, _) => refused(format!("no restore {id} is open on this host")),
    }
}

/// Forgets restores that were ended before they touched anything live. The caller holds the lock of restores.
pub(super) fn forget_placing(context: &Context) -> Result<()> {
    let all: Vec<Journal> = restoring::all(&context.state)?;
    let over = all.iter().filter(|journal| {
        let restore = &journal.restore;
        restore.stage == Stage::Placing && !restore.is_running()
    });
    over.into_iter()
        .try_for_each(|journal| forget_one(context, journal))
}

/// Forgets one of them. What it placed aside is removed by its notes; here goes the empty directory for it.
pub(super) fn forget_one(context: &Context, journal: &Journal) -> Result<()> {
    let sources = journal.restore.sources.iter();
    for config in sources.filter_map(|name| context.config.source.get(name)) {
        for root in config.kind.roots() {
            place::aside::forget_empty(root);
        }
    }
    journal.forget(&context.state)
}
