//! Points in a repository when something is not as it should be: in the store, in the repository, in
//! a manifest; and in a store on another host.

use crate::forge;
use crate::layout::{NAMES, PASSWORD, application, bare, largest_pack, repository};
use crate::restore_md::{compare, follow};
use crate::roundtrip::{SOURCES, sh};
use crate::support::{App, LIFEBOAT, as_nobody, noise};
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::time::Time;
use lifeboat_repository::{FileKind, Repository, Snapshot};
use lifeboat_store::LocalStore;
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::restic::Restic;
use lifeboat_testkit::ssh::SshServer;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// What a backup leaves that is killed after its snapshot and before its manifest, `hours` ago.
fn left_behind(app: &App, tags: &[&str], hours: i64) -> String {
    let store = Arc::new(LocalStore::open(&app.path("store")).unwrap());
    let opened = Repository::open(store, "repository/", PASSWORD.as_bytes()).unwrap();
    let (_, newest) = opened.snapshots().unwrap().0.pop().unwrap();
    let at = Timestamp::now() - SignedDuration::from_hours(hours);
    let id = opened
        .save_snapshot(&Snapshot {
            time: Time::utc(at),
            tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            ..newest
        })
        .unwrap();
    let path = repository(app).join(FileKind::Snapshot.key(&id));
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(at.into()).unwrap();
    id.short()
}

#[test]
fn doctor_names_snapshots_that_no_manifest_names_and_no_others() {
    let app = application(SOURCES, NAMES);
    app.backup();
    let (killed, young) = ("20260102T030405Z-0a1b", "20260102T030405Z-0a1c");
    let ours = left_behind(&app, &[killed, "main"], 48);
    // It may be about to be named; of another plan; and made by hand.
    let others = [
        left_behind(&app, &[young, "main"], 1),
        left_behind(&app, &[killed, "another"], 48),
        left_behind(&app, &["mine", "main"], 48),
        left_behind(&app, &[killed, "main", "and mine"], 48),
        left_behind(&app, &["main"], 48),
        left_behind(&app, &[], 48),
    ];
    let report = app.json(&["doctor"]);
    let findings = report["findings"].as_array().unwrap();
    let told: Vec<&Value> = findings
        .iter()
        .filter(|f| f["message"].as_str().unwrap().contains("no manifest names"))
        .collect();
    assert_eq!(told.len(), 1, "{report:#}");
    let (message, hint) = (told[0]["message"].as_str(), told[0]["hint"].as_str());
    let (message, hint) = (message.unwrap(), hint.unwrap());
    assert!(
        message.ends_with(&format!("of point {killed}")),
        "{message}"
    );
    assert_eq!(told[0]["severity"], "warning");
    // Its hint does just that.
    let commands = hint.split_once("lifeboat repo ").unwrap().1;
    for command in commands.split(", then lifeboat repo ") {
        sh(app.root(), &format!("{LIFEBOAT} repo {command}"));
    }
    let left = app.listing("store/repository/snapshots");
    let is_left = |id: &String| left.iter().any(|name| name.starts_with(id.as_str()));
    assert!(!is_left(&ours) && others.iter().all(is_left), "{left:?}");
    app.ok(&["doctor"]).never_says(&["no manifest names"]);
    app.ok(&["verify", "--all"]);
}

