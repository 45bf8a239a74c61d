//! Live restores whose swap was interrupted: finds them, and undoes or finishes the swap.
//!
//! Paths, SQLite files and databases of PostgreSQL are swapped by renaming: whenever a restore is
//! killed, each is whole under one of its names. The swap of a MariaDB or MySQL database takes
//! several steps and may be interrupted between them; see `source::mariadb`. Recovery may itself be
//! interrupted and repeated.

use super::open;
use crate::context::Context;
use crate::error::Result;
use crate::name::Name;
use crate::secret::Scrubber;
use crate::source::{Database, Ended, live_database};

/// A live database of a source.
struct Live<'a> {
    source: &'a str,
    admin: Database,
    name: String,
}

impl Live<'_> {
    fn recover(&self, scrubber: &Scrubber) -> Result<Option<Ended>> {
        let ended = self.admin.recover(&self.name, scrubber)?;
        Ok(ended.map(|ended| Ended {
            text: format!("source {}: {}", self.source, ended.text),
            ..ended
        }))
    }

    /// Its interrupted swap as a step of a plan, if there is one.
    fn pending(&self, scrubber: &Scrubber) -> Result<Option<String>> {
        let interrupted = self.admin.is_interrupted(&self.name, scrubber)?;
        Ok(interrupted.then(|| {
            format!(
                "recover database {} of source {}, whose swap by an earlier restore was interrupted",
                self.name, self.source
            )
        }))
    }
}

/// The live databases of these sources; an error for each that has no valid name.
fn live<'a>(
    context: &'a Context,
    sources: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = Result<Live<'a>>> {
    sources.filter_map(|source| {
        let config = context.config.source.get(source)?;
        let database = live_database(&config.kind)?;
        Some(database.and_then(|database| {
            Ok(Live {
                source,
                name: database.name()?.to_owned(),
                admin: database.administrative(),
            })
        }))
    })
}

/// Undoes or finishes the interrupted swaps of these sources.
pub(super) fn recover<'a>(
    context: &'a Context,
    sources: impl Iterator<Item = &'a str>,
) -> Result<Vec<Ended>> {
    let mut told = Vec::new();
    for live in live(context, sources) {
        told.extend(live?.recover(&context.scrubber)?);
    }
    Ok(told)
}

/// Interrupted swaps of these sources, as steps of a plan. A database that does not answer is
/// skipped: the next step reports it.
pub(super) fn pending<'a>(
    context: &'a Context,
    sources: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let restores = open::interrupted(context).unwrap_or_default().into_iter();
    let taken_back = restores.map(|restore| {
        let id = &restore.id;
        format!("take back restore {id}, which was interrupted while something of it was live")
    });
    let live = live(context, sources).filter_map(Result::ok);
    let pending = live.filter_map(|live| live.pending(&context.scrubber).ok());
    taken_back.chain(pending.flatten()).collect()
}

/// Takes back every live restore that was interrupted while something of it was live, and undoes every swap of a
/// MariaDB or MySQL database that no journal tells of: what was live before is live again, unless only cleaning up
/// was left to do. Fails without `confirm`, which is `APP/ENVIRONMENT`, if anything is interrupted.
pub fn undo(context: &Context, confirm: Option<&str>) -> Result<Vec<Ended>> {
    let _restore = open::alone(context)?;
    let sources = || context.config.source.keys().map(Name::as_str);
    let mut pending = Vec::new();
    if confirm.is_none() {
        let journals = open::interrupted(context)?.into_iter();
        pending.extend(journals.map(|restore| restore.interrupted().message));
        for live in live(context, sources()) {
            pending.extend(live?.pending(&context.scrubber)?);
        }
        if pending.is_empty() {
            return Ok(Vec::new());
        }
    }
    open::confirmed(&context.config, confirm, "restore --undo", || pending)?;
    let steps = open::take_back_interrupted(context)?;
    let taken_back = steps.into_iter().map(|text| Ended { undone: true, text });
    let recovered = recover(context, sources())?;
    Ok(taken_back.chain(recovered).collect())
}
