//! Rights of a role besides reading: to create a database and put it in the place of the live one.

use super::connection::Connection;
use super::session::{Server, query};
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::source::RestoreRights;
use serde::Deserialize;

/// Facts about a role. Names are quoted as identifiers.
#[derive(Debug, Deserialize)]
struct Role {
    role: String,
    superuser: bool,
    makes_databases: bool,
    owner: String,
    is_owner: bool,
    other_owners: Vec<String>,
    untrusted: Vec<String>,
}

/// The rights that a live restore needs and this role lacks. Nothing is tried.
pub fn restore_rights(connection: &Connection, scrubber: &Scrubber) -> Result<RestoreRights> {
    let server = Server::ask(connection, scrubber)?;
    // The owner of a database may create a trusted extension in it.
    let untrusted = match server.major {
        13.. => "v.superuser AND NOT v.trusted",
        _ => "v.superuser",
    };
    let sql = format!(
        "SELECT json_build_object( \
           'role', quote_ident(r.rolname), \
           'superuser', r.rolsuper, \
           'makes_databases', r.rolcreatedb, \
           'owner', quote_ident(pg_get_userbyid(d.datdba)), \
           'is_owner', pg_has_role(r.oid, d.datdba, 'USAGE'), \
           'other_owners', coalesce((SELECT json_agg(DISTINCT quote_ident(pg_get_userbyid(c.relowner))) \
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relowner <> r.oid \
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend p \
                  WHERE p.classid = 'pg_catalog.pg_class'::regclass AND p.objid = c.oid AND p.deptype = 'e')), '[]'), \
           'untrusted', coalesce((SELECT json_agg(quote_ident(e.extname) ORDER BY e.extname) \
              FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_available_extension_versions v \
                ON v.name = e.extname AND v.version = e.extversion \
              WHERE e.extname <> 'plpgsql' AND {untrusted}), '[]')) \
         FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
         WHERE r.rolname = current_user AND d.datname = current_database()"
    );
    let answer = query(connection, &sql, scrubber)?;
    let role: Role = serde_json::from_str(&answer).map_err(|error| {
        let place = connection.display();
        Error::new(
            Code::SourceFailed,
            format!("{place} does not say what its role may do"),
        )
        .cause(error)
    })?;
    Ok(judge(role))
}

fn judge(role: Role) -> RestoreRights {
    let mut rights = RestoreRights {
        account: role.role.clone(),
        ..RestoreRights::default()
    };
    if role.superuser {
        return rights;
    }
    if !role.other_owners.is_empty() {
        rights.limits.push(format!(
            "only a superuser can give what is restored back to {}",
            role.other_owners.join(", ")
        ));
    }
    if !role.untrusted.is_empty() {
        rights.limits.push(format!(
            "only a superuser can make the extension {}",
            role.untrusted.join(", ")
        ));
    }
    if !rights.limits.is_empty() {
        return rights;
    }
    if !role.makes_databases {
        rights
            .grants
            .push(format!("ALTER ROLE {} CREATEDB", role.role));
    }
    if !role.is_owner {
        rights
            .grants
            .push(format!("GRANT {} TO {}", role.owner, role.role));
    }
    rights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superuser_lacks_nothing_and_a_reader_is_told_what_to_grant() {
        let role = |superuser, may, others: &[&str]| Role {
            role: "backup".into(),
            superuser,
            makes_databases: may,
            owner: "\"the app\"".into(),
            is_owner: may,
            other_owners: others.iter().map(|name| (*name).to_owned()).collect(),
            untrusted: others.iter().map(|_| "postgis".to_owned()).collect(),
        };
        let others = ["\"the app\""];
        let rights = judge(role(true, false, &others));
        assert_eq!(rights.lack(), None);
        // Grants would not be enough.
        let rights = judge(role(false, false, &others));
        assert_eq!(
            (rights.grants.len(), rights.limits.len()),
            (0, 2),
            "{rights:?}"
        );
        assert_eq!(
            judge(role(false, false, &[])).grants,
            ["ALTER ROLE backup CREATEDB", "GRANT \"the app\" TO backup"]
        );
        assert_eq!(judge(role(false, true, &[])).lack(), None);
    }
}
