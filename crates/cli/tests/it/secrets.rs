//! No secret leaves the process: markers stand wherever a secret can be, every verb runs and fails
//! with them, and then every byte that was printed, stored, noted or given to a child as an
//! argument is searched for them.
//!
//! It does not look into memory, nor at the environment of children, which is where secrets go.

use crate::support::{App, Output, age_key, listing, run};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::s3::S3sServer;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// A password that has to be percent-encoded in a URL.
const IN_URL: &str = "mark-url/pass @1";
const IN_URL_ENCODED: &str = "mark-url%2Fpass%20%401";
const IN_PARTS: &str = "mark-parts-password";
const IN_COMMAND: &str = "mark-command-env";
const FROM_COMMAND: &str = "mark-from-command";
const PASSPHRASE: &str = "mark kit passphrase";

/// An application with a secret in every place that can have one.
struct Planted {
    app: App,
    markers: Vec<String>,
    said: String,
    database: PostgresServer,
    bucket: S3sServer,
}

fn configuration(endpoint: &str, recipient: &str, port: u16) -> String {
    format!(
        r#"version = 1

[app]
name = "crm"
environment = "test"
state = "{{root}}/state"
signing_key = "file:{{root}}/secret/signing.key"

[source.url]
kind = "postgres"
url = "env:DATABASE_URL"

[source.parts]
kind = "postgres"
host = "127.0.0.1"
port = {port}
user = "parts"
password = "env:PARTS_PASSWORD"
database = "parts"

[source.vault]
kind = "command"
command = ["sh", "-c", "echo it says $TOKEN and $OTHER >&2; echo exported"]
env = {{ TOKEN = "file:{{root}}/secret/token", OTHER = "cmd:cat {{root}}/secret/other" }}

[source.files]
kind = "files"
paths = ["{{root}}/data"]

[store.clear]
kind = "local"
path = "{{root}}/store"
compress = "none"

[store.bucket]
kind = "s3"
bucket = "crm-backups"
endpoint = "{endpoint}"
access_key = "env:S3_ACCESS"
secret_key = "cmd:cat {{root}}/secret/s3"
encrypt = {{ age = ["{recipient}"] }}
decrypt = {{ age = "file:{{root}}/secret/age.key" }}

[plan.main]
sources = ["url", "parts", "vault", "files"]
stores = ["clear", "bucket"]
before = [["sh", "-c", "echo $DATABASE_URL $PARTS_PASSWORD $S3_ACCESS >&2"]]
finally = [["sh", "-c", "echo $DATABASE_URL $PARTS_PASSWORD $S3_ACCESS >&2"]]

[drill.main]
plans = ["main"]
checks = [
  {{ sql = "url", query = "select count(*) from t", expect = "same" }},
  {{ live = "parts" }},
  {{ command = ["sh", "-c", "env >&2; env"] }},
]
"#
    )
}

