//! Asks a restored application the configured checks.

use super::{Placed, Restored};
use crate::config::{CheckConfig, SourceKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Difference, Fingerprint};
use crate::probe::{self, CheckOutcome, CheckResult, Expect};
use crate::restore::fetch::Fetched;
use crate::source::{postgres, sqlite};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a check's command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
/// How many differences a result names.
const DIFFERENCES_SHOWN: usize = 10;

/// A restored application that can be asked.
pub struct Checked<'a> {
    /// What every verb needs.
    pub context: &'a Context,
    /// Its sources.
    pub restored: &'a [Restored],
    /// The points they came from.
    pub points: &'a [Fetched],
    /// Holds a directory for each files, sqlite and command source.
    pub directory: &'a Path,
}

/// The result of comparing one source with what was captured.
pub fn content(name: String, summary: &str, differences: &[Difference]) -> CheckResult {
    if differences.is_empty() {
        return CheckResult {
            name,
            expected: summary.to_owned(),
            observed: "the same".into(),
            outcome: CheckOutcome::Passed,
        };
    }
    let mut lines: Vec<_> =
        differences.iter().take(DIFFERENCES_SHOWN).map(ToString::to_string).collect();
    if differences.len() > DIFFERENCES_SHOWN {
        lines.push(format!("and {} more", differences.len() - DIFFERENCES_SHOWN));
    }
    let observed = format!("{} differences: {}", differences.len(), lines.join("; "));
    CheckResult { name, expected: summary.to_owned(), observed, outcome: CheckOutcome::Failed }
}

/// What a check is called in results.
pub fn name(check: &CheckConfig) -> String {
    match (&check.sql, &check.file, &check.command, &check.live) {
        (Some(source), _, _, _) => {
            format!("{source}: {}", check.query.as_deref().unwrap_or_default())
        }
        (_, Some(source), _, _) => {
            format!("{source}: file {}", check.path.as_deref().unwrap_or_default())
        }
        (_, _, Some(command), _) => format!("command {}", command.join(" ")),
        (_, _, _, Some(source)) => format!("{source}: as live"),
        _ => "check".into(),
    }
}

/// Asks one check. What cannot be asked is a failed check that says why.
pub fn run(checked: &Checked<'_>, check: &CheckConfig) -> CheckResult {
    let answer = match (&check.sql, &check.file, &check.command, &check.live) {
        (Some(source), _, _, _) => sql(checked, check, source),
        (_, Some(source), _, _) => file(checked, check, source),
        (_, _, Some(command), _) => command_check(checked, command),
        (_, _, _, Some(source)) => live(checked, check, source),
        _ => Err(Error::new(Code::Configuration, "the check asks nothing")),
    };
    answer.unwrap_or_else(|error| CheckResult {
        name: name(check),
        expected: check.expect.clone().unwrap_or_else(|| "an answer".into()),
        observed: error.to_string(),
        outcome: CheckOutcome::Failed,
    })
}

impl<'a> Checked<'a> {
    fn source(&self, name: &str) -> Result<&'a Restored> {
        self.restored.iter().find(|r| r.source == name).ok_or_else(|| {
            Error::new(Code::NotProved, format!("source {name} was not brought back"))
        })
    }

    /// What was captured of a source, with the name of its main artifact.
    fn captured(&self, source: &str, artifact: &str) -> Option<&'a crate::point::DetailsArtifact> {
        self.points.iter().find_map(|p| p.details.as_ref().ok()?.artifact(source, artifact))
    }
}