#[test]
fn a_store_that_fails_is_not_called_damaged() {
    if needs_root("keep a file from another user") {
        return;
    }
    let app = application(SOURCES, NAMES);
    app.write("data/large", &noise(3 << 20, 7));
    let point = app.backup();
    // Everything is there, and one file of it may not be read.
    let pack = largest_pack(&app);
    sh(app.root(), "chown -R 65534:65534 .");
    std::os::unix::fs::chown(&pack, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&pack, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = as_nobody(&app, &["verify", &point, "--store", "disk"]);
    assert_eq!(output.code, 1, "{output}");
    let name = pack.file_name().unwrap().to_str().unwrap();
    output
        .says(&["unread", name, "denied access"])
        .never_says(&["damaged", "missing"]);
    let report = as_nobody(&app, &["--json", "verify", &point, "--store", "disk"]).json();
    assert_eq!(report["outcome"], "unread", "{report:#}");
    // Of an archive the same is said.
    let archive = app.listing("plain");
    let archive = archive.iter().find(|name| name.contains("/files")).unwrap();
    let archive = app.path("plain").join(archive);
    std::os::unix::fs::chown(&archive, Some(0), Some(0)).unwrap();
    let output = as_nobody(&app, &["verify", &point, "--store", "plain"]);
    assert_eq!(output.code, 1, "{output}");
    output.says(&["unread"]).never_says(&["damaged", "missing"]);
    // What is known to be damaged weighs more.
    std::fs::remove_file(&pack).unwrap();
    let output = as_nobody(&app, &["verify", &point]);
    assert_eq!(output.code, 4, "{output}");
}

#[test]
fn a_manifest_that_names_what_its_snapshot_lacks_is_an_error() {
    let app = application(SOURCES, NAMES);
    let point = app.backup();
    // What is there and whole, and not what it should be, only a restore can tell.
    for (source, key, verified) in [
        ("files", "/files/not there", 4),
        ("db", "/elsewhere/db.sqlite", 4),
        ("db", "/files", 4),
        ("files", "/.lifeboat/details.json", 0),
    ] {
        let was = forge::move_artifact(&app, "disk", &point, source, key);
        let output = app.run(&["verify", &point, "--store", "disk"]);
        assert_eq!(output.code, verified, "{key}: {output}");
        if verified != 0 {
            output.says(&["is not in the snapshot"]);
        }
        let to = app.path("out");
        let _ = std::fs::remove_dir_all(&to);
        let to = to.to_str().unwrap();
        let restored = app.run(&["restore", &point, "--store", "disk", "--to", to]);
        assert_eq!(restored.code, 4, "{key}: {restored}");
        restored.says(&[source]).never_says(&["panicked"]);
        forge::move_artifact(&app, "disk", &point, source, &was);
    }
    app.ok(&["verify", &point]);
}

#[test]
fn on_another_host() {
    let mut server = SshServer::start();
    let app = bare(SOURCES, NAMES);
    let place = format!(
        "kind = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\npath = \"{}\"\nssh = {{ key = \"file:{}\", known_hosts = \"{}\" }}\nlayout",
        server.port(),
        server.user(),
        server.sftp_root().join("points").display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
    );
    app.edit("kind = \"local\"\npath = \"{root}/store\"\nlayout", &place);
    let point = app.backup();
    app.ok(&["drill"]).says(&["verified"]);
    app.ok(&["verify", &point, "--store", "disk"]);
    let points = server.sftp_root().join("points");
    let check = ["check", "--read-data"];
    Restic::current().ok(&points.join("repository"), PASSWORD, &check);
    restore_md_over_sftp(&app, &server, &points);

    // A host that is away is no damage.
    server.stop();
    let output = app.exits(1, &["verify", &point, "--store", "disk"]);
    output.says(&["unread"]).never_says(&["missing", "damaged"]);
}

/// With stock tools alone, and a key that is not where `ssh` looks.
fn restore_md_over_sftp(app: &App, server: &SshServer, points: &Path) {
    let key = server.user_key("plain", "ed25519", "");
    let options = format!(
        "-i {} -o UserKnownHostsFile={} -o BatchMode=yes -o StrictHostKeyChecking=yes",
        key.path.display(),
        server.known_hosts_path().display()
    );
    let (allowed, password) = (
        app.path("state/allowed_signers"),
        app.path("repository.key"),
    );
    let env = [
        ("SSH_OPTIONS", options.as_str()),
        ("ALLOWED_SIGNERS", allowed.to_str().unwrap()),
        ("RESTIC_PASSWORD_FILE", password.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
    ];
    let text = std::fs::read_to_string(points.join("lifeboat/restore/crm/test.md")).unwrap();
    let output = follow(app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    output.says(&["Good \"lifeboat\" signature for crm"]);
    compare(app, "stock");
}
