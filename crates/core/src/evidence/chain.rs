//! The chain of one signer's records, as pure data: the place of a new record, and the check of
//! existing ones.
//!
//! Two runs that sign with one key may both follow the same record: the chain forks. The next
//! record names the end of each branch, and so joins them. A fork is reported, but is no damage; a
//! record that is named and missing is.

use std::collections::{BTreeMap, BTreeSet};

/// One record, as the chain sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name in messages.
    pub name: String,
    /// SHA-256 of its bytes.
    pub hash: String,
    /// Its number.
    pub sequence: u64,
    /// The hashes of the records that it follows.
    pub previous: Vec<String>,
}

/// Place of a new record in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Its number.
    pub sequence: u64,
    /// Hashes of the records that it follows.
    pub previous: Vec<String>,
}

/// Problems of a chain, and other remarks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Problems, by the name of the record.
    pub problems: Vec<(String, String)>,
    /// A sentence for each fork.
    pub forks: Vec<String>,
}

/// The ends of a chain: records that no other record follows, the newest first.
pub fn ends(links: &[Link]) -> Vec<&Link> {
    let named: BTreeSet<&String> = links.iter().flat_map(|l| &l.previous).collect();
    let mut ends: Vec<&Link> = links.iter().filter(|l| !named.contains(&l.hash)).collect();
    ends.sort_by(|a, b| (b.sequence, &a.hash).cmp(&(a.sequence, &b.hash)));
    ends.dedup_by(|a, b| a.hash == b.hash);
    ends
}

/// Place of the record that follows these.
pub fn next(links: &[Link]) -> Next {
    let newest = links.iter().map(|l| l.sequence).max();
    Next {
        sequence: newest.map_or(1, |n| n.saturating_add(1)),
        previous: ends(links).iter().map(|l| l.hash.clone()).collect(),
    }
}

/// Checks that each record follows existing ones, and finds forks.
pub fn check(links: &[Link]) -> Findings {
    let mut links: Vec<&Link> = links.iter().collect();
    links.sort_by_key(|l| (l.sequence, &l.hash));
    links.dedup_by(|a, b| a.hash == b.hash);
    let numbers: BTreeMap<&str, u64> = links
        .iter()
        .map(|l| (l.hash.as_str(), l.sequence))
        .collect();
    let mut findings = Findings::default();
    let mut followers: BTreeMap<u64, BTreeMap<Option<&str>, u64>> = BTreeMap::new();
    for link in &links {
        let wrong = wrong(link, &numbers);
        let name = |what| (link.name.clone(), what);
        findings.problems.extend(wrong.map(name));
        let mut parents: Vec<Option<&str>> =
            link.previous.iter().map(|h| Some(h.as_str())).collect();
        if parents.is_empty() {
            parents.push(None);
        }
        for parent in parents {
            let number = parent.map_or(Some(&0), |hash| numbers.get(hash));
            let known = number.map(|n| followers.entry(*n).or_default());
            if let Some(known) = known {
                *known.entry(parent).or_default() += 1;
            }
        }
    }
    let open = ends(&links.iter().map(|l| (*l).clone()).collect::<Vec<_>>()).len();
    for (after, parents) in followers {
        for _ in parents.values().filter(|count| **count > 1) {
            let then = match open {
                0 | 1 => "a later record joins the branches",
                _ => "the next record joins the branches",
            };
            findings.forks.push(format!(
                "forks at record {}: runs signed with one key at the same time; each branch is whole unless something else is said of it, and {then}",
                after.saturating_add(1)
            ));
        }
    }
    findings
}

