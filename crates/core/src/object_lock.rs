//! Locks on the objects of a store: which objects have one, and which locks have to be extended. Pure.
//!
//! Guarantees: what Lifeboat itself replaces or deletes is never locked: leases, marks, instructions,
//! the memory of a runner, and the locks of a repository. A lock is extended when less than half of it
//! is left, and when it is not known.

use crate::config::{ObjectLockConfig, ObjectLockMode};
use crate::point::POINTS_PREFIX;
use crate::snapshot;
use crate::span::Span;
use jiff::Timestamp;
use lifeboat_store::{LockMode, ObjectLock};
use std::collections::{BTreeMap, BTreeSet};

/// What is put to try whether it can be destroyed.
pub(crate) const CANARY: &str = "lifeboat/canary";

/// Records of drills and restores, which are never changed.
const EVIDENCE_PREFIX: &str = "lifeboat/evidence/";

/// Returns whether an object is locked where a store locks objects, by its key: all that belongs to
/// points, evidence, and the object with which it is tried whether locks hold.
pub(crate) fn applies(key: &str) -> bool {
    if key == CANARY {
        return true;
    }
    if let Some(file) = key.strip_prefix(snapshot::PREFIX) {
        return !file.starts_with("locks/");
    }
    let own = key.starts_with("lifeboat/");
    !own || [POINTS_PREFIX, EVIDENCE_PREFIX]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// The locks that a store puts on its objects.
pub(crate) fn of(config: &ObjectLockConfig) -> ObjectLock {
    ObjectLock {
        mode: match config.mode {
            ObjectLockMode::Compliance => LockMode::Compliance,
            ObjectLockMode::Governance => LockMode::Governance,
        },
        seconds: config.length.seconds,
        applies,
    }
}

/// An object, and the version of it that is meant, if the store named one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) version: Option<String>,
}

/// The lock of an object, as it was when it was asked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// When it ends.
    pub(crate) until: Timestamp,
    /// What the configuration asked for then.
    pub(crate) terms: String,
}

/// What is asked of locks at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A lock that ends later is left alone.
    pub(crate) enough: Timestamp,
    /// The end of a lock that is extended now.
    pub(crate) until: Timestamp,
    /// What the configuration asks for.
    pub(crate) terms: String,
}

impl Wanted {
    /// What a configuration asks for now.
    pub(crate) fn now(config: &ObjectLockConfig, now: Timestamp) -> Self {
        let half = Span {
            seconds: config.length.seconds / 2,
        };
        Wanted {
            enough: half.after(now),
            until: config.length.after(now),
            terms: format!("{} {}", config.mode.as_str(), config.length),
        }
    }
}

/// The objects whose locks have to be looked at, and extended unless they are long enough: of those
/// that are needed, each whose noted lock is not long enough, and each of which none is noted under the
/// same terms.
pub(crate) fn due(
    needed: BTreeSet<Object>,
    noted: &BTreeMap<Object, Noted>,
    wanted: &Wanted,
) -> Vec<Object> {
    let lasts = |object: &Object| {
        let noted = noted.get(object);
        noted.is_some_and(|noted| noted.terms == wanted.terms && noted.until >= wanted.enough)
    };
    needed.into_iter().filter(|object| !lasts(object)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_replaced_or_deleted_is_not_locked() {
        for key in [
            "crm/db/main/2026-11-20.tar.zst",
            "locks/of/a/template",
            "lifeboat/points/20261120T060000Z-7f3a.json.sig",
            "lifeboat/evidence/0123/000001.json",
            "repository/config",
            "repository/keys/0123",
            "repository/data/01/0123",
            "repository/index/0123",
            "repository/snapshots/0123",
        ] {
            assert!(applies(key), "{key}");
        }
        for key in [
            "lifeboat/probe",
            "lifeboat/locks/crm-production-main.json",
            "lifeboat/intents/x.json",
            "lifeboat/pins/x.json",
            "lifeboat/pruned/x.json",
            "lifeboat/unchanged/x.json",
            "lifeboat/runner/crm/production.json",
            "lifeboat/RESTORE.md",
            "lifeboat/restore/crm/production.md",
            "repository/locks/0123",
        ] {
            assert!(!applies(key), "{key}");
        }
    }

    #[test]
    fn a_lock_is_extended_when_less_than_half_is_left_or_nothing_is_known() {
        let config = |length: &str| ObjectLockConfig {
            mode: ObjectLockMode::Compliance,
            length: length.parse().unwrap(),
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let object = |key: &str, version: Option<&str>| Object {
            key: key.to_owned(),
            version: version.map(str::to_owned),
        };
        let wanted = Wanted::now(&config("30d"), at("2026-12-01T00:00:00Z"));
        assert_eq!(wanted.until, at("2026-12-31T00:00:00Z"));
        let note = |until: &str| Noted {
            until: at(until),
            terms: wanted.terms.clone(),
        };
        let (known, half) = (object("known", Some("1")), object("half", None));
        let (short, new) = (object("short", None), object("new", None));
        let other_version = object("known", Some("2"));
        let noted = BTreeMap::from([
            (known.clone(), note("2026-12-20T00:00:00Z")),
            (half.clone(), note("2026-12-16T00:00:00Z")),
            (short.clone(), note("2026-12-15T23:59:59Z")),
            (object("not needed", None), note("2026-12-02T00:00:00Z")),
        ]);
        let needed = || {
            let all = [&known, &half, &short, &new, &other_version];
            all.into_iter().cloned().collect::<BTreeSet<_>>()
        };
        assert_eq!(
            due(needed(), &noted, &wanted),
            [other_version.clone(), new.clone(), short.clone()]
        );
        // What was noted under other terms may be of an object that was put under those.
        let longer = Wanted::now(&config("31d"), at("2026-12-01T00:00:00Z"));
        assert_eq!(due(needed(), &noted, &longer).len(), 5);
        assert!(due(BTreeSet::new(), &noted, &wanted).is_empty());
    }
}
