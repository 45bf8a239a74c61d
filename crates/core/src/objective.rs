//! Recovery objectives, and signs that a point is not what its operator wants. Pure: the caller
//! supplies the time and the facts.

use crate::fingerprint::{Fingerprint, Proof};

/// Returns true if a measured time is longer than the objective. Both are in seconds.
pub fn missed(measured: f64, objective: Option<u64>) -> bool {
    objective.is_some_and(|objective| measured > objective as f64)
}

/// Returns what is suspicious about a capture that holds nothing: it is a backup of the wrong
/// place, or was taken after the loss. `before` is the proof of the previous point.
pub fn emptied(proof: &Proof, before: Option<&Proof>) -> Option<String> {
    let (held, what) = held(&proof.fingerprint);
    if held > 0 {
        return None;
    }
    let earlier = before.map(|before| self::held(&before.fingerprint));
    Some(match earlier.filter(|(held, _)| *held > 0) {
        Some((held, what)) => {
            format!(
                "it is empty, and had {held} {what} in the point before; look whether it is lost"
            )
        }
        None => format!("it holds no {what}; look whether it is what you mean to back up"),
    })
}

/// Amount of content in a fingerprint, and the noun it is counted in.
fn held(fingerprint: &Fingerprint) -> (u64, &'static str) {
    match fingerprint {
        Fingerprint::Tables(tables) => (tables.tables.values().map(|t| t.rows).sum(), "rows"),
        Fingerprint::Files(files) => (files.files + files.links, "files"),
        Fingerprint::Objects(objects) => (objects.objects, "objects"),
        Fingerprint::Bytes(bytes) => (bytes.length, "bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{BytesFingerprint, Inventory};

    #[test]
    fn an_objective_is_missed_by_more_than_itself() {
        for (measured, objective, expected) in [
            (3.1, Some(1), true),
            (1.0, Some(1), false),
            (0.4, Some(1), false),
            (3.1, None, false),
        ] {
            assert_eq!(missed(measured, objective), expected, "{measured}");
        }
    }

    #[test]
    fn nothing_is_strange_where_something_was() {
        let proof = |length| Proof {
            fingerprint: Fingerprint::Bytes(BytesFingerprint {
                length,
                sha256: String::new(),
            }),
            inventory: Inventory::None,
        };
        assert_eq!(emptied(&proof(1), None), None);
        assert_eq!(emptied(&proof(1), Some(&proof(0))), None);
        let lost = emptied(&proof(0), Some(&proof(500))).unwrap();
        assert!(lost.contains("had 500 bytes in the point before"), "{lost}");
        for before in [None, Some(proof(0))] {
            let empty = emptied(&proof(0), before.as_ref()).unwrap();
            assert!(empty.contains("holds no bytes"), "{empty}");
        }
    }
}
