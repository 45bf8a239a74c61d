//! Percent-encoding in URLs.
//!
//! Nothing here knows the parts of a URL: the caller chooses what to encode and words the errors.

/// Decodes a part of a URL. The error says what is wrong and never quotes the part.
pub(crate) fn decode(text: &str) -> Result<String, &'static str> {
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
            _ => return Err("a % is not followed by two hex digits"),
        }
    }
    String::from_utf8(bytes).map_err(|_| "a part of it is not UTF-8")
}

/// Encodes every character of `text` that has a meaning in a URL.
pub(crate) fn encode(text: &str) -> String {
    encode_but(text, b"")
}

/// Encodes a path as [`encode`] does, but keeps its slashes.
pub(crate) fn encode_path(text: &str) -> String {
    encode_but(text, b"/")
}

fn encode_but(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || kept.contains(&b) => {
                out.push(char::from(b));
            }
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_and_decoding_round_trip() {
        let text = "a/b ü%+~";
        assert_eq!(encode(text), "a%2Fb%20%C3%BC%25%2B~");
        assert_eq!(encode_path(text), "a/b%20%C3%BC%25%2B~");
        for encoded in [encode(text), encode_path(text)] {
            assert_eq!(decode(&encoded).as_deref(), Ok(text));
        }
        for wrong in ["%", "%2", "%2g", "%+2", "%ff"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
