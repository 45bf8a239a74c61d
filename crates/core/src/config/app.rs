//! The table `[app]`.

use super::text;
use crate::name::Name;
use crate::secret::Reference;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The application that is protected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its name: letters, digits, `-`, `_` and `.`.
    #[schemars(with = "text::Name")]
    pub name: Name,
    /// `production`, `staging`, …; a live restore must name it.
    #[serde(default = "production")]
    #[schemars(with = "text::Name")]
    pub environment: Name,
    /// Person or team that answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Recovery point objective: how much time of work may be lost.
    #[serde(default)]
    pub rpo: Option<Span>,
    /// Recovery time objective: how long a restore may take.
    #[serde(default)]
    pub rto: Option<Span>,
    /// Catalog and caches; rebuilt from the stores when missing.
    #[serde(default = "default_state")]
    #[schemars(with = "text::AbsolutePath")]
    pub state: PathBuf,
    /// Private Ed25519 key in OpenSSH format that signs manifests and evidence; made in the state
    /// directory when absent.
    #[serde(default)]
    pub signing_key: Option<Reference>,
    /// An `allowed_signers` file: signers whose manifests and evidence are trusted beside our own.
    #[serde(default)]
    #[schemars(with = "Option<text::AbsolutePath>")]
    pub trusted_signers: Option<PathBuf>,
    /// Directories that a web server publishes, beside those known by name and by the
    /// configuration of this host's web servers; no backup is kept in one.
    #[serde(default)]
    #[schemars(with = "Vec<text::AbsolutePath>")]
    pub public_dirs: Vec<PathBuf>,
}

fn production() -> Name {
    Name::own("production")
}

fn default_state() -> PathBuf {
    "/var/lib/lifeboat".into()
}