impl Planted {
    fn new() -> Self {
        let (database, bucket) = (PostgresServer::start(), S3sServer::start());
        bucket.create_bucket("crm-backups");
        database.create_database("url");
        database.create_database("parts");
        for name in ["url", "parts"] {
            let password = if name == "url" { IN_URL } else { IN_PARTS };
            database.psql(
                "postgres",
                &format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'"),
            );
            database.psql(
                name,
                "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 9)",
            );
        }
        let (recipient, identity) = age_key();
        let mut app = App::with("");
        app.configure(&configuration(
            &bucket.endpoint(),
            &recipient,
            database.port(),
        ));
        app.write("secret/token", IN_COMMAND.as_bytes());
        app.write("secret/other", FROM_COMMAND.as_bytes());
        app.write("secret/s3", bucket.secret_key.as_bytes());
        app.write("secret/age.key", identity.as_bytes());
        let key = app.path("secret/signing.key");
        let mut keygen = Command::new("ssh-keygen");
        let made = run(keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key));
        assert_eq!(made.code, 0, "{made}");
        app.env(
            "DATABASE_URL",
            database.url_as("url", IN_URL_ENCODED, "url"),
        );
        app.env("PARTS_PASSWORD", IN_PARTS);
        app.env("S3_ACCESS", &bucket.access_key);
        let mut markers: Vec<String> = [
            IN_URL,
            IN_URL_ENCODED,
            IN_PARTS,
            IN_COMMAND,
            FROM_COMMAND,
            PASSPHRASE,
        ]
        .map(str::to_owned)
        .to_vec();
        markers.push(bucket.secret_key.clone());
        markers.push(
            identity
                .lines()
                .find(|l| l.starts_with("AGE-SECRET"))
                .unwrap()
                .to_owned(),
        );
        // The private half stands in the later lines of the key file.
        let signing = std::fs::read_to_string(&key).unwrap();
        let private = signing
            .lines()
            .rev()
            .find(|l| !l.starts_with('-') && l.len() > 20)
            .unwrap();
        markers.push(private.to_owned());
        Planted {
            app,
            markers,
            said: String::new(),
            database,
            bucket,
        }
    }

    /// Runs a verb with every process it starts noted, and keeps what it said.
    fn run(&mut self, exit: i32, args: &[&str]) -> Output {
        let known = self.app.command(args);
        let mut traced = Command::new("strace");
        traced
            .args([
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-e",
                "trace=execve",
                "-s",
                "65536",
                "-A",
                "-o",
            ])
            .arg(self.app.path("arguments"))
            .arg(known.get_program())
            .args(args)
            .env_clear()
            .envs(known.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .current_dir(self.app.root());
        let output = run(&mut traced);
        assert_eq!(output.code, exit, "{args:?} exits with\n{output}");
        writeln!(self.said, "=== {args:?}\n{output}").unwrap();
        output
    }

    /// Where markers are found in what was printed, noted, stored, or given as an argument.
    fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut search = |place: &str, bytes: &[u8]| {
            for marker in &self.markers {
                let at = bytes
                    .windows(marker.len())
                    .position(|w| w == marker.as_bytes());
                if let Some(at) = at {
                    let around =
                        &bytes[at.saturating_sub(200)..(at + marker.len() + 40).min(bytes.len())];
                    found.push(format!(
                        "{marker:?} in {place}: …{}…",
                        String::from_utf8_lossy(around)
                    ));
                }
            }
        };
        search("what was printed", self.said.as_bytes());
        let (app, bucket) = (self.app.root(), self.bucket.data());
        for (name, root) in [("", app), ("bucket ", Path::new(&bucket))] {
            for file in listing(root) {
                // The secrets' own places; everything else is what was written.
                if name.is_empty() && file.starts_with("secret/") {
                    continue;
                }
                search(
                    &format!("{name}{file}"),
                    &std::fs::read(root.join(&file)).unwrap(),
                );
            }
        }
        found
    }

    fn keeps_all(&self) {
        let arguments = std::fs::read_to_string(self.app.path("arguments")).unwrap();
        for program in ["pg_dump", "psql", "sh"] {
            let seen = arguments
                .lines()
                .any(|l| l.contains("execve(") && l.contains(program));
            assert!(
                seen,
                "no process of {program} was noted: the search proves nothing"
            );
        }
        let leaks = self.leaks();
        assert!(
            leaks.is_empty(),
            "{} leaks:\n{}",
            leaks.len(),
            leaks.join("\n")
        );
    }
}

#[test]
fn when_all_goes_well() {
    let mut it = Planted::new();
    it.run(0, &["config", "check"]);
    it.run(0, &["config", "show"]);
    it.run(0, &["--json", "config", "show"]);
    it.run(0, &["-vv", "doctor"]);
    it.run(0, &["backup", "--dry-run"]);
    it.run(0, &["-vv", "backup", "--reason", "first"]);
    it.run(0, &["--json", "-vv", "backup"]);
    for args in [
        &["-vv", "points"][..],
        &["--json", "points", "--rescan"],
        &["-vv", "show", "latest"],
        &["--json", "show", "latest", "--store", "bucket"],
        &["-vv", "verify", "--all"],
        &["-vv", "drill"],
        &["--json", "drill", "--store", "bucket"],
        &["-vv", "evidence", "list"],
        &["--json", "evidence", "list"],
        &["-vv", "evidence", "verify"],
        &["-vv", "restore", "latest", "--to", "out"],
        &["-vv", "copy", "--to", "bucket"],
    ] {
        it.run(0, args);
    }
    // Only a run that is told of the passphrase knows that it is one.
    it.app.env("KIT", PASSPHRASE);
    let export = [
        "-vv",
        "kit",
        "export",
        "-o",
        "kit.age",
        "--passphrase",
        "env:KIT",
    ];
    it.run(0, &export);
    it.run(
        0,
        &["-vv", "kit", "test", "kit.age", "--passphrase", "env:KIT"],
    );
    it.database.create_database("elsewhere");
    it.app.env(
        "TARGET",
        it.database.url_as("url", IN_URL_ENCODED, "elsewhere"),
    );
    it.run(
        0,
        &[
            "-vv",
            "restore",
            "latest",
            "--source",
            "url",
            "--to",
            "env:TARGET",
        ],
    );
    it.run(7, &["-vv", "restore", "latest"]);
    it.run(
        0,
        &[
            "-vv",
            "restore",
            "latest",
            "--live",
            "--confirm",
            "crm/test",
            "--reason",
            "try",
        ],
    );
    it.keeps_all();
}

