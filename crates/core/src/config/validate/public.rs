//! Directories that web servers publish, where no store, state directory or restored sensitive
//! source may lie.
//!
//! They are known by name, by `app.public_dirs`, and by the configuration of this host's web
//! servers. Directories that a server on another host publishes are not known, nor those that an
//! `include` from outside the usual directories adds.

use super::{Gravity, Issue, settled};
use crate::config::{Config, StoreKind};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Directories that web servers publish by default.
const ROOTS: [&str; 8] = [
    "/var/www",
    "/srv/www",
    "/srv/http",
    "/usr/share/nginx/html",
    "/usr/local/www",
    "/usr/local/apache2/htdocs",
    "/opt/lampp/htdocs",
    "/usr/share/caddy",
];
/// Name of a directory that is published wherever it is.
const PERSONAL: &str = "public_html";
/// Configuration of web servers, and its syntax for directories to publish.
const SERVERS: [(&str, Syntax); 5] = [
    ("etc/nginx", Syntax::Nginx),
    ("etc/apache2", Syntax::Apache),
    ("etc/httpd", Syntax::Apache),
    ("etc/caddy", Syntax::Caddy),
    ("etc/lighttpd", Syntax::Lighttpd),
];
/// Directories of sites that exist and are not enabled.
const SWITCHED_OFF: [&str; 3] = ["sites-available", "conf-available", "mods-available"];
/// Largest numbers of configuration files, of directory levels, and of bytes of each file that are
/// read.
const FILES_MAX: usize = 500;
const LEVELS_MAX: usize = 4;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Largest number of entries of a published directory that are checked for links.
const ENTRIES_MAX: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Nginx,
    Apache,
    Caddy,
    Lighttpd,
}

/// A published directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    directory: PathBuf,
    /// Reason why it is known: `listed in app.public_dirs`.
    known: String,
}

/// Relation of a path to a published directory.
struct Exposed {
    published: Published,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Inside,
    Around,
    Linked,
}

impl Exposed {
    /// Says so, as the rest of a sentence that begins with the path.
    fn sentence_end(&self) -> String {
        let Published { directory, known } = &self.published;
        let directory = directory.display();
        match self.how {
            How::Inside => format!("is inside {directory}, which a web server publishes ({known})"),
            How::Around => format!("contains {directory}, which a web server publishes ({known})"),
            How::Linked => {
                format!("is linked to from {directory}, which a web server publishes ({known})")
            }
        }
    }
}

/// Reports a store or the state directory where it would be published.
pub(super) fn misplaced(config: &Config, issues: &mut Vec<Issue>) {
    let published = published(config, Path::new("/"));
    let places = config
        .store
        .iter()
        .filter_map(|(name, store)| match &store.kind {
            StoreKind::Local(local) => {
                Some((format!("store.{name}"), "path", local.path.as_path()))
            }
            _ => None,
        });
    let state = ("app".to_owned(), "state", config.app.state.as_path());
    for (subject, at, path) in places.chain([state]) {
        if let Some(exposed) = exposure(path, &published) {
            let message = format!("{} {}", path.display(), exposed.sentence_end());
            let issue = Issue::new(Gravity::Error, subject, at, message);
            issues.push(issue.hint(HINT));
        }
    }
}

const HINT: &str = "choose a directory that no web server publishes, such as one below /var/backups or /var/lib, and move what is there";

impl Config {
    /// Refuses to restore a sensitive one of `sources` to a directory that a web server would
    /// publish. A source that the configuration does not have may be sensitive.
    pub fn check_target(&self, directory: &Path, sources: &[Name]) -> Result<()> {
        let may_be = |name: &&Name| self.source.get(*name).is_none_or(|s| s.sensitive);
        let Some(sensitive) = sources.iter().find(may_be) else {
            return Ok(());
        };
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let published = published(self, Path::new("/"));
        // A directory that contains a published one is harmless: restored sources get directories
        // of their own.
        let exposed = exposure(&directory, &published).filter(|e| e.how != How::Around);
        exposed.map_or(Ok(()), |exposed| {
            let message = format!(
                "source {sensitive} is not restored to {}: that {}",
                directory.display(),
                exposed.sentence_end()
            );
            let message = match self.source.contains_key(sensitive) {
                true => message,
                false => format!("{message}, and it may be sensitive: the configuration does not have it"),
            };
            Err(Error::new(Code::Target, message).hint(
                "restore it to a directory that no web server publishes, or name other sources with --source",
            ))
        })
    }

    /// Refuses a state directory that a web server would publish: it holds keys, spools and
    /// restored data of drills.
    pub fn check_state(&self) -> Result<()> {
        let state = &self.app.state;
        let exposed = exposure(state, &published(self, Path::new("/")));
        exposed.map_or(Ok(()), |exposed| {
            let message = format!(
                "the state directory {} {}",
                state.display(),
                exposed.sentence_end()
            );
            Err(Error::new(Code::Configuration, message)
                .hint("set app.state to a directory that no web server publishes, such as /var/lib/lifeboat"))
        })
    }
}

