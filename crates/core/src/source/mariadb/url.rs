//! The parts of a `mariadb://` URL: percent encoding, and what is wrong with one.

use crate::error::{Code, Error, Result};

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

/// Percent-decoding; a `%` without two hex digits is an error.
pub fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            }
            _ => return Err(malformed("a % is not followed by two hex digits")),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed("a part of it is not UTF-8"))
}

/// Percent-encoding of everything that means something in a URL.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
