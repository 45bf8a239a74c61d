use super::*;
use crate::error::{Code, Error};
use std::path::Path;

/// A configuration with everything this version has.
const WHOLE: &str = r#"
version = 1

[app]
name = "crm"
environment = "production"
owner = "ops@example.org"
rpo = "1h"
rto = "30m"
state = "/var/lib/lifeboat"
signing_key = "file:/etc/lifeboat/signing.key"
trusted_signers = "/etc/lifeboat/allowed_signers"

[source.db]
kind = "postgres"
url = "env:DATABASE_URL"
globals = false
lock_timeout = "30s"

[source.parts]
kind = "postgres"
socket = "/run/postgresql"
port = 5433
user = "backup"
password = "cmd:pass show 'db backup'"
database = "crm"

[source.auth]
kind = "sqlite"
path = "/opt/bot/data/auth.db"

[source.files]
kind = "files"
paths = ["/opt/bot/config", "/opt/bot/data"]
exclude = ["node_modules", "*.log"]
optional = ["/etc/nginx/sites-available/bot"]
one_file_system = true

[source.secrets]
kind = "files"
paths = ["/opt/bot/secrets"]
sensitive = true

[source.vault]
kind = "command"
command = ["infisical", "export", "--format=json"]
extension = "json"
env = { INFISICAL_TOKEN = "credential:infisical" }
min_bytes = 2
key = "vault/{date}"

[store.disk]
kind = "local"
path = "/var/backups/lifeboat"
layout = "archive"
compress = "zstd:9"
encrypt = { age = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"] }

[store.offsite]
kind = "s3"
bucket = "crm-backups"
prefix = "crm"
region = "eu-west-1"
endpoint = "https://s3.example.org"
access_key = "env:BACKUP_S3_ACCESS_KEY"
secret_key = "env:BACKUP_S3_SECRET_KEY"
session_token = "env:BACKUP_S3_TOKEN"
key = "{app}/{source}/{artifact}/{date}/{hour}"
encrypt = { age = ["/etc/lifeboat/recipients"] }
decrypt = { age = "file:/root/age.key" }
storage_class = "STANDARD_IA"
server_side_encryption = "aws:kms"
kms_key_id = "alias/backup"
virtual_host_style = true
stall_timeout = "2m"

[plan.hourly]
schedule = "7 * * * *"
sources = ["db", "parts", "auth", "files", "secrets", "vault"]
stores = ["disk", "offsite"]
keep = { hourly = 168, daily = 30, last = 1, weekly = 4, monthly = 12, yearly = 3, within = "30d", of_period = "first" }
before = [["php", "artisan", "down"]]
finally = [["php", "artisan", "up"]]

[plan.weekly]
schedule = "0 4 * * 0"
sources = ["db"]
stores = ["disk"]
keep = "forever"

[drill.weekly]
schedule = "0 3 * * 0"
plans = ["hourly"]
store = "offsite"
point = "latest"
max_age = "9d"
checks = [
  { sql = "db", query = "select count(*) from clients", expect = "> 0" },
  { sql = "auth", query = "select version_num from alembic_version", expect = "same" },
  { file = "files", path = "config/app.toml", contains = "listen" },
  { command = ["./probe.sh"] },
  { live = "db", tolerance = "5%" },
]

[restore]
stop = [["systemctl", "stop", "apache2"]]
start = [["systemctl", "start", "apache2"]]
prepare = [["php", "artisan", "cache:clear"]]
after = [["php", "artisan", "queue:restart"]]
checks = [{ command = ["curl", "--fail", "https://tickets.example.org/"] }]
"#;

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/etc/lifeboat/lifeboat.toml"))
}

/// What is told of the only problem of `fragment`: line and column, message, hint.
/// The hint where there is nothing special to say; an empty one in the tables stands for it.
const GENERAL: &str = "correct it there; `lifeboat config schema` describes every key";

fn only_problem(text: &str) -> (String, String, String) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert_eq!(error.cause, None, "{error:?}");
    let told = error
        .message
        .strip_prefix("/etc/lifeboat/lifeboat.toml:")
        .unwrap();
    let (place, message) = told.split_once(": ").unwrap();
    (
        place.to_owned(),
        message.to_owned(),
        error.hint.unwrap_or_default(),
    )
}

