use super::*;
use crate::document::assert_document;
use crate::evidence::{ChainReport, sample};
use crate::exit::Exit;
use crate::probe::Subject;

fn listed() -> Listed {
    Listed {
        record: sample(),
        key: "lifeboat/evidence/s/1.json".to_owned(),
        distrust: None,
    }
}

const RECORD: &str = r#"{
  "schema": 1,
  "id": "20261120T070000Z-0001",
  "sequence": 1,
  "previous": [],
  "signer": "SHA256:abc",
  "activity": "restore",
  "app": "crm",
  "environment": "production",
  "author": "ops",
  "host": "web1",
  "lifeboat": "0.1.0",
  "target": "out",
  "points": [
    {
      "point": "20261120T060000Z-7f3a",
      "plan": "hourly",
      "store": "disk",
      "sources": [
        "db"
      ]
    }
  ],
  "started": "2026-11-20T07:00:00Z",
  "finished": "2026-11-20T07:00:03Z",
  "outcome": "verified",
  "checks": [
    {
      "name": "sql db",
      "expected": "> 0",
      "observed": "3",
      "outcome": "passed"
    }
  ],
  "limits_count": 1,
  "phases": [
    {
      "name": "fetch",
      "seconds": 1.0
    }
  ],
  "rto_seconds": 2.5,
  "rpo_seconds": 3600.0,
  "limits": [
    "ownership"
  ],
  "key": "lifeboat/evidence/s/1.json",
  "trusted": true"#;

#[test]
fn the_document_of_a_record() {
    let shown = Shown {
        record: listed(),
        sealed: None,
    };
    let text = serde_json::to_string_pretty(&shown).unwrap();
    assert_eq!(text, format!("{RECORD},\n  \"sealed\": null\n}}"));
}

#[test]
fn the_document_of_all_records() {
    let records = Records {
        evidence: vec![listed()],
        errors: vec![Error::new(Code::Store, "x")],
    };
    let record = format!("{RECORD}\n}}").replace('\n', "\n    ");
    let expected = format!(
        r#"{{
  "schema": 1,
  "evidence": [
    {record}
  ],
  "errors": [
    {{
      "code": "store",
      "message": "x",
      "cause": null,
      "hint": null
    }}
  ]
}}"#
    );
    assert_document(records, &expected);
}

#[test]
fn a_check_shows_what_differs_and_how_much_more() {
    let difference = |subject: &str| Difference {
        subject: subject.to_owned(),
        expected: "3 rows".to_owned(),
        observed: "2 rows".to_owned(),
    };
    let differences = [difference("table users"), difference("table orders")];
    let subject = Subject::content("db");
    let mut check =
        CheckResult::differing(subject, "as captured", &differences, |d| d.subject.clone());
    check.listed.truncate(1);
    check.code = Some("not-proved".to_owned());
    let expected = r#"{
  "name": "db: content",
  "expected": "as captured",
  "observed": "2 differences: table users; table orders",
  "outcome": "failed",
  "code": "not-proved",
  "differences": 2,
  "listed": [
    {
      "subject": "table users",
      "expected": "3 rows",
      "observed": "2 rows"
    }
  ],
  "unlisted": 1
}"#;
    let text = serde_json::to_string_pretty(&ShownCheck::from(&check)).unwrap();
    assert_eq!(text, expected);
}

#[test]
fn a_record_is_found_by_the_beginning_of_its_id() {
    let find = |id: &str| one(vec![listed(), listed()], id).unwrap_err().code;
    assert_eq!(find("2026"), Code::PointAmbiguous);
    assert_eq!(find("2025"), Code::PointUnknown);
    let found = one(vec![listed()], "20261120T07").unwrap();
    assert_eq!(found.key, listed().key);
}

#[test]
fn the_document_of_verified_chains() {
    let report = ChainReport {
        records: 2,
        unread: vec!["store disk: x".to_owned()],
        ..ChainReport::default()
    };
    let expected = r#"{
  "schema": 1,
  "outcome": "unread",
  "records": 2,
  "problems": [],
  "unread": [
    "store disk: x"
  ],
  "notes": []
}"#;
    assert_document(report.document(), expected);
    assert_eq!(report.outcome().exit(), Exit::Failed);
    let damaged = ChainReport {
        problems: vec!["x".to_owned()],
        ..report
    };
    assert_eq!(damaged.outcome().exit(), Exit::NotProved);
    assert_eq!(ChainReport::default().outcome().exit(), Exit::Done);
}
