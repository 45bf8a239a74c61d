//! `lifeboat repo backup`: what is named by files, dry runs, and what a snapshot says of its backup.

use crate::repo::{Desk, PASSWORD};
use crate::support::{listing, noise, run};
use lifeboat_testkit::restic::Restic;
use serde_json::Value;

/// What a snapshot says of its backup.
fn summary(listed: &Value) -> Value {
    let all = listed.get("snapshots").unwrap_or(listed);
    all.as_array().unwrap().last().unwrap()["summary"].clone()
}

#[test]
fn a_snapshot_says_of_its_backup_what_restic_says() {
    let desk = Desk::new();
    let (theirs, restic) = (desk.app.path("theirs"), Restic::current());
    let run = |args: &[&str]| restic.ok(&theirs, PASSWORD, args);
    let same = ["init", "--copy-chunker-params", "--from-repo"];
    let password = desk.path("password");
    let from = ["--from-password-file", &password];
    run(&[&same[..], &[&desk.path("r")], &from].concat());
    let tree = desk.path("tree");
    let change: [(&str, &dyn Fn()); 6] = [
        ("everything is new", &|| {}),
        ("nothing changed", &|| {}),
        ("a file, its link and a directory", &|| {
            desk.app.write("tree/dir/one.log", b"changed");
            std::fs::remove_file(desk.app.path("tree/dir/link")).unwrap();
            desk.app.write("tree/dir/link", b"no link");
            desk.app.write("tree/more/deep/file", &noise(3000, 31));
        }),
        ("metadata alone", &|| {
            let file = std::fs::File::open(desk.app.path("tree/big")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("something is gone", &|| {
            std::fs::remove_dir_all(desk.app.path("tree/more/deep")).unwrap();
        }),
        ("a directory is a file now", &|| {
            std::fs::remove_dir_all(desk.app.path("tree/more")).unwrap();
            desk.app.write("tree/more", b"");
        }),
    ];
    for (what, change) in change {
        change();
        desk.ok(&["backup", &tree]);
        run(&["backup", &tree]);
        let ours = summary(&desk.json(&["snapshots"]));
        let theirs = summary(&serde_json::from_str(&run(&["snapshots", "--json"])).unwrap());
        for field in [
            "files_new",
            "files_changed",
            "files_unmodified",
            "dirs_new",
            "data_blobs",
            "total_files_processed",
            "total_bytes_processed",
        ] {
            assert_eq!(
                ours[field], theirs[field],
                "{what}, {field}: {ours} {theirs}"
            );
        }
        let number = |of: &Value, field: &str| of[field].as_i64().unwrap();
        // Others may change the directory above all of it between the two.
        for field in ["dirs_changed", "dirs_unmodified", "tree_blobs"] {
            let apart = number(&ours, field) - number(&theirs, field);
            assert!(apart.abs() <= 1, "{what}, {field}: {ours} {theirs}");
        }
        let directories = |of: &Value| number(of, "dirs_changed") + number(of, "dirs_unmodified");
        assert_eq!(directories(&ours), directories(&theirs), "{what}");
        let time = |field: &str| ours[field].as_str().unwrap().parse::<jiff::Timestamp>();
        assert!(time("backup_start").unwrap() <= time("backup_end").unwrap());
    }
    // restic shows what we say, and the reverse.
    let shown = desk.restic(&["snapshots"]);
    assert!(shown.contains(" KiB"), "{shown}");
    desk.ok(&["--repo", &desk.path("theirs"), "snapshots"])
        .says(&["SIZE", " KiB"]);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_be_added() {
    use lifeboat_repository::lock::{Lock, Mode};
    let desk = Desk::new();
    let tree = desk.path("tree");
    let store = lifeboat_store::LocalStore::open(&desk.app.path("r")).unwrap();
    let store = std::sync::Arc::new(store);
    let password = PASSWORD.as_bytes();
    let repository = lifeboat_repository::Repository::open(store, "", password).unwrap();
    let author = Default::default();
    let wait = std::time::Duration::ZERO;
    let lock = Lock::take(&repository, Mode::Exclusive, wait, &author).unwrap();
    let before = listing(&desk.app.path("r"));
    let tried = desk.json(&["backup", "--dry-run", &tree]);
    desk.ok(&["backup", "-n", &tree])
        .says(&["a dry run, nothing is stored: 4 files", "to be stored in"]);
    assert_eq!(listing(&desk.app.path("r")), before);
    lock.release().unwrap();
    let done = desk.json(&["backup", &tree]);
    assert_eq!(tried["snapshot"], Value::Null);
    for field in ["files", "directories", "bytes"] {
        assert_eq!(tried[field], done[field], "{field}");
    }
    for field in ["data_blobs", "tree_blobs"] {
        assert_eq!(tried["added"][field], done["added"][field], "{field}");
    }
    assert_eq!(tried["summary"]["files_new"], 4);
}

#[test]
fn no_snapshot_is_made_of_what_is_unchanged_when_none_is_wanted() {
    let desk = Desk::new();
    // Nobody changes it or anything above it.
    let still = "/usr/lib/os-release";
    let first = desk.json(&["backup", "--skip-if-unchanged", still]);
    let second = desk.json(&["backup", "--skip-if-unchanged", still]);
    assert_eq!(
        (&first["unchanged"], &second["unchanged"]),
        (&false.into(), &true.into())
    );
    assert_eq!(second["snapshot"], first["snapshot"]);
    desk.ok(&["backup", "--skip-if-unchanged", still])
        .says(&["no new one"]);
    let count = |desk: &Desk| {
        desk.json(&["snapshots"])["snapshots"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(count(&desk), 1);
    desk.ok(&["backup", still]);
    assert_eq!(count(&desk), 2);
}

#[test]
fn files_name_what_is_backed_up_and_what_is_not() {
    let mut desk = Desk::new();
    let tree = desk.path("tree");
    desk.app.write("tree/a [b]", b"brackets");
    let patterns = format!("# what is wanted\n\n  {tree}/d*/*.log  \n{tree}/none*\n{tree}/?ig\n");
    desk.app.write("patterns", patterns.as_bytes());
    let said = desk.ok(&["backup", "--files-from", &desk.path("patterns")]);
    assert!(said.stderr.contains("nothing is like"), "{said}");
    let files = |desk: &Desk| {
        let listed = desk.ok(&["ls", "latest"]).stdout;
        let inside = listed.lines().filter_map(|line| line.strip_prefix(&tree));
        inside.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(files(&desk), ["", "/big", "/dir", "/dir/one.log"]);
    desk.app
        .write("names", format!("{tree}/a [b]\n\n{tree}/big\n").as_bytes());
    desk.ok(&["backup", "--files-from-verbatim", &desk.path("names")]);
    assert_eq!(files(&desk), ["", "/a [b]", "/big"]);

    desk.app.env("KIND", "log");
    desk.app.write("not", b"# not these\n*.$KIND\n");
    desk.app.write("nor", b"TWO.*\n");
    let not = ["--exclude-file", &desk.path("not")].map(str::to_owned);
    let nor = ["--iexclude-file", &desk.path("nor")].map(str::to_owned);
    let given: Vec<&str> = not.iter().chain(&nor).map(String::as_str).collect();
    desk.ok(&[&["backup", &tree, "--exclude", "odd*"], &given[..]].concat());
    assert_eq!(files(&desk), ["", "/a [b]", "/big", "/dir", "/dir/link"]);

    desk.app.write("bad", b"/[\n");
    desk.refuses(2, "usage", &["backup", "--files-from", &desk.path("bad")])
        .names(&["/["]);
    desk.refuses(2, "usage", &["backup", "--files-from", &desk.path("lost")])
        .names(&["lost"]);
    desk.app.write("empty", b"# nothing\n");
    desk.refuses(2, "usage", &["backup", "--files-from", &desk.path("empty")])
        .names(&["nothing is named"]);
}

#[test]
fn times_and_groups_choose_what_a_backup_is_compared_with() {
    let desk = Desk::new();
    let tree = desk.path("tree");
    let first = desk.back_up(&["--time", "2020-02-03T04:05:06+02:00", "--tag", "a"]);
    let listed = desk.json(&["snapshots"]);
    assert_eq!(listed["snapshots"][0]["time"], "2020-02-03T04:05:06+02:00");
    let earlier = desk.json(&["backup", &tree, "--time", "2019-01-01 00:00:00"]);
    assert_eq!(earlier["parent"], Value::Null, "nothing is as old");
    let dry = |more: &[&str]| desk.json(&[&["backup", "-n", &tree], more].concat());
    assert_eq!(dry(&[])["parent"], first.as_str());
    assert_eq!(
        dry(&["-g", "host,paths,tags"])["parent"],
        earlier["snapshot"]
    );
    assert_eq!(dry(&["-g", "tags", "--tag", "a"])["parent"], first.as_str());
    assert_eq!(dry(&["--host", "other"])["parent"], Value::Null);
    assert_eq!(
        dry(&["--host", "other", "-g", ""])["parent"],
        first.as_str()
    );
    assert_eq!(dry(&["--force"])["parent"], Value::Null);
    desk.refuses(2, "usage", &["backup", &tree, "--time", "soon"])
        .names(&["--time", "soon"]);
    desk.refuses(2, "usage", &["backup", &tree, "-g", "age"])
        .names(&["--group-by", "age"]);

    // A copy has another inode, and a link more another time of change.
    let path = desk.app.path("tree/big");
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::copy(&path, desk.app.path("copy")).unwrap();
    let copy = std::fs::File::options()
        .write(true)
        .open(desk.app.path("copy"))
        .unwrap();
    copy.set_modified(before).unwrap();
    std::fs::rename(desk.app.path("copy"), &path).unwrap();
    let linked = desk.app.path("tree/dir/two.txt");
    std::fs::hard_link(&linked, desk.app.path("another name")).unwrap();
    let unread = |more: &[&str]| dry(more)["files_unmodified"].as_u64().unwrap();
    assert_eq!(unread(&[]), 2);
    assert_eq!(unread(&["--ignore-ctime"]), 3);
    assert_eq!(unread(&["--ignore-inode"]), 4);
}

#[test]
fn what_is_gone_is_named_and_the_rest_is_backed_up() {
    let desk = Desk::new();
    let (tree, gone) = (desk.path("tree/dir"), desk.path("gone"));
    let below = desk.path("tree/big/below/a/file");
    let args = ["repo", "backup", &tree, &gone, &below];
    desk.app.exits(3, &args).says(&[&gone, &below]);
    let made = desk.app.json_exits(3, &args);
    let skipped = made["skipped"].as_array().unwrap();
    assert_eq!(
        (skipped.len(), &skipped[0]["path"]),
        (2, &Value::from(gone.clone()))
    );
    let snapshots = listing(&desk.app.path("r/snapshots"));
    let refusal = desk.refuses(1, "source-missing", &["backup", &gone]);
    assert!(refusal.message.contains(&gone), "{refusal:?}");
    desk.refuses(1, "source-missing", &["backup", &gone, &below]);
    assert_eq!(listing(&desk.app.path("r/snapshots")), snapshots);
    // The snapshot says that it has what it has.
    let listed = desk.json(&["snapshots"]);
    let last = listed["snapshots"].as_array().unwrap().last().unwrap();
    assert_eq!(last["paths"], serde_json::json!([tree]));
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let desk = Desk::new();
    let (tree, pipe) = (desk.path("tree"), desk.path("tree/dir/.nobackup"));
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    desk.ok(&["backup", &tree, "--exclude-if-present", ".nobackup"]);
    desk.ok(&["backup", &tree, "--exclude-if-present", ".nobackup:head"]);
    for option in ["--files-from", "--files-from-verbatim", "--files-from-raw"] {
        desk.refuses(2, "usage", &["backup", option, &pipe]);
    }
    let password = format!("file:{pipe}");
    desk.refuses(2, "secret", &["--password", &password, "snapshots"]);
    desk.refuses(2, "usage", &["backup", &tree, "--exclude-file", &pipe]);
}

#[test]
fn a_limit_of_threads_is_an_error_and_no_panic() {
    if lifeboat_testkit::privilege::needs_root(
        "start a program as a user with nothing else running",
    ) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(place.path(), open).unwrap();
    let program = place.path().join("lifeboat");
    std::fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &program).unwrap();
    let run = |limit: u32, args: &[&str]| {
        crate::support::run(
            std::process::Command::new("prlimit")
                .arg(format!("--nproc={limit}"))
                .args([
                    "setpriv",
                    "--reuid",
                    "61234",
                    "--regid",
                    "61234",
                    "--clear-groups",
                ])
                .arg(&program)
                .args(args)
                .current_dir(place.path())
                .env("HOME", place.path())
                .env("RESTIC_PASSWORD", PASSWORD)
                .env("RESTIC_REPOSITORY", place.path().join("r")),
        )
    };
    assert_eq!(run(100, &["repo", "init"]).code, 0);
    let mut codes = Vec::new();
    for limit in 1..12 {
        let output = run(
            limit,
            &["repo", "backup", "/etc/hostname", "/usr/lib/os-release"],
        );
        assert!(matches!(output.code, 0 | 1), "{limit}: {output}");
        if output.code == 1 {
            output.says(&["thread"]);
        }
        codes.push(output.code);
    }
    // With few, it works.
    assert_eq!(
        (codes.first(), codes.last()),
        (Some(&1), Some(&0)),
        "{codes:?}"
    );
}

#[test]
fn paths_lie_in_a_snapshot_where_restic_puts_them() {
    let desk = Desk::new();
    desk.app.write("x/tree/other", b"o");
    desk.app.write("x/here/file", b"f");
    let (theirs, restic) = (desk.app.path("theirs"), Restic::current());
    restic.ok(&theirs, PASSWORD, &["init"]);
    let absolute = desk.path("tree/dir");
    let at = desk.app.path("x");
    for paths in [
        &["here"][..],
        &["here/file", "tree/"],
        &["../tree/dir", "./here/../here"],
        &["tree", "../tree", &absolute],
        &["."],
        &["here/file", "."],
        &["..", "--exclude", "r", "--exclude", "theirs"],
    ] {
        let args = desk.args(&[&["backup"], paths].concat());
        let done = run(desk.app.command(&args).current_dir(&at));
        assert_eq!(done.code, 0, "{done}");
        let mut their = restic.command(&theirs, PASSWORD);
        their.arg("backup").args(paths).current_dir(&at);
        assert!(their.output().unwrap().status.success());
        let ours = desk.restic(&["ls", "--json", "latest"]);
        let theirs = restic.ok(&theirs, PASSWORD, &["ls", "--json", "latest"]);
        let listed = |text: &str| -> Vec<Value> {
            let values = text
                .lines()
                .map(|l| serde_json::from_str::<Value>(l).unwrap());
            let field = |v: Value| v.get("path").or(v.get("paths")).cloned().unwrap();
            values.map(field).collect()
        };
        assert_eq!(listed(&ours), listed(&theirs), "{paths:?}");
    }
}

#[test]
fn everything_of_the_root_directory_is_taken() {
    let desk = Desk::new();
    // What lies deeper is not of interest here, and much of it is not ours.
    let entries = std::fs::read_dir("/").unwrap();
    let excludes: Vec<String> = entries
        .map(|entry| format!("/{}/*", entry.unwrap().file_name().display()))
        .collect();
    let mut args = vec!["backup", "/"];
    for exclude in &excludes {
        args.extend(["--exclude", exclude]);
    }
    // 3 where a directory may not be read.
    let done = desk.app.run(&desk.args(&args));
    assert!([0, 3].contains(&done.code), "{done}");
    let listed = desk.restic(&["ls", "latest"]);
    for name in ["/etc", "/usr", "/tmp"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
}

#[test]
fn a_time_beyond_what_can_be_written_becomes_the_nearest() {
    let desk = Desk::new();
    let path = desk.app.path("tree/big");
    let file = std::fs::File::open(&path).unwrap();
    let late = std::time::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_800);
    file.set_modified(late).unwrap();
    if file.metadata().unwrap().modified().unwrap() != late {
        return; // This file system holds no such time.
    }
    desk.back_up(&[]);
    let listed = desk.ok(&["ls", "-l", "latest"]);
    listed.says(&["9999-12-3"]).never_says(&["1970-01-01"]);
    desk.restic(&["check", "--read-data"]);
    // It is not read again.
    let again = desk.json(&["backup", &desk.path("tree")]);
    assert_eq!(again["files_unmodified"], again["files"]);
}

#[test]
fn who_and_where_are_named_as_restic_names_them() {
    let mut desk = Desk::new();
    desk.app.env("RESTIC_HOST", "web7");
    let tree = desk.path("tree");
    let args = desk.args(&["backup", &tree]);
    let mut command = desk.app.command(&args);
    let done = run(command
        .env_remove("USER")
        .env_remove("LOGNAME")
        .env_remove("SUDO_USER"));
    assert_eq!(done.code, 0, "{done}");
    desk.ok(&["backup", &tree, "--host", "db1"]);
    let hosts = |args: &[&str]| -> Vec<String> {
        let listed = desk.json(&[&["snapshots"], args].concat());
        let listed = listed["snapshots"].as_array().unwrap().clone();
        let named = listed
            .iter()
            .map(|s| s["hostname"].as_str().unwrap().to_owned());
        named.collect()
    };
    assert_eq!(hosts(&[]), ["web7"]);
    assert_eq!(hosts(&["--host", "db1"]), ["db1"]);
    assert_eq!(hosts(&["--host", ""]), ["web7", "db1"]);
    let listed = desk.json(&["snapshots"]);
    let user = run(std::process::Command::new("id").arg("-un"));
    assert_eq!(listed["snapshots"][0]["username"], user.stdout.trim());
}

#[test]
fn tables_have_the_time_of_this_host_and_say_so() {
    let mut desk = Desk::new();
    desk.back_up(&["--time", "2026-01-02T03:00:00+09:00"]);
    desk.app.env("TZ", "UTC");
    desk.ok(&["snapshots"])
        .says(&["2026-01-01 18:00:00", "1 snapshot; times in UTC"]);
    desk.app.env("TZ", "Asia/Tokyo");
    desk.ok(&["snapshots"])
        .says(&["2026-01-02 03:00:00", "times in Asia/Tokyo"]);
    desk.ok(&["forget", "--keep-last", "1"])
        .says(&["2026-01-02 03:00:00", "times in Asia/Tokyo"]);
}

#[test]
fn passwords_are_read_as_restic_reads_them() {
    let desk = Desk::new();
    let utf16 = |mark: [u8; 2], unit: fn(u16) -> [u8; 2]| {
        let units = format!("{PASSWORD}\r\n")
            .encode_utf16()
            .flat_map(unit)
            .collect::<Vec<u8>>();
        [&mark[..], &units].concat()
    };
    for (name, bytes) in [
        ("windows", format!("{PASSWORD}\r\n").into_bytes()),
        ("marked", format!("\u{feff}{PASSWORD}\r\n").into_bytes()),
        ("blanks", format!(" {PASSWORD} \n\n").into_bytes()),
        ("little", utf16([0xff, 0xfe], u16::to_le_bytes)),
        ("big", utf16([0xfe, 0xff], u16::to_be_bytes)),
    ] {
        let path = desk.app.write(name, &bytes);
        let file = format!("file:{}", path.display());
        desk.ok(&["--password", &file, "snapshots"]);
        let command = format!("cmd:cat '{}'", path.display());
        desk.ok(&["--password", &command, "snapshots"]);
        let mut theirs = Restic::current().command(&desk.app.path("r"), PASSWORD);
        theirs
            .arg("snapshots")
            .env_remove("RESTIC_PASSWORD")
            .env("RESTIC_PASSWORD_FILE", &path);
        assert!(theirs.output().unwrap().status.success(), "{name}");
    }
    let odd = desk.app.write("odd", b"\xff\xfea");
    let file = format!("file:{}", odd.display());
    desk.refuses(2, "secret", &["--password", &file, "snapshots"])
        .names(&["is no text"]);
}

#[test]
fn a_directory_that_is_gone_stands_in_the_way_of_relative_paths_alone() {
    let desk = Desk::new();
    let gone = desk.app.path("gone");
    let tree = desk.path("tree");
    let from_there = |path: &str| {
        std::fs::create_dir(&gone).unwrap();
        let script = "cd \"$1\" && rmdir \"$1\" && shift && exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_lifeboat");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(&gone).arg(program);
        shell.args(["repo", "backup", path]).current_dir("/");
        let set = ["RESTIC_REPOSITORY", "RESTIC_PASSWORD_FILE"];
        let value = |name| {
            desk.app
                .command(&[])
                .get_envs()
                .find(|(n, _)| *n == name)
                .unwrap()
                .1
                .map(ToOwned::to_owned)
        };
        shell.envs(set.map(|name| (name, value(name).unwrap())));
        run(&mut shell)
    };
    let absolute = from_there(&tree);
    assert_eq!(absolute.code, 0, "{absolute}");
    let relative = from_there("tree");
    assert_eq!(relative.code, 1, "{relative}");
    relative.says(&["tree is in a directory that is gone"]);
}