#[test]
fn everything_this_version_has_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.origin, Path::new("/etc/lifeboat/lifeboat.toml"));
    assert_eq!(config.text, WHOLE);
    assert_eq!(config.plan["hourly"].sources.len(), 6);
    let StoreKind::S3(s3) = &config.store["offsite"].kind else {
        panic!("not s3")
    };
    assert_eq!(s3.secret_key, Reference::Env("BACKUP_S3_SECRET_KEY".into()));
    assert_eq!(config.store["disk"].compress, Compress::Zstd(9));
    let checks: Vec<_> = config.drill["weekly"]
        .checks
        .iter()
        .map(CheckConfig::parsed)
        .collect();
    assert!(matches!(
        &checks[1],
        Ok(Check::Sql {
            expect: crate::expect::Expect::Same,
            ..
        })
    ));
    assert!(checks.iter().all(Result::is_ok));
}

/// As editors on other systems save it.
#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let text = format!("\u{feff}{}", WHOLE.replace('\n', "\r\n"));
    assert_eq!(
        parse(&text).unwrap().masked_toml(),
        parse(WHOLE).unwrap().masked_toml()
    );
    let (place, ..) = only_problem("version = 1\r\n[app]\r\nname = \"a\"\r\nowner = 3\r\n");
    assert_eq!(place, "4:9");
}

#[test]
fn what_is_shown_loads_as_the_same() {
    let config = parse(WHOLE).unwrap();
    let shown = config.masked_toml();
    let again = parse(&shown).unwrap_or_else(|error| panic!("{error:?}\n{shown}"));
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        serde_json::to_value(&config).unwrap()
    );
    assert_eq!(again.masked_toml(), shown);
    // Defaults are filled in, references stay references.
    assert!(shown.contains("secret_key = \"env:BACKUP_S3_SECRET_KEY\""));
    let small =
        parse("version = 1\n[app]\nname = \"a\"\n[store.d]\nkind = \"local\"\npath = \"/b\"\n");
    let shown = small.unwrap().masked_toml();
    for default in [
        "environment = \"production\"",
        "state = \"/var/lib/lifeboat\"",
        "compress = \"gzip:3\"",
        "key = \"{app}/{source}/{artifact}/{date}/{hour}\"",
        "stall_timeout = \"5m\"",
    ] {
        assert!(shown.contains(default), "{default} in\n{shown}");
    }
}

const APP: &str = "version = 1\n[app]\nname = \"a\"\n";

