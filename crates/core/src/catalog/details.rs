//! Details of points that some store holds.
//!
//! Details name every file, and those of the next point name nearly the same files. They are
//! therefore kept in pieces: an outline for each point, without the names, and inventories in
//! blocks, each stored once however many points share it.

use super::Catalog;
use crate::error::{Code, Error, Result};
use crate::fingerprint::{Entries, Inventory, Proof};
use crate::point::{Details, PointId};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use zstd::bulk::Decompressor;

pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS outline (point TEXT PRIMARY KEY, json BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS inventory (
        point TEXT NOT NULL, artifact INTEGER NOT NULL, blocks BLOB NOT NULL,
        PRIMARY KEY (point, artifact));
    CREATE TABLE IF NOT EXISTS block (sha256 BLOB PRIMARY KEY, bytes BLOB NOT NULL);";

const HASH_BYTES: usize = 32;
/// Size of the buffer for outlines; few are larger.
const OUTLINE_BYTES: usize = 64 << 10;
/// zstd's default.
const LEVEL: i32 = 3;

/// Converts the notes of older versions, which held the whole details of every point.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if !has_old_table(connection)? {
        return Ok(());
    }
    loop {
        // Another process may be converting as well.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !has_old_table(&transaction)? {
            return Ok(());
        }
        let oldest = "SELECT point, json FROM details ORDER BY point LIMIT 1";
        let row: Option<(String, Vec<u8>)> = transaction
            .query_row(oldest, [], |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        let Some((point, json)) = row else {
            transaction.execute("DROP TABLE details", [])?;
            transaction.commit()?;
            break;
        };
        if let Ok(Ok(pieces)) = serde_json::from_slice(&json).map(|details| pieces(&details)) {
            pieces.note(&transaction)?;
        }
        transaction.execute("DELETE FROM details WHERE point = ?1", [point])?;
        transaction.commit()?;
    }
    // Frees the space of the old notes. A failure does no harm.
    let _ = connection.execute("VACUUM", []);
    Ok(())
}

fn has_old_table(connection: &Connection) -> rusqlite::Result<bool> {
    let count = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'details'";
    let tables: i64 = connection.query_row(count, [], |r| r.get(0))?;
    Ok(tables > 0)
}

/// Details, split into an outline and inventories.
struct Pieces {
    point: String,
    /// The JSON of the details without inventories, compressed.
    outline: Vec<u8>,
    /// Blocks of each artifact that has an inventory, by its index among the artifacts.
    inventories: Vec<(u32, Vec<Arc<[u8]>>)>,
}

fn pieces(details: &Details) -> Result<Pieces> {
    let failed = |cause: String| {
        Error::new(Code::State, "details cannot be noted in the catalog").cause(cause)
    };
    let pack = |json: serde_json::Result<Vec<u8>>| {
        let json = json.map_err(|e| failed(e.to_string()))?;
        zstd::bulk::compress(&json, LEVEL).map_err(|e| failed(e.to_string()))
    };
    let mut outline = details.clone();
    let mut inventories = Vec::new();
    for (number, artifact) in (0..).zip(&mut outline.artifacts) {
        match std::mem::take(&mut artifact.proof.inventory) {
            Inventory::None => {}
            Inventory::Files { entries } => inventories.push((number, entries.blocks().to_vec())),
            inventory @ Inventory::Database(_) => {
                let block = pack(serde_json::to_vec(&inventory))?;
                inventories.push((number, vec![block.into()]));
            }
        }
    }
    Ok(Pieces {
        point: details.point.to_string(),
        outline: pack(serde_json::to_vec(&outline))?,
        inventories,
    })
}

