//! Roles, memberships and tablespaces of a server: captured without passwords, restored with care.
//!
//! Guarantees: a password is neither captured nor set. On a server that is not a throwaway one,
//! only missing roles are created, and existing ones are not changed. Tablespaces are captured and
//! never created: their directories are the server's own business.

use super::connection::Connection;
use super::session::{Session, identifier, literal, query, refused};
use super::tools::Tools;
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use std::collections::BTreeSet;
use std::io::Read;

/// Longest text of roles that is accepted.
const GLOBALS_BYTES_MAX: u64 = 256 << 20;

/// The statements that create the roles, and a warning if they had to be read in another way.
pub fn capture(
    connection: &Connection,
    tools: &Tools,
    scrubber: &Scrubber,
) -> Result<(Vec<u8>, Option<String>)> {
    let mut command = connection
        .command(tools.program("pg_dumpall"), scrubber)
        .args(["--globals-only", "--no-role-passwords", "--no-password"]);
    if let Some(database) = connection.database() {
        command = command.arg(format!("--database={database}"));
    }
    let output = connection.transport().output(&command)?;
    if output.status.success() {
        return Ok((output.stdout, None));
    }
    let error = refused(connection, &output.stderr);
    if error.code == Code::SourceUnreachable || error.code == Code::SourceMissing {
        return Err(error);
    }
    // A managed service hides parts of this: read what everybody may see.
    let roles = query(connection, VISIBLE_ROLES, scrubber)?;
    let warning = format!(
        "pg_dumpall may not read everything here; roles and memberships were taken, role settings and tablespaces were not: {}",
        output.stderr.lines().next().unwrap_or_default()
    );
    Ok((format!("{roles}\n").into_bytes(), Some(warning)))
}

/// Roles and memberships as statements, from what any role may read.
const VISIBLE_ROLES: &str = "SELECT coalesce(string_agg(s, E'\\n' ORDER BY place, s), '') FROM ( \
    SELECT 1, format(E'CREATE ROLE %I;\\nALTER ROLE %I WITH %s;', rolname, rolname, concat_ws(' ', \
      CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, \
      CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END, \
      CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, \
      CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END, \
      CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, \
      CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END, \
      CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END)) \
    FROM pg_roles WHERE rolname !~ '^pg_' \
    UNION ALL SELECT 2, format('GRANT %I TO %I%s;', r.rolname, m.rolname, \
      CASE WHEN a.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END) \
    FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member \
    WHERE m.rolname !~ '^pg_') AS all_roles(place, s)";

/// Creates the roles. On a scratch server everything is done; elsewhere only missing roles are
/// created. Returns warnings about what could not be done.
pub fn restore_globals(
    input: &mut dyn Read,
    target: &Connection,
    scratch: bool,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let mut text = String::new();
    input
        .take(GLOBALS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Error::from_io(Code::Io, "the roles cannot be read", error))?;
    let mut session = Session::open(target, scrubber)?;
    let present = roles_of(&mut session)?;
    let me = session.run("SELECT current_user")?;
    let mut warnings = Vec::new();
    for statement in statements(&text)? {
        match role_of(&statement) {
            Subject::Setting => continue,
            Subject::Tablespace => {
                warnings.push(format!("not done: {}", first_line(&statement)));
                continue;
            }
            Subject::Role(name) if name == me => continue,
            Subject::Role(name) if present.contains(&name) && !scratch => continue,
            Subject::Create(name) if present.contains(&name) => continue,
            _ => {}
        }
        let mut done = session.run(&statement);
        if let (Err(_), Some(statement)) = (&done, without_grantor(&statement)) {
            // From 16 on, dumps name who granted a membership. That role may lack the right here, as
            // where the first superuser has another name: the membership counts.
            done = session.run(statement);
        }
        if let Err(error) = done {
            let cause = error.cause.unwrap_or(error.message);
            if cause.contains("server closed the connection") {
                return Err(Error::new(Code::Target, "the server went away").cause(cause));
            }
            warnings.push(format!(
                "not done: {}: {}",
                first_line(&statement),
                cause.trim()
            ));
        }
    }
    Ok(warnings)
}