/// Fragments after [`APP`] (three lines), each with one problem.
#[test]
fn one_problem_is_told_with_its_place_and_the_way_out() {
    let s3 = "kind = \"s3\"\nbucket = \"b\"\n";
    let table: &[(&str, &str, &str, &str)] = &[
        (
            "[plan.p]\nscedule = \"7 * * * *\"\nsources = []\nstores = []",
            "5:1",
            "unknown key \"scedule\" in plan.p",
            "did you mean \"schedule\"?",
        ),
        (
            "[sources.db]\nkind = \"sqlite\"",
            "4:2",
            "unknown key \"sources\" at the top level",
            "did you mean \"source\"?",
        ),
        (
            "[plan.p]\nsources = []\nstores = []\nafter = []",
            "7:1",
            "plan.p.after is called finally",
            "write finally instead of after: it runs whatever happened",
        ),
        (
            "[source.db]\nkind = \"sqlite\"\npath = \"/d\"\nwal = true",
            "7:1",
            "unknown key \"wal\" in source.db",
            "known here: key, kind, path, sensitive, separate",
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
            "known here: exclude, key, kind, one_file_system, optional, paths, sensitive, separate",
        ),
        (
            "[source.db]\nkind = \"postgress\"",
            "5:8",
            "source.db: unknown kind \"postgress\"",
            "did you mean \"postgres\"?",
        ),
        (
            "[source.db]\nkind = \"lightsail\"\nvia = 3",
            "5:8",
            "source.db: kind \"lightsail\" is not available in this version",
            "use kind = \"command\" with a command that prints a dump, or remove this source",
        ),
        (
            "[source.f]\nkind = \"files\"\npaths = [\"/a\"]\nvia = \"ssh:root@host\"",
            "7:1",
            "source.f: key \"via\" belongs to kind \"postgres\" and \"mariadb\" and \"mysql\" and \"command\", not \"files\"",
            "run lifeboat on that host, or take it with kind = \"command\", this via and a program there that prints it: command = [\"tar\", \"-C\", \"/srv\", \"-c\", \"uploads\"]",
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"telnet:host\"",
            "7:7",
            "source.c.via: this is no way to a source: \"telnet\" is none that is known; write ssh:USER@HOST, ssh:USER@HOST:PORT, docker:CONTAINER or kubectl:NAMESPACE/POD",
            "correct it there; `lifeboat config schema` describes every key",
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"docker:a\"\nssh = { config = \"/c\" }",
            "8:1",
            "source.c.ssh: nothing uses it",
            "add via = \"ssh:USER@HOST\", or remove it",
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"a\"]\nvia = \"ssh:a\"\nssh = { passphrase = \"env:P\" }",
            "8:22",
            "source.c.ssh.passphrase: there is no key that it opens",
            "add key = \"file:PATH\" beside it, or add the key to the ssh-agent and remove it",
        ),
        (
            "[source.db]\npath = \"/d\"",
            "4:9",
            "source.db has no kind",
            "add kind = \"…\", one of files, sqlite, postgres, mariadb, mysql, bucket, command",
        ),
        (
            "[source.db]\nkind = \"sqlite\"",
            "4:9",
            "source.db has no path",
            "add path: Absolute path of the database file.",
        ),
        (
            "[source.db]\nkind = \"sqlite\"\npath = \"data/auth.db\"",
            "6:8",
            "source.db.path: \"data/auth.db\" is a relative path",
            "write \"/etc/lifeboat/data/auth.db\"",
        ),
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"file:db.url\"",
            "6:7",
            "source.db.url: \"file:db.url\" is a relative path",
            "write \"file:/etc/lifeboat/db.url\"",
        ),
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"ssm:/crm/url\"",
            "6:7",
            "source.db.url: ssm: references are not available in this version",
            "fetch it with a command, cmd:PROGRAM ARGS, or use env:NAME or file:PATH",
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
            "[plan.p]\nsources = []\nstores = []\nkeep = \"for ever\"",
            "7:8",
            "plan.p.keep: unknown word \"for ever\"",
            "did you mean \"forever\"?",
        ),
        (
            "[plan.p]\nsources = []\nstores = []\nkeep = \"30d\"",
            "7:8",
            "plan.p.keep: unknown word \"30d\"",
            "write keep = { within = \"30d\" } for all of that time, keep = { daily = 30 } for one of each day, or both in one table",
        ),
        (
            "[plan.p]\nsources = []\nstores = []\nkeep = 7",
            "7:8",
            "plan.p.keep must be text in quotes, not a whole number",
            "write keep = { last = 7 } for the newest 7 points, or keep = { daily = 7 } for one of each of so many days",
        ),
        (
            "[plan.p]\nsources = []\nstores = []\nkeep = { monthly = \"52w\" }",
            "7:20",
            "plan.p.keep.monthly must be a whole number, not text",
            "write how many are kept: monthly = 13; all of a span of time is within = \"52w\"",
        ),
        (
            "[plan.p]\nsources = []\nstores = []\nkeep = { dayly = 3 }",
            "7:10",
            "unknown key \"dayly\" in plan.p.keep",
            "did you mean \"daily\"?",
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
            "[drill.d]\nplans = []\nchecks = [{ http = \"https://x/\" }]",
            "6:13",
            "drill.d.checks[0].http is not available in this version",
            "use { command = [\"curl\", \"--fail\", \"--silent\", \"--output\", \"/dev/null\", \"URL\"] }",
        ),
        (
            "[restore]\nstop = [[\"x\"]]\nstrat = []",
            "6:1",
            "unknown key \"strat\" in restore",
            "did you mean \"start\"?",
        ),
        (
            "[notify.ops]\nkind = \"slack\"",
            "4:2",
            "notify is not available in this version",
            "remove [notify]; until then, let what starts lifeboat watch its exit code",
        ),
        (
            &format!(
                "[store.o]\n{s3}access_key = \"env:A\"\nsecret_key = \"env:B\"\nendpoint = \"s3.example.org\""
            ),
            "9:12",
            "store.o.endpoint: \"s3.example.org\" is no http or https URL",
            "write it whole, as in \"https://s3.example.org\"",
        ),
    ];
    for (fragment, place, message, hint) in table {
        let told = only_problem(&format!("{APP}{fragment}\n"));
        let hint = if hint.is_empty() { GENERAL } else { hint };
        let expected = ((*place).into(), (*message).into(), hint.into());
        assert_eq!(told, expected, "{fragment}");
    }
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
fn what_is_not_toml_is_told_with_its_place() {
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
fn all_problems_are_told_at_once() {
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

/// Secrets in every place where somebody may put one: none is shown, each is told with what to
/// write instead.
#[test]
fn a_literal_secret_is_refused_and_never_shown() {
    let elsewhere = "move it to a file or an environment variable and refer to that, as in \
                     \"file:PATH\" or \"env:NAME\"; a command can read it from its environment";
    let table = [
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"postgres://u:hunter2@h/d\"",
            "6:7",
            "source.db.url: a secret stands here itself, not a reference to it",
            "write url = \"env:DB_URL\"",
        ),
        (
            "[source.my-db]\nkind = \"postgres\"\ndatabase = \"d\"\npassword = \"hunter2\"",
            "7:12",
            "source.my-db.password: a secret stands here itself, not a reference to it",
            "write password = \"env:MY_DB_PASSWORD\"",
        ),
        (
            "[store.o]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"hunter2\"",
            "8:14",
            "store.o.secret_key: a secret stands here itself, not a reference to it",
            "write secret_key = \"env:O_SECRET_KEY\"",
        ),
        (
            "[store.d]\nkind = \"local\"\npath = \"/b\"\ndecrypt = { age = \"AGE-SECRET-KEY-1HUNTER2\" }",
            "7:19",
            "store.d.decrypt.age: a secret stands here itself, not a reference to it",
            "write age = \"file:/etc/lifeboat/d.key\"",
        ),
        (
            "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { age = [\"AGE-SECRET-KEY-1HUNTER2\"] }",
            "7:20",
            "store.d.encrypt.age[0]: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"mydump\", \"mysql://u:hunter2@h/d\"]",
            "6:22",
            "source.c.command[1]: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"x\"]\nenv = { TOKEN = \"hunter2\" }",
            "7:17",
            "source.c.env.TOKEN: a secret stands here itself, not a reference to it",
            "write TOKEN = \"env:TOKEN\"",
        ),
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"cmd:echo postgres://u:hunter2@h/d\"",
            "6:7",
            "source.db.url: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.db]\nkind = \"postgres://u:hunter2@h/d\"",
            "5:8",
            "source.db.kind: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
    ];
    for (fragment, place, message, hint) in table {
        let told = only_problem(&format!("{APP}{fragment}\n"));
        assert_eq!(
            told,
            (place.into(), message.into(), hint.into()),
            "{fragment}"
        );
    }
    for fragment in [
        "[app]\nsigning_key = \"hunter2",
        "[source.db]\nkind = \"postgres\"\npasswort = \"hunter2\"",
        "[source.db]\nkind = \"postgres\"\npassword = [\"hunter2\"]",
        "[source.db]\nkind = \"postgres\"\npassword = { value = \"hunter2\" }",
        "[source.db]\nkind = \"postgres\"\npassword = hunter2",
        "[source.db]\nkind = \"postgres\"\npassword = \"a\" hunter2",
        "[source.db]\nkind = \"postgres\"\npassword = \"\\hunter2\"",
        "[source.db]\nkind = \"postgres\"\npassword = 0xhunter2",
        "[source.db]\nkind = \"mysql\"\npassword = \"hunter2\"",
        "[source.db]\nkind = \"lightsail\"\npassword = \"hunter2\"",
        "[notify.ops]\nkind = \"slack\"\ntoken = \"hunter2\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://key:hunter2@h\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://hunter2@h\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"AKID:hunter2@minio:9000\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://h/?secret=hunter2\"",
        "[source.o]\nkind = \"bucket\"\nbucket = \"b\"\nendpoint = \"https://h/?secret=hunter2\"",
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { age = [\"hunter2\"] }",
    ] {
        let error = parse(&format!("version = 1\n{fragment}\n")).unwrap_err();
        let all = format!("{error:?}").to_lowercase();
        assert!(!all.contains("hunter2"), "{fragment}: {all}");
    }
}

/// Every value of a whole configuration, replaced by values of every type: either it loads or it is
/// refused with its place. That types refuse what the schema let pass would be told without one.
#[test]
fn what_the_schema_lets_pass_the_types_accept() {
    let whole: toml::Table = WHOLE.parse().unwrap();
    let replacements: [toml::Value; 9] = [
        toml::Value::String("text".into()),
        toml::Value::String(String::new()),
        toml::Value::Integer(1),
        toml::Value::Integer(i64::MAX),
        toml::Value::Integer(-1),
        toml::Value::Float(1.5),
        toml::Value::Boolean(true),
        toml::Value::Array(vec![toml::Value::Array(vec![])]),
        toml::Value::Table(toml::Table::new()),
    ];
    let mut tried = 0;
    let mut paths = Vec::new();
    collect(
        &toml::Value::Table(whole.clone()),
        &mut Vec::new(),
        &mut paths,
    );
    for path in &paths {
        for replacement in &replacements {
            let mut changed = toml::Value::Table(whole.clone());
            *at(&mut changed, path) = replacement.clone();
            let text = toml::to_string(&changed).unwrap();
            tried += 1;
            if let Err(error) = parse(&text) {
                assert!(
                    !error.message.contains("the value at byte"),
                    "{path:?} = {replacement}: {error:?}"
                );
            }
        }
    }
    assert!(tried > 900, "{tried}");
}

fn collect(value: &toml::Value, here: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    if !here.is_empty() {
        all.push(here.clone());
    }
    let inner: Vec<(String, &toml::Value)> = match value {
        toml::Value::Table(table) => table.iter().map(|(k, v)| (k.clone(), v)).collect(),
        toml::Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in inner {
        here.push(key);
        collect(value, here, all);
        here.pop();
    }
}

fn at<'a>(value: &'a mut toml::Value, path: &[String]) -> &'a mut toml::Value {
    path.iter().fold(value, |value, key| match value {
        toml::Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        table => &mut table[key.as_str()],
    })
}

/// The example of the documentation names things this version does not have: each is called that,
/// and nothing is called unknown.
#[test]
fn what_comes_later_is_not_called_unknown() {
    let text = r#"
version = 1
[app]
name = "crm"
[source.db]
kind = "postgres"
url = "env:DATABASE_URL"
[source.machine]
kind = "lightsail"
[store.disk]
kind = "local"
path = "/var/backups/lifeboat"
layout = "repository"
password = "file:/etc/lifeboat/repository.key"
[store.offsite]
kind = "azure"
[restore]
checks = [{ http = "https://tickets.example.org/", status = 200 }]
[notify.ops]
kind = "slack"
"#;
    let error = parse(text).unwrap_err();
    let cause = error.cause.unwrap();
    let told: Vec<_> = std::iter::once(error.message.as_str())
        .chain(cause.lines())
        .collect();
    assert_eq!(told.len(), 5, "{told:#?}");
    for line in told {
        assert!(line.contains("not available in this version"), "{line}");
    }
}

#[test]
fn the_schema_closes_every_table() {
    let schema = schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let mut tables = 0;
    closed(&schema, &mut tables);
    assert!(tables >= 14, "{tables}");
    let kinds = schema["$defs"]["SourceConfig"]["oneOf"].as_array().unwrap();
    let names: Vec<_> = kinds
        .iter()
        .map(|kind| kind["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "files", "sqlite", "postgres", "mariadb", "mysql", "bucket", "command"
        ]
    );
    assert_eq!(kinds[0]["properties"]["exclude"]["type"], "array");
    assert_eq!(kinds[0]["properties"]["sensitive"]["type"], "boolean");
    assert_eq!(
        schema["$defs"]["PlanConfig"]["properties"]["schedule"]["description"],
        "Cron, five fields, UTC."
    );
    let text = schema.to_string();
    assert!(!text.contains("null"), "{text}");
}

/// Every table with properties refuses others, and every reference in the schema leads somewhere.
fn closed(schema: &serde_json::Value, tables: &mut usize) {
    let Some(object) = schema.as_object() else {
        return;
    };
    if object
        .get("properties")
        .is_some_and(|p| p.get("type").is_none())
    {
        assert_eq!(
            object.get("additionalProperties"),
            Some(&false.into()),
            "{object:?}"
        );
        *tables += 1;
    }
    for value in object.values() {
        closed(value, tables);
        value
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|item| closed(item, tables));
    }
}

#[test]
fn the_file_is_looked_for_where_the_manual_says() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("lifeboat.toml");
    let missing = directory.path().join("nowhere.toml");
    let places = [here.as_path(), Path::new("/nowhere/lifeboat.toml")];
    let error = load::find(None, None, &places).unwrap_err();
    assert_eq!(error.message, "there is no configuration");
    assert_eq!(
        error.cause.unwrap(),
        format!(
            "neither {} nor /nowhere/lifeboat.toml is there, and $LIFEBOAT_CONFIG is not set",
            here.display()
        )
    );
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&here)
        .unwrap();
    assert_eq!(load::find(None, None, &places).unwrap(), here);
    // What is named wins, there or not.
    assert_eq!(load::find(None, Some(&missing), &places).unwrap(), missing);
    assert_eq!(
        load::find(Some(&here), Some(&missing), &places).unwrap(),
        here
    );
    let error = Config::load(Some(&missing)).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert_eq!(
        error.message,
        format!("the configuration {} cannot be read", missing.display())
    );
    assert!(error.cause.unwrap().contains("No such file"));
}
