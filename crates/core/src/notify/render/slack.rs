//! Slack: a bot that calls `chat.postMessage`, or an incoming webhook.
//!
//! Texts are `plain_text`, in which Slack knows neither markup nor mentions; `&`, `<` and `>` are
//! escaped all the same, as in the fallback text, where `<!channel>` would call everybody. An error
//! of the method has the status 200.

use super::text::{self, Measure};
use super::{Verdict, by_json, by_status, json, text_at};
use crate::http::{Answer, Request, Url, Value};
use crate::notify::Message;
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest text of a header, and of a section, in characters.
const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3000;
/// Longest fallback text.
const FALLBACK_MAX: usize = 3000;

/// The request of a bot; `api` is the URL before `/api/chat.postMessage`.
pub fn post(api: &Url, token: &Secret, channel: &str, message: &Message) -> Option<Request> {
    let mut body = content(message);
    let metadata = json!({
        "event_type": "lifeboat_message",
        "event_payload": {
            "id": super::token(&message.id, 200),
            "alarm": super::token(&message.alarm, 200),
            "event": message.event.as_str(),
        },
    });
    let own = [("channel", channel.into()), ("metadata", metadata)];
    let own = own.map(|(key, value): (&str, Json)| (key.to_owned(), value));
    body.as_object_mut()?.extend(own);
    let secret = ("authorization", Value::Secret("Bearer ", token.clone()));
    Some(json(
        api.join("/api/chat.postMessage")?,
        Some(secret),
        &body,
    ))
}

/// The request to an incoming webhook.
pub fn webhook(url: Url, message: &Message) -> Request {
    json(url, None, &content(message))
}

fn content(message: &Message) -> Json {
    let headline = text::headline(message);
    let fits = |most| Measure::Utf16.fit_escaped(&headline, most, &escape);
    let body = text::body(message, Measure::Utf16, SECTION_MAX, escape);
    let plain = |text: String| json!({ "type": "plain_text", "text": text, "emoji": false });
    json!({
        "text": fits(FALLBACK_MAX),
        "blocks": [
            { "type": "header", "text": plain(fits(HEADER_MAX)) },
            { "type": "section", "text": plain(body) },
        ],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Escapes the three characters that begin something in Slack's texts.
fn escape(line: &str) -> String {
    let line = line.replace('&', "&amp;");
    line.replace('<', "&lt;").replace('>', "&gt;")
}

/// Judges the answer to a bot.
pub fn judge_post(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["ok"] == true;
    let verdict = by_json(answer, accepted, |body| text_at(body, "/error"));
    match verdict {
        Verdict::Refused { why } if is_passing(&why) => Verdict::Later {
            why,
            retry_after: answer.retry_after,
        },
        verdict => verdict,
    }
}

/// Errors of the method that pass by themselves.
fn is_passing(error: &str) -> bool {
    [
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    ]
    .contains(&error)
}

/// Judges the answer of an incoming webhook: `ok`, or an error in words.
pub fn judge_webhook(answer: &Answer) -> Verdict {
    let said = String::from_utf8_lossy(&answer.body);
    match by_status(answer, Some(&said)) {
        Verdict::Delivered if said.trim() != "ok" => Verdict::Later {
            why: format!("{}: what answers there is not this service", answer.status),
            retry_after: None,
        },
        verdict => verdict,
    }
}
