//! Chooses the packs to read when not all of them are read.

use crate::id::Id;
use std::str::FromStr;

/// A part of all packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// All of them.
    All,
    /// One of `of` parts, chosen by the first byte of each id. Together the parts cover all packs.
    Part {
        /// The number of the part, counted from 1.
        number: u16,
        /// The number of parts; at most 256.
        of: u16,
    },
    /// A random percentage of the packs, at least one pack.
    Percent(f64),
    /// Random packs, until together they have at least this many bytes.
    Bytes(u64),
}

impl Subset {
    /// Chooses among packs, given with their sizes in bytes. The random choice depends on `seed`
    /// alone.
    pub fn choose(self, packs: &[(Id, u64)], seed: &[u8]) -> Vec<(Id, u64)> {
        let by_chance = || {
            let mut mixed = packs.to_vec();
            mixed.sort_by_cached_key(|(id, _)| Id::of(&[seed, id.bytes()].concat()));
            mixed
        };
        match self {
            Subset::All => packs.to_vec(),
            Subset::Part { number, of } => {
                let own = |id: &Id| u16::from(id.bytes()[0]) % of.max(1) + 1 == number;
                packs.iter().filter(|(id, _)| own(id)).copied().collect()
            }
            Subset::Percent(percent) => {
                let mut chosen = by_chance();
                // Rounded up, so that at least one is chosen.
                let keep = |place: usize| (place as f64) * 100.0 < percent * packs.len() as f64;
                let count = (0..packs.len()).take_while(|place| keep(*place)).count();
                chosen.truncate(count);
                chosen
            }
            Subset::Bytes(bytes) => {
                let mut before = 0_u64;
                let within = |(_, length): &(Id, u64)| {
                    let fits = before < bytes;
                    before = before.saturating_add(*length);
                    fits
                };
                by_chance().into_iter().take_while(within).collect()
            }
        }
    }
}

impl FromStr for Subset {
    type Err = String;

    /// Parses `2/5`, `2.5%`, or a size: `500M`, `10G`, `1T`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((number, of)) = text.split_once('/') {
            return match (number.parse(), of.parse()) {
                (Ok(number), Ok(of)) if 1 <= number && number <= of && of <= 256 => {
                    Ok(Subset::Part { number, of })
                }
                _ => Err(format!(
                    "{text:?} is not a part; write one from 1/1 to 256/256"
                )),
            };
        }
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.parse() {
                Ok(percent) if 0.0 < percent && percent <= 100.0 => Ok(Subset::Percent(percent)),
                _ => Err(format!(
                    "{text:?} is not a share; write more than 0% and at most 100%"
                )),
            };
        }
        let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40)];
        let upper = text.to_uppercase();
        let unit = units
            .iter()
            .find_map(|(unit, shift)| Some((upper.strip_suffix(unit)?, *shift)));
        let (number, shift) = unit.unwrap_or((&upper, 0));
        let bytes = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift));
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Subset::Bytes(bytes)),
            _ => Err(format!("{text:?} is not a part, a share or a size")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn packs(count: u64) -> Vec<(Id, u64)> {
        (0..count).map(|n| (Id::of(&n.to_le_bytes()), 10)).collect()
    }

    #[test]
    fn the_parts_cover_every_pack_once() {
        let packs = packs(1000);
        for of in [1, 2, 7, 256] {
            let part = |number| Subset::Part { number, of }.choose(&packs, b"");
            let all: Vec<_> = (1..=of).flat_map(part).collect();
            assert_eq!(all.len(), 1000);
            assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 1000);
        }
        let first = Subset::Part { number: 1, of: 256 }.choose(&packs, b"");
        assert!(first.iter().all(|(id, _)| id.bytes()[0] == 0));
    }

    #[test]
    fn a_random_choice_has_the_wanted_size_and_varies_with_the_seed() {
        let packs = packs(200);
        let count = |subset: Subset| subset.choose(&packs, b"seed").len();
        assert_eq!(count(Subset::Percent(10.0)), 20);
        assert_eq!(count(Subset::Percent(0.001)), 1);
        assert_eq!(count(Subset::Percent(100.0)), 200);
        assert_eq!(count(Subset::Bytes(1)), 1);
        assert_eq!(count(Subset::Bytes(95)), 10);
        assert_eq!(count(Subset::Bytes(100)), 10);
        assert_eq!(count(Subset::Bytes(u64::MAX)), 200);
        assert_eq!(Subset::Percent(50.0).choose(&[], b""), []);
        let half = |seed: &[u8]| Subset::Percent(50.0).choose(&packs, seed);
        assert_ne!(half(b"one"), half(b"two"));
    }

    #[test]
    fn subsets_are_parsed() {
        for (text, expected) in [
            ("1/1", Subset::Part { number: 1, of: 1 }),
            ("3/256", Subset::Part { number: 3, of: 256 }),
            ("2.5%", Subset::Percent(2.5)),
            ("100%", Subset::Percent(100.0)),
            ("500", Subset::Bytes(500)),
            ("500k", Subset::Bytes(500 << 10)),
            ("3G", Subset::Bytes(3 << 30)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let bad = [
            "",
            "0/3",
            "4/3",
            "1/257",
            "1/",
            "a/b",
            "0%",
            "101%",
            "-1%",
            "NaN%",
            "%",
            "0",
            "-5M",
            "5X",
            "99999999T",
        ];
        for text in bad {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
    }
}
