//! A service that is asked for keys: one request, one small answer, within a bounded time.

use crate::http::{Answer, Limits, Method, Request, Url, Value, send};
use crate::secret::Secret;
use jiff::Timestamp;
use lifeboat_store::aws::CredentialError;
use std::thread::sleep;
use std::time::Duration;

/// A service, for errors.
#[derive(Clone, Copy)]
pub(super) struct Service {
    pub(super) name: &'static str,
    /// The time that everything may take.
    pub(super) patience: Duration,
    /// How often it is asked if it does not answer.
    pub(super) attempts: u32,
}

/// A request: headers may hold secrets, and are never shown.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(url: &'a str) -> Self {
        Ask {
            method: Method::Get,
            url,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

impl Service {
    pub(super) fn error(&self, detail: impl Into<String>) -> CredentialError {
        CredentialError::Service {
            service: self.name,
            detail: detail.into(),
        }
    }

    /// Asks, a few times where nothing answers or the service is busy. An answer of any status is one.
    pub(super) fn ask(&self, ask: Ask<'_>) -> Result<Answer, CredentialError> {
        let url =
            Url::parse(ask.url).ok_or_else(|| self.error("what is given for it is no URL"))?;
        let secret = |text: String| Value::Secret("", Secret::new(text.into_bytes()));
        let headers = ask.headers.into_iter();
        let request = Request {
            method: ask.method,
            url,
            headers: headers.map(|(name, text)| (name, secret(text))).collect(),
            body: ask.body,
        };
        let limits = Limits {
            connect: self.patience,
            total: self.patience,
        };
        let mut attempt = 1;
        loop {
            let answer = send(&request, limits, Timestamp::now());
            let busy = match &answer {
                Ok(answer) => answer.status >= 500 || answer.status == 429,
                Err(_) => true,
            };
            if !busy || attempt >= self.attempts {
                return answer.map_err(|error| self.error(error.to_string()));
            }
            sleep(Duration::from_millis(200 << attempt));
            attempt += 1;
        }
    }

    /// The text of an answer that is a success.
    pub(super) fn text(&self, answer: &Answer) -> Result<String, CredentialError> {
        match answer.status {
            200..300 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            status => Err(self.error(format!("it answers with status {status}"))),
        }
    }
}
