//! `lifeboat repo`: the engine at the command line, beside restic on the same repository.

use crate::support::{App, Output, in_namespace, listing, noise};
use lifeboat_testkit::privilege::needs_mounts;
use lifeboat_testkit::restic::Restic;
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub const PASSWORD: &str = "a pass word";

/// A directory with a repository, a password and data, and no configuration.
pub struct Desk {
    pub app: App,
}

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk::bare();
        desk.ok(&["init"]);
        desk
    }

    pub fn bare() -> Desk {
        let mut app = App::basic();
        app.write("password", PASSWORD.as_bytes());
        app.env("RESTIC_REPOSITORY", app.path("r").display().to_string());
        app.env(
            "RESTIC_PASSWORD_FILE",
            app.path("password").display().to_string(),
        );
        for (name, seed) in [
            ("tree/big", 1),
            ("tree/dir/one.log", 2),
            ("tree/dir/two.txt", 3),
        ] {
            app.write(name, &noise(50_000, seed));
        }
        let odd = std::ffi::OsStr::from_bytes(b"tree/dir/odd \"n\xfe\nme");
        std::fs::write(app.root().join(odd), b"odd").unwrap();
        std::os::unix::fs::symlink("../big", app.path("tree/dir/link")).unwrap();
        Desk { app }
    }

    pub fn path(&self, relative: &str) -> String {
        self.app.path(relative).display().to_string()
    }

    pub fn args<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        [&["repo"], args].concat()
    }

    pub fn ok(&self, args: &[&str]) -> Output {
        self.app.ok(&self.args(args))
    }

    pub fn json(&self, args: &[&str]) -> Value {
        self.app.json(&self.args(args))
    }

    pub fn back_up(&self, more: &[&str]) -> String {
        let tree = self.path("tree");
        let made = self.json(&[&["backup", &tree], more].concat());
        made["snapshot"].as_str().unwrap().to_owned()
    }

    pub fn restic(&self, args: &[&str]) -> String {
        Restic::current().ok(&self.app.path("r"), PASSWORD, args)
    }

    pub fn refuses(&self, exit: i32, code: &str, args: &[&str]) -> crate::support::Refusal {
        self.app.refuses(exit, code, &self.args(args))
    }

    /// The largest file with packs.
    pub fn largest_pack(&self) -> PathBuf {
        let packs = walk(&self.app.path("r/data"));
        let bytes = |path: &PathBuf| path.metadata().unwrap().len();
        packs.into_iter().max_by_key(bytes).unwrap()
    }

    /// Where the tree is below a directory that all of a snapshot was restored to.
    pub fn below(&self, target: &str) -> String {
        format!("{target}{}", self.path("tree"))
    }
}

#[test]
fn what_one_program_does_the_other_goes_on_with() {
    let desk = Desk::new();
    let first = desk.back_up(&["--tag", "a,b"]);
    desk.app.write("tree/new", b"new");
    let tree = desk.path("tree");
    desk.restic(&["backup", "--host", "other", &tree]);
    desk.app.write("tree/newer", b"newer");
    let third = desk.json(&["backup", &tree]);
    assert_eq!(third["parent"], first.as_str(), "the newest of this host");
    assert_eq!(third["files"], 6);
    assert_eq!(third["files_unmodified"], 4);
    let listed = desk.json(&["snapshots"]);
    let hosts: Vec<&str> = listed["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["hostname"].as_str().unwrap())
        .collect();
    assert_eq!(hosts.len(), 3);
    assert_eq!(hosts[1], "other");
    assert_eq!(
        desk.json(&["snapshots", "--tag", "a"])["snapshots"][0]["id"],
        first.as_str()
    );
    desk.restic(&["check", "--read-data"]);

    // Each restores what the other has backed up, to the last byte and bit.
    desk.ok(&["restore", "latest", "--target", &desk.path("ours")]);
    desk.restic(&["restore", "latest", "--target", &desk.path("theirs")]);
    let expected = listing(&desk.app.path("tree"));
    assert_eq!(listing(desk.below(&desk.path("ours")).as_ref()), expected);
    assert_eq!(listing(desk.below(&desk.path("theirs")).as_ref()), expected);

    // Looking into it.
    let all = desk.ok(&["ls", "latest"]);
    all.says(&["/tree/dir/two.txt", "/tree/dir/odd \"n\\xfe\\nme"]);
    let inner = desk.json(&["ls", "latest", &format!("{tree}/dir")]);
    let names: Vec<&str> = inner["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["link", "odd \"n\\xfe\\nme", "one.log", "two.txt"]);
    desk.ok(&["find", "--snapshot", &first, "*.LOG", "-i"])
        .says(&["/tree/dir/one.log"]);
    desk.ok(&["find", "newer"]).says(&["/tree/newer"]);
    desk.ok(&["find", "never"]).says(&["nothing was found"]);
    let changes = desk.ok(&["diff", &first, "latest"]);
    changes.says(&[
        "/tree/new\n",
        "/tree/newer\n",
        "2 added, 0 removed, 0 modified",
    ]);
    let dumped = desk.ok(&["dump", "latest", &format!("{tree}/newer")]);
    assert_eq!(dumped.stdout, "newer");
    let stats = desk.json(&["stats"]);
    assert_eq!(
        (stats["snapshots"].clone(), stats["files"].clone()),
        (3.into(), 15.into())
    );
}

