//! Configurations that are missing, unreadable, wrong, or promise what they cannot keep.

use crate::support::{App, HEAD, run};
use std::os::unix::fs::PermissionsExt;

#[test]
fn none_at_all() {
    let app = App::basic();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = app.command(&["points"]);
    let output = run(command
        .env_remove("LIFEBOAT_CONFIG")
        .current_dir(elsewhere.path()));
    assert_eq!(output.code, 2, "{output}");
    let refusal = output.refusal();
    refusal.names(&["there is no configuration"]);
    refusal.because(&[
        "lifeboat.toml",
        "/etc/lifeboat/lifeboat.toml",
        "LIFEBOAT_CONFIG",
    ]);
    refusal.advises(&["--config", "lifeboat init"]);
}

#[test]
fn one_that_was_named_and_is_not_there() {
    let app = App::basic();
    let refusal = app.refuses(2, "configuration", &["--config", "nowhere.toml", "backup"]);
    refusal
        .names(&["nowhere.toml"])
        .because(&["No such file"])
        .advises(&["--config"]);
    assert!(
        !app.path("state").exists(),
        "nothing is made for a configuration that is not there"
    );
}

#[test]
fn one_that_cannot_be_read_as_text() {
    let app = App::basic();
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "latin.toml",
            b"version = 1\n[app]\nname = \"caf\xe9\"\n",
            "not UTF-8",
        ),
        ("huge.toml", &vec![b'#'; (4 << 20) + 1], "larger than 4 MiB"),
        ("empty.toml", b"", "empty.toml"),
        ("prose.toml", b"dear reader,\n", "not TOML"),
    ];
    for (name, bytes, says) in cases {
        let path = app.write(name, bytes);
        let args = ["--config", path.to_str().unwrap(), "backup"];
        app.refuses(2, "configuration", &args).names(&[name, says]);
    }
    let directory = app.root().to_str().unwrap();
    let args = ["--config", directory, "backup"];
    app.refuses(2, "configuration", &args)
        .names(&[directory, "is a directory"]);
}

#[test]
fn one_that_this_user_may_not_read() {
    let app = App::basic();
    std::fs::set_permissions(app.path("lifeboat.toml"), PermissionsExt::from_mode(0o000)).unwrap();
    let output = crate::support::as_nobody(&app, &["points"]);
    assert_eq!(output.code, 2, "{output}");
    output
        .refusal()
        .names(&["lifeboat.toml", "cannot be read"])
        .because(&["Permission denied"]);
}

#[test]
fn unknown_keys_are_shown_with_their_place_and_the_nearest_known() {
    let app = App::basic();
    app.edit("environment = ", "enviroment = ");
    let refusal = app.refuses(2, "configuration", &["backup"]);
    refusal.names(&["lifeboat.toml:5:1", "enviroment"]);
    refusal.advises(&["environment"]);
    app.edit("enviroment = ", "environment = ");
    app.edit("paths = ", "path = ");
    app.refuses(2, "configuration", &["config", "check"])
        .advises(&["paths"]);
    app.holds_no_point("store");
}

#[test]
fn every_problem_is_told_at_once() {
    let app = App::basic();
    app.edit(
        "sources = [\"files\", \"db\"]",
        "sources = \"files\"\nstroes = [\"disk\"]",
    );
    let refusal = app.refuses(2, "configuration", &["backup"]);
    let all = format!("{} {}", refusal.message, refusal.cause);
    for part in ["sources", "stroes"] {
        assert!(all.contains(part), "{refusal:#?}");
    }
}

