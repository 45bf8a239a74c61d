//! `lifeboat repo repair snapshots` and `rewrite`: new snapshots of old ones.

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

#[test]
fn snapshots_are_written_anew_as_restic_does_it() {
    let desk = Desk::new();
    desk.app.write("tree/dir/deep/three.LOG", &noise(3000, 22));
    let first = desk.back_up(&["--tag", "a"]);
    let patterns = ["--exclude", "*.log", "--iexclude", "*.LoG"];
    let tried = desk.json(&[&["rewrite", "--dry-run"], &patterns[..]].concat());
    assert_eq!(
        tried["snapshots"],
        json!([{ "snapshot": first, "became": "new", "new": null }])
    );
    assert_eq!(count(&desk), 1);
    // What restic has made is just what would be made here.
    desk.restic(&[&["rewrite"], &patterns[..]].concat());
    let theirs = desk.json(&["snapshots", "--tag", "rewrite"])["snapshots"][0].clone();
    let earlier = desk.json(&[&["rewrite", &first], &patterns[..]].concat());
    assert_eq!(
        earlier["snapshots"],
        json!([{ "snapshot": first, "became": "earlier", "new": theirs["id"] }])
    );
    desk.restic(&["forget", theirs["id"].as_str().unwrap()]);
    desk.ok(&[&["rewrite", &first], &patterns[..]].concat())
        .says(&["the new snapshot is", "1 of 1 snapshots were changed"]);
    let ours = desk.json(&["snapshots", "--tag", "rewrite"])["snapshots"][0].clone();
    for field in ["tree", "time", "tags", "original", "summary", "paths"] {
        assert_eq!(ours[field], theirs[field], "{field}");
    }
    desk.ok(&["check", "--read-data"]);
    desk.restic(&["check", "--read-data"]);
    let target = desk.path("out");
    desk.restic(&["restore", ours["id"].as_str().unwrap(), "--target", &target]);
    let content = |path: &str| std::fs::read(desk.app.path(path)).unwrap();
    let inside = format!("out{}", desk.path("tree"));
    assert_eq!(
        content(&format!("{inside}/dir/two.txt")),
        content("tree/dir/two.txt")
    );
    assert!(!desk.app.path(&format!("{inside}/dir/one.log")).exists());
    assert!(desk.app.path(&format!("{inside}/dir/deep")).is_dir());

    // In place: nothing of the old ones is left, and prune frees what only they had.
    desk.app.write("patterns", b"two.*\n");
    let file = desk.path("patterns");
    desk.ok(&["rewrite", "--forget", "--exclude-file", &file]);
    let same = desk.json(&["rewrite", "--forget", "--exclude", "two.*"]);
    for snapshot in same["snapshots"].as_array().unwrap() {
        assert_eq!(snapshot["became"], "same");
    }
    assert_eq!(count(&desk), 2);
    assert!(!desk.ok(&["find", "two.*"]).stdout.contains("two.txt"));
    desk.ok(&["prune", "--grace", "0s", "--max-unused", "0%"]);
    desk.restic(&["check", "--read-data"]);

    let moved = ["rewrite", "latest", "--forget", "--new-host", "elsewhere"];
    let time = ["--new-time", "2020-02-03T04:05:06Z"];
    desk.ok(&[&moved[..], &time].concat());
    let listed = desk.json(&["snapshots", "--host", "elsewhere"]);
    assert_eq!(listed["snapshots"][0]["time"], "2020-02-03T04:05:06Z");

    desk.refuses(2, "usage", &["rewrite"])
        .advises(&["--exclude"]);
    desk.refuses(2, "usage", &["rewrite", "--new-time", "never"])
        .names(&["--new-time", "never"]);
    desk.refuses(2, "usage", &["rewrite", "--exclude", "[a"]);
    desk.refuses(2, "point-unknown", &["rewrite", "0000", "--exclude", "a"]);
}

fn count(desk: &Desk) -> usize {
    desk.json(&["snapshots"])["snapshots"]
        .as_array()
        .unwrap()
        .len()
}

#[test]
fn what_cannot_be_read_is_not_written_anew() {
    let desk = Desk::new();
    let dir = desk.path("tree/dir");
    desk.json(&["backup", &dir]);
    let lost = packs(&desk);
    desk.back_up(&[]);
    for pack in &lost {
        std::fs::remove_file(pack).unwrap();
    }
    let refused = desk.refuses(
        4,
        "object-missing",
        &["rewrite", "--forget", "--exclude", "big"],
    );
    refused.names(&["missing"]);
    assert_eq!(count(&desk), 2, "nothing is half done");
}

#[test]
fn a_snapshot_that_cannot_be_read_is_given_up_only_when_asked_for() {
    let desk = Desk::new();
    let lost = desk.back_up(&[]);
    desk.app.write("tree/later", &noise(3000, 23));
    let kept = desk.back_up(&[]);
    let file = desk.app.path("r/snapshots").join(&lost);
    std::fs::write(file, b"garbage").unwrap();
    desk.refuses(4, "object-damaged", &["prune"])
        .names(&["snapshot", &lost])
        .advises(&["lifeboat repo repair snapshots --forget"]);
    let became = json!([
        { "snapshot": kept, "became": "same" },
        { "snapshot": lost, "became": "nothing" },
    ]);
    let tried = desk.json(&["repair", "snapshots", "--forget", "--dry-run"]);
    assert_eq!(tried["snapshots"], became);
    assert_eq!(desk.json(&["repair", "snapshots"])["snapshots"], became);
    // Nobody knows whether it is one of these.
    let named = desk.json(&["repair", "snapshots", "--forget", "--path", "/nowhere"]);
    assert_eq!(named["snapshots"], json!([]));
    desk.app.exits(4, &desk.args(&["check"]));
    desk.ok(&["repair", "snapshots", "--forget"])
        .says(&["nothing of it is left; the old one is removed"]);
    assert_eq!(count(&desk), 1);
    desk.ok(&["check"]);
    desk.ok(&["prune"]);
    desk.restic(&["check", "--read-data"]);
}