/// Returns how `path` is exposed, if it is.
fn exposure(path: &Path, published: &[Published]) -> Option<Exposed> {
    let (named, real) = (settled(path, false), settled(path, true));
    let exposed = |published: &Published, how| {
        let published = published.clone();
        Some(Exposed { published, how })
    };
    // Check the name as well: a server that follows links publishes their targets.
    for path in [&named, &real] {
        if let Some(published) = by_name(path) {
            return exposed(&published, How::Inside);
        }
    }
    for one in published {
        let directory = settled(&one.directory, true);
        if [&named, &real]
            .iter()
            .any(|path| path.starts_with(&directory) || path.starts_with(&one.directory))
        {
            return exposed(one, How::Inside);
        }
        if directory.starts_with(&real) {
            return exposed(one, How::Around);
        }
        if is_linked(&directory, &real) {
            return exposed(one, How::Linked);
        }
    }
    None
}

/// Finds a directory around `path` that is published by its name alone.
fn by_name(path: &Path) -> Option<Published> {
    let known = |directory: &Path| Published {
        directory: directory.to_owned(),
        known: "a usual place for it".into(),
    };
    let around: Vec<&Path> = path.ancestors().collect();
    around.into_iter().rev().find_map(|directory| {
        let usual = ROOTS.iter().any(|root| directory == Path::new(root));
        let personal = directory.file_name().is_some_and(|name| name == PERSONAL);
        (usual || personal || is_tomcat(directory)).then(|| known(directory))
    })
}

/// Matches `/var/lib/tomcat10/webapps`.
fn is_tomcat(directory: &Path) -> bool {
    let inner = directory.strip_prefix("/var/lib").ok();
    let mut steps = inner.into_iter().flat_map(Path::components);
    let (first, second, third) = (steps.next(), steps.next(), steps.next());
    let begins = |step: Component<'_>| step.as_os_str().to_string_lossy().starts_with("tomcat");
    first.is_some_and(begins)
        && second.is_some_and(|step| step.as_os_str() == "webapps")
        && third.is_none()
}

/// Returns whether a link directly in a published directory leads to `path` or above it.
fn is_linked(directory: &Path, path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let entries = entries.take(ENTRIES_MAX).flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .filter_map(|entry| entry.path().canonicalize().ok())
        .any(|target| path.starts_with(target))
}

/// Lists published directories: configured ones, those of this host's servers, and the usual ones
/// that exist. `host` is the root of the host, `/` except in tests.
fn published(config: &Config, host: &Path) -> Vec<Published> {
    let listed = config.app.public_dirs.iter().map(|directory| Published {
        directory: settled(directory, false),
        known: "listed in app.public_dirs".into(),
    });
    let mut found: Vec<Published> = listed.collect();
    found.extend(configured(host));
    let usual = ROOTS.iter().map(Path::new).filter(|root| root.is_dir());
    found.extend(usual.filter_map(by_name));
    found
}

/// Finds the directories that the web servers of this host are configured to publish.
fn configured(host: &Path) -> Vec<Published> {
    let mut found = Vec::new();
    for (place, syntax) in SERVERS {
        for file in files(&host.join(place)) {
            let Some(text) = read(&file) else { continue };
            let shown = Path::new("/").join(file.strip_prefix(host).unwrap_or(&file));
            found.extend(directories(&text, syntax).into_iter().map(|directory| {
                let known = format!("named in {}", shown.display());
                Published { directory, known }
            }));
        }
    }
    found
}

/// Lists the files below a configuration directory in order, following links.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![(directory.to_owned(), 0)];
    while let Some((directory, level)) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if SWITCHED_OFF.contains(&&*name) || found.len() >= FILES_MAX {
                continue;
            }
            if path.is_dir() && level < LEVELS_MAX {
                waiting.push((path, level + 1));
            } else if path.is_file() {
                found.insert(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> Option<String> {
    let small = path.metadata().is_ok_and(|m| m.len() <= FILE_BYTES_MAX);
    let bytes = small.then(|| crate::plain::read(path).ok())??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds the directories that a server's configuration publishes.
fn directories(text: &str, syntax: Syntax) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(before, _)| before);
        // A line may contain several directives: `location / { root /srv/site; }`.
        for directive in line.split([';', '{', '}']) {
            let words: Vec<&str> = directive.split_whitespace().collect();
            found.extend(argument(&words, syntax).and_then(directory));
        }
    }
    found
}

/// Finds the word of a directive that names a directory to publish.
fn argument<'a>(words: &[&'a str], syntax: Syntax) -> Option<&'a str> {
    let (first, rest) = words.split_first()?;
    let is = |name: &str| first.eq_ignore_ascii_case(name);
    match syntax {
        Syntax::Nginx if is("root") || is("alias") => rest.first().copied(),
        Syntax::Apache if is("DocumentRoot") => rest.first().copied(),
        Syntax::Apache if is("Alias") => rest.get(1).copied(),
        // `root * /srv/site` or `root /srv/site`.
        Syntax::Caddy if is("root") => rest.last().copied(),
        Syntax::Lighttpd if first.starts_with("server.document-root") => rest.last().copied(),
        _ => None,
    }
}

/// Returns an absolute directory; if the path contains a variable, the directory above it. The root
/// directory is ignored.
fn directory(word: &str) -> Option<PathBuf> {
    let word = word.trim_matches(['"', '\'']);
    let path = Path::new(word);
    if !path.is_absolute() {
        return None;
    }
    let fixed = path.components().take_while(|step| {
        let step = step.as_os_str().to_string_lossy();
        !step.contains(['$', '%', '{'])
    });
    let directory: PathBuf = settled(&fixed.collect::<PathBuf>(), false);
    directory.parent().is_some().then_some(directory)
}

#[cfg(test)]
mod tests;
