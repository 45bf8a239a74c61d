//! Snapshots: which tree was backed up when, from where.

use crate::id::Id;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A snapshot as it is stored. What other programs add is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    pub time: Time,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The root directory.
    pub tree: Id,
    /// What was backed up.
    #[serde(default)]
    pub paths: Vec<String>,
    /// On which host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// By whom, as a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// And group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excludes: Option<Vec<String>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The snapshot that this was made from by changing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// Everything else, as it was read.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written_with_what_is_unknown() {
        let text = concat!(
            r#"{"time":"2026-11-21T11:42:35.145398447+01:00","tree":"9ade7fe930c42c3d9d20bd01e4511fec7ca054874eadc9eb9f237b7d7b3a7eb5","paths":["/srv"],"#,
            r#""hostname":"h","username":"root","tags":["a","b"],"program_version":"restic 0.19.1","summary":{"files_new":1,"backup_start":"2026-11-21T11:42:35Z"}}"#
        );
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert_eq!(snapshot.tags, Some(vec!["a".into(), "b".into()]));
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), text);
    }
}
