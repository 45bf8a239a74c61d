//! Where each store of the configuration was when it was opened last, so that its notes are found when
//! it cannot be opened.

use super::Catalog;
use crate::config::StoreConfig;
use crate::digest::sha256_hex;
use crate::error::Result;
use rusqlite::{OptionalExtension, params};

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS place (
        settings TEXT NOT NULL PRIMARY KEY, location TEXT NOT NULL);";

/// Names the settings of a store: others may be another store.
fn settings(config: &StoreConfig) -> String {
    let text = serde_json::to_vec(config).unwrap_or_default();
    sha256_hex(&text)
}

impl Catalog {
    /// Notes the location of a store that was opened.
    pub(crate) fn note_place(&self, config: &StoreConfig, location: &str) -> Result<()> {
        if self.place(config)?.as_deref() == Some(location) {
            return Ok(());
        }
        let settings = settings(config);
        self.write(|c| {
            let insert = "INSERT OR REPLACE INTO place VALUES (?1, ?2)";
            c.execute(insert, params![settings, location]).map(drop)
        })
    }

    /// The location of a store with these settings, if it was ever opened.
    pub(crate) fn place(&self, config: &StoreConfig) -> Result<Option<String>> {
        let select = "SELECT location FROM place WHERE settings = ?1";
        let settings = settings(config);
        self.run(|c| {
            c.query_row(select, params![settings], |row| row.get(0))
                .optional()
        })
    }
}
