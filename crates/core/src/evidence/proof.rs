//! What the records say of each point.

use super::record::{Record, Verdict};
use crate::point::PointId;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// How a point was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What the newest record says that decides something: verified, restored or failed.
    pub decided: Option<(Verdict, Timestamp)>,
    /// The newest record, where it is a later one that decides nothing: unverifiable or interrupted.
    pub tried: Option<(Verdict, Timestamp)>,
}

/// The proof of a point, as a document says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PointProof {
    /// The verdict that was decided; `none` where none was.
    #[serde(serialize_with = "or_none")]
    pub proof: Option<Verdict>,
    /// The time of that decision.
    pub proved_at: Option<Timestamp>,
    /// A later try that decided nothing.
    pub proof_tried: Option<Tried>,
}

/// A drill or restore that decided nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// What it came to.
    pub outcome: Verdict,
    /// When it ended.
    pub at: Timestamp,
}

impl PointProof {
    /// The name of what was decided, in JSON and tables.
    pub fn as_str(&self) -> &'static str {
        self.proof.map_or("none", Verdict::as_str)
    }
}

impl From<Option<&Proof>> for PointProof {
    fn from(proof: Option<&Proof>) -> Self {
        let decided = proof.and_then(|proof| proof.decided);
        let tried = proof.and_then(|proof| proof.tried);
        PointProof {
            proof: decided.map(|(verdict, _)| verdict),
            proved_at: decided.map(|(_, at)| at),
            proof_tried: tried.map(|(outcome, at)| Tried { outcome, at }),
        }
    }
}

fn or_none<S: Serializer>(proof: &Option<Verdict>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(proof.map_or("none", Verdict::as_str))
}

/// What a record says of a point, when, and its number, since several may end in one second.
type Said = (Timestamp, u64, Verdict);

/// The proof of each point that `records`, in any order, speak of. What failed for a reason outside a
/// point takes nothing from what was proved before.
pub fn proofs<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<PointId, Proof> {
    let mut said: BTreeMap<PointId, [Option<Said>; 2]> = BTreeMap::new();
    for record in records {
        for point in &record.points {
            let [decided, tried] = said.entry(point.point.clone()).or_default();
            let place = match record.outcome {
                // That a part came back says nothing of the whole.
                Verdict::Verified | Verdict::Restored if !point.left_out.is_empty() => continue,
                Verdict::Verified | Verdict::Restored | Verdict::Failed => decided,
                Verdict::Unverifiable | Verdict::Interrupted => tried,
            };
            let new = (record.finished, record.sequence, record.outcome);
            if place.is_none_or(|(at, number, _)| (at, number) < (new.0, new.1)) {
                *place = Some(new);
            }
        }
    }
    let when = |said: Option<Said>| said.map(|(at, number, _)| (at, number));
    let shown = |said: Option<Said>| said.map(|(at, _, verdict)| (verdict, at));
    let proof = |[decided, tried]: [Option<Said>; 2]| Proof {
        decided: shown(decided),
        tried: shown(tried.filter(|_| when(decided) < when(tried))),
    };
    said.into_iter()
        .map(|(point, said)| (point, proof(said)))
        .collect()
}
