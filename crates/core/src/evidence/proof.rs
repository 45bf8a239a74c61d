//! What the records say of each point.

use super::record::{Record, Verdict};
use crate::point::PointId;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// How a point was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// What the newest record says that decides something: verified, restored or failed.
    pub decided: Option<(Verdict, Timestamp)>,
    /// The newest record, where it is a later one that decides nothing: unverifiable or interrupted.
    pub tried: Option<(Verdict, Timestamp)>,
}

/// The proof of each point that `records`, in any order, speak of. What failed for a reason outside a
/// point takes nothing from what was proved before.
pub fn proofs<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<PointId, Proof> {
    let mut proofs: BTreeMap<PointId, Proof> = BTreeMap::new();
    for record in records {
        let said = Some((record.outcome, record.finished));
        for point in &record.points {
            let proof = proofs.entry(point.point.clone()).or_insert(Proof {
                decided: None,
                tried: None,
            });
            let place = match record.outcome {
                // That a part came back says nothing of the whole.
                Verdict::Verified | Verdict::Restored if !point.left_out.is_empty() => continue,
                Verdict::Verified | Verdict::Restored | Verdict::Failed => &mut proof.decided,
                Verdict::Unverifiable | Verdict::Interrupted => &mut proof.tried,
            };
            if place.map(|(_, at)| at) <= said.map(|(_, at)| at) {
                *place = said;
            }
        }
    }
    for proof in proofs.values_mut() {
        let decided = proof.decided.map(|(_, at)| at);
        proof.tried = proof.tried.filter(|(_, at)| decided < Some(*at));
    }
    proofs
}
