//! Marks: signed notes about points, in each store beside them. A **pin** keeps a point, an
//! **intent** announces that points go, a **tombstone** says that they went, and a note says that a
//! plan is **unchanged** since a point.
//!
//! Guarantees: a mark counts only if a signer who is trusted for the application made it, for this
//! application and environment, and if it stands under the key that its content says. Every other
//! one is reported and changes nothing. A mark is never changed once it is stored, but for a note that
//! a plan is unchanged, which the next one replaces.

mod intent;
pub(crate) mod pin;
mod tombstone;
mod unchanged;

pub(crate) use intent::IntentKeys;
pub use intent::{Intent, Leaving, POINTS_MAX};
pub use pin::Pin;
pub use tombstone::{Gone, Tombstone};
pub use unchanged::Unchanged;

use crate::catalog::marks::StoredMark;
use crate::clock::is_ahead;
use crate::context::Context;
use crate::copies::put_bytes;
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::host::{author, host};
use crate::name::Name;
use crate::point::PointId;
use crate::stores::OpenStore;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Prefix of the keys of intents.
pub const INTENTS_PREFIX: &str = "lifeboat/intents/";
/// Prefix of the keys of pins.
pub const PINS_PREFIX: &str = "lifeboat/pins/";
/// Prefix of the keys of tombstones.
pub const PRUNED_PREFIX: &str = "lifeboat/pruned/";
/// Prefix of the keys of notes that a plan is unchanged.
pub const UNCHANGED_PREFIX: &str = "lifeboat/unchanged/";

/// The reason of a pin that does not count: the point stays until somebody looked at it.
pub(crate) const DOUBTFUL: &str = "by a pin that cannot be checked";

/// The marks in a store.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// What was said last of each point: that it is pinned, or that it no longer is.
    pub pins: BTreeMap<PointId, Pin>,
    /// The intents, by id.
    pub intents: Vec<Intent>,
    /// Intents that are dated in the future. Nobody knows for how long they have stood there, so
    /// that they do not count.
    pub ahead: Vec<Intent>,
    /// What was deleted, by point.
    pub pruned: BTreeMap<PointId, Gone>,
    /// When each of these was deleted.
    pub deleted_at: BTreeMap<PointId, Timestamp>,
    /// Intents of which something was deleted.
    pub begun: BTreeSet<PointId>,
    /// What was noted last of each plan that was looked at and is unchanged.
    pub unchanged: Vec<Unchanged>,
    /// When something was deleted last.
    pub pruned_at: Option<Timestamp>,
    /// Points with a pin that does not count: nobody can tell what it said.
    pub doubtful: BTreeSet<PointId>,
    /// Errors of kinds of marks that could not be listed, or not be read.
    pub unlisted: Vec<Error>,
    /// Marks that do not count, and why.
    pub errors: Vec<Error>,
}

impl Marks {
    /// When it was announced that the copy with this manifest goes; `None` if it was not.
    pub fn leaving(&self, point: &PointId, manifest_sha256: &str) -> Option<Timestamp> {
        let naming = self.intents.iter().filter(|intent| {
            let mut points = intent.points.iter();
            points.any(|l| l.point == *point && l.manifest_sha256 == manifest_sha256)
        });
        naming.map(|intent| intent.header.at).min()
    }

    /// The reason for which a point is pinned, if it is.
    pub fn pinned(&self, point: &PointId) -> Option<&str> {
        if self.doubtful.contains(point) {
            return Some(DOUBTFUL);
        }
        let pin = self.pins.get(point).filter(|pin| pin.pinned);
        pin.map(|pin| pin.reason.as_str())
    }

    /// Returns whether a copy that is gone was deleted by the rules, or is being deleted.
    pub fn explains(&self, point: &PointId) -> bool {
        let announced = |intent: &Intent| intent.points.iter().any(|l| l.point == *point);
        let mut intents = self.intents.iter().chain(&self.ahead);
        self.pruned.contains_key(point) || intents.any(announced)
    }
}

/// A kind of mark.
trait Mark: DeserializeOwned {
    const WHAT: &'static str;

    /// The hint about one that does not count.
    const UNBELIEVED: &'static str =
        "find out who wrote it; it changes nothing, and can be removed from the store";

    fn header(&self) -> &Header;

    /// The key that it stands under.
    fn key(&self) -> String;

    /// The signed bytes of a stored mark, and their signature; `None` if the object holds none.
    fn content(stored: &StoredMark) -> Option<(Vec<u8>, String)> {
        Some((stored.bytes.clone(), stored.signature.clone()))
    }
}

/// What every mark says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format: 1.
    pub schema: u32,
    /// Its id.
    pub id: PointId,
    /// The application of the points that it is about.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The time from which it holds.
    pub at: Timestamp,
    /// Who wrote it.
    pub author: String,
    /// The host it was written on.
    pub host: String,
}

impl Header {
    /// What a mark says that is written now.
    fn now(context: &Context) -> Self {
        let app = &context.config.app;
        Header {
            schema: 1,
            id: PointId::new(&context.clock),
            app: app.name.clone(),
            environment: app.environment.clone(),
            at: context.clock.now(),
            author: author(),
            host: host(),
        }
    }
}

/// Where the marks of a store are read from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// The store itself.
    Store(&'a OpenStore),
    /// What it showed when it was asked last: its name, and its location.
    Noted(&'a Name, &'a str),
}

