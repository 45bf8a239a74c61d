//! The places a source can be in: where it was restored, where it is to go, and where it is live.

use super::bucket::BucketPlace;
use super::{Database, ScratchServers};
use crate::config::BucketConfig;
use crate::error::{Code, Error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where what does not go into a directory is to go.
pub enum Target<'a> {
    /// A throwaway server that this holds, started at the first need.
    Scratch(&'a mut ScratchServers),
    /// This database, which must be empty.
    Given(Database),
    /// This database, which was made for the restore.
    Made(Database),
    /// This place for the objects of a bucket, where nothing is yet.
    Bucket(BucketPlace),
    /// Nowhere: dumps are written as files.
    Files,
}

/// Where a source was placed.
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
}

impl Placed {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Placed::Tree(path) | Placed::File(path) => path.display().to_string(),
            Placed::Database(database) => database.display(),
            Placed::Bucket(place) => place.describe(),
        }
    }

    /// The error of a kind of source that cannot be where this says.
    pub(crate) fn is_no_place_of(&self, kind: &str) -> Error {
        let message = format!("a {kind} source cannot be read from {}", self.describe());
        Error::new(Code::Target, message)
    }
}

/// What a proof of something restored does not show because of where it was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Owners, groups and security attributes could not be set.
    Ownership,
    /// Events were disabled in a copy.
    EventsAsleep,
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
    /// What an operator should know.
    pub warnings: Vec<String>,
}

impl Arrived {
    /// A source that was placed whole, with nothing to say about it.
    pub fn at(placed: Placed) -> Self {
        Arrived {
            placed,
            limits: vec![],
            warnings: vec![],
        }
    }
}

/// Where a source is live.
pub enum Live {
    /// These paths of a tree.
    Tree {
        /// What is swapped in.
        roots: Vec<PathBuf>,
        /// Whether a backup leaves something out of them.
        excludes: bool,
    },
    /// This file.
    File(PathBuf),
    /// This database of a server.
    Database(Database),
    /// This bucket.
    Bucket(Box<BucketConfig>),
    /// It has no live place; why, as what follows the name of the source.
    Nowhere(&'static str),
}
