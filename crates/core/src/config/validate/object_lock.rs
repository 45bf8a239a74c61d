//! Locks of buckets: how long they may be.

use super::{Config, Issue};
use crate::config::StoreKind;
use crate::span::Span;

/// Locks are extended once a day, when less than half of them is left; of a shorter one half would be
/// over where a day is missed.
const LENGTH_MIN: Span = Span {
    seconds: 5 * 86_400,
};
/// The longest lock that S3 takes.
const LENGTH_MAX: Span = Span {
    seconds: 36_500 * 86_400,
};

pub(super) fn lengths(config: &Config, issues: &mut Vec<Issue>) {
    for (name, store) in &config.store {
        let StoreKind::S3(s3) = &store.kind else {
            continue;
        };
        let Some(lock) = &s3.object_lock else {
            continue;
        };
        let mut refuse = |message: String, hint: &str| {
            let issue = Issue::refused(format!("store.{name}"), "object_lock.for", message);
            issues.push(issue.hint(hint));
        };
        if lock.length < LENGTH_MIN {
            refuse(
                format!(
                    "{} is too short: a lock is extended once a day, and must not end before",
                    lock.length
                ),
                "write for = \"5d\" or longer",
            );
        }
        if lock.length > LENGTH_MAX {
            refuse(
                format!("{} is longer than S3 locks anything", lock.length),
                "write for = \"100y\" or less",
            );
        }
    }
}
