//! Calls of Amazon Lightsail. Source: its API reference, version 2016-11-28.

use super::regional::{Failed, Regional};
use super::service::{Post, Service, refusal};
use crate::error::Result;
use lifeboat_store::aws::Credentials;
use serde_json::{Value, json};
use std::time::Duration;

const LIGHTSAIL: Service = Service {
    name: "Lightsail",
    patience: Duration::from_secs(30),
    // `call` asks again.
    attempts: 1,
};

/// Lightsail in a region.
pub struct Lightsail {
    at: Regional,
}

impl Lightsail {
    /// Lightsail in a region, asked with these credentials.
    pub fn new(region: &str, credentials: Credentials) -> Self {
        Lightsail {
            at: Regional {
                service: LIGHTSAIL,
                region: region.to_owned(),
                credentials,
            },
        }
    }

    /// Makes a call, again where it is throttled or not answered as it should be.
    pub fn call(&self, operation: &str, question: &Value) -> Result<Value, Failed> {
        let target = format!("Lightsail_20161128.{operation}");
        self.at.call(
            operation,
            |keys| {
                LIGHTSAIL.post(Post::json(
                    "lightsail",
                    &self.at.region,
                    &target,
                    question,
                    keys,
                ))
            },
            |answer| {
                let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
                match (answer.status, told) {
                    (200, Some(told)) if told.is_object() => Ok(told),
                    (200, _) => Err(self.at.odd(operation, "it is no JSON object")),
                    (status, told) => {
                        let told = told.unwrap_or_default();
                        let (kind, message) = refusal(&told);
                        Err(self.at.refused(operation, status, kind, message))
                    }
                }
            },
        )
    }

    /// All that the pages of a list hold.
    pub fn all(&self, operation: &str, list: &str) -> Result<Vec<Value>, Failed> {
        self.at.all(operation, |token| {
            let question = match token {
                Some(token) => json!({ "pageToken": token }),
                None => json!({}),
            };
            let mut answer = self.call(operation, &question)?;
            let Some(Value::Array(items)) = answer.get_mut(list).map(Value::take) else {
                return Err(self.at.odd(operation, "it names no list"));
            };
            let next = answer.get("nextPageToken").and_then(Value::as_str);
            Ok((items, next.map(str::to_owned)))
        })
    }
}
