//! Secrets that Amazon keeps: parameters of the Systems Manager, and the Secrets Manager. Source: their
//! API references, "GetParameter" and "GetSecretValue".

use super::chain::Chain;
use super::profile::Profiles;
use super::service::{Post, Service, refusal};
use super::{Variable, variable};
use crate::error::{Code, Error, Result, credential_hint};
use crate::shell;
use base64ct::{Base64, Encoding};
use lifeboat_store::aws::{CredentialError, Source};
use serde_json::{Value, json};
use std::time::Duration;

/// What keeps secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The parameter store of the Systems Manager.
    Ssm,
    /// The Secrets Manager.
    SecretsManager,
}

impl Manager {
    /// What references to it begin with, which is also what addresses and signatures call it.
    fn code(self) -> &'static str {
        match self {
            Manager::Ssm => "ssm",
            Manager::SecretsManager => "secretsmanager",
        }
    }

    fn service(self) -> Service {
        Service {
            name: match self {
                Manager::Ssm => "the Systems Manager",
                Manager::SecretsManager => "the Secrets Manager",
            },
            patience: Duration::from_secs(15),
            attempts: 3,
        }
    }

    /// The operation that reads a secret, and what it is asked.
    fn question(self, name: &str) -> (&'static str, Value) {
        match self {
            Manager::Ssm => (
                "AmazonSSM.GetParameter",
                json!({ "Name": name, "WithDecryption": true }),
            ),
            Manager::SecretsManager => {
                ("secretsmanager.GetSecretValue", json!({ "SecretId": name }))
            }
        }
    }

    /// The action that a policy allows or not.
    fn action(self) -> &'static str {
        match self {
            Manager::Ssm => "ssm:GetParameter",
            Manager::SecretsManager => "secretsmanager:GetSecretValue",
        }
    }

    /// The command that puts a secret there.
    fn put(self, name: &str, region: &str) -> String {
        let name = shell::quote(name);
        match self {
            Manager::Ssm => format!(
                "aws ssm put-parameter --region {region} --type SecureString --name {name} --value file:///dev/stdin"
            ),
            Manager::SecretsManager => format!(
                "aws secretsmanager create-secret --region {region} --name {name} --secret-string file:///dev/stdin"
            ),
        }
    }

    /// The bytes of a secret in an answer.
    fn secret(self, answer: &Value) -> Option<Vec<u8>> {
        let text = |place: &str| answer.pointer(place)?.as_str().map(str::to_owned);
        match self {
            Manager::Ssm => text("/Parameter/Value").map(String::into_bytes),
            Manager::SecretsManager => match text("/SecretString") {
                Some(text) => Some(text.into_bytes()),
                None => Base64::decode_vec(&text("/SecretBinary")?).ok(),
            },
        }
    }
}

/// Fetches a secret by its name or ARN, with the credentials that the AWS tools would use.
///
/// # Errors
/// Those of code `secret`: there are no credentials, no region, no such secret, no right to it, or no
/// answer. None holds the secret.
pub fn managed(manager: Manager, name: &str) -> Result<Vec<u8>> {
    let what = format!("{}:{name}", manager.code());
    let failed = |error: CredentialError| {
        let code = match error {
            CredentialError::Service { .. } => Code::SecretUnreachable,
            _ => Code::Secret,
        };
        Error::new(code, format!("the secret at {what} cannot be fetched"))
            .cause(error.to_string())
            .hint(credential_hint(&error))
    };
    let region = region(name, &variable).map_err(failed)?.ok_or_else(|| {
        Error::new(Code::Secret, format!("the region of {what} is not known"))
            .hint("set AWS_REGION, write region = in the profile, or name the secret by its ARN")
    })?;
    let chain = Chain {
        region: region.clone(),
        ..Chain::default()
    };
    let keys = chain.fetch().map_err(failed)?;
    let (target, question) = manager.question(name);
    let post = Post::json(manager.code(), &region, target, &question, &keys);
    let answer = manager.service().post(post);
    let answer = answer.map_err(failed)?;
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        return Err(refused(manager, &what, name, &region, answer.status, &told));
    }
    manager.secret(&told).ok_or_else(|| {
        Error::new(
            Code::Secret,
            format!("the answer for {what} holds no secret"),
        )
        .hint("check AWS_ENDPOINT_URL, and what is kept under that name")
    })
}

