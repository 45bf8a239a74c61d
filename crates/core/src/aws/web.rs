//! Keys for a role by a token that another system gives for what runs in it: from a file, as Kubernetes
//! puts one into a pod, or from the service of a job of GitHub Actions or Forgejo. Sources: the reference
//! guide of the AWS SDKs and tools, "Assume role with web identity"; GitHub's documentation of
//! OpenID Connect, "Methods for requesting the OIDC token".

use super::chain::Role;
use super::service::{Ask, Service, may_have_token};
use super::{Variable, sts};
use lifeboat_store::aws::{CredentialError, Keys};
use serde::Deserialize;
use std::time::Duration;

const JOB: Service = Service {
    name: "the token service of the CI job",
    patience: Duration::from_secs(15),
    attempts: 3,
};
/// For whom the token of a job is: STS takes no other unless it is told to.
const AUDIENCE: &str = "sts.amazonaws.com";
/// Where a job asks for its token, and what it asks with.
const JOB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const JOB_BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// The answer of the service of a job.
#[derive(Deserialize)]
struct Given {
    value: String,
}

/// Keys for the role that the environment names, or what is not there.
pub(super) fn identity(
    variable: Variable<'_>,
    region: &str,
) -> Result<Result<Keys, String>, CredentialError> {
    let role = variable("AWS_ROLE_ARN").map(|arn| Role {
        arn,
        external_id: None,
        session: variable("AWS_ROLE_SESSION_NAME"),
    });
    let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE");
    match (file, role) {
        (Some(path), Some(role)) => by_file(&path, &role, region).map(Ok),
        (Some(_), None) => Err(CredentialError::Nowhere {
            looked: vec!["AWS_WEB_IDENTITY_TOKEN_FILE is set, and AWS_ROLE_ARN is not".to_owned()],
        }),
        (None, role) => by_job(variable, role.as_ref(), region),
    }
}

/// Keys for a role by the token in a file, which is read anew each time: it is replaced before it
/// expires.
pub(super) fn by_file(path: &str, role: &Role, region: &str) -> Result<Keys, CredentialError> {
    let token = std::fs::read_to_string(path).map_err(|error| CredentialError::Token {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    sts::assume_with_token(&token, role, region)
}

/// Keys for a role by the token of the job in which this runs. Each serves for minutes only, and is
/// asked for anew each time.
fn by_job(
    variable: Variable<'_>,
    role: Option<&Role>,
    region: &str,
) -> Result<Result<Keys, String>, CredentialError> {
    let missing = |text: &str| Ok(Err(text.to_owned()));
    let (url, bearer) = (variable(JOB_URL), variable(JOB_BEARER));
    match (url.zip(bearer), role) {
        (Some((url, bearer)), Some(role)) => {
            let token = token_of_job(&url, bearer)?;
            sts::assume_with_token(&token, role, region).map(Ok)
        }
        (Some(_), None) => missing("the CI job has a token, and AWS_ROLE_ARN is not set"),
        (None, Some(_)) if variable("GITHUB_ACTIONS").is_some() => {
            missing("the CI job may not ask for a token: give it `permissions: id-token: write`")
        }
        (None, _) => missing("AWS_WEB_IDENTITY_TOKEN_FILE is not set"),
    }
}

fn token_of_job(url: &str, bearer: String) -> Result<String, CredentialError> {
    if !may_have_token(url, &[]) {
        return Err(JOB.error("its URL is neither https nor an address of this host"));
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}audience={AUDIENCE}");
    let mut ask = Ask::get(&url);
    ask.headers
        .push(("authorization", format!("Bearer {bearer}")));
    let text = JOB.text(&JOB.ask(ask)?)?;
    // The text is not quoted: it may hold the token.
    let given: Given = serde_json::from_str(&text)
        .map_err(|error| JOB.error(format!("its answer has no token: {error}")))?;
    Ok(given.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told where there are no keys.
    fn missing(set: &[(&str, &str)]) -> String {
        let variable = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        identity(&variable, "eu-west-1").unwrap().unwrap_err()
    }

    #[test]
    fn what_a_job_lacks_is_told() {
        assert!(missing(&[]).contains("AWS_WEB_IDENTITY_TOKEN_FILE is not set"));
        let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x");
        assert!(missing(&[role, ("GITHUB_ACTIONS", "true")]).contains("id-token: write"));
        let job = [(JOB_URL, "https://ci.example.org/"), (JOB_BEARER, "b")];
        assert!(missing(&job).contains("AWS_ROLE_ARN is not set"));
    }
}
