//! ntfy: a message to a topic, as JSON.
//!
//! Text is shown as it is, since Markdown is off. What is longer than the server takes would become
//! an attachment.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url, Value};
use crate::notify::{Event, Message};
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest text and title, in bytes.
const MESSAGE_MAX: usize = 4096;
const TITLE_MAX: usize = 250;

/// The request.
pub fn request(server: Url, topic: &str, key: Option<&Secret>, message: &Message) -> Request {
    let (priority, tag) = match (message.event, message.severity) {
        (Event::Recovered, _) => (3, "white_check_mark"),
        (Event::Test, _) => (3, "test_tube"),
        (Event::Report, _) => (3, "clipboard"),
        (_, Severity::Error) => (4, "rotating_light"),
        (_, Severity::Warning | Severity::Ok) => (3, "warning"),
    };
    let body = json!({
        "topic": topic,
        "title": Measure::Bytes.fit(&text::headline(message), TITLE_MAX),
        "message": text::body(message, Measure::Bytes, MESSAGE_MAX, str::to_owned),
        "priority": priority,
        "tags": [tag],
    });
    let secret = key.map(|key| ("authorization", Value::Secret("Bearer ", key.clone())));
    json(server, secret, &body)
}

/// Returns whether a text can be a topic.
pub fn is_topic(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&text.len()) && text.chars().all(fits)
}

/// Judges an answer: the message with its id, or `error` with the reason.
pub fn judge(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["id"].is_string() && body["event"] == "message";
    by_json(answer, accepted, |body| text_at(body, "/error"))
}
