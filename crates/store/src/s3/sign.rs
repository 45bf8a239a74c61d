//! AWS Signature Version 4 in headers, over paths of any bytes: keys need not be text, and the path
//! that is signed is exactly the path that is sent.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The credentials that sign requests.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
}

/// The parts of a request that are signed. The path and the query are already percent-encoded.
pub(super) struct Parts<'a> {
    pub(super) method: &'a Method,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Names and values in order of name.
    pub(super) query: &'a str,
    /// The SHA-256 of the body, in hex.
    pub(super) payload: &'a str,
}

impl Signer {
    /// Adds the headers of the signature. All headers that are set already are signed.
    pub(super) fn sign(&self, parts: &Parts<'_>, headers: &mut HeaderMap, now: Timestamp) {
        let at = now.to_zoned(TimeZone::UTC);
        let (date, time) = (
            at.strftime("%Y%m%d").to_string(),
            at.strftime("%Y%m%dT%H%M%SZ").to_string(),
        );
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("x-amz-date", &time);
        set("x-amz-content-sha256", parts.payload);
        if let Some(token) = &self.session_token {
            set("x-amz-security-token", token);
        }
        let (names, canonical) = canonical_headers(parts.host, headers);
        let request = format!(
            "{}\n{}\n{}\n{canonical}\n{names}\n{}",
            parts.method, parts.path, parts.query, parts.payload
        );
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex(&Sha256::digest(request))
        );
        let mut key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), &date);
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key,
            hex(&hmac(&key, &to_sign))
        );
        if let Ok(mut value) = HeaderValue::from_str(&authorization) {
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
    }
}

/// The header names, and the names with their values, sorted; the host is among them.
fn canonical_headers(host: &str, headers: &HeaderMap) -> (String, String) {
    let mut all: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            let words: Vec<_> = value.split(' ').filter(|w| !w.is_empty()).collect();
            (name.as_str(), words.join(" "))
        })
        .collect();
    all.push(("host", host.to_owned()));
    all.sort();
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let mut canonical = String::new();
    for (name, value) in &all {
        // Writing to a string does not fail.
        let _ = writeln!(canonical, "{name}:{value}");
    }
    (names.join(";"), canonical)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The SHA-256 of a body, as it is signed.
pub(super) fn payload(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Bytes as lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Percent-encodes everything but unreserved characters; slashes stay if `slashes` is set.
pub(super) fn encode(bytes: &[u8], slashes: bool) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            b'/' if slashes => text.push('/'),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Decodes percent-encoded text to bytes.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|c| std::str::from_utf8(c).ok());
        let byte = code.and_then(|c| u8::from_str_radix(c, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "GET Object" of the Amazon S3 API reference, "Authenticating Requests".
    #[test]
    fn the_reference_example_is_signed_correctly() {
        let signer = Signer {
            region: "us-east-1".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let parts = Parts {
            method: &Method::GET,
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: "",
            payload: &payload(b""),
        };
        signer.sign(
            &parts,
            &mut headers,
            "2013-05-24T00:00:00Z".parse().unwrap(),
        );
        let authorization = headers.get("authorization").unwrap().to_str().unwrap();
        assert!(
            authorization.ends_with(
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            ),
            "{authorization}"
        );
    }

    #[test]
    fn any_bytes_survive_encoding() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all, false)), all);
        assert_eq!(decode(&encode(&all, true)), all);
        assert_eq!(encode(b"a/b c+\xff", true), "a/b%20c%2B%FF");
        assert_eq!(decode("a+b%2"), b"a b%2");
    }
}
