//! Microsoft Teams: a workflow that posts the card which its webhook receives.
//!
//! Texts are runs of a `RichTextBlock`, which Teams shows as they are: it looks for Markdown in a
//! `TextBlock` only.

use super::text::{self, Measure};
use super::{Verdict, by_status, json};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url};
use crate::notify::{Event, Message};
use serde_json::{Value as Json, json};

/// Longest title and text. A card may have 28 KB as JSON, in which a character takes up to six
/// bytes.
const TITLE_MAX: usize = 500;
const BODY_MAX: usize = 4000;

/// The request.
pub fn request(url: Url, message: &Message) -> Request {
    let title = Measure::Utf16.fit(&text::headline(message), TITLE_MAX);
    let body = text::body(message, Measure::Utf16, BODY_MAX, str::to_owned);
    let color = match (message.event, message.severity) {
        (Event::Recovered, _) => "good",
        (_, Severity::Error) => "attention",
        (_, Severity::Warning) => "warning",
        (_, Severity::Ok) => "default",
    };
    let head = json!({
        "type": "TextRun", "text": title.clone(), "weight": "bolder", "size": "medium", "color": color,
    });
    let mut blocks = vec![json!({ "type": "RichTextBlock", "inlines": [head] })];
    let mut apart = true;
    for line in body.split('\n') {
        if line.is_empty() {
            apart = true;
            continue;
        }
        blocks.push(json!({
            "type": "RichTextBlock",
            "spacing": if apart { "medium" } else { "none" },
            "inlines": [{ "type": "TextRun", "text": line }],
        }));
        apart = false;
    }
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": title,
        "msteams": { "width": "Full" },
        "body": blocks,
    });
    let body = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    });
    json(url, None, &body)
}

/// Judges an answer. A workflow accepts with 202 and nothing; what older webhooks could not deliver
/// they report in words, with the status 200.
pub fn judge(answer: &Answer) -> Verdict {
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let body: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let reason = body
        .as_ref()
        .and_then(|b| super::text_at(b, "/error/message"));
    match by_status(answer, reason.as_deref()) {
        Verdict::Delivered if said.contains("429") && said.contains("failed") => Verdict::Later {
            why: "too many messages".into(),
            retry_after: answer.retry_after,
        },
        Verdict::Delivered if said.trim_start().starts_with('<') => Verdict::Later {
            why: format!("{}: what answers there is not this service", answer.status),
            retry_after: None,
        },
        Verdict::Delivered if said.contains("failed") => Verdict::Refused {
            why: super::cut(&super::visible(&said), super::WHY_CHARS_MAX),
        },
        verdict => verdict,
    }
}
