//! Machines, by the commands of a recipe: a btrfs subvolume on a loop device, and commands that lie.

use crate::support::{App, at, run, with_machine};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A btrfs file system with a subvolume `vm`, on a loop device. It ends with its value.
struct Subvolume {
    directory: tempfile::TempDir,
}

impl Subvolume {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fs = Subvolume { directory };
        fs.sh(
            "truncate -s 160M image && mkfs.btrfs -q image && mkdir fs && mount -o loop image fs \
               && btrfs subvolume create fs/vm && echo first > fs/vm/file",
        );
        fs
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn sh(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        command
            .args(["-ec", script])
            .current_dir(self.directory.path());
        let output = run(&mut command);
        assert_eq!(output.code, 0, "{script}\n{output}");
        output.stdout
    }

    fn snapshots(&self) -> Vec<String> {
        let listed = self.sh("ls fs/.lifeboat/snapshots 2>/dev/null || true");
        listed.lines().map(str::to_owned).collect()
    }

    fn machines(&self) -> String {
        self.sh("ls fs/.lifeboat/machines 2>/dev/null || true")
    }
}

impl Drop for Subvolume {
    fn drop(&mut self) {
        let fs = self.path("fs");
        let _ = Command::new("umount").arg(fs).status();
    }
}

fn is_impossible() -> bool {
    lifeboat_testkit::privilege::needs_root("mount a btrfs file system")
}

/// The shipped recipe for a file system.
fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/machines")
        .join(name)
}

#[test]
fn recipes_are_sound_and_documented() {
    let documented = include_str!("../../../../docs/machines.md");
    for entry in std::fs::read_dir(recipe("")).unwrap() {
        let path = entry.unwrap().path();
        let row = format!(
            "(../examples/machines/{})",
            path.file_name().unwrap().display()
        );
        assert!(documented.contains(&row), "docs/machines.md has no {row}");
        let text = std::fs::read_to_string(&path).unwrap();
        let looked = match text.lines().next() {
            Some("#!/bin/sh") => run(Command::new("shellcheck").arg(&path)),
            Some("#!/usr/bin/env python3") => run(Command::new("python3")
                .args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"])
                .arg(&path)),
            other => panic!("{} is run by {other:?}", path.display()),
        };
        assert_eq!(looked.code, 0, "{looked}");
    }
}

/// An application with files and a machine, in one plan and one drill.
fn application(program: &Path, machine: &Path, check: &str) -> App {
    let app = App::with("");
    let machine = format!(
        r#"kind = "external"
machine = "{machine}"
create = ["{program}"]
list = ["{program}"]
delete = ["{program}"]
restore = ["{program}"]
machines = ["{program}"]
destroy = ["{program}"]
name = "{{app}}-backup-{{date}}"
keep_at_source = {{ last = 2 }}
wait = "3s""#,
        machine = machine.display(),
        program = program.display()
    );
    let rest = format!(
        r#"[drill.weekly]
plans = ["daily"]
checks = [{{ command = ["sh", "-c", "{check}"] }}]"#
    );
    app.configure(&with_machine(&machine, &rest));
    app.write("data/file", b"worth keeping");
    app
}