/// Explains why a record does not follow existing ones; `None` when it does.
fn wrong(link: &Link, numbers: &BTreeMap<&str, u64>) -> Option<String> {
    let before = link.sequence.saturating_sub(1);
    let missing = |n: u64| format!("record {n} of this chain is missing");
    let known: Vec<u64> = link
        .previous
        .iter()
        .filter_map(|hash| numbers.get(hash.as_str()).copied())
        .collect();
    if known.len() < link.previous.len() {
        let there = numbers.values().any(|n| *n == before);
        return Some(match (there, link.previous.len()) {
            (false, _) => missing(before),
            (true, 1) => "does not carry the hash of the record before it".into(),
            (true, _) => "names a record of another branch that is missing".into(),
        });
    }
    match known.iter().max() {
        None if link.sequence == 1 => None,
        None if numbers.values().any(|n| *n == before) => {
            Some("does not carry the hash of the record before it".into())
        }
        None => Some(missing(before)),
        Some(newest) if newest.checked_add(1) == Some(link.sequence) => None,
        Some(_) => Some("has another number than the record after those that it names".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(hash: &str, sequence: u64, previous: &[&str]) -> Link {
        Link {
            name: hash.into(),
            hash: hash.into(),
            sequence,
            previous: previous.iter().map(|h| (*h).to_owned()).collect(),
        }
    }

    #[test]
    fn a_record_follows_every_end() {
        let place = |sequence, previous: &[&str]| Next {
            sequence,
            previous: previous.iter().map(|h| (*h).to_owned()).collect(),
        };
        assert_eq!(next(&[]), place(1, &[]));
        let line = [link("a", 1, &[]), link("b", 2, &["a"])];
        assert_eq!(next(&line), place(3, &["b"]));
        let fork = [line[0].clone(), line[1].clone(), link("c", 2, &["a"])];
        assert_eq!(next(&fork), place(3, &["b", "c"]));
        // A branch that an older version did not join.
        let long = [&fork[..], &[link("d", 3, &["b"])]].concat();
        assert_eq!(next(&long), place(4, &["d", "c"]));
        let joined = [&long[..], &[link("e", 4, &["d", "c"])]].concat();
        assert_eq!(next(&joined), place(5, &["e"]));
    }

    #[test]
    fn a_fork_is_reported_and_is_no_damage() {
        let mut links = vec![link("a", 1, &[]), link("b", 2, &["a"])];
        assert_eq!(check(&links), Findings::default());
        links.push(link("c", 2, &["a"]));
        let open = check(&links);
        assert_eq!((open.problems.len(), open.forks.len()), (0, 1));
        assert!(open.forks[0].contains("at record 2"), "{open:?}");
        assert!(open.forks[0].contains("the next record joins"), "{open:?}");
        links.push(link("d", 3, &["b", "c"]));
        let joined = check(&links);
        assert_eq!((joined.problems.len(), joined.forks.len()), (0, 1));
        assert!(joined.forks[0].contains("a later record joins"));
        // Two records that both begin a chain.
        let first = check(&[link("a", 1, &[]), link("b", 1, &[])]);
        assert_eq!((first.problems.len(), first.forks.len()), (0, 1));
        // One record with two names is one record.
        links.push(Link {
            name: "again".into(),
            ..links[0].clone()
        });
        assert_eq!(check(&links), joined);
    }

    #[test]
    fn a_missing_or_misplaced_record_is_damage() {
        let table: [(&[Link], &str); 7] = [
            (&[link("b", 2, &["a"])], "record 1 of this chain is missing"),
            (&[link("b", 2, &[])], "record 1 of this chain is missing"),
            (
                &[link("a", 1, &[]), link("c", 3, &["b"])],
                "record 2 of this chain is missing",
            ),
            (
                &[link("x", 1, &[]), link("b", 2, &["a"])],
                "does not carry the hash",
            ),
            (
                &[link("a", 1, &[]), link("b", 2, &[])],
                "does not carry the hash",
            ),
            (
                &[
                    link("a", 1, &[]),
                    link("b", 2, &["a"]),
                    link("d", 3, &["b", "c"]),
                ],
                "another branch that is missing",
            ),
            (&[link("a", 1, &[]), link("b", 3, &["a"])], "another number"),
        ];
        for (links, text) in table {
            let problems = check(links).problems;
            assert_eq!(problems.len(), 1, "{links:?}: {problems:?}");
            assert!(problems[0].1.contains(text), "{links:?}: {problems:?}");
        }
    }
}