#[test]
fn a_backup_leaves_out_what_it_is_told_to() {
    let desk = Desk::new();
    desk.app.write(
        "tree/cache/CACHEDIR.TAG",
        b"Signature: 8a477f597d28d172789f06886806bc55\n",
    );
    desk.app.write("tree/cache/x", b"x");
    desk.app.write("tree/skip/.nobackup", b"");
    desk.app.write("tree/skip/x", b"x");
    desk.app.write("tree/long", &noise(3000, 9));
    desk.app
        .write("patterns", b"# what is not wanted\n\n*.log\n");
    let patterns = desk.path("patterns");
    let args = [
        "--exclude-file",
        &patterns,
        "--iexclude",
        "TWO.*",
        "--exclude-caches",
        "--exclude-if-present",
        ".nobackup",
        "--exclude-larger-than",
        "2k",
        "--exclude",
        "odd*",
    ];
    desk.back_up(&args);
    let tree = desk.path("tree");
    let ours = desk.ok(&["ls", "latest"]).stdout;
    desk.restic(&[&["backup", "--host", "other", &tree], &args[..]].concat());
    let theirs = desk.ok(&["ls", "latest", "--host", "other"]).stdout;
    assert_eq!(ours, theirs);
    for stays in ["CACHEDIR.TAG", ".nobackup"] {
        assert!(ours.contains(stays), "{stays}: {ours}");
    }
    for gone in [
        "one.log", "two.txt", "cache/x", "skip/x", "big", "long", "odd",
    ] {
        assert!(!ours.contains(gone), "{gone}: {ours}");
    }
}

#[test]
fn names_and_streams_come_from_elsewhere_too() {
    let desk = Desk::new();
    let tree = desk.path("tree");
    desk.app
        .write("names", format!("{tree}/dir\0{tree}/big\0").as_bytes());
    desk.ok(&["backup", "--files-from-raw", &desk.path("names")]);
    let listed = desk.ok(&["ls", "latest"]);
    listed.says(&["/tree/big", "/tree/dir/two.txt"]);
    let mut command =
        desk.app
            .command(&["repo", "backup", "--stdin", "--stdin-filename", "db.sql"]);
    let file = std::fs::File::open(desk.app.path("tree/big")).unwrap();
    let ended = crate::support::run(command.stdin(file));
    assert_eq!(ended.code, 0, "{ended}");
    desk.ok(&["restore", "latest", "--target", &desk.path("out")]);
    let read = |path: &str| std::fs::read(desk.app.path(path)).unwrap();
    assert!(read("out/db.sql") == read("tree/big"));
}