#[test]
fn wrong_types_and_values() {
    for (from, to, says) in [
        ("version = 1", "version = 2", "version 2"),
        ("version = 1", "version = \"one\"", "version"),
        ("name = \"crm\"", "name = 7", "app.name"),
        ("name = \"crm\"", "name = \"a/b\"", "app.name"),
        (
            "environment = \"test\"",
            "environment = \"test\"\nrpo = \"soon\"",
            "app.rpo",
        ),
        ("kind = \"sqlite\"", "kind = \"oracle\"", "oracle"),
        ("stores = [\"disk\"]", "stores = [\"disc\"]", "disc"),
        (
            "stores = [\"disk\"]",
            "stores = [\"disk\"]\nschedule = \"61 * * * *\"",
            "schedule",
        ),
        ("plans = [\"main\"]", "plans = [\"mian\"]", "mian"),
        ("{root}/store", "store", "path"),
    ] {
        let app = App::basic();
        let from = from.replace("{root}", app.root().to_str().unwrap());
        app.edit(&from, to);
        let refusal = app.refuses(2, "configuration", &["backup"]);
        let all = format!("{} {}", refusal.message, refusal.cause);
        assert!(all.contains(says), "{to}: {refusal:#?}");
        assert!(
            all.contains("lifeboat.toml:"),
            "{to} has no place: {refusal:#?}"
        );
        assert!(!app.path("state").exists() && !app.path("store").exists());
    }
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    let app = App::with(
        r#"
[source.db]
kind = "postgres"
host = "localhost"
database = "crm"
user = "crm"
password = "hunter2-literal"
"#,
    );
    for args in [
        &["backup"][..],
        &["config", "check"],
        &["--json", "config", "show"],
        &["-vv", "doctor"],
    ] {
        let output = app.exits(2, args);
        output.says(&["password", "env:"]).never_says(&["hunter2"]);
    }
    app.edit(
        "password = \"hunter2-literal\"",
        "url = \"postgres://crm:hunter2-literal@localhost/crm\"",
    );
    app.exits(2, &["backup"])
        .says(&["url", "env:"])
        .never_says(&["hunter2"]);
}

#[test]
fn a_reference_that_does_not_resolve() {
    let app = App::with(
        r#"
[source.vault]
kind = "command"
command = ["cat", "/dev/null"]
env = { TOKEN = "env:LIFEBOAT_TEST_TOKEN" }

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["vault"]
stores = ["disk"]
"#,
    );
    let refusal = app.refuses(2, "secret", &["backup"]);
    refusal
        .names(&["LIFEBOAT_TEST_TOKEN", "vault"])
        .advises(&["set LIFEBOAT_TEST_TOKEN"]);
    app.edit("env:LIFEBOAT_TEST_TOKEN", "file:/nowhere/token");
    app.refuses(2, "secret", &["backup"])
        .names(&["/nowhere/token"])
        .because(&["No such file"]);
    app.edit("file:/nowhere/token", "cmd:false");
    app.refuses(2, "secret", &["backup"])
        .names(&["cmd:false"])
        .advises(&["by hand"]);
    app.holds_no_point("store");
}

#[test]
fn a_recovery_point_objective_that_the_schedule_cannot_meet() {
    let app = App::basic();
    app.edit(
        "environment = \"test\"",
        "environment = \"test\"\nrpo = \"1h\"",
    );
    app.edit(
        "stores = [\"disk\"]",
        "stores = [\"disk\"]\nschedule = \"0 3 * * *\"",
    );
    for args in [&["config", "check"][..], &["doctor"]] {
        let document = app.json_exits(2, args);
        assert_eq!(document["outcome"], "error");
        let findings = document["findings"].as_array().unwrap();
        let found = findings.iter().find(|f| f["severity"] == "error").unwrap();
        assert!(
            found["message"].as_str().unwrap().contains("app.rpo is 1h"),
            "{found}"
        );
        let hint = found["hint"].as_str().unwrap();
        assert!(
            hint.contains("every 1h") && hint.contains("raise app.rpo"),
            "{found}"
        );
        app.exits(2, args).says(&["error", "plan.main", "hint:"]);
    }
    // Equal is not enough: a run takes time.
    app.edit("0 3 * * *", "7 * * * *");
    app.exits(2, &["config", "check"]);
    app.edit("7 * * * *", "*/30 * * * *");
    app.ok(&["config", "check"]);
    app.ok(&["doctor"]);
}

#[test]
fn a_decryption_key_that_exists_only_inside_the_backup() {
    let app = App::basic();
    let (public, secret) = crate::support::age_key();
    app.write("data/backup.key", secret.as_bytes());
    let path = app.path("data/backup.key");
    app.edit(
        "kind = \"local\"",
        &format!(
            "encrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{}\" }}\nkind = \"local\"",
            path.display()
        ),
    );
    for args in [&["config", "check"][..], &["doctor"]] {
        let output = app.exits(2, args);
        output
            .says(&["backup.key", "hint:"])
            .never_says(&["AGE-SECRET-KEY"]);
    }
}

