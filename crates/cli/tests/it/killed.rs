//! A backup into a repository that is killed in the middle: what it stored is found by the next one.

use crate::layout;
use crate::repo::Desk;
use crate::support::noise;
use lifeboat_testkit::restic::Restic;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Four packs. The first index file names two, or one where storing them takes long, and the others
/// may stay in memory while more input is awaited.
const BYTES: usize = 64 << 20;

/// The bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    let files = crate::support::listing(directory).into_iter();
    let sizes = files.map(|name| directory.join(name).metadata().map_or(0, |m| m.len()));
    sizes.sum()
}

/// Kills a backup once its repository has an index file, which it has long before its end. Returns
/// how many bytes of packs are there.
fn kill_in_the_middle(mut child: Child, repository: &Path) -> u64 {
    let index = repository.join("index");
    while std::fs::read_dir(&index).map_or(0, Iterator::count) == 0 {
        assert_eq!(child.try_wait().unwrap(), None, "it waits for its input");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let snapshots = std::fs::read_dir(repository.join("snapshots"));
    assert_eq!(snapshots.map_or(0, Iterator::count), 0);
    bytes_below(&repository.join("data"))
}

/// Few bytes came to what was there, and others find nothing wrong with it.
fn assert_resumed(repository: &Path, password: &str, before: u64) {
    // A little less than a pack.
    let (total, named) = (BYTES as u64, 14 << 20);
    assert!(before >= named, "{before} bytes were there");
    let after = bytes_below(&repository.join("data"));
    let new = after - before;
    assert!(new < total - named, "{before} bytes became {after}");
    Restic::current().ok(repository, password, &["check", "--read-data"]);
}

#[test]
fn a_backup_of_a_repository_goes_on_where_one_was_killed() {
    let desk = Desk::new();
    let content = noise(BYTES, 5);
    let mut child = desk
        .app
        .command(&desk.args(&["backup", "--stdin"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&content).unwrap();
    let repository = desk.app.path("r");
    let before = kill_in_the_middle(child, &repository);
    drop(input);
    // Somebody else adds to it meanwhile, and takes nothing away.
    desk.restic(&["backup", &desk.path("tree")]);
    let before = before.max(bytes_below(&repository.join("data")));
    desk.app.write("whole", &content);
    let whole = std::fs::File::open(desk.app.path("whole")).unwrap();
    let mut again = desk.app.command(&desk.args(&["backup", "--stdin"]));
    let again = crate::support::run(again.stdin(whole));
    assert_eq!(again.code, 0, "{again}");
    assert_resumed(&repository, crate::repo::PASSWORD, before);
    desk.restic(&["restore", "latest", "--target", &desk.path("back")]);
    let back = std::fs::read(desk.app.path("back/stdin")).unwrap();
    assert!(back == content);
}

#[test]
fn a_point_of_a_repository_goes_on_where_one_was_killed() {
    let source = r#"
[source.out]
kind = "command"
command = ["cat", "{root}/first", "{root}/second"]
"#;
    let app = layout::application(source, "\"out\"");
    app.write("first", &noise(BYTES, 6));
    let second = app.path("second");
    let made = std::process::Command::new("mkfifo").arg(&second).status();
    assert!(made.unwrap().success());
    let child = app.command(&["backup"]).stdout(Stdio::null()).spawn();
    let repository = layout::repository(&app);
    let before = kill_in_the_middle(child.unwrap(), &repository);
    std::fs::remove_file(&second).unwrap();
    app.write("second", b"the end");
    app.backup();
    assert_resumed(&repository, layout::PASSWORD, before);
}
