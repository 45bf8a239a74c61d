//! Undoes or finishes an interrupted swap.
//!
//! What was live before the restore becomes live again, unless only cleaning up was left to do.

use super::{JOURNAL, Moving, PATIENCE_SECONDS, is_interrupted};
use crate::error::{Code, Error, Result};
use crate::host::host;
use crate::secret::Scrubber;
use crate::source::database::on;
use crate::source::mariadb::admin::drop_database;
use crate::source::mariadb::client::query;
use crate::source::mariadb::connection::Connection;

/// How long a swap of another host counts as running.
const ELSEWHERE_SECONDS: u64 = 300;

/// What is live after an interrupted swap was recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// What was live before the restore.
    Before,
    /// The restored data: the swap had reached its end.
    Restored {
        /// The database that keeps what was live before, if anything was.
        kept: Option<String>,
    },
}

/// Looks for an interrupted swap of this database, and undoes or finishes it.
pub fn recover(admin: &Connection, live: &str, scrubber: &Scrubber) -> Result<Option<Recovered>> {
    if !is_interrupted(admin, live, scrubber).map_err(on(live))? {
        return Ok(None);
    }
    let moving = Moving::new(admin, live, scrubber)?;
    moving.recover().map(Some).map_err(on(live))
}

impl Moving<'_> {
    fn recover(&self) -> Result<Recovered> {
        self.wait_for_the_last()?;
        let Some(journal) = self.read()? else {
            self.forget()?;
            return Ok(Recovered::Before);
        };
        let age = self.age_seconds()?;
        if journal.host != host() && age < ELSEWHERE_SECONDS {
            return Err(Error::new(
                Code::Busy,
                format!(
                    "a swap of {} was begun {age} s ago on host {}, and may be under way",
                    self.live, journal.host
                ),
            )
            .hint(format!(
                "look there; if it is not, run again {ELSEWHERE_SECONDS} s after it was begun"
            )));
        }
        match (journal.finished, journal.back) {
            (true, _) => self.end(&journal)?,
            (false, true) => self.resume(&journal)?,
            (false, false) => self.undo(&journal)?,
        }
        if journal.finished && !journal.back {
            let kept = journal.moves.iter().find(|step| step.from == self.live);
            return Ok(Recovered::Restored {
                kept: kept.map(|step| step.to.clone()),
            });
        }
        drop_database(&self.admin, &journal.restored, self.scrubber)?;
        Ok(Recovered::Before)
    }

    /// Waits for the last statement. The server goes on with a statement whose sender is gone,
    /// which may be waiting for a table.
    fn wait_for_the_last(&self) -> Result<()> {
        let patience = PATIENCE_SECONDS + 10;
        let sql = format!("SELECT COALESCE(GET_LOCK({}, {patience}), 0)", self.lock());
        match query(&self.admin, &sql, self.scrubber)?.as_str() {
            "1" => Ok(()),
            _ => Err(Error::new(
                Code::Busy,
                format!("the server is still busy with a statement of the swap of {}", self.live),
            )
            .hint(format!(
                "see SHOW FULL PROCESSLIST, and run again when it has ended; the journal is {}.{JOURNAL}",
                self.live
            ))),
        }
    }
}
