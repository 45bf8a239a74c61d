//! Any URL: the message as JSON, with a signature where a key is configured.
//!
//! The signature covers the time of sending, so that a receiver can refuse what somebody recorded
//! and sends again.

use super::{Verdict, by_status, token};
use crate::digest::hex;
use crate::document::Document;
use crate::http::{Answer, Method, Request, Url, Value};
use crate::notify::Message;
use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

/// The document of a message: what webhooks and commands receive.
pub fn document(message: &Message) -> Vec<u8> {
    // A message holds nothing that JSON cannot.
    serde_json::to_vec(&Document::new(message)).unwrap_or_default()
}

/// The request for a message that is sent at `now`.
pub fn request(url: Url, key: Option<&Secret>, message: &Message, now: Timestamp) -> Request {
    let body = document(message);
    let mut headers = vec![
        ("content-type", Value::Plain("application/json".into())),
        ("idempotency-key", Value::Plain(token(&message.id, 200))),
    ];
    if let Some(key) = key {
        let time = now.as_second().to_string();
        let signature = Value::Plain(format!("v1={}", signature(key, &time, &body)));
        headers.push(("lifeboat-timestamp", Value::Plain(time)));
        headers.push(("lifeboat-signature", signature));
    }
    Request {
        method: Method::Post,
        url,
        headers,
        body,
    }
}

/// HMAC-SHA256 of the time, a full stop and the body, in hexadecimal.
fn signature(key: &Secret, time: &str, body: &[u8]) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return String::new();
    };
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

/// Judges an answer: any status from 200 to 299 means that it arrived.
pub fn judge(answer: &Answer) -> Verdict {
    by_status(answer, None)
}
