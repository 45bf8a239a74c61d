//! Live restores of this host that are not closed, as others have to know of them: who is at work on the application,
//! how far it came, and whether something of it is live that may be taken back. The rest of their journals is the
//! business of `restore`.

use crate::error::{Code, Error, Result};
use crate::host::{author, host};
use crate::name::Name;
use crate::place;
use crate::point::PointId;
use crate::process::ProcessName;
use crate::state::State;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const DIRECTORY: &str = "restores";
const ENDING: &str = ".json";
/// Begins the name of a journal, in a directory that holds other things, too.
const PREFIX: &str = "restore-";
/// Version of the format of journals.
const SCHEMA: u32 = 1;

/// How far a live restore came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Everything is placed aside and compared. Nothing live is touched.
    Placing,
    /// It is swapped in.
    Swapping,
    /// It is live: what follows a swap is done.
    Swapped,
    /// What was live before is put back.
    Undoing,
    /// It is over, and what was live before is kept.
    Kept,
    /// What was live before is being removed: it cannot be put back any more.
    Closing,
}

/// A live restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restore {
    schema: u32,
    /// Its id.
    pub id: PointId,
    /// When it began.
    pub begun: Timestamp,
    /// Who began it.
    pub by: String,
    /// The host that it runs on.
    pub host: String,
    /// The process that is at work on it, or was.
    process: ProcessName,
    /// Why.
    pub reason: Option<String>,
    /// The sources.
    pub sources: Vec<Name>,
    /// How far it came.
    pub stage: Stage,
    /// When all was swapped in.
    pub swapped: Option<Timestamp>,
    /// When it was over.
    pub ended: Option<Timestamp>,
}

/// A journal, which begins with what everybody has to know.
pub trait Journal: Serialize + DeserializeOwned {
    /// The restore.
    fn restore(&self) -> &Restore;

    /// Writes it durably.
    fn write(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(Code::State, "a journal cannot be written").cause(e))?;
        let path = self.restore().path(state)?;
        place::replace_file(&mut text.as_slice(), &path, 0o600).map(drop)
    }

    /// Removes it: the restore is closed.
    fn forget(&self, state: &State) -> Result<()> {
        let path = self.restore().path(state)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::new(
                Code::State,
                format!("{} cannot be removed", path.display()),
            )
            .cause(error)),
            _ => Ok(()),
        }
    }
}

impl Journal for Restore {
    fn restore(&self) -> &Restore {
        self
    }
}

impl Restore {
    /// One that this process begins now.
    pub fn begin(
        id: PointId,
        now: Timestamp,
        sources: Vec<Name>,
        reason: Option<String>,
    ) -> Result<Self> {
        Ok(Restore {
            schema: SCHEMA,
            id,
            begun: now,
            by: author(),
            host: host(),
            process: ProcessName::this()?,
            reason,
            sources,
            stage: Stage::Placing,
            swapped: None,
            ended: None,
        })
    }

    /// Makes this process the one that is at work on it.
    pub fn take_over(&mut self) -> Result<()> {
        self.process = ProcessName::this()?;
        Ok(())
    }

    fn path(&self, state: &State) -> Result<PathBuf> {
        let directory = state.private_directory(&[DIRECTORY])?;
        Ok(directory.join(format!("{PREFIX}{}{ENDING}", self.id)))
    }

    /// Whether a process is at work on it.
    pub fn is_running(&self) -> bool {
        !matches!(self.stage, Stage::Kept | Stage::Closing) && self.process.is_alive()
    }

    /// Whether its process ended while something of what it restores may have been live.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self.stage,
            Stage::Swapping | Stage::Swapped | Stage::Undoing
        ) && !self.process.is_alive()
    }

    /// Who began it, and when, for a message.
    fn said(&self) -> String {
        format!("{} began it at {} on {}", self.by, self.begun, self.host)
    }

    /// That it is running, and whose it is.
    pub fn at_work(&self) -> Error {
        let message = format!("a restore is running: {}", self.said());
        Error::new(Code::Busy, message).hint("wait until it has ended: `lifeboat restores list`")
    }

    /// That it was interrupted, and what to do.
    pub fn interrupted(&self) -> Error {
        let id = &self.id;
        let message = format!(
            "restore {id} was interrupted while something of it was live: {}",
            self.said()
        );
        Error::new(Code::Busy, message).hint(format!(
            "go on with it, or take it back: lifeboat restores resume {id}, lifeboat restores undo {id}"
        ))
    }
}

/// The journals that are not closed, the oldest first.
pub fn all<J: Journal>(state: &State) -> Result<Vec<J>> {
    let Some(directory) = state.existing_directory(&[DIRECTORY]) else {
        return Ok(Vec::new());
    };
    let entries = std::fs::read_dir(&directory)
        .map_err(|e| Error::io("the journals of restores cannot be listed", &e))?;
    let mut found = Vec::new();
    for entry in entries.filter_map(std::result::Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(ENDING) {
            continue;
        }
        let path = entry.path();
        let unreadable = |cause: String| {
            let message = format!("the journal {} cannot be read", path.display());
            Error::new(Code::State, message).cause(cause).hint(
                "it says what a live restore swapped: look at it, and move it away once all is as it should be",
            )
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            // It ended meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let journal: J = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        if journal.restore().schema != SCHEMA {
            let schema = journal.restore().schema;
            return Err(unreadable(format!("it is of format {schema}")));
        }
        found.push(journal);
    }
    found.sort_by(|a, b| a.restore().id.cmp(&b.restore().id));
    Ok(found)
}

/// Fails beside a live restore that is running, or was interrupted while something of it was live.
pub fn refuse_beside(state: &State) -> Result<()> {
    for restore in all::<Restore>(state)? {
        if restore.is_running() {
            return Err(restore.at_work());
        }
        if restore.is_interrupted() {
            return Err(restore.interrupted());
        }
    }
    Ok(())
}
