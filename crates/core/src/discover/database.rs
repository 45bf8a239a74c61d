//! Databases, found by the files and containers that refer to them.

use super::environment::Environment;
use super::{Found, name_of};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
    /// MySQL.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Kind {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Mariadb => "mariadb",
            Kind::Mysql => "mysql",
            Kind::Sqlite => "sqlite",
        }
    }
}

/// Place where something was found, or where a secret is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Where {
    /// The variable, if it is one.
    pub key: Option<String>,
    /// The file, container or directory.
    pub place: String,
}

impl Where {
    pub(super) fn said(place: &str) -> Self {
        Where {
            key: None,
            place: place.to_owned(),
        }
    }

    fn variable(environment: &Environment, key: &str) -> Self {
        Where {
            key: Some(key.to_owned()),
            place: environment.path.display().to_string(),
        }
    }
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} in {}", self.place),
            None => f.write_str(&self.place),
        }
    }
}

/// A database.
#[derive(Debug, Clone, Serialize)]
pub struct Database {
    /// A name for its source.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name on its server.
    pub database: Option<String>,
    /// Its server.
    pub host: Option<String>,
    /// Port of its server.
    pub port: Option<u16>,
    /// User to connect as.
    pub user: Option<String>,
    /// Its file (SQLite), or its server's socket.
    pub path: Option<PathBuf>,
    /// Place of the password.
    pub password: Option<Where>,
    /// The container that it runs in.
    pub container: Option<String>,
    /// The place that refers to it.
    pub seen: Where,
}

impl Database {
    pub(super) fn new(kind: Kind, seen: Where) -> Self {
        Database {
            name: String::new(),
            kind,
            database: None,
            host: None,
            port: None,
            user: None,
            path: None,
            password: None,
            container: None,
            seen,
        }
    }

    fn same(&self, other: &Self) -> bool {
        let server = |d: &Self| match d.host.as_deref() {
            None | Some("localhost" | "127.0.0.1" | "::1") => (None, d.port),
            Some(host) => (Some(host.to_owned()), d.port),
        };
        self.kind == other.kind
            && self.database == other.database
            && self.path == other.path
            && self.container == other.container
            && server(self) == server(other)
    }
}

/// Kind of database in an image of this name.
pub(super) fn of_image(image: &str) -> Option<Kind> {
    let name = image.rsplit('/').next()?.split([':', '@']).next()?;
    Some(match name {
        "postgres" | "postgresql" | "postgis" | "timescaledb" | "pgvector" => Kind::Postgres,
        "mariadb" => Kind::Mariadb,
        "mysql" | "percona" | "percona-server" => Kind::Mysql,
        _ => return None,
    })
}

fn of_word(word: &str) -> Option<Kind> {
    let word = word.to_ascii_lowercase();
    let word = word.rsplit('.').next().unwrap_or_default();
    Some(match word.split('+').next().unwrap_or_default() {
        "pgsql" | "postgres" | "postgresql" | "postgresql_psycopg2" | "postgis" => Kind::Postgres,
        "mysql" | "mysql2" | "mysqli" => Kind::Mysql,
        "mariadb" => Kind::Mariadb,
        "sqlite" | "sqlite3" => Kind::Sqlite,
        _ => return None,
    })
}

/// Finds the databases that the variables of a file name.
pub(super) fn of_environment(environment: &Environment, root: &Path) -> Vec<Database> {
    let mut found: Vec<Database> = environment
        .iter()
        .filter_map(|(key, value)| of_url(environment, key, value, root))
        .collect();
    if found.is_empty() {
        found.extend(of_parts(environment, root));
    }
    found
}

fn file_of(path: &str, environment: &Environment, root: &Path) -> Option<PathBuf> {
    if path.is_empty() || path == ":memory:" {
        return None;
    }
    let absolute = match path.strip_prefix('/') {
        Some(rest) => root.join(rest),
        None => environment
            .path
            .parent()?
            .join(path.trim_start_matches("./")),
    };
    absolute.is_file().then_some(absolute)
}

/// Reads `scheme://user:password@host:port/database`; the password is not kept.
fn of_url(environment: &Environment, key: &str, url: &str, root: &Path) -> Option<Database> {
    let (scheme, rest) = url.split_once("://")?;
    let kind = of_word(scheme)?;
    let mut database = Database::new(kind, Where::variable(environment, key));
    if kind == Kind::Sqlite {
        let path = rest.strip_prefix('/').unwrap_or(rest);
        database.path = Some(file_of(path.split('?').next()?, environment, root)?);
        return Some(database);
    }
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (Some(user), server),
        None => (None, authority),
    };
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (server, None),
    };
    let plain =
        |text: &str| (!text.is_empty() && !text.contains(['$', '%', '{'])).then(|| text.to_owned());
    let (user, password) = match user.map(|u| u.split_once(':').unwrap_or((u, ""))) {
        Some((user, password)) => (plain(user), !password.is_empty()),
        None => (None, false),
    };
    database.database = Some(plain(path)?);
    database.host = plain(host.trim_matches(['[', ']']));
    database.port = port;
    database.user = user;
    database.password = password.then(|| Where::variable(environment, key));
    Some(database)
}

