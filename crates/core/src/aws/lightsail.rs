//! Calls of Amazon Lightsail. Source: its API reference, version 2016-11-28.

use super::service::{Post, Service, refusal};
use crate::cancel::{self, Cancel};
use crate::error::{Code, Error, Result, credential_hint};
use lifeboat_store::aws::{CredentialError, Credentials};
use serde_json::{Value, json};
use std::time::Duration;

const LIGHTSAIL: Service = Service {
    name: "Lightsail",
    patience: Duration::from_secs(30),
    // `call` asks again.
    attempts: 1,
};
/// How often it is asked again when it is busy, and the first pause.
const BUSY_ATTEMPTS: u32 = 8;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Lightsail in a region.
pub struct Lightsail {
    region: String,
    credentials: Credentials,
}

/// Why a call did not do what it should.
#[derive(Debug)]
pub enum Failed {
    /// It says no.
    Refused {
        /// The status of its answer.
        status: u16,
        /// The kind of refusal: `NotFoundException`.
        kind: String,
        /// What it says.
        message: String,
    },
    /// It is not known whether anything was done.
    Unknown(Error),
}

impl Lightsail {
    /// Lightsail in a region, asked with these credentials.
    pub fn new(region: &str, credentials: Credentials) -> Self {
        Lightsail {
            region: region.to_owned(),
            credentials,
        }
    }

    /// Makes a call. One that is throttled, or not answered as it should be, is made again: whoever
    /// changes something must be ready to hear that it was done already.
    pub fn call(&self, operation: &str, question: &Value) -> Result<Value, Failed> {
        let mut pause = BUSY_PAUSE;
        let mut attempt = 1;
        loop {
            let failed = match self.call_once(operation, question) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if attempt == BUSY_ATTEMPTS || !failed.may_pass() {
                return Err(failed);
            }
            // Apart from whoever was turned away at the same moment.
            let odd = u64::from(std::process::id()) * 7919 % 250;
            cancel::wait(pause + Duration::from_millis(odd)).map_err(Failed::Unknown)?;
            pause = (pause * 2).min(Duration::from_secs(10));
            attempt += 1;
        }
    }

    /// All that the pages of a list hold.
    pub fn all(&self, operation: &str, list: &str) -> Result<Vec<Value>, Failed> {
        let (mut all, mut page) = (Vec::new(), None::<String>);
        loop {
            let question = match &page {
                Some(token) => json!({ "pageToken": token }),
                None => json!({}),
            };
            let mut answer = self.call(operation, &question)?;
            match answer.get_mut(list).map(Value::take) {
                Some(Value::Array(items)) => all.extend(items),
                _ => return Err(self.odd(operation, "it names no list")),
            }
            let next = answer.get("nextPageToken").and_then(Value::as_str);
            let next = next.filter(|token| !token.is_empty()).map(str::to_owned);
            match next {
                Some(next) if page.as_ref() != Some(&next) => page = Some(next),
                Some(_) => return Err(self.odd(operation, "its pages go round in a circle")),
                None => return Ok(all),
            }
        }
    }

    fn call_once(&self, operation: &str, question: &Value) -> Result<Value, Failed> {
        let unknown = |error: CredentialError| {
            let message = format!("Lightsail in {} cannot be asked ({operation})", self.region);
            let told = Error::new(Code::SourceFailed, message).cause(error.to_string());
            Failed::Unknown(told.hint(credential_hint(&error)))
        };
        let keys = self.credentials.keys(&Cancel::current().ending());
        let keys = keys.map_err(|error| Failed::Unknown(error.into()))?;
        let target = format!("Lightsail_20161128.{operation}");
        let post = Post::json("lightsail", &self.region, &target, question, &keys);
        let answer = LIGHTSAIL.post(post);
        let answer = answer.map_err(unknown)?;
        let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, told) {
            (200, Some(told)) if told.is_object() => Ok(told),
            (200, _) => Err(self.odd(operation, "it is no JSON object")),
            (status, told) => {
                let told = told.unwrap_or_default();
                Err(match refusal(&told) {
                    ("", _) => self.odd(operation, &format!("its status is {status}")),
                    (kind, message) => Failed::Refused {
                        status,
                        kind: kind.to_owned(),
                        message: message.to_owned(),
                    },
                })
            }
        }
    }

    fn odd(&self, operation: &str, what: &str) -> Failed {
        let message = format!(
            "Lightsail in {} gave an odd answer ({operation})",
            self.region
        );
        let error = Error::new(Code::SourceFailed, message).cause(what);
        Failed::Unknown(error.hint("try again; see https://health.aws.amazon.com if it lasts"))
    }
}

impl Failed {
    /// Whether the same call may succeed in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Failed::Refused { status, kind, .. } => {
                *status >= 500
                    || matches!(kind.as_str(), "ThrottlingException" | "ServiceException")
            }
            Failed::Unknown(error) => error.code == Code::SourceFailed && !cancel::requested(),
        }
    }

    /// Whether it says that there is no such thing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Failed::Refused { kind, .. } if kind == "NotFoundException")
    }

    /// Whether it says that the name is taken.
    pub fn is_taken(&self) -> bool {
        let names = "names are already in use";
        matches!(self, Failed::Refused { message, .. } if message.contains(names))
    }

    /// The error of somebody who wanted this done.
    pub fn into_error(self, doing: &str, action: &str) -> Error {
        match self {
            Failed::Unknown(error) => Error {
                message: format!("{doing}: {}", error.message),
                ..error
            },
            Failed::Refused { kind, message, .. } => {
                let error = Error::new(Code::SourceFailed, format!("{doing}: Lightsail refuses"));
                let error = error.cause(format!("{kind}: {message}"));
                match kind.as_str() {
                    "AccessDeniedException" | "UnauthorizedException" => {
                        error.hint(format!("allow {action} to whom `aws sts get-caller-identity` names"))
                    }
                    "UnrecognizedClientException" | "InvalidSignatureException"
                    | "MissingAuthenticationTokenException" | "ExpiredTokenException" => {
                        error.hint("get new keys, or check the clock of this host")
                    }
                    "NotFoundException" => {
                        error.hint("check the name and the region: aws lightsail get-instances shows what is there")
                    }
                    _ if message.to_lowercase().contains("quota") || message.contains("limit") => {
                        error.hint("delete snapshots that nobody needs, or ask for a larger quota")
                    }
                    _ => error.hint("see what it says; `lifeboat doctor` asks again"),
                }
            }
        }
    }
}
