//! Man pages: printed, and written for whoever packs the program.

use crate::support::App;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_page_is_printed_for_the_program_and_for_each_command() {
    let app = App::with("");
    let program = app.ok(&["man"]);
    program.says(&[".TH lifeboat 1", "lifeboat\\-backup", "EXIT STATUS"]);
    let own = app.ok(&["man", "repo", "snapshots"]);
    own.says(&[
        ".TH lifeboat-repo-snapshots 1",
        "\\-\\-latest",
        "EXIT STATUS",
    ]);
    let refusal = app.exits(2, &["man", "repo", "snapshot"]);
    refusal.refusal().names(&["repo snapshot"]);
    app.exits(2, &["man", "backup", "--output", "pages"]);
}

#[test]
fn every_page_is_written_and_can_be_written_again() {
    let app = App::with("");
    let written = app.json(&["man", "--output", "share/man1"]);
    assert_eq!(written["schema"], 1);
    assert_eq!(written["directory"], "share/man1");
    let mut pages: Vec<String> = serde_json::from_value(written["pages"].clone()).unwrap();
    pages.sort();
    assert_eq!(app.listing("share/man1"), pages);
    for page in [
        "lifeboat.1",
        "lifeboat-backup.1",
        "lifeboat-evidence-verify.1",
        "lifeboat-repo-snapshots.1",
    ] {
        assert!(pages.iter().any(|known| known == page), "{page}: {pages:?}");
    }
    let path = app.path("share/man1/lifeboat-backup.1");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let printed = app.ok(&["man", "backup"]).stdout;
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stored.trim_end(), printed.trim_end());
    std::fs::write(&path, "old").unwrap();
    app.ok(&["man", "--output", "share/man1"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), stored);
}
