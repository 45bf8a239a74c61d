//! A service that is asked for keys or secrets: one request, one small answer, within a bounded time.

use super::{Variable, variable};
use crate::http::{Answer, Limits, Method, Request, Url, Value, is_loopback, send_again};
use crate::percent;
use crate::secret::Secret;
use jiff::Timestamp;
use lifeboat_store::aws::{Call, CredentialError, Keys, host_of, signed};
use std::time::Duration;
use ureq::http::Uri;

/// Bytes that are read of an answer: a managed secret has at most 64 KiB, and JSON may write a byte in six.
const BODY_BYTES_MAX: u64 = 512 << 10;

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

/// A signed request of a service, at its root.
pub(super) struct Post<'a> {
    /// The service, as signatures and addresses name it: `sts`.
    pub(super) code: &'static str,
    pub(super) region: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Who signs it; `None` where nobody has to.
    pub(super) keys: Option<&'a Keys>,
}

impl<'a> Post<'a> {
    /// A question in JSON, as the services ask that are called by the name of an operation.
    pub(super) fn json(
        code: &'static str,
        region: &'a str,
        operation: &str,
        question: &serde_json::Value,
        keys: &'a Keys,
    ) -> Self {
        Post {
            code,
            region,
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amz-target", operation.to_owned()),
            ],
            body: question.to_string().into_bytes(),
            keys: Some(keys),
        }
    }

    /// A question as the services ask it that take a form and answer in XML.
    pub(super) fn form(
        code: &'static str,
        region: &'a str,
        form: &[(impl AsRef<str>, impl AsRef<str>)],
        keys: Option<&'a Keys>,
    ) -> Self {
        let pairs = form
            .iter()
            .map(|(name, value)| format!("{}={}", name.as_ref(), percent::encode(value.as_ref())));
        let kind = "application/x-www-form-urlencoded; charset=utf-8".to_owned();
        Post {
            code,
            region,
            headers: vec![("content-type", kind)],
            body: pairs.collect::<Vec<_>>().join("&").into_bytes(),
            keys,
        }
    }
}

/// What a refusal in JSON is, and what it says; empty where it does not tell.
pub(super) fn refusal(told: &serde_json::Value) -> (&str, &str) {
    let of = |names: [&str; 2]| names.iter().find_map(|name| told.get(name)?.as_str());
    let kind = of(["__type", "code"]).unwrap_or_default();
    // Some write the name of the namespace before it.
    let kind = kind.rsplit('#').next().unwrap_or_default();
    (kind, of(["message", "Message"]).unwrap_or_default())
}

/// The URL of a service in a region. Source: the reference guide of the AWS SDKs and tools,
/// "Service-specific endpoints".
fn endpoint(code: &str, region: &str, variable: Variable<'_>) -> String {
    let own = format!("AWS_ENDPOINT_URL_{}", code.to_ascii_uppercase());
    // What the tools call it by its whole name.
    let own =
        variable(&own.replace("SECRETSMANAGER", "SECRETS_MANAGER")).or_else(|| variable(&own));
    own.or_else(|| variable("AWS_ENDPOINT_URL"))
        .unwrap_or_else(|| match region.starts_with("cn-") {
            true => format!("https://{code}.{region}.amazonaws.com.cn"),
            false => format!("https://{code}.{region}.amazonaws.com"),
        })
}

/// Returns whether a URL may be sent a token: over TLS, or to this host or one of these addresses.
pub(super) fn may_have_token(url: &str, near: &[&str]) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_loopback(host) || near.contains(&host),
        _ => false,
    }
}

impl Service {
    /// Sends a request to the service of a region.
    pub(super) fn post(&self, post: Post<'_>) -> Result<Answer, CredentialError> {
        let url = endpoint(post.code, post.region, &variable);
        let uri: Uri = url
            .parse()
            .map_err(|_| self.error("what is given for it is no URL"))?;
        let mut headers = post.headers;
        if let Some(keys) = post.keys {
            let call = Call {
                region: post.region,
                service: post.code,
                method: ureq::http::Method::POST,
                host: host_of(&uri),
                path: uri.path(),
                headers: &headers,
                body: &post.body,
            };
            headers.extend(signed(&call, keys, Timestamp::now()));
        }
        self.ask(Ask {
            method: Method::Post,
            url: &url,
            headers,
            body: post.body,
        })
    }

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
            body: BODY_BYTES_MAX,
        };
        let answer = send_again(&request, limits, self.attempts);
        answer.map_err(|error| self.error(error.to_string()))
    }

    /// The text of an answer that is a success.
    pub(super) fn text(&self, answer: &Answer) -> Result<String, CredentialError> {
        match answer.status {
            200..300 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            status => Err(self.error(format!("it answers with status {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_service_and_the_environment_may_name_another() {
        let none = |_: &str| None;
        let sts = |region| endpoint("sts", region, &none);
        assert_eq!(sts("eu-west-1"), "https://sts.eu-west-1.amazonaws.com");
        assert_eq!(sts("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn");
        let own = |name: &str| match name {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER" => Some("http://secrets".to_owned()),
            "AWS_ENDPOINT_URL" => Some("http://all".to_owned()),
            _ => None,
        };
        assert_eq!(
            endpoint("secretsmanager", "eu-west-1", &own),
            "http://secrets"
        );
        assert_eq!(endpoint("ssm", "eu-west-1", &own), "http://all");
    }
}
