//! Runs the configured checks on a restored application.

use super::Restored;
use crate::cancel;
use crate::config::{Check, CheckConfig, Config, SourceConfig, SourceKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::expect::{Expect, Percent};
use crate::fetch::Fetched;
use crate::fingerprint::{Difference, Fingerprint, Proof};
use crate::kind::Kind;
use crate::name::Name;
use crate::point::DetailsArtifact;
use crate::probe::{self, CheckOutcome, CheckResult, Page, Subject, name_of, subject_of};
use crate::secret::Secret;
use crate::source::machine::{self, Held, Machine};
use crate::source::{self, Live, Placed, postgres};
use crate::sqlite;
use crate::transport::Transport;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a check's command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

/// A restored application on which checks can run.
pub struct Checked<'a> {
    /// The context of the command.
    pub context: &'a Context,
    /// Its sources.
    pub restored: &'a [Restored],
    /// The points they came from.
    pub points: &'a [Fetched],
    /// Holds a directory for each files, sqlite and command source.
    pub directory: &'a Path,
}

/// The result of comparing one source with what was captured.
pub fn content(source: &str, summary: &str, differences: &[Difference]) -> CheckResult {
    let name = Subject::content(source);
    if differences.is_empty() {
        return CheckResult::new(name, summary, "the same", CheckOutcome::Passed);
    }
    CheckResult::differing(name, summary, differences, ToString::to_string)
}

/// Runs one check. A check that could not be made is unknown, and says why. If the reason is that a
/// source was not restored, the result has no code, because that failure is a result of its own.
pub fn run(checked: &Checked<'_>, check: &CheckConfig) -> CheckResult {
    let (name, asked) = (subject_of(check), Some(name_of(check).into()));
    let wrong = |text| Error::new(Code::Configuration, text);
    if let Some(why) = checked.lacks(check) {
        return CheckResult {
            asked,
            ..CheckResult::unknown(name, "an answer", why)
        };
    }
    let answer = check.parsed().map_err(wrong).and_then(|check| match check {
        Check::Sql {
            source,
            query,
            expect,
            on,
        } => {
            let on = on.as_deref();
            checked.sql(name.clone(), (&source, on), &query, &expect)
        }
        Check::File {
            source,
            path,
            contains,
        } => checked.file(&source, &path, contains.as_deref()),
        Check::Command { words, on } => checked.command(&words, on.as_deref()),
        Check::Live { source, tolerance } => checked.live(name.clone(), &source, tolerance),
        Check::Http {
            url,
            machine,
            on,
            status,
            contains,
            within,
        } => checked.at(&url, machine.as_deref(), on).map(|(url, at)| {
            let page = Page {
                url: &url,
                at: at.as_deref(),
                status,
                contains: contains.as_deref(),
            };
            probe::check_http(name.clone(), &page, within)
        }),
        Check::Tcp {
            source,
            port,
            within,
        } => checked
            .address(&source)
            .map(|host| probe::check_tcp(name.clone(), &host, port, within)),
    });
    let unasked = |e: Error| {
        let error = cancel::explain(e);
        CheckResult::from_error(name.clone(), "an answer", &error, true)
    };
    let result = match answer.unwrap_or_else(unasked) {
        // A command that was told to end gave no answer.
        result if result.outcome == CheckOutcome::Failed => match cancel::check() {
            Err(interrupted) => unasked(interrupted),
            Ok(()) => result,
        },
        result => result,
    };
    CheckResult {
        name,
        asked,
        ..result
    }
}

/// The live places of the sources that a live restore leaves alone: checks ask them as they are.
pub fn untouched(config: &Config, restored: &[Restored]) -> Vec<Restored> {
    let sources = config.source.iter();
    let others = sources.filter(|(name, _)| !restored.iter().any(|r| r.source == **name));
    let live = others.filter_map(|(name, config)| {
        Some(Restored {
            source: name.clone(),
            kind: config.kind.kind(),
            placed: placed_live(&config.kind)?,
            differences: None,
            limits: vec![],
            warnings: vec![],
            summary: String::new(),
        })
    });
    live.collect()
}

/// The live place of a source, as checks ask it; `None` if it has none.
pub(super) fn placed_live(kind: &SourceKind) -> Option<Placed> {
    match source::live(kind).ok()? {
        Live::Tree { .. } => Some(Placed::Tree("/".into())),
        Live::File(path) => Some(Placed::File(path)),
        Live::Database(database) => Some(Placed::Database(database)),
        Live::Bucket(_) | Live::Nowhere(_) => None,
    }
}

