//! A restore on a machine that has nothing but the address of a store, its credentials and the
//! decryption key: an empty home, no configuration, no state, and none left afterwards.

use crate::restore_md::follow;
use crate::roundtrip::{SOURCES, application, application_on, same_tree, sh};
use crate::s3::{Bucket, moto};
use crate::support::{App, HEAD, LIFEBOAT, Output, listing, run};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::s3::S3sServer;
use lifeboat_testkit::ssh::SshServer;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine of its own: nothing is below its home, its temporary or its working directory.
pub struct Machine {
    root: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Machine {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "here"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        Machine {
            root,
            env: Vec::new(),
        }
    }

    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn command(&self, program: &str) -> Command {
        let tools = Path::new(LIFEBOAT).parent().unwrap().display().to_string();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                format!("{tools}:{}", std::env::var("PATH").unwrap()),
            )
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .envs(self.env.iter().cloned())
            .current_dir(self.path("here"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program, which must exit with `code` and leave nothing behind.
    pub fn exits(&self, code: i32, args: &[&str]) -> Output {
        let output = run(self.command(LIFEBOAT).args(args));
        assert_eq!(output.code, code, "{args:?} exits with\n{output}");
        self.is_clean();
        output
    }

    fn is_clean(&self) {
        for name in ["home", "tmp"] {
            let left: Vec<_> = std::fs::read_dir(self.path(name)).unwrap().collect();
            assert!(left.is_empty(), "{name}: {left:?}");
        }
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        self.exits(0, &all).json()
    }

    /// Runs a line of a document, as a shell does.
    fn line(&self, line: &str) -> Output {
        let output = run(self.command("sh").args(["-euc", line]));
        assert_eq!(output.code, 0, "{line}\n{output}");
        self.is_clean();
        output
    }
}

/// The one point of the application, and who signed it.
pub fn point_and_signer(app: &App) -> (String, String) {
    let points = app.points();
    assert_eq!(points.len(), 1);
    let signer = app.json(&["show", &points[0]])["signer"].clone();
    (points[0].clone(), signer.as_str().unwrap().to_owned())
}

/// What came back below `target` is what was there.
pub fn is_back(app: &App, target: &Path) {
    let data = app.path("data");
    let restored = target.join("files");
    same_tree(&data, &restored.join(data.strip_prefix("/").unwrap()));
    let vault = std::fs::read(target.join("vault/vault.txt")).unwrap();
    assert_eq!(vault, b"secret one\n");
    let dump = |path: &Path| {
        sh(
            Path::new("/"),
            &format!("sqlite3 '{}' .dump", path.display()),
        )
    };
    assert_eq!(
        dump(&target.join("db/app.db")),
        dump(&app.path("live/app.db"))
    );
}

/// Everything a machine does with a store that another one filled; `access` is how it gets in, and
/// what decrypts what is there.
pub fn whole_round(machine: &Machine, app: &App, access: &[&str]) {
    let (point, signer) = point_and_signer(app);
    let with = |verb: &[&'static str], more: &[&str]| -> Vec<String> {
        let all = verb.iter().chain(access).chain(more);
        all.map(ToString::to_string).collect()
    };
    let exits = |code: i32, args: Vec<String>| {
        machine.exits(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let trust = ["--trust-signer", signer.as_str()];

    // Looking needs no trust, and says that there is none.
    let listed = exits(0, with(&["points"], &[]));
    listed.says(&[&point, "untrusted", &signer]);
    exits(0, with(&["points"], &trust)).never_says(&["untrusted"]);

    // Anything that uses what is there does, and is told whose signature it would believe.
    for verb in [
        &["show", "latest"][..],
        &["verify"],
        &["restore", "latest", "--to", "out"],
        &["evidence", "verify"],
    ] {
        let refused = exits(7, with(verb, &[]));
        refused.says(&[
            &format!("is signed by {signer}"),
            &format!("--trust-signer {signer}"),
        ]);
        // The hint is the whole command.
        refused.says(&[&format!(
            "{} {}",
            verb[0],
            verb.get(1).unwrap_or(&access[0])
        )]);
    }
    assert!(!machine.path("here/out").exists());
    let stranger = format!("SHA256:{}", "A".repeat(43));
    exits(4, with(&["show", "latest"], &["--trust-signer", &stranger]))
        .says(&["cannot be trusted", &signer]);

    exits(0, with(&["show", "latest"], &trust)).says(&[&point, "crm/test"]);
    exits(0, with(&["verify"], &trust)).says(&["intact"]);
    exits(0, with(&["evidence", "verify"], &trust));
    exits(2, with(&["restore", "latest"], &trust)).says(&["--to"]);
    let restored = exits(0, with(&["restore", "latest", "--to", "out"], &trust));
    restored.says(&["verified", "no evidence is kept"]);
    is_back(app, &machine.path("here/out"));
    std::fs::remove_dir_all(machine.path("here/out")).unwrap();
}

#[test]
fn from_a_directory() {
    let app = application();
    app.backup();
    let before = (app.listing("store"), app.listing("vault"));
    let machine = Machine::new();
    let store = app.path("store").display().to_string();
    whole_round(&machine, &app, &["--store-url", &store]);
    let url = format!("file://{}", app.path("vault").display());
    let identity = format!("file:{}", app.path("identity.txt").display());
    whole_round(
        &machine,
        &app,
        &["--store-url", &url, "--identity", &identity],
    );

    // Whose signatures are believed may be told by a file, too.
    let signers = app.path("state/allowed_signers").display().to_string();
    let access = [
        "--store-url",
        url.as_str(),
        "--trusted-signers",
        signers.as_str(),
    ];
    let all = |more: &[&'static str]| [&access[..], more].concat();
    machine.exits(0, &[&["verify"][..], &all(&[])].concat());
    // Without the key, or with another one, nothing is restored.
    let restore = ["restore", "latest", "--to", "out"];
    machine
        .exits(1, &[&restore[..], &all(&[])].concat())
        .says(&["--identity"]);
    let (other, _) = crate::roundtrip::age_key();
    let wrong = format!(
        "file:{}",
        app.write("wrong.txt", other.as_bytes()).display()
    );
    let error = machine.exits(
        1,
        &[&restore[..], &all(&[]), &["--identity", wrong.as_str()]].concat(),
    );
    error.says(&["decrypt"]);
    machine
        .exits(
            2,
            &[&restore[..], &all(&["--identity", "AGE-SECRET-KEY-1"])].concat(),
        )
        .says(&["--identity is no reference"])
        .never_says(&["AGE-SECRET-KEY-1QQ"]);
    // Nothing was written to either.
    assert_eq!((app.listing("store"), app.listing("vault")), before);

    // What was changed there is not believed.
    let name = listing(&app.path("store"))
        .into_iter()
        .find(|n| {
            n.starts_with("lifeboat/points/") && n.ends_with(".json") && !n.contains("details")
        })
        .unwrap();
    let manifest = app.path("store").join(name);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"main\"", "\"other\"")).unwrap();
    machine
        .exits(4, &["show", "latest", "--store-url", &store])
        .says(&["cannot be trusted"]);
}

#[test]
fn what_is_not_a_store_is_left_as_it_is() {
    let machine = Machine::new();
    machine
        .exits(1, &["points", "--store-url", "nowhere"])
        .says(&["nowhere", "does not exist"]);
    assert!(!machine.path("here/nowhere").exists());
    std::fs::create_dir(machine.path("here/empty")).unwrap();
    machine
        .exits(2, &["points", "--store-url", "empty"])
        .says(&["there is no restore point in"]);
    machine
        .exits(
            2,
            &[
                "restore",
                "latest",
                "--store-url",
                "ftp://x/y",
                "--to",
                "out",
            ],
        )
        .says(&["is no kind of store", "sftp://"]);
    for wrong in [
        &["restore", "latest", "--store-url", "empty", "--live"][..],
        &["points", "--identity", "file:x"],
        &["drill", "--store-url", "empty"],
    ] {
        machine.exits(2, wrong);
    }
    // A configuration that is there all the same is not read.
    std::fs::write(machine.path("here/lifeboat.toml"), "nonsense").unwrap();
    machine
        .exits(2, &["points", "--store-url", "empty"])
        .never_says(&["nonsense"]);
}

#[test]
fn from_a_bucket() {
    let server = moto();
    let bucket = Bucket::of_moto(&server, "backups");
    let app = bucket.application("prefix = \"some/where\"\n");
    app.backup();
    let mut machine = Machine::new();
    let url = format!(
        "s3://backups/some/where?region=us-east-1&endpoint={}",
        server.endpoint()
    );
    machine
        .exits(1, &["points", "--store-url", &url])
        .says(&["AWS_ACCESS_KEY_ID", "--access-key"]);
    machine.env("AWS_ACCESS_KEY_ID", &server.access_key);
    machine.env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    whole_round(&machine, &app, &["--store-url", &url]);
    // The endpoint may also be where other tools expect it.
    machine.env("AWS_ENDPOINT_URL", &server.endpoint());
    machine.exits(0, &["points", "--store-url", "s3://backups/some/where"]);
    machine
        .exits(2, &["points", "--store-url", "s3://backups/else/where"])
        .says(&["there is no restore point in"]);
    machine
        .exits(1, &["points", "--store-url", "s3://other"])
        .says(&["does not exist"]);
}

#[test]
fn with_credentials_that_a_bucket_refuses() {
    let server = S3sServer::start();
    server.create_bucket("backups");
    let mut machine = Machine::new();
    machine.env("ACCESS", &server.access_key);
    machine.env("SECRET", "not-the-secret");
    let url = format!("s3://backups?endpoint={}", server.endpoint());
    let access = ["--access-key", "env:ACCESS", "--secret-key", "env:SECRET"];
    machine
        .exits(
            1,
            &[&["points", "--store-url", url.as_str()][..], &access].concat(),
        )
        .says(&["refused the credentials", "--secret-key"])
        .never_says(&["not-the-secret"]);
}

/// The store of an application on this server.
fn over_ssh(server: &SshServer) -> App {
    let app = App::with("");
    let (secret, public) = crate::roundtrip::age_key();
    app.write("identity.txt", secret.as_bytes());
    let config = format!(
        "{HEAD}{SOURCES}\n[store.nas]\nkind = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\npath = \"{}\"\nssh = {{ key = \"file:{}\", known_hosts = \"{}\" }}\nencrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{{root}}/identity.txt\" }}\n\n[plan.main]\nsources = [\"files\", \"db\", \"vault\"]\nstores = [\"nas\"]\n",
        server.port(),
        server.user(),
        server.sftp_root().join("b").display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
    );
    app.configure(&config);
    app.backup();
    app
}

#[test]
fn from_another_host_and_by_what_the_kit_says() {
    let server = SshServer::start();
    let app = over_ssh(&server);
    let machine = Machine::new();
    let url = format!(
        "sftp://{}@127.0.0.1:{}{}?key=file:{}&known_hosts={}",
        server.user(),
        server.port(),
        server.sftp_root().join("b").display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
    );
    let identity = format!("file:{}", app.path("identity.txt").display());
    whole_round(
        &machine,
        &app,
        &["--store-url", &url, "--identity", &identity],
    );
    // A directory that is not there is not made.
    let typo = url.replace("/b?", "/typo?");
    machine
        .exits(1, &["points", "--store-url", &typo])
        .says(&["does not exist"]);
    assert!(!server.sftp_root().join("typo").exists());

    // The kit has the command, true as it stands.
    app.ok(&["kit", "export", "--output", "kit.age", "--recipient", &{
        let (secret, public) = crate::roundtrip::age_key();
        app.write("kit.key", secret.as_bytes());
        public
    }]);
    let kit = app.path("kit.age").display().to_string();
    let key = app.path("kit.key").display().to_string();
    machine.line(&format!("chmod 700 .; age -d -i '{key}' '{kit}' | tar -x"));
    let readme = std::fs::read_to_string(machine.path("here/README.md")).unwrap();
    let command = readme.lines().find(|l| l.contains("--store-url")).unwrap();
    machine.line(&command.replace("DIRECTORY", "out"));
    is_back(&app, &machine.path("here/out"));
}

#[test]
fn by_what_the_store_itself_says() {
    let app = application();
    app.backup();
    let machine = Machine::new();
    let text = std::fs::read_to_string(app.path("vault/lifeboat/restore/crm/test.md")).unwrap();
    let mut lines = text.lines().filter(|l| l.starts_with("lifeboat restore"));
    let identity = app.path("identity.txt").display().to_string();
    let command = lines.next().unwrap();
    assert_eq!(lines.next(), None);
    let command = command.replace("file:PATH", &format!("file:{identity}"));
    machine.line(&command.replace("DIRECTORY", "out"));
    is_back(&app, &machine.path("here/out"));
    // And without Lifeboat, in a home that is as empty.
    let output = follow(&app, "bare", &text, &[("IDENTITY", &identity)]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn several_applications_in_one_store_are_told_apart() {
    let one = application();
    one.backup();
    let other = application();
    other.edit("name = \"crm\"", "name = \"shop\"");
    let theirs = other.path("store").display().to_string();
    other.edit(&theirs, &one.path("store").display().to_string());
    other.write("data/other.txt", b"of the shop\n");
    let report = other.json(&["backup"]);
    let point = report["point"].as_str().unwrap();
    let machine = Machine::new();
    let store = one.path("store").display().to_string();
    let url = ["--store-url", store.as_str()];
    let with = |args: &[&'static str]| [args, &url[..]].concat();
    machine
        .exits(0, &with(&["points"]))
        .says(&["APPLICATION", "crm/test", "shop/test"]);
    let listed = machine.json(&with(&["points"]));
    assert_eq!(listed["points"].as_array().unwrap().len(), 2);
    let only = machine.json(&[&with(&["points"])[..], &["--app", "shop"]].concat());
    assert_eq!(only["points"][0]["point"], point);
    machine.exits(2, &with(&["show", "latest"])).says(&[
        "several applications",
        "crm/test, shop/test",
        "--app",
    ]);
    machine
        .exits(2, &[&with(&["points"])[..], &["--app", "bot"]].concat())
        .says(&["holds no restore point of bot", "crm/test"]);
    let signer = only["points"][0]["signer"].as_str().unwrap();
    let trust = ["--trust-signer", signer];
    let by_id = [&["restore", point, "--to", "by-id"][..], &url, &trust].concat();
    machine.exits(0, &by_id);
    let by_app = ["restore", "latest", "--to", "by-app", "--app", "shop/test"];
    machine.exits(0, &[&by_app[..], &url, &trust].concat());
    for target in ["by-id", "by-app"] {
        is_back(&other, &machine.path("here").join(target));
    }
}

#[test]
fn a_database_goes_into_another_one() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE TABLE client (id int PRIMARY KEY, name text); INSERT INTO client SELECT i, 'c' || i FROM generate_series(1, 300) i");
    let app = application_on(&server, "crm");
    app.backup();
    let (_, signer) = point_and_signer(&app);
    server.create_database("cold");
    let mut machine = Machine::new();
    machine.env("TARGET", &server.url("cold"));
    let store = app.path("store").display().to_string();
    let restore = [
        "restore",
        "latest",
        "--source",
        "crm",
        "--to",
        "env:TARGET",
        "--store-url",
        &store,
        "--trust-signer",
        &signer,
    ];
    machine.exits(0, &restore).says(&["verified"]);
    let all = "SELECT sum(id), count(*), max(name) FROM client";
    assert_eq!(server.psql("cold", all), server.psql("crm", all));
}
