//! The proof of each point, according to the records.

use super::record::{Record, Verdict};
use crate::point::PointId;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Proof of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The newest verdict that decides: verified, restored or failed.
    pub decided: Option<(Verdict, Timestamp)>,
    /// A later verdict that decides nothing: unverifiable or interrupted.
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
    /// A later attempt that decided nothing.
    pub proof_tried: Option<Tried>,
}

/// A drill or restore without a deciding verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Its verdict.
    pub outcome: Verdict,
    /// Time of its end.
    pub at: Timestamp,
}

impl PointProof {
    /// Name of the deciding verdict in JSON and tables.
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

/// Time, number and verdict of a record; the number orders records that ended in one second.
type Said = (Timestamp, u64, Verdict);

/// The proof of each point in `records`, which may be in any order. A failure for a reason outside
/// a point does not cancel an earlier proof.
pub fn proofs<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<PointId, Proof> {
    let mut said: BTreeMap<PointId, [Option<Said>; 2]> = BTreeMap::new();
    for record in records {
        for point in &record.points {
            let [decided, tried] = said.entry(point.point.clone()).or_default();
            let place = match record.outcome {
                // A part that was restored proves nothing about the whole.
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
