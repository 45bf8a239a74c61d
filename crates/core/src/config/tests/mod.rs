use super::*;
use crate::compress::Compress;
use crate::error::{Code, Error};
use crate::secret::Reference;
use std::path::Path;

mod problems;
mod schema;
mod secrets;

/// A configuration that uses everything in this version.
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
min_bytes = 10

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
object_lock = { mode = "compliance", for = "35d" }
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

const APP: &str = "version = 1\n[app]\nname = \"a\"\n";

fn parse(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/etc/lifeboat/lifeboat.toml"))
}

/// Position (line and column), message and hint of the only problem in a configuration.
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
    assert_eq!(
        s3.server.secret_key,
        Some(Reference::Env("BACKUP_S3_SECRET_KEY".into()))
    );
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

/// Such a file is written by some editors on other systems.
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
fn the_printed_configuration_loads_as_the_same() {
    let config = parse(WHOLE).unwrap();
    let shown = config.masked_toml();
    let again = parse(&shown).unwrap_or_else(|error| panic!("{error:?}\n{shown}"));
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        serde_json::to_value(&config).unwrap()
    );
    assert_eq!(again.masked_toml(), shown);
    // Defaults are added, references stay references.
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
    // A name that is too long cannot be looked for either, whoever asks.
    let hidden = directory.path().join("x".repeat(300));
    let error = load::find(None, None, &[&missing, &hidden]).unwrap_err();
    assert!(error.message.contains("cannot be looked for"), "{error:?}");
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&here)
        .unwrap();
    assert_eq!(load::find(None, None, &places).unwrap(), here);
    // A named file is used, whether it exists or not.
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

#[test]
fn each_file_of_a_directory_is_an_application_with_its_own_state() {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = directory.path().join(file);
        let mut bytes = text.as_bytes();
        crate::place::write_file(&mut bytes, &path, 0o600).unwrap();
        path
    };
    let of = |app: &str| format!("version = 1\n[app]\nname = \"{app}\"\nstate = \"/srv/state\"\n");
    let none = Config::load_directory(directory.path()).unwrap_err();
    assert!(none.message.ends_with("ends in .toml"), "{none}");
    write("a.toml", &of("crm"));
    write("b.toml", "version = 1\nthis is no TOML");
    write("c.toml", &of("crm"));
    write("d.toml", &of("bot"));
    write(".hidden.toml", &of("hidden"));
    write("e.toml.bak", &of("old"));
    let loaded = Config::load_directory(directory.path()).unwrap();
    let files: Vec<_> = loaded
        .iter()
        .map(|(path, _)| path.file_name().unwrap())
        .collect();
    assert_eq!(files, ["a.toml", "b.toml", "c.toml", "d.toml"]);
    let app = &loaded[0].1.as_ref().unwrap().app;
    assert_eq!(app.state, Path::new("/srv/state/apps/crm-production"));
    assert_eq!(app.host_state(), Path::new("/srv/state"));
    let refused = |place: usize| loaded[place].1.as_ref().unwrap_err().message.clone();
    assert!(refused(1).contains("b.toml:2:"), "{}", refused(1));
    assert!(
        refused(2).contains("crm/production is also the application of"),
        "{}",
        refused(2)
    );
    assert!(loaded[3].1.is_ok());
    // Alone, a file has the state that it names, until a runner of several made one below.
    let alone = Config::load(Some(&directory.path().join("a.toml"))).unwrap();
    assert_eq!(alone.app.state, Path::new("/srv/state"));
    assert_eq!(alone.app.shared_state, None);
    let state = directory.path().join("state");
    let text = of("crm").replace("/srv/state", state.to_str().unwrap());
    let path = write("f.toml", &text);
    std::fs::create_dir_all(state.join("apps/crm-production")).unwrap();
    let found = Config::load(Some(&path)).unwrap();
    assert_eq!(found.app.state, state.join("apps/crm-production"));
    assert_eq!(found.app.host_state(), state);
}
