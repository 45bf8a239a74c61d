//! A store, a source or a file that fails takes nothing else with it, is named, and can be healed.

use crate::support::{App, as_nobody, give_to_nobody, in_namespace, listing, noise};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::privilege::{needs_mounts, needs_root};
use lifeboat_testkit::s3::S3sServer;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// The basic application with a second store of this configuration.
pub fn two_stores(second: &str) -> App {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"second\"]");
    app.configure_also(&format!("[store.second]\n{second}\n"));
    app
}

fn local_second() -> App {
    two_stores("kind = \"local\"\npath = \"{root}/second\"")
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect()
}

/// After a backup that reached only the first store: everything says so, and `copy` heals it.
pub fn is_partial(app: &App, report: &Value) -> String {
    let point = report["point"].as_str().unwrap().to_owned();
    assert_eq!(strings(&report["stores"]), ["disk"], "{report:#}");
    assert_eq!(strings(&report["missing_copies"]), ["second"], "{report:#}");
    let errors = strings(&report["errors"]);
    assert!(errors.iter().any(|e| e.contains("second")), "{report:#}");
    // What the first store received is whole.
    app.ok(&["verify", &point, "--store", "disk"]);
    let target = app.path("from-disk").display().to_string();
    app.ok(&["restore", &point, "--store", "disk", "--to", &target]);
    point
}

fn listed(app: &App, exit: i32, point: &str) -> Value {
    let all = app.json_exits(exit, &["points"]);
    let found = all["points"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["point"] == point);
    found.unwrap().clone()
}

pub fn heals(app: &App, point: &str) {
    let before = listed(app, 0, point);
    assert_eq!(strings(&before["missing_copies"]), ["second"], "{before:#}");
    app.ok(&["points"]).says(&["second"]);
    let verified = app.json_exits(4, &["verify", point]);
    assert_eq!(verified["outcome"], "missing", "{verified:#}");
    let objects = verified["objects"].as_array().unwrap();
    let missing: Vec<_> = objects
        .iter()
        .filter(|o| o["outcome"] == "missing")
        .collect();
    assert_eq!(missing.len(), 1, "{verified:#}");
    assert_eq!(missing[0]["store"], "second");
    app.exits(4, &["verify"]).says(&["second", "lifeboat copy"]);

    let copied = app.json(&["copy", "--to", "second"]);
    assert_eq!(copied["copied"][0]["point"], point, "{copied:#}");
    let after = listed(app, 0, point);
    assert_eq!(strings(&after["stores"]), ["disk", "second"], "{after:#}");
    assert_eq!(
        after["missing_copies"].as_array().unwrap().len(),
        0,
        "{after:#}"
    );
    app.ok(&["verify"]);
    app.ok(&["copy", "--to", "second"]).says(&["lacks nothing"]);
    let target = app.path("from-second").display().to_string();
    app.ok(&["restore", point, "--store", "second", "--to", &target]);
    same(&app.path("from-disk"), &app.path("from-second"));
    assert_eq!(
        app.json(&["drill", "--store", "second"])["outcome"],
        "verified"
    );
}

/// The same files with the same bytes in two directories.
fn same(one: &Path, two: &Path) {
    let files = listing(one);
    assert_eq!(files, listing(two));
    assert!(!files.is_empty());
    for file in files {
        let read = |root: &Path| {
            let path = root.join(&file);
            match std::fs::read_link(&path) {
                Ok(target) => target.display().to_string().into_bytes(),
                Err(_) => std::fs::read(path).unwrap(),
            }
        };
        assert_eq!(read(one), read(two), "{file}");
    }
}

#[test]
fn a_store_that_is_not_there_today() {
    let app = local_second();
    app.write("second", b"not a directory");
    let report = app.json_exits(3, &["backup"]);
    let point = is_partial(&app, &report);
    // Not being able to ask is not the same as knowing that nothing is there.
    app.exits(3, &["points"]).says(&["second"]);
    app.exits(1, &["verify"]).says(&["second", "unread"]);
    std::fs::remove_file(app.path("second")).unwrap();
    heals(&app, &point);
}

