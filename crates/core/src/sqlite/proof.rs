//! Proves the content of a SQLite database through SQL.
//!
//! Every ordinary table is hashed row by row, including shadow tables of virtual ones. A virtual
//! table itself is not read, since its module may be missing here; a limit names it. Another
//! collation stands in for a missing one: the order of rows does not change their sum. Row numbers
//! count only if they are a column (`INTEGER PRIMARY KEY`), because VACUUM renumbers rows.

use super::check::stand_in_for_collations;
use super::{open_still, quoted};
use crate::digest::hex;
use crate::fingerprint::{
    DatabaseInventory, Fingerprint, Inventory, Proof, RowSum, TableFingerprint, TablesFingerprint,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows are hashed as, for each value: its type (`n`, `i`, `r`, `t`, `b`), then eight bytes
/// little-endian (an integer, the bits of a real, or the length of a text or blob; nothing for
/// NULL), then the bytes of the text or blob.
const ALGORITHM: &str = "xxh3-128-sum/sqlite-value";

/// The proof of the database at `path`, which nobody may be writing; `limits` are those of its
/// check.
pub(crate) fn proof(path: &Path, limits: Vec<String>) -> rusqlite::Result<Proof> {
    let database = &open_still(path)?;
    stand_in_for_collations(database)?;
    let mut fingerprint = TablesFingerprint {
        algorithm: ALGORITHM.into(),
        limits,
        ..TablesFingerprint::default()
    };
    let objects = objects(database)?;
    for (kind, named) in &objects {
        fingerprint.objects.insert(kind.clone(), named.len() as u64);
    }
    // Violations may be in the source already: equal numbers pass.
    match foreign_key_violations(database) {
        Ok(0) => {}
        Ok(count) => {
            let kind = "foreign-key-violation".to_owned();
            fingerprint.objects.insert(kind, count);
        }
        Err(error) => fingerprint
            .limits
            .push(format!("foreign keys cannot be checked: {error}")),
    }
    let mut tables = database
        .prepare("select name, rootpage from sqlite_schema where type = 'table' order by name")?;
    let mut rows = tables.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if row.get::<_, i64>(1)? == 0 {
            fingerprint.limits.push(format!(
                "table main.{name}: a virtual table is compared by its shadow tables only"
            ));
            continue;
        }
        let sum = table(database, &name, &mut fingerprint.limits)?;
        fingerprint.tables.insert(format!("main.{name}"), sum);
    }
    Ok(Proof {
        fingerprint: Fingerprint::Tables(fingerprint),
        inventory: Inventory::Database(DatabaseInventory {
            asked: None,
            release: None,
            objects,
            sequences: BTreeMap::new(),
        }),
    })
}

/// kind → `main.NAME` → definition.
fn objects(database: &Connection) -> rusqlite::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut objects: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut schema = database.prepare("select type, name, tbl_name, sql from sqlite_schema")?;
    let mut rows = schema.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        let table: String = row.get(2)?;
        let definition = match row.get::<_, Option<String>>(3)? {
            Some(sql) => sql,
            None => format!("automatic, of table {table}"),
        };
        objects
            .entry(kind)
            .or_default()
            .insert(format!("main.{name}"), definition);
    }
    let pragmas = objects.entry("pragma".into()).or_default();
    for name in ["user_version", "application_id", "encoding"] {
        let value = database.pragma_query_value(None, name, |row| Ok(text(row.get_ref(0)?)))?;
        pragmas.insert(name.to_owned(), value);
    }
    Ok(objects)
}

/// Number of rows that refer to a missing row.
fn foreign_key_violations(database: &Connection) -> rusqlite::Result<u64> {
    let mut check = database.prepare("pragma foreign_key_check")?;
    let mut rows = check.query([])?;
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The columns of a table that can be asked, generated ones among them.
fn columns(database: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = format!("pragma main.table_xinfo({})", quoted(table));
    let mut info = database.prepare(&sql)?;
    let mut rows = info.query([])?;
    let mut columns = Vec::new();
    while let Some(row) = rows.next()? {
        // 1 is a hidden column of a virtual table; 2 and 3 are generated.
        if row.get::<_, i64>("hidden")? != 1 {
            columns.push(row.get("name")?);
        }
    }
    Ok(columns)
}

fn table(
    database: &Connection,
    name: &str,
    limits: &mut Vec<String>,
) -> rusqlite::Result<TableFingerprint> {
    let mut columns = columns(database, name)?;
    let select = |columns: &[String]| {
        let list: Vec<String> = columns.iter().map(|c| quoted(c)).collect();
        let list = if list.is_empty() {
            "null".to_owned()
        } else {
            list.join(", ")
        };
        database.prepare(&format!("select {list} from main.{}", quoted(name)))
    };
    let mut statement = match select(&columns) {
        Ok(statement) => statement,
        // A generated column may call a function that only the application defines.
        Err(_) => {
            let asked = std::mem::take(&mut columns);
            for column in asked {
                match select(std::slice::from_ref(&column)) {
                    Ok(_) => columns.push(column),
                    Err(error) => limits.push(format!(
                        "column main.{name}.{column} cannot be computed here: {error}"
                    )),
                }
            }
            select(&columns)?
        }
    };
    let full_name = format!("main.{name}");
    let mut sum = RowSum::new(&full_name);
    let mut canonical = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        canonical.clear();
        encode(row, columns.len(), &mut canonical)?;
        sum.add(&canonical);
    }
    Ok(TableFingerprint {
        rows: sum.rows,
        bytes: sum.bytes,
        hash: sum.hex(),
        columns,
    })
}

fn encode(row: &Row<'_>, columns: usize, canonical: &mut Vec<u8>) -> rusqlite::Result<()> {
    for column in 0..columns {
        let mut put = |tag: u8, number: [u8; 8], bytes: &[u8]| {
            canonical.push(tag);
            canonical.extend_from_slice(&number);
            canonical.extend_from_slice(bytes);
        };
        match row.get_ref(column)? {
            ValueRef::Null => canonical.push(b'n'),
            ValueRef::Integer(number) => put(b'i', number.to_le_bytes(), &[]),
            ValueRef::Real(number) => put(b'r', number.to_bits().to_le_bytes(), &[]),
            ValueRef::Text(bytes) => put(b't', (bytes.len() as u64).to_le_bytes(), bytes),
            ValueRef::Blob(bytes) => put(b'b', (bytes.len() as u64).to_le_bytes(), bytes),
        }
    }
    Ok(())
}

/// A value as text: NULL is empty, a blob is in hex.
pub(crate) fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => hex(bytes),
    }
}
