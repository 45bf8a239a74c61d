//! The checks of drills and restores.

use super::text;
use crate::expect::{Expect, Percent};
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One check of a restored application: give exactly one of `sql`, `file`, `command`, `live`, `http`,
/// `tcp`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckConfig {
    /// Name of a database source, which is asked `query`.
    pub sql: Option<String>,
    /// One statement that returns one value.
    pub query: Option<String>,
    /// `> 0`, `>= N`, `= TEXT`, `!= TEXT`, `< N`, `<= N`, or `same`: as at capture.
    #[schemars(with = "Option<text::Expectation>")]
    pub expect: Option<String>,
    /// Name of a files source in which `path` is examined.
    pub file: Option<String>,
    /// Path in it: absolute as on the host, or relative to the parent of one of its `paths`.
    pub path: Option<String>,
    /// Text that the file, or the answer to `http`, must contain; without it, the file must be there.
    pub contains: Option<String>,
    /// A command that must exit 0. `LIFEBOAT_RESTORED` names the directory that holds a directory
    /// per source that is restored as files; `LIFEBOAT_PATH_<SOURCE>` is the directory of its files,
    /// or the file of a sqlite or command source; `LIFEBOAT_URL_<SOURCE>` is the URL of each restored
    /// database, and `LIFEBOAT_ADDRESS_<SOURCE>` where a restored machine answers.
    pub command: Option<Vec<String>>,
    /// Name of a database source, whose restored copy is compared with the live one.
    pub live: Option<String>,
    /// Largest difference of row counts, as a percentage of the larger one; `5%` when absent.
    #[schemars(with = "Option<text::Tolerance>")]
    pub tolerance: Option<String>,
    /// URL that a web server must answer: of a restored machine in a drill, as
    /// `http://{SOURCE}/login`; of the live application after a restore.
    pub http: Option<String>,
    /// Status of that answer; 200 when absent.
    pub status: Option<u16>,
    /// Name of a machine source, of which a TCP port must take connections.
    pub tcp: Option<String>,
    /// That port.
    pub port: Option<u16>,
    /// Time for `http` and `tcp` to succeed; `1m` when absent.
    pub within: Option<Span>,
    /// Name of a machine source: `sql` asks the database as it came back with the machine that `holds`
    /// it, `command` runs on the machine with the login of a database that it `holds`, and `http` is
    /// asked at its address, whatever the name in the URL resolves to.
    pub on: Option<String>,
}

/// Time for what has just started to answer, where none is given.
const WITHIN_DEFAULT: Span = Span { seconds: 60 };
/// Status of a page that is there.
const STATUS_DEFAULT: u16 = 200;
/// Largest difference of row counts where no tolerance is given.
const TOLERANCE_DEFAULT: &str = "5%";

/// One check, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A query to a database.
    Sql {
        /// Name of the source.
        source: String,
        /// One statement that returns one value.
        query: String,
        /// The expected value.
        expect: Expect,
        /// Name of the machine on which it is asked.
        on: Option<String>,
    },
    /// A look at one file.
    File {
        /// Name of the source.
        source: String,
        /// Path in it.
        path: String,
        /// Text it must contain.
        contains: Option<String>,
    },
    /// A command that must exit 0.
    Command {
        /// Program and arguments.
        words: Vec<String>,
        /// Name of the machine on which it runs; this host when absent.
        on: Option<String>,
    },
    /// A comparison with the live database.
    Live {
        /// Name of the source.
        source: String,
        /// Largest difference of row counts.
        tolerance: Percent,
    },
    /// A question to a web server.
    Http {
        /// The URL, with `{SOURCE}` for the address of that machine unless `on`.
        url: String,
        /// That source.
        machine: Option<String>,
        /// True if the machine is asked by the name in the URL.
        on: bool,
        /// The status it must answer with.
        status: u16,
        /// Text that the answer must contain.
        contains: Option<String>,
        /// The time for it.
        within: Span,
    },
    /// A connection to a machine.
    Tcp {
        /// Name of the source.
        source: String,
        /// The port.
        port: u16,
        /// The time for it.
        within: Span,
    },
}

impl Check {
    /// Name of the source that is checked.
    pub fn source(&self) -> Option<&str> {
        match self {
            Check::Sql { source, .. }
            | Check::File { source, .. }
            | Check::Live { source, .. }
            | Check::Tcp { source, .. } => Some(source),
            Check::Http { machine, .. } => machine.as_deref(),
            Check::Command { on, .. } => on.as_deref(),
        }
    }

    /// Name of the machine that is asked, if one is.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Check::Sql { on, .. } | Check::Command { on, .. } => on.as_deref(),
            Check::Http { machine, .. } => machine.as_deref(),
            Check::Tcp { source, .. } => Some(source),
            Check::File { .. } | Check::Live { .. } => None,
        }
    }
}

