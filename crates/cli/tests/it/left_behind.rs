//! Restores and drills that were killed or could not clear up leave nothing in clear that is not
//! removed or named, and a restore to a directory goes on where it was killed.

use crate::crash::{Started, make_gate, reached};
use crate::support::{App, BASIC, HEAD, listing};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const TO: &[&str] = &["restore", "latest", "--to", "out"];
const MARK: &str = "out/.lifeboat-restore.json";
const LIVE: &[&str] = &[
    "restore",
    "latest",
    "--live",
    "--confirm",
    "crm/test",
    "--reason=lost",
];

/// The stored object of a source.
fn object(app: &App, source: &str) -> String {
    let stored = app.listing("store");
    let found = stored
        .iter()
        .find(|path| path.contains(&format!("/{source}/")));
    format!("store/{}", found.expect("its object"))
}

#[test]
fn a_restore_goes_on_with_what_is_whole() {
    let app = App::basic();
    app.configure_also("");
    app.backup();
    let object = object(&app, "db");
    std::fs::rename(app.path(&object), app.path("hidden")).unwrap();
    app.exits(4, TO);
    assert!(app.path(MARK).exists());
    let notes = || {
        std::fs::metadata(app.path("out/files").join(first(&app)))
            .unwrap()
            .ino()
    };
    let placed = notes();
    std::fs::rename(app.path("hidden"), app.path(&object)).unwrap();
    // Another restore does not go on there.
    let other = app.exits(1, &["restore", "latest", "--to", "out", "--source", "db"]);
    other.says(&["holds a part of another restore"]);
    let report = app.json(TO);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    assert!(report["warnings"].to_string().contains("compared again"));
    assert_eq!(notes(), placed, "what was whole is not placed again");
    assert!(!app.path(MARK).exists());
    app.ok(&["restore", "latest", "--to", "anew"]);
    assert_eq!(listing(&app.path("out")), listing(&app.path("anew")));
    app.exits(1, TO).says(&["is not empty"]);
}

/// A restored file of the source `files`.
fn first(app: &App) -> String {
    let files = listing(&app.path("out/files"));
    let found = files.iter().find(|path| path.ends_with("notes.txt"));
    found.expect("a restored file").clone()
}

#[test]
fn what_was_changed_meanwhile_is_placed_again() {
    let app = App::basic();
    app.backup();
    let object = object(&app, "db");
    std::fs::rename(app.path(&object), app.path("hidden")).unwrap();
    app.exits(4, TO);
    std::fs::rename(app.path("hidden"), app.path(&object)).unwrap();
    let changed = format!("out/files/{}", first(&app));
    app.write(&changed, b"remember the silk\n");
    assert_eq!(app.json(TO)["outcome"], "verified");
    let text = std::fs::read(app.path(&changed)).unwrap();
    assert_eq!(text, b"remember the milk\n");
    // What somebody put there is neither lost nor taken for a part of the point.
    std::fs::rename(app.path(&object), app.path("hidden")).unwrap();
    std::fs::remove_dir_all(app.path("out")).unwrap();
    app.exits(4, TO);
    app.write("out/mine", b"mine");
    app.exits(1, TO).says(&["did not make mine"]);
    assert!(app.path("out/mine").exists());
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let app = App::basic();
    app.backup();
    for _ in 0..3 {
        let run = Started::new(&app, TO);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !app.path(MARK).exists() {
            assert!(Instant::now() < deadline, "the restore does not begin");
            std::thread::yield_now();
        }
        run.kill();
        if app.path(MARK).exists() {
            assert_eq!(app.json(TO)["outcome"], "verified");
        }
        assert!(!app.path(MARK).exists());
        app.ok(&["restore", "latest", "--to", "anew"]);
        assert_eq!(listing(&app.path("out")), listing(&app.path("anew")));
        for directory in ["out", "anew"] {
            std::fs::remove_dir_all(app.path(directory)).unwrap();
        }
    }
}

