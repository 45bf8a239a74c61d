//! Properties of a database besides its content: its owner, privileges, connection limit and
//! comment.
//!
//! A dump carries none of them into an existing database. [`apply`] gives them to a database that
//! was created for a restore. A database that somebody else created keeps its own: deviations are a
//! limit of the restore, and not a difference.

use super::connection::Connection;
use super::session::{Session, identifier, listed, literal};
use crate::error::{Error, Result};
use crate::fingerprint::{DATABASE_PROPERTY, DatabaseInventory};
use crate::secret::Scrubber;
use std::collections::{BTreeMap, BTreeSet};

/// Properties by name, as in the inventory.
type Properties = BTreeMap<String, String>;

/// What one role may do with the database. No role means everybody.
type Grant = (Option<String>, Vec<String>);

const GRANT_OPTION: &str = " WITH GRANT OPTION";

/// The query that lists them as rows of (name, value). An absent list of privileges means its
/// default.
pub fn question() -> String {
    format!(
        "SELECT 'owner', pg_get_userbyid(d.datdba)::text FROM {OWN} \
         UNION ALL SELECT 'privileges', (SELECT json_agg(json_build_array(g.grantee, g.list) \
           ORDER BY g.grantee COLLATE \"C\" NULLS FIRST)::text FROM ( \
             SELECT CASE x.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END AS grantee, \
             array_agg(DISTINCT (x.privilege_type || CASE WHEN x.is_grantable THEN '{GRANT_OPTION}' ELSE '' END) \
               COLLATE \"C\") AS list \
             FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x GROUP BY x.grantee) g) FROM {OWN} \
         UNION ALL SELECT 'connection limit', d.datconnlimit::text FROM {OWN} AND d.datconnlimit >= 0 \
         UNION ALL SELECT 'comment', shobj_description(d.oid, 'pg_database') FROM {OWN} \
           AND shobj_description(d.oid, 'pg_database') IS NOT NULL"
    )
}

const OWN: &str = "pg_database d WHERE d.datname = current_database()";

fn of(inventory: &DatabaseInventory) -> Option<&Properties> {
    inventory.objects.get(DATABASE_PROPERTY)
}

fn grants(properties: &Properties) -> Vec<Grant> {
    let text = properties.get("privileges").map(String::as_str);
    serde_json::from_str(text.unwrap_or_default()).unwrap_or_default()
}

/// The roles that the properties of a captured database name.
pub fn roles(captured: &DatabaseInventory) -> BTreeSet<String> {
    let Some(properties) = of(captured) else {
        return BTreeSet::new();
    };
    let granted = grants(properties).into_iter().filter_map(|(role, _)| role);
    granted
        .chain(properties.get("owner").cloned())
        .filter(|role| !role.is_empty())
        .collect()
}

/// Gives the database that `target` is connected to the properties of the captured one. Returns
/// warnings about those that could not be set.
pub fn apply(
    captured: &DatabaseInventory,
    target: &Connection,
    scrubber: &Scrubber,
) -> Result<Vec<String>> {
    let Some(wanted) = of(captured) else {
        return Ok(Vec::new());
    };
    let mut session = Session::open(target, scrubber)?;
    let database = identifier(&session.run("SELECT current_database()")?);
    let mut warnings = Vec::new();
    // The owner comes first: the default privileges are the owner's.
    for statements in [with_owner, with_privileges, with_rest] {
        let here = listed(&mut session, &question())?;
        let here = here.into_iter().collect();
        for (what, statement) in statements(&database, &here, wanted) {
            if let Err(error) = session.run(&statement) {
                let Error { cause, message, .. } = error;
                warnings.push(format!(
                    "the {what} of the database was not restored: {}",
                    cause.unwrap_or(message).trim()
                ));
            }
        }
    }
    Ok(warnings)
}

