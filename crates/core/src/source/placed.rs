//! Places of a source: where it was restored, where it is to go, and where it is live.

use super::bucket::BucketPlace;
use super::machine::Machine;
use super::{Database, ScratchServers};
use crate::config::BucketConfig;
use crate::error::{Code, Error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The target of a source that does not go into a directory.
pub enum Target<'a> {
    /// A throwaway server among these, started at the first need.
    Scratch(&'a mut ScratchServers),
    /// This database, which must be empty.
    Given(Database),
    /// This database, which was created for the restore.
    Made(Database),
    /// This place for the objects of a bucket, which is empty.
    Bucket(BucketPlace),
    /// None: dumps are written as files.
    Files,
}

/// The place of a restored source.
#[derive(Clone)]
pub enum Placed {
    /// A directory that holds its tree.
    Tree(PathBuf),
    /// A file.
    File(PathBuf),
    /// A database.
    Database(Database),
    /// A bucket.
    Bucket(BucketPlace),
    /// A machine.
    Machine(Machine),
}

impl Placed {
    /// Its description for people.
    pub fn describe(&self) -> String {
        match self {
            Placed::Tree(path) | Placed::File(path) => path.display().to_string(),
            Placed::Database(database) => database.display(),
            Placed::Bucket(place) => place.describe(),
            Placed::Machine(machine) => match &machine.address {
                Some(address) => format!("machine {} at {address}", machine.name),
                None => format!("machine {}", machine.name),
            },
        }
    }

    /// The error for a kind of source that cannot be in this place.
    pub(crate) fn is_no_place_of(&self, kind: &str) -> Error {
        let message = format!("a {kind} source cannot be read from {}", self.describe());
        Error::new(Code::Target, message)
    }
}

/// What a proof of restored data does not cover because of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Owners, groups and security attributes could not be set.
    Ownership,
    /// Events were disabled in a copy.
    EventsAsleep,
    /// The server has just started, and took counters anew from its tables.
    Counters,
    /// Anything else that was not compared, in words.
    Said(String),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Ownership => {
                "ownership: owners, groups and security attributes were not restored, which needs root"
            }
            Limit::EventsAsleep => {
                "events: whether they run was not compared: they are put to sleep in a copy"
            }
            Limit::Counters => {
                "counters of AUTO_INCREMENT were not compared: a server that has just started takes them from its tables"
            }
            Limit::Said(text) => text,
        })
    }
}

/// A source that was placed and not compared yet.
pub struct Arrived {
    /// Where it is.
    pub placed: Placed,
    /// What cannot be proved there.
    pub limits: Vec<Limit>,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
}

impl Arrived {
    /// A source that was placed whole, without limits or warnings.
    pub fn at(placed: Placed) -> Self {
        Arrived {
            placed,
            limits: vec![],
            warnings: vec![],
        }
    }
}

/// The live place of a source.
pub enum Live {
    /// These paths of a tree.
    Tree {
        /// The paths that are swapped in.
        roots: Vec<PathBuf>,
        /// True if a backup leaves something out of them.
        excludes: bool,
    },
    /// This file.
    File(PathBuf),
    /// This database of a server.
    Database(Database),
    /// This bucket.
    Bucket(Box<BucketConfig>),
    /// None, with the reason: the rest of a sentence that begins with the name of the source.
    Nowhere(&'static str),
}
