#![allow(clippy::disallowed_methods)]

use super::*;
use crate::document::assert_document;
use crate::kind::Kind;

fn point(hour: &str, from_catalog: bool) -> DiffPoint {
    DiffPoint {
        point: PointId::parse(&format!("20261120T{hour}0000Z-7f3a")).unwrap(),
        plan: Name::own("hourly"),
        started: format!("2026-11-20T{hour}:00:00Z").parse().unwrap(),
        outcome: Outcome::Complete,
        store: Name::own("disk"),
        from_catalog,
    }
}

#[test]
fn the_document_of_a_diff() {
    let mut tables = TablesDiff {
        equal: 3,
        rows: Totals {
            before: 50,
            after: 40,
        },
        ..TablesDiff::default()
    };
    tables.changed.push(20, || TableChange {
        table: "public.client".to_owned(),
        rows_before: Some(50),
        rows_after: Some(40),
        bytes_before: Some(500),
        bytes_after: Some(400),
    });
    tables.kinds.push(ObjectKind {
        kind: "index".to_owned(),
        before: 2,
        after: 1,
        redefined: Some(0),
    });
    let mut files = FilesDiff::default();
    for path in ["a", "b"] {
        files.entries.push(Change::Added, 1, || Entry {
            path: path.to_owned(),
            kind: Some(FileKind::File),
            bytes_before: None,
            bytes_after: Some(5),
        });
    }
    assert_eq!(files.entries.added.unlisted(), 1);
    let source = |name: &'static str, kind| DiffSource {
        source: Name::own(name),
        kind: StoredKind::Known(kind),
        equal: false,
        tables: None,
        files: None,
        objects: None,
        streams: BTreeMap::new(),
        limits: Vec::new(),
    };
    let diff = Diff {
        app: Name::own("crm"),
        environment: Name::own("production"),
        before: point("05", true),
        after: point("06", false),
        only_before: vec![Name::own("vault")],
        only_after: Vec::new(),
        sources: vec![
            DiffSource {
                tables: Some(tables),
                ..source("db", Kind::Sqlite)
            },
            DiffSource {
                files: Some(files),
                ..source("files", Kind::Files)
            },
        ],
    };
    assert_document(diff, EXPECTED);
}

const EXPECTED: &str = r#"{
  "schema": 1,
  "app": "crm",
  "environment": "production",
  "before": {
    "point": "20261120T050000Z-7f3a",
    "plan": "hourly",
    "started": "2026-11-20T05:00:00Z",
    "outcome": "complete",
    "store": "disk",
    "from_catalog": true
  },
  "after": {
    "point": "20261120T060000Z-7f3a",
    "plan": "hourly",
    "started": "2026-11-20T06:00:00Z",
    "outcome": "complete",
    "store": "disk",
    "from_catalog": false
  },
  "only_before": [
    "vault"
  ],
  "only_after": [],
  "sources": [
    {
      "source": "db",
      "kind": "sqlite",
      "equal": false,
      "tables": {
        "added": {
          "count": 0,
          "listed": []
        },
        "removed": {
          "count": 0,
          "listed": []
        },
        "changed": {
          "count": 1,
          "listed": [
            {
              "table": "public.client",
              "rows_before": 50,
              "rows_after": 40,
              "bytes_before": 500,
              "bytes_after": 400
            }
          ]
        },
        "equal": 3,
        "rows": {
          "before": 50,
          "after": 40
        },
        "kinds": [
          {
            "kind": "index",
            "before": 2,
            "after": 1,
            "redefined": 0
          }
        ]
      },
      "files": null,
      "objects": null,
      "streams": {},
      "limits": []
    },
    {
      "source": "files",
      "kind": "files",
      "equal": false,
      "tables": null,
      "files": {
        "added": {
          "count": 2,
          "listed": [
            {
              "path": "a",
              "type": "file",
              "bytes_before": null,
              "bytes_after": 5
            }
          ]
        },
        "removed": {
          "count": 0,
          "listed": []
        },
        "changed": {
          "count": 0,
          "listed": []
        },
        "metadata": {
          "count": 0,
          "listed": []
        },
        "files": {
          "before": 0,
          "after": 0
        },
        "bytes": {
          "before": 0,
          "after": 0
        }
      },
      "objects": null,
      "streams": {},
      "limits": []
    }
  ]
}"#;