#[test]
fn plans_drills_stores_and_sources_that_are_not_there() {
    let app = App::basic();
    app.backup();
    let nowhere = app.path("out").display().to_string();
    for (args, name, hint) in [
        (&["backup", "nightly"][..], "nightly", "main"),
        (&["drill", "nightly"], "nightly", "main"),
        (&["drill", "--store", "tape"], "tape", "disk"),
        (&["points", "--store", "tape"], "tape", "disk"),
        (&["points", "--plan", "nightly"], "nightly", "main"),
        (&["verify", "--store", "tape"], "tape", "disk"),
        (&["show", "latest", "--store", "tape"], "tape", "disk"),
        (&["copy", "--to", "tape"], "tape", "disk"),
        (&["copy", "--from", "tape", "--to", "disk"], "tape", "disk"),
        (
            &["restore", "latest", "--source", "mail", "--to", &nowhere],
            "mail",
            "files",
        ),
        (
            &["restore", "latest", "--store", "tape", "--to", &nowhere],
            "tape",
            "disk",
        ),
    ] {
        let refusal = app.refuses(2, "usage", args);
        assert!(refusal.message.contains(name), "{args:?}: {refusal:#?}");
        assert!(refusal.hint.contains(hint), "{args:?}: {refusal:#?}");
    }
    assert!(
        !app.path("out").exists(),
        "nothing is made for a restore that is refused"
    );
}

#[test]
fn several_plans_or_drills_and_none_named() {
    let app = App::basic();
    app.configure_also(
        "[plan.other]\nsources = [\"db\"]\nstores = [\"disk\"]\n[drill.other]\nplans = [\"other\"]\n",
    );
    let refusal = app.refuses(2, "usage", &["backup"]);
    refusal
        .names(&["several plans"])
        .advises(&["main", "other"]);
    app.refuses(2, "usage", &["drill"])
        .names(&["several drills"])
        .advises(&["main", "other"]);
    app.holds_no_point("store");
}

#[test]
fn no_plan() {
    let app = App::with("");
    app.refuses(2, "configuration", &["backup"])
        .names(&["no plan"])
        .advises(&["[plan.NAME]"]);
}

#[test]
fn command_lines_that_make_no_sense() {
    let app = App::basic();
    app.backup();
    for args in [
        &["bakcup"][..],
        &["backup", "--resaon", "x"],
        &["verify", "latest", "--all"],
        &["restore"],
        &["restore", "latest", "--to", "x", "--live"],
        &["-v", "-q", "points"],
        &["kit", "export"],
        &[],
    ] {
        let output = app.exits(2, args);
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{output}"
        );
        if !args.is_empty() {
            let mut with_json = vec!["--json"];
            with_json.extend(args);
            app.exits(2, &with_json).json_refusal("usage");
        }
    }
    for sample in ["200%", "0%", "-1", "some", "1.5%"] {
        let argument = format!("--sample={sample}");
        app.refuses(2, "usage", &["verify", &argument])
            .names(&[sample])
            .advises(&["--sample 10%"]);
    }
    for signer in ["nobody", "SHA256:", "SHA256:!!!", "MD5:aa"] {
        let refusal = app.refuses(2, "usage", &["verify", "--trust-signer", signer]);
        refusal.names(&[signer]).advises(&["SHA256:"]);
    }
}

#[test]
fn a_state_directory_that_cannot_be_used() {
    let app = App::basic();
    app.write("file", b"");
    let root = app.root().to_str().unwrap().to_owned();
    app.edit(&format!("{root}/state"), &format!("{root}/file/state"));
    let refusal = app.refuses(1, "state", &["backup"]);
    refusal
        .names(&["state directory", "file/state"])
        .because(&["Not a directory"]);
    refusal.advises(&["app.state"]);
    app.holds_no_point("store");
}

#[test]
fn a_state_directory_of_another_user() {
    if lifeboat_testkit::privilege::needs_root("run the program as another user") {
        return;
    }
    let app = App::basic();
    app.backup();
    let output = crate::support::as_nobody(&app, &["backup"]);
    assert_eq!(output.code, 1, "{output}");
    let refusal = output.refusal();
    refusal
        .names(&["state directory"])
        .because(&["Permission denied"])
        .advises(&["app.state"]);
    assert_eq!(app.points().len(), 1);
}

#[test]
fn a_list_of_trusted_signers_that_is_not_there_or_not_one() {
    let app = App::basic();
    let root = app.root().to_str().unwrap();
    app.configure(&format!(
        "{HEAD}trusted_signers = \"{root}/signers\"\n{}",
        crate::support::BASIC
    ));
    app.refuses(2, "configuration", &["points"])
        .names(&["signers"])
        .because(&["No such file"]);
    app.write("signers", b"these are not keys\n");
    app.refuses(2, "configuration", &["points"])
        .names(&["signers"]);
}
