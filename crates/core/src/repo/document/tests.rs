use super::*;
use crate::document::assert_document;
use crate::exit::Exit;
use crate::repo::forget::Judged;
use crate::repo::totals::Totals;
use lifeboat_repository::backup::{self, Excludes, How, Options, Outcome};
use lifeboat_repository::browse::Change;
use lifeboat_repository::repair::snapshots as mend;
use lifeboat_repository::rewrite::{self, Became};
use lifeboat_repository::snapshot::{Group, Summary};
use lifeboat_repository::tree::{Node, NodeKind};
use lifeboat_repository::{Named, check, copy, prune, repair, restore};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An id of one digit, sixty-four times.
fn id(digit: char) -> Id {
    digit.to_string().repeat(64).parse().unwrap()
}

/// The text of a document in which an id of one digit is written as that digit alone.
#[track_caller]
fn assert_short(body: impl Serialize, expected: &str) {
    let mut expected = expected.to_owned();
    for digit in ["1", "2", "3", "4"] {
        let short = format!("\"{digit}\"");
        expected = expected.replace(&short, &format!("\"{}\"", digit.repeat(64)));
    }
    assert_document(body, &expected);
}

fn snapshot() -> Named {
    let stored = r#"{
        "time": "2026-11-20T06:00:00Z", "tree": "TREE", "paths": ["/srv"], "hostname": "web1",
        "program_version": "restic 0.18.0", "id": "forged"
    }"#;
    let stored = stored.replace("TREE", &"2".repeat(64));
    (id('1'), serde_json::from_str(&stored).unwrap())
}

const SNAPSHOT: &str = r#"{
  "id": "1",
  "short_id": "11111111",
  "time": "2026-11-20T06:00:00Z",
  "tree": "2",
  "paths": [
    "/srv"
  ],
  "hostname": "web1",
  "program_version": "restic 0.18.0"
}"#;

fn within(text: &str, spaces: usize) -> String {
    text.replace('\n', &format!("\n{}", " ".repeat(spaces)))
}

#[test]
fn the_document_of_a_new_repository() {
    let made = Made {
        repository: "file:///srv/repo".to_owned(),
        id: "abc".to_owned(),
    };
    let expected = r#"{
  "schema": 1,
  "repository": "file:///srv/repo",
  "id": "abc"
}"#;
    assert_document(made, expected);
}

#[test]
fn the_document_of_snapshots() {
    let one = snapshot();
    let snapshots: Snapshots = [&one].into_iter().collect();
    let expected = format!(
        "{{\n  \"schema\": 1,\n  \"snapshots\": [\n    {}\n  ]\n}}",
        within(SNAPSHOT, 4)
    );
    assert_short(snapshots, &expected);
}

fn node() -> Node {
    Node {
        mode: 0o777,
        mtime: "2026-11-20T06:00:00Z".parse().unwrap(),
        uid: 1000,
        gid: 100,
        link_target: b"b".to_vec(),
        ..Node::new(b"a\n\xff", NodeKind::Symlink)
    }
}

const ENTRY: &str = r#"{
  "path": "/srv/a\\n\\xff",
  "name": "a\\n\\xff",
  "type": "symlink",
  "mode": "0777",
  "uid": 1000,
  "gid": 100,
  "size": 0,
  "mtime": "2026-11-20T06:00:00Z",
  "link_target": "b""#;

#[test]
fn the_documents_of_entries() {
    let entry = Entry::new(b"/srv/a\n\xff", &node());
    let entries = Entries {
        entries: vec![entry.clone()],
    };
    let expected = format!(
        "{{\n  \"schema\": 1,\n  \"entries\": [\n    {}\n    }}\n  ]\n}}",
        within(ENTRY, 4)
    );
    assert_document(entries, &expected);
    let snapshot = id('1');
    let found = Found {
        found: vec![FoundEntry { entry, snapshot }],
    };
    let expected = format!(
        "{{\n  \"schema\": 1,\n  \"found\": [\n    {},\n      \"snapshot\": \"1\"\n    }}\n  ]\n}}",
        within(ENTRY, 4)
    );
    assert_short(found, &expected);
}

#[test]
fn the_document_of_a_difference() {
    let mut changes = Changes::default();
    changes.add(b"/srv/a", Change::Kind, &node());
    let expected = r#"{
  "schema": 1,
  "changes": [
    {
      "path": "/srv/a",
      "change": "type",
      "type": "symlink"
    }
  ]
}"#;
    assert_document(changes, expected);
}

#[test]
fn the_document_of_totals() {
    let totals = Totals {
        snapshots: 1,
        files: 2,
        restored_bytes: 3,
        blobs: 4,
        blob_bytes: 5,
        stored_bytes: 6,
    };
    let expected = r#"{
  "schema": 1,
  "snapshots": 1,
  "files": 2,
  "restored_bytes": 3,
  "blobs": 4,
  "blob_bytes": 5,
  "stored_bytes": 6
}"#;
    assert_document(totals, expected);
}

