//! Application directories and the databases and secrets in them.

use super::database::{Database, Kind, Where};
use super::environment::Environment;
use super::{Application, Found, name_of};
use lifeboat_repository::mounts::Mounts;
use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Directories whose subdirectories are applications.
const PARENTS: [&str; 4] = ["var/www", "srv", "opt", "home"];
/// Largest number of entries read in one application.
const ENTRIES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 6;

/// Directories that can be made again, or do not belong to the application.
const SKIPPED: [&str; 12] = [
    "node_modules",
    "vendor",
    ".git",
    ".svn",
    "__pycache__",
    ".venv",
    "venv",
    ".cache",
    "cache",
    "target",
    "tmp",
    "logs",
];

/// Finds applications. Reports a mount that does not answer as unread.
pub(super) fn applications(
    found: &mut Found,
    environments: &mut Vec<Environment>,
    mounts: &Mounts,
) {
    let mut taken = BTreeSet::new();
    for parent in PARENTS {
        let directory = found.root.join(parent);
        for path in directories(&directory, mounts, &mut found.unread) {
            if parent == "home" {
                // A home directory is an application only if it contains files of one.
                for path in directories(&path, mounts, &mut found.unread) {
                    if framework(&path, mounts).is_some() {
                        application(found, environments, mounts, &mut taken, &path);
                    }
                }
            } else if !is_of_a_package(&path) {
                application(found, environments, mounts, &mut taken, &path);
            }
        }
    }
    let plain = found.root.join("var/www");
    if framework(&plain, mounts).is_some() {
        application(found, environments, mounts, &mut taken, &plain);
    }
}

/// Returns whether a package made this directory below `/opt` or `/srv`.
fn is_of_a_package(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    matches!(
        name.as_ref(),
        "containerd" | "google" | "microsoft" | "lost+found" | "ftp" | "tftp"
    ) || name.starts_with('.')
}

fn directories(parent: &Path, mounts: &Mounts, unread: &mut Vec<String>) -> Vec<PathBuf> {
    let mut found: Vec<_> = entries(parent, mounts, unread)
        .into_iter()
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn entries(directory: &Path, mounts: &Mounts, unread: &mut Vec<String>) -> Vec<DirEntry> {
    let list = |directory: &Path| Ok(directory.read_dir()?.flatten().collect());
    match mounts.ask(directory, list) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                unread.push(format!("{}: {error}", directory.display()));
            }
            Vec::new()
        }
    }
}

/// The framework of an application, and the file that shows it.
fn framework(path: &Path, mounts: &Mounts) -> Option<(&'static str, PathBuf)> {
    let marks = [
        ("laravel", "artisan"),
        ("wordpress", "wp-config.php"),
        ("django", "manage.py"),
        ("rails", "config/application.rb"),
        ("php", "composer.json"),
        ("node", "package.json"),
        ("php", "index.php"),
        ("python", "pyproject.toml"),
        ("python", "requirements.txt"),
        ("compose", "docker-compose.yml"),
        ("compose", "compose.yaml"),
        ("compose", "compose.yml"),
        ("site", "index.html"),
    ];
    let look = move |path: &Path| {
        let mut there = marks
            .into_iter()
            .map(|(name, mark)| (name, path.join(mark)));
        Ok(there.find(|(_, mark)| mark.is_file()))
    };
    mounts.ask(path, look).unwrap_or_default()
}

fn application(
    found: &mut Found,
    environments: &mut Vec<Environment>,
    mounts: &Mounts,
    taken: &mut BTreeSet<String>,
    path: &Path,
) {
    let (framework, landmark) = match framework(path, mounts) {
        Some((name, mark)) => (name, Some(mark)),
        None => ("directory", None),
    };
    let mut seen = 0;
    let mut any = false;
    let mut waiting = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = waiting.pop() {
        let mut listed = entries(&directory, mounts, &mut found.unread);
        listed.sort_by_key(DirEntry::file_name);
        if is_own(&listed) {
            continue;
        }
        for entry in listed {
            seen += 1;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let entry_path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() {
                if depth < DEPTH_MAX && !SKIPPED.contains(&name.as_str()) {
                    waiting.push((entry_path, depth + 1));
                }
            } else if kind.is_file() {
                any = true;
                file(found, environments, &name, entry_path);
            }
        }
        if seen > ENTRIES_MAX {
            let message = "has more entries than were looked at; databases and secrets deep in it may be missing here";
            found.unread.push(format!("{}: {message}", path.display()));
            break;
        }
    }
    // An empty directory needs no backup.
    if any {
        let base = path.file_name().unwrap_or_default().to_string_lossy();
        found.applications.push(Application {
            name: name_of(&base, taken),
            path: path.to_owned(),
            framework: framework.to_owned(),
            landmark,
        });
    }
}

/// Whether this is a state directory or a store of Lifeboat, which no application is.
fn is_own(listed: &[DirEntry]) -> bool {
    let has = |name: &str| listed.iter().find(|entry| entry.file_name() == name);
    let state = || has("signing.key").is_some() && has("catalog.db").is_some();
    let store = || has("lifeboat").is_some_and(|entry| entry.path().join("points").is_dir());
    state() || store()
}

fn file(found: &mut Found, environments: &mut Vec<Environment>, name: &str, path: PathBuf) {
    if is_secret(name, &path) {
        environments.extend(Environment::read(&path));
        found.secrets.push(path);
    } else if name == "database.yml" {
        environments.extend(Environment::read(&path));
    } else if is_compose(name) {
        found.system.push(path);
    } else if is_sqlite(name, &path) {
        found.databases.push(Database {
            path: Some(path.clone()),
            ..Database::new(Kind::Sqlite, Where::said(&path.display().to_string()))
        });
    }
}

pub(super) fn is_compose(name: &str) -> bool {
    let stem = name
        .strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| {
        stem.starts_with("docker-compose") || stem == "compose" || stem.starts_with("compose.")
    })
}

fn is_secret(name: &str, path: &Path) -> bool {
    let example = [".example", ".sample", ".dist", ".template", ".md"];
    if example.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    name == ".env"
        || name.starts_with(".env.")
        || matches!(
            name,
            "wp-config.php"
                | "secrets.yml"
                | "secrets.toml"
                | "credentials.json"
                | ".pgpass"
                | ".my.cnf"
        )
        || path.ends_with("config/master.key")
}

/// Recognises a database by its name and its first bytes, without opening it.
fn is_sqlite(name: &str, path: &Path) -> bool {
    let ends = [".db", ".sqlite", ".sqlite3", ".db3"];
    if !ends.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    let mut header = [0; 16];
    let read = crate::plain::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && &header == b"SQLite format 3\0"
}
