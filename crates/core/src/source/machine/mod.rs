//! Machines: somebody else takes snapshots of them and keeps the bytes; a point holds the reference.
//!
//! Guarantees: a capture succeeds only once the provider says that the snapshot is available and of this
//! machine. A machine that a drill makes is noted durably before it is made, carries the time at which it
//! must be gone in its name, and is destroyed with the drill, or by a later run.

mod amazon;
mod descriptor;
mod ec2;
mod external;
mod held;
mod lightsail;
mod notes;
mod quarantine;
mod replace;

pub use descriptor::OfMachine;
pub use ec2::Ec2Instance;
pub use external::Commands;
pub use held::{Held, held, login};
pub use lightsail::Instance;
pub use quarantine::{Quarantine, Quarantined, reap};
pub use replace::{Accepted, Address, accept_host_keys, make_new, mend, name_of_new};

use super::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use crate::cancel;
use crate::config::{AccountConfig, SnapshotConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::kind::Kind;
use crate::name::{Extension, Name};
use crate::point::{Consistency, External};
use jiff::Timestamp;
use std::io::Write;
use std::time::{Duration, Instant};

/// The one artifact of a machine: the reference to its snapshot, as JSON.
pub(crate) const ARTIFACT: &str = "snapshot";
/// What stands behind the name of the original in that of a machine that took its place.
pub(crate) const RESTORED: &str = "-restored-";
/// The first pause before a provider is asked again, and the longest.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How far something is that a provider makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It is being made.
    Pending,
    /// It is there: a snapshot can be used, a machine runs.
    Ready,
    /// It will never be there, with what the provider says.
    Broken(String),
}

/// A snapshot, as its provider knows it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What identifies it at the provider.
    pub id: String,
    /// Its name, which may be its id.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// Its size in bytes, as far as the provider tells one.
    pub bytes: Option<u64>,
    /// When it was taken, if the provider tells.
    pub created: Option<Timestamp>,
    /// The machine that it was taken of, if the provider tells.
    pub machine: Option<String>,
    /// The region that it is in.
    pub region: Option<String>,
    /// The account that it belongs to.
    pub account: Option<String>,
}

/// A machine that was made of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What identifies it at the provider.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: State,
    /// Where it answers, once it is known.
    pub address: Option<String>,
    /// A directory of this host that holds its files, if there is one.
    pub path: Option<String>,
    /// The host keys that its SSH server shows, as `ssh-ed25519 AAAA…`; those of the original if none is told.
    pub host_keys: Vec<String>,
}

/// What is to be made of a snapshot.
pub struct Wanted<'a> {
    /// The name of the machine.
    pub name: &'a str,
    /// The snapshot.
    pub snapshot: &'a External,
    /// When it must be gone; `None` for one that takes the place of the original.
    pub expires: Option<Timestamp>,
}

/// Somebody who takes snapshots of a machine and makes machines of them.
pub trait Provider: Send + Sync {
    /// What it is, for people: `zfs on pool1`.
    fn describe(&self) -> String;

    /// What the configuration calls the machine.
    fn original(&self) -> &str;

    /// The account that is asked; `None` where there are no regions.
    fn account(&self) -> Option<&AccountConfig> {
        None
    }

    /// The region that is asked.
    fn region(&self) -> Option<&str> {
        self.account().map(|account| account.region.as_str())
    }

    /// The region into which snapshots are to be copied.
    fn copies_to(&self) -> Option<&str> {
        self.account()?.copy_to.as_deref()
    }

    /// Who keeps the copies of its snapshots in another region.
    fn keeper_in(&self, _region: &str) -> Option<Box<dyn Provider>> {
        None
    }

    /// Begins to copy a snapshot into another region. The name was free there a moment ago.
    fn copy(&self, snapshot: &Snapshot, region: &str, _name: &str) -> Result<Snapshot> {
        let message = format!("snapshot {} cannot be copied to {region}", snapshot.name);
        Err(Error::new(Code::Unsupported, message))
    }

    /// The machine that does its work now: the original, or one that was restored from it.
    fn machine(&self) -> Result<String> {
        Ok(self.original().to_owned())
    }

    /// Begins to take a snapshot of the machine that does its work now. The name was free a moment ago. What an
    /// earlier attempt of the same call made is returned; what somebody else made meanwhile is an error.
    fn create(&self, machine: &str, name: &str) -> Result<Snapshot>;

