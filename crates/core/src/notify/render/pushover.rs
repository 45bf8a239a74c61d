//! Pushover: a message to a user or a group.
//!
//! HTML is off, so that the text is shown as it is. An error interrupts quiet hours; a warning does
//! not.

use super::text::{self, Measure};
use super::{Verdict, by_json, json};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url};
use crate::notify::{Event, Message};
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest text and title, in characters.
const MESSAGE_MAX: usize = 1024;
const TITLE_MAX: usize = 250;

/// The request. None for secrets that are not text.
pub fn request(api: &Url, token: &Secret, user: &Secret, message: &Message) -> Option<Request> {
    let priority = match (message.event, message.severity) {
        (Event::Recovered | Event::Test | Event::Report, _) => 0,
        (_, Severity::Error) => 1,
        (_, Severity::Warning | Severity::Ok) => 0,
    };
    let body = json!({
        "token": token.expose_str().ok()?,
        "user": user.expose_str().ok()?,
        "title": Measure::Utf16.fit(&text::headline(message), TITLE_MAX),
        "message": text::body(message, Measure::Utf16, MESSAGE_MAX, str::to_owned),
        "priority": priority,
        "timestamp": message.at.as_second(),
    });
    Some(json(api.join("/1/messages.json")?, None, &body))
}

/// Judges an answer: `status` is 1, or `errors` lists the reasons.
pub fn judge(answer: &Answer) -> Verdict {
    by_json(answer, |body| body["status"] == 1, errors)
}

fn errors(body: &Json) -> Option<String> {
    let errors = body["errors"].as_array()?;
    let errors: Vec<&str> = errors.iter().filter_map(Json::as_str).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}
