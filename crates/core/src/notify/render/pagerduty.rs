//! PagerDuty: events of the Events API v2. An alarm triggers an alert, and its end resolves it.
//!
//! A test triggers an alert of severity `info` and resolves it at once.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at, token};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url};
use crate::notify::{Event, Message};
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest summary and identity, in characters.
const SUMMARY_MAX: usize = 1024;
const DEDUP_KEY_MAX: usize = 255;
/// Longest details. An event may have 512 KB.
const DETAILS_MAX: usize = 16_000;

/// The requests, in order. None for a key that is not text.
pub fn requests(api: &Url, routing_key: &Secret, message: &Message) -> Option<Vec<Request>> {
    let url = api.join("/v2/enqueue")?;
    let routing_key = routing_key.expose_str().ok()?;
    let dedup_key = token(&message.alarm, DEDUP_KEY_MAX);
    let trigger = || {
        let class = message.items.first().map(|item| item.kind.as_str());
        json!({
            "routing_key": routing_key,
            "event_action": "trigger",
            "dedup_key": dedup_key,
            "client": "lifeboat",
            "payload": {
                "summary": Measure::Utf16.fit(&text::headline(message), SUMMARY_MAX),
                "source": text::source(message),
                "severity": severity(message),
                "timestamp": message.at.to_string(),
                "component": message.app.as_str(),
                "group": message.environment.as_str(),
                "class": class.unwrap_or("test"),
                "custom_details": {
                    "details": text::body(message, Measure::Utf16, DETAILS_MAX, str::to_owned),
                    "message": token(&message.id, 200),
                },
            },
        })
    };
    let resolve = || {
        json!({
            "routing_key": routing_key,
            "event_action": "resolve",
            "dedup_key": dedup_key,
        })
    };
    let bodies = match message.event {
        Event::Recovered => vec![resolve()],
        Event::Test => vec![trigger(), resolve()],
        Event::New | Event::Repeated | Event::Escalated => vec![trigger()],
        // Nobody is called for a report.
        Event::Report => Vec::new(),
    };
    let requests = bodies.iter().map(|body| json(url.clone(), None, body));
    Some(requests.collect())
}

fn severity(message: &Message) -> &'static str {
    match message.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Ok => "info",
    }
}

/// Judges an answer: 202 with `status` success, or `errors` with the reasons.
pub fn judge(answer: &Answer) -> Verdict {
    by_json(answer, |body| body["status"] == "success", errors)
}

fn errors(body: &Json) -> Option<String> {
    let errors = body["errors"].as_array().map(Vec::as_slice);
    let errors = errors.unwrap_or_default().iter().filter_map(Json::as_str);
    let errors = errors.collect::<Vec<_>>().join("; ");
    match errors.is_empty() {
        true => text_at(body, "/message"),
        false => Some(errors),
    }
}
