//! Conditions: what can be wrong with an application, by kind.
//!
//! Which of them hold is decided in [`crate::alarm`], and who is told of them by the configuration.

use crate::error::{Code, Error};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Kind of a condition.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionKind {
    /// A backup, copy or verification failed, and none succeeded since.
    Failed,
    /// The last backup captured only a part.
    Partial,
    /// The newest complete point is older than it may be, or there is none.
    Overdue,
    /// A time in the schedule passed without a run.
    Missed,
    /// A store refused this host's credentials.
    StoreDenied,
    /// A store does not answer.
    StoreUnreachable,
    /// A store lacks a copy that it should hold.
    CopyMissing,
    /// What a drill restored is not what was captured, or could not be restored.
    ProofFailed,
    /// The newest proof is older than it may be, or there is none.
    ProofOverdue,
    /// A stored copy is not what its manifest says.
    Damaged,
    /// A prune failed or was refused.
    PruneFailed,
    /// A backup differs from those before it more than it should.
    Anomaly,
    /// A live restore brought back something else than was captured.
    RestoreDiffers,
    /// A live restore was interrupted, or what was live before it is removed soon.
    RestoreOpen,
    /// Something is set up less safely than it should be.
    Posture,
    /// A key or a certificate expires soon.
    Expiring,
    /// The clock of this host cannot be right.
    Clock,
    /// A disk of this host fills up.
    Disk,
    /// The configuration was refused, and an older one is in use.
    Configuration,
    /// A channel does not deliver messages.
    Channel,
}

impl ConditionKind {
    /// Every kind.
    pub const ALL: [ConditionKind; 20] = [
        ConditionKind::Failed,
        ConditionKind::Partial,
        ConditionKind::Overdue,
        ConditionKind::Missed,
        ConditionKind::StoreDenied,
        ConditionKind::StoreUnreachable,
        ConditionKind::CopyMissing,
        ConditionKind::ProofFailed,
        ConditionKind::ProofOverdue,
        ConditionKind::Damaged,
        ConditionKind::PruneFailed,
        ConditionKind::Anomaly,
        ConditionKind::RestoreDiffers,
        ConditionKind::RestoreOpen,
        ConditionKind::Posture,
        ConditionKind::Expiring,
        ConditionKind::Clock,
        ConditionKind::Disk,
        ConditionKind::Configuration,
        ConditionKind::Channel,
    ];

    /// The name in the configuration, in JSON and in identities.
    pub fn as_str(self) -> &'static str {
        match self {
            ConditionKind::Failed => "failed",
            ConditionKind::Partial => "partial",
            ConditionKind::Overdue => "overdue",
            ConditionKind::Missed => "missed",
            ConditionKind::StoreDenied => "store-denied",
            ConditionKind::StoreUnreachable => "store-unreachable",
            ConditionKind::CopyMissing => "copy-missing",
            ConditionKind::ProofFailed => "proof-failed",
            ConditionKind::ProofOverdue => "proof-overdue",
            ConditionKind::Damaged => "damaged",
            ConditionKind::PruneFailed => "prune-failed",
            ConditionKind::Anomaly => "anomaly",
            ConditionKind::RestoreDiffers => "restore-differs",
            ConditionKind::RestoreOpen => "restore-open",
            ConditionKind::Posture => "posture",
            ConditionKind::Expiring => "expiring",
            ConditionKind::Clock => "clock",
            ConditionKind::Disk => "disk",
            ConditionKind::Configuration => "configuration",
            ConditionKind::Channel => "channel",
        }
    }
}

impl FromStr for ConditionKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = ConditionKind::ALL.into_iter().find(|k| k.as_str() == text);
        known.ok_or_else(|| {
            Error::new(Code::Usage, format!("there is no condition {text:?}"))
                .hint("docs/alarms.md lists the kinds of conditions")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_name() {
        for kind in ConditionKind::ALL {
            assert_eq!(kind.as_str().parse::<ConditionKind>().unwrap(), kind);
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.as_str());
        }
        let error = "late".parse::<ConditionKind>().unwrap_err();
        assert_eq!(error.code, Code::Usage);
    }
}
