//! Machines that drills make: each is noted before it is made, and destroyed whatever happens.

use super::{Machine, Provider, Wanted, notes, provider, until_it_runs};
use crate::cancel::Cancel;
use crate::config::SourceConfig;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::External;
use crate::process::ProcessName;
use crate::span::Span;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the names of all machines of drills begin with.
pub(super) const DRILL: &str = "lifeboat-drill-";

/// Where drills note the machines that they make, and how these are called.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// The directory of the notes.
    pub notes: PathBuf,
    /// What the names begin with: of this application, so that nobody else's machine is taken for one.
    pub prefix: String,
    /// Now.
    pub now: Timestamp,
    /// A random number.
    pub random: u64,
}

/// A note of a machine that is to be made.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    source: Name,
    name: String,
    #[serde(default)]
    id: Option<String>,
    expires: Timestamp,
    process: ProcessName,
}

/// A machine in quarantine. It is destroyed when this is dropped, which [`Quarantined::end`] does in words.
pub struct Quarantined {
    provider: Box<dyn Provider>,
    machine: Machine,
    note: PathBuf,
    is_over: bool,
}

impl Quarantine {
    /// The quarantine of an application.
    pub fn of(app: &str, environment: &str, notes: PathBuf, now: Timestamp, random: u64) -> Self {
        Quarantine {
            notes,
            prefix: prefix(app, environment),
            now,
            random,
        }
    }

    /// Makes a machine of a snapshot and waits until it runs.
    pub(in crate::source) fn make(
        &self,
        source: &Name,
        provider: Box<dyn Provider>,
        snapshot: &External,
        lifetime: Span,
        wait: Span,
    ) -> Result<(Machine, Quarantined)> {
        let expires = lifetime.after(self.now);
        // A drill may make machines of several sources, each with a name of its own.
        let name = format!(
            "{}{}-{source}-{:04x}",
            self.prefix,
            expires.as_second(),
            self.random & 0xffff
        );
        let path = self.notes.join(format!("{name}.json"));
        let mut note = Note {
            source: source.clone(),
            name: name.clone(),
            id: None,
            expires,
            process: ProcessName::this()?,
        };
        notes::write(&note, &path)?;
        let wanted = Wanted {
            name: &name,
            snapshot,
            expires: Some(expires),
        };
        let machine = match provider.restore(&wanted) {
            Ok(machine) => machine,
            Err(error) => {
                // It may have been made all the same: the note stays, unless the provider can tell.
                if let Ok(Some(there)) = provider.machines()
                    && !there.iter().any(|machine| machine.name == name)
                {
                    notes::forget(&path);
                }
                return Err(error);
            }
        };
        note.id = Some(machine.id.clone());
        let noted = notes::write(&note, &path);
        let mut quarantined = Quarantined {
            provider,
            machine: machine.clone(),
            note: path,
            is_over: false,
        };
        noted?;
        let patience = Duration::from_secs(wait.seconds.min(lifetime.seconds));
        let running = until_it_runs(quarantined.provider.as_ref(), machine, patience)?;
        quarantined.provider.fence(&running)?;
        quarantined.machine = running.clone();
        Ok((running, quarantined))
    }
}

impl Quarantined {
    /// Destroys the machine. Returns what to tell where that cannot be done now.
    pub fn end(mut self) -> Option<String> {
        self.destroy()
    }

    fn destroy(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let name = &self.machine.name;
        // Whoever asked to end does not want it to stay.
        let destroyed = Cancel::default().run(|| self.provider.destroy(&self.machine.id));
        match destroyed {
            Ok(()) => {
                notes::forget(&self.note);
                None
            }
            Err(error) => Some(format!(
                "machine {name} of the drill is still there, and may cost money: {error}; a later run tries again"
            )),
        }
    }
}

impl Drop for Quarantined {
    fn drop(&mut self) {
        let _ = self.destroy();
    }
}

/// Destroys machines that drills of this application left: those of processes that are gone, and those
/// whose time is over, whoever made them. Returns what was done, and what could not be.
pub fn reap(quarantine: &Quarantine, sources: &BTreeMap<Name, SourceConfig>) -> Vec<String> {
    let mut told = Vec::new();
    for (path, note) in notes::all::<Note>(&quarantine.notes) {
        if note.process.is_alive() && quarantine.now < note.expires {
            continue;
        }
        let config = sources.get(&note.source);
        let Some(provider) = config.and_then(|config| provider(&config.kind)) else {
            told.push(format!(
                "machine {} of a drill may still be there: source {} is not configured any more",
                note.name, note.source
            ));
            continue;
        };
        let id = note
            .id
            .clone()
            .map_or_else(|| find(provider.as_ref(), &note.name), |id| Ok(Some(id)));
        let gone = id.and_then(|id| match id {
            Some(id) => provider.destroy(&id),
            None => Ok(()),
        });
        told.push(match gone {
            Ok(()) => {
                notes::forget(&path);
                format!(
                    "machine {} of a drill that was ended is destroyed",
                    note.name
                )
            }
            Err(error) => format!("machine {} of a drill is still there: {error}", note.name),
        });
    }
    for config in sources.values() {
        let Some(provider) = provider(&config.kind) else {
            continue;
        };
        // Whoever cannot tell has told already where it matters.
        let Ok(Some(machines)) = provider.machines() else {
            continue;
        };
        for machine in machines {
            if !is_over(&machine.name, quarantine) {
                continue;
            }
            told.push(match provider.destroy(&machine.id) {
                Ok(()) => format!(
                    "machine {} outlived its drill, and is destroyed",
                    machine.name
                ),
                Err(error) => format!("machine {} outlived its drill: {error}", machine.name),
            });
        }
    }
    told
}

/// What the names of the machines of an application begin with.
fn prefix(app: &str, environment: &str) -> String {
    format!("{DRILL}{app}-{environment}-")
}

/// Whether a machine is one of this application, whose time is over.
fn is_over(name: &str, quarantine: &Quarantine) -> bool {
    let rest = name.strip_prefix(&quarantine.prefix);
    let seconds = rest.and_then(|rest| rest.split('-').next()?.parse::<i64>().ok());
    seconds.is_some_and(|seconds| seconds < quarantine.now.as_second())
}

/// The id of a machine of this name; `None` if there is none. Fails if the provider cannot tell.
fn find(provider: &dyn Provider, name: &str) -> Result<Option<String>> {
    let machines = provider.machines()?.ok_or_else(|| {
        Error::new(Code::SourceFailed, "it is not known whether it was made").hint(
            "look with the provider's own tools, and add the command `machines` to the source",
        )
    })?;
    let found = machines.into_iter().find(|machine| machine.name == name);
    Ok(found.map(|machine| machine.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_machines_of_this_application_whose_time_is_over_are_reaped() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let of = |name: &str| {
            is_over(
                name,
                &Quarantine::of("crm", "production", PathBuf::new(), now, 7),
            )
        };
        assert!(of("lifeboat-drill-crm-production-1699999999-web-00ff"));
        for other in [
            "lifeboat-drill-crm-production-1700000001-web-00ff",
            "lifeboat-drill-crm-staging-1699999999-web-00ff",
            "lifeboat-drill-crm-production-x-00ff",
            "lifeboat-drill-crm-production",
            "crm",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
