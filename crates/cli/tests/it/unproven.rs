//! Nothing that is not proved to be what was captured goes live, unless somebody says so.

use crate::support::App;

const LIVE: &[&str] = &[
    "restore",
    "latest",
    "--live",
    "--confirm",
    "crm/test",
    "--reason=lost",
];

fn details(app: &App, store: &str, point: &str) -> std::path::PathBuf {
    app.path(&format!("{store}/lifeboat/points/{point}.details.json"))
}

#[test]
fn a_point_whose_details_are_lost_or_altered_goes_live_only_when_that_is_asked_for() {
    for lost in [true, false] {
        let app = App::basic();
        let point = app.backup();
        let path = details(&app, "store", &point);
        match lost {
            true => std::fs::remove_file(path).unwrap(),
            false => {
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, text.replace("notes.txt", "notes.doc")).unwrap();
            }
        }
        app.write("data/notes.txt", b"newer\n");
        app.exits(7, &["restore", "latest"]).says(&["--unproven"]);
        let refusal = app.refuses(4, "not-proved", LIVE);
        refusal.names(&["nothing proves that"]);
        refusal.advises(&["nothing live was changed", "--unproven"]);
        let read = || std::fs::read(app.path("data/notes.txt")).unwrap();
        assert_eq!(read(), b"newer\n");
        assert_eq!(
            app.points(),
            [point],
            "no safety point is taken for nothing"
        );

        let mut args = LIVE.to_vec();
        args.push("--unproven");
        let report = app.json(&args);
        assert_eq!(report["outcome"], "restored", "{report:#}");
        let limits = report["limits"].to_string();
        assert!(limits.contains("--unproven"), "{limits}");
        assert!(
            limits.contains("what was captured cannot be read"),
            "{limits}"
        );
        assert_eq!(read(), b"remember the milk\n");
        let key = report["evidence"].as_str().unwrap();
        let record = std::fs::read(app.path("store").join(key)).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["reason"], "lost", "{record:#}");
        assert_eq!(record["outcome"], "restored", "{record:#}");
    }
}

#[test]
fn one_source_that_is_not_proved_keeps_all_from_going_live() {
    let app = App::basic();
    let point = app.backup();
    let mut held = crate::forge::Held::read(&app, "disk", &point);
    held.details.artifacts.retain(|a| a.source != "db");
    held.commit();
    let refusal = app.refuses(4, "not-proved", LIVE);
    refusal.because(&["db: content"]);
    assert_eq!(app.listing("data").len(), 3);
    let mut args = LIVE.to_vec();
    args.push("--unproven");
    assert_eq!(app.json(&args)["outcome"], "restored");
}

#[test]
fn it_is_never_called_verified_and_needs_a_live_target() {
    let app = App::basic();
    app.backup();
    let mut args = LIVE.to_vec();
    args.push("--unproven");
    assert_eq!(app.json(&args)["outcome"], "restored");
    assert_eq!(app.json(LIVE)["outcome"], "verified");
    let out = app.path("out").display().to_string();
    app.exits(2, &["restore", "latest", "--to", &out, "--unproven"]);
}

#[test]
fn a_copy_that_proves_it_is_taken_before_one_that_does_not() {
    let app = App::basic();
    app.edit("stores = [\"disk\"]", "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    let point = app.backup();
    std::fs::remove_file(details(&app, "store", &point)).unwrap();
    let report = app.exits(0, LIVE);
    report.says(&["the copy in store other is used"]);
    let mut args = LIVE.to_vec();
    args.extend(["--store", "disk"]);
    app.refuses(4, "not-proved", &args);
}

#[test]
fn what_a_command_said_is_not_among_what_was_restored() {
    let app = App::basic();
    app.edit(
        "sources = [\"files\", \"db\"]",
        "sources = [\"files\", \"db\", \"vault\"]",
    );
    app.configure_also("[source.vault]\nkind = \"command\"\ncommand = [\"echo\", \"secret\"]\n");
    app.backup();
    let report = app.json(LIVE);
    assert_eq!(
        report["sources"],
        serde_json::json!(["files", "db"]),
        "{report:#}"
    );
    let limits = report["limits"].to_string();
    assert!(limits.contains("no live place"), "{limits}");
}
