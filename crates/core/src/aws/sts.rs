//! Amazon's Security Token Service: keys for a role, and whose keys these are. Source: the API
//! reference of AWS STS, version 2011-06-15.

use super::Role;
use super::service::{Post, Service};
use crate::http::Answer;
use jiff::Timestamp;
use lifeboat_store::aws::{CredentialError, Keys, between};
use std::time::Duration;

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
    STS.post(Post::form("sts", region, form, keys))
}
