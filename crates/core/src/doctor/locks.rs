//! Whether the bucket of a store locks objects as the store asks for.

use crate::condition::ConditionKind;
use crate::config::StoreKind;
use crate::finding::{Finding, Severity};
use crate::span::Span;
use crate::stores::OpenStore;

/// Reports what the bucket says about locks. A store that does not answer is told of elsewhere, and
/// each lock is read back where the bucket may not be asked.
pub(super) fn examine(subject: &str, store: &OpenStore) -> Option<Finding> {
    let StoreKind::S3(s3) = &store.config.kind else {
        return None;
    };
    let asked = s3.object_lock.as_ref()?;
    let settings = store.store.lock_settings().ok()??;
    if !settings.enabled {
        let message =
            "its bucket locks no objects, and object_lock asks for it: it takes no points";
        let hint = format!(
            "turn on versioning and object lock (aws s3api put-bucket-versioning, put-object-lock-configuration), or remove object_lock from [{subject}]"
        );
        let finding = Finding::new(subject, Severity::Error, message, Some(hint));
        return Some(finding.of_kind(ConditionKind::Posture));
    }
    let default = settings.default.map(|(_, days)| Span {
        seconds: days.saturating_mul(86_400),
    });
    if let Some(default) = default.filter(|default| *default > asked.length) {
        let message = format!(
            "its bucket locks for {default} by default, longer than object_lock asks ({}): what Lifeboat replaces and deletes there stays that long",
            asked.length
        );
        let hint = "shorten the default retention of the bucket, or remove it: Lifeboat says for each object how long it is locked";
        let finding = Finding::new(subject, Severity::Warning, message, Some(hint.to_owned()));
        return Some(finding.of_kind(ConditionKind::Posture));
    }
    let message = format!(
        "its bucket locks objects: {} for {}",
        asked.mode.as_str(),
        asked.length
    );
    Some(Finding::new(subject, Severity::Ok, message, None))
}
