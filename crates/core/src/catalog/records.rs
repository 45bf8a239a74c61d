//! Evidence records that the stores have shown: their bytes, and which store held which records
//! when it was last read.
//!
//! This memory shows that a store lost a record: it held the record once and no longer does. It
//! does not judge whether a record is trusted.

use super::Catalog;
use crate::digest::sha256_hex;
use crate::error::Result;
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::BTreeMap;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS record (
        sha256 TEXT NOT NULL, signer TEXT NOT NULL, sequence INTEGER NOT NULL,
        bytes BLOB NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (sha256, signature));
    CREATE TABLE IF NOT EXISTS record_held (
        location TEXT NOT NULL, key TEXT NOT NULL, stamp TEXT NOT NULL, sha256 TEXT NOT NULL,
        PRIMARY KEY (location, key));";

/// One stored evidence record, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Name of its signer's directory in a store.
    pub signer: String,
    /// Its number in the chain, from 1.
    pub sequence: u64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Its signature.
    pub signature: String,
}

/// Record under one key of a store when the store was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRecord {
    /// Size and time of the object then; an object with others is read again.
    pub stamp: String,
    /// SHA-256 of the record, hex.
    pub sha256: String,
}

/// Converts the notes of older versions, which were kept by signer and number.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if !has_old_table(connection)? {
        return Ok(());
    }
    // Another process may be converting as well.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !has_old_table(&transaction)? {
        return Ok(());
    }
    let old: Vec<(String, i64, Vec<u8>, String)> = transaction
        .prepare("SELECT signer, sequence, bytes, signature FROM evidence")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (signer, sequence, bytes, signature) in old {
        let insert = "INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4, ?5)";
        let sha256 = sha256_hex(&bytes);
        transaction.execute(insert, params![sha256, signer, sequence, bytes, signature])?;
    }
    transaction.execute("DROP TABLE evidence", [])?;
    transaction.commit()
}

fn has_old_table(connection: &Connection) -> rusqlite::Result<bool> {
    let count = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'evidence'";
    let tables: i64 = connection.query_row(count, [], |r| r.get(0))?;
    Ok(tables > 0)
}

fn note_record(c: &Connection, record: &StoredRecord) -> rusqlite::Result<()> {
    c.execute(
        "INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            record.sha256,
            record.signer,
            i64::try_from(record.sequence).unwrap_or(i64::MAX),
            record.bytes,
            record.signature
        ],
    )
    .map(drop)
}

impl Catalog {
    /// Notes an evidence record.
    pub fn note_record(&self, record: &StoredRecord) -> Result<()> {
        self.write(|c| note_record(c, record))
    }

    /// Notes an evidence record, and that a store holds it under a key.
    pub fn note_held(
        &self,
        location: &str,
        key: &str,
        held: &HeldRecord,
        record: &StoredRecord,
    ) -> Result<()> {
        self.write(|c| {
            note_record(c, record)?;
            c.execute(
                "INSERT OR REPLACE INTO record_held VALUES (?1, ?2, ?3, ?4)",
                params![location, key, held.stamp, held.sha256],
            )
            .map(drop)
        })
    }

    /// Records that a store held when it was last read, by key.
    pub fn held(&self, location: &str) -> Result<BTreeMap<String, HeldRecord>> {
        self.run(|c| {
            c.prepare("SELECT key, stamp, sha256 FROM record_held WHERE location = ?1")?
                .query_map([location], |r| {
                    let held = HeldRecord {
                        stamp: r.get(1)?,
                        sha256: r.get(2)?,
                    };
                    Ok((r.get(0)?, held))
                })?
                .collect()
        })
    }

    /// Reads every noted record, by signer and number.
    pub fn records(&self) -> Result<Vec<StoredRecord>> {
        self.run(|c| {
            c.prepare(
                "SELECT signer, sequence, sha256, bytes, signature FROM record ORDER BY 1, 2",
            )?
            .query_map([], |r| {
                Ok(StoredRecord {
                    signer: r.get(0)?,
                    sequence: u64::try_from(r.get::<_, i64>(1)?).unwrap_or(0),
                    sha256: r.get(2)?,
                    bytes: r.get(3)?,
                    signature: r.get(4)?,
                })
            })?
            .collect()
        })
    }
}
