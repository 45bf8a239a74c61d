//! Repositories of the restic format: where they are, and what opens them. The format is in
//! `lifeboat-repository`; `explain` tells an operator what its errors mean.

pub mod document;
pub mod dump;
pub mod forget;
pub mod mount;
pub mod record;
pub mod select;
pub mod totals;

use crate::cancel::Cancel;
use crate::error::{Code, Error, Result};
use crate::explain::{explain, without_configuration};
use crate::given::{self, Given};
use crate::resolve::resolve_as_restic;
use crate::secret::{Reference, Scrubber, Secret};
use crate::stores::open_store;
use lifeboat_repository::{Author, Repository};
use lifeboat_store::Store;
use std::path::Path;
use std::sync::Arc;

/// A repository, and how to open it.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// A path or URL as for `--store-url`, or as restic writes it: `sftp:USER@HOST:PATH`,
    /// `s3:https://HOST/BUCKET/PREFIX`.
    pub url: String,
    /// The password.
    pub password: Option<Reference>,
    /// S3 access key; `AWS_ACCESS_KEY_ID` when absent.
    pub access_key: Option<Reference>,
    /// S3 secret key; `AWS_SECRET_ACCESS_KEY` when absent.
    pub secret_key: Option<Reference>,
}

impl Place {
    /// Opens the place itself. With `create`, makes a missing directory.
    fn store(&self, create: bool) -> Result<Arc<dyn Store>> {
        let given = Given {
            url: of_restic(&self.url)?,
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            ..Given::default()
        };
        let config = given::store_config(&given, Path::new("/nonexistent"))?;
        open_store(&config, create, &Scrubber::default()).map_err(without_configuration)
    }

    /// The password, from its reference or from where restic looks for it.
    fn password(&self) -> Result<Secret> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let reference = match &self.password {
            Some(reference) => reference.clone(),
            None => match (set("RESTIC_PASSWORD_FILE"), set("RESTIC_PASSWORD_COMMAND")) {
                (Some(path), _) => Reference::File(path),
                (None, Some(command)) => Reference::Command(command),
                (None, None) if set("RESTIC_PASSWORD").is_some() => {
                    Reference::Env("RESTIC_PASSWORD".into())
                }
                _ => {
                    return Err(
                        Error::new(Code::Secret, "no password of the repository is given").hint(
                            "say where it is: --password file:PATH, env:NAME or cmd:PROGRAM, or set RESTIC_PASSWORD_FILE",
                        ),
                    );
                }
            },
        };
        resolve_as_restic(&reference)
    }

    /// Opens the repository.
    pub fn open(&self) -> Result<Repository> {
        let store = self.store(false)?;
        let repository = Repository::open(store, "", self.password()?.expose()).map_err(explain)?;
        let job = Cancel::current();
        repository.stop_when(move || job.requested());
        Ok(repository)
    }

    /// Creates a repository.
    pub fn create(&self, author: &Author) -> Result<Repository> {
        // First of all, so that nothing is made without a password.
        let password = self.password()?;
        let store = self.store(true)?;
        Repository::create(store, "", password.expose(), author).map_err(explain)
    }
}

/// Converts a place in restic's notation into a path or URL of ours. One of ours is returned
/// unchanged.
fn of_restic(text: &str) -> Result<String> {
    let other = ["rest:", "b2:", "azure:", "gs:", "swift:", "rclone:"];
    let wrong = |message: String| {
        Error::new(Code::Usage, message).hint(
            "write a path, s3://BUCKET/PREFIX?endpoint=URL, sftp://USER@HOST:PORT/PATH, or restic's s3:HOST/BUCKET/PREFIX and sftp:USER@HOST:/PATH",
        )
    };
    if let Some(kind) = other.iter().find(|kind| text.starts_with(*kind)) {
        return Err(wrong(format!("places of kind {kind} are not known")));
    }
    if text.starts_with("s3://") || text.starts_with("sftp://") {
        return Ok(text.to_owned());
    }
    if let Some(path) = text.strip_prefix("local:") {
        return Ok(path.to_owned());
    }
    if let Some(rest) = text.strip_prefix("s3:") {
        let (scheme, rest) = rest.split_once("://").unwrap_or(("https", rest));
        return match rest.split_once('/') {
            Some(("s3.amazonaws.com", path)) => Ok(format!("s3://{path}")),
            Some((host, path)) => Ok(format!("s3://{path}?endpoint={scheme}://{host}")),
            None => Err(wrong(format!("{text:?} names no bucket"))),
        };
    }
    if let Some(rest) = text.strip_prefix("sftp:") {
        return match rest.split_once(':') {
            Some((host, path)) if path.starts_with('/') => Ok(format!("sftp://{host}{path}")),
            _ => Err(wrong(format!("{text:?} has no absolute path"))),
        };
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_restic_writes_them() {
        for (text, expected) in [
            ("/srv/repo", "/srv/repo"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
            ("sftp://u@h:2222/srv", "sftp://u@h:2222/srv"),
            ("local:/srv/repo", "/srv/repo"),
            ("s3:s3.amazonaws.com/b/p", "s3://b/p"),
            (
                "s3:http://localhost:9000/b/p",
                "s3://b/p?endpoint=http://localhost:9000",
            ),
            ("sftp:u@h:/srv/x", "sftp://u@h/srv/x"),
        ] {
            assert_eq!(of_restic(text).unwrap(), expected);
        }
        for text in [
            "sftp:h:x",
            "sftp:h",
            "s3:host",
            "rest:http://h/",
            "rclone:a:b",
        ] {
            assert_eq!(of_restic(text).unwrap_err().code, Code::Usage, "{text}");
        }
    }
}
