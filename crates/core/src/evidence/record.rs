//! What a record says.
//!
//! Serialised it holds verdicts, counts, durations, codes and names of the configuration. What was
//! observed is in memory only, and cannot be serialised here: it goes into the sealed detail, of which
//! the record carries the hash (see [`super::detail`]).

use crate::error::Code;
use crate::exit::Exit;
use crate::name::Name;
use crate::objective;
use crate::point::PointId;
use crate::probe::{CheckResult, Observed, SEALED};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A rehearsed restore.
    Drill,
    /// A real one.
    Restore,
}

/// What it proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What came back equals what was captured, apart from the named limits, and every check passed.
    Verified,
    /// It came back, but its content could not be compared.
    Restored,
    /// It could not be proved here and now: something that it needs was missing or failed.
    Unverifiable,
    /// Someone ended the run before it was proved.
    Interrupted,
    /// It did not come back, or differs, or a check failed.
    Failed,
}

/// What a drill or restore came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// What was stored is damaged, differs or does not come back, or a check got another answer.
    pub failed: bool,
    /// Something did not come back, or was not asked, for a reason that does not lie in the point.
    pub lacking: bool,
    /// Something came back that could not be compared.
    pub uncompared: bool,
    /// Someone asked the run to end.
    pub interrupted: bool,
}

impl Verdict {
    /// The verdict on these facts. An interruption that nothing suffered from is none.
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

impl Activity {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Drill => "drill",
            Activity::Restore => "restore",
        }
    }
}

/// How long one phase took.
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
    /// SHA-256 of the record before by the same signer, and of each other one that nothing follows yet:
    /// so a fork is joined. None for the first.
    #[serde(default, deserialize_with = "one_or_many")]
    pub previous: Vec<String>,
    /// Id of the key that signs it.
    pub signer: String,
    /// What was done.
    pub activity: Activity,
    /// Of which application.
    pub app: Name,
    /// In which environment.
    pub environment: Name,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who ran it.
    pub author: String,
    /// On which host.
    pub host: String,
    /// Version of the program.
    pub lifeboat: String,
    /// The drill of the configuration, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Name>,
    /// Why, where someone said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was restored where, for a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What was brought back.
    pub points: Vec<ProvedPoint>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What it proved.
    pub outcome: Verdict,
    /// A live restore that was asked for without proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// Each thing that was asked, and the answer.
    pub checks: Vec<CheckResult>,
    /// What this cannot prove, by name; empty when it is sealed.
    #[serde(default, skip_serializing)]
    pub limits: Vec<Observed>,
    /// How many limits there are; records of older versions do not say it.
    #[serde(default)]
    pub limits_count: u64,
    /// Where what was observed is; records of older versions hold it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<DetailRef>,
    /// How long each phase took.
    pub phases: Vec<Phase>,
    /// Seconds from the start until everything was back and checked.
    pub rto_seconds: f64,
    /// Seconds between the capture and the start: what would have been lost.
    pub rpo_seconds: f64,
    /// The targets at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_target_seconds: Option<u64>,
    /// The targets at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_target_seconds: Option<u64>,
}

/// A point that was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedPoint {
    /// Its id.
    pub point: PointId,
    /// Its plan, where that is known.
    #[serde(with = "crate::name::or_empty")]
    pub plan: Option<Name>,
    /// The store its copy was read from; absent when none had one that can be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Name>,
    /// SHA-256 of that copy's manifest; absent when it cannot be believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// The sources that were brought back.
    pub sources: Vec<Name>,
    /// The sources of the point that were not, nor taken from another of these points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Name>,
}

/// The detail of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailRef {
    /// SHA-256 of the plain detail, hex; it holds a salt, so that it cannot be guessed.
    pub sha256: String,
}

impl Record {
    /// Whether it took longer than the objective.
    pub fn missed_rto(&self) -> bool {
        objective::missed(self.rto_seconds, self.rto_target_seconds)
    }

    /// Whether more would have been lost than the objective allows.
    pub fn missed_rpo(&self) -> bool {
        objective::missed(self.rpo_seconds, self.rpo_target_seconds)
    }

    /// What this cannot prove, for the operator; [`SEALED`] for each that cannot be opened here.
    pub fn limits(&self) -> Vec<&str> {
        if self.limits.is_empty() {
            let count = usize::try_from(self.limits_count).unwrap_or(usize::MAX);
            return vec![SEALED; count.min(LIMITS_MAX)];
        }
        self.limits.iter().map(Observed::reveal).collect()
    }
}

/// More limits than this are no record of ours.
const LIMITS_MAX: usize = 10_000;

/// A list, or what older versions wrote: one, or null.
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
        rto_target_seconds: None,
        rpo_target_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_proved_ends_well() {
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
    fn a_verdict_says_no_more_than_was_shown() {
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