const AT: &str = "2026-11-20T06:00:00Z";

fn engine_report(outcome: Outcome) -> backup::Report {
    backup::Report {
        outcome,
        snapshot: id('1'),
        tree: id('2'),
        added: Default::default(),
        summary: Summary {
            backup_start: AT.parse().unwrap(),
            backup_end: AT.parse().unwrap(),
            ..Summary::default()
        },
        files: 1,
        files_unmodified: 0,
        directories: 2,
        bytes: 3,
        skipped: vec![backup::Skipped {
            path: PathBuf::from("/srv/gone"),
            error: std::io::Error::other("it is gone"),
        }],
        set_aside: vec![PathBuf::from("/srv/.lifeboat-aside")],
        parent: None,
        unread: None,
    }
}

fn options(dry_run: bool) -> Options {
    Options {
        paths: Vec::new(),
        directory: PathBuf::from("/"),
        parent: None,
        time: AT.parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        hostname: "web1".to_owned(),
        username: "ops".to_owned(),
        tags: Vec::new(),
        one_file_system: false,
        excludes: Excludes::default(),
        program: "lifeboat".into(),
        patience: Duration::ZERO,
        how: How {
            dry_run,
            ..How::default()
        },
    }
}

#[test]
fn the_document_of_a_saved_snapshot() {
    let report = engine_report(Outcome::Stored);
    let saved = Saved::new(&report, &options(false), Duration::from_millis(1500));
    assert_eq!(saved.exit(), Exit::Partial);
    let text = serde_json::to_string_pretty(&saved).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let summary = serde_json::to_string_pretty(&value["summary"]).unwrap();
    let expected = r#"{
  "schema": 1,
  "dry_run": false,
  "unchanged": false,
  "snapshot": "1",
  "parent": null,
  "tree": "2",
  "files": 1,
  "files_unmodified": 0,
  "directories": 2,
  "bytes": 3,
  "added": {
    "data_blobs": 0,
    "tree_blobs": 0,
    "bytes": 0,
    "stored_bytes": 0
  },
  "summary": SUMMARY,
  "seconds": 1.5,
  "skipped": [
    {
      "path": "/srv/gone",
      "error": "it is gone"
    }
  ],
  "set_aside": [
    "/srv/.lifeboat-aside"
  ]
}"#;
    assert_short(saved, &expected.replace("SUMMARY", &within(&summary, 2)));
    let tried = engine_report(Outcome::Tried);
    let tried = serde_json::to_value(Saved::new(&tried, &options(true), Duration::ZERO)).unwrap();
    assert!(
        tried["snapshot"].is_null() && tried["dry_run"] == true,
        "{tried}"
    );
}

#[test]
fn the_document_of_a_restored_snapshot() {
    let report = restore::Report {
        files: 1,
        bytes: 2,
        ..restore::Report::default()
    };
    let restored = Restored::new(id('1'), Path::new("/tmp/out"), false, &report);
    assert_eq!(restored.exit(), Exit::Done);
    let expected = r#"{
  "schema": 1,
  "snapshot": "1",
  "target": "/tmp/out",
  "dry_run": false,
  "files": 1,
  "bytes": 2,
  "bytes_reused": 0,
  "unchanged": 0,
  "skipped": 0,
  "directories": 0,
  "specials": 0,
  "hard_links": 0,
  "deleted": 0,
  "verified": 0,
  "owners_unset": 0,
  "failed": []
}"#;
    assert_short(restored, expected);
}

#[test]
fn the_document_of_a_check() {
    let report = check::Report {
        snapshots: 1,
        unknown_packs: vec![id('1')],
        ..check::Report::default()
    };
    let checked = Checked::new(&report, 3);
    assert_eq!(checked.exit(), Exit::Done);
    let expected = r#"{
  "schema": 1,
  "snapshots": 1,
  "trees": 0,
  "packs": 0,
  "packs_read": 0,
  "packs_verified_before": 3,
  "bytes_read": 0,
  "unknown_packs": [
    "1"
  ],
  "errors": []
}"#;
    assert_short(checked, expected);
    let mut wrong = report;
    wrong.errors.push(lifeboat_repository::Error::Changed);
    assert_eq!(Checked::new(&wrong, 0).exit(), Exit::NotProved);
}