    /// What is not as it is asked for of the snapshots that the provider takes of a machine by itself. `None` if
    /// nothing is.
    fn automatic(&self, _machine: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// Lets the provider take them as it is asked for.
    fn switch_on_automatic(&self, _machine: &str) -> Result<()> {
        Ok(())
    }

    /// All snapshots of the machine.
    fn snapshots(&self) -> Result<Vec<Snapshot>>;

    /// Deletes a snapshot; one that is not there is deleted.
    fn delete(&self, id: &str) -> Result<()>;

    /// Begins to make a machine without an address of its own that anybody knows.
    fn restore(&self, wanted: &Wanted<'_>) -> Result<Machine>;

    /// Opens a machine that runs to whom the machine of this name is open. Returns what to tell.
    fn open_like(&self, _machine: &Machine, _other: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// The host keys of a machine's SSH server, as `ssh-ed25519 AAAA…`, as far as they are known.
    fn host_keys(&self, machine: &Machine) -> Result<Vec<String>> {
        Ok(machine.host_keys.clone())
    }

    /// The id of the machine to which an address leads; `None` if it leads to none. Fails if there is no such
    /// address.
    fn holder(&self, address: &str) -> Result<Option<String>>;

    /// Lets an address lead to a machine, which it did not before. Where that fails it leads to where it did, if
    /// that can be done.
    fn lead(&self, address: &str, to: &str) -> Result<()>;

    /// Closes a machine that runs to everybody but those who check it.
    fn fence(&self, _machine: &Machine) -> Result<()> {
        Ok(())
    }

    /// The machines that [`Provider::restore`] made; `None` if it cannot tell.
    fn machines(&self) -> Result<Option<Vec<Machine>>>;

    /// Destroys a machine; one that is not there is destroyed.
    fn destroy(&self, id: &str) -> Result<()>;
}

/// The provider of a source; `None` if it is no machine. References are resolved when they are needed.
pub fn provider(kind: &SourceKind) -> Option<Box<dyn Provider>> {
    match kind {
        SourceKind::Lightsail(config) => Some(Box::new(Instance::new(config.clone()))),
        SourceKind::Ec2(config) => Some(Box::new(Ec2Instance::new(config.clone()))),
        SourceKind::External(config) => Some(Box::new(Commands::new(config.clone()))),
        SourceKind::Files(_)
        | SourceKind::Sqlite(_)
        | SourceKind::Postgres(_)
        | SourceKind::Mariadb(_)
        | SourceKind::Mysql(_)
        | SourceKind::Bucket(_)
        | SourceKind::Command(_) => None,
    }
}

/// Snapshots of a machine.
pub struct MachineSource {
    provider: Box<dyn Provider>,
    config: SnapshotConfig,
}

impl MachineSource {
    /// With this provider.
    pub fn new(provider: Box<dyn Provider>, config: SnapshotConfig) -> Self {
        MachineSource { provider, config }
    }

    /// Sees to the snapshots that the provider takes by itself. Returns what to tell.
    fn automatic(&self, machine: &str) -> Option<String> {
        let wrong = match self.provider.automatic(machine) {
            Ok(wrong) => wrong?,
            Err(error) => return Some(error.with_hint()),
        };
        // What says that it did is believed once it is seen.
        let done = self.provider.switch_on_automatic(machine);
        Some(match done.and_then(|()| self.provider.automatic(machine)) {
            Ok(None) => format!("{wrong}: they are switched on now"),
            Ok(Some(still)) => {
                format!("{still}, although the provider says that they were switched on")
            }
            Err(error) => format!("{wrong}; {}", error.with_hint()),
        })
    }

    /// Makes a snapshot that somebody keeps, under another name where the plain one is taken by an earlier one.
    fn make(
        &self,
        keeper: &dyn Provider,
        what: &str,
        context: &CaptureContext<'_>,
        begin: impl FnOnce(&str) -> Result<Snapshot>,
    ) -> Result<Snapshot> {
        let name = context.named(&self.config.name)?.replace('/', "-");
        let there = keeper.snapshots()?;
        let is_taken = |name: &str| there.iter().any(|s| s.name == name);
        let name = match is_taken(&name) {
            true => format!("{name}-{}", context.named("{point}")?.to_lowercase()),
            false => name,
        };
        context.reporter.step(&format!("{what} {name}"), None);
        let begun = begin(&name)?;
        // Where it was not to be seen yet, it has no id yet.
        let same = |found: &Snapshot| match begun.id.is_empty() {
            true => found.name == begun.name,
            false => found.id == begun.id,
        };
        let what = format!("{what} {}", begun.name);
        until_ready(&what, Duration::from_secs(self.config.wait.seconds), || {
            let found = keeper.snapshots()?.into_iter().find(same);
            Ok(found.map(|found| (found.state.clone(), found)))
        })
    }

    /// Copies a snapshot into the region that is asked for. Returns the copy, or what to tell.
    fn copy(
        &self,
        taken: &Snapshot,
        context: &CaptureContext<'_>,
    ) -> Result<Option<std::result::Result<Snapshot, String>>> {
        let Some(region) = self.provider.copies_to() else {
            return Ok(None);
        };
        let Some(keeper) = self.provider.keeper_in(region) else {
            return Ok(None);
        };
        let copied = self.make(keeper.as_ref(), "copy of snapshot", context, |name| {
            self.provider.copy(taken, region, name)
        });
        cancel::check()?;
        Ok(Some(copied.map_err(|error| {
            format!(
                "snapshot {} has no copy in {region}: {}",
                taken.name,
                error.with_hint()
            )
        })))
    }
}

impl Snapshot {
    /// One that was begun, and is not to be seen yet. Its id may not be known.
    fn unseen(id: String, name: &str) -> Self {
        Snapshot {
            id,
            name: name.to_owned(),
            state: State::Pending,
            bytes: None,
            created: None,
            machine: None,
            region: None,
            account: None,
        }
    }

    /// As a point names it.
    fn named(self, machine: &str) -> External {
        External {
            id: self.id,
            name: self.name,
            machine: machine.to_owned(),
            created: self.created,
            bytes: self.bytes,
            region: self.region,
            account: self.account,
            copies: Vec::new(),
        }
    }
}

impl Source for MachineSource {
    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own(ARTIFACT),
            extension: Extension::own("json"),
        }]
    }

