//! The content of an evidence record.
//!
//! A serialised record holds verdicts, counts, durations, codes and names of the configuration.
//! Observations are kept in memory only and cannot be serialised here: they go into the sealed
//! detail, whose hash the record carries (see [`super::detail`]).

use crate::error::Code;
use crate::exit::Exit;
use crate::name::Name;
use crate::objective;
use crate::point::PointId;
use crate::probe::{CheckResult, Observed, SEALED};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// The activity that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A rehearsed restore.
    Drill,
    /// A real restore.
    Restore,
    /// What a real restore replaced was put back.
    Undo,
}

/// Verdict on a drill or restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The restored content equals the captured content, apart from the named limits, and every
    /// check passed.
    Verified,
    /// It was restored, but its content could not be compared.
    Restored,
    /// It could not be proved here and now: something that it needs was missing or failed.
    Unverifiable,
    /// The run was ended early.
    Interrupted,
    /// It was not restored, or differs, or a check failed.
    Failed,
}

/// Facts about a drill or restore that decide the verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Stored content is damaged, differs or cannot be restored, or a check got another answer.
    pub failed: bool,
    /// Something was not restored or not checked, for a reason outside the point.
    pub lacking: bool,
    /// Something was restored that could not be compared.
    pub uncompared: bool,
    /// The run was asked to end early.
    pub interrupted: bool,
}

impl Verdict {
    /// Derives the verdict. An interruption that affected nothing does not count.
    pub fn of(facts: Facts) -> Self {
        match facts {
            Facts { failed: true, .. } => Verdict::Failed,
            Facts {
                lacking: true,
                interrupted: true,
                ..
            } => Verdict::Interrupted,
            Facts { lacking: true, .. } => Verdict::Unverifiable,
            Facts {
                uncompared: true, ..
            } => Verdict::Restored,
            Facts { .. } => Verdict::Verified,
        }
    }

    /// Whether everything came back and all of it was compared that can be, where only machines were not.
    pub(crate) fn is_whole(self, has_machines: bool) -> bool {
        match self {
            Verdict::Verified => true,
            Verdict::Restored => has_machines,
            Verdict::Unverifiable | Verdict::Interrupted | Verdict::Failed => false,
        }
    }

    /// Returns the exit code of a drill with this verdict.
    pub fn exit_of_drill(self) -> Exit {
        match self {
            Verdict::Verified => Exit::Done,
            Verdict::Interrupted => Code::Interrupted.exit(),
            Verdict::Restored | Verdict::Unverifiable | Verdict::Failed => Exit::NotProved,
        }
    }

    /// Returns the exit code of a restore with this verdict; `partial` where the point held no more.
    pub fn exit_of_restore(self, partial: bool) -> Exit {
        match self {
            Verdict::Verified | Verdict::Restored if partial => Exit::Partial,
            Verdict::Verified | Verdict::Restored => Exit::Done,
            Verdict::Unverifiable | Verdict::Failed => Exit::NotProved,
            Verdict::Interrupted => Code::Interrupted.exit(),
        }
    }

    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::Restored => "restored",
            Verdict::Unverifiable => "unverifiable",
            Verdict::Interrupted => "interrupted",
            Verdict::Failed => "failed",
        }
    }
}

impl Record {
    /// Whether everything came back and all of it was compared that can be: all but machines.
    pub fn is_whole(&self) -> bool {
        let mut points = self.points.iter();
        self.outcome
            .is_whole(points.any(|point| !point.uncompared.is_empty()))
    }
}

impl Activity {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Drill => "drill",
            Activity::Restore => "restore",
            Activity::Undo => "undo",
        }
    }
}

/// Duration of one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// `fetch`, `restore db`, `compare db`, `checks`.
    pub name: String,
    /// Seconds.
    pub seconds: f64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format: 1.
    pub schema: u32,
    /// Id: time and random digits, as a point's.
    pub id: PointId,
    /// Its number in the signer's chain, from 1.
    pub sequence: u64,
    /// SHA-256 of the signer's previous record, and of every other record that nothing follows yet,
    /// which joins forks. Empty for the first record.
    #[serde(default, deserialize_with = "one_or_many")]
    pub previous: Vec<String>,
    /// Id of the signing key.
    pub signer: String,
    /// The activity.
    pub activity: Activity,
    /// Name of the application.
    pub app: Name,
    /// Name of the environment.
    pub environment: Name,
    /// Owner of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// User who ran it.
    pub author: String,
    /// Host that ran it.
    pub host: String,
    /// Version of the program.
    pub lifeboat: String,
    /// Name of the drill in the configuration, for a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Name>,
    /// Reason, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Source and target, for a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The restored points.
    pub points: Vec<ProvedPoint>,
    /// Start of the run.
    pub started: Timestamp,
    /// End of the run.
    pub finished: Timestamp,
    /// The verdict.
    pub outcome: Verdict,
    /// True for a live restore that was requested without proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// The checks and their answers.
    pub checks: Vec<CheckResult>,
    /// Limits of the proof, by name; empty when they are sealed.
    #[serde(default, skip_serializing)]
    pub limits: Vec<Observed>,
    /// Number of limits; absent in records of older versions.
    #[serde(default)]
    pub limits_count: u64,
    /// Reference to the sealed observations; records of older versions hold them directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<DetailRef>,
    /// Durations of the phases.
    pub phases: Vec<Phase>,
    /// Seconds from the start until everything was restored and checked.
    pub rto_seconds: f64,
    /// Seconds between the capture and the start: the data that would have been lost.
    pub rpo_seconds: f64,
    /// Seconds for which the application was down: from the first command that stops it to the end of the last one
    /// that starts it. Of a live restore only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime_seconds: Option<f64>,
    /// The recovery time objective in seconds at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_target_seconds: Option<u64>,
    /// The recovery point objective in seconds at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_target_seconds: Option<u64>,
}

