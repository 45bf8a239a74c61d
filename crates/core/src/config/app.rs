//! The table `[app]`.

use super::text;
use crate::name::Name;
use crate::secret::Reference;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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
    /// The state directory that several applications share, where each has its own below it; their
    /// signing key is there.
    #[serde(skip)]
    pub shared_state: Option<PathBuf>,
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

impl App {
    /// The state of this application below the one that it shares with others.
    fn state_below(&self) -> PathBuf {
        let name = format!("{}-{}", self.name, self.environment);
        self.state.join("apps").join(name)
    }

    /// Gives the application a state of its own below the one that is configured.
    pub(super) fn share_state(&mut self) {
        if self.shared_state.is_none() {
            let below = self.state_below();
            self.shared_state = Some(std::mem::replace(&mut self.state, below));
        }
    }

    /// Does so if a runner of several applications has made one.
    pub(super) fn find_state(&mut self) {
        if self.state_below().is_dir() {
            self.share_state();
        }
    }

    /// The directory of the signing key, and of the socket of the daemon.
    pub fn host_state(&self) -> &Path {
        self.shared_state.as_deref().unwrap_or(&self.state)
    }
}

fn production() -> Name {
    Name::own("production")
}

fn default_state() -> PathBuf {
    "/var/lib/lifeboat".into()
}