#[test]
fn snapshots_of_a_subvolume_are_taken_kept_drilled_and_deleted() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let check = "grep -qx third $LIFEBOAT_PATH_MACHINE/file";
    let app = application(&recipe("btrfs"), &fs.path("fs/vm"), check);
    app.run(&["doctor"])
        .says(&["answers: 0 snapshots of it are there"]);
    let mut points = Vec::new();
    for text in ["first", "second", "third"] {
        fs.sh(&format!("echo {text} > fs/vm/file"));
        points.push(app.backup());
    }
    fs.sh("echo fourth > fs/vm/file");
    // One a day has the plain name, the others that of their point.
    let taken = fs.snapshots();
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert!(taken[0].starts_with("crm-backup-20"), "{taken:?}");
    assert!(
        taken
            .iter()
            .any(|name| name.ends_with(&points[2].to_lowercase())),
        "{taken:?}"
    );
    let shown = app.json(&["show", &points[2]]);
    assert!(
        shown.to_string().contains(&points[2].to_lowercase()),
        "{shown:#}"
    );
    app.ok(&["verify", "--all"])
        .says(&["is available; its bytes were not read"]);

    // What no point names is left alone, whatever its name.
    fs.sh("btrfs subvolume snapshot -r fs/vm fs/.lifeboat/snapshots/crm-backup-2020-01-01");
    let would = app.ok(&["prune", "--dry-run"]);
    would.says(&["2 snapshots of plan daily kept where they are, 1 would go"]);
    assert_eq!(fs.snapshots().len(), 4);
    app.ok(&["prune"]).says(&[
        "1 deleted",
        "left alone: 1 snapshot of the machine that no point names",
    ]);
    assert_eq!(fs.snapshots().len(), 3);
    assert_eq!(app.points().len(), 3, "the points stay");
    app.ok(&["verify", "--all"])
        .says(&["was given up by keep_at_source"]);
    app.ok(&["prune"]).says(&["0 deleted"]);

    // The files are proved; of the machine it is known that it came back, and no more.
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    assert_eq!(fs.machines(), "", "nothing is left of it");
    let checks = drilled["checks"].to_string();
    assert!(!checks.contains("machine: content"), "{checks}");
    let gate = app.ok(&["gate"]);
    gate.says(&["open: each source was restored recently enough, and compared but for machines"]);
    let limits = drilled["limits"].to_string();
    assert!(
        limits.contains("its content was compared with nothing"),
        "{limits}"
    );

    // Deleted behind its back.
    fs.sh(&format!(
        "btrfs subvolume delete fs/.lifeboat/snapshots/*{}",
        points[2].to_lowercase()
    ));
    app.exits(4, &["verify"])
        .says(&["missing: it is not there any more"]);
    let failed = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert!(failed.to_string().contains("is not at"), "{failed:#}");
}

#[test]
fn two_machines_of_a_drill_are_not_taken_for_one_another() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    fs.sh("btrfs subvolume create fs/twin && echo twin > fs/twin/file");
    let check =
        "grep -qx first $LIFEBOAT_PATH_MACHINE/file && grep -qx twin $LIFEBOAT_PATH_TWIN/file";
    let app = application(&recipe("btrfs"), &fs.path("fs/vm"), check);
    let program = recipe("btrfs");
    let (program, twin) = (program.display(), fs.path("fs/twin"));
    let commands = ["create", "list", "delete", "restore", "machines", "destroy"];
    let commands = commands.map(|verb| format!("{verb} = [\"{program}\"]\n"));
    app.configure_also(&format!(
        "[source.twin]\nkind = \"external\"\nmachine = \"{}\"\n{}",
        twin.display(),
        commands.concat()
    ));
    app.edit(
        "[\"data\", \"machine\"]",
        "[\"data\", \"machine\", \"twin\"]",
    );
    app.backup();
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    assert_eq!(fs.machines(), "");
}

#[test]
fn a_snapshot_goes_with_the_last_copy_of_its_point() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let app = application(&recipe("btrfs"), &fs.path("fs/vm"), "true");
    app.edit("keep_at_source = { last = 2 }\n", "");
    app.edit(
        "keep = { last = 10 }",
        "keep = { last = 1 }\nprune_grace = \"1h\"",
    );
    app.backup();
    app.backup();
    app.ok(&["prune", "--store", "here"]);
    assert_eq!(fs.snapshots().len(), 2, "it is announced");
    at(&app, "+2h", &["prune", "--store", "here"]).says(&["1 deleted"]);
    assert_eq!((app.points().len(), fs.snapshots().len()), (1, 1));
}

#[test]
fn a_machine_that_a_killed_drill_left_is_destroyed_by_the_next_run() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let app = application(&recipe("btrfs"), &fs.path("fs/vm"), "sleep 300");
    app.backup();
    app.kill_once(&["drill", "weekly"], "a machine is made", || {
        !fs.machines().is_empty()
    });
    let left = fs.machines();
    assert!(left.starts_with("lifeboat-drill-crm-"), "{left}");
    // Whoever comes by next ends it: the next backup, or the next drill.
    app.edit("sleep 300", "true");
    let backed_up = app.ok(&["backup"]);
    backed_up.says(&[left.trim(), "of a drill that was ended is destroyed"]);
    assert_eq!(fs.machines(), "");
}

