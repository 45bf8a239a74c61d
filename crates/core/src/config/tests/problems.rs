//! Reports about a configuration that does not fit the schema: the position, the problem, and the
//! remedy.

use super::{APP, only_problem, parse};

/// The general hint; an empty hint in the tables stands for it.
const GENERAL: &str = "correct it there; `lifeboat config schema` describes every key";

/// A fragment with one problem, and the expected position, message and hint.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// Checks each fragment, placed after [`APP`], which takes three lines.
fn each_is_told(cases: &[Case]) {
    for (fragment, place, message, hint) in cases {
        let told = only_problem(&format!("{APP}{fragment}\n"));
        let hint = if hint.is_empty() { GENERAL } else { hint };
        let expected = ((*place).into(), (*message).into(), hint.into());
        assert_eq!(told, expected, "{fragment}");
    }
}

const KEYS_AND_KINDS_OF_SOURCES: &[Case] = &[
    (
        "[source.db]\nkind = \"sqlite\"\npath = \"/d\"\nwal = true",
        "7:1",
        "unknown key \"wal\" in source.db",
        "known here: key, kind, min_bytes, min_rows, path, sensitive, separate",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = [\"/a\"]\nexcludes = []",
        "7:1",
        "unknown key \"excludes\" in source.f",
        "did you mean \"exclude\"?",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = [\"/a\"]\nurl = \"env:A\"",
        "7:1",
        "source.f: key \"url\" belongs to kind \"postgres\" and \"mariadb\" and \"mysql\", not \"files\"",
        "known here: exclude, key, kind, min_bytes, one_file_system, optional, paths, sensitive, separate",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = [\"/a\"]\nmin_rows = 5",
        "7:1",
        "source.f: key \"min_rows\" belongs to kind \"sqlite\" and \"postgres\" and \"mariadb\" and \"mysql\", not \"files\"",
        "known here: exclude, key, kind, min_bytes, one_file_system, optional, paths, sensitive, separate",
    ),
    (
        "[source.db]\nkind = \"postgress\"",
        "5:8",
        "source.db: unknown kind \"postgress\"",
        "did you mean \"postgres\"?",
    ),
    (
        "[source.db]\nkind = \"machine\"\nvia = 3",
        "5:8",
        "source.db: kind \"machine\" is not available in this version",
        "use kind = \"external\" with commands that take snapshots of it, or remove this source",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = [\"/a\"]\nvia = \"ssh:root@host\"",
        "7:1",
        "source.f: key \"via\" belongs to kind \"postgres\" and \"mariadb\" and \"mysql\" and \"command\" and \"external\", not \"files\"",
        "run lifeboat on that host, or take it with kind = \"command\", this via and a program there that prints it: command = [\"tar\", \"-C\", \"/srv\", \"-c\", \"uploads\"]",
    ),
    (
        "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"docker:a\"\nssh = { config = \"/c\" }",
        "8:1",
        "source.c.ssh: nothing uses it",
        "add via = \"ssh:USER@HOST\", or remove it",
    ),
    (
        "[source.db]\npath = \"/d\"",
        "4:9",
        "source.db has no kind",
        "add kind = \"…\", one of files, sqlite, postgres, mariadb, mysql, bucket, command, lightsail, ec2, external",
    ),
    (
        "[source.db]\nkind = \"sqlite\"",
        "4:9",
        "source.db has no path",
        "add path: Absolute path of the database file.",
    ),
];

#[test]
fn keys_and_kinds_of_sources_are_held_to_the_schema() {
    each_is_told(KEYS_AND_KINDS_OF_SOURCES);
}

const VALUES_OF_SOURCES: &[Case] = &[
    (
        "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"telnet:host\"",
        "7:7",
        "source.c.via: this is no way to a source: \"telnet\" is none that is known; write ssh:USER@HOST, ssh:USER@HOST:PORT, docker:CONTAINER or kubectl:NAMESPACE/POD",
        "correct it there; `lifeboat config schema` describes every key",
    ),
    (
        "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"ssh:a\"\nssh = { passphrase = \"env:P\" }",
        "8:22",
        "source.c.ssh.passphrase: there is no key that it opens",
        "add key = \"file:PATH\" beside it, or add the key to the ssh-agent and remove it",
    ),
    (
        "[source.db]\nkind = \"sqlite\"\npath = \"data/auth.db\"",
        "6:8",
        "source.db.path: \"data/auth.db\" is a relative path",
        "write \"/etc/lifeboat/data/auth.db\"",
    ),
    (
        "[store.nas]\nkind = \"sftp\"\nhost = \"nas\"\npath = \"points\"",
        "7:8",
        "store.nas.path: \"points\" is a relative path",
        "write the whole path on that host; `ssh HOST pwd` prints where a relative one begins",
    ),
    (
        "[source.db]\nkind = \"postgres\"\nurl = \"file:db.url\"",
        "6:7",
        "source.db.url: \"file:db.url\" is a relative path",
        "write \"file:/etc/lifeboat/db.url\"",
    ),
    (
        "[source.db]\nkind = \"postgres\"\nurl = \"vault:secret/crm\"",
        "6:7",
        "source.db.url: this names no secret in Vault: a path and the field of it that is meant",
        "write vault:PATH#KEY, as in \"vault:secret/crm/backup#password\"",
    ),
    (
        "[source.db]\nkind = \"postgres\"\ndatabase = \"d\"\nport = 70000",
        "7:8",
        "source.db.port must be a whole number from 0 to 65535",
        "",
    ),
    (
        "[source.db]\nkind = \"postgres\"\ndatabase = \"d\"\nlock_timeout = 30",
        "7:16",
        "source.db.lock_timeout must be a length of time in quotes, as in \"36h\", not a whole number",
        "",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = \"/a\"",
        "6:9",
        "source.f.paths must be a list, in [ ], not text",
        "",
    ),
    (
        "[source.f]\nkind = \"files\"\npaths = [\"/a\", 7]",
        "6:16",
        "source.f.paths[1] must be text in quotes, not a whole number",
        "",
    ),
    (
        "[source.\"a b\"]\nkind = \"files\"\npaths = [\"/a\"]",
        "4:9",
        "source.\"a b\": \"a b\" is no name",
        "use letters, digits, -, _ and ., beginning with a letter or a digit",
    ),
    (
        "[source.c]\nkind = \"command\"\ncommand = [\"x\"]\nextension = \".json\"",
        "7:13",
        "source.c.extension: \".json\" is no file name extension",
        "write \"json\", without the dot",
    ),
    (
        "[source.c]\nkind = \"command\"\ncommand = [\"x\"]\nenv = { \"A-B\" = \"env:X\" }",
        "7:9",
        "source.c.env.A-B: \"A-B\" is no name of an environment variable",
        "",
    ),
];

#[test]
fn values_of_sources_are_held_to_the_schema() {
    each_is_told(VALUES_OF_SOURCES);
}

const STORES: &[Case] = &[
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nlayout = \"archiv\"",
        "7:10",
        "store.d.layout: unknown word \"archiv\"",
        "did you mean \"archive\"?",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nlayout = \"repository\"",
        "4:8",
        "store.d.password: layout = \"repository\" needs one",
        "add password = \"file:PATH\" of a file with a long random line, and keep a copy elsewhere: nothing can be read without it",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nlayout = \"repository\"\npassword = \"file:/k\"\nencrypt = { openpgp = [\"/ops.asc\"] }",
        "9:1",
        "store.d.encrypt: a repository is encrypted with its password",
        "remove it; decrypt may stay for points that were stored before",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nlayout = \"repository\"\npassword = \"file:/k\"\ncompress = \"zstd\"",
        "9:12",
        "store.d.compress: a repository compresses by itself",
        "remove it",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nlayout = \"repository\"\npassword = \"file:/k\"\nkey = \"{app}\"",
        "9:7",
        "store.d.key: a repository has no keys to choose",
        "remove it: what is in a snapshot is at /SOURCE",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\ncompress = \"gzip:99\"",
        "7:12",
        "store.d.compress: gzip has levels 1 to 12, not \"99\"",
        "",
    ),
    (
        "[store.d]\nkind = \"azure\"",
        "5:8",
        "store.d: kind \"azure\" is not available in this version",
        "use kind = \"local\" on a mounted file system, kind = \"s3\" or kind = \"sftp\"",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { opengpg = [] }",
        "7:13",
        "unknown key \"opengpg\" in store.d.encrypt",
        "did you mean \"openpgp\"?",
    ),
    (
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { openpgp = [\"ops.asc\"] }",
        "7:24",
        "store.d.encrypt.openpgp[0]: \"ops.asc\" is a relative path",
        "write \"/etc/lifeboat/ops.asc\"",
    ),
    (
        "[store.o]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\nendpoint = \"s3.example.org\"",
        "9:12",
        "store.o.endpoint: \"s3.example.org\" is no http or https URL",
        "write it whole, as in \"https://s3.example.org\"",
    ),
];

#[test]
fn stores_are_held_to_the_schema() {
    each_is_told(STORES);
}

const PLANS_AND_DRILLS: &[Case] = &[
    (
        "[sources.db]\nkind = \"sqlite\"",
        "4:2",
        "unknown key \"sources\" at the top level",
        "did you mean \"source\"?",
    ),
    (
        "[plan.p]\nscedule = \"7 * * * *\"\nsources = []\nstores = []",
        "5:1",
        "unknown key \"scedule\" in plan.p",
        "did you mean \"schedule\"?",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nafter = []",
        "7:1",
        "plan.p.after is called finally",
        "write finally instead of after: it runs whatever happened",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nkeep = \"for ever\"",
        "7:8",
        "plan.p.keep: unknown word \"for ever\"",
        "did you mean \"forever\"?",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nkeep = \"30d\"",
        "7:8",
        "plan.p.keep: unknown word \"30d\"",
        "write keep = { within = \"30d\" } for all of that time, keep = { daily = \"30d\" } for one of each day, or both in one table",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nkeep = 7",
        "7:8",
        "plan.p.keep must be text in quotes, not a whole number",
        "write keep = { last = 7 } for the newest 7 points, or keep = { daily = 7 } for one of each of so many days",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nkeep = { last = \"52w\" }",
        "7:17",
        "plan.p.keep.last must be a whole number, not text",
        "write how many are kept; all of a span of time is within = \"52w\"",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nkeep = { dayly = 3 }",
        "7:10",
        "unknown key \"dayly\" in plan.p.keep",
        "did you mean \"daily\"?",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nanomaly = false",
        "7:11",
        "plan.p.anomaly must be text in quotes, not true or false",
        "write anomaly = \"off\" to compare nothing, or leave it out",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nanomaly = \"30%\"",
        "7:11",
        "plan.p.anomaly: unknown word \"30%\"",
        "write anomaly = { bytes = \"30%\", files = \"30%\", rows = \"30%\" }",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nanomaly = { row = \"30%\" }",
        "7:13",
        "unknown key \"row\" in plan.p.anomaly",
        "did you mean \"rows\"?",
    ),
    (
        "[plan.p]\nsources = []\nstores = []\nschedule = \"7 * * *\"",
        "7:12",
        "plan.p.schedule: \"7 * * *\" is no schedule: expected 5 fields, found 4",
        "write minute, hour, day of month, month and day of week, in UTC: \"7 * * * *\" is 7 minutes past every hour, \"0 3 * * 0\" is Sundays at 03:00",
    ),
    (
        "[drill.d]\nplans = []\n[[drill.d.checks]]\nsql = \"db\"\nquerry = \"q\"",
        "8:1",
        "unknown key \"querry\" in drill.d.checks[0]",
        "did you mean \"query\"?",
    ),
    (
        "[drill.d]\nplans = []\nchecks = [{ http = 3 }]",
        "6:20",
        "drill.d.checks[0].http must be text in quotes, not a whole number",
        "",
    ),
    (
        "[restore]\nstop = [[\"x\"]]\nstrat = []",
        "6:1",
        "unknown key \"strat\" in restore",
        "did you mean \"start\"?",
    ),
    (
        "[notify.ops]\nkind = \"slack\"",
        "4:9",
        "notify.ops: it has no secret",
        "add token = \"env:SLACK_BOT_TOKEN\" and channel = \"C0123456789\", or webhook = \"env:SLACK_WEBHOOK\"",
    ),
];

#[test]
fn plans_drills_and_the_top_level_are_held_to_the_schema() {
    each_is_told(PLANS_AND_DRILLS);
}

#[test]
fn the_head_of_the_file_is_held_to_the_format() {
    for (text, place, message, hint) in [
        (
            "[app]\nname = \"a\"",
            "1:1",
            "the configuration has no version",
            "add version: Version of this format; write `version = 1`.",
        ),
        (
            "version = 1",
            "1:1",
            "the configuration has no app",
            "add [app]: The application that is protected.",
        ),
        (
            "version = 2\n[later]\nx = 1",
            "1:11",
            "version 2 of the configuration is not known",
            "write version = 1, or use the lifeboat this file was written for",
        ),
    ] {
        let error = parse(text).unwrap_err();
        let told = format!("/etc/lifeboat/lifeboat.toml:{place}: {message}");
        assert_eq!(error.message, told);
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
}

#[test]
fn invalid_toml_is_reported_with_its_place() {
    let text = format!("{APP}owner = \"ops\n");
    let (place, message, hint) = only_problem(&text);
    assert_eq!(place, "4:13");
    assert!(message.starts_with("this is not TOML: "), "{message}");
    assert!(hint.contains("double quotes"), "{hint}");
    let error = parse(&format!("{APP}name = \"b\"\n")).unwrap_err();
    assert_eq!(
        error.message,
        "/etc/lifeboat/lifeboat.toml:4:1: this is not TOML: duplicate key"
    );
}

/// Columns count characters, not bytes.
#[test]
fn columns_count_characters() {
    let (place, _, _) =
        only_problem("version = 1\napp = { owner = \"ä\", nmae = \"a\", name = \"b\" }");
    assert_eq!(place, "2:22");
}

#[test]
fn all_problems_are_reported_at_once() {
    let error =
        parse("version = 1\n[app]\nname = \"a\"\nrpo = 5\nrtoo = \"1h\"\n[plan.p]\n").unwrap_err();
    assert_eq!(
        error.message,
        "/etc/lifeboat/lifeboat.toml:4:7: app.rpo must be a length of time in quotes, as in \"36h\", not a whole number"
    );
    assert_eq!(
        error.cause.unwrap(),
        "/etc/lifeboat/lifeboat.toml:5:1: unknown key \"rtoo\" in app (did you mean \"rto\"?)\n\
         /etc/lifeboat/lifeboat.toml:6:7: plan.p has no sources (add sources: Names of sources, in the order they are captured.)\n\
         /etc/lifeboat/lifeboat.toml:6:7: plan.p has no stores (add stores: Names of stores.)"
    );
}

/// The example of the documentation names keys that this version lacks: each is reported as such,
/// and nothing is reported as unknown.
#[test]
fn keys_of_later_versions_are_not_reported_as_unknown() {
    let text = r#"
version = 1
[app]
name = "crm"
[source.db]
kind = "postgres"
url = "env:DATABASE_URL"
[source.machine]
kind = "machine"
[store.disk]
kind = "local"
path = "/var/backups/lifeboat"
layout = "repository"
password = "file:/etc/lifeboat/repository.key"
[store.offsite]
kind = "azure"
"#;
    let error = parse(text).unwrap_err();
    let cause = error.cause.unwrap();
    let told: Vec<_> = std::iter::once(error.message.as_str())
        .chain(cause.lines())
        .collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    for line in told {
        assert!(line.contains("not available in this version"), "{line}");
    }
}