impl CheckConfig {
    /// Parses the check. The error completes a sentence that names the place of the check; it never
    /// occurs in a configuration that was loaded.
    pub fn parsed(&self) -> Result<Check, String> {
        let kinds = [
            ("sql", self.sql.is_some()),
            ("file", self.file.is_some()),
            ("command", self.command.is_some()),
            ("live", self.live.is_some()),
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
        ];
        let given: Vec<_> = kinds
            .iter()
            .filter(|(_, given)| *given)
            .map(|(k, _)| *k)
            .collect();
        let [kind] = given.as_slice() else {
            return Err(match given.is_empty() {
                true => "a check needs one of sql, file, command, live, http and tcp".into(),
                false => format!("a check is only one of {}", given.join(" and ")),
            });
        };
        self.refuse_keys_of_others(kind)?;
        if let Some(source) = &self.sql {
            let query = self.query.clone().filter(|query| !query.trim().is_empty());
            return Ok(Check::Sql {
                source: source.clone(),
                query: query.ok_or("a sql check needs a query")?,
                expect: Expect::parse(self.expect.as_deref().ok_or("a sql check needs expect")?)?,
                on: self.on.clone(),
            });
        }
        if let Some(source) = &self.file {
            let path = self.path.clone().filter(|path| !path.is_empty());
            let path = path.ok_or("a file check needs a path")?;
            if path.split('/').any(|step| step == "..") {
                return Err(format!("the path {path:?} goes up with .."));
            }
            return Ok(Check::File {
                source: source.clone(),
                path,
                contains: self.contains.clone(),
            });
        }
        if let Some(command) = &self.command {
            return match command.first() {
                Some(program) if !program.is_empty() => Ok(Check::Command {
                    words: command.clone(),
                    on: self.on.clone(),
                }),
                _ => Err("a command check needs a program".into()),
            };
        }
        let within = self.within.unwrap_or(WITHIN_DEFAULT);
        if let Some(url) = &self.http {
            return self.http(url, within);
        }
        if let Some(source) = &self.tcp {
            return Ok(Check::Tcp {
                source: source.clone(),
                port: self
                    .port
                    .filter(|port| *port > 0)
                    .ok_or("a tcp check needs a port")?,
                within,
            });
        }
        let tolerance = self.tolerance.as_deref().unwrap_or(TOLERANCE_DEFAULT);
        Ok(Check::Live {
            source: self.live.clone().unwrap_or_default(),
            tolerance: tolerance.parse()?,
        })
    }

    fn http(&self, url: &str, within: Span) -> Result<Check, String> {
        let machine = machine_of(url)?;
        if machine.is_some() && self.on.is_some() {
            return Err("an http check names its machine once: in braces, or with `on`".into());
        }
        Ok(Check::Http {
            machine: machine.or_else(|| self.on.clone()),
            on: self.on.is_some(),
            url: url.to_owned(),
            status: self.status.unwrap_or(STATUS_DEFAULT),
            contains: self.contains.clone(),
            within,
        })
    }

    /// Refuses keys of other checks: `contains` beside `sql` makes no sense.
    fn refuse_keys_of_others(&self, kind: &str) -> Result<(), String> {
        let keys: [(&str, &[&str], bool); 9] = [
            ("query", &["sql"], self.query.is_some()),
            ("expect", &["sql"], self.expect.is_some()),
            ("path", &["file"], self.path.is_some()),
            ("contains", &["file", "http"], self.contains.is_some()),
            ("tolerance", &["live"], self.tolerance.is_some()),
            ("status", &["http"], self.status.is_some()),
            ("port", &["tcp"], self.port.is_some()),
            ("within", &["http", "tcp"], self.within.is_some()),
            ("on", &["sql", "command", "http"], self.on.is_some()),
        ];
        match keys
            .iter()
            .find(|(_, of, given)| *given && !of.contains(&kind))
        {
            Some((key, of, _)) => Err(format!(
                "{key} belongs to a {} check, not to a {kind} check",
                of.join(" or ")
            )),
            None => Ok(()),
        }
    }
}

/// The source that a URL names in braces.
fn machine_of(url: &str) -> Result<Option<String>, String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("{url:?} begins with neither http:// nor https://"));
    }
    let Some((_, rest)) = url.split_once('{') else {
        return Ok(None);
    };
    match rest.split_once('}') {
        Some((name, rest)) if !name.is_empty() && !rest.contains('{') => Ok(Some(name.to_owned())),
        _ => Err(format!("{url:?} names no source in its braces")),
    }
}
