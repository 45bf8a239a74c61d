//! Snapshots: each records a tree, when it was backed up, and from where.

use crate::encoding::or_default;
use crate::id::Id;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::str::FromStr;

/// A snapshot as it is stored. Fields of other programs are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The time when the backup began.
    pub time: Time,
    /// The snapshot with which it was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The tree of the root directory.
    pub tree: Id,
    /// The paths that were backed up.
    #[serde(default, deserialize_with = "or_default")]
    pub paths: Vec<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The name of the user who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The id of that user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The id of that user's group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// The patterns that were excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excludes: Option<Vec<String>>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The snapshot from which this one was made by changing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// All other fields, as they were read.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The statistics of the backup that made a snapshot, as restic 0.17 and later keep them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The time when the backup began.
    pub backup_start: Time,
    /// The time when everything but the snapshot was stored.
    pub backup_end: Time,
    /// Files at paths where the parent has nothing; without a parent, all files.
    pub files_new: u64,
    /// Files that differ from the parent in any way.
    pub files_changed: u64,
    /// Files that are the same as in the parent.
    pub files_unmodified: u64,
    /// Directories at paths where the parent has nothing.
    pub dirs_new: u64,
    /// Directories that differ from the parent, or in which something differs.
    pub dirs_changed: u64,
    /// Directories that are the same as in the parent.
    pub dirs_unmodified: u64,
    /// Blobs of data that were stored.
    pub data_blobs: u64,
    /// Trees that were stored.
    pub tree_blobs: u64,
    /// Bytes of their plaintext.
    pub data_added: u64,
    /// Bytes that they take in packs.
    pub data_added_packed: u64,
    /// Files in the snapshot.
    pub total_files_processed: u64,
    /// Total size of these files.
    pub total_bytes_processed: u64,
}

/// The field of a snapshot that holds its summary.
const SUMMARY: &str = "summary";

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Snapshot {
    /// The summary, if the snapshot has one.
    pub fn summary(&self) -> Option<Summary> {
        let summary = self.others.get(SUMMARY)?;
        serde_json::from_value(summary.clone()).ok()
    }

    /// Sets the summary. Unknown fields of an existing summary are kept.
    pub fn set_summary(&mut self, summary: &Summary) {
        let kept = self
            .others
            .entry(SUMMARY)
            .or_insert_with(|| Map::new().into());
        match (serde_json::to_value(summary), kept) {
            (Ok(Value::Object(new)), Value::Object(kept)) => kept.extend(new),
            (new, kept) => *kept = new.unwrap_or_default(),
        }
    }

    /// Returns whether the snapshot has all of `tags`. An empty tag stands for having none.
    pub fn has_tags(&self, tags: &[String]) -> bool {
        let own = self.tags.as_deref().unwrap_or_default();
        tags.iter().all(|tag| own.contains(tag))
            || tags.iter().any(String::is_empty) && own.is_empty()
    }

    /// Returns whether all of `paths` were backed up.
    pub fn has_paths(&self, paths: &[String]) -> bool {
        paths.iter().all(|path| self.paths.contains(path))
    }
}

/// A change to the tags of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagChange {
    /// Replace all tags with these.
    Set(Vec<String>),
    /// Add these tags.
    Add(Vec<String>),
    /// Remove these tags.
    Remove(Vec<String>),
}

impl Snapshot {
    /// Returns the snapshot named `id` with its tags changed; `None` if the change makes no
    /// difference.
    pub fn retagged(&self, id: &Id, change: &TagChange) -> Option<Snapshot> {
        let before = self.tags.clone().unwrap_or_default();
        let mut tags = before.clone();
        match change {
            TagChange::Set(list) => tags.clone_from(list),
            TagChange::Add(list) => {
                for tag in list {
                    if !tags.contains(tag) {
                        tags.push(tag.clone());
                    }
                }
            }
            TagChange::Remove(list) => tags.retain(|tag| !list.contains(tag)),
        }
        tags.retain(|tag| !tag.is_empty());
        (tags != before).then(|| Snapshot {
            tags: (!tags.is_empty()).then_some(tags),
            original: Some(self.original.unwrap_or(*id)),
            ..self.clone()
        })
    }
}

/// A selection of snapshots. An empty list selects any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Hosts: a snapshot must be from one of them.
    pub hosts: Vec<String>,
    /// Lists of tags: a snapshot must have all tags of one of them.
    pub tags: Vec<Vec<String>>,
    /// Paths: a snapshot must have backed up all of them.
    pub paths: Vec<String>,
}

