//! The form that each channel gives a message, and what an answer of it means. Both are pure: a
//! message and the secrets of its channel in, a request out; an answer in, a verdict out.

pub mod discord;
pub mod email;
pub mod gotify;
pub mod ntfy;
pub mod opsgenie;
pub mod pagerduty;
pub mod pushover;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod text;
pub mod webhook;

use crate::digest::hex;
use crate::http::{Answer, Method, Request, Url, Value, wait_of_seconds};
use crate::visible::{cut, visible};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What an answer means for the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It did not, and may if it is sent again.
    Later {
        /// What the channel said.
        why: String,
        /// How long the channel asks to wait.
        retry_after: Option<Duration>,
    },
    /// It did not, and will not until somebody corrects something.
    Refused {
        /// What the channel said.
        why: String,
    },
}

/// Longest reason that is taken from an answer.
const WHY_CHARS_MAX: usize = 200;

/// The verdict on an answer by its status alone; `said` is the reason in its body.
pub(crate) fn by_status(answer: &Answer, said: Option<&str>) -> Verdict {
    let status = answer.status;
    let why = match said.map(str::trim).filter(|said| !said.is_empty()) {
        Some(said) => format!("{status}: {}", cut(&visible(said), WHY_CHARS_MAX)),
        None => match reason_of(status) {
            Some(reason) => format!("{status}: {reason}"),
            None => status.to_string(),
        },
    };
    match status {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Later {
            why,
            retry_after: answer.retry_after,
        },
        _ => Verdict::Refused { why },
    }
}

/// The meaning of common statuses.
fn reason_of(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => "it redirects to another address, which is not followed",
        400 => "it does not accept the message",
        401 => "it does not accept the secret",
        403 => "it does not permit this",
        404 | 410 => "there is nothing at this address",
        413 => "the message is too long for it",
        429 => "too many messages",
        500..=599 => "it has a fault of its own",
        _ => return None,
    })
}

/// A request that sends JSON.
pub(crate) fn json(url: Url, secret: Option<(&'static str, Value)>, body: &Json) -> Request {
    let mut headers = vec![(
        "content-type",
        Value::Plain("application/json; charset=utf-8".into()),
    )];
    headers.extend(secret);
    Request {
        method: Method::Post,
        url,
        headers,
        body: body.to_string().into_bytes(),
    }
}

/// The verdict on an answer of an API that speaks JSON: `accepted` looks for what says that the
/// message was taken, and `said` for the reason that it was not. A success that is no such JSON
/// comes from something else, such as a proxy that asks for a login.
pub(crate) fn by_json(
    answer: &Answer,
    accepted: impl Fn(&Json) -> bool,
    said: impl Fn(&Json) -> Option<String>,
) -> Verdict {
    let body: Option<Json> = serde_json::from_slice(&answer.body).ok();
    let reason = body.as_ref().and_then(said);
    match by_status(answer, reason.as_deref()) {
        Verdict::Delivered => match body {
            Some(body) if accepted(&body) => Verdict::Delivered,
            Some(_) => Verdict::Refused {
                why: reason.map_or_else(
                    || "it does not say that it took the message".to_owned(),
                    |reason| cut(&visible(&reason), WHY_CHARS_MAX),
                ),
            },
            None => Verdict::Later {
                why: format!("{}: what answers there is not this service", answer.status),
                retry_after: None,
            },
        },
        verdict => verdict,
    }
}

/// A text in a JSON document.
pub(crate) fn text_at(body: &Json, pointer: &str) -> Option<String> {
    body.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The verdict with another wait, if the body asks for one.
pub(crate) fn waiting(verdict: Verdict, seconds: Option<f64>) -> Verdict {
    match verdict {
        Verdict::Later { why, retry_after } => Verdict::Later {
            why,
            retry_after: seconds.and_then(wait_of_seconds).or(retry_after),
        },
        other => other,
    }
}

/// An identity in the characters that every header and key takes.
pub(crate) fn token(id: &str, most: usize) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let plain: String = id.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    match plain == id && id.len() <= most {
        true => plain,
        // Two identities never become one.
        false => {
            let hash = hex(&Sha256::digest(id.as_bytes()));
            let kept: String = plain.chars().take(most.saturating_sub(33)).collect();
            let hash: String = hash.chars().take(32).collect();
            format!("{kept}-{hash}")
        }
    }
}

#[cfg(test)]
mod tests;