/// The purpose of a statement, and the statement.
type Statement = (&'static str, String);

fn with_owner(database: &str, here: &Properties, wanted: &Properties) -> Vec<Statement> {
    let owner = wanted
        .get("owner")
        .filter(|_| differs("owner", here, wanted));
    let statement = |owner| format!("ALTER DATABASE {database} OWNER TO {}", identifier(owner));
    owner
        .map(|owner| ("owner", statement(owner)))
        .into_iter()
        .collect()
}

fn with_privileges(database: &str, here: &Properties, wanted: &Properties) -> Vec<Statement> {
    const WHAT: &str = "privileges";
    if !differs(WHAT, here, wanted) {
        return Vec::new();
    }
    let role = |role: &Option<String>| role.as_deref().map_or("PUBLIC".into(), identifier);
    let mut statements = Vec::new();
    for (grantee, _) in grants(here) {
        let grantee = role(&grantee);
        statements.push(format!("REVOKE ALL ON DATABASE {database} FROM {grantee}"));
    }
    for (grantee, privileges) in grants(wanted) {
        for privilege in privileges {
            let (privilege, option) = match privilege.strip_suffix(GRANT_OPTION) {
                Some(privilege) => (privilege, GRANT_OPTION),
                None => (privilege.as_str(), ""),
            };
            let grantee = role(&grantee);
            statements.push(format!(
                "GRANT {privilege} ON DATABASE {database} TO {grantee}{option}"
            ));
        }
    }
    statements
        .into_iter()
        .map(|statement| (WHAT, statement))
        .collect()
}

fn with_rest(database: &str, here: &Properties, wanted: &Properties) -> Vec<Statement> {
    let mut statements = Vec::new();
    let limit = wanted.get("connection limit");
    if let Some(limit) = limit.and_then(|limit| limit.parse::<u32>().ok())
        && differs("connection limit", here, wanted)
    {
        let statement = format!("ALTER DATABASE {database} CONNECTION LIMIT {limit}");
        statements.push(("connection limit", statement));
    }
    if let Some(comment) = wanted
        .get("comment")
        .filter(|_| differs("comment", here, wanted))
    {
        let statement = format!("COMMENT ON DATABASE {database} IS {}", literal(comment));
        statements.push(("comment", statement));
    }
    statements
}

fn differs(name: &str, here: &Properties, wanted: &Properties) -> bool {
    here.get(name) != wanted.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(of: &[(&str, &str)]) -> Properties {
        let owned = of
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn only_what_differs_is_set() {
        let here = properties(&[
            ("owner", "me"),
            (
                "privileges",
                r#"[[null,["CONNECT","TEMPORARY"]],["me",["CREATE"]]]"#,
            ),
        ]);
        let wanted = properties(&[
            ("owner", "o\"x"),
            (
                "privileges",
                r#"[["a b",["CONNECT","CREATE WITH GRANT OPTION"]]]"#,
            ),
            ("connection limit", "7"),
            ("comment", "it's"),
        ]);
        let all = |here: &Properties, wanted: &Properties| -> Vec<String> {
            [with_owner, with_privileges, with_rest]
                .into_iter()
                .flat_map(|statements| statements("\"d\"", here, wanted))
                .map(|(_, statement)| statement)
                .collect()
        };
        assert_eq!(
            all(&here, &wanted),
            [
                "ALTER DATABASE \"d\" OWNER TO \"o\"\"x\"",
                "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC",
                "REVOKE ALL ON DATABASE \"d\" FROM \"me\"",
                "GRANT CONNECT ON DATABASE \"d\" TO \"a b\"",
                "GRANT CREATE ON DATABASE \"d\" TO \"a b\" WITH GRANT OPTION",
                "ALTER DATABASE \"d\" CONNECTION LIMIT 7",
                "COMMENT ON DATABASE \"d\" IS 'it''s'",
            ]
        );
        assert_eq!(all(&wanted, &wanted), Vec::<String>::new());
        let inventory = |properties: &Properties| DatabaseInventory {
            objects: BTreeMap::from([(DATABASE_PROPERTY.to_owned(), properties.clone())]),
            ..DatabaseInventory::default()
        };
        let named: Vec<_> = roles(&inventory(&wanted)).into_iter().collect();
        assert_eq!(named, ["a b", "o\"x"]);
        assert_eq!(roles(&DatabaseInventory::default()), BTreeSet::new());
    }
}