impl<'a> Origin<'a> {
    fn name(self) -> &'a Name {
        match self {
            Origin::Store(store) => &store.name,
            Origin::Noted(name, _) => name,
        }
    }

    /// The marks below a prefix, and the errors of those that cannot be read.
    fn read(self, context: &Context, prefix: &str) -> Result<(Vec<StoredMark>, Vec<Error>)> {
        let catalog = &context.state.catalog;
        match self {
            Origin::Store(store) => catalog.marks(store, prefix),
            Origin::Noted(_, location) => Ok((catalog.noted_marks(location, prefix)?, Vec::new())),
        }
    }
}

/// Reads the marks of a store. A kind of mark that cannot be listed is an error among those of the
/// result.
pub fn read(context: &Context, store: &OpenStore) -> Marks {
    read_from(context, Origin::Store(store))
}

/// The marks that a store showed when it was asked last, for one that does not answer now.
pub(crate) fn noted(context: &Context, store: &Name, location: &str) -> Marks {
    read_from(context, Origin::Noted(store, location))
}

fn read_from(context: &Context, store: Origin<'_>) -> Marks {
    let mut marks = Marks::default();
    marks.read_pins(context, store);
    // A prune puts a tombstone before it removes the intent: read in this order, one of them is seen.
    let intents = marks.believed::<Intent>(context, store, INTENTS_PREFIX);
    let now = context.clock.now();
    (marks.ahead, marks.intents) = intents
        .into_iter()
        .partition(|intent| is_ahead(intent.header.at, now));
    for tombstone in marks.believed::<Tombstone>(context, store, PRUNED_PREFIX) {
        let at = tombstone.header.at;
        marks.pruned_at = marks.pruned_at.max(Some(at));
        let ids = tombstone.points.iter().map(|gone| gone.point.clone());
        marks.deleted_at.extend(ids.map(|id| (id, at)));
        let points = tombstone.points.into_iter();
        marks
            .pruned
            .extend(points.map(|gone| (gone.point.clone(), gone)));
        marks.begun.insert(tombstone.intent);
    }
    marks.unchanged = marks.believed(context, store, UNCHANGED_PREFIX);
    marks
}

/// The pins of a store, as they are now. Fails if they cannot be read.
pub fn read_pins(context: &Context, store: &OpenStore) -> Result<Marks> {
    let mut marks = Marks::default();
    marks.read_pins(context, Origin::Store(store));
    match marks.unlisted.pop() {
        Some(error) => Err(error),
        None => Ok(marks),
    }
}

impl Marks {
    fn read_pins(&mut self, context: &Context, store: Origin<'_>) {
        for pin in self.believed::<Pin>(context, store, PINS_PREFIX) {
            match self.pins.get(&pin.point) {
                Some(known) if known.said() > pin.said() => {}
                _ => drop(self.pins.insert(pin.point.clone(), pin)),
            }
        }
    }

    fn believed<T: Mark>(&mut self, context: &Context, store: Origin<'_>, prefix: &str) -> Vec<T> {
        let (stored, unread) = match store.read(context, prefix) {
            Ok(read) => read,
            Err(error) => {
                let message = format!(
                    "{prefix} of store {} cannot be read: {}",
                    store.name(),
                    error.message
                );
                self.unlisted.push(Error { message, ..error });
                return Vec::new();
            }
        };
        self.unlisted.extend(unread);
        let mut marks = Vec::new();
        for stored in stored {
            match believe(context, store.name(), &stored) {
                Ok(mark) => marks.extend(mark),
                Err(error) => {
                    self.doubtful.extend(pin::point_of(&stored.key));
                    self.errors.push(error);
                }
            }
        }
        marks
    }
}

/// Parses a mark; `None` if it is of another application. Fails if it does not count.
fn believe<T: Mark>(context: &Context, store: &Name, stored: &StoredMark) -> Result<Option<T>> {
    let key = &stored.key;
    let told = |code: Code, why: &str| {
        let message = format!("{} {key} in store {store} does not count: {why}", T::WHAT);
        Error::new(code, message)
    };
    let damaged = |why: &str| told(Code::ObjectDamaged, why);
    let (bytes, signature) =
        T::content(stored).ok_or_else(|| damaged("it holds no text with a signature"))?;
    let mark: T = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(&format!("it cannot be parsed: {error}")))?;
    let Header {
        schema,
        app,
        environment,
        at,
        ..
    } = mark.header();
    let ours = &context.config.app;
    let is_ours = (app, environment) == (&ours.name, &ours.environment);
    if !is_ours && !context.shows_every_app() {
        return Ok(None);
    }
    context
        .trusted
        .verify(app, &bytes, &signature, *at)
        .map_err(|error| {
            let told = told(error.code, &error.message);
            told.hint(T::UNBELIEVED)
        })?;
    if *schema != 1 {
        return Err(damaged(&format!(
            "its schema is {schema}, this program reads 1"
        )));
    }
    if mark.key() != *key {
        return Err(told(
            Code::Untrusted,
            "it stands under another key than its content says",
        ));
    }
    Ok(Some(mark))
}

/// Signs and stores a mark: the signature first, since a mark without one does not count.
fn put<T: Mark + Serialize>(context: &Context, store: &OpenStore, mark: &T) -> Result<()> {
    let (key, bytes) = (mark.key(), to_json(mark)?);
    let signature = context.state.signer.sign(&bytes)?;
    put_bytes(store, &format!("{key}.sig"), signature.as_bytes(), false)?;
    put_bytes(store, &key, &bytes, false)?;
    Ok(())
}