/// Refuses, before anything is done, checks that compare a source with its capture although that
/// source is not to be restored: its live state has moved on.
pub fn can_be_asked(checks: &[CheckConfig], wanted: &[Name]) -> Result<()> {
    for check in checks {
        let compared = match check.parsed() {
            Ok(Check::Sql {
                source,
                expect: Expect::Same,
                on: None,
                ..
            }) => source,
            Ok(Check::Live { source, .. }) => source,
            _ => continue,
        };
        if !wanted.iter().any(|name| *name == compared) {
            let message = format!(
                "{} compares source {compared} with its capture, and it is not to be restored",
                name_of(check)
            );
            return Err(Error::new(Code::Usage, message).hint(format!(
                "restore it, too (--source {compared}), or leave that check out of the configuration for this restore"
            )));
        }
    }
    Ok(())
}

impl<'a> Checked<'a> {
    /// What a check needs and does not have, for a reason that is a result of its own.
    fn lacks(&self, check: &CheckConfig) -> Option<String> {
        let parsed = check.parsed().ok();
        let asked = parsed.as_ref();
        let asked = asked.and_then(|check| check.machine().or(check.source()));
        if let Some(source) = asked.filter(|_| check.live.is_none()) {
            let missing = self.source(source).is_err();
            return missing.then(|| format!("source {source} was not brought back"));
        }
        let source = check.live.as_ref()?;
        let kind = self.context.config.source.get(source.as_str())?.kind.kind();
        let missing = self.captured(source, kind).is_none();
        missing.then(|| format!("what was captured of source {source} cannot be read"))
    }

    /// Where a machine answers.
    fn address(&self, source: &str) -> Result<String> {
        let address = match &self.source(source)?.placed {
            Placed::Machine(machine) => machine.address.clone(),
            _ => None,
        };
        address.ok_or_else(|| {
            let message = format!("it is not known where the machine of source {source} answers");
            Error::new(Code::Target, message)
        })
    }

    /// A restored machine, the source that it came back of, and what its provider calls the original.
    fn machine(&self, source: &str) -> Result<(&'a Machine, String)> {
        let Placed::Machine(machine) = &self.source(source)?.placed else {
            let message = format!("source {source} is no machine");
            return Err(Error::new(Code::Configuration, message));
        };
        let config = self.context.config.source.get(source);
        let provider = config.and_then(|config| machine::provider(&config.kind));
        let of = provider.map(|provider| provider.original().to_owned());
        Ok((machine, of.unwrap_or_default()))
    }

    /// A database as it came back with a machine.
    fn held(&self, source: &str, on: &str) -> Result<Held> {
        let (machine, of) = self.machine(on)?;
        let config = self.configured(source)?;
        machine::held(&config.kind, machine, &of, &self.context.state.scratch())
    }

    /// How commands are run on a restored machine: with the login of a database that it holds.
    fn login(&self, on: &str) -> Result<Transport> {
        let (machine, _) = self.machine(on)?;
        let snapshots = self.configured(on)?.kind.snapshots();
        let held = snapshots.map_or(&[][..], |snapshots| &snapshots.holds);
        let mut held = held
            .iter()
            .filter_map(|name| self.context.config.source.get(name));
        let login = held.find_map(|config| machine::login(&config.kind, machine));
        login.ok_or_else(|| {
            let message = format!("it is not known how to log in to the machine of source {on}");
            Error::new(Code::Configuration, message)
                .hint("let it hold a database with `via = \"ssh:…\"`")
        })
    }