/// The region of a secret: that of its ARN, of the environment, or of the profile.
fn region(name: &str, variable: Variable<'_>) -> Result<Option<String>, CredentialError> {
    let of_arn = name
        .strip_prefix("arn:")
        .and_then(|arn| arn.split(':').nth(2))
        .filter(|region| !region.is_empty());
    let known = of_arn
        .map(str::to_owned)
        .or_else(|| variable("AWS_REGION"))
        .or_else(|| variable("AWS_DEFAULT_REGION"));
    match known {
        Some(region) => Ok(Some(region)),
        None => {
            let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
            Ok(Profiles::read(variable)?.region(&profile))
        }
    }
}

/// The error for an answer that is no secret.
fn refused(
    manager: Manager,
    what: &str,
    name: &str,
    region: &str,
    status: u16,
    told: &Value,
) -> Error {
    let said = match refusal(told) {
        ("", "") => format!("status {status}"),
        (kind, "") => kind.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    };
    let (kind, _) = refusal(told);
    let error = |message: String| Error::new(Code::Secret, message).cause(said.clone());
    match kind {
        "ParameterNotFound" | "ParameterVersionNotFound" | "ResourceNotFoundException" => {
            error(format!("there is no secret at {what} in {region}")).hint(format!(
                "correct the name or the region, or put it there: {}",
                manager.put(name, region)
            ))
        }
        "AccessDeniedException" => error(format!("{what} may not be read")).hint(format!(
            "allow {} on it, and kms:Decrypt on its key, to whom `aws sts get-caller-identity` names",
            manager.action()
        )),
        _ if kind.contains("KMS") || kind == "InvalidKeyId" || kind == "DecryptionFailure" => {
            error(format!("{what} cannot be decrypted"))
                .hint("check that its KMS key is enabled, and that kms:Decrypt on it is allowed")
        }
        _ => error(format!("the secret at {what} cannot be fetched"))
            .hint("check the credentials, the region, and the clock of this host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_that_of_the_arn_or_of_the_environment() {
        let arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/crm/db";
        let of = |name: &str, set: &'static str| {
            region(name, &move |asked| {
                (asked == set).then(|| "eu-west-1".to_owned())
            })
            .unwrap()
        };
        assert_eq!(of(arn, "AWS_REGION").as_deref(), Some("eu-central-1"));
        assert_eq!(of("/crm/db", "AWS_REGION").as_deref(), Some("eu-west-1"));
        assert_eq!(
            of("/crm/db", "AWS_DEFAULT_REGION").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(of("/crm/db", "OTHER"), None);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let of = |told: Value| {
            refused(
                Manager::Ssm,
                "ssm:/crm/it's",
                "/crm/it's",
                "eu-west-1",
                400,
                &told,
            )
        };
        let missing = of(json!({ "__type": "ParameterNotFound" }));
        assert_eq!(
            missing.message,
            "there is no secret at ssm:/crm/it's in eu-west-1"
        );
        assert!(missing.hint.unwrap().contains(r"--name '/crm/it'\''s'"));
        let denied =
            of(json!({ "__type": "com.amazonaws#AccessDeniedException", "Message": "no" }));
        assert!(denied.hint.unwrap().contains("ssm:GetParameter"));
        assert!(
            of(json!({ "__type": "InvalidKeyId" }))
                .message
                .contains("decrypted")
        );
        assert!(of(Value::Null).cause.unwrap().contains("status 400"));
    }
}
