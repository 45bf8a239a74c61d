//! What Lifeboat writes on this host when it runs by itself, and what it runs, as a configuration says.

use crate::config::{ChannelKind, Check, Config, SourceKind, StoreKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The directory in which systemd makes the state of services.
const STATES: &str = "/var/lib";

/// What is written, and what is run, by the jobs of some configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// Directories that are written, each once and none below another.
    pub directories: Vec<PathBuf>,
    /// State directories among them.
    states: BTreeSet<PathBuf>,
    /// Those of them that other users read: what is measured is for the collector of Prometheus.
    pub shared: BTreeSet<PathBuf>,
    /// Keys of the configuration whose commands are run.
    pub commands: Vec<String>,
    /// True if a path of the configuration is in a directory for temporary files.
    pub temporary: bool,
}

impl Writes {
    /// Gathers it from these configurations. A restore is not among it: nothing begins one by itself.
    pub fn of(configs: &[Config]) -> Self {
        let mut all = BTreeSet::new();
        let mut states = BTreeSet::new();
        let mut shared = BTreeSet::new();
        let mut read = Vec::new();
        let mut commands = BTreeSet::new();
        for config in configs {
            let state = config.app.host_state().to_owned();
            states.insert(state.clone());
            all.insert(state);
            all.extend(directories(config));
            shared.extend(metrics(config));
            read.extend(config.source.values().flat_map(|source| {
                let socket = match &source.kind {
                    SourceKind::Postgres(postgres) => postgres.server.socket.as_deref(),
                    SourceKind::Mariadb(server) | SourceKind::Mysql(server) => {
                        server.socket.as_deref()
                    }
                    _ => None,
                };
                let roots = source.kind.roots().into_iter().chain(socket);
                roots.map(Path::to_owned).collect::<Vec<_>>()
            }));
            commands.extend(run(config));
        }
        // What is also a store or the state is for nobody else.
        shared.retain(|path| !all.contains(path));
        all.extend(shared.iter().cloned());
        let temporary = all.iter().chain(&read).any(|path| is_temporary(path));
        let within = |path: &PathBuf| path.ancestors().skip(1).any(|above| all.contains(above));
        let directories = all.iter().filter(|path| !within(path)).cloned().collect();
        Writes {
            directories,
            states,
            shared,
            commands: commands.into_iter().collect(),
            temporary,
        }
    }

    /// The state directory as systemd makes it, by its path below `/var/lib`, if the configurations have
    /// one such; and the directories beside it.
    pub(super) fn state_directory(&self) -> (Option<String>, Vec<&PathBuf>) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let below = |state: &PathBuf| {
            let below = state.strip_prefix(STATES).ok()?.to_str()?;
            let up = below.split('/').any(|part| part == "..");
            let fits = !below.is_empty() && !up && below.chars().all(plain);
            fits.then(|| (below.to_owned(), state.clone()))
        };
        let mut states = self.states.iter();
        let made = match (states.next(), states.next()) {
            (Some(only), None) => below(only),
            _ => None,
        };
        let others = self.directories.iter();
        let others = others.filter(|path| made.as_ref().is_none_or(|(_, state)| *path != state));
        let others = others.collect();
        (made.map(|(name, _)| name), others)
    }
}

/// Whether a path is in a directory for temporary files, which a unit may have of its own.
pub(super) fn is_temporary(path: &Path) -> bool {
    path.starts_with("/tmp") || path.starts_with("/var/tmp")
}

/// Directories that jobs write, beside the state.
fn directories(config: &Config) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for store in config.store.values() {
        if let StoreKind::Local(local) = &store.kind {
            found.push(local.path.clone());
        }
        // The agent keeps its sockets, locks and random seed there.
        let signs = store
            .encrypt
            .as_ref()
            .and_then(|encrypt| encrypt.sign.as_ref());
        found.extend(signs.and_then(|sign| sign.gpg.clone()));
        found.extend(
            store
                .decrypt
                .as_ref()
                .and_then(|decrypt| decrypt.gpg.clone()),
        );
    }
    found
}

/// The directory of the file for Prometheus, which is replaced in one step, by another one beside it.
fn metrics(config: &Config) -> Option<PathBuf> {
    let file = config.run.metrics_file.as_deref()?;
    file.parent().map(Path::to_owned)
}

/// Keys whose commands jobs run on this host.
fn run(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for (name, plan) in &config.plan {
        for (key, commands) in [("before", &plan.before), ("finally", &plan.finally)] {
            if !commands.is_empty() {
                found.push(format!("plan.{name}.{key}"));
            }
        }
    }
    for (name, source) in &config.source {
        if let SourceKind::Command(command) = &source.kind
            && command.place.via.is_none()
        {
            found.push(format!("source.{name}.command"));
        }
    }
    for (name, drill) in &config.drill {
        let command = |check: &crate::config::CheckConfig| {
            matches!(check.parsed(), Ok(Check::Command { .. }))
        };
        if drill.checks.iter().any(command) {
            found.push(format!("drill.{name}.checks"));
        }
    }
    for (name, channel) in &config.notify {
        if matches!(channel.kind, ChannelKind::Command(_)) {
            found.push(format!("notify.{name}.command"));
        }
    }
    found
}
