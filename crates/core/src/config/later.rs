//! Keys and values that the documentation names and this version lacks, in general or in one place:
//! they are reported as such rather than as unknown.

/// Advice about a key that only a later version knows in this table; the table is given by its name
/// in the schema.
pub(super) fn key(table: &str, key: &str) -> Option<&'static str> {
    Some(match (table, key) {
        ("SourceConfig", "via" | "ssh") => {
            "run lifeboat on that host, or take it with kind = \"command\", this via and a program there that prints it: command = [\"tar\", \"-C\", \"/srv\", \"-c\", \"uploads\"]"
        }
        _ => return None,
    })
}

/// New name of a key that was renamed; the table is given by its name in the schema.
pub(super) fn renamed(table: &str, key: &str) -> Option<&'static str> {
    match (table, key) {
        ("PlanConfig", "after") => Some("finally"),
        _ => None,
    }
}

/// Advice about a word that only a later version knows as this value; the value is given by its
/// name in the schema.
pub(super) fn word(value: &str, word: &str) -> Option<&'static str> {
    Some(match (value, word) {
        ("SourceConfig", "machine") => {
            "use kind = \"external\" with commands that take snapshots of it, or remove this source"
        }
        ("StoreConfig", "azure" | "gcs" | "b2" | "webdav") => {
            "use kind = \"local\" on a mounted file system, kind = \"s3\" or kind = \"sftp\""
        }
        _ => return None,
    })
}