impl Pieces {
    fn note(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute(
            "INSERT OR REPLACE INTO outline VALUES (?1, ?2)",
            params![self.point, self.outline],
        )?;
        transaction.execute("DELETE FROM inventory WHERE point = ?1", [&self.point])?;
        let mut insert = transaction.prepare("INSERT OR IGNORE INTO block VALUES (?1, ?2)")?;
        for (number, blocks) in &self.inventories {
            let mut hashes = Vec::with_capacity(blocks.len() * HASH_BYTES);
            for block in blocks {
                let hash = Sha256::digest(block);
                insert.execute(params![hash.as_slice(), block])?;
                hashes.extend_from_slice(&hash);
            }
            transaction.execute(
                "INSERT INTO inventory VALUES (?1, ?2, ?3)",
                params![self.point, number, hashes],
            )?;
        }
        Ok(())
    }
}

fn parse(outline: &[u8]) -> Option<Details> {
    serde_json::from_slice(&zstd::stream::decode_all(outline).ok()?).ok()
}

/// The sizes in an outline.
#[derive(Deserialize)]
struct Sizes {
    artifacts: Vec<ArtifactSize>,
}

#[derive(Deserialize)]
struct ArtifactSize {
    bytes: u64,
}

/// Unpacks many outlines, one after the other: to make a decompressor takes longer than to use it.
struct Unpacked {
    decompressor: Decompressor<'static>,
    json: Vec<u8>,
}

impl Unpacked {
    fn new() -> Result<Self> {
        let failed = |error| Error::io("zstd cannot be used", &error);
        Ok(Unpacked {
            decompressor: Decompressor::new().map_err(failed)?,
            json: Vec::with_capacity(OUTLINE_BYTES),
        })
    }

    /// Bytes that were captured, as an outline says.
    fn captured_bytes(&mut self, outline: &[u8]) -> Option<u64> {
        self.json.clear();
        let Unpacked { decompressor, json } = self;
        if decompressor.decompress_to_buffer(outline, json).is_err() {
            // Perhaps it is larger than the buffer.
            *json = zstd::stream::decode_all(outline).ok()?;
        }
        let sizes: Sizes = serde_json::from_slice(json).ok()?;
        Some(sizes.artifacts.iter().map(|a| a.bytes).sum())
    }
}

