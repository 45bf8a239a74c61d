//! Discord: a webhook of a channel.
//!
//! Every character that could begin markup is escaped, no mention in it calls anybody, and links
//! are not previewed.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at, waiting};
use crate::http::{Answer, Request, Url};
use crate::notify::Message;
use serde_json::{Value as Json, json};

/// Longest text of a message, in characters.
const CONTENT_MAX: usize = 2000;
/// Longest first line.
const TITLE_MAX: usize = 400;
/// Flag that suppresses previews of links.
const SUPPRESS_EMBEDS: u32 = 1 << 2;

/// The request. It waits for the message, so that a refusal is seen.
pub fn request(url: &Url, message: &Message) -> Option<Request> {
    let title = Measure::Utf16.fit_escaped(&text::headline(message), TITLE_MAX, &escape);
    let room = CONTENT_MAX - Measure::Utf16.of(&title) - "****\n\n".len();
    let body = text::body(message, Measure::Utf16, room, escape);
    let body = json!({
        "content": format!("**{title}**\n\n{body}"),
        "allowed_mentions": { "parse": [] },
        "flags": SUPPRESS_EMBEDS,
    });
    Some(json(url.query("wait=true")?, None, &body))
}

/// Writes a backslash before what could begin markup, a mention or an emoji.
fn escape(line: &str) -> String {
    let mut escaped = String::with_capacity(line.len());
    for c in line.chars() {
        if "\\*_~`|<>@#[]():-".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Judges an answer: the message, or `message` with the reason and `retry_after` in seconds.
pub fn judge(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["id"].is_string();
    let verdict = by_json(answer, accepted, |body| text_at(body, "/message"));
    let body: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let wait = body.and_then(|body| body.get("retry_after")?.as_f64());
    waiting(verdict, wait)
}
