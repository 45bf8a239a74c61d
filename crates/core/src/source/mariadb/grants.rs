//! Privileges of an account, and those it lacks to see everything in a database.
//!
//! Guarantees: an account that would see less than there is, without an error, is detected. Tables,
//! triggers, events and routines that an account may not see are not listed for it, so a dump lacks
//! them and still succeeds.

use super::client::{Server, identifier, query, rows};
use super::connection::Connection;
use super::flavor::Flavor;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use std::collections::{BTreeMap, BTreeSet};

/// Privileges of an account on one database and on the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// On everything.
    global: BTreeSet<String>,
    /// On all of the database.
    database: BTreeSet<String>,
    /// True if it may read `mysql.proc`.
    reads_proc: bool,
}

impl Grants {
    /// Asks the server.
    pub fn ask(connection: &Connection, server: &Server, scrubber: &Scrubber) -> Result<Self> {
        let lines = Self::lines(connection, server, scrubber)?;
        let database = connection.database().unwrap_or_default();
        Ok(Grants::parse(lines.iter().map(String::as_str), database))
    }

    /// The account's grants in the server's words, as [`Grants::parse`] reads them.
    pub fn lines(
        connection: &Connection,
        server: &Server,
        scrubber: &Scrubber,
    ) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut sql = String::from("SHOW GRANTS");
        if server.flavor == Flavor::Mysql && server.release >= [8, 0] {
            let roles = query(connection, "SELECT CURRENT_ROLE()", scrubber)?;
            if roles != "NONE" && !roles.is_empty() {
                sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
            }
        }
        lines.extend(rows(connection, &sql, scrubber)?.into_iter().flatten());
        if server.flavor == Flavor::Mariadb && server.release >= [10, 11] {
            // Grants to everybody. An account that has none of them may not ask.
            let public = rows(connection, "SHOW GRANTS FOR PUBLIC", scrubber).unwrap_or_default();
            lines.extend(public.into_iter().flatten());
        }
        Ok(lines)
    }

    /// Parses the lines of `SHOW GRANTS` for a database of this name, which need not exist.
    pub fn parse<'a>(lines: impl Iterator<Item = &'a str>, database: &str) -> Self {
        let mut grants = Grants::default();
        let mut revoked = BTreeSet::new();
        // If an account or role has several grants that match this database, the server uses only
        // the closest.
        let mut closest: BTreeMap<&str, (usize, BTreeSet<String>)> = BTreeMap::new();
        for line in lines {
            let (take, rest) = match (line.strip_prefix("GRANT "), line.strip_prefix("REVOKE ")) {
                (Some(rest), _) => (false, rest),
                (None, Some(rest)) => (true, rest),
                _ => continue,
            };
            let Some((privileges, object)) = rest.split_once(" ON ") else {
                continue;
            };
            let privileges = privileges
                .split(',')
                .map(|privilege| privilege.trim().to_uppercase());
            if take {
                if covers(object, database) {
                    revoked.extend(privileges);
                }
            } else if object.starts_with("*.*") {
                grants.global.extend(privileges);
            } else if let Some(pattern) = pattern(object).filter(|p| like(p, database)) {
                let grantee = object
                    .rsplit_once(" TO ")
                    .map_or("", |(_, grantee)| grantee);
                let grantee = grantee.split(" WITH ").next().unwrap_or_default();
                let near = closeness(&pattern, database);
                let (known, held) = closest.entry(grantee).or_default();
                if near > *known {
                    held.clear();
                }
                if near >= *known {
                    *known = near;
                    held.extend(privileges);
                }
            } else if object.starts_with("`mysql`.`proc`") || object.starts_with("`mysql`.*") {
                grants.reads_proc |= privileges
                    .into_iter()
                    .any(|p| p == "SELECT" || p == "ALL PRIVILEGES");
            }
        }
        grants
            .database
            .extend(closest.into_values().flat_map(|(_, held)| held));
        // MySQL's partial revokes take privileges on one database away from global grants.
        if !revoked.is_empty() {
            let rest = grants.global.clone();
            grants
                .database
                .extend(rest.into_iter().filter(|p| !revoked.contains(p)));
            grants
                .global
                .retain(|p| !DATABASE_WIDE.contains(&p.as_str()) && p != ALL);
        }
        grants
    }

    /// The escaped pattern, as written, of a grant in these lines that is for this database alone.
    pub fn spelling<'a>(
        mut lines: impl Iterator<Item = &'a str>,
        database: &str,
    ) -> Option<String> {
        lines.find_map(|line| {
            let (_, object) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
            pattern(object).filter(|p| closeness(p, database) == usize::MAX)
        })
    }

    /// Returns true if it has the privilege on the server.
    pub fn has_global(&self, privilege: &str) -> bool {
        self.global.contains(ALL) || self.global.contains(privilege)
    }

    /// Returns true if it has the privilege on all of the database.
    pub fn has(&self, privilege: &str) -> bool {
        self.has_global(privilege)
            || self.database.contains(ALL)
            || self.database.contains(privilege)
    }

    /// Returns true if every routine is listed for this account. (If bodies are hidden, listing
    /// them shows it.)
    fn lists_routines(&self) -> bool {
        self.reads_proc
            || self.has_global("SELECT")
            || [
                "SHOW_ROUTINE",
                "SHOW CREATE ROUTINE",
                "EXECUTE",
                "ALTER ROUTINE",
                "CREATE ROUTINE",
            ]
            .iter()
            .any(|privilege| self.has(privilege))
    }

    /// The privileges it lacks to see everything, as the statements that grant them.
    pub fn missing(&self, server: &Server, database: &str, views: bool) -> Vec<String> {
        let mut needed = vec!["SELECT", "TRIGGER", "EVENT"];
        if views {
            needed.push("SHOW VIEW");
        }
        needed.retain(|privilege| !self.has(privilege));
        let mut statements = Vec::new();
        if !needed.is_empty() {
            let database = identifier(&escaped(database));
            statements.push(format!("GRANT {} ON {database}.*", needed.join(", ")));
        }
        if !self.lists_routines() {
            statements.push(
                match (server.flavor, server.release) {
                    (Flavor::Mysql, release) if release >= [8, 0] => "GRANT SHOW_ROUTINE ON *.*",
                    _ => "GRANT SELECT ON mysql.proc",
                }
                .to_owned(),
            );
        }
        statements
    }

    /// Returns true if the dump program may read the position of the binary log at its snapshot.
    pub fn may_see_binlog(&self, server: &Server) -> bool {
        let position = ["BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"];
        let position = position.iter().any(|privilege| self.has_global(privilege));
        match server.flavor {
            // The position is part of the snapshot.
            Flavor::Mariadb => position,
            // Everything is locked for a moment.
            Flavor::Mysql => position && self.has_global("RELOAD"),
        }
    }
}

