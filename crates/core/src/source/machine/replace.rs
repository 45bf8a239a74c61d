//! A machine takes the place of another: it is made, and the address that leads users to the one is led to it.
//!
//! Guarantees: before the address is touched it is noted where it led, so that a run that is killed between the
//! two ends leaves it leading nowhere only until the next one. Nothing is destroyed.

use super::{Machine, Provider, RESTORED, Wanted, notes, provider, until_it_runs};
use crate::cancel::Cancel;
use crate::config::{SnapshotConfig, SourceConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::place;
use crate::point::External;
use crate::process::ProcessName;
use crate::transport::ssh;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where an address leads while it is led elsewhere.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    source: Name,
    address: String,
    from: Option<String>,
    to: String,
    process: ProcessName,
}

/// An address that leads users to a machine.
pub struct Address {
    source: Name,
    /// Its name at the provider.
    pub name: String,
    /// The id of the machine to which it leads.
    pub from: Option<String>,
    note: PathBuf,
}

impl Address {
    /// Looks where the address of a machine leads. Fails if none is configured, or if it leads to somebody else's
    /// machine. `directory` is for a note.
    pub fn look(
        provider: &dyn Provider,
        source: &Name,
        config: &SnapshotConfig,
        directory: &Path,
    ) -> Result<Self> {
        let name = config.address.clone().ok_or_else(|| {
            let message = format!("source {source} says no address that leads users to it");
            Error::new(Code::Configuration, message)
                .hint("add address = \"NAME\": of Lightsail, the name of its static IP address")
        })?;
        let from = provider.holder(&name)?;
        if from.is_some() {
            // It fails where the address is somebody else's.
            provider.machine()?;
        }
        Ok(Address {
            source: source.clone(),
            note: directory.join(format!("address-{source}.json")),
            name,
            from,
        })
    }

    /// Lets it lead to a machine.
    pub fn lead_to(&self, provider: &dyn Provider, to: &str) -> Result<()> {
        let note = Note {
            source: self.source.clone(),
            address: self.name.clone(),
            from: self.from.clone(),
            to: to.to_owned(),
            process: ProcessName::this()?,
        };
        notes::write(&note, &self.note)?;
        // Once begun it is done, even if somebody asks to end.
        let led = Cancel::default().run(|| provider.lead(&self.name, to));
        // Connections that stand lead to whom it led to before.
        ssh::reconnect();
        if led.is_ok()
            || provider
                .holder(&self.name)
                .is_ok_and(|holder| holder.is_some())
        {
            notes::forget(&self.note);
        }
        led
    }
}

/// A name for the machine that takes the place of another.
pub fn name_of_new(provider: &dyn Provider, now: Timestamp, random: u64) -> String {
    let original = provider.original();
    let last = original.rsplit('/').next().unwrap_or(original);
    let day = now.strftime("%Y%m%d");
    format!("{last}{RESTORED}{day}-{:04x}", random & 0xffff)
}

/// Makes the machine that is to take the place of another, waits until it runs, and opens it to whom the other is
/// open. `like` is that other. Returns what to tell besides. An error after it was made names it.
pub fn make_new(
    provider: &dyn Provider,
    name: &str,
    snapshot: &External,
    like: &str,
    config: &SnapshotConfig,
) -> Result<(Machine, Option<String>)> {
    let wanted = Wanted {
        name,
        snapshot,
        expires: None,
    };
    let made = provider.restore(&wanted)?;
    let named = |error: Error| Error {
        message: format!(
            "{}; machine {name} was made, and is left as it is",
            error.message
        ),
        ..error
    };
    let patience = Duration::from_secs(config.wait.seconds);
    let running = until_it_runs(provider, made, patience).map_err(named)?;
    let told = provider.open_like(&running, like).map_err(named)?;
    Ok((running, told))
}

/// A file of trusted host keys, in which those of a machine stand in the place of those of another.
pub struct Accepted {
    /// The file.
    pub file: PathBuf,
    before: Vec<u8>,
    mode: u32,
}

impl Accepted {
    /// Writes what stood there before.
    pub fn undo(&self) -> Result<()> {
        place::replace_file(&mut self.before.as_slice(), &self.file, self.mode).map(|_| ())
    }
}

/// Accepts the host keys of a machine in the place of those of the host that a database was reached on, in the file
/// that is configured. `None` if they are known, or if there is nothing to accept. Fails where no file is configured.
pub fn accept_host_keys(kind: &SourceKind, machine: &Machine) -> Result<Option<Accepted>> {
    let Some(place) = kind.host_by_ssh().filter(|_| !machine.host_keys.is_empty()) else {
        return Ok(None);
    };
    let file = place.ssh.as_ref().and_then(|ssh| ssh.known_hosts.clone());
    let transport = place.transport();
    let Some(file) = file else {
        let message = format!("the host keys of machine {} are not accepted", machine.name);
        let host = transport.place().unwrap_or_default();
        return Err(Error::new(Code::Target, message).hint(format!(
            "put them into the file of known hosts in the place of those of {host}: {}",
            machine.host_keys.join(", ")
        )));
    };
    let Some(text) = transport.with_host_keys(&file, &machine.host_keys)? else {
        return Ok(None);
    };
    let cannot = |error| Error::io("the file of known hosts cannot be read", &error);
    // A link stays one.
    let file = file.canonicalize().map_err(cannot)?;
    let before = crate::plain::read(&file).map_err(cannot)?;
    let mode = std::fs::metadata(&file)
        .map_err(cannot)?
        .permissions()
        .mode()
        & 0o777;
    place::replace_file(&mut text.as_slice(), &file, mode)?;
    Ok(Some(Accepted { file, before, mode }))
}

/// Ends what runs that were killed left undone: an address that leads nowhere is led where it led before, or to the
/// new machine if the old one is gone. Returns what was done, and what could not be.
pub fn mend(directory: &Path, sources: &BTreeMap<Name, SourceConfig>) -> Vec<String> {
    let mut told = Vec::new();
    for (path, note) in notes::all::<Note>(directory) {
        if note.process.is_alive() {
            continue;
        }
        let config = sources.get(&note.source);
        let Some(provider) = config.and_then(|config| provider(&config.kind)) else {
            told.push(format!(
                "address {} may lead to no machine: source {} is not configured any more",
                note.address, note.source
            ));
            continue;
        };
        match mend_one(provider.as_ref(), &note) {
            Ok(text) => {
                notes::forget(&path);
                told.push(text);
            }
            Err(error) => told.push(error.with_hint()),
        }
    }
    told
}

fn mend_one(provider: &dyn Provider, note: &Note) -> Result<String> {
    let address = &note.address;
    if let Some(holder) = provider.holder(address)? {
        return Ok(format!(
            "a restore that was ended left address {address} leading to {holder}: look whether that is right"
        ));
    }
    let old = note.from.as_deref();
    let led = old.map(|old| provider.lead(address, old).map(|()| old));
    let to = match led {
        Some(Ok(old)) => old,
        Some(Err(_)) | None => provider
            .lead(address, &note.to)
            .map(|()| note.to.as_str())?,
    };
    Ok(format!(
        "a restore that was ended left address {address} leading to no machine: it leads to {to} again"
    ))
}
