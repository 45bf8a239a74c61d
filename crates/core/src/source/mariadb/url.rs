//! Parts of a `mariadb://` URL, and errors about them.

use crate::error::{Code, Error, Result};
use crate::percent;

/// Returns `None` for an empty part.
pub fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The error for a malformed URL. It never shows the URL.
pub fn malformed(why: &str) -> Error {
    Error::new(
        Code::Configuration,
        format!("a MariaDB or MySQL URL is malformed: {why}"),
    )
    .hint("write it as mysql://user:password@host:3306/database?ssl-mode=required, with special characters percent-encoded")
}

/// Decodes a percent-encoded part.
pub fn decode(text: &str) -> Result<String> {
    percent::decode(text).map_err(malformed)
}
