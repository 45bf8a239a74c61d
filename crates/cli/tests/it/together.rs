//! An application whose sources are spread over several plans is restored as one.

use crate::support::{App, BASIC};
use serde_json::{Value, json};

fn two_plans() -> App {
    App::with(&BASIC.replace(
        "[plan.main]\nsources = [\"files\", \"db\"]\nstores = [\"disk\"]",
        "[plan.data]\nsources = [\"db\", \"files\"]\nstores = [\"disk\"]\n\n[plan.uploads]\nsources = [\"files\"]\nstores = [\"disk\"]\n",
    ).replace("plans = [\"main\"]", "plans = [\"data\", \"uploads\"]"))
}

/// The files as they are below a target.
fn notes(app: &App, target: &str) -> Vec<u8> {
    let path = app.path("data/notes.txt");
    let files = app.path(target).join("files");
    std::fs::read(files.join(path.strip_prefix("/").unwrap())).unwrap()
}

/// Waits until the next point is of a later second.
fn backup_later(app: &App, plan: &str, than: &str) -> String {
    loop {
        let point = app.backup_of(plan);
        if point[..16] > than[..16] {
            return point;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn latest_is_the_newest_of_every_source() {
    let app = two_plans();
    let to = |name: &str| app.path(name).display().to_string();
    let data = app.backup_of("data");
    // A plan that has no point yet is left out, and named.
    app.ok(&["restore", "latest", "--to", &to("early")])
        .says(&["plan uploads is left out"]);
    app.write("data/notes.txt", b"newer\n");
    let uploads = backup_later(&app, "uploads", &data);

    let report = app.json(&["restore", "latest", "--to", &to("out")]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    let points: Vec<(&Value, &Value)> = report["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (&p["point"], &p["sources"]))
        .collect();
    let expected = [
        (json!(uploads), json!(["files"])),
        (json!(data), json!(["db"])),
    ];
    assert_eq!(
        points,
        expected.iter().map(|(p, s)| (p, s)).collect::<Vec<_>>()
    );
    assert_eq!(notes(&app, "out"), b"newer\n");
    assert!(app.path("out/db").exists());
    let limits = report["limits"].to_string();
    assert!(
        limits.contains(&format!("restored as in {uploads}")),
        "{report:#}"
    );

    // One plan, or one point, is that alone.
    let report = app.json(&["restore", "latest", "--plan", "data", "--to", &to("one")]);
    assert_eq!(report["points"].as_array().unwrap().len(), 1, "{report:#}");
    assert_ne!(notes(&app, "one"), b"newer\n");
    let report = app.json(&["restore", &uploads, "--to", &to("two")]);
    assert_eq!(report["sources"], json!(["files"]), "{report:#}");
    app.refuses(
        2,
        "point-unknown",
        &["restore", "latest", "--plan", "other"],
    );

    // A source that was asked for brings only the point that it is in.
    let report = app.json(&["restore", "latest", "--source", "db", "--to", &to("db")]);
    assert_eq!(report["point"], data, "{report:#}");
}

#[test]
fn every_plan_gets_a_safety_point_before_what_is_live_changes() {
    let app = two_plans();
    let data = app.backup_of("data");
    app.write("data/notes.txt", b"newer\n");
    let uploads = backup_later(&app, "uploads", &data);
    app.write("data/notes.txt", b"broken\n");
    let planned = app.exits(7, &["restore", "latest"]);
    planned.says(&[
        &format!("restoring {uploads} with {data}"),
        &format!("fetch source files (files) as in {uploads}"),
        "safety point by plan data",
        "safety point by plan uploads",
        "lifeboat restore latest --live",
    ]);
    let args = [
        "restore",
        "latest",
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "broken",
    ];
    let report = app.json(&args);
    assert_eq!(
        report["safety_points"].as_array().unwrap().len(),
        2,
        "{report:#}"
    );
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"newer\n"
    );
}

#[test]
fn an_application_of_which_a_plan_has_only_parts_is_a_part() {
    let app = two_plans();
    app.backup_of("data");
    app.edit(
        "[plan.uploads]\nsources = [\"files\"]",
        "[plan.uploads]\nsources = [\"files\", \"bot\"]",
    );
    app.configure_also("[source.bot]\nkind = \"sqlite\"\npath = \"/nowhere/bot.db\"\n");
    app.exits(3, &["backup", "uploads"]);
    let to = |name: &str| app.path(name).display().to_string();
    let said = app.exits(3, &["restore", "latest", "--to", &to("out")]);
    let first = said.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("PARTIAL: plan uploads is left out: no complete restore point"),
        "{said}"
    );
    // What was asked for is whole.
    app.ok(&["restore", "latest", "--source", "db", "--to", &to("db")]);
}