#[test]
fn what_is_forgotten_and_pruned_is_gone_and_nothing_else() {
    let desk = Desk::new();
    desk.app.write("tree/first", &noise(200_000, 11));
    desk.back_up(&[]);
    std::fs::remove_file(desk.app.path("tree/first")).unwrap();
    let kept = desk.back_up(&[]);
    let tried = desk.json(&["forget", "--keep-last", "1", "--dry-run"]);
    assert_eq!(
        tried["groups"][0]["keep"][0]["snapshot"]["id"],
        kept.as_str()
    );
    assert_eq!(
        desk.json(&["snapshots"])["snapshots"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    desk.ok(&["forget", "--keep-last", "1"]);
    let marked = desk.json(&["prune", "--max-unused", "0%"]);
    assert!(
        marked["marked"]["bytes"].as_u64().unwrap() > 200_000,
        "{marked}"
    );
    assert_eq!(marked["deleted"]["packs"], 0);
    let waiting = desk.json(&["prune"]);
    assert_eq!(waiting["waiting"], marked["marked"]);
    let deleted = desk.json(&["prune", "--grace", "0s"]);
    assert_eq!(deleted["deleted"], marked["marked"]);
    desk.ok(&["check", "--read-data"])
        .says(&["no errors were found"]);
    desk.restic(&["check", "--read-data"]);
    let target = desk.path("out");
    desk.ok(&["restore", &kept, "--target", &target]);
    assert_eq!(
        listing(desk.below(&target).as_ref()),
        listing(&desk.app.path("tree"))
    );
    desk.refuses(2, "usage", &["forget"])
        .advises(&["--keep-daily"]);
    desk.refuses(2, "usage", &["forget", "--keep-tag", "none"])
        .names(&["keep nothing of"]);
    desk.refuses(2, "usage", &["forget", "--keep-daily", "many"])
        .names(&["--keep-daily", "many"]);
}

#[test]
fn snapshots_are_copied_and_tagged() {
    let desk = Desk::new();
    let first = desk.back_up(&["--tag", "a"]);
    let (other, password) = (desk.path("other"), desk.path("other password"));
    desk.app.write("other password", b"another");
    let elsewhere = |args: &[&str]| {
        let reference = format!("file:{password}");
        let all = [&["repo", "--repo", &other, "--password", &reference], args].concat();
        desk.app.json(&all)
    };
    elsewhere(&["init"]);
    let from = format!("file:{}", desk.path("password"));
    let repo = desk.path("r");
    let copy = ["copy", "--from-repo", &repo, "--from-password", &from];
    let copied = elsewhere(&copy);
    assert_eq!(copied["copied"][0]["from"], first.as_str());
    assert_eq!(elsewhere(&copy)["there"][0], first.as_str());
    let target = desk.path("out");
    elsewhere(&["restore", "latest", "--target", &target]);
    assert_eq!(
        listing(desk.below(&target).as_ref()),
        listing(&desk.app.path("tree"))
    );
    Restic::installed().ok(
        &desk.app.path("other"),
        "another",
        &["check", "--read-data"],
    );

    let changed = desk.json(&["tag", "--add", "b", &first]);
    let now = changed["changed"][0]["to"].as_str().unwrap().to_owned();
    let listed = desk.json(&["snapshots"]);
    assert_eq!(
        listed["snapshots"][0]["tags"],
        serde_json::json!(["a", "b"])
    );
    assert_eq!(listed["snapshots"][0]["original"], first.as_str());
    desk.json(&["tag", "--remove", "a,b", &now]);
    assert_eq!(desk.json(&["snapshots"])["snapshots"][0].get("tags"), None);
    assert_eq!(
        desk.json(&["tag", "--set", "", "latest"])["changed"],
        serde_json::json!([])
    );
}

#[test]
fn passwords_are_added_replaced_and_removed() {
    let mut desk = Desk::new();
    desk.app.write("second", b"second");
    let second = format!("file:{}", desk.path("second"));
    let added = desk.json(&["key", "add", "--new-password", &second]);
    let id = added["added"].as_str().unwrap().to_owned();
    assert_eq!(
        desk.json(&["key", "list"])["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    desk.ok(&["--password", &second, "snapshots"]);
    let own = desk.args(&["--password", &second, "key", "remove", &id]);
    desk.app.refuses(2, "usage", &own).advises(&["key passwd"]);
    desk.ok(&["key", "remove", &id[..8]]);
    desk.refuses(1, "decryption", &["--password", &second, "snapshots"])
        .names(&["does not open its only key"]);
    desk.ok(&["key", "passwd", "--new-password", &second]);
    desk.refuses(1, "decryption", &["snapshots"]);
    desk.app.env("RESTIC_PASSWORD_FILE", desk.path("second"));
    desk.ok(&["snapshots"]);
    Restic::current().ok(&desk.app.path("r"), "second", &["snapshots"]);
}

#[test]
fn what_is_wrong_is_said() {
    let mut desk = Desk::bare();
    desk.refuses(1, "store", &["snapshots"]).names(&["/r"]);
    std::fs::create_dir(desk.app.path("r")).unwrap();
    desk.refuses(2, "point-unknown", &["snapshots"])
        .names(&["there is no repository at"])
        .advises(&["repo init"]);
    desk.ok(&["init"]);
    desk.refuses(1, "target", &["init"]).names(&["already"]);
    let id = desk.back_up(&[]);
    desk.refuses(2, "point-unknown", &["ls", "latest", "/none"])
        .names(&["none"]);
    desk.refuses(2, "point-unknown", &["restore", "0000", "--target", "x"])
        .names(&["0000"]);
    desk.refuses(1, "source-missing", &["backup", &desk.path("none")])
        .names(&["none"]);
    desk.refuses(2, "usage", &["--repo", "rest:http://h/", "snapshots"])
        .names(&["rest:"]);
    desk.refuses(2, "usage", &["backup", "/etc", "--exclude", "[a"])
        .names(&["[a"]);
    desk.refuses(2, "usage", &["prune", "--max-unused", "x"])
        .advises(&["5%"]);
    desk.refuses(2, "usage", &["dump", "latest", &desk.path("tree/dir/link")])
        .advises(&["repo restore"]);
    desk.refuses(2, "usage", &["forget", "--no-lock", "--keep-last", "1"])
        .names(&["--no-lock"]);

    // What cannot be read: named, and the rest is in the snapshot.
    let (tree, memory) = (desk.path("tree"), "/proc/self/mem");
    let backup = ["backup", tree.as_str(), memory];
    let made = desk.app.json_exits(3, &desk.args(&backup));
    assert_eq!(made["skipped"][0]["path"], memory, "{made}");

    // A damaged pack: named, and only what it holds is lost.
    let packs = desk.app.path("r/data");
    let largest = walk(&packs)
        .into_iter()
        .max_by_key(|p| p.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let checked = desk.app.exits(4, &desk.args(&["check", "--read-data"]));
    checked.says(&[
        "pack ",
        " is damaged: ",
        "errors were found",
        "to mend it: ",
    ]);
    let restored = desk.app.json_exits(
        3,
        &desk.args(&["restore", &id, "--target", &desk.path("out")]),
    );
    assert_eq!(
        restored["failed"].as_array().unwrap().len(),
        1,
        "{restored}"
    );
    // A lost index.
    for file in walk(&desk.app.path("r/index")) {
        std::fs::remove_file(file).unwrap();
    }
    desk.app.exits(4, &desk.args(&["check"]));
    desk.ok(&["repair", "index"]);
    desk.ok(&["check"]);
    desk.app
        .exits(3, &desk.args(&["repair", "index", "--read-data"]))
        .says(&[" is damaged: ", "were copied out of damaged packs"]);
    desk.app.exits(4, &desk.args(&["check"]));
    desk.back_up(&[]);
    desk.ok(&["prune", "--grace", "0s"]);
    desk.ok(&["check", "--read-data"]);
    // A lock that says nothing.
    std::fs::create_dir_all(desk.app.path("r/locks")).unwrap();
    let lock = desk.app.path("r/locks").join("0".repeat(64));
    std::fs::write(lock, "nothing").unwrap();
    desk.refuses(6, "busy", &["snapshots"])
        .names(&["lock 0000"])
        .advises(&["unlock --remove-all", "--no-lock"]);
    desk.ok(&["--no-lock", "snapshots"]);
    desk.ok(&["unlock", "--remove-all"]);
    desk.ok(&["snapshots"]);

    desk.app.env("RESTIC_PASSWORD_FILE", "");
    desk.refuses(2, "secret", &["snapshots"])
        .advises(&["RESTIC_PASSWORD_FILE"]);
    desk.app.env("RESTIC_REPOSITORY", "");
    desk.refuses(2, "usage", &["snapshots"])
        .advises(&["RESTIC_REPOSITORY"]);
}

/// The files below a directory.
pub fn walk(directory: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn somebody_at_work_is_waited_for_or_named() {
    use lifeboat_repository::lock::{Lock, Mode};
    let desk = Desk::new();
    desk.back_up(&[]);
    let store = lifeboat_store::LocalStore::open(&desk.app.path("r")).unwrap();
    let repository =
        lifeboat_repository::Repository::open(std::sync::Arc::new(store), "", PASSWORD.as_bytes())
            .unwrap();
    let author = lifeboat_repository::Author {
        user: "ada".into(),
        host: "elsewhere".into(),
        ..Default::default()
    };
    let lock = Lock::take(
        &repository,
        Mode::Exclusive,
        std::time::Duration::ZERO,
        &author,
    )
    .unwrap();
    desk.refuses(6, "busy", &["snapshots"])
        .names(&["locked exclusively by process", "ada on elsewhere"])
        .advises(&["--retry-lock", "unlock"]);
    desk.ok(&["snapshots", "--no-lock"]);
    desk.ok(&["unlock"]).says(&["no lock was to be removed"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| desk.ok(&["snapshots", "--retry-lock", "60s"]));
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(lock);
        waiting.join().unwrap();
    });
    let _left = Lock::take(
        &repository,
        Mode::Shared,
        std::time::Duration::ZERO,
        &author,
    )
    .unwrap();
    desk.ok(&["unlock", "--remove-all"])
        .says(&["ada on elsewhere"]);
}

#[test]
fn whatever_is_wrong_with_a_repository_the_hint_is_what_helps() {
    let desk = Desk::new();
    desk.back_up(&[]);
    let root = desk.app.path("r");
    let first = |kind: &str| walk(&root.join(kind)).into_iter().min().unwrap();
    for (file, code, args, hint) in [
        (
            root.join("config"),
            "object-damaged",
            &["check"][..],
            "from a copy",
        ),
        (first("keys"), "object-damaged", &["check"], "from a copy"),
        (first("index"), "object-damaged", &["prune"], "repair index"),
    ] {
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, b"garbage {").unwrap();
        desk.refuses(4, code, args).advises(&[hint]);
        std::fs::write(&file, whole).unwrap();
    }
    desk.refuses(1, "store", &["snapshots", "--repo", "/nowhere"])
        .names(&["/nowhere does not exist"])
        .advises(&["lifeboat repo init"]);
    let nothing_listens = "sftp://nobody@127.0.0.1:1/x";
    let refusal = desk.refuses(1, "store", &["snapshots", "--repo", nothing_listens]);
    assert!(!refusal.hint.contains("configuration"), "{}", refusal.hint);
    if !needs_mounts() {
        let mount = "mount --bind r r; mount -o remount,ro,bind r";
        let output = in_namespace(&desk.app, mount, &desk.args(&["snapshots"]), "");
        output
            .refusal()
            .names(&["is read-only"])
            .advises(&["--no-lock"]);
        let read = desk.args(&["snapshots", "--no-lock"]);
        assert_eq!(in_namespace(&desk.app, mount, &read, "").code, 0);
    }
    // A snapshot that is named twice is one.
    let twice = desk.json(&["forget", "--dry-run", "latest", "latest"]);
    assert_eq!(twice["groups"][0]["remove"].as_array().unwrap().len(), 1);
    // What the command line lacks is said in JSON, too.
    let output = desk.app.run(&["--json", "repo", "diff", "latest"]);
    output.json_refusal("usage").names(&["<SECOND>"]);
}
