//! `lifeboat repo`: the engine without a configuration.

mod backup;
mod browse;
mod change;
mod check;
mod dump;
mod forget;
mod keys;
mod lines;
mod restore;
mod snapshots;
mod upkeep;

use super::Run;
use crate::args::repo::{At, Filter, Mount, RepairCommand, Repo, RepoCommand};
use jiff::tz::TimeZone;
use lifeboat_core::explain::{self, explain};
use lifeboat_core::repo::document::{Made, Mounted, Unlocked};
use lifeboat_core::repo::select::{find, meant, part};
use lifeboat_core::repo::{self, Place};
use lifeboat_core::secret::Reference;
use lifeboat_core::span::Span;
use lifeboat_core::{Code, Error, Exit, Result, cancel};
use lifeboat_repository as engine;
use lifeboat_repository::index::Index;
use lifeboat_repository::lock::{self, Lock, Mode};
use lifeboat_repository::snapshot::{self, Snapshot};
use lifeboat_repository::time::Time;
use lifeboat_repository::{Author, Id, Named, Repository};
use std::time::Duration;

/// What every verb of a repository is given.
struct Open<'a> {
    run: &'a Run<'a>,
    at: &'a At,
    repository: Repository,
    author: Author,
}

pub fn run(run: &Run<'_>, args: &Repo) -> Result<Exit> {
    let author = explain::author();
    let place = place(&args.at)?;
    if let RepoCommand::Init = args.command {
        let repository = place.create(&author)?;
        let made = Made::from(&repository);
        run.answer(&made, |out| {
            let Made { repository, id } = &made;
            out.line(format!("made repository {id} at {repository}"));
            out.line("keep its password: nothing in it can be read without");
        })?;
        return Ok(Exit::Done);
    }
    let open = Open {
        run,
        at: &args.at,
        repository: place.open()?,
        author,
    };
    match &args.command {
        RepoCommand::Init => Ok(Exit::Done),
        RepoCommand::Backup(args) => backup::run(&open, args),
        RepoCommand::Snapshots(args) => snapshots::run(&open, args),
        RepoCommand::Ls(args) => browse::ls(&open, args),
        RepoCommand::Find(args) => browse::find(&open, args),
        RepoCommand::Diff(args) => browse::diff(&open, args),
        RepoCommand::Dump(args) => dump::run(&open, args),
        RepoCommand::Mount(args) => mount(&open, args),
        RepoCommand::Stats(args) => browse::stats(&open, args),
        RepoCommand::Restore(args) => restore::run(&open, args),
        RepoCommand::Copy(args) => upkeep::copy(&open, args),
        RepoCommand::Tag(args) => upkeep::tag(&open, args),
        RepoCommand::Rewrite(args) => change::rewrite(&open, args),
        RepoCommand::Repair {
            command: RepairCommand::Index { read_data },
        } => upkeep::repair_index(&open, *read_data),
        RepoCommand::Repair {
            command: RepairCommand::Snapshots(args),
        } => change::repair(&open, args),
        RepoCommand::Check(args) => check::run(&open, args),
        RepoCommand::Forget(args) => forget::forget(&open, args),
        RepoCommand::Prune(args) => forget::prune(&open, args),
        RepoCommand::Key { command } => keys::run(&open, command),
        RepoCommand::Unlock { remove_all } => open.unlock(*remove_all),
    }
}

fn place(at: &At) -> Result<Place> {
    let given = at
        .repo
        .clone()
        .or_else(|| std::env::var("RESTIC_REPOSITORY").ok());
    let url = given.filter(|url| !url.is_empty()).ok_or_else(|| {
        Error::new(Code::Usage, "no repository is given")
            .hint("say where it is: --repo PLACE, or set RESTIC_REPOSITORY")
    })?;
    let reference = |text: &Option<String>, option| {
        text.as_ref()
            .map(|text| reference(text, option))
            .transpose()
    };
    Ok(Place {
        url,
        password: reference(&at.password, "--password")?,
        access_key: reference(&at.access_key, "--access-key")?,
        secret_key: reference(&at.secret_key, "--secret-key")?,
    })
}

fn reference(text: &str, option: &str) -> Result<Reference> {
    Reference::parse(text).map_err(|why| {
        Error::new(Code::Usage, format!("{option} is no reference to a secret"))
            .cause(why)
            .hint("write where the secret is: file:PATH, env:NAME or cmd:PROGRAM ARGS")
    })
}

/// A length of time of an option.
fn span(text: &str, option: &str) -> Result<Duration> {
    let span: Span = text.parse().map_err(|why: String| {
        Error::new(Code::Usage, format!("{option}: {why}")).hint("write it as 30s, 10m, 23h or 7d")
    })?;
    Ok(Duration::from_secs(span.seconds))
}

/// Lists of tags, each with commas.
fn tag_lists(given: &[String]) -> Vec<Vec<String>> {
    let split = |list: &String| list.split(',').map(str::to_owned).collect();
    given.iter().map(split).collect()
}

