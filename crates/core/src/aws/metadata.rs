//! Keys that the container or the instance gives to what runs in it. Source: the user guides of the
//! AWS SDKs, "Container credential provider" and "IMDS credential provider".

use super::Variable;
use super::service::{Ask, Service, may_have_token};
use crate::http::{Answer, Method};
use jiff::Timestamp;
use lifeboat_store::aws::{CredentialError, Keys};
use serde::Deserialize;
use std::time::Duration;

const CONTAINER: Service = Service {
    name: "the container's credential service",
    patience: Duration::from_secs(5),
    attempts: 3,
};
const INSTANCE: Service = Service {
    name: "the instance's metadata service",
    patience: Duration::from_secs(2),
    attempts: 2,
};

/// The address of the service for containers, below which a relative address is.
const CONTAINER_HOST: &str = "http://169.254.170.2";
/// The addresses that a token may be sent to without encryption.
const CONTAINER_ADDRESSES: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
/// The address of the instance's metadata service.
const INSTANCE_HOST: &str = "http://169.254.169.254";
/// Seconds for which a token of the metadata service is wanted.
const TOKEN_SECONDS: &str = "21600";

/// The keys of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Given {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<Timestamp>,
}

impl Given {
    pub(super) fn into_keys(self, from: String) -> Keys {
        Keys {
            access_key: self.access_key_id,
            secret_key: self.secret_access_key,
            session_token: self.token,
            expires: self.expiration,
            from,
        }
    }
}

/// The keys of the container, if its environment names a service for them.
pub(super) fn container(variable: Variable<'_>) -> Result<Option<Keys>, CredentialError> {
    let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let relative = relative.map(|path| format!("{CONTAINER_HOST}{path}"));
    let Some(url) = relative.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) else {
        return Ok(None);
    };
    if !may_have_token(&url, &CONTAINER_ADDRESSES) {
        let detail =
            "its URL is neither https nor an address of this host or of Amazon's containers";
        return Err(CONTAINER.error(detail));
    }
    let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = match file {
        Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
            let detail = error.to_string();
            CredentialError::Token { path, detail }
        })?),
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    let mut ask = Ask::get(&url);
    if let Some(token) = token {
        ask.headers.push(("authorization", token.trim().to_owned()));
    }
    let answer = CONTAINER.ask(ask)?;
    let given = parsed(&CONTAINER, &answer)?;
    Ok(Some(given.into_keys("the container".to_owned())))
}

/// The keys of the role of the instance that this runs on; `None` if that is switched off.
pub(super) fn instance(variable: Variable<'_>) -> Result<Option<Keys>, CredentialError> {
    let is_off = variable("AWS_EC2_METADATA_DISABLED");
    if is_off.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let host = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let host = host.unwrap_or_else(|| INSTANCE_HOST.to_owned());
    let host = host.trim_end_matches('/');
    let url = format!("{host}/latest/api/token");
    let ask = Ask {
        method: Method::Put,
        headers: vec![(
            "x-aws-ec2-metadata-token-ttl-seconds",
            TOKEN_SECONDS.to_owned(),
        )],
        ..Ask::get(&url)
    };
    let token = INSTANCE.text(&INSTANCE.ask(ask)?)?;
    let token = token.trim();
    let roles = format!("{host}/latest/meta-data/iam/security-credentials/");
    let answer = INSTANCE.ask(with_token(&roles, token))?;
    let names = INSTANCE.text(&answer)?;
    let role = names.lines().next().unwrap_or_default().trim();
    if role.is_empty() {
        return Err(INSTANCE.error("the instance has no role"));
    }
    let url = format!("{roles}{role}");
    let answer = INSTANCE.ask(with_token(&url, token))?;
    let given = parsed(&INSTANCE, &answer)?;
    Ok(Some(given.into_keys(format!("the instance, role {role}"))))
}

fn with_token<'a>(url: &'a str, token: &str) -> Ask<'a> {
    let mut ask = Ask::get(url);
    ask.headers
        .push(("x-aws-ec2-metadata-token", token.to_owned()));
    ask
}

fn parsed(service: &Service, answer: &Answer) -> Result<Given, CredentialError> {
    let text = service.text(answer)?;
    // The text is not quoted: it may hold keys.
    serde_json::from_str(&text)
        .map_err(|error| service.error(format!("its answer has no keys: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_to_nobody_else() {
        for url in [
            "http://169.254.170.2/v2/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://localhost:8080/x",
            "http://127.0.0.5/x",
            "https://example.org/x",
        ] {
            assert!(may_have_token(url, &CONTAINER_ADDRESSES), "{url}");
        }
        for url in [
            "http://example.org/x",
            "http://10.0.0.1/x",
            "ftp://localhost",
            "x",
        ] {
            assert!(!may_have_token(url, &CONTAINER_ADDRESSES), "{url}");
        }
        assert!(!may_have_token("http://169.254.170.2/v2/x", &[]));
    }
}