/// Creates the missing roles of `names`, without any rights except for `superusers`: for a scratch
/// server whose dump names roles that no globals created.
pub fn make_missing_roles(
    names: impl IntoIterator<Item = String>,
    superusers: &BTreeSet<String>,
    target: &Connection,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let mut session = Session::open(target, scrubber)?;
    let present = roles_of(&mut session)?;
    let mut made = Vec::new();
    for name in names {
        if !present.contains(&name) && !name.starts_with("pg_") {
            let right = if superusers.contains(&name) {
                "SUPERUSER"
            } else {
                "NOSUPERUSER"
            };
            session.run(&format!(
                "CREATE ROLE {} NOLOGIN {right}",
                identifier(&name)
            ))?;
            made.push(name);
        }
    }
    Ok(made)
}

fn roles_of(session: &mut Session) -> Result<BTreeSet<String>> {
    let answer = session.run("SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles")?;
    serde_json::from_str(&answer)
        .map_err(|error| Error::new(Code::Target, "the roles cannot be listed").cause(error))
}

fn first_line(statement: &str) -> &str {
    statement.lines().next().unwrap_or_default()
}

/// The subject of a statement.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// `CREATE ROLE name`.
    Create(String),
    /// `ALTER ROLE name`, `COMMENT ON ROLE name`, or a membership given to `name`.
    Role(String),
    /// A tablespace.
    Tablespace,
    /// `SET …`, for `pg_dumpall`'s own session.
    Setting,
    /// Anything else.
    Other,
}

fn role_of(statement: &str) -> Subject {
    let name = |text: &str| unquote(text.trim_start());
    if let Some(rest) = statement.strip_prefix("CREATE ROLE ") {
        return Subject::Create(name(rest));
    }
    for prefix in ["ALTER ROLE ", "COMMENT ON ROLE ", "SECURITY LABEL "] {
        if let Some(rest) = statement.strip_prefix(prefix) {
            return Subject::Role(name(rest));
        }
    }
    if statement.contains("TABLESPACE ") && !statement.starts_with("GRANT ") {
        return Subject::Tablespace;
    }
    if statement.starts_with("SET ") || statement.starts_with("SELECT pg_catalog.set_config") {
        return Subject::Setting;
    }
    if let Some(rest) = statement.strip_prefix("GRANT ") {
        if rest.contains(" ON TABLESPACE ") {
            return Subject::Tablespace;
        }
        if let Some((_, member)) = rest.split_once(" TO ") {
            return Subject::Role(name(member));
        }
    }
    Subject::Other
}

/// A membership without the role that granted it; `None` for any other statement.
fn without_grantor(statement: &str) -> Option<&str> {
    let (grant, grantor) = statement.rsplit_once(" GRANTED BY ")?;
    let is_whole = grant.matches('"').count() % 2 == 0;
    let is_name = !grantor.is_empty() && grantor.matches('"').count() % 2 == 0;
    (grant.starts_with("GRANT ") && is_whole && is_name).then_some(grant)
}

/// The identifier at the start, unquoted.
fn unquote(text: &str) -> String {
    let Some(rest) = text.strip_prefix('"') else {
        let end = text.find([' ', ';', '\n']).unwrap_or(text.len());
        return text.get(..end).unwrap_or_default().to_owned();
    };
    let mut name = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.next_if_eq(&'"').is_some() {
            name.push('"');
        } else {
            break;
        }
    }
    name
}

/// Splits `pg_dumpall`'s text into statements. `\restrict`, `\unrestrict` and `\connect` lines are
/// dropped. Fails for any other command of `psql` between statements, since it could run programs.
fn statements(text: &str) -> Result<Vec<String>> {
    let (mut found, mut current, mut quote) = (Vec::new(), String::new(), None);
    for line in text.split_inclusive('\n') {
        if quote.is_none() && current.trim().is_empty() {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with("--") {
                continue;
            }
            if let Some(command) = bare.strip_prefix('\\') {
                let word = command.split_whitespace().next().unwrap_or_default();
                if ["restrict", "unrestrict", "connect"].contains(&word) {
                    continue;
                }
                return Err(Error::new(
                    Code::Target,
                    format!("the captured roles hold a psql command, \\{word}"),
                )
                .hint("they are not what pg_dumpall writes; restore the dump without them"));
            }
        }
        for c in line.chars() {
            match quote {
                Some(open) if c == open => quote = None,
                None if c == '\'' || c == '"' => quote = Some(c),
                None if c == ';' => {
                    found.push(std::mem::take(&mut current).trim().to_owned());
                    continue;
                }
                None if c == '\\' => {
                    return Err(Error::new(
                        Code::Target,
                        "the captured roles hold a psql command",
                    ));
                }
                _ => {}
            }
            current.push(c);
        }
    }
    if !current.trim().is_empty() {
        return Err(Error::new(
            Code::ObjectDamaged,
            "the captured roles end in the middle",
        ));
    }
    Ok(found)
}

