//! Limits the length of a listing: it is held in memory, but the server decides how long it is.

use crate::StoreError;

/// The most objects in a listing: ten times what the largest stores hold, about 3 GB of memory.
pub(crate) const LISTED_MAX: usize = 20_000_000;

/// Fails if a listing already has more objects than [`LISTED_MAX`].
pub(crate) fn check_listed(
    count: usize,
    location: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    match count > LISTED_MAX {
        false => Ok(()),
        true => Err(StoreError::Other {
            location: location(),
            detail: format!("it lists more than {LISTED_MAX} objects, or its listing has no end"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_without_end_is_given_up() {
        let location = || "s3://b".to_owned();
        assert!(check_listed(LISTED_MAX, location).is_ok());
        let error = check_listed(LISTED_MAX + 1, location).unwrap_err();
        assert!(error.to_string().contains("s3://b"), "{error}");
    }
}