    fn configured(&self, name: &str) -> Result<&'a SourceConfig> {
        self.context.config.source.get(name).ok_or_else(|| {
            let message = format!("there is no source named {name}");
            Error::new(Code::Configuration, message)
        })
    }

    /// A URL, and the address at which it is asked if that is not the one in it.
    fn at(&self, url: &str, machine: Option<&str>, on: bool) -> Result<(String, Option<String>)> {
        let Some(source) = machine else {
            return Ok((url.to_owned(), None));
        };
        let address = self.address(source)?;
        Ok(match on {
            true => (url.to_owned(), Some(address)),
            false => (url.replace(&format!("{{{source}}}"), &address), None),
        })
    }

    fn source(&self, name: &str) -> Result<&'a Restored> {
        self.restored
            .iter()
            .find(|r| r.source == name)
            .ok_or_else(|| {
                Error::new(
                    Code::NotProved,
                    format!("source {name} was not brought back"),
                )
            })
    }

    /// The details of a source as captured.
    fn captured(&self, source: &str, kind: Kind) -> Option<&'a DetailsArtifact> {
        let artifact = source::descriptor(kind).main_artifact();
        self.points
            .iter()
            .find_map(|p| p.details.as_ref().ok()?.artifact(source, artifact))
    }

    fn sql(
        &self,
        name: Subject,
        (source, on): (&str, Option<&str>),
        query: &str,
        expect: &Expect,
    ) -> Result<CheckResult> {
        let held = on.map(|on| self.held(source, on)).transpose()?;
        let placed = match &held {
            Some(held) => &held.placed,
            None => &self.source(source)?.placed,
        };
        let observed = match placed {
            Placed::Database(database) => database.query(query, &self.context.scrubber)?,
            Placed::File(path) => sqlite::query(path, query)?,
            Placed::Tree(_) | Placed::Bucket(_) | Placed::Machine(_) => {
                return Err(Error::new(
                    Code::Configuration,
                    format!("source {source} is no database"),
                ));
            }
        };
        let kind = match on {
            Some(_) => self.configured(source)?.kind.kind(),
            None => self.source(source)?.kind,
        };
        let answers = self.captured(source, kind).map(|d| &d.answers);
        let captured = answers.and_then(|a| a.get(query)).map(String::as_str);
        Ok(probe::judge_answer(name, expect, &observed, captured))
    }

    fn file(&self, source: &str, path: &str, contains: Option<&str>) -> Result<CheckResult> {
        let restored = self.source(source)?;
        let Placed::Tree(root) = &restored.placed else {
            return Err(Error::new(
                Code::Configuration,
                format!("source {source} has no files"),
            ));
        };
        let captured = self.captured(source, restored.kind);
        let roots: Vec<PathBuf> = captured
            .into_iter()
            .flat_map(|d| &d.roots)
            .map(PathBuf::from)
            .collect();
        Ok(probe::check_file(root, &roots, path, contains))
    }

    fn command(&self, command: &[String], on: Option<&str>) -> Result<CheckResult> {
        let place = on.map_or(Ok(Transport::Local), |on| self.login(on))?;
        let mut env = BTreeMap::new();
        let directory = self.directory.as_os_str().as_bytes();
        if on.is_none() {
            env.insert("LIFEBOAT_RESTORED".into(), Secret::new(directory.to_vec()));
        }
        for restored in self.restored.iter().filter(|_| on.is_none()) {
            let variable: String = restored
                .source
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    }
                })
                .collect();
            env.extend(told(&restored.placed, &variable));
        }
        // A scrubber of its own: what is passed to the command is no secret worth hiding later.
        Ok(probe::check_command(
            command,
            &place,
            &env,
            &self.context.scrubber.fork(),
            COMMAND_TIMEOUT,
        ))
    }

    /// The proof of a live SQLite database. It is copied first, as for a backup: whoever uses it may write
    /// meanwhile, and its directory may be read-only.
    fn observe_live(&self, path: &Path) -> Result<Proof> {
        sqlite::must_exist(path)?;
        let copy = sqlite::Spool::new(&self.context.state.scratch());
        sqlite::backup(path, copy.path())?;
        sqlite::observe(copy.path())
    }

    /// Compares what was captured with the live source: a backup of the wrong database must not
    /// pass for ever.
    fn live(&self, name: Subject, source: &str, tolerance: Percent) -> Result<CheckResult> {
        let config = self.configured(source)?;
        let counts_live = match source::live(&config.kind)? {
            Live::File(path) => counts(&self.observe_live(&path)?),
            Live::Database(database) => database.row_counts(&self.context.scrubber)?,
            Live::Tree { .. } | Live::Bucket(_) | Live::Nowhere(_) => {
                return Err(Error::new(
                    Code::Configuration,
                    format!("source {source} is no database"),
                ));
            }
        };
        let captured = self.captured(source, config.kind.kind()).ok_or_else(|| {
            let message = format!("what was captured of source {source} cannot be read");
            Error::new(Code::NotProved, message)
        })?;
        Ok(probe::compare_counts(
            name,
            &counts(&captured.proof),
            ("the live source", &counts_live),
            tolerance,
        ))
    }
}

/// Rows of each table.
pub(super) fn counts(proof: &Proof) -> BTreeMap<String, u64> {
    let Fingerprint::Tables(tables) = &proof.fingerprint else {
        return BTreeMap::new();
    };
    // Large objects are counted in the fingerprint beside the tables, but are not tables.
    let tables = tables
        .tables
        .iter()
        .filter(|(name, _)| *name != postgres::archive::LARGE_OBJECTS);
    tables
        .map(|(name, table)| (name.clone(), table.rows))
        .collect()
}

/// What a command is told of a place, as environment variables of a source.
fn told(placed: &Placed, source: &str) -> Vec<(String, Secret)> {
    let of = |word: &str, bytes: &[u8]| {
        let value = Secret::new(bytes.to_vec());
        (format!("LIFEBOAT_{word}_{source}"), value)
    };
    match placed {
        Placed::Database(database) => {
            vec![of("URL", database.url_without_password().as_bytes())]
        }
        Placed::Bucket(place) => vec![of("URL", place.describe().as_bytes())],
        Placed::Tree(path) | Placed::File(path) => {
            vec![of("PATH", path.as_os_str().as_bytes())]
        }
        Placed::Machine(machine) => {
            let all = [("ADDRESS", &machine.address), ("PATH", &machine.path)];
            let known = all
                .into_iter()
                .filter_map(|(word, value)| Some((word, value.as_ref()?)));
            known
                .map(|(word, value)| of(word, value.as_bytes()))
                .collect()
        }
    }
}