/// A restored point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedPoint {
    /// Its id.
    pub point: PointId,
    /// Its plan, if known.
    #[serde(with = "crate::name::or_empty")]
    pub plan: Option<Name>,
    /// The store its copy was read from; absent when no copy was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Name>,
    /// SHA-256 of that copy's manifest; absent when no copy was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// The restored sources.
    pub sources: Vec<Name>,
    /// Sources of the point that were restored neither from it nor from another of these points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Name>,
    /// Machines among the sources, where everything else was compared: they came back and answered as the
    /// checks ask, and their content was compared with nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncompared: Vec<Name>,
}

/// Reference to the detail of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailRef {
    /// SHA-256 of the plain detail, hex; a salt in it prevents guessing.
    pub sha256: String,
}

impl Record {
    /// Returns whether it took longer than the recovery time objective.
    pub fn missed_rto(&self) -> bool {
        objective::missed(self.rto_seconds, self.rto_target_seconds)
    }

    /// Returns whether more would have been lost than the recovery point objective allows.
    pub fn missed_rpo(&self) -> bool {
        objective::missed(self.rpo_seconds, self.rpo_target_seconds)
    }

    /// Limits of the proof, for the operator; [`SEALED`] for each that cannot be opened here.
    pub fn limits(&self) -> Vec<&str> {
        if self.limits.is_empty() {
            let count = usize::try_from(self.limits_count).unwrap_or(usize::MAX);
            return vec![SEALED; count.min(LIMITS_MAX)];
        }
        self.limits.iter().map(Observed::reveal).collect()
    }
}

/// Largest number of limits in a record that is accepted.
const LIMITS_MAX: usize = 10_000;

/// Parses a list, or the single value or null that older versions wrote.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Previous {
        Many(Vec<String>),
        One(Option<String>),
    }
    Ok(match Previous::deserialize(deserializer)? {
        Previous::Many(many) => many,
        Previous::One(one) => one.into_iter().collect(),
    })
}

/// A record of a restore that was verified, for tests of documents.
#[cfg(test)]
pub(crate) fn sample() -> Record {
    let name = |text: &str| Name::parse(text).unwrap();
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    Record {
        schema: 1,
        id: PointId::parse("20261120T070000Z-0001").unwrap(),
        sequence: 1,
        previous: Vec::new(),
        signer: "SHA256:abc".to_owned(),
        activity: Activity::Restore,
        app: name("crm"),
        environment: name("production"),
        owner: None,
        author: "ops".to_owned(),
        host: "web1".to_owned(),
        lifeboat: "0.1.0".to_owned(),
        drill: None,
        reason: None,
        target: Some("out".to_owned()),
        points: vec![ProvedPoint {
            point: PointId::parse("20261120T060000Z-7f3a").unwrap(),
            plan: Some(name("hourly")),
            store: Some(name("disk")),
            manifest_sha256: None,
            sources: vec![name("db")],
            left_out: Vec::new(),
            uncompared: vec![],
        }],
        started: at("2026-11-20T07:00:00Z"),
        finished: at("2026-11-20T07:00:03Z"),
        outcome: Verdict::Verified,
        unproven: false,
        checks: vec![CheckResult::new(
            crate::probe::Subject::of("sql", "db"),
            "> 0",
            "3",
            crate::probe::CheckOutcome::Passed,
        )],
        limits: vec!["ownership".into()],
        limits_count: 1,
        detail: None,
        phases: vec![Phase {
            name: "fetch".to_owned(),
            seconds: 1.0,
        }],
        rto_seconds: 2.5,
        rpo_seconds: 3600.0,
        downtime_seconds: None,
        rto_target_seconds: None,
        rpo_target_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proof_exits_with_success() {
        let [drill, whole, part]: [Vec<Exit>; 3] = [
            ALL.map(Verdict::exit_of_drill).to_vec(),
            ALL.map(|verdict| verdict.exit_of_restore(false)).to_vec(),
            ALL.map(|verdict| verdict.exit_of_restore(true)).to_vec(),
        ];
        use Exit::{Done, Failed, NotProved, Partial};
        assert_eq!(drill, [Done, NotProved, NotProved, Failed, NotProved]);
        assert_eq!(whole, [Done, Done, NotProved, Failed, NotProved]);
        assert_eq!(part, [Partial, Partial, NotProved, Failed, NotProved]);
    }

    const ALL: [Verdict; 5] = [
        Verdict::Verified,
        Verdict::Restored,
        Verdict::Unverifiable,
        Verdict::Interrupted,
        Verdict::Failed,
    ];

    #[test]
    fn a_verdict_claims_no_more_than_the_facts_show() {
        for (failed, lacking, uncompared, interrupted, verdict) in [
            (false, false, false, false, Verdict::Verified),
            (false, false, false, true, Verdict::Verified),
            (false, false, true, false, Verdict::Restored),
            (false, true, true, false, Verdict::Unverifiable),
            (false, true, false, true, Verdict::Interrupted),
            (true, true, true, true, Verdict::Failed),
            (true, false, false, false, Verdict::Failed),
        ] {
            let facts = Facts {
                failed,
                lacking,
                uncompared,
                interrupted,
            };
            assert_eq!(Verdict::of(facts), verdict, "{facts:?}");
        }
    }
}
