//! Documents of a restore: its plan, its report, and its undoing.

use super::live::{Planned, Report};
use crate::evidence::{ProvedPoint, ShownCheck, Verdict};
use crate::exit::Exit;
use crate::name::Name;
use crate::point::PointId;
use crate::source::Ended;
use serde::Serialize;

/// The document of a restore without a target: what a live restore would do.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedDocument<'a> {
    point: &'a PointId,
    points: &'a [PointId],
    store: &'a str,
    outcome: NotDone,
    steps: &'a [String],
}

/// The outcome of a restore that is not carried out.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum NotDone {
    /// It was planned.
    Planned,
}

impl Planned {
    /// The document.
    pub fn document(&self) -> PlannedDocument<'_> {
        PlannedDocument {
            point: &self.point,
            points: &self.points,
            store: &self.store,
            outcome: NotDone::Planned,
            steps: &self.steps,
        }
    }
}

/// The document of a restore that was carried out.
#[derive(Debug, Clone, Serialize)]
pub struct ReportDocument<'a> {
    point: Option<&'a PointId>,
    points: &'a [ProvedPoint],
    target: Option<&'a str>,
    outcome: Verdict,
    sources: Vec<&'a Name>,
    partial: Option<&'a str>,
    swapped_back: Option<bool>,
    places: Vec<PlaceDocument<'a>>,
    safety_point: Option<&'a PointId>,
    safety_points: &'a [PointId],
    checks: Vec<ShownCheck<'a>>,
    limits: Vec<&'a str>,
    warnings: &'a [String],
    seconds: f64,
    evidence: Option<&'a str>,
}

/// A source, and its place now.
#[derive(Debug, Clone, Serialize)]
pub struct PlaceDocument<'a> {
    source: &'a str,
    place: &'a str,
}

impl Report {
    /// The document.
    pub fn document(&self) -> ReportDocument<'_> {
        let record = &self.evidence.record;
        let places = self.places.iter();
        ReportDocument {
            point: record.points.first().map(|point| &point.point),
            points: &record.points,
            target: record.target.as_deref(),
            outcome: record.outcome,
            sources: record.points.iter().flat_map(|p| &p.sources).collect(),
            partial: self.partial.as_deref(),
            swapped_back: self.undone,
            places: places
                .map(|(source, place)| PlaceDocument { source, place })
                .collect(),
            safety_point: self.safety_points.first(),
            safety_points: &self.safety_points,
            checks: record.shown_checks(),
            limits: record.limits(),
            warnings: &self.warnings,
            seconds: record.rto_seconds,
            evidence: self.evidence.key.as_deref(),
        }
    }

    /// Returns the exit code of the restore.
    pub fn exit(&self) -> Exit {
        let outcome = self.evidence.record.outcome;
        outcome.exit_of_restore(self.partial.is_some())
    }
}

/// The document of `restore --undo`.
#[derive(Debug, Clone, Serialize)]
pub struct Undone {
    /// Says if there was anything to undo.
    pub outcome: UndoneOutcome,
    /// Steps that were done, in order, a line each.
    pub steps: Vec<String>,
}

/// Says if a swap was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndoneOutcome {
    /// No swap of a MariaDB or MySQL database was interrupted.
    Nothing,
    /// At least one interrupted swap was undone: what was live before it is live again.
    Undone,
    /// Only cleaning up was left: what was restored is live.
    Finished,
}

impl From<Vec<Ended>> for Undone {
    fn from(ended: Vec<Ended>) -> Self {
        let outcome = match ended.as_slice() {
            [] => UndoneOutcome::Nothing,
            ended if ended.iter().any(|ended| ended.undone) => UndoneOutcome::Undone,
            _ => UndoneOutcome::Finished,
        };
        let steps = ended.into_iter().map(|ended| ended.text).collect();
        Undone { outcome, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;
    use crate::evidence::{Appended, sample};

    #[test]
    fn the_document_of_a_planned_restore() {
        let point = PointId::parse("20261120T060000Z-7f3a").unwrap();
        let planned = Planned {
            point: point.clone(),
            store: "disk".into(),
            points: vec![point],
            steps: vec!["stop".to_owned()],
        };
        let expected = r#"{
  "schema": 1,
  "point": "20261120T060000Z-7f3a",
  "points": [
    "20261120T060000Z-7f3a"
  ],
  "store": "disk",
  "outcome": "planned",
  "steps": [
    "stop"
  ]
}"#;
        assert_document(planned.document(), expected);
    }

    #[test]
    fn the_document_of_a_restore() {
        let report = Report {
            evidence: Appended {
                record: sample(),
                key: Some("lifeboat/evidence/s/1.json".to_owned()),
                missing: Vec::new(),
            },
            safety_points: vec![PointId::parse("20261120T065900Z-aaaa").unwrap()],
            undone: None,
            partial: Some("part of files".to_owned()),
            places: vec![("db".to_owned(), "out/db".to_owned())],
            warnings: Vec::new(),
        };
        let expected = r#"{
  "schema": 1,
  "point": "20261120T060000Z-7f3a",
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
  "target": "out",
  "outcome": "verified",
  "sources": [
    "db"
  ],
  "partial": "part of files",
  "swapped_back": null,
  "places": [
    {
      "source": "db",
      "place": "out/db"
    }
  ],
  "safety_point": "20261120T065900Z-aaaa",
  "safety_points": [
    "20261120T065900Z-aaaa"
  ],
  "checks": [
    {
      "name": "sql db",
      "expected": "> 0",
      "observed": "3",
      "outcome": "passed"
    }
  ],
  "limits": [
    "ownership"
  ],
  "warnings": [],
  "seconds": 2.5,
  "evidence": "lifeboat/evidence/s/1.json"
}"#;
        assert_document(report.document(), expected);
        assert_eq!(report.exit(), Exit::Partial);
    }

    #[test]
    fn the_document_of_what_was_undone() {
        let nothing = r#"{
  "schema": 1,
  "outcome": "nothing",
  "steps": []
}"#;
        assert_document(Undone::from(Vec::new()), nothing);
        let ended = |undone| Ended {
            undone,
            text: "db".to_owned(),
        };
        let outcome = |ended: &[Ended]| Undone::from(ended.to_vec()).outcome;
        assert_eq!(outcome(&[ended(true)]), UndoneOutcome::Undone);
        assert_eq!(outcome(&[ended(false)]), UndoneOutcome::Finished);
        assert_eq!(outcome(&[ended(false), ended(true)]), UndoneOutcome::Undone);
    }
}