fn sql(checked: &Checked<'_>, check: &CheckConfig, source: &str) -> Result<CheckResult> {
    let query = check.query.as_deref().unwrap_or_default();
    let restored = checked.source(source)?;
    let (observed, artifact) = match &restored.placed {
        Placed::Database(connection) => (postgres::query(connection, query)?, "dump"),
        Placed::File(path) => (sqlite::query(path, query)?, "database"),
        Placed::Tree(_) => {
            return Err(Error::new(Code::Configuration, format!("source {source} is no database")));
        }
    };
    let expect = Expect::parse(check.expect.as_deref().unwrap_or_default())?;
    let answers = checked.captured(source, artifact).map(|d| &d.answers);
    let captured = answers.and_then(|a| a.get(query)).map(String::as_str);
    let (expected, outcome) = match (&expect, captured) {
        (Expect::Same, None) => {
            ("the answer at capture, which was not recorded".to_owned(), CheckOutcome::Unknown)
        }
        (Expect::Same, Some(captured)) => {
            (format!("{captured} as at capture"), passed(expect.matches(&observed, Some(captured))))
        }
        _ => (check.expect.clone().unwrap_or_default(), passed(expect.matches(&observed, captured))),
    };
    Ok(CheckResult { name: name(check), expected, observed, outcome })
}

fn passed(holds: bool) -> CheckOutcome {
    if holds { CheckOutcome::Passed } else { CheckOutcome::Failed }
}

fn file(checked: &Checked<'_>, check: &CheckConfig, source: &str) -> Result<CheckResult> {
    let Placed::Tree(root) = &checked.source(source)?.placed else {
        return Err(Error::new(Code::Configuration, format!("source {source} has no files")));
    };
    let captured = checked.captured(source, "files");
    let roots: Vec<PathBuf> =
        captured.into_iter().flat_map(|d| &d.roots).map(PathBuf::from).collect();
    let path = check.path.as_deref().unwrap_or_default();
    let result = probe::check_file(root, &roots, path, check.contains.as_deref());
    Ok(CheckResult { name: name(check), ..result })
}

fn command_check(checked: &Checked<'_>, command: &[String]) -> Result<CheckResult> {
    let mut env: BTreeMap<String, OsString> = BTreeMap::new();
    env.insert("LIFEBOAT_RESTORED".into(), checked.directory.into());
    for restored in checked.restored {
        let variable = restored.source.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        match &restored.placed {
            Placed::Database(connection) => {
                env.insert(format!("LIFEBOAT_URL_{variable}"), connection.display().into());
            }
            Placed::Tree(path) | Placed::File(path) => {
                env.insert(format!("LIFEBOAT_PATH_{variable}"), path.clone().into());
            }
        }
    }
    Ok(probe::check_command(command, &env, COMMAND_TIMEOUT))
}

/// Compares what was captured with the live source: a backup of the wrong database must not verify
/// for ever.
fn live(checked: &Checked<'_>, check: &CheckConfig, source: &str) -> Result<CheckResult> {
    let config = checked.context.config.source.get(source).ok_or_else(|| {
        Error::new(Code::Configuration, format!("there is no source named {source}"))
    })?;
    let (counts, artifact) = match &config.kind {
        SourceKind::Postgres(config) => {
            (postgres::row_counts(&postgres::Connection::from_config(config)?)?, "dump")
        }
        SourceKind::Sqlite(config) => (sqlite::row_counts(&config.path)?, "database"),
        _ => return Err(Error::new(Code::Configuration, format!("source {source} is no database"))),
    };
    let captured = checked.captured(source, artifact).ok_or_else(|| {
        Error::new(Code::NotProved, format!("what was captured of source {source} cannot be read"))
    })?;
    let Fingerprint::Tables(tables) = &captured.proof.fingerprint else {
        return Err(Error::new(Code::NotProved, format!("source {source} was captured without tables")));
    };
    // Large objects are counted in the fingerprint beside the tables, and are none.
    let captured: BTreeMap<String, u64> = tables
        .tables
        .iter()
        .filter(|(name, _)| name.as_str() != postgres::LARGE_OBJECTS)
        .map(|(name, table)| (name.clone(), table.rows))
        .collect();
    let tolerance = probe::parse_tolerance(check.tolerance.as_deref().unwrap_or("0%"))?;
    Ok(CheckResult { name: name(check), ..probe::compare_counts(&captured, &counts, tolerance) })
}