/// Killed when all lies aside and nothing was changed.
#[test]
fn a_live_restore_that_was_killed_is_named_and_cleared() {
    let app = App::basic();
    let point = app.backup();
    app.edit(
        "stores = [\"disk\"]",
        "stores = [\"disk\"]\nbefore = [[\"cat\", \"{root}/gate\"]]",
    );
    make_gate(&app.path("gate"));
    let mut run = Started::new(&app, LIVE);
    let held = reached(&app.path("gate"), &mut run);
    run.kill();
    drop(held);
    std::fs::remove_file(app.path("gate")).unwrap();
    app.write("gate", b"");
    // What was live before is kept there too, under another name.
    let aside = |relative: &str| {
        let place = app.path(relative).join(".lifeboat-aside");
        let entries = std::fs::read_dir(place).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&point)).count()
    };
    assert_eq!((aside("."), aside("live")), (1, 1));
    let told = "left by a live restore of";
    let doctor = app.run(&["doctor"]);
    doctor.says(&[told, "before it changed anything live"]);
    let planned = app.json_exits(7, &["restore", "latest"]);
    assert!(planned["steps"].to_string().contains(told), "{planned:#}");
    let report = app.json(LIVE);
    assert_eq!(report["outcome"], "verified");
    assert!(report["warnings"].to_string().contains("it was removed"));
    assert_eq!((aside("."), aside("live")), (0, 0));
    app.run(&["doctor"]).never_says(&[told]);
}

#[test]
fn what_a_killed_removal_left_is_removed_by_the_next_run() {
    let app = App::basic();
    app.backup();
    let left = "state/scratch/lifeboat-scratch-being-removed-drill-1/files/secret";
    app.write(left, b"in clear");
    let unmarked = app.write("state/scratch/lifeboat-scratch-drill-2/files/secret", b"x");
    let unmarked = unmarked.ancestors().nth(2).unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let directory = std::fs::File::open(unmarked).unwrap();
    directory.set_modified(hour_ago).unwrap();
    app.ok(&["drill"]);
    assert_eq!(app.listing("state/scratch"), Vec::<String>::new());
}

#[test]
fn a_state_directory_that_others_can_change_is_refused() {
    let app = App::basic();
    app.backup();
    let signers = std::fs::read_to_string(app.path("state/allowed_signers")).unwrap();
    assert!(signers.ends_with('\n'), "{signers:?}");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    for (path, open, closed) in [
        ("state", 0o777, 0o700),
        ("state", 0o1777, 0o700),
        ("state/signing.key", 0o622, 0o600),
        ("state/catalog.db", 0o666, 0o600),
        ("state/locks", 0o777, 0o700),
    ] {
        mode(&app.path(path), open);
        let refused = app.exits(1, &["backup"]);
        let shown = app.path(path).display().to_string();
        refused.says(&["is open to other users", &shown, "chmod go-w"]);
        mode(&app.path(path), closed);
        app.ok(&["points"]);
    }
    mode(&app.path("state"), 0o755);
    app.run(&["doctor"])
        .says(&["others can enter", "chmod 700"]);
    // A parent that everybody may write to, unless it is as /tmp.
    app.edit("{root}/state", "{root}/open/state");
    app.write("open/note", b"");
    mode(&app.path("open"), 0o777);
    let refused = app.exits(1, &["points"]);
    refused.says(&["is open to other users", "/open can be written to"]);
    mode(&app.path("open"), 0o1777);
    app.ok(&["points"]);
    // The same of the configuration, which names commands.
    mode(app.root(), 0o777);
    let refused = app.exits(2, &["points"]);
    refused.says(&["the configuration", "is open to other users"]);
    mode(app.root(), 0o700);
}

#[test]
fn a_list_of_signers_that_others_can_change_is_refused() {
    let app = App::with("");
    app.configure(&format!(
        "{HEAD}trusted_signers = \"{{root}}/signers\"\n{BASIC}"
    ));
    let list = app.write("signers", b"");
    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o666)).unwrap();
    let refused = app.exits(2, &["points"]);
    refused.says(&["trusted_signers", "is open to other users"]);
    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o644)).unwrap();
    app.ok(&["points"]);
}

#[test]
fn a_planted_configuration_is_not_read() {
    let app = App::basic();
    let config = app.path("lifeboat.toml");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o664)).unwrap();
    if std::fs::metadata(&config).unwrap().gid() == 0 {
        std::os::unix::fs::chown(&config, None, Some(65534)).unwrap();
    } else {
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o666)).unwrap();
    }
    // Found in the working directory, where nobody named it.
    let mut command = app.command(&["config", "check"]);
    command.env_remove("LIFEBOAT_CONFIG");
    let output = crate::support::run(&mut command);
    assert_eq!(output.code, 2, "{output}");
    output.says(&["is open to other users"]);
}
