//! What was found of the buckets when they were looked at last.

use super::Catalog;
use crate::error::Result;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS posture (
        subject TEXT NOT NULL PRIMARY KEY, settings TEXT NOT NULL, at TEXT NOT NULL,
        findings TEXT NOT NULL);";

/// What was found of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotedPosture {
    /// A hash of what the configuration says of it.
    pub settings: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// The findings, as JSON.
    pub findings: String,
}

impl Catalog {
    /// Notes what was found.
    pub(crate) fn note_posture(&self, subject: &str, noted: &NotedPosture) -> Result<()> {
        let at = noted.at.to_string();
        self.write(|c| {
            let insert = "INSERT OR REPLACE INTO posture VALUES (?1, ?2, ?3, ?4)";
            c.execute(insert, params![subject, noted.settings, at, noted.findings])
                .map(drop)
        })
    }

    /// What was found last.
    pub(crate) fn posture(&self, subject: &str) -> Result<Option<NotedPosture>> {
        let select = "SELECT settings, at, findings FROM posture WHERE subject = ?1";
        let row: Option<(String, String, String)> = self.run(|c| {
            c.query_row(select, [subject], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
                .optional()
        })?;
        Ok(row.and_then(|(settings, at, findings)| {
            let at = at.parse().ok()?;
            Some(NotedPosture {
                settings,
                at,
                findings,
            })
        }))
    }
}