/// `ALTER DATABASE … SET` statements that a dump lacks, from the inventory's kind `setting`.
pub fn setting_statement(database: &str, name: &str, value: &str) -> String {
    // A role's setting is listed as `role name`; the parameter has no space.
    let (role, parameter) = match name.rsplit_once(' ') {
        Some((role, parameter)) => (Some(role), parameter),
        None => (None, name),
    };
    let whom = match role {
        Some(role) => format!("ROLE {role} IN DATABASE {}", identifier(database)),
        None => format!("DATABASE {}", identifier(database)),
    };
    format!(
        "ALTER {whom} SET {parameter} = {}",
        setting_value(parameter, value)
    )
}

/// Quotes the value of a parameter. Some parameters are lists: quoted as one value, a list would be
/// one odd name.
fn setting_value(parameter: &str, value: &str) -> String {
    const LISTS: &[&str] = &[
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "DateStyle",
        "unix_socket_directories",
    ];
    if !LISTS
        .iter()
        .any(|list| list.eq_ignore_ascii_case(parameter))
    {
        return literal(value);
    }
    let parts = value.split(',').map(|part| literal(&unquote(part.trim())));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_split_outside_quotes() {
        let text = "-- c\n\\restrict abc\nSET x = 1;\nCREATE ROLE \"a;b\";\nCOMMENT ON ROLE a IS 'x;\ny''z';\n\\unrestrict abc\n";
        let found = statements(text).unwrap();
        assert_eq!(
            found,
            [
                "SET x = 1",
                "CREATE ROLE \"a;b\"",
                "COMMENT ON ROLE a IS 'x;\ny''z'"
            ]
        );
        assert_eq!(role_of(&found[1]), Subject::Create("a;b".into()));
        assert_eq!(
            role_of("GRANT a TO \"b c\" WITH ADMIN OPTION GRANTED BY d"),
            Subject::Role("b c".into())
        );
        assert_eq!(
            role_of("CREATE TABLESPACE t OWNER o LOCATION '/x'"),
            Subject::Tablespace
        );
    }

    #[test]
    fn a_membership_is_given_without_its_grantor_where_that_is_needed() {
        for (statement, without) in [
            (
                "GRANT a TO b WITH INHERIT TRUE GRANTED BY postgres",
                Some("GRANT a TO b WITH INHERIT TRUE"),
            ),
            ("GRANT \"x GRANTED BY y\" TO z", None),
            (
                "GRANT \"x GRANTED BY y\" TO z GRANTED BY \"a b\"",
                Some("GRANT \"x GRANTED BY y\" TO z"),
            ),
            ("GRANT a TO b", None),
            ("COMMENT ON ROLE a IS 'x GRANTED BY y'", None),
        ] {
            assert_eq!(without_grantor(statement), without, "{statement}");
        }
    }

    #[test]
    fn commands_of_psql_are_refused() {
        assert!(statements("\\! rm -rf /\n").is_err());
        assert!(statements("CREATE ROLE a;\\! id\n").is_err());
        assert!(statements("CREATE ROLE a").is_err());
    }

    #[test]
    fn settings_are_written_as_the_server_reads_them() {
        assert_eq!(
            setting_statement("my db", "search_path", "app, \"$user\""),
            "ALTER DATABASE \"my db\" SET search_path = 'app', '$user'"
        );
        assert_eq!(
            setting_statement("d", "\"r x\" work_mem", "4MB"),
            "ALTER ROLE \"r x\" IN DATABASE \"d\" SET work_mem = '4MB'"
        );
    }
}
