//! Amazon's Security Token Service: keys for a role, and whose keys these are. Source: the API
//! reference of AWS STS, version 2011-06-15.

use super::service::{Ask, Service};
use super::{Role, Variable, variable};
use crate::http::{Answer, Method};
use crate::percent;
use jiff::Timestamp;
use lifeboat_store::aws::{Call, CredentialError, Keys, between, host_of, signed};
use std::time::Duration;
use ureq::http::{self, Uri};

const STS: Service = Service {
    name: "STS",
    patience: Duration::from_secs(15),
    attempts: 3,
};
/// The name of a session, unless another is given.
const SESSION: &str = "lifeboat";

/// Whose keys these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: String,
    /// The user or role: `arn:aws:iam::123456789012:user/backup`.
    pub arn: String,
}

impl Identity {
    /// The user or role without its session, which differs each time.
    pub fn principal(&self) -> &str {
        match self.arn.contains(":assumed-role/") {
            true => self
                .arn
                .rsplit_once('/')
                .map_or(&self.arn, |(role, _)| role),
            false => &self.arn,
        }
    }
}

/// The URL of STS in a region.
fn endpoint(region: &str, variable: Variable<'_>) -> String {
    let own = variable("AWS_ENDPOINT_URL_STS").or_else(|| variable("AWS_ENDPOINT_URL"));
    own.unwrap_or_else(|| match region.starts_with("cn-") {
        true => format!("https://sts.{region}.amazonaws.com.cn"),
        false => format!("https://sts.{region}.amazonaws.com"),
    })
}

/// Keys for a role, with those of somebody who may assume it.
pub(super) fn assume(base: &Keys, role: &Role, region: &str) -> Result<Keys, CredentialError> {
    let mut form = vec![
        ("Action", "AssumeRole"),
        ("RoleArn", &role.arn),
        (
            "RoleSessionName",
            role.session.as_deref().unwrap_or(SESSION),
        ),
        ("Version", "2011-06-15"),
    ];
    if let Some(id) = &role.external_id {
        form.push(("ExternalId", id));
    }
    let answer = call(&form, region, Some(base))?;
    of_role(
        &answer,
        &role.arn,
        &format!("{} as {}", role.arn, base.from),
    )
}

/// Keys for a role, with the token of another system.
pub(super) fn assume_with_token(
    token: &str,
    role: &Role,
    region: &str,
) -> Result<Keys, CredentialError> {
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", role.arn.as_str()),
        (
            "RoleSessionName",
            role.session.as_deref().unwrap_or(SESSION),
        ),
        ("WebIdentityToken", token.trim()),
        ("Version", "2011-06-15"),
    ];
    let answer = call(&form, region, None)?;
    of_role(&answer, &role.arn, &format!("{} by web identity", role.arn))
}

/// Whose keys these are.
pub fn identity(keys: &Keys, region: &str) -> Result<Identity, CredentialError> {
    let form = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
    let answer = call(&form, region, Some(keys))?;
    let text = String::from_utf8_lossy(&answer.body);
    let (account, arn) = (between(&text, "Account"), between(&text, "Arn"));
    match answer.status == 200 && !arn.is_empty() {
        true => Ok(Identity { account, arn }),
        false => Err(CredentialError::Refused {
            from: keys.from.clone(),
            detail: said(&answer),
        }),
    }
}

fn of_role(answer: &Answer, arn: &str, from: &str) -> Result<Keys, CredentialError> {
    let text = String::from_utf8_lossy(&answer.body);
    let of = |name| between(&text, name);
    let (access_key, secret_key) = (of("AccessKeyId"), of("SecretAccessKey"));
    let expires: Option<Timestamp> = of("Expiration").parse().ok();
    if answer.status != 200 || access_key.is_empty() || secret_key.is_empty() {
        return Err(CredentialError::Role {
            arn: arn.to_owned(),
            detail: said(answer),
        });
    }
    Ok(Keys {
        access_key,
        secret_key,
        session_token: Some(of("SessionToken")).filter(|token| !token.is_empty()),
        expires,
        from: from.to_owned(),
    })
}

/// What a refusal says.
fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let of = |name| between(&text, name);
    match (of("Code"), of("Message")) {
        (code, _) if code.is_empty() => format!("status {}", answer.status),
        (code, message) if message.is_empty() => code,
        (code, message) => format!("{code}: {message}"),
    }
}

fn call(
    form: &[(&str, &str)],
    region: &str,
    keys: Option<&Keys>,
) -> Result<Answer, CredentialError> {
    let url = endpoint(region, &variable);
    let uri: Uri = url
        .parse()
        .map_err(|_| STS.error("what is given for it is no URL"))?;
    let pairs = form
        .iter()
        .map(|(name, value)| format!("{name}={}", percent::encode(value)));
    let body = pairs.collect::<Vec<_>>().join("&").into_bytes();
    let kind = "application/x-www-form-urlencoded; charset=utf-8".to_owned();
    let mut headers = vec![("content-type", kind)];
    if let Some(keys) = keys {
        let call = Call {
            region,
            service: "sts",
            method: http::Method::POST,
            host: host_of(&uri),
            path: uri.path(),
            headers: &headers,
            body: &body,
        };
        headers.extend(signed(&call, keys, Timestamp::now()));
    }
    STS.ask(Ask {
        method: Method::Post,
        url: &url,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_service_and_the_environment_may_name_another() {
        let none = |_: &str| None;
        assert_eq!(
            endpoint("eu-west-1", &none),
            "https://sts.eu-west-1.amazonaws.com"
        );
        assert_eq!(
            endpoint("cn-north-1", &none),
            "https://sts.cn-north-1.amazonaws.com.cn"
        );
        let own = |name: &str| (name == "AWS_ENDPOINT_URL_STS").then(|| "http://sts".to_owned());
        assert_eq!(endpoint("eu-west-1", &own), "http://sts");
    }
}
