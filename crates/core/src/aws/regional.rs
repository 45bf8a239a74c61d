//! A service of one region whose calls change something: which call is made again, what a refusal means, and
//! lists that come in pages. A call that is made again may find that it was carried out already.

use super::service::Service;
use crate::cancel::{self, Cancel};
use crate::error::{Code, Error, Result};
use crate::http::Answer;
use lifeboat_store::aws::{CredentialError, Credentials, Keys};
use std::time::Duration;

/// How often it is asked again when it is busy, and the first pause.
const BUSY_ATTEMPTS: u32 = 8;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// A service of a region, asked with the credentials of somebody.
pub(super) struct Regional {
    pub(super) service: Service,
    pub(super) region: String,
    pub(super) credentials: Credentials,
}

/// Why a call did not do what it should.
#[derive(Debug)]
pub enum Failed {
    /// The service says no.
    Refused {
        /// Its name.
        service: &'static str,
        /// The status of its answer.
        status: u16,
        /// The kind of refusal: `NotFoundException`, `InvalidAMIID.NotFound`.
        kind: String,
        /// What it says.
        message: String,
    },
    /// It is not known whether anything was done.
    Unknown(Error),
}

impl Regional {
    /// Makes a call. One that is throttled, or not answered as it should be, is made again: whoever
    /// changes something must be ready to hear that it was done already.
    pub(super) fn call<T>(
        &self,
        operation: &str,
        send: impl Fn(&Keys) -> Result<Answer, CredentialError>,
        read: impl Fn(&Answer) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let mut pause = BUSY_PAUSE;
        let mut attempt = 1;
        loop {
            let answer = self.ask(operation, &send);
            let failed = match answer.and_then(|answer| read(&answer)) {
                Ok(told) => return Ok(told),
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

    fn ask(
        &self,
        operation: &str,
        send: impl Fn(&Keys) -> Result<Answer, CredentialError>,
    ) -> Result<Answer, Failed> {
        let unknown = |error: CredentialError| {
            let message = format!(
                "{} in {} cannot be asked ({operation})",
                self.service.name, self.region
            );
            let told = Error::new(Code::SourceFailed, message).cause(error.to_string());
            Failed::Unknown(told.hint("check the region, and that this host can reach it"))
        };
        let keys = self.credentials.keys(&Cancel::current().ending());
        let keys = keys.map_err(|error| Failed::Unknown(error.into()))?;
        send(&keys).map_err(unknown)
    }

    /// All that the pages of a list hold. `page` asks for the page of a token, and returns the token of the next.
    pub(super) fn all<T>(
        &self,
        operation: &str,
        page: impl Fn(Option<&str>) -> Result<(Vec<T>, Option<String>), Failed>,
    ) -> Result<Vec<T>, Failed> {
        let (mut all, mut token) = (Vec::new(), None::<String>);
        loop {
            let (items, next) = page(token.as_deref())?;
            all.extend(items);
            match next.filter(|next| !next.is_empty()) {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                Some(_) => return Err(self.odd(operation, "its pages go round in a circle")),
                None => return Ok(all),
            }
        }
    }

    /// An answer that is none.
    pub(super) fn odd(&self, operation: &str, what: &str) -> Failed {
        let message = format!(
            "{} in {} gave an odd answer ({operation})",
            self.service.name, self.region
        );
        let error = Error::new(Code::SourceFailed, message).cause(what);
        Failed::Unknown(error.hint("try again; see https://health.aws.amazon.com if it lasts"))
    }

    /// A refusal of this kind; an answer without one is odd.
    pub(super) fn refused(
        &self,
        operation: &str,
        status: u16,
        kind: &str,
        message: &str,
    ) -> Failed {
        match kind {
            "" => self.odd(operation, &format!("its status is {status}")),
            kind => Failed::Refused {
                service: self.service.name,
                status,
                kind: kind.to_owned(),
                message: message.to_owned(),
            },
        }
    }
}

impl Failed {
    /// Whether the same call may succeed in a moment.
    fn may_pass(&self) -> bool {
        match self {
            Failed::Refused { status, kind, .. } => {
                *status >= 500
                    || matches!(
                        kind.as_str(),
                        "ThrottlingException" | "ServiceException" | "RequestLimitExceeded"
                    )
            }
            Failed::Unknown(error) => error.code == Code::SourceFailed && !cancel::requested(),
        }
    }

    fn kind(&self) -> &str {
        match self {
            Failed::Refused { kind, .. } => kind,
            Failed::Unknown(_) => "",
        }
    }

    /// Whether it says that there is no such thing.
    pub fn is_missing(&self) -> bool {
        let kind = self.kind();
        kind == "NotFoundException"
            || kind.ends_with(".NotFound")
            || kind == "InvalidAMIID.Unavailable"
    }

    /// Whether it says that the name is taken.
    pub fn is_taken(&self) -> bool {
        let names = "names are already in use";
        self.kind() == "InvalidAMIName.Duplicate"
            || matches!(self, Failed::Refused { message, .. } if message.contains(names))
    }

    /// Whether it says that something else needs it.
    pub fn is_in_use(&self) -> bool {
        self.kind().ends_with(".InUse")
    }

    /// Whether it may have been done all the same, by a call whose answer was lost.
    pub fn is_unsure(&self) -> bool {
        self.is_taken() || matches!(self, Failed::Unknown(_))
    }

    /// The error of somebody who wanted this done, for which an action has to be allowed.
    pub fn into_error(self, doing: &str, action: &str) -> Error {
        let is_missing = self.is_missing();
        let (service, kind, message) = match self {
            Failed::Unknown(error) => {
                return Error {
                    message: format!("{doing}: {}", error.message),
                    ..error
                };
            }
            Failed::Refused {
                service,
                kind,
                message,
                ..
            } => (service, kind, message),
        };
        // EC2 adds a page that only its own tools can read.
        let message = message
            .split(" Encoded authorization failure message")
            .next();
        let message = message.unwrap_or_default();
        let error = Error::new(Code::SourceFailed, format!("{doing}: {service} refuses"));
        let error = error.cause(format!("{kind}: {message}"));
        match kind.as_str() {
            "UnauthorizedOperation" if message.contains("iam:PassRole") => error.hint(
                "allow iam:PassRole on the role of the machine: its instance profile is given to the new one, too",
            ),
            "AccessDeniedException" | "UnauthorizedException" | "UnauthorizedOperation" => error
                .hint(format!(
                    "allow {action} to whom `aws sts get-caller-identity` names"
                )),
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "ExpiredTokenException"
            | "AuthFailure"
            | "RequestExpired"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch" => error.hint("get new keys, or check the clock of this host"),
            "InsufficientInstanceCapacity" => {
                error.hint("try again later, or name another `subnet` or `instance_type`")
            }
            "InvalidAMIName.Duplicate" => {
                error.hint("another image has this name: change `name` of the source")
            }
            _ if is_missing && service == "Lightsail" => error.hint(
                "check the name and the region: aws lightsail get-instances shows what is there",
            ),
            _ if is_missing => error.hint("check the id and the region"),
            kind if kind.ends_with("LimitExceeded")
                || message.to_lowercase().contains("quota")
                || message.contains("limit") =>
            {
                error.hint("delete what nobody needs, or ask for a larger quota")
            }
            _ => error.hint("see what it says; `lifeboat doctor` asks again"),
        }
    }
}