/// Reads `DB_HOST`, `DB_DATABASE` and the names that other frameworks and images use for them.
fn of_parts(environment: &Environment, root: &Path) -> Option<Database> {
    let word = environment.first(&[
        "DB_CONNECTION",
        "DB_ENGINE",
        "DB_DRIVER",
        "DB_TYPE",
        "DB_ADAPTER",
    ]);
    let is_php = environment.path.ends_with("wp-config.php");
    let has = |prefix: &str| environment.iter().any(|(key, _)| key.starts_with(prefix));
    let kind = match word {
        Some((_, word)) => of_word(word)?,
        None if is_php || has("MYSQL_") => Kind::Mysql,
        None if has("MARIADB_") => Kind::Mariadb,
        None if has("POSTGRES_") || has("PGDATABASE") => Kind::Postgres,
        None => return None,
    };
    let (key, name) = environment.first(&[
        "DB_DATABASE",
        "DB_NAME",
        "POSTGRES_DB",
        "PGDATABASE",
        "MYSQL_DATABASE",
        "MARIADB_DATABASE",
    ])?;
    let mut database = Database::new(kind, Where::variable(environment, key));
    if kind == Kind::Sqlite {
        database.path = Some(file_of(name, environment, root)?);
        return Some(database);
    }
    let one = |keys: &[&str]| environment.first(keys).map(|(_, value)| value.to_owned());
    database.database = Some(name.to_owned());
    database.host = one(&[
        "DB_HOST",
        "POSTGRES_HOST",
        "PGHOST",
        "MYSQL_HOST",
        "MARIADB_HOST",
    ]);
    database.port = one(&["DB_PORT", "POSTGRES_PORT", "PGPORT", "MYSQL_PORT"])
        .and_then(|port| port.parse().ok());
    // WordPress writes host:port.
    if let Some((host, port)) = database
        .host
        .clone()
        .as_deref()
        .and_then(|h| h.split_once(':'))
        && let Ok(port) = port.parse()
    {
        (database.host, database.port) = (Some(host.to_owned()), Some(port));
    }
    database.user = one(&[
        "DB_USERNAME",
        "DB_USER",
        "POSTGRES_USER",
        "PGUSER",
        "MYSQL_USER",
        "MARIADB_USER",
    ]);
    let password = environment.first(&[
        "DB_PASSWORD",
        "DB_PASS",
        "POSTGRES_PASSWORD",
        "PGPASSWORD",
        "MYSQL_PASSWORD",
        "MARIADB_PASSWORD",
    ]);
    database.password = password.map(|(key, _)| Where::variable(environment, key));
    Some(database)
}

/// Names each database and drops duplicates. MariaDB uses the protocol of MySQL: which of the two a
/// database is, is decided by the server found on this host.
pub(super) fn settle(found: &mut Found) {
    let has = |kind: Kind| found.servers.iter().any(|server| server.kind == kind);
    let mariadb_alone = has(Kind::Mariadb) && !has(Kind::Mysql);
    let mut kept: Vec<Database> = Vec::new();
    for mut database in std::mem::take(&mut found.databases) {
        if database.kind == Kind::Mysql && mariadb_alone && database.container.is_none() {
            database.kind = Kind::Mariadb;
        }
        if !kept.iter().any(|known| known.same(&database)) {
            kept.push(database);
        }
    }
    let mut taken: BTreeSet<String> = ["secrets", "certificates", "system"]
        .map(String::from)
        .into();
    taken.extend(found.applications.iter().map(|a| a.name.clone()));
    for database in &mut kept {
        let file = database
            .path
            .as_ref()
            .and_then(|p| p.file_stem())
            .map(|n| n.to_string_lossy());
        let text = match (&database.database, &file, &database.container) {
            (Some(name), _, _) => name.clone(),
            (None, Some(file), _) => file.to_string(),
            (None, None, Some(container)) => container.clone(),
            _ => database.kind.name().to_owned(),
        };
        database.name = name_of(&format!("{text}-db"), &mut taken);
    }
    found.databases = kept;
}