#[test]
fn when_everything_fails() {
    let mut it = Planted::new();
    it.run(0, &["-vv", "backup"]);
    // The command prints its secret and fails.
    it.app.edit("echo exported", "exit 3");
    it.run(3, &["-vv", "backup"]);
    it.run(3, &["--json", "backup"]);
    it.app.edit("exit 3", "echo exported");
    // What quiesces the application prints what it has, and fails.
    it.app.edit(
        "before = [[\"sh\", \"-c\", \"echo",
        "before = [[\"sh\", \"-c\", \"trap 'exit 9' 0; echo",
    );
    it.run(1, &["-vv", "backup"]);
    it.run(1, &["--json", "backup"]);
    it.app.edit("trap 'exit 9' 0; ", "");
    // So does a check.
    it.app.edit("env >&2; env", "env >&2; env; exit 5");
    it.run(4, &["-vv", "drill"]);
    it.run(4, &["--json", "drill"]);
    // Passwords that the server refuses; it may say them back.
    it.database.psql(
        "postgres",
        "ALTER ROLE url PASSWORD 'other'; ALTER ROLE parts PASSWORD 'other'",
    );
    it.run(3, &["-vv", "backup"]);
    it.run(1, &["-vv", "doctor"]);
    // URLs that make no sense.
    for url in [
        format!("postgres://url:{IN_URL}@127.0.0.1:x/url"),
        format!("postgres://url:{IN_URL_ENCODED}@127.0.0.1:99999/url"),
        format!("mysql://url:{IN_URL_ENCODED}@127.0.0.1/url"),
        format!("postgres://url:{IN_URL_ENCODED}@127.0.0.1/url?sslmode=nonsense"),
        format!("postgres://url:{IN_URL_ENCODED}@127.0.0.1/url?no_such_option=1"),
        IN_URL.to_owned(),
    ] {
        it.app.env("DATABASE_URL", &url);
        it.run(3, &["-vv", "backup"]);
        it.run(1, &["-vv", "doctor"]);
        it.run(
            2,
            &["-vv", "restore", "latest", "--to", "env:PARTS_PASSWORD"],
        );
        it.app.env("TARGET", &url);
        let failed = it.app.run(&[
            "-vv",
            "restore",
            "latest",
            "--source",
            "url",
            "--to",
            "env:TARGET",
        ]);
        assert_ne!(failed.code, 0, "{failed}");
        writeln!(it.said, "{failed}").unwrap();
    }
    // Keys that are no keys, and stores that refuse ours.
    it.app.write(
        "secret/age.key",
        format!("# {IN_COMMAND}\nAGE-SECRET-KEY-{FROM_COMMAND}\n").as_bytes(),
    );
    it.run(1, &["-vv", "doctor"]);
    let failed = it.app.run(&[
        "-vv", "restore", "latest", "--store", "bucket", "--to", "out2",
    ]);
    assert_ne!(failed.code, 0, "{failed}");
    writeln!(it.said, "{failed}").unwrap();
    it.app.write("secret/s3", IN_COMMAND.as_bytes());
    it.run(1, &["-vv", "doctor"]);
    it.run(3, &["-vv", "points"]);
    it.app.write("secret/s3", b"");
    it.run(1, &["-vv", "doctor"]);
    it.run(
        2,
        &[
            "-vv",
            "kit",
            "test",
            "kit.age",
            "--passphrase",
            PASSPHRASE_TYPED,
        ],
    );
    it.app.write(
        "secret/signing.key",
        format!("-----BEGIN {IN_COMMAND}\n").as_bytes(),
    );
    let failed = it.app.run(&["-vv", "points"]);
    assert_ne!(failed.code, 0, "{failed}");
    writeln!(it.said, "{failed}").unwrap();
    it.keeps_all();
}

/// Someone types the passphrase where a reference belongs: refused without saying it back. It is
/// no marker, since it stands in this process's own arguments.
const PASSPHRASE_TYPED: &str = "typed by mistake";