#[test]
fn a_machine_whose_drill_died_with_its_host_is_destroyed_once_its_time_is_over() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let app = application(&recipe("btrfs"), &fs.path("fs/vm"), "true");
    app.backup();
    let snapshot = fs.snapshots().remove(0);
    let make = |name: &str| {
        fs.sh(&format!(
            "mkdir -p fs/.lifeboat/machines && btrfs subvolume snapshot fs/.lifeboat/snapshots/{snapshot} fs/.lifeboat/machines/{name}"
        ));
    };
    // Another host made them, whose notes are not here.
    let (old, young) = (
        "lifeboat-drill-crm-test-1700000000-machine-00aa",
        "lifeboat-drill-crm-test-9700000000-machine-00bb",
    );
    make(old);
    make(young);
    app.ok(&["backup"])
        .says(&[old, "outlived its drill, and is destroyed"]);
    assert_eq!(fs.machines().trim(), young, "its drill may still run");
}

/// An application with a SQLite database on a machine that holds it, asked there.
fn with_a_database(fs: &Subvolume, program: &Path) -> App {
    fs.sh("sqlite3 fs/vm/app.db 'CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); INSERT INTO t (b) VALUES (1), (2), (3)'");
    let app = application(program, &fs.path("fs/vm"), "true");
    app.configure_also(&format!(
        "[source.db]\nkind = \"sqlite\"\npath = \"{}\"\n",
        fs.path("fs/vm/app.db").display()
    ));
    app.edit("[\"data\", \"machine\"]", "[\"data\", \"db\", \"machine\"]");
    app.edit("wait = \"3s\"", "wait = \"3s\"\nholds = [\"db\"]");
    app.edit(
        "checks = [",
        "checks = [{ sql = \"db\", query = \"SELECT count(*) FROM t\", expect = \"= 3\", on = \"machine\" }, ",
    );
    app
}

