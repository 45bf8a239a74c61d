//! Rights of an account besides reading: to create databases and to put one in the place of the
//! live one.

use super::client::{Server, identifier, query, rows};
use super::connection::Connection;
use super::flavor::Flavor;
use super::grants::{Grants, escaped};
use crate::error::Result;
use crate::secret::Scrubber;
use crate::source::RestoreRights;

/// Privileges on all of a database that filling and moving it needs.
const NEEDED: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "LOCK TABLES",
    "CREATE VIEW",
    "SHOW VIEW",
    "TRIGGER",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
];

/// Accounts that anything in the database runs as.
const DEFINERS: &str = "SELECT DISTINCT DEFINER FROM ( \
    SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE() \
    UNION SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() \
    UNION SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() \
    UNION SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()) AS d";

/// The rights that a live restore needs and this account lacks. `beside` are the names of the
/// databases that it creates beside the live one, all beginning with `prefix` and `_`. Nothing is
/// tried.
pub fn restore_rights(
    connection: &Connection,
    prefix: &str,
    beside: &[String],
    scrubber: &Scrubber,
) -> Result<RestoreRights> {
    let server = Server::ask(connection, scrubber)?;
    let live = connection.database().unwrap_or_default();
    let account = query(connection, "SELECT CURRENT_USER()", scrubber)?;
    let definers = rows(connection, DEFINERS, scrubber)?;
    let definers: Vec<String> = definers.into_iter().flatten().collect();
    let lines = Grants::lines(connection, &server, scrubber)?;
    let lines = || lines.iter().map(String::as_str);
    let lacks = |name: &str| {
        let grants = Grants::parse(lines(), name);
        !NEEDED.iter().all(|needed| grants.has(needed))
    };
    let shown = account.rsplit_once('@').map_or_else(
        || identifier(&account),
        |(user, host)| format!("{}@{}", identifier(user), identifier(host)),
    );
    let mut grants = Vec::new();
    let all = |pattern: &str| format!("GRANT ALL ON {}.* TO {shown}", identifier(pattern));
    if lacks(live) {
        // If two grants spell one name differently, the server uses only one of them.
        let spelling = Grants::spelling(lines(), live);
        grants.push(all(&spelling.unwrap_or_else(|| escaped(live))));
    }
    if beside.iter().any(|name| lacks(name)) {
        grants.push(all(&(escaped(prefix) + "\\_%")));
    }
    if definers.iter().any(|definer| *definer != account) {
        let own = Grants::parse(lines(), live);
        let lacking = definer_privileges(&server, &definers);
        let lacking = lacking.into_iter().filter(|privilege| match *privilege {
            "SYSTEM_USER" => !own.has_global(privilege),
            privilege => !own.has_global(privilege) && !own.has_global("SUPER"),
        });
        let lacking: Vec<&str> = lacking.collect();
        if !lacking.is_empty() {
            grants.push(format!("GRANT {} ON *.* TO {shown}", lacking.join(", ")));
        }
    }
    Ok(RestoreRights {
        account: shown,
        grants,
        limits: Vec::new(),
    })
}

/// The privileges needed to create objects that run as these accounts.
fn definer_privileges(server: &Server, definers: &[String]) -> Vec<&'static str> {
    let mut needed = vec![match (server.flavor, server.release) {
        (Flavor::Mariadb, release) if release >= [10, 5] => "SET USER",
        (Flavor::Mysql, release) if release >= [8, 2] => "SET_ANY_DEFINER",
        (Flavor::Mysql, release) if release >= [8, 0] => "SET_USER_ID",
        _ => "SUPER",
    }];
    // An account with SYSTEM_USER, such as root, can be set only by another one.
    let of_root = definers.iter().any(|definer| definer.starts_with("root@"));
    if of_root && server.flavor == Flavor::Mysql && server.release >= [8, 0] {
        needed.push("SYSTEM_USER");
    }
    needed
}
