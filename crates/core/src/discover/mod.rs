//! Discovery of what on this host should be protected: applications, their databases, files,
//! secrets, units, sites, certificates and containers.
//!
//! Guarantees: only reads, follows no link, opens no database, and bounds the search. The result
//! holds no secret, only the places of secrets. It is a proposal based on the names and contents of
//! files; anything elsewhere is not found.

mod compose;
mod database;
mod document;
mod environment;
mod host;
mod render;
#[cfg(test)]
mod tests;
mod walk;

pub use database::{Database, Kind, Where};
pub use document::Document;
pub use render::{Missing, Proposal, render};

use lifeboat_repository::mounts::{Mounts, PATIENCE};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Everything that was found below a root directory.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Found {
    /// The root, `/` for this host.
    pub root: PathBuf,
    /// Application directories.
    pub applications: Vec<Application>,
    /// Databases that something refers to, or that lie in an application.
    pub databases: Vec<Database>,
    /// Database servers that run here or are set up here.
    pub servers: Vec<Server>,
    /// Files that hold secrets.
    pub secrets: Vec<PathBuf>,
    /// Units and timers of systemd that were made here.
    pub units: Vec<Unit>,
    /// Configurations of web servers, cron tables and compose files.
    pub system: Vec<PathBuf>,
    /// Directories of certificates and their private keys.
    pub certificates: Vec<PathBuf>,
    /// Paths that could not be read.
    pub unread: Vec<String>,
}

/// An application directory.
#[derive(Debug, Clone, Serialize)]
pub struct Application {
    /// A name derived from that of the directory.
    pub name: String,
    /// The directory.
    pub path: PathBuf,
    /// `laravel`, `wordpress`, `django`, `rails`, `node`, `php`, or `directory`.
    pub framework: String,
    /// A file by which a restored application can be recognised.
    pub landmark: Option<PathBuf>,
}

/// A database server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Its kind.
    pub kind: Kind,
    /// Evidence for it: a socket, a process, a configuration.
    pub seen: String,
    /// Directory of its socket (PostgreSQL) or the socket itself (MariaDB, MySQL).
    pub socket: Option<PathBuf>,
    /// Number in the name of its socket (PostgreSQL), unless it is the usual one.
    pub port: Option<u16>,
}

/// A unit of systemd.
#[derive(Debug, Clone, Serialize)]
pub struct Unit {
    /// Its name, with its suffix.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// True when it runs a program in an application directory.
    pub of_application: bool,
}

/// Searches the host whose file system begins at `root`. `containers` are the running ones, as
/// [`containers`] returns them.
pub fn discover(root: &Path, containers: &[Container]) -> Found {
    let mut found = Found {
        root: root.to_owned(),
        ..Found::default()
    };
    let mut environments = Vec::new();
    let mounts = Mounts::of_this_process(PATIENCE);
    walk::applications(&mut found, &mut environments, &mounts);
    host::units(&mut found, &mut environments);
    host::web_sites(&mut found);
    host::certificates(&mut found);
    host::servers(&mut found);
    for environment in &environments {
        found
            .databases
            .extend(database::of_environment(environment, root));
    }
    for path in found.system.clone() {
        found.databases.extend(compose::databases(&path));
    }
    for container in containers {
        found.databases.extend(container.database());
    }
    database::settle(&mut found);
    found.secrets.sort();
    found.secrets.dedup();
    found.system.sort();
    found.system.dedup();
    found
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// The image it was made from.
    pub image: String,
}

impl Container {
    fn database(&self) -> Option<Database> {
        let kind = database::of_image(&self.image)?;
        Some(Database {
            container: Some(self.name.clone()),
            ..Database::new(kind, Where::said(&format!("container {}", self.name)))
        })
    }
}

/// Lists the running containers, if the `docker` client works for this user; otherwise returns
/// none.
pub fn containers() -> Vec<Container> {
    let command =
        crate::transport::Command::new("docker").args(["ps", "--format", "{{.Names}}\t{{.Image}}"]);
    let output = match crate::transport::Transport::Local.output(&command) {
        Ok(output) if output.status.success() => output.stdout,
        _ => return Vec::new(),
    };
    let text = String::from_utf8_lossy(&output).into_owned();
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, image)| Container {
            name: name.to_owned(),
            image: image.to_owned(),
        })
        .collect()
}

/// Makes a name for a source or application that is not in `taken`.
fn name_of(text: &str, taken: &mut BTreeSet<String>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut name: String = text
        .chars()
        .map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' })
        .collect();
    name = name.trim_matches(|c| matches!(c, '-' | '_')).to_owned();
    if name.is_empty() {
        name = "app".into();
    }
    let base = name.clone();
    for number in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{base}-{number}");
    }
    name
}