#[test]
fn a_store_that_takes_no_writes() {
    if needs_mounts() {
        return;
    }
    let app = local_second();
    std::fs::create_dir(app.path("second")).unwrap();
    let read_only = "mount --bind second second; mount -o remount,ro,bind second";
    let output = in_namespace(&app, read_only, &["--json", "backup"], "");
    assert_eq!(output.code, 3, "{output}");
    let report = output.json();
    let errors = strings(&report["errors"]).join("\n");
    assert!(
        errors.contains("store second") && errors.contains("read-only"),
        "{report:#}"
    );
    let point = is_partial(&app, &report);
    heals(&app, &point);
}

#[test]
fn a_store_that_fills_up_on_the_way() {
    if needs_mounts() {
        return;
    }
    let app = local_second();
    app.write("data/large.bin", &noise(3 << 20, 5));
    std::fs::create_dir(app.path("second")).unwrap();
    let small = "mount -t tmpfs -o size=1m none second";
    let output = in_namespace(
        &app,
        small,
        &["--json", "backup"],
        "find second -type f >&2",
    );
    assert_eq!(output.code, 3, "{output}");
    output
        .says(&["second is full"])
        .never_says(&["second/lifeboat/points"]);
    let point = is_partial(&app, &output.json());
    heals(&app, &point);
}

/// Forwards connections to a server, or takes them and never answers.
struct Stalling {
    address: SocketAddr,
    /// How many bytes still go to the server; then nothing moves any more. Negative: no bound.
    budget: Arc<AtomicI64>,
}

impl Stalling {
    fn start(target: SocketAddr, bytes: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let budget = Arc::new(AtomicI64::new(bytes));
        let shared = Arc::clone(&budget);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let budget = Arc::clone(&shared);
                std::thread::spawn(move || forward(client, target, &budget));
            }
        });
        Stalling { address, budget }
    }

    fn recover(&self) {
        self.budget.store(-1, Ordering::SeqCst);
    }
}

fn forward(mut client: TcpStream, target: SocketAddr, budget: &AtomicI64) {
    let mut server = TcpStream::connect(target).unwrap();
    let (mut down, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut down, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Write);
    });
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let left = budget.load(Ordering::SeqCst);
        if left >= 0 {
            let rest = left - i64::try_from(count).unwrap();
            if rest < 0 {
                // The connection stays open, and nothing comes back.
                std::thread::park();
            }
            budget.store(rest, Ordering::SeqCst);
        }
        if server.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Write);
}

fn stalls(bytes: i64) {
    let server = S3sServer::start();
    server.create_bucket("crm-backups");
    let proxy = Stalling::start(server.address(), bytes);
    let mut app = two_stores(&format!(
        "kind = \"s3\"\nbucket = \"crm-backups\"\nendpoint = \"http://{}\"\n\
         access_key = \"env:ACCESS\"\nsecret_key = \"env:SECRET\"\nstall_timeout = \"2s\"",
        proxy.address
    ));
    app.env("ACCESS", &server.access_key);
    app.env("SECRET", &server.secret_key);
    app.write("data/large.bin", &noise(6 << 20, 5));
    let begun = Instant::now();
    let report = app.json_exits(3, &["backup"]);
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(25),
        "a store that stalls held the run for {took:?}"
    );
    proxy.recover();
    let point = is_partial(&app, &report);
    heals(&app, &point);
}

#[test]
fn a_store_that_never_answers() {
    stalls(0);
}

#[test]
fn a_store_that_stops_in_the_middle_of_an_upload() {
    stalls(2 << 20);
}

#[test]
fn copies_between_stores_that_seal_differently_restore_the_same() {
    let app = local_second();
    let (public, secret) = crate::support::age_key();
    let key = app
        .write("key.txt", secret.as_bytes())
        .display()
        .to_string();
    let second = app.path("second").display().to_string();
    app.edit(
        &format!("path = \"{second}\""),
        &format!(
            "path = \"{second}\"\ncompress = \"zstd\"\nencrypt = {{ age = [\"{public}\"] }}\n\
             decrypt = {{ age = \"file:{key}\" }}"
        ),
    );
    app.write("second", b"not a directory");
    let report = app.json_exits(3, &["backup"]);
    let point = is_partial(&app, &report);
    std::fs::remove_file(app.path("second")).unwrap();
    heals(&app, &point);
    let keys = app.listing("second");
    assert!(
        keys.iter().any(|k| k.ends_with(".tar.zst.age")),
        "{keys:#?}"
    );
    assert!(
        keys.iter().any(|k| k.ends_with(".details.json.age")),
        "{keys:#?}"
    );
    // And back, when the first store is lost.
    std::fs::remove_dir_all(app.path("store")).unwrap();
    app.ok(&["copy", &point, "--from", "second", "--to", "disk"]);
    app.ok(&["verify"]);
    let target = app.path("again").display().to_string();
    app.ok(&["restore", &point, "--store", "disk", "--to", &target]);
    same(&app.path("from-disk"), &app.path("again"));
}

