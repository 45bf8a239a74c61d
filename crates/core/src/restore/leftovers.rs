//! Leftovers of killed live restores: notes of what a restore sets aside, by which it is found
//! again.
//!
//! A place is noted in the state directory before anything is put there, and struck out once it is
//! gone. It holds only a copy, and the next live restore removes it; from the swap on the journal of the restore has
//! it. If the notes are lost, nothing is found.

use crate::context::Context;
use crate::error::Result;
use crate::name::Name;
use crate::place;
use crate::point::PointId;
use crate::removal::remove_tree;
use crate::source::{Database, live_database};
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "restores";
const NOTES: &str = "aside.json";

/// A place where something is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Path(PathBuf),
    Database(String),
}

/// Something that a restore set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// Its source.
    pub source: Name,
    point: PointId,
    place: Place,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leftover { point, .. } = self;
        match &self.place {
            Place::Path(path) => write!(f, "{} was", path.display())?,
            Place::Database(name) => write!(f, "database {name} was")?,
        }
        write!(
            f,
            " left by a live restore of {point} that was ended before it changed anything live"
        )
    }
}

impl Leftover {
    /// Advice on what to do about it.
    pub fn hint(&self) -> &'static str {
        "run that restore again: the next live restore removes it first; or remove it by hand"
    }

    /// Its path, if it is a file or a directory.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Path(path) => Some(path),
            Place::Database(_) => None,
        }
    }

    fn is_there(&self, context: &Context) -> bool {
        match &self.place {
            Place::Path(path) => path.symlink_metadata().is_ok(),
            // A server that does not answer may have it.
            Place::Database(name) => self.admin(context).is_some_and(|admin| {
                let there = admin.and_then(|admin| admin.exists(name, &context.scrubber));
                there.unwrap_or(true)
            }),
        }
    }

    /// The server of its database; `None` if the configuration has that source no longer.
    fn admin(&self, context: &Context) -> Option<Result<Database>> {
        let config = context.config.source.get(&self.source)?;
        let database = live_database(&config.kind)?;
        Some(database.map(|database| database.administrative()))
    }

    /// Removes it. Returns the reason if that fails.
    fn remove(&self, context: &Context) -> Option<String> {
        match &self.place {
            Place::Path(path) => remove_tree(path).first().map(ToString::to_string),
            Place::Database(name) => {
                let admin = self.admin(context)?;
                let dropped = admin.and_then(|admin| admin.drop(name, &context.scrubber));
                dropped.err().map(|error| error.to_string())
            }
        }
    }
}

fn path(state: &State) -> Result<PathBuf> {
    Ok(state.private_directory(&[DIRECTORY])?.join(NOTES))
}

/// Reads the notes. Unreadable notes count as none.
fn read(context: &Context) -> Vec<Leftover> {
    let directory = context.state.existing_directory(&[DIRECTORY]);
    let text = directory.and_then(|directory| std::fs::read(directory.join(NOTES)).ok());
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn write(context: &Context, notes: &[Leftover]) -> Result<()> {
    let text = serde_json::to_vec(notes).unwrap_or_default();
    place::replace_file(&mut text.as_slice(), &path(&context.state)?, 0o600).map(drop)
}

/// Notes a place before something is put there.
pub(super) fn note(context: &Context, source: &Name, point: &PointId, place: Place) -> Result<()> {
    let mut notes = read(context);
    notes.retain(|note| note.place != place);
    notes.push(Leftover {
        source: source.clone(),
        point: point.clone(),
        place,
    });
    write(context, &notes)
}

/// Strikes out the notes of these points: the journal of their restore has what is aside, from here on.
pub(super) fn hand_over(context: &Context, points: &[PointId]) -> Result<()> {
    let mut notes = read(context);
    notes.retain(|note| !points.contains(&note.point));
    write(context, &notes)
}

/// Strikes out notes of what is no longer there.
pub(super) fn strike_out(context: &Context) -> Result<()> {
    let notes = read(context);
    if notes.is_empty() {
        return Ok(());
    }
    let still: Vec<_> = notes.into_iter().filter(|n| n.is_there(context)).collect();
    write(context, &still)
}

/// The leftovers of killed live restores; empty while a restore is running.
pub fn find(context: &Context) -> Vec<Leftover> {
    match context.state.lock("restore") {
        Ok(Some(_lock)) => {
            let notes = read(context).into_iter();
            notes.filter(|note| note.is_there(context)).collect()
        }
        _ => Vec::new(),
    }
}

/// Removes leftovers; a line for each. The caller holds the restore lock.
pub(super) fn clean_up(context: &Context) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for note in read(context).iter().filter(|note| note.is_there(context)) {
        let line = match note.remove(context) {
            None => format!("{note}; it was removed"),
            Some(why) => format!("{note}; {why}"),
        };
        told.push(format!("source {}: {line}", note.source));
    }
    strike_out(context)?;
    Ok(told)
}
