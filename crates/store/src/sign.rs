//! AWS Signature Version 4 in headers, over paths of any bytes: keys need not be text. However a path or
//! a query is percent-encoded, the one form of it that servers expect is signed.

use crate::aws::Keys;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Signs requests to one service in one region.
pub(crate) struct Signer<'a> {
    keys: &'a Keys,
    region: &'a str,
    service: &'a str,
}

/// A call of a service, to be signed.
pub struct Call<'a> {
    /// The region.
    pub region: &'a str,
    /// The service, as signatures name it: `sts`.
    pub service: &'a str,
    /// The method: `POST`.
    pub method: Method,
    /// The host, as [`host_of`] says it.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The headers that the call has.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub body: &'a [u8],
}

/// The headers that sign a call at a time. Source: "Signature Version 4 for API requests" of the IAM user
/// guide.
pub fn signed(call: &Call<'_>, keys: &Keys, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in call.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let parts = Parts {
        method: &call.method,
        host: call.host,
        path: call.path,
        query: "",
        payload: &payload(call.body),
    };
    Signer::new(keys, call.region, call.service).sign(&parts, &mut headers, now);
    let names = [
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
    ];
    let added = names.into_iter().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name, value.to_owned()))
    });
    added.collect()
}

/// The host of a URL as it stands in the header that is signed: with the port, unless it is the default.
pub fn host_of(uri: &Uri) -> &str {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let port = match uri.scheme_str() {
        Some("https") => ":443",
        _ => ":80",
    };
    host.strip_suffix(port).unwrap_or(host)
}

/// The body of a request whose bytes are not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The parts of a request that are signed. The path and the query are percent-encoded, in any way.
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a Method,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The SHA-256 of the body, in hex, or [`UNSIGNED`].
    pub(crate) payload: &'a str,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(keys: &'a Keys, region: &'a str, service: &'a str) -> Self {
        Signer {
            keys,
            region,
            service,
        }
    }

    /// Adds the headers of the signature. All headers that are set already are signed, but for those that
    /// may change on the way.
    pub(crate) fn sign(&self, parts: &Parts<'_>, headers: &mut HeaderMap, now: Timestamp) {
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
        if let Some(token) = &self.keys.session_token {
            set("x-amz-security-token", token);
        }
        let (names, canonical) = canonical_headers(parts.host, headers);
        let request = format!(
            "{}\n{}\n{}\n{canonical}\n{names}\n{}",
            parts.method,
            encode(&decode_part(parts.path), true),
            canonical_query(parts.query),
            parts.payload
        );
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex(&Sha256::digest(request))
        );
        let mut key = hmac(format!("AWS4{}", self.keys.secret_key).as_bytes(), &date);
        for part in [self.region, self.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.keys.access_key,
            hex(&hmac(&key, &to_sign))
        );
        if let Ok(mut value) = HeaderValue::from_str(&authorization) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
    }
}

/// Headers that the client or a proxy sets or changes.
const UNSTABLE: [HeaderName; 7] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::USER_AGENT,
];

/// The same address in the one form that is signed: what differs only in how it is encoded would be signed
/// otherwise by servers that take it as it comes.
pub(crate) fn canonical(uri: &Uri) -> Option<Uri> {
    let mut text = encode(&decode_part(uri.path()), true);
    if let Some(query) = uri.query() {
        text = format!("{text}?{}", canonical_query(query));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(text.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The parameters in order of name, each encoded in the one way that is signed.
fn canonical_query(query: &str) -> String {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let mut pairs: Vec<(String, String)> = parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let again = |text: &str| encode(&decode_part(text), false);
            (again(name), again(value))
        })
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// The header names, and the names with their values, sorted; the host is among them.
fn canonical_headers(host: &str, headers: &HeaderMap) -> (String, String) {
    let signed = headers.iter().filter(|(name, _)| !UNSTABLE.contains(name));
    let mut all: Vec<(&str, String)> = signed
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
pub(crate) fn payload(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Percent-encodes everything but unreserved characters; slashes stay if `slashes` is set.
pub(crate) fn encode(bytes: &[u8], slashes: bool) -> String {
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

/// Decodes percent-encoded text of a form to bytes, where a plus is a blank.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    decode_part(&text.replace('+', "%20"))
}

/// Decodes a percent-encoded path or query to bytes.
fn decode_part(text: &str) -> Vec<u8> {
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
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The text of the first element with this name, on one line.
pub fn between(text: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let content = text
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(content, _)| content);
    let content = content
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    content.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "GET Object" of the Amazon S3 API reference, "Authenticating Requests".
    #[test]
    fn an_address_is_sent_in_the_form_that_is_signed() {
        let sent = |uri: &str| canonical(&uri.parse().unwrap()).unwrap().to_string();
        for (uri, expected) in [
            (
                "http://h:1/b?list-type=2&prefix=a/b%20c&max-keys=1",
                "http://h:1/b?list-type=2&max-keys=1&prefix=a%2Fb%20c",
            ),
            ("http://h/b/k(1)/..", "http://h/b/k%281%29/.."),
            (
                "http://h/b/k%2B%C3%A4?uploads",
                "http://h/b/k%2B%C3%A4?uploads=",
            ),
            ("http://h/", "http://h/"),
        ] {
            assert_eq!(sent(uri), expected);
        }
    }

    #[test]
    fn the_reference_example_is_signed_correctly() {
        let secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", secret_key, None, "");
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let parts = Parts {
            method: &Method::GET,
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: "",
            payload: &payload(b""),
        };
        Signer::new(&keys, "us-east-1", "s3").sign(
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
    fn however_a_request_is_encoded_one_form_of_it_is_signed() {
        assert_eq!(
            canonical_query("b=2&a=x%2fy&uploads&c=+"),
            "a=x%2Fy&b=2&c=%2B&uploads="
        );
        assert_eq!(encode(&decode_part("/a(b)+%7e"), true), "/a%28b%29%2B~");
    }

    #[test]
    fn the_default_port_is_not_signed() {
        for (url, host) in [
            ("https://s3.example.org:443/b", "s3.example.org"),
            ("http://s3.example.org:80/b", "s3.example.org"),
            ("https://s3.example.org:80/b", "s3.example.org:80"),
            ("http://[::1]:9000/b", "[::1]:9000"),
            ("http://127.0.0.1/b", "127.0.0.1"),
        ] {
            assert_eq!(host_of(&url.parse().unwrap()), host);
        }
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
