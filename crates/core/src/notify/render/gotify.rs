//! Gotify: a message of an application.
//!
//! It is marked as plain text, in which clients look for no Markdown.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at, token};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url, Value};
use crate::notify::{Event, Message};
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest text and title. The server has no limit of its own.
const MESSAGE_MAX: usize = 8000;
const TITLE_MAX: usize = 500;

/// The request; `server` is the URL before `/message`.
pub fn request(server: &Url, key: &Secret, message: &Message) -> Option<Request> {
    let priority = match (message.event, message.severity) {
        (Event::Recovered | Event::Test | Event::Report, _) => 4,
        (_, Severity::Error) => 8,
        (_, Severity::Warning | Severity::Ok) => 5,
    };
    let body = json!({
        "title": Measure::Utf16.fit(&text::headline(message), TITLE_MAX),
        "message": text::body(message, Measure::Utf16, MESSAGE_MAX, str::to_owned),
        "priority": priority,
        "extras": {
            "client::display": { "contentType": "text/plain" },
            "lifeboat::message": { "id": token(&message.id, 200) },
        },
    });
    let secret = ("x-gotify-key", Value::Secret("", key.clone()));
    Some(json(server.join("/message")?, Some(secret), &body))
}

/// Judges an answer: the message with its id, or `errorDescription` with the reason.
pub fn judge(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["id"].is_number();
    by_json(answer, accepted, |body| {
        text_at(body, "/errorDescription").or_else(|| text_at(body, "/error"))
    })
}
