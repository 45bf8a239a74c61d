//! Repositories of the restic format: where they are, what opens them, and what their errors mean
//! to an operator. What a repository is, is in `lifeboat-repository`.

pub mod dump;
pub mod mount;
pub mod record;

use crate::cold::{self, Given};
use crate::context::open_store;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::secret::{Reference, Scrubber, Secret};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_repository as engine;
use lifeboat_repository::time::Time;
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
    /// The place itself. With `create`, a directory that is not there is made.
    fn store(&self, create: bool) -> Result<Arc<dyn Store>> {
        let given = Given {
            url: of_restic(&self.url)?,
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            ..Given::default()
        };
        let config = cold::store_config(&given, Path::new("/nonexistent"))?;
        open_store(&config, create, &Scrubber::default()).map_err(without_configuration)
    }

    /// The password, from where it is said to be or where restic looks for it.
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
        reference.resolve_as_restic()
    }

    /// Opens it.
    pub fn open(&self) -> Result<Repository> {
        let store = self.store(false)?;
        let repository = Repository::open(store, "", self.password()?.expose()).map_err(explain)?;
        repository.stop_when(interrupt::requested);
        Ok(repository)
    }

    /// Makes one.
    pub fn create(&self, author: &Author) -> Result<Repository> {
        // Before anything is made.
        let password = self.password()?;
        let store = self.store(true)?;
        Repository::create(store, "", password.expose(), author).map_err(explain)
    }
}

/// Who uses a repository from here.
pub fn author() -> Author {
    Author {
        user: crate::host::author(),
        host: crate::host::host(),
        now: Time::new(Timestamp::now(), &TimeZone::system()),
    }
}

/// A place written restic's way as a path or URL of ours; ours stay as they are.
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

/// An error of a store, whose hint is for who has a configuration.
fn without_configuration(error: Error) -> Error {
    let Some(hint) = &error.hint else {
        return error;
    };
    let hint = match error.message.as_str() {
        text if text.ends_with("does not exist") => {
            "check the place, or make a repository there: lifeboat repo init".to_owned()
        }
        text if text.ends_with("refused the credentials") => {
            "check the access key and the secret key (the environment, or --access-key and --secret-key), and the clock of this host".to_owned()
        }
        _ if hint.contains("lifeboat verify") => "see how much is hit: lifeboat repo check".to_owned(),
        _ if hint.contains("lifeboat doctor") => "check the place, and run it again".to_owned(),
        _ => hint
            .replace("in the configuration", "in the place that is given")
            .replace("make the store writable", "make it writable")
            .replace("another store", "another place"),
    };
    error.hint(hint)
}

/// An error of the engine, as an operator reads it.
pub fn explain(error: engine::Error) -> Error {
    use engine::Error as E;
    let message = error.to_string();
    let (code, hint) = match error {
        E::Store(error) => return without_configuration(error.into()),
        E::Read { .. } => (
            Code::Io,
            Some("check what it is read from and the connection, and run it again"),
        ),
        E::Spoilt { .. } => (
            Code::Io,
            Some("nothing was committed; test the memory of this host before it makes backups"),
        ),
        E::Output(_) | E::Threads(_) | E::Memory { .. } | E::Random(_) => (
            Code::Io,
            Some("see what this host is short of, and run it again"),
        ),
        E::NoRepository { .. } => (
            Code::PointUnknown,
            Some("check the place, or make one: lifeboat repo init --repo …"),
        ),
        E::Exists { .. } => (
            Code::Target,
            Some("use it as it is, or choose another place"),
        ),
        E::Password { .. } => (
            Code::Decryption,
            Some("check the password, and that it is the one of this repository"),
        ),
        E::Locked { .. } => (
            Code::Busy,
            Some(
                "wait for it to end, or have this wait: --retry-lock 10m; when it is certain that nobody is at work: lifeboat repo unlock",
            ),
        ),
        E::LockLost => (
            Code::Busy,
            Some("nothing was committed since; check the network and the clock, and run it again"),
        ),
        E::Changed => (Code::Busy, Some("run it again")),
        E::NothingTaken { .. } => (
            Code::SourceMissing,
            Some("correct the paths, or run it as a user who may read them"),
        ),
        E::NotInSnapshot { .. } => (
            Code::PointUnknown,
            Some("see what it holds: lifeboat repo ls SNAPSHOT"),
        ),
        E::Target { .. } => (Code::Target, Some("choose another directory")),
        E::DeletesAll => (
            Code::Usage,
            Some("choose another target, or say with --include what may be deleted"),
        ),
        E::Stopped => (
            Code::Interrupted,
            Some("run it again; what was stored is used then"),
        ),
        E::Version { .. } => (Code::Store, Some("a newer lifeboat may know it")),
        E::ToDelete { .. } => (Code::ObjectMissing, Some("lifeboat repo prune")),
        E::Missing { .. } | E::UnknownBlob { .. } => (
            Code::ObjectMissing,
            Some("see how much is hit: lifeboat repo check"),
        ),
        E::Damaged {
            kind: engine::FileKind::Lock,
            ..
        } => (
            Code::Busy,
            Some(
                "whose it is cannot be known; when it is certain that nobody is at work: lifeboat repo unlock --remove-all; to read all the same: --no-lock",
            ),
        ),
        E::Config(_) => (
            Code::ObjectDamaged,
            Some(
                "bring `config` back from a copy of the repository: without it nothing can be read",
            ),
        ),
        E::Damaged {
            kind: engine::FileKind::Key,
            ..
        } => (
            Code::ObjectDamaged,
            Some(
                "bring it back from a copy of the repository; where it has several passwords, another one opens it",
            ),
        ),
        E::Damaged {
            kind: engine::FileKind::Index,
            ..
        } => (
            Code::ObjectDamaged,
            Some("make a new index: lifeboat repo repair index"),
        ),
        E::Damaged {
            kind: engine::FileKind::Snapshot,
            ..
        } => (
            Code::ObjectDamaged,
            Some(
                "bring it back from a copy of the repository, or give it up: lifeboat repo repair snapshots --forget",
            ),
        ),
        E::Damaged { .. } | E::Blob { .. } => (
            Code::ObjectDamaged,
            Some("see how much is hit: lifeboat repo check --read-data"),
        ),
    };
    match hint {
        Some(hint) => Error::new(code, message).hint(hint),
        None => Error::new(code, message),
    }
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
