//! The rules for keys.

use crate::StoreError;

/// Refuses keys that are empty, absolute, longer than 1024 bytes, or have empty, `.` or `..`
/// components, or control characters.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    let refuse = |reason| {
        Err(StoreError::InvalidKey {
            key: key.to_owned(),
            reason,
        })
    };
    if key.is_empty() {
        return refuse("it is empty");
    }
    if key.len() > 1024 {
        return refuse("it is longer than 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return refuse("it has a control character");
    }
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("it has an empty, `.` or `..` component");
    }
    Ok(())
}

/// The directory below the root in which a store of files keeps unfinished objects.
pub(crate) const INCOMING: &str = ".incoming";
/// The longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Checks the rules for every key, and those of a store whose objects are files.
pub(crate) fn check_file_key(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    let refuse = |reason| {
        Err(StoreError::InvalidKey {
            key: key.to_owned(),
            reason,
        })
    };
    if key.split('/').next() == Some(INCOMING) {
        return refuse("`.incoming` is where this store keeps unfinished objects");
    }
    if key.split('/').any(|part| part.len() > NAME_BYTES_MAX) {
        return refuse("it has a component longer than 255 bytes, which no file may be called");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_store() {
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/./b",
            "a/..",
            "a\nb",
            &"x".repeat(1025),
        ] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b c/ü.gz", "…", "a..b"] {
            assert!(check_key(good).is_ok(), "{good:?}");
        }
    }
}
