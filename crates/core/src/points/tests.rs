use super::*;
use crate::document::assert_document;
use crate::error::Code;
use crate::evidence::{Tried, Verdict};
use crate::fingerprint::{BytesFingerprint, Inventory};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn point() -> ListedPoint {
    ListedPoint {
        point: PointId::parse("20261120T060000Z-7f3a").unwrap(),
        app: name("crm"),
        environment: name("production"),
        signer: "SHA256:abc".to_owned(),
        plan: name("hourly"),
        started: at("2026-11-20T06:00:00Z"),
        unchanged_at: None,
        outcome: Outcome::Complete.into(),
        reason: Some("before the move".to_owned()),
        safety: false,
        bytes: Some(300),
        stored_bytes: Some(120),
        stores: vec![name("disk")],
        missing_copies: vec![name("offsite")],
        trusted: true,
        proof: PointProof {
            proof: Some(Verdict::Verified),
            proved_at: Some(at("2026-11-20T07:00:00Z")),
            proof_tried: Some(Tried {
                outcome: Verdict::Unverifiable,
                at: at("2026-11-20T08:00:00Z"),
            }),
        },
        missing: Vec::new(),
        ahead: false,
        disowned: false,
        leaving: Vec::new(),
        pinned: None,
        distrusted: BTreeSet::new(),
        losses: Vec::new(),
    }
}

#[test]
fn the_document_of_points() {
    let listing = Listing {
        points: vec![point()],
        overdue: vec![OverduePlan {
            plan: name("hourly"),
            why: "it is old".to_owned(),
        }],
        errors: vec![Problem::Unread(Error::new(
            Code::Store,
            "store offsite cannot be asked",
        ))],
    };
    let expected = r#"{
  "schema": 1,
  "points": [
    {
      "point": "20261120T060000Z-7f3a",
      "app": "crm",
      "environment": "production",
      "signer": "SHA256:abc",
      "plan": "hourly",
      "started": "2026-11-20T06:00:00Z",
      "unchanged_at": null,
      "outcome": "complete",
      "reason": "before the move",
      "safety": false,
      "bytes": 300,
      "stored_bytes": 120,
      "stores": [
        "disk"
      ],
      "missing_copies": [
        "offsite"
      ],
      "trusted": true,
      "proof": "verified",
      "proved_at": "2026-11-20T07:00:00Z",
      "proof_tried": {
        "outcome": "unverifiable",
        "at": "2026-11-20T08:00:00Z"
      },
      "missing": [],
      "ahead": false,
      "disowned": false,
      "leaving": [],
      "pinned": null
    }
  ],
  "overdue": [
    {
      "plan": "hourly",
      "why": "it is old"
    }
  ],
  "errors": [
    {
      "code": "store",
      "message": "store offsite cannot be asked",
      "cause": null,
      "hint": null
    }
  ]
}"#;
    assert_document(listing, expected);
}

#[test]
fn what_is_lost_or_misleads_weighs_more_than_what_was_not_read() {
    let error = || Error::new(Code::Store, "x");
    let of = |losses: &[&str], errors: Vec<Problem>| {
        let losses = losses.iter().map(|text| (*text).to_owned()).collect();
        let listing = Listing {
            points: vec![ListedPoint { losses, ..point() }],
            overdue: Vec::new(),
            errors,
        };
        (listing.exit(), listing.is_cut_short())
    };
    assert_eq!(of(&[], vec![]), (Exit::Done, false));
    let unread = || Problem::Unread(error());
    assert_eq!(of(&[], vec![unread()]), (Exit::Partial, true));
    assert_eq!(of(&["it is gone"], vec![unread()]), (Exit::NotProved, true));
    let misleads = vec![Problem::Instructions(error())];
    assert_eq!(of(&[], misleads), (Exit::NotProved, false));
}

#[test]
fn the_document_of_points_that_were_forgotten() {
    let forgot = Forgot {
        forgotten: vec![ForgottenPoint {
            point: point().point,
            was: Forgotten::Missing,
        }],
    };
    let expected = r#"{
  "schema": 1,
  "forgotten": [
    {
      "point": "20261120T060000Z-7f3a",
      "was": "missing"
    }
  ]
}"#;
    assert_document(forgot, expected);
}

const MANIFEST: &str = r#"{
  "schema": 1,
  "point": "20261120T060000Z-7f3a",
  "app": "crm",
  "environment": "production",
  "plan": "hourly",
  "host": "web1",
  "author": "ops",
  "lifeboat": "0.1.0",
  "outcome": "complete",
  "started": "2026-11-20T06:00:00Z",
  "finished": "2026-11-20T06:01:00Z",
  "store": "disk",
  "stores": [
    "disk"
  ],
  "sources": [],
  "artifacts": [],
  "details": {
    "key": "lifeboat/points/20261120T060000Z-7f3a.details.json",
    "bytes": 10,
    "sha256": "00"
  },
  "evidence": {},
  "signer": "SHA256:abc""#;

#[test]
fn the_document_of_a_point_that_is_shown() {
    let fingerprint = Fingerprint::Bytes(BytesFingerprint {
        length: 5,
        sha256: "aa".to_owned(),
    });
    let artifact = DetailsArtifact {
        source: name("vault"),
        name: name("output"),
        bytes: 5,
        sha256: "aa".to_owned(),
        proof: crate::fingerprint::Proof {
            fingerprint,
            inventory: Inventory::None,
        },
        skipped: Vec::new(),
        tools: BTreeMap::new(),
        answers: BTreeMap::new(),
        roots: vec!["/never/shown".to_owned()],
        attributes: None,
        settings: None,
        changes: None,
    };
    let manifest: Manifest = serde_json::from_str(&format!("{MANIFEST}}}")).unwrap();
    let shown = Shown {
        proof: PointProof::default(),
        copies: vec![name("disk")],
        missing_copies: Some(Vec::new()),
        details: Some(Details {
            schema: 1,
            point: manifest.point.clone(),
            artifacts: vec![artifact],
            warnings: vec!["it was slow".to_owned()],
            errors: Vec::new(),
        }),
        manifest,
        signed_inside: BTreeMap::new(),
        unsigned_inside: 0,
    };
    let known = r#",
  "proof": "none",
  "proved_at": null,
  "proof_tried": null,
  "copies": [
    "disk"
  ],
  "missing_copies": [],
  "contents": {
    "artifacts": [
      {
        "source": "vault",
        "name": "output",
        "bytes": 5,
        "sha256": "aa",
        "fingerprint": {
          "length": 5,
          "sha256": "aa"
        },
        "skipped": [],
        "tools": {},
        "answers": {}
      }
    ],
    "warnings": [
      "it was slow"
    ],
    "errors": []
  }
}"#;
    let text = serde_json::to_string_pretty(&shown).unwrap();
    assert_eq!(text, format!("{MANIFEST}{known}"));
    let sealed = Shown {
        details: None,
        ..shown
    };
    let value = serde_json::to_value(&sealed).unwrap();
    assert!(value["contents"].is_null(), "{value}");
}
