//! Telegram: a bot that sends a message to a chat.
//!
//! No `parse_mode` is set, so that the text is shown as it is. An `@name` in it would still call
//! that person: a word joiner, which is not seen, stands behind the sign.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at, waiting};
use crate::http::{Answer, Request, Url};
use crate::notify::Message;
use crate::percent;
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest text, in characters.
const TEXT_MAX: usize = 4096;
/// Longest first line.
const TITLE_MAX: usize = 500;

/// The request. None for a token that is not one line of text.
pub fn request(api: &Url, token: &Secret, chat: &str, message: &Message) -> Option<Request> {
    // A colon is a part of every token.
    let token = percent::encode(token.expose_str().ok()?).replace("%3A", ":");
    let url = api.join(&format!("/bot{token}/sendMessage"))?;
    let title = Measure::Utf16.fit_escaped(&text::headline(message), TITLE_MAX, &unmention);
    let room = TEXT_MAX - Measure::Utf16.of(&title) - "\n\n".len();
    let body = text::body(message, Measure::Utf16, room, unmention);
    let body = json!({
        "chat_id": chat,
        "text": format!("{title}\n\n{body}"),
        "link_preview_options": { "is_disabled": true },
    });
    Some(json(url, None, &body))
}

/// Separates an `@` that begins a word from what follows.
fn unmention(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut within = false;
    for c in line.chars() {
        plain.push(c);
        if c == '@' && !within {
            plain.push('\u{2060}');
        }
        within = c.is_alphanumeric() || ".-_+".contains(c);
    }
    plain
}

/// Judges an answer: `ok`, or `description` with `parameters.retry_after` in seconds.
pub fn judge(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["ok"] == true;
    let verdict = by_json(answer, accepted, |body| text_at(body, "/description"));
    let body: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let wait = body.and_then(|body| body.pointer("/parameters/retry_after")?.as_f64());
    waiting(verdict, wait)
}