impl Catalog {
    /// Notes the details of a point, so that a host that cannot decrypt its own backups can still
    /// show and copy what it captured.
    pub fn note_details(&self, details: &Details) -> Result<()> {
        let pieces = pieces(details)?;
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            pieces.note(&transaction)?;
            transaction.commit()
        })
    }

    /// Reads the details of a point without inventories, if they were noted here.
    pub fn outline(&self, point: &PointId) -> Result<Option<Details>> {
        let select = "SELECT json FROM outline WHERE point = ?1";
        let outline: Option<Vec<u8>> = self.run(|c| {
            c.query_row(select, [point.as_str()], |r| r.get(0))
                .optional()
        })?;
        Ok(outline.and_then(|outline| parse(&outline)))
    }

    /// Bytes that were captured for each point whose details were noted here.
    pub fn captured_bytes(&self) -> Result<BTreeMap<PointId, u64>> {
        let mut unpacked = Unpacked::new()?;
        self.run(|c| {
            let mut statement = c.prepare("SELECT point, json FROM outline")?;
            let mut rows = statement.query([])?;
            let mut captured = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let point = PointId::parse(row.get_ref(0)?.as_str()?);
                let bytes = unpacked.captured_bytes(row.get_ref(1)?.as_blob()?);
                captured.extend(point.zip(bytes));
            }
            Ok(captured)
        })
    }

    /// Reads the whole details of a point, if they were noted here.
    pub fn details(&self, point: &PointId) -> Result<Option<Details>> {
        self.assemble(point, true)
    }

    /// Reads the details of a point with the inventories of its databases, and without those of
    /// files, which may be very long.
    pub fn described(&self, point: &PointId) -> Result<Option<Details>> {
        self.assemble(point, false)
    }

    fn assemble(&self, point: &PointId, with_files: bool) -> Result<Option<Details>> {
        let Some(mut details) = self.outline(point)? else {
            return Ok(None);
        };
        let select = "SELECT artifact, blocks FROM inventory WHERE point = ?1";
        let inventories: Vec<(u32, Vec<u8>)> = self.run(|c| {
            c.prepare(select)?
                .query_map([point.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?
                .collect()
        })?;
        for (number, hashes) in inventories {
            let mut artifacts = (0..).zip(&mut details.artifacts);
            let Some((_, artifact)) = artifacts.find(|(at, _)| *at == number) else {
                return Ok(None);
            };
            let is_tree = matches!(
                artifact.proof.fingerprint,
                crate::fingerprint::Fingerprint::Files(_)
            );
            if is_tree && !with_files {
                continue;
            }
            let Some(blocks) = self.blocks(&hashes)? else {
                return Ok(None);
            };
            let inventory = match (is_tree, blocks.as_slice()) {
                (true, _) => {
                    Entries::from_blocks(blocks).map(|entries| Inventory::Files { entries })
                }
                (false, [block]) => zstd::stream::decode_all(&**block)
                    .ok()
                    .and_then(|json| serde_json::from_slice(&json).ok()),
                (false, _) => None,
            };
            let Some(inventory) = inventory else {
                return Ok(None);
            };
            artifact.proof.inventory = inventory;
        }
        Ok(Some(details))
    }

    /// Reads blocks by their hashes, in order; `None` when one is missing or damaged.
    fn blocks(&self, hashes: &[u8]) -> Result<Option<Vec<Arc<[u8]>>>> {
        let blocks: Option<Vec<Vec<u8>>> = self.run(|c| {
            let mut select = c.prepare("SELECT bytes FROM block WHERE sha256 = ?1")?;
            let hashes = hashes.chunks(HASH_BYTES);
            hashes
                .map(|hash| select.query_row([hash], |r| r.get(0)).optional())
                .collect()
        })?;
        let are_whole = |blocks: &Vec<Vec<u8>>| {
            let mut pairs = blocks.iter().zip(hashes.chunks(HASH_BYTES));
            pairs.all(|(block, hash)| Sha256::digest(block).as_slice() == hash)
        };
        let blocks = blocks.filter(are_whole);
        Ok(blocks.map(|blocks| blocks.into_iter().map(Arc::from).collect()))
    }

    /// Proof of this artifact in one of the newest noted points of a store, without its inventory,
    /// if it was noted here.
    pub fn previous_proof(&self, location: &str, source: &str, artifact: &str) -> Option<Proof> {
        let rows: Vec<Vec<u8>> = self
            .run(|c| {
                c.prepare(
                    "SELECT json FROM outline WHERE point IN (SELECT point FROM manifest
                        WHERE location = ?1 ORDER BY point DESC LIMIT 20) ORDER BY point DESC",
                )?
                .query_map([location], |r| r.get(0))?
                .collect()
            })
            .ok()?;
        rows.iter()
            .find_map(|outline| Some(parse(outline)?.artifact(source, artifact)?.proof.clone()))
    }

    /// Drops the details of points that no store holds any more, and the blocks that become unused.
    pub(super) fn drop_details(&self) -> Result<()> {
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let gone = "WHERE point NOT IN (SELECT point FROM manifest)";
            transaction.execute(&format!("DELETE FROM outline {gone}"), [])?;
            if transaction.execute(&format!("DELETE FROM inventory {gone}"), [])? > 0 {
                drop_unused(&transaction)?;
            }
            transaction.commit()
        })
    }
}

