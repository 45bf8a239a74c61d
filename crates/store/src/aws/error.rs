//! Why there are no credentials, as facts; the caller turns them into sentences.

/// The reason why no keys could be had. `detail` is what a service, a program or the system said. No
/// field holds the path of a URL, which may be a secret.
#[expect(
    missing_docs,
    reason = "the fields are described above, or named for what they are"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// None of the places has any. `looked` names them with what was found there.
    #[error("no credentials were found: {}", looked.join("; "))]
    Nowhere { looked: Vec<String> },
    /// The profile is missing, incomplete, or goes round in a circle.
    #[error("profile {profile}: {detail}")]
    Profile { profile: String, detail: String },
    /// The program that a profile names as its source failed.
    #[error("the credential_process of profile {profile}: {detail}")]
    Program { profile: String, detail: String },
    /// The file with the token of a web identity cannot be read.
    #[error("the web identity token at {path} cannot be read: {detail}")]
    Token { path: String, detail: String },
    /// STS refuses the role.
    #[error("role {arn} cannot be assumed: {detail}")]
    Role { arn: String, detail: String },
    /// STS refuses the keys.
    #[error("STS refuses the credentials of {from}: {detail}")]
    Refused { from: String, detail: String },
    /// A service that gives out keys does not answer as it should.
    #[error("{service}: {detail}")]
    Service {
        service: &'static str,
        detail: String,
    },
    /// What was found is no key: it has a character that no key has.
    #[error("the keys from {from} hold a character that no key has")]
    Odd { from: String },
}
