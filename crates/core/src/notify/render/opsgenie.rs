//! Opsgenie: an alarm creates an alert under its identity, and its end closes it.
//!
//! A test creates an alert of the lowest priority and closes it at once.

use super::text::{self, Measure};
use super::{Verdict, by_json, json, text_at, token};
use crate::finding::Severity;
use crate::http::{Answer, Request, Url, Value};
use crate::notify::{Event, Message};
use crate::percent;
use crate::secret::Secret;
use serde_json::{Value as Json, json};

/// Longest message, identity and description, in characters.
const MESSAGE_MAX: usize = 130;
const ALIAS_MAX: usize = 512;
const DESCRIPTION_MAX: usize = 15_000;
/// Longest source and entity.
const SOURCE_MAX: usize = 100;
const ENTITY_MAX: usize = 512;

/// The requests, in order; `api` is the URL before `/v2/alerts`.
pub fn requests(api: &Url, key: &Secret, message: &Message) -> Option<Vec<Request>> {
    let alias = token(&message.alarm, ALIAS_MAX);
    let secret = || Some(("authorization", Value::Secret("GenieKey ", key.clone())));
    let source = Measure::Utf16.fit(&text::source(message), SOURCE_MAX);
    let create = || {
        let entity = format!("{}/{}", message.app, message.environment);
        let body = json!({
            "message": Measure::Utf16.fit(&text::headline(message), MESSAGE_MAX),
            "alias": alias,
            "description": text::body(message, Measure::Utf16, DESCRIPTION_MAX, str::to_owned),
            "entity": Measure::Utf16.fit(&entity, ENTITY_MAX),
            "source": source,
            "priority": priority(message),
            "tags": ["lifeboat"],
            "details": { "message": token(&message.id, 200) },
        });
        Some(json(api.join("/v2/alerts")?, secret(), &body))
    };
    let close = || {
        let path = percent::encode(&alias);
        let url = api.join(&format!("/v2/alerts/{path}/close?identifierType=alias"))?;
        let note = Measure::Utf16.fit(&text::headline(message), DESCRIPTION_MAX);
        Some(json(
            url,
            secret(),
            &json!({ "source": source, "note": note }),
        ))
    };
    match message.event {
        Event::Recovered => Some(vec![close()?]),
        Event::Test => Some(vec![create()?, close()?]),
        Event::New | Event::Repeated | Event::Escalated => Some(vec![create()?]),
        // Nobody is called for a report.
        Event::Report => Some(Vec::new()),
    }
}

fn priority(message: &Message) -> &'static str {
    match message.severity {
        Severity::Error => "P2",
        Severity::Warning => "P3",
        Severity::Ok => "P5",
    }
}

/// Judges an answer: 202 with the id of the request, or `message` with the reason.
pub fn judge(answer: &Answer) -> Verdict {
    let accepted = |body: &Json| body["requestId"].is_string() && body["result"].is_string();
    by_json(answer, accepted, |body| text_at(body, "/message"))
}
