//! The order in which records were made, as pure data.
//!
//! Dates tell it, but for a clock that was wrong. A chain shows what one signer made after what: a
//! record that a clock dated ahead is no newer than those that follow it, not even once its time has
//! come.

use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number in its chain, which is larger than those of the records that it follows.
    pub sequence: u64,
    /// When it was made, as the clock of its host said.
    pub finished: Timestamp,
    /// Its hash.
    pub hash: String,
    /// The hashes of the records that it follows.
    pub follows: Vec<String>,
}

/// Sorts records, the oldest first.
pub fn in_order<R>(mut records: Vec<(Place, R)>) -> Vec<R> {
    records.sort_by_key(|(at, _)| Reverse(at.sequence));
    let mut latest: HashMap<String, Timestamp> = HashMap::new();
    for (at, _) in &mut records {
        if let Some(latest) = latest.get(&at.hash) {
            at.finished = at.finished.min(*latest);
        }
        for followed in &at.follows {
            let known = latest.entry(followed.clone()).or_insert(at.finished);
            *known = at.finished.min(*known);
        }
    }
    // Dates of the same second are in no order; numbers of one chain are.
    records.sort_by_key(|(at, _)| (at.finished, at.sequence));
    records.into_iter().map(|(_, record)| record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its number, its time, and what it follows.
    type Made = (&'static str, u64, &'static str, &'static [&'static str]);

    fn ordered(records: &[Made]) -> Vec<&'static str> {
        let placed = records.iter().map(|(hash, sequence, finished, follows)| {
            let place = Place {
                sequence: *sequence,
                finished: format!("2026-11-{finished}T06:00:00Z").parse().unwrap(),
                hash: (*hash).to_owned(),
                follows: follows.iter().map(|hash| (*hash).to_owned()).collect(),
            };
            (place, *hash)
        });
        in_order(placed.collect())
    }

    #[test]
    fn records_are_ordered_by_their_dates() {
        let made: &[Made] = &[
            ("b2", 2, "04", &["b1"]),
            ("a9", 9, "03", &["a8"]),
            ("a8", 8, "01", &["a7"]),
            ("b1", 1, "02", &[]),
        ];
        assert_eq!(ordered(made), ["a8", "b1", "a9", "b2"]);
    }

    #[test]
    fn a_record_that_was_dated_ahead_is_no_newer_than_what_follows_it() {
        let made: &[Made] = &[
            ("b1", 1, "02", &[]),
            ("b2", 2, "05", &["b1"]),
            ("a1", 1, "01", &[]),
            ("a2", 2, "20", &["a1"]),
            ("a3", 3, "21", &["a2"]),
            ("a4", 4, "04", &["a3"]),
        ];
        assert_eq!(ordered(made), ["a1", "b1", "a2", "a3", "a4", "b2"]);
        // As long as nothing follows it, its date is all that is known.
        assert_eq!(ordered(&made[..5]), ["a1", "b1", "b2", "a2", "a3"]);
    }

    #[test]
    fn a_fork_says_nothing_of_the_other_branch() {
        // Its host had lost its state, and reached no store.
        let made: &[Made] = &[
            ("a1", 1, "01", &[]),
            ("a2", 2, "02", &["a1"]),
            ("a3", 3, "04", &["a2"]),
            ("again", 1, "03", &[]),
        ];
        assert_eq!(ordered(made), ["a1", "a2", "again", "a3"]);
    }
}
