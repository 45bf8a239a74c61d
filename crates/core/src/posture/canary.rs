//! Whether the credentials of a store can destroy what is in it, found out by trying with an object that
//! is there for nothing else.
//!
//! What can be deleted is deleted, so that nothing is left; what cannot is the proof, and is left for the
//! next time.

use crate::condition::ConditionKind;
use crate::error::{Error, Result};
use crate::finding::{Finding, Severity};
use crate::object_lock::CANARY as KEY;
use lifeboat_store::{PutOptions, Store, StoreError};
use std::io::Read;

const FIRST: &[u8] =
    b"Lifeboat tries whether it can destroy this object. Where it cannot, it stays.\n";
const SECOND: &[u8] = b"Lifeboat tries whether it can destroy what was here before.\n";

/// What trying showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tried {
    /// A version was deleted, and is gone.
    Deleted,
    /// It was overwritten, and what was there before is gone.
    Overwritten {
        /// Whether it was deleted at last.
        is_left: bool,
    },
    /// Neither could be done for good.
    Refused {
        /// What said so.
        reason: String,
    },
}

/// Tries it.
pub(super) fn put_to_the_test(store: &dyn Store) -> std::result::Result<Tried, StoreError> {
    let made = store.stat(KEY)?.is_none();
    if made {
        put(store, FIRST)?;
    }
    let before = store.stat(KEY)?.and_then(|info| info.version);
    if made {
        put(store, SECOND)?;
        if !is_there(store, before.as_deref())? {
            // Nothing is left of it, if it can be deleted.
            let is_left = store.delete(KEY).is_err() || store.stat(KEY)?.is_some();
            return Ok(Tried::Overwritten { is_left });
        }
    }
    let Some(version) = before else {
        // It was there before: what is without versions can be overwritten.
        let is_left = store.delete(KEY).is_err() || store.stat(KEY)?.is_some();
        return Ok(Tried::Overwritten { is_left });
    };
    match store.delete_version(KEY, &version) {
        Err(StoreError::Denied { detail, .. }) => return Ok(Tried::Refused { reason: detail }),
        deleted => deleted?,
    }
    // The other versions as well, so that nothing is left.
    for _ in 0..8 {
        match store.stat(KEY)?.and_then(|info| info.version) {
            Some(version) => store.delete_version(KEY, &version)?,
            None => break,
        }
    }
    Ok(Tried::Deleted)
}

fn put(store: &dyn Store, text: &[u8]) -> std::result::Result<(), StoreError> {
    let options = PutOptions::default();
    store.put(KEY, &mut &*text, &options).map(drop)
}

/// Returns whether what was put first can still be read.
fn is_there(store: &dyn Store, version: Option<&str>) -> std::result::Result<bool, StoreError> {
    let Some(version) = version else {
        return Ok(false);
    };
    let mut text = Vec::new();
    match store.open_version(KEY, version, 0) {
        Ok(mut reader) => Ok(reader.read_to_end(&mut text).is_ok() && text == FIRST),
        Err(StoreError::NotFound { .. }) => Ok(false),
        // Who may not read it knows no better than that it was not lost by this.
        Err(StoreError::Denied { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The finding. `required` is whether it must not be possible.
pub(super) fn judged(subject: &str, required: bool, tried: Result<Tried>) -> Finding {
    let finding = |severity, message: String, hint: &str| {
        let subject = format!("{subject}.undeletable");
        Finding::new(&subject, severity, message, Some(hint.to_owned()))
    };
    let wrong = match required {
        true => Severity::Error,
        false => Severity::Warning,
    };
    let left = |is_left: bool| match is_left {
        true => format!("; {KEY} is left there"),
        false => String::new(),
    };
    match tried {
        Ok(Tried::Refused { reason }) => Finding {
            hint: None,
            ..finding(
                Severity::Ok,
                format!("these credentials could not destroy what they had put, which was tried: {reason}; {KEY} is left there for the next time"),
                "",
            )
        },
        Ok(Tried::Deleted) => finding(
            wrong,
            "these credentials can delete versions, which was tried: whoever gets hold of them can destroy every point".to_owned(),
            "take s3:DeleteObjectVersion from them; `lifeboat policy` prints what they need",
        )
        .of_kind(ConditionKind::Posture),
        Ok(Tried::Overwritten { is_left }) => finding(
            wrong,
            format!(
                "these credentials can overwrite for good, which was tried: the bucket keeps no versions{}",
                left(is_left)
            ),
            "switch versioning on, and take s3:DeleteObjectVersion from them",
        )
        .of_kind(ConditionKind::Posture),
        Err(error) => unknown(finding(
            wrong,
            format!("whether these credentials can destroy what is there could not be tried: {error}"),
            "",
        ), &error),
    }
}

fn unknown(finding: Finding, error: &Error) -> Finding {
    Finding {
        hint: error.hint.clone(),
        ..finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_store::MemoryStore;

    #[test]
    fn what_can_be_deleted_is_deleted_and_told() {
        let store = MemoryStore::versioned();
        assert_eq!(put_to_the_test(&store).unwrap(), Tried::Deleted);
        assert_eq!(store.stat(KEY).unwrap(), None);
        let plain = MemoryStore::new();
        let overwritten = Tried::Overwritten { is_left: false };
        assert_eq!(put_to_the_test(&plain).unwrap(), overwritten);
        assert_eq!(plain.stat(KEY).unwrap(), None);
        let told = judged("store.s", true, Ok(Tried::Deleted));
        assert_eq!(
            (told.severity, told.kind),
            (Severity::Error, Some(ConditionKind::Posture))
        );
        let told = judged(
            "store.s",
            false,
            Ok(Tried::Refused {
                reason: "no".to_owned(),
            }),
        );
        assert_eq!((told.severity, told.kind), (Severity::Ok, None));
    }
}
