//! Finds and reads the configuration file.

use super::document::walk;
use super::places::{Places, Problem, error};
use super::validate::Gravity;
use super::{Config, schema};
use crate::error::{Code, Error, Result};
use crate::ownership;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Environment variable that names the configuration file.
const VARIABLE: &str = "LIFEBOAT_CONFIG";
/// Places where the file is looked for when it is not named.
const PLACES: [&str; 2] = ["./lifeboat.toml", "/etc/lifeboat/lifeboat.toml"];
/// Largest configuration file in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Reads the configuration: `path`, else `$LIFEBOAT_CONFIG`, else `./lifeboat.toml`, else
    /// `/etc/lifeboat/lifeboat.toml`. A file that was named must be there.
    pub fn load(path: Option<&Path>) -> Result<Config> {
        let (path, named) = Self::locate(path)?;
        refuse_planted(&path, named)?;
        let mut config = Config::parse(&read(&path)?, &path)?;
        config.app.find_state();
        Ok(config)
    }

    /// The file that [`Config::load`] reads, or the directory that was named, and whether it was
    /// named.
    pub fn locate(path: Option<&Path>) -> Result<(PathBuf, bool)> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        let variable = variable.as_deref().map(Path::new);
        let found = find(path, variable, &PLACES.map(Path::new))?;
        Ok((found, path.or(variable).is_some()))
    }

    /// Reads the configurations of a directory, each file `*.toml` with its own application, which
    /// has its own state below the configured one. A file that is refused is returned with its
    /// error; of two for one application, the second is.
    pub fn load_directory(directory: &Path) -> Result<Vec<(PathBuf, Result<Config>)>> {
        let failed = |error: std::io::Error| {
            let message = format!("the directory {} cannot be read", directory.display());
            Error::new(Code::Configuration, message).cause(error)
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let hidden = path
                .file_name()
                .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            if !hidden
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            let message = format!("no file of {} ends in .toml", directory.display());
            return Err(Error::new(Code::Configuration, message)
                .hint("put the configuration of each application there, as NAME.toml"));
        }
        paths.sort();
        let mut known: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut load = |path: &Path| {
            refuse_planted(path, true)?;
            let mut config = Config::parse(&read(path)?, path)?;
            config.app.share_state();
            let app = format!("{}/{}", config.app.name, config.app.environment);
            match known.get(&app) {
                None => drop(known.insert(app, path.to_owned())),
                Some(first) => {
                    let message = format!(
                        "{}: {app} is also the application of {}",
                        path.display(),
                        first.display()
                    );
                    return Err(Error::new(Code::Configuration, message)
                        .hint("give it another app.name or app.environment, or remove the file"));
                }
            }
            Ok(config)
        };
        Ok(paths
            .into_iter()
            .map(|path| {
                let loaded = load(&path);
                (path, loaded)
            })
            .collect())
    }

    /// Parses a configuration. `origin` is the file that holds the text.
    ///
    /// An error reports every problem of one stage, each with `FILE:LINE:COLUMN`: first of the
    /// syntax, then of keys and values, then contradictions.
    pub fn parse(text: &str, origin: &Path) -> Result<Config> {
        let fail = |problems| Err(error(origin, text, problems));
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return fail(errors.iter().map(syntax).collect());
        }
        let document = document.into_inner();
        if let Some(problem) = other_version(&document) {
            return fail(vec![problem]);
        }
        let whole = std::path::absolute(origin).unwrap_or_else(|_| origin.to_owned());
        let base = whole.parent().unwrap_or(Path::new("/"));
        let walked = walk(&schema(), &document, base);
        if !walked.problems.is_empty() {
            return fail(walked.problems);
        }
        let mut config: Config =
            toml::from_str(text).map_err(|error| unforeseen(origin, &error))?;
        config.origin = whole;
        config.text = text.to_owned();
        let problems = contradictions(&config, &walked.places);
        if !problems.is_empty() {
            return fail(problems);
        }
        Ok(config)
    }
}

/// A syntax error. Its message says what the grammar expected and never quotes the text; the source
/// line, which may hold a secret, is not shown.
fn syntax(error: &toml::de::Error) -> Problem {
    Problem {
        offset: error.span().map_or(0, |span| span.start),
        message: format!("this is not TOML: {}", error.message()),
        discreet: true,
        hint: Some(
            "text stands in double quotes, lists in [ ], tables in { } or under [NAME]".into(),
        ),
    }
}

