//! The checks of drills and restores.

use super::text;
use crate::expect::{Expect, Percent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One check of a restored application: give exactly one of `sql`, `file`, `command`, `live`.
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
    /// Text that the file must contain; without it, the file must be there.
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
}

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
    Command(Vec<String>),
    /// A comparison with the live database.
    Live {
        /// Name of the source.
        source: String,
        /// Largest difference of row counts.
        tolerance: Percent,
    },
}

impl Check {
    /// Name of the source that is checked.
    pub fn source(&self) -> Option<&str> {
        match self {
            Check::Sql { source, .. } | Check::File { source, .. } | Check::Live { source, .. } => {
                Some(source)
            }
            Check::Command(_) => None,
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
        ];
        let given: Vec<_> = kinds
            .iter()
            .filter(|(_, given)| *given)
            .map(|(k, _)| *k)
            .collect();
        let [kind] = given.as_slice() else {
            return Err(match given.is_empty() {
                true => "a check needs one of sql, file, command and live".into(),
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
                Some(program) if !program.is_empty() => Ok(Check::Command(command.clone())),
                _ => Err("a command check needs a program".into()),
            };
        }
        let tolerance = self.tolerance.as_deref().unwrap_or(TOLERANCE_DEFAULT);
        Ok(Check::Live {
            source: self.live.clone().unwrap_or_default(),
            tolerance: tolerance.parse()?,
        })
    }

    /// Refuses keys of other checks: `contains` beside `sql` makes no sense.
    fn refuse_keys_of_others(&self, kind: &str) -> Result<(), String> {
        let keys = [
            ("query", "sql", self.query.is_some()),
            ("expect", "sql", self.expect.is_some()),
            ("path", "file", self.path.is_some()),
            ("contains", "file", self.contains.is_some()),
            ("tolerance", "live", self.tolerance.is_some()),
        ];
        match keys.iter().find(|(_, of, given)| *given && *of != kind) {
            Some((key, of, _)) => Err(format!(
                "{key} belongs to a {of} check, not to a {kind} check"
            )),
            None => Ok(()),
        }
    }
}
