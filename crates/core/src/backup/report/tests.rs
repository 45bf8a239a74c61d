use super::*;
use crate::document::assert_document;
use crate::fingerprint::BytesFingerprint;

fn report(outcome: Outcome) -> Report {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    Report {
        schema: 1,
        point: PointId::parse("20261120T060000Z-7f3a").unwrap(),
        app: "crm".to_owned(),
        plan: "hourly".to_owned(),
        outcome,
        unchanged: false,
        reason: None,
        started: at("2026-11-20T06:00:00Z"),
        finished: at("2026-11-20T06:00:01Z"),
        seconds: 1.5,
        artifacts: vec![ReportArtifact {
            source: "vault".to_owned(),
            name: "output".to_owned(),
            bytes: 5,
            sha256: "aa".to_owned(),
            stored: vec![ReportStored {
                store: "disk".to_owned(),
                key: "k".to_owned(),
                bytes: 4,
                sha256: "bb".to_owned(),
                snapshot: None,
            }],
            fingerprint: Fingerprint::Bytes(BytesFingerprint {
                length: 5,
                sha256: "aa".to_owned(),
            }),
        }],
        stores: vec![Name::parse("disk").unwrap()],
        missing_copies: Vec::new(),
        warnings: vec!["slow".to_owned()],
        errors: Vec::new(),
        failure: None,
    }
}

#[test]
fn the_document_of_a_backup() {
    let expected = r#"{
  "schema": 1,
  "point": "20261120T060000Z-7f3a",
  "app": "crm",
  "plan": "hourly",
  "outcome": "complete",
  "unchanged": false,
  "reason": null,
  "started": "2026-11-20T06:00:00Z",
  "finished": "2026-11-20T06:00:01Z",
  "seconds": 1.5,
  "artifacts": [
    {
      "source": "vault",
      "name": "output",
      "bytes": 5,
      "sha256": "aa",
      "stored": [
        {
          "store": "disk",
          "key": "k",
          "bytes": 4,
          "sha256": "bb"
        }
      ],
      "fingerprint": {
        "length": 5,
        "sha256": "aa"
      }
    }
  ],
  "stores": [
    "disk"
  ],
  "missing_copies": [],
  "warnings": [
    "slow"
  ],
  "errors": []
}"#;
    let text = serde_json::to_string_pretty(&report(Outcome::Complete)).unwrap();
    assert_eq!(text, expected);
}

#[test]
fn the_document_of_a_backup_that_failed_ends_in_its_error() {
    let failed = Report {
        failure: Some(Error::new(Code::Interrupted, "the run was ended")),
        ..report(Outcome::Failed)
    };
    let text = serde_json::to_string_pretty(&failed).unwrap();
    let error = r#"  "errors": [],
  "error": {
    "code": "interrupted",
    "message": "the run was ended",
    "cause": null,
    "hint": null
  }
}"#;
    assert!(text.ends_with(error), "{text}");
}

#[test]
fn a_backup_ends_as_well_as_its_worst_copy() {
    let exit = |outcome, missing: &[&str], failure| {
        let missing_copies = missing.iter().filter_map(|name| Name::parse(name));
        let missing_copies = missing_copies.collect();
        let report = report(outcome);
        Report {
            missing_copies,
            failure,
            ..report
        }
        .exit()
    };
    assert_eq!(exit(Outcome::Complete, &[], None), Exit::Done);
    assert_eq!(exit(Outcome::Complete, &["disk"], None), Exit::Partial);
    assert_eq!(exit(Outcome::Partial, &[], None), Exit::Partial);
    assert_eq!(exit(Outcome::Failed, &[], None), Exit::Failed);
    let secret = Some(Error::new(Code::Secret, "x"));
    assert_eq!(exit(Outcome::Failed, &[], secret), Exit::Usage);
}

#[test]
fn the_document_of_a_planned_backup() {
    let planned = Planned {
        plan: "hourly".to_owned(),
        steps: vec!["run true".to_owned()],
    };
    let expected = r#"{
  "schema": 1,
  "plan": "hourly",
  "steps": [
    "run true"
  ]
}"#;
    assert_document(planned, expected);
}