impl Filter {
    /// Returns whether the filter selects a snapshot.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let any = |list: &[String], one: &String| list.is_empty() || list.contains(one);
        any(&self.hosts, &snapshot.hostname)
            && (self.tags.is_empty() || self.tags.iter().any(|tags| snapshot.has_tags(tags)))
            && snapshot.has_paths(&self.paths)
    }
}

/// The properties by which snapshots are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The paths that were backed up, in any order.
    pub paths: bool,
    /// The tags, in any order.
    pub tags: bool,
}

impl Default for GroupBy {
    /// Groups by host and paths.
    fn default() -> Self {
        GroupBy {
            host: true,
            paths: true,
            tags: false,
        }
    }
}

impl FromStr for GroupBy {
    type Err = String;

    /// Parses `host`, `paths` and `tags`, separated by commas; may be empty.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut by = GroupBy {
            host: false,
            paths: false,
            tags: false,
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part {
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                _ => {
                    return Err(format!(
                        "snapshots are not grouped by {part:?}; write host, paths or tags"
                    ));
                }
            }
        }
        Ok(by)
    }
}

/// The properties that the snapshots of a group share.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The host, if snapshots are grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The paths, sorted, if snapshots are grouped by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// The tags, sorted, if snapshots are grouped by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

impl GroupBy {
    /// The group of a snapshot.
    pub fn group(&self, snapshot: &Snapshot) -> Group {
        let tags = snapshot.tags.as_deref().unwrap_or_default();
        self.group_of(&snapshot.hostname, &snapshot.paths, tags)
    }

    /// The group of a snapshot that is about to be made.
    pub fn group_of(&self, host: &str, paths: &[String], tags: &[String]) -> Group {
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        Group {
            host: self.host.then(|| host.to_owned()),
            paths: self.paths.then(|| sorted(paths)),
            tags: self.tags.then(|| sorted(tags)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_survive_reading_and_writing() {
        let text = concat!(
            r#"{"time":"2026-11-21T11:42:35.145398447+01:00","tree":"9ade7fe930c42c3d9d20bd01e4511fec7ca054874eadc9eb9f237b7d7b3a7eb5","paths":["/srv"],"#,
            r#""hostname":"h","username":"root","tags":["a","b"],"program_version":"restic 0.19.1","summary":{"files_new":1,"backup_start":"2026-11-21T11:42:35Z"}}"#
        );
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert_eq!(snapshot.tags, Some(vec!["a".into(), "b".into()]));
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), text);
        let nulls = text
            .replace(r#"["/srv"]"#, "null")
            .replace(r#"["a","b"]"#, "null");
        let snapshot: Snapshot = serde_json::from_str(&nulls).unwrap();
        assert_eq!((snapshot.paths.len(), snapshot.tags), (0, None));
    }

    #[test]
    fn unknown_numbers_are_written_unchanged() {
        let text = concat!(
            r#"{"time":"2026-11-21T11:42:35Z","tree":"9ade7fe930c42c3d9d20bd01e4511fec7ca054874eadc9eb9f237b7d7b3a7eb5","#,
            r#""more":14611111111111111111111111111111111111111111111111111111111116}"#
        );
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let written = serde_json::to_string(&snapshot).unwrap();
        let again: Snapshot = serde_json::from_str(&written).unwrap();
        assert_eq!(again, snapshot);
    }

    #[test]
    fn a_summary_keeps_the_fields_of_other_programs() {
        let text = concat!(
            r#"{"time":"2026-11-21T11:42:35Z","tree":"9ade7fe930c42c3d9d20bd01e4511fec7ca054874eadc9eb9f237b7d7b3a7eb5","#,
            r#""summary":{"files_new":1,"files_seen_twice":7}}"#
        );
        let mut snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let mut summary = snapshot.summary().unwrap();
        assert_eq!((summary.files_new, summary.dirs_new), (1, 0));
        summary.dirs_new = 3;
        snapshot.set_summary(&summary);
        assert_eq!(snapshot.summary(), Some(summary));
        assert_eq!(snapshot.others["summary"]["files_seen_twice"], 7);
        snapshot.others.insert(SUMMARY.into(), 5.into());
        assert_eq!(snapshot.summary(), None);
        snapshot.set_summary(&summary);
        assert_eq!(snapshot.summary(), Some(summary));
    }
}
