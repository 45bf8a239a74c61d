//! Restores beside and onto a live server.

use crate::support::*;
use lifeboat_core::Code;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::postgres::{
    create_database, database_exists, drop_database, is_empty, query, restore_dump,
    restore_globals, row_counts, swap_databases,
};
use lifeboat_core::source::{Onto, RestoreOptions};
use lifeboat_testkit::postgres::PostgresServer;

#[test]
fn a_database_is_restored_aside_and_swapped_in() {
    let server = PostgresServer::start();
    server.create_database("live");
    server.psql("live", "CREATE ROLE owner_there; CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i; ALTER TABLE t OWNER TO owner_there; ALTER DATABASE live SET work_mem = '7MB'");
    server.psql(
        "live",
        "CREATE ROLE \"an app\"; ALTER DATABASE live OWNER TO owner_there; ALTER DATABASE live CONNECTION LIMIT 77;
         REVOKE CONNECT, TEMPORARY ON DATABASE live FROM PUBLIC; GRANT CONNECT ON DATABASE live TO \"an app\";
         GRANT CREATE ON DATABASE live TO \"an app\" WITH GRANT OPTION; COMMENT ON DATABASE live IS 'it''s the live one'",
    );
    let properties = |name: &str| {
        let sql = "SELECT datdba::regrole, (SELECT array_agg(x ORDER BY x::text) FROM unnest(datacl) x), datconnlimit, shobj_description(oid, 'pg_database') \
            FROM pg_database WHERE datname = ";
        server.psql("postgres", &format!("{sql}'{name}'"))
    };
    let before = properties("live");
    let (captured, dump) = capture(&server.url("live"));
    server.psql("live", "TRUNCATE t");
    let scrubber = Scrubber::default();
    let (admin, aside) = (
        connection(&server.url("postgres")),
        connection(&server.url("aside")),
    );
    create_database(&admin, "aside", captured.proof.as_ref(), &scrubber).unwrap();
    assert!(is_empty(&aside, &scrubber).unwrap());
    let options = RestoreOptions {
        onto: Onto::Made,
        captured: captured.proof.as_ref(),
    };
    let warnings = restore_dump(&mut &dump[..], &aside, &options, &scrubber).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(properties("aside"), before);
    assert!(!is_empty(&aside, &scrubber).unwrap());

    // A session is connected to the live database.
    std::thread::scope(|scope| {
        scope.spawn(|| server.try_psql("live", "SELECT pg_sleep(30)"));
        while server.psql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'live'",
        ) == "0"
        {}
        swap_databases(&admin, "live", "aside", "kept", &scrubber).unwrap();
    });
    assert_eq!(
        row_counts(&connection(&server.url("live")), &scrubber).unwrap()["public.t"],
        10
    );
    assert_eq!(
        row_counts(&connection(&server.url("kept")), &scrubber).unwrap()["public.t"],
        0
    );
    assert_eq!(
        server.psql(
            "live",
            "SHOW work_mem; SELECT relowner::regrole FROM pg_class WHERE relname = 't'"
        ),
        "7MB\nowner_there"
    );
    assert!(swap_databases(&admin, "live", "nowhere", "kept2", &scrubber).is_err());
    assert!(database_exists(&admin, "live", &scrubber).unwrap());
    drop_database(&admin, "kept", &scrubber).unwrap();
    assert!(!database_exists(&admin, "kept", &scrubber).unwrap());
}

#[test]
fn a_live_servers_roles_are_left_alone() {
    let server = PostgresServer::start();
    server.psql("postgres", "CREATE ROLE here NOLOGIN CONNECTION LIMIT 3");
    let globals = "SET x = 1;\nCREATE ROLE here;\nALTER ROLE here WITH SUPERUSER LOGIN;\nCREATE ROLE new;\nALTER ROLE new WITH LOGIN;\nALTER ROLE keeper WITH NOSUPERUSER;\nGRANT here TO new;\nCREATE TABLESPACE far OWNER here LOCATION '/nowhere';\n";
    let target = connection(&server.url("postgres"));
    let warnings = restore_globals(
        &mut globals.as_bytes(),
        &target,
        false,
        &Scrubber::default(),
    )
    .unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let roles = server.psql("postgres", "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles WHERE rolname IN ('here', 'new', 'keeper') ORDER BY 1");
    assert_eq!(roles, "here|f|f\nkeeper|t|t\nnew|f|t");
}

#[test]
fn a_missing_role_leaves_owners_out_and_says_so() {
    let (server, other) = (PostgresServer::start(), PostgresServer::start());
    server.create_database("d");
    server.psql(
        "d",
        "CREATE ROLE only_here; CREATE TABLE t (a int); ALTER TABLE t OWNER TO only_here",
    );
    let (captured, dump) = capture(&server.url("d"));
    other.create_database("d");
    let options = RestoreOptions {
        onto: Onto::Given,
        captured: captured.proof.as_ref(),
    };
    let warnings = restore_dump(
        &mut &dump[..],
        &connection(&other.url("d")),
        &options,
        &Scrubber::default(),
    )
    .unwrap();
    assert!(
        warnings.iter().any(|w| w.contains("only_here")),
        "{warnings:?}"
    );
}

#[test]
fn what_this_server_cannot_have_is_a_missing_tool() {
    if lifeboat_testkit::privilege::needs_root("install an extension") {
        return;
    }
    let server = PostgresServer::start();
    server.create_database("d");
    // An extension whose files are gone by the time of the restore.
    let name = format!("lifeboat_gone_{}", std::process::id());
    let share = lifeboat_testkit::postgres::newest_bin()
        .ancestors()
        .nth(1)
        .unwrap()
        .file_name()
        .unwrap()
        .to_owned();
    let directory = std::path::Path::new("/usr/share/postgresql")
        .join(share)
        .join("extension");
    let files = [
        directory.join(format!("{name}.control")),
        directory.join(format!("{name}--1.sql")),
    ];
    std::fs::write(&files[0], "default_version = '1'\n").unwrap();
    std::fs::write(
        &files[1],
        "CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
    )
    .unwrap();
    server.psql("d", &format!("CREATE EXTENSION {name}"));
    let (captured, dump) = capture(&server.url("d"));
    files
        .iter()
        .for_each(|file| std::fs::remove_file(file).unwrap());
    server.create_database("e");
    let options = RestoreOptions {
        onto: Onto::Given,
        captured: captured.proof.as_ref(),
    };
    let error = restore_dump(
        &mut &dump[..],
        &connection(&server.url("e")),
        &options,
        &Scrubber::default(),
    )
    .unwrap_err();
    assert_eq!(error.code, Code::ToolMissing, "{error:?}");
    assert!(error.message.contains(&name), "{error:?}");

    let mut odd = captured.clone();
    if let lifeboat_core::fingerprint::Inventory::Database(inventory) =
        &mut odd.proof.as_mut().unwrap().inventory
    {
        let locale = inventory
            .objects
            .get_mut("database")
            .unwrap()
            .get_mut("locale")
            .unwrap();
        *locale = locale.replace("C.UTF-8", "xx_YY.UTF-8");
    }
    let admin = connection(&server.url("postgres"));
    let error = create_database(&admin, "f", odd.proof.as_ref(), &Scrubber::default()).unwrap_err();
    assert_eq!(error.code, Code::ToolMissing, "{error:?}");
    assert!(query(&admin, "SELECT 1", &Scrubber::default()).is_ok());
}