/// A time as this host has it.
fn local(time: &Time) -> String {
    time.in_zone(&TimeZone::system())
}

/// The zone of times in tables.
fn zone() -> String {
    let zone = TimeZone::system();
    let name = match zone.is_unknown() {
        true => Some("UTC"),
        false => zone.iana_name(),
    };
    name.unwrap_or("local time").to_owned()
}

/// The host that restic's environment variable names.
fn host_of_restic() -> Option<String> {
    std::env::var("RESTIC_HOST")
        .ok()
        .filter(|host| !host.is_empty())
}

impl From<&Filter> for snapshot::Filter {
    fn from(given: &Filter) -> Self {
        // An empty name is of every host.
        let hosts = match given.host.as_slice() {
            [] => host_of_restic().into_iter().collect(),
            hosts => hosts.to_vec(),
        };
        snapshot::Filter {
            hosts: hosts.into_iter().filter(|host| !host.is_empty()).collect(),
            tags: tag_lists(&given.tag),
            paths: given.path.clone(),
        }
    }
}

impl Open<'_> {
    /// Takes a lock, unless that is not wanted.
    fn lock(&self, mode: Mode) -> Result<Option<Lock>> {
        if self.at.no_lock {
            if mode == Mode::Exclusive {
                return Err(Error::new(Code::Usage, "--no-lock is for reading only")
                    .hint("leave it out: what removes something must know that nobody else is at work"));
            }
            return Ok(None);
        }
        let lock = Lock::take(&self.repository, mode, self.wait()?, &self.author);
        lock.map(Some).map_err(explain)
    }

    /// The same for what only reads, and so may also go without.
    fn read_lock(&self) -> Result<Option<Lock>> {
        self.lock(Mode::Shared).map_err(|error| match error.code {
            Code::Store => {
                error.hint("to read without a lock, where none can be written: --no-lock")
            }
            _ => error,
        })
    }

    fn wait(&self) -> Result<Duration> {
        span(&self.at.retry_lock, "--retry-lock")
    }

    /// Fails when the end was asked for: what is missing then is no damage.
    fn not_interrupted(&self, hint: &str) -> Result<()> {
        cancel::check().map_err(|error| error.hint(hint))
    }

    fn json(&self) -> bool {
        self.run.out.is_json()
    }

    /// Every snapshot, oldest first. Those that cannot be read are warned of.
    fn snapshots(&self) -> Result<Vec<(Id, Snapshot)>> {
        Ok(self.all_snapshots()?.0)
    }

    /// The same, and which cannot be read.
    fn all_snapshots(&self) -> Result<(Vec<Named>, Vec<Id>)> {
        let (snapshots, errors) = self.repository.snapshots().map_err(explain)?;
        let mut unreadable = Vec::new();
        for error in errors {
            self.warn(&error.to_string());
            if let engine::Error::Damaged { id, .. } = error {
                unreadable.push(id);
            }
        }
        Ok((snapshots, unreadable))
    }

    fn warn(&self, message: &str) {
        self.run.reporter.warn(message);
    }

    fn step(&self, what: &str) {
        self.run.reporter.step(what, None);
    }

    fn index(&self) -> Result<Index> {
        let (index, errors) = self.repository.load_index().map_err(explain)?;
        for error in errors {
            self.warn(&error.to_string());
        }
        Ok(index)
    }

    fn unlock(&self, all: bool) -> Result<Exit> {
        let removed = lock::unlock(&self.repository, all).map_err(explain)?;
        self.run
            .answer(&Unlocked::from(removed.as_slice()), |out| {
                if removed.is_empty() {
                    out.line("no lock was to be removed");
                }
                for found in &removed {
                    let what = match &found.file {
                        Ok(lock) => lock.to_string(),
                        Err(error) => error.to_string(),
                    };
                    out.line(format!("removed lock {}: {what}", found.id.short()));
                }
            })?;
        Ok(Exit::Done)
    }
}

fn mount(open: &Open<'_>, args: &Mount) -> Result<Exit> {
    let _lock = open.read_lock()?;
    let mut snapshots = open.snapshots()?;
    let filter = snapshot::Filter::from(&args.filter);
    snapshots.retain(|(_, snapshot)| filter.matches(snapshot));
    let index = open.index()?;
    let ready = || {
        open.run.results();
        let at = args.directory.display();
        if !open.json() {
            let shown = match snapshots.len() {
                1 => "1 snapshot is".to_owned(),
                count => format!("{count} snapshots are"),
            };
            open.run
                .out
                .line(format!("{shown} at {at}, until Ctrl-C or: umount {at}"));
        }
    };
    let shown = (open.repository.handle(), index);
    repo::mount::run(shown, &snapshots, &args.directory, args.allow_other, ready)?;
    let shown = Mounted {
        snapshots: snapshots.len(),
    };
    // What people are told, they were told before.
    open.run.answer(&shown, |_| ())?;
    Ok(Exit::Done)
}