#[test]
fn the_document_of_what_is_kept_and_freed() {
    let one = snapshot();
    let judged = Judged {
        group: Group {
            host: Some("web1".to_owned()),
            ..Group::default()
        },
        kept: vec![(&one, vec!["last".to_owned()])],
        removed: vec![&one],
    };
    let expected = r#"{
  "schema": 1,
  "dry_run": true,
  "groups": [
    {
      "group": {
        "host": "web1"
      },
      "keep": [
        {
          "snapshot": KEPT,
          "reasons": [
            "last"
          ]
        }
      ],
      "remove": [
        REMOVED
      ]
    }
  ],
  "prune": null
}"#;
    let expected = expected
        .replace("KEPT", &within(SNAPSHOT, 10))
        .replace("REMOVED", &within(SNAPSHOT, 8));
    assert_short(Forgotten::new(true, &[judged], None), &expected);

    let pruned = Pruned::new(true, &prune::Report::default());
    let packs = "{\n    \"packs\": 0,\n    \"bytes\": 0\n  }";
    let expected = r#"{
  "snapshots": 0,
  "kept": PACKS,
  "unused_bytes": 0,
  "repacked": PACKS,
  "marked": PACKS,
  "recovered": PACKS,
  "waiting": PACKS,
  "deleted": PACKS,
  "missing": 0,
  "schema": 1,
  "dry_run": true
}"#;
    let text = serde_json::to_string_pretty(&pruned).unwrap();
    assert_eq!(text, expected.replace("PACKS", packs));
}

#[test]
fn the_documents_of_snapshots_that_were_copied_or_tagged() {
    let copied = copy::Report {
        copied: vec![(id('1'), id('2'))],
        there: vec![id('3')],
        ..copy::Report::default()
    };
    let expected = r#"{
  "schema": 1,
  "copied": [
    {
      "from": "1",
      "to": "2"
    }
  ],
  "there": [
    "3"
  ],
  "stored_bytes": 0
}"#;
    assert_short(Copied::from(&copied), expected);

    let tagged = Tagged::from([(id('1'), id('2'))].as_slice());
    let expected = r#"{
  "schema": 1,
  "changed": [
    {
      "from": "1",
      "to": "2"
    }
  ]
}"#;
    assert_short(tagged, expected);
}

#[test]
fn the_documents_of_snapshots_that_new_ones_were_made_of() {
    let report = rewrite::Report {
        snapshots: vec![
            (id('1'), Became::Same),
            (id('1'), Became::New(None)),
            (id('1'), Became::Earlier(id('2'))),
        ],
        ..rewrite::Report::default()
    };
    let expected = r#"{
  "schema": 1,
  "dry_run": true,
  "snapshots": [
    {
      "snapshot": "1",
      "became": "same"
    },
    {
      "snapshot": "1",
      "became": "new",
      "new": null
    },
    {
      "snapshot": "1",
      "became": "earlier",
      "new": "2"
    }
  ],
  "stored_bytes": 0
}"#;
    assert_short(Rewritten::new(true, &report), expected);

    let report = mend::Report {
        snapshots: vec![(id('1'), Became::Nothing)],
        ..mend::Report::default()
    };
    let expected = r#"{
  "schema": 1,
  "dry_run": false,
  "snapshots": [
    {
      "snapshot": "1",
      "became": "nothing"
    }
  ],
  "mended": [],
  "stored_bytes": 0
}"#;
    assert_short(Repaired::new(false, &report), expected);
}

#[test]
fn the_document_of_a_repaired_index() {
    let report = repair::Report {
        packs: 1,
        ..repair::Report::default()
    };
    let repaired = IndexRepaired::from(&report);
    assert_eq!(repaired.exit(), Exit::Done);
    let expected = r#"{
  "schema": 1,
  "packs": 1,
  "replaced": 0,
  "saved_blobs": 0,
  "damaged": []
}"#;
    assert_document(repaired, expected);
}

#[test]
fn the_documents_of_keys_locks_and_mounts() {
    let keys = Keys {
        keys: vec![Key {
            id: id('1'),
            current: true,
            user: "ops".to_owned(),
            host: "web1".to_owned(),
            created: "2026-11-20T06:00:00Z".to_owned(),
        }],
    };
    let expected = r#"{
  "schema": 1,
  "keys": [
    {
      "id": "1",
      "current": true,
      "user": "ops",
      "host": "web1",
      "created": "2026-11-20T06:00:00Z"
    }
  ]
}"#;
    assert_short(keys, expected);
    let added = "{\n  \"schema\": 1,\n  \"added\": \"1\"\n}";
    assert_short(KeyChanged::Added(id('1')), added);
    let removed = "{\n  \"schema\": 1,\n  \"removed\": \"1\"\n}";
    assert_short(KeyChanged::Removed(id('1')), removed);
    let unlocked = Unlocked {
        removed: vec![id('1')],
    };
    let expected = "{\n  \"schema\": 1,\n  \"removed\": [\n    \"1\"\n  ]\n}";
    assert_short(unlocked, expected);
    let mounted = "{\n  \"schema\": 1,\n  \"snapshots\": 2\n}";
    assert_document(Mounted { snapshots: 2 }, mounted);
}