    fn live(&self) -> Live {
        Live::Nowhere(
            "a machine is left alone; name it with --source to make a new one of its snapshot",
        )
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != ARTIFACT {
            return Err(no_artifact(artifact));
        }
        let wanted = self.provider.machine()?;
        let mut warnings: Vec<String> = self.automatic(&wanted).into_iter().collect();
        let taken = self.make(self.provider.as_ref(), "snapshot", context, |name| {
            self.provider.create(&wanted, name)
        })?;
        if let Some(other) = taken.machine.as_deref().filter(|other| *other != wanted) {
            let message = format!("snapshot {} is of {other}, and not of {wanted}", taken.name);
            return Err(Error::new(Code::SourceFailed, message).hint(
                "look at it with the provider's own tools: it was not taken of this machine",
            ));
        }
        let copied = self.copy(&taken, context)?;
        let mut external = taken.named(&wanted);
        match copied {
            Some(Ok(copy)) => external.copies.push(copy.named(&wanted)),
            Some(Err(told)) => warnings.push(told),
            None => {}
        }
        let text = serde_json::to_vec_pretty(&external)
            .map_err(|e| Error::new(Code::Io, "a reference cannot be written").cause(e))?;
        output
            .write_all(&text)
            .map_err(|e| Error::from_io(Code::Io, "the reference cannot be passed on", e))?;
        context.reporter.advance(text.len() as u64);
        Ok(Captured {
            consistency: Consistency::Snapshot,
            external: Some(external),
            warnings,
            ..Captured::of_bytes()
        })
    }