const ALL: &str = "ALL PRIVILEGES";

/// Privileges that a partial revoke can take away.
const DATABASE_WIDE: &[&str] = &[
    "SELECT",
    "TRIGGER",
    "EVENT",
    "SHOW VIEW",
    "EXECUTE",
    "ALTER ROUTINE",
    "CREATE ROUTINE",
];

/// Fails if privileges are missing, with an error that says what to grant.
pub fn refuse(connection: &Connection, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let account = connection.user().unwrap_or("the account");
    let statements: Vec<String> = missing
        .iter()
        .map(|statement| format!("{statement} TO {account}"))
        .collect();
    Err(Error::new(
        Code::SourceDenied,
        format!(
            "{}: this account is not shown everything, so its dump could lack tables, triggers, events or routines",
            connection.display()
        ),
    )
    .cause(format!("it lacks what this would grant: {}", statements.join("; ")))
    .hint("grant it (with the account's host: user@host), or back up with another account"))
}

/// Returns true if the object of a grant, `` `pattern`.* TO … ``, is all of the database.
fn covers(object: &str, database: &str) -> bool {
    pattern(object).is_some_and(|pattern| like(&pattern, database))
}

/// The pattern of databases that a grant is for; `None` if it is for less than a whole database.
fn pattern(object: &str) -> Option<String> {
    let rest = object.strip_prefix('`')?;
    let (pattern, _) = rest.split_once("`.* ").or_else(|| rest.split_once("`.*"))?;
    (!pattern.contains("`.`")).then(|| pattern.replace("``", "`"))
}

/// Closeness of a pattern to a database: its whole length if it is the database's name, escaped or
/// not; otherwise up to the first wildcard.
fn closeness(pattern: &str, database: &str) -> usize {
    if pattern == database || pattern == escaped(database) {
        return usize::MAX;
    }
    let mut before = 0;
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' | '_' => break,
            '\\' => before += usize::from(characters.next().is_some()),
            _ => before += 1,
        }
    }
    before
}

/// Escapes a name as a pattern of grants that matches nothing else.
pub fn escaped(name: &str) -> String {
    name.replace('_', "\\_").replace('%', "\\%")
}