fn other_version(document: &DeTable<'_>) -> Option<Problem> {
    let (_, version) = document
        .iter()
        .find(|(key, _)| key.get_ref() == "version")?;
    let DeValue::Integer(number) = version.get_ref() else {
        return None;
    };
    (number.as_str() != "1").then(|| Problem {
        offset: version.span().start,
        message: format!(
            "version {} of the configuration is not known",
            number.as_str()
        ),
        discreet: true,
        hint: Some("write version = 1, or use the lifeboat this file was written for".into()),
    })
}

/// The error of a value that the schema accepts and the types refuse. The message of serde may
/// quote the value, so only the place is reported.
fn unforeseen(origin: &Path, error: &toml::de::Error) -> Error {
    let at = error.span().map_or(0, |span| span.start);
    Error::new(
        Code::Configuration,
        format!("{}: the value at byte {at} does not fit", origin.display()),
    )
    .hint("compare it with `lifeboat config schema`")
}

impl Config {
    /// Makes a configuration without a file. Its paths are absolute.
    pub(crate) fn of_value(value: serde_json::Value) -> Result<Config> {
        let unfit =
            |error| Error::new(Code::Usage, "it has a value that does not fit").cause(error);
        let config: Config = serde_json::from_value(value).map_err(unfit)?;
        let issues = config.issues(false).into_iter();
        let mut refused = issues.filter(|issue| issue.gravity == Gravity::Refused);
        match refused.next() {
            None => Ok(config),
            Some(issue) => {
                let error = Error::new(Code::Usage, issue.message);
                Err(match issue.hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }
}

fn contradictions(config: &Config, places: &Places) -> Vec<Problem> {
    let issues = config.issues(false).into_iter();
    issues
        .filter(|issue| issue.gravity == Gravity::Refused)
        .map(|issue| {
            let path = issue.path();
            Problem {
                offset: places.find(&path),
                message: format!("{path}: {}", issue.message),
                discreet: true,
                hint: issue.hint,
            }
        })
        .collect()
}

/// Finds the file to read.
pub(super) fn find(
    named: Option<&Path>,
    variable: Option<&Path>,
    places: &[&Path],
) -> Result<PathBuf> {
    if let Some(path) = named.or(variable) {
        return Ok(path.to_owned());
    }
    if let Some(path) = places.iter().find(|path| path.exists()) {
        return Ok((*path).to_owned());
    }
    if let Some(path) = places.iter().find(|path| path.try_exists().is_err()) {
        let message = format!("{} cannot be looked for by this user", path.display());
        return Err(Error::new(Code::Configuration, message)
            .hint("run it as root, or name another configuration with --config FILE"));
    }
    let looked: Vec<_> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Err(Error::new(Code::Configuration, "there is no configuration")
        .cause(format!(
            "neither {} is there, and ${VARIABLE} is not set",
            looked.join(" nor ")
        ))
        .hint("let `lifeboat init` propose one in /etc/lifeboat, or name one with --config FILE"))
}

/// Refuses a file that a stranger may have written, because this user runs the commands that it
/// names: a file that everybody can write to, or an unnamed one that others can write to. The
/// doctor reports a named file that others can change.
fn refuse_planted(path: &Path, named: bool) -> Result<()> {
    match ownership::exposed(path) {
        Some(fault) if !named || fault.is_everybody() => Err(Error::new(
            Code::Configuration,
            format!(
                "the configuration {} is open to other users: {fault}",
                path.display()
            ),
        )
        .hint(match named {
            true => format!("read it, then run `{}`", fault.mend()),
            false => format!(
                "read it, then run `{}`, or name it with --config if it is yours",
                fault.mend()
            ),
        })),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String> {
    let fail = |message: String| Error::new(Code::Configuration, message);
    let shown = path.display();
    if path.is_dir() {
        return Err(fail(format!(
            "{shown} is a directory, and holds several applications"
        ))
        .hint("name the file of one of them; only `lifeboat daemon` takes a directory"));
    }
    let unreadable = |error: &std::io::Error| {
        fail(format!("the configuration {shown} cannot be read"))
            .cause(error)
            .hint(format!(
                "name another file with --config FILE or ${VARIABLE}, or make this one readable"
            ))
    };
    let file = crate::plain::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(
            fail(format!("the configuration {shown} is larger than 4 MiB"))
                .hint("name the configuration file, not another one"),
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        fail(format!("the configuration {shown} is not UTF-8"))
            .cause(format!("byte {at} does not fit"))
            .hint("save it as UTF-8")
    })
}
