//! Sources that are real: databases, files and the output of a command.

use super::system::Ground;
use lifeboat_testkit::mariadb::MariadbServer;
use lifeboat_testkit::postgres::PostgresServer;
use std::path::Path;
use std::rc::Rc;

/// The servers whose databases are sources.
pub(super) struct Servers {
    postgres: PostgresServer,
    mariadb: MariadbServer,
}

impl Servers {
    pub(super) fn start() -> Rc<Self> {
        Rc::new(Servers {
            postgres: PostgresServer::start(),
            mariadb: MariadbServer::start(),
        })
    }
}

/// What a real source is.
pub(super) enum Real {
    Sqlite,
    Files,
    Command,
    Postgres(Rc<Servers>),
    Mariadb(Rc<Servers>),
}

impl Real {
    /// What the source of this number is; `None` where sources are simulated.
    pub(super) fn of(ground: &Ground, number: usize) -> Option<Self> {
        Some(match (ground, number) {
            (Ground::Memory, _) => return None,
            (Ground::Real, 0) => Real::Sqlite,
            (Ground::Real, 1) => Real::Files,
            (Ground::Servers(servers), 0) => Real::Postgres(Rc::clone(servers)),
            (Ground::Servers(servers), 1) => Real::Mariadb(Rc::clone(servers)),
            (Ground::Real | Ground::Servers(_), _) => Real::Command,
        })
    }

    /// Returns whether its rows are counted.
    pub(super) fn has_rows(&self) -> bool {
        !matches!(self, Real::Files | Real::Command)
    }

    /// The section of the configuration, for a source whose content is at a path.
    pub(super) fn config(&self, data: &Path) -> String {
        let data = data.display();
        match self {
            Real::Sqlite => format!("kind = \"sqlite\"\npath = \"{data}\""),
            Real::Files => format!("kind = \"files\"\npaths = [\"{data}\"]"),
            Real::Command => format!("kind = \"command\"\ncommand = [\"cat\", \"{data}\"]"),
            Real::Postgres(_) => format!("kind = \"postgres\"\nurl = \"file:{data}\""),
            Real::Mariadb(_) => format!("kind = \"mariadb\"\nurl = \"file:{data}\""),
        }
    }

    /// Makes the source hold these rows of text, or be away.
    pub(super) fn write(&self, path: &Path, rows: Option<Vec<String>>) {
        let script = rows.as_deref().map(script);
        match self {
            Real::Postgres(servers) => {
                let server = &servers.postgres;
                server.psql("postgres", "DROP DATABASE IF EXISTS app WITH (FORCE)");
                if let Some(script) = script {
                    server.create_database("app");
                    server.psql("app", &script);
                }
                std::fs::write(path, server.url("app")).expect("a file");
            }
            Real::Mariadb(servers) => {
                let server = &servers.mariadb;
                server.sql("", "DROP DATABASE IF EXISTS app");
                if let Some(script) = script {
                    server.sql("", "CREATE DATABASE app");
                    server.sql("app", &script);
                }
                std::fs::write(path, server.url("app")).expect("a file");
            }
            Real::Sqlite | Real::Files | Real::Command => {
                let _ = std::fs::remove_dir_all(path);
                let _ = std::fs::remove_file(path);
                if let Some(rows) = rows {
                    self.write_files(path, &rows);
                }
            }
        }
    }

    fn write_files(&self, path: &Path, rows: &[String]) {
        match self {
            Real::Sqlite => {
                let database = rusqlite::Connection::open(path).expect("a database");
                let script = format!("PRAGMA synchronous = OFF; {}", script(rows));
                database.execute_batch(&script).expect("rows");
            }
            Real::Files => {
                std::fs::create_dir(path).expect("a directory");
                for (part, rows) in rows.chunks(50).enumerate() {
                    std::fs::write(path.join(format!("part {part}")), rows.concat())
                        .expect("a file");
                }
            }
            _ => std::fs::write(path, rows.concat()).expect("a file"),
        }
    }
}

/// Statements that make a table of these rows.
fn script(rows: &[String]) -> String {
    let rows = rows.iter().enumerate();
    let rows = rows.map(|(number, row)| format!("({number}, '{}')", row.trim()));
    let rows: Vec<String> = rows.collect();
    format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT); INSERT INTO t VALUES {};",
        rows.join(",")
    )
}