/// Matches `LIKE` patterns as grants use them: `%` and `_`, escaped by a backslash.
fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = pattern.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| like(rest, text.get(at..).unwrap_or_default()))
        }
        Some(wanted) => {
            let (any, wanted) = match wanted {
                '_' => (true, wanted),
                '\\' => (false, pattern.next().unwrap_or('\\')),
                other => (false, other),
            };
            let mut text = text.chars();
            text.next().is_some_and(|next| any || next == wanted)
                && like(pattern.as_str(), text.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(flavor: Flavor) -> Server {
        Server {
            version: String::new(),
            flavor,
            release: match flavor {
                Flavor::Mariadb => [10, 11],
                Flavor::Mysql => [9, 1],
            },
        }
    }

    fn missing(lines: &[&str], flavor: Flavor) -> String {
        let grants = Grants::parse(lines.iter().copied(), "my_app");
        grants.missing(&server(flavor), "my_app", true).join("; ")
    }

    #[test]
    fn the_closest_grant_of_an_account_counts() {
        let lines = [
            "GRANT ALL PRIVILEGES ON `my\\_%`.* TO `u`@`%`",
            "GRANT SELECT ON `my_app`.* TO `u`@`%` WITH GRANT OPTION",
            "GRANT INSERT ON `my%`.* TO `role`",
        ];
        let of = |name: &str| Grants::parse(lines.iter().copied(), name);
        let own = of("my_app");
        assert!(own.has("SELECT") && own.has("INSERT") && !own.has("CREATE"));
        assert!(of("my_app_restored").has("CREATE"));
        assert!(!of("other").has("SELECT"));
        let spelling = |name: &str| Grants::spelling(lines.iter().copied(), name);
        assert_eq!(spelling("my_app").as_deref(), Some("my_app"));
        assert_eq!(spelling("my_app_restored"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        use Flavor::{Mariadb, Mysql};
        let usage = "GRANT USAGE ON *.* TO `u`@`%`";
        let cases: &[(&[&str], Flavor, &str)] = &[
            (
                &["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"],
                Mariadb,
                "",
            ),
            (
                &[usage, "GRANT ALL PRIVILEGES ON `my\\_app`.* TO `u`@`%`"],
                Mariadb,
                "",
            ),
            (
                &[usage, "GRANT ALL PRIVILEGES ON `my%`.* TO `u`@`%`"],
                Mysql,
                "",
            ),
            (
                &["GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON *.* TO `u`@`%`"],
                Mysql,
                "",
            ),
            (
                &[
                    usage,
                    "GRANT SELECT, LOCK TABLES, SHOW VIEW, EVENT ON `my_app`.* TO `u`@`%`",
                    "GRANT SELECT ON `mysql`.`proc` TO `u`@`%`",
                ],
                Mariadb,
                "GRANT TRIGGER ON `my\\_app`.*",
            ),
            (
                &[
                    usage,
                    "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `my_app`.* TO `u`@`%`",
                ],
                Mysql,
                "GRANT SHOW_ROUTINE ON *.*",
            ),
            (
                &[
                    usage,
                    "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `my_app`.* TO `u`@`%`",
                ],
                Mariadb,
                "GRANT SELECT ON mysql.proc",
            ),
            (
                &[
                    usage,
                    "GRANT SELECT ON `my_app`.`t` TO `u`@`%`",
                    "GRANT ALL PRIVILEGES ON `other`.* TO `u`@`%`",
                ],
                Mysql,
                "GRANT SELECT, TRIGGER, EVENT, SHOW VIEW ON `my\\_app`.*; GRANT SHOW_ROUTINE ON *.*",
            ),
            (
                &[
                    "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER, SHOW_ROUTINE ON *.* TO `u`@`%`",
                    "REVOKE TRIGGER ON `my_app`.* FROM `u`@`%`",
                ],
                Mysql,
                "GRANT TRIGGER ON `my\\_app`.*",
            ),
        ];
        for (lines, flavor, expected) in cases {
            assert_eq!(missing(lines, *flavor), *expected, "{lines:?}");
        }
    }

    #[test]
    fn patterns_of_grants() {
        for (pattern, text, fits) in [
            ("app", "app", true),
            ("app", "apps", false),
            ("a_p", "app", true),
            ("a\\_p", "app", false),
            ("a\\_p", "a_p", true),
            ("%", "", true),
            ("a%p", "app", true),
            ("a%q", "app", false),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }
}
