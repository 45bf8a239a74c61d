//! Kinds of source, and the kind that a manifest names.
//!
//! A manifest may come from a newer version. A kind that this version does not know is kept as a
//! name, and refused wherever it would have to be used.

use crate::error::{Code, Error, Result};
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Files and directories.
    Files,
    /// An S3 bucket.
    Bucket,
    /// One SQLite database.
    Sqlite,
    /// One PostgreSQL database.
    Postgres,
    /// One MariaDB database.
    Mariadb,
    /// One MySQL database.
    Mysql,
    /// The standard output of a command.
    Command,
    /// An instance of Amazon Lightsail.
    Lightsail,
    /// An instance of Amazon EC2.
    Ec2,
    /// A machine, of which commands take snapshots.
    External,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 10] = [
        Kind::Files,
        Kind::Bucket,
        Kind::Sqlite,
        Kind::Postgres,
        Kind::Mariadb,
        Kind::Mysql,
        Kind::Command,
        Kind::Lightsail,
        Kind::Ec2,
        Kind::External,
    ];

    /// The name in the configuration and in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Files => "files",
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mariadb",
            Kind::Mysql => "mysql",
            Kind::Bucket => "bucket",
            Kind::Command => "command",
            Kind::Lightsail => "lightsail",
            Kind::Ec2 => "ec2",
            Kind::External => "external",
        }
    }

    /// Returns whether something captured as this kind can be restored over a source of the other
    /// kind. MariaDB and MySQL are often configured as one another.
    pub fn lives_where(self, other: Kind) -> bool {
        let server = |kind| matches!(kind, Kind::Mariadb | Kind::Mysql);
        self == other || server(self) && server(other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A kind of source as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Name", into = "Name")]
pub enum StoredKind {
    /// A kind of this version.
    Known(Kind),
    /// The name of a kind that this version does not know.
    Unknown(Name),
}

impl StoredKind {
    /// The kind. Fails with [`Code::Unsupported`], naming `source`, when this version does not know
    /// it.
    pub fn known(&self, source: &str) -> Result<Kind> {
        match self {
            StoredKind::Known(kind) => Ok(*kind),
            StoredKind::Unknown(name) => Err(Error::new(
                Code::Unsupported,
                format!(
                    "source {source} is of kind {name}, which this version of lifeboat does not know"
                ),
            )
            .hint("use the version that made the point, or a newer one")),
        }
    }

    /// Returns whether it is this kind.
    pub fn is(&self, kind: Kind) -> bool {
        *self == StoredKind::Known(kind)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            StoredKind::Known(kind) => kind.as_str(),
            StoredKind::Unknown(name) => name,
        }
    }
}

impl From<Kind> for StoredKind {
    fn from(kind: Kind) -> Self {
        StoredKind::Known(kind)
    }
}

impl From<Name> for StoredKind {
    fn from(name: Name) -> Self {
        match Kind::ALL.into_iter().find(|kind| name == kind.as_str()) {
            Some(kind) => StoredKind::Known(kind),
            None => StoredKind::Unknown(name),
        }
    }
}

impl From<StoredKind> for Name {
    fn from(kind: StoredKind) -> Self {
        match kind {
            StoredKind::Known(kind) => Name::own(kind.as_str()),
            StoredKind::Unknown(name) => name,
        }
    }
}

impl fmt::Display for StoredKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_keeps_a_kind_that_is_not_known() {
        for kind in Kind::ALL {
            let text = serde_json::to_string(&StoredKind::Known(kind)).unwrap();
            assert_eq!(text, format!("\"{kind}\""));
            let back: StoredKind = serde_json::from_str(&text).unwrap();
            assert!(back.is(kind), "{back:?}");
        }
        let newer: StoredKind = serde_json::from_str("\"mainframe\"").unwrap();
        assert_eq!(newer, StoredKind::Unknown(Name::own("mainframe")));
        assert_eq!(serde_json::to_string(&newer).unwrap(), "\"mainframe\"");
        let error = newer.known("machine").unwrap_err();
        assert_eq!(error.code, Code::Unsupported);
        assert_eq!(
            error.message,
            "source machine is of kind mainframe, which this version of lifeboat does not know"
        );
        assert!(serde_json::from_str::<StoredKind>("\"../x\"").is_err());
    }
}
