//! Error messages and author of the repository engine, as Lifeboat presents them.

use crate::error::{self, Code, Error, Fact};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_repository::time::Time;
use lifeboat_repository::{self as engine, Author};

/// The user and host that Lifeboat names to a repository.
pub fn author() -> Author {
    Author {
        user: crate::host::author(),
        host: crate::host::host(),
        now: Time::new(Timestamp::now(), &TimeZone::system()),
    }
}

/// Rewrites the hint of a store error for an operator who has no configuration.
pub(crate) fn without_configuration(error: Error) -> Error {
    let Some(hint) = &error.hint else {
        return error;
    };
    let hint = match &error.fact {
        Some(Fact::Place) => {
            "check the place, or make a repository there: lifeboat repo init".to_owned()
        }
        Some(Fact::Credentials) => {
            "check the access key and the secret key (the environment, or --access-key and --secret-key), and the clock of this host".to_owned()
        }
        Some(Fact::Stored) => "see how much is hit: lifeboat repo check".to_owned(),
        Some(
            Fact::RepositoryPassword
            | Fact::HostKey
            | Fact::Variable(_)
            | Fact::HalfSwapped
            | Fact::Denied
            | Fact::Full
            | Fact::WithoutVersions
            | Fact::NotInstalled,
        ) => hint.clone(),
        None if error.code == Code::Store && hint == error::ASK_DOCTOR => {
            "check the place, and run it again".to_owned()
        }
        None => hint
            .replace("in the configuration", "in the place that is given")
            .replace("make the store writable", "make it writable")
            .replace("another store", "another place")
            .replace("; in a unit of systemd, see `lifeboat init --systemd`", ""),
    };
    error.hint(hint)
}

/// Translates an error of the engine into one for an operator.
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
    Error {
        hint: hint.map(str::to_owned),
        fact: (code == Code::Decryption).then_some(Fact::RepositoryPassword),
        ..Error::new(code, message)
    }
}
