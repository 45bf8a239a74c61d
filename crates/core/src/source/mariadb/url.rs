//! The parts of a `mariadb://` URL, and what is wrong with one.

use crate::error::{Code, Error, Result};
use crate::percent;

/// An empty part is none.
pub fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Says what is wrong with a URL, never the URL.
pub fn malformed(why: &str) -> Error {
    Error::new(
        Code::Configuration,
        format!("a MariaDB or MySQL URL is malformed: {why}"),
    )
    .hint("write it as mysql://user:password@host:3306/database?ssl-mode=required, with special characters percent-encoded")
}

/// What a percent-encoded part stands for.
pub fn decode(text: &str) -> Result<String> {
    percent::decode(text).map_err(malformed)
}