/// Drops blocks that no inventory names.
fn drop_unused(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut used: HashSet<[u8; HASH_BYTES]> = HashSet::new();
    let mut lists = transaction.prepare("SELECT blocks FROM inventory")?;
    let mut rows = lists.query([])?;
    while let Some(row) = rows.next()? {
        let list: Vec<u8> = row.get(0)?;
        let hashes = list.chunks(HASH_BYTES);
        used.extend(hashes.filter_map(|hash| <[u8; HASH_BYTES]>::try_from(hash).ok()));
    }
    let kept: Vec<Vec<u8>> = transaction
        .prepare("SELECT sha256 FROM block")?
        .query_map([], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut delete = transaction.prepare("DELETE FROM block WHERE sha256 = ?1")?;
    for hash in kept {
        let named = <[u8; HASH_BYTES]>::try_from(hash.as_slice());
        if named.map_or(true, |hash| !used.contains(&hash)) {
            delete.execute([hash])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{
        BytesFingerprint, DatabaseInventory, FileEntry, FileKind, FilesFingerprint, Fingerprint,
        TablesFingerprint,
    };
    use crate::name::Name;
    use crate::point::DetailsArtifact;
    use std::collections::BTreeMap;
    use std::path::Path;

    const FILES: u64 = 20_000;

    fn artifact(
        source: &'static str,
        fingerprint: Fingerprint,
        inventory: Inventory,
    ) -> DetailsArtifact {
        DetailsArtifact {
            source: Name::own(source),
            name: Name::own("it"),
            bytes: 5,
            sha256: String::new(),
            proof: Proof {
                fingerprint,
                inventory,
            },
            skipped: Vec::new(),
            tools: BTreeMap::new(),
            answers: BTreeMap::new(),
            roots: Vec::new(),
            attributes: None,
            settings: None,
            changes: None,
        }
    }

    /// Details of three artifacts. One of the files is new in each point.
    fn details(point: &PointId, new: u64) -> Details {
        let entry = |n: u64| FileEntry {
            path: format!("d{:03}/f{n:06}", n / 100),
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: if n == new { 9 } else { 1 },
            bytes: n,
            hash: format!(
                "{:032x}",
                u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15 << 60)
            ),
            link: None,
            xattrs: None,
        };
        let entries = (0..FILES).map(entry).collect();
        let objects = BTreeMap::from([("view".to_owned(), BTreeMap::new())]);
        let database = Inventory::Database(DatabaseInventory {
            objects,
            ..DatabaseInventory::default()
        });
        let tables = Fingerprint::Tables(TablesFingerprint::default());
        let bytes = Fingerprint::Bytes(BytesFingerprint {
            length: new,
            sha256: String::new(),
        });
        let files = Fingerprint::Files(FilesFingerprint::default());
        Details {
            schema: 1,
            point: point.clone(),
            artifacts: vec![
                artifact("out", bytes, Inventory::None),
                artifact("tree", files, Inventory::Files { entries }),
                artifact("db", tables, database),
            ],
            warnings: vec!["odd".into()],
            errors: Vec::new(),
        }
    }

    fn point(number: u64) -> PointId {
        PointId::parse(&format!("20261120T0600{number:02}Z-0001")).unwrap()
    }

    fn open(directory: &Path) -> Catalog {
        Catalog::open(&directory.join("catalog")).unwrap()
    }

    fn blocks(catalog: &Catalog) -> i64 {
        let count = "SELECT count(*) FROM block";
        catalog
            .run(|c| c.query_row(count, [], |r| r.get(0)))
            .unwrap()
    }

    fn put_manifest(catalog: &Catalog, point: &PointId) {
        let insert = "INSERT INTO manifest VALUES ('here', ?1, x'00', NULL)";
        catalog
            .run(|c| c.execute(insert, [point.as_str()]))
            .unwrap();
    }

    #[test]
    fn shared_blocks_are_kept_once_and_dropped_with_the_last_point() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = open(directory.path());
        catalog.note_details(&details(&point(0), FILES)).unwrap();
        let first = blocks(&catalog);
        assert!(first > 10, "{first}");
        for number in 1..10 {
            put_manifest(&catalog, &point(number));
            catalog
                .note_details(&details(&point(number), number * 1999))
                .unwrap();
        }
        assert!(blocks(&catalog) <= first + 9, "{}", blocks(&catalog));
        for number in 1..10 {
            let known = details(&point(number), number * 1999);
            assert_eq!(catalog.details(&point(number)).unwrap(), Some(known));
        }
        let outline = catalog.outline(&point(3)).unwrap().unwrap();
        assert_eq!(outline.artifacts[1].proof.inventory, Inventory::None);
        assert_eq!(outline.warnings, ["odd"]);
        let captured = catalog.captured_bytes().unwrap();
        let bytes = |number| {
            let artifacts = details(&point(number), number * 1999).artifacts;
            artifacts.iter().map(|a| a.bytes).sum::<u64>()
        };
        assert_eq!(captured.len(), 10);
        assert_eq!(captured.get(&point(3)), Some(&bytes(3)));
        let proof = catalog.previous_proof("here", "out", "it").unwrap();
        let newest = details(&point(9), 9 * 1999).artifacts.remove(0).proof;
        assert_eq!(proof, newest);

        // No store has the first one.
        catalog.drop_details().unwrap();
        assert_eq!(catalog.details(&point(0)).unwrap(), None);
        assert!(catalog.details(&point(1)).unwrap().is_some());
        // The rules deleted another.
        catalog.drop_pruned("here", &[&point(2)]).unwrap();
        assert_eq!(catalog.details(&point(2)).unwrap(), None);
        assert!(catalog.details(&point(1)).unwrap().is_some());
        catalog
            .run(|c| c.execute("DELETE FROM manifest", []))
            .unwrap();
        catalog.drop_details().unwrap();
        assert_eq!(blocks(&catalog), 0);
        assert_eq!(catalog.outline(&point(1)).unwrap(), None);
    }

    #[test]
    fn the_size_of_a_point_with_a_long_outline_is_known_beside_a_damaged_one() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = open(directory.path());
        let mut long = details(&point(0), 1);
        long.warnings = vec!["odd ".repeat(OUTLINE_BYTES)];
        for details in [&long, &details(&point(1), 1), &details(&point(2), 1)] {
            catalog.note_details(details).unwrap();
        }
        let damage = "UPDATE outline SET json = x'7b' WHERE point = ?1";
        catalog
            .run(|c| c.execute(damage, [point(1).as_str()]))
            .unwrap();
        let bytes = long.artifacts.iter().map(|a| a.bytes).sum::<u64>();
        let captured = catalog.captured_bytes().unwrap();
        let expected = BTreeMap::from([(point(0), bytes), (point(2), bytes)]);
        assert_eq!(captured, expected);
    }

    #[test]
    fn damaged_details_read_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = open(directory.path());
        catalog.note_details(&details(&point(0), 1)).unwrap();
        let cut = "UPDATE block SET bytes = substr(bytes, 1, length(bytes) - 1)
            WHERE rowid = (SELECT max(rowid) FROM block)";
        catalog.run(|c| c.execute(cut, [])).unwrap();
        assert_eq!(catalog.details(&point(0)).unwrap(), None);
        assert!(catalog.outline(&point(0)).unwrap().is_some());
        catalog.note_details(&details(&point(1), 1)).unwrap();
    }

    #[test]
    fn notes_of_older_versions_are_converted() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = open(directory.path());
        let old = "CREATE TABLE details (point TEXT PRIMARY KEY, json BLOB NOT NULL)";
        catalog.run(|c| c.execute(old, [])).unwrap();
        for number in 0..3 {
            let details = details(&point(number), number);
            let json = crate::document::to_json(&details).unwrap();
            let insert = "INSERT INTO details VALUES (?1, ?2)";
            catalog
                .run(|c| c.execute(insert, params![point(number).as_str(), json]))
                .unwrap();
        }
        let damaged = "INSERT INTO details VALUES ('20261120T060009Z-0001', x'7b')";
        catalog.run(|c| c.execute(damaged, [])).unwrap();
        drop(catalog);
        let size = || {
            std::fs::metadata(directory.path().join("catalog"))
                .unwrap()
                .len()
        };
        let before = size();
        let catalog = open(directory.path());
        for number in 0..3 {
            let known = details(&point(number), number);
            assert_eq!(catalog.details(&point(number)).unwrap(), Some(known));
        }
        assert_eq!(catalog.outline(&point(9)).unwrap(), None);
        drop(catalog);
        assert!(size() < before / 5, "{} of {before}", size());
    }
}