    fn examine(&self, subject: &str, _: &CaptureContext<'_>) -> Vec<Finding> {
        let finding =
            |severity, message: String, hint| Finding::new(subject, severity, message, hint);
        let place = self.provider.describe();
        let answer = self.provider.snapshots();
        let mut found = vec![match answer {
            Ok(found) => finding(
                Severity::Ok,
                format!("{place} answers: {} snapshots of it are there", found.len()),
                None,
            ),
            Err(error) => return vec![finding(Severity::Error, error.to_string(), error.hint)],
        }];
        let region = self.provider.copies_to();
        if let Some(keeper) = region.and_then(|region| self.provider.keeper_in(region)) {
            let place = keeper.describe();
            found.push(match keeper.snapshots() {
                Ok(copies) => {
                    let text =
                        format!("{place} answers: {} copies of them are there", copies.len());
                    finding(Severity::Ok, text, None)
                }
                Err(error) => finding(Severity::Error, error.to_string(), error.hint),
            });
        }
        let machine = match self.provider.machine() {
            Ok(machine) => machine,
            Err(error) => {
                found.push(finding(Severity::Error, error.to_string(), error.hint));
                return found;
            }
        };
        match self.provider.automatic(&machine) {
            Ok(None) => {}
            Ok(Some(wrong)) => {
                let hint = Some("the next backup switches them on".to_owned());
                found.push(finding(Severity::Warning, wrong, hint));
            }
            Err(error) => found.push(finding(Severity::Error, error.to_string(), error.hint)),
        }
        if let Some(address) = &self.config.address {
            found.push(match self.provider.holder(address) {
                Ok(Some(machine)) => {
                    let text = format!("address {address} leads to machine {machine}");
                    finding(Severity::Ok, text, None)
                }
                Ok(None) => {
                    let text = format!("address {address} leads to no machine");
                    finding(Severity::Error, text, None)
                }
                Err(error) => finding(Severity::Error, error.to_string(), error.hint),
            });
        }
        found
    }
}

/// Asks until something is ready, for at most so long. What asks returns `None` while it is not to be
/// seen yet, which providers allow themselves for a while.
fn until_ready<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<(State, T)>>,
) -> Result<T> {
    let (begun, mut pause) = (Instant::now(), PAUSE);
    loop {
        let seen = match ask()? {
            Some((State::Ready, ready)) => return Ok(ready),
            Some((State::Broken(why), _)) => {
                let message = format!("{what} came to nothing");
                return Err(Error::new(Code::SourceFailed, message).cause(why).hint(
                    "look at it with the provider's own tools, delete it there, and try again",
                ));
            }
            Some((State::Pending, _)) => "it is still being made",
            None => "it is not there",
        };
        if begun.elapsed() + pause > patience {
            let message = format!("{what} is not ready after {} s: {seen}", patience.as_secs());
            return Err(Error::new(Code::SourceFailed, message)
                .hint("see what the provider says of it; raise `wait` if it takes longer"));
        }
        cancel::wait(pause)?;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits until a machine runs that was just made.
fn until_it_runs(provider: &dyn Provider, made: Machine, patience: Duration) -> Result<Machine> {
    if made.state == State::Ready {
        return Ok(made);
    }
    let what = format!("machine {}", made.name);
    until_ready(&what, patience, || {
        let Some(machines) = provider.machines()? else {
            let message = format!("{what} is being made, and nothing tells when it runs");
            return Err(Error::new(Code::Configuration, message)
                .hint("add the command `machines` to the source, or let `restore` wait"));
        };
        let found = machines.into_iter().find(|machine| machine.id == made.id);
        Ok(found.map(|found| (found.state.clone(), found)))
    })
}

/// What a point names that is where the provider is asked: a snapshot, or the copy of it there. Fails if the
/// provider does not have it; `hint` says what to do then.
pub fn there<'a>(
    provider: &dyn Provider,
    snapshot: &'a External,
    hint: &str,
) -> Result<&'a External> {
    let wanted = snapshot.seen_from(provider.region());
    let mut all = provider.snapshots()?.into_iter();
    if all.any(|there| there.id == wanted.id) {
        return Ok(wanted);
    }
    let message = format!("snapshot {} is not at {}", wanted.name, provider.describe());
    let elsewhere = snapshot.everywhere().filter(|one| one.id != wanted.id);
    let regions: Vec<&str> = elsewhere.filter_map(|one| one.region.as_deref()).collect();
    let hint = match regions.first() {
        Some(region) => {
            format!("{hint}; or ask for its copy: a configuration with region = \"{region}\"")
        }
        None => hint.to_owned(),
    };
    Err(Error::new(Code::ObjectMissing, message).hint(hint))
}

/// The kinds whose bytes are somewhere else.
pub fn is_machine(kind: Kind) -> bool {
    matches!(kind, Kind::Lightsail | Kind::Ec2 | Kind::External)
}