#[test]
fn a_database_on_a_machine_is_compared_with_its_dump() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let app = with_a_database(&fs, &recipe("btrfs"));
    app.backup();
    fs.sh("sqlite3 fs/vm/app.db 'DELETE FROM t'");
    let drilled = app.json(&["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "verified", "{drilled:#}");
    let text = drilled.to_string();
    for said in [
        "db on machine: content",
        "of the machine, db was compared, and nothing else of its disk",
    ] {
        assert!(text.contains(said), "{said}: {drilled:#}");
    }
    assert!(!text.contains("\"machine: content\""), "{drilled:#}");
    app.ok(&["gate"])
        .says(&["open: each source was restored and compared"]);
    assert_eq!(fs.machines(), "");
}

#[test]
fn a_link_of_a_machine_is_not_followed_to_what_is_live() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    let app = with_a_database(&fs, &recipe("btrfs"));
    fs.sh("mv fs/vm/app.db live.db && ln -s $PWD/live.db fs/vm/app.db");
    app.backup();
    let failed = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    let text = failed.to_string();
    assert!(text.contains("leads out of machine"), "{failed:#}");
}

#[test]
fn what_was_written_between_a_dump_and_the_snapshot_is_not_taken_for_lost_if_it_is_little() {
    if is_impossible() {
        return;
    }
    let fs = Subvolume::new();
    // Somebody writes after the dump, and before the snapshot.
    let app = App::with("");
    app.script(
        "busy",
        &format!(
            "input=$(cat); case $input in *'\"create\"'*) sqlite3 {} 'INSERT INTO t (b) VALUES (4)';; esac; echo \"$input\" | {}",
            fs.path("fs/vm/app.db").display(),
            recipe("btrfs").display()
        ),
    );
    let program = app.path("busy");
    let app = with_a_database(&fs, &program);
    app.edit("expect = \"= 3\"", "expect = \"= 4\"");
    app.backup();
    let failed = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    let text = failed.to_string();
    assert!(
        text.contains("table main.t: 3 rows was captured"),
        "{failed:#}"
    );

    app.edit("holds = [\"db\"]", "holds = [\"db\"]\ntolerance = \"30%\"");
    let near = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(near["outcome"], "restored", "{near:#}");
    let limits = near["limits"].to_string();
    for said in [
        "db on the machine differs from its dump in table main.t, with row counts within 30%",
        "compared with nothing that proves it equal",
    ] {
        assert!(limits.contains(said), "{said}: {near:#}");
    }
    // What is defined otherwise was not written.
    let busy = std::fs::read_to_string(&program).unwrap();
    let busy_otherwise = busy.replace("INSERT INTO t (b) VALUES (4)", "CREATE INDEX i ON t (b)");
    std::fs::write(&program, busy_otherwise).unwrap();
    app.edit("= 4", "> 0");
    app.backup();
    let failed = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert!(failed.to_string().contains("index main.i"), "{failed:#}");
    std::fs::write(&program, busy).unwrap();
    app.backup();
    app.edit("tolerance = \"30%\"", "tolerance = \"10%\"");
    let failed = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
}

#[test]
fn what_cannot_be_held_or_asked_is_refused_with_what_to_do() {
    let app = application(Path::new("keeper"), Path::new("vm1"), "true");
    let refused = |from: &str, to: &str, says: &[&str]| {
        app.edit(from, to);
        app.exits(2, &["config", "check"]).says(says);
        app.edit(to, from);
    };
    app.edit(
        "restore = [\"keeper\"]\nmachines = [\"keeper\"]\ndestroy = [\"keeper\"]\n",
        "",
    );
    app.ok(&["config", "check"]).says(&[
        "source \"machine\" has no command `restore`: the drill cannot prove it",
        "add restore and destroy",
    ]);
    app.edit("delete = [\"keeper\"]\n", "delete = [\"keeper\"]\nrestore = [\"keeper\"]\nmachines = [\"keeper\"]\ndestroy = [\"keeper\"]\n");
    let wait = "wait = \"3s\"";
    let holds = |name: &str| format!("wait = \"3s\"\nholds = [\"{name}\"]");
    refused(wait, &holds("db"), &["there is no source named \"db\""]);
    refused(
        wait,
        &holds("data"),
        &["source \"data\" cannot be compared on another machine: it is no database"],
    );
    let check = "checks = [{ command = [\"sh\"";
    refused(
        check,
        "checks = [{ on = \"data\", command = [\"sh\"",
        &["`on` names \"data\", which is no machine"],
    );
    refused(
        check,
        "checks = [{ on = \"machine\", command = [\"sh\"",
        &["it is not known how to log in to a machine", "via = \"ssh:"],
    );
    app.configure_also(
        "[source.far]\nkind = \"mariadb\"\nhost = \"db.internal\"\nuser = \"u\"\ndatabase = \"d\"\nvia = \"ssh:vm1\"\n",
    );
    refused(
        wait,
        &holds("far"),
        &["its `host` is not that machine, but a server that it leads to"],
    );
    app.configure_also("[source.db]\nkind = \"mariadb\"\nurl = \"env:URL\"\nvia = \"docker:db\"\n");
    refused(
        wait,
        &holds("db"),
        &[
            "it is reached in a container",
            "no plan takes source \"db\" together with it",
        ],
    );
}

/// Commands that answer as `list` and `create` say, and write down what they were asked.
fn liar(app: &App, create: &str, list: &str) {
    let script = format!(
        "input=$(cat); echo \"$input\" >> {log}; case $input in *'\"create\"'*) {create};; *'\"list\"'*) {list};; esac",
        log = app.path("asked").display()
    );
    app.script("keeper", &script);
}

#[test]
fn what_is_not_there_makes_no_point_complete() {
    let app = App::with("");
    let program = app.path("keeper");
    let other = application(&program, Path::new("vm1"), "true");
    let said = |create: &str, list: &str| {
        liar(&app, create, list);
        let output = other.exits(3, &["backup"]);
        other.forget_state_but_key();
        output
    };
    let none = "echo '{\"snapshots\": []}'";
    let one = |rest: &str| {
        format!(
            "if grep -q create {log}; then echo '{{\"snapshots\": [{{\"id\": \"s\"{rest}}}]}}'; else {none}; fi; rm -f {log}.x",
            log = app.path("asked").display()
        )
    };
    let made = "echo '{\"id\": \"s\"}'";
    // It says that it did, and did nothing.
    said(made, none).says(&["snapshot s is not ready after 3 s: it is not there"]);
    said(made, &one(", \"state\": \"pending\"")).says(&["it is still being made"]);
    said(
        made,
        &one(", \"state\": \"error\", \"detail\": \"no space\""),
    )
    .says(&["snapshot s came to nothing", "no space"]);
    said(made, &one(", \"machine\": \"vm2\"")).says(&["snapshot s is of vm2, and not of vm1"]);
    said("echo '{\"id\": \"s\"'", none).says(&["(create) printed something else than is expected"]);
    said("echo quota >&2; exit 3", none).says(&["(create) ended with", "quota"]);
    said(made, "echo '{\"snap'").says(&["(list) printed something else"]);
    assert_eq!(
        other.points().len(),
        7,
        "the files are in each, without the machine"
    );
}
