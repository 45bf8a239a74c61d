//! What a key may look like.

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