#[test]
fn a_source_that_fails_does_not_stop_the_others() {
    let app = App::basic();
    let live = app.path("live/app.db").display().to_string();
    app.edit(&live, "/nowhere/app.db");
    let report = app.json_exits(3, &["backup"]);
    assert_eq!(report["outcome"], "partial", "{report:#}");
    let errors = strings(&report["errors"]);
    assert_eq!(errors.len(), 1, "{report:#}");
    assert!(
        errors[0].contains("source db") && errors[0].contains("/nowhere/app.db"),
        "{report:#}"
    );
    let shown = app.json(&["show", "latest"]);
    assert_eq!(shown["outcome"], "partial", "{shown:#}");
    let outcomes: Vec<_> = shown["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [("files", "complete"), ("db", "failed")]);
    app.ok(&["points"]).says(&["partial"]);
    app.ok(&["verify"]);
    // Half an application is not proved, and what is there can be restored.
    let drill = app.json_exits(4, &["drill"]);
    assert_eq!(drill["outcome"], "failed", "{drill:#}");
    let point = report["point"].as_str().unwrap();
    let to = |name: &str| app.path(name).display().to_string();
    app.refuses(
        2,
        "point-unknown",
        &["restore", "latest", "--to", &to("out")],
    )
    .names(&[point, "PARTIAL"])
    .advises(&["--allow-partial"]);
    app.refuses(2, "usage", &["restore", point, "--to", &to("out")])
        .names(&[point, "PARTIAL", "lacks db", "no complete point"])
        .advises(&["--allow-partial"]);
    app.ok(&["restore", point, "--source", "files", "--to", &to("files")])
        .says(&["a part: without db"]);
    let mut args = vec!["restore", point, "--allow-partial", "--to"];
    let out = to("out");
    args.push(&out);
    app.exits(3, &args).says(&["PARTIAL: ", "lacks db"]);
    same(&app.path("out"), &app.path("files"));
    // A part that came back proves no point.
    let listed = app.json(&["points"]);
    assert_eq!(listed["points"][0]["proof"], "failed", "{listed:#}");
    let source_db = ["--source", "db", "--to", &to("db")];
    let args = [&["restore", point, "--allow-partial"][..], &source_db].concat();
    app.exits(4, &args)
        .refusal()
        .names(&["db", "not in this point"])
        .advises(&["another point"]);
}

#[test]
fn a_partial_point_never_stands_for_a_complete_one() {
    let app = App::basic();
    let complete = app.backup();
    let live = app.path("live/app.db").display().to_string();
    app.edit(&live, "/nowhere/app.db");
    app.write("data/notes.txt", b"newer\n");
    let partial = app.json_exits(3, &["backup"])["point"]
        .as_str()
        .unwrap()
        .to_owned();
    let target = app.path("out").display().to_string();
    let restored = app.ok(&["restore", "latest", "--to", &target]);
    restored.says(&[
        &partial,
        "PARTIAL and is passed over: it lacks db",
        &complete,
    ]);
    assert_ne!(
        std::fs::read(
            app.path("out/files")
                .join(app.path("data/notes.txt").strip_prefix("/").unwrap())
        )
        .unwrap(),
        b"newer\n"
    );
    let drilled = app.json(&["drill"]);
    assert_eq!(drilled["point"], complete, "{drilled:#}");
    app.refuses(2, "usage", &["restore", &partial])
        .names(&["the newest complete point is", &complete]);
}

#[test]
fn an_optional_path_that_is_missing_is_a_warning() {
    let app = App::basic();
    let data = format!("paths = [\"{}\"]", app.path("data").display());
    app.edit(
        &data,
        &format!("{data}\noptional = [\"/nowhere/nginx.conf\"]"),
    );
    let report = app.json(&["backup"]);
    assert_eq!(report["outcome"], "complete", "{report:#}");
    assert!(
        strings(&report["warnings"])
            .iter()
            .any(|w| w.contains("/nowhere/nginx.conf")),
        "{report:#}"
    );
    app.ok(&["backup"]).says(&["/nowhere/nginx.conf"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
}

#[test]
fn a_file_that_cannot_be_read_makes_the_point_partial() {
    use std::os::unix::fs::PermissionsExt;
    if needs_root("keep a file from another user") {
        return;
    }
    let app = App::basic();
    let secret = app.path("data/deep/er/photo.bin");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    for directory in ["store", "state", "live"] {
        std::fs::create_dir_all(app.path(directory)).unwrap();
        give_to_nobody(&app.path(directory));
    }
    let output = as_nobody(&app, &["--json", "backup"]);
    assert_eq!(output.code, 3, "{output}");
    let report = output.json();
    assert_eq!(report["outcome"], "partial", "{report:#}");
    let told: Vec<_> = [&report["warnings"], &report["errors"]]
        .into_iter()
        .flat_map(strings)
        .collect();
    assert!(
        told.iter()
            .any(|t| t.contains("photo.bin") && t.contains("denied")),
        "{report:#}"
    );
    output.says(&["photo.bin"]);
    let shown = as_nobody(&app, &["--json", "show", "latest"]).json();
    assert_eq!(shown["outcome"], "partial", "{shown:#}");
    let drill = as_nobody(&app, &["--json", "drill"]).json();
    assert!(
        drill.to_string().contains("photo.bin"),
        "the drill does not say what it lacks: {drill:#}"
    );
}

#[test]
fn a_command_that_ends_early_is_in_no_point() {
    for (script, says) in [
        ("head -c 200000 /dev/zero; exit 1", "exit status 1"),
        ("head -c 200000 /dev/zero; kill -9 $$", "killed by signal 9"),
        ("head -c 200000 /dev/zero; exec /nowhere", "ended with"),
    ] {
        let app = App::basic();
        app.configure_also(&format!(
            "[source.dump]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        ));
        app.edit(
            "sources = [\"files\", \"db\"]",
            "sources = [\"dump\", \"files\", \"db\"]",
        );
        let report = app.json_exits(3, &["backup"]);
        assert_eq!(report["outcome"], "partial", "{report:#}");
        let errors = strings(&report["errors"]);
        assert!(
            errors.len() == 1 && errors[0].contains("source dump"),
            "{report:#}"
        );
        assert!(errors[0].contains(says), "{report:#}");
        let shown = app.json(&["show", "latest"]);
        let sources: Vec<_> = shown["artifacts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["source"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(sources, ["files", "db"]);
        let keys = app.listing("store");
        assert!(
            !keys.iter().any(|k| k.contains("dump")),
            "half of it is in the store: {keys:#?}"
        );
    }
}

#[test]
fn a_dump_whose_connection_is_cut_is_in_no_point() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE TABLE a (i int); CREATE TABLE z (i int); INSERT INTO a SELECT generate_series(1, 1000)");
    let mut app = App::with(
        r#"
[source.db]
kind = "postgres"
url = "env:DATABASE_URL"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["db"]
stores = ["disk"]
"#,
    );
    app.env("DATABASE_URL", server.url("crm"));
    // Somebody holds a table, so that the dump has begun and waits.
    let mut holder = server.psql_command("crm");
    let mut holder = holder
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    writeln!(
        input,
        "BEGIN; LOCK TABLE z IN ACCESS EXCLUSIVE MODE; SELECT 'held';"
    )
    .unwrap();
    input.flush().unwrap();
    let mut said = [0; 4];
    holder
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    let mut backup = app.command(&["backup"]);
    let backup = backup
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'crm'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while server.psql("postgres", waiting) == "0" {
        assert!(
            Instant::now() < deadline,
            "the dump does not wait for the lock"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND datname = 'crm'";
    assert_ne!(server.psql("postgres", cut), "0");
    drop(input);
    let output = backup.wait_with_output().unwrap();
    holder.wait().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: source db"), "{stderr}");
    assert!(stderr.contains("terminating connection"), "{stderr}");
    app.holds_no_point("store");
    app.backup();
}
