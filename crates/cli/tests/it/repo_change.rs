//! `lifeboat repo repair snapshots`: what is lost, and what new snapshots make of the rest.

use crate::repo::{Desk, walk};
use crate::support::noise;
use serde_json::json;

/// The packs that are there now.
fn packs(desk: &Desk) -> Vec<std::path::PathBuf> {
    walk(&desk.app.path("r/data"))
}

#[test]
fn snapshots_without_what_is_lost_are_made_of_the_old_ones() {
    let desk = Desk::new();
    let dir = desk.path("tree/dir");
    desk.json(&["backup", &dir]);
    let lost = packs(&desk);
    desk.app.write("tree/later", &noise(3000, 21));
    let second = desk.back_up(&[]);
    for pack in &lost {
        std::fs::remove_file(pack).unwrap();
    }
    let tried = desk.json(&["repair", "snapshots", "--dry-run", &second]);
    assert_eq!(tried["dry_run"], true);
    assert_eq!(
        tried["snapshots"],
        json!([{ "snapshot": second, "became": "new", "new": null }])
    );
    let said = desk.ok(&["repair", "snapshots"]);
    said.says(&[
        "/: nothing below it can be read: pack ",
        &format!("{dir}: the directory is made empty: pack "),
        "2 of 2 snapshots were changed",
        "use --forget",
    ]);
    let left = desk.json(&["repair", "snapshots", "--forget"]);
    assert_eq!(left["snapshots"][0]["became"], "nothing");
    desk.app.exits(4, &desk.args(&["check"]));
    desk.ok(&["repair", "index"]);
    desk.ok(&["check"]);
    desk.restic(&["check"]);
    let listed = desk.json(&["snapshots"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(listed["snapshots"][0]["original"], second.as_str());
    assert_eq!(listed["snapshots"][0]["tags"], json!(["repaired"]));
    let names = desk.ok(&["ls", "latest"]);
    names.says(&["/tree/dir\n", "/tree/later\n", "/tree/big\n"]);
    assert!(!names.stdout.contains("one.log"), "{names}");
    desk.refuses(
        2,
        "usage",
        &["repair", "snapshots", "--forget", "--no-lock"],
    )
    .names(&["--no-lock"]);
}
